//! Links between nodes: which faults are on them, and how a message travels.

use crate::{Delay, DropReason, Fate, Hop, Links, NodeId, NodeSet, Quality, QualityPatch};
use squall_machine::{Address, Random, Ratio, Span, Time};
use std::collections::BTreeMap;

/// A message on its way.
#[derive(Clone, Debug)]
pub(super) struct Flight<T> {
    pub(super) hop: Hop,
    /// Where the sender can be answered.
    pub(super) from: Address,
    /// Where it goes.
    pub(super) to: Address,
    pub(super) message: T,
    /// Whether a bit flipped.
    pub(super) corrupt: bool,
}

/// What is wrong with some links at the moment.
#[derive(Debug)]
pub(super) struct LinkFault<T> {
    /// Distinguishes it from all others, for undoing it.
    pub(super) token: u64,
    /// The fault of the plan that it belongs to; `None` for the isolation at the end of the fault phase.
    pub(super) fault: Option<usize>,
    pub(super) reach: Reach,
    /// Links that were healed one by one since it began.
    pub(super) healed: Vec<Links>,
    pub(super) effect: LinkEffect<T>,
}

impl<T> LinkFault<T> {
    pub(super) fn covers(&self, from: NodeId, to: NodeId) -> bool {
        self.reach.covers(from, to) && !self.healed.iter().any(|links| links.cover(from, to))
    }
}

/// Which links a fault is on.
#[derive(Clone, Debug)]
pub(super) enum Reach {
    Links(Vec<Links>),
    /// Between these nodes and everybody else.
    Around {
        nodes: NodeSet,
        inbound: bool,
        outbound: bool,
    },
}

impl Reach {
    pub(super) fn covers(&self, from: NodeId, to: NodeId) -> bool {
        match self {
            Self::Links(links) => links.iter().any(|links| links.cover(from, to)),
            Self::Around { nodes, inbound, outbound } => {
                from != to && (*inbound && nodes.contains(to) || *outbound && nodes.contains(from))
            }
        }
    }

    /// Roughly how many nodes are impaired by a cut of this reach.
    pub(super) fn impaired(&self) -> usize {
        match self {
            Self::Links(links) => links.iter().map(|links| links.from.len().min(links.to.len())).sum(),
            Self::Around { nodes, .. } => nodes.len(),
        }
    }
}

#[derive(Debug)]
pub(super) enum LinkEffect<T> {
    Cut,
    Clog { held: Vec<Flight<T>> },
    Degrade(QualityPatch),
}

/// Treats the next messages of some kind specially.
#[derive(Debug)]
pub(super) struct Singled {
    pub(super) token: u64,
    pub(super) fault: usize,
    pub(super) kind: Option<usize>,
    pub(super) links: Links,
    pub(super) left: u32,
    pub(super) fate: Fate,
}

/// Over how many of its longest delays a link spreads messages that it holds back or copies.
const SPREAD: u64 = 10;

#[derive(Debug)]
pub(super) struct Network<T> {
    quality: Quality,
    pub(super) faults: Vec<LinkFault<T>>,
    pub(super) singled: Vec<Singled>,
    /// When a link of limited bandwidth has sent everything that queues for it.
    busy_until: BTreeMap<(NodeId, NodeId), Time>,
    backlog_max: usize,
    /// Over what time messages that are held back or copied are spread at least.
    spread: Span,
    /// Whether a real transport lies beneath: then it, and not this layer, keeps messages from passing barred links.
    transport: bool,
}

/// What the network does with a message that was just sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Plan {
    Drop(DropReason),
    /// Waits in the clogged link of this index.
    Hold(usize),
    /// Arrives after these delays, one for each copy; the first is the message itself.
    Arrive {
        delays: Vec<Span>,
        corrupt: bool,
    },
    /// The ordinary case, without an allocation.
    ArriveOnce(Span),
}

impl<T: Clone> Network<T> {
    pub(super) fn new(quality: Quality, backlog_max: usize) -> Self {
        Self {
            quality,
            faults: Vec::new(),
            singled: Vec::new(),
            busy_until: BTreeMap::new(),
            backlog_max,
            spread: Span::ZERO,
            transport: false,
        }
    }

    /// A layer over a transport that bars links by itself, and takes up to `longest` for each message.
    pub(super) fn beneath(quality: Quality, longest: Span, backlog_max: usize) -> Self {
        Self { transport: true, spread: longest * SPREAD, ..Self::new(quality, backlog_max) }
    }

    /// From now on links lose, duplicate, reorder and corrupt nothing by themselves.
    pub(super) fn calm(&mut self) {
        self.quality.loss = Ratio::ZERO;
        self.quality.duplicate = Ratio::ZERO;
        self.quality.reorder = Ratio::ZERO;
        self.quality.corrupt = Ratio::ZERO;
        self.quality.bandwidth = None;
    }

    /// Whether a cut or clog keeps a message from arriving now, and the index of it.
    pub(super) fn barred(&self, from: NodeId, to: NodeId) -> Option<usize> {
        self.faults.iter().position(|fault| !matches!(fault.effect, LinkEffect::Degrade(_)) && fault.covers(from, to))
    }

    /// Decides what becomes of a message. `strikes` counts, by fault, how often one had an effect.
    pub(super) fn plan(&mut self, hop: &Hop, now: Time, random: &mut Random, strikes: &mut [u64]) -> Plan {
        if self.faults.is_empty() && self.singled.is_empty() && self.quality.is_plain() {
            return Plan::ArriveOnce(draw_delay(self.quality.delay, random));
        }
        if let Some(index) = self.barred(hop.from, hop.to) {
            let fault = &self.faults[index];
            if let Some(fault) = fault.fault {
                strikes[fault] += 1;
            }
            if self.transport {
                return self.pass(hop, now, random, strikes);
            }
            return if matches!(fault.effect, LinkEffect::Cut) {
                Plan::Drop(DropReason::Cut)
            } else {
                Plan::Hold(index)
            };
        }
        self.pass(hop, now, random, strikes)
    }

    /// Decides what becomes of a message on a link that is open.
    fn pass(&mut self, hop: &Hop, now: Time, random: &mut Random, strikes: &mut [u64]) -> Plan {
        let fate = self.single_out(hop, strikes);
        if fate == Some(Fate::Drop) {
            return Plan::Drop(DropReason::Scripted);
        }
        self.travel(hop, now, fate, random, strikes)
    }

    fn travel(&mut self, hop: &Hop, now: Time, fate: Option<Fate>, random: &mut Random, strikes: &mut [u64]) -> Plan {
        let (quality, degraded_by) = self.quality_of(hop.from, hop.to);
        let mut strike = |happened: bool| {
            if happened {
                degraded_by.iter().for_each(|&fault| strikes[fault] += 1);
            }
            happened
        };
        if strike(!quality.loss.is_zero() && random.chance(quality.loss)) {
            return Plan::Drop(DropReason::Loss);
        }
        let mut delay = draw_delay(quality.delay, random);
        strike(quality.delay != self.quality.delay);
        if strike(!quality.reorder.is_zero() && random.chance(quality.reorder)) {
            delay += random.span(Span::ZERO, self.spread_of(quality.delay));
        }
        if let Some(per_second) = quality.bandwidth {
            match self.queue_up(hop, now, per_second) {
                Some(wait) => {
                    strike(wait > Span::ZERO);
                    delay += wait;
                }
                None => {
                    strike(true);
                    return Plan::Drop(DropReason::Overflow);
                }
            }
        }
        if let Some(Fate::Delay(by)) = fate {
            delay += by;
        }
        let mut delays = vec![delay];
        if strike(!quality.duplicate.is_zero() && random.chance(quality.duplicate)) {
            delays.push(delay + random.span(Span::ZERO, self.spread_of(quality.delay)));
        }
        if let Some(Fate::Duplicate { copies, within }) = fate {
            delays.extend((0..copies).map(|_| delay + random.span(Span::ZERO, within)));
        }
        let corrupt = strike(!quality.corrupt.is_zero() && random.chance(quality.corrupt));
        Plan::Arrive { delays, corrupt }
    }

    /// Over what time messages of a link with this delay are spread when they are held back or copied.
    fn spread_of(&self, delay: Delay) -> Span {
        self.spread.max(delay.longest() * SPREAD)
    }

    fn single_out(&mut self, hop: &Hop, strikes: &mut [u64]) -> Option<Fate> {
        let index = self.singled.iter().position(|singled| {
            singled.kind.is_none_or(|kind| kind == hop.kind) && singled.links.cover(hop.from, hop.to)
        })?;
        let singled = &mut self.singled[index];
        strikes[singled.fault] += 1;
        singled.left -= 1;
        let fate = singled.fate;
        if singled.left == 0 {
            self.singled.remove(index);
        }
        Some(fate)
    }

    fn quality_of(&self, from: NodeId, to: NodeId) -> (Quality, Vec<usize>) {
        let mut quality = self.quality;
        let mut degraded_by = Vec::new();
        for fault in &self.faults {
            if let LinkEffect::Degrade(patch) = &fault.effect
                && fault.covers(from, to)
            {
                patch.apply(&mut quality);
                degraded_by.extend(fault.fault);
            }
        }
        (quality, degraded_by)
    }

    /// How long a message waits for the ones before it and its own transmission; `None` if too many wait already.
    fn queue_up(&mut self, hop: &Hop, now: Time, per_second: u32) -> Option<Span> {
        let each = Span::from_secs(1) / u64::from(per_second);
        let busy_until = self.busy_until.entry((hop.from, hop.to)).or_insert(now);
        let start = now.max(*busy_until);
        if start.since(now).as_nanos() / each.as_nanos().max(1) >= self.backlog_max as u64 {
            return None;
        }
        *busy_until = start + each;
        Some(busy_until.since(now))
    }

    /// A delay for a message that was held and is released now.
    pub(super) fn fresh_delay(&self, random: &mut Random) -> Span {
        draw_delay(self.quality.delay, random)
    }
}

impl Quality {
    /// Whether messages are only delayed.
    fn is_plain(&self) -> bool {
        self.loss.is_zero()
            && self.duplicate.is_zero()
            && self.reorder.is_zero()
            && self.corrupt.is_zero()
            && self.bandwidth.is_none()
    }
}

impl QualityPatch {
    fn apply(&self, quality: &mut Quality) {
        quality.delay = self.delay.unwrap_or(quality.delay);
        quality.loss = self.loss.unwrap_or(quality.loss);
        quality.duplicate = self.duplicate.unwrap_or(quality.duplicate);
        quality.reorder = self.reorder.unwrap_or(quality.reorder);
        quality.corrupt = self.corrupt.unwrap_or(quality.corrupt);
        quality.bandwidth = self.bandwidth.or(quality.bandwidth);
    }
}

fn draw_delay(delay: Delay, random: &mut Random) -> Span {
    match delay {
        Delay::Uniform { low, high } => random.span(low, high),
        Delay::Exponential { low, mean, high } => (low + random.exponential(mean)).min(high),
        Delay::HeavyTail { low, high } => {
            // Pareto with shape 3/2, by inversion: low * u^(-2/3), with a software power function.
            let uniform = ((random.next() >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
            let drawn = low.as_nanos() as f64 * libm::pow(uniform, -2.0 / 3.0);
            Span::from_nanos(drawn as u64).min(high)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EntryId;

    const A: NodeId = NodeId(0);
    const B: NodeId = NodeId(1);

    fn hop() -> Hop {
        Hop { sent: EntryId(1), from: A, to: B, kind: 0 }
    }

    fn links() -> Links {
        Links { from: [A].into_iter().collect(), to: [B].into_iter().collect(), both_ways: false }
    }

    fn ratio(numerator: u32, denominator: u32) -> Ratio {
        Ratio::new(numerator, denominator).expect("a share")
    }

    fn counts(quality: Quality) -> (u32, u32, u32) {
        let mut network: Network<()> = Network::new(quality, 10);
        let mut random = Random::new(3, "network");
        let (mut dropped, mut copies, mut corrupted) = (0, 0, 0);
        for _ in 0..10_000 {
            match network.plan(&hop(), Time::ZERO, &mut random, &mut []) {
                Plan::Drop(_) => dropped += 1,
                Plan::Arrive { delays, corrupt } => {
                    copies += delays.len() as u32 - 1;
                    corrupted += u32::from(corrupt);
                }
                Plan::ArriveOnce(_) | Plan::Hold(_) => {}
            }
        }
        (dropped, copies, corrupted)
    }

    #[test]
    fn no_fault_strikes_that_nobody_asked_for() {
        assert_eq!(counts(Quality::default()), (0, 0, 0));
    }

    #[test]
    fn shares_are_kept() {
        let (dropped, ..) = counts(Quality { loss: ratio(3, 10), ..Quality::default() });
        assert!((2_800..3_200).contains(&dropped), "{dropped}");
        let (_, copies, _) = counts(Quality { duplicate: ratio(1, 2), ..Quality::default() });
        assert!((4_800..5_200).contains(&copies), "{copies}");
        let (.., corrupted) = counts(Quality { corrupt: ratio(1, 100), ..Quality::default() });
        assert!((60..140).contains(&corrupted), "{corrupted}");
    }

    #[test]
    fn delays_stay_within_their_bounds_and_heavy_tails_are_heavy() {
        let (low, high) = (Span::from_millis(1), Span::from_secs(1));
        let mut random = Random::new(3, "network");
        for delay in [
            Delay::Uniform { low, high },
            Delay::Exponential { low, mean: Span::from_millis(5), high },
            Delay::HeavyTail { low, high },
        ] {
            let drawn: Vec<Span> = (0..10_000).map(|_| draw_delay(delay, &mut random)).collect();
            assert!(drawn.iter().all(|&span| low <= span && span <= delay.longest()), "{delay:?}");
            let long = drawn.iter().filter(|&&span| span > Span::from_millis(20)).count();
            match delay {
                Delay::Uniform { .. } => assert!(long > 9_500),
                Delay::Exponential { .. } => assert!((100..500).contains(&long), "{long}"),
                Delay::HeavyTail { .. } => assert!((60..180).contains(&long), "{long}"),
            }
        }
    }

    #[test]
    fn a_singled_message_is_treated_once_per_count_and_others_never() {
        let mut network: Network<()> = Network::new(Quality::default(), 10);
        let single = Singled { token: 1, fault: 0, kind: Some(2), links: links(), left: 2, fate: Fate::Drop };
        network.singled.push(single);
        let mut random = Random::new(3, "network");
        let mut strikes = [0];
        let mut fates = Vec::new();
        for kind in [1, 2, 2, 2] {
            let plan = network.plan(&Hop { kind, ..hop() }, Time::ZERO, &mut random, &mut strikes);
            fates.push(plan == Plan::Drop(DropReason::Scripted));
        }
        assert_eq!(fates, [false, true, true, false]);
        assert_eq!(strikes, [2]);
    }

    #[test]
    fn limited_links_queue_and_then_overflow() {
        let mut network: Network<()> = Network::new(Quality { bandwidth: Some(1_000), ..Quality::default() }, 5);
        let mut random = Random::new(3, "network");
        let plans: Vec<Plan> = (0..7).map(|_| network.plan(&hop(), Time::ZERO, &mut random, &mut [])).collect();
        let late = |plan: &Plan| matches!(plan, Plan::Arrive { delays, .. } if delays[0] >= Span::from_millis(5));
        assert!(late(&plans[4]));
        assert_eq!(plans[5..], [Plan::Drop(DropReason::Overflow), Plan::Drop(DropReason::Overflow)]);
    }

    #[test]
    fn a_one_way_cut_bars_one_way() {
        let mut network: Network<()> = Network::new(Quality::default(), 10);
        let reach = Reach::Links(vec![links()]);
        let healed = Vec::new();
        network.faults.push(LinkFault { token: 1, fault: Some(0), reach, healed, effect: LinkEffect::Cut });
        assert!(network.barred(A, B).is_some() && network.barred(B, A).is_none());
        let around = Reach::Around { nodes: [A].into_iter().collect(), inbound: true, outbound: false };
        assert!(around.covers(B, A) && !around.covers(A, B) && !around.covers(A, A));
    }
}
