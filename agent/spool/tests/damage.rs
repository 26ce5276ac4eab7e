//! Known damage: each test makes a good spool, breaks exact bytes or files, opens it, and tells the story.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;

use spool::limits::UNREADABLE_MS;
use spool::simulated::{Left, Simulated};
use spool::tools::{self, FileKind};
use spool::{BootMs, Fate, Options, Report, Session, Spool, StreamPolicy, StreamTag};

const MIB: u64 = 1024 * 1024;
const ID: u64 = 0xFEED;

fn open_as(disk: &Simulated, epoch: u32, budget: u64) -> Spool<Simulated> {
    let session = Session { boot_id: [1; 16], epoch, spool_id: ID };
    let options = Options { budget_bytes: budget, ..Options::default() };
    Spool::open(disk.clone(), options, session, BootMs(0)).unwrap()
}

fn open(disk: &Simulated) -> Spool<Simulated> {
    open_as(disk, 9, MIB)
}

fn body(n: u32, size: usize) -> Vec<u8> {
    let mut bytes = vec![n as u8; size.max(4)];
    bytes[..4].copy_from_slice(&n.to_le_bytes());
    bytes
}

/// A disk with `count` records of `size` bytes, committed one by one, and nobody on it.
fn written(count: u32, size: usize) -> (Simulated, StreamTag) {
    let disk = Simulated::new();
    let mut spool = open_as(&disk, 1, MIB);
    let stream = spool.define("log", StreamPolicy::default()).unwrap();
    for n in 1..=count {
        let _ = spool.append(stream, body(n, size), BootMs(0)).unwrap();
        spool.commit(BootMs(0));
    }
    drop(spool);
    disk.restart(Left::Nothing);
    (disk, stream)
}

/// Numbers of all records that are there, each whole.
fn numbers(spool: &mut Spool<Simulated>) -> Vec<u32> {
    let mut found = Vec::new();
    while let Some(delivery) = spool.next(BootMs(0)) {
        let n = u32::from_le_bytes(delivery.payload[..4].try_into().unwrap());
        assert_eq!(delivery.payload, body(n, delivery.payload.len()), "invented or mixed up");
        found.push(n);
    }
    found
}

fn segments(disk: &Simulated) -> Vec<String> {
    disk.names().into_iter().filter(|n| n.ends_with(".seg") && !n.contains('/')).collect()
}

fn flip(disk: &Simulated, name: &str, at: usize) {
    let mut bytes = disk.contents(name).unwrap();
    bytes[at] ^= 0x10;
    disk.set_contents(name, bytes);
}

fn lost(report: &Report) -> u64 {
    report.streams.iter().map(|stream| stream.counts.get(Fate::Lost).records).sum()
}

/// Records had left when their place on the card went bad, and the next read met it. Those on their way were counted as lost
/// and, once the broker had them, as acknowledged, too. Found by a simulated convoy.
#[test]
fn what_is_lost_while_it_is_handed_out_is_counted_once() {
    for spoiled_from in [0, 9_000] {
        let (disk, stream) = written(20, 1_500);
        let mut spool = open(&disk);
        spool.define("log", StreamPolicy::default()).unwrap();
        let out: Vec<_> = (0..5).map(|_| spool.next(BootMs(0)).unwrap().id).collect();
        for name in segments(&disk) {
            disk.spoil(&name, spoiled_from..u64::MAX);
        }
        // A bad place is tried again for long before what is there is given up.
        let attempts = (0..2 * UNREADABLE_MS).step_by(10_000);
        let more: Vec<_> = attempts.filter_map(|ms| spool.next_of(stream, BootMs(ms))).collect();
        assert!(lost(&spool.report(BootMs(0))) > 0);
        for id in out.into_iter().chain(more.into_iter().map(|delivery| delivery.id)) {
            let _ = spool.acknowledge(id, BootMs(0));
        }
        let report = spool.report(BootMs(0));
        let counted: u64 = report.streams[0].counts.iter().map(|(_, count)| count.records).sum();
        assert_eq!(counted + report.streams[0].held.records, 20, "{report:?}");
    }
}

/// The power went in the middle of a write: the file ends anywhere. Nothing durable is concerned, so nothing is damaged.
#[test]
fn a_tail_torn_at_any_byte_keeps_what_is_whole() {
    let (disk, _) = written(5, 60);
    let name = segments(&disk).pop().unwrap();
    let whole = disk.contents(&name).unwrap();
    for length in 0..whole.len() {
        let disk = Simulated::new();
        disk.set_contents(&name, whole[..length].to_vec());
        let mut spool = open(&disk);
        spool.define("log", StreamPolicy::default()).unwrap();
        let found = numbers(&mut spool);
        let expected: Vec<u32> = (1..=found.len() as u32).collect();
        assert_eq!(found, expected, "cut to {length}");
        let report = spool.report(BootMs(0));
        assert_eq!(report.damage.damaged_bytes, 0, "cut to {length}");
        // The first checkpoint is written with the first record and knows that its number was given.
        assert!(lost(&report) <= u64::from(found.is_empty()), "cut to {length}: {report:?}");
    }
}

/// One bit of a flash cell, anywhere in the spool: at most one frame is bad. What it held is counted, everything else is
/// there, and nothing is made up.
#[test]
fn any_flipped_bit_costs_at_most_one_record() {
    let (disk, _) = written(12, 9000);
    let all = segments(&disk);
    assert!(all.len() > 1, "a sealed segment and a tail");
    for name in &all {
        let whole = disk.contents(name).unwrap();
        // Every byte of the frames around the payloads, and some of the payloads.
        let places = (0..whole.len()).filter(|at| at % 9000 < 400 || at % 97 == 0);
        for at in places {
            let copy = Simulated::new();
            for other in &all {
                copy.set_contents(other, disk.contents(other).unwrap());
            }
            flip(&copy, name, at);
            let mut spool = open(&copy);
            spool.define("log", StreamPolicy::default()).unwrap();
            let found = numbers(&mut spool);
            assert!(found.is_sorted() && found.len() >= 11, "byte {at} of {name}: {found:?}");
            let report = spool.report(BootMs(0));
            let missing = 12 - found.len() as u64;
            // The last record of the tail is beyond what was known to be durable, and nothing knows of it.
            let unknown = u64::from(missing == 1 && !found.contains(&12));
            let counted = lost(&report) + unknown;
            assert!(counted >= missing, "byte {at} of {name}: {missing} missing, {report:?}");
        }
    }
}

/// A bad byte in a sealed segment is only met when the record is read. The rest of the segment is still delivered, the bytes are
/// kept for people to look at, and the segment is replaced by what is good in it, so that the next opening finds nothing wrong.
#[test]
fn damage_is_set_aside_and_repaired_once() {
    let (disk, _) = written(12, 9000);
    flip(&disk, &segments(&disk)[0], 20_000);
    let mut spool = open(&disk);
    assert_eq!(numbers(&mut spool).len(), 11);
    let report = spool.report(BootMs(0));
    assert_eq!(lost(&report), 1);
    assert_eq!((report.damage.damaged_segments, report.damage.quarantined_files), (1, 1));
    assert!(report.damage.damaged_bytes >= 9000, "{:?}", report.damage);
    spool.rewind();
    let tag = report.streams[0].tag;
    let _ = spool.append(tag, body(13, 100), BootMs(0)).unwrap();
    spool.commit(BootMs(0));
    drop(spool);
    disk.restart(Left::Nothing);
    let inspection = tools::inspect(disk.clone()).unwrap();
    assert_eq!(inspection.complaints(), Vec::<String>::new());
    let mut spool = open(&disk);
    let report = spool.report(BootMs(0));
    assert_eq!((lost(&report), report.damage.damaged_bytes), (1, 0), "counted once");
    assert_eq!(numbers(&mut spool).len(), 12);
}

/// Somebody removed a file, or a journal replay lost its name.
#[test]
fn a_missing_segment_is_counted() {
    let (disk, _) = written(12, 9000);
    let first = segments(&disk).remove(0);
    disk.remove_file(&first);
    let mut spool = open(&disk);
    let found = numbers(&mut spool);
    assert!(!found.is_empty() && found[0] > 1);
    assert_eq!(lost(&spool.report(BootMs(0))), 12 - found.len() as u64);
    let name = spool.define("log", StreamPolicy::default()).unwrap();
    let accepted = spool.append(name, body(13, 10), BootMs(0)).unwrap();
    assert_eq!(accepted.id.sequence, 13, "numbers go on");
}

/// A card was in another vehicle: its files have another identity. They are not delivered as ours, and not removed.
#[test]
fn files_of_another_spool_and_of_nobody_are_left_alone() {
    let (disk, _) = written(3, 100);
    // The spool notes who it is when it is opened.
    drop(open(&disk));
    disk.release_lock();
    let strangers = [
        ("0000000001-00000000000000aa.seg", spool::simulated::forge(0xAA, 1, &[])),
        ("0000000077-00000000000000aa.seg", spool::simulated::forge(0xAA, 77, &[(4, &[7; 60])])),
        ("notes.txt", b"do not lose".to_vec()),
        ("0000000099-000000000000feed.seg.bak", vec![1; 100]),
    ];
    for (name, contents) in &strangers {
        disk.set_contents(name, contents.clone());
    }
    let mut spool = open(&disk);
    assert_eq!(numbers(&mut spool), [1, 2, 3]);
    assert_eq!(spool.report(BootMs(0)).damage.foreign_files, 4);
    spool.commit(BootMs(0));
    for (name, contents) in strangers {
        assert_eq!(disk.contents(name), Some(contents), "{name}");
    }
}

/// A file was copied under the name of another one. Frames are only valid in their own file, so nothing of it is taken.
#[test]
fn a_segment_under_another_number_is_nobodys() {
    let (disk, _) = written(3, 100);
    let original = segments(&disk).pop().unwrap();
    let copy = original.replace("0000000001", "0000000005");
    disk.set_contents(&copy, disk.contents(&original).unwrap());
    let mut spool = open(&disk);
    assert_eq!(numbers(&mut spool), [1, 2, 3]);
    assert_eq!(spool.report(BootMs(0)).damage.foreign_files, 1);
}

/// The first sector is gone: header and checkpoint. The file's name says whose it is, and a stream's tag is made from its name,
/// so declaring the stream brings its records back.
#[test]
fn without_header_and_definitions_records_still_have_their_stream() {
    let (disk, stream) = written(4, 1000);
    let name = segments(&disk).pop().unwrap();
    let mut bytes = disk.contents(&name).unwrap();
    let first_record = bytes.windows(3).position(|window| window == [0xA5, 0x5F, 4]).unwrap();
    bytes[..first_record].fill(0);
    disk.set_contents(&name, bytes);
    let mut spool = open(&disk);
    assert_eq!(spool.define("log", StreamPolicy::default()).unwrap(), stream);
    assert_eq!(numbers(&mut spool), [1, 2, 3, 4]);
    assert_eq!(spool.report(BootMs(0)).streams.len(), 1);
}

/// The card was in a vehicle with a newer program and came back. Its files are not understood, so they are not touched; gathering
/// goes on beside them.
#[test]
fn a_spool_of_a_newer_version_is_left_as_it_is() {
    let disk = Simulated::new();
    let name = "0000000003-000000000000feed.seg";
    let mut newer = spool::simulated::forge(ID, 3, &[(4, b"who knows what this means")]);
    newer[8] = 2;
    let crc = crc32c::crc32c(&newer[..32]).to_le_bytes();
    newer[32..36].copy_from_slice(&crc);
    disk.set_contents(name, newer.clone());
    let mut spool = open(&disk);
    let stream = spool.define("log", StreamPolicy::default()).unwrap();
    let _ = spool.append(stream, body(1, 10), BootMs(0)).unwrap();
    spool.commit(BootMs(0));
    assert_eq!(spool.report(BootMs(0)).damage.newer_files, 1);
    assert_eq!(disk.contents(name), Some(newer));
    assert_eq!(segments(&disk).len(), 2);
    let inspection = tools::inspect(disk.clone()).unwrap();
    assert!(inspection.files.iter().any(|file| file.kind == FileKind::Newer(2)));
    assert!(inspection.in_use);
    drop(spool);
    disk.restart(Left::Nothing);
    assert_eq!(numbers(&mut open(&disk)), [1]);
}

/// A record whose payload is itself a spool file, with good frames in it. When the frame around it is damaged, the search for the
/// next good one walks through the payload; nothing in it may be taken for a record.
#[test]
fn frames_within_a_payload_are_never_records() {
    let (inner, _) = written(3, 50);
    let payload = inner.contents(&segments(&inner)[0]).unwrap();
    let disk = Simulated::new();
    let mut spool = open_as(&disk, 1, MIB);
    let stream = spool.define("files", StreamPolicy::default()).unwrap();
    let _ = spool.append(stream, payload, BootMs(0)).unwrap();
    let _ = spool.append(stream, body(5, 10), BootMs(0)).unwrap();
    spool.commit(BootMs(0));
    let _ = spool.append(stream, body(6, 10), BootMs(0)).unwrap();
    spool.commit(BootMs(0));
    drop(spool);
    disk.restart(Left::Nothing);
    let name = segments(&disk).pop().unwrap();
    let bytes = disk.contents(&name).unwrap();
    let at = bytes.windows(8).skip(1).position(|window| window == b"OutSpool").unwrap();
    flip(&disk, &name, at);
    let mut spool = open(&disk);
    assert_eq!(numbers(&mut spool), [5, 6]);
    assert_eq!(lost(&spool.report(BootMs(0))), 1);
}

/// The budget was made smaller than what is held: the rules decide what goes, and how it is counted.
#[test]
fn a_smaller_budget_is_reached_by_the_rules() {
    let disk = Simulated::new();
    let mut spool = open_as(&disk, 1, 8 * MIB);
    let stream = spool.define("log", StreamPolicy::default()).unwrap();
    for n in 1..=700 {
        let _ = spool.append(stream, body(n, 9000), BootMs(0)).unwrap();
    }
    let _ = spool.close(BootMs(0));
    disk.release_lock();
    let mut spool = open_as(&disk, 2, MIB);
    assert!(spool.report(BootMs(0)).disk_bytes > 6 * MIB);
    let _ = spool.append(stream, body(701, 9000), BootMs(0)).unwrap();
    spool.commit(BootMs(0));
    let report = spool.report(BootMs(0));
    assert!(report.disk_bytes <= MIB, "{} bytes", report.disk_bytes);
    let stream = &report.streams[0];
    assert_eq!(stream.counts.get(Fate::Full).records + stream.held.records, 701);
    assert!(stream.held.records > 60, "{stream:?}");
}

/// The machine boots in 1970, or its boot clock begins again: age only ever grows by time that was seen to pass.
#[test]
fn time_that_was_not_seen_does_not_expire_records() {
    let disk = Simulated::new();
    let policy = StreamPolicy { expire_ms: 10_000, ..StreamPolicy::default() };
    let open = |boot: u8, at: u64| {
        let session = Session { boot_id: [boot; 16], epoch: boot.into(), spool_id: ID };
        Spool::open(disk.clone(), Options::default(), session, BootMs(at)).unwrap()
    };
    let mut spool = open(1, 5_000);
    let stream = spool.define("fleeting", policy).unwrap();
    let _ = spool.append(stream, body(1, 10), BootMs(6_000)).unwrap();
    let _ = spool.close(BootMs(9_000));
    disk.release_lock();
    // Another boot; its clock is far ahead of the old one, or behind. Both mean nothing.
    let mut spool = open(2, 900_000_000);
    spool.expire(BootMs(900_001_000));
    let age = spool.next(BootMs(900_001_000)).unwrap().age_ms;
    assert!((1_000..=4_000).contains(&age), "{age}");
    let _ = spool.close(BootMs(900_003_000));
    disk.release_lock();
    let mut spool = open(3, 7);
    assert!(spool.next(BootMs(8)).is_some());
    spool.rewind();
    // A clock that runs back stands still.
    spool.expire(BootMs(0));
    assert!(spool.next(BootMs(0)).is_some());
    spool.rewind();
    spool.expire(BootMs(60_000));
    let report = spool.report(BootMs(60_000));
    assert_eq!(report.streams[0].counts.get(Fate::Expired).records, 1);
    assert_eq!(report.streams[0].held.records, 0);
}

/// Every file empty, as after a file system check that found inodes without blocks.
#[test]
fn empty_files_are_no_hindrance() {
    let (disk, _) = written(12, 9000);
    for name in segments(&disk) {
        disk.set_contents(&name, Vec::new());
    }
    let mut spool = open(&disk);
    assert_eq!(numbers(&mut spool), []);
    let stream = spool.define("log", StreamPolicy::default()).unwrap();
    let _ = spool.append(stream, body(1, 10), BootMs(0)).unwrap();
    spool.commit(BootMs(0));
    drop(spool);
    disk.restart(Left::Nothing);
    assert_eq!(numbers(&mut open(&disk)), [1]);
}

/// Damage everywhere must not fill the card with copies of it.
#[test]
fn quarantine_is_bounded() {
    let (disk, _) = written(90, 9000);
    for name in segments(&disk) {
        let length = disk.contents(&name).unwrap().len();
        for at in (300..length).step_by(29_000) {
            flip(&disk, &name, at);
        }
    }
    let mut spool = open(&disk);
    let found = numbers(&mut spool);
    let report = spool.report(BootMs(0));
    assert!(report.damage.quarantine_refused > 0, "{:?}", report.damage);
    let kept: usize = disk
        .names()
        .iter()
        .filter(|name| name.starts_with("quarantine/"))
        .map(|name| disk.contents(name).unwrap().len())
        .sum();
    assert!(kept as u64 <= MIB / 16, "{kept} bytes in quarantine");
    assert!(found.len() > 40, "{} found", found.len());
    assert!(lost(&report) + found.len() as u64 >= 89, "{} found, {report:?}", found.len());
}

/// A power cut may bring back a segment that was removed, with its first block torn: larger than quarantine, and worth nothing.
#[test]
fn what_is_worth_nothing_and_too_large_for_quarantine_takes_no_place_from_the_budget() {
    let (disk, _) = written(12, 9000);
    let leftover = "0000000000-";
    let first = segments(&disk)[0].clone();
    let name = format!("{leftover}{}", first.split_once('-').unwrap().1);
    assert!(!disk.names().contains(&name), "{name}");
    disk.set_contents(&name, vec![0xA5; 400 * 1024]);
    let report = open(&disk).report(BootMs(0));
    assert_eq!(report.damage.quarantine_refused, 1, "{:?}", report.damage);
    assert!(!disk.names().contains(&name), "{:?}", disk.names());
    assert!(report.disk_bytes >= disk.used_bytes(), "{report:?}, {} used", disk.used_bytes());
}

#[test]
fn tools_say_what_is_there_without_touching_it() {
    let (disk, stream) = written(12, 9000);
    let mut spool = open(&disk);
    let first = spool.next(BootMs(0)).unwrap();
    spool.acknowledge(first.id, BootMs(0));
    spool.commit(BootMs(0));
    let _ = spool.close(BootMs(0));
    disk.release_lock();
    flip(&disk, &segments(&disk)[0], 20_000);
    let before: BTreeMap<String, Vec<u8>> = disk
        .names()
        .into_iter()
        .map(|name| (name.clone(), disk.contents(&name).unwrap()))
        .collect();

    let inspection = tools::inspect(disk.clone()).unwrap();
    assert_eq!(inspection.spool_id, Some(ID));
    let log = &inspection.streams[0];
    assert_eq!((log.tag, log.name.as_deref()), (stream, Some("log")));
    assert_eq!((log.records, log.missing), (10, 1));
    let complaints = inspection.complaints();
    assert!(complaints.iter().any(|text| text.contains("damaged")), "{complaints:?}");
    assert!(complaints.iter().any(|text| text.contains("missing")), "{complaints:?}");
    let (mut all, mut live) = (Vec::new(), Vec::new());
    tools::dump(disk.clone(), |record| {
        all.push(record.id.sequence);
        Ok(())
    })
    .unwrap();
    tools::export(disk.clone(), |record| {
        live.push(record.id.sequence);
        Ok(())
    })
    .unwrap();
    assert_eq!((all.len(), live.len()), (11, 10));
    assert_eq!(all[0], 1);
    assert!(live.is_sorted() && live[0] == 2);
    let after: BTreeMap<String, Vec<u8>> = disk
        .names()
        .into_iter()
        .map(|name| (name.clone(), disk.contents(&name).unwrap()))
        .collect();
    assert!(before == after, "tools changed something");

    let session = Session { boot_id: [1; 16], epoch: 10, spool_id: 1 };
    let options = Options { budget_bytes: MIB, ..Options::default() };
    let report = tools::repair(disk.clone(), options, session, BootMs(0)).unwrap();
    assert_eq!(lost(&report), 1);
    disk.release_lock();
    assert_eq!(tools::inspect(disk.clone()).unwrap().complaints(), Vec::<String>::new());
}
