//! The whole fleet as one metrics text: each vehicle's series with the label `vehicle`, and what the fleet's own receiving
//! end has to say.
//!
//! # Original time
//!
//! A value is written with the time at which it was measured. What Prometheus does with it (2.x and 3.x, defaults):
//!
//! - The same time and value again, from the next scrape, is dropped without a word: a vehicle that has sent nothing gets no
//!   flat line, and five minutes after its last value (the lookback of queries) it is absent, as it should be.
//! - A time before the newest one of the series is refused as out of order; here times of one vehicle only grow.
//! - A time more than an hour behind the newest of all series is refused as too old, with a line in its log for each scrape.
//!   So values older than [`SAMPLE_AGE_MAX_MS`] are left out; what they were is on the page.
//! - A time more than ten minutes ahead is refused as well; none is written ahead of our own clock by more than one.
//!
//! As long as our own clock is not set, no time is written, and only values of the last five minutes are there.
//! What the fleet says about itself has no time, as usual.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::moment::{Moment, wall_ms};
use super::names::{Name, VEHICLE_LABEL};
use super::vehicle::Vehicle;
use super::{Fleet, Refusal};
use crate::core::catalog;
use crate::core::exposition::{Format, Page, escape, number, unit};
use crate::core::presence::Presence;
use crate::core::record::dedup;
use crate::core::sample::{Kind, Metric};

/// Oldest value that is written: what Prometheus still takes, less ten minutes for its own scrape and for clocks apart.
pub const SAMPLE_AGE_MAX_MS: u64 = 50 * 60 * 1000;

/// Oldest value that is written without its time: how long Prometheus shows a value that is not renewed.
const UNDATED_AGE_MAX_MS: u64 = 5 * 60 * 1000;

/// What the shell knows of broker and disk.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Plant {
    /// The broker has accepted the connection and the subscription.
    pub connected: bool,
    /// What was received can be kept.
    pub storage: bool,
    /// Times that something was made durable.
    pub commits: u64,
    /// Bytes of the journal.
    pub journal_bytes: u64,
    /// Gathered files that were put together.
    pub files: u64,
    /// Gathered files that had other bytes than announced.
    pub damaged_files: u64,
    /// Documents that the broker has not taken yet.
    pub forwarding: u64,
}

static BUILD: Metric =
    Metric::info("outrider_fleet_build_info", "Version of the receiving end.", &["version"]);
static CONNECTED: Metric = Metric::gauge(
    "outrider_fleet_connected",
    "1 while the MQTT broker has accepted the connection and the subscription.",
    &[],
);
static STORAGE: Metric = Metric::gauge(
    "outrider_fleet_storage_up",
    "1 while what is received can be written to disk. Else nothing is received; the broker keeps it.",
    &[],
);
static MESSAGES: Metric = Metric::counter(
    "outrider_fleet_messages_total",
    "Messages that the broker delivered, repeats included.",
    &[],
);
static REFUSED: Metric = Metric::counter(
    "outrider_fleet_refused_messages_total",
    "Messages, and telemetry or events in messages of records, that were turned away, by cause.",
    &["cause"],
);
static COMMITS: Metric = Metric::counter(
    "outrider_fleet_commits_total",
    "Groups of messages that were made durable and then acknowledged.",
    &[],
);
static JOURNAL: Metric =
    Metric::gauge("outrider_fleet_journal_bytes", "Size of the journal on disk.", &[]);
static FORWARDING: Metric = Metric::gauge(
    "outrider_fleet_forwarding_documents",
    "Documents published for others that the broker has not acknowledged yet.",
    &[],
);
static INCOMPLETE: Metric = Metric::gauge(
    "outrider_fleet_incomplete_records",
    "Records of which only some parts have come.",
    &[],
);
static ABANDONED: Metric = Metric::counter(
    "outrider_fleet_abandoned_records_total",
    "Records whose parts were given up because there was no room for them.",
    &[],
);
static FILES: Metric = Metric::counter(
    "outrider_fleet_files_total",
    "Gathered files whose bytes have all come, by whether they are those that the vehicle announced.",
    &["outcome"],
);
static INCOMPLETE_FILES: Metric = Metric::gauge(
    "outrider_fleet_incomplete_files",
    "Gathered files of which only some chunks have come.",
    &[],
);
static ABANDONED_FILES: Metric = Metric::counter(
    "outrider_fleet_abandoned_files_total",
    "Gathered files whose chunks were given up because there was no room for them.",
    &[],
);
static VEHICLES: Metric =
    Metric::gauge("outrider_fleet_vehicles", "Vehicles that are followed.", &[]);
static SERIES_OMITTED: Metric = Metric::gauge(
    "outrider_fleet_series_omitted",
    "Latest values left out of this text: too old for Prometheus, or of another kind than the metric has.",
    &["cause"],
);
static ONLINE: Metric = Metric::gauge(
    "outrider_fleet_vehicle_online",
    "1 when a vehicle is connected to the broker, 0 when it or its last will said that it is not.",
    &[VEHICLE_LABEL],
);
static HEARD_AGE: Metric = Metric::gauge(
    "outrider_fleet_vehicle_heard_age_seconds",
    "Time since anything came from a vehicle.",
    &[VEHICLE_LABEL],
);
static SAMPLE_AGE: Metric = Metric::gauge(
    "outrider_fleet_vehicle_sample_age_seconds",
    "Time since the latest values of a vehicle were measured.",
    &[VEHICLE_LABEL],
);
static MESH_AGE: Metric = Metric::gauge(
    "outrider_fleet_vehicle_mesh_age_seconds",
    "Time since a vehicle's values last had something of its routing daemon.",
    &[VEHICLE_LABEL],
);
static BATCHES: Metric = Metric::counter(
    "outrider_fleet_vehicle_batches_total",
    "Telemetry batches of a vehicle, without repeats.",
    &[VEHICLE_LABEL],
);
static REPEATS: Metric = Metric::counter(
    "outrider_fleet_vehicle_repeats_total",
    "Telemetry batches and events of a vehicle that came again and were dropped.",
    &[VEHICLE_LABEL],
);
static EVENTS: Metric = Metric::counter(
    "outrider_fleet_vehicle_events_total",
    "Events of a vehicle, without repeats.",
    &[VEHICLE_LABEL],
);

const STREAM: &[&str] = &[VEHICLE_LABEL, "stream"];

static STREAM_RECORDS: Metric = Metric::counter(
    "outrider_fleet_stream_records_total",
    "Records of a stream, without repeats.",
    STREAM,
);
static STREAM_BYTES: Metric = Metric::counter(
    "outrider_fleet_stream_bytes_total",
    "Payload bytes of a stream's records, without repeats.",
    STREAM,
);
static STREAM_REPEATS: Metric = Metric::counter(
    "outrider_fleet_stream_repeats_total",
    "Records of a stream that came again and were dropped.",
    STREAM,
);
static STREAM_MISSING: Metric = Metric::gauge(
    "outrider_fleet_stream_missing_records",
    "Records of a stream between the first and the last that came which have not come and may still come.",
    STREAM,
);
static STREAM_GONE: Metric = Metric::gauge(
    "outrider_fleet_stream_gone_records",
    "Records of a stream that have not come and that the vehicle no longer holds.",
    STREAM,
);

/// Everything as text at the moment `now`.
#[must_use]
pub fn render(fleet: &Fleet, plant: &Plant, now: &Moment, format: Format) -> String {
    let mut page = Page::new(format);
    receiving_end(fleet, plant, &mut page);
    let families = families(fleet, now);
    page.sample(&SERIES_OMITTED, &["age"], families.too_old as f64);
    page.sample(&SERIES_OMITTED, &["kind"], families.other_kind as f64);
    vehicles(fleet, now, &mut page);
    streams(fleet, &mut page);
    families.write(&mut page.text, format);
    page.finish()
}

fn receiving_end(fleet: &Fleet, plant: &Plant, page: &mut Page) {
    page.sample(&BUILD, &[env!("CARGO_PKG_VERSION")], 1.0);
    page.sample(&CONNECTED, &[], f64::from(u8::from(plant.connected)));
    page.sample(&STORAGE, &[], f64::from(u8::from(plant.storage)));
    page.sample(&MESSAGES, &[], fleet.messages as f64);
    for cause in Refusal::ALL {
        let count = fleet.refused.get(&cause).copied().unwrap_or(0);
        page.sample(&REFUSED, &[cause.word()], count as f64);
    }
    page.sample(&COMMITS, &[], plant.commits as f64);
    page.sample(&JOURNAL, &[], plant.journal_bytes as f64);
    page.sample(&FORWARDING, &[], plant.forwarding as f64);
    page.sample(&INCOMPLETE, &[], fleet.receiver.incomplete() as f64);
    page.sample(&ABANDONED, &[], fleet.receiver.abandoned() as f64);
    page.sample(&FILES, &["whole"], plant.files as f64);
    page.sample(&FILES, &["damaged"], plant.damaged_files as f64);
    page.sample(&INCOMPLETE_FILES, &[], fleet.files.incomplete() as f64);
    page.sample(&ABANDONED_FILES, &[], fleet.files.abandoned() as f64);
    page.sample(&VEHICLES, &[], fleet.vehicles.len() as f64);
}

fn vehicles(fleet: &Fleet, now: &Moment, page: &mut Page) {
    let seconds = |ms: Option<u64>| ms.map(|ms| ms as f64 / 1000.0);
    let online = |vehicle: &Vehicle| {
        let contact = vehicle.contact.as_ref()?;
        Some(f64::from(u8::from(contact.presence == Presence::Online)))
    };
    let mut family = |metric: &'static Metric, value: &dyn Fn(&Vehicle) -> Option<f64>| {
        for (name, vehicle) in &fleet.vehicles {
            if let Some(value) = value(vehicle) {
                page.sample(metric, &[name], value);
            }
        }
    };
    family(&ONLINE, &online);
    family(&HEARD_AGE, &|vehicle| seconds(now.since(&vehicle.heard)));
    family(&SAMPLE_AGE, &|vehicle| seconds(vehicle.sample_age_ms(now)));
    family(&MESH_AGE, &|vehicle| {
        let (boot, boot_ms) = vehicle.last_mesh?;
        seconds(vehicle.reckoning.age_ms(boot, boot_ms, now))
    });
    family(&BATCHES, &|vehicle| Some(vehicle.counts.batches as f64));
    family(&REPEATS, &|vehicle| Some(vehicle.counts.repeats as f64));
    family(&EVENTS, &|vehicle| Some(vehicle.counts.events as f64));
}

fn streams(fleet: &Fleet, page: &mut Page) {
    let mut family = |metric: &'static Metric, value: &dyn Fn(&dedup::Counts) -> u64| {
        for (vehicle, stream, counts) in fleet.receiver.dedup().counts() {
            page.sample(metric, &[vehicle, stream], value(&counts) as f64);
        }
    };
    family(&STREAM_RECORDS, &|counts| counts.new);
    family(&STREAM_REPEATS, &|counts| counts.repeats);
    family(&STREAM_MISSING, &|counts| counts.missing);
    family(&STREAM_GONE, &|counts| counts.gone);
    for ((vehicle, stream), seen) in &fleet.streams {
        page.sample(&STREAM_BYTES, &[vehicle, stream], seen.bytes as f64);
    }
}

/// One value of a vehicle.
struct Sample<'f> {
    vehicle: &'f str,
    name: &'f Name,
    value: f64,
    wall_ms: Option<i64>,
}

/// Values of all vehicles by metric.
#[derive(Default)]
struct Families<'f> {
    samples: BTreeMap<&'f str, Vec<Sample<'f>>>,
    too_old: u64,
    other_kind: u64,
}

fn families<'f>(fleet: &'f Fleet, now: &Moment) -> Families<'f> {
    let mut families = Families::default();
    for (vehicle, known) in &fleet.vehicles {
        let Some(latest) = &known.latest else { continue };
        let age_ms = known.sample_age_ms(now).unwrap_or(u64::MAX);
        let limit = if now.wall_ms.is_some() { SAMPLE_AGE_MAX_MS } else { UNDATED_AGE_MAX_MS };
        let wall_ms = wall_ms(latest.wall, age_ms, now);
        // A synchronised vehicle's own word may make its values older than the reckoning does.
        let oldest = now.wall_ms.and_then(|ours| ours.checked_sub_unsigned(limit));
        let dated_too_old = wall_ms.zip(oldest).is_some_and(|(wall, oldest)| wall < oldest);
        if age_ms > limit || dated_too_old {
            families.too_old += latest.values.len() as u64;
            continue;
        }
        for (name, value) in &latest.values {
            let of_metric = families.samples.entry(&name.metric).or_default();
            if of_metric
                .first()
                .is_some_and(|first: &Sample<'_>| first.name.counter != name.counter)
            {
                families.other_kind += 1;
                continue;
            }
            of_metric.push(Sample { vehicle, name, value: *value, wall_ms });
        }
    }
    families
}

impl Families<'_> {
    fn write(&self, text: &mut String, format: Format) {
        let catalogs = [
            catalog::mesh::ALL,
            catalog::agent::ALL,
            catalog::hardware::ALL,
            catalog::spool::ALL,
            catalog::delivery::ALL,
            catalog::membership::ALL,
        ];
        let known: BTreeMap<&str, &Metric> =
            catalogs.into_iter().flatten().map(|metric| (metric.name, *metric)).collect();
        for (metric, samples) in &self.samples {
            let Some(first) = samples.first() else { continue };
            self.head(text, metric, first.name.counter, known.get(metric).copied(), format);
            for sample in samples {
                write_sample(text, sample, format);
            }
        }
    }

    fn head(
        &self,
        text: &mut String,
        name: &str,
        counter: bool,
        known: Option<&Metric>,
        format: Format,
    ) {
        let kind =
            known.map_or(if counter { Kind::Counter } else { Kind::Gauge }, |known| known.kind);
        // OpenMetrics names the family of a counter without its ending, which another family may have as its name.
        let base = name.strip_suffix("_total").filter(|base| !self.samples.contains_key(base));
        let (family, kind) = match (kind, format, base) {
            (Kind::Counter, Format::OpenMetrics, Some(base)) => (base, "counter"),
            (Kind::Counter, Format::Prometheus, Some(_)) => (name, "counter"),
            (Kind::Counter, _, None) | (Kind::Gauge | Kind::Info, _, Some(_)) => {
                (name, untyped(format))
            }
            (Kind::Gauge | Kind::Info, _, None) => (name, "gauge"),
        };
        let help = known.map_or("As a vehicle says.", |known| known.help);
        let _ = write!(text, "# HELP {family} ");
        escape(text, help, format == Format::OpenMetrics);
        let _ = write!(text, "\n# TYPE {family} {kind}\n");
        if format == Format::OpenMetrics
            && let Some(unit) = unit(family)
        {
            let _ = writeln!(text, "# UNIT {family} {unit}");
        }
    }
}

fn untyped(format: Format) -> &'static str {
    match format {
        Format::Prometheus => "untyped",
        Format::OpenMetrics => "unknown",
    }
}

fn write_sample(text: &mut String, sample: &Sample<'_>, format: Format) {
    for piece in [&sample.name.metric, "{", VEHICLE_LABEL, "=\""] {
        text.push_str(piece);
    }
    escape(text, sample.vehicle, true);
    text.push('"');
    if !sample.name.labels.is_empty() {
        text.push(',');
        text.push_str(&sample.name.labels);
    }
    text.push_str("} ");
    number(text, sample.value);
    if let Some(ms) = sample.wall_ms {
        let _ = match format {
            Format::Prometheus => write!(text, " {ms}"),
            Format::OpenMetrics => {
                write!(text, " {}.{:03}", ms.div_euclid(1000), ms.rem_euclid(1000))
            }
        };
    }
    text.push('\n');
}
