//! A set of numbers as ranges: what is dense is cheap, however long.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::bytes::{Reader, put_varint};

/// Numbers. Ranges in it are never empty, never touch and never overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Vec<(u64, u64)>", try_from = "Vec<(u64, u64)>")]
pub(crate) struct Ranges {
    /// Last of each range, by its first.
    ranges: BTreeMap<u64, u64>,
}

impl From<Ranges> for Vec<(u64, u64)> {
    /// First and last of each.
    fn from(ranges: Ranges) -> Vec<(u64, u64)> {
        ranges.ranges.into_iter().collect()
    }
}

impl TryFrom<Vec<(u64, u64)>> for Ranges {
    type Error = &'static str;

    fn try_from(ranges: Vec<(u64, u64)>) -> Result<Ranges, &'static str> {
        let apart = |pair: &[(u64, u64)]| {
            pair[1].0.checked_sub(pair[0].1).is_some_and(|distance| distance > 1)
        };
        if ranges.windows(2).all(apart) && ranges.iter().all(|(first, last)| first <= last) {
            return Ok(Ranges { ranges: ranges.into_iter().collect() });
        }
        Err("ranges touch or are empty")
    }
}

impl Ranges {
    /// Ranges in it.
    pub(crate) fn len(&self) -> usize {
        self.ranges.len()
    }

    pub(crate) fn has(&self, number: u64) -> bool {
        self.ranges.range(..=number).next_back().is_some_and(|(_, last)| *last >= number)
    }

    pub(crate) fn first(&self) -> Option<u64> {
        self.ranges.first_key_value().map(|(first, _)| *first)
    }

    pub(crate) fn last(&self) -> Option<u64> {
        self.ranges.last_key_value().map(|(_, last)| *last)
    }

    /// Numbers in it, saturating.
    pub(crate) fn total(&self) -> u64 {
        self.total_within(0..=u64::MAX)
    }

    /// Numbers in it that lie within `bounds`, saturating.
    pub(crate) fn total_within(&self, bounds: RangeInclusive<u64>) -> u64 {
        let (from, to) = bounds.into_inner();
        self.ranges
            .range(..=to)
            .rev()
            .take_while(|(_, last)| **last >= from)
            .fold(0_u64, |sum, (&first, &last)| {
                sum.saturating_add(length(first.max(from), last.min(to)))
            })
    }

    /// Adds numbers, of which there is at least one, and joins what touches. Gives how many were not there.
    pub(crate) fn add(&mut self, numbers: RangeInclusive<u64>) -> u64 {
        let (mut first, mut last) = numbers.into_inner();
        let added = length(first, last).saturating_sub(self.total_within(first..=last));
        let touching: Vec<(u64, u64)> = self
            .ranges
            .range(..=last.saturating_add(1))
            .rev()
            .map(|(first, last)| (*first, *last))
            .take_while(|(_, range_last)| range_last.saturating_add(1) >= first)
            .collect();
        for (range_first, range_last) in touching {
            self.ranges.remove(&range_first);
            (first, last) = (first.min(range_first), last.max(range_last));
        }
        self.ranges.insert(first, last);
        added
    }

    /// Takes one number out. False when it was not there.
    pub(crate) fn remove(&mut self, number: u64) -> bool {
        let found = self.ranges.range(..=number).next_back().map(|(first, last)| (*first, *last));
        let Some((first, last)) = found.filter(|(_, last)| *last >= number) else { return false };
        self.ranges.remove(&first);
        if first < number {
            self.ranges.insert(first, number - 1);
        }
        if number < last {
            self.ranges.insert(number + 1, last);
        }
        true
    }

    /// Takes out everything below `bound`.
    pub(crate) fn remove_below(&mut self, bound: u64) {
        while let Some((first, last)) = self.ranges.first_key_value().map(|(f, l)| (*f, *l)) {
            if first >= bound {
                return;
            }
            self.ranges.remove(&first);
            if last >= bound {
                self.ranges.insert(bound, last);
                return;
            }
        }
    }

    /// Takes out the lowest range that does not hold `spared`. False when there is none.
    pub(crate) fn forget_lowest_but(&mut self, spared: Option<u64>) -> bool {
        let holds =
            |first: u64, last: u64| spared.is_some_and(|number| (first..=last).contains(&number));
        let lowest = self.ranges.iter().find(|(first, last)| !holds(**first, **last));
        let Some(first) = lowest.map(|(first, _)| *first) else { return false };
        self.ranges.remove(&first).is_some()
    }

    /// What of `bounds` is not in it, in ascending order.
    pub(crate) fn holes(&self, bounds: RangeInclusive<u64>) -> Vec<RangeInclusive<u64>> {
        let (from, to) = bounds.into_inner();
        let mut holes = Vec::new();
        let mut next = Some(from);
        let below = self.ranges.range(..from).next_back();
        for (&first, &last) in below.into_iter().chain(self.ranges.range(from..=to)) {
            let Some(start) = next else { break };
            if last < start {
                continue;
            }
            if first > start {
                holes.push(start..=first - 1);
            }
            next = last.checked_add(1);
        }
        holes.extend(next.filter(|start| *start <= to).map(|start| start..=to));
        holes
    }

    /// Number of ranges, then each as distance from the last of the one before and length less one, varints.
    pub(super) fn write(&self, to: &mut Vec<u8>) {
        put_varint(to, self.ranges.len() as u64);
        let mut before = 0;
        for (first, last) in &self.ranges {
            put_varint(to, first - before);
            put_varint(to, last - first);
            before = *last;
        }
    }

    /// Reads at most `limit` ranges. `None` when they are not as [`Ranges::write`] leaves them.
    pub(super) fn read(reader: &mut Reader<'_>, limit: usize) -> Option<Ranges> {
        let count = usize::try_from(reader.varint()?).ok().filter(|count| *count <= limit)?;
        let mut ranges = Ranges::default();
        let mut before: Option<u64> = None;
        for _ in 0..count {
            let distance = reader.varint()?;
            if before.is_some() && distance < 2 {
                return None;
            }
            let first = before.unwrap_or(0).checked_add(distance)?;
            let last = first.checked_add(reader.varint()?)?;
            ranges.ranges.insert(first, last);
            before = Some(last);
        }
        Some(ranges)
    }
}

/// Numbers from `first` to `last`, which is not below it; saturates where all of them are meant.
fn length(first: u64, last: u64) -> u64 {
    (last - first).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Every operation beside a set of numbers.
        #[test]
        fn is_a_set(
            steps in prop::collection::vec((0_u8..4, 0_u64..50, 0_u64..10), 1..100),
        ) {
            let mut ranges = Ranges::default();
            let mut model: BTreeSet<u64> = BTreeSet::new();
            for (step, number, more) in steps {
                match step {
                    0 | 1 => {
                        let fresh = (number..=number + more).filter(|n| model.insert(*n)).count();
                        prop_assert_eq!(ranges.add(number..=number + more), fresh as u64);
                    }
                    2 => prop_assert_eq!(ranges.remove(number), model.remove(&number)),
                    _ => {
                        ranges.remove_below(more);
                        model.retain(|number| *number >= more);
                    }
                }
                for number in 0..70 {
                    prop_assert_eq!(ranges.has(number), model.contains(&number));
                }
                let inside = model.range(number..=number + more).count() as u64;
                prop_assert_eq!(ranges.total_within(number..=number + more), inside);
                let holes: Vec<u64> =
                    ranges.holes(number..=number + more).into_iter().flatten().collect();
                let absent: Vec<u64> =
                    (number..=number + more).filter(|n| !model.contains(n)).collect();
                prop_assert_eq!(holes, absent);
                let mut bytes = Vec::new();
                ranges.write(&mut bytes);
                let read = Ranges::read(&mut Reader::new(&bytes), 100);
                prop_assert_eq!(read.as_ref(), Some(&ranges));
            }
        }
    }

    #[test]
    fn the_ends_of_the_numbers_do_no_harm() {
        let mut ranges = Ranges::default();
        assert_eq!(ranges.add(u64::MAX..=u64::MAX), 1);
        assert_eq!(ranges.holes(0..=u64::MAX), [0..=u64::MAX - 1]);
        assert_eq!(ranges.add(0..=u64::MAX), u64::MAX - 1);
        assert!(ranges.holes(0..=u64::MAX).is_empty());
        assert!(ranges.remove(u64::MAX) && ranges.remove(0));
        assert_eq!((ranges.first(), ranges.last()), (Some(1), Some(u64::MAX - 1)));
        assert!(!ranges.forget_lowest_but(Some(1)) && ranges.forget_lowest_but(None));
    }
}
