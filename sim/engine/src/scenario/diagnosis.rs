//! What is wrong with a scenario file, and where exactly.

use crate::InvalidKey;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The way to a key of a file, such as `fault.0.crash`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Keys(Vec<String>);

impl Keys {
    /// The file itself.
    pub(crate) fn root() -> Self {
        Self::default()
    }

    /// A key below.
    pub(crate) fn key(&self, name: &str) -> Self {
        let mut keys = self.clone();
        keys.0.push(name.to_owned());
        keys
    }

    /// An element of a list below.
    pub(crate) fn at(&self, index: usize) -> Self {
        self.key(&index.to_string())
    }

    /// What is wrong here.
    pub(crate) fn invalid(&self, problem: impl Into<String>) -> InvalidKey {
        InvalidKey { path: self.0.clone(), problem: problem.into(), hint: None }
    }
}

/// The nearest of some names as a hint, or all of them if they are few.
pub(crate) fn suggestion<'a>(wrong: &str, known: impl Iterator<Item = &'a str> + Clone) -> Option<String> {
    let wrong_lower = wrong.to_lowercase();
    let nearest = known
        .clone()
        .map(|name| (strsim::damerau_levenshtein(&wrong_lower, &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= 1 + name.chars().count() / 3)
        .min_by_key(|(distance, _)| *distance);
    if let Some((_, name)) = nearest {
        return Some(format!("did you mean `{name}`?"));
    }
    let mut few: Vec<String> = known.map(|name| format!("`{name}`")).take(FEW_MAX + 1).collect();
    let more = few.len() > FEW_MAX;
    few.truncate(FEW_MAX);
    match few.len() {
        0 => None,
        _ if more => Some(format!("there are {}, ..", few.join(", "))),
        _ => Some(format!("there are {}", few.join(", "))),
    }
}

/// How many names a hint lists at most.
const FEW_MAX: usize = 16;

/// One thing that is wrong with a file.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Problem {
    span: Option<Range<usize>>,
    text: String,
    hint: Option<String>,
}

/// Everything that is wrong with one scenario file. Shows file, line, column, the line itself, and a hint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnosis {
    path: PathBuf,
    source: Arc<str>,
    problems: Vec<Problem>,
}

impl Diagnosis {
    /// The file as a whole can't be used.
    pub(crate) fn of_file(path: &Path, text: impl Into<String>, hint: Option<&str>) -> Self {
        let problem = Problem { span: None, text: text.into(), hint: hint.map(str::to_owned) };
        Self { path: path.to_owned(), source: "".into(), problems: vec![problem] }
    }

    /// The file is no TOML, or has unknown keys or values of the wrong type.
    pub(crate) fn of_toml(path: &Path, source: &str, error: &toml::de::Error) -> Self {
        let (text, hint) = reworded(error.message());
        let problem = Problem { span: error.span(), text, hint };
        Self { path: path.to_owned(), source: source.into(), problems: vec![problem] }
    }

    /// Keys have values that can't be.
    pub(crate) fn of_keys(path: &Path, source: &str, invalid: Vec<InvalidKey>) -> Self {
        let tree = DeTable::parse(source).ok();
        let located = |key: InvalidKey| {
            let (span, missing) = tree.as_ref().map_or((None, &key.path[..]), |tree| locate(tree, &key.path));
            let place = missing.join(".");
            let text = if missing.is_empty() { key.problem } else { format!("`{place}`: {}", key.problem) };
            Problem { span, text, hint: key.hint }
        };
        let mut problems: Vec<Problem> = invalid.into_iter().map(located).collect();
        problems.sort_by_key(|problem| problem.span.as_ref().map_or(0, |span| span.start));
        Self { path: path.to_owned(), source: source.into(), problems }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is wrong with it, in one line, without hints.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut texts: Vec<&str> = self.problems.iter().map(|problem| &*problem.text).collect();
        texts.dedup();
        texts.join("; ")
    }

    /// How many things are wrong with it.
    #[must_use]
    pub fn count(&self) -> usize {
        self.problems.len()
    }

    /// The diagnosis for a terminal: with colours, or without.
    #[must_use]
    pub fn render(&self, colours: bool) -> String {
        let renderer = if colours { Renderer::styled() } else { Renderer::plain() };
        let origin = self.path.to_string_lossy();
        let mut shown = Vec::new();
        for problem in &self.problems {
            let mut group = match &problem.span {
                Some(span) => {
                    // A problem at the very end of a file still has to point at something.
                    let start = span.start.min(self.source.len());
                    let span = start..span.end.clamp(start, self.source.len());
                    let snippet =
                        Snippet::source(&*self.source).path(&*origin).annotation(AnnotationKind::Primary.span(span));
                    Level::ERROR.primary_title(&*problem.text).element(snippet)
                }
                None => Group::with_title(Level::ERROR.primary_title(format!("{origin}: {}", problem.text))),
            };
            if let Some(hint) = &problem.hint {
                group = group.element(Level::HELP.message(&**hint));
            }
            shown.push(renderer.render(&[group]));
        }
        shown.join("\n\n")
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnosis {}

/// Where a path of keys is in a file, and the rest of the path that isn't there.
fn locate<'k>(tree: &Spanned<DeTable<'_>>, path: &'k [String]) -> (Option<Range<usize>>, &'k [String]) {
    enum At<'a, 'i> {
        Table(&'a DeTable<'i>),
        Value(&'a DeValue<'i>),
    }
    let (mut at, mut span) = (At::Table(tree.get_ref()), None);
    for (depth, part) in path.iter().enumerate() {
        let next = match at {
            At::Table(table) | At::Value(DeValue::Table(table)) => {
                table.get_key_value(part.as_str()).map(|(key, value)| (key.span(), value))
            }
            At::Value(DeValue::Array(list)) => {
                part.parse::<usize>().ok().and_then(|index| list.get(index)).map(|value| (value.span(), value))
            }
            At::Value(_) => None,
        };
        let Some((key, value)) = next else { return (span, &path[depth..]) };
        // What is wrong with a table is wrong at its name; a plain value is shown itself.
        span = Some(if matches!(value.get_ref(), DeValue::Table(_)) { key } else { value.span() });
        at = At::Value(value.get_ref());
    }
    (span, &[])
}

/// Words the errors of serde as the others are, and finds the nearest valid key.
fn reworded(message: &str) -> (String, Option<String>) {
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    for (start, what) in [("unknown field", "key"), ("unknown variant", "value")] {
        if let (true, Some((wrong, known))) = (message.starts_with(start), quoted.split_first()) {
            return (format!("unknown {what} `{wrong}`"), suggestion(wrong, known.iter().copied()));
        }
    }
    if let (true, Some(missing)) = (message.starts_with("missing field"), quoted.first()) {
        return (format!("the key `{missing}` is missing"), Some(format!("add `{missing} = ..`")));
    }
    (message.to_owned(), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_found_as_far_as_it_goes() {
        let source = "title = \"x\"\n[[fault]]\ncut = { from = [\"r0\", \"r9\"] }\n";
        let tree = DeTable::parse(source).expect("valid");
        let found = |path: &[&str]| {
            let path: Vec<String> = path.iter().map(|&part| part.to_owned()).collect();
            let (span, missing) = locate(&tree, &path);
            (span.map(|span| &source[span]), missing.len())
        };
        assert_eq!(found(&["fault", "0", "cut", "from", "1"]), (Some("\"r9\""), 0));
        assert_eq!(found(&["fault", "0", "cut", "to"]), (Some("cut"), 1));
        assert_eq!(found(&["horizon"]), (None, 1));
    }

    #[test]
    fn the_nearest_name_is_suggested_and_far_ones_are_listed() {
        let known = ["crash", "restart"];
        assert_eq!(suggestion("crsh", known.into_iter()).as_deref(), Some("did you mean `crash`?"));
        assert_eq!(suggestion("explode", known.into_iter()).as_deref(), Some("there are `crash`, `restart`"));
        assert_eq!(suggestion("x", [].into_iter()), None);
    }
}
