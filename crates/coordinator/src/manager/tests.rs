//! One test per rule, told by what leaves the manager: `Show` prints an effect on one line.

use super::*;
use crate::{Incarnation, Number, Participant};
use alloc::format;
use alloc::string::String;
use squall_machine::{Durable, Outbox, Released};

struct Group {
    manager: Manager,
    outbox: Outbox<Manager>,
    now: Time,
}

fn group(world_size: u32) -> Group {
    let config = ManagerConfig {
        id: "r1".into(),
        address: "a1".into(),
        store_address: "s1".into(),
        world_size,
        knobs: Arc::new(Knobs::default()),
    };
    let mut group = Group { manager: Manager::new(config), outbox: Outbox::new(), now: Time::ZERO };
    assert!(group.step(Input::Boot(Durable::empty())).is_empty());
    group
}

fn call(step: u64) -> RankCall {
    RankCall {
        step,
        shrink_only: false,
        init_sync: true,
        commit_failures: 0,
        store_address: "".into(),
        data: "".into(),
        patience: None,
    }
}

fn quorum(id: u64, formation: u64, ids: &[&str]) -> Quorum {
    let ask = Arc::new(Ask {
        address: "a".into(),
        store_address: "s".into(),
        step: 4,
        world_size: 1,
        shrink_only: false,
        commit_failures: 0,
        data: "".into(),
    });
    let member =
        |id: &&str| Participant { id: (*id).into(), incarnation: Incarnation(1), number: Number(1), ask: ask.clone() };
    Quorum { id: QuorumId(id), formation: Epoch(formation), members: ids.iter().map(member).collect() }
}

impl Group {
    fn step(&mut self, input: Input<Manager>) -> Vec<String> {
        let mut effects = Effects::new();
        self.manager.step(self.now, input, &mut effects);
        self.manager.assert_invariants();
        let mut shown = Vec::new();
        let batch = self.outbox.drain(self.now, &mut effects, |released| shown.push(show(released)));
        assert!(batch.is_none(), "a manager holds nothing durable");
        shown
    }

    fn request(&mut self, request: ManagerRequest) -> Vec<String> {
        self.step(Input::Request(request))
    }

    fn quorum(&mut self, rank: u32, token: u64, call: RankCall) -> Vec<String> {
        self.request(ManagerRequest::Quorum { rank, token, call })
    }

    fn vote(&mut self, rank: u32, token: u64, step: u64, quorum_id: u64, commit: bool) -> Vec<String> {
        self.request(ManagerRequest::Vote { rank, token, step, quorum_id: QuorumId(quorum_id), commit })
    }

    fn wake_at(&mut self, now: Time) -> Vec<String> {
        self.now = now;
        self.step(Input::Wake)
    }

    /// Brings the group into quorum 7 of formation 9.
    fn form(&mut self) {
        for rank in 0..self.manager.world_size() {
            self.quorum(rank, u64::from(rank), call(4));
        }
        self.request(ManagerRequest::Formed(quorum(7, 9, &["r0", "r1"])));
        assert_eq!(self.manager.waiting_ranks(), 0);
    }
}

fn show(released: Released<Manager>) -> String {
    match released {
        Released::Message { message, .. } => panic!("a manager sends nothing: {message:?}"),
        Released::Reply(reply) => match reply {
            ManagerReply::Answer { rank, token, answer } => format!("answer {rank}/{token} {}", brief(&answer)),
            ManagerReply::Decision { rank, token, step, quorum_id, decision } => {
                format!("decision {rank}/{token} {step} in {quorum_id}: {decision}")
            }
            ManagerReply::Rejected { rank, token, reason } => format!("rejected {rank}/{token} {reason:?}"),
            ManagerReply::Ask(ask) => {
                format!("ask step {} failures {} store {}", ask.step, ask.commit_failures, ask.store_address)
            }
            ManagerReply::Withdraw => "withdraw".into(),
            ManagerReply::Leave => "leave".into(),
        },
        Released::Event { event, .. } => match event {
            Event::RankAsked { rank, step } => format!("~ asked {rank} step {step}"),
            Event::RankAnswered { rank, answer } => format!("~ answered {rank} {}", brief(&answer)),
            Event::VoteOpened { step, quorum_id } => format!("~ vote opened {step} in {quorum_id}"),
            Event::Voted { rank, commit, .. } => format!("~ voted {rank} {commit}"),
            Event::VoteClosed { step, quorum_id, decision, end } => {
                format!("~ vote closed {step} in {quorum_id}: {decision} {end:?}")
            }
            Event::Ignored { reason, .. } => format!("~ ignored {reason:?}"),
            event => panic!("not a manager's event: {event:?}"),
        },
    }
}

fn brief(answer: &RankAnswer) -> String {
    match answer {
        RankAnswer::Quorum(view) => format!("quorum {} rank {}", view.quorum_id, view.replica_rank),
        RankAnswer::Error(error) => format!("{error:?}"),
    }
}

#[test]
fn asks_once_when_every_rank_has_called_and_answers_each_with_its_own_view() {
    let mut group = group(2);
    assert_eq!(group.quorum(1, 11, call(4)), ["~ asked 1 step 4"]);
    let other = RankCall { commit_failures: 2, store_address: "s0".into(), ..call(4) };
    assert_eq!(group.quorum(0, 10, other), ["~ asked 0 step 4", "ask step 4 failures 2 store s0"]);
    let formed = group.request(ManagerRequest::Formed(quorum(7, 9, &["r0", "r1"])));
    assert_eq!(
        formed,
        [
            "~ answered 0 quorum 7 rank 1",
            "answer 0/10 quorum 7 rank 1",
            "~ answered 1 quorum 7 rank 1",
            "answer 1/11 quorum 7 rank 1"
        ]
    );
    let again = group.request(ManagerRequest::Formed(quorum(7, 9, &["r0", "r1"])));
    assert_eq!(again, ["~ ignored StaleAnswer"]);
}

#[test]
fn a_quorum_without_this_replica_is_no_answer() {
    let mut group = group(1);
    group.quorum(0, 1, call(4));
    let formed = group.request(ManagerRequest::Formed(quorum(7, 9, &["r0", "r2"])));
    assert_eq!(formed, ["~ ignored StaleAnswer"]);
    assert_eq!(group.manager.waiting_ranks(), 1);
}

#[test]
fn ranks_that_disagree_all_get_an_error() {
    for wrong in [call(5), RankCall { shrink_only: true, ..call(4) }, RankCall { init_sync: false, ..call(4) }] {
        let mut group = group(2);
        group.quorum(0, 1, call(4));
        let shown = group.quorum(1, 2, wrong);
        assert_eq!(
            shown[1..],
            [
                "~ answered 0 Disagreement",
                "answer 0/1 Disagreement",
                "~ answered 1 Disagreement",
                "answer 1/2 Disagreement"
            ]
        );
        assert_eq!(group.manager.waiting_ranks(), 0);
    }
}

#[test]
fn a_repeated_call_replaces_the_earlier_one_of_its_rank() {
    let mut group = group(2);
    group.quorum(0, 1, call(4));
    let repeated = group.quorum(0, 2, call(5));
    assert_eq!(repeated, ["~ asked 0 step 5", "~ answered 0 Replaced", "answer 0/1 Replaced"]);
    assert_eq!(group.quorum(0, 2, call(5)), ["~ ignored RepeatedRequest"]);
    assert_eq!(group.quorum(1, 3, call(5))[1..], ["ask step 5 failures 0 store s1"]);
    let joins = group.quorum(0, 4, call(5));
    assert_eq!(joins, ["~ asked 0 step 5", "~ answered 0 Replaced", "answer 0/2 Replaced"], "nothing new to ask");
    let disagrees = group.quorum(0, 5, call(6));
    assert_eq!(disagrees[3], "withdraw");
    assert_eq!(disagrees.len(), 8);
}

#[test]
fn refusals_and_the_end_reach_every_caller() {
    let mut group = group(2);
    assert_eq!(group.request(ManagerRequest::Refused(Refusal::NothingToShrink)), ["~ ignored StaleAnswer"]);
    group.quorum(0, 1, call(4));
    group.quorum(1, 2, call(4));
    let refused = group.request(ManagerRequest::Refused(Refusal::NothingToShrink));
    assert_eq!(refused.len(), 4);
    assert_eq!(refused[3], "answer 1/2 Refused(NothingToShrink)");
    group.quorum(0, 3, call(4));
    let superseded = group.request(ManagerRequest::Superseded);
    assert_eq!(superseded, ["~ answered 0 Superseded", "answer 0/3 Superseded"]);
    assert_eq!(group.quorum(0, 4, call(4)), ["~ ignored Stopped", "answer 0/4 Superseded"]);
}

#[test]
fn calls_that_never_count_are_named() {
    let mut group = group(2);
    assert_eq!(group.quorum(2, 1, call(4)), ["~ ignored RankOutOfRange", "answer 2/1 RankOutOfRange"]);
    let long: Text = "x".repeat(Knobs::default().text_bytes_max as usize + 1).into();
    let shown = group.quorum(0, 1, RankCall { store_address: long, ..call(4) });
    assert_eq!(shown, ["~ ignored TextTooLong", "answer 0/1 Refused(Malformed)"]);
    let message = Message::Left { incarnation: Incarnation(1) };
    let input = Input::Receive { from: squall_machine::Address(1), message };
    assert_eq!(group.step(input), ["~ ignored WrongDirection"]);
}

#[test]
fn a_deadline_ends_its_call_and_withdraws_what_was_asked_for_all() {
    let mut group = group(2);
    group.quorum(0, 1, call(4));
    group.quorum(1, 2, RankCall { patience: Some(Span::from_secs(3)), ..call(4) });
    let due = group.manager.deadline().expect("the patience of rank 1");
    assert_eq!(due, Time::ZERO + Span::from_secs(3));
    assert!(group.wake_at(Time::from_nanos(due.as_nanos() - 1)).is_empty());
    assert_eq!(group.wake_at(due), ["withdraw", "~ answered 1 Deadline", "answer 1/2 Deadline"]);
    assert_eq!(group.manager.deadline(), None);
    assert_eq!(group.quorum(1, 3, call(4))[1..], ["ask step 4 failures 0 store s1"], "rank 0 still waits");
}

#[test]
fn a_vote_is_true_only_with_every_local_rank() {
    let mut group = group(2);
    group.form();
    assert_eq!(group.vote(0, 1, 4, 7, true), ["~ vote opened 4 in 7", "~ voted 0 true"]);
    assert_eq!(
        group.vote(1, 2, 4, 7, true),
        [
            "~ voted 1 true",
            "~ vote closed 4 in 7: true Complete",
            "decision 0/1 4 in 7: true",
            "decision 1/2 4 in 7: true"
        ]
    );
    assert_eq!(group.vote(0, 3, 4, 7, true), ["~ ignored RepeatedVote", "decision 0/3 4 in 7: true"]);
    assert_eq!(group.vote(0, 4, 3, 7, true), ["~ ignored WrongVote", "rejected 0/4 WrongVote"]);
    assert_eq!(group.vote(0, 5, 5, 7, true)[0], "~ vote opened 5 in 7");
}

#[test]
fn one_vote_against_decides_and_later_voters_hear_the_same() {
    let mut group = group(3);
    group.form();
    group.vote(0, 1, 4, 7, true);
    assert_eq!(
        group.vote(1, 2, 4, 7, false),
        [
            "~ voted 1 false",
            "~ vote closed 4 in 7: false Against",
            "decision 0/1 4 in 7: false",
            "decision 1/2 4 in 7: false"
        ]
    );
    assert_eq!(group.vote(2, 3, 4, 7, true), ["~ ignored WrongVote", "decision 2/3 4 in 7: false"]);
}

#[test]
fn duplicates_and_other_steps_never_count() {
    let mut group = group(2);
    assert_eq!(group.vote(0, 1, 4, 7, true), ["~ ignored WrongVote", "rejected 0/1 WrongVote"], "no quorum yet");
    group.form();
    group.vote(0, 1, 4, 7, true);
    assert_eq!(group.vote(0, 2, 4, 7, false), ["~ ignored RepeatedVote"]);
    assert_eq!(group.vote(1, 3, 5, 7, true), ["~ ignored WrongVote", "rejected 1/3 WrongVote"]);
    assert_eq!(group.vote(1, 4, 4, 6, true), ["~ ignored WrongVote", "rejected 1/4 WrongVote"]);
    assert_eq!(group.vote(2, 5, 4, 7, true), ["~ ignored RankOutOfRange", "rejected 2/5 RankOutOfRange"]);
    let closed = group.vote(1, 6, 4, 7, true);
    assert_eq!(closed[2], "decision 0/2 4 in 7: true", "the newest call of a rank waits");
}

#[test]
fn a_newer_quorum_or_the_end_of_this_one_ends_an_open_vote_as_false() {
    for ends in [ManagerRequest::Inactive, ManagerRequest::Formed(quorum(7, 10, &["r1"]))] {
        let mut group = group(2);
        group.form();
        group.vote(0, 1, 4, 7, true);
        group.quorum(0, 2, call(4));
        group.quorum(1, 3, call(4));
        let shown = group.request(ends.clone());
        assert_eq!(shown[..2], ["~ vote closed 4 in 7: false NewerQuorum", "decision 0/1 4 in 7: false"]);
        let late = group.vote(1, 4, 4, 7, true);
        let expected = if ends == ManagerRequest::Inactive { "~ ignored WrongVote" } else { "~ vote opened 4 in 7" };
        assert_eq!(late[0], expected);
    }
}

#[test]
fn a_vote_ends_at_its_deadline_before_anything_else_is_judged() {
    let mut group = group(2);
    group.form();
    group.vote(0, 1, 4, 7, true);
    let due = group.manager.deadline().expect("an open vote");
    assert_eq!(due, Time::ZERO + Knobs::default().vote_timeout);
    assert_eq!(group.manager.open_vote(), Some((4, QuorumId(7), 1)));
    group.now = due;
    assert_eq!(
        group.vote(1, 2, 4, 7, true),
        [
            "~ vote closed 4 in 7: false Deadline",
            "decision 0/1 4 in 7: false",
            "~ ignored WrongVote",
            "decision 1/2 4 in 7: false"
        ]
    );
}

#[test]
fn shutting_down_is_idempotent_and_ends_everything() {
    let mut group = group(2);
    group.form();
    group.vote(0, 1, 4, 7, true);
    group.quorum(1, 2, call(4));
    assert_eq!(
        group.request(ManagerRequest::Shutdown),
        [
            "~ answered 1 Shutdown",
            "answer 1/2 Shutdown",
            "~ vote closed 4 in 7: false Shutdown",
            "decision 0/1 4 in 7: false",
            "leave"
        ]
    );
    assert_eq!(group.request(ManagerRequest::Shutdown), ["~ ignored Stopped"]);
    assert_eq!(group.vote(1, 3, 4, 7, true), ["~ ignored Stopped", "rejected 1/3 Stopped"]);
    assert_eq!(group.manager.deadline(), None);
}
