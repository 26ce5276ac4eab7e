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

/// Appends the same batches to a spool and to a plain file, in turn, so that both meet the same disk and the same neighbours.
fn compare(folder: &Path, size: usize, per_batch: usize, batches: usize) {
    let path = folder.join("plain");
    let file = File::create(&path).unwrap();
    let mut spool = open(folder, 4 * 1024 * MIB as u64);
    let stream = spool.define("bench", StreamPolicy::default()).unwrap();
    let batch = size * per_batch;
    let contents = vec![0x5A; batch];
    let (mut spooled, mut plain) = (Duration::ZERO, Duration::ZERO);
    for n in 0..batches {
        let records: Vec<Vec<u8>> = (0..per_batch).map(|_| vec![0x5A; size]).collect();
        let start = Instant::now();
        for record in records {
            let _ = spool.append(stream, record, BootMs(n as u64)).unwrap();
        }
        spool.commit(BootMs(n as u64));
        spooled += start.elapsed();
        let start = Instant::now();
        file.write_all_at(&contents, (n * batch) as u64).unwrap();
        file.sync_data().unwrap();
        plain += start.elapsed();
    }
    let bytes = (batch * batches) as f64;
    let written = spool.report(BootMs(0)).written_bytes as f64;
    let _ = spool.close(BootMs(0));
    std::fs::remove_dir_all(folder.join("spool")).unwrap();
    std::fs::remove_file(path).unwrap();
    let rate = |time: Duration| bytes / time.as_secs_f64() / MIB as f64;
    println!(
        "{size:>7} {per_batch:>6}  {:>11.1}  {:>11.1}  {:>4.0} %  {:.4}",
        rate(spooled),
        rate(plain),
        rate(spooled) / rate(plain) * 100.0,
        written / bytes
    );
}

fn main() {
    let folder = std::env::args().nth(1).unwrap_or_else(|| ".".to_owned());
    let folder = tempfile::tempdir_in(folder).unwrap();
    let folder = folder.path();
    println!(" record  batch  spool MiB/s  plain MiB/s  share  bytes written for each");
    compare(folder, 4096, 1, 500);
    compare(folder, 4096, 64, 3000);
    compare(folder, 4096, 250, 800);
    compare(folder, 100, 20, 500);
    compare(folder, 100, 2000, 2000);
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
