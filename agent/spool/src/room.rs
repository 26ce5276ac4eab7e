//! Making room: what goes when a bound is reached, and how space comes back.

use crate::body::{Index, IndexEntry, RECORD_HEAD_BYTES, RecordHead};
use crate::error::AppendError;
use crate::frame::{self, FRAME_HEADER_BYTES, Kind, SEGMENT_HEADER_BYTES};
use crate::limits::{
    PENDING_OVERHEAD_BYTES, REWRITE_DEAD_DIVISOR, SCAN_BUFFER_BYTES, SHARE_PERMILLE_MAX,
    STREAMS_MAX, THIN_EXPONENT_MAX, on_disk,
};
use crate::marks::Marks;
use crate::options::{AtBound, BootMs, Fate, StreamTag};
use crate::scan::Scanner;
use crate::spool::Spool;
use crate::state::{Segment, live_bytes};
use crate::storage::Storage;
use crate::write::record_log_bytes;

/// Steps that one append makes for room. A step gives back a segment or part of one, or moves a sweep along; more in one go
/// would hold up the caller.
const STEPS_MAX: usize = 64;
/// At its share a stream drops this part of it at once, so that not every append has to look for the oldest.
const SHARE_STEP_DIVISOR: u64 = 8;

impl<S: Storage> Spool<S> {
    /// Bytes that segments may take: the budget without what one rewritten segment needs for a moment.
    fn disk_limit(&self) -> u64 {
        self.options.budget_bytes.saturating_sub(self.segment_bytes)
    }

    /// Bytes that records may still take on disk. What is said beside them, such as marks, can use up what was there for them when
    /// they were accepted; they wait then until something has left. A part of the room to rewrite in is left to marks, which are
    /// how that becomes known.
    pub(crate) fn room_for_records(&self) -> u64 {
        let most = self.options.budget_bytes - self.segment_bytes / 2;
        most.saturating_sub(self.disk_bytes())
    }

    /// Bytes on disk once everything in memory is written.
    fn disk_bytes_soon(&self) -> u64 {
        let pending: u64 = self.streams.values().map(|stream| stream.pending_log_bytes).sum();
        self.disk_bytes() + pending
    }

    pub(crate) fn make_disk_room(
        &mut self,
        stream: StreamTag,
        size: usize,
        now: BootMs,
    ) -> Result<(), AppendError> {
        self.keep_share(stream, size, now)?;
        let need = record_log_bytes(size);
        let Some(priority) = self.streams.get(&stream).map(|state| state.policy().priority) else {
            return Err(AppendError::UnknownStream);
        };
        for _ in 0..STEPS_MAX {
            if self.disk_bytes_soon() + need <= self.disk_limit() {
                return Ok(());
            }
            if !self.step_for_room(priority, now) {
                break;
            }
        }
        if self.disk_bytes_soon() + need <= self.disk_limit() {
            return Ok(());
        }
        Err(if self.health.is_degraded() { AppendError::Degraded } else { AppendError::Full })
    }

    /// One step towards more room; false when there is none to take.
    fn step_for_room(&mut self, priority: u8, now: BootMs) -> bool {
        // Only what the log knows to be gone may go from the disk.
        if self.is_dirty() {
            self.commit(now);
        }
        if !self.is_dirty() && (self.remove_dead() || self.rewrite_sparse()) {
            return true;
        }
        if self.is_dirty() {
            return false;
        }
        if self.drop_least_important(priority) {
            self.commit(now);
            return true;
        }
        self.seal_tail_for_room()
    }

    /// Records wait, perhaps for room: gives back what is dead.
    pub(crate) fn find_room_for_waiting(&mut self) {
        if self.room_for_records() < self.segment_bytes / 2 && !self.rewrite_sparse() {
            self.seal_tail_for_room();
        }
    }

    /// The tail cannot be rewritten while it is the tail.
    fn seal_tail_for_room(&mut self) -> bool {
        let Some(tail) = &self.tail else { return false };
        let segment = self.segments.get(&tail.number);
        let worth = tail.begun
            && segment.is_some_and(|segment| {
                segment.dead_bytes() * REWRITE_DEAD_DIVISOR >= self.segment_bytes
            });
        if !worth {
            return false;
        }
        let number = tail.number;
        if let Some(segment) = self.segments.get_mut(&number) {
            segment.rewrite = true;
        }
        self.tail = None;
        self.begin_segment()
    }

    /// Drops or thins something of the least important stream that has something to give.
    fn drop_least_important(&mut self, priority: u8) -> bool {
        let mut victims: Vec<(u8, StreamTag, AtBound)> = self
            .streams
            .iter()
            .map(|(&tag, stream)| (stream.policy().priority, tag, stream.policy().at_bound))
            .filter(|(own, _, rule)| *own >= priority && *rule != AtBound::Refuse)
            .collect();
        // The least important first; among equals the one that holds most.
        victims.sort_by_key(|(own, tag, _)| {
            let held = self.streams.get(tag).map_or(0, |stream| stream.log_bytes());
            (std::cmp::Reverse(*own), std::cmp::Reverse(held))
        });
        victims.into_iter().any(|(_, tag, rule)| match rule {
            AtBound::Thin => self.thin_oldest(tag) || self.drop_until_useful(tag),
            AtBound::DropOldest => self.drop_until_useful(tag),
            AtBound::Refuse => false,
        })
    }

    /// Drops from the oldest on until a segment can be given back or rewritten; nothing when that would not help.
    fn drop_until_useful(&mut self, tag: StreamTag) -> bool {
        let newest = self.segments.keys().next_back().copied().unwrap_or(0);
        let useful = self.segments.range(..newest).find(|(_, segment)| {
            segment
                .entry(tag)
                .is_some_and(|entry| entry.records > 0 && gives_back(segment, live_bytes(entry)))
        });
        let Some((&last, _)) = useful else { return false };
        while let Some((number, _)) = self.oldest_entry(tag) {
            if number > last {
                break;
            }
            self.drop_entry(tag, number, Fate::Full);
        }
        true
    }

    /// The oldest segment with live records of a stream.
    pub(crate) fn oldest_entry(&self, tag: StreamTag) -> Option<(u64, IndexEntry)> {
        let stream = self.streams.get(&tag)?;
        self.segments.range(stream.oldest_segment..).find_map(|(&number, segment)| {
            let entry = segment.entry(tag).filter(|entry| entry.records > 0)?;
            Some((number, *entry))
        })
    }

    /// Everything of a stream in its oldest segment is gone.
    pub(crate) fn drop_entry(&mut self, tag: StreamTag, number: u64, fate: Fate) {
        let segment = self.segments.get_mut(&number);
        let Some(entry) = segment.and_then(|segment| segment.entry_mut(tag)) else { return };
        let (records, bytes, last) = (entry.records, entry.bytes, entry.last);
        (entry.records, entry.bytes) = (0, 0);
        self.dropped(tag, fate, u64::from(records), u64::from(bytes));
        if let Some(stream) = self.streams.get_mut(&tag) {
            stream.oldest_segment = number;
            stream.drop_below(last + 1);
        }
    }

    /// Counts records that left the disk without acknowledgement.
    pub(crate) fn dropped(&mut self, tag: StreamTag, fate: Fate, records: u64, bytes: u64) {
        let Some(stream) = self.streams.get_mut(&tag) else { return };
        if records == 0 {
            return;
        }
        stream.marks.counts.add(fate, records, bytes);
        stream.marks_dirty = true;
        stream.on_disk.records = stream.on_disk.records.saturating_sub(records);
        stream.on_disk.bytes = stream.on_disk.bytes.saturating_sub(bytes);
        self.events.dropped(tag, fate, records, bytes);
    }

    /// Holds a stream to its share by its own rule.
    fn keep_share(&mut self, tag: StreamTag, size: usize, now: BootMs) -> Result<(), AppendError> {
        let Some(stream) = self.streams.get(&tag) else { return Err(AppendError::UnknownStream) };
        let policy = stream.policy();
        let permille = u64::from(policy.share_permille);
        let share = self.options.budget_bytes / u64::from(SHARE_PERMILLE_MAX) * permille;
        let need = record_log_bytes(size);
        for _ in 0..STEPS_MAX {
            let held = self.streams.get(&tag).map_or(0, |stream| stream.log_bytes());
            if permille >= u64::from(SHARE_PERMILLE_MAX) || held + need <= share {
                return Ok(());
            }
            let target = (held + need - share).max(share / SHARE_STEP_DIVISOR);
            let gave = match policy.at_bound {
                AtBound::Refuse => false,
                AtBound::DropOldest => self.drop_oldest(tag, target, now),
                AtBound::Thin => self.thin_oldest(tag) || self.drop_oldest(tag, target, now),
            };
            if !gave {
                return Err(AppendError::Full);
            }
        }
        Err(AppendError::Full)
    }

    /// Drops the oldest records of a stream, about `target` bytes in the log.
    fn drop_oldest(&mut self, tag: StreamTag, target: u64, now: BootMs) -> bool {
        let mut left = target;
        let mut gave = false;
        while left > 0 {
            let Some((number, entry)) = self.oldest_entry(tag) else {
                let pending = self.streams.get(&tag).and_then(|stream| stream.pending.front());
                let Some(pending) = pending else { break };
                let (sequence, size) = (pending.sequence, pending.payload.len() as u32);
                left = left.saturating_sub(pending.log_bytes());
                self.free(tag, sequence, size, Fate::Full);
                gave = true;
                continue;
            };
            if live_bytes(&entry) <= left {
                left -= live_bytes(&entry);
                self.drop_entry(tag, number, Fate::Full);
            } else {
                self.drop_front(tag, number, left);
                left = 0;
            }
            gave = true;
        }
        if gave {
            self.tick(now);
        }
        gave
    }

    /// Drops records of a stream from the front of its oldest segment, `target` bytes or a little more.
    fn drop_front(&mut self, tag: StreamTag, number: u64, target: u64) {
        let mut taken = 0;
        let mut last = None;
        let stream = self.streams.get(&tag).map(|stream| stream.marks.clone());
        let Some(marks) = stream else { return };
        let read = self.for_each_record(number, |head, size| {
            if head.tag == tag && taken < target && marks.keeps(head.sequence) {
                taken += record_log_bytes(size as usize);
                last = Some(head.sequence);
            }
        });
        let mut left = marks;
        if let (Ok(()), Some(last)) = (read, last) {
            left.raise_floor(last + 1);
            if self.recount(number, tag, Fate::Full, left) {
                return;
            }
        }
        self.drop_entry(tag, number, Fate::Full);
    }

    /// Every valid record of a segment in the order of the file. An error when a part of it cannot be read.
    fn for_each_record(
        &mut self,
        number: u64,
        mut visit: impl FnMut(&RecordHead, u32),
    ) -> std::io::Result<()> {
        let place = self.place(number);
        let bytes = self.segments.get(&number).map_or(0, |segment| segment.bytes);
        let file = self.storage.open(&frame::segment_name(place), false)?;
        let mut scanner = Scanner::new(&mut self.storage, &file, place, bytes, SCAN_BUFFER_BYTES);
        let mut at = SEGMENT_HEADER_BYTES as u64;
        while let Some(frame) = scanner.find(at) {
            at = frame.end();
            if frame.kind != Kind::Record {
                continue;
            }
            if let Some(head) = RecordHead::decode(scanner.body(&frame, RECORD_HEAD_BYTES)) {
                visit(&head, (frame.body_bytes - RECORD_HEAD_BYTES) as u32);
            }
        }
        if scanner.unreadable() > 0 {
            return Err(std::io::Error::other("unreadable bytes"));
        }
        Ok(())
    }

    /// Gives a stream other marks and counts what a segment loses by them. False when it cannot be read; then nothing
    /// changed.
    fn recount(&mut self, number: u64, tag: StreamTag, fate: Fate, marks: Marks) -> bool {
        let entry = self.segments.get(&number).and_then(|segment| segment.entry(tag)).copied();
        let Some(entry) = entry else { return false };
        let (mut records, mut bytes, mut first) = (0_u32, 0_u32, None);
        let read = self.for_each_record(number, |head, size| {
            let inside = (entry.first..=entry.last).contains(&head.sequence);
            if head.tag == tag && inside && marks.keeps(head.sequence) {
                records += 1;
                bytes = bytes.saturating_add(size);
                first = first.or(Some((head.sequence, head.spool_ms)));
            }
        });
        if read.is_err() {
            return false;
        }
        let exponent = marks.exponent(entry.last);
        if let Some(entry) =
            self.segments.get_mut(&number).and_then(|segment| segment.entry_mut(tag))
        {
            let gone = entry.records.saturating_sub(records);
            let gone_bytes = entry.bytes.saturating_sub(bytes);
            (entry.records, entry.bytes, entry.exponent) = (records, bytes, exponent);
            if let Some(first) = first {
                (entry.first, entry.oldest_ms) = first;
            }
            self.dropped(tag, fate, u64::from(gone), u64::from(gone_bytes));
        }
        if let Some(stream) = self.streams.get_mut(&tag) {
            let counts = stream.marks.counts;
            stream.marks = Marks { counts, ..marks };
            stream.marks_dirty = true;
            let kept = |sequence: u64| stream.marks.keeps(sequence);
            stream.out.retain(|&sequence, _| kept(sequence));
            stream.want = stream.want.max(stream.marks.floor);
            stream.settle();
        }
        true
    }

    /// Thins the oldest segment of a stream that is finer than those before it; once all are alike, the oldest. False when
    /// everything is as coarse as it may be.
    fn thin_oldest(&mut self, tag: StreamTag) -> bool {
        let Some(stream) = self.streams.get(&tag) else { return false };
        let newest = self.segments.keys().next_back().copied().unwrap_or(0);
        let mut coarsest = 0;
        let mut target = None;
        for (&number, segment) in self.segments.range(stream.oldest_segment..newest) {
            let Some(entry) = segment.entry(tag).filter(|entry| entry.records > 0) else {
                continue;
            };
            let exponent = stream.marks.exponent(entry.last);
            if target.is_none() {
                (coarsest, target) = (exponent, Some((number, entry.last, exponent + 1)));
            }
            if exponent < coarsest {
                target = Some((number, entry.last, coarsest));
                break;
            }
        }
        let Some((number, last, exponent)) = target.filter(|target| target.2 <= THIN_EXPONENT_MAX)
        else {
            return false;
        };
        // The rule covers everything before, too. That is as coarse already, because the sweep comes from there.
        let mut marks = stream.marks.clone();
        marks.thin(last + 1, exponent);
        self.recount(number, tag, Fate::Thinned, marks)
    }

    pub(crate) fn make_memory_room(
        &mut self,
        stream: StreamTag,
        size: usize,
        now: BootMs,
    ) -> Result<(), AppendError> {
        let need = size + PENDING_OVERHEAD_BYTES;
        let limit = self.options.memory_bytes;
        if self.pending_weight + need <= limit {
            return Ok(());
        }
        self.commit(now);
        let unlimited = self.options.write_bytes_per_day.is_none();
        let (fate, error) = if self.health.is_degraded() {
            (Fate::Storage, AppendError::Degraded)
        } else if unlimited || self.room_for_records() < record_log_bytes(size) {
            (Fate::Full, AppendError::Full)
        } else {
            (Fate::WriteBudget, AppendError::WriteBudget)
        };
        while self.pending_weight + need > limit {
            if !self.shed_pending(stream, fate) {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Drops something that waits in memory, of the least important stream that has something to give.
    fn shed_pending(&mut self, newcomer: StreamTag, fate: Fate) -> bool {
        let priority = self.streams.get(&newcomer).map_or(0, |stream| stream.policy().priority);
        let victim = self
            .streams
            .iter()
            .filter(|(_, stream)| {
                let policy = stream.policy();
                !stream.pending.is_empty()
                    && policy.priority >= priority
                    && policy.at_bound != AtBound::Refuse
            })
            .max_by_key(|(_, stream)| (stream.policy().priority, stream.pending.len()));
        let Some((&tag, stream)) = victim else { return false };
        let thin = stream.policy().at_bound == AtBound::Thin;
        let step = if thin { 2 } else { stream.pending.len() };
        let gone: Vec<(u64, u32)> = stream
            .pending
            .iter()
            .step_by(step)
            .map(|pending| (pending.sequence, pending.payload.len() as u32))
            .collect();
        for (sequence, size) in gone {
            self.free(tag, sequence, size, fate);
        }
        true
    }

    /// The file system itself is full: gives back a segment although the log cannot say so. What is gone already goes first,
    /// then what the rules would drop next.
    pub(crate) fn give_way(&mut self) -> bool {
        if self.remove_dead() {
            return true;
        }
        self.drop_least_important(0) && self.remove_dead()
    }
}

/// Whether a segment can be given back, or is worth rewriting, once `gone` of its live bytes are gone, too.
pub(crate) fn gives_back(segment: &Segment, gone: u64) -> bool {
    let live = segment.live_bytes().saturating_sub(gone);
    if live == 0 {
        return true;
    }
    let before = on_disk(segment.file_bytes);
    before.saturating_sub(on_disk(rewritten_bytes(live))) * REWRITE_DEAD_DIVISOR >= before
}

/// What a segment with so many live bytes has after it was rewritten, at most.
fn rewritten_bytes(live: u64) -> u64 {
    live + (SEGMENT_HEADER_BYTES + FRAME_HEADER_BYTES + Index::body_bytes(STREAMS_MAX)) as u64
}
