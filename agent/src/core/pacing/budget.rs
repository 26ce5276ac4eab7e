//! What may leave at all: by what the link costs the mesh, by what the membership says, and by what the tariff allows.
//!
//! A byte over a path of cost 300 takes three times the air of a byte over one perfect hop (cost 100), so the rate cap is
//! divided by the cost: the convoy's radio carries our share and no more, however far the broker is. The cap of a day
//! counts time of this machine's boot clock only; time while it was off counts as none, so no day is ever shorter than a day.

use std::time::Duration;

use olsr_bridge::cost::HOP;

use crate::core::links::Reach;
use crate::core::time::{Mono, millis};

/// Length of a day of [`Limits::bytes_per_day`].
pub const DAY: Duration = Duration::from_secs(24 * 3600);

/// Cost at which the rate cap is what it says.
const CAP_COST: u64 = HOP as u64;

/// Part of a day's bytes that only events may use.
const RESERVE_DIVISOR: u64 = 10;

/// What a pause lets the rate cap save up, as time: long enough to send a message of the largest size at 64 kB/s.
const BURST: Duration = Duration::from_secs(1);

/// A held stream goes on when the cost is below its bound by this many percent, so that a cost that trembles does not switch
/// it with every poll.
const RESUME_PERCENT: u64 = 90;

/// How much it matters that something leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Urgency {
    /// Before everything else; not held by cost or strain, and not slowed down by the rate cap.
    Event,
    /// By weight.
    Normal,
    /// By weight, and held where the link is costly.
    Bulk,
}

impl Urgency {
    /// Every urgency, most urgent first.
    pub const ALL: [Urgency; 3] = [Urgency::Event, Urgency::Normal, Urgency::Bulk];

    /// Fixed word for configuration and metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Urgency::Event => "event",
            Urgency::Normal => "normal",
            Urgency::Bulk => "bulk",
        }
    }
}

/// Caps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes/s over one perfect hop, none when `None`.
    pub bytes_per_s: Option<u64>,
    /// Bytes in 24 hours, none when `None`.
    pub bytes_per_day: Option<u64>,
}

/// What is known of the way to the broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkState {
    /// Network cost to the broker's vehicle; `None` when the broker is on no vehicle of the mesh, or nothing can be said.
    pub cost: Option<u32>,
    /// The membership holds on to a federation that it can hardly reach: events only.
    pub strained: bool,
}

impl LinkState {
    /// The way to a vehicle as the links have it. A vehicle that cannot be reached by the mesh has no cost: if the broker can be
    /// reached at all, it is by another way.
    #[must_use]
    pub const fn to(reach: Reach, strained: bool) -> LinkState {
        LinkState { cost: reach.cost(), strained }
    }
}

/// What was sent in the current day; the shell keeps it over restarts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DayCount {
    /// Bytes.
    pub bytes: u64,
    /// Time since the day began, in milliseconds of running time.
    pub elapsed_ms: u64,
}

/// Caps and what is left of them.
#[derive(Clone, Debug)]
pub struct Budget {
    limits: Limits,
    link: LinkState,
    /// Bytes that may leave by the rate cap; below zero after a message or event that took more.
    tokens: i64,
    refilled_at: Mono,
    day: DayCount,
    day_at: Mono,
}

impl Budget {
    /// A budget at `now`, with what the shell kept of the day.
    #[must_use]
    pub fn new(limits: Limits, day: DayCount, now: Mono) -> Budget {
        let mut budget = Budget {
            limits,
            link: LinkState::default(),
            tokens: 0,
            refilled_at: now,
            day,
            day_at: now,
        };
        budget.tokens = budget.burst();
        budget
    }

    /// Other caps from now on.
    pub fn limit(&mut self, limits: Limits) {
        self.limits = limits;
        self.tokens = self.tokens.min(self.burst());
    }

    /// What is known of the way to the broker from `now` on.
    pub fn link(&mut self, link: LinkState, now: Mono) {
        self.refill(now);
        self.link = link;
        self.tokens = self.tokens.min(self.burst());
    }

    /// What is known of the way to the broker.
    #[must_use]
    pub const fn link_state(&self) -> LinkState {
        self.link
    }

    /// Whether a stream that is held above `hold_above`, and is held now or not, is held.
    #[must_use]
    pub fn holds(&self, urgency: Urgency, hold_above: Option<u32>, held: bool) -> bool {
        if urgency == Urgency::Event {
            return false;
        }
        if self.link.strained {
            return true;
        }
        let (Some(bound), Some(cost)) = (hold_above, self.link.cost) else { return false };
        if held { u64::from(cost) * 100 > u64::from(bound) * RESUME_PERCENT } else { cost > bound }
    }

    /// Whether a message of this urgency may leave at `now`. One that may leave may be larger than what is left: the next pays
    /// for it.
    #[must_use]
    pub fn allows(&mut self, urgency: Urgency, now: Mono) -> bool {
        self.refill(now);
        let day = self.day_left(urgency).is_none_or(|left| left > 0);
        day && (urgency == Urgency::Event || self.rate().is_none() || self.tokens > 0)
    }

    /// Bytes left: anything that leaves counts, also what is not asked about here.
    pub fn spend(&mut self, bytes: u64, now: Mono) {
        self.refill(now);
        self.day.bytes = self.day.bytes.saturating_add(bytes);
        self.tokens = self.tokens.saturating_sub_unsigned(bytes);
    }

    /// When [`Budget::allows`] says yes to what it refuses at `now`, if time alone will do.
    #[must_use]
    pub fn allows_at(&mut self, urgency: Urgency, now: Mono) -> Option<Mono> {
        self.refill(now);
        if self.day_left(urgency).is_some_and(|left| left == 0) {
            let left_ms = millis(DAY).saturating_sub(self.day.elapsed_ms);
            return Some(now + Duration::from_millis(left_ms));
        }
        let rate = self.rate().filter(|_| urgency != Urgency::Event && self.tokens <= 0)?;
        let missing = u128::from(self.tokens.unsigned_abs()) + 1;
        let micros = missing.saturating_mul(1_000_000).div_ceil(u128::from(rate));
        Some(now + Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)))
    }

    /// What was sent in the current day, to be kept.
    #[must_use]
    pub fn day(&mut self, now: Mono) -> DayCount {
        self.refill(now);
        self.day
    }

    /// Bytes/s that may leave now, none when `None`.
    #[must_use]
    pub fn rate(&self) -> Option<u64> {
        let per_hop = self.limits.bytes_per_s?;
        let cost = u64::from(self.link.cost.unwrap_or(0)).max(CAP_COST);
        Some((per_hop.saturating_mul(CAP_COST) / cost).max(1))
    }

    /// Bytes that are left of the day for this urgency, none when there is no cap.
    fn day_left(&self, urgency: Urgency) -> Option<u64> {
        let cap = self.limits.bytes_per_day?;
        let usable = match urgency {
            Urgency::Event => cap,
            Urgency::Normal | Urgency::Bulk => cap - cap / RESERVE_DIVISOR,
        };
        Some(usable.saturating_sub(self.day.bytes))
    }

    fn burst(&self) -> i64 {
        self.rate().map_or(0, |rate| {
            i64::try_from(rate.saturating_mul(BURST.as_secs())).unwrap_or(i64::MAX)
        })
    }

    /// Lets time pass.
    fn refill(&mut self, now: Mono) {
        if let Some(rate) = self.rate() {
            let micros = now.since(self.refilled_at).as_micros();
            let gained = u128::from(rate).saturating_mul(micros) / 1_000_000;
            if gained > 0 {
                let gained = i64::try_from(gained).unwrap_or(i64::MAX);
                self.tokens = self.tokens.saturating_add(gained).min(self.burst());
                self.refilled_at = now;
            }
        } else {
            (self.tokens, self.refilled_at) = (0, now);
        }
        let passed_ms = millis(now.since(self.day_at));
        if passed_ms > 0 {
            self.day.elapsed_ms = self.day.elapsed_ms.saturating_add(passed_ms);
            // What is less than a millisecond counts next time.
            self.day_at = self.day_at + Duration::from_millis(passed_ms);
        }
        if self.day.elapsed_ms >= millis(DAY) {
            self.day = DayCount::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(ms: u64) -> Mono {
        Mono::from_millis(ms)
    }

    fn budget(bytes_per_s: Option<u64>, bytes_per_day: Option<u64>) -> Budget {
        Budget::new(Limits { bytes_per_s, bytes_per_day }, DayCount::default(), at(0))
    }

    /// Bytes that leave in `seconds` when a message of `bytes` leaves whenever it may.
    fn sent(budget: &mut Budget, urgency: Urgency, bytes: u64, from_s: u64, seconds: u64) -> u64 {
        let mut sent = 0;
        let mut now = at(from_s * 1000);
        let end = at((from_s + seconds) * 1000);
        while now < end {
            if budget.allows(urgency, now) {
                budget.spend(bytes, now);
                sent += bytes;
            } else {
                now = budget.allows_at(urgency, now).unwrap();
            }
        }
        sent
    }

    #[test]
    fn the_rate_falls_with_the_cost_of_the_link() {
        for (cost, expected) in
            [(None, 1000), (Some(50), 1000), (Some(100), 1000), (Some(400), 250)]
        {
            let mut budget = budget(Some(1000), None);
            budget.link(LinkState { cost, strained: false }, at(0));
            let sent = sent(&mut budget, Urgency::Bulk, 100, 0, 100);
            // A second's worth may have been saved up, and the last message may go beyond.
            let most = expected * 101 + 100;
            assert!((expected * 100..=most).contains(&sent), "{cost:?}: {sent}");
        }
    }

    #[test]
    fn events_do_not_wait_for_the_rate_but_are_counted() {
        let mut budget = budget(Some(1000), None);
        budget.spend(10_000, at(0));
        assert!(budget.allows(Urgency::Event, at(0)) && !budget.allows(Urgency::Normal, at(0)));
        assert_eq!(budget.allows_at(Urgency::Event, at(0)), None);
        assert_eq!(budget.allows_at(Urgency::Normal, at(0)), Some(at(9001)));
        assert!(
            !budget.allows(Urgency::Normal, at(8999)) && budget.allows(Urgency::Normal, at(9001))
        );
    }

    #[test]
    fn bulk_is_held_above_its_cost_and_goes_on_well_below() {
        let mut budget = budget(None, None);
        let mut held = false;
        for (cost, expected) in
            [(400, false), (401, true), (395, true), (361, true), (360, false), (400, false)]
        {
            budget.link(LinkState { cost: Some(cost), strained: false }, at(0));
            held = budget.holds(Urgency::Bulk, Some(400), held);
            assert_eq!(held, expected, "{cost}");
        }
        budget.link(LinkState { cost: Some(9999), strained: false }, at(0));
        assert!(!budget.holds(Urgency::Event, Some(400), true));
        assert!(!budget.holds(Urgency::Normal, None, false));
        budget.link(LinkState { cost: None, strained: false }, at(0));
        assert!(!budget.holds(Urgency::Bulk, Some(400), true), "an unknown cost holds nothing");
    }

    #[test]
    fn only_events_leave_while_strained() {
        let mut budget = budget(None, None);
        budget.link(LinkState { cost: Some(100), strained: true }, at(0));
        assert!(budget.holds(Urgency::Normal, None, false));
        assert!(budget.holds(Urgency::Bulk, None, false));
        assert!(!budget.holds(Urgency::Event, None, false));
    }

    #[test]
    fn a_day_ends_with_a_tenth_for_events_and_outlasts_restarts() {
        let mut budget = budget(None, Some(1_000_000));
        while budget.allows(Urgency::Bulk, at(1000)) {
            budget.spend(10_000, at(1000));
        }
        assert_eq!(budget.day(at(1000)).bytes, 900_000);
        while budget.allows(Urgency::Event, at(1000)) {
            budget.spend(10_000, at(1000));
        }
        let day = budget.day(at(3_600_000));
        assert_eq!(day, DayCount { bytes: 1_000_000, elapsed_ms: 3_600_000 });

        // Another boot: its clock begins anew, the day goes on.
        let limits = Limits { bytes_per_s: None, bytes_per_day: Some(1_000_000) };
        let mut budget = Budget::new(limits, day, at(5_000));
        let rest_ms = 23 * 3_600_000;
        assert_eq!(budget.allows_at(Urgency::Event, at(5_000)), Some(at(5_000 + rest_ms)));
        assert!(!budget.allows(Urgency::Event, at(5_000 + rest_ms - 1)));
        assert!(budget.allows(Urgency::Bulk, at(5_000 + rest_ms)));
    }

    #[test]
    fn a_day_lasts_a_day_however_often_it_is_asked() {
        let mut budget = budget(None, Some(1_000_000));
        budget.spend(1, at(0));
        for looks in 1..=10_000 {
            let _ = budget.day(Mono::from_nanos(looks * 1_700_000));
        }
        assert_eq!(budget.day(at(17_000)).elapsed_ms, 17_000);
    }

    proptest! {
        /// However oddly it is asked: the caps hold, and waiting as told is enough.
        #[test]
        fn the_caps_hold(
            per_s in 1_u64..100_000,
            per_day in 1_000_u64..10_000_000,
            steps in prop::collection::vec((0_u64..50_000, 1_u64..5_000, 100_u32..2_000), 1..200),
        ) {
            let mut budget = budget(Some(per_s), Some(per_day));
            let (mut now, mut sent) = (0, 0);
            for (wait_ms, bytes, cost) in steps {
                now += wait_ms;
                budget.link(LinkState { cost: Some(cost), strained: false }, at(now));
                if budget.allows(Urgency::Normal, at(now)) {
                    budget.spend(bytes, at(now));
                    sent += bytes;
                } else {
                    let then = budget.allows_at(Urgency::Normal, at(now)).unwrap();
                    prop_assert!(then > at(now));
                    prop_assert!(budget.clone().allows(Urgency::Normal, then));
                }
                prop_assert!(sent <= per_s * (now / 1000 + 2) + 5_000);
                prop_assert!(sent <= (per_day + 5_000) * (now / 86_400_000 + 1));
            }
        }
    }
}
