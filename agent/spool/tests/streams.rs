//! More streams than can be: those that nobody uses any more give up their place, and nothing that is held or was delivered
//! comes to harm.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod world;

use std::collections::BTreeMap;

use spool::limits::STREAMS_MAX;
use spool::simulated::{Left, Simulated};
use spool::{BootMs, Event, Options, OptionsError, Session, Spool, StreamPolicy, StreamReport};
use world::law;

const NOW: BootMs = BootMs(0);

fn open(disk: &Simulated, epoch: u32) -> Spool<Simulated> {
    let session = Session { boot_id: [1; 16], epoch, spool_id: 9 };
    Spool::open(disk.clone(), Options::default(), session, NOW).unwrap()
}

fn define(spool: &mut Spool<Simulated>, name: &str) -> Result<spool::StreamTag, OptionsError> {
    spool.define(name, StreamPolicy::default())
}

/// As many streams as can be, of which `s00` had a record that left and `s05` has one.
fn full() -> Simulated {
    let disk = Simulated::new();
    let mut spool = open(&disk, 1);
    for n in 0..STREAMS_MAX {
        define(&mut spool, &format!("s{n:02}")).unwrap();
    }
    let left = define(&mut spool, "s00").unwrap();
    let held = define(&mut spool, "s05").unwrap();
    let _ = spool.append(left, b"left".to_vec(), NOW).unwrap();
    let _ = spool.append(held, b"held".to_vec(), NOW).unwrap();
    spool.commit(NOW);
    let delivery = spool.next_of(left, NOW).unwrap();
    spool.acknowledge(delivery.id, NOW);
    spool.commit(NOW);
    drop(spool);
    disk.restart(Left::Nothing);
    disk
}

fn by_name(spool: &mut Spool<Simulated>) -> BTreeMap<String, StreamReport> {
    let streams = spool.report(NOW).streams;
    assert!(streams.len() <= STREAMS_MAX);
    streams.iter().for_each(|stream| law(stream).unwrap());
    streams.into_iter().map(|s| (s.name.clone().unwrap().as_str().to_owned(), s)).collect()
}

/// Gives new names until no place is left.
fn new_names(spool: &mut Spool<Simulated>, prefix: &str) -> usize {
    let mut number = 0;
    while define(spool, &format!("{prefix}{number}")).is_ok() {
        number += 1;
    }
    number
}

#[test]
fn a_stream_that_nobody_uses_gives_up_its_place() {
    let disk = full();
    let mut spool = open(&disk, 2);
    let declared = define(&mut spool, "s31").unwrap();
    let new = define(&mut spool, "new").unwrap();
    let accepted = spool.append(new, b"new".to_vec(), NOW).unwrap();
    assert_eq!((accepted.id.epoch, accepted.id.sequence), (2, 1));
    spool.commit(NOW);
    drop(spool);
    disk.restart(Left::Nothing);
    let mut spool = open(&disk, 3);
    let streams = by_name(&mut spool);
    assert_eq!(streams.len(), STREAMS_MAX);
    assert_eq!((streams["new"].held.records, streams["s05"].held.records), (1, 1));
    assert!(streams.values().any(|stream| stream.tag == declared), "it was in use");
    // Of the others, `s00` has a record in a file, `s05` and `new` hold one.
    assert_eq!(new_names(&mut spool, "more"), STREAMS_MAX - 3);
    assert_eq!(define(&mut spool, "one-too-many"), Err(OptionsError::Streams));
}

#[test]
fn a_stream_whose_records_are_still_in_a_file_is_not_forgotten_and_they_do_not_come_back() {
    let disk = full();
    for epoch in 2..5 {
        let mut spool = open(&disk, epoch);
        assert_eq!(new_names(&mut spool, &format!("e{epoch}-")), STREAMS_MAX - 2);
        spool.commit(NOW);
        let streams = by_name(&mut spool);
        assert_eq!((streams["s00"].next_sequence, streams["s00"].held.records), (2, 0));
        let found: Vec<_> = std::iter::from_fn(|| spool.next(NOW)).map(|d| d.payload).collect();
        assert_eq!(found, [b"held"], "epoch {epoch}");
        drop(spool);
        disk.restart(Left::Nothing);
    }
    // When the file has left, nothing keeps the stream.
    let mut spool = open(&disk, 5);
    let busy = define(&mut spool, "s05").unwrap();
    for _ in 0..4 {
        let _ = spool.append(busy, vec![0; 600_000], NOW).unwrap();
        spool.commit(NOW);
        while let Some(delivery) = spool.next(NOW) {
            spool.acknowledge(delivery.id, NOW);
        }
        spool.commit(NOW);
    }
    drop(spool);
    disk.restart(Left::Nothing);
    assert_eq!(new_names(&mut open(&disk, 6), "last"), STREAMS_MAX - 1, "all but `s05`");
}

/// The power goes at any change on the way.
#[test]
fn forgetting_survives_power_cuts() {
    for cut in 1..12 {
        for seed in 0..20 {
            let disk = full();
            let mut spool = open(&disk, 2);
            let used = define(&mut spool, "s10").unwrap();
            let _ = spool.append(used, b"used".to_vec(), NOW).unwrap();
            spool.commit(NOW);
            spool.take_events();
            disk.cut_power_at(disk.usage().changes + cut);
            let new = define(&mut spool, "new").unwrap();
            let _ = spool.append(new, b"new".to_vec(), NOW).unwrap();
            spool.commit(NOW);
            let told = spool.take_events().contains(&Event::Durable { stream: new, up_to: 1 });
            let told = told && !disk.is_off();
            drop(spool);
            disk.restart(Left::Some(seed));
            let mut spool = open(&disk, 3);
            let streams = by_name(&mut spool);
            let held = streams.get("new").map_or(0, |new| new.held.records);
            assert!(!told || held == 1, "{cut} {seed}");
            assert_eq!(streams["s00"].held.records, 0);
            let found: Vec<_> = std::iter::from_fn(|| spool.next(NOW)).map(|d| d.payload).collect();
            for kept in [&b"held"[..], b"used"] {
                assert_eq!(found.iter().filter(|found| *found == kept).count(), 1, "{cut} {seed}");
            }
        }
    }
}
