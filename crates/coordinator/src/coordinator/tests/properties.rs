//! Anything may be said, in any order, with restarts in between.

use super::*;
use alloc::vec;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Act {
    Say(u8, Message),
    /// A member joins, or its next process does.
    Join(u8),
    /// All live members beat.
    BeatAll,
    /// The subscriber confirms all, or all but the last.
    Confirm(u64),
    /// The n-th live member beats, and asks for the next quorum in the epoch that it is told.
    Beat(usize),
    Ask(usize, bool),
    /// All live members but the n-th ask.
    AllAskBut(usize),
    /// The n-th live member confirms its eviction.
    Stop(usize),
    Pass(u64),
    Freeze(u64),
    Restart,
}

fn incarnation() -> impl Strategy<Value = Incarnation> {
    (0..12u64).prop_map(Incarnation)
}

fn message() -> impl Strategy<Value = Message> {
    let number = || (0..6u64).prop_map(Number);
    let epoch = || (1..12u64).prop_map(Epoch);
    let session = || (0..3u64).prop_map(Session);
    let role = prop_oneof![4 => Just(Role::Replica), 1 => Just(Role::Worker)];
    let asked = (incarnation(), number(), epoch(), any::<(bool, bool)>(), 0..2u32);
    prop_oneof![
        3 => (0..4u8, 0..4u64, role).prop_map(|(id, boot, role)| register(&format!("m{id}"), boot, role)),
        6 => (incarnation(), 0..40u64)
            .prop_map(|(incarnation, seq)| Message::Heartbeat { incarnation, seq, wall: Wall::default() }),
        1 => incarnation().prop_map(|incarnation| Message::Leave { incarnation }),
        6 => asked.prop_map(|(incarnation, number, epoch, (shrink_only, failed), world_size)| {
            let mut ask = plain_ask(incarnation);
            (ask.shrink_only, ask.commit_failures, ask.world_size) = (shrink_only, failed.into(), world_size);
            Message::Ask { incarnation, number, epoch, ask: Arc::new(ask) }
        }),
        1 => (incarnation(), number()).prop_map(|(incarnation, through)| Message::Withdraw { incarnation, through }),
        2 => (incarnation(), epoch()).prop_map(|(incarnation, formation)| Message::EvictAck { incarnation, formation }),
        3 => (session(), proptest::option::of((0..12u64).prop_map(Cursor)))
            .prop_map(|(session, after)| Message::Subscribe { session, after }),
        1 => session().prop_map(|session| Message::Unsubscribe { session }),
        1 => incarnation().prop_map(|incarnation| Message::Left { incarnation }),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        12 => (0..4u8, message()).prop_map(|(from, message)| Act::Say(from, message)),
        4 => (0..5u8).prop_map(Act::Join),
        6 => Just(Act::BeatAll),
        3 => (0..2u64).prop_map(Act::Confirm),
        3 => (0..5usize).prop_map(Act::Beat),
        4 => (0..5usize, any::<bool>()).prop_map(|(nth, shrink_only)| Act::Ask(nth, shrink_only)),
        3 => (0..8usize).prop_map(Act::AllAskBut),
        2 => (0..5usize).prop_map(Act::Stop),
        6 => (0..3_000u64).prop_map(Act::Pass),
        1 => (0..4_000u64).prop_map(Act::Freeze),
        1 => Just(Act::Restart),
    ]
}

impl Rig {
    fn play(&mut self, act: Act) {
        let live: Vec<Incarnation> = self.status().members.iter().map(|member| member.incarnation).collect();
        let epoch = self.epoch();
        match act {
            Act::Say(from, message) => drop(self.say(from.into(), message)),
            Act::Join(id) => {
                self.boots += 1;
                drop(self.say(1, register(&format!("m{id}"), 100 + self.boots, Role::Replica)));
                let newest = self.coordinator.snapshot().incarnation;
                drop(self.beat_on(newest));
            }
            Act::BeatAll => live.into_iter().for_each(|who| drop(self.beat_on(who))),
            Act::Confirm(but) => {
                let after = Some(Cursor(self.status().cursor.0.saturating_sub(but)));
                drop(self.say(9, Message::Subscribe { session: Session(1), after }));
            }
            Act::Beat(nth) => live.get(nth).into_iter().for_each(|&who| drop(self.beat_on(who))),
            Act::Ask(nth, shrink_only) => live.get(nth).into_iter().for_each(|&who| {
                drop(self.ask_with(who, 10 + epoch.0, epoch, |ask| ask.shrink_only = shrink_only));
            }),
            Act::AllAskBut(nth) => {
                let all = live.iter().enumerate().filter(|&(index, _)| index != nth);
                for (_, &who) in all {
                    drop(self.beat_on(who));
                    drop(self.ask_with(who, 10 + epoch.0, epoch, |_| {}));
                }
            }
            Act::Stop(nth) => live.get(nth).into_iter().for_each(|&incarnation| {
                let formation = self.status().quorum.map_or(Epoch(0), |quorum| quorum.formation);
                drop(self.say(incarnation.0, Message::EvictAck { incarnation, formation }));
            }),
            Act::Pass(millis) => self.pass(Span::from_millis(millis)),
            Act::Freeze(millis) => self.now += Span::from_millis(millis),
            Act::Restart => self.restart(),
        }
    }

    /// Beats above every number that anybody may have sent for this incarnation.
    fn beat_on(&mut self, incarnation: Incarnation) -> Vec<(u64, Message)> {
        let seq = self.seqs.entry(incarnation).or_insert(100);
        *seq = (*seq).max(100);
        self.beat(incarnation)
    }
}

/// What a history must look like, from the events alone.
#[derive(Default)]
struct Watch {
    ended: Vec<Incarnation>,
    /// When each incarnation was last heard of in this life of the coordinator.
    heard: BTreeMap<Incarnation, Time>,
    booted: Time,
    /// When all ages last started anew.
    anew: Time,
    /// Members of the newest formation that have confirmed that they stopped.
    stopped: Vec<Incarnation>,
    quorum: Option<Quorum>,
    cursor: Cursor,
}

impl Watch {
    fn see(&mut self, now: Time, event: &Event, knobs: &Knobs) {
        match event {
            Event::Stalled { .. } => self.anew = now,
            Event::HeartbeatAccepted { incarnation, .. } => {
                assert!(!self.ended.contains(incarnation), "{incarnation} came back");
                self.heard.insert(*incarnation, now);
            }
            Event::Failed { incarnation, cursor, cause, .. } => {
                assert!(!self.ended.contains(incarnation), "{incarnation} ended twice");
                let silence = now.since(self.heard(*incarnation).max(self.anew));
                assert!(*cause == Cause::Superseded || silence >= knobs.replica_timeout + knobs.grace, "too early");
                assert_eq!(*cursor, self.cursor.next());
                self.cursor = *cursor;
                self.ended.push(*incarnation);
            }
            Event::Began { returned: Some(cursor), .. } => {
                assert_eq!(*cursor, self.cursor.next());
                self.cursor = *cursor;
            }
            Event::Left { incarnation, .. } => {
                self.ended.push(*incarnation);
                self.stopped.push(*incarnation);
            }
            Event::Forgotten { incarnation, .. } => {
                let lapsed = now.since(self.heard(*incarnation)) >= knobs.takeover;
                assert!(
                    lapsed || self.stopped.contains(incarnation) || !self.works(*incarnation),
                    "{incarnation} forgotten"
                );
                self.stopped.push(*incarnation);
            }
            Event::Evicted { incarnation, .. } => self.stopped.push(*incarnation),
            Event::Formed { quorum, .. } => self.see_quorum(now, quorum, knobs),
            _ => {}
        }
    }

    /// The coordinator starts again, with a clock that has nothing to do with the last one.
    fn restart(&mut self, now: Time) {
        (self.booted, self.anew) = (now, now);
        self.heard.clear();
    }

    fn works(&self, incarnation: Incarnation) -> bool {
        self.quorum.as_ref().is_some_and(|quorum| members(quorum).contains(&incarnation.0))
    }

    fn heard(&self, incarnation: Incarnation) -> Time {
        self.heard.get(&incarnation).copied().unwrap_or(self.booted)
    }

    /// Nobody works in two groups: whoever is left out has stopped, or its lease has run out.
    fn see_quorum(&mut self, now: Time, quorum: &Quorum, knobs: &Knobs) {
        let inside = |who: Incarnation| quorum.members.iter().any(|member| member.incarnation == who);
        assert!(!quorum.members.is_empty());
        for member in quorum.members.iter() {
            assert!(!self.ended.contains(&member.incarnation), "the dead don't work");
            let age = now.since(self.heard(member.incarnation).max(self.anew));
            assert!(age < knobs.replica_timeout, "{} has been silent for {age}", member.id);
        }
        if let Some(previous) = &self.quorum {
            assert!(quorum.formation > previous.formation && quorum.id >= previous.id);
            for who in previous.members.iter().map(|member| member.incarnation) {
                let lapsed = now.since(self.heard(who)) >= knobs.takeover;
                assert!(inside(who) || self.stopped.contains(&who) || lapsed, "{who} may still be active");
            }
        }
        self.quorum = Some(quorum.clone());
        self.stopped.clear();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_said_the_invariants_hold_and_a_restart_replays_what_was_there(
        acts in proptest::collection::vec(act(), 1..120)
    ) {
        let mut rig = Rig::new(|knobs| {
            knobs.grace = SECOND;
            knobs.join_timeout = Span::from_secs(3);
            knobs.forget_after = Span::from_secs(8);
            knobs.subscriber_queue = 2;
            knobs.notices_kept = 5;
            knobs.sessions_max = 2;
            knobs.members_max = 12;
            knobs.session_ttl = Span::from_secs(9);
        });
        let mut watch = Watch::default();
        for act in acts {
            let restarts = matches!(act, Act::Restart);
            rig.play(act);
            if restarts {
                watch.restart(rig.now);
            }
            for (now, event) in rig.history.drain(..) {
                watch.see(now, &event, &rig.knobs);
            }
        }
        rig.restart();
    }

    #[test]
    fn equal_states_and_inputs_give_equal_states(acts in proptest::collection::vec(act(), 1..60)) {
        let run = || {
            let mut rig = Rig::new(|_| {});
            acts.iter().cloned().for_each(|act| rig.play(act));
            (rig.coordinator, rig.history, rig.disk)
        };
        prop_assert_eq!(run(), run());
    }
}
