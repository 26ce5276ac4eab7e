//! The durable queue on its own thread, as the loop sees it: opened in the background, so that a large or damaged spool never
//! delays the start; its events merged, so that a slow loop misses none; closed with everything written.
//!
//! It decides nothing about records. Whoever brings some uses the [`Intake`]; whoever sends them uses the handle.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use spool::limits::NEWEST_MS;
use spool::{
    AtBound, BootMs, Count, Event, Fate, Files, OpenError, Options, Pace, Report, Session,
    SpoolHandle, SpoolThread, StreamPolicy, StreamTag,
};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout};

use super::clock;
use super::gather::Intake;
use crate::config::{Priority, Spool as SpoolConfig, Stream, WhenFull};
use crate::core::telemetry::BootId;
use crate::core::time::millis;

/// Pause between two reports of the spool. They are what page, metrics and status show.
const REPORT_EVERY: Duration = Duration::from_secs(2);

/// Pause between attempts to open a spool that another process has, or whose disk would not read.
const OPEN_AGAIN: Duration = Duration::from_secs(5);

/// How long closing may take. A hung disk is left behind then: a service manager kills after 90 s (systemd.service(5),
/// `TimeoutStopSec=`), and the rest of the ending needs its time, too.
const CLOSE_WITHIN: Duration = Duration::from_secs(20);

/// Waiting records in memory: as in [`Pace`], and their bytes as configured for the spool.
const JOBS_MAX: usize = 256;

/// A configured spool. Dropping it writes what is in memory and closes it.
#[derive(Debug)]
pub struct SpoolKeeper {
    shared: Arc<Shared>,
    intake: Intake,
    report_at: Instant,
}

/// What happened to the spool since it was last asked.
#[derive(Debug, Default)]
pub struct News {
    /// It was opened, or could not be.
    pub opened: Option<Result<(), String>>,
    /// Declared streams that the spool cannot have, and why. It is open for the others.
    pub refused_streams: BTreeMap<String, String>,
    /// Everything of these streams up to a sequence number is durable or gone.
    pub durable: BTreeMap<StreamTag, u64>,
    /// Records that nobody acknowledged are gone.
    pub dropped: BTreeMap<(StreamTag, Fate), Count>,
    /// Bytes that are not what was written.
    pub damaged_bytes: u64,
    /// The disk stopped or began to take data.
    pub health_changed: bool,
    /// How it is.
    pub report: Option<Box<Report>>,
}

impl News {
    fn is_empty(&self) -> bool {
        self.opened.is_none()
            && self.refused_streams.is_empty()
            && self.durable.is_empty()
            && self.dropped.is_empty()
            && self.damaged_bytes == 0
            && !self.health_changed
            && self.report.is_none()
    }

    fn take_in(&mut self, event: Event) {
        match event {
            Event::Durable { stream, up_to } => _ = self.durable.insert(stream, up_to),
            Event::Dropped { stream, fate, count } => {
                let sum = self.dropped.entry((stream, fate)).or_default();
                sum.records += count.records;
                sum.bytes += count.bytes;
            }
            Event::Degraded { .. } | Event::Recovered => self.health_changed = true,
            Event::Damaged { bytes } => self.damaged_bytes += bytes,
        }
    }
}

/// Between the loop, the thread that opens, and the spool's own.
#[derive(Debug)]
struct Shared {
    news: Mutex<News>,
    wake: Notify,
    thread: Mutex<Option<SpoolThread<Files>>>,
    closing: AtomicBool,
    /// Records in memory as of the last report.
    unsynced: AtomicU64,
}

impl Shared {
    fn tell(&self, change: impl FnOnce(&mut News)) {
        change(&mut lock(&self.news));
        self.wake.notify_one();
    }
}

/// What is behind these locks is valid after any interrupted change.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SpoolKeeper {
    /// Begins to open the spool; [`News::opened`] tells how that went. `None` when none is configured.
    #[must_use]
    pub fn open(config: &SpoolConfig, streams: &[Stream], boot: BootId) -> Option<SpoolKeeper> {
        let folder = config.folder.clone()?;
        let intake = Intake::new(boot, config, streams);
        let shared = Arc::new(Shared {
            news: Mutex::default(),
            wake: Notify::new(),
            thread: Mutex::new(None),
            closing: AtomicBool::new(false),
            unsynced: AtomicU64::new(0),
        });
        let opener = Opener {
            folder,
            options: options(config),
            pace: pace(config),
            boot,
            intake: intake.clone(),
            shared: Arc::clone(&shared),
        };
        let started = std::thread::Builder::new()
            .name("spool-open".to_owned())
            .spawn(move || opener.run())
            .map(drop);
        if let Err(error) = started {
            let reason = format!("cannot start a thread to open it: {error}");
            intake.close(&reason);
            shared.tell(|news| news.opened = Some(Err(reason)));
        }
        Some(SpoolKeeper { shared, intake, report_at: Instant::now() })
    }

    /// Where records are handed in.
    #[must_use]
    pub fn intake(&self) -> &Intake {
        &self.intake
    }

    /// The way to the spool, once it is open.
    #[must_use]
    pub fn handle(&self) -> Option<SpoolHandle<Files>> {
        lock(&self.shared.thread).as_ref().map(SpoolThread::handle)
    }

    /// What happens next; reports come regularly. Cancel safe.
    pub async fn next(&mut self) -> News {
        loop {
            let news = std::mem::take(&mut *lock(&self.shared.news));
            if !news.is_empty() {
                return news;
            }
            tokio::select! {
                () = self.shared.wake.notified() => {}
                () = tokio::time::sleep_until(self.report_at) => {
                    self.report_at = Instant::now() + REPORT_EVERY;
                    self.ask_for_report();
                }
            }
        }
    }

    /// Asks for a report before it is time for one.
    pub fn ask_for_report(&self) {
        let Some(handle) = self.handle() else { return };
        let shared = Arc::clone(&self.shared);
        // A queue that is full or gone has none now; the next time is near.
        let _ = handle.run(move |spool, now| {
            let report = Box::new(spool.report(now));
            let unsynced = report.streams.iter().map(|stream| stream.pending.records).sum();
            shared.unsynced.store(unsynced, Ordering::Relaxed);
            shared.tell(|news| news.report = Some(report));
        });
    }

    /// Takes no more records, writes what is in memory and lets go of the folder. The number of records that could not be
    /// written and are lost with the process. A disk that does not answer is waited for 20 s; the number is then
    /// that of the last report.
    pub async fn close(self) -> u64 {
        self.close_within(CLOSE_WITHIN).await
    }

    async fn close_within(self, patience: Duration) -> u64 {
        self.shared.closing.store(true, Ordering::Relaxed);
        self.intake.close("the agent is stopping");
        let Some(thread) = lock(&self.shared.thread).take() else { return 0 };
        let unsynced = self.shared.unsynced.load(Ordering::Relaxed);
        let (done, closed) = oneshot::channel();
        // Not one of the runtime's threads: it would wait for them at its end.
        let closer = std::thread::Builder::new().name("spool-close".to_owned());
        let started = closer.spawn(move || {
            // Nobody may wait any more.
            let _ = done.send(thread.close());
        });
        if let Err(error) = started {
            tracing::warn!("cannot start a thread to close the spool: {error}");
        }
        match timeout(patience, closed).await {
            Ok(closed) => closed.unwrap_or(unsynced),
            Err(_) => {
                tracing::warn!(
                    "the disk of the spool did not answer for {} s; left it with {unsynced} records in memory",
                    patience.as_secs()
                );
                unsynced
            }
        }
    }
}

/// Opens the spool on a thread of its own.
struct Opener {
    folder: PathBuf,
    options: Options,
    pace: Pace,
    boot: BootId,
    intake: Intake,
    shared: Arc<Shared>,
}

impl Opener {
    fn run(mut self) {
        let mut unread_since = None;
        while !self.shared.closing.load(Ordering::Relaxed) {
            let error = match self.attempt() {
                Ok(thread) => return self.hand_over(thread),
                Err(error) => error,
            };
            let reason = explain(&error, &self.folder);
            self.intake.close(&reason);
            self.shared.tell(|news| news.opened = Some(Err(reason)));
            match error {
                OpenError::Locked => {}
                OpenError::Unreadable(_) => {
                    let now = clock::now().mono;
                    let unread = now.since(*unread_since.get_or_insert(now));
                    self.options.without_newest = unread >= Duration::from_millis(NEWEST_MS);
                }
                OpenError::Options(_) | OpenError::Thread(_) => return,
            }
            std::thread::sleep(OPEN_AGAIN);
        }
    }

    fn attempt(&self) -> Result<SpoolThread<Files>, OpenError> {
        let (shared, intake) = (Arc::clone(&self.shared), self.intake.clone());
        let session = Session { boot_id: self.boot.0, epoch: random_u32(), spool_id: random_u64() };
        SpoolThread::start(
            Files::new(&self.folder),
            self.options,
            session,
            self.pace,
            || BootMs(clock::now().mono.millis()),
            move |event| {
                match &event {
                    Event::Degraded { .. } => intake.set_degraded(true),
                    Event::Recovered => intake.set_degraded(false),
                    Event::Durable { .. } | Event::Dropped { .. } | Event::Damaged { .. } => {}
                }
                shared.tell(|news| news.take_in(event));
            },
        )
    }

    /// Declares the streams and lets records in.
    fn hand_over(self, thread: SpoolThread<Files>) {
        let Opener { intake, shared, .. } = self;
        let handle = thread.handle();
        let for_intake = handle.clone();
        *lock(&shared.thread) = Some(thread);
        let told = Arc::clone(&shared);
        let declared = handle.run(move |spool, now| {
            let refused_streams = intake.open(for_intake, spool, now);
            let report = spool.report(now);
            told.tell(|news| {
                news.report = Some(Box::new(report));
                news.opened = Some(Ok(()));
                news.refused_streams = refused_streams;
            });
        });
        debug_assert!(declared.is_ok(), "nobody else has the handle yet");
        if shared.closing.load(Ordering::Relaxed) {
            drop(lock(&shared.thread).take());
        }
    }
}

fn options(config: &SpoolConfig) -> Options {
    Options {
        budget_bytes: config.size,
        memory_bytes: config.memory,
        write_bytes_per_day: config.writes_per_day,
        without_newest: false,
    }
}

fn pace(config: &SpoolConfig) -> Pace {
    Pace { commit_delay: config.sync_delay, jobs_max: JOBS_MAX, bytes_max: config.memory }
}

/// How the spool treats a stream that is configured like this.
#[must_use]
pub fn policy(stream: &Stream) -> StreamPolicy {
    StreamPolicy {
        priority: match stream.priority {
            Priority::Event => 0,
            Priority::Normal => 1,
            Priority::Bulk => 2,
        },
        at_bound: match stream.when_full {
            WhenFull::DropOldest => AtBound::DropOldest,
            WhenFull::Refuse => AtBound::Refuse,
            WhenFull::Thin => AtBound::Thin,
        },
        share_permille: u16::from(stream.share) * 10,
        expire_ms: stream.expire.map_or(0, millis),
        sync: stream.sync,
    }
}

fn explain(error: &OpenError, folder: &Path) -> String {
    let folder = folder.display();
    match error {
        OpenError::Locked => format!(
            "another process, perhaps another outrider, uses the spool in {folder}; stop it, or set another \
             `folder` in section `[spool]`; until then nothing is gathered here"
        ),
        OpenError::Unreadable(_) => format!(
            "the disk does not read the spool in {folder} ({error}); it is tried again every {} s and nothing is \
             given up; look at the medium and the kernel's log; until then nothing is gathered here",
            OPEN_AGAIN.as_secs()
        ),
        OpenError::Options(_) | OpenError::Thread(_) => {
            format!("cannot open the spool in {folder}: {error}")
        }
    }
}

/// From the random source that TLS brings along. A machine without one has no TLS either; the epoch then follows the boot
/// clock, which differs at each start.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let source = rustls::crypto::ring::default_provider().secure_random;
    if source.fill(&mut bytes).is_err() {
        let nanoseconds = clock::now().mono.since(Default::default()).as_nanos().to_le_bytes();
        for (byte, from) in bytes.iter_mut().zip(nanoseconds) {
            *byte = from;
        }
    }
    bytes
}

fn random_u32() -> u32 {
    u32::from_le_bytes(random())
}

fn random_u64() -> u64 {
    u64::from_le_bytes(random())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn keeper(folder: &Path) -> SpoolKeeper {
        let config = SpoolConfig {
            folder: Some(folder.to_owned()),
            size: 8 << 20,
            memory: 2 << 20,
            writes_per_day: None,
            sync_delay: Duration::from_millis(20),
            undeclared_max: 8,
        };
        SpoolKeeper::open(&config, &[], BootId([1; 16])).expect("a folder is configured")
    }

    async fn opened(keeper: &mut SpoolKeeper) -> Result<(), String> {
        loop {
            if let Some(opened) = keeper.next().await.opened {
                return opened;
            }
        }
    }

    #[tokio::test]
    async fn a_disk_that_hangs_does_not_hold_up_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let mut keeper = keeper(folder.path());
        opened(&mut keeper).await.unwrap();
        let (release, hang) = mpsc::channel::<()>();
        let handle = keeper.handle().unwrap();
        // As a sync that does not return.
        handle.run(move |_, _| _ = hang.recv()).unwrap();
        keeper.shared.unsynced.store(3, Ordering::Relaxed);
        assert_eq!(keeper.close_within(Duration::from_millis(50)).await, 3);
        drop(release);
    }

    /// Memory of a process where nothing is mapped answers reads as a bad disk does.
    #[tokio::test]
    async fn a_disk_that_does_not_read_is_asked_again_and_nothing_is_begun_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let segment = folder.path().join("0000000007-00000000000000aa.seg");
        std::os::unix::fs::symlink("/proc/self/mem", &segment).unwrap();
        let mut keeper = keeper(folder.path());
        let reason = opened(&mut keeper).await.unwrap_err();
        assert!(reason.contains("does not read") && reason.contains("0000000007"), "{reason}");
        let files = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(files, 2, "the segment and the lock");
        std::fs::remove_file(&segment).unwrap();
        while opened(&mut keeper).await.is_err() {}
        assert_eq!(keeper.close().await, 0);
    }

    #[tokio::test]
    async fn a_disk_that_answers_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let mut keeper = keeper(folder.path());
        opened(&mut keeper).await.unwrap();
        keeper.shared.unsynced.store(3, Ordering::Relaxed);
        assert_eq!(keeper.close().await, 0);
    }
}
