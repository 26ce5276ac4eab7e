//! One vehicle over time: turns what each sample says about it into what is published. Knows no other vehicle, no view
//! and no clock.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use olsr_bridge::cost::{COST_MAX, HOP};

use super::directory::Directory;
use super::policy::Policy;
use super::{Reach, Vehicle};
use crate::core::time::Mono;

/// Doublings of the return delay that are counted; the policy's ceiling is reached long before.
const FLAPS_MAX: u32 = 16;

/// What one sample of the routes says about a vehicle.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Evidence {
    /// Best usable route, if any.
    pub(super) route: Option<RouteFact>,
    /// Best link to it, if it is a neighbour.
    pub(super) link: Option<LinkFact>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct RouteFact {
    /// `None` when the daemon's numbers say nothing.
    pub(super) cost: Option<u32>,
    pub(super) hops: Option<u32>,
    pub(super) next_hop: Option<IpAddr>,
    pub(super) interface: Option<String>,
    /// The route uses a direct link to the vehicle.
    pub(super) direct: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct LinkFact {
    pub(super) usable: bool,
    pub(super) quality_in: Option<f32>,
    pub(super) quality_out: Option<f32>,
    pub(super) hello_age_ms: Option<u32>,
    pub(super) hello_interval_ms: Option<u32>,
}

/// What holds for all vehicles at one sample.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules<'p> {
    pub(super) policy: &'p Policy,
    /// The daemon's warm-up is over.
    pub(super) warm: bool,
    /// Time without a sample after which counting begins anew, and values are stale.
    pub(super) stale_after: Duration,
    /// Time without a supporting sample after which nothing is known.
    pub(super) unknown_after: Duration,
    /// How long a route must be missing.
    pub(super) unreachable_hold: Duration,
    /// The daemon's HELLO interval, for neighbours that do not announce theirs.
    pub(super) hello_interval: Duration,
}

/// Why a vehicle is in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    /// Named by its address.
    Address,
    /// Named by the mesh.
    HostName,
    /// Named by the configuration.
    Configured,
    /// This vehicle.
    Own,
}

/// A vehicle and what is remembered about it.
#[derive(Debug)]
pub(super) struct Track {
    pub(super) vehicle: Vehicle,
    pub(super) origin: Origin,
    /// Addresses from the configuration.
    pub(super) configured: BTreeSet<IpAddr>,
    /// Identity in the mesh, as last told.
    pub(super) identity: Option<IpAddr>,
    /// When there last was a route; for forgetting, when it was first heard of.
    pub(super) routed_at: Mono,
    routed: bool,
    sampled_at: Option<Mono>,
    smoothed: Option<f64>,
    /// Since when the smoothed cost differs from the published one.
    drifting_since: Option<Mono>,
    present_since: Option<Mono>,
    linked_since: Option<Mono>,
    missing_since: Option<Mono>,
    missing_samples: u32,
    /// The latest of reachable and unreachable that was published, through any time of not knowing.
    definite: Option<bool>,
    /// How often in a row it became unreachable soon after coming back.
    flaps: u32,
    returned_at: Option<Mono>,
}

impl Track {
    pub(super) fn new(origin: Origin, at: Mono) -> Track {
        let reach = if origin == Origin::Own { Reach::Own } else { Reach::Unknown };
        Track {
            vehicle: Vehicle { reach, ..Vehicle::default() },
            origin,
            configured: BTreeSet::new(),
            identity: None,
            routed_at: at,
            routed: false,
            sampled_at: None,
            smoothed: None,
            drifting_since: None,
            present_since: None,
            linked_since: None,
            missing_since: None,
            missing_samples: 0,
            definite: None,
            flaps: 0,
            returned_at: None,
        }
    }

    /// Takes in one sample of the routes, read at `at`.
    pub(super) fn sample(&mut self, evidence: Evidence, at: Mono, rules: Rules<'_>) {
        if self.sampled_at.is_some_and(|before| at.since(before) > rules.stale_after) {
            self.interrupt();
        }
        let elapsed = self.sampled_at.map_or(Duration::ZERO, |before| at.since(before));
        self.sampled_at = Some(at);
        self.describe(&evidence);
        let linked = evidence.link.as_ref().is_some_and(|link| link.usable);
        self.linked_since = linked.then(|| self.linked_since.unwrap_or(at));
        match evidence.route {
            Some(route) => self.present(&route, evidence.link.as_ref(), elapsed, at, rules),
            None => self.missing(at, rules),
        }
    }

    /// Time passes without a sample that says anything.
    pub(super) fn age(&mut self, at: Mono, rules: Rules<'_>) {
        if self.vehicle.reach == Reach::Own {
            return;
        }
        let age = self.vehicle.fresh_at.map_or(Duration::MAX, |fresh| at.since(fresh));
        self.vehicle.stale = self.vehicle.reach != Reach::Unknown && age > rules.stale_after;
        let gone = match self.vehicle.reach {
            Reach::Own | Reach::Unknown => false,
            // -1 is a statement about now; it does not outlive the answers it rests on.
            Reach::Unreachable => age > rules.stale_after || !rules.warm,
            Reach::Reachable { .. } | Reach::NotMeaningful => age > rules.unknown_after,
        };
        if gone {
            self.publish(Reach::Unknown, at);
        }
        let unsampled = self.sampled_at.is_none_or(|before| at.since(before) > rules.stale_after);
        if unsampled {
            self.describe(&Evidence::default());
        }
    }

    /// Whether it may be forgotten.
    pub(super) fn forgettable(&self, at: Mono, policy: &Policy) -> bool {
        self.dispensable() && at.since(self.routed_at) > policy.forget_after
    }

    /// Neither configured nor of any present use: may make room for another.
    pub(super) fn dispensable(&self) -> bool {
        let wanted = match self.origin {
            Origin::Own | Origin::Configured => true,
            Origin::HostName | Origin::Address => false,
        };
        let in_use = match self.vehicle.reach {
            Reach::Own | Reach::Reachable { .. } | Reach::NotMeaningful => true,
            Reach::Unreachable | Reach::Unknown => false,
        };
        !wanted && !in_use
    }

    /// Whether `node` may be the one of this name: it has it already, or who had it is not there any more.
    pub(super) fn holder(&self, node: IpAddr, directory: &Directory<'_>) -> bool {
        match self.identity {
            Some(identity) => identity == node || !directory.claims_name(identity),
            None => true,
        }
    }

    /// A time without samples (daemon silent, machine suspended) proves neither presence nor absence.
    pub(super) fn interrupt(&mut self) {
        self.present_since = None;
        self.linked_since = None;
        self.missing_since = None;
        self.missing_samples = 0;
        self.drifting_since = None;
    }

    fn describe(&mut self, evidence: &Evidence) {
        let route = evidence.route.as_ref();
        let link = evidence.link.as_ref();
        self.vehicle.raw_cost = route.and_then(|route| route.cost);
        self.vehicle.hops = route.and_then(|route| route.hops);
        self.vehicle.next_hop = route.and_then(|route| route.next_hop);
        self.vehicle.interface = route.and_then(|route| route.interface.clone());
        self.vehicle.neighbor = link.is_some_and(|link| link.usable);
        self.vehicle.quality_in = link.and_then(|link| link.quality_in);
        self.vehicle.quality_out = link.and_then(|link| link.quality_out);
        self.vehicle.hello_age_ms = link.and_then(|link| link.hello_age_ms);
    }

    fn present(
        &mut self,
        route: &RouteFact,
        link: Option<&LinkFact>,
        elapsed: Duration,
        at: Mono,
        rules: Rules<'_>,
    ) {
        self.missing_since = None;
        self.missing_samples = 0;
        self.present_since.get_or_insert(at);
        self.routed = true;
        self.routed_at = at;
        if self.definite == Some(false) && !self.stays(at, rules) {
            self.keep_unreachable(at, rules);
            return;
        }
        let Some(raw) = route.cost else {
            self.smoothed = None;
            self.support(Reach::NotMeaningful, at);
            return;
        };
        if !rules.warm && !self.believable(raw, route.hops, rules.policy) {
            self.age(at, rules);
            return;
        }
        let late = link.filter(|_| route.direct).map_or(0, |link| lateness_cost(link, rules));
        let target = raw.saturating_add(late).min(COST_MAX);
        let smoothed = self.smooth(f64::from(target), elapsed, rules.policy);
        let cost = self.cost_to_publish(smoothed, at, rules.policy);
        self.support(Reach::Reachable { cost }, at);
    }

    fn missing(&mut self, at: Mono, rules: Rules<'_>) {
        self.present_since = None;
        if !rules.warm || !self.known() {
            self.missing_since = None;
            self.missing_samples = 0;
            self.age(at, rules);
            return;
        }
        let since = *self.missing_since.get_or_insert(at);
        self.missing_samples = self.missing_samples.saturating_add(1);
        let hold = if self.routed {
            rules.unreachable_hold
        } else {
            rules.unreachable_hold.max(rules.policy.unseen_hold)
        };
        let enough = self.missing_samples >= rules.policy.unreachable_samples;
        if self.vehicle.reach == Reach::Unreachable {
            self.support(Reach::Unreachable, at);
        } else if enough && at.since(since) >= hold {
            if self.definite == Some(true) {
                self.count_flap(at, rules.policy);
            }
            self.smoothed = None;
            self.support(Reach::Unreachable, at);
        } else {
            self.age(at, rules);
        }
    }

    /// Doubles the next return delay when the vehicle did not stay.
    fn count_flap(&mut self, at: Mono, policy: &Policy) {
        let soon = self.returned_at.is_some_and(|back| at.since(back) < policy.flap_window);
        self.flaps = if soon { (self.flaps + 1).min(FLAPS_MAX) } else { 0 };
    }

    /// Unreachable stays published during the return delay, but only while the daemon can be believed.
    fn keep_unreachable(&mut self, at: Mono, rules: Rules<'_>) {
        if rules.warm && self.vehicle.reach == Reach::Unreachable {
            self.support(Reach::Unreachable, at);
        } else {
            self.age(at, rules);
        }
    }

    /// Any address that could have a route.
    fn known(&self) -> bool {
        !self.configured.is_empty() || self.identity.is_some()
    }

    /// Whether a route that came back has been there long enough.
    fn stays(&self, at: Mono, rules: Rules<'_>) -> bool {
        let factor = 1_u32 << self.flaps;
        let policy = rules.policy;
        let ceiling = policy.return_delay_max.max(policy.return_delay);
        let delay = policy.return_delay.saturating_mul(factor).min(ceiling);
        let link_age = rules
            .hello_interval
            .saturating_mul(policy.return_hellos)
            .saturating_mul(factor)
            .min(ceiling);
        let longer_than = |since: Option<Mono>, time| since.is_some_and(|s| at.since(s) >= time);
        longer_than(self.present_since, delay) || longer_than(self.linked_since, link_age)
    }

    /// Warm-up only inflates costs. So during it a number is believed when it cannot be inflated (no worse than perfect
    /// hops), or when it is no worse than what was known before.
    fn believable(&self, raw: u32, hops: Option<u32>, policy: &Policy) -> bool {
        let perfect = hops.map(|hops| HOP.saturating_mul(hops));
        let held = match self.vehicle.reach {
            Reach::Reachable { cost } => Some(cost),
            Reach::Own | Reach::Unreachable | Reach::NotMeaningful | Reach::Unknown => None,
        };
        perfect.max(held).is_some_and(|limit| raw <= limit.saturating_add(margin(limit, policy)))
    }

    /// Exponential smoothing with a step that depends on the time that passed (backward Euler: no overshoot, and no
    /// transcendental function whose last bit differs between machines).
    fn smooth(&mut self, target: f64, elapsed: Duration, policy: &Policy) -> f64 {
        let before = match (self.smoothed, self.vehicle.reach) {
            (Some(before), Reach::Reachable { .. }) => before,
            _ => target,
        };
        let tau = if target > before { policy.smooth_up } else { policy.smooth_down };
        let (elapsed, tau) = (elapsed.as_secs_f64(), tau.as_secs_f64());
        let weight = if tau > 0.0 { elapsed / (elapsed + tau) } else { 1.0 };
        let smoothed = before + (target - before) * weight;
        self.smoothed = Some(smoothed);
        smoothed
    }

    /// The published cost: moves at once with a large change, after a while with a small one.
    fn cost_to_publish(&mut self, smoothed: f64, at: Mono, policy: &Policy) -> u32 {
        let rounded = cost(smoothed);
        let Reach::Reachable { cost: published } = self.vehicle.reach else {
            self.drifting_since = None;
            return rounded;
        };
        if rounded == published {
            self.drifting_since = None;
            return published;
        }
        let since = *self.drifting_since.get_or_insert(at);
        let large = rounded.abs_diff(published) > margin(published, policy);
        if !large && at.since(since) < policy.publish_settle {
            return published;
        }
        self.drifting_since = None;
        rounded
    }

    /// Publishes what this sample supports.
    fn support(&mut self, reach: Reach, at: Mono) {
        self.vehicle.fresh_at = Some(at);
        self.vehicle.stale = false;
        self.publish(reach, at);
    }

    fn publish(&mut self, reach: Reach, at: Mono) {
        let changed = !self.vehicle.reach.same_kind(reach);
        self.vehicle.reach = reach;
        if !changed {
            return;
        }
        self.vehicle.since = Some(at);
        self.drifting_since = None;
        match reach {
            Reach::Reachable { .. } | Reach::NotMeaningful => self.settle(true, at),
            Reach::Unreachable => self.settle(false, at),
            Reach::Unknown => {
                self.vehicle.stale = false;
                self.smoothed = None;
            }
            Reach::Own => {}
        }
    }

    /// Counts changes between reachable and unreachable, and how soon they follow each other.
    fn settle(&mut self, reachable: bool, at: Mono) {
        if self.definite.replace(reachable).is_none_or(|before| before == reachable) {
            return;
        }
        self.vehicle.transitions += 1;
        if reachable {
            self.returned_at = Some(at);
        }
    }
}

/// What a neighbour's silence adds to its cost before the daemon notices.
fn lateness_cost(link: &LinkFact, rules: Rules<'_>) -> u32 {
    let Some(age_ms) = link.hello_age_ms else { return 0 };
    let announced = link.hello_interval_ms.filter(|ms| *ms > 0);
    let interval_ms = announced.map_or(rules.hello_interval.as_millis(), u128::from).max(1);
    let missed = u32::try_from(u128::from(age_ms) / interval_ms).unwrap_or(u32::MAX);
    let counted = missed.saturating_sub(rules.policy.missed_hellos_free);
    counted.saturating_mul(rules.policy.missed_hello_cost)
}

/// The change of a published cost that is large enough to publish at once.
fn margin(published: u32, policy: &Policy) -> u32 {
    let share = u64::from(published) * u64::from(policy.publish_percent) / 100;
    u32::try_from(share).unwrap_or(u32::MAX).max(policy.publish_units)
}

/// A smoothed cost as it is published: 1..=[`COST_MAX`].
fn cost(smoothed: f64) -> u32 {
    // The cast saturates, and NaN (which no arithmetic here makes) becomes the smallest cost.
    (smoothed.round() as u32).clamp(1, COST_MAX)
}
