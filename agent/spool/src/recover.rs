//! Opening: finds out from the files alone what is there. Each step is in the README under "Recovery".

use std::collections::BTreeMap;
use std::io;
use std::ops::RangeInclusive;

use crate::body::{Checkpoint, Gauge, IndexEntry};
use crate::clock::SpoolClock;
use crate::error::{DiskError, OpenError};
use crate::files::{LOCK_NAME, USER_PREFIX};
use crate::frame::{self, Place, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::limits::{STREAMS_MAX, on_disk};
use crate::marks::Marks;
use crate::meter::Meter;
use crate::options::{BootMs, Fate, StreamTag};
use crate::rewrite::QUARANTINE;
use crate::spool::Spool;
use crate::state::{Segment, Stream};
use crate::storage::{Entry, Lock, Storage};
use crate::survey::{Survey, read_index, survey};
use crate::write::Tail;

/// The tail is used again when at least this part of it is free.
const RESUME_FREE_DIVISOR: u64 = 8;
/// Longest text in the lock file that is read.
const LOCK_BYTES_MAX: usize = 64;
/// What the lock file says before the spool's identity.
const LOCK_WORD: &str = "spool ";

/// What the segments read so far say about the state, newest first.
#[derive(Default)]
struct Findings {
    /// Surveys from the newest segment back to one with a checkpoint.
    newest: Vec<Survey>,
    /// Older segments that the newest checkpoint vouches for; `None` while there is no checkpoint.
    sealed: Option<Vec<RangeInclusive<u64>>>,
    /// Lowest sequence of each stream in the segments read so far.
    lowest: BTreeMap<StreamTag, u64>,
    /// The tail can be appended to: its number and all its records.
    resume: Option<(u64, Vec<IndexEntry>)>,
    /// What the disk said when it would not read something, the first time.
    unread: Option<DiskError>,
}

impl Findings {
    fn not_read(&mut self, operation: &'static str, name: &str, error: io::Error) {
        self.unread.get_or_insert_with(|| DiskError::new(operation, name, error));
    }

    fn all_was_read(&mut self) -> Result<(), OpenError> {
        self.unread.take().map_or(Ok(()), |error| Err(OpenError::Unreadable(error)))
    }
}

impl<S: Storage> Spool<S> {
    pub(crate) fn recover(&mut self, now: BootMs) -> Result<(), OpenError> {
        match self.storage.lock() {
            Ok(Lock::Held) => self.locked = true,
            Ok(Lock::Taken) => return Err(OpenError::Locked),
            Err(error) => self.degrade(&DiskError::new("lock", LOCK_NAME, error), 0),
        }
        let files = self.storage.list("");
        let files = files.map_err(|e| OpenError::Unreadable(DiskError::new("list", "files", e)))?;
        self.count_quarantine();
        let segments = self.sort_files(&files)?;
        let mut findings = Findings::default();
        let mut unread_newest = None;
        for &(number, bytes) in segments.iter().rev() {
            let is_newest = self.segments.is_empty();
            self.read_segment(number, bytes, &mut findings);
            if is_newest && findings.unread.is_some() {
                if !self.options.without_newest {
                    findings.all_was_read()?;
                }
                unread_newest.get_or_insert((number, bytes));
            }
        }
        // A disk that came back while it was asked is asked once more, for everything.
        let came_back =
            unread_newest.is_some_and(|(number, bytes)| self.is_readable(number, bytes));
        if came_back || self.segments.is_empty() {
            findings.all_was_read()?;
        }
        let resume = findings.resume.take();
        self.take_state(findings, now);
        self.count_live();
        self.count_missing();
        self.resume_tail(resume);
        self.health.retry_now();
        Ok(())
    }

    fn count_quarantine(&mut self) {
        let files = self.storage.list(QUARANTINE).unwrap_or_default();
        self.quarantine_bytes = files.iter().map(|file| on_disk(file.bytes)).sum();
        self.damage.quarantined_files = files.len() as u64;
    }

    /// Decides which spool this is; its segments with their lengths, ascending.
    fn sort_files(&mut self, files: &[Entry]) -> Result<Vec<(u64, u64)>, OpenError> {
        let named = |entry: &Entry| frame::parse_name(&entry.name);
        let mut by_spool: BTreeMap<u64, u64> = BTreeMap::new();
        for (place, temporary) in files.iter().filter_map(named) {
            *by_spool.entry(place.spool).or_default() += u64::from(!temporary);
        }
        let note = self.noted_id();
        let is_unread = note.is_err();
        let noted = match note {
            // Whose of these is to be opened is not to be guessed from a disk that may read it in a moment.
            Err(error) if by_spool.len() > 1 && !self.options.without_newest => {
                return Err(OpenError::Unreadable(DiskError::new("read", LOCK_NAME, error)));
            }
            note => note.ok().flatten(),
        };
        let most = by_spool.iter().max_by_key(|(_, number)| **number).map(|(&id, _)| id);
        let noted_here = noted.filter(|id| by_spool.is_empty() || by_spool.contains_key(id));
        self.id = noted_here.or(most).unwrap_or(self.id);
        if self.locked && !is_unread && noted != Some(self.id) {
            self.note_id();
        }
        self.strangers = self.count_strangers(files);
        let mut segments = Vec::new();
        for entry in files {
            match frame::parse_name(&entry.name) {
                Some((Place { spool, segment }, temporary)) if spool == self.id => {
                    self.next_segment = self.next_segment.max(segment + 1);
                    if !temporary {
                        segments.push((segment, entry.bytes));
                    } else if self.locked {
                        // If it stays, the next rewriting removes it.
                        let _ = self.storage.remove(&entry.name);
                    }
                }
                Some(_) => self.damage.foreign_files += 1,
                None if entry.name == LOCK_NAME || entry.name.starts_with(USER_PREFIX) => {}
                None => self.damage.foreign_files += 1,
            }
        }
        segments.sort_unstable();
        Ok(segments)
    }

    /// Segments of other spools.
    pub(crate) fn count_strangers(&self, files: &[Entry]) -> usize {
        let places = files.iter().filter_map(|entry| frame::parse_name(&entry.name));
        places.filter(|(place, temporary)| place.spool != self.id && !temporary).count()
    }

    /// The identity that the lock file notes. Only a hint for the case that files of several spools are here.
    fn noted_id(&mut self) -> io::Result<Option<u64>> {
        let file = match self.storage.open(LOCK_NAME, false) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let mut text = [0; LOCK_BYTES_MAX];
        let read = self.storage.read_at(&file, 0, &mut text)?;
        let text = std::str::from_utf8(&text[..read]).ok();
        let number = text.and_then(|text| text.strip_prefix(LOCK_WORD));
        Ok(number.and_then(|number| u64::from_str_radix(number.trim_end(), 16).ok()))
    }

    /// Best effort: without the note the files decide by their number.
    fn note_id(&mut self) {
        let Ok(mut file) = self.storage.open(LOCK_NAME, true) else { return };
        let text = format!("{LOCK_WORD}{:016x}\n", self.id);
        let written = self
            .storage
            .truncate(&mut file, 0)
            .and_then(|()| self.storage.append(&mut file, 0, text.as_bytes()));
        if written.is_ok() {
            let _ = self.storage.sync(&mut file);
        }
    }

    /// Reads one segment; newer ones have been read.
    fn read_segment(&mut self, number: u64, length: u64, findings: &mut Findings) {
        let place = self.place(number);
        let name = frame::segment_name(place);
        let newest =
            self.segments.is_empty() && findings.newest.is_empty() && findings.unread.is_none();
        if length == 0 {
            // Made just before the power went; nothing in it was ever durable.
            if self.locked {
                let _ = self.storage.remove(&name);
            }
            return;
        }
        let file = match self.storage.open(&name, false) {
            Ok(file) => file,
            Err(error) => {
                findings.not_read("open", &name, error);
                self.leave(length, length);
                return;
            }
        };
        match self.peek_header(&file, place) {
            SegmentHeader::Newer(_) => {
                self.damage.newer_files += 1;
                return;
            }
            SegmentHeader::Other => {
                self.damage.foreign_files += 1;
                return;
            }
            SegmentHeader::Good | SegmentHeader::Bad => {}
        }
        let ranges = findings.sealed.as_deref().unwrap_or(&[]);
        let vouched = ranges.iter().any(|range| range.contains(&number));
        if vouched
            && let Some(index) = read_index(&mut self.storage, &file, place, length)
            && index.entries.iter().all(|entry| {
                findings.lowest.get(&entry.tag).is_none_or(|&lowest| entry.last < lowest)
            })
        {
            let entries = index.entries;
            let segment = Segment { bytes: length, sealed: true, entries, ..Segment::default() };
            self.take_segment(number, length, segment, findings);
            return;
        }
        let lowest = &findings.lowest;
        let mut found = survey(&mut self.storage, &file, place, length, |head| {
            lowest.get(&head.tag).is_none_or(|&lowest| head.sequence < lowest)
        });
        if found.unreadable > 0 {
            let text = format!("{} of {length} bytes are unreadable", found.unreadable);
            findings.not_read("read", &name, io::Error::other(text));
        }
        if found.frames == 0 {
            match found.unreadable {
                0 => self.set_aside_file(&name, length),
                unreadable => self.leave(length, unreadable),
            }
            return;
        }
        if vouched {
            found.durable = u64::MAX;
        }
        let synced = vouched || self.sync_recovered(&name);
        self.damage.torn_bytes += found.torn_bytes();
        if found.damaged_bytes() > 0 || found.unreadable > 0 {
            self.damage.damaged_segments += 1;
            self.note_damage(number, &file, &found);
        }
        let whole = found.header == SegmentHeader::Good
            && found.unreadable == 0
            && found.holes.iter().all(|hole| hole.end == length && hole.start == found.end);
        // That it could be synced now proves little: a kernel that failed to write pages reports it once, to a process that may
        // be gone, and keeps showing them. Only a copy is sure.
        let sealed = vouched && whole && found.index.is_some();
        let room = self.segment_bytes - self.segment_bytes / RESUME_FREE_DIVISOR;
        if newest && whole && synced && found.index.is_none() && found.end < room {
            findings.resume = Some((number, found.entries.clone()));
        }
        let segment = Segment {
            bytes: found.end,
            sealed,
            rewrite: !sealed,
            given_up: found.unreadable,
            entries: found.entries.clone(),
            ..Segment::default()
        };
        self.take_segment(number, length, segment, findings);
        if findings.sealed.is_none() {
            findings.sealed = found.checkpoint.as_ref().map(|newest| newest.sealed.clone());
            findings.newest.push(found);
        }
    }

    fn is_readable(&mut self, number: u64, length: u64) -> bool {
        let place = self.place(number);
        let file = self.storage.open(&frame::segment_name(place), false);
        file.is_ok_and(|file| {
            survey(&mut self.storage, &file, place, length, |_| true).unreadable == 0
        })
    }

    /// A segment of which nothing can be read stays where it is: a later opening may take in what the floor has not passed by then.
    fn leave(&mut self, length: u64, unreadable: u64) {
        self.damage.damaged_segments += 1;
        self.damage.unreadable_bytes += unreadable;
        self.left_bytes += on_disk(length);
    }

    fn peek_header(&mut self, file: &S::File, place: Place) -> SegmentHeader {
        let mut header = [0; SEGMENT_HEADER_BYTES];
        match self.storage.read_at(file, 0, &mut header) {
            Ok(read) => frame::parse_segment_header(place, &header[..read]),
            Err(_) => SegmentHeader::Bad,
        }
    }

    fn take_segment(
        &mut self,
        number: u64,
        length: u64,
        segment: Segment,
        findings: &mut Findings,
    ) {
        for entry in &segment.entries {
            let lowest = findings.lowest.entry(entry.tag).or_insert(entry.first);
            *lowest = (*lowest).min(entry.first);
        }
        self.segments.insert(number, segment);
        self.set_file_bytes(number, length);
    }

    /// What a process left in the page cache when it was killed reads like what is durable, so it is made so.
    /// False when it cannot be; then it will be copied.
    fn sync_recovered(&mut self, name: &str) -> bool {
        let file = self.storage.open(name, true);
        file.is_ok_and(|mut file| self.storage.sync(&mut file).is_ok())
    }

    /// A file in which nothing is valid, although all of it could be read, goes to quarantine as a whole. Where there is no room it
    /// is removed: power cuts leave such files, and none of them ever gives its place back.
    fn set_aside_file(&mut self, name: &str, length: u64) {
        self.damage.torn_bytes += length;
        let is_gone = self.move_to_quarantine(name, length)
            || (self.locked && self.storage.remove(name).is_ok());
        if !is_gone {
            self.left_bytes += on_disk(length);
        }
    }

    /// False when there is no room, or it cannot be moved.
    pub(crate) fn move_to_quarantine(&mut self, name: &str, length: u64) -> bool {
        let target = format!("{QUARANTINE}/{name}");
        let room = self.locked && self.quarantine_room() >= on_disk(length);
        // Making a file there makes the folder; the rename then takes its place.
        if room
            && self.storage.create(&target).is_ok()
            && self.storage.rename(name, &target).is_ok()
        {
            self.quarantine_bytes += on_disk(length);
            self.damage.quarantined_files += 1;
            true
        } else {
            self.damage.quarantine_refused += 1;
            false
        }
    }

    /// Puts together what the newest segments say.
    fn take_state(&mut self, findings: Findings, now: BootMs) {
        let mut gauge: Option<Gauge> = None;
        let mut last_session = None;
        for found in findings.newest.into_iter().rev() {
            gauge = found.gauge.or(gauge);
            if let Some(checkpoint) = found.checkpoint {
                let Checkpoint { boot_id, boot_ms, gauge, streams, .. } = checkpoint;
                last_session = Some((boot_id, boot_ms, gauge.spool_ms));
                self.streams = streams
                    .into_iter()
                    .map(|(tag, definition, marks)| (tag, Stream::new(definition, marks)))
                    .collect();
            }
            for (tag, definition) in found.definitions {
                let stream = self.streams.entry(tag);
                let stream = stream.or_insert_with(|| Stream::new(None, Marks::new()));
                stream.definition = Some(definition);
            }
            for (tag, marks) in found.marks {
                let definition = self.streams.remove(&tag).and_then(|stream| stream.definition);
                self.streams.insert(tag, Stream::new(definition, marks));
            }
        }
        self.take_unknown_streams();
        let newest_record =
            self.segments.values().flat_map(|s| &s.entries).map(|entry| entry.newest_ms).max();
        let newest_ms = gauge.map_or(0, |gauge| gauge.spool_ms).max(newest_record.unwrap_or(0));
        self.clock = SpoolClock::resume(newest_ms, last_session, &self.session, now);
        self.written = gauge.map_or(0, |gauge| gauge.written);
        let level = gauge.map(|gauge| gauge.allowance);
        let per_day = self.options.write_bytes_per_day;
        self.meter = Meter::resume(per_day, level, self.clock.last());
    }

    /// Streams of which only records are left.
    fn take_unknown_streams(&mut self) {
        let entries = self.segments.values().flat_map(|segment| &segment.entries);
        let mut ranges: BTreeMap<StreamTag, (u64, u64)> = BTreeMap::new();
        for entry in entries {
            let range = ranges.entry(entry.tag).or_insert((entry.first, entry.last));
            *range = (range.0.min(entry.first), range.1.max(entry.last));
        }
        for (tag, (first, last)) in ranges {
            if !self.streams.contains_key(&tag) && self.streams.len() < STREAMS_MAX {
                let marks = Marks { floor: first, ..Marks::new() };
                self.streams.insert(tag, Stream::new(None, marks));
            }
            if let Some(stream) = self.streams.get_mut(&tag) {
                stream.marks.next = stream.marks.next.max(last + 1);
                stream.reported = stream.marks.next - 1;
                stream.want = stream.marks.floor;
            }
        }
    }

    /// From all records to live ones.
    fn count_live(&mut self) {
        let numbers: Vec<u64> = self.segments.keys().copied().collect();
        for number in numbers {
            let Some(segment) = self.segments.get_mut(&number) else { continue };
            let streams = &self.streams;
            segment.entries.retain(|entry| streams.contains_key(&entry.tag));
            let mut live = segment.entries.clone();
            live.retain(|entry| {
                streams.get(&entry.tag).is_some_and(|stream| entry.last >= stream.marks.floor)
            });
            segment.set_live(live);
            let partly = segment.entries.iter().filter(|entry| entry.records > 0).any(|entry| {
                streams.get(&entry.tag).is_some_and(|stream| {
                    let marks = &stream.marks;
                    entry.first < marks.floor
                        || marks.exponent(entry.last) != entry.exponent
                        || marks.gone.range(entry.first..=entry.last).next().is_some()
                })
            });
            if partly {
                self.count_live_in(number);
            }
            let Some(segment) = self.segments.get(&number) else { continue };
            for entry in &segment.entries {
                if let Some(stream) = self.streams.get_mut(&entry.tag) {
                    stream.on_disk.records += u64::from(entry.records);
                    stream.on_disk.bytes += u64::from(entry.bytes);
                }
            }
        }
    }

    fn count_live_in(&mut self, number: u64) {
        let place = self.place(number);
        let live = self.live(number);
        let Some(segment) = self.segments.get_mut(&number) else { return };
        let (bytes, length) = (segment.bytes, segment.file_bytes);
        let file = self.storage.open(&frame::segment_name(place), false).ok();
        let found = file
            .map(|file| survey(&mut self.storage, &file, place, bytes, |head| live.keeps(head)));
        let Some(found) = found.filter(|found| found.frames > 0 || found.unreadable == 0) else {
            self.forget_segment(number);
            self.leave(length, length);
            return;
        };
        let Some(segment) = self.segments.get_mut(&number) else { return };
        let thinner = |entry: &IndexEntry| {
            let exponent = self.streams.get(&entry.tag).map_or(0, |s| s.marks.exponent(entry.last));
            (exponent, exponent != entry.exponent)
        };
        let mut live = segment.entries.iter().filter(|entry| entry.records > 0);
        segment.rewrite |= live.any(|entry| thinner(entry).1);
        segment.set_live(found.entries);
        for entry in &mut segment.entries {
            entry.exponent = thinner(entry).0;
        }
    }

    /// What was given a number and is neither here nor counted is lost; what is here although it was counted is not.
    fn count_missing(&mut self) {
        for (&tag, stream) in &mut self.streams {
            let held = stream.on_disk.records;
            stream.marks_dirty |= stream.marks.take_back_lost(held);
            let missing = stream.marks.missing(held);
            if missing > 0 {
                stream.marks.counts.add(Fate::Lost, missing, 0);
                stream.marks_dirty = true;
                self.events.dropped(tag, Fate::Lost, missing, 0);
            }
        }
    }

    /// Cuts a torn end off the tail and makes it ready to be appended to; otherwise the next commit begins a segment.
    fn resume_tail(&mut self, resume: Option<(u64, Vec<IndexEntry>)>) {
        let Some((number, index)) = resume.filter(|_| self.locked) else { return };
        let Some(segment) = self.segments.get_mut(&number) else { return };
        let bytes = segment.bytes;
        let name = frame::segment_name(Place { spool: self.id, segment: number });
        let Ok(mut file) = self.storage.open(&name, true) else { return };
        if segment.file_bytes > bytes {
            let cut =
                self.storage.truncate(&mut file, bytes).and_then(|()| self.storage.sync(&mut file));
            if cut.is_err() {
                return;
            }
        }
        if self.storage.sync_folder("").is_err() {
            return;
        }
        segment.rewrite = false;
        self.set_file_bytes(number, bytes);
        self.tail = Some(Tail { number, file, bytes, index, begun: false, fresh: false });
    }
}
