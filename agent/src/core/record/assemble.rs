//! The receiver's way from messages to records: drops what comes again and joins the parts of large records.
//!
//! Parts may come in any order, twice, and over several connections. What is incomplete is kept in memory within a bound and
//! goes into [`Receiver::snapshot`] with the rest: its parts were acknowledged and may not come again.

use std::collections::BTreeMap;
use std::sync::Arc;

use ::bytes::Bytes;

use super::bytes::{Reader, put_varint};
use super::checksum::{seal, unseal};
use super::dedup::{Dedup, SnapshotError, Verdict};
use super::stored::{self, Stored};
use super::{Entry, Message, Part, Stamp};

/// First bytes of a snapshot: what it is, and its version.
const SNAPSHOT_MAGIC: &[u8; 8] = b"orrecv\x00\x01";

/// Memory of one part beside its bytes, counted against the bound so that the bound is about memory.
const PART_OVERHEAD_BYTES: u64 = 128;

/// A record that came for the first time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Numbering of its stream.
    pub epoch: u32,
    /// Its number there.
    pub sequence: u64,
    /// When it came into being.
    pub stamp: Stamp,
    /// What its payload is, when the vehicle said.
    pub content_type: Option<Arc<str>>,
    /// The whole payload.
    pub payload: Bytes,
}

/// What was received and what is half here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver {
    dedup: Dedup,
    bytes_max: u64,
    incomplete: BTreeMap<Id, Incomplete>,
    /// Bytes of parts in memory.
    bytes: u64,
    /// Grows with each part: the smallest was heard least recently.
    clock: u64,
    abandoned: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Id {
    vehicle: String,
    stream: String,
    epoch: u32,
    sequence: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Incomplete {
    stamp: Stamp,
    content_type: Option<Arc<str>>,
    total: u64,
    /// Parts by offset. They may overlap, as when a vehicle restarted and met a broker with other limits.
    parts: BTreeMap<u64, Bytes>,
    heard: u64,
}

impl Receiver {
    /// Nothing received. Parts of incomplete records may take `bytes_max` bytes, which is also the largest record in parts that
    /// is taken; beyond it the one that was heard least recently is given up and counted.
    #[must_use]
    pub fn new(bytes_max: u64) -> Receiver {
        Receiver {
            dedup: Dedup::new(),
            bytes_max,
            incomplete: BTreeMap::new(),
            bytes: 0,
            clock: 0,
            abandoned: 0,
        }
    }

    /// Takes a message of one stream; gives the records that are whole and here for the first time, in its order.
    pub fn take(&mut self, vehicle: &str, stream: &str, message: Message) -> Vec<Received> {
        let epoch = message.epoch;
        let mut received = Vec::new();
        for entry in message.entries {
            let sequence = entry.sequence;
            if let Some(last_gone) = sequence.checked_sub(1).filter(|_| entry.gone > 0) {
                let gone = sequence.saturating_sub(entry.gone)..=last_gone;
                self.dedup.gone(vehicle, stream, epoch, gone);
            }
            let id =
                || Id { vehicle: vehicle.to_owned(), stream: stream.to_owned(), epoch, sequence };
            if let Some(part) = entry.part {
                if !self.dedup.has(vehicle, stream, epoch, sequence) {
                    received.extend(self.join(id(), part, entry));
                }
                continue;
            }
            if self.dedup.observe(vehicle, stream, epoch, sequence) == Verdict::New {
                self.give_up(&id());
                let Entry { stamp, content_type, payload, .. } = entry;
                received.push(Received { epoch, sequence, stamp, content_type, payload });
            }
        }
        received
    }

    /// What has come of each stream.
    #[must_use]
    pub fn dedup(&self) -> &Dedup {
        &self.dedup
    }

    /// Records of which only parts are here.
    #[must_use]
    pub fn incomplete(&self) -> usize {
        self.incomplete.len()
    }

    /// Incomplete records that were given up at a bound.
    #[must_use]
    pub fn abandoned(&self) -> u64 {
        self.abandoned
    }

    /// Adds a part; gives the record when that was the last.
    fn join(&mut self, id: Id, part: Part, entry: Entry) -> Option<Received> {
        if part.total > self.bytes_max {
            self.abandoned += 1;
            return None;
        }
        let known = self.incomplete.get(&id).map(|incomplete| incomplete.total);
        if known.is_some_and(|total| total != part.total) {
            // The same name for something else: only the later one can become whole.
            self.give_up(&id);
        }
        self.clock += 1;
        let incomplete = self.incomplete.entry(id.clone()).or_default();
        (incomplete.stamp, incomplete.content_type) = (entry.stamp, entry.content_type);
        (incomplete.total, incomplete.heard) = (part.total, self.clock);
        let before = incomplete.weight();
        incomplete.add(part.offset, entry.payload);
        self.bytes = self.bytes + incomplete.weight() - before;
        let Some(payload) = incomplete.whole() else {
            self.keep_bound();
            return None;
        };
        let (stamp, content_type) = (incomplete.stamp, incomplete.content_type.take());
        self.give_up(&id);
        self.dedup.observe(&id.vehicle, &id.stream, id.epoch, id.sequence);
        Some(Received { epoch: id.epoch, sequence: id.sequence, stamp, content_type, payload })
    }

    fn keep_bound(&mut self) {
        while self.bytes > self.bytes_max {
            let oldest = self.incomplete.iter().min_by_key(|(_, incomplete)| incomplete.heard);
            let Some(id) = oldest.map(|(id, _)| id.clone()) else { return };
            self.give_up(&id);
            self.abandoned += 1;
        }
    }

    fn give_up(&mut self, id: &Id) {
        if let Some(incomplete) = self.incomplete.remove(id) {
            self.bytes -= incomplete.weight();
        }
    }
}

impl Incomplete {
    fn add(&mut self, offset: u64, bytes: Bytes) {
        let held = self.parts.entry(offset).or_default();
        if held.len() <= bytes.len() {
            *held = bytes;
        }
    }

    fn weight(&self) -> u64 {
        self.parts.values().map(|part| part.len() as u64 + PART_OVERHEAD_BYTES).sum()
    }

    /// The payload, when no byte of it is missing.
    fn whole(&self) -> Option<Bytes> {
        let mut covered = 0;
        for (offset, part) in &self.parts {
            if *offset > covered {
                return None;
            }
            covered = covered.max(offset + part.len() as u64);
        }
        if covered < self.total {
            return None;
        }
        let mut payload = Vec::with_capacity(usize::try_from(self.total).ok()?);
        for (offset, part) in &self.parts {
            let have = payload.len() as u64 - offset;
            let fresh = usize::try_from(have).ok().and_then(|have| part.get(have..));
            payload.extend_from_slice(fresh.unwrap_or_default());
        }
        Some(Bytes::from(payload))
    }
}

impl Receiver {
    /// Everything as bytes: magic and version, the snapshot of [`Dedup`] with its length, abandoned, then each incomplete record
    /// with its parts, and a CRC-32C.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        let mut to = SNAPSHOT_MAGIC.to_vec();
        put_sized(&mut to, &self.dedup.snapshot());
        put_varint(&mut to, self.abandoned);
        put_varint(&mut to, self.incomplete.len() as u64);
        for (id, incomplete) in &self.incomplete {
            put_sized(&mut to, id.vehicle.as_bytes());
            put_sized(&mut to, id.stream.as_bytes());
            put_varint(&mut to, u64::from(id.epoch));
            put_varint(&mut to, id.sequence);
            put_varint(&mut to, incomplete.total);
            put_sized(
                &mut to,
                &stored::store(&incomplete.stamp, incomplete.content_type.as_deref(), &[]),
            );
            put_varint(&mut to, incomplete.parts.len() as u64);
            for (offset, part) in &incomplete.parts {
                put_varint(&mut to, *offset);
                put_sized(&mut to, part);
            }
        }
        seal(&mut to);
        to
    }

    /// Reads a snapshot, with a bound as for [`Receiver::new`].
    ///
    /// # Errors
    ///
    /// As [`Dedup::restore`].
    pub fn restore(snapshot: &Bytes, bytes_max: u64) -> Result<Receiver, SnapshotError> {
        let mut reader = Reader::new(unseal(snapshot, SNAPSHOT_MAGIC)?);
        let dedup = Dedup::restore(reader.sized().ok_or(SnapshotError::Damaged)?)?;
        let mut receiver = Receiver { dedup, ..Receiver::new(bytes_max) };
        receiver.read_incomplete(&mut reader).ok_or(SnapshotError::Damaged)?;
        receiver.keep_bound();
        Ok(receiver)
    }

    fn read_incomplete(&mut self, reader: &mut Reader<'_>) -> Option<()> {
        self.abandoned = reader.varint()?;
        for _ in 0..reader.varint()? {
            let mut text = || String::from_utf8(reader.sized()?.to_vec()).ok();
            let (vehicle, stream) = (text()?, text()?);
            let epoch = u32::try_from(reader.varint()?).ok()?;
            let id = Id { vehicle, stream, epoch, sequence: reader.varint()? };
            let total = reader.varint()?;
            let Stored { stamp, content_type, .. } =
                stored::load(Bytes::copy_from_slice(reader.sized()?));
            self.clock += 1;
            let mut incomplete = Incomplete {
                stamp,
                content_type,
                total,
                heard: self.clock,
                ..Incomplete::default()
            };
            for _ in 0..reader.varint()? {
                let offset = reader.varint()?;
                let part = reader.sized()?;
                offset.checked_add(part.len() as u64).filter(|end| *end <= total)?;
                incomplete.add(offset, Bytes::copy_from_slice(part));
            }
            self.bytes += incomplete.weight();
            self.incomplete.insert(id, incomplete);
        }
        reader.at_end().then_some(())
    }
}

fn put_sized(to: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(to, bytes.len() as u64);
    to.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn part(sequence: u64, total: usize, offset: usize, content: &[u8]) -> Message {
        let part = Part { total: total as u64, offset: offset as u64 };
        let entry = Entry {
            sequence,
            gone: 0,
            stamp: Stamp::default(),
            content_type: None,
            part: Some(part),
            payload: Bytes::copy_from_slice(&content[offset..]),
        };
        Message { epoch: 1, entries: vec![entry] }
    }

    fn restarted(receiver: &Receiver) -> Receiver {
        Receiver::restore(&Bytes::from(receiver.snapshot()), receiver.bytes_max).unwrap()
    }

    #[test]
    fn a_record_in_parts_survives_a_restart_and_comes_once() {
        let content: Vec<u8> = (0..200).collect();
        let mut receiver = Receiver::new(10_000);
        assert_eq!(receiver.take("a", "s", part(9, 200, 0, &content[..80])), []);
        assert_eq!(receiver.take("a", "s", part(9, 200, 120, &content)), []);
        let mut receiver = restarted(&receiver);
        assert_eq!(receiver.incomplete(), 1);
        // The vehicle restarted, too, and meets other limits.
        let received = receiver.take("a", "s", part(9, 200, 50, &content[..130]));
        assert_eq!((received[0].sequence, &received[0].payload[..]), (9, &content[..]));
        assert_eq!((receiver.incomplete(), receiver.bytes), (0, 0));
        assert_eq!(receiver.take("a", "s", part(9, 200, 0, &content)), []);
    }

    #[test]
    fn what_is_never_finished_is_given_up_at_the_bound() {
        let mut receiver = Receiver::new(10_000);
        for sequence in 0..100 {
            assert_eq!(receiver.take("a", "s", part(sequence, 2_000, 0, &[0; 1_000])), []);
            assert!(receiver.bytes <= 10_000);
        }
        assert_eq!((receiver.incomplete(), receiver.abandoned()), (8, 92));
        assert_eq!(receiver.take("a", "s", part(100, 10_001, 0, &[0; 10])), []);
        assert_eq!((receiver.incomplete(), receiver.abandoned()), (8, 93));
    }

    #[test]
    fn a_changed_length_begins_anew() {
        let mut receiver = Receiver::new(10_000);
        assert_eq!(receiver.take("a", "s", part(1, 10, 0, &[1; 5])), []);
        assert_eq!(receiver.take("a", "s", part(1, 6, 5, &[2; 6])), []);
        let received = receiver.take("a", "s", part(1, 6, 0, &[2; 5]));
        assert_eq!(&received[0].payload[..], [2; 6]);
    }

    #[test]
    fn a_damaged_snapshot_is_refused() {
        let mut receiver = Receiver::new(10_000);
        let _ = receiver.take("a", "s", part(1, 10, 0, &[1; 5]));
        let snapshot = Bytes::from(receiver.snapshot());
        for length in 0..snapshot.len() {
            assert!(Receiver::restore(&snapshot.slice(..length), 10_000).is_err());
        }
    }

    proptest! {
        /// Parts of any sizes in any order, with repeats and restarts: each record comes out once, as it was.
        #[test]
        fn any_order_of_parts_gives_every_record_once(
            lengths in prop::collection::vec(0_usize..300, 1..6),
            sizes in prop::collection::vec(1_usize..120, 1..4),
            order in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..60),
        ) {
            let content = |sequence: usize| -> Vec<u8> {
                (0..lengths[sequence]).map(|i| (i * 7 + sequence) as u8).collect()
            };
            let mut parts = Vec::new();
            for (sequence, length) in lengths.iter().enumerate() {
                let size = sizes[sequence % sizes.len()];
                for offset in (0..(*length).max(1)).step_by(size) {
                    parts.push((sequence, offset, (offset + size).min(*length)));
                }
            }
            let mut sent: Vec<usize> = order.iter().map(|(index, _)| index.index(parts.len())).collect();
            sent.extend(0..parts.len());
            let mut receiver = Receiver::new(100_000);
            let mut came = vec![0; lengths.len()];
            for (step, index) in sent.into_iter().enumerate() {
                let (sequence, offset, end) = parts[index];
                let content = content(sequence);
                let message = part(sequence as u64, content.len(), offset, &content[..end]);
                for record in receiver.take("a", "s", message) {
                    came[record.sequence as usize] += 1;
                    prop_assert_eq!(&record.payload[..], &content[..]);
                }
                if order.get(step).is_some_and(|(_, restart)| *restart) {
                    receiver = restarted(&receiver);
                }
            }
            prop_assert!(came.iter().all(|times| *times == 1), "{:?}", came);
            prop_assert_eq!((receiver.incomplete(), receiver.bytes), (0, 0));
        }
    }
}
