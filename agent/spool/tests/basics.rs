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

/// Weeks without a link: the history has gaps, and they are even, from the oldest record to the newest.
#[test]
fn thinning_makes_history_coarser_instead_of_shorter() {
    let disk = Simulated::new();
    let mut spool = open(&disk, 1);
    let rule = StreamPolicy { at_bound: spool::AtBound::Thin, ..StreamPolicy::default() };
    let stream = spool.define("telemetry", rule).unwrap();
    const RECORDS: u64 = 8_000;
    for n in 1..=RECORDS {
        let _ = spool.append(stream, vec![n as u8; 1000], BootMs(n)).unwrap();
        if n % 5 == 0 {
            spool.commit(BootMs(n));
        }
        assert!(spool.report(BootMs(n)).disk_bytes <= MIB);
    }
    spool.commit(BootMs(RECORDS));
    let report = spool.report(BootMs(RECORDS)).streams.remove(0);
    assert_eq!(report.counts.get(Fate::Thinned).records + report.held.records, RECORDS);
    drop(spool);
    disk.restart(Left::Nothing);
    let mut spool = open(&disk, 2);
    let mut kept = Vec::new();
    while let Some(delivery) = spool.next(BootMs(0)) {
        assert_eq!(delivery.payload, vec![delivery.id.sequence as u8; 1000]);
        kept.push(delivery.id.sequence);
        spool.acknowledge(delivery.id, BootMs(0));
    }
    assert_eq!(kept.len() as u64, report.held.records);
    assert!(kept.len() > 400, "{} kept of a MiB", kept.len());
    let gaps: Vec<u64> = kept.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let coarsest = *gaps.iter().max().unwrap();
    assert!(kept[0] <= coarsest, "history begins at {}", kept[0]);
    assert!(coarsest <= 32, "a gap of {coarsest}: {gaps:?}");
}

/// A stream at its share drops its own oldest, in small steps, and leaves the others alone.
#[test]
fn a_share_is_kept_by_the_stream_itself() {
    let disk = Simulated::new();
    let mut spool = open(&disk, 1);
    let rule = StreamPolicy { share_permille: 100, ..StreamPolicy::default() };
    let greedy = spool.define("greedy", rule).unwrap();
    let other = spool.define("other", StreamPolicy { priority: 5, ..rule }).unwrap();
    let _ = spool.append(other, vec![1; 1000], BootMs(0)).unwrap();
    let mut least = u64::MAX;
    for n in 1..=2000_u64 {
        let _ = spool.append(greedy, vec![2; 1000], BootMs(n)).unwrap();
        if n % 10 == 0 {
            spool.commit(BootMs(n));
        }
        let report = spool.report(BootMs(n));
        let held = report.streams.iter().find(|stream| stream.tag == greedy).unwrap().held;
        assert!(held.bytes + held.records * 36 <= MIB / 10, "{held:?}");
        if n > 200 {
            least = least.min(held.records);
        }
    }
    assert!(least > 75, "down to {least} records of about 100");
    let report = spool.report(BootMs(0));
    let other = report.streams.iter().find(|stream| stream.tag == other).unwrap();
    assert_eq!(other.held.records, 1);
}

#[test]
fn records_of_every_size_are_taken_or_refused_with_the_size_that_fits() {
    let disk = Simulated::new();
    let session = Session { boot_id: [1; 16], epoch: 1, spool_id: 1 };
    let mut spool = Spool::open(disk.clone(), Options::default(), session, BootMs(0)).unwrap();
    let stream = spool.define("files", StreamPolicy::default()).unwrap();
    let bytes_max = spool::limits::RECORD_BYTES_MAX;
    let sizes = [0, 1, 65_535, 65_536, MIB as usize, bytes_max];
    for size in sizes {
        let _ = spool.append(stream, vec![9; size], BootMs(0)).unwrap();
    }
    let bytes = bytes_max + 1;
    let too_large = spool.append(stream, vec![9; bytes], BootMs(0));
    assert_eq!(too_large, Err(AppendError::TooLarge { bytes, bytes_max }));
    spool.commit(BootMs(0));
    drop(spool);
    disk.restart(Left::Nothing);
    let mut spool = Spool::open(disk, Options::default(), session, BootMs(0)).unwrap();
    let found = drain(&mut spool);
    assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), sizes);
    let refused = spool.report(BootMs(0)).streams[0].counts.get(Fate::Refused);
    assert_eq!((refused.records, refused.bytes), (1, bytes as u64));
    assert_eq!(
        spool.append(spool::StreamTag(1), vec![], BootMs(0)),
        Err(AppendError::UnknownStream)
    );
}
