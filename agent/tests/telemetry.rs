//! Telemetry as receivers get it: golden bytes, the budget of a sample, the fuzzing corpus, and `outrider decode` on files and
//! on a real broker.
//!
//! After a change of the profile's metrics that is meant, `OUTRIDER_BLESS=1` writes the golden files anew (and fails, so
//! that nobody blesses by accident). A change of a format needs another version as well: receivers must tell them apart.

#![allow(clippy::unwrap_used, reason = "tests; the helpers among them are not marked as such")]

#[allow(dead_code, reason = "shared with the tests of the MQTT client")]
#[path = "mqtt/broker.rs"]
mod broker;
#[path = "fixture/ended.rs"]
mod ended;
#[path = "../examples/bytes-per-sample/profile.rs"]
mod profile;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use broker::Broker;
use ended::Ended;
use outrider::core::state::Identity;
use outrider::core::telemetry::decoder::{Decoder, Lines};
use outrider::core::telemetry::{
    Batch, Batcher, Birth, BootId, Dictionary, Format, Sending, Telemetry, frame,
};
use outrider::core::time::{ClockQuality, Mono, Now};

/// Generous for a machine that runs many tests at once; no test waits for it to pass.
const PATIENCE: Duration = Duration::from_secs(60);

const BOOT_ID: &str = "5d0f8b1e-3c7a-4f52-9d1b-7a64c1e8f203";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/telemetry").join(name)
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}

fn now(boot_ms: u64) -> Now {
    let wall_ms = 1_795_211_071_000 + i64::try_from(boot_ms).unwrap();
    Now { mono: Mono::from_millis(boot_ms), wall_ms, quality: ClockQuality::Synchronised }
}

/// The first batches of a drive in the standard vehicle profile, with the dictionary after each.
fn drive(seed: u64, span_s: u64, batches: usize) -> Vec<(Batch, Dictionary)> {
    let boot = BootId::from_text(BOOT_ID);
    let mut batcher = Batcher::new(boot, Duration::from_secs(1), Duration::from_secs(span_s));
    let mut vehicle = profile::Vehicle::new(seed);
    let mut done = Vec::new();
    let mut boot_ms = 51_234_000;
    while done.len() < batches {
        let batch = batcher.tick(now(boot_ms), |sink| vehicle.tick(sink));
        done.extend(batch.map(|batch| (batch, batcher.dictionary().clone())));
        boot_ms += 1000 + boot_ms % 3;
    }
    done
}

fn birth(dictionary: &Dictionary) -> Birth {
    let who = Identity {
        vehicle: "alpha".to_owned(),
        kind: "standard".to_owned(),
        version: "0.1.0".to_owned(),
        boot_id: BOOT_ID.to_owned(),
    };
    let sending = Sending { format: Format::Compact, sample_ms: 1000, batch_ms: 10_000 };
    Birth::new(&who, sending, dictionary, now(51_234_000))
}

#[test]
fn the_bytes_on_the_wire_are_fixed() {
    let (batch, dictionary) = drive(1, 10, 1).remove(0);
    let json = Telemetry::new("alpha", &batch, &dictionary).unwrap().to_json();
    let made = [
        ("standard-10s.frame", frame::encode(&batch)),
        ("standard-10s.json", json),
        ("birth.json", birth(&dictionary).to_json()),
    ];
    let bless = std::env::var_os("OUTRIDER_BLESS").is_some();
    for (name, bytes) in made {
        if bless {
            fs::create_dir_all(fixture("")).unwrap();
            fs::write(fixture(name), &bytes).unwrap();
        }
        assert!(bytes == read(&fixture(name)), "{name} has changed; see the head of this file");
    }
    assert!(!bless, "wrote the golden files; read the difference and run again without blessing");
    // What was written by an earlier program is read by this one.
    assert_eq!(frame::decode(&read(&fixture("standard-10s.frame"))), Ok(batch));
}

/// What one sample costs with MQTT header and topic, whatever the drive.
#[test]
fn a_sample_of_the_standard_profile_costs_at_most_one_and_a_half_bytes() {
    let topic_and_header = "outrider/alpha/telemetry".len() + 8;
    for seed in 0..5 {
        for (batch, _) in drive(seed, 60, 3) {
            let bytes = topic_and_header + frame::encode(&batch).len();
            let (columns, ticks) = (batch.columns.len(), batch.ticks_ms.len());
            assert_eq!((columns, ticks), (profile::SERIES, 60));
            assert_eq!(batch.samples(), columns * ticks, "no sample is left out");
            assert!(bytes * 2 <= batch.samples() * 3, "{bytes} bytes for {}", batch.samples());
        }
    }
}

/// Inputs that once were interesting; `agent/fuzz` looks for more.
#[test]
fn the_fuzzing_corpus_does_no_harm() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/payload");
    let mut files: Vec<PathBuf> =
        fs::read_dir(&corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 10, "the corpus lies in {}", corpus.display());
    let (mut frames, mut lines) = (0, 0);
    for file in &files {
        let payload = read(file);
        if let Ok(batch) = frame::decode(&payload) {
            frames += 1;
            assert_eq!(frame::decode(&frame::encode(&batch)).as_ref(), Ok(&batch), "{file:?}");
        }
        for form in [Lines::Ticks, Lines::Batches] {
            let mut decoder = Decoder::new(form);
            decoder.decode("", &read(&fixture("birth.json"))).unwrap();
            lines += decoder.decode("", &payload).map_or(0, |lines| lines.len());
        }
    }
    assert!(frames >= 3 && lines >= 10, "{frames} frames, {lines} lines: is the corpus alive?");
}

fn outrider(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outrider"));
    command.args(arguments).env("OUTRIDER_CONFIG", fixture("there-is-none.toml"));
    command
}

fn run(arguments: &[&str]) -> Output {
    outrider(arguments).stdin(Stdio::null()).output().unwrap()
}

fn path(name: &str) -> String {
    fixture(name).display().to_string()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn decode_prints_the_same_lines_for_both_forms() {
    let (birth, compact, json) =
        (path("birth.json"), path("standard-10s.frame"), path("standard-10s.json"));
    let from_frame = run(&["decode", "--birth", &birth, &compact]);
    let from_json = run(&["decode", &json]);
    assert_eq!(text(&from_frame.stderr), "");
    assert_eq!(text(&from_frame.stdout), text(&from_json.stdout));
    let lines: Vec<serde_json::Value> =
        text(&from_json.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 10);
    assert_eq!(lines[0]["vehicle"], "alpha");
    assert_eq!(lines[0]["values"].as_object().unwrap().len(), profile::SERIES);
    assert!(lines[9]["values"]["olsr_network_cost{node=\"bravo\"}"].is_number());
    let batches = run(&["decode", "--batches", &json]);
    assert_eq!(text(&batches.stdout).lines().count(), 1);
}

#[test]
fn decode_reads_standard_input_and_names_what_is_wrong() {
    let decode_stdin = |payload: &[u8]| {
        let mut child = outrider(&["decode"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(payload).unwrap();
        child.wait_with_output().unwrap()
    };
    assert!(decode_stdin(&read(&fixture("standard-10s.json"))).status.success());
    let frame = read(&fixture("standard-10s.frame"));
    for (payload, complaint) in [
        (frame.as_slice(), "no birth document is known"),
        (&frame[..100], "cut off or damaged"),
        (b"hello", "neither a telemetry frame nor JSON"),
        (b"", "payload is empty"),
    ] {
        let output = decode_stdin(payload);
        assert_eq!(output.status.code(), Some(4), "{complaint}");
        assert!(text(&output.stderr).contains(complaint), "{}", text(&output.stderr));
    }
    let missing = run(&["decode", "/does/not/exist"]);
    assert_eq!(missing.status.code(), Some(1));
    assert_eq!(run(&["decode", "--topic", "x"]).status.code(), Some(2));
    assert_eq!(run(&["decode", "--connect", "nonsense"]).status.code(), Some(2));
}

fn publish(broker: &Broker, topic: &str, file: &str, retain: bool) {
    let port = broker.port.to_string();
    let mut command = Command::new("mosquitto_pub");
    command.args(["-h", "127.0.0.1", "-p", &port, "-q", "1", "-t", topic, "-f", file]);
    if retain {
        command.arg("-r");
    }
    let status = command.status().unwrap_or_else(|error| {
        panic!("mosquitto_pub: {error}: install the Debian package `mosquitto-clients`")
    });
    assert!(status.success());
}

#[test]
fn decode_follows_a_broker_and_survives_bad_payloads() {
    let broker = Broker::open();
    let topic = |last: &str| format!("outrider/alpha/{last}");
    publish(&broker, &topic("birth"), &path("birth.json"), true);
    let address = format!("127.0.0.1:{}", broker.port);
    let files = tempfile::tempdir().unwrap();
    let (out, err) = (files.path().join("out"), files.path().join("err"));
    let child = outrider(&["decode", "--connect", &address, "--count", "4"])
        .stdout(fs::File::create(&out).unwrap())
        .stderr(fs::File::create(&err).unwrap())
        .spawn()
        .unwrap();
    let mut child = Ended(child);
    let deadline = Instant::now() + PATIENCE;
    // The retained birth shows that the subscription stands.
    while !text(&read(&out)).starts_with(r#"{"type":"birth""#) {
        assert!(Instant::now() < deadline, "no birth: {}", text(&read(&err)));
        std::thread::sleep(Duration::from_millis(20));
    }
    let garbage = files.path().join("garbage");
    fs::write(&garbage, [1, 2, 3]).unwrap();
    publish(&broker, &topic("telemetry"), &garbage.display().to_string(), false);
    publish(&broker, "outrider/bravo/telemetry", &path("standard-10s.frame"), false);
    publish(&broker, &topic("telemetry"), &path("standard-10s.frame"), false);
    let status = loop {
        if let Some(status) = child.0.try_wait().unwrap() {
            break status;
        }
        assert!(Instant::now() < deadline, "it does not end: {}", text(&read(&err)));
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(status.success());
    assert_eq!(text(&read(&out)).lines().count(), 1 + 10);
    let complaints = text(&read(&err));
    assert!(
        complaints.contains("outrider/alpha/telemetry: telemetry frame is cut off"),
        "{complaints}"
    );
    assert!(complaints.contains("outrider/bravo/telemetry: telemetry frame needs"), "{complaints}");
}

#[test]
fn a_broker_that_is_not_there_ends_decode_with_the_reason() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let output = run(&["decode", "--connect", &address]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains(&address), "{}", text(&output.stderr));
}
