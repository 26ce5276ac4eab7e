//! A spool on a thread of its own, behind a bounded channel, with group commit. Knows no async runtime: answers and events
//! are calls, made on the spool's thread, so they must be short and must not block. What the thread does between two jobs
//! is the [`Worker`]'s.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::error::{AppendError, OpenError};
use crate::options::{BootMs, Options, Session, StreamTag};
use crate::report::Event;
use crate::spool::{Accepted, Spool};
use crate::storage::Storage;
use crate::worker::{Answer, Reply, Worker};

/// When and how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Longest time from accepting a record to its sync. Longer is kinder to flash.
    pub commit_delay: Duration,
    /// Jobs that may wait.
    pub jobs_max: usize,
    /// Bytes of payloads that may wait.
    pub bytes_max: usize,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { commit_delay: Duration::from_secs(2), jobs_max: 256, bytes_max: 2 * 1024 * 1024 }
    }
}

/// A job was not taken. What it would have answered is never called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsubmitted {
    /// The queue is full. Helps to try again.
    Busy,
    /// The thread has ended.
    Stopped,
}

impl fmt::Display for Unsubmitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unsubmitted::Busy => "the spool has a full queue of work; try again shortly",
            Unsubmitted::Stopped => "the spool has ended; start the agent again",
        })
    }
}

impl std::error::Error for Unsubmitted {}

type Job<S> = Box<dyn FnOnce(&mut Spool<S>, BootMs) + Send>;

enum Command<S: Storage> {
    Append { stream: StreamTag, payload: Vec<u8>, answer: Answer, reply: Reply },
    Run(Job<S>),
    Commit,
    Close,
}

/// The way to a spool's thread. Cheap to clone.
pub struct SpoolHandle<S: Storage> {
    commands: SyncSender<Command<S>>,
    waiting_bytes: Arc<AtomicUsize>,
    bytes_max: usize,
}

impl<S: Storage> Clone for SpoolHandle<S> {
    fn clone(&self) -> SpoolHandle<S> {
        SpoolHandle {
            commands: self.commands.clone(),
            waiting_bytes: Arc::clone(&self.waiting_bytes),
            bytes_max: self.bytes_max,
        }
    }
}

impl<S: Storage> fmt::Debug for SpoolHandle<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpoolHandle").finish_non_exhaustive()
    }
}

impl<S: Storage> SpoolHandle<S> {
    /// Hands over a record; `reply` is called when `answer` says. Never blocks.
    ///
    /// # Errors
    /// The queue is full, or nobody is there.
    pub fn append(
        &self,
        stream: StreamTag,
        payload: Vec<u8>,
        answer: Answer,
        reply: impl FnOnce(Result<Accepted, AppendError>) + Send + 'static,
    ) -> Result<(), Unsubmitted> {
        let bytes = payload.len();
        let before = self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        // One record is taken however large it is, or it could never be.
        let result = if before > 0 && before + bytes > self.bytes_max {
            Err(Unsubmitted::Busy)
        } else {
            self.send(Command::Append { stream, payload, answer, reply: Box::new(reply) })
        };
        if result.is_err() {
            self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        result
    }

    /// Does something with the spool on its thread. Never blocks.
    ///
    /// # Errors
    /// The queue is full, or nobody is there.
    pub fn run(
        &self,
        job: impl FnOnce(&mut Spool<S>, BootMs) + Send + 'static,
    ) -> Result<(), Unsubmitted> {
        self.send(Command::Run(Box::new(job)))
    }

    /// Commits without waiting for the delay. Never blocks.
    ///
    /// # Errors
    /// The queue is full, or nobody is there.
    pub fn commit(&self) -> Result<(), Unsubmitted> {
        self.send(Command::Commit)
    }

    fn send(&self, command: Command<S>) -> Result<(), Unsubmitted> {
        self.commands.try_send(command).map_err(|error| match error {
            TrySendError::Full(_) => Unsubmitted::Busy,
            TrySendError::Disconnected(_) => Unsubmitted::Stopped,
        })
    }
}

/// A spool's thread. Dropping it commits and ends it.
pub struct SpoolThread<S: Storage> {
    handle: SpoolHandle<S>,
    thread: Option<JoinHandle<u64>>,
}

impl<S: Storage> fmt::Debug for SpoolThread<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpoolThread").finish_non_exhaustive()
    }
}

impl<S> SpoolThread<S>
where
    S: Storage + Send + 'static,
    S::File: Send,
{
    /// Opens a spool on a thread of its own; returns when it is open. `clock` is the boot clock; `events` hears what happens.
    ///
    /// # Errors
    /// As [`Spool::open`].
    pub fn start(
        storage: S,
        options: Options,
        session: Session,
        pace: Pace,
        clock: impl Fn() -> BootMs + Send + 'static,
        events: impl FnMut(Event) + Send + 'static,
    ) -> Result<SpoolThread<S>, OpenError> {
        let (commands, received) = sync_channel(pace.jobs_max.max(1));
        let (opened, when_opened) = sync_channel(1);
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&waiting_bytes);
        let body = move || {
            let spool = match Spool::open(storage, options, session, clock()) {
                Ok(spool) => {
                    let _ = opened.send(Ok(()));
                    spool
                }
                Err(error) => {
                    let _ = opened.send(Err(error));
                    return 0;
                }
            };
            let worker = Worker::new(spool, pace.commit_delay);
            work(worker, &received, &counter, clock, events)
        };
        let thread = std::thread::Builder::new()
            .name("spool".to_owned())
            .spawn(body)
            .map_err(OpenError::Thread)?;
        let thread = Some(thread);
        match when_opened.recv() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                let error = std::io::Error::other("it ended while it opened the spool");
                return Err(OpenError::Thread(error));
            }
        }
        let handle = SpoolHandle { commands, waiting_bytes, bytes_max: pace.bytes_max };
        Ok(SpoolThread { handle, thread })
    }
}

impl<S: Storage> SpoolThread<S> {
    /// The way to it.
    #[must_use]
    pub fn handle(&self) -> SpoolHandle<S> {
        self.handle.clone()
    }

    /// Commits and ends; the number of records that could not be written and are lost with the process.
    #[must_use]
    pub fn close(mut self) -> u64 {
        self.end()
    }

    fn end(&mut self) -> u64 {
        let Some(thread) = self.thread.take() else { return 0 };
        // Blocks while the queue is full; the thread works it off.
        let _ = self.handle.commands.send(Command::Close);
        thread.join().unwrap_or(0)
    }
}

impl<S: Storage> Drop for SpoolThread<S> {
    fn drop(&mut self) {
        self.end();
    }
}

/// The life of the thread; the number of records that could not be written and are lost with the process.
fn work<S: Storage>(
    mut worker: Worker<S>,
    received: &Receiver<Command<S>>,
    waiting_bytes: &AtomicUsize,
    clock: impl Fn() -> BootMs,
    mut events: impl FnMut(Event),
) -> u64 {
    loop {
        let wait = Duration::from_millis(worker.due().0.saturating_sub(clock().0));
        match received.recv_timeout(wait) {
            Ok(Command::Append { stream, payload, answer, reply }) => {
                waiting_bytes.fetch_sub(payload.len(), Ordering::Relaxed);
                worker.append(stream, payload, answer, reply, clock());
            }
            Ok(Command::Run(job)) => job(worker.spool(), clock()),
            Ok(Command::Commit) => worker.commit_soon(),
            Err(RecvTimeoutError::Timeout) => {}
            Ok(Command::Close) | Err(RecvTimeoutError::Disconnected) => {
                return worker.close(clock(), &mut events).1;
            }
        }
        worker.turn(clock(), &mut events);
    }
}
