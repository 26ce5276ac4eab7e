//! What everybody who uses a spool relies on, step by step on a simulated disk.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use spool::simulated::{Left, Simulated};
use spool::{
    Acknowledgement, AppendError, BootMs, Event, Fate, OpenError, Options, Session, Spool,
    StreamPolicy,
};

const MIB: u64 = 1024 * 1024;

fn options() -> Options {
    Options { budget_bytes: MIB, ..Options::default() }
}

fn open(disk: &Simulated, epoch: u32) -> Spool<Simulated> {
    let session = Session { boot_id: [1; 16], epoch, spool_id: 0xABCD };
    Spool::open(disk.clone(), options(), session, BootMs(0)).unwrap()
}

fn drain(spool: &mut Spool<Simulated>) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| spool.next(BootMs(0))).map(|delivery| delivery.payload).collect()
}

#[test]
fn what_was_committed_is_there_after_the_power_went() {
    let disk = Simulated::new();
    let mut spool = open(&disk, 1);
    let stream = spool.define("event", StreamPolicy::default()).unwrap();
    for text in ["first", "", "third"] {
        let accepted = spool.append(stream, text.into(), BootMs(5)).unwrap();
        assert!(!accepted.durable);
    }
    assert_eq!(spool.take_events(), []);
    spool.commit(BootMs(5));
    assert_eq!(spool.take_events(), [Event::Durable { stream, up_to: 3 }]);
    let _ = spool.append(stream, b"never committed".to_vec(), BootMs(6)).unwrap();
    drop(spool);
    disk.restart(Left::Nothing);

    let mut spool = open(&disk, 2);
    assert_eq!(drain(&mut spool), [b"first".to_vec(), Vec::new(), b"third".to_vec()]);
    let report = spool.report(BootMs(0));
    assert_eq!(report.streams[0].name.as_ref().unwrap().as_str(), "event");
    assert_eq!(report.streams[0].held.records, 3);
    assert_eq!(report.streams[0].next_sequence, 4, "the lost one may give its number again");
}

#[test]
fn a_record_is_freed_by_the_acknowledgement_of_exactly_its_name() {
    let disk = Simulated::new();
    let mut spool = open(&disk, 7);
    let stream = spool.define("event", StreamPolicy::default()).unwrap();
    let ids: Vec<_> =
        (0..5_u8).map(|n| spool.append(stream, vec![n], BootMs(0)).unwrap().id).collect();
    spool.commit(BootMs(0));
    assert_eq!(
        spool.acknowledge(ids[0], BootMs(0)),
        Acknowledgement::Unknown,
        "nobody has it: it was not handed out"
    );
    assert_eq!(drain(&mut spool).len(), 5);
    let wrong_epoch = spool::RecordId { epoch: 8, ..ids[0] };
    assert_eq!(spool.acknowledge(wrong_epoch, BootMs(0)), Acknowledgement::Unknown);
    let never_sent = spool::RecordId { sequence: 99, ..ids[0] };
    assert_eq!(spool.acknowledge(never_sent, BootMs(0)), Acknowledgement::Unknown);
    for id in [ids[3], ids[0]] {
        assert_eq!(spool.acknowledge(id, BootMs(0)), Acknowledgement::Freed);
        assert_eq!(spool.acknowledge(id, BootMs(0)), Acknowledgement::Gone, "twice");
    }
    spool.commit(BootMs(0));
    drop(spool);
    disk.restart(Left::Nothing);

    let mut spool = open(&disk, 8);
    let left: Vec<_> = std::iter::from_fn(|| spool.next(BootMs(0))).collect();
    let names: Vec<_> = left.iter().map(|delivery| delivery.id).collect();
    assert_eq!(names, [ids[1], ids[2], ids[4]], "they keep the epoch they were given");
    for delivery in left {
        spool.acknowledge(delivery.id, BootMs(0));
    }
    assert_eq!(spool.report(BootMs(0)).streams[0].held.records, 0);
    assert_eq!(spool.report(BootMs(0)).streams[0].counts.get(Fate::Acknowledged).records, 5);
}

#[test]
fn what_is_acknowledged_before_its_commit_is_never_written() {
    let disk = Simulated::new();
    let mut spool = open(&disk, 1);
    let stream = spool.define("live", StreamPolicy::default()).unwrap();
    spool.commit(BootMs(0));
    let before = disk.usage().written_bytes;
    for _ in 0..100 {
        let _ = spool.append(stream, vec![7; 1000], BootMs(0)).unwrap();
        let delivery = spool.next(BootMs(0)).unwrap();
        assert_eq!(spool.acknowledge(delivery.id, BootMs(0)), Acknowledgement::Freed);
    }
    spool.commit(BootMs(0));
    let written = disk.usage().written_bytes - before;
    assert!(written < 500, "{written} bytes for 100 records of 1000 bytes that had left");
}

#[test]
fn a_full_spool_stays_within_its_budget_and_keeps_the_newest() {
    let disk = Simulated::new();
    let mut spool = open(&disk, 1);
    let stream = spool.define("bulk", StreamPolicy::default()).unwrap();
    for n in 0..3000_u32 {
        let mut payload = vec![0; 1000];
        payload[..4].copy_from_slice(&n.to_le_bytes());
        let _ = spool.append(stream, payload, BootMs(0)).unwrap();
        if n % 7 == 0 {
            spool.commit(BootMs(0));
        }
        let used = spool.report(BootMs(0)).disk_bytes;
        assert!(used <= MIB, "{used} bytes after {n}");
    }
    let report = spool.report(BootMs(0)).streams.remove(0);
    let dropped = report.counts.get(Fate::Full).records;
    assert_eq!(dropped + report.held.records, 3000);
    assert!(report.held.records > 750, "{} are held of a MiB", report.held.records);
    let first = spool.next(BootMs(0)).unwrap();
    assert_eq!(first.id.sequence, dropped + 1, "the oldest went");
}

#[test]
fn a_stream_that_refuses_keeps_what_it_has() {
    let disk = Simulated::new();
    let mut spool = open(&disk, 1);
    let rule = StreamPolicy { at_bound: spool::AtBound::Refuse, ..StreamPolicy::default() };
    let stream = spool.define("log", rule).unwrap();
    let mut accepted = 0_u64;
    let error = loop {
        match spool.append(stream, vec![1; 5000], BootMs(0)) {
            Ok(_) => accepted += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error, AppendError::Full);
    spool.commit(BootMs(0));
    assert_eq!(spool.report(BootMs(0)).streams[0].held.records, accepted);
    while let Some(delivery) = spool.next(BootMs(0)) {
        spool.acknowledge(delivery.id, BootMs(0));
    }
    spool.commit(BootMs(0));
    assert!(spool.report(BootMs(0)).disk_bytes < 200_000, "space comes back");
    assert!(spool.append(stream, vec![1; 5000], BootMs(0)).is_ok());
}

#[test]
fn two_processes_do_not_share_a_spool() {
    let disk = Simulated::new();
    let _first = open(&disk, 1);
    let session = Session { boot_id: [1; 16], epoch: 2, spool_id: 1 };
    let second = Spool::open(disk.clone(), options(), session, BootMs(0));
    assert!(matches!(second, Err(OpenError::Locked)));
}

#[test]
fn most_important_first_and_rewound_when_the_connection_is_gone() {
    let disk = Simulated::new();
    let mut spool = open(&disk, 1);
    let bulk = spool.define("bulk", StreamPolicy::default()).unwrap();
    let urgent =
        spool.define("urgent", StreamPolicy { priority: 0, ..StreamPolicy::default() }).unwrap();
    for (stream, text) in [(bulk, "b1"), (bulk, "b2"), (urgent, "u1"), (bulk, "b3"), (urgent, "u2")]
    {
        let _ = spool.append(stream, text.into(), BootMs(0)).unwrap();
        spool.commit(BootMs(0));
    }
    let order = ["u1", "u2", "b1", "b2", "b3"].map(|text| text.as_bytes().to_vec());
    assert_eq!(drain(&mut spool), order);
    assert_eq!(drain(&mut spool).len(), 0);
    spool.rewind();
    assert_eq!(drain(&mut spool), order);
}

/// The reader had passed the end of the tail, looking for a record that was gone, when more was committed there. It has to
/// look again; once it did not, the floor rose past records that nobody had been given.
#[test]
fn what_is_committed_behind_the_reader_is_still_handed_out() {
    let disk = Simulated::new();
    let mut spool = open(&disk, 1);
    let stream = spool.define("event", StreamPolicy::default()).unwrap();
    let append = |spool: &mut Spool<Simulated>, text: &str| {
        spool.append(stream, text.into(), BootMs(0)).unwrap().id
    };
    let first = append(&mut spool, "1");
    let second = append(&mut spool, "2");
    spool.commit(BootMs(0));
    assert_eq!(drain(&mut spool).len(), 2);
    spool.acknowledge(second, BootMs(0));
    append(&mut spool, "3");
    append(&mut spool, "4");
    spool.rewind();
    let out: Vec<_> = (0..2).map(|_| spool.next(BootMs(0)).unwrap()).collect();
    assert_eq!(out[0].id, first);
    assert_eq!(out[1].payload, b"3");
    spool.commit(BootMs(0));
    append(&mut spool, "5");
    let rest: Vec<_> = std::iter::from_fn(|| spool.next(BootMs(0))).collect();
    assert_eq!(rest.iter().map(|d| &d.payload[..]).collect::<Vec<_>>(), [b"4", b"5"]);
    for delivery in out.iter().chain(&rest) {
        assert_eq!(spool.acknowledge(delivery.id, BootMs(0)), Acknowledgement::Freed);
    }
    let report = spool.report(BootMs(0)).streams.remove(0);
    assert_eq!((report.held.records, report.counts.get(Fate::Acknowledged).records), (0, 5));
}
