//! What a spool's thread does, without the thread: group commit, expiry, and answers to those who wait until their record is
//! durable. Reads no clock and waits for nothing, so that a simulation drives the same code.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::error::AppendError;
use crate::limits::BACKOFF_MS_MIN;
use crate::options::{BootMs, RecordId, StreamTag};
use crate::report::Event;
use crate::spool::{Accepted, Spool};
use crate::storage::Storage;

/// How often expired records are looked for.
const EXPIRE_EVERY_MS: u64 = 60_000;

/// When an append is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Once it has a name; the power may still take it.
    Accepted,
    /// Once it is durable, or will never be.
    Durable,
}

/// Who is told what became of a record.
pub type Reply = Box<dyn FnOnce(Result<Accepted, AppendError>) + Send>;

/// A spool and those who wait for it.
pub struct Worker<S: Storage> {
    spool: Spool<S>,
    delay_ms: u64,
    /// When the first change since the last commit is to be durable.
    commit_at: Option<BootMs>,
    expire_at: BootMs,
    awaiting: BTreeMap<RecordId, Reply>,
}

impl<S: Storage> fmt::Debug for Worker<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("commit_at", &self.commit_at).finish_non_exhaustive()
    }
}

impl<S: Storage> Worker<S> {
    /// For an open spool; `commit_delay` is the longest time from accepting a record to its sync.
    #[must_use]
    pub fn new(spool: Spool<S>, commit_delay: Duration) -> Worker<S> {
        Worker {
            spool,
            delay_ms: u64::try_from(commit_delay.as_millis()).unwrap_or(u64::MAX),
            commit_at: None,
            expire_at: BootMs(0),
            awaiting: BTreeMap::new(),
        }
    }

    /// When [`Worker::turn`] is to be called although nothing has happened.
    #[must_use]
    pub fn due(&self) -> BootMs {
        self.commit_at.map_or(self.expire_at, |at| at.min(self.expire_at))
    }

    /// The spool, for everything but records whose durability somebody waits for. [`Worker::turn`] must follow.
    pub fn spool(&mut self) -> &mut Spool<S> {
        &mut self.spool
    }

    /// Takes a record; `reply` is called when `answer` says, here or in a later turn. Gives the record's name if it got one.
    /// [`Worker::turn`] must follow.
    pub fn append(
        &mut self,
        stream: StreamTag,
        payload: Vec<u8>,
        answer: Answer,
        reply: Reply,
        now: BootMs,
    ) -> Option<RecordId> {
        let awaited = answer == Answer::Durable;
        let taken = self.spool.take(stream, payload, awaited, now);
        let name = taken.as_ref().ok().map(|accepted| accepted.id);
        match taken {
            Ok(accepted) if awaited && !accepted.durable => {
                self.awaiting.insert(accepted.id, reply);
            }
            result => reply(result),
        }
        name
    }

    /// The next turn commits.
    pub fn commit_soon(&mut self) {
        self.commit_at = Some(BootMs(0));
    }

    /// Commits and expires what is due at `now`, and tells what has happened.
    pub fn turn(&mut self, now: BootMs, events: &mut impl FnMut(Event)) {
        self.keep_time(now);
        self.tell(events);
    }

    fn keep_time(&mut self, now: BootMs) {
        if now >= self.expire_at {
            self.spool.expire(now);
            self.expire_at = BootMs(now.0.saturating_add(EXPIRE_EVERY_MS));
        }
        let mut delay_ms = self.delay_ms;
        if self.commit_at.is_some_and(|at| now >= at) {
            self.spool.commit(now);
            self.commit_at = None;
            // What is left cannot be written at present.
            delay_ms = delay_ms.max(BACKOFF_MS_MIN);
        }
        if self.commit_at.is_none() && self.spool.has_work() {
            self.commit_at = Some(BootMs(now.0.saturating_add(delay_ms)));
        }
    }

    fn tell(&mut self, events: &mut impl FnMut(Event)) {
        for id in self.spool.take_shed() {
            if let Some(reply) = self.awaiting.remove(&id) {
                reply(Err(AppendError::Degraded));
            }
        }
        for event in self.spool.take_events() {
            if let Event::Durable { stream, up_to } = event {
                self.answer_up_to(stream, up_to);
            }
            events(event);
        }
    }

    fn answer_up_to(&mut self, stream: StreamTag, up_to: u64) {
        let first = RecordId { stream, sequence: 0, epoch: 0 };
        let last = RecordId { stream, sequence: up_to, epoch: u32::MAX };
        let durable: Vec<RecordId> = self.awaiting.range(first..=last).map(|(&id, _)| id).collect();
        for id in durable {
            if let Some(reply) = self.awaiting.remove(&id) {
                reply(Ok(Accepted { id, durable: true }));
            }
        }
    }

    /// Commits and ends: the storage, and the number of records that could not be written and are lost with the process.
    pub fn close(mut self, now: BootMs, events: &mut impl FnMut(Event)) -> (S, u64) {
        self.spool.commit(now);
        self.tell(events);
        for (_, reply) in std::mem::take(&mut self.awaiting) {
            reply(Err(AppendError::Degraded));
        }
        self.spool.close(now)
    }
}
