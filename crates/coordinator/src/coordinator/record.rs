//! What survives a crash: records, and the state that they add up to.

use crate::{
    BootId, Capacity, Cause, Change, Cursor, Epoch, Failure, Incarnation, Notice, Number, Participant, Quorum,
    QuorumId, Role,
};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use serde::{Deserialize, Serialize};
use squall_machine::Text;

/// One durable fact. Each changes the durable state completely or not at all, so a crash may fall between any two.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// An incarnation was granted; it has not begun.
    Granted {
        /// The next number of the counter.
        incarnation: Incarnation,
        /// The member's id.
        id: Text,
        /// The process that asked.
        boot: BootId,
        /// What the member is for.
        role: Role,
        /// Where it is reached.
        address: Text,
        /// What it can hold.
        capacity: Capacity,
    },
    /// A granted incarnation began. An older one of the same id has ended before.
    Began {
        /// Which.
        incarnation: Incarnation,
        /// The place of its `Returned` notice; there is one iff the member's failure was remembered.
        returned: Option<Cursor>,
    },
    /// An incarnation ended by failure.
    Failed {
        /// Which.
        incarnation: Incarnation,
        /// Why.
        cause: Cause,
        /// The place of its notice.
        cursor: Cursor,
    },
    /// An incarnation ended by planned departure, or a grant was given back.
    Left {
        /// Which.
        incarnation: Incarnation,
    },
    /// An ended incarnation, or a grant that nobody claimed, was forgotten.
    Forgotten {
        /// Which.
        incarnation: Incarnation,
    },
    /// The formation started over: a replica failed, or the coordinator restarted.
    Reset {
        /// The epoch that begins.
        epoch: Epoch,
    },
    /// A quorum was formed; the next epoch begins.
    Formed {
        /// The quorum, with the numbers of the requests that it answers.
        quorum: Quorum,
    },
    /// A member confirmed that it isn't Active in the newest formation or an earlier one.
    Evicted {
        /// Who.
        incarnation: Incarnation,
        /// Out of which formation.
        formation: Epoch,
    },
}

/// How an incarnation ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// By failure.
    Failed(Cause),
    /// By planned departure.
    Left,
}

/// Where an incarnation is between its grant and its end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Granted; no heartbeat has carried it.
    Granted,
    /// A heartbeat has claimed it, and it has not ended.
    Begun,
    /// It never comes back.
    Ended(End),
}

/// One incarnation, as the disk knows it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Member {
    /// The member's id.
    pub id: Text,
    /// The process that registered.
    pub boot: BootId,
    /// What the member is for.
    pub role: Role,
    /// Where it is reached.
    pub address: Text,
    /// What it can hold.
    pub capacity: Capacity,
    /// Where it is between its grant and its end.
    pub stage: Stage,
}

/// All durable state of the coordinator.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Snapshot {
    /// The newest granted incarnation; 0 before the first.
    pub incarnation: Incarnation,
    /// Where the formation of quorums stands.
    pub epoch: Epoch,
    /// The newest notice; 0 before the first.
    pub cursor: Cursor,
    /// Every incarnation that is not forgotten.
    pub members: BTreeMap<Incarnation, Member>,
    /// The current failures, by member.
    pub failures: BTreeMap<Text, Failure>,
    /// The newest notices, without a gap, up to `cursor`.
    pub notices: VecDeque<Notice>,
    /// The newest formation.
    pub formed: Option<Quorum>,
    /// Members of the newest formation that have neither left nor acknowledged their eviction from it. Everybody else is
    /// known not to be Active: a formation is formed only once all whom it leaves out are.
    pub holders: BTreeSet<Incarnation>,
}

impl Default for Snapshot {
    fn default() -> Self {
        Self {
            incarnation: Incarnation(0),
            epoch: Epoch(1),
            cursor: Cursor(0),
            members: BTreeMap::new(),
            failures: BTreeMap::new(),
            notices: VecDeque::new(),
            formed: None,
            holders: BTreeSet::new(),
        }
    }
}

impl Snapshot {
    /// The number of the newest quorum; 0 before the first.
    #[must_use]
    pub fn quorum_id(&self) -> QuorumId {
        self.formed.as_ref().map_or(QuorumId(0), |quorum| quorum.id)
    }

    /// This incarnation's part in the newest formation.
    #[must_use]
    pub fn participant(&self, incarnation: Incarnation) -> Option<&Participant> {
        let id = &self.members.get(&incarnation)?.id;
        let members = &self.formed.as_ref()?.members;
        let at = members.binary_search_by(|participant| participant.id.cmp(id)).ok()?;
        Some(&members[at]).filter(|participant| participant.incarnation == incarnation)
    }

    /// The request of this incarnation that the newest formation answered.
    #[must_use]
    pub fn answered(&self, incarnation: Incarnation) -> Option<Number> {
        self.participant(incarnation).map(|participant| participant.number)
    }

    /// Adds one record. Keeps the last `notices_kept` notices.
    ///
    /// # Panics
    /// If the record can't follow the state: the disk returned something else than what was written.
    pub fn apply(&mut self, record: &Record, notices_kept: u32) {
        match record {
            Record::Granted { incarnation, id, boot, role, address, capacity } => {
                assert_eq!(*incarnation, self.incarnation.next(), "a grant out of order");
                let (id, address) = (id.clone(), address.clone());
                let member =
                    Member { id, boot: *boot, role: *role, address, capacity: *capacity, stage: Stage::Granted };
                self.incarnation = *incarnation;
                self.members.insert(*incarnation, member);
            }
            Record::Began { incarnation, returned } => {
                let id = self.transition(*incarnation, Stage::Begun);
                let failure = self.failures.remove(&id);
                assert_eq!(failure.is_some(), returned.is_some(), "{id} returned without a failure, or silently");
                if let Some(cursor) = *returned {
                    self.note(id, *incarnation, cursor, Change::Returned, notices_kept);
                }
            }
            Record::Failed { incarnation, cause, cursor } => {
                let (incarnation, cause, cursor) = (*incarnation, *cause, *cursor);
                let id = self.transition(incarnation, Stage::Ended(End::Failed(cause)));
                self.failures.insert(id.clone(), Failure { member: id.clone(), incarnation, cause, cursor });
                self.note(id, incarnation, cursor, Change::Failed(cause), notices_kept);
            }
            Record::Left { incarnation } => {
                self.transition(*incarnation, Stage::Ended(End::Left));
                self.holders.remove(incarnation);
            }
            Record::Forgotten { incarnation } => self.forget(*incarnation),
            Record::Reset { epoch } => {
                assert_eq!(*epoch, self.epoch.next(), "an epoch out of order");
                self.epoch = *epoch;
            }
            Record::Formed { quorum } => {
                assert_eq!(quorum.formation, self.epoch, "a formation of another epoch");
                self.epoch = quorum.formation.next();
                self.holders = quorum.members.iter().map(|participant| participant.incarnation).collect();
                self.formed = Some(quorum.clone());
            }
            Record::Evicted { incarnation, .. } => {
                assert!(self.holders.remove(incarnation), "{incarnation} was evicted from nothing");
            }
        }
    }

    /// The only writer of a stage. Returns the member's id.
    fn transition(&mut self, incarnation: Incarnation, to: Stage) -> Text {
        let member = self.members.get_mut(&incarnation).expect("a record about an unknown incarnation");
        let legal = match to {
            Stage::Granted => false,
            Stage::Begun => member.stage == Stage::Granted,
            Stage::Ended(End::Failed(_)) => member.stage == Stage::Begun,
            Stage::Ended(End::Left) => matches!(member.stage, Stage::Granted | Stage::Begun),
        };
        assert!(legal, "incarnation {incarnation} can't go from {:?} to {to:?}", member.stage);
        member.stage = to;
        member.id.clone()
    }

    fn note(&mut self, member: Text, incarnation: Incarnation, cursor: Cursor, change: Change, kept: u32) {
        assert_eq!(cursor, self.cursor.next(), "the numbering of notices has no gaps");
        self.cursor = cursor;
        self.notices.push_back(Notice { cursor, member, incarnation, change });
        while self.notices.len() > kept as usize {
            self.notices.pop_front();
        }
    }

    fn forget(&mut self, incarnation: Incarnation) {
        let member = self.members.remove(&incarnation).expect("forgetting an unknown incarnation");
        assert_ne!(member.stage, Stage::Begun, "incarnation {incarnation} has not ended");
        if self.failures.get(&member.id).is_some_and(|failure| failure.incarnation == incarnation) {
            self.failures.remove(&member.id);
        }
        self.holders.remove(&incarnation);
    }
}
