//! The properties of tasks: scheduler, breakers, checkpoints. Judged only where there are tasks.
//!
//! Every file names its property and the section of the specification that it holds the scheduler to. What the scheduler
//! should have done is computed here once more, from the history alone: no rule is taken from the core.

mod ac1;
mod ac2;
mod books;
mod breakers;
mod cb1;
mod cb10;
mod cb11;
mod cb2;
mod cb3;
mod cb4;
mod cb5;
mod cb6;
mod cb7;
mod cb8;
mod cb9;
mod ck1;
mod ck2;
mod ck3;
mod ck4;
mod ck5;
mod ck6;
mod cr1;
mod fit;
mod judge;
mod ladders;
mod line;
mod lv1;
mod lv4;
mod rb2;
mod sc1;
mod sc10;
mod sc11;
mod sc12;
mod sc13;
mod sc15;
mod sc16;
mod sc17;
mod sc18;
mod sc19;
mod sc2;
mod sc20;
mod sc3;
mod sc4;
mod sc5;
mod sc6;
mod sc7;
mod sc8;
mod sc9;
mod sh1;
mod shelves;
mod starts;
mod tallies;
#[cfg(test)]
mod testing;
mod tuning;

use super::ages::SharedAges;
use crate::Cluster;
use books::SharedBooks;
use judge::{Judge, Judged};
use squall::{Checker, Entry, Fact};
use squall_machine::Time;
use squall_scheduler::Event;

/// Fresh checkers for one run with tasks. The first in this order names the cause best.
pub(super) fn all(ages: &SharedAges) -> Vec<Box<dyn Checker<Cluster>>> {
    let books = SharedBooks::default();
    vec![
        judged::<cr1::Cr1>(&books),
        judged::<sc3::Sc3>(&books),
        judged::<sc2::Sc2>(&books),
        judged::<sc9::Sc9>(&books),
        judged::<sc8::Sc8>(&books),
        judged::<sc4::Sc4>(&books),
        Box::new(sc5::Sc5::with(books.reader(), ages.reader())),
        judged::<cb2::Cb2>(&books),
        judged::<cb3::Cb3>(&books),
        judged::<cb8::Cb8>(&books),
        judged::<sc10::Sc10>(&books),
        judged::<ac1::Ac1>(&books),
        judged::<ac2::Ac2>(&books),
        judged::<ck3::Ck3>(&books),
        Box::new(shelves::Shelves::default()),
        judged::<ck1::Ck1>(&books),
        judged::<ck2::Ck2>(&books),
        Box::new(ck6::Ck6::with(books.reader())),
        Box::new(ck4::Ck4::with(books.reader())),
        judged::<ck5::Ck5>(&books),
        judged::<sc7::Sc7>(&books),
        judged::<sc6::Sc6>(&books),
        judged::<sc15::Sc15>(&books),
        judged::<sc16::Sc16>(&books),
        judged::<sc12::Sc12>(&books),
        Box::new(sc11::Sc11::with(books.reader(), ages.reader())),
        Box::new(sc17::Sc17::with(books.reader(), ages.reader())),
        judged::<cb9::Cb9>(&books),
        judged::<cb5::Cb5>(&books),
        judged::<cb4::Cb4>(&books),
        judged::<cb6::Cb6>(&books),
        judged::<cb1::Cb1>(&books),
        judged::<cb7::Cb7>(&books),
        judged::<sh1::Sh1>(&books),
        Box::new(cb10::Cb10::with(books.reader(), ages.reader())),
        Box::new(cb11::Cb11::with(books.reader())),
        Box::new(sc13::Sc13::with(books.reader(), ages.reader())),
        Box::new(sc19::Sc19::with(books.reader())),
        Box::new(sc18::Sc18::with(books.reader())),
        Box::new(sc20::Sc20::with(books.reader())),
        Box::new(lv1::Lv1::with(books.reader())),
        Box::new(lv4::Lv4::with(books.reader())),
        Box::new(rb2::Rb2::default()),
        // After all readers of the books.
        Box::new(sc1::Sc1::with(books)),
    ]
}

fn judged<J: Judge + 'static>(books: &SharedBooks) -> Box<dyn Checker<Cluster>> {
    Box::new(Judged::<J>::with(books.reader()))
}

/// The event of a task or a worker of an entry, and when it was decided on its node's own clock.
fn told<'a>(entry: &Entry<'a, Cluster>) -> Option<(Time, &'a Event)> {
    match entry.fact {
        Fact::Event { decided, event: crate::Event::Task(event) } => Some((decided, event)),
        Fact::Event {
            event:
                crate::Event::Coordinator(_) | crate::Event::Peer(_) | crate::Event::Store(_) | crate::Event::Listener(_),
            ..
        }
        | Fact::Truth(_)
        | Fact::Sent { .. }
        | Fact::Delivered { .. }
        | Fact::Dropped { .. } => None,
    }
}
