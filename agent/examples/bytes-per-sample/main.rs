//! Measures what one sample of telemetry costs on the wire, for the standard vehicle profile at one tick a second: bytes of
//! the MQTT 5 PUBLISH packet with topic and payload, divided by samples. TCP, TLS and the 4-byte PUBACK are not counted, for
//! any of the forms. Prints a table; `--json` prints one object for programs.
//!
//! `cargo run -p outrider --example bytes-per-sample`

mod profile;

use std::time::Duration;

use outrider::core::presence::Topics;
use outrider::core::telemetry::{Batch, Batcher, BootId, Dictionary, Telemetry, frame};
use outrider::core::time::{ClockQuality, Mono, Now};

/// Batches measured for each span; the first of each, which names every series, is among them.
const BATCHES: usize = 60;

/// What collectd 5.12 takes for a sample with its mqtt plugin, payload and topic, measured the same way.
const COLLECTD_BYTES_PER_SAMPLE: f64 = 54.0;

struct Measured {
    span_s: u64,
    samples: usize,
    compact: usize,
    json: usize,
}

fn main() {
    let rows: Vec<Measured> = [10, 60, 300].map(measure).into();
    if std::env::args().any(|argument| argument == "--json") {
        print_json(&rows);
        return;
    }
    println!(
        "standard vehicle profile: {} series at 1 Hz, {BATCHES} batches each",
        profile::SERIES
    );
    println!("batch    samples  compact B/sample  JSON B/sample  collectd B/sample");
    for row in &rows {
        println!(
            "{:>4} s {:>10} {:>17.2} {:>14.2} {:>18.0}",
            row.span_s,
            row.samples,
            per_sample(row.compact, row.samples),
            per_sample(row.json, row.samples),
            COLLECTD_BYTES_PER_SAMPLE,
        );
    }
}

fn print_json(rows: &[Measured]) {
    let rows: Vec<serde_json::Value> = rows
        .iter()
        .map(|row| {
            serde_json::json!({
                "batch_s": row.span_s,
                "samples": row.samples,
                "compact_bytes_per_sample": per_sample(row.compact, row.samples),
                "json_bytes_per_sample": per_sample(row.json, row.samples),
            })
        })
        .collect();
    println!("{}", serde_json::json!({ "series": profile::SERIES, "batches": rows }));
}

fn measure(span_s: u64) -> Measured {
    let topic = Topics::new("outrider", "alpha").telemetry;
    let mut measured = Measured { span_s, samples: 0, compact: 0, json: 0 };
    for (batch, dictionary) in drive(span_s, BATCHES) {
        let json = Telemetry::new("alpha", &batch, &dictionary).expect("its own dictionary");
        measured.samples += batch.samples();
        measured.compact += publish_bytes(&topic, frame::encode(&batch).len());
        measured.json += publish_bytes(&topic, json.to_json().len());
    }
    measured
}

fn drive(span_s: u64, batches: usize) -> Vec<(Batch, Dictionary)> {
    let boot = BootId::from_text("5d0f8b1e-3c7a-4f52-9d1b-7a64c1e8f203");
    let mut batcher = Batcher::new(boot, Duration::from_secs(1), Duration::from_secs(span_s));
    let mut vehicle = profile::Vehicle::new(1);
    let mut done = Vec::new();
    let mut tick = 0;
    while done.len() < batches {
        // Timers fire a little late, never early.
        let boot_ms = 51_234_000 + tick * 1000 + (tick * 7) % 3;
        let now = Now {
            mono: Mono::from_millis(boot_ms),
            wall_ms: 1_795_211_071_000 + boot_ms as i64,
            quality: ClockQuality::Synchronised,
        };
        tick += 1;
        let batch = batcher.tick(now, |sink| vehicle.tick(sink));
        done.extend(batch.map(|batch| (batch, batcher.dictionary().clone())));
    }
    done
}

fn per_sample(bytes: usize, samples: usize) -> f64 {
    bytes as f64 / samples as f64
}

/// Length of an MQTT 5 PUBLISH with QoS 1 and no properties (section 3.3): type and flags, remaining length, topic with its
/// length, packet identifier, length of the properties, payload.
fn publish_bytes(topic: &str, payload: usize) -> usize {
    let remaining = 2 + topic.len() + 2 + 1 + payload;
    let remaining_length = match remaining {
        0..=127 => 1,
        128..=16_383 => 2,
        16_384..=2_097_151 => 3,
        _ => 4,
    };
    1 + remaining_length + remaining
}
