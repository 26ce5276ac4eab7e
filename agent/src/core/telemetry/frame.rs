//! The compact form of a batch: a few bytes of header and one stream of bits for all columns.
//!
//! ```text
//! frame  = version byte 1, postcard(header)
//! header = boot id 16 bytes, batch number, dictionary series, dictionary hash,
//!          wall clock: none or (offset_ms, quality), columns, ticks, body as bytes
//! body   = tick column, columns in order of series number, zero bits up to the next byte
//! column = gamma(series - previous series)          not for the tick column; the one before the first is -1
//!          0 | 1 + one bit a tick: sample present   not for the tick column
//!          model 2 bits, and, if at least one sample is present:
//!          constant  00: zigzag(value) sized
//!          level     01: zigzag(base) sized, parameter, rice(zigzag(value - base))...
//!          slope     10: zigzag(first) sized, parameter, rice(zigzag(value - previous))...
//!          curve     11: the same with the difference of differences
//! ```
//!
//! Gamma, sized and Rice codes are those of the `bits` module. The encoder takes the model and the Rice parameter (6 bits)
//! with the fewest bits: levels suit noise around a mean, slopes slow changes and states, curves steady counters. There is no
//! checksum: MQTT runs over TCP or TLS, and a record is acknowledged as a whole.
//!
//! Decoding needs no dictionary, names what is wrong, and allocates at most in proportion to what it has read: a column
//! costs the sender three bytes at least and expands to [`TICKS_MAX`] values at most.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::batch::{Batch, BootId, Column, SAMPLES_MAX, TICKS_MAX, VALUE_MAX, Wall};
use super::bits::{self, RICE_PARAMETER_BITS, RICE_PARAMETER_MAX, Reader, Writer};
use super::dictionary::{SERIES_MAX, Version};
use crate::core::time::ClockQuality;

/// First byte of every frame. A form that an older decoder would misread gets another one; it never is `{`, with which
/// the JSON form begins.
pub const FRAME_VERSION: u8 = 1;

#[derive(Serialize, Deserialize)]
struct Header<'b> {
    boot: BootId,
    number: u64,
    dictionary: Version,
    wall: Option<Wall>,
    columns: u32,
    ticks: u32,
    body: &'b [u8],
}

/// Why bytes are not a batch. Retrying the same bytes never helps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// No bytes.
    Empty,
    /// The first byte is not [`FRAME_VERSION`].
    Version {
        /// What it is.
        found: u8,
    },
    /// The header is cut off or malformed.
    Header,
    /// Something is beyond what any sender writes.
    Limit {
        /// What.
        what: &'static str,
        /// How many there are said to be.
        found: u64,
        /// How many there may be.
        limit: u64,
    },
    /// The columns are cut off or malformed.
    Body {
        /// Number of the column, in order, 0 for the ticks.
        column: u32,
    },
    /// Bytes are left over.
    Trailing,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::Empty => write!(f, "telemetry frame is empty"),
            FrameError::Version { found } => write!(
                f,
                "telemetry frame has version {found}, this program reads version {FRAME_VERSION}: \
                 not a telemetry payload, or one of a newer agent (use its `decode`)"
            ),
            FrameError::Header => write!(f, "telemetry frame is cut off or damaged in its header"),
            FrameError::Limit { what, found, limit } => {
                write!(f, "telemetry frame claims {found} {what}, the limit is {limit}: damaged")
            }
            FrameError::Body { column } => {
                write!(f, "telemetry frame is cut off or damaged in column {column}")
            }
            FrameError::Trailing => write!(f, "telemetry frame has bytes after its end: damaged"),
        }
    }
}

impl std::error::Error for FrameError {}

/// The compact form of a batch.
#[must_use]
pub fn encode(batch: &Batch) -> Vec<u8> {
    let mut body = Writer::default();
    let ticks: Vec<i64> = batch.ticks_ms.iter().map(|ms| clamp_tick(*ms)).collect();
    write_values(&mut body, &ticks);
    let mut next = 0;
    for column in &batch.columns {
        body.gamma(u64::from(column.series() - next) + 1);
        next = column.series() + 1;
        write_column(&mut body, column);
    }
    let body = body.into_bytes();
    let header = Header {
        boot: batch.boot,
        number: batch.number,
        dictionary: batch.dictionary,
        wall: batch.wall,
        columns: u32::try_from(batch.columns.len()).unwrap_or(u32::MAX),
        ticks: u32::try_from(batch.ticks_ms.len()).unwrap_or(u32::MAX),
        body: &body,
    };
    postcard::to_extend(&header, vec![FRAME_VERSION])
        .expect("a growing vector takes every header of plain numbers")
}

/// Reads a frame.
///
/// # Errors
/// When the bytes are not a frame of this version, whole and undamaged. Damage that changes values only is not noticed.
pub fn decode(frame: &[u8]) -> Result<Batch, FrameError> {
    let (version, rest) = frame.split_first().ok_or(FrameError::Empty)?;
    if *version != FRAME_VERSION {
        return Err(FrameError::Version { found: *version });
    }
    let (header, rest) =
        postcard::take_from_bytes::<Header<'_>>(rest).map_err(|_| FrameError::Header)?;
    if !rest.is_empty() {
        return Err(FrameError::Trailing);
    }
    let ticks = check_limits(&header)?;

    let mut reader = Reader::new(header.body);
    let ticks_ms = read_ticks(&mut reader, ticks).ok_or(FrameError::Body { column: 0 })?;
    let mut columns = Vec::new();
    let mut next = 0;
    for index in 0..header.columns {
        let column = read_column(&mut reader, next, header.dictionary.series, ticks)
            .ok_or(FrameError::Body { column: index + 1 })?;
        next = column.series() + 1;
        columns.push(column);
    }
    if !reader.at_end() {
        return Err(FrameError::Trailing);
    }
    Ok(Batch {
        boot: header.boot,
        number: header.number,
        dictionary: header.dictionary,
        wall: header.wall,
        ticks_ms,
        columns,
    })
}

/// Checks the header before anything is allocated for it; gives the number of ticks.
fn check_limits(header: &Header<'_>) -> Result<usize, FrameError> {
    let limits = [
        ("ticks", u64::from(header.ticks), TICKS_MAX),
        ("series", u64::from(header.dictionary.series), SERIES_MAX),
        ("columns", u64::from(header.columns), SERIES_MAX),
        ("samples", u64::from(header.columns) * u64::from(header.ticks), SAMPLES_MAX),
    ];
    for (what, found, limit) in limits {
        let limit = limit as u64;
        if found > limit {
            return Err(FrameError::Limit { what, found, limit });
        }
    }
    if header.wall.is_some_and(|wall| wall.quality == ClockQuality::Unset) {
        return Err(FrameError::Header);
    }
    usize::try_from(header.ticks).map_err(|_| FrameError::Header)
}

/// 285,000 years of uptime are cut off rather than refused.
fn clamp_tick(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(VALUE_MAX).min(VALUE_MAX)
}

fn write_column(body: &mut Writer, column: &Column) {
    let gaps = column.values().any(|value| value.is_none());
    body.bits(u64::from(gaps), 1);
    if gaps {
        column.values().for_each(|value| body.bits(u64::from(value.is_some()), 1));
    }
    let values: Vec<i64> = column.values().flatten().collect();
    write_values(body, &values);
}

fn write_values(body: &mut Writer, values: &[i64]) {
    let Some(coding) = Coding::choose(values) else {
        body.bits(Model::Constant.code(), 2);
        return;
    };
    body.bits(coding.model.code(), 2);
    body.sized(bits::zigzag(coding.base));
    match coding.model {
        Model::Constant => return,
        Model::Level | Model::Slope | Model::Curve => {}
    }
    body.bits(u64::from(coding.parameter), RICE_PARAMETER_BITS);
    residuals(coding.model, coding.base, values).for_each(|code| body.rice(code, coding.parameter));
}

fn read_ticks(reader: &mut Reader<'_>, ticks: usize) -> Option<Vec<u64>> {
    let values = read_values(reader, ticks)?;
    values.into_iter().map(|ms| u64::try_from(ms).ok()).collect()
}

fn read_column(
    reader: &mut Reader<'_>,
    next: u32,
    series_end: u32,
    ticks: usize,
) -> Option<Column> {
    let gap = u32::try_from(reader.gamma()?.checked_sub(1)?).ok()?;
    let series = next.checked_add(gap).filter(|series| *series < series_end)?;
    let present: Option<Vec<bool>> = match reader.bit()? {
        0 => None,
        _ => Some((0..ticks).map(|_| Some(reader.bit()? == 1)).collect::<Option<_>>()?),
    };
    let count = present.as_ref().map_or(ticks, |bits| bits.iter().filter(|bit| **bit).count());
    let values = read_values(reader, count)?;
    let mut values = values.into_iter();
    Some(match present {
        None => Column::new(series, values.map(Some)),
        Some(bits) => {
            Column::new(series, bits.into_iter().map(|bit| bit.then(|| values.next()).flatten()))
        }
    })
}

fn read_values(reader: &mut Reader<'_>, count: usize) -> Option<Vec<i64>> {
    let model = Model::from_code(reader.bits(2)?);
    if count == 0 {
        return (model == Model::Constant).then(Vec::new);
    }
    let base = valid(bits::unzigzag(reader.sized()?))?;
    if model == Model::Constant {
        return Some(vec![base; count]);
    }
    let parameter = u32::try_from(reader.bits(RICE_PARAMETER_BITS)?).ok()?;
    if parameter > RICE_PARAMETER_MAX {
        return None;
    }
    let mut values = Vec::with_capacity(count);
    let (mut before, mut slope) = (base, 0_i64);
    if model != Model::Level {
        values.push(base);
    }
    while values.len() < count {
        let residual = bits::unzigzag(reader.rice(parameter)?);
        let value = match model {
            Model::Constant | Model::Level => base.checked_add(residual)?,
            Model::Slope => before.checked_add(residual)?,
            Model::Curve => before.checked_add(slope.checked_add(residual)?)?,
        };
        let value = valid(value)?;
        slope = value - before;
        before = value;
        values.push(value);
    }
    Some(values)
}

/// Values beyond the limit are never written, and keep sums of differences in range.
fn valid(value: i64) -> Option<i64> {
    (value.unsigned_abs() <= VALUE_MAX.unsigned_abs()).then_some(value)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Model {
    Constant,
    Level,
    Slope,
    Curve,
}

impl Model {
    fn code(self) -> u64 {
        match self {
            Model::Constant => 0,
            Model::Level => 1,
            Model::Slope => 2,
            Model::Curve => 3,
        }
    }

    /// The model of two bits.
    fn from_code(code: u64) -> Model {
        match code & 3 {
            0 => Model::Constant,
            1 => Model::Level,
            2 => Model::Slope,
            _ => Model::Curve,
        }
    }
}

/// How a column is written.
struct Coding {
    model: Model,
    base: i64,
    parameter: u32,
}

impl Coding {
    /// The coding with the fewest bits; `None` for no values.
    fn choose(values: &[i64]) -> Option<Coding> {
        let first = *values.first()?;
        if values.iter().all(|value| *value == first) {
            return Some(Coding { model: Model::Constant, base: first, parameter: 0 });
        }
        [(Model::Level, median(values)), (Model::Slope, first), (Model::Curve, first)]
            .into_iter()
            .map(|(model, base)| {
                let codes: Vec<u64> = residuals(model, base, values).collect();
                let (parameter, length) = best_parameter(&codes);
                let base_length = u64::from(u64::BITS - bits::zigzag(base).leading_zeros());
                (length + base_length, Coding { model, base, parameter })
            })
            .min_by_key(|(length, _)| *length)
            .map(|(_, coding)| coding)
    }
}

/// What is left of each value when the model has been taken away. Level has one for every value, the others none for the
/// first.
fn residuals(model: Model, base: i64, values: &[i64]) -> impl Iterator<Item = u64> {
    let skip = match model {
        Model::Constant => values.len(),
        Model::Level => 0,
        Model::Slope | Model::Curve => 1,
    };
    let (mut before, mut slope) = (base, 0);
    values.iter().skip(skip).map(move |value| {
        let difference = value - before;
        let residual = match model {
            Model::Constant | Model::Level => value - base,
            Model::Slope => difference,
            Model::Curve => difference - slope,
        };
        (before, slope) = (*value, difference);
        bits::zigzag(residual)
    })
}

fn best_parameter(codes: &[u64]) -> (u32, u64) {
    let length = |parameter| codes.iter().map(|code| bits::rice_length(*code, parameter)).sum();
    (0..=RICE_PARAMETER_MAX)
        .map(|parameter| (parameter, length(parameter)))
        .min_by_key(|(_, length): &(u32, u64)| *length)
        .unwrap_or((0, 0))
}

fn median(values: &[i64]) -> i64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests;
