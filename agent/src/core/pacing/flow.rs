//! How many bytes may be without acknowledgement: enough to fill the link, not enough to let a queue stand in it.
//!
//! TCP below us finds out what the link carries. If we gave it everything, the kernel would hold minutes of backlog on a slow
//! link, and an event would wait behind all of it. So what is unacknowledged is bounded by what the link was seen to carry:
//!
//! ```text
//! window = rate * (2 * shortest trip + deviation of the trips + 20 ms)
//! ```
//!
//! - *rate* is the mean of the last ten rounds. A round lasts from one acknowledgement to that of something that was sent after
//!   the next; its rate is what was acknowledged meanwhile, by the time. Not the highest of them, as BBR takes: above TCP, bytes
//!   that waited for one lost packet are all acknowledged at once, and the highest rate would be that of such a moment.
//! - *shortest trip* is the time from publication to acknowledgement when nothing stood in the way. Twice of it keeps the link
//!   filled, and lets the window grow as long as the rate follows.
//! - *deviation* gives room where TCP repeats itself. It is bounded, because a window that is too large makes trips
//!   deviate by itself.
//!
//! While TCP repeats one packet that was lost again and again, what is behind it arrives and waits there: nothing is acknowledged,
//! the link runs empty, and TCP, which learns of losses from what arrives, has nothing to learn from. So when an acknowledgement
//! is overdue by more than a trip and that room, the window grows as the link would have carried, up to three times.
//!
//! A connection begins with four times the shortest trip and the rate of its last round alone, until that has not grown for
//! three rounds; the rounds before those no longer count then. The shortest trip is forgotten after [`PROBE_EVERY`], when the window is three quarters of a
//! trip for as long as one takes, so that a standing queue of our own making is not taken for the link. While there is nothing to send nothing is learned, and nothing forgotten.

use std::collections::VecDeque;
use std::time::Duration;

use super::RoundTrip;
use crate::core::time::Mono;

/// Window of a connection about which nothing is known, and the least while it finds out: what a link of 2 Mbit/s and 400 ms
/// holds, and on the slowest link the project knows (81 kB/s) 1.6 s of queue. Smaller ones were measured to cost a tenth of the
/// first minute where packets are lost, because TCP itself finds out slowly with little to send.
pub const WINDOW_BYTES_FIRST: u64 = 128 * 1024;

/// The window is never smaller: TCP's own first window has 14 kB (RFC 6928), and less could never find out that a link got
/// better.
pub const WINDOW_BYTES_MIN: u64 = 16 * 1024;

/// A message is at most this large: no more than an eighth of a window of half a megabyte, and 1,900 of them a second fill a
/// link of 1 Gbit/s.
pub const MESSAGE_BYTES_MAX: u64 = 64 * 1024;

/// Messages are not made smaller than this for a slow link: framing, topic and TCP's headers would cost more than a tenth.
pub const MESSAGE_BYTES_MIN: u64 = 2 * 1024;

/// A window is this many messages at least, so that acknowledgements come in a steady stream.
const MESSAGES_PER_WINDOW: u64 = 8;

/// And a message takes the link no longer than this, if the broker takes enough of them: what is urgent waits for the one
/// before it.
const MESSAGE_TIME_MAX: Duration = Duration::from_millis(400);

/// While nothing is acknowledged the window may grow by this many of itself.
const QUIET_WINDOWS: u64 = 2;

/// Time without acknowledgement that is no surprise in the beginning, when the first trip may have been a bad one: TCP's own
/// first guess (RFC 6298 section 2.1).
const PATIENCE_FIRST: Duration = Duration::from_secs(1);

/// A connection that is quiet is given this much at least, in bytes/s: half of what the slowest link carries that the project
/// knows. What was measured is less when it fell silent in its beginning.
const QUIET_RATE_MIN: u64 = 40 * 1024;

/// Rounds whose mean counts.
const ROUNDS: usize = 10;

/// Rounds without growth that end the beginning, and what counts as growth, in percent of the best before (as BBR does,
/// draft-ietf-ccwg-bbr section 5.3.1.2).
const FLAT_ROUNDS: u32 = 3;
const GROWTH_PERCENT: u64 = 125;

/// Age at which the shortest trip is measured anew.
pub const PROBE_EVERY: Duration = Duration::from_secs(60);

/// A probe costs about a quarter of a trip. On a link with long trips it comes after at least this many of them.
const PROBE_EVERY_TRIPS: u32 = 40;

/// Trips may deviate by the shortest trip and this, what Linux waits at least before it sends a packet again; what is beyond is
/// not given room.
const DEVIATION_BEYOND_TRIP: Duration = Duration::from_millis(200);

/// What a broker's own scheduling adds to a trip on a fast link.
const JITTER: Duration = Duration::from_millis(20);

/// Shortest time that a rate is measured over: below, clocks and scheduling say more than the link.
const ELAPSED_MIN: Duration = Duration::from_micros(200);

/// What was known when a message left; given back when it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Departure {
    bytes: u64,
    at: Mono,
    /// Bytes acknowledged until then.
    delivered: u64,
}

/// Since when the rate is measured.
#[derive(Clone, Copy, Debug)]
struct Round {
    at: Mono,
    /// Bytes acknowledged until then.
    delivered: u64,
}

/// Whether a connection is still finding out what it can do.
#[derive(Clone, Copy, Debug)]
enum Phase {
    Beginning { best: u64, flat: u32 },
    Steady,
}

/// The window of one connection.
#[derive(Clone, Debug)]
pub struct Flow {
    bytes_max: u64,
    in_flight: u64,
    delivered: u64,
    /// Until this much is delivered, what is measured is what there was to send, not what the link carries.
    starved_until: u64,
    round: Round,
    /// Rates of the last rounds in bytes/s.
    rates: VecDeque<u64>,
    phase: Phase,
    trips: RoundTrip,
    shortest: Option<(Duration, Mono)>,
    /// Last acknowledgement, or departure when nothing else was in flight.
    quiet_since: Option<Mono>,
    /// The window is small until something that left after this moment is acknowledged.
    probing_since: Option<Mono>,
}

impl Flow {
    /// A connection that begins at `now` and whose window may grow to `bytes_max` bytes, the memory for it.
    #[must_use]
    pub fn new(bytes_max: u64, now: Mono) -> Flow {
        Flow {
            bytes_max: bytes_max.max(WINDOW_BYTES_MIN),
            in_flight: 0,
            delivered: 0,
            starved_until: 0,
            round: Round { at: now, delivered: 0 },
            rates: VecDeque::new(),
            phase: Phase::Beginning { best: 0, flat: 0 },
            trips: RoundTrip::new(),
            shortest: None,
            quiet_since: None,
            probing_since: None,
        }
    }

    /// A message of `bytes` bytes leaves.
    #[must_use]
    pub fn sent(&mut self, bytes: u64, now: Mono) -> Departure {
        // What passed while there was nothing to send is no part of a round.
        if self.in_flight == 0 && self.delivered < self.starved_until {
            self.round = Round { at: now, delivered: self.delivered };
        }
        if self.in_flight == 0 {
            self.quiet_since = Some(now);
        }
        self.in_flight += bytes;
        Departure { bytes, at: now, delivered: self.delivered }
    }

    /// There is room in the window, and nothing to send.
    pub fn starved(&mut self) {
        self.starved_until = self.delivered + self.in_flight + 1;
    }

    /// A message was acknowledged.
    pub fn acknowledged(&mut self, departure: Departure, now: Mono) {
        self.in_flight = self.in_flight.saturating_sub(departure.bytes);
        self.delivered += departure.bytes;
        self.quiet_since = Some(now);
        let trip = now.since(departure.at);
        self.trips.measure(trip);
        self.learn_trip(departure, trip, now);
        if departure.delivered > self.round.delivered {
            self.end_round(now);
        }
    }

    /// A message that was sent will not be acknowledged: refused.
    pub fn withdrawn(&mut self, departure: Departure) {
        self.in_flight = self.in_flight.saturating_sub(departure.bytes);
    }

    /// Bytes without acknowledgement.
    #[must_use]
    pub const fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// Bytes that may be without acknowledgement at `now`.
    #[must_use]
    pub fn window_bytes(&self, now: Mono) -> u64 {
        let window = self.usual_window_bytes();
        let beyond = match self.quiet_since {
            Some(since) if self.in_flight > 0 => {
                carried(self.quiet_rate(), now.since(since + self.patience()))
            }
            Some(_) | None => 0,
        };
        (window + beyond.min(window * QUIET_WINDOWS)).min(self.bytes_max)
    }

    /// When the window will have room for more than what is in flight now, if nothing is acknowledged until then.
    #[must_use]
    pub fn has_room_at(&self, now: Mono) -> Option<Mono> {
        let window = self.usual_window_bytes();
        let missing = (self.in_flight + 1).saturating_sub(window);
        let most = (window * (QUIET_WINDOWS + 1)).min(self.bytes_max);
        if self.in_flight >= most {
            return None;
        }
        let until = self.quiet_since? + self.patience() + lasting(missing, self.quiet_rate());
        (missing > 0 && until > now).then_some(until)
    }

    /// Time without an acknowledgement that is no surprise.
    fn patience(&self) -> Duration {
        match (self.phase, self.shortest) {
            (Phase::Steady, Some((shortest, _))) => shortest + self.room(shortest),
            (Phase::Beginning { .. }, _) | (Phase::Steady, None) => PATIENCE_FIRST,
        }
    }

    /// Bytes/s that a quiet connection may be given.
    fn quiet_rate(&self) -> u64 {
        self.goodput().unwrap_or(0).max(QUIET_RATE_MIN)
    }

    fn room(&self, shortest: Duration) -> Duration {
        self.trips.deviation().min(shortest + DEVIATION_BEYOND_TRIP) + JITTER
    }

    fn usual_window_bytes(&self) -> u64 {
        let (Some((shortest, _)), Some(rate)) = (self.shortest, self.goodput()) else {
            return WINDOW_BYTES_FIRST.min(self.bytes_max);
        };
        let room = self.room(shortest);
        let (time, least) = match (self.probing_since, self.phase) {
            (Some(_), _) => (shortest * 3 / 4, WINDOW_BYTES_MIN),
            (None, Phase::Beginning { .. }) => (shortest * 4 + room, WINDOW_BYTES_FIRST),
            (None, Phase::Steady) => (shortest * 2 + room, WINDOW_BYTES_MIN),
        };
        carried(rate, time).clamp(least.min(self.bytes_max), self.bytes_max)
    }

    /// Bytes that a message should have when `slots` of them may be without acknowledgement: not too large for what is urgent
    /// behind it, but so large that they fill the window. A window that few small messages cannot fill would shrink to them.
    #[must_use]
    pub fn message_bytes(&self, slots: usize) -> u64 {
        let window = self.usual_window_bytes();
        let by_time = self.goodput().map_or(u64::MAX, |rate| carried(rate, MESSAGE_TIME_MAX));
        let least = window / (slots as u64).max(1);
        (window / MESSAGES_PER_WINDOW)
            .min(by_time)
            .max(least)
            .clamp(MESSAGE_BYTES_MIN, MESSAGE_BYTES_MAX)
    }

    /// Bytes/s that were acknowledged while there was enough to send; `None` before that was ever so.
    #[must_use]
    pub fn goodput(&self) -> Option<u64> {
        match self.phase {
            Phase::Beginning { .. } => self.rates.back().copied(),
            Phase::Steady => {
                let rounds = self.rates.len() as u64;
                self.rates.iter().sum::<u64>().checked_div(rounds)
            }
        }
    }

    /// The shortest trip of late.
    #[must_use]
    pub fn shortest_trip(&self) -> Option<Duration> {
        self.shortest.map(|(trip, _)| trip)
    }

    /// Times from publication to acknowledgement.
    #[must_use]
    pub const fn trips(&self) -> &RoundTrip {
        &self.trips
    }

    fn learn_trip(&mut self, departure: Departure, trip: Duration, now: Mono) {
        let after_probe = self.probing_since.is_some_and(|since| departure.at >= since);
        if after_probe || self.shortest.is_none_or(|(shortest, _)| trip <= shortest) {
            self.shortest = Some((trip, now));
            self.probing_since = None;
            return;
        }
        let Some((shortest, at)) = self.shortest else { return };
        let every = PROBE_EVERY.max(shortest * PROBE_EVERY_TRIPS);
        if self.probing_since.is_none() && now.since(at) > every {
            self.probing_since = Some(now);
        }
    }

    fn end_round(&mut self, now: Mono) {
        let Round { at, delivered } = self.round;
        let elapsed = now.since(at).max(ELAPSED_MIN);
        let bytes = u128::from(self.delivered - delivered);
        let rate = u64::try_from(bytes * 1_000_000 / elapsed.as_micros()).unwrap_or(u64::MAX);
        let starved = delivered < self.starved_until;
        self.round = Round { at: now, delivered: self.delivered };
        if starved && self.goodput().is_some_and(|goodput| rate <= goodput) {
            return;
        }
        if self.rates.len() == ROUNDS {
            self.rates.pop_front();
        }
        // The sum of ten must not overflow.
        self.rates.push_back(rate.min(u64::MAX / ROUNDS as u64));
        if let Phase::Beginning { best, flat } = self.phase {
            let grown = u128::from(rate) * 100 >= u128::from(best) * u128::from(GROWTH_PERCENT);
            let flat = if grown { 0 } else { flat + 1 };
            self.phase = if flat == FLAT_ROUNDS {
                // Slower rounds before the best tell how the connection began, not what the link carries.
                let begun = self.rates.len().saturating_sub(FLAT_ROUNDS as usize + 1);
                self.rates.drain(..begun);
                Phase::Steady
            } else {
                Phase::Beginning { best: best.max(rate), flat }
            };
        }
    }
}

/// How long `rate` bytes/s take for `bytes`.
fn lasting(bytes: u64, rate: u64) -> Duration {
    let micros = (u128::from(bytes) * 1_000_000).div_ceil(u128::from(rate.max(1)));
    Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}

/// Bytes that `rate` bytes/s carry in `time`.
fn carried(rate: u64, time: Duration) -> u64 {
    u64::try_from(u128::from(rate) * time.as_micros() / 1_000_000).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
