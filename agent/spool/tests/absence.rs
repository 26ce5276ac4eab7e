//! Storage that is away for a while, and segments that cannot be read for a while or for ever: what is on the medium is held
//! until that is hopeless, and then counted.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod world;

use std::io::ErrorKind;

use spool::limits::{MISSING_MS, UNREADABLE_MS};
use spool::simulated::{Fault, Left, Operation, Simulated};
use spool::{BootMs, Fate, Options, Session, Spool, StreamPolicy, StreamReport, StreamTag};
use world::law;

const MIB: u64 = 1024 * 1024;

/// Pause between two attempts to read, in milliseconds: much shorter than any back-off.
const STEP_MS: u64 = 500;

fn open(disk: &Simulated, epoch: u32, now: BootMs) -> Spool<Simulated> {
    let session = Session { boot_id: [1; 16], epoch, spool_id: 9 };
    let options = Options { budget_bytes: 16 * MIB, ..Options::default() };
    Spool::open(disk.clone(), options, session, now).unwrap()
}

/// A spool with `count` records of 10 kB in `log`, in several segments.
fn filled(disk: &Simulated, count: u32) -> (Spool<Simulated>, StreamTag) {
    let mut spool = open(disk, 1, BootMs(0));
    let stream = spool.define("log", StreamPolicy::default()).unwrap();
    for n in 0..count {
        let _ = spool.append(stream, vec![n as u8; 10_000], BootMs(0)).unwrap();
        spool.commit(BootMs(0));
    }
    (spool, stream)
}

/// Asks again and again from `from` to `to`; what was handed out, acknowledged at once.
fn deliver(spool: &mut Spool<Simulated>, from: u64, to: u64) -> Vec<u64> {
    let mut sequences = Vec::new();
    for now in (from..=to).step_by(STEP_MS as usize) {
        while let Some(delivery) = spool.next(BootMs(now)) {
            assert!(delivery.payload.iter().all(|&b| b == (delivery.id.sequence - 1) as u8));
            spool.acknowledge(delivery.id, BootMs(now));
            sequences.push(delivery.id.sequence);
        }
        spool.commit(BootMs(now));
    }
    sequences
}

fn look(spool: &mut Spool<Simulated>, now: u64, stream: StreamTag) -> StreamReport {
    let report = spool.report(BootMs(now));
    let stream = report.streams.into_iter().find(|report| report.tag == stream).unwrap();
    law(&stream).unwrap();
    stream
}

fn lost(stream: &StreamReport) -> u64 {
    stream.counts.get(Fate::Lost).records
}

fn segments(disk: &Simulated) -> Vec<String> {
    let is_segment = |name: &String| name.ends_with(".seg") && !name.contains('/');
    disk.names().into_iter().filter(is_segment).collect()
}

/// The folder is renamed, its medium not mounted or pulled out, while records are being delivered; for as long as it takes.
#[test]
fn nothing_is_lost_while_the_whole_storage_is_away() {
    for kind in [ErrorKind::NotFound, ErrorKind::Other] {
        for away_ms in [5_000, 40_000, 24 * 3_600_000] {
            let disk = Simulated::new();
            let (mut spool, stream) = filled(&disk, 200);
            assert!(segments(&disk).len() > 2);
            let first = spool.next(BootMs(0)).unwrap();
            spool.acknowledge(first.id, BootMs(0));
            disk.set_away(Some(kind));
            assert_eq!(deliver(&mut spool, 0, away_ms), [], "{kind} {away_ms}");
            let report = spool.report(BootMs(away_ms));
            let unreadable = report.unreadable.expect("it is told");
            assert!(unreadable.for_ms >= away_ms - STEP_MS, "{unreadable:?}");
            let held = look(&mut spool, away_ms, stream);
            assert_eq!((held.held.records, lost(&held)), (199, 0), "{kind} {away_ms}");
            disk.set_away(None);
            let rest = deliver(&mut spool, away_ms, away_ms + 310_000);
            assert_eq!(rest, (2..=200).collect::<Vec<u64>>(), "{kind} {away_ms}");
            assert_eq!(spool.report(BootMs(away_ms + 310_000)).unreadable, None);
            assert_eq!(lost(&look(&mut spool, away_ms + 310_000, stream)), 0);
        }
    }
}

/// One file answers with errors for some minutes; what is in others goes on.
#[test]
fn a_segment_that_can_be_read_again_is_delivered_and_others_do_not_wait_for_it() {
    let disk = Simulated::new();
    let (mut spool, stream) = filled(&disk, 200);
    let bad = segments(&disk).remove(0);
    let other = spool.define("other", StreamPolicy::default()).unwrap();
    let _ = spool.append(other, vec![0; 10], BootMs(0)).unwrap();
    spool.commit(BootMs(0));
    disk.spoil(&bad, 0..u64::MAX);
    let until = UNREADABLE_MS / 2;
    let handed = deliver(&mut spool, 0, until);
    assert_eq!(handed, [1], "that of the other stream");
    let reason = spool.report(BootMs(until)).unreadable.expect("it is told").reason;
    assert!(reason.contains(&bad), "{reason}");
    disk.heal();
    let rest = deliver(&mut spool, until, until + 310_000);
    assert_eq!(rest, (1..=200).collect::<Vec<u64>>());
    let log = look(&mut spool, until + 310_000, stream);
    assert_eq!((lost(&log), log.held.records), (0, 0));
    let report = spool.report(BootMs(until + 310_000));
    assert_eq!((report.unreadable, report.damage.damaged_segments), (None, 0));
}

#[test]
fn a_segment_that_stays_unreadable_is_given_up_and_kept_for_people() {
    let disk = Simulated::new();
    let (mut spool, stream) = filled(&disk, 200);
    let bad = segments(&disk).remove(0);
    disk.spoil(&bad, 0..u64::MAX);
    assert_eq!(deliver(&mut spool, 0, UNREADABLE_MS - STEP_MS), []);
    assert_eq!(lost(&look(&mut spool, UNREADABLE_MS, stream)), 0);
    let later = UNREADABLE_MS + 310_000;
    let rest = deliver(&mut spool, UNREADABLE_MS, later);
    let first = rest[0];
    assert_eq!(rest, (first..=200).collect::<Vec<u64>>());
    let log = look(&mut spool, later, stream);
    assert_eq!((lost(&log), log.held.records), (first - 1, 0), "each is counted");
    assert_eq!(spool.report(BootMs(later)).unreadable, None);
    assert!(disk.names().contains(&format!("quarantine/{bad}")), "{:?}", disk.names());
    // What was given up stays so.
    disk.heal();
    drop(spool);
    disk.restart(Left::Nothing);
    let mut spool = open(&disk, 2, BootMs(0));
    assert_eq!(deliver(&mut spool, 0, 1000), []);
    assert_eq!(lost(&look(&mut spool, 1000, stream)), first - 1);
}

/// A single block is bad: the records around it are delivered once it is given up.
#[test]
fn a_bad_block_costs_the_records_in_it() {
    let disk = Simulated::new();
    let (mut spool, stream) = filled(&disk, 200);
    let bad = segments(&disk).remove(0);
    disk.spoil(&bad, 50_000..50_001);
    let early = deliver(&mut spool, 0, UNREADABLE_MS - STEP_MS);
    assert!(!early.is_empty() && early.len() < 6, "{early:?}");
    let later = UNREADABLE_MS + 310_000;
    let rest = deliver(&mut spool, UNREADABLE_MS, later);
    assert!((198..200).contains(&(early.len() + rest.len())), "{early:?} {rest:?}");
    let log = look(&mut spool, later, stream);
    assert_eq!(lost(&log), 200 - (early.len() + rest.len()) as u64);
}

/// A reader that goes back for every new connection does not begin the patience anew.
#[test]
fn a_bad_block_is_given_up_although_what_is_before_it_is_read_again_and_again() {
    let disk = Simulated::new();
    let (mut spool, stream) = filled(&disk, 200);
    disk.spoil(&segments(&disk)[0], 50_000..50_001);
    let later = UNREADABLE_MS + 310_000;
    for now in (0..later).step_by(30_000) {
        spool.rewind();
        while spool.next(BootMs(now)).is_some() {}
    }
    let log = look(&mut spool, later, stream);
    assert!((1..3).contains(&lost(&log)), "{log:?}");
}

/// The program ends while it waits: the next one finds everything.
#[test]
fn what_was_not_given_up_is_delivered_after_a_restart() {
    let disk = Simulated::new();
    let (mut spool, stream) = filled(&disk, 200);
    disk.spoil(&segments(&disk)[0], 0..u64::MAX);
    assert_eq!(deliver(&mut spool, 0, UNREADABLE_MS - STEP_MS), []);
    drop(spool);
    disk.heal();
    disk.restart(Left::Nothing);
    let mut spool = open(&disk, 2, BootMs(0));
    assert_eq!(deliver(&mut spool, 0, 1000), (1..=200).collect::<Vec<u64>>());
    assert_eq!(lost(&look(&mut spool, 1000, stream)), 0);
}

/// Records that were counted as lost and are found again at a later opening, because nothing behind them has left, are not
/// lost: each is delivered or counted, never both.
#[test]
fn what_is_found_again_is_not_counted_as_lost() {
    let disk = Simulated::new();
    let (spool, stream) = filled(&disk, 200);
    drop(spool);
    disk.restart(Left::Nothing);
    let bad = segments(&disk).remove(0);
    let end = disk.contents(&bad).unwrap().len() as u64;
    disk.spoil(&bad, 50_000..50_001);
    // Without its index it is read as a whole.
    disk.spoil(&bad, end - 10..end);
    let mut spool = open(&disk, 2, BootMs(0));
    let before = lost(&look(&mut spool, 0, stream));
    assert!((1..20).contains(&before), "{before}");
    spool.commit(BootMs(0));
    drop(spool);
    disk.heal();
    disk.restart(Left::Nothing);
    let mut spool = open(&disk, 3, BootMs(0));
    assert_eq!(lost(&look(&mut spool, 0, stream)), 0);
    assert_eq!(deliver(&mut spool, 0, 1000), (1..=200).collect::<Vec<u64>>());
    assert_eq!(lost(&look(&mut spool, 1000, stream)), 0);
}

/// Somebody removed one file: that one is gone, though not at once, for a medium may be about to be mounted.
#[test]
fn a_segment_that_was_removed_is_lost_and_the_others_are_not() {
    let disk = Simulated::new();
    let (mut spool, stream) = filled(&disk, 200);
    disk.remove_file(&segments(&disk)[0]);
    assert_eq!(deliver(&mut spool, 0, MISSING_MS - STEP_MS), []);
    assert_eq!(lost(&look(&mut spool, MISSING_MS, stream)), 0);
    let later = 2 * MISSING_MS + 10_000;
    let rest = deliver(&mut spool, MISSING_MS, later);
    assert_eq!(rest, (rest[0]..=200).collect::<Vec<u64>>());
    assert_eq!(lost(&look(&mut spool, later, stream)), rest[0] - 1);
}

/// What is dead cannot be removed from a storage that is away; it is when that is back.
#[test]
fn a_dead_segment_is_not_forgotten_while_the_storage_is_away() {
    let disk = Simulated::new();
    let (mut spool, stream) = filled(&disk, 200);
    let all = segments(&disk);
    while let Some(delivery) = spool.next(BootMs(0)) {
        spool.acknowledge(delivery.id, BootMs(0));
    }
    // The tail is still open, names are away.
    for (operation, kind) in
        [(Operation::Remove, ErrorKind::NotFound), (Operation::List, ErrorKind::Other)]
    {
        disk.fail(Fault { operation, after: 0, times: u64::MAX, kind });
    }
    spool.commit(BootMs(0));
    assert_eq!(segments(&disk).len(), spool.report(BootMs(0)).segments as usize);
    disk.heal();
    let _ = spool.append(stream, Vec::new(), BootMs(1000)).unwrap();
    spool.commit(BootMs(1000));
    assert!(!segments(&disk).contains(&all[0]), "{:?}", segments(&disk));
    assert_eq!(segments(&disk).len(), spool.report(BootMs(1000)).segments as usize);
}
