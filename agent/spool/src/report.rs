//! What the spool tells about itself: events as they happen, and a report to look at.

use std::collections::BTreeMap;

use crate::marks::{Count, Counts};
use crate::options::{Fate, StreamName, StreamPolicy, StreamTag};

/// Something happened. Events are merged until they are taken, so there are never more than a few for each stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Every record of the stream up to this one is durable or gone.
    Durable {
        /// The stream.
        stream: StreamTag,
        /// Sequence number of the last one.
        up_to: u64,
    },
    /// Records are gone that nobody acknowledged.
    Dropped {
        /// The stream.
        stream: StreamTag,
        /// Why.
        fate: Fate,
        /// How many.
        count: Count,
    },
    /// The disk takes nothing; records wait in memory.
    Degraded {
        /// What the disk said.
        reason: String,
    },
    /// The disk takes data again.
    Recovered,
    /// Bytes were found that are not what was written.
    Damaged {
        /// How many.
        bytes: u64,
    },
}

/// Events that were not taken yet.
#[derive(Debug, Default)]
pub(crate) struct Events {
    durable: BTreeMap<StreamTag, u64>,
    dropped: BTreeMap<(StreamTag, Fate), Count>,
    damaged: u64,
    health: Option<Event>,
}

impl Events {
    pub(crate) fn durable(&mut self, stream: StreamTag, up_to: u64) {
        self.durable.insert(stream, up_to);
    }

    pub(crate) fn dropped(&mut self, stream: StreamTag, fate: Fate, records: u64, bytes: u64) {
        let count = self.dropped.entry((stream, fate)).or_default();
        count.records += records;
        count.bytes += bytes;
    }

    pub(crate) fn damaged(&mut self, bytes: u64) {
        self.damaged += bytes;
    }

    pub(crate) fn health(&mut self, event: Event) {
        self.health = Some(event);
    }

    pub(crate) fn take(&mut self) -> Vec<Event> {
        let Events { durable, dropped, damaged, health } = std::mem::take(self);
        let mut events: Vec<Event> =
            durable.into_iter().map(|(stream, up_to)| Event::Durable { stream, up_to }).collect();
        events.extend(dropped.into_iter().map(|((stream, fate), count)| Event::Dropped {
            stream,
            fate,
            count,
        }));
        if damaged > 0 {
            events.push(Event::Damaged { bytes: damaged });
        }
        events.extend(health);
        events
    }
}

/// Why and since when nothing is written, or read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Degraded {
    /// What the disk said.
    pub reason: String,
    /// For how long, in milliseconds.
    pub for_ms: u64,
    /// Until the next attempt, in milliseconds.
    pub retry_in_ms: u64,
}

/// What recovery and reading found since the spool was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// Bytes that had been durable and are not what was written.
    pub damaged_bytes: u64,
    /// Bytes of unsynced writes that were cut off or left behind.
    pub torn_bytes: u64,
    /// Bytes the disk would not read.
    pub unreadable_bytes: u64,
    /// Segments with damage.
    pub damaged_segments: u64,
    /// Files that are not of this spool.
    pub foreign_files: u64,
    /// Segments of a newer format version, left alone.
    pub newer_files: u64,
    /// Files in quarantine.
    pub quarantined_files: u64,
    /// Damage of which no copy was kept: quarantine was full or could not be written.
    pub quarantine_refused: u64,
}

/// A stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamReport {
    /// Its tag.
    pub tag: StreamTag,
    /// Its name; `None` when only records of it were found.
    pub name: Option<StreamName>,
    /// How it is treated.
    pub policy: StreamPolicy,
    /// Records and payload bytes that are held, on disk and in memory.
    pub held: Count,
    /// Of these, what waits in memory for its sync.
    pub pending: Count,
    /// Handed out and not acknowledged.
    pub handed_out: u64,
    /// How long ago the oldest held record was accepted, in milliseconds; `None` without one. On disk it is exact to the oldest
    /// of its segment.
    pub oldest_age_ms: Option<u64>,
    /// Next sequence number.
    pub next_sequence: u64,
    /// Everything up to this is durable or gone.
    pub durable_up_to: u64,
    /// What became of the others.
    pub counts: Counts,
}

/// A look at the whole spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Identity of the spool.
    pub spool_id: u64,
    /// Spool time, in milliseconds.
    pub spool_ms: u64,
    /// Bytes that its files take on disk.
    pub disk_bytes: u64,
    /// Bytes that they may take.
    pub budget_bytes: u64,
    /// Bytes that the file system could still take; `None` when it does not say.
    pub free_bytes: Option<u64>,
    /// Segments.
    pub segments: u64,
    /// Bytes of records in memory.
    pub memory_bytes: u64,
    /// Bytes written since the spool was created.
    pub written_bytes: u64,
    /// Bytes that may still be written now; `None` without a daily bound.
    pub write_allowance: Option<u64>,
    /// Set while the disk takes nothing.
    pub degraded: Option<Degraded>,
    /// Set while records that are on the disk cannot be read. They are held until that is hopeless.
    pub unreadable: Option<Degraded>,
    /// What was found broken.
    pub damage: Damage,
    /// All streams, ascending in tag.
    pub streams: Vec<StreamReport>,
}
