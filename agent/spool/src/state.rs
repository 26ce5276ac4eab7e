//! What is kept in memory: streams, segments, and records that wait for their sync.

use std::collections::{BTreeMap, VecDeque};

use crate::body::{Definition, IndexEntry};
use crate::frame::{RECORD_OVERHEAD_BYTES, SEGMENT_HEADER_BYTES};
use crate::limits::{BACKOFF_MS_MAX, BACKOFF_MS_MIN, PENDING_OVERHEAD_BYTES};
use crate::marks::{Count, Marks};
use crate::options::{StreamPolicy, StreamTag};

/// A record that is not durable yet.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    pub(crate) sequence: u64,
    pub(crate) spool_ms: u64,
    pub(crate) payload: Vec<u8>,
    /// Somebody wants to know whether it became durable.
    pub(crate) awaited: bool,
    /// A write of it failed, so a copy may be on the medium that nobody counts on.
    pub(crate) attempted: bool,
}

impl Pending {
    /// What it takes in memory.
    pub(crate) fn weight(&self) -> usize {
        self.payload.len() + PENDING_OVERHEAD_BYTES
    }

    /// What it will take in the log.
    pub(crate) fn log_bytes(&self) -> u64 {
        (self.payload.len() + RECORD_OVERHEAD_BYTES) as u64
    }
}

/// A record that was handed out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Out {
    pub(crate) size: u32,
    pub(crate) epoch: u32,
}

/// Where the next record of a stream is looked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
}

impl Cursor {
    /// The beginning of a segment.
    pub(crate) const fn start_of(segment: u64) -> Cursor {
        Cursor { segment, offset: SEGMENT_HEADER_BYTES as u64 }
    }
}

/// One stream.
#[derive(Debug)]
pub(crate) struct Stream {
    /// `None` for a stream of which only records were found.
    pub(crate) definition: Option<Definition>,
    pub(crate) marks: Marks,
    /// The log does not know these marks yet.
    pub(crate) marks_dirty: bool,
    /// The log does not know of the latest refusals. Nothing that a power cut could undo, so nothing is written for them alone:
    /// they would wear the flash and fill the disk that they were refused for.
    pub(crate) refusals_dirty: bool,
    /// The log does not know this definition yet.
    pub(crate) definition_dirty: bool,
    /// Live records in segments.
    pub(crate) on_disk: Count,
    /// Ascending in sequence; all behind what is on disk.
    pub(crate) pending: VecDeque<Pending>,
    /// Bytes that `pending` will take in the log.
    pub(crate) pending_log_bytes: u64,
    /// Handed out and not gone yet.
    pub(crate) out: BTreeMap<u64, Out>,
    /// Every live record below this is handed out.
    pub(crate) want: u64,
    pub(crate) cursor: Cursor,
    /// No live record is in a segment before this.
    pub(crate) oldest_segment: u64,
    /// What was last said about [`Stream::durable`].
    pub(crate) reported: u64,
    /// It was declared or appended to since the opening.
    pub(crate) used: bool,
}

impl Stream {
    pub(crate) fn new(definition: Option<Definition>, marks: Marks) -> Stream {
        Stream {
            definition,
            marks_dirty: false,
            refusals_dirty: false,
            definition_dirty: false,
            on_disk: Count::default(),
            pending: VecDeque::new(),
            pending_log_bytes: 0,
            out: BTreeMap::new(),
            want: marks.floor,
            cursor: Cursor::start_of(0),
            oldest_segment: 0,
            reported: marks.next - 1,
            used: false,
            marks,
        }
    }

    /// Everything that is live is to be handed out again.
    pub(crate) fn rewind(&mut self) {
        self.out.clear();
        self.want = self.marks.floor;
        self.cursor = Cursor::start_of(0);
    }

    /// Its policy; that of an ordinary stream while it was not declared.
    pub(crate) fn policy(&self) -> StreamPolicy {
        self.definition.as_ref().map_or_else(StreamPolicy::default, |known| known.policy)
    }

    /// Bytes in the log of what is live or will be written.
    pub(crate) fn log_bytes(&self) -> u64 {
        self.on_disk.bytes
            + self.on_disk.records * RECORD_OVERHEAD_BYTES as u64
            + self.pending_log_bytes
    }

    /// Everything up to this is durable or gone.
    pub(crate) fn durable(&self) -> u64 {
        self.pending.front().map_or(self.marks.next, |pending| pending.sequence) - 1
    }

    /// Records that are handed out or gone out of order.
    pub(crate) fn window_records(&self) -> usize {
        self.out.len() + self.marks.gone.len()
    }

    /// Live records.
    pub(crate) fn held(&self) -> u64 {
        self.on_disk.records + self.pending.len() as u64
    }

    /// Raises the floor to the oldest record that is not gone.
    pub(crate) fn settle(&mut self) {
        let oldest_out = self.out.first_key_value().map_or(u64::MAX, |(&sequence, _)| sequence);
        self.marks.raise_floor(oldest_out.min(self.want));
    }

    /// Everything below `floor` is gone.
    pub(crate) fn drop_below(&mut self, floor: u64) {
        self.out = self.out.split_off(&floor);
        self.want = self.want.max(floor);
        self.marks.raise_floor(floor);
        self.settle();
    }
}

/// One segment.
#[derive(Debug, Default)]
pub(crate) struct Segment {
    /// Bytes that count: all of a sealed segment, the synced ones of the tail.
    pub(crate) bytes: u64,
    /// Bytes of the file, with what is behind a failed write.
    pub(crate) file_bytes: u64,
    /// Live records, ascending in tag. Of a stream without an entry not even dead ones are in the file.
    pub(crate) entries: Vec<IndexEntry>,
    /// It ends with an index that was synced.
    pub(crate) sealed: bool,
    /// It was never sealed, or something in it is bad: it is to be rewritten.
    pub(crate) rewrite: bool,
    /// Since when it cannot be read although its folder can.
    pub(crate) failing: Option<Box<Failing>>,
    /// Unreadable bytes whose records were given up.
    pub(crate) given_up: u64,
    /// When rewriting it is tried again.
    pub(crate) rewriting: Retry,
}

/// Something that cannot be read.
#[derive(Debug)]
pub(crate) struct Failing {
    /// What was tried, and what the system said.
    pub(crate) reason: String,
    /// Spool time of the first failure since the last success.
    pub(crate) since_ms: u64,
    pub(crate) retry: Retry,
}

impl Failing {
    pub(crate) fn begin(spool_ms: u64) -> Failing {
        Failing { reason: String::new(), since_ms: spool_ms, retry: Retry::default() }
    }

    pub(crate) fn failed(&mut self, reason: String, spool_ms: u64) {
        self.reason = reason;
        self.retry.failed(spool_ms);
    }
}

/// When something that failed is tried again: after a pause that doubles from [`BACKOFF_MS_MIN`] to [`BACKOFF_MS_MAX`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Retry {
    at_ms: u64,
    pause_ms: u64,
}

impl Retry {
    /// Whether it is too early.
    pub(crate) fn waits(&self, spool_ms: u64) -> bool {
        spool_ms < self.at_ms
    }

    pub(crate) fn failed(&mut self, spool_ms: u64) {
        self.pause_ms = (self.pause_ms * 2).clamp(BACKOFF_MS_MIN, BACKOFF_MS_MAX);
        self.at_ms = spool_ms.saturating_add(self.pause_ms);
    }

    /// The next attempt is not far: what it waited for may have happened.
    pub(crate) fn soon(&mut self, spool_ms: u64) {
        self.at_ms = self.at_ms.min(spool_ms.saturating_add(BACKOFF_MS_MIN));
    }

    /// The next attempt is due.
    pub(crate) fn now(&mut self) {
        self.at_ms = 0;
    }

    /// Until the next attempt, in milliseconds.
    pub(crate) fn in_ms(&self, spool_ms: u64) -> u64 {
        self.at_ms.saturating_sub(spool_ms)
    }
}

impl Segment {
    /// Something in it could not be read, then or now.
    pub(crate) fn is_unreadable(&self) -> bool {
        self.failing.is_some() || self.given_up > 0
    }

    /// Other records are live; what was before. Streams of which none is any more keep an empty entry.
    pub(crate) fn set_live(&mut self, live: Vec<IndexEntry>) -> Vec<IndexEntry> {
        let before = std::mem::replace(&mut self.entries, live);
        for old in &before {
            if let Err(at) = self.entries.binary_search_by_key(&old.tag, |entry| entry.tag) {
                // No sequence number is in this range: they begin at 1.
                let none = IndexEntry { records: 0, bytes: 0, first: 0, last: 0, ..*old };
                self.entries.insert(at, none);
            }
        }
        before
    }

    pub(crate) fn entry(&self, tag: StreamTag) -> Option<&IndexEntry> {
        self.entries.binary_search_by_key(&tag, |entry| entry.tag).ok().map(|at| &self.entries[at])
    }

    pub(crate) fn entry_mut(&mut self, tag: StreamTag) -> Option<&mut IndexEntry> {
        let at = self.entries.binary_search_by_key(&tag, |entry| entry.tag).ok()?;
        Some(&mut self.entries[at])
    }

    /// Bytes in the log of what is live.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.entries.iter().map(live_bytes).sum()
    }

    /// No record in it is live.
    pub(crate) fn is_dead(&self) -> bool {
        self.entries.iter().all(|entry| entry.records == 0)
    }

    /// Bytes that rewriting would give back.
    pub(crate) fn dead_bytes(&self) -> u64 {
        self.file_bytes.saturating_sub(self.live_bytes())
    }
}

/// Bytes in the log of an entry's records.
pub(crate) fn live_bytes(entry: &IndexEntry) -> u64 {
    u64::from(entry.bytes) + u64::from(entry.records) * RECORD_OVERHEAD_BYTES as u64
}

/// Takes a record into the entries of a segment; its sequence is behind all others of its stream.
pub(crate) fn count_record(
    entries: &mut Vec<IndexEntry>,
    tag: StreamTag,
    sequence: u64,
    size: u32,
    spool_ms: u64,
) {
    match entries.binary_search_by_key(&tag, |entry| entry.tag) {
        Ok(at) => {
            let entry = &mut entries[at];
            if entry.records == 0 {
                (entry.first, entry.oldest_ms) = (sequence, spool_ms);
            }
            entry.records += 1;
            entry.bytes = entry.bytes.saturating_add(size);
            entry.last = sequence;
            entry.newest_ms = entry.newest_ms.max(spool_ms);
        }
        Err(at) => entries.insert(
            at,
            IndexEntry {
                tag,
                records: 1,
                bytes: size,
                exponent: 0,
                first: sequence,
                last: sequence,
                oldest_ms: spool_ms,
                newest_ms: spool_ms,
            },
        ),
    }
}
