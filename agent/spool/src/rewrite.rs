//! Replacing a segment by what is live in it, and setting aside what was found bad. A rewritten segment is a subset of the old
//! one under marks that are durable, so it does not matter which of the two a crash leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use crate::body::{Index, IndexEntry, RECORD_HEAD_BYTES, RecordHead};
use crate::error::DiskError;
use crate::frame::{self, FRAME_HEADER_BYTES, Kind, SEGMENT_HEADER_BYTES};
use crate::limits::{
    QUARANTINE_BUDGET_DIVISOR, QUARANTINE_BYTES_MAX, QUARANTINE_FILE_BYTES_MAX, SCAN_BUFFER_BYTES,
    WRITE_BUFFER_BYTES, on_disk,
};
use crate::marks::Marks;
use crate::options::{Fate, StreamTag};
use crate::room::gives_back;
use crate::scan::Scanner;
use crate::spool::Spool;
use crate::state::{Cursor, Retry, Segment, Stream, count_record};
use crate::storage::Storage;
use crate::survey::{Hole, Survey, survey};
use crate::write::Batch;

/// Folder, below a spool's own, of copies of what was damaged.
pub const QUARANTINE: &str = "quarantine";

/// Which records of a segment are live.
pub(crate) struct Live {
    entries: Vec<IndexEntry>,
    marks: BTreeMap<StreamTag, Marks>,
}

impl Live {
    pub(crate) fn keeps(&self, head: &RecordHead) -> bool {
        let Ok(at) = self.entries.binary_search_by_key(&head.tag, |entry| entry.tag) else {
            return false;
        };
        (self.entries[at].first..=self.entries[at].last).contains(&head.sequence)
            && self.marks.get(&head.tag).is_some_and(|marks| marks.keeps(head.sequence))
    }
}

impl<S: Storage> Spool<S> {
    /// Rewrites the segment from which most would come back; false when none is worth it.
    pub(crate) fn rewrite_sparse(&mut self) -> bool {
        let Some(&newest) = self.segments.keys().next_back() else { return false };
        let allowance = self.meter.level();
        let may_rewrite = self.may_rewrite();
        let worth = self.segments.range(..newest).filter(|(_, segment)| {
            may_rewrite(segment) && gives_back(segment, 0) && segment.live_bytes() <= allowance
        });
        let most = worth.max_by_key(|(_, segment)| segment.dead_bytes());
        let Some((&number, _)) = most else { return false };
        self.try_rewrite(number)
    }

    /// Rewrites up to `most` segments that recovery or reading found broken or unsealed, the newest one, too.
    pub(crate) fn put_in_order(&mut self, most: usize) {
        let newest = self.segments.last_key_value();
        let newest_is_broken = newest.is_some_and(|(_, segment)| segment.rewrite);
        if newest_is_broken && self.tail.is_none() && !self.begin_segment() {
            return;
        }
        for _ in 0..most {
            if !self.rewrite_one_left_over() {
                break;
            }
        }
    }

    /// Rewrites one segment that recovery or reading found broken or unsealed; false when there is none or it failed.
    pub(crate) fn rewrite_one_left_over(&mut self) -> bool {
        let Some(&newest) = self.segments.keys().next_back() else { return false };
        let allowance = self.meter.level();
        let may_rewrite = self.may_rewrite();
        let broken = self.segments.range(..newest).find(|(_, segment)| {
            segment.rewrite && may_rewrite(segment) && segment.live_bytes() <= allowance
        });
        let Some((&number, _)) = broken else { return false };
        self.try_rewrite(number)
    }

    /// Which segments can be read and have not just failed to be rewritten.
    fn may_rewrite(&self) -> impl Fn(&Segment) -> bool + use<S> {
        let spool_ms = self.clock.last();
        move |segment| !segment.is_unreadable() && !segment.rewriting.waits(spool_ms)
    }

    fn try_rewrite(&mut self, number: u64) -> bool {
        match self.rewrite(number) {
            Ok(()) => true,
            Err(_) => {
                let temporary = frame::temporary_name(self.place(number));
                let _ = self.storage.remove(&temporary);
                // It is still as good as it was.
                let spool_ms = self.clock.last();
                if let Some(segment) = self.segments.get_mut(&number) {
                    segment.rewriting.failed(spool_ms);
                }
                false
            }
        }
    }

    /// Which records of a segment are live.
    pub(crate) fn live(&self, number: u64) -> Live {
        let entries = self.segments.get(&number).map_or_else(Vec::new, |s| s.entries.clone());
        let marks = entries
            .iter()
            .filter_map(|entry| Some((entry.tag, self.streams.get(&entry.tag)?.marks.clone())));
        Live { marks: marks.collect(), entries }
    }

    fn rewrite(&mut self, number: u64) -> Result<(), DiskError> {
        let place = self.place(number);
        let (name, temporary) = (frame::segment_name(place), frame::temporary_name(place));
        let live = self.live(number);
        let bytes = self.segments.get(&number).map_or(0, |segment| segment.bytes);
        let fail = |operation, error| DiskError::new(operation, &name, error);
        let file = self.storage.open(&name, false).map_err(|error| fail("open", error))?;
        // One that was left over by a failure.
        let _ = self.storage.remove(&temporary);
        let mut copy = self.storage.create(&temporary).map_err(|error| fail("rewrite", error))?;
        let mut batch = Batch::new(place, 0);
        batch.segment_header();
        let mut entries = Vec::new();
        let mut out = BTreeSet::new();
        let mut at = SEGMENT_HEADER_BYTES as u64;
        loop {
            let mut scanner =
                Scanner::new(&mut self.storage, &file, place, bytes, SCAN_BUFFER_BYTES);
            let some = next_live(&mut scanner, &mut at, &live);
            if scanner.unreadable() > 0 {
                // What cannot be read now may be readable later.
                return Err(fail("read", io::Error::other("unreadable bytes")));
            }
            if some.is_empty() {
                break;
            }
            for (head, payload) in some {
                let size = payload.len() as u32;
                batch
                    .record(&mut self.storage, &mut copy, &head.encode(), &payload)
                    .map_err(|error| fail("rewrite", error))?;
                count_record(&mut entries, head.tag, head.sequence, size, head.spool_ms);
                if is_out(&self.streams, &head) {
                    out.insert((head.tag, head.sequence));
                }
            }
        }
        for entry in &mut entries {
            entry.exponent = live.marks.get(&entry.tag).map_or(0, |m| m.exponent(entry.last));
        }
        let index = Index { data_bytes: batch.end(), entries };
        batch.frame(Kind::Index, &index.encode(FRAME_HEADER_BYTES));
        batch
            .flush(&mut self.storage, &mut copy)
            .and_then(|()| self.storage.sync(&mut copy))
            .map_err(|error| fail("rewrite", error))?;
        self.storage.rename(&temporary, &name).map_err(|error| fail("replace", error))?;
        // If this fails a crash may bring back the old one, with an index that nobody has vouched for.
        let durable = self.storage.sync_folder("").is_ok();
        self.written += batch.end();
        self.meter.spend(batch.end());
        self.count_lost(number, index.entries, &out);
        self.replaced(number, batch.end(), durable);
        Ok(())
    }

    /// A segment has these contents now.
    fn replaced(&mut self, number: u64, bytes: u64, durable: bool) {
        self.set_file_bytes(number, bytes);
        if let Some(segment) = self.segments.get_mut(&number) {
            segment.bytes = bytes;
            segment.sealed = durable;
            if durable {
                segment.entries.retain(|entry| entry.records > 0);
            }
            segment.rewrite = false;
            segment.rewriting = Retry::default();
        }
        self.readers.retain(|_, (segment, _)| *segment != number);
        for stream in self.streams.values_mut() {
            if stream.cursor.segment == number {
                stream.cursor = Cursor::start_of(number);
            }
        }
    }

    /// Takes over what was found in a segment; what is less than before is lost. Of what is handed out `out` was found: the
    /// rest is lost, too, and its acknowledgement, should it come, must not count it once more.
    fn count_lost(
        &mut self,
        number: u64,
        found: Vec<IndexEntry>,
        out: &BTreeSet<(StreamTag, u64)>,
    ) {
        let Some(segment) = self.segments.get_mut(&number) else { return };
        let after = found.clone();
        let before = segment.set_live(found);
        for old in before {
            let new = after.iter().find(|new| new.tag == old.tag);
            let (records, bytes) = new.map_or((0, 0), |new| (new.records, new.bytes));
            let lost = old.records.saturating_sub(records);
            let lost_bytes = old.bytes.saturating_sub(bytes);
            if let Some(stream) = self.streams.get_mut(&old.tag) {
                let gone = stream.out.range(old.first..=old.last);
                let gone = gone.filter(|(sequence, _)| !out.contains(&(old.tag, **sequence)));
                let gone: Vec<(u64, u32)> = gone.map(|(&at, known)| (at, known.size)).collect();
                for (sequence, size) in gone {
                    stream.out.remove(&sequence);
                    stream.marks.gone.insert(sequence, size);
                    stream.marks_dirty = true;
                }
                stream.settle();
            }
            self.dropped(old.tag, Fate::Lost, u64::from(lost), u64::from(lost_bytes));
        }
    }

    /// Reads every segment and notes what is bad, also in those whose index was believed.
    pub(crate) fn verify(&mut self) {
        let numbers: Vec<u64> = self.segments.keys().copied().collect();
        for number in numbers {
            let place = self.place(number);
            let bytes = self.segments.get(&number).map_or(0, |segment| segment.bytes);
            let file = self.storage.open(&frame::segment_name(place), false);
            // What cannot be read now may be readable later.
            let Ok(file) = file else {
                self.damage.unreadable_bytes += bytes;
                continue;
            };
            let found = survey(&mut self.storage, &file, place, bytes, |_| false);
            if found.unreadable > 0 {
                self.damage.unreadable_bytes += found.unreadable;
            } else if !found.holes.is_empty() {
                self.look_again(number);
            }
        }
    }

    /// A bad place was met in a segment: reads all of it, counts what is left, keeps a copy of what is bad. False when it
    /// cannot be read and it is too early to give that up; then nothing changed.
    pub(crate) fn look_again(&mut self, number: u64) -> bool {
        let place = self.place(number);
        let name = frame::segment_name(place);
        let live = self.live(number);
        let Some(segment) = self.segments.get(&number) else { return true };
        let (bytes, given_up) = (segment.bytes, segment.given_up);
        let file = match self.storage.open(&name, false) {
            Ok(file) => file,
            Err(error) => {
                let given_up = self.gives_up(number, DiskError::new("open", &name, error));
                if given_up {
                    self.damage.damaged_segments += 1;
                    self.damage.unreadable_bytes += bytes;
                    self.give_up_segment(number);
                }
                return given_up;
            }
        };
        let streams = &self.streams;
        let mut out = BTreeSet::new();
        let mut found = survey(&mut self.storage, &file, place, bytes, |head| {
            let keeps = live.keeps(head);
            if keeps && is_out(streams, head) {
                out.insert((head.tag, head.sequence));
            }
            keeps
        });
        if found.unreadable > given_up {
            let error = io::Error::other(format!("{} bytes are unreadable", found.unreadable));
            if !self.gives_up(number, DiskError::new("read", &name, error)) {
                return false;
            }
        }
        let Some(segment) = self.segments.get_mut(&number) else { return true };
        let was_failing = segment.failing.take().is_some();
        let sound = found.holes.is_empty() && found.unreadable == 0;
        // All of it had been durable.
        found.durable = u64::MAX;
        for entry in &mut found.entries {
            entry.exponent = live.marks.get(&entry.tag).map_or(0, |m| m.exponent(entry.last));
        }
        segment.given_up = found.unreadable;
        if !(was_failing && sound) {
            segment.rewrite = true;
            self.damage.damaged_segments += 1;
        }
        self.note_damage(number, &file, &found);
        if found.frames == 0 && found.unreadable > 0 {
            self.give_up_segment(number);
        } else {
            self.count_lost(number, found.entries, &out);
        }
        true
    }

    /// Nothing of a segment can be read, and it was given up: its records are lost, and its file is kept for people.
    fn give_up_segment(&mut self, number: u64) {
        self.count_lost(number, Vec::new(), &BTreeSet::new());
        let bytes = self.segments.get(&number).map_or(0, |segment| segment.file_bytes);
        let is_newest = self.segments.keys().next_back() == Some(&number);
        let name = frame::segment_name(self.place(number));
        if !is_newest && self.move_to_quarantine(&name, bytes) {
            self.forget_segment(number);
        }
    }

    /// Counts damage and sets copies of it aside.
    pub(crate) fn note_damage(&mut self, number: u64, file: &S::File, found: &Survey) {
        self.damage.unreadable_bytes += found.unreadable;
        self.damage.damaged_bytes += found.damaged_bytes();
        if found.damaged_bytes() > 0 {
            self.events.damaged(found.damaged_bytes());
        }
        for hole in found.damage() {
            self.set_aside(number, file, *hole);
        }
    }

    /// Bytes that quarantine may still take.
    pub(crate) fn quarantine_room(&self) -> u64 {
        let limit = self.options.budget_bytes / QUARANTINE_BUDGET_DIVISOR;
        limit.min(QUARANTINE_BYTES_MAX).saturating_sub(self.quarantine_bytes)
    }

    fn set_aside(&mut self, number: u64, file: &S::File, hole: Hole) {
        let size = hole.bytes().min(QUARANTINE_FILE_BYTES_MAX);
        let stem = format!("{number:010}-{:016x}-{}", self.id, hole.start);
        if !self.locked || on_disk(size) > self.quarantine_room() {
            self.damage.quarantine_refused += 1;
            return;
        }
        match self.copy_hole(&format!("{QUARANTINE}/{stem}.bad"), file, hole.start, size) {
            Ok(()) => {
                self.quarantine_bytes += on_disk(size);
                self.damage.quarantined_files += 1;
            }
            // The same damage, seen once more.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(_) => self.damage.quarantine_refused += 1,
        }
    }

    fn copy_hole(&mut self, name: &str, file: &S::File, start: u64, size: u64) -> io::Result<()> {
        let mut bytes = vec![0; size as usize];
        let read = self.storage.read_at(file, start, &mut bytes)?;
        let mut copy = self.storage.create(name)?;
        self.storage.append(&mut copy, 0, &bytes[..read])?;
        self.storage.sync(&mut copy)
    }
}

/// Whether a record is handed out.
fn is_out(streams: &BTreeMap<StreamTag, Stream>, head: &RecordHead) -> bool {
    streams.get(&head.tag).is_some_and(|stream| stream.out.contains_key(&head.sequence))
}

/// The next live records at or behind `at`, as many as are written at once; `at` is behind them afterwards.
fn next_live<S: Storage>(
    scanner: &mut Scanner<'_, S>,
    at: &mut u64,
    live: &Live,
) -> Vec<(RecordHead, Vec<u8>)> {
    let mut some = Vec::new();
    let mut bytes = 0;
    while bytes < WRITE_BUFFER_BYTES
        && let Some(frame) = scanner.find(*at)
    {
        *at = frame.end();
        if frame.kind != Kind::Record {
            continue;
        }
        let Some(head) = RecordHead::decode(scanner.body(&frame, RECORD_HEAD_BYTES)) else {
            continue;
        };
        if live.keeps(&head)
            && let Some(payload) = scanner.copy_body(&frame, RECORD_HEAD_BYTES)
        {
            bytes += frame.body_bytes;
            some.push((head, payload));
        }
    }
    some
}
