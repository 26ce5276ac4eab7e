//! Group commit: pending records and marks into the tail, one sync, and what happens when the disk says no.

use std::io;
use std::ops::RangeInclusive;

use crate::body::{Checkpoint, Commit, Gauge, Index, IndexEntry, RECORD_HEAD_BYTES, RecordHead};
use crate::error::DiskError;
use crate::files::LOCK_NAME;
use crate::frame::{
    self, FRAME_HEADER_BYTES, Kind, Place, RECORD_OVERHEAD_BYTES, SEGMENT_HEADER_BYTES,
};
use crate::limits::{STREAMS_MAX, WRITE_BUFFER_BYTES, on_disk};
use crate::options::{BootMs, StreamTag};
use crate::report::Event;
use crate::spool::Spool;
use crate::state::{Retry, Segment, count_record};
use crate::storage::{Lock, Storage};

/// Files that one commit may break before the disk counts as broken.
const ATTEMPTS_MAX: u8 = 2;
/// Times that one commit makes room on a file system that is full.
const GIVE_WAY_MAX: u8 = 8;
/// A tail with less room than this part of a segment is sealed with the batch that left so little.
const SEAL_SLACK_DIVISOR: u64 = 64;
/// A tail without live records is replaced when it is larger than this part of a segment.
const IDLE_TAIL_DIVISOR: u64 = 4;

/// The segment that is written.
#[derive(Debug)]
pub(crate) struct Tail<F> {
    pub(crate) number: u64,
    pub(crate) file: F,
    /// Synced bytes.
    pub(crate) bytes: u64,
    /// All records in it, gone or not: what its index will say.
    pub(crate) index: Vec<IndexEntry>,
    /// It has a checkpoint of this session.
    pub(crate) begun: bool,
    /// Its name is not durable yet.
    pub(crate) fresh: bool,
}

/// Whether the disk takes data.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// Reason and moment of the first failure since the last success.
    broken: Option<(String, u64)>,
    /// There was no room.
    full: bool,
    retry: Retry,
}

impl Health {
    pub(crate) fn is_degraded(&self) -> bool {
        self.broken.is_some()
    }

    fn waits(&self, spool_ms: u64) -> bool {
        self.broken.is_some() && self.retry.waits(spool_ms)
    }

    pub(crate) fn retry_now(&mut self) {
        self.retry.now();
    }

    /// True when this is news.
    pub(crate) fn failed(&mut self, reason: String, full: bool, spool_ms: u64) -> bool {
        self.full = full;
        self.retry.failed(spool_ms);
        let news = self.broken.is_none();
        let since = self.broken.take().map_or(spool_ms, |(_, since)| since);
        self.broken = Some((reason, since));
        news
    }

    /// A segment can be given back: where there was no room there soon is.
    pub(crate) fn room_comes_back(&mut self, spool_ms: u64) {
        if self.full {
            self.retry.soon(spool_ms);
        }
    }

    /// True when this is news.
    fn succeeded(&mut self) -> bool {
        self.retry = Retry::default();
        self.broken.take().is_some()
    }

    /// Reason, how long already, and how long until the next attempt.
    pub(crate) fn degraded(&self, spool_ms: u64) -> Option<(String, u64, u64)> {
        let (reason, since) = self.broken.as_ref()?;
        Some((reason.clone(), spool_ms.saturating_sub(*since), self.retry.in_ms(spool_ms)))
    }
}

/// Frames on their way into a file.
pub(crate) struct Batch {
    place: Place,
    /// Offset of the first byte of `buffer`.
    at: u64,
    buffer: Vec<u8>,
}

impl Batch {
    pub(crate) fn new(place: Place, at: u64) -> Batch {
        Batch { place, at, buffer: Vec::new() }
    }

    pub(crate) fn end(&self) -> u64 {
        self.at + self.buffer.len() as u64
    }

    pub(crate) fn segment_header(&mut self) {
        self.buffer.extend(frame::segment_header(self.place));
    }

    pub(crate) fn frame(&mut self, kind: Kind, body: &[u8]) {
        frame::put(&mut self.buffer, self.place, self.at, kind, body);
    }

    pub(crate) fn flush<S: Storage>(
        &mut self,
        storage: &mut S,
        file: &mut S::File,
    ) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        storage.append(file, self.at, &self.buffer)?;
        self.at += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    pub(crate) fn record<S: Storage>(
        &mut self,
        storage: &mut S,
        file: &mut S::File,
        head: &[u8; RECORD_HEAD_BYTES],
        payload: &[u8],
    ) -> io::Result<()> {
        let header = frame::header(self.place, self.end(), Kind::Record, &[head, payload]);
        self.buffer.extend(header);
        self.buffer.extend(head);
        if self.buffer.len() + payload.len() <= WRITE_BUFFER_BYTES {
            self.buffer.extend(payload);
            return Ok(());
        }
        self.flush(storage, file)?;
        if payload.len() < WRITE_BUFFER_BYTES {
            self.buffer.extend(payload);
            return Ok(());
        }
        // Copying it would double the memory of the largest records.
        storage.append(file, self.at, payload)?;
        self.at += payload.len() as u64;
        Ok(())
    }
}

/// What goes into the next batch.
struct Plan {
    /// Records from the front of each stream's queue.
    records: Vec<(StreamTag, usize)>,
    /// The segment ends with this batch.
    seal: bool,
}

/// What a batch begins with.
enum Opening {
    Checkpoint(Vec<u8>),
    Marks(Vec<(Kind, Vec<u8>)>),
}

impl Opening {
    fn log_bytes(&self) -> u64 {
        let bytes = match self {
            Opening::Checkpoint(body) => body.len() + FRAME_HEADER_BYTES + SEGMENT_HEADER_BYTES,
            Opening::Marks(frames) => {
                frames.iter().map(|(_, body)| body.len() + FRAME_HEADER_BYTES).sum()
            }
        };
        bytes as u64
    }
}

impl<S: Storage> Spool<S> {
    /// Writes what is pending and syncs it. Afterwards [`Event::Durable`] says how far each stream got; what the disk or the
    /// allowance of writes did not permit stays pending.
    pub fn commit(&mut self, now: BootMs) {
        let spool_ms = self.tick(now);
        if self.health.waits(spool_ms) {
            return;
        }
        let (mut failures, mut yields) = (0, 0);
        while let Err(error) = self.write_all() {
            let full = is_full(&error.source);
            // What a failed sync left in the file is in doubt whatever the reason; a write that found no room is not.
            self.give_up_batch(full && error.operation == "write");
            if full && yields < GIVE_WAY_MAX && self.give_way() {
                yields += 1;
                continue;
            }
            failures += 1;
            if full || failures >= ATTEMPTS_MAX {
                self.degrade(&error, spool_ms);
                return;
            }
        }
        if self.health.succeeded() {
            self.look_for_storage_now();
            self.events.health(Event::Recovered);
        }
        self.housekeep();
    }

    pub(crate) fn degrade(&mut self, error: &DiskError, spool_ms: u64) {
        let reason = format!("{error}: {}", error.source);
        if self.health.failed(reason.clone(), is_full(&error.source), spool_ms) {
            self.events.health(Event::Degraded { reason });
        }
    }

    /// Something is not in the log yet.
    pub(crate) fn has_work(&self) -> bool {
        self.is_dirty() || self.streams.values().any(|stream| !stream.pending.is_empty())
    }

    /// Marks or definitions are not in the log yet.
    pub(crate) fn is_dirty(&self) -> bool {
        self.streams.values().any(|stream| stream.marks_dirty || stream.definition_dirty)
    }

    fn write_all(&mut self) -> Result<(), DiskError> {
        while self.has_work() {
            if !self.write_batch(false)? {
                break;
            }
        }
        Ok(())
    }

    /// Writes one batch and syncs it. False when the allowance does not permit anything. With `force` a batch without
    /// content is written, too, for its checkpoint.
    fn write_batch(&mut self, force: bool) -> Result<bool, DiskError> {
        let opening = self.opening();
        let plan = self.plan(&opening);
        let dirty = self.is_dirty();
        let affordable = opening.log_bytes() <= self.meter.level();
        if !plan.seal && plan.records.is_empty() && !(affordable && (dirty || force)) {
            return Ok(false);
        }
        self.ensure_lock()?;
        let mut tail = match self.tail.take() {
            Some(tail) => tail,
            None => self.new_tail()?,
        };
        let name = frame::segment_name(self.place(tail.number));
        let from = tail.bytes;
        let written = self.fill(&mut tail, &opening, &plan);
        let number = tail.number;
        let (end, index) = match written {
            Ok(written) => written,
            Err(error) => {
                self.tail = Some(tail);
                return Err(DiskError::new("write", &name, error));
            }
        };
        let synced = self.storage.sync(&mut tail.file).map_err(|e| ("sync", name.as_str(), e));
        let synced = synced.and_then(|()| {
            if tail.fresh {
                self.storage.sync_folder("").map_err(|e| ("sync", "names", e))?;
            }
            Ok(())
        });
        if let Err((operation, file, error)) = synced {
            self.tail = Some(tail);
            return Err(DiskError::new(operation, file, error));
        }
        tail.fresh = false;
        tail.begun = true;
        tail.bytes = end;
        tail.index = index;
        self.written += end - from;
        self.meter.spend(end - from);
        self.set_file_bytes(number, end);
        self.settle_batch(number, end, &plan);
        if !plan.seal {
            self.tail = Some(tail);
        }
        Ok(true)
    }

    /// A medium that was read-only when the spool was opened may have become writable since.
    fn ensure_lock(&mut self) -> Result<(), DiskError> {
        if self.locked {
            return Ok(());
        }
        let fail = |error| DiskError::new("lock", LOCK_NAME, error);
        let files = self.storage.list("").map_err(fail)?;
        if self.count_strangers(&files) > self.strangers {
            let text = "the folder holds a spool that was not there before; start the agent again";
            return Err(fail(io::Error::other(text)));
        }
        match self.storage.lock().map_err(fail)? {
            Lock::Held => {
                self.locked = true;
                Ok(())
            }
            Lock::Taken => Err(fail(io::ErrorKind::ResourceBusy.into())),
        }
    }

    fn gauge(&self) -> Gauge {
        Gauge { spool_ms: self.clock.last(), allowance: self.meter.level(), written: self.written }
    }

    fn opening(&self) -> Opening {
        match &self.tail {
            Some(tail) if tail.begun => {
                let commit = Commit { durable: tail.bytes, gauge: self.gauge() };
                let mut frames = vec![(Kind::Commit, commit.encode())];
                for (&tag, stream) in &self.streams {
                    if let Some(definition) = &stream.definition
                        && stream.definition_dirty
                    {
                        let mut body = Vec::new();
                        definition.encode(&mut body);
                        frames.push((Kind::Definition, body));
                    }
                    if stream.marks_dirty || stream.refusals_dirty {
                        let mut body = Vec::new();
                        stream.marks.encode(tag, &mut body);
                        frames.push((Kind::Marks, body));
                    }
                }
                Opening::Marks(frames)
            }
            Some(_) | None => {
                let streams = self.streams.iter();
                let streams = streams
                    .map(|(&tag, stream)| (tag, stream.definition.clone(), stream.marks.clone()));
                let checkpoint = Checkpoint {
                    boot_id: self.session.boot_id,
                    boot_ms: self.clock.last_boot_ms(),
                    epoch: self.session.epoch,
                    gauge: self.gauge(),
                    sealed: self.sealed_ranges(),
                    streams: streams.collect(),
                };
                Opening::Checkpoint(checkpoint.encode())
            }
        }
    }

    /// Numbers of the segments whose index may be believed.
    fn sealed_ranges(&self) -> Vec<RangeInclusive<u64>> {
        let mut ranges: Vec<RangeInclusive<u64>> = Vec::new();
        for (&number, segment) in &self.segments {
            if !segment.sealed || segment.rewrite || segment.is_unreadable() {
                continue;
            }
            match ranges.last_mut() {
                Some(last) if *last.end() + 1 == number => *last = *last.start()..=number,
                Some(_) | None => ranges.push(number..=number),
            }
        }
        ranges
    }

    /// Chooses records, most important streams first, as many as segment and allowance take.
    fn plan(&self, opening: &Opening) -> Plan {
        let at = self.tail.as_ref().map_or(0, |tail| tail.bytes);
        let mut has_records = self.tail.as_ref().is_some_and(|tail| !tail.index.is_empty());
        let index_bytes = (FRAME_HEADER_BYTES + Index::body_bytes(STREAMS_MAX)) as u64;
        let mut end = at + opening.log_bytes();
        let reserve = self.meter.reserve();
        let mut room = self.room_for_records().saturating_sub(opening.log_bytes() + index_bytes);
        let mut allowance = self.meter.level().saturating_sub(opening.log_bytes() + index_bytes);
        let mut plan = Plan { records: Vec::new(), seal: false };
        if opening.log_bytes() > self.meter.level() {
            return plan;
        }
        let mut streams: Vec<_> = self.streams.iter().collect();
        streams.sort_by_key(|(tag, stream)| (stream.policy().priority, **tag));
        'streams: for (&tag, stream) in streams {
            let kept_back = if stream.policy().priority == 0 { 0 } else { reserve };
            let mut number = 0;
            for pending in &stream.pending {
                let bytes = pending.log_bytes();
                if bytes > allowance.saturating_sub(kept_back) || bytes > room {
                    break;
                }
                if has_records && end + bytes + index_bytes > self.segment_bytes {
                    plan.seal = true;
                    if number > 0 {
                        plan.records.push((tag, number));
                    }
                    break 'streams;
                }
                has_records = true;
                number += 1;
                end += bytes;
                allowance -= bytes;
                room -= bytes;
            }
            if number > 0 {
                plan.records.push((tag, number));
            }
        }
        let slack = self.segment_bytes / SEAL_SLACK_DIVISOR;
        plan.seal |= end + index_bytes + slack > self.segment_bytes;
        plan
    }

    /// Begins a segment, so that the one before it is not the newest any more. False when that fails.
    pub(crate) fn begin_segment(&mut self) -> bool {
        debug_assert!(self.tail.is_none());
        match self.write_batch(true) {
            Ok(begun) => begun,
            Err(error) => {
                self.give_up_batch(false);
                self.degrade(&error, self.clock.last());
                false
            }
        }
    }

    /// Makes the next segment's file.
    pub(crate) fn new_tail(&mut self) -> Result<Tail<S::File>, DiskError> {
        let number = self.next_segment;
        let name = frame::segment_name(self.place(number));
        let file =
            self.storage.create(&name).map_err(|error| DiskError::new("create", &name, error))?;
        self.next_segment += 1;
        self.segments.insert(number, Segment::default());
        Ok(Tail { number, file, bytes: 0, index: Vec::new(), begun: false, fresh: true })
    }

    /// Writes a batch; the new end and index of the tail.
    fn fill(
        &mut self,
        tail: &mut Tail<S::File>,
        opening: &Opening,
        plan: &Plan,
    ) -> io::Result<(u64, Vec<IndexEntry>)> {
        let place = self.place(tail.number);
        let mut batch = Batch::new(place, tail.bytes);
        if tail.bytes == 0 {
            batch.segment_header();
        }
        match opening {
            Opening::Checkpoint(body) => batch.frame(Kind::Checkpoint, body),
            Opening::Marks(frames) => {
                frames.iter().for_each(|(kind, body)| batch.frame(*kind, body));
            }
        }
        let mut index = tail.index.clone();
        for &(tag, number) in &plan.records {
            let Some(stream) = self.streams.get(&tag) else { continue };
            for pending in stream.pending.iter().take(number) {
                let head = RecordHead {
                    tag,
                    epoch: self.session.epoch,
                    sequence: pending.sequence,
                    spool_ms: pending.spool_ms,
                };
                let file = &mut tail.file;
                batch.record(&mut self.storage, file, &head.encode(), &pending.payload)?;
                let size = pending.payload.len() as u32;
                count_record(&mut index, tag, pending.sequence, size, pending.spool_ms);
            }
        }
        if plan.seal {
            let body = Index { data_bytes: batch.end(), entries: index.clone() };
            batch.frame(Kind::Index, &body.encode(FRAME_HEADER_BYTES));
        }
        batch.flush(&mut self.storage, &mut tail.file)?;
        Ok((batch.end(), index))
    }

    /// A batch is durable: what it held moves from memory to the segment.
    fn settle_batch(&mut self, number: u64, end: u64, plan: &Plan) {
        for stream in self.streams.values_mut() {
            stream.marks_dirty = false;
            stream.refusals_dirty = false;
            stream.definition_dirty = false;
        }
        let Some(segment) = self.segments.get_mut(&number) else { return };
        segment.bytes = end;
        segment.sealed = plan.seal;
        for &(tag, count) in &plan.records {
            let Some(stream) = self.streams.get_mut(&tag) else { continue };
            for pending in stream.pending.drain(..count) {
                let size = pending.payload.len() as u32;
                self.pending_weight -= pending.weight();
                stream.pending_log_bytes -= pending.log_bytes();
                stream.on_disk.records += 1;
                stream.on_disk.bytes += u64::from(size);
                count_record(&mut segment.entries, tag, pending.sequence, size, pending.spool_ms);
            }
        }
    }

    /// After a failed write or sync: nothing that was written since the last good sync counts, and the file is not appended
    /// to again, unless a write found no room and could be cut back.
    fn give_up_batch(&mut self, may_go_on: bool) {
        let Some(mut tail) = self.tail.take() else { return };
        let number = tail.number;
        for stream in self.streams.values_mut() {
            stream.pending.iter_mut().for_each(|pending| pending.attempted = true);
        }
        if tail.fresh {
            let name = frame::segment_name(self.place(number));
            // If it can neither be emptied nor removed, recovery takes its records for the copies that they are.
            let _ = self.storage.truncate(&mut tail.file, 0);
            drop(tail);
            let _ = self.storage.remove(&name);
            if let Some(segment) = self.segments.remove(&number) {
                self.segment_file_bytes -= on_disk(segment.file_bytes);
            }
            return;
        }
        let cut = self.storage.truncate(&mut tail.file, tail.bytes).is_ok();
        if may_go_on && cut && self.storage.sync(&mut tail.file).is_ok() {
            self.tail = Some(tail);
        }
    }

    /// Gives back what is dead and puts in order what recovery left over. Only when the log says everything.
    pub(crate) fn housekeep(&mut self) {
        if self.is_dirty() {
            return;
        }
        self.remove_dead();
        self.rewrite_one_left_over();
        self.replace_idle_tail();
        if self.has_work() {
            self.find_room_for_waiting();
        }
    }

    /// Removes segments without live records. The newest one stays: it has the state.
    pub(crate) fn remove_dead(&mut self) -> bool {
        let Some(&newest) = self.segments.keys().next_back() else { return false };
        let dead: Vec<u64> = self
            .segments
            .range(..newest)
            .filter(|(_, segment)| segment.is_dead())
            .map(|(&number, _)| number)
            .collect();
        let mut removed = false;
        for number in dead {
            removed |= self.remove_segment(number);
        }
        removed
    }

    fn remove_segment(&mut self, number: u64) -> bool {
        let name = frame::segment_name(self.place(number));
        self.readers.retain(|_, (segment, _)| *segment != number);
        match self.storage.remove(&name) {
            // Somebody else removed it, unless the whole folder is away.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if !self.storage_answers() {
                    return false;
                }
            }
            Err(_) => return false,
            Ok(()) => {}
        }
        self.forget_segment(number);
        true
    }

    /// The segment's file is not here any more.
    pub(crate) fn forget_segment(&mut self, number: u64) {
        self.readers.retain(|_, (segment, _)| *segment != number);
        if let Some(segment) = self.segments.remove(&number) {
            self.segment_file_bytes -= on_disk(segment.file_bytes);
        }
    }

    /// A tail that only holds what is gone gives back its space, too.
    fn replace_idle_tail(&mut self) {
        let Some(tail) = &self.tail else { return };
        let number = tail.number;
        let idle = self.segments.get(&number).is_some_and(Segment::is_dead)
            && tail.bytes > self.segment_bytes / IDLE_TAIL_DIVISOR
            && !self.has_work();
        if !idle {
            return;
        }
        self.tail = None;
        if self.begin_segment() {
            self.remove_dead();
        }
    }
}

/// The file system has no room; dropping data helps.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// What a record takes in the log.
pub(crate) fn record_log_bytes(size: usize) -> u64 {
    (size + RECORD_OVERHEAD_BYTES) as u64
}
