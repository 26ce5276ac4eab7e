//! What the spool costs in bytes written and read. Only ratios and counts, no times: those are printed by
//! `examples/spool-bench.rs`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use spool::simulated::{Left, Simulated};
use spool::{BootMs, Options, Session, Spool, StreamPolicy};

const MIB: u64 = 1024 * 1024;

fn open(disk: &Simulated, budget: u64) -> Spool<Simulated> {
    let session = Session { boot_id: [1; 16], epoch: 1, spool_id: 7 };
    let options = Options { budget_bytes: budget, ..Options::default() };
    Spool::open(disk.clone(), options, session, BootMs(0)).unwrap()
}

/// Bytes written for each byte of payload, with `per_commit` records in each group commit. Delivery follows `behind` records
/// behind, so that marks are written and segments freed as well.
fn amplification(budget: u64, size: usize, per_commit: u64, records: u64, behind: u64) -> f64 {
    let disk = Simulated::new();
    let mut spool = open(&disk, budget);
    let stream = spool.define("log", StreamPolicy::default()).unwrap();
    for n in 1..=records {
        let _ = spool.append(stream, vec![n as u8; size], BootMs(n)).unwrap();
        if n % per_commit == 0 {
            spool.commit(BootMs(n));
        }
        if n > behind {
            let delivery = spool.next(BootMs(n)).unwrap();
            spool.acknowledge(delivery.id, BootMs(n));
        }
    }
    spool.commit(BootMs(records));
    let report = spool.report(BootMs(records));
    assert_eq!(report.streams[0].held.records, behind);
    assert_eq!(report.written_bytes, disk.usage().written_bytes - 23, "all but the lock's note");
    disk.usage().written_bytes as f64 / (records * size as u64) as f64
}

#[test]
fn four_kib_records_are_written_with_less_than_five_per_cent_on_top() {
    for (budget, per_commit, behind) in
        [(MIB, 1, 100), (64 * MIB, 1, 500), (64 * MIB, 10, 2000), (1024 * MIB, 1, 4000)]
    {
        let factor = amplification(budget, 4096, per_commit, 5000, behind);
        println!("4 KiB, {per_commit} in a commit, budget {budget}: {factor:.4}");
        assert!(factor <= 1.05, "{factor} at {per_commit} in a commit, budget {budget}");
    }
}

/// Reported rather than bound tightly: a record of 100 bytes has 36 bytes around it, and each commit has 44 and its marks.
#[test]
fn hundred_byte_records_cost_their_frame_and_little_more() {
    // One record each 100 ms and a commit each 2 s.
    let factor = amplification(64 * MIB, 100, 20, 20_000, 500);
    println!("100 bytes, 20 in a commit: {factor:.4}");
    assert!(factor < 1.5, "{factor}");
}

/// Opening reads a header and an index of each segment, and all of the newest one and of those in which a stream's oldest
/// record is: never the whole spool.
#[test]
fn opening_reads_a_small_part_of_what_is_held() {
    let disk = Simulated::new();
    let mut spool = open(&disk, 64 * MIB);
    let names = ["a", "b", "c"];
    let streams = names.map(|name| spool.define(name, StreamPolicy::default()).unwrap());
    for n in 0..12_000_u64 {
        let _ = spool.append(streams[n as usize % 3], vec![1; 4096], BootMs(n)).unwrap();
    }
    for _ in 0..1000 {
        let delivery = spool.next_of(streams[0], BootMs(0)).unwrap();
        spool.acknowledge(delivery.id, BootMs(0));
    }
    spool.commit(BootMs(0));
    let held = spool.report(BootMs(0)).disk_bytes;
    let segments = spool.report(BootMs(0)).segments;
    assert!(held > 40 * MIB && segments > 40, "{held} bytes in {segments} segments");
    drop(spool);
    disk.restart(Left::Nothing);
    let before = disk.usage();
    let mut spool = open(&disk, 64 * MIB);
    let read = disk.usage().read_bytes - before.read_bytes;
    assert_eq!(spool.report(BootMs(0)).streams.iter().map(|s| s.held.records).sum::<u64>(), 11_000);
    println!("{read} bytes read of {held} held");
    assert!(read < 3 * MIB, "{read} bytes read of {held} held");
}

/// Acknowledged data gives back its space while other data stays, also when little of another stream lies in every segment.
#[test]
fn a_little_that_stays_does_not_hold_what_has_left() {
    let disk = Simulated::new();
    let mut spool = open(&disk, 4 * MIB);
    let rule = StreamPolicy { at_bound: spool::AtBound::Refuse, ..StreamPolicy::default() };
    let stuck = spool.define("stuck", rule).unwrap();
    let flowing = spool.define("flowing", rule).unwrap();
    for n in 0..20_000_u64 {
        let _ = spool.append(flowing, vec![2; 4000], BootMs(n)).unwrap();
        if n % 20 == 0 {
            let _ = spool.append(stuck, vec![1; 200], BootMs(n)).unwrap();
        }
        let delivery = spool.next_of(flowing, BootMs(n)).unwrap();
        if n % 10 == 0 {
            spool.commit(BootMs(n));
        }
        spool.acknowledge(delivery.id, BootMs(n));
        assert!(spool.report(BootMs(n)).disk_bytes <= 4 * MIB);
    }
    let report = spool.report(BootMs(0));
    let held: u64 = report.streams.iter().map(|stream| stream.held.records).sum();
    assert_eq!(held, 1000, "the reader that never acknowledges loses nothing");
}
