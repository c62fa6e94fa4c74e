//! The properties of peers, who decide about membership among themselves: agreement and communicators.

mod ag1;
mod ag10;
mod ag2;
mod ag2_union;
mod ag3;
mod ag4;
mod ag4_answers;
mod ag4_silence;
mod ag5;
mod ag6;
mod ag7;
mod ag8;
mod ag9;
mod cm1;
mod cm2;
mod cm3;
mod cm4;
mod cm5;
mod cm6;
mod fold;
mod lv2;
mod lv6;
mod rb2;
#[cfg(test)]
pub(crate) mod testing;

pub(crate) use fold::{decides, termination_bound};

use crate::Cluster;
use squall::{Checker, Entry, Fact};
use squall_node::PeerNodeEvent;
use squall_recovery::Event;

/// Fresh checkers for one run of peers. The first in this order names the cause best.
pub(super) fn all() -> Vec<Box<dyn Checker<Cluster>>> {
    vec![
        Box::new(cm4::Cm4::default()),
        Box::new(ag7::Ag7::default()),
        Box::new(ag6::Ag6::default()),
        Box::new(ag2::Ag2::default()),
        Box::new(ag10::Ag10::default()),
        Box::new(ag9::Ag9::default()),
        Box::new(ag3::Ag3::default()),
        Box::new(ag1::Ag1::default()),
        Box::new(cm1::Cm1::default()),
        Box::new(cm2::Cm2::default()),
        Box::new(cm3::Cm3::default()),
        Box::new(ag5::Ag5::default()),
        Box::new(cm5::Cm5::default()),
        Box::new(ag4::Ag4::default()),
        Box::new(ag8::Ag8::default()),
        Box::new(lv2::Lv2::default()),
        Box::new(lv6::Lv6),
        Box::new(rb2::Rb2),
    ]
}

/// Those that hold for the product alone: who is to be suspected and when, and what becomes of that.
pub(super) fn of_product() -> Vec<Box<dyn Checker<Cluster>>> {
    vec![
        Box::new(ag2_union::Ag2Union::default()),
        Box::new(ag4_silence::Ag4Silence::default()),
        Box::new(ag4_answers::Ag4Answers::default()),
        Box::new(cm6::Cm6::default()),
    ]
}

/// What the peer of an entry told.
fn told<'a>(entry: &Entry<'a, Cluster>) -> Option<&'a PeerNodeEvent> {
    match entry.fact {
        Fact::Event { event: crate::Event::Peer(event), .. } => Some(event),
        Fact::Event {
            event:
                crate::Event::Coordinator(_) | crate::Event::Task(_) | crate::Event::Store(_) | crate::Event::Listener(_),
            ..
        }
        | Fact::Truth(_)
        | Fact::Sent { .. }
        | Fact::Delivered { .. }
        | Fact::Dropped { .. } => None,
    }
}

/// What the recovery protocol of an entry told.
fn recovery<'a>(entry: &Entry<'a, Cluster>) -> Option<&'a Event> {
    match told(entry)? {
        PeerNodeEvent::Recovery(event) => Some(event),
        PeerNodeEvent::Work(_) => None,
    }
}
