//! The queue: what goes in, what is acknowledged, what is counted. Writing, reading, recovering and making room have modules
//! of their own.

use std::collections::BTreeMap;

use crate::body::Definition;
use crate::clock::SpoolClock;
use crate::error::{AppendError, OpenError, OptionsError};
use crate::frame::Place;
use crate::limits::{
    SHED_RECORDS_MAX, SHED_RECORDS_TOTAL_MAX, STREAMS_MAX, on_disk, record_bytes_max, segment_bytes,
};
use crate::marks::{Count, Marks};
use crate::meter::Meter;
use crate::options::{
    BootMs, Fate, Options, RecordId, Session, StreamName, StreamPolicy, StreamTag,
};
use crate::report::{Damage, Degraded, Event, Events, Report, StreamReport};
use crate::state::{Failing, Out, Pending, Segment, Stream};
use crate::storage::Storage;
use crate::write::{Health, Tail};

/// A record was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Accepted {
    /// Its name. It is durable once [`Event::Durable`] has reached its sequence number.
    pub id: RecordId,
    /// It is durable already.
    pub durable: bool,
}

/// What an acknowledgement met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledgement {
    /// The record is gone now.
    Freed,
    /// It was gone before: acknowledged twice, expired, or dropped.
    Gone,
    /// It was not handed out, so nobody can have it. Nothing changed.
    Unknown,
}

/// A durable queue. See the crate's documentation.
///
/// Dropping it loses what was not committed; [`Spool::close`] commits first.
#[derive(Debug)]
pub struct Spool<S: Storage> {
    pub(crate) storage: S,
    pub(crate) options: Options,
    pub(crate) session: Session,
    pub(crate) id: u64,
    /// The folder is ours. Without that nothing is changed in it.
    pub(crate) locked: bool,
    pub(crate) segment_bytes: u64,
    pub(crate) clock: SpoolClock,
    pub(crate) meter: Meter,
    pub(crate) streams: BTreeMap<StreamTag, Stream>,
    pub(crate) segments: BTreeMap<u64, Segment>,
    pub(crate) tail: Option<Tail<S::File>>,
    pub(crate) next_segment: u64,
    /// Open files of the streams' cursors, with their segments.
    pub(crate) readers: BTreeMap<StreamTag, (u64, S::File)>,
    pub(crate) pending_weight: usize,
    pub(crate) segment_file_bytes: u64,
    pub(crate) quarantine_bytes: u64,
    /// Segments that could not be read when the spool was opened, or are worth nothing and could not be removed.
    pub(crate) left_bytes: u64,
    /// Segments of other spools in the folder when this one was opened.
    pub(crate) strangers: usize,
    /// Awaited records that went before they were durable.
    pub(crate) shed: Vec<RecordId>,
    pub(crate) written: u64,
    pub(crate) health: Health,
    /// The storage as a whole does not answer.
    pub(crate) absent: Option<Failing>,
    pub(crate) damage: Damage,
    pub(crate) events: Events,
}

impl<S: Storage> Spool<S> {
    /// Opens the spool in `storage`, or begins one. Damage, a disk that is full or takes nothing and foreign files are states of
    /// an open spool, not errors.
    ///
    /// # Errors
    /// Options that cannot work; another process that has it; a disk that reads nothing of it.
    pub fn open(
        storage: S,
        options: Options,
        session: Session,
        now: BootMs,
    ) -> Result<Spool<S>, OpenError> {
        options.check()?;
        let mut spool = Spool {
            storage,
            options,
            session,
            id: session.spool_id,
            locked: false,
            segment_bytes: segment_bytes(options.budget_bytes),
            clock: SpoolClock::default(),
            meter: Meter::resume(options.write_bytes_per_day, None, 0),
            streams: BTreeMap::new(),
            segments: BTreeMap::new(),
            tail: None,
            next_segment: 1,
            readers: BTreeMap::new(),
            pending_weight: 0,
            segment_file_bytes: 0,
            quarantine_bytes: 0,
            left_bytes: 0,
            strangers: 0,
            shed: Vec::new(),
            written: 0,
            health: Health::default(),
            absent: None,
            damage: Damage::default(),
            events: Events::default(),
        };
        spool.recover(now)?;
        Ok(spool)
    }

    /// Declares a stream, or changes how one is treated. Durable with the next commit. Where there are as many streams as
    /// can be, one is forgotten as by [`Spool::forget_idle`].
    ///
    /// # Errors
    /// A name or policy that cannot be; as many streams as can be, all of them in use.
    pub fn define(&mut self, name: &str, policy: StreamPolicy) -> Result<StreamTag, OptionsError> {
        let name = StreamName::new(name)?;
        policy.check()?;
        let tag = name.tag();
        let number = self.streams.len();
        let definition = Definition { name, policy };
        match self.streams.get_mut(&tag) {
            Some(stream) => match &stream.definition {
                Some(known) if known.name != definition.name => {
                    return Err(OptionsError::SameTag { other: known.name.as_str().to_owned() });
                }
                Some(known) if *known == definition => {}
                Some(_) | None => {
                    stream.definition = Some(definition);
                    stream.definition_dirty = true;
                }
            },
            None => {
                if number >= STREAMS_MAX && !self.forget_idle() {
                    return Err(OptionsError::Streams);
                }
                let mut stream = Stream::new(Some(definition), Marks::new());
                stream.definition_dirty = true;
                self.streams.insert(tag, stream);
            }
        }
        if let Some(stream) = self.streams.get_mut(&tag) {
            stream.used = true;
        }
        Ok(tag)
    }

    /// Forgets a stream with its counters, the least important one that holds nothing, was neither declared nor appended to
    /// since the opening, and has no record in any file. False when there is none. Durable with the next commit that
    /// writes; a stream of that name then begins anew, under this or a later epoch.
    pub fn forget_idle(&mut self) -> bool {
        let in_files =
            |tag| self.segments.values().any(|segment: &Segment| segment.entry(tag).is_some());
        let idle = self.streams.iter().filter(|(tag, stream)| {
            !stream.used && stream.held() == 0 && stream.out.is_empty() && !in_files(**tag)
        });
        let least = idle.max_by_key(|(tag, stream)| (stream.policy().priority, **tag));
        let Some(tag) = least.map(|(&tag, _)| tag) else { return false };
        self.streams.remove(&tag);
        self.readers.remove(&tag);
        // Its marks are in the segment that is written. The next one begins with a checkpoint that does not have them.
        if let Some(tail) = self.tail.take_if(|tail| tail.begun)
            && let Some(segment) = self.segments.get_mut(&tail.number)
        {
            segment.rewrite = true;
        }
        true
    }

    /// Names of all streams, of which more than records were found.
    pub fn names(&self) -> impl Iterator<Item = (&StreamName, StreamTag)> {
        self.streams
            .iter()
            .filter_map(|(&tag, stream)| Some((&stream.definition.as_ref()?.name, tag)))
    }

    /// Takes a record. It is kept in memory until the next [`Spool::commit`], which happens here for streams that sync each
    /// record, when memory is full, and when room must be made.
    ///
    /// # Errors
    /// Why it was not taken; counted as [`Fate::Refused`] of a known stream.
    pub fn append(
        &mut self,
        stream: StreamTag,
        payload: Vec<u8>,
        now: BootMs,
    ) -> Result<Accepted, AppendError> {
        self.take(stream, payload, false, now)
    }

    /// As [`Spool::append`]; when an awaited record goes before it is durable, [`Spool::take_shed`] tells.
    pub(crate) fn take(
        &mut self,
        stream: StreamTag,
        payload: Vec<u8>,
        awaited: bool,
        now: BootMs,
    ) -> Result<Accepted, AppendError> {
        let spool_ms = self.tick(now);
        if !self.streams.contains_key(&stream) {
            return Err(AppendError::UnknownStream);
        }
        let size = payload.len();
        let admitted = self.admit(stream, size, now);
        let state = self.streams.get_mut(&stream).expect("it was there a moment ago");
        if let Err(error) = admitted {
            state.marks.counts.add(Fate::Refused, 1, size as u64);
            state.refusals_dirty = true;
            self.events.dropped(stream, Fate::Refused, 1, size as u64);
            return Err(error);
        }
        state.used = true;
        let sequence = state.marks.next;
        state.marks.next += 1;
        let pending = Pending { sequence, spool_ms, payload, awaited, attempted: false };
        self.pending_weight += pending.weight();
        state.pending_log_bytes += pending.log_bytes();
        state.pending.push_back(pending);
        let sync = state.policy().sync;
        if sync {
            self.commit(now);
        }
        let durable = self.streams.get(&stream).is_some_and(|state| state.durable() >= sequence);
        let id = RecordId { stream, sequence, epoch: self.session.epoch };
        Ok(Accepted { id, durable })
    }

    fn admit(&mut self, stream: StreamTag, size: usize, now: BootMs) -> Result<(), AppendError> {
        let bytes_max = record_bytes_max(self.options.budget_bytes);
        if size > bytes_max {
            return Err(AppendError::TooLarge { bytes: size, bytes_max });
        }
        self.make_disk_room(stream, size, now)?;
        self.make_memory_room(stream, size, now)
    }

    /// The far side has the record: it is gone, and its space comes back after the next commit.
    pub fn acknowledge(&mut self, id: RecordId, now: BootMs) -> Acknowledgement {
        self.end(id, Fate::Acknowledged, now)
    }

    /// The far side will never take the record: it is dropped and counted as [`Fate::Rejected`].
    pub fn reject(&mut self, id: RecordId, now: BootMs) -> Acknowledgement {
        self.end(id, Fate::Rejected, now)
    }

    fn end(&mut self, id: RecordId, fate: Fate, now: BootMs) -> Acknowledgement {
        self.tick(now);
        let Some(stream) = self.streams.get(&id.stream) else {
            return Acknowledgement::Unknown;
        };
        match stream.out.get(&id.sequence) {
            Some(out) if out.epoch == id.epoch => {
                let size = out.size;
                self.free(id.stream, id.sequence, size, fate);
                Acknowledgement::Freed
            }
            Some(_) => Acknowledgement::Unknown,
            None if id.sequence < stream.want && !stream.marks.keeps(id.sequence) => {
                Acknowledgement::Gone
            }
            None => Acknowledgement::Unknown,
        }
    }

    /// One record of a known stream is gone, wherever it is.
    pub(crate) fn free(&mut self, tag: StreamTag, sequence: u64, size: u32, fate: Fate) {
        let window = self.window_records();
        let Some(stream) = self.streams.get_mut(&tag) else { return };
        let was_out = stream.out.remove(&sequence).is_some();
        stream.marks.counts.add(fate, 1, u64::from(size));
        stream.marks_dirty = true;
        match stream.pending.binary_search_by_key(&sequence, |pending| pending.sequence) {
            Ok(at) => {
                if let Some(gone) = stream.pending.remove(at) {
                    self.pending_weight -= gone.weight();
                    stream.pending_log_bytes -= gone.log_bytes();
                    // The copy must not come back after a power cut.
                    let room = was_out
                        || stream.window_records() < SHED_RECORDS_MAX
                            && window < SHED_RECORDS_TOTAL_MAX;
                    if gone.attempted && room {
                        stream.marks.gone.insert(sequence, size);
                    }
                    if gone.awaited && fate != Fate::Acknowledged {
                        let epoch = self.session.epoch;
                        self.shed.push(RecordId { stream: tag, sequence, epoch });
                    }
                }
            }
            Err(_) => {
                stream.marks.gone.insert(sequence, size);
                stream.on_disk.records = stream.on_disk.records.saturating_sub(1);
                stream.on_disk.bytes = stream.on_disk.bytes.saturating_sub(u64::from(size));
                let mut segments = self.segments.range_mut(stream.oldest_segment..);
                let segment = segments.find_map(|(_, segment)| {
                    let entry = segment.entry_mut(tag)?;
                    (entry.first..=entry.last).contains(&sequence).then_some(segment)
                });
                if let Some(segment) = segment {
                    if let Some(entry) = segment.entry_mut(tag) {
                        entry.records = entry.records.saturating_sub(1);
                        entry.bytes = entry.bytes.saturating_sub(size);
                    }
                    if segment.is_dead() {
                        self.health.room_comes_back(self.clock.last());
                    }
                }
            }
        }
        stream.settle();
        if fate != Fate::Acknowledged {
            self.events.dropped(tag, fate, 1, u64::from(size));
        }
    }

    /// Everything that was handed out and not acknowledged will be handed out again: the connection is gone.
    pub fn rewind(&mut self) {
        self.streams.values_mut().for_each(Stream::rewind);
    }

    /// As [`Spool::rewind`], of one stream.
    pub fn rewind_of(&mut self, stream: StreamTag) {
        if let Some(stream) = self.streams.get_mut(&stream) {
            stream.rewind();
        }
    }

    /// Records of a stream that are held and have not been handed out.
    #[must_use]
    pub fn undelivered(&self, stream: StreamTag) -> u64 {
        self.streams.get(&stream).map_or(0, |stream| {
            let held = stream.on_disk.records + stream.pending.len() as u64;
            held.saturating_sub(stream.out.len() as u64)
        })
    }

    /// Drops what has expired as a whole. What expired in between is never handed out.
    pub fn expire(&mut self, now: BootMs) {
        let spool_ms = self.tick(now);
        let tags: Vec<StreamTag> = self.streams.keys().copied().collect();
        for tag in tags {
            let expire_ms = self.streams.get(&tag).map_or(0, |stream| stream.policy().expire_ms);
            if expire_ms == 0 {
                continue;
            }
            let expired = |at_ms: u64| spool_ms.saturating_sub(at_ms) > expire_ms;
            while let Some((number, entry)) = self.oldest_entry(tag) {
                if !expired(entry.newest_ms) {
                    break;
                }
                self.drop_entry(tag, number, Fate::Expired);
            }
            if self.oldest_entry(tag).is_none() {
                while let Some((sequence, size)) = self.front_pending(tag, expired) {
                    self.free(tag, sequence, size, Fate::Expired);
                }
            }
        }
    }

    fn front_pending(&self, tag: StreamTag, which: impl Fn(u64) -> bool) -> Option<(u64, u32)> {
        let front = self.streams.get(&tag)?.pending.front()?;
        which(front.spool_ms).then_some((front.sequence, front.payload.len() as u32))
    }

    /// Awaited records that went before they were durable, since this was last asked.
    pub(crate) fn take_shed(&mut self) -> Vec<RecordId> {
        std::mem::take(&mut self.shed)
    }

    /// Everything of the stream up to this is durable or gone.
    #[must_use]
    pub fn durable_up_to(&self, stream: StreamTag) -> Option<u64> {
        self.streams.get(&stream).map(Stream::durable)
    }

    /// What happened since this was last asked.
    pub fn take_events(&mut self) -> Vec<Event> {
        for (&tag, stream) in &mut self.streams {
            let durable = stream.durable();
            if durable > stream.reported {
                stream.reported = durable;
                self.events.durable(tag, durable);
            }
        }
        self.events.take()
    }

    /// Commits and ends. What could not be written is returned with the storage: the number of records that are lost with the
    /// process.
    pub fn close(mut self, now: BootMs) -> (S, u64) {
        self.health.retry_now();
        for stream in self.streams.values_mut() {
            stream.marks_dirty |= stream.refusals_dirty;
        }
        self.commit(now);
        let left = self.streams.values().map(|stream| stream.pending.len() as u64).sum();
        (self.storage, left)
    }

    /// Everything there is to see.
    pub fn report(&mut self, now: BootMs) -> Report {
        let spool_ms = self.tick(now);
        // Whoever reads finds out, too, but there may be nobody.
        let _ = self.storage_is_here();
        let streams =
            self.streams.iter().map(|(&tag, stream)| self.stream_report(tag, stream, spool_ms));
        let streams = streams.collect();
        Report {
            spool_id: self.id,
            spool_ms,
            disk_bytes: self.disk_bytes(),
            budget_bytes: self.options.budget_bytes,
            free_bytes: self.storage.free_bytes().ok(),
            segments: self.segments.len() as u64,
            memory_bytes: self.pending_weight as u64,
            written_bytes: self.written,
            write_allowance: self.options.write_bytes_per_day.map(|_| self.meter.level()),
            degraded: self
                .health
                .degraded(spool_ms)
                .map(|(reason, for_ms, retry_in_ms)| Degraded { reason, for_ms, retry_in_ms }),
            unreadable: self.unreadable(spool_ms),
            damage: self.damage,
            streams,
        }
    }

    fn stream_report(&self, tag: StreamTag, stream: &Stream, spool_ms: u64) -> StreamReport {
        let pending = Count {
            records: stream.pending.len() as u64,
            bytes: stream.pending.iter().map(|pending| pending.payload.len() as u64).sum(),
        };
        let oldest_ms = self
            .oldest_entry(tag)
            .map(|(_, entry)| entry.oldest_ms)
            .or_else(|| stream.pending.front().map(|pending| pending.spool_ms));
        StreamReport {
            tag,
            name: stream.definition.as_ref().map(|definition| definition.name.clone()),
            policy: stream.policy(),
            held: Count {
                records: stream.on_disk.records + pending.records,
                bytes: stream.on_disk.bytes + pending.bytes,
            },
            pending,
            handed_out: stream.out.len() as u64,
            oldest_age_ms: oldest_ms.map(|oldest_ms| spool_ms.saturating_sub(oldest_ms)),
            next_sequence: stream.marks.next,
            durable_up_to: stream.durable(),
            counts: stream.marks.counts,
        }
    }

    /// Lets time pass; spool time.
    pub(crate) fn tick(&mut self, now: BootMs) -> u64 {
        let spool_ms = self.clock.at(now);
        self.meter.advance(spool_ms);
        spool_ms
    }

    /// Bytes that all files take on disk.
    pub(crate) fn disk_bytes(&self) -> u64 {
        self.segment_file_bytes + self.quarantine_bytes + self.left_bytes
    }

    /// A segment's file has this length now.
    pub(crate) fn set_file_bytes(&mut self, number: u64, bytes: u64) {
        if let Some(segment) = self.segments.get_mut(&number) {
            self.segment_file_bytes =
                self.segment_file_bytes - on_disk(segment.file_bytes) + on_disk(bytes);
            segment.file_bytes = bytes;
        }
    }

    pub(crate) fn place(&self, segment: u64) -> Place {
        Place { spool: self.id, segment }
    }

    /// Remembers that a record was handed out.
    pub(crate) fn hand_out(&mut self, id: RecordId, size: u32) {
        if let Some(stream) = self.streams.get_mut(&id.stream) {
            stream.want = id.sequence + 1;
            stream.out.insert(id.sequence, Out { size, epoch: id.epoch });
        }
    }
}
