//! The oracle: what one vehicle was promised, record by record, and what became of it. Whatever contradicts a promise of the
//! spool, the courier or the receiver comes out as [`Broken`]. Knows nothing of how the promises are kept.
//!
//! # Promises
//!
//! 1. A name is given to one record; a number whose record was durable is not given again.
//! 2. What the receiver gets was issued, with exactly that payload, and comes once.
//! 3. Records of a stream arrive for the first time in order, except live copies, what the broker had refused, and what had been
//!    dropped when the power went before the log knew: it is held again, and newer ones may have left.
//! 4. The queue is told to forget a record only after the broker has acknowledged all of it.
//! 5. Every number is held, acknowledged or counted with a cause, and every durable record that was not freed is held or
//!    counted: at each report, so also right after each recovery.
//! 6. Causes are true: nothing expires that may not, nothing is thinned that is not to be, a refusing stream drops nothing, and
//!    no more is `lost` than a power cut could take.

use std::collections::BTreeMap;

use outrider::core::courier::RecordName;
use outrider::core::record::Part;
use spool::{AtBound, Fate, RecordId, Report, StreamReport, StreamTag};

use crate::failure::Broken;

/// Records that are listed when some are missing.
const KEPT_SHOWN: usize = 20;

/// A record's place: order of its epoch among all of the vehicle, and its sequence.
type Place = (u32, u64);

/// Where the bytes of a part lie in its record: first, and first after.
type Span = (u64, u64);

/// One record.
#[derive(Clone, Copy, Debug)]
struct Issue {
    hash: u64,
    durable: bool,
    delivered: bool,
    /// The broker's acknowledgement of all of it has come.
    covered: bool,
    /// The queue was told to forget it.
    freed: bool,
    /// The broker refused a message with it, so others may overtake it.
    refused: bool,
    /// The queue had not made it durable when its process ended.
    doomed: bool,
}

/// One stream.
#[derive(Debug, Default)]
struct Stream {
    name: String,
    records: BTreeMap<Place, Issue>,
    /// Who has a number: the epoch that was given it last.
    owners: BTreeMap<u64, u32>,
    durable_to: u64,
    /// Owners that are durable and not freed.
    kept: u64,
    /// Owners that were freed.
    freed: u64,
    /// Records that were freed and whose number was given again: a crash may bring back the log that says so.
    freed_before: u64,
    /// Freed since the log last took in marks: before this turn, and in it.
    unsure: [u64; 2],
    /// Dropped since then.
    dropped: [u64; 2],
    /// Dropped from memory, and the count of it torn away with a process.
    forgotten: u64,
    /// Of these, how many may still arrive behind newer ones.
    returning: u64,
    /// How many may be counted as lost.
    lost_allowed: u64,
    refused_appends: u64,
    last_arrival: Option<Place>,
    parts: BTreeMap<Place, Vec<Span>>,
    in_order: bool,
}

impl Stream {
    /// Whether a number was given before this epoch, and that record was freed.
    fn was_freed_before(&self, sequence: u64, order: u32) -> bool {
        let mut earlier = (0..order).filter_map(|order| self.records.get(&(order, sequence)));
        self.freed_before > 0 && earlier.any(|issue| issue.freed)
    }
}

/// How far causes can be held to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Excuses {
    /// The disk lost or withheld what it had taken: counts may be older than they were.
    pub damaged: bool,
    /// The disk refused to write.
    pub disk_refused: bool,
    /// Writing is limited by the day.
    pub writes_limited: bool,
}

/// Everything that one vehicle was promised.
#[derive(Debug, Default)]
pub struct Ledger {
    streams: BTreeMap<StreamTag, Stream>,
    tags: BTreeMap<String, StreamTag>,
    epochs: BTreeMap<u32, u32>,
    /// Epoch that the queue is open in.
    epoch: Option<u32>,
    excuses: Excuses,
    issued: u64,
    delivered: u64,
}

impl Ledger {
    /// A queue was opened in a session.
    pub fn opened(&mut self, epoch: u32) {
        let order = self.epochs.len() as u32;
        self.epochs.insert(epoch, order);
        self.epoch = Some(order);
        self.streams.values_mut().for_each(|stream| stream.durable_to = 0);
    }

    /// A stream is known; `in_order` when its records leave in the order of their numbers.
    pub fn declare(&mut self, name: &str, tag: StreamTag, in_order: bool) {
        self.tags.insert(name.to_owned(), tag);
        let stream = self.streams.entry(tag).or_default();
        stream.name = name.to_owned();
        // Once out of order, for ever: what was overtaken may still come.
        stream.in_order = in_order && (stream.in_order || stream.records.is_empty());
    }

    /// From now on something is excused.
    pub fn excuse(&mut self, what: impl FnOnce(&mut Excuses)) {
        what(&mut self.excuses);
    }

    /// What is excused.
    #[must_use]
    pub fn excuses(&self) -> Excuses {
        self.excuses
    }

    /// Records that were given a name.
    #[must_use]
    pub fn issued(&self) -> u64 {
        self.issued
    }

    /// Records that arrived.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// The queue gave a record a name.
    ///
    /// # Errors
    /// Promise 1.
    pub fn taken(&mut self, id: RecordId, payload: &[u8]) -> Result<(), Broken> {
        self.issued += 1;
        let Some(&order) = self.epochs.get(&id.epoch) else {
            return Err(Broken::new("a name is of this session", format!("{id:?}")));
        };
        let damaged = self.excuses.damaged;
        let stream = self.streams.entry(id.stream).or_default();
        let issue = Issue {
            hash: hash(payload),
            durable: false,
            delivered: false,
            covered: false,
            freed: false,
            refused: false,
            doomed: false,
        };
        if stream.records.insert((order, id.sequence), issue).is_some() {
            return Err(Broken::new("a name is given once", format!("{id:?} of {}", stream.name)));
        }
        if let Some(before) = stream.owners.insert(id.sequence, order)
            && let Some(issue) = stream.records.get(&(before, id.sequence))
        {
            stream.kept -= u64::from(issue.durable && !issue.freed);
            stream.freed -= u64::from(issue.freed);
            stream.freed_before += u64::from(issue.freed);
            if issue.durable && !damaged && stream.forgotten == 0 {
                let how = format!("{} {} was durable and is given again", stream.name, id.sequence);
                return Err(Broken::new("a durable number is not given again", how));
            }
        }
        Ok(())
    }

    /// The queue did not take a record.
    pub fn not_taken(&mut self, stream: StreamTag) {
        if let Some(stream) = self.streams.get_mut(&stream) {
            stream.refused_appends += 1;
        }
    }

    /// The queue said that everything of a stream up to a number is durable or gone.
    pub fn durable(&mut self, tag: StreamTag, up_to: u64) {
        let (Some(order), Some(stream)) = (self.epoch, self.streams.get_mut(&tag)) else { return };
        let from = stream.durable_to + 1;
        if up_to < from {
            return;
        }
        stream.durable_to = up_to;
        let mut kept = 0;
        // What was acknowledged first is gone and was perhaps never written.
        let left = stream.records.range_mut((order, from)..=(order, up_to));
        for (_, issue) in left.filter(|(_, issue)| !issue.freed && !issue.durable) {
            kept += 1;
            issue.durable = true;
        }
        stream.kept += kept;
    }

    /// A source was told that its record is durable.
    pub fn durable_one(&mut self, id: RecordId) {
        let (Some(order), Some(stream)) = (self.epoch, self.streams.get_mut(&id.stream)) else {
            return;
        };
        if let Some(issue) = stream.records.get_mut(&(order, id.sequence)) {
            stream.kept += u64::from(!issue.durable && !issue.freed);
            issue.durable |= !issue.freed;
        }
    }

    /// The process ended with everything written.
    pub fn closed(&mut self) {
        let tags: Vec<StreamTag> = self.streams.keys().copied().collect();
        tags.into_iter().for_each(|tag| self.durable(tag, u64::MAX));
        self.turned(true);
        self.turned(true);
        self.epoch = None;
    }

    /// The process ended, without having written everything.
    pub fn crashed(&mut self) {
        let Some(order) = self.epoch.take() else { return };
        for stream in self.streams.values_mut() {
            let from = stream.durable_to + 1;
            for (_, issue) in stream.records.range_mut((order, from)..=(order, u64::MAX)) {
                issue.doomed = !issue.durable;
                stream.lost_allowed += u64::from(!issue.durable);
            }
            // What was acknowledged and never written looks lost when its mark is torn away.
            stream.lost_allowed += stream.unsure.iter().sum::<u64>();
            let undone = stream.dropped.iter().sum::<u64>();
            stream.forgotten += undone;
            stream.returning += undone;
            (stream.unsure, stream.dropped) = ([0; 2], [0; 2]);
        }
    }

    /// A turn of the queue is over; `synced` when it brought something to the disk, with all marks that were made before it.
    pub fn turned(&mut self, synced: bool) {
        for stream in self.streams.values_mut() {
            for [before, now] in [&mut stream.unsure, &mut stream.dropped] {
                *before = if synced { *now } else { *before + *now };
                *now = 0;
            }
        }
    }

    /// The queue dropped records and counted them.
    pub fn dropped(&mut self, stream: StreamTag, fate: Fate, records: u64) {
        if let Some(stream) = self.streams.get_mut(&stream).filter(|_| fate != Fate::Refused) {
            stream.dropped[1] += records;
        }
    }

    /// The broker's acknowledgement of a record, or of a part of one, has come.
    pub fn covered(&mut self, stream: &str, name: RecordName, part: Option<(Part, u64)>) {
        let Some((stream, place)) = self.place(stream, name) else { return };
        let whole = match part {
            None => true,
            Some((part, bytes)) => {
                let spans = stream.parts.entry(place).or_default();
                spans.push((part.offset, part.offset + bytes));
                spans.sort_unstable();
                let reach = |end, &(from, to): &Span| if from <= end { to.max(end) } else { end };
                spans.iter().fold(0, reach) >= part.total
            }
        };
        if whole {
            stream.parts.remove(&place);
            if let Some(issue) = stream.records.get_mut(&place) {
                issue.covered = true;
            }
        }
    }

    /// The broker refused a message with this record.
    pub fn refused(&mut self, stream: &str, name: RecordName) {
        if let Some((stream, place)) = self.place(stream, name)
            && let Some(issue) = stream.records.get_mut(&place)
        {
            issue.refused = true;
        }
    }

    fn place(&mut self, stream: &str, name: RecordName) -> Option<(&mut Stream, Place)> {
        let order = *self.epochs.get(&name.epoch)?;
        let stream = self.streams.get_mut(self.tags.get(stream)?)?;
        Some((stream, (order, name.sequence)))
    }

    /// The queue is told to forget a record.
    ///
    /// # Errors
    /// Promise 4.
    pub fn freed(&mut self, tag: StreamTag, name: RecordName) -> Result<(), Broken> {
        let order = self.epochs.get(&name.epoch).copied();
        let stream = self.streams.get_mut(&tag);
        let (Some(order), Some(stream)) = (order, stream) else { return Ok(()) };
        let Some(issue) = stream.records.get_mut(&(order, name.sequence)) else { return Ok(()) };
        if !issue.covered {
            let how =
                format!("{} {} is freed without an acknowledgement", stream.name, name.sequence);
            return Err(Broken::new("only what the broker acknowledged is freed", how));
        }
        stream.unsure[1] += 1;
        if !std::mem::replace(&mut issue.freed, true)
            && stream.owners.get(&name.sequence) == Some(&order)
        {
            stream.freed += 1;
            stream.kept -= u64::from(issue.durable);
        }
        Ok(())
    }

    /// The receiver has a record for the first time, as it thinks.
    ///
    /// # Errors
    /// Promises 2 and 3.
    pub fn arrived(
        &mut self,
        stream: &str,
        name: RecordName,
        payload: &[u8],
    ) -> Result<(), Broken> {
        let invented = || {
            let how = format!("{stream} {name:?}, {} bytes, was never issued", payload.len());
            Err(Broken::new("nothing is delivered that was not issued", how))
        };
        let Some((known, place)) = self.place(stream, name) else { return invented() };
        let Some(issue) = known.records.get_mut(&place) else { return invented() };
        if issue.hash != hash(payload) {
            let how = format!("{stream} {name:?} has other bytes than were handed in");
            return Err(Broken::new("a payload is that of its name", how));
        }
        if std::mem::replace(&mut issue.delivered, true) {
            let how = format!("{stream} {name:?} came twice and was not noticed");
            return Err(Broken::new("the receiver drops repeats", how));
        }
        let refused = issue.refused;
        if known.in_order && !refused {
            match known.last_arrival.filter(|last| *last > place) {
                Some(last) if known.returning == 0 => {
                    let how = format!("{stream} {place:?} (epoch, number) came after {last:?}");
                    return Err(Broken::new("a stream arrives in order", how));
                }
                Some(_) => known.returning -= 1,
                None => known.last_arrival = Some(place),
            }
        }
        self.delivered += 1;
        Ok(())
    }

    /// The queue's own account against this one.
    ///
    /// # Errors
    /// Promises 5 and 6.
    pub fn audit(&self, report: &Report) -> Result<(), Broken> {
        for reported in &report.streams {
            let Some(stream) = self.streams.get(&reported.tag) else { continue };
            self.audit_stream(stream, reported).map_err(|(promise, how)| {
                Broken::new(promise, format!("{}: {how}", stream.name))
            })?;
        }
        Ok(())
    }

    fn audit_stream(
        &self,
        stream: &Stream,
        reported: &StreamReport,
    ) -> Result<(), (&'static str, String)> {
        let count = |fate: Fate| reported.counts.get(fate).records;
        let losses = losses(reported);
        let held = reported.held.records;
        let issued = reported.next_sequence - 1;
        // What could not be read is counted as lost, and may be read after the next start: then it is held, too.
        let accounted = held + count(Fate::Acknowledged) + losses;
        if issued > accounted || issued < accounted && !self.excuses.damaged {
            let how = format!("{issued} numbers given, {reported:?}");
            return Err(("every number is held, acknowledged or counted", how));
        }
        let Excuses { damaged, disk_refused, writes_limited } = self.excuses;
        if damaged {
            return Ok(());
        }
        if stream.kept > held + losses + stream.forgotten {
            let kept: Vec<String> = stream
                .owners
                .iter()
                .filter_map(|(&sequence, &order)| {
                    let issue = stream.records.get(&(order, sequence))?;
                    let kept = issue.durable && !issue.freed;
                    kept.then(|| {
                        format!("{sequence} of epoch {order}, delivered {}", issue.delivered)
                    })
                })
                .take(KEPT_SHOWN)
                .collect();
            let how = format!(
                "{} are durable and not freed ({}), {} freed, {held} held, {losses} counted as lost: {reported:?}",
                stream.kept,
                kept.join("; "),
                stream.freed
            );
            return Err(("what is durable is held or counted", how));
        }
        if count(Fate::Acknowledged) > stream.freed + stream.freed_before {
            let how = format!("{} were freed: {reported:?}", stream.freed + stream.freed_before);
            return Err(("no more is acknowledged than was", how));
        }
        let policy = reported.policy;
        let untrue = [
            (Fate::Rejected, true),
            (Fate::Expired, policy.expire_ms == 0),
            (Fate::Thinned, policy.at_bound != AtBound::Thin),
            (Fate::Full, policy.at_bound == AtBound::Refuse),
            (Fate::Storage, !disk_refused),
            (Fate::WriteBudget, !writes_limited),
        ]
        .into_iter()
        .find(|(fate, cannot_be)| *cannot_be && count(*fate) > 0);
        if let Some((fate, _)) = untrue {
            return Err(("causes are true", format!("{} cannot be: {reported:?}", fate.word())));
        }
        if count(Fate::Refused) > stream.refused_appends {
            let how = format!("{} were refused: {reported:?}", stream.refused_appends);
            return Err(("no more is refused than was", how));
        }
        if count(Fate::Lost) > stream.lost_allowed && !disk_refused && !writes_limited {
            let how = format!("{} could be lost: {reported:?}", stream.lost_allowed);
            return Err(("no more is lost than could be", how));
        }
        Ok(())
    }

    /// At the end: what did not arrive is held or counted.
    ///
    /// # Errors
    /// Promise 5, against what really arrived.
    pub fn settle(&self, report: &Report) -> Result<Totals, Broken> {
        self.audit(report)?;
        let mut totals = Totals::default();
        for reported in &report.streams {
            let Some(stream) = self.streams.get(&reported.tag) else { continue };
            let owners = stream.owners.iter().filter_map(|(&sequence, &order)| {
                let issue = stream.records.get(&(order, sequence))?;
                // A crash may take a record that was not durable and bring back the log in which its number was freed.
                let is_void = !issue.durable && stream.was_freed_before(sequence, order);
                (!is_void).then_some((sequence, issue))
            });
            let owners = owners.filter(|(sequence, _)| *sequence < reported.next_sequence);
            let missing: Vec<(u64, bool)> = owners
                .filter(|(_, issue)| !issue.delivered)
                .map(|(sequence, issue)| (sequence, issue.durable))
                .collect();
            let (held, losses) = (reported.held.records, losses(reported));
            let forgotten = stream.forgotten;
            if missing.len() as u64 > held + losses + forgotten && !self.excuses.damaged {
                let first: Vec<&(u64, bool)> = missing.iter().take(10).collect();
                let how = format!(
                    "{}: {} did not arrive, {held} held, {losses} counted; the first (number, durable) {first:?}: \
                     {reported:?}",
                    stream.name,
                    missing.len()
                );
                return Err(Broken::new("everything durable is delivered or counted", how));
            }
            let gone = stream.records.iter().filter(|(place, issue)| {
                issue.durable
                    && !issue.delivered
                    && place.1 >= reported.next_sequence
                    && stream.forgotten == 0
                    && !self.excuses.damaged
            });
            if let Some((place, _)) = gone.clone().next() {
                let how = format!("{} {place:?} and {} more", stream.name, gone.count() - 1);
                return Err(Broken::new("durable numbers are remembered", how));
            }
            totals.missing += missing.len() as u64;
            totals.held += held;
            totals.losses += losses;
            for (sum, (_, count)) in totals.by_cause.iter_mut().zip(reported.counts.iter()) {
                *sum += count.records;
            }
        }
        Ok(totals)
    }
}

/// What came of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Records that did not arrive.
    pub missing: u64,
    /// Records that are held.
    pub held: u64,
    /// Records that were counted with a cause.
    pub losses: u64,
    /// Records by what became of them, in the order of [`Fate::ALL`].
    pub by_cause: [u64; Fate::ALL.len()],
}

/// Records that a stream has counted as lost, for whatever cause.
#[must_use]
pub fn losses(reported: &StreamReport) -> u64 {
    let lost = |fate: &Fate| *fate != Fate::Acknowledged && *fate != Fate::Refused;
    reported.counts.iter().filter(|(fate, _)| lost(fate)).map(|(_, count)| count.records).sum()
}

/// A fingerprint of bytes; nobody here is hostile.
fn hash(bytes: &[u8]) -> u64 {
    let mut state = 0xCBF2_9CE4_8422_2325 ^ bytes.len() as u64;
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let word = chunk.try_into().map_or(0, u64::from_le_bytes);
        state = (state ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
    }
    for &byte in chunks.remainder() {
        state = (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
    }
    state ^ (state >> 32)
}
