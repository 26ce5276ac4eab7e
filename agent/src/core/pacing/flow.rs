//! How many bytes may be without acknowledgement: enough to fill the link, not enough to let a queue stand in it.
//!
//! TCP below us finds out what the link carries. If we gave it everything, the kernel would hold minutes of backlog on a slow
//! link, and an event would wait behind all of it. So what is unacknowledged is bounded by what the link was seen to carry:
//!
//! ```text
//! window = rate * (2 * shortest trip + deviation of the trips + 20 ms)
//! ```
//!
//! - *rate* is the highest delivery rate of the last ten windows' worth of acknowledgements: bytes acknowledged while a message
//!   was under way, by the time it was (draft-ietf-ccwg-bbr section 4.1). The highest, because a link that loses packets delivers in
//!   bursts with silence in between.
//! - *shortest trip* is the time from publication to acknowledgement when nothing stood in the way. Twice of it keeps the link
//!   filled and lets the window double each trip as long as the rate follows: that is also how it starts.
//! - *deviation* gives room where TCP repeats itself. It is bounded by [`DEVIATION_MAX`].
//!
//! The shortest trip is forgotten after [`PROBE_EVERY`], when the window halves for one trip so that a standing queue of our
//! own making is not taken for the link. While there is nothing to send nothing is learned, and nothing forgotten.

use std::collections::VecDeque;
use std::time::Duration;

use super::RoundTrip;
use crate::core::time::Mono;

/// Window of a connection about which nothing is known. On the slowest link the project knows (81 kB/s) 0.4 s of queue.
pub const WINDOW_BYTES_FIRST: u64 = 32 * 1024;

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

/// And a message takes the link no longer than this: what is urgent waits for the one before it.
const MESSAGE_TIME_MAX: Duration = Duration::from_millis(400);

/// Rounds of which the highest rate counts.
const ROUNDS: usize = 10;

/// Age at which the shortest trip is measured anew.
pub const PROBE_EVERY: Duration = Duration::from_secs(60);

/// A probe costs about one trip at half the window. On a link with long trips it comes after at least this many of them, so
/// that it costs at most a fortieth.
const PROBE_EVERY_TRIPS: u32 = 20;

/// Room that trips may deviate at most: TCP's first wait to send again (RFC 6298 section 2), beyond which it is the link that
/// has got worse.
pub const DEVIATION_MAX: Duration = Duration::from_secs(1);

/// What a broker's own scheduling adds to a trip on a fast link.
const JITTER: Duration = Duration::from_millis(20);

/// Shortest time that a rate is measured over: below, clocks and scheduling say more than the link.
const ELAPSED_MIN: Duration = Duration::from_micros(200);

/// What was known when a message left; given back when it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Departure {
    bytes: u64,
    at: Mono,
    /// Bytes acknowledged until then, and when the last of them was.
    delivered: u64,
    delivered_at: Mono,
    /// When the first message left of those that were under way with it.
    first_at: Mono,
    /// There was not enough to send to fill the window.
    starved: bool,
}

/// The window of one connection.
#[derive(Clone, Debug)]
pub struct Flow {
    bytes_max: u64,
    in_flight: u64,
    delivered: u64,
    delivered_at: Mono,
    first_at: Mono,
    /// Until this much is delivered, what is measured is what there was to send, not what the link carries.
    starved_until: u64,
    /// Highest rate of each of the last rounds in bytes/s, the current one last.
    rates: VecDeque<u64>,
    /// The round ends when something is acknowledged that left after this much was delivered.
    round_ends: u64,
    goodput: Option<u64>,
    trips: RoundTrip,
    shortest: Option<(Duration, Mono)>,
    /// The window is halved until something that left after this moment is acknowledged.
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
            delivered_at: now,
            first_at: now,
            starved_until: 0,
            rates: VecDeque::from([0]),
            round_ends: 0,
            goodput: None,
            trips: RoundTrip::new(),
            shortest: None,
            probing_since: None,
        }
    }

    /// A message of `bytes` bytes leaves.
    #[must_use]
    pub fn sent(&mut self, bytes: u64, now: Mono) -> Departure {
        if self.in_flight == 0 {
            (self.delivered_at, self.first_at) = (now, now);
        }
        self.in_flight += bytes;
        let departure = Departure {
            bytes,
            at: now,
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            first_at: self.first_at,
            starved: self.delivered < self.starved_until,
        };
        self.first_at = now;
        departure
    }

    /// There is room in the window, and nothing to send.
    pub fn starved(&mut self) {
        self.starved_until = self.delivered + self.in_flight + 1;
    }

    /// A message was acknowledged.
    pub fn acknowledged(&mut self, departure: Departure, now: Mono) {
        self.in_flight = self.in_flight.saturating_sub(departure.bytes);
        self.delivered += departure.bytes;
        self.delivered_at = now;
        let trip = now.since(departure.at);
        self.trips.measure(trip);
        self.learn_trip(departure, trip, now);
        self.learn_rate(departure, now);
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

    /// Bytes that may be without acknowledgement.
    #[must_use]
    pub fn window_bytes(&self) -> u64 {
        let (Some((shortest, _)), rate) = (self.shortest, self.rate()) else {
            return WINDOW_BYTES_FIRST.min(self.bytes_max);
        };
        if self.probing_since.is_some() {
            return carried(rate, shortest / 2).clamp(WINDOW_BYTES_MIN, self.bytes_max);
        }
        let deviation = self.trips.deviation().min(DEVIATION_MAX);
        carried(rate, shortest * 2 + deviation + JITTER).clamp(WINDOW_BYTES_MIN, self.bytes_max)
    }

    /// Bytes that a message should have.
    #[must_use]
    pub fn message_bytes(&self) -> u64 {
        let by_window = self.window_bytes() / MESSAGES_PER_WINDOW;
        let by_time = self.shortest.map_or(u64::MAX, |_| carried(self.rate(), MESSAGE_TIME_MAX));
        by_window.min(by_time).clamp(MESSAGE_BYTES_MIN, MESSAGE_BYTES_MAX)
    }

    /// Bytes/s that were acknowledged while there was enough to send, smoothed over about eight messages; `None` before that
    /// was ever so.
    #[must_use]
    pub const fn goodput(&self) -> Option<u64> {
        self.goodput
    }

    /// Times from publication to acknowledgement.
    #[must_use]
    pub const fn trips(&self) -> &RoundTrip {
        &self.trips
    }

    /// Highest rate of the last rounds, bytes/s.
    fn rate(&self) -> u64 {
        self.rates.iter().copied().max().unwrap_or(0)
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

    fn learn_rate(&mut self, departure: Departure, now: Mono) {
        // What was sent in a shorter time than it was acknowledged in arrived as fast as it left, and the other way round.
        let sending = departure.at.since(departure.first_at);
        let elapsed = now.since(departure.delivered_at).max(sending).max(ELAPSED_MIN);
        let bytes = u128::from(self.delivered - departure.delivered);
        let rate = u64::try_from(bytes * 1_000_000 / elapsed.as_micros()).unwrap_or(u64::MAX);
        if departure.starved && rate <= self.rate() {
            return;
        }
        if departure.delivered >= self.round_ends {
            self.round_ends = self.delivered;
            self.rates.push_back(0);
            if self.rates.len() > ROUNDS {
                self.rates.pop_front();
            }
        }
        if let Some(best) = self.rates.back_mut() {
            *best = rate.max(*best);
        }
        self.goodput = Some(match self.goodput {
            None => rate,
            Some(goodput) => goodput - goodput / 8 + rate / 8,
        });
    }
}

/// Bytes that `rate` bytes/s carry in `time`.
fn carried(rate: u64, time: Duration) -> u64 {
    u64::try_from(u128::from(rate) * time.as_micros() / 1_000_000).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
