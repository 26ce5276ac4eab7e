//! Bodies of frames, as the README has them. Pure.

use std::ops::RangeInclusive;

use crate::codec::{Reader, put_varint};
use crate::limits::{NUMBER_MAX, STREAM_NAME_BYTES_MAX, STREAMS_MAX};
use crate::marks::Marks;
use crate::options::{AtBound, StreamName, StreamPolicy, StreamTag};

/// Bytes of a record's body before its payload.
pub(crate) const RECORD_HEAD_BYTES: usize = 24;
/// Bytes of one index entry.
const ENTRY_BYTES: usize = 48;
/// Bit of a definition's flags: sync each record.
const FLAG_SYNC: u8 = 1;

/// What a stream is called and how it is treated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Definition {
    pub(crate) name: StreamName,
    pub(crate) policy: StreamPolicy,
}

impl Definition {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let policy = &self.policy;
        out.extend(self.name.tag().0.to_le_bytes());
        out.push(policy.priority);
        out.push(policy.at_bound.code());
        out.extend(policy.share_permille.to_le_bytes());
        out.extend(policy.expire_ms.to_le_bytes());
        out.push(if policy.sync { FLAG_SYNC } else { 0 });
        out.extend(self.name.as_str().as_bytes());
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Definition> {
        let mut reader = Reader(bytes);
        let tag = StreamTag(reader.u32()?);
        let policy = StreamPolicy {
            priority: reader.u8()?,
            at_bound: AtBound::from_code(reader.u8()?)?,
            share_permille: reader.u16()?,
            expire_ms: reader.u64()?,
            sync: reader.u8()? & FLAG_SYNC != 0,
        };
        policy.check().ok()?;
        if reader.0.len() > STREAM_NAME_BYTES_MAX {
            return None;
        }
        let name = StreamName::new(std::str::from_utf8(reader.0).ok()?).ok()?;
        (name.tag() == tag).then_some(Definition { name, policy })
    }
}

/// Clock, allowance and volume at a moment; part of checkpoints and commits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gauge {
    /// Spool time.
    pub(crate) spool_ms: u64,
    /// Bytes that may be written now; all ones when there is no bound.
    pub(crate) allowance: u64,
    /// Bytes written since the spool was created.
    pub(crate) written: u64,
}

impl Gauge {
    fn is_possible(&self) -> bool {
        self.spool_ms <= NUMBER_MAX && self.written <= NUMBER_MAX
    }
}

/// The whole state but the records, at the beginning of a segment or session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub(crate) boot_id: [u8; 16],
    pub(crate) boot_ms: u64,
    pub(crate) epoch: u32,
    pub(crate) gauge: Gauge,
    /// Older segments that were seen to be sealed and whole, as ranges of numbers, ascending. Only of these the index is
    /// believed.
    pub(crate) sealed: Vec<RangeInclusive<u64>>,
    /// A stream without definition is one whose name is not known.
    pub(crate) streams: Vec<(StreamTag, Option<Definition>, Marks)>,
}

impl Checkpoint {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(self.boot_id);
        out.extend(self.boot_ms.to_le_bytes());
        out.extend(self.gauge.spool_ms.to_le_bytes());
        out.extend(self.epoch.to_le_bytes());
        out.extend(self.gauge.allowance.to_le_bytes());
        out.extend(self.gauge.written.to_le_bytes());
        out.extend((self.streams.len() as u16).to_le_bytes());
        let mut part = Vec::new();
        for (tag, definition, marks) in &self.streams {
            part.clear();
            if let Some(definition) = definition {
                definition.encode(&mut part);
            }
            put_part(&mut out, &part);
            part.clear();
            marks.encode(*tag, &mut part);
            put_part(&mut out, &part);
        }
        put_varint(&mut out, self.sealed.len() as u64);
        let mut before = 0;
        for range in &self.sealed {
            put_varint(&mut out, range.start() - before);
            put_varint(&mut out, range.end() - range.start());
            before = *range.end();
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Checkpoint> {
        let mut reader = Reader(bytes);
        let boot_id = reader.array()?;
        let boot_ms = reader.u64()?;
        let spool_ms = reader.u64()?;
        let epoch = reader.u32()?;
        let (allowance, written) = (reader.u64()?, reader.u64()?);
        let number = usize::from(reader.u16()?);
        if number > STREAMS_MAX {
            return None;
        }
        let mut streams = Vec::with_capacity(number);
        for _ in 0..number {
            let definition = match part(&mut reader)? {
                [] => None,
                bytes => Some(Definition::decode(bytes)?),
            };
            let (tag, marks) = Marks::decode(part(&mut reader)?)?;
            streams.push((tag, definition, marks));
        }
        let mut sealed = Vec::new();
        let mut before = 0_u64;
        for _ in 0..reader.varint()? {
            let start = before.checked_add(reader.varint()?)?;
            before = start.checked_add(reader.varint()?)?;
            sealed.push(start..=before);
        }
        reader.end()?;
        let gauge = Gauge { spool_ms, allowance, written };
        gauge.is_possible().then_some(Checkpoint {
            boot_id,
            boot_ms,
            epoch,
            gauge,
            sealed,
            streams,
        })
    }
}

fn put_part(out: &mut Vec<u8>, part: &[u8]) {
    out.extend((part.len() as u32).to_le_bytes());
    out.extend(part);
}

fn part<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    let length = reader.u32()?;
    reader.bytes(usize::try_from(length).ok()?)
}

/// The beginning of each group commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Commit {
    /// Everything before this offset was synced when this was written.
    pub(crate) durable: u64,
    pub(crate) gauge: Gauge,
}

impl Commit {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(self.gauge.spool_ms.to_le_bytes());
        out.extend(self.durable.to_le_bytes());
        out.extend(self.gauge.allowance.to_le_bytes());
        out.extend(self.gauge.written.to_le_bytes());
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Commit> {
        let mut reader = Reader(bytes);
        let (spool_ms, durable) = (reader.u64()?, reader.u64()?);
        let gauge = Gauge { spool_ms, allowance: reader.u64()?, written: reader.u64()? };
        reader.end()?;
        gauge.is_possible().then_some(Commit { durable, gauge })
    }
}

/// A record without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordHead {
    pub(crate) tag: StreamTag,
    pub(crate) epoch: u32,
    pub(crate) sequence: u64,
    /// Spool time at which it was accepted.
    pub(crate) spool_ms: u64,
}

impl RecordHead {
    pub(crate) fn encode(&self) -> [u8; RECORD_HEAD_BYTES] {
        let mut out = [0; RECORD_HEAD_BYTES];
        out[0..4].copy_from_slice(&self.tag.0.to_le_bytes());
        out[4..8].copy_from_slice(&self.epoch.to_le_bytes());
        out[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        out[16..24].copy_from_slice(&self.spool_ms.to_le_bytes());
        out
    }

    pub(crate) fn decode(body: &[u8]) -> Option<RecordHead> {
        let mut reader = Reader(body);
        let tag = StreamTag(reader.u32()?);
        let epoch = reader.u32()?;
        let (sequence, spool_ms) = (reader.u64()?, reader.u64()?);
        let counts = (1..NUMBER_MAX).contains(&sequence) && spool_ms <= NUMBER_MAX;
        counts.then_some(RecordHead { tag, epoch, sequence, spool_ms })
    }
}

/// What a segment holds of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IndexEntry {
    pub(crate) tag: StreamTag,
    pub(crate) records: u32,
    /// Of their payloads. A segment is smaller than 4 GiB.
    pub(crate) bytes: u32,
    /// Thinning that the records have gone through.
    pub(crate) exponent: u8,
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// Spool time of the oldest one.
    pub(crate) oldest_ms: u64,
    /// Spool time of the newest one.
    pub(crate) newest_ms: u64,
}

/// The end of a sealed segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Index {
    /// Offset of the index itself.
    pub(crate) data_bytes: u64,
    pub(crate) entries: Vec<IndexEntry>,
}

impl Index {
    /// Length of the body for a number of entries.
    pub(crate) const fn body_bytes(entries: usize) -> usize {
        8 + 2 + entries * ENTRY_BYTES + 4
    }

    /// The body; `frame_bytes` is the length of the frame around it beside the body.
    pub(crate) fn encode(&self, frame_bytes: usize) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(self.data_bytes.to_le_bytes());
        out.extend((self.entries.len() as u16).to_le_bytes());
        for entry in &self.entries {
            out.extend(entry.tag.0.to_le_bytes());
            out.extend(entry.records.to_le_bytes());
            out.extend(entry.bytes.to_le_bytes());
            out.extend([entry.exponent, 0, 0, 0]);
            out.extend(entry.first.to_le_bytes());
            out.extend(entry.last.to_le_bytes());
            out.extend(entry.oldest_ms.to_le_bytes());
            out.extend(entry.newest_ms.to_le_bytes());
        }
        let length = Index::body_bytes(self.entries.len()) + frame_bytes;
        out.extend((length as u32).to_le_bytes());
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Index> {
        let mut reader = Reader(bytes);
        let data_bytes = reader.u64()?;
        let number = reader.u16()?;
        if usize::from(number) > STREAMS_MAX {
            return None;
        }
        let mut entries = Vec::with_capacity(usize::from(number));
        for _ in 0..number {
            let entry = IndexEntry {
                tag: StreamTag(reader.u32()?),
                records: reader.u32()?,
                bytes: reader.u32()?,
                exponent: reader.array::<4>()?[0],
                first: reader.u64()?,
                last: reader.u64()?,
                oldest_ms: reader.u64()?,
                newest_ms: reader.u64()?,
            };
            let newest = entry.last.max(entry.newest_ms).max(entry.oldest_ms);
            if entry.first == 0 || entry.last < entry.first || newest >= NUMBER_MAX {
                return None;
            }
            entries.push(entry);
        }
        reader.u32()?;
        reader.end()?;
        Some(Index { data_bytes, entries })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_survives_the_log_and_cut_ones_are_refused() {
        let name = StreamName::new("event").unwrap();
        let policy = StreamPolicy {
            priority: 0,
            at_bound: AtBound::Thin,
            share_permille: 250,
            expire_ms: 86_400_000,
            sync: true,
        };
        let definition = Definition { name: name.clone(), policy };
        let checkpoint = Checkpoint {
            boot_id: [7; 16],
            boot_ms: 1,
            epoch: 2,
            gauge: Gauge { spool_ms: 3, allowance: u64::MAX, written: 4 },
            sealed: vec![3..=3, 7..=900],
            streams: vec![
                (name.tag(), Some(definition), Marks::new()),
                (StreamTag(9), None, Marks::new()),
            ],
        };
        let bytes = checkpoint.encode();
        assert_eq!(Checkpoint::decode(&bytes), Some(checkpoint));
        for cut in 0..bytes.len() {
            assert_eq!(Checkpoint::decode(&bytes[..cut]), None, "{cut}");
        }
    }

    #[test]
    fn an_index_survives_the_log() {
        let entry = IndexEntry {
            tag: StreamTag(1),
            records: 2,
            bytes: 3,
            exponent: 7,
            first: 4,
            last: 5,
            oldest_ms: 6,
            newest_ms: 8,
        };
        let index = Index { data_bytes: 99, entries: vec![entry, entry] };
        let bytes = index.encode(12);
        assert_eq!(bytes.len(), Index::body_bytes(2));
        assert_eq!(Index::decode(&bytes), Some(index));
        assert_eq!(Index::decode(&bytes[..bytes.len() - 1]), None);
    }
}
