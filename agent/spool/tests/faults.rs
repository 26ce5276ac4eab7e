//! Disks that fail, fill up, lie still or are taken away: the spool goes on, says so, loses nothing that it called durable,
//! and never takes a failed sync for a good one.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod world;

use std::io::ErrorKind;
use std::time::Duration;

use proptest::prelude::*;
use spool::simulated::{Fault, Left, Operation, Simulated};
use spool::{
    Answer, AppendError, BootMs, Event, Fate, Options, Session, Spool, StreamPolicy, Worker,
};
use world::{Action, World, actions, law};

const MIB: u64 = 1024 * 1024;

fn options() -> Options {
    Options { budget_bytes: 16 * MIB, ..Options::default() }
}

fn open(disk: &Simulated, epoch: u32, now: BootMs) -> Spool<Simulated> {
    let session = Session { boot_id: [1; 16], epoch, spool_id: 9 };
    Spool::open(disk.clone(), options(), session, now).unwrap()
}

fn count(disk: &Simulated) -> usize {
    let mut spool = open(disk, 99, BootMs(0));
    let mut read = 0;
    while let Some(delivery) = spool.next(BootMs(0)) {
        spool.acknowledge(delivery.id, BootMs(0));
        read += 1;
    }
    read
}

/// A kernel that could not write back reports it once, marks the pages clean, and lets the next sync succeed. Who repeats the
/// sync believes that the data is safe; after a power cut it is not. The batch has to go into another file.
#[test]
fn a_failed_sync_is_never_repeated_on_the_same_file() {
    let disk = Simulated::new();
    let mut spool = open(&disk, 1, BootMs(0));
    let stream = spool.define("event", StreamPolicy::default()).unwrap();
    let _ = spool.append(stream, b"before".to_vec(), BootMs(0)).unwrap();
    spool.commit(BootMs(0));
    let files = disk.names().len();
    disk.fail(Fault { operation: Operation::Sync, after: 0, times: 1, kind: ErrorKind::Other });
    let _ = spool.append(stream, b"in doubt".to_vec(), BootMs(0)).unwrap();
    spool.commit(BootMs(0));
    assert!(spool.take_events().contains(&Event::Durable { stream, up_to: 2 }));
    assert_eq!(disk.names().len(), files + 1, "the batch is in a file of its own");
    drop(spool);
    disk.restart(Left::Nothing);
    assert_eq!(count(&disk), 2);
}

#[test]
fn a_disk_that_takes_nothing_degrades_the_spool_until_it_does() {
    let disk = Simulated::new();
    let mut spool = open(&disk, 1, BootMs(0));
    let stream = spool.define("log", StreamPolicy::default()).unwrap();
    spool.commit(BootMs(0));
    let _ = spool.take_events();
    disk.set_read_only(true);
    for n in 0..2000_u64 {
        let _ = spool.append(stream, vec![1; 1000], BootMs(n)).unwrap();
        if n % 100 == 0 {
            spool.commit(BootMs(n));
        }
    }
    let events = spool.take_events();
    assert!(events.iter().any(|event| matches!(event, Event::Degraded { .. })), "{events:?}");
    let gone = events.iter().find_map(|event| match event {
        Event::Dropped { fate: Fate::Storage, count, .. } => Some(count.records),
        _ => None,
    });
    let durable = Event::Durable { stream, up_to: gone.expect("the oldest made room in memory") };
    assert!(events.contains(&durable), "only what is gone counts as settled: {events:?}");
    let report = spool.report(BootMs(2000));
    assert!(report.degraded.is_some());
    let log = &report.streams[0];
    assert!(report.memory_bytes <= Options::default().memory_bytes as u64);
    law(log).unwrap();
    let held = log.held.records;

    disk.heal();
    spool.commit(BootMs(2001));
    assert!(spool.report(BootMs(2001)).degraded.is_some(), "not before the pause is over");
    spool.commit(BootMs(400_000));
    assert!(spool.take_events().contains(&Event::Recovered));
    drop(spool);
    disk.restart(Left::Nothing);
    assert_eq!(count(&disk) as u64, held);
}

#[test]
fn a_stream_that_refuses_says_so_when_memory_is_full_and_the_disk_gone() {
    let disk = Simulated::new();
    let mut spool = open(&disk, 1, BootMs(0));
    let rule = StreamPolicy { at_bound: spool::AtBound::Refuse, ..StreamPolicy::default() };
    let stream = spool.define("log", rule).unwrap();
    disk.set_read_only(true);
    let error = (0..5000)
        .find_map(|n| spool.append(stream, vec![1; 1000], BootMs(n)).err())
        .expect("memory is bounded");
    assert_eq!(error, AppendError::Degraded);
}

/// The file system is smaller than the budget says, or somebody else filled it.
#[test]
fn a_full_file_system_drops_by_the_rules_and_keeps_the_newest() {
    let disk = Simulated::new();
    disk.set_capacity(Some(2 * MIB));
    let mut spool = open(&disk, 1, BootMs(0));
    let stream = spool.define("log", StreamPolicy::default()).unwrap();
    for n in 0..6000_u64 {
        let _ = spool.append(stream, vec![1; 1000], BootMs(n)).unwrap();
        if n % 10 == 0 {
            spool.commit(BootMs(n * 1000));
        }
    }
    spool.commit(BootMs(10_000_000));
    let report = spool.report(BootMs(10_000_000));
    assert_eq!(report.degraded, None);
    let log = &report.streams[0];
    law(log).unwrap();
    assert!(log.held.records > 1000, "{log:?}");
    assert_eq!(log.counts.get(Fate::Lost).records, 0);
    let held = log.held.records;
    drop(spool);
    disk.restart(Left::Nothing);
    assert_eq!(count(&disk) as u64, held);
}

/// Delivering makes room on a full file system, and what waits for it does not wait for the longest pause.
#[test]
fn a_full_file_system_takes_data_again_soon_after_segments_have_left() {
    const LONG_AFTER: u64 = 10_000_000;
    let disk = Simulated::new();
    let mut spool = open(&disk, 1, BootMs(0));
    let rule = StreamPolicy { at_bound: spool::AtBound::Refuse, ..StreamPolicy::default() };
    let stream = spool.define("log", rule).unwrap();
    for n in 0..1000 {
        let _ = spool.append(stream, vec![1; 1000], BootMs(n)).unwrap();
        spool.commit(BootMs(n));
    }
    disk.set_capacity(Some(disk.used_bytes()));
    let _ = spool.append(stream, vec![2; 1000], BootMs(2000)).unwrap();
    for ms in (2000..LONG_AFTER).step_by(100_000) {
        spool.commit(BootMs(ms));
    }
    spool.commit(BootMs(LONG_AFTER));
    let degraded = spool.report(BootMs(LONG_AFTER)).degraded.expect("nothing has left");
    assert!(degraded.retry_in_ms > 10_000, "{degraded:?}");
    let files = disk.names().len();
    while let Some(delivery) = spool.next(BootMs(LONG_AFTER)) {
        spool.acknowledge(delivery.id, BootMs(LONG_AFTER));
    }
    let _ = spool.append(stream, vec![3; 1000], BootMs(LONG_AFTER)).unwrap();
    spool.commit(BootMs(LONG_AFTER + 1000));
    let report = spool.report(BootMs(LONG_AFTER + 1000));
    assert_eq!((report.degraded, report.streams[0].pending.records), (None, 0));
    assert!(disk.names().len() < files, "{:?}", disk.names());
}

#[test]
fn a_medium_that_became_read_only_is_still_read() {
    let disk = Simulated::new();
    let mut spool = open(&disk, 1, BootMs(0));
    let stream = spool.define("log", StreamPolicy::default()).unwrap();
    for n in 0..10 {
        let _ = spool.append(stream, vec![n; 100], BootMs(0)).unwrap();
    }
    let (disk, left) = spool.close(BootMs(0));
    assert_eq!(left, 0);
    disk.restart(Left::Nothing);
    disk.set_read_only(true);
    let mut spool = open(&disk, 2, BootMs(0));
    let mut read = 0;
    while let Some(delivery) = spool.next(BootMs(0)) {
        read += 1;
        spool.acknowledge(delivery.id, BootMs(0));
    }
    assert_eq!(read, 10);
    spool.commit(BootMs(0));
    assert!(spool.report(BootMs(0)).degraded.is_some());
}

/// A card pulled out answers nothing; what is in memory is kept, what is on the card comes back with it.
#[test]
fn reads_that_fail_are_tried_again_before_anything_is_given_up() {
    let disk = Simulated::new();
    let mut spool = open(&disk, 1, BootMs(0));
    let stream = spool.define("log", StreamPolicy::default()).unwrap();
    for n in 0..10 {
        let _ = spool.append(stream, vec![n; 100], BootMs(0)).unwrap();
    }
    spool.commit(BootMs(0));
    let name = disk.names().into_iter().find(|name| name.ends_with(".seg")).unwrap();
    disk.spoil(&name, 0..u64::MAX);
    assert_eq!(spool.next(BootMs(0)), None);
    assert_eq!(spool.next(BootMs(0)), None);
    disk.heal();
    assert_eq!(spool.next(BootMs(999)), None, "not before the pause is over");
    let read = std::iter::from_fn(|| spool.next(BootMs(1000))).count();
    assert_eq!(read, 10, "nothing was given up");
    assert_eq!(spool.report(BootMs(1000)).streams[0].counts.get(Fate::Lost).records, 0);
}

#[test]
fn the_daily_allowance_of_writes_holds_and_events_have_a_reserve() {
    const PER_DAY: u64 = 16 * MIB;
    let disk = Simulated::new();
    let session = Session { boot_id: [1; 16], epoch: 1, spool_id: 9 };
    let options = Options { write_bytes_per_day: Some(PER_DAY), ..options() };
    let mut spool = Spool::open(disk.clone(), options, session, BootMs(0)).unwrap();
    let bulk = spool.define("bulk", StreamPolicy::default()).unwrap();
    let urgent =
        spool.define("urgent", StreamPolicy { priority: 0, ..StreamPolicy::default() }).unwrap();
    let mut now = 0;
    for n in 0..24 * 360_u64 {
        now = n * 10_000;
        let _ = spool.append(bulk, vec![1; 10_000], BootMs(now)).unwrap();
        if n % 360 == 0 {
            let _ = spool.append(urgent, vec![2; 100], BootMs(now)).unwrap();
        }
        spool.commit(BootMs(now));
        if n % 360 == 0 {
            let report = spool.report(BootMs(now));
            let urgent = report.streams.iter().find(|stream| stream.tag == urgent).unwrap();
            assert_eq!(urgent.pending.records, 0, "an event waits at hour {}", n / 360);
        }
    }
    let written = disk.usage().written_bytes;
    assert!(written <= PER_DAY, "{written} bytes in a day");
    assert!(written > PER_DAY * 9 / 10, "{written} bytes of what was allowed");
    let report = spool.report(BootMs(now));
    let bulk = report.streams.iter().find(|stream| stream.tag == bulk).unwrap();
    assert!(bulk.counts.get(Fate::WriteBudget).records > 0);
    law(bulk).unwrap();
}

fn any_fault() -> impl Strategy<Value = Fault> {
    let operation = prop_oneof![
        Just(Operation::Append),
        Just(Operation::Sync),
        Just(Operation::SyncFolder),
        Just(Operation::Create),
        Just(Operation::Remove),
        Just(Operation::Rename),
        Just(Operation::Truncate),
        Just(Operation::Read),
        Just(Operation::Open),
        Just(Operation::List),
        Just(Operation::Lock),
    ];
    let kind = prop_oneof![
        Just(ErrorKind::Other),
        Just(ErrorKind::StorageFull),
        Just(ErrorKind::ReadOnlyFilesystem),
    ];
    (operation, 0..60_u64, 1..6_u64, kind).prop_map(|(operation, after, times, kind)| Fault {
        operation,
        after,
        times,
        kind,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any faults while a workload runs; then the disk is sound again and the power is cut. What was called durable is there.
    /// Only faults of reading may cost records, and those are counted.
    #[test]
    fn no_fault_costs_what_was_called_durable(
        workload in actions(20_000, 20..120),
        faults in proptest::collection::vec(any_fault(), 1..6),
        left in any::<u64>(),
    ) {
        let disk = Simulated::new();
        let reads = [Operation::Read, Operation::Open, Operation::List];
        let lossless = !faults.iter().any(|fault| {
            reads.contains(&fault.operation) || fault.kind == ErrorKind::StorageFull
        });
        let mut world = World::new(disk.clone(), options());
        faults.iter().for_each(|fault| disk.fail(*fault));
        for action in &workload {
            match action {
                Action::Commit => world.commit_for_sure(),
                other => world.act(other),
            }
            for stream in world.report().streams {
                if let Err(error) = law(&stream) {
                    prop_assert!(!lossless, "{}", error);
                }
            }
        }
        disk.heal();
        world.power_on(Left::Some(left));
        if lossless {
            world.check_recovered(true).map_err(TestCaseError::fail)?;
        } else {
            world.read_all().map_err(TestCaseError::fail)?;
        }
    }
}

/// The lock cannot be had, and not because somebody has it: what is there is read, nothing is changed, and writing begins
/// when the lock can be taken.
#[test]
fn without_the_lock_nothing_is_changed() {
    let disk = Simulated::new();
    let mut spool = open(&disk, 1, BootMs(0));
    let stream = spool.define("log", StreamPolicy::default()).unwrap();
    let _ = spool.append(stream, vec![1; 100], BootMs(0)).unwrap();
    spool.commit(BootMs(0));
    drop(spool);
    disk.restart(Left::Nothing);
    disk.set_contents("0000000001-0000000000000009.tmp", vec![1; 10]);
    let changes = disk.usage().changes;
    disk.fail(Fault { operation: Operation::Lock, after: 0, times: 3, kind: ErrorKind::Other });
    let mut spool = open(&disk, 2, BootMs(0));
    assert_eq!(spool.report(BootMs(0)).streams[0].held.records, 1);
    let _ = spool.append(stream, vec![2; 100], BootMs(0)).unwrap();
    spool.commit(BootMs(0));
    assert_eq!(disk.usage().changes - changes, 1, "only a sync of what is there");
    assert!(spool.report(BootMs(0)).degraded.is_some());
    spool.commit(BootMs(100_000));
    assert_eq!(spool.report(BootMs(100_000)).degraded, None);
    drop(spool);
    disk.restart(Left::Nothing);
    assert_eq!(count(&disk), 2);
}

/// A short delay of group commits is no pause between attempts on a disk that takes nothing.
#[test]
fn a_disk_that_takes_nothing_does_not_keep_the_thread_awake() {
    let disk = Simulated::new();
    let session = Session { boot_id: [1; 16], epoch: 1, spool_id: 5 };
    let mut spool = Spool::open(disk.clone(), Options::default(), session, BootMs(0)).unwrap();
    let stream = spool.define("log", StreamPolicy::default()).unwrap();
    spool.commit(BootMs(0));
    disk.set_read_only(true);
    let mut worker = Worker::new(spool, Duration::from_millis(10));
    let (mut now, mut turns) = (BootMs(0), 0);
    let reply = Box::new(|_| {});
    let _ = worker.append(stream, vec![1], Answer::Accepted, reply, now);
    while now < BootMs(60_000) {
        worker.turn(now, &mut |_| {});
        now = worker.due().max(now);
        turns += 1;
        assert!(turns <= 100, "woken {turns} times in {} ms", now.0);
    }
    disk.set_read_only(false);
    while worker.spool().report(now).streams[0].pending.records > 0 {
        now = worker.due().max(now);
        worker.turn(now, &mut |_| {});
    }
    assert!(now <= BootMs(60_000 + 300_000), "{now:?}");
}

/// A disk refused writes for hours while small records came in: those that made room in memory are remembered as gone, for half
/// written copies of them may come back. So many of them left no place in the window to hand out what was older, ever, for what
/// is gone is remembered until the older ones have left. Found by a simulated convoy.
#[test]
fn what_made_room_in_memory_does_not_block_what_is_older() {
    const OLD: usize = 600;
    let disk = Simulated::new();
    let mut spool = open(&disk, 1, BootMs(0));
    let stream = spool.define("visitor", StreamPolicy::default()).unwrap();
    for n in 0..OLD {
        let _ = spool.append(stream, vec![n as u8; 20], BootMs(0)).unwrap();
    }
    spool.commit(BootMs(0));
    disk.fail(Fault {
        operation: Operation::Sync,
        after: 0,
        times: u64::MAX,
        kind: ErrorKind::Other,
    });
    for n in 0..60_000_u64 {
        let _ = spool.append(stream, vec![1; 20], BootMs(n)).unwrap();
        if n % 1000 == 0 {
            spool.commit(BootMs(n * 1000));
        }
    }
    let storage = spool.report(BootMs(60_000_000)).streams[0].counts.get(Fate::Storage).records;
    assert!(storage > 2 * spool::limits::WINDOW_RECORDS_MAX as u64, "{storage}");
    disk.heal();
    spool.commit(BootMs(61_000_000));
    assert_eq!(spool.report(BootMs(61_000_000)).degraded, None);
    // As a broker that takes many at a time.
    let mut read = 0;
    loop {
        let some: Vec<_> = std::iter::from_fn(|| spool.next(BootMs(61_000_000))).collect();
        assert!(read > 0 || some.len() >= 500, "{} are handed out at once", some.len());
        if some.is_empty() {
            break;
        }
        read += some.len();
        for delivery in some {
            spool.acknowledge(delivery.id, BootMs(61_000_000));
        }
    }
    let report = spool.report(BootMs(61_000_000));
    assert_eq!(report.streams[0].held.records, 0, "{read} were read, {report:?}");
    law(&report.streams[0]).unwrap();
}

/// Records wait in memory for the day's allowance of a spool that is nearly full, and what is said beside them each time a few
/// may be written adds up. Found by a simulated convoy: one block more than the budget was on disk.
#[test]
fn the_budget_on_disk_holds_while_records_wait_for_the_allowance() {
    const BUDGET: u64 = MIB;
    let disk = Simulated::new();
    let session = Session { boot_id: [1; 16], epoch: 1, spool_id: 9 };
    let options =
        Options { budget_bytes: BUDGET, write_bytes_per_day: Some(16 * MIB), ..Options::default() };
    let mut spool = Spool::open(disk.clone(), options, session, BootMs(0)).unwrap();
    let at_bound = spool::AtBound::Refuse;
    let policy = StreamPolicy { priority: 0, at_bound, ..StreamPolicy::default() };
    let log = spool.define("log", policy).unwrap();
    // What could be saved up of the allowance is spent, but for what three quarters of the disk take.
    while spool.report(BootMs(0)).write_allowance.unwrap() > BUDGET * 3 / 4 {
        let _ = spool.append(log, vec![1; 5000], BootMs(0)).unwrap();
        spool.commit(BootMs(0));
        let delivery = spool.next_of(log, BootMs(0)).unwrap();
        spool.acknowledge(delivery.id, BootMs(0));
    }
    let mut most = 0;
    for n in 0..20_000_u64 {
        let now = BootMs(n * 1000);
        let _ = spool.append(log, vec![1; 1500], now);
        spool.commit(now);
        let report = spool.report(now);
        most = most.max(report.disk_bytes);
        assert!(report.disk_bytes <= BUDGET, "{} bytes after {n} s", report.disk_bytes);
        assert!(disk.used_bytes() <= BUDGET, "{} bytes after {n} s", disk.used_bytes());
    }
    assert!(most > BUDGET - BUDGET / 8, "{most} bytes is no full spool");
    let report = spool.report(BootMs(20_000_000));
    report.streams.iter().for_each(|stream| law(stream).unwrap());
}

/// A stream that refuses is full and goes on to be asked: nothing is written for the count of refusals alone.
#[test]
fn refusing_wears_no_flash() {
    let disk = Simulated::new();
    let session = Session { boot_id: [1; 16], epoch: 1, spool_id: 9 };
    let small = Options { budget_bytes: MIB, ..Options::default() };
    let mut spool = Spool::open(disk.clone(), small, session, BootMs(0)).unwrap();
    let refuse = StreamPolicy { at_bound: spool::AtBound::Refuse, ..StreamPolicy::default() };
    let stream = spool.define("log", refuse).unwrap();
    while spool.append(stream, vec![1; 5000], BootMs(0)).is_ok() {
        spool.commit(BootMs(0));
    }
    let before = disk.usage().changes;
    for n in 0..1000 {
        let _ = spool.append(stream, vec![1; 5000], BootMs(n)).unwrap_err();
        spool.commit(BootMs(n));
    }
    assert_eq!(disk.usage().changes, before);
    let (_, left) = spool.close(BootMs(1000));
    assert_eq!(left, 0);
    disk.release_lock();
    let mut spool = Spool::open(disk, small, session, BootMs(1000)).unwrap();
    let refused = spool.report(BootMs(1000)).streams[0].counts.get(Fate::Refused).records;
    assert_eq!(refused, 1001);
}
