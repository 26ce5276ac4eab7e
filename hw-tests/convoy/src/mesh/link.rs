//! One end of a radio link as a routing daemon keeps it: timers, and the two daemons' ways to estimate its quality.
//!
//! The numbers of the estimators (bucket counts, initial losses, dead bands, rounding) are those that reproduce captured
//! answers of olsrd 0.9.9 and olsrd2 0.15.1; nothing here knows how an answer is written.

use super::Timers;

/// olsrd's `etx_ff` looks back this many seconds, olsrd2's `ff_dat_metric` this many HELLO intervals.
const WINDOW: usize = 32;
/// Seconds of the window that a fresh `etx_ff` link starts with; all of them count as bad.
const WINDOW_START: usize = 5;
/// Lost packets that `etx_ff` assumes for each second before the link existed.
const INITIAL_LOST: u32 = 3;
/// A sequence number that jumps further is another run of the neighbour's daemon, not loss.
const SEQUENCE_GAP_MAX: u64 = 100;
/// A perfect `etx_ff` quality; the protocol carries one byte.
pub const QUALITY_PERFECT: u8 = 255;
/// Below a tenth in either direction olsrd calls a link broken.
const QUALITY_USABLE_MIN: u8 = 26;
/// olsrd keeps a lost link this much longer, less a random second.
pub const HOLD_MS: u64 = 20_000;

/// olsrd2's metric of a link that loses nothing, after its journey through the 12 bits of a HELLO.
pub const METRIC_PERFECT: u32 = 2_105_088;
/// Worst metric olsrd2 can tell (RFC 7181 section 6.2).
pub const METRIC_MAX: u32 = 16_776_960;
/// olsrd2: no metric.
pub const METRIC_INFINITE: u32 = 16_777_215;
/// `ff_dat_metric` counts no link worse than this, in thousandths of transmissions.
const SUCCESS_MAX: u32 = 8_000;
/// One transmission for each success.
const SUCCESS_PERFECT: u32 = 1_000;
/// `ff_dat_metric` publishes no smaller change except to perfection, in thousandths of transmissions.
const SUCCESS_BAND: u32 = 100;

/// Which daemon's rules a mesh follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// olsrd with `etx_ff`.
    Olsrd,
    /// olsrd2 with `ff_dat_metric` and no known bit rates.
    Olsrd2,
}

/// What a link is good for at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Both ends hear each other.
    Symmetric,
    /// Only this end hears the other.
    Heard,
    /// Nothing was heard for a validity time; kept for a while.
    Lost,
}

/// Packets of one bucket of the window.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    received: u32,
    lost: u32,
}

/// What the neighbour's HELLO says about this end.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    /// The neighbour hears this end.
    pub heard: bool,
    /// `etx_ff` quality the neighbour measures, 0..=255.
    pub quality: u8,
    /// Metric of `ff_dat_metric` the neighbour measures.
    pub metric: u32,
}

/// One end of a link.
#[derive(Clone, Debug)]
pub struct Link {
    /// The last HELLO that confirmed both directions counts until then, in mesh milliseconds.
    pub symmetric_until: u64,
    /// The last HELLO counts until then.
    pub heard_until: u64,
    /// The entry is forgotten then.
    pub valid_until: u64,
    /// The next HELLO counts as missed then.
    pub loss_at: u64,
    /// HELLOs missed in a row.
    pub missed: u32,
    /// Sequence number of the last packet.
    pub sequence: u64,
    /// Status before the current one as olsrd tells it; `None` while the link is new.
    pub previous: Option<Status>,
    buckets: [Bucket; WINDOW],
    active: usize,
    window: usize,
    /// `etx_ff`: quality measured now, as the next HELLO tells it.
    pub quality: u8,
    /// `etx_ff`: quality the neighbour told last.
    pub told_quality: u8,
    /// `etx_ff`: published quality (inbound, outbound): what costs are computed from.
    pub published: (u8, u8),
    /// `ff_dat_metric`: transmissions for one success in thousandths.
    pub success: u32,
    /// `ff_dat_metric`: metric of the inbound direction.
    pub metric_in: u32,
    /// `ff_dat_metric`: metric of the outbound direction, told by the neighbour.
    pub metric_out: u32,
    /// How much shorter than [`HOLD_MS`] the entry outlives its timers.
    hold_less_ms: u64,
}

impl Link {
    /// A link whose first packet arrives now. `hold_less_ms` is drawn from 0..1000.
    #[must_use]
    pub fn new(family: Family, sequence: u64, hold_less_ms: u64) -> Link {
        let initial = match family {
            Family::Olsrd => Bucket { received: 0, lost: INITIAL_LOST },
            Family::Olsrd2 => Bucket { received: 0, lost: 1 },
        };
        let mut link = Link {
            symmetric_until: 0,
            heard_until: 0,
            valid_until: 0,
            loss_at: 0,
            missed: 0,
            sequence,
            previous: None,
            buckets: [initial; WINDOW],
            active: 0,
            window: match family {
                Family::Olsrd => WINDOW_START,
                Family::Olsrd2 => WINDOW,
            },
            quality: 0,
            told_quality: 0,
            published: (0, 0),
            success: SUCCESS_MAX,
            metric_in: METRIC_INFINITE,
            metric_out: METRIC_INFINITE,
            hold_less_ms,
        };
        if family == Family::Olsrd2 {
            link.buckets[link.active] = Bucket::default();
        }
        link
    }

    /// Status at `now`.
    #[must_use]
    pub fn status(&self, now: u64) -> Status {
        if self.symmetric_until > now {
            Status::Symmetric
        } else if self.heard_until > now {
            Status::Heard
        } else {
            Status::Lost
        }
    }

    /// Packets in the window: (received, seen by their sequence numbers).
    #[must_use]
    pub fn packets(&self) -> (u32, u32) {
        let mut sum = Bucket::default();
        for back in 0..self.window {
            let bucket = self.buckets[(self.active + WINDOW - back) % WINDOW];
            sum.received += bucket.received;
            sum.lost += bucket.lost;
        }
        (sum.received, sum.received + sum.lost)
    }

    /// A packet with a HELLO came in.
    pub fn receive(
        &mut self,
        family: Family,
        timers: &Timers,
        now: u64,
        sequence: u64,
        told: Told,
    ) {
        let gap = sequence.wrapping_sub(self.sequence);
        let bucket = &mut self.buckets[self.active];
        bucket.received += 1;
        if (2..=SEQUENCE_GAP_MAX).contains(&gap) {
            bucket.lost += (gap - 1) as u32;
        }
        self.sequence = sequence;
        self.missed = 0;
        self.loss_at = now + timers.hello_ms * 3 / 2;
        self.heard_until = now + timers.hello_validity_ms;
        if told.heard {
            self.previous = Some(Status::Symmetric);
            self.symmetric_until = now + timers.hello_validity_ms;
        }
        self.told_quality = if told.heard { told.quality } else { 0 };
        self.metric_out = if told.heard { told.metric } else { METRIC_INFINITE };
        self.valid_until = match family {
            Family::Olsrd if self.symmetric_until > now => {
                self.symmetric_until + HOLD_MS - self.hold_less_ms
            }
            Family::Olsrd => self.heard_until,
            Family::Olsrd2 => self.heard_until + timers.hello_validity_ms,
        };
    }

    /// Counts HELLOs that are overdue at `now`.
    pub fn count_missed(&mut self, timers: &Timers, now: u64) {
        while self.loss_at <= now {
            self.missed += 1;
            self.loss_at += timers.hello_ms;
        }
        if self.status(now) == Status::Lost {
            self.previous = Some(Status::Lost);
        }
    }

    /// `etx_ff`, once a second: measures the window and opens the next bucket. Says whether the result differs enough from
    /// what is published that all links of the node are to be published.
    pub fn tick_etx(&mut self, timers: &Timers) -> bool {
        let (received, seen) = self.packets();
        self.quality = etx_quality(received, seen, self.missed, timers.hello_ms);
        self.active = (self.active + 1) % WINDOW;
        self.buckets[self.active] = Bucket::default();
        self.window = (self.window + 1).min(WINDOW);
        moved(self.quality, self.published.0) || moved(self.told_quality, self.published.1)
    }

    /// `etx_ff`: makes the measured qualities those that count.
    pub fn publish_etx(&mut self) {
        self.published = (self.quality, self.told_quality);
    }

    /// `ff_dat_metric`, once per HELLO interval of the neighbour.
    pub fn tick_dat(&mut self) {
        let (received, seen) = self.packets();
        let measured = match received {
            0 => SUCCESS_MAX,
            _ => ((seen + self.missed) * 1000 / received).min(SUCCESS_MAX),
        };
        let moved = measured.abs_diff(self.success) > SUCCESS_BAND
            || (measured == SUCCESS_PERFECT && self.success != SUCCESS_PERFECT);
        if self.metric_in == METRIC_INFINITE || moved {
            self.success = measured;
            self.metric_in = told_metric(u64::from(measured) * 2_097_152 / 1000);
        }
        self.active = (self.active + 1) % WINDOW;
        self.buckets[self.active] = Bucket::default();
    }

    /// `etx_ff` cost of the published qualities in 1/1024 transmissions; `None` when broken.
    #[must_use]
    pub fn cost_1024(&self) -> Option<u32> {
        etx_cost_1024(self.published)
    }
}

/// Whether `etx_ff` publishes a step from `old` to `new`: more than a tenth, or perfect at last.
fn moved(new: u8, old: u8) -> bool {
    new != old && (new == QUALITY_PERFECT || u32::from(new.abs_diff(old)) * 10 > u32::from(old))
}

/// Share of packets in 1/255, in the fixed-point steps of the daemon, which always round down.
fn etx_quality(received: u32, seen: u32, missed: u32, hello_ms: u64) -> u8 {
    if seen == 0 {
        return 0;
    }
    let received = match missed {
        0 | 1 => u64::from(received),
        _ => {
            let charged = u64::from(received) * u64::from(missed) * hello_ms / 1000 / WINDOW as u64;
            u64::from(received).saturating_sub(charged)
        }
    };
    let ratio = (received << 16) / u64::from(seen);
    u8::try_from((ratio * 255) >> 16).unwrap_or(QUALITY_PERFECT)
}

/// Expected transmissions of an `etx_ff` link in 1/1024 from its qualities in 1/255; `None` when broken.
#[must_use]
pub fn etx_cost_1024((inbound, outbound): (u8, u8)) -> Option<u32> {
    if inbound < QUALITY_USABLE_MIN || outbound < QUALITY_USABLE_MIN {
        return None;
    }
    Some(1024 * 255 * 255 / (u32::from(inbound) * u32::from(outbound)))
}

/// A metric after RFC 7181 section 6.2: eight bits and an exponent of four, rounded up.
#[must_use]
pub fn told_metric(metric: u64) -> u32 {
    for exponent in 0..16_u32 {
        let steps = (metric + 256).div_ceil(1 << exponent);
        if steps <= 512 {
            return ((steps.max(257) << exponent) - 256) as u32;
        }
    }
    METRIC_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Inbound quality, printed as the daemon does, that olsrd showed 1, 2, 3 ... seconds after it was restarted amid
    /// neighbours with perfect links (HELLO 0.5 s).
    const RESTARTED: [(u64, &str); 14] = [
        (1, "0.113"),
        (2, "0.207"),
        (3, "0.282"),
        (4, "0.345"),
        (5, "0.396"),
        (7, "0.462"),
        (9, "0.529"),
        (11, "0.580"),
        (14, "0.646"),
        (19, "0.721"),
        (28, "0.796"),
        (31, "0.874"),
        (34, "1.000"),
        (60, "1.000"),
    ];

    #[test]
    fn etx_warms_up_as_the_daemon_was_seen_to() {
        let timers = Timers::FAST;
        let told = Told { heard: true, quality: QUALITY_PERFECT, metric: 0 };
        let mut link = Link::new(Family::Olsrd, 0, 0);
        let mut shown = Vec::new();
        for second in 1..=60_u64 {
            for half in 0..2 {
                let now = second * 1000 + half * 500;
                link.receive(Family::Olsrd, &timers, now, second * 2 + half - 1, told);
            }
            if link.tick_etx(&timers) {
                link.publish_etx();
            }
            shown.push(format!(
                "{:.3}",
                f64::from(u32::from(link.published.0) * 1024 / 255) / 1024.0
            ));
        }
        for (second, expected) in RESTARTED {
            // Exact while the pessimistic start rules; later a packet more or less in the daemon's seconds shifts the dead
            // band's steps by a second or two.
            let (slack_s, slack) = if second <= 5 { (0, 0.0) } else { (2, 0.03) };
            let last = second as usize - 1;
            let around = &shown[last - slack_s..=(last + slack_s).min(59)];
            let expected: f64 = expected.parse().unwrap();
            assert!(
                around
                    .iter()
                    .any(|shown| (shown.parse::<f64>().unwrap() - expected).abs() <= slack),
                "after {second} s: {expected} is not near {around:?}"
            );
        }
    }

    #[test]
    fn etx_costs_read_like_captured_ones() {
        let shown =
            |pair| etx_cost_1024(pair).map(|cost| format!("{:.3}", f64::from(cost) / 1024.0));
        assert_eq!(shown((255, 255)).as_deref(), Some("1.000"));
        assert_eq!(shown((63, 42)).as_deref(), Some("24.574"));
        assert_eq!(shown((29, 221)).as_deref(), Some("10.146"));
        assert_eq!(shown((220, 255)).as_deref(), Some("1.158"));
        assert_eq!(shown((25, 255)), None);
    }

    #[test]
    fn metrics_take_the_steps_of_the_protocol() {
        assert_eq!(told_metric(2_097_152), METRIC_PERFECT);
        assert_eq!(told_metric(2_097_152 * 1103 / 1000), 2_318_080);
        assert_eq!(told_metric(2_097_152 * 1231 / 1000), 2_588_416);
        assert_eq!(told_metric(2_097_152 * 1333 / 1000), 2_801_408);
        assert_eq!(told_metric(2_097_152 * 5347 / 1000), 11_239_168);
        assert_eq!(told_metric(16_777_216), METRIC_MAX);
        assert_eq!(told_metric(1), 1);
    }

    #[test]
    fn dat_metric_is_perfect_after_sixteen_seconds_and_not_before() {
        let timers = Timers::FAST;
        let told = Told { heard: true, quality: 0, metric: METRIC_PERFECT };
        let mut link = Link::new(Family::Olsrd2, 0, 0);
        let mut first_perfect = None;
        for hello in 1..=60_u64 {
            link.receive(Family::Olsrd2, &timers, hello * 500, hello, told);
            link.tick_dat();
            if link.metric_in == METRIC_PERFECT && first_perfect.is_none() {
                first_perfect = Some(hello / 2);
            }
        }
        assert_eq!(first_perfect, Some(16));
    }

    #[test]
    fn a_restarted_neighbour_is_not_charged_with_loss() {
        let timers = Timers::FAST;
        let told = Told { heard: true, quality: QUALITY_PERFECT, metric: METRIC_PERFECT };
        let mut link = Link::new(Family::Olsrd, 5_000, 0);
        link.receive(Family::Olsrd, &timers, 0, 5_001, told);
        link.receive(Family::Olsrd, &timers, 500, 17, told);
        link.receive(Family::Olsrd, &timers, 1000, 20, told);
        let (received, seen) = link.packets();
        assert_eq!((received, seen), (3, 3 + 2 + WINDOW_START as u32 * INITIAL_LOST));
    }
}
