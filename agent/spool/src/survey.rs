//! Everything that a segment's file says, found by reading all of it.

use std::collections::BTreeMap;

use crate::body::{
    Checkpoint, Commit, Definition, Gauge, Index, IndexEntry, RECORD_HEAD_BYTES, RecordHead,
};
use crate::frame::{self, FRAME_HEADER_BYTES, Kind, Place, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::limits::{META_BYTES_MAX, SCAN_BUFFER_BYTES, STREAMS_MAX};
use crate::marks::Marks;
use crate::options::StreamTag;
use crate::scan::{Frame, Scanner};
use crate::state::count_record;
use crate::storage::Storage;

/// Holes that are remembered one by one; more are merged into the last.
const HOLES_MAX: usize = 64;

/// Bytes that are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hole {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl Hole {
    pub(crate) fn bytes(&self) -> u64 {
        self.end - self.start
    }
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Survey {
    pub(crate) header: SegmentHeader,
    /// The last one.
    pub(crate) checkpoint: Option<Checkpoint>,
    /// Behind the checkpoint.
    pub(crate) definitions: BTreeMap<StreamTag, Definition>,
    /// Behind the checkpoint.
    pub(crate) marks: BTreeMap<StreamTag, Marks>,
    /// The last one.
    pub(crate) gauge: Option<Gauge>,
    /// Records that the filter let pass.
    pub(crate) entries: Vec<IndexEntry>,
    pub(crate) holes: Vec<Hole>,
    /// Behind the last valid frame.
    pub(crate) end: u64,
    /// Everything before this offset had been synced.
    pub(crate) durable: u64,
    pub(crate) unreadable: u64,
    pub(crate) frames: u64,
    /// An index that fits ends it.
    pub(crate) index: Option<Index>,
}

impl Survey {
    /// Bytes of holes that had been durable.
    pub(crate) fn damaged_bytes(&self) -> u64 {
        self.damage().map(|hole| hole.bytes()).sum()
    }

    /// Bytes of holes that were never known to be durable.
    pub(crate) fn torn_bytes(&self) -> u64 {
        self.holes.iter().map(Hole::bytes).sum::<u64>() - self.damaged_bytes()
    }

    /// Holes that had been durable.
    pub(crate) fn damage(&self) -> impl Iterator<Item = &Hole> {
        self.holes.iter().filter(|hole| hole.start < self.durable)
    }
}

/// Reads a whole segment. Records that `filter` refuses are not counted; neither are those that go back in their stream.
pub(crate) fn survey<S: Storage>(
    storage: &mut S,
    file: &S::File,
    place: Place,
    length: u64,
    mut filter: impl FnMut(&RecordHead) -> bool,
) -> Survey {
    let mut found = Survey {
        header: SegmentHeader::Bad,
        checkpoint: None,
        definitions: BTreeMap::new(),
        marks: BTreeMap::new(),
        gauge: None,
        entries: Vec::new(),
        holes: Vec::new(),
        end: 0,
        durable: 0,
        unreadable: 0,
        frames: 0,
        index: None,
    };
    let mut last: BTreeMap<StreamTag, u64> = BTreeMap::new();
    let mut scanner = Scanner::new(storage, file, place, length, SCAN_BUFFER_BYTES);
    found.header = frame::parse_segment_header(place, scanner.window(0, SEGMENT_HEADER_BYTES));
    let mut at = SEGMENT_HEADER_BYTES as u64;
    if found.header != SegmentHeader::Good && length > 0 {
        found.hole(0, at.min(length));
    }
    while at < length {
        let Some(frame) = scanner.find(at) else {
            found.hole(at, length);
            break;
        };
        if frame.offset > at {
            found.hole(at, frame.offset);
        }
        found.frames += 1;
        at = frame.end();
        found.end = at;
        found.take(&mut scanner, &frame, &mut last, &mut filter);
    }
    found.unreadable = scanner.unreadable();
    if found.index.is_some() && found.end != length {
        // Something was appended behind it, so it does not speak for the whole.
        found.index = None;
    }
    found
}

impl Survey {
    fn hole(&mut self, start: u64, end: u64) {
        let merge = self.holes.len() >= HOLES_MAX;
        match self.holes.last_mut() {
            Some(last) if last.end == start || merge => last.end = end,
            Some(_) | None => self.holes.push(Hole { start, end }),
        }
    }

    fn take<S: Storage>(
        &mut self,
        scanner: &mut Scanner<'_, S>,
        frame: &Frame,
        last: &mut BTreeMap<StreamTag, u64>,
        filter: &mut impl FnMut(&RecordHead) -> bool,
    ) {
        self.index = None;
        match frame.kind {
            Kind::Record => {
                let Some(head) = RecordHead::decode(scanner.body(frame, RECORD_HEAD_BYTES)) else {
                    return;
                };
                let new = last.get(&head.tag).is_none_or(|&last| last < head.sequence);
                let room = last.contains_key(&head.tag) || last.len() < STREAMS_MAX;
                if new && room && filter(&head) {
                    last.insert(head.tag, head.sequence);
                    let size = (frame.body_bytes - RECORD_HEAD_BYTES) as u32;
                    count_record(&mut self.entries, head.tag, head.sequence, size, head.spool_ms);
                }
            }
            Kind::Checkpoint => {
                let body = scanner.body(frame, META_BYTES_MAX);
                if let Some(checkpoint) = Checkpoint::decode(body) {
                    self.gauge = Some(checkpoint.gauge);
                    self.checkpoint = Some(checkpoint);
                    self.definitions.clear();
                    self.marks.clear();
                }
            }
            Kind::Definition => {
                if let Some(definition) = Definition::decode(scanner.body(frame, META_BYTES_MAX)) {
                    self.definitions.insert(definition.name.tag(), definition);
                }
            }
            Kind::Marks => {
                if let Some((tag, marks)) = Marks::decode(scanner.body(frame, META_BYTES_MAX)) {
                    self.marks.insert(tag, marks);
                }
            }
            Kind::Commit => {
                if let Some(commit) = Commit::decode(scanner.body(frame, META_BYTES_MAX)) {
                    self.gauge = Some(commit.gauge);
                    self.durable = self.durable.max(commit.durable);
                }
            }
            Kind::Index => {
                let index = Index::decode(scanner.body(frame, META_BYTES_MAX));
                self.index = index.filter(|index| index.data_bytes == frame.offset);
            }
        }
    }
}

/// The index at the end of a sealed segment, without reading the rest.
pub(crate) fn read_index<S: Storage>(
    storage: &mut S,
    file: &S::File,
    place: Place,
    length: u64,
) -> Option<Index> {
    let most = (FRAME_HEADER_BYTES + Index::body_bytes(STREAMS_MAX)) as u64;
    let mut scanner = Scanner::new(storage, file, place, length, most as usize);
    let from = length.saturating_sub(most);
    let end = scanner.window(from, most as usize);
    let bytes: [u8; 4] = *end.last_chunk()?;
    let offset = length.checked_sub(u64::from(u32::from_le_bytes(bytes)))?;
    if offset < from {
        return None;
    }
    let frame = scanner.frame_at(offset)?;
    if frame.kind != Kind::Index || frame.end() != length {
        return None;
    }
    Index::decode(scanner.body(&frame, META_BYTES_MAX)).filter(|index| index.data_bytes == offset)
}
