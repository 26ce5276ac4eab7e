//! Gathered files on their way through the real programs: put together once, whatever is killed and whoever takes them away.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use outrider::core::record::file::{CHUNK_TYPE, MANIFEST_TYPE};
use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;

use super::broker::Broker;
use super::convoy::{Publication, Voice};
use super::program::{Post, Receiving, kill_over_and_over, until};
use super::publisher::{Vehicle, settings};
use super::{agent, publish};

/// Times that the receiving end is killed, at least.
const KILLS: u32 = 40;

/// Files that are published, at least.
const FILES: u64 = 120;

/// And at most: a receiving end that is started all the time must not fall behind for ever.
const FILES_MAX: u64 = 1_000;

/// Bytes in one chunk of the publisher.
const CHUNK_BYTES: usize = 20_000;

fn sha256(content: &[u8]) -> String {
    let suite = TLS13_AES_128_GCM_SHA256.tls13().unwrap();
    let mut digest = suite.common.hash_provider.start();
    digest.update(content);
    digest.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Content of the file with this number: a few bytes, or several chunks.
fn content(number: u64) -> Vec<u8> {
    let length =
        if number.is_multiple_of(3) { number % 100 } else { 30_000 + number * 7919 % 90_000 };
    let bytes = (0..length).map(|at| ((at * 31 + number * 7) % 251) as u8);
    // The same content under the same name would be the same file.
    number.to_le_bytes().into_iter().chain(bytes).collect()
}

/// What a vehicle makes of a file: one record, or chunks and a manifest.
fn records(name: &str, content: &[u8]) -> Vec<(String, Bytes)> {
    let sha256 = sha256(content);
    let id = &sha256[..32];
    if content.len() < CHUNK_BYTES {
        let content_type = format!("image/jpeg; name=\"{name}\"; file={id}");
        return vec![(content_type, Bytes::copy_from_slice(content))];
    }
    let chunk = |(place, bytes): (usize, &[u8])| {
        let content_type = format!("{CHUNK_TYPE}; file={id}; offset={}", place * CHUNK_BYTES);
        (content_type, Bytes::copy_from_slice(bytes))
    };
    let mut records: Vec<_> = content.chunks(CHUNK_BYTES).enumerate().map(chunk).collect();
    let manifest =
        serde_json::json!({"file": id, "name": name, "size": content.len(), "sha256": sha256});
    records.push((MANIFEST_TYPE.to_owned(), Bytes::from(manifest.to_string())));
    records
}

/// The name that a file has at the receiving end.
fn stored(name: &str, content: &[u8]) -> String {
    let (stem, ending) = name.rsplit_once('.').unwrap();
    format!("{stem}~{}.{ending}", &sha256(content)[..16])
}

/// Publishes files until told to stop, each message twice, and each file's records once more under other numbers, as a vehicle
/// does that is killed before it can remove the file. Says how many files there are.
async fn publish_files(port: u16, made: Arc<AtomicU64>, stop: Arc<AtomicBool>) -> (u64, u64) {
    let mut vehicle = Vehicle::with_queue(settings(port, "alpha"), 64 << 20);
    let alpha = Voice::new("alpha");
    let (mut sequence, mut files) = (0, 0);
    let mut old: Vec<Publication> = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let records = records(&format!("photo-{}.jpg", files % 5), &content(files));
        files += 1;
        for records in [&records[..], &records[records.len() / 2..]] {
            for pair in records.chunks(2) {
                let said = alpha.typed_records("camera", 7, sequence, pair);
                sequence += pair.len() as u64;
                for (topic, payload, retain) in [said.clone(), said.clone()] {
                    vehicle.enqueue(&topic, payload, retain);
                }
                old.push(said);
            }
        }
        let (topic, payload, retain) = old[(sequence as usize * 7) % old.len()].clone();
        vehicle.enqueue(&topic, payload, retain);
        vehicle.until_delivered().await;
        made.store(files, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(10)).await;
        while files >= FILES_MAX && !stop.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    vehicle.stop().await;
    (files, sequence)
}

/// Moves every file away as soon as it has its name, until told to stop. Gives what was taken, each with how often.
fn take_away(folder: &Path, stop: &AtomicBool) -> BTreeMap<String, (u32, Vec<u8>)> {
    let mut taken: BTreeMap<String, (u32, Vec<u8>)> = BTreeMap::new();
    let away = tempfile::tempdir_in(folder.parent().unwrap()).unwrap();
    loop {
        let last = stop.load(Ordering::Relaxed);
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.starts_with('.') {
                continue;
            }
            let moved = away.path().join(&name);
            fs::rename(folder.join(&name), &moved).unwrap();
            let content = fs::read(moved).unwrap();
            let (times, kept) = taken.entry(name).or_default();
            (*times, *kept) = (*times + 1, content);
        }
        if last {
            return taken;
        }
        std::thread::sleep(Duration::from_millis(3));
    }
}

#[test]
fn killed_over_and_over_it_puts_every_file_together_once() {
    let broker = Broker::with("allow_anonymous true\nmax_queued_messages 0\n");
    let post = Post::new(broker.port, &["--rotate", "64KiB"]);
    let mut receiving = post.start();
    receiving.wait_until_connected();
    let [stop, done] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
    let made = Arc::new(AtomicU64::new(0));
    let publisher = std::thread::spawn({
        let (port, made, stop) = (broker.port, Arc::clone(&made), Arc::clone(&stop));
        move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(publish_files(port, made, stop))
        }
    });
    let taker = std::thread::spawn({
        let (folder, done) = (post.streams().join("alpha/camera/files"), Arc::clone(&done));
        fs::create_dir_all(&folder).unwrap();
        move || take_away(&folder, &done)
    });
    receiving = kill_over_and_over(receiving, &post, (KILLS, FILES), 54_321, (&publisher, &made));
    stop.store(true, Ordering::Relaxed);
    let (files, records) = publisher.join().unwrap();
    let document = receiving.wait_for("everything", |document| {
        let streams = document["streams"].as_array().unwrap();
        streams.iter().any(|stream| stream["records"] == records)
    });
    assert_eq!(document["incomplete_files"], 0, "{document:#}");
    assert!(receiving.program.terminate().success());
    done.store(true, Ordering::Relaxed);
    let taken = taker.join().unwrap();

    let times = |times: u32| taken.values().filter(|(seen, _)| *seen == times).count() as u64;
    assert_eq!((taken.len() as u64, times(1)), (files, files), "each once");
    for number in 0..files {
        let content = content(number);
        let name = stored(&format!("photo-{}.jpg", number % 5), &content);
        assert!(taken.get(&name).is_some_and(|(_, kept)| *kept == content), "{name}");
    }
    let left: Vec<PathBuf> = fs::read_dir(post.streams().join("alpha/camera/files"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(left, Vec::<PathBuf>::new(), "no temporary file is left behind");
}

#[test]
fn a_file_with_other_bytes_is_put_aside_and_told() {
    let broker = Broker::open();
    let post = Post::new(broker.port, &[]);
    let mut receiving = post.start();
    receiving.wait_until_connected();
    let alpha = Voice::new("alpha");
    let mut chunks = records("map.bin", &[7; 50_000]);
    chunks[1].1 = Bytes::from(vec![8; CHUNK_BYTES]);
    publish(broker.port, [alpha.typed_records("maps", 1, 0, &chunks)]);
    let document =
        receiving.wait_for("the damage", |document| document["storage"]["damaged_files"] == 1);
    assert_eq!(document["storage"]["files"], 0);
    let log = receiving.program.wait_for_log("has not the content that its vehicle announced");
    let name = stored("map.bin", &[7; 50_000]) + ".damaged";
    assert!(log.contains(&name), "{log}");
    let kept = fs::read(post.streams().join("alpha/maps/files").join(&name)).unwrap();
    assert_eq!((kept.len(), kept[0], kept[CHUNK_BYTES]), (50_000, 7, 8));
    let metrics = receiving.metrics();
    assert!(metrics.contains("outrider_fleet_files_total{outcome=\"damaged\"} 1\n"), "{metrics}");
    super::promtool::promtool(&metrics).unwrap();
}

/// Files of a real agent.
fn drop_files(folder: &Path, names: &[(&str, usize)]) -> BTreeMap<String, Vec<u8>> {
    let mut expected = BTreeMap::new();
    for (place, (name, length)) in names.iter().enumerate() {
        let content: Vec<u8> = (0..*length).map(|at| ((at * 13 + place) % 253) as u8).collect();
        fs::write(folder.join(format!(".{name}")), &content).unwrap();
        fs::rename(folder.join(format!(".{name}")), folder.join(name)).unwrap();
        expected.insert((*name).to_owned(), content);
    }
    expected
}

#[test]
fn what_is_dropped_into_a_vehicles_folder_comes_out_at_the_other_end() {
    let broker = Broker::with("allow_anonymous true\nmax_queued_messages 0\n");
    let post = Post::new(broker.port, &[]);
    let mut receiving = post.start();
    receiving.wait_until_connected();
    let root = post.folder.path().to_owned();
    let folder = root.join("in");
    fs::create_dir(&folder).unwrap();
    let more = format!(
        "[spool]\nfolder = \"{0}/spool\"\nsync_delay = \"20ms\"\n[[gather.folder]]\npath = \"{0}/in\"\nstream = \"camera\"\n",
        root.display()
    );
    let names = [
        ("empty", 0),
        ("note.txt", 40),
        ("a b.jpg", 300_000),
        ("video.mp4", 2_000_000),
        ("-rf ~.tar", 700_000),
    ];
    let expected = drop_files(&folder, &names);
    let mut vehicle = agent(&root, "alpha", broker.port, &more);
    // Both ends are killed in the middle.
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(300));
        vehicle.kill();
        vehicle = agent(&root, "alpha", broker.port, &more);
        receiving.program.kill();
        receiving = post.start();
    }
    let files = post.streams().join("alpha/camera/files");
    let whole = |receiving: &Receiving| {
        let entries = fs::read_dir(&files).into_iter().flatten();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let whole: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
        assert!(
            whole.iter().all(|name| !name.ends_with(".damaged")),
            "{}",
            receiving.program.log()
        );
        (whole.len() == expected.len()).then_some(whole)
    };
    let found = until("all files", || whole(&receiving));
    for (name, stored_name) in [
        ("empty", "empty~"),
        ("note.txt", "note~"),
        ("a b.jpg", "a%20b~"),
        ("video.mp4", "video~"),
        ("-rf ~.tar", "%2Drf%20%7E~"),
    ] {
        let path = found.iter().find(|found| found.starts_with(stored_name)).expect(name);
        assert_eq!(fs::read(files.join(path)).unwrap(), expected[name], "{name}");
    }
    until("an empty folder", || {
        let left = fs::read_dir(&folder).unwrap();
        (left.count() == 0).then_some(())
    });
    drop(vehicle);
}
