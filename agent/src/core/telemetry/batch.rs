//! Gathers ticks of samples into batches of integer columns. Keeps each value at its metric's resolution; what cannot be
//! kept is counted. Encodes nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::dictionary::{Dictionary, SERIES_MAX, Version};
use crate::core::catalog::Sink;
use crate::core::time::{ClockQuality, Now};

/// Ticks in one batch: ten minutes at one a second. Bounds our memory and that of a receiver.
pub const TICKS_MAX: usize = 600;

/// Samples in one batch, missing ones included: 2 MiB as columns. More than every vehicle of a 1,000-node mesh twice, for
/// a minute.
pub const SAMPLES_MAX: usize = 1 << 18;

/// Ticks that room is made for ahead of time: with all series that there can be, still no more than [`SAMPLES_MAX`].
const TICKS_EXPECTED_MAX: usize = SAMPLES_MAX / SERIES_MAX;

/// Largest magnitude of a value in units of its resolution: beyond it an f64 skips integers.
pub const VALUE_MAX: i64 = 1 << 53;

/// Stands for no sample inside a column; out of the range of values.
const MISSING: i64 = i64::MIN;

/// The kernel's boot id as 16 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BootId(pub [u8; 16]);

impl BootId {
    /// Reads the form of `/proc/sys/kernel/random/boot_id`. Anything else gives the id that is all zero: unknown.
    #[must_use]
    pub fn from_text(text: &str) -> BootId {
        let digits: String = text.chars().filter(|character| *character != '-').collect();
        let plain = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u128::from_str_radix(&digits, 16).ok().filter(|_| plain);
        BootId(number.unwrap_or(0).to_be_bytes())
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:032x}", u128::from_be_bytes(self.0));
        let groups = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| &digits[range]);
        f.write_str(&groups.join("-"))
    }
}

/// Wall clock of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wall {
    /// Wall clock minus boot clock in milliseconds, as known when the batch was closed: the clock may have been set
    /// only after the first ticks.
    pub offset_ms: i64,
    /// How far it can be believed; never [`ClockQuality::Unset`].
    pub quality: ClockQuality,
}

/// The values of one series, one for each tick of the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    series: u32,
    values: Vec<i64>,
}

impl Column {
    /// A column. Values beyond [`VALUE_MAX`] count as missing.
    #[must_use]
    pub fn new(series: u32, values: impl IntoIterator<Item = Option<i64>>) -> Column {
        let keep = |value: i64| value.unsigned_abs() <= VALUE_MAX.unsigned_abs();
        let values = values.into_iter().map(|v| v.filter(|v| keep(*v)).unwrap_or(MISSING));
        Column { series, values: values.collect() }
    }

    /// Number of the series in the dictionary.
    #[must_use]
    pub fn series(&self) -> u32 {
        self.series
    }

    /// Values in units of the series' resolution, `None` where there was no sample.
    pub fn values(&self) -> impl ExactSizeIterator<Item = Option<i64>> {
        self.values.iter().map(|value| (*value != MISSING).then_some(*value))
    }
}

/// What was measured in one span of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The boot that `ticks_ms` count from.
    pub boot: BootId,
    /// Number of the batch since the agent started, from 1; a gap is a loss. The boot id and the first tick together
    /// name a batch for ever, so that repeats can be told.
    pub number: u64,
    /// Version of the dictionary that numbers the series.
    pub dictionary: Version,
    /// Wall clock, if it could be believed.
    pub wall: Option<Wall>,
    /// Moments of the ticks in milliseconds since boot.
    pub ticks_ms: Vec<u64>,
    /// Columns in order of their series' numbers, each as long as `ticks_ms`.
    pub columns: Vec<Column>,
}

impl Batch {
    /// Samples in it, missing ones not counted.
    #[must_use]
    pub fn samples(&self) -> usize {
        self.columns.iter().map(|column| column.values().flatten().count()).sum()
    }

    /// Wall time of a tick in milliseconds since 1970, if it could be believed.
    #[must_use]
    pub fn wall_ms(&self, tick_ms: u64) -> Option<i64> {
        i64::try_from(tick_ms).ok()?.checked_add(self.wall?.offset_ms)
    }
}

/// What was lost on the way into batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Values of series for which the dictionary, or the batch, had no room.
    pub overflow: u64,
    /// Values that are no number, or too large at their resolution.
    pub unrepresentable: u64,
}

impl Losses {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.overflow.saturating_add(self.unrepresentable)
    }
}

/// Makes batches.
#[derive(Debug)]
pub struct Batcher {
    boot: BootId,
    period: Duration,
    span: Duration,
    dictionary: Dictionary,
    issued: u64,
    ticks_ms: Vec<u64>,
    columns: BTreeMap<u32, Vec<i64>>,
    /// Ticks of the batch before, at most [`TICKS_EXPECTED_MAX`]. Columns begin with room for as many: growing there by
    /// doubling leaves an allocator with as much again in pieces of all sizes.
    ticks_expected: usize,
    /// Series of the batch before, for beginning a full dictionary anew.
    alive: Vec<u32>,
    losses: Losses,
}

impl Batcher {
    /// Batches that cover `span`, of ticks that come every `period`.
    #[must_use]
    pub fn new(boot: BootId, period: Duration, span: Duration) -> Batcher {
        Batcher {
            boot,
            period,
            span,
            dictionary: Dictionary::default(),
            issued: 0,
            ticks_ms: Vec::new(),
            columns: BTreeMap::new(),
            ticks_expected: 0,
            alive: Vec::new(),
            losses: Losses::default(),
        }
    }

    /// Takes one tick: `fill` names every value that is known now; metrics that are not telemetry are passed over. Returns
    /// the batch that this tick completes. [`Batcher::dictionary`] then is the one that the batch names.
    pub fn tick(&mut self, now: Now, fill: impl FnOnce(&mut Sink<'_>)) -> Option<Batch> {
        if self.ticks_ms.is_empty() && self.dictionary.is_full() {
            self.dictionary.retain(self.alive.drain(..));
        }
        let row = self.ticks_ms.len();
        self.ticks_ms.push(now.mono.millis());
        let Batcher { dictionary, columns, losses, ticks_expected, .. } = self;
        fill(&mut |metric, labels, value| {
            if !metric.telemetry {
                return;
            }
            let Some(value) = quantise(value, metric.resolution) else {
                losses.unrepresentable += 1;
                return;
            };
            let Some(series) = dictionary.number(metric, labels) else { return };
            if (columns.len() + 1) * (row + 1) > SAMPLES_MAX && !columns.contains_key(&series) {
                losses.overflow += 1;
                return;
            }
            let column =
                columns.entry(series).or_insert_with(|| Vec::with_capacity(*ticks_expected));
            column.resize(row, MISSING);
            column.push(value);
        });
        self.complete().then(|| self.close(now)).flatten()
    }

    /// Closes the batch before it is complete, when the agent ends. `None` when nothing was gathered.
    pub fn close(&mut self, now: Now) -> Option<Batch> {
        if self.ticks_ms.is_empty() {
            return None;
        }
        let ticks_ms = std::mem::take(&mut self.ticks_ms);
        self.ticks_expected = ticks_ms.len().min(TICKS_EXPECTED_MAX);
        let columns: Vec<Column> = std::mem::take(&mut self.columns)
            .into_iter()
            .map(|(series, mut values)| {
                values.resize(ticks_ms.len(), MISSING);
                Column { series, values }
            })
            .collect();
        self.alive = columns.iter().map(Column::series).collect();
        self.issued += 1;
        Some(Batch {
            boot: self.boot,
            number: self.issued,
            dictionary: self.dictionary.version(),
            wall: wall(now),
            ticks_ms,
            columns,
        })
    }

    /// The dictionary as it is now.
    #[must_use]
    pub fn dictionary(&self) -> &Dictionary {
        &self.dictionary
    }

    /// What was lost since the start.
    #[must_use]
    pub fn losses(&self) -> Losses {
        Losses { overflow: self.losses.overflow + self.dictionary.overflow(), ..self.losses }
    }

    /// Whether another tick would lie beyond the span, or have no room.
    fn complete(&self) -> bool {
        let (Some(first), Some(last)) = (self.ticks_ms.first(), self.ticks_ms.last()) else {
            return false;
        };
        // Ticks come a little early or late; half a period decides to which batch the next one belongs.
        let next = Duration::from_millis(last.saturating_sub(*first)) + self.period * 3 / 2;
        let room = self.ticks_ms.len() < TICKS_MAX
            && self.columns.len() * (self.ticks_ms.len() + 1) <= SAMPLES_MAX;
        next > self.span || !room
    }
}

fn wall(now: Now) -> Option<Wall> {
    let boot_ms = i64::try_from(now.mono.millis()).ok()?;
    let offset_ms = now.believable_wall_ms()?.checked_sub(boot_ms)?;
    Some(Wall { offset_ms, quality: now.quality })
}

/// A value in units of ten to the power of `resolution`.
fn quantise(value: f64, resolution: i8) -> Option<i64> {
    let scale = 10_f64.powi(i32::from(resolution.unsigned_abs()));
    let scaled = if resolution < 0 { value * scale } else { value / scale };
    let rounded = scaled.round();
    (rounded.abs() <= VALUE_MAX as f64).then_some(rounded as i64)
}

/// The value that an integer in units of ten to the power of `resolution` stands for.
#[must_use]
pub fn value(units: i64, resolution: i8) -> f64 {
    let scale = 10_f64.powi(i32::from(resolution.unsigned_abs()));
    if resolution < 0 { units as f64 / scale } else { units as f64 * scale }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::sample::Metric;
    use crate::core::time::Mono;

    static LOAD: Metric = Metric::gauge("load1", "Load.", &[]).in_telemetry(-2);
    static BYTES: Metric = Metric::counter("bytes_total", "Bytes.", &["interface"]).in_telemetry(3);
    static LOCAL: Metric = Metric::gauge("local", "Not sent.", &[]);

    fn now(ms: u64) -> Now {
        Now {
            mono: Mono::from_millis(ms),
            wall_ms: 1_795_000_000_000 + i64::try_from(ms).unwrap(),
            quality: ClockQuality::Synchronised,
        }
    }

    fn batcher() -> Batcher {
        let boot = BootId::from_text("01234567-89ab-cdef-0123-456789abcdef");
        Batcher::new(boot, Duration::from_secs(1), Duration::from_secs(4))
    }

    fn values(batch: &Batch, series: usize) -> Vec<Option<i64>> {
        batch.columns[series].values().collect()
    }

    #[test]
    fn columns_begin_with_room_for_as_many_ticks_as_before_and_for_no_more_than_may_be() {
        let room = |span_s: u64| {
            let boot = BootId::from_text("01234567-89ab-cdef-0123-456789abcdef");
            let mut batcher =
                Batcher::new(boot, Duration::from_secs(1), Duration::from_secs(span_s));
            let mut load = |at_s: u64| batcher.tick(now(at_s * 1000), |sink| sink(&LOAD, &[], 1.0));
            let batch = (0..).find_map(&mut load).unwrap();
            load(10_000);
            (batch.ticks_ms.len(), batcher.columns[&0].capacity())
        };
        assert_eq!(room(40), (40, 40));
        assert_eq!(room(400), (400, TICKS_EXPECTED_MAX));
    }

    #[test]
    fn a_batch_holds_columns_at_their_resolution_with_gaps_where_samples_are_missing() {
        let mut batcher = batcher();
        assert_eq!(batcher.tick(now(1000), |sink| sink(&LOAD, &[], 0.254)), None);
        let late = batcher.tick(now(2003), |sink| {
            sink(&BYTES, &["mesh0"], 12_499.0);
            sink(&LOCAL, &[], 7.0);
        });
        assert_eq!(late, None);
        assert_eq!(batcher.tick(now(2999), |sink| sink(&LOAD, &[], -0.256)), None);
        let batch = batcher.tick(now(4001), |sink| sink(&BYTES, &["mesh0"], 12_500.0)).unwrap();
        assert_eq!(batch.ticks_ms, [1000, 2003, 2999, 4001]);
        assert_eq!(values(&batch, 0), [Some(25), None, Some(-26), None]);
        assert_eq!(values(&batch, 1), [None, Some(12), None, Some(13)]);
        assert_eq!((batch.columns.len(), batch.samples(), batch.number), (2, 4, 1));
        assert_eq!(batch.wall_ms(2003), Some(1_795_000_002_003));
        assert_eq!(batch.dictionary, batcher.dictionary().version());
        assert_eq!(batch.boot.to_string(), "01234567-89ab-cdef-0123-456789abcdef");
    }

    #[test]
    fn jitter_does_not_change_the_number_of_ticks() {
        for jitter in [-400_i64, -1, 0, 1, 400] {
            let mut batcher = batcher();
            let mut ticks = 0;
            let complete = (0_i64..).find_map(|second| {
                ticks += 1;
                let ms = 10_000 + 1000 * second + jitter * (second % 2);
                batcher.tick(now(u64::try_from(ms).unwrap()), |_| {})
            });
            assert_eq!(
                (ticks, complete.map(|batch| batch.ticks_ms.len())),
                (4, Some(4)),
                "{jitter}"
            );
        }
    }

    #[test]
    fn what_cannot_be_kept_is_missing_and_counted() {
        let mut batcher = batcher();
        let nonsense = [f64::NAN, f64::INFINITY, -1e300];
        batcher.tick(now(0), |sink| nonsense.iter().for_each(|value| sink(&LOAD, &[], *value)));
        let batch = batcher.close(now(1)).unwrap();
        assert_eq!((batch.samples(), batcher.losses().unrepresentable), (0, 3));
        assert_eq!(batcher.close(now(2)), None);
    }

    #[test]
    fn the_last_of_repeated_samples_counts() {
        let mut batcher = batcher();
        batcher.tick(now(0), |sink| [1.0, 2.0].iter().for_each(|v| sink(&LOAD, &[], *v)));
        batcher.tick(now(1000), |sink| sink(&LOAD, &[], 3.0));
        assert_eq!(values(&batcher.close(now(1000)).unwrap(), 0), [Some(200), Some(300)]);
    }

    #[test]
    fn a_full_dictionary_is_begun_anew_with_what_is_alive() {
        let mut batcher = batcher();
        let all = |batcher: &mut Batcher, first: usize, count: usize| {
            batcher.tick(now(0), |sink| {
                for index in first..first + count {
                    sink(&BYTES, &[&format!("veth{index}")], 1.0);
                }
            });
            batcher.close(now(0)).unwrap()
        };
        let first = all(&mut batcher, 0, 1500);
        let second = all(&mut batcher, 1500, 1500);
        assert_eq!(first.columns.len(), 1500);
        assert_eq!(second.columns.len(), 548);
        assert_eq!(batcher.losses().overflow, 952);
        let third = all(&mut batcher, 1500, 1500);
        assert_eq!(third.columns.len(), 1500);
        assert!(!batcher.dictionary().contains(first.dictionary));
        assert_eq!(third.dictionary, batcher.dictionary().version());
    }

    #[test]
    fn no_clock_no_wall_time() {
        let mut batcher = batcher();
        let unset = Now { quality: ClockQuality::Unset, ..now(5) };
        batcher.tick(unset, |_| {});
        assert_eq!(batcher.close(unset).unwrap().wall, None);
    }

    #[test]
    fn an_odd_boot_id_is_unknown() {
        assert_eq!(BootId::from_text("yesterday"), BootId([0; 16]));
        let signed = "+1234567-89ab-cdef-0123-456789abcdef";
        assert_eq!(BootId::from_text(signed), BootId([0; 16]));
    }

    #[test]
    fn values_come_back_as_they_were_written() {
        for (units, resolution, expected) in
            [(1234, -2, "12.34"), (7, 0, "7"), (-3, 3, "-3000"), (1, -3, "0.001")]
        {
            assert_eq!(value(units, resolution).to_string(), expected);
        }
    }
}
