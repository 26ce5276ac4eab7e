//! The receiver's memory of what it has: tells a record that is there for the first time from one that comes again, and counts
//! what has not come.
//!
//! Sequences are kept as ranges, so that a stream without holes costs one range however long it runs. What is forgotten at a
//! bound can only lead to a record being taken twice, never to one being refused that is not here: the newest of what was
//! seen is kept, the least recently heard stream, epoch or lowest range goes, and `forgotten` counts it. A record that comes
//! although the vehicle had given it up is taken as well: a broker may have held it back.
//!
//! [`Dedup::snapshot`] and [`Dedup::restore`] carry it over a restart. Records and snapshot must reach the disk together, and
//! before the broker is answered.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;

use super::bytes::{Reader, put_varint};
use super::checksum::{seal, unseal};
use super::ranges::Ranges;

/// Streams that are remembered: a thousand vehicles with sixteen each.
pub const STREAMS_MAX: usize = 16_384;

/// Ranges of one stream that are remembered, in all its epochs: each hole ends one, each restart of a vehicle begins an epoch
/// and with it one. A stream that was thinned out has a hole beside each record, and after a lost connection all that the queue
/// handed out comes again, perhaps another time after that. Also more than a vehicle that restarts every hour collects in
/// five months.
pub const STREAM_RANGES_MAX: usize = 2 * 2 * spool::limits::WINDOW_RECORDS_MAX;

/// Ranges that are remembered of all streams together, about 64 bytes each: 16 MiB whatever anybody sends. Beyond it the
/// stream with the most ranges forgets first, so that one vehicle cannot push out the others.
pub const RANGES_MAX: usize = 1 << 18;

/// Ranges that the largest stream forgets at once, so that looking for it costs little.
const FORGOTTEN_AT_ONCE: usize = 256;

/// First bytes of a snapshot: what it is, and its version.
const SNAPSHOT_MAGIC: &[u8; 8] = b"ordedup\x01";

/// Whether a record is to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has not been here before; it counts as here from now on.
    New,
    /// It has been here.
    Repeat,
}

/// What is known of one stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records that came for the first time.
    pub new: u64,
    /// Records that came again.
    pub repeats: u64,
    /// Sequences between the first and the last of an epoch that have not come and may still come.
    pub missing: u64,
    /// Sequences that have not come and will not: the vehicle said that it no longer holds them.
    pub gone: u64,
    /// Ranges that were forgotten at a bound.
    pub forgotten: u64,
}

/// One vehicle's stream.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    vehicle: String,
    stream: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Stream {
    /// By epoch.
    epochs: BTreeMap<u32, Epoch>,
    new: u64,
    repeats: u64,
    gone: u64,
    forgotten: u64,
    heard: u64,
    /// Ranges in all epochs.
    ranges: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Epoch {
    /// What has come.
    seen: Ranges,
    /// What was given up and has not come.
    gone: Ranges,
    heard: u64,
}

/// What was received, of all vehicles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dedup {
    streams: BTreeMap<Key, Stream>,
    /// Grows with each observation: what is smallest was heard least recently.
    clock: u64,
    /// Ranges in all streams.
    ranges: usize,
    forgotten_streams: u64,
}

impl Dedup {
    /// Nothing seen.
    #[must_use]
    pub fn new() -> Dedup {
        Dedup::default()
    }

    /// Whether this record has been here. Changes nothing.
    #[must_use]
    pub fn has(&self, vehicle: &str, stream: &str, epoch: u32, sequence: u64) -> bool {
        self.find(vehicle, stream)
            .and_then(|stream| stream.epochs.get(&epoch))
            .is_some_and(|epoch| epoch.seen.has(sequence))
    }

    /// A record came.
    pub fn observe(&mut self, vehicle: &str, stream: &str, epoch: u32, sequence: u64) -> Verdict {
        self.change(vehicle, stream, epoch, sequence, |stream, epoch| {
            if epoch.seen.add(sequence..=sequence) == 0 {
                stream.repeats += 1;
                return Verdict::Repeat;
            }
            stream.new += 1;
            stream.gone -= u64::from(epoch.gone.remove(sequence));
            Verdict::New
        })
    }

    /// The vehicle says that it no longer holds these: what of them has not come is no longer missing.
    pub fn gone(
        &mut self,
        vehicle: &str,
        stream: &str,
        epoch: u32,
        sequences: RangeInclusive<u64>,
    ) {
        if sequences.is_empty() {
            return;
        }
        self.change(vehicle, stream, epoch, *sequences.end(), |stream, epoch| {
            for hole in epoch.seen.holes(sequences) {
                stream.gone = stream.gone.saturating_add(epoch.gone.add(hole));
            }
        });
    }

    /// Every stream with its numbers, in order of vehicle and name.
    pub fn counts(&self) -> impl Iterator<Item = (&str, &str, Counts)> {
        self.streams.iter().map(|(key, stream)| {
            let counts = Counts {
                new: stream.new,
                repeats: stream.repeats,
                missing: stream.epochs.values().map(Epoch::missing).sum(),
                gone: stream.gone,
                forgotten: stream.forgotten,
            };
            (key.vehicle.as_str(), key.stream.as_str(), counts)
        })
    }

    /// Whole streams that were forgotten at [`STREAMS_MAX`].
    #[must_use]
    pub fn forgotten_streams(&self) -> u64 {
        self.forgotten_streams
    }

    fn find(&self, vehicle: &str, stream: &str) -> Option<&Stream> {
        self.streams.get(&Key { vehicle: vehicle.to_owned(), stream: stream.to_owned() })
    }

    /// Changes one epoch, the last heard from now on, and keeps the bounds. What `sequence` is in is not forgotten.
    fn change<T>(
        &mut self,
        vehicle: &str,
        stream: &str,
        epoch: u32,
        sequence: u64,
        change: impl FnOnce(&mut Stream, &mut Epoch) -> T,
    ) -> T {
        self.clock += 1;
        let key = Key { vehicle: vehicle.to_owned(), stream: stream.to_owned() };
        if !self.streams.contains_key(&key) && self.streams.len() >= STREAMS_MAX {
            self.forget_stream();
        }
        let stream = self.streams.entry(key).or_default();
        let before = stream.ranges;
        stream.heard = self.clock;
        let mut changed = stream.epochs.remove(&epoch).unwrap_or_default();
        changed.heard = self.clock;
        let ranges = changed.ranges();
        let result = change(stream, &mut changed);
        stream.ranges = stream.ranges + changed.ranges() - ranges;
        stream.epochs.insert(epoch, changed);
        while stream.ranges > STREAM_RANGES_MAX && stream.forget(sequence) {}
        self.ranges = self.ranges + stream.ranges - before;
        self.forget_ranges(sequence);
        result
    }

    /// Forgets the stream that was heard least recently.
    fn forget_stream(&mut self) {
        let oldest = self.streams.iter().min_by_key(|(_, stream)| stream.heard);
        if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
            self.ranges -= self.streams.remove(&oldest).map_or(0, |stream| stream.ranges);
            self.forgotten_streams += 1;
        }
    }

    /// Keeps [`RANGES_MAX`].
    fn forget_ranges(&mut self, sequence: u64) {
        while self.ranges > RANGES_MAX {
            let largest = self.streams.values_mut().max_by_key(|stream| stream.ranges);
            let Some(stream) = largest else { return };
            let before = stream.ranges;
            for _ in 0..FORGOTTEN_AT_ONCE {
                if !stream.forget(sequence) {
                    break;
                }
            }
            if stream.ranges == before {
                return;
            }
            self.ranges -= before - stream.ranges;
        }
    }
}

impl Stream {
    /// Forgets the lowest range of the epoch that was heard least recently, or another one where that holds `sequence`: it may
    /// be a backlog on its way. False when there is nothing else.
    fn forget(&mut self, sequence: u64) -> bool {
        let last_heard = self.heard;
        let oldest = self.epochs.iter_mut().min_by_key(|(_, epoch)| epoch.heard);
        let Some((&number, epoch)) = oldest else { return false };
        let spared = (epoch.heard == last_heard).then_some(sequence);
        let before = epoch.ranges();
        if !epoch.seen.forget_lowest_but(spared) && !epoch.gone.forget_lowest_but(spared) {
            return false;
        }
        // What lies below the first that came is not missing, given up or not.
        epoch.gone.remove_below(epoch.seen.first().unwrap_or(0));
        self.ranges -= before - epoch.ranges();
        self.forgotten += 1;
        if epoch.ranges() == 0 {
            self.epochs.remove(&number);
        }
        true
    }
}

impl Epoch {
    fn ranges(&self) -> usize {
        self.seen.len() + self.gone.len()
    }

    /// Sequences between the first and the last that came, without those given up.
    fn missing(&self) -> u64 {
        let (Some(first), Some(last)) = (self.seen.first(), self.seen.last()) else { return 0 };
        let holes = (last - first).saturating_sub(self.seen.total() - 1);
        holes.saturating_sub(self.gone.total_within(first..=last))
    }
}

/// Why a snapshot cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotError {
    /// It begins like none, or like one of another version.
    Unknown,
    /// It is cut off or changed.
    Damaged,
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SnapshotError::Unknown => write!(
                f,
                "the list of received records is of another version of this program, or something else"
            ),
            SnapshotError::Damaged => write!(f, "the list of received records is damaged"),
        }
    }
}

impl std::error::Error for SnapshotError {}

impl Dedup {
    /// Everything as bytes: magic and version, clock, streams in order with their epochs and ranges (ranges each as distance from
    /// the one before and length), all varints, and a CRC-32C.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        let mut to = SNAPSHOT_MAGIC.to_vec();
        put_varint(&mut to, self.clock);
        put_varint(&mut to, self.forgotten_streams);
        put_varint(&mut to, self.streams.len() as u64);
        for (key, stream) in &self.streams {
            for text in [&key.vehicle, &key.stream] {
                put_varint(&mut to, text.len() as u64);
                to.extend_from_slice(text.as_bytes());
            }
            let Stream { epochs, new, repeats, gone, forgotten, heard, ranges: _ } = stream;
            for number in [*new, *repeats, *gone, *forgotten, *heard, epochs.len() as u64] {
                put_varint(&mut to, number);
            }
            for (number, epoch) in epochs {
                put_varint(&mut to, u64::from(*number));
                put_varint(&mut to, epoch.heard);
                epoch.seen.write(&mut to);
                epoch.gone.write(&mut to);
            }
        }
        seal(&mut to);
        to
    }

    /// Reads a snapshot.
    ///
    /// # Errors
    ///
    /// When it is none, of another version, or damaged. To begin with nothing seen is safe: what the broker sends again is
    /// then taken again.
    pub fn restore(snapshot: &[u8]) -> Result<Dedup, SnapshotError> {
        let content = unseal(snapshot, SNAPSHOT_MAGIC)?;
        read_snapshot(&mut Reader::new(content)).ok_or(SnapshotError::Damaged)
    }
}

fn read_snapshot(reader: &mut Reader<'_>) -> Option<Dedup> {
    let mut dedup =
        Dedup { clock: reader.varint()?, forgotten_streams: reader.varint()?, ..Dedup::default() };
    for _ in 0..bounded(reader, STREAMS_MAX)? {
        let mut text = || String::from_utf8(reader.sized()?.to_vec()).ok();
        let key = Key { vehicle: text()?, stream: text()? };
        let stream = read_stream(reader)?;
        dedup.ranges += stream.ranges;
        dedup.streams.insert(key, stream);
    }
    reader.at_end().then_some(dedup)
}

fn read_stream(reader: &mut Reader<'_>) -> Option<Stream> {
    let mut stream = Stream {
        new: reader.varint()?,
        repeats: reader.varint()?,
        gone: reader.varint()?,
        forgotten: reader.varint()?,
        heard: reader.varint()?,
        ..Stream::default()
    };
    for _ in 0..bounded(reader, STREAM_RANGES_MAX)? {
        let number = u32::try_from(reader.varint()?).ok()?;
        let heard = reader.varint()?;
        let seen = Ranges::read(reader, STREAM_RANGES_MAX)?;
        let epoch = Epoch { heard, seen, gone: Ranges::read(reader, STREAM_RANGES_MAX)? };
        stream.ranges += epoch.ranges();
        stream.epochs.insert(number, epoch);
    }
    Some(stream)
}

fn bounded(reader: &mut Reader<'_>, limit: usize) -> Option<usize> {
    usize::try_from(reader.varint()?).ok().filter(|number| *number <= limit)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn counts(dedup: &Dedup) -> Counts {
        dedup.counts().next().unwrap().2
    }

    #[test]
    fn a_repeat_is_told_from_what_is_new() {
        let mut dedup = Dedup::new();
        assert_eq!(dedup.observe("alpha", "gps", 7, 5), Verdict::New);
        assert_eq!(dedup.observe("alpha", "gps", 7, 5), Verdict::Repeat);
        assert_eq!(dedup.observe("alpha", "gps", 8, 5), Verdict::New, "another epoch");
        assert_eq!(dedup.observe("bravo", "gps", 7, 5), Verdict::New, "another vehicle");
        assert_eq!(dedup.observe("alpha", "lidar", 7, 5), Verdict::New, "another stream");
        assert!(dedup.has("alpha", "lidar", 7, 5) && !dedup.has("alpha", "lidar", 7, 6));
    }

    #[test]
    fn what_the_vehicle_gave_up_is_no_longer_missing() {
        let mut dedup = Dedup::new();
        dedup.observe("alpha", "gps", 7, 10);
        dedup.observe("alpha", "gps", 7, 20);
        assert_eq!(counts(&dedup).missing, 9);
        dedup.observe("alpha", "gps", 7, 12);
        dedup.gone("alpha", "gps", 7, 8..=14);
        assert_eq!(
            counts(&dedup),
            Counts { new: 3, repeats: 0, missing: 5, gone: 5, forgotten: 0 }
        );
        assert_eq!(dedup.observe("alpha", "gps", 7, 13), Verdict::New, "it came after all");
        assert_eq!(
            counts(&dedup),
            Counts { new: 4, repeats: 0, missing: 5, gone: 4, forgotten: 0 }
        );
    }

    #[test]
    fn the_largest_numbers_do_no_harm() {
        let mut dedup = Dedup::new();
        assert_eq!(dedup.observe("a", "s", u32::MAX, u64::MAX), Verdict::New);
        assert_eq!(dedup.observe("a", "s", u32::MAX, 0), Verdict::New);
        dedup.gone("a", "s", u32::MAX, 0..=u64::MAX);
        assert_eq!(counts(&dedup).gone, u64::MAX - 1);
        assert_eq!(counts(&dedup).missing, 0);
    }

    #[test]
    fn a_stream_is_bounded_and_what_is_refused_was_here() {
        let mut dedup = Dedup::new();
        let many = 2 * STREAM_RANGES_MAX as u64;
        for sequence in 0..many {
            assert_eq!(dedup.observe("a", "s", 1, 1_000_000 + 2 * sequence), Verdict::New);
            // A backlog far below keeps its one range.
            assert_eq!(dedup.observe("a", "s", 1, sequence), Verdict::New);
        }
        let stream = dedup.find("a", "s").unwrap();
        let seen = &stream.epochs[&1].seen;
        assert_eq!((stream.ranges, seen.len()), (STREAM_RANGES_MAX, STREAM_RANGES_MAX));
        let last = 1_000_000 + 2 * (many - 1);
        assert!(seen.has(many - 1) && seen.has(last) && !seen.has(1_000_000));

        for sequence in 0..many {
            dedup.gone("a", "s", 1, 2_000_000 + 2 * sequence..=2_000_000 + 2 * sequence);
        }
        assert_eq!(dedup.find("a", "s").unwrap().ranges, STREAM_RANGES_MAX);
        let last = 2 + 2 * STREAM_RANGES_MAX as u32;
        for epoch in 2..=last {
            dedup.observe("a", "s", epoch, 0);
        }
        let stream = dedup.find("a", "s").unwrap();
        assert_eq!((stream.ranges, stream.epochs.len()), (STREAM_RANGES_MAX, STREAM_RANGES_MAX));
        assert!(!stream.epochs.contains_key(&1) && stream.epochs.contains_key(&last));
        assert_eq!(dedup.ranges, STREAM_RANGES_MAX);
    }

    /// A simulated convoy found records taken twice when a connection was lost under the backlog of a thinned stream.
    #[test]
    fn a_thinned_stream_that_is_handed_out_again_is_recognised() {
        let mut dedup = Dedup::new();
        let mut hand_out = |from: u64, expected: Verdict| {
            for record in from..from + spool::limits::WINDOW_RECORDS_MAX as u64 {
                let sequence = 2 * record + 1;
                dedup.gone("a", "s", 1, sequence - 1..=sequence - 1);
                assert_eq!(dedup.observe("a", "s", 1, sequence), expected, "{sequence}");
            }
        };
        let window = spool::limits::WINDOW_RECORDS_MAX as u64;
        for round in 0..4 {
            hand_out(round * window, Verdict::New);
            hand_out(round * window, Verdict::Repeat);
        }
    }

    #[test]
    fn one_vehicle_cannot_push_out_the_others() {
        let mut dedup = Dedup::new();
        dedup.observe("quiet", "s", 1, 0);
        for stream in 0..=RANGES_MAX / (STREAM_RANGES_MAX / 2) {
            for hole in 0..STREAM_RANGES_MAX as u64 / 2 {
                dedup.observe("loud", &stream.to_string(), 1, 2 * hole);
            }
        }
        assert!(dedup.ranges <= RANGES_MAX && dedup.ranges > RANGES_MAX - 2 * FORGOTTEN_AT_ONCE);
        let held: usize = dedup.streams.values().map(|stream| stream.ranges).sum();
        assert_eq!(held, dedup.ranges);
        assert!(dedup.has("quiet", "s", 1, 0));
    }

    #[test]
    fn the_stream_that_was_heard_least_recently_is_forgotten() {
        let mut dedup = Dedup::new();
        for stream in 0..=STREAMS_MAX {
            dedup.observe("a", &stream.to_string(), 0, 0);
        }
        assert_eq!((dedup.streams.len(), dedup.forgotten_streams()), (STREAMS_MAX, 1));
        assert_eq!(dedup.ranges, STREAMS_MAX);
        assert!(!dedup.has("a", "0", 0, 0) && dedup.has("a", "1", 0, 0));
    }

    #[test]
    fn a_damaged_snapshot_is_refused() {
        let mut dedup = Dedup::new();
        dedup.observe("alpha", "gps", 7, 10);
        let snapshot = dedup.snapshot();
        assert_eq!(Dedup::restore(b"something else"), Err(SnapshotError::Unknown));
        for length in SNAPSHOT_MAGIC.len()..snapshot.len() {
            assert_eq!(Dedup::restore(&snapshot[..length]), Err(SnapshotError::Damaged));
        }
        for position in SNAPSHOT_MAGIC.len()..snapshot.len() {
            let mut flipped = snapshot.clone();
            flipped[position] ^= 0x10;
            assert_eq!(Dedup::restore(&flipped), Err(SnapshotError::Damaged), "{position}");
        }
    }

    proptest! {
        /// Beside a set of numbers, which is what the ranges stand for, with a restart after every step.
        #[test]
        fn behaves_like_a_set(
            steps in prop::collection::vec((0_u32..3, 0_u64..60, 0_u64..12, any::<bool>()), 1..200),
        ) {
            let mut dedup = Dedup::new();
            let mut seen: BTreeSet<(u32, u64)> = BTreeSet::new();
            let mut given_up: BTreeSet<(u32, u64)> = BTreeSet::new();
            let (mut new, mut repeats) = (0, 0);
            for (epoch, sequence, length, gives_up) in steps {
                if gives_up {
                    dedup.gone("v", "s", epoch, sequence..=sequence + length);
                    let numbers = (sequence..=sequence + length).map(|number| (epoch, number));
                    given_up.extend(numbers.filter(|number| !seen.contains(number)));
                } else {
                    let fresh = seen.insert((epoch, sequence));
                    given_up.remove(&(epoch, sequence));
                    let verdict = dedup.observe("v", "s", epoch, sequence);
                    prop_assert_eq!(verdict == Verdict::New, fresh);
                    new += u64::from(fresh);
                    repeats += u64::from(!fresh);
                }
                let missing = (0..3)
                    .map(|epoch| {
                        let mut here = seen.range((epoch, 0)..=(epoch, u64::MAX));
                        let Some(first) = here.next() else { return 0 };
                        let last = here.next_back().unwrap_or(first);
                        let known = |number: &u64| {
                            !seen.contains(&(epoch, *number)) && !given_up.contains(&(epoch, *number))
                        };
                        (first.1..last.1).filter(known).count() as u64
                    })
                    .sum();
                let gone = given_up.len() as u64;
                prop_assert_eq!(counts(&dedup), Counts { new, repeats, missing, gone, forgotten: 0 });
                let restored = Dedup::restore(&dedup.snapshot()).unwrap();
                prop_assert_eq!(&restored, &dedup);
                dedup = restored;
            }
        }

        #[test]
        fn no_bytes_can_hurt_a_restart(content in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut snapshot = SNAPSHOT_MAGIC.to_vec();
            snapshot.extend(content);
            seal(&mut snapshot);
            if let Ok(dedup) = Dedup::restore(&snapshot) {
                let _ = dedup.counts().count();
            }
        }
    }
}
