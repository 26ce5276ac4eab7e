//! Disks that would not read when a spool is opened. That is told apart from files in which nothing is valid: while it may pass,
//! nothing is set aside, counted, or begun beside what is there.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod world;

use std::io::ErrorKind;

use spool::simulated::{Fault, Left, Operation, Simulated};
use spool::{
    BootMs, Fate, OpenError, Options, Session, Spool, StreamPolicy, StreamReport, StreamTag,
};
use world::law;

const MIB: u64 = 1024 * 1024;
const COUNT: u64 = 200;
const NOW: BootMs = BootMs(0);

fn attempt(
    disk: &Simulated,
    epoch: u32,
    without_newest: bool,
) -> Result<Spool<Simulated>, OpenError> {
    // Each attempt is of a process that would begin a spool of its own.
    let session = Session { boot_id: [1; 16], epoch, spool_id: u64::from(epoch) };
    let options = Options { budget_bytes: 16 * MIB, without_newest, ..Options::default() };
    let opened = Spool::open(disk.clone(), options, session, NOW);
    if opened.is_err() {
        disk.release_lock();
    }
    opened
}

fn open(disk: &Simulated, epoch: u32) -> Spool<Simulated> {
    attempt(disk, epoch, false).unwrap()
}

/// A disk with [`COUNT`] records in several segments, of which the first was handed out and acknowledged, and nobody on it.
fn filled() -> (Simulated, StreamTag) {
    let disk = Simulated::new();
    let mut spool = open(&disk, 1);
    let stream = spool.define("log", StreamPolicy::default()).unwrap();
    for n in 0..COUNT {
        let _ = spool.append(stream, vec![n as u8; 10_000], NOW).unwrap();
        spool.commit(NOW);
    }
    let first = spool.next(NOW).unwrap();
    spool.acknowledge(first.id, NOW);
    spool.commit(NOW);
    drop(spool);
    disk.restart(Left::Nothing);
    assert!(segments(&disk).len() > 3);
    (disk, stream)
}

fn segments(disk: &Simulated) -> Vec<String> {
    let is_segment = |name: &String| name.ends_with(".seg") && !name.contains('/');
    disk.names().into_iter().filter(is_segment).collect()
}

fn deliver(spool: &mut Spool<Simulated>) -> Vec<u64> {
    let mut sequences = Vec::new();
    while let Some(delivery) = spool.next(NOW) {
        assert!(delivery.payload.iter().all(|&byte| byte == (delivery.id.sequence - 1) as u8));
        spool.acknowledge(delivery.id, NOW);
        sequences.push(delivery.id.sequence);
    }
    sequences
}

fn look(spool: &mut Spool<Simulated>, stream: StreamTag) -> StreamReport {
    let report = spool.report(NOW);
    let stream = report.streams.into_iter().find(|report| report.tag == stream).unwrap();
    law(&stream).unwrap();
    stream
}

fn lost(stream: &StreamReport) -> u64 {
    stream.counts.get(Fate::Lost).records
}

/// A card reader that is reset while the machine boots: every read fails for a while, or from some moment on. A spool that was
/// begun then under another identity hid what was there for ever. Found by a simulated convoy.
#[test]
fn what_is_there_is_found_by_a_later_opening_whenever_reads_began_to_fail() {
    for operation in [Operation::Read, Operation::Open, Operation::List] {
        let mut refused = 0;
        for after in 0..60 {
            let (disk, stream) = filled();
            let before = disk.names();
            let fault = Fault { operation, after, times: u64::MAX, kind: ErrorKind::Other };
            disk.fail(fault);
            for epoch in 2..5 {
                match attempt(&disk, epoch, false) {
                    Err(OpenError::Unreadable(_)) => refused += 1,
                    Err(error) => panic!("{operation:?} after {after}: {error}"),
                    Ok(mut spool) => {
                        assert_eq!(spool.report(NOW).spool_id, 1, "{operation:?} after {after}");
                        spool.commit(NOW);
                        drop(spool);
                        disk.release_lock();
                    }
                }
            }
            let gone: Vec<_> = before.iter().filter(|name| !disk.names().contains(name)).collect();
            assert!(gone.is_empty(), "{operation:?} after {after}: {gone:?}");
            disk.heal();
            disk.restart(Left::Nothing);
            let mut spool = open(&disk, 9);
            let report = spool.report(NOW);
            assert_eq!(report.spool_id, 1, "{operation:?} after {after}");
            let log = look(&mut spool, stream);
            assert_eq!((lost(&log), log.held.records), (0, COUNT - 1), "{operation:?} {after}");
            let all: Vec<u64> = (2..=COUNT).collect();
            assert_eq!(deliver(&mut spool), all, "{operation:?} after {after}");
        }
        assert!(refused >= 3, "{operation:?} was never met");
    }
}

#[test]
fn a_disk_that_reads_nothing_is_not_opened_however_long_that_takes() {
    let (disk, stream) = filled();
    let before = disk.names();
    for name in segments(&disk) {
        disk.spoil(&name, 0..u64::MAX);
    }
    for (epoch, without_newest) in [(2, false), (3, true)] {
        let error = attempt(&disk, epoch, without_newest).unwrap_err();
        assert!(error.to_string().contains("unreadable"), "{error}");
    }
    assert_eq!(disk.names(), before, "nothing is set aside and nothing begun");
    disk.heal();
    let mut spool = open(&disk, 4);
    assert_eq!(deliver(&mut spool).len() as u64, COUNT - 1);
    assert_eq!(lost(&look(&mut spool, stream)), 0);
}

/// One bad file among good ones is no reason to gather nothing. It stays where it is, its records are counted as lost, and a
/// later opening that can read it takes them back.
#[test]
fn one_unreadable_segment_does_not_prevent_the_start() {
    let (disk, stream) = filled();
    let bad = segments(&disk).remove(1);
    disk.spoil(&bad, 0..u64::MAX);
    // Records in it may be gone, so its index alone does not do.
    let mut spool = open(&disk, 2);
    let whole = spool.report(NOW).disk_bytes;
    assert!(spool.append(stream, vec![COUNT as u8; 100], NOW).is_ok());
    spool.commit(NOW);
    let log = look(&mut spool, stream);
    assert!(lost(&log) > 0 && log.held.records > COUNT / 2, "{log:?}");
    let on_disk: u64 =
        segments(&disk).iter().map(|name| disk.contents(name).unwrap().len() as u64).sum();
    assert!(whole + 4096 >= on_disk - on_disk % 4096, "what was left counts: {whole} of {on_disk}");
    assert!(segments(&disk).contains(&bad));
    drop(spool);
    disk.heal();
    disk.restart(Left::Nothing);
    let mut spool = open(&disk, 3);
    assert_eq!(lost(&look(&mut spool, stream)), 0);
    assert_eq!(deliver(&mut spool), (2..=COUNT + 1).collect::<Vec<u64>>());
}

/// The newest segment says what has left and which number is next. It is waited for, and in the end done without.
#[test]
fn the_newest_segment_is_waited_for_and_then_done_without() {
    let (disk, stream) = filled();
    let newest = segments(&disk).pop().unwrap();
    disk.spoil(&newest, 0..u64::MAX);
    let error = attempt(&disk, 2, false).unwrap_err();
    assert!(error.to_string().contains(&newest), "{error}");
    let mut spool = attempt(&disk, 3, true).unwrap();
    let held = look(&mut spool, stream).held.records;
    assert!((COUNT - 50..COUNT).contains(&held), "{held}");
    let accepted = spool.append(stream, vec![7; 100], NOW).unwrap();
    spool.commit(NOW);
    let behind = segments(&disk).pop().unwrap();
    assert!(behind > newest, "{behind}: nothing is written in front of it");
    drop(spool);
    disk.restart(Left::Nothing);
    // It is not the newest any more, so nobody waits for it again.
    let mut spool = open(&disk, 4);
    let log = look(&mut spool, stream);
    assert_eq!(log.next_sequence, accepted.id.sequence + 1);
    drop(spool);
    disk.heal();
    disk.restart(Left::Nothing);
    let mut spool = open(&disk, 5);
    let log = look(&mut spool, stream);
    assert_eq!(log.next_sequence, accepted.id.sequence + 1, "{log:?}");
}

/// The disk comes back in the middle of an attempt that would do without the newest segment: that is not opened without it.
#[test]
fn a_disk_that_comes_back_is_not_done_without_its_newest_segment() {
    let mut refused = 0;
    for times in 1..150 {
        let (disk, stream) = filled();
        disk.fail(Fault { operation: Operation::Read, after: 1, times, kind: ErrorKind::Other });
        let mut spool = loop {
            match attempt(&disk, 2, true) {
                Ok(spool) => break spool,
                Err(OpenError::Unreadable(_)) => refused += 1,
                Err(error) => panic!("{times} times: {error}"),
            }
        };
        let log = look(&mut spool, stream);
        assert_eq!((lost(&log), log.next_sequence), (0, COUNT + 1), "{times} times");
        assert_eq!(deliver(&mut spool), (2..=COUNT).collect::<Vec<u64>>(), "{times} times");
    }
    assert!(refused > 0, "it was never met");
}

/// The folder holds segments of two spools, and the note that says which is whose would not be read.
#[test]
fn which_of_two_spools_it_is_is_not_guessed_from_a_disk_that_fails() {
    let (disk, _) = filled();
    for number in 1..9 {
        let name = format!("{number:010}-00000000000000aa.seg");
        disk.set_contents(&name, spool::simulated::forge(0xAA, number, &[(4, &[7; 60])]));
    }
    disk.spoil("lock", 0..64);
    assert!(matches!(attempt(&disk, 2, false), Err(OpenError::Unreadable(_))));
    disk.heal();
    let mut spool = open(&disk, 3);
    assert_eq!(spool.report(NOW).spool_id, 1);
}

/// The folder is empty and cannot be locked; then its medium is mounted, with a spool on it. Beside that nothing is begun.
#[test]
fn a_spool_that_appears_later_is_not_written_beside() {
    let (card, _) = filled();
    let disk = Simulated::new();
    disk.set_read_only(true);
    let mut spool = open(&disk, 2);
    let stream = spool.define("log", StreamPolicy::default()).unwrap();
    let _ = spool.append(stream, vec![1; 10], NOW).unwrap();
    spool.commit(NOW);
    assert!(spool.report(NOW).degraded.is_some());
    disk.heal();
    for name in card.names() {
        disk.set_contents(&name, card.contents(&name).unwrap());
    }
    let before = disk.names();
    spool.commit(BootMs(1_000_000));
    let degraded = spool.report(BootMs(1_000_000)).degraded.expect("it is told");
    assert!(degraded.reason.contains("start the agent again"), "{degraded:?}");
    assert_eq!(disk.names(), before);
    drop(spool);
    let mut spool = open(&disk, 3);
    assert_eq!(deliver(&mut spool).len() as u64, COUNT - 1);
}
