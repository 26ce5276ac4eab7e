//! Looks into a spool that nobody has open: what is there, what is wrong, what it holds. Changes nothing, except for
//! [`repair`], which does what opening does and then rewrites what was found broken.

use std::collections::BTreeMap;
use std::io;
use std::ops::RangeInclusive;

use crate::body::{Definition, RECORD_HEAD_BYTES, RecordHead};
use crate::error::{DiskError, OpenError};
use crate::files::{LOCK_NAME, USER_PREFIX};
use crate::frame::{self, Kind, Place, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::limits::SCAN_BUFFER_BYTES;
use crate::marks::{Counts, Marks};
use crate::options::{BootMs, Options, RecordId, Session, StreamPolicy, StreamTag};
use crate::report::Report;
use crate::rewrite::QUARANTINE;
use crate::scan::Scanner;
use crate::spool::Spool;
use crate::storage::{Entry, Storage};
use crate::survey::{Survey, survey};

/// Attempts of [`repair`] to rewrite what is broken; each rewrites one segment.
const REPAIRS_MAX: usize = 4096;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A segment of this spool.
    Segment,
    /// A segment of another spool.
    OtherSpool,
    /// A segment of a format version that this program does not know.
    Newer(u16),
    /// What an interrupted rewriting left.
    Temporary,
    /// The lock.
    Lock,
    /// A note of the program that uses the spool.
    User,
    /// A copy of damaged bytes.
    Quarantine,
    /// Nothing of a spool.
    Unknown,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileReport {
    /// Its name within the spool's folder.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// What it is.
    pub kind: FileKind,
    /// Valid frames in it.
    pub frames: u64,
    /// Records in it, gone or not.
    pub records: u64,
    /// It ends with an index.
    pub sealed: bool,
    /// Bytes that had been durable and are not what was written.
    pub damaged_bytes: u64,
    /// Bytes of writes that were never finished.
    pub torn_bytes: u64,
    /// Bytes that cannot be read.
    pub unreadable_bytes: u64,
}

/// A stream as the log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedStream {
    /// Its tag.
    pub tag: StreamTag,
    /// Its name; `None` when no definition was found.
    pub name: Option<String>,
    /// How it is treated, if that is known.
    pub policy: Option<StreamPolicy>,
    /// Live records.
    pub records: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// Next sequence number.
    pub next_sequence: u64,
    /// What became of the others.
    pub counts: Counts,
    /// Sequence numbers without a record that are not counted: opening would count them as lost.
    pub missing: u64,
}

/// A look at a whole spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// Its identity; `None` when there is no segment.
    pub spool_id: Option<u64>,
    /// All files.
    pub files: Vec<FileReport>,
    /// All streams, ascending in tag.
    pub streams: Vec<LoggedStream>,
    /// Another process has it open, so what was read may be half of something.
    pub in_use: bool,
}

impl Inspection {
    /// What is wrong, one sentence each with what to do.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let mut found = Vec::new();
        for file in &self.files {
            let name = &file.name;
            if file.unreadable_bytes > 0 {
                let bytes = file.unreadable_bytes;
                found.push(format!(
                    "{name}: {bytes} bytes cannot be read; copy the medium and replace it"
                ));
            }
            if file.damaged_bytes > file.unreadable_bytes {
                let bytes = file.damaged_bytes;
                found.push(format!(
                    "{name}: {bytes} bytes are damaged; `outrider spool repair` sets them aside"
                ));
            }
            match file.kind {
                FileKind::OtherSpool => found.push(format!(
                    "{name}: belongs to another spool and is ignored; move it away, or to a folder of its own to export it"
                )),
                FileKind::Newer(version) => found.push(format!(
                    "{name}: has format version {version}, which this program does not know; use a newer one to export it"
                )),
                FileKind::Unknown => {
                    found.push(format!("{name}: is no file of a spool and is ignored; move it away"));
                }
                FileKind::Segment
                | FileKind::Temporary
                | FileKind::Lock
                | FileKind::User
                | FileKind::Quarantine => {}
            }
        }
        for stream in self.streams.iter().filter(|stream| stream.missing > 0) {
            let name = stream.name.clone().unwrap_or_else(|| stream.tag.to_string());
            found.push(format!(
                "stream {name}: {} records are missing and will be counted as lost; nothing brings them back",
                stream.missing
            ));
        }
        found
    }
}

/// One record in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedRecord {
    /// Its name.
    pub id: RecordId,
    /// The name of its stream, if it is known.
    pub stream: Option<String>,
    /// Spool time at which it was accepted, in milliseconds.
    pub spool_ms: u64,
    /// Number of its segment.
    pub segment: u64,
    /// Offset of its frame there.
    pub offset: u64,
    /// It has not left and was not dropped.
    pub live: bool,
    /// What was appended.
    pub payload: Vec<u8>,
}

/// The state that the log says, and where records are.
struct Log<S: Storage> {
    storage: S,
    spool_id: Option<u64>,
    in_use: bool,
    files: Vec<FileReport>,
    /// Segments, ascending, with their lengths.
    segments: Vec<(u64, u64)>,
    /// Segments that the newest checkpoint vouches for.
    sealed: Vec<RangeInclusive<u64>>,
    definitions: BTreeMap<StreamTag, Definition>,
    marks: BTreeMap<StreamTag, Marks>,
}

impl<S: Storage> Log<S> {
    fn read(mut storage: S) -> Result<Log<S>, DiskError> {
        // If it cannot be known, it is read as it is.
        let in_use = storage.is_taken().unwrap_or(false);
        let list = |storage: &mut S, folder: &str| {
            storage.list(folder).map_err(|error| DiskError::new("list", "files", error))
        };
        let entries = list(&mut storage, "")?;
        let set_aside = list(&mut storage, QUARANTINE)?;
        let mut log = Log {
            storage,
            spool_id: most_common_id(&entries),
            in_use,
            files: Vec::new(),
            segments: Vec::new(),
            sealed: Vec::new(),
            definitions: BTreeMap::new(),
            marks: BTreeMap::new(),
        };
        for entry in entries {
            log.take_file(entry);
        }
        for entry in set_aside {
            let name = format!("{QUARANTINE}/{}", entry.name);
            log.files.push(plain(Entry { name, ..entry }, FileKind::Quarantine));
        }
        log.segments.sort_unstable();
        log.judge_sealed();
        Ok(log)
    }

    /// In a segment that the log vouches for nothing is torn: all of it had been durable.
    fn judge_sealed(&mut self) {
        for file in &mut self.files {
            let vouched = frame::parse_name(&file.name).is_some_and(|(place, _)| {
                file.kind == FileKind::Segment
                    && self.sealed.iter().any(|range| range.contains(&place.segment))
            });
            if vouched {
                file.damaged_bytes += std::mem::take(&mut file.torn_bytes);
            }
        }
    }

    fn take_file(&mut self, entry: Entry) {
        let kind = match frame::parse_name(&entry.name) {
            Some((place, _)) if Some(place.spool) != self.spool_id => FileKind::OtherSpool,
            Some((_, true)) => FileKind::Temporary,
            Some((place, false)) => return self.take_segment(place, &entry),
            None if entry.name == LOCK_NAME => FileKind::Lock,
            None if entry.name.starts_with(USER_PREFIX) => FileKind::User,
            None => FileKind::Unknown,
        };
        self.files.push(plain(entry, kind));
    }

    fn take_segment(&mut self, place: Place, entry: &Entry) {
        let mut report = plain(entry.clone(), FileKind::Segment);
        let Ok(file) = self.storage.open(&entry.name, false) else {
            report.unreadable_bytes = entry.bytes;
            self.files.push(report);
            return;
        };
        let found = survey(&mut self.storage, &file, place, entry.bytes, |_| true);
        match found.header {
            SegmentHeader::Newer(version) => report.kind = FileKind::Newer(version),
            SegmentHeader::Other => report.kind = FileKind::OtherSpool,
            SegmentHeader::Good | SegmentHeader::Bad => {
                report.frames = found.frames;
                report.records = found.entries.iter().map(|e| u64::from(e.records)).sum();
                report.sealed = found.index.is_some();
                report.damaged_bytes = found.damaged_bytes();
                report.torn_bytes = found.torn_bytes();
                report.unreadable_bytes = found.unreadable;
                self.segments.push((place.segment, entry.bytes));
                self.take_state(found);
            }
        }
        self.files.push(report);
    }

    /// Files come in the order of their numbers, so the last word counts.
    fn take_state(&mut self, found: Survey) {
        if let Some(checkpoint) = found.checkpoint {
            self.sealed = checkpoint.sealed;
            for (tag, definition, marks) in checkpoint.streams {
                self.definitions.extend(definition.map(|definition| (tag, definition)));
                self.marks.insert(tag, marks);
            }
        }
        self.definitions.extend(found.definitions);
        self.marks.extend(found.marks);
    }

    /// Every record, oldest segment first. Copies that a failed write left are passed over.
    fn each_record(
        &mut self,
        mut visit: impl FnMut(&LoggedRecord) -> io::Result<()>,
    ) -> Result<(), DiskError> {
        let mut last: BTreeMap<StreamTag, u64> = BTreeMap::new();
        for (number, bytes) in self.segments.clone() {
            let place = Place { spool: self.spool_id.unwrap_or_default(), segment: number };
            let name = frame::segment_name(place);
            let Ok(file) = self.storage.open(&name, false) else { continue };
            let mut scanner =
                Scanner::new(&mut self.storage, &file, place, bytes, SCAN_BUFFER_BYTES);
            let mut at = SEGMENT_HEADER_BYTES as u64;
            while let Some(found) = scanner.find(at) {
                at = found.end();
                if found.kind != Kind::Record {
                    continue;
                }
                let Some(head) = RecordHead::decode(scanner.body(&found, RECORD_HEAD_BYTES)) else {
                    continue;
                };
                if last.get(&head.tag).is_some_and(|&last| last >= head.sequence) {
                    continue;
                }
                let Some(payload) = scanner.copy_body(&found, RECORD_HEAD_BYTES) else { continue };
                last.insert(head.tag, head.sequence);
                let name_of = |definition: &Definition| definition.name.as_str().to_owned();
                let record = LoggedRecord {
                    id: RecordId { stream: head.tag, sequence: head.sequence, epoch: head.epoch },
                    stream: self.definitions.get(&head.tag).map(name_of),
                    spool_ms: head.spool_ms,
                    segment: number,
                    offset: found.offset,
                    live: self.marks.get(&head.tag).is_none_or(|m| m.keeps(head.sequence)),
                    payload,
                };
                visit(&record)
                    .map_err(|error| DiskError::new("hand on records of", &name, error))?;
            }
        }
        Ok(())
    }
}

/// The spool to which most segments belong.
fn most_common_id(entries: &[Entry]) -> Option<u64> {
    let mut by_spool: BTreeMap<u64, u64> = BTreeMap::new();
    for (place, temporary) in entries.iter().filter_map(|entry| frame::parse_name(&entry.name)) {
        *by_spool.entry(place.spool).or_default() += u64::from(!temporary);
    }
    by_spool.into_iter().max_by_key(|(_, number)| *number).map(|(id, _)| id)
}

fn plain(entry: Entry, kind: FileKind) -> FileReport {
    FileReport {
        name: entry.name,
        bytes: entry.bytes,
        kind,
        frames: 0,
        records: 0,
        sealed: false,
        damaged_bytes: 0,
        torn_bytes: 0,
        unreadable_bytes: 0,
    }
}

/// Reads every byte and says what is there. This is both the list and the check of a spool.
///
/// # Errors
/// The folder cannot be listed. Files that cannot be read are in the answer.
pub fn inspect<S: Storage>(storage: S) -> Result<Inspection, DiskError> {
    let mut log = Log::read(storage)?;
    let mut held: BTreeMap<StreamTag, (u64, u64, u64)> = BTreeMap::new();
    log.each_record(|record| {
        let held = held.entry(record.id.stream).or_default();
        if record.live {
            held.0 += 1;
            held.1 += record.payload.len() as u64;
        }
        held.2 = held.2.max(record.id.sequence);
        Ok(())
    })?;
    for tag in log.marks.keys() {
        held.entry(*tag).or_default();
    }
    let streams = held.into_iter().map(|(tag, (records, bytes, last))| {
        let mut marks = log.marks.get(&tag).cloned().unwrap_or_else(Marks::new);
        marks.next = marks.next.max(last + 1);
        let definition = log.definitions.get(&tag);
        LoggedStream {
            tag,
            name: definition.map(|definition| definition.name.as_str().to_owned()),
            policy: definition.map(|definition| definition.policy),
            records,
            bytes,
            next_sequence: marks.next,
            counts: marks.counts,
            missing: marks.missing(records),
        }
    });
    let streams = streams.collect();
    let Log { spool_id, files, in_use, .. } = log;
    Ok(Inspection { spool_id, files, streams, in_use })
}

/// Hands every record in the log to `visit`, gone or not, oldest segment first; in each stream in order.
///
/// # Errors
/// The folder cannot be listed; `visit` failed, which ends it.
pub fn dump<S: Storage>(
    storage: S,
    visit: impl FnMut(&LoggedRecord) -> io::Result<()>,
) -> Result<(), DiskError> {
    Log::read(storage)?.each_record(visit)
}

/// Hands every live record to `visit`, oldest segment first; in each stream in order.
///
/// # Errors
/// The folder cannot be listed; `visit` failed, which ends it.
pub fn export<S: Storage>(
    storage: S,
    mut visit: impl FnMut(&LoggedRecord) -> io::Result<()>,
) -> Result<(), DiskError> {
    Log::read(storage)?.each_record(|record| if record.live { visit(record) } else { Ok(()) })
}

/// Opens the spool, which counts what is lost and sets damage aside, and rewrites every segment that was found broken. Stream
/// rules stay as the log has them.
///
/// # Errors
/// As [`Spool::open`].
pub fn repair<S: Storage>(
    storage: S,
    options: Options,
    session: Session,
    now: BootMs,
) -> Result<Report, OpenError> {
    let mut spool = Spool::open(storage, options, session, now)?;
    spool.verify();
    spool.commit(now);
    spool.put_in_order(REPAIRS_MAX);
    let report = spool.report(now);
    let _ = spool.close(now);
    Ok(report)
}
