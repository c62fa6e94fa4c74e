//! Looking at a field of an event in its JSON form.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// The value at a dotted path of a value, as text: text as it is, everything else in its JSON form. `len` at the end of a
/// path gives the length of a list. Tags of enums around the fields are skipped.
///
/// This is what [`Pattern::Event`](crate::Pattern::Event) compares its fields with.
#[must_use]
pub fn field_text(value: &Value, path: &str) -> Option<String> {
    field(value, path).map(|found| match found {
        Found::Value(Value::String(text)) => text.clone(),
        Found::Value(other) => other.to_string(),
        Found::Length(length) => length.to_string(),
    })
}

enum Found<'a> {
    Value(&'a Value),
    Length(usize),
}

fn field<'a>(value: &'a Value, path: &str) -> Option<Found<'a>> {
    let mut parts = path.split('.').peekable();
    let mut at = value;
    while let Some(part) = parts.next() {
        let last = parts.peek().is_none();
        at = match at {
            Value::Array(list) if last && part == "len" => return Some(Found::Length(list.len())),
            Value::Array(list) => list.get(part.parse::<usize>().ok()?)?,
            _ => member(at, part)?,
        };
    }
    Some(Found::Value(at))
}

/// A member of an object, or of the only object inside it: an enum's variant is an object with its name as the only key.
fn member<'a>(mut value: &'a Value, name: &str) -> Option<&'a Value> {
    loop {
        let object = value.as_object()?;
        if let Some(found) = object.get(name) {
            return Some(found);
        }
        value = if object.len() == 1 { object.values().next()? } else { return None };
    }
}

/// The fields themselves, without the tags of enums around them.
pub(crate) fn untagged(mut value: &Value) -> &Value {
    while let Value::Object(object) = value {
        match object.values().next() {
            Some(inner @ Value::Object(_)) if object.len() == 1 => value = inner,
            _ => break,
        }
    }
    value
}

/// Fields that an event must show: dotted paths and the text of their values.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Fields(pub BTreeMap<String, String>);

impl Fields {
    /// Whether a value shows all of them.
    #[must_use]
    pub fn shown_by(&self, value: &Value) -> bool {
        self.0.iter().all(|(path, wanted)| field_text(value, path).is_some_and(|text| matches(&text, wanted)))
    }
}

/// Whether a text is what is wanted: the same, or a number that compares as asked for.
fn matches(text: &str, wanted: &str) -> bool {
    type Compare = fn(&i128, &i128) -> bool;
    const OPERATORS: [(&str, Compare); 4] = [(">=", i128::ge), ("<=", i128::le), (">", i128::gt), ("<", i128::lt)];
    if let Some(unwanted) = wanted.strip_prefix("!=") {
        return text != unwanted.trim();
    }
    for (operator, compare) in OPERATORS {
        if let Some(bound) = wanted.strip_prefix(operator) {
            return match (text.parse::<i128>(), bound.trim().parse::<i128>()) {
                (Ok(number), Ok(bound)) => compare(&number, &bound),
                _ => false,
            };
        }
    }
    text == wanted
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Table;
        impl<'de> Visitor<'de> for Table {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("fields: { member = \"r3\", \"quorum.members.len\" = 4 }")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = BTreeMap::new();
                while let Some((path, value)) = map.next_entry::<String, toml::Value>()? {
                    flatten(path, value, &mut fields).map_err(A::Error::custom)?;
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Table)
    }
}

/// Unquoted dots make tables of tables in TOML; here they are paths.
fn flatten(path: String, value: toml::Value, fields: &mut BTreeMap<String, String>) -> Result<(), String> {
    let text = match value {
        toml::Value::String(text) => text,
        toml::Value::Integer(number) => number.to_string(),
        toml::Value::Boolean(truth) => truth.to_string(),
        toml::Value::Table(table) => {
            return table.into_iter().try_for_each(|(part, value)| flatten(format!("{path}.{part}"), value, fields));
        }
        toml::Value::Array(_) | toml::Value::Float(_) | toml::Value::Datetime(_) => {
            return Err(format!("`{path}` can be compared with text, a whole number, true or false"));
        }
    };
    fields.insert(path, text);
    Ok(())
}

impl Serialize for Fields {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl JsonSchema for Fields {
    fn schema_name() -> Cow<'static, str> {
        "Fields".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "description": "Dotted paths of fields, and the values that they must have. `.len` gives the length of a list.",
            "additionalProperties": { "type": ["string", "integer", "boolean", "object"] }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_lead_through_tags_objects_and_lists() {
        let event =
            json!({ "coordinator": { "formed": { "quorum": { "id": 2, "members": ["a", "b"] }, "fast": true } } });
        for (path, text) in [
            ("quorum.id", Some("2")),
            ("quorum.members.len", Some("2")),
            ("quorum.members.1", Some("b")),
            ("fast", Some("true")),
            ("quorum.members", Some("[\"a\",\"b\"]")),
            ("quorum.members.9", None),
            ("slow", None),
            ("", None),
        ] {
            assert_eq!(field_text(&event, path).as_deref(), text, "{path}");
        }
    }

    #[test]
    fn numbers_compare_and_text_equals() {
        assert!(matches("4", "4") && matches("4", "> 3") && matches("4", "<=4") && matches("4", "!= 5"));
        assert!(!matches("4", "> 4") && !matches("x", "> 3") && !matches("4", ">= y"));
    }

    #[test]
    fn unquoted_dots_are_paths() {
        let fields: Fields = toml::from_str("quorum.id = 2\n\"quorum.members.len\" = 4\nname = \"r3\"").expect("valid");
        let shown: Vec<(&str, &str)> = fields.0.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        assert_eq!(shown, [("name", "r3"), ("quorum.id", "2"), ("quorum.members.len", "4")]);
        assert!(toml::from_str::<Fields>("share = 0.5").is_err());
    }
}
