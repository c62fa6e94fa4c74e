//! LV4: after the trigger is gone goodput returns to 90 % and retries decay (no metastable tail).
//!
//! Source: spec 3.7 (after an overload ends, goodput is back at 90 % within 60 s). The trigger is an overload of the scenario file.
//! Goodput is how many tasks succeed in a minute; what it should come back to is the last minute before the overload, under the
//! same load. Judged is the second minute after the overload, in which goodput has to be back, and fewer tasks may wait for
//! another attempt at its end than at its beginning, unless they are no more than before the overload, or so few that the retry budget lets them start at once.
//!
//! How long the backlog of the overload lasts is a matter of capacity and of the retry budget, and not judged. Nor is an overload
//! around which something else strikes, load ends or changes once more, or too little happens to be counted.

use super::books::{Books, SharedBooks};
use super::told;
use crate::Cluster;
use crate::checkers::event;
use crate::tasks::Tasks;
use squall::{Checker, Entry, Fact, Findings, Interest, Scene, Truth};
use squall_machine::{Span, Time};
use squall_scheduler::{Event, Outcome};

/// Within so long goodput has to be back, and for so long it is counted.
const WINDOW: Span = Span::from_secs(60);
/// Fewer successes before an overload say too little about goodput.
const COUNTED_MIN: u64 = 100;

/// One overload, and what was counted around it.
#[derive(Debug)]
struct Trigger {
    from: Time,
    until: Time,
    before: u64,
    after: u64,
    /// How many tasks waited for another attempt when the overload began.
    usual: usize,
    /// The same, when the judged minute began.
    waited: Option<usize>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Lv4 {
    books: SharedBooks,
    /// The overloads that are still to be judged; `None` before the first entry.
    triggers: Option<Vec<Trigger>>,
}

impl Trigger {
    const fn new(from: Time, until: Time) -> Self {
        Self { from, until, before: 0, after: 0, usual: 0, waited: None }
    }

    /// When the judged minute begins, and ends.
    fn judged(&self) -> (Time, Time) {
        (self.until + WINDOW, self.until + WINDOW * 2)
    }

    fn count(&mut self, at: Time) {
        let (begin, end) = self.judged();
        self.before += u64::from(at < self.from && at + WINDOW >= self.from);
        self.after += u64::from(at >= begin && at < end);
    }

    /// What is wrong once the judged minute is over, with so many tasks that wait for another attempt now.
    fn problem(&self, waiting: usize, floor: usize) -> Option<String> {
        if self.before < COUNTED_MIN {
            return None;
        }
        let (before, after) = (self.before, self.after);
        if after * 10 < before * 9 {
            return Some(format!(
                "{after} tasks succeeded in the second minute after an overload, {before} in the last before"
            ));
        }
        let waited = self.waited.unwrap_or(0);
        let decays = waiting < waited || waiting <= floor.max(self.usual);
        (!decays).then(|| {
            format!("{waited} tasks waited to be tried again a minute after an overload, {waiting} a minute later")
        })
    }
}

/// The overloads of a file that can be judged: the load is the same before and after, for long enough.
fn judgeable(tasks: &Tasks, horizon: Span) -> Vec<Trigger> {
    let end = tasks.until.map_or(horizon, |until| until.0.min(horizon));
    let of_overload = |overload: &crate::tasks::Overload| {
        let (from, until) = (overload.from.0, overload.until.0);
        let alone = tasks
            .overload
            .iter()
            .all(|other| *other == *overload || other.until.0 + WINDOW <= from || other.from.0 >= until + WINDOW * 2);
        let steady = from >= tasks.from.0 + WINDOW && until + WINDOW * 2 <= end;
        (alone && steady).then(|| Trigger::new(Time::ZERO + from, Time::ZERO + until))
    };
    tasks.overload.iter().filter_map(of_overload).collect()
}

/// How many tasks wait for another attempt.
fn retries(books: &Books) -> usize {
    books.waiting().filter(|(_, row)| row.failures > 0).count()
}

impl Lv4 {
    /// One that goes by these books.
    pub(super) fn with(books: SharedBooks) -> Self {
        Self { books, triggers: None }
    }

    fn on_tick(&mut self, now: Time, scene: &Scene<'_, Cluster>, findings: &mut Findings) -> Option<String> {
        let triggers = self.triggers.as_mut()?;
        let due = triggers.iter().position(|trigger| trigger.judged().1 <= now);
        for trigger in triggers.iter_mut() {
            if now <= trigger.from {
                trigger.usual = retries(&self.books.look());
            } else if trigger.judged().0 <= now {
                trigger.waited.get_or_insert_with(|| retries(&self.books.look()));
            }
        }
        let trigger = triggers.remove(due?);
        let waiting = retries(&self.books.look());
        if trigger.before >= COUNTED_MIN {
            findings.reached("goodput judged after an overload");
        }
        if trigger.waited.is_some_and(|waited| waited > 0) {
            findings.reached("retries wait a minute after an overload");
        }
        trigger.problem(waiting, scene.system.scheduler_knobs().retry_budget.floor as usize)
    }
}

impl Checker<Cluster> for Lv4 {
    fn property(&self) -> &'static str {
        "LV4"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        self.books.interest(interest);
        interest.truth(&["phase", "up", "down", "pause", "slow", "link", "clock", "disk", "request"]);
        interest.events(&["ticked", "terminal"]);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        let overloads = || scene.system.tasks().map_or_else(Vec::new, |tasks| judgeable(tasks, scene.plan.horizon));
        let triggers = self.triggers.get_or_insert_with(overloads);
        let mut problem = None;
        if let Fact::Truth(truth) = entry.fact {
            if !matches!(truth, Truth::Phase { .. }) {
                triggers.retain(|trigger| entry.at + WINDOW < trigger.from);
            }
        } else if let Some((_, Event::Terminal { outcome: Outcome::Succeeded { .. }, .. })) = told(entry) {
            triggers.iter_mut().for_each(|trigger| trigger.count(entry.at));
        } else if let Some((_, squall_coordinator::Event::Ticked {})) = event(entry) {
            problem = self.on_tick(entry.at, scene, findings);
        }
        if let Some(problem) = problem {
            findings.violated("LV4", entry.at, [entry.id], problem);
        }
        self.books.follow(entry, scene);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{C, History};
    use super::super::testing::{success, tasks, terminal};
    use super::*;
    use squall_coordinator::Event::Ticked;
    use squall_scheduler::Strategy;

    /// An overload from 100 s to 160 s: the minutes that count are 40 s to 100 s, and 220 s to 280 s.
    fn overloaded() -> History<Lv4> {
        let second = |secs| Time::ZERO + Span::from_secs(secs);
        let triggers = Some(vec![Trigger::new(second(100), second(160))]);
        tasks(Lv4 { triggers, ..Lv4::default() })
    }

    fn succeed(history: History<Lv4>, at: u64, count: u64) -> History<Lv4> {
        (0..count).fold(history.at(at), |history, _| history.tells(terminal("t", success(1), 0, 0)))
    }

    fn tick(history: History<Lv4>, at: u64) -> History<Lv4> {
        history.at(at).coordinator(Ticked {})
    }

    /// So many tasks fail once, from `first` on.
    fn failing(history: History<Lv4>, first: u64, count: u64) -> History<Lv4> {
        (first..first + count).fold(history, |history, number| {
            let task = format!("f{number}");
            let history = history.submit(&task, number).assign(&task, number);
            history.fail_once(&task, number, 1, Span::from_secs(5), Strategy::DelayedRetry)
        })
    }

    #[test]
    fn goodput_comes_back() {
        let after = |count| tick(succeed(succeed(overloaded(), 99_999, 200), 220_000, count), 280_000);
        after(180).holds();
        after(179).violated("179 tasks succeeded in the second minute after an overload, 200 in the last before");
        let early = succeed(succeed(overloaded(), 99_999, 200), 219_999, 200);
        tick(early, 280_000).violated("0 tasks succeeded");
        let late = tick(succeed(overloaded(), 99_999, 200), 279_999);
        tick(succeed(late, 280_000, 200), 280_000).violated("0 tasks succeeded");
        tick(succeed(overloaded(), 39_999, 200), 280_000).holds();
        tick(succeed(overloaded(), 40_000, 200), 280_000).violated("0 tasks succeeded");
        tick(succeed(overloaded(), 99_999, 99), 280_000).holds();
    }

    #[test]
    fn retries_decay() {
        let busy = |history| succeed(succeed(history, 99_999, 100), 230_000, 100);
        let waiting = |first, later| {
            let history = tick(failing(succeed(overloaded(), 99_999, 100), 1, first), 220_000);
            tick(failing(succeed(history, 230_000, 100), first + 1, later), 280_000)
        };
        tick(busy(overloaded()), 280_000).holds();
        waiting(20, 0).violated("20 tasks waited to be tried again a minute after an overload, 20 a minute later");
        waiting(5, 6).violated("5 tasks waited");
        waiting(5, 5).holds();
        let usual = tick(failing(succeed(overloaded(), 99_999, 100), 1, 20), 100_000);
        tick(succeed(tick(usual, 220_000), 230_000, 100), 280_000).holds();
        let fewer = tick(failing(succeed(overloaded(), 99_999, 100), 1, 20), 220_000).assign("f1", 21);
        tick(succeed(fewer, 230_000, 100), 280_000).holds();
    }

    #[test]
    fn what_else_strikes_spoils_the_judgement() {
        tick(succeed(overloaded(), 99_999, 200).down(C).up(C), 280_000).holds();
        tick(succeed(overloaded().down(C).up(C), 99_999, 200), 280_000).violated("0 tasks succeeded");
    }

    #[test]
    fn overloads_need_a_steady_load_around_them() {
        let count = |from: &str, until: &str| {
            let text = format!("until = '5m'\noverload = [{{ from = '{from}', until = '{until}', factor = 3 }}]");
            judgeable(&toml::from_str(&text).expect("a table"), Span::from_secs(600)).len()
        };
        assert_eq!([count("62s", "180s"), count("61s", "180s"), count("62s", "181s")], [1, 0, 0]);
        let two = |other: &str| {
            let text = format!("overload = [{{ from = '100s', until = '2m' }}, {{ from = '{other}', until = '6m' }}]");
            judgeable(&toml::from_str(&text).expect("a table"), Span::from_secs(600)).len()
        };
        assert_eq!([two("4m"), two("239s")], [2, 1]);
    }
}
