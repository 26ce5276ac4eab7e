//! The one door to the durable queue: finds the stream, puts boot, time and content type in front of a payload, hands it over
//! and says what became of it. Cheap to clone; usable before the queue is open and after it was closed, when it refuses.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use spool::{
    Accepted, Answer, AppendError, BootMs, Files, OptionsError, RecordId, SpoolHandle,
    StreamPolicy, StreamTag, Unsubmitted, limits,
};
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::time::{Instant, sleep, timeout_at};

use crate::config::{self, Stream};
use crate::core::record::stored::{STORED_OVERHEAD_BYTES_MAX, store};
use crate::core::record::{Stamp, check_stream_name};
use crate::core::telemetry::BootId;
use crate::shell::clock;
use crate::shell::spool::policy;

/// How long a record waits for a place in the queue of the spool's thread. The thread needs milliseconds for a place, unless
/// the disk is slow: an SD card that cleans up takes seconds.
const PLACE_WITHIN: Duration = Duration::from_secs(10);

/// First pause between two attempts to get a place, doubled up to the second.
const PLACE_PAUSE: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(100)];

/// Records that wait for their receipt, of all sources. Each takes some 200 bytes beside its payload until the next sync.
const WAITING_MAX: usize = 16 * 1024;

/// When the source gets its receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// When the record is safe from a power cut.
    Durable,
    /// When it is in the queue; a power cut may still take it.
    Accepted,
}

/// A stream that was found.
#[derive(Clone, Debug)]
pub struct Target {
    tag: StreamTag,
    handle: SpoolHandle<Files>,
}

/// What the queue said of several records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Numbering of the sequences.
    pub epoch: u32,
    /// Lowest sequence.
    pub first: Option<u64>,
    /// Highest sequence. Between the two may be records of others.
    pub last: Option<u64>,
    /// Records that were taken.
    pub records: u64,
}

impl Tally {
    /// One more was taken.
    pub fn add(&mut self, id: RecordId) {
        self.epoch = id.epoch;
        self.first = Some(self.first.map_or(id.sequence, |first| first.min(id.sequence)));
        self.last = self.last.max(Some(id.sequence));
        self.records += 1;
    }
}

/// What becomes of the records of one request: those that were taken, up to the first that was not.
#[derive(Clone, Debug, Default)]
pub struct Receipts(Arc<Expected>);

#[derive(Debug, Default)]
struct Expected {
    progress: Mutex<Progress>,
    changed: Notify,
}

/// A refusal is answered at once, durability only with the next sync, so answers overtake each other.
#[derive(Debug, Default)]
struct Progress {
    /// Records that are expected.
    expected: u64,
    /// Of these, in their order, how many have answered.
    answered: u64,
    /// Answers that have overtaken others, by the number of their record.
    ahead: BTreeMap<u64, Result<RecordId, Refused>>,
    tally: Tally,
    refused: Option<Refused>,
    refusals: bool,
}

impl Progress {
    fn take_in(&mut self, number: u64, result: Result<RecordId, Refused>) {
        self.refusals |= result.is_err();
        self.ahead.insert(number, result);
        while let Some(result) = self.ahead.remove(&self.answered) {
            self.answered += 1;
            match result {
                // Behind a gap nothing counts: the source goes on with the record that is missing.
                Ok(id) if self.refused.is_none() => self.tally.add(id),
                Ok(_) => {}
                Err(refused) => _ = self.refused.get_or_insert(refused),
            }
        }
    }
}

impl Receipts {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.0.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What one more record answers to.
    pub fn expect_one(&self) -> impl FnOnce(Result<RecordId, Refused>) + Clone + Send + 'static {
        let mut progress = self.progress();
        let number = progress.expected;
        progress.expected += 1;
        drop(progress);
        let receipts = self.clone();
        move |result| {
            receipts.progress().take_in(number, result);
            receipts.0.changed.notify_one();
        }
    }

    /// The record that was expected last was not handed over.
    pub fn expect_one_less(&self) {
        self.progress().expected -= 1;
    }

    /// Whether a record was refused.
    #[must_use]
    pub fn refused(&self) -> bool {
        self.progress().refusals
    }

    /// What was taken so far.
    #[must_use]
    pub fn so_far(&self) -> Tally {
        self.progress().tally.clone()
    }

    /// Waits until all have answered: what was taken, and why not more.
    pub async fn wait(&self) -> (Tally, Option<Refused>) {
        loop {
            let changed = self.0.changed.notified();
            {
                let progress = self.progress();
                if progress.answered == progress.expected {
                    return (progress.tally.clone(), progress.refused.clone());
                }
            }
            changed.await;
        }
    }
}

/// Why a record was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is no spool, not yet or not any more.
    NoSpool(String),
    /// No name for a stream.
    BadName(String),
    /// The stream does not exist and may not come into being.
    Undeclared(String),
    /// The stream is declared, and the spool cannot have it.
    Undefined(String),
    /// Larger than any record may be.
    TooLarge {
        /// What would fit, in bytes.
        bytes_max: usize,
    },
    /// The stream or the spool is full, and its rule is to refuse.
    Full,
    /// The disk takes nothing, and memory is full.
    Disk,
    /// The daily allowance of writes is used up, and memory is full.
    WriteBudget,
    /// Others have taken all places for now.
    Busy,
}

impl Refused {
    /// Fixed word for programs.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Refused::NoSpool(_) => "no-spool",
            Refused::BadName(_) => "bad-name",
            Refused::Undeclared(_) => "undeclared",
            Refused::Undefined(_) => "stream-refused",
            Refused::TooLarge { .. } => "too-large",
            Refused::Full => "full",
            Refused::Disk => "storage",
            Refused::WriteBudget => "write-budget",
            Refused::Busy => "busy",
        }
    }

    /// After how many seconds trying again makes sense; `None` when it does not help.
    #[must_use]
    pub fn retry_after_s(&self) -> Option<u32> {
        match self {
            Refused::BadName(_) | Refused::Undeclared(_) | Refused::TooLarge { .. } => None,
            Refused::Busy => Some(1),
            Refused::NoSpool(_) | Refused::Disk => Some(10),
            // Somebody has to be reached, or data to expire.
            Refused::Full | Refused::Undefined(_) => Some(60),
            // The allowance grows steadily; in ten minutes by a 144th of it.
            Refused::WriteBudget => Some(600),
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::NoSpool(reason)
            | Refused::BadName(reason)
            | Refused::Undeclared(reason)
            | Refused::Undefined(reason) => f.write_str(reason),
            Refused::TooLarge { bytes_max } => {
                write!(f, "the record is too large; cut it into parts of at most {bytes_max} bytes")
            }
            Refused::Full => {
                f.write_str("the stream is full and refuses more; try again when data has left")
            }
            Refused::Disk => f.write_str(
                "the spool's disk takes no data and memory is full; see `outrider check`",
            ),
            Refused::WriteBudget => f.write_str(
                "today's allowance of writes is used up and memory is full; try again later, or raise \
                 `writes_per_day` in section `[spool]`",
            ),
            Refused::Busy => f.write_str("too many records at once; try again in a moment"),
        }
    }
}

impl std::error::Error for Refused {}

impl From<AppendError> for Refused {
    fn from(error: AppendError) -> Refused {
        match error {
            AppendError::TooLarge { bytes_max, .. } => {
                Refused::TooLarge { bytes_max: bytes_max.saturating_sub(STORED_OVERHEAD_BYTES_MAX) }
            }
            AppendError::UnknownStream => {
                Refused::NoSpool("the spool does not know the stream any more".to_owned())
            }
            AppendError::Full => Refused::Full,
            AppendError::Degraded => Refused::Disk,
            AppendError::WriteBudget => Refused::WriteBudget,
        }
    }
}

/// The door.
#[derive(Clone, Debug)]
pub struct Intake(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    boot: BootId,
    payload_bytes_max: usize,
    undeclared_max: usize,
    declared: BTreeMap<String, StreamPolicy>,
    door: Mutex<Door>,
    /// Records that wait for their receipt.
    places: Arc<Semaphore>,
    degraded: AtomicBool,
}

#[derive(Debug)]
enum Door {
    Closed(String),
    Open { handle: SpoolHandle<Files>, streams: BTreeMap<String, StreamTag>, spool_id: u64 },
}

impl Shared {
    /// A stream that was not there, on the spool's thread.
    fn define(&self, spool: &mut spool::Spool<Files>, name: &str) -> Result<StreamTag, Refused> {
        if let Some(policy) = self.declared.get(name) {
            let defined = spool.define(name, *policy);
            return defined.map_err(|error| Refused::Undefined(undefined(name, &error)));
        }
        let is_undeclared = |known: &str| !self.declared.contains_key(known);
        let mut undeclared =
            spool.names().filter(|(known, _)| is_undeclared(known.as_str())).count();
        while undeclared >= self.undeclared_max {
            if self.undeclared_max == 0 || !spool.forget_idle() {
                return Err(Refused::Undeclared(self.no_room_for(name)));
            }
            undeclared -= 1;
        }
        spool.define(name, policy(&Stream::undeclared(name))).map_err(|error| match error {
            OptionsError::Name { .. } | OptionsError::SameTag { .. } => {
                Refused::BadName(error.to_string())
            }
            other => Refused::Undeclared(other.to_string()),
        })
    }

    fn no_room_for(&self, name: &str) -> String {
        match self.undeclared_max {
            0 => format!("stream `{name}` is not declared; add a `[[stream]]` with that name"),
            most => format!(
                "there are {most} undeclared streams already; declare `{name}` in a `[[stream]]`, or use one of \
                 those that `GET /v1/streams` lists"
            ),
        }
    }
}

/// The streams of a spool.
fn names(spool: &spool::Spool<Files>) -> BTreeMap<String, StreamTag> {
    spool.names().map(|(name, tag)| (name.as_str().to_owned(), tag)).collect()
}

fn undefined(name: &str, error: &OptionsError) -> String {
    format!("the spool cannot have the declared stream `{name}`: {error}")
}

impl Intake {
    /// A door that is still closed.
    #[must_use]
    pub fn new(boot: BootId, config: &config::Spool, streams: &[Stream]) -> Intake {
        let record_bytes_max = limits::record_bytes_max(config.size);
        Intake(Arc::new(Shared {
            boot,
            payload_bytes_max: record_bytes_max
                .saturating_sub(STORED_OVERHEAD_BYTES_MAX)
                .min(PAYLOAD_BYTES_MAX),
            undeclared_max: config.undeclared_max,
            declared: streams.iter().map(|s| (s.name.clone(), policy(s))).collect(),
            places: Arc::new(Semaphore::new(WAITING_MAX)),
            degraded: AtomicBool::new(false),
            door: Mutex::new(Door::Closed("the spool is being opened; try again".to_owned())),
        }))
    }

    fn door(&self) -> MutexGuard<'_, Door> {
        self.0.door.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Declares the streams of the configuration to a spool that was opened, and opens the door to it. The streams that it
    /// cannot have, and why.
    pub(in crate::shell) fn open(
        &self,
        handle: SpoolHandle<Files>,
        spool: &mut spool::Spool<Files>,
        now: BootMs,
    ) -> BTreeMap<String, String> {
        let known = names(spool);
        let declared = self.0.declared.iter();
        // What the log knows already is not forgotten to make place for another one.
        let (old, new): (Vec<_>, Vec<_>) =
            declared.partition(|(name, _)| known.contains_key(*name));
        let mut refused = BTreeMap::new();
        for (name, policy) in old.into_iter().chain(new) {
            if let Err(error) = spool.define(name, *policy) {
                refused.insert(name.clone(), undefined(name, &error));
            }
        }
        spool.commit(now);
        let spool_id = spool.report(now).spool_id;
        *self.door() = Door::Open { handle, streams: names(spool), spool_id };
        refused
    }

    /// Takes no more.
    pub(in crate::shell) fn close(&self, reason: &str) {
        *self.door() = Door::Closed(reason.to_owned());
    }

    /// Identity of the spool, while it is open.
    #[must_use]
    pub fn spool_id(&self) -> Option<u64> {
        match &*self.door() {
            Door::Open { spool_id, .. } => Some(*spool_id),
            Door::Closed(_) => None,
        }
    }

    /// The disk began or stopped to take nothing.
    pub(in crate::shell) fn set_degraded(&self, degraded: bool) {
        self.0.degraded.store(degraded, Ordering::Relaxed);
    }

    /// Whether the disk takes nothing at present.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        self.0.degraded.load(Ordering::Relaxed)
    }

    /// Bytes that a payload may have.
    #[must_use]
    pub fn payload_bytes_max(&self) -> usize {
        self.0.payload_bytes_max
    }

    /// Finds a stream by name; one that nobody declared comes into being when there is room for it, one that was declared and
    /// could not be had when there is room now.
    ///
    /// # Errors
    /// No spool, no name, no room.
    pub async fn target(&self, name: &str) -> Result<Target, Refused> {
        check_stream_name(name).map_err(Refused::BadName)?;
        let handle = match &*self.door() {
            Door::Closed(reason) => return Err(Refused::NoSpool(reason.clone())),
            Door::Open { handle, streams, .. } => {
                if let Some(&tag) = streams.get(name) {
                    return Ok(Target { tag, handle: handle.clone() });
                }
                handle.clone()
            }
        };
        let (told, defined) = oneshot::channel();
        let wanted = name.to_owned();
        let shared = Arc::clone(&self.0);
        let define = move |spool: &mut spool::Spool<Files>, _| {
            let tag = shared.define(spool, &wanted);
            // Others may have been forgotten.
            let _ = told.send(tag.map(|tag| (tag, names(spool))));
        };
        handle.run(define).map_err(unsubmitted)?;
        let Ok(defined) = defined.await else {
            return Err(Refused::NoSpool("the agent is stopping".to_owned()));
        };
        let (tag, known) = defined?;
        if let Door::Open { streams, .. } = &mut *self.door() {
            *streams = known;
        }
        Ok(Target { tag, handle })
    }

    /// Hands over a record of now. Waits only for a place in the queue; `reply` is called on the queue's thread when `ack`
    /// says, and must be short.
    ///
    /// # Errors
    /// Too large, or no place in time: `reply` will not be called.
    pub async fn put(
        &self,
        target: &Target,
        content_type: Option<&str>,
        payload: &[u8],
        ack: Ack,
        reply: impl FnOnce(Result<RecordId, Refused>) + Clone + Send + 'static,
    ) -> Result<(), Refused> {
        if payload.len() > self.payload_bytes_max() {
            return Err(Refused::TooLarge { bytes_max: self.payload_bytes_max() });
        }
        let until = Instant::now() + PLACE_WITHIN;
        let place = Arc::clone(&self.0.places).acquire_owned();
        let place = match timeout_at(until, place).await {
            Ok(Ok(place)) => Arc::new(place),
            Ok(Err(_)) | Err(_) => return Err(Refused::Busy),
        };
        let stamp = Stamp::of(self.0.boot, clock::now());
        let mut pause = PLACE_PAUSE[0];
        loop {
            let stored = store(&stamp, content_type, payload);
            let (reply, place) = (reply.clone(), Arc::clone(&place));
            let answer = move |result: Result<Accepted, AppendError>| {
                drop(place);
                reply(result.map(|accepted| accepted.id).map_err(Refused::from));
            };
            match target.handle.append(target.tag, stored, ack.into(), answer) {
                Ok(()) => return Ok(()),
                Err(Unsubmitted::Busy) if Instant::now() < until => sleep(pause).await,
                Err(error) => return Err(unsubmitted(error)),
            }
            pause = PLACE_PAUSE[1].min(pause * 2);
        }
    }
}

/// Bytes of a payload at most, whatever the size of the spool: a whole MiB.
const PAYLOAD_BYTES_MAX: usize = 1024 * 1024;

impl From<Ack> for Answer {
    fn from(ack: Ack) -> Answer {
        match ack {
            Ack::Durable => Answer::Durable,
            Ack::Accepted => Answer::Accepted,
        }
    }
}

fn unsubmitted(error: Unsubmitted) -> Refused {
    match error {
        Unsubmitted::Busy => Refused::Busy,
        Unsubmitted::Stopped => Refused::NoSpool(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(sequence: u64) -> RecordId {
        RecordId { stream: StreamTag(1), sequence, epoch: 9 }
    }

    #[tokio::test]
    async fn what_counts_ends_at_the_first_gap_whatever_answers_first() {
        let receipts = Receipts::default();
        let mut replies: Vec<_> = (0..5).map(|_| Some(receipts.expect_one())).collect();
        let mut answer = |number: usize, result| {
            let reply = replies[number].take();
            reply.expect("each answers once")(result);
        };
        answer(3, Err(Refused::Full));
        assert!(receipts.refused());
        answer(4, Ok(id(14)));
        answer(0, Ok(id(10)));
        answer(1, Ok(id(11)));
        assert_eq!(receipts.so_far().records, 2);
        answer(2, Ok(id(12)));
        let (tally, refused) = receipts.wait().await;
        assert_eq!((tally.records, tally.first, tally.last), (3, Some(10), Some(12)));
        assert_eq!(refused, Some(Refused::Full));
    }

    #[tokio::test]
    async fn a_record_that_was_not_handed_over_is_not_waited_for() {
        let receipts = Receipts::default();
        receipts.expect_one()(Ok(id(1)));
        drop(receipts.expect_one());
        receipts.expect_one_less();
        assert_eq!(receipts.wait().await.0.records, 1);
    }
}
