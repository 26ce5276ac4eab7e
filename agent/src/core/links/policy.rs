//! Numbers of the time behaviour: how long to wait, how strongly to smooth, what to publish. Plain data; any value is
//! safe (nothing divides by it or loops over it), the ranges are what makes sense on a vehicle.

use std::time::Duration;

/// Numbers of freshness, warm-up, smoothing and hysteresis (`[links]` in the configuration).
///
/// "Measured" names our own recordings of olsrd 0.9 and olsrd2 0.15 with HELLO every 0.5 s, scaled to the default
/// timers where it says so.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// No answer for this long marks every value as stale, and -1 becomes unknown. Range 2 s..=10 min. Source: twice the
    /// 5 s at which routes of a large mesh are sampled, so that one lost answer is not yet an alarm.
    pub stale_after: Duration,
    /// No supporting answer for this long makes a value unknown. Range 10 s..=1 h. Source: a daemon restart (5 s) and
    /// the warm-up after it (72 s with the default timers) must fit with a margin.
    pub unknown_after: Duration,
    /// A vehicle that is not configured and was not reachable for this long is forgotten. Range 1 min..=30 d. Source: a
    /// vehicle that left for a working day is still shown as unreachable.
    pub forget_after: Duration,
    /// Shortest warm-up of a daemon, from its start. Range 0 s..=10 min. Source: measured, ETX reaches its final value
    /// after 32 to 34 s.
    pub warmup_min: Duration,
    /// Warm-up lasts at least this many HELLO intervals and [`Policy::warmup_window`]. Range 0..=100. Source: the links
    /// must be found and half the estimator's window be filled.
    pub warmup_hellos: u32,
    /// Added to [`Policy::warmup_hellos`]. Range 0 s..=5 min. Source: the 32 s window of olsrd's `etx_ff`.
    pub warmup_window: Duration,
    /// Time constant of smoothing while the cost rises. Range 0 s..=10 min, 0 for none. Source: measured, a real loss
    /// shows in two steps of the estimator (5 s).
    pub smooth_up: Duration,
    /// Time constant while it falls. Range as above. Source: measured, after a heal the daemon itself needs 33 s.
    pub smooth_down: Duration,
    /// A change is published at once when it is larger than this share of the published cost and larger than
    /// [`Policy::publish_units`]. Range 0..=100 percent. Source: the 10 % dead band of `etx_ff` and `ff_dat_metric`.
    pub publish_percent: u32,
    /// See [`Policy::publish_percent`]. Range 0..=1000 cost units (100 is one perfect hop).
    pub publish_units: u32,
    /// A smaller change is published when it has lasted this long, so that no value stays a little wrong for ever.
    /// Range 1 s..=1 h.
    pub publish_settle: Duration,
    /// olsrd: -1 only after the route was missing this long. Range 0 s..=10 min. Source: the daemon has already waited a
    /// validity time; an interface change hides reachable peers for 2 s (measured).
    pub unreachable_hold: Duration,
    /// And in at least this many samples. Range 1..=100.
    pub unreachable_samples: u32,
    /// olsrd2: -1 only after the route was missing for the HELLO validity time and this much longer. Range 0 s..=10 min.
    /// Source: an interface change hides reachable peers until the dead link expires, 7 s at 5 s validity (measured).
    pub unreachable_hold_olsrd2: Duration,
    /// -1 for a vehicle that has never had a route only after this long. Range 0 s..=1 h. Source: its aliases and
    /// announced addresses (MID, HNA: every 5 s by default, lossy) may not have arrived.
    pub unseen_hold: Duration,
    /// Reachable again only after the route was present this long. Range 0 s..=10 min. Source: measured, the first
    /// costs after a heal are 5 to 25 times too high.
    pub return_delay: Duration,
    /// Or, for a neighbour, after its link was usable for this many HELLO intervals. Range 0..=1000.
    pub return_hellos: u32,
    /// Under flapping both double up to this. Range [`Policy::return_delay`]..=1 h.
    pub return_delay_max: Duration,
    /// It is flapping when it becomes unreachable within this time of having come back. Range 0 s..=1 h. Source: a 16 s
    /// period makes four transitions a minute (measured).
    pub flap_window: Duration,
    /// HELLO intervals a neighbour may miss without consequence. Range 0..=100. Source: age is 0 to 1 interval normally,
    /// plus 1 s of the daemon's cache.
    pub missed_hellos_free: u32,
    /// Cost added for each further missed interval, before the daemon notices. Range 0..=10000 cost units.
    pub missed_hello_cost: u32,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            stale_after: Duration::from_secs(10),
            unknown_after: Duration::from_secs(120),
            forget_after: Duration::from_secs(12 * 3600),
            warmup_min: Duration::from_secs(40),
            warmup_hellos: 20,
            warmup_window: Duration::from_secs(32),
            smooth_up: Duration::from_secs(5),
            smooth_down: Duration::from_secs(15),
            publish_percent: 10,
            publish_units: 10,
            publish_settle: Duration::from_secs(30),
            unreachable_hold: Duration::from_secs(4),
            unreachable_samples: 3,
            unreachable_hold_olsrd2: Duration::from_secs(3),
            unseen_hold: Duration::from_secs(60),
            return_delay: Duration::from_secs(10),
            return_hellos: 10,
            return_delay_max: Duration::from_secs(160),
            flap_window: Duration::from_secs(60),
            missed_hellos_free: 3,
            missed_hello_cost: 100,
        }
    }
}
