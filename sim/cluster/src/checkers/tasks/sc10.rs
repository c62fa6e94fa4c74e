//! SC10: class, capability and available capacity fit.
//!
//! Source: spec 3.4. A worker has what it offered, without what its leases hold.

use super::books::{Books, amounts};
use super::judge::{Judge, Told};
use squall::Findings;
use squall_scheduler::Event;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Sc10;

impl Judge for Sc10 {
    const PROPERTY: &'static str = "SC10";
    const EVENTS: &'static [&'static str] = &["assigned"];

    fn judge(&mut self, told: &Told<'_>, books: &Books, _: &mut Findings) -> Option<String> {
        let Event::Assigned { task, attempt, worker, incarnation, resources, shape, kind, .. } = told.event else {
            return None;
        };
        let (row, host) = (books.tasks.get(task)?, books.hosts.get(incarnation)?);
        let says = |what: String| Some(format!("attempt {attempt} of {task} at {worker}: {what}"));
        if host.id != *worker {
            return says(format!("incarnation {incarnation} is {}", host.id));
        }
        if (*resources, *kind) != (row.spec.resources, row.spec.kind) {
            return says(format!("it is a {kind} with {resources:?}, not what was submitted"));
        }
        if *shape != row.shape {
            return says(format!("it runs as {shape:?}, not as {:?}", row.shape));
        }
        if shape.class != host.offer.class {
            return says(format!("it needs {}, the worker is {}", shape.class, host.offer.class));
        }
        if let Some(missing) = row.spec.capabilities.difference(&host.offer.capabilities).next() {
            return says(format!("the worker can't {missing}"));
        }
        let available = books.available(host);
        let fits = amounts(resources).iter().zip(available).all(|(needed, left)| *needed <= left);
        if fits { None } else { says(format!("it needs {:?}, {available:?} is left", amounts(resources))) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::judge::Judged;
    use super::super::testing::{SHAPE, assigned, spec, tasks};
    use super::*;
    use squall_scheduler::{HardwareClass, Resources, Shape, TaskSpec};
    use std::sync::Arc;

    #[test]
    fn what_is_given_is_there() {
        let start = |count: u64| {
            (1..=count)
                .fold(tasks(Judged::<Sc10>::default()), |history, number| history.submit(&format!("t{number}"), number))
        };
        let fill = |history, count: u64| {
            (1..=count).fold(history, |history: crate::checkers::testing::History<_>, number| {
                history.assign(&format!("t{number}"), number)
            })
        };
        fill(start(4), 4).holds();
        fill(start(5), 5).violated("0, 0, 0] is left");
        fill(start(5), 4).succeed("t1", 1).assign("t5", 5).holds();
    }

    #[test]
    fn what_is_given_is_what_was_asked_for() {
        let submitted = |spec: TaskSpec| {
            tasks(Judged::<Sc10>::default()).tells(Event::Submitted { spec: Arc::new(spec), number: 1 })
        };
        let able = TaskSpec { capabilities: ["fly".into()].into(), ..spec("t") };
        submitted(able).assign("t", 1).violated("the worker can't fly");
        let gpu = TaskSpec { class: "gpu".into(), ..spec("t") };
        submitted(gpu.clone()).assign("t", 1).violated("it runs as");
        let on_gpu = || {
            let mut event = assigned("t", 1);
            if let Event::Assigned { shape, .. } = &mut event {
                *shape = Shape { class: HardwareClass::Gpu, ..SHAPE };
            }
            event
        };
        submitted(gpu).assign_event(on_gpu(), 1).violated("it needs gpu, the worker is cpu");
        let small = TaskSpec { resources: Resources { cpu_millis: 1, ..Resources::default() }, ..spec("t") };
        submitted(small).assign("t", 1).violated("not what was submitted");
    }
}
