//! Times of a spool on this machine's disk, each beside what the disk itself does in the same run:
//!
//! - append throughput, against a loop that writes and syncs the same batches to a plain file;
//! - processor time to open a spool of 1 GiB whose files are in the page cache;
//! - bytes written for each byte of payload.
//!
//! `cargo run --release -p spool --example spool-bench -- FOLDER`; needs 2.5 GiB in FOLDER (default: the working folder) and
//! leaves nothing behind.

#![allow(clippy::unwrap_used, reason = "a measurement that cannot be made may stop")]

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use spool::{BootMs, Files, Options, Session, Spool, StreamPolicy};

const MIB: usize = 1024 * 1024;

fn open(folder: &Path, budget: u64) -> Spool<Files> {
    let session = Session { boot_id: [1; 16], epoch: 1, spool_id: 7 };
    let options = Options { budget_bytes: budget, ..Options::default() };
    Spool::open(Files::new(folder.join("spool")), options, session, BootMs(0)).unwrap()
}

/// Processor time of this process so far.
fn processor() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    // USER_HZ is 100 on every Linux.
    Duration::from_millis(ticks * 10)
}

struct Timed {
    seconds: f64,
    bytes: u64,
}

fn plain(folder: &Path, batch: usize, batches: usize) -> Timed {
    let path = folder.join("plain");
    let file = File::create(&path).unwrap();
    let contents = vec![0x5A; batch];
    let start = Instant::now();
    for n in 0..batches {
        file.write_all_at(&contents, (n * batch) as u64).unwrap();
        file.sync_data().unwrap();
    }
    let seconds = start.elapsed().as_secs_f64();
    std::fs::remove_file(path).unwrap();
    Timed { seconds, bytes: (batch * batches) as u64 }
}

fn spooled(folder: &Path, size: usize, per_batch: usize, batches: usize) -> (Timed, f64) {
    let mut spool = open(folder, 4 * 1024 * MIB as u64);
    let stream = spool.define("bench", StreamPolicy::default()).unwrap();
    let start = Instant::now();
    for n in 0..batches {
        for _ in 0..per_batch {
            let _ = spool.append(stream, vec![0x5A; size], BootMs(n as u64)).unwrap();
        }
        spool.commit(BootMs(n as u64));
    }
    let seconds = start.elapsed().as_secs_f64();
    let bytes = (size * per_batch * batches) as u64;
    let written = spool.report(BootMs(0)).written_bytes;
    let _ = spool.close(BootMs(0));
    std::fs::remove_dir_all(folder.join("spool")).unwrap();
    (Timed { seconds, bytes }, written as f64 / bytes as f64)
}

/// The median of three runs of each, taken in turn so that both meet the same disk.
fn compare(folder: &Path, size: usize, per_batch: usize, batches: usize) {
    let mut runs: Vec<(f64, f64, f64)> = (0..3)
        .map(|_| {
            let plain = plain(folder, size * per_batch, batches);
            let (spooled, factor) = spooled(folder, size, per_batch, batches);
            let rate = |timed: &Timed| timed.bytes as f64 / timed.seconds / MIB as f64;
            (rate(&spooled), rate(&plain), factor)
        })
        .collect();
    runs.sort_by(|a, b| (a.0 / a.1).total_cmp(&(b.0 / b.1)));
    let (spooled, plain, factor) = runs[1];
    println!(
        "{size:>7} {per_batch:>5}  {spooled:>8.1}  {plain:>8.1}  {:>5.0} %  {factor:.4}",
        spooled / plain * 100.0
    );
}

fn main() {
    let folder = std::env::args().nth(1).unwrap_or_else(|| ".".to_owned());
    let folder = tempfile::tempdir_in(folder).unwrap();
    let folder = folder.path();
    println!("record  batch  spool MiB/s  plain MiB/s  share  bytes written for each");
    compare(folder, 4096, 1, 500);
    compare(folder, 4096, 64, 300);
    compare(folder, 4096, 250, 200);
    compare(folder, 100, 20, 500);
    compare(folder, 100, 2000, 200);
    compare(folder, MIB, 1, 200);

    let mut spool = open(folder, 1200 * MIB as u64);
    let names = ["a", "b", "c", "d"];
    let streams = names.map(|name| spool.define(name, StreamPolicy::default()).unwrap());
    for n in 0..(1024 * MIB / 4096) {
        let _ = spool.append(streams[n % 4], vec![0x5A; 4096], BootMs(0)).unwrap();
    }
    for stream in streams {
        for _ in 0..1000 {
            let delivery = spool.next_of(stream, BootMs(0)).unwrap();
            spool.acknowledge(delivery.id, BootMs(0));
        }
    }
    let _ = spool.close(BootMs(0));
    for _ in 0..3 {
        let (start, before) = (Instant::now(), processor());
        let mut spool = open(folder, 1200 * MIB as u64);
        let (wall, cpu) = (start.elapsed(), processor() - before);
        let report = spool.report(BootMs(0));
        println!(
            "opened {} MiB in {} segments: {} ms processor, {} ms",
            report.disk_bytes / MIB as u64,
            report.segments,
            cpu.as_millis(),
            wall.as_millis()
        );
    }
}
