//! Metrics of the durable queue and its streams.
//!
//! [`visit`] names every value in catalog order, one family after the other; nothing when no spool is configured.

use crate::core::catalog::{Sink, count, flag};
use crate::core::sample::Metric;
use crate::core::spool::{SpoolState, StreamState};
use crate::core::state::State;

/// Whether it takes records.
pub static OPEN: Metric =
    Metric::gauge("outrider_spool_open", "1 while the spool takes records.", &[]);
/// Whether the disk takes nothing.
pub static DEGRADED: Metric = Metric::gauge(
    "outrider_spool_degraded",
    "1 while the disk takes nothing and records wait in memory.",
    &[],
);
/// Size.
pub static DISK_BYTES: Metric =
    Metric::gauge("outrider_spool_disk_bytes", "Bytes that the spool takes on disk.", &[])
        .in_telemetry(3);
/// Limit of the size.
pub static BUDGET_BYTES: Metric =
    Metric::gauge("outrider_spool_budget_bytes", "Bytes that the spool may take on disk.", &[]);
/// Room on the file system.
pub static FREE_BYTES: Metric = Metric::gauge(
    "outrider_spool_free_bytes",
    "Bytes that the file system of the spool could still take.",
    &[],
);
/// Memory.
pub static MEMORY_BYTES: Metric = Metric::gauge(
    "outrider_spool_memory_bytes",
    "Bytes of records that wait in memory for their sync.",
    &[],
);
/// Wear.
pub static WRITTEN_BYTES: Metric = Metric::counter(
    "outrider_spool_written_bytes_total",
    "Bytes written since the spool was begun, restarts included.",
    &[],
);
/// What may still be written.
pub static ALLOWANCE_BYTES: Metric = Metric::gauge(
    "outrider_spool_write_allowance_bytes",
    "Bytes that may still be written now, where writes are limited.",
    &[],
);
/// Damage.
pub static BAD_BYTES: Metric = Metric::gauge(
    "outrider_spool_bad_bytes",
    "Bytes found that are not what was written, since the spool was opened, by kind.",
    &["kind"],
);
/// Strange files.
pub static FILES: Metric = Metric::gauge(
    "outrider_spool_strange_files",
    "Files in the spool's folder that are not part of it, by kind.",
    &["kind"],
);

/// Held records.
pub static HELD_RECORDS: Metric = Metric::gauge(
    "outrider_stream_held_records",
    "Records of a stream that are kept until they are delivered.",
    &["stream"],
)
.in_telemetry(0);
/// Held bytes.
pub static HELD_BYTES: Metric = Metric::gauge(
    "outrider_stream_held_bytes",
    "Bytes of the records of a stream that are kept until they are delivered.",
    &["stream"],
)
.in_telemetry(3);
/// Durable lag.
pub static UNSYNCED_RECORDS: Metric = Metric::gauge(
    "outrider_stream_unsynced_records",
    "Records of a stream that a power cut would take, since they wait for their sync.",
    &["stream"],
);
/// Age.
pub static OLDEST_AGE: Metric = Metric::gauge(
    "outrider_stream_oldest_age_seconds",
    "Age of the oldest record of a stream that is kept.",
    &["stream"],
);
/// Accepted.
pub static ACCEPTED_RECORDS: Metric = Metric::counter(
    "outrider_stream_accepted_records_total",
    "Records of a stream that were accepted since the spool was begun.",
    &["stream"],
);
/// Acknowledged.
pub static ACKNOWLEDGED_RECORDS: Metric = Metric::counter(
    "outrider_stream_acknowledged_records_total",
    "Records of a stream that the far side has.",
    &["stream"],
);
/// Lost.
pub static DROPPED_RECORDS: Metric = Metric::counter(
    "outrider_stream_dropped_records_total",
    "Records of a stream that were dropped or refused, by cause.",
    &["stream", "cause"],
);
/// Lost bytes.
pub static DROPPED_BYTES: Metric = Metric::counter(
    "outrider_stream_dropped_bytes_total",
    "Bytes of records of a stream that were dropped or refused, by cause.",
    &["stream", "cause"],
);

/// All metrics of this module, in the order [`visit`] names them.
pub static ALL: &[&Metric] = &[
    &OPEN,
    &DEGRADED,
    &DISK_BYTES,
    &BUDGET_BYTES,
    &FREE_BYTES,
    &MEMORY_BYTES,
    &WRITTEN_BYTES,
    &ALLOWANCE_BYTES,
    &BAD_BYTES,
    &FILES,
    &HELD_RECORDS,
    &HELD_BYTES,
    &UNSYNCED_RECORDS,
    &OLDEST_AGE,
    &ACCEPTED_RECORDS,
    &ACKNOWLEDGED_RECORDS,
    &DROPPED_RECORDS,
    &DROPPED_BYTES,
];

/// Names every value about the spool.
pub fn visit(state: &State, sink: &mut Sink<'_>) {
    let spool = &state.spool;
    if !spool.configured {
        return;
    }
    sink(&OPEN, &[], flag(spool.open));
    if spool.streams.is_empty() && !spool.open {
        return;
    }
    whole(spool, sink);
    for_each(spool, &HELD_RECORDS, sink, |stream| count(stream.held_records));
    for_each(spool, &HELD_BYTES, sink, |stream| count(stream.held_bytes));
    for_each(spool, &UNSYNCED_RECORDS, sink, |stream| count(stream.unsynced_records));
    for (name, stream) in &spool.streams {
        if let Some(age_ms) = SpoolState::oldest_age_ms(stream, state.now.mono) {
            sink(&OLDEST_AGE, &[name], count(age_ms) / 1000.0);
        }
    }
    for_each(spool, &ACCEPTED_RECORDS, sink, |stream| count(stream.accepted_records));
    for_each(spool, &ACKNOWLEDGED_RECORDS, sink, |stream| count(stream.acknowledged_records));
    for (name, stream) in &spool.streams {
        for (cause, loss) in &stream.dropped {
            sink(&DROPPED_RECORDS, &[name, cause], count(loss.records));
        }
    }
    for (name, stream) in &spool.streams {
        for (cause, loss) in &stream.dropped {
            sink(&DROPPED_BYTES, &[name, cause], count(loss.bytes));
        }
    }
}

fn whole(spool: &SpoolState, sink: &mut Sink<'_>) {
    sink(&DEGRADED, &[], flag(spool.degraded));
    sink(&DISK_BYTES, &[], count(spool.disk_bytes));
    sink(&BUDGET_BYTES, &[], count(spool.budget_bytes));
    if let Some(free_bytes) = spool.free_bytes {
        sink(&FREE_BYTES, &[], count(free_bytes));
    }
    sink(&MEMORY_BYTES, &[], count(spool.memory_bytes));
    sink(&WRITTEN_BYTES, &[], count(spool.written_bytes));
    if let Some(allowance_bytes) = spool.allowance_bytes {
        sink(&ALLOWANCE_BYTES, &[], count(allowance_bytes));
    }
    sink(&BAD_BYTES, &["damaged"], count(spool.damaged_bytes));
    sink(&BAD_BYTES, &["torn"], count(spool.torn_bytes));
    sink(&BAD_BYTES, &["unreadable"], count(spool.unreadable_bytes));
    sink(&FILES, &["foreign"], count(spool.foreign_files));
    sink(&FILES, &["quarantined"], count(spool.quarantined_files));
}

fn for_each(
    spool: &SpoolState,
    metric: &'static Metric,
    sink: &mut Sink<'_>,
    value: fn(&StreamState) -> f64,
) {
    for (name, stream) in &spool.streams {
        sink(metric, &[name], value(stream));
    }
}
