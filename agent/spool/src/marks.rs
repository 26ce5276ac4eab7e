//! What is known about a stream apart from its records: which of them are gone, and why. Pure.

use std::collections::BTreeMap;

use crate::codec::{Reader, put_varint};
use crate::limits::{NUMBER_MAX, THIN_EXPONENT_MAX, WINDOW_RECORDS_MAX};
use crate::options::{Fate, StreamTag};

/// Records and bytes of one fate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Records.
    pub records: u64,
    /// Bytes of their payloads, where they are known: those of lost records are not.
    pub bytes: u64,
}

/// Counters of a stream by fate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([Count; Fate::ALL.len()]);

impl Counts {
    /// Those of one fate.
    #[must_use]
    pub fn get(&self, fate: Fate) -> Count {
        self.0[fate as usize]
    }

    /// All with their fate.
    pub fn iter(&self) -> impl Iterator<Item = (Fate, Count)> + '_ {
        Fate::ALL.into_iter().map(|fate| (fate, self.get(fate)))
    }

    pub(crate) fn add(&mut self, fate: Fate, records: u64, bytes: u64) {
        let count = &mut self.0[fate as usize];
        count.records = count.records.saturating_add(records);
        count.bytes = count.bytes.saturating_add(bytes);
    }

    /// Records that had a sequence number.
    fn numbered(&self) -> u64 {
        let numbered = self.iter().filter(|(fate, _)| *fate != Fate::Refused);
        numbered.fold(0, |sum: u64, (_, count)| sum.saturating_add(count.records))
    }
}

/// Of the sequence numbers below `up_to` (and above the level before) only multiples of 2^`exponent` are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Level {
    pub(crate) up_to: u64,
    pub(crate) exponent: u8,
}

/// Marks of one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    /// Next sequence number to give.
    pub(crate) next: u64,
    /// Everything below is gone.
    pub(crate) floor: u64,
    pub(crate) counts: Counts,
    /// Ascending in `up_to`, descending in `exponent`.
    pub(crate) levels: Vec<Level>,
    /// Gone at or above the floor, with the size of each payload.
    pub(crate) gone: BTreeMap<u64, u32>,
}

impl Marks {
    pub(crate) fn new() -> Marks {
        Marks { next: 1, floor: 1, ..Marks::default() }
    }

    /// Thinning exponent at a sequence number.
    pub(crate) fn exponent(&self, sequence: u64) -> u8 {
        self.levels.iter().find(|level| sequence < level.up_to).map_or(0, |level| level.exponent)
    }

    /// Whether the record is still wanted, if it is there.
    pub(crate) fn keeps(&self, sequence: u64) -> bool {
        sequence >= self.floor
            && keeps_at(sequence, self.exponent(sequence))
            && !self.gone.contains_key(&sequence)
    }

    /// From now on only multiples of 2^`exponent` are kept below `up_to`, where they are not thinner already.
    pub(crate) fn thin(&mut self, up_to: u64, exponent: u8) {
        let mut levels: Vec<Level> =
            self.levels.iter().copied().filter(|level| level.exponent > exponent).collect();
        if levels.last().is_none_or(|level| level.up_to < up_to) {
            levels.push(Level { up_to, exponent });
        }
        levels.extend(
            self.levels.iter().filter(|level| level.exponent <= exponent && level.up_to > up_to),
        );
        self.levels = levels;
    }

    /// Raises the floor; what the marks said about numbers below it is forgotten.
    pub(crate) fn raise_floor(&mut self, floor: u64) {
        if floor <= self.floor {
            return;
        }
        self.floor = floor;
        self.gone = self.gone.split_off(&floor);
        self.levels.retain(|level| level.up_to > floor);
    }

    /// Numbers given whose records are neither held nor counted.
    pub(crate) fn missing(&self, held: u64) -> u64 {
        (self.next - 1).saturating_sub(held).saturating_sub(self.counts.numbered())
    }

    /// Records that were counted as lost and are held again are not lost. True when there are any.
    pub(crate) fn take_back_lost(&mut self, held: u64) -> bool {
        let counted = held.saturating_add(self.counts.numbered());
        let lost = &mut self.counts.0[Fate::Lost as usize].records;
        let back = counted.saturating_sub(self.next - 1).min(*lost);
        *lost -= back;
        back > 0
    }

    pub(crate) fn encode(&self, tag: StreamTag, out: &mut Vec<u8>) {
        out.extend(tag.0.to_le_bytes());
        out.extend(self.next.to_le_bytes());
        out.extend(self.floor.to_le_bytes());
        out.push(Fate::ALL.len() as u8);
        for (_, count) in self.counts.iter() {
            put_varint(out, count.records);
            put_varint(out, count.bytes);
        }
        out.push(self.levels.len() as u8);
        for level in &self.levels {
            out.extend(level.up_to.to_le_bytes());
            out.push(level.exponent);
        }
        put_varint(out, self.gone.len() as u64);
        let mut before = self.floor;
        for (&sequence, &size) in &self.gone {
            put_varint(out, sequence - before);
            put_varint(out, u64::from(size));
            before = sequence;
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<(StreamTag, Marks)> {
        let mut reader = Reader(bytes);
        let tag = StreamTag(reader.u32()?);
        let mut marks = Marks { next: reader.u64()?, floor: reader.u64()?, ..Marks::default() };
        if marks.floor == 0 || marks.next < marks.floor || marks.next > NUMBER_MAX {
            return None;
        }
        if usize::from(reader.u8()?) != Fate::ALL.len() {
            return None;
        }
        for fate in Fate::ALL {
            let (records, bytes) = (reader.varint()?, reader.varint()?);
            marks.counts.add(fate, records, bytes);
        }
        for _ in 0..reader.u8()? {
            let level = Level { up_to: reader.u64()?, exponent: reader.u8()? };
            let follows = marks
                .levels
                .last()
                .is_none_or(|last| last.up_to < level.up_to && last.exponent > level.exponent);
            if !follows || !(1..=THIN_EXPONENT_MAX).contains(&level.exponent) {
                return None;
            }
            marks.levels.push(level);
        }
        let mut before = marks.floor;
        let number = reader.varint()?;
        if number > WINDOW_RECORDS_MAX as u64 {
            return None;
        }
        for _ in 0..number {
            before = before.checked_add(reader.varint()?).filter(|at| *at < marks.next)?;
            marks.gone.insert(before, u32::try_from(reader.varint()?).ok()?);
        }
        reader.end()?;
        Some((tag, marks))
    }
}

/// Whether thinning to `exponent` keeps a sequence number.
pub(crate) fn keeps_at(sequence: u64, exponent: u8) -> bool {
    sequence.trailing_zeros() >= u32::from(exponent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_survive_the_log_and_cut_ones_are_refused() {
        let mut marks = Marks { next: 1000, floor: 17, ..Marks::default() };
        marks.counts.add(Fate::Acknowledged, 16, 4096);
        marks.counts.add(Fate::Refused, 3, u64::MAX);
        marks.thin(500, 1);
        marks.thin(200, 2);
        marks.gone.extend([(17, 0), (40, 1 << 20), (999, 5)]);
        let mut bytes = Vec::new();
        marks.encode(StreamTag(7), &mut bytes);
        assert_eq!(Marks::decode(&bytes), Some((StreamTag(7), marks)));
        for cut in 0..bytes.len() {
            assert_eq!(Marks::decode(&bytes[..cut]), None, "{cut}");
        }
        bytes.push(0);
        assert_eq!(Marks::decode(&bytes), None);
    }

    #[test]
    fn thinning_sweeps_keep_few_levels() {
        let mut marks = Marks { next: 1000, floor: 1, ..Marks::default() };
        for up_to in [100, 200, 300] {
            marks.thin(up_to, 1);
        }
        assert_eq!(marks.levels, [Level { up_to: 300, exponent: 1 }]);
        marks.thin(100, 2);
        assert_eq!((marks.exponent(99), marks.exponent(100), marks.exponent(300)), (2, 1, 0));
        assert!(marks.keeps(96) && !marks.keeps(98) && marks.keeps(102) && marks.keeps(301));
        marks.thin(400, 2);
        assert_eq!(marks.levels, [Level { up_to: 400, exponent: 2 }]);
        marks.raise_floor(400);
        assert!(marks.levels.is_empty());
    }

    #[test]
    fn what_is_neither_held_nor_counted_is_missing() {
        let mut marks = Marks { next: 11, floor: 3, ..Marks::default() };
        marks.counts.add(Fate::Acknowledged, 2, 0);
        marks.counts.add(Fate::Refused, 5, 0);
        assert_eq!((marks.missing(8), marks.missing(6), marks.missing(9)), (0, 2, 0));
    }
}
