//! The wiring between the parts.

use crate::rig::{Rig, config};
use crate::{MemberPhase, MemberReply, MemberRequest};
use alloc::vec::Vec;
use squall_coordinator::{Event, Ignored, Inactivity, QuorumId, RankAnswer, RankError, Refusal, Role, VoteEnd};
use squall_machine::{Machine, Span};

fn vote(token: u64, commit: bool) -> MemberRequest {
    MemberRequest::Vote { rank: 0, token, step: 4, quorum_id: QuorumId(9), commit }
}

#[test]
fn a_rank_gets_its_view_of_the_quorum_and_votes_in_it() {
    let mut rig = Rig::replica();
    rig.ask();
    let given = rig.form(1, 3, 1);
    let [MemberReply::Answer { rank: 0, token: 1, answer: RankAnswer::Quorum(view) }] = &given.replies[..] else {
        panic!("one answer: {:?}", given.replies);
    };
    assert_eq!((view.quorum_id, view.replica_count), (QuorumId(9), 1));
    let given = rig.request(vote(2, true));
    assert!(matches!(given.replies[..], [MemberReply::Decision { token: 2, decision: true, .. }]));
}

#[test]
fn nobody_commits_in_a_formation_that_has_ended() {
    let (mut rig, _) = Rig::boot(crate::MemberConfig { world_size: 2, ..config(Role::Replica, false) }, Vec::new());
    rig.grant(5, 1);
    rig.ask();
    let given = rig.request(second_rank());
    assert_eq!(given.asked(), Some((1, 1)));
    rig.form(1, 3, 1);
    rig.request(vote(2, true));
    let given = rig.pass(Span::from_secs(4));
    assert_eq!(given.inactive(), Some((3, Inactivity::Lapsed)));
    assert!(given.replies.iter().any(|reply| matches!(reply, MemberReply::Decision { decision: false, .. })));
    let closed = |event: &Event| matches!(event, Event::VoteClosed { decision: false, end: VoteEnd::NewerQuorum, .. });
    assert!(given.events.iter().any(closed));
    let given = rig.request(vote(3, true));
    assert!(matches!(given.replies[..], [MemberReply::Rejected { token: 3, reason: Ignored::WrongVote, .. }]));
}

fn second_rank() -> MemberRequest {
    let call = squall_coordinator::RankCall {
        step: 4,
        shrink_only: false,
        init_sync: true,
        commit_failures: 0,
        store_address: "".into(),
        data: "".into(),
        patience: None,
    };
    MemberRequest::Quorum { rank: 1, token: 9, call }
}

#[test]
fn a_worker_has_no_local_ranks() {
    let (mut rig, _) = Rig::boot(config(Role::Worker, false), Vec::new());
    rig.grant(5, 1);
    let refused = RankAnswer::Error(RankError::Refused(Refusal::NotAReplica));
    assert_eq!(rig.ask().replies, [MemberReply::Answer { rank: 0, token: 1, answer: refused }]);
    let given = rig.request(vote(2, true));
    assert_eq!(given.ignored(), Some(Ignored::RankOutOfRange));
    assert_eq!(rig.reset(5, 2).ignored(), Some(Ignored::StaleAnswer));
    rig.request(MemberRequest::Leave);
    assert_eq!(rig.member.status(rig.now).phase, MemberPhase::Leaving);
}

#[test]
fn leaving_ends_what_ranks_wait_for() {
    let mut rig = Rig::replica();
    rig.ask();
    let given = rig.request(MemberRequest::Leave);
    let answer = RankAnswer::Error(RankError::Shutdown);
    assert_eq!(given.replies, [MemberReply::Answer { rank: 0, token: 1, answer }]);
    assert_eq!(given.kinds(), ["leave"]);
    assert_eq!(rig.open(), None);
}

#[test]
fn says_what_it_waits_for() {
    let (mut rig, _) = Rig::boot(config(Role::Replica, false), Vec::new());
    assert_eq!(rig.member.status(rig.now).waits_for, "an incarnation");
    rig.pass(Span::from_secs(3));
    assert_eq!(rig.member.status(rig.now).waits_for, "an incarnation; the coordinator is silent");
    rig.grant(5, 1);
    assert_eq!(rig.member.status(rig.now).waits_for, "");
    rig.ask();
    assert_eq!(rig.member.status(rig.now).waits_for, "the answer to request 1 in epoch 1");
    rig.form(1, 3, 1);
    assert_eq!(rig.member.status(rig.now).waits_for, "");
    rig.request(MemberRequest::Leave);
    assert_eq!(rig.member.status(rig.now).waits_for, "the coordinator to confirm that it leaves");
}

#[test]
fn each_deadline_is_later_than_the_step_that_set_it() {
    let mut rig = Rig::active();
    rig.ask();
    for _ in 0..1_000 {
        let due = rig.member.deadline().expect("it asks");
        assert!(due > rig.now, "no work is left for this instant");
        rig.pass(Span::from_nanos(due.as_nanos() - rig.now.as_nanos()));
    }
}
