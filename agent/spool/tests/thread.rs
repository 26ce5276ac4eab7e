//! A spool on its own thread: many writers, answers when they are true, bounds that say no, an end that loses nothing.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use spool::simulated::{Left, Simulated};
use spool::{
    Answer, AppendError, AtBound, BootMs, Event, OpenError, Options, Pace, Session, Spool,
    SpoolHandle, SpoolThread, StreamPolicy, StreamTag, Unsubmitted,
};

/// Longer than anything here takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn session(epoch: u32) -> Session {
    Session { boot_id: [1; 16], epoch, spool_id: 5 }
}

fn clock() -> impl Fn() -> BootMs + Send {
    let start = Instant::now();
    move || BootMs(u64::try_from(start.elapsed().as_millis()).unwrap())
}

fn start(disk: &Simulated, pace: Pace) -> (SpoolThread<Simulated>, mpsc::Receiver<Event>) {
    let (said, heard) = mpsc::channel();
    let events = move |event| {
        let _ = said.send(event);
    };
    let options = Options::default();
    let thread =
        SpoolThread::start(disk.clone(), options, session(1), pace, clock(), events).unwrap();
    (thread, heard)
}

/// Asks the spool on its thread and waits for what it says.
fn ask<T: Send + 'static>(
    handle: &SpoolHandle<Simulated>,
    question: impl FnOnce(&mut Spool<Simulated>, BootMs) -> T + Send + 'static,
) -> T {
    let (said, heard) = mpsc::channel();
    handle
        .run(move |spool, now| {
            let _ = said.send(question(spool, now));
        })
        .unwrap();
    heard.recv_timeout(PATIENCE).unwrap()
}

fn define(handle: &SpoolHandle<Simulated>, policy: StreamPolicy) -> StreamTag {
    ask(handle, move |spool, _| spool.define("log", policy).unwrap())
}

fn count(disk: &Simulated) -> u64 {
    disk.restart(Left::Nothing);
    let mut spool = Spool::open(disk.clone(), Options::default(), session(2), BootMs(0)).unwrap();
    spool.report(BootMs(0)).streams.iter().map(|stream| stream.held.records).sum()
}

/// The answer comes when the record is durable and not before: the power is cut right after it.
#[test]
fn ten_writers_are_answered_when_their_records_are_durable() {
    let disk = Simulated::new();
    let pace = Pace { commit_delay: Duration::from_millis(20), ..Pace::default() };
    let (thread, heard) = start(&disk, pace);
    let stream = define(&thread.handle(), StreamPolicy::default());
    let writers: Vec<_> = (0..10_u8)
        .map(|writer| {
            let handle = thread.handle();
            std::thread::spawn(move || {
                let (said, answers) = mpsc::channel();
                for n in 0..50_u8 {
                    let payload = vec![writer, n];
                    loop {
                        let said = said.clone();
                        let reply = move |answer| said.send(answer).unwrap();
                        match handle.append(stream, payload.clone(), Answer::Durable, reply) {
                            Ok(()) => break,
                            Err(Unsubmitted::Busy) => std::thread::yield_now(),
                            Err(Unsubmitted::Stopped) => panic!("it stopped"),
                        }
                    }
                }
                let answers = (0..50).map(|_| answers.recv_timeout(PATIENCE).unwrap().unwrap());
                answers.map(|accepted| accepted.id.sequence).collect::<Vec<u64>>()
            })
        })
        .collect();
    let mut all = BTreeSet::new();
    for writer in writers {
        let sequences = writer.join().unwrap();
        assert!(sequences.is_sorted(), "one writer's records keep their order");
        all.extend(sequences);
    }
    assert_eq!(all, (1..=500).collect());
    let syncs = disk.usage().syncs;
    assert!(syncs < 250, "{syncs} syncs: records that come together are synced together");
    // The thread is still there: what counts is only what the disk has now.
    assert_eq!(count(&disk), 500);
    drop(thread);
    let durable = heard.iter().filter(|event| matches!(event, Event::Durable { .. })).count();
    assert!(durable > 0);
}

#[test]
fn the_end_commits_and_says_what_could_not_be_written() {
    for read_only in [false, true] {
        let disk = Simulated::new();
        let pace = Pace { commit_delay: Duration::from_secs(3600), ..Pace::default() };
        let (thread, _heard) = start(&disk, pace);
        let handle = thread.handle();
        let stream = define(&handle, StreamPolicy::default());
        disk.set_read_only(read_only);
        let (said, answers) = mpsc::channel();
        for answer in [Answer::Accepted, Answer::Durable] {
            let said = said.clone();
            handle.append(stream, vec![1], answer, move |got| said.send(got).unwrap()).unwrap();
        }
        let accepted = answers.recv_timeout(PATIENCE).unwrap().unwrap();
        assert!(!accepted.durable);
        assert!(answers.try_recv().is_err(), "the other waits for its sync");
        assert_eq!(thread.close(), if read_only { 2 } else { 0 });
        let last = answers.recv_timeout(PATIENCE).unwrap();
        assert_eq!(last.is_ok(), !read_only, "{last:?}");
        assert_eq!(handle.commit(), Err(Unsubmitted::Stopped));
        disk.set_read_only(false);
        assert_eq!(count(&disk), if read_only { 0 } else { 2 });
    }
}

#[test]
fn a_full_queue_says_so_at_once() {
    let disk = Simulated::new();
    let pace = Pace { jobs_max: 4, bytes_max: 1000, ..Pace::default() };
    let (thread, _heard) = start(&disk, pace);
    let handle = thread.handle();
    let stream = define(&handle, StreamPolicy::default());
    // The thread is held up, so nothing is taken from the queue.
    let (go, wait) = mpsc::channel::<()>();
    let (at_work, begun) = mpsc::channel();
    handle
        .run(move |_, _| {
            at_work.send(()).unwrap();
            let _ = wait.recv();
        })
        .unwrap();
    begun.recv_timeout(PATIENCE).unwrap();
    let append = |size: usize| handle.append(stream, vec![0; size], Answer::Accepted, |_| {});
    assert_eq!(append(5000), Ok(()), "one is taken however large it is");
    assert_eq!(append(1), Err(Unsubmitted::Busy), "bytes");
    for _ in 0..3 {
        handle.commit().unwrap();
    }
    assert_eq!(handle.commit(), Err(Unsubmitted::Busy), "jobs");
    drop(go);
    let deadline = Instant::now() + PATIENCE;
    while append(1) == Err(Unsubmitted::Busy) {
        assert!(Instant::now() < deadline, "it never had room again");
        std::thread::yield_now();
    }
    assert_eq!(thread.close(), 0);
}

/// A record that made room in memory will never be durable, and whoever waits for it is told.
#[test]
fn who_waits_for_a_record_that_was_dropped_is_told() {
    let disk = Simulated::new();
    let (thread, _heard) = start(&disk, Pace { bytes_max: 64 << 20, ..Pace::default() });
    let handle = thread.handle();
    let stream =
        define(&handle, StreamPolicy { at_bound: AtBound::DropOldest, ..StreamPolicy::default() });
    disk.set_read_only(true);
    let answers = Arc::new(Mutex::new(Vec::new()));
    for _ in 0..20 {
        let answers = Arc::clone(&answers);
        let reply = move |answer| answers.lock().unwrap().push(answer);
        handle.append(stream, vec![0; 200_000], Answer::Durable, reply).unwrap();
    }
    let held = ask(&handle, |spool, now| spool.report(now).streams[0].held.records);
    let told = answers.lock().unwrap().clone();
    assert_eq!(told.len() as u64 + held, 20);
    assert!(told.iter().all(|answer| *answer == Err(AppendError::Degraded)), "{told:?}");
    assert!(held >= 1 && !told.is_empty());
    assert_eq!(thread.close(), held);
}

#[test]
fn a_spool_that_somebody_has_is_not_opened_on_a_thread_either() {
    let disk = Simulated::new();
    let (_thread, _heard) = start(&disk, Pace::default());
    let second = SpoolThread::start(
        disk.clone(),
        Options::default(),
        session(2),
        Pace::default(),
        clock(),
        |_| {},
    );
    assert!(matches!(second, Err(OpenError::Locked)));
}

/// Records expire while nothing else happens.
#[test]
fn records_expire_by_the_clock_that_was_given() {
    let disk = Simulated::new();
    let time = Arc::new(AtomicU64::new(1000));
    let hands = Arc::clone(&time);
    let read = move || BootMs(hands.load(Ordering::Relaxed));
    let thread = SpoolThread::start(
        disk.clone(),
        Options::default(),
        session(1),
        Pace::default(),
        read,
        |_| {},
    )
    .unwrap();
    let handle = thread.handle();
    let stream = define(&handle, StreamPolicy { expire_ms: 5_000, ..StreamPolicy::default() });
    let (said, heard) = mpsc::channel();
    handle
        .append(stream, vec![1], Answer::Accepted, move |answer| said.send(answer).unwrap())
        .unwrap();
    assert!(heard.recv_timeout(PATIENCE).unwrap().is_ok());
    time.store(100_000, Ordering::Relaxed);
    // Any job lets it look at the clock.
    ask(&handle, |_, _| ());
    let held = ask(&handle, |spool, now| spool.report(now).streams[0].held.records);
    assert_eq!(held, 0);
}
