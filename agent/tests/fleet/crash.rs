//! Kills the receiving end over and over while records arrive, and damages what it keeps.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use outrider::core::telemetry::document::{BIRTH_TYPE, FRAME_TYPE, JSON_TYPE};
use outrider::core::telemetry::{Batch, Birth, BootId, Column, Dictionary, Format, Sending, frame};
use outrider::core::time::{ClockQuality, Mono, Now};
use outrider::shell::mqtt::Notice;
use serde_json::Value;
use tokio::time::timeout;

use super::broker::Broker;
use super::convoy::{BOOT, Voice};
use super::program::{Post, Receiving, kill_over_and_over, lines, until};
use super::publish;
use super::publisher::{Vehicle, settings, subscribed};

/// Times that the program is killed, at least.
const KILLS: u32 = 60;

/// Rounds that the publisher makes, at least: with their large records twice what a journal holds before a snapshot is
/// due (8 MiB), however slow the machine is.
const ROUNDS: u64 = 600;

/// Rounds that it makes at most.
const ROUNDS_MAX: u64 = 2 * ROUNDS;

/// Every how many rounds of the publisher a large record comes.
const LARGE_EVERY: u64 = 8;

/// Every how many records of its own telemetry a vehicle says what their numbers mean.
const BIRTH_EVERY: u64 = 40;

/// What a record holds: JSON, a few bytes, what an agent says itself, or a picture.
fn payload(stream: &str, sequence: u64) -> Bytes {
    match stream {
        "gps" => Bytes::from(format!("{{\"n\":{sequence}}}")),
        "can" => Bytes::from([&[0xff][..], &sequence.to_le_bytes()].concat()),
        "telemetry" if sequence.is_multiple_of(BIRTH_EVERY) => birth(),
        "telemetry" => batch(sequence),
        "events" => Bytes::from(format!(
            "{{\"version\":1,\"vehicle\":\"alpha\",\"boot_id\":\"{BOOT}\",\"number\":{sequence},\"boot_ms\":{sequence},\
             \"wall_ms\":null,\"severity\":\"info\",\"kind\":\"test\",\"subject\":\"\",\"text\":\"\"}}"
        )),
        _ => Bytes::from(vec![(sequence % 251) as u8; 230_000]),
    }
}

fn content_type(stream: &str, sequence: u64) -> &'static str {
    match stream {
        "telemetry" if sequence.is_multiple_of(BIRTH_EVERY) => BIRTH_TYPE,
        "telemetry" => FRAME_TYPE,
        _ => JSON_TYPE,
    }
}

fn dictionary() -> Dictionary {
    let series = serde_json::json!({"name": "outrider_load1", "kind": "gauge", "resolution": 0});
    Dictionary::from_entries(vec![serde_json::from_value(series).unwrap()]).unwrap()
}

fn birth() -> Bytes {
    let sending = Sending { format: Format::Compact, sample_ms: 1000, batch_ms: 1000 };
    let now = Now { mono: Mono::from_millis(1), wall_ms: 0, quality: ClockQuality::Unset };
    let who = Voice::new("alpha").identity();
    Birth::new(&who, sending, &dictionary(), now).to_json().into()
}

fn batch(sequence: u64) -> Bytes {
    let value = i64::try_from(sequence).unwrap();
    let batch = Batch {
        boot: BootId::from_text(BOOT),
        number: sequence,
        dictionary: dictionary().version(),
        wall: None,
        ticks_ms: vec![sequence],
        columns: vec![Column::new(0, [Some(value)])],
    };
    frame::encode(&batch).into()
}

/// Publishes until told to stop, counting its rounds; says how many records of each stream there are.
async fn say_everything_twice(
    port: u16,
    large: bool,
    made: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
) -> BTreeMap<&'static str, u64> {
    let mut vehicle = Vehicle::with_queue(settings(port, "alpha"), 64 << 20);
    let alpha = Voice::new("alpha");
    let mut said: BTreeMap<&'static str, u64> =
        ["gps", "can", "telemetry", "events", "camera"].map(|stream| (stream, 0)).into();
    let mut old = Vec::new();
    for round in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        for stream in ["gps", "can", "telemetry", "events"] {
            let first = said[stream];
            let count = 1 + round % 5;
            let record = |sequence| (content_type(stream, sequence), payload(stream, sequence));
            let records: Vec<_> = (first..first + count).map(record).collect();
            said.insert(stream, first + count);
            let records = alpha.typed_records(stream, 7, first, &records);
            for (topic, payload, retain) in [records.clone(), records.clone()] {
                vehicle.enqueue(&topic, payload, retain);
            }
            old.push(records);
        }
        if large && round % LARGE_EVERY == 0 {
            let sequence = said["camera"];
            said.insert("camera", sequence + 1);
            let parts = alpha.parts("camera", 7, sequence, &payload("camera", sequence), 100_000);
            for (topic, payload, retain) in parts.iter().chain(&parts).cloned() {
                vehicle.enqueue(&topic, payload, retain);
            }
        }
        // Something from long ago, as after a restart of the vehicle.
        let (topic, payload, retain) = old[(round as usize * 7) % old.len()].clone();
        vehicle.enqueue(&topic, payload, retain);
        vehicle.until_delivered().await;
        made.store(round, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(4)).await;
        // A receiving end that is started all the time must not fall behind for ever.
        while round >= ROUNDS_MAX && !stop.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    vehicle.stop().await;
    said
}

/// Sequences by stream.
type Seen = BTreeMap<String, BTreeSet<u64>>;

/// Somebody who reads what is forwarded, for as long as it is kept.
struct Reader {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
}

impl Reader {
    fn start(port: u16) -> Reader {
        let (seen, stop) = (Arc::new(Mutex::new(Seen::new())), Arc::new(AtomicBool::new(false)));
        let reader = Reader { seen: Arc::clone(&seen), stop: Arc::clone(&stop) };
        let (ready, is_ready) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let settings = settings(port, "reader");
                let mut subscription = subscribed(settings, "json/alpha/#").await;
                ready.send(()).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    let wait = Duration::from_millis(200);
                    let Ok(Some(notice)) = timeout(wait, subscription.next()).await else {
                        continue;
                    };
                    let Notice::Message(message) = notice else { continue };
                    let document: Value = serde_json::from_slice(&message.payload).unwrap();
                    let below = message.topic.strip_prefix("json/alpha/").unwrap();
                    let (stream, number) = match below {
                        "telemetry" => ("telemetry", "batch"),
                        "event" => ("events", "number"),
                        stream => (stream, "sequence"),
                    };
                    let stream = stream.to_owned();
                    let sequence = document[number].as_u64().unwrap();
                    seen.lock().unwrap().entry(stream).or_default().insert(sequence);
                }
            });
        });
        is_ready.recv().unwrap();
        reader
    }

    fn seen(&self, stream: &str) -> u64 {
        self.seen.lock().unwrap().get(stream).map_or(0, |seen| seen.len() as u64)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Every record of the stream once, with its content.
fn check(post: &Post, stream: &str, count: u64) {
    let mut all = lines(&away(post), "alpha", stream);
    all.extend(lines(&post.streams(), "alpha", stream));
    let lines = all;
    let mut times: BTreeMap<u64, u32> = BTreeMap::new();
    for (line, file) in &lines {
        let sequence = line["sequence"].as_u64().unwrap();
        *times.entry(sequence).or_default() += 1;
        let expected = payload(stream, sequence);
        assert_eq!(line["bytes"].as_u64(), Some(expected.len() as u64), "{line}");
        match stream {
            "gps" => assert_eq!(line["json"]["n"].as_u64(), Some(sequence)),
            "can" => assert!(line["base64"].is_string(), "{line}"),
            "events" => assert_eq!(line["json"]["number"].as_u64(), Some(sequence)),
            "telemetry" => {
                assert_eq!(line["content_type"], content_type(stream, sequence));
                let binary = line["base64"].is_string();
                assert_eq!(binary, !sequence.is_multiple_of(BIRTH_EVERY), "{line}");
            }
            _ => assert_eq!(&file[..], &expected[..], "{line}"),
        }
    }
    let repeated: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
    assert!(repeated.is_empty(), "{stream} repeats {repeated:?}");
    let lost: Vec<u64> = (0..count).filter(|sequence| !times.contains_key(sequence)).collect();
    assert!(lost.is_empty(), "{stream} lost {lost:?}");
    assert_eq!(lines.len() as u64, count);
}

/// Where closed files are moved to.
fn away(post: &Post) -> PathBuf {
    post.folder.path().join("away")
}

/// Moves files of lines away as soon as another one was begun, until told to stop. No name comes twice.
fn take_away(from: &Path, to: &Path, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        for stream in ["gps", "can", "telemetry", "events"] {
            let [from, to] = [from, to].map(|folder| folder.join("alpha").join(stream));
            fs::create_dir_all(&to).unwrap();
            let entries = fs::read_dir(&from).into_iter().flatten();
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let mut names: Vec<String> = names.collect();
            names.sort();
            names.pop();
            for name in names {
                assert!(!to.join(&name).exists(), "{stream}/{name} is there again");
                fs::rename(from.join(&name), to.join(&name)).unwrap();
            }
        }
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// Telemetry and events were taken for what they are, each once.
fn check_own(receiving: &Receiving, said: &BTreeMap<&'static str, u64>) {
    let metrics = receiving.metrics();
    for (metric, count) in [
        ("outrider_fleet_vehicle_batches_total", batches(said)),
        ("outrider_fleet_vehicle_events_total", said["events"]),
    ] {
        let line = format!("{metric}{{vehicle=\"alpha\"}} {count}\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
    let last = (0..said["telemetry"]).rfind(|sequence| !sequence.is_multiple_of(BIRTH_EVERY));
    let line = format!("\noutrider_load1{{vehicle=\"alpha\"}} {} ", last.unwrap());
    assert!(metrics.contains(&line), "{line}{metrics}");
}

/// Records of telemetry that are no births.
fn batches(said: &BTreeMap<&'static str, u64>) -> u64 {
    said["telemetry"] - said["telemetry"].div_ceil(BIRTH_EVERY)
}

/// Kills a receiving end at least so many times while at least so many rounds of records arrive, then waits until it has
/// everything: how many there are of each stream.
fn hammer(
    broker: &Broker,
    post: &Post,
    kills: u32,
    rounds: u64,
    large: bool,
) -> (Receiving, BTreeMap<&'static str, u64>) {
    let mut receiving = post.start();
    // From here on the broker keeps what comes.
    receiving.wait_until_connected();
    let (made, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let publisher = std::thread::spawn({
        let (port, made, stop) = (broker.port, Arc::clone(&made), Arc::clone(&stop));
        move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(say_everything_twice(port, large, made, stop))
        }
    });
    receiving = kill_over_and_over(receiving, post, (kills, rounds), 12_345, (&publisher, &made));
    stop.store(true, Ordering::Relaxed);
    let said = publisher.join().unwrap();
    receiving.wait_for("everything", |document| {
        let streams = document["streams"].as_array().unwrap();
        said.iter().filter(|(_, count)| **count > 0).all(|(name, count)| {
            streams.iter().any(|stream| stream["stream"] == *name && stream["records"] == *count)
        })
    });
    (receiving, said)
}

#[test]
fn killed_over_and_over_it_loses_and_repeats_nothing() {
    let broker = Broker::with("allow_anonymous true\nmax_queued_messages 0\n");
    let post = Post::new(broker.port, &["--rotate", "16KiB"]);
    let done = Arc::new(AtomicBool::new(false));
    let taker = std::thread::spawn({
        let (from, to, done) = (post.streams(), away(&post), Arc::clone(&done));
        move || take_away(&from, &to, &done)
    });
    let (receiving, said) = hammer(&broker, &post, KILLS, ROUNDS, true);
    check_own(&receiving, &said);
    assert!(receiving.program.terminate().success());
    done.store(true, Ordering::Relaxed);
    taker.join().unwrap();
    for (stream, count) in &said {
        check(&post, stream, *count);
    }
    let generation = until("a journal", || {
        let entries = fs::read_dir(post.state()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter_map(|name| name.strip_prefix("journal-")?.parse::<u64>().ok()).max()
    });
    assert!(generation > 3, "{said:?}: no snapshot was taken under way ({generation})");
}

#[test]
fn killed_while_it_forwards_it_forwards_everything() {
    let broker = Broker::with("allow_anonymous true\nmax_queued_messages 0\n");
    let post = Post::new(broker.port, &["--forward", "json"]);
    let reader = Reader::start(broker.port);
    let (receiving, said) = hammer(&broker, &post, 10, 0, false);
    for (stream, count) in &said {
        // Some may come twice, but all of it comes.
        let (topic, count) = match *stream {
            "telemetry" => ("telemetry".to_owned(), batches(&said)),
            "events" => ("events".to_owned(), *count),
            stream => (format!("stream/{stream}"), *count),
        };
        until(&format!("all of {stream}"), || (reader.seen(&topic) == count).then_some(()));
    }
    check_own(&receiving, &said);
    for stream in ["stream/telemetry", "stream/events"] {
        assert_eq!(reader.seen(stream), 0, "what is readable needs no other form");
    }
    assert!(receiving.program.terminate().success());
    for (stream, count) in &said {
        check(&post, stream, *count);
    }
}

#[test]
fn damage_stops_nothing_and_is_told() {
    let broker = Broker::open();
    let post = Post::new(broker.port, &[]);
    let alpha = Voice::new("alpha");
    let record = |n: u64| alpha.records("gps", 7, n, &[payload("gps", n)]);
    let count = |post: &Post| lines(&post.streams(), "alpha", "gps").len();
    let mut receiving = post.start();
    receiving.wait_until_connected();
    // The first alone, so that the last entry of the journal is the last message.
    publish(broker.port, [record(0)]);
    until("the first line", || (count(&post) == 1).then_some(()));
    publish(broker.port, (1..10).map(record));
    until("ten lines", || (count(&post) == 10).then_some(()));
    // Acknowledged, too.
    std::thread::sleep(Duration::from_millis(300));
    let _ = receiving.document();
    receiving.program.kill();

    // A journal whose end is not whole: what a crash leaves.
    let journal = post.state().join("journal-2");
    let whole = fs::read(&journal).unwrap();
    fs::write(&journal, [&whole[..], b"\x20\0\0\0half"].concat()).unwrap();
    let mut receiving = post.start();
    receiving.program.wait_for_log("are not whole");
    assert_eq!(
        (count(&post), receiving.document()["streams"][0]["records"].as_u64()),
        (10, Some(10))
    );
    receiving.program.kill();

    // A journal that lost acknowledged messages: the lines of those stay.
    fs::write(&journal, &whole[..whole.len() - 3]).unwrap();
    let mut receiving = post.start();
    receiving.program.wait_for_log("lines that the journal does not");
    assert_eq!(count(&post), 10);
    publish(broker.port, (10..12).map(record));
    until("two more lines", || (count(&post) >= 12).then_some(()));
    assert_eq!(receiving.document()["streams"][0]["records"], 11);
    receiving.program.kill();

    // A snapshot with a flipped bit: it is put aside, new lines go to new files.
    let snapshot = post.state().join("snapshot");
    let mut damaged = fs::read(&snapshot).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 4;
    fs::write(&snapshot, damaged).unwrap();
    let before = fs::read(post.streams().join("alpha/gps/000001.jsonl")).unwrap();
    let mut receiving = post.start();
    receiving.program.wait_for_log("cannot be used");
    receiving.wait_until_connected();
    publish(broker.port, [record(12)]);
    until("the new line", || {
        let lines = lines(&post.streams(), "alpha", "gps");
        lines.iter().any(|(line, _)| line["sequence"] == 12).then_some(())
    });
    assert_eq!(fs::read(post.streams().join("alpha/gps/000001.jsonl")).unwrap(), before);
    let names = fs::read_dir(post.state()).unwrap();
    let mut names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(names.any(|name| name.starts_with("snapshot.damaged-")));
}
