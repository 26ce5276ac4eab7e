//! One stream on its way: what was fetched of it, what is live, what the broker refused, and how a message is packed from it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Held, LIVE_BYTES_MAX, Order, RecordName, StreamCounts, StreamSetup};
use crate::core::pacing::Urgency;
use crate::core::record::compress::{Effort, Trial};
use crate::core::record::stored::{self, Stored};
use crate::core::record::{Encoder, Entry, FRAMING_BYTES_MAX, Part, Ranges};
use crate::core::time::Mono;

/// Units in which service is counted, so that weights divide it finely.
const SERVICE_UNIT: u64 = 1024;

/// Large records of which some parts have been acknowledged: more than one only while another connection follows a lost one.
const LARGE_MAX: usize = 16;

/// Ranges of live copies that the broker has; beyond, records are sent twice, which the receiver notices.
const LIVE_RANGES_MAX: usize = 64;

/// A message has this many times the bytes that it should have, at most, because it will be compressed.
const RATIO_MAX: usize = 8;

/// What one record and its place in a list take in memory beside the payload.
const ENTRY_OVERHEAD_BYTES: usize = 128;

/// Whether there is more to fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Supply {
    /// There may be.
    Available,
    /// It was asked for; `again` when more came meanwhile.
    Asked { again: bool },
    /// There is, but the queue hands out no more before something is acknowledged.
    Blocked,
    /// There is not.
    Empty,
}

/// How large things may be, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// A message should not be larger.
    pub wanted: usize,
    /// A record up to this size travels whole.
    pub whole: usize,
    /// Topic and payload together must not be larger.
    pub packet: usize,
}

/// A record, or part of one, in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    name: RecordName,
    /// First byte, first byte after it, and length of the record.
    part: Option<(u64, u64, u64)>,
    live: bool,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packed {
    pub payload: Bytes,
    pub pieces: Vec<Piece>,
    /// Bytes before compression.
    raw: usize,
}

/// A record that was fetched.
#[derive(Debug)]
struct Ready {
    name: RecordName,
    entry: Entry,
}

impl Ready {
    fn new(held: Held, gone: u64) -> Ready {
        let Stored { stamp, content_type, payload } = stored::load(held.stored);
        let sequence = held.name.sequence;
        let entry = Entry { sequence, gone, stamp, content_type, part: None, payload };
        Ready { name: held.name, entry }
    }

    fn weight(&self) -> usize {
        self.entry.payload.len() + ENTRY_OVERHEAD_BYTES
    }
}

/// Live copies that the broker has.
#[derive(Debug, Default)]
struct Arrived {
    epoch: u32,
    sequences: Ranges,
}

impl Arrived {
    fn add(&mut self, name: RecordName) {
        if self.epoch != name.epoch {
            *self = Arrived { epoch: name.epoch, sequences: Ranges::default() };
        }
        self.sequences.add(name.sequence..=name.sequence);
        if self.sequences.len() > LIVE_RANGES_MAX {
            self.sequences.forget_lowest_but(None);
        }
    }

    fn has(&self, name: RecordName) -> bool {
        self.epoch == name.epoch && self.sequences.has(name.sequence)
    }
}

/// A stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub setup: StreamSetup,
    pub topic: Arc<str>,
    pub supply: Supply,
    pub ready_bytes: usize,
    pub live_bytes: usize,
    /// Grows when the queue is to begin anew: answers to what was asked before are of no use.
    pub round: u64,
    pub paused_until: Option<Mono>,
    pub held: bool,
    /// Bytes sent for each unit of weight.
    pub served: u64,
    ready: VecDeque<Ready>,
    /// Where the next part begins of the record that is ready first, if it is sent in parts.
    next_part: u64,
    /// Record that the queue handed out last and that was not here before.
    last: Option<RecordName>,
    live: VecDeque<Ready>,
    /// Copies that wait or are in flight.
    live_names: BTreeSet<RecordName>,
    arrived: Arrived,
    /// Bytes that the broker has, of records that travel in parts.
    large: BTreeMap<RecordName, Ranges>,
    trial: Trial,
    /// How many times smaller messages were after compression, in thousandths.
    ratio_permille: usize,
    pause: Duration,
    counts: StreamCounts,
}

impl Stream {
    pub(super) fn new(setup: StreamSetup, topic: Arc<str>) -> Stream {
        Stream {
            setup,
            topic,
            supply: Supply::Available,
            ready_bytes: 0,
            live_bytes: 0,
            round: 0,
            paused_until: None,
            held: false,
            served: 0,
            ready: VecDeque::new(),
            next_part: 0,
            last: None,
            live: VecDeque::new(),
            live_names: BTreeSet::new(),
            arrived: Arrived::default(),
            large: BTreeMap::new(),
            trial: Trial::default(),
            ratio_permille: 1000,
            pause: Duration::ZERO,
            counts: StreamCounts::default(),
        }
    }

    pub(super) fn counts(&self) -> StreamCounts {
        StreamCounts { held: self.held, ..self.counts }
    }

    /// The queue has something that it has not handed out; others were served up to `served` meanwhile.
    pub(super) fn available(&mut self, served: u64) {
        self.awake(served);
        self.supply = match self.supply {
            Supply::Asked { .. } => Supply::Asked { again: true },
            Supply::Available | Supply::Blocked | Supply::Empty => Supply::Available,
        };
    }

    /// Something was acknowledged: the queue may hand out more.
    pub(super) fn unblock(&mut self) {
        if self.supply == Supply::Blocked {
            self.supply = Supply::Available;
        }
    }

    /// Whether an answer of the queue is on its way.
    pub(super) fn is_asked(&self) -> bool {
        matches!(self.supply, Supply::Asked { .. })
    }

    /// A stream that had nothing to send has no claim to what others sent meanwhile.
    fn awake(&mut self, served: u64) {
        if self.supply == Supply::Empty && !self.has_something() {
            self.served = self.served.max(served);
        }
    }

    /// Nor has one that may not send.
    pub(super) fn hold(&mut self, held: bool, served: u64, now: Mono) {
        self.held = held;
        if held || self.is_paused(now) {
            self.served = self.served.max(served);
        }
    }

    /// Takes what the queue handed out. Gives the names of records that the broker has already.
    pub(super) fn take(&mut self, records: Vec<Held>, more: bool) -> Vec<RecordName> {
        let again = self.supply == (Supply::Asked { again: true });
        self.supply = match (more, records.is_empty()) {
            (true, true) => Supply::Blocked,
            (true, false) => Supply::Available,
            (false, _) if again => Supply::Available,
            (false, _) => Supply::Empty,
        };
        let mut arrived = Vec::new();
        for held in records {
            let name = held.name;
            if self.arrived.has(name) {
                arrived.push(name);
                continue;
            }
            // A copy on its way is enough; one that only waits gives way to the record itself.
            if self.live_names.contains(&name) && !self.withdraw_live(name) {
                continue;
            }
            let follows = self.last.filter(|last| last.epoch == name.epoch);
            let gone = follows
                .map_or(0, |last| name.sequence.saturating_sub(last.sequence.saturating_add(1)));
            self.last = Some(name);
            let ready = Ready::new(held, gone);
            self.ready_bytes += ready.weight();
            self.ready.push_back(ready);
        }
        arrived
    }

    /// Keeps a copy of a record that has just come in, if it would otherwise wait behind a backlog.
    pub(super) fn copy_live(&mut self, held: Held, served: u64) {
        self.awake(served);
        let behind = self.supply != Supply::Empty || !self.ready.is_empty();
        if self.setup.order != Order::LiveFirst || !behind {
            return;
        }
        let name = held.name;
        let ready = Ready::new(held, 0);
        if self.live_bytes + ready.weight() > LIVE_BYTES_MAX || !self.live_names.insert(name) {
            return;
        }
        self.live_bytes += ready.weight();
        self.live.push_back(ready);
    }

    /// Takes back a copy that has not left. False when it has.
    fn withdraw_live(&mut self, name: RecordName) -> bool {
        let waiting = self.live.iter().position(|ready| ready.name == name);
        let Some(ready) = waiting.and_then(|index| self.live.remove(index)) else { return false };
        self.live_bytes -= ready.weight();
        self.live_names.remove(&name)
    }

    /// Forgets what was handed out: it will be handed out again. What the broker has is remembered.
    pub(super) fn rewind(&mut self) {
        self.supply = Supply::Available;
        (self.ready_bytes, self.live_bytes, self.next_part) = (0, 0, 0);
        self.ready = VecDeque::new();
        self.live = VecDeque::new();
        self.live_names.clear();
        self.round += 1;
        self.last = None;
        while self.large.len() > LARGE_MAX {
            self.large.pop_first();
        }
    }

    /// The broker refused a message.
    pub(super) fn refuse(&mut self, now: Mono, [first, longest]: [Duration; 2]) {
        self.counts.refused += 1;
        // Those that were in flight together are refused together.
        if self.is_paused(now) {
            return;
        }
        self.pause = (self.pause * 2).clamp(first, longest);
        self.paused_until = Some(now + self.pause);
    }

    /// Whether the broker refused something lately.
    pub(super) fn is_paused(&self, now: Mono) -> bool {
        self.paused_until.is_some_and(|until| now < until)
    }

    /// The broker has these. Gives the names of the records that it has as a whole.
    pub(super) fn landed(&mut self, pieces: &[Piece]) -> Vec<RecordName> {
        (self.pause, self.paused_until) = (Duration::ZERO, None);
        let mut whole = Vec::new();
        for piece in pieces {
            if piece.live {
                self.live_names.remove(&piece.name);
                self.arrived.add(piece.name);
            }
            let is_whole = match piece.part {
                None => true,
                Some(part) => self.part_landed(piece.name, part),
            };
            if is_whole {
                self.large.remove(&piece.name);
                whole.push(piece.name);
            }
        }
        self.counts.acknowledged += whole.len() as u64;
        whole
    }

    /// Whether there is anything to send, now or later.
    pub(super) fn has_something(&self) -> bool {
        !self.live.is_empty() || !self.ready.is_empty()
    }

    /// Whether a message can be packed at `now`. Waits for an answer of the queue when that fills it.
    pub(super) fn is_ready(&self, room: Room, now: Mono) -> bool {
        if self.held || self.is_paused(now) {
            return false;
        }
        let complete = self.setup.urgency == Urgency::Event
            || !self.is_asked()
            || self.ready_bytes >= self.raw_bytes(room);
        !self.live.is_empty() || (!self.ready.is_empty() && complete)
    }

    /// The next message; `None` when none can be made that the broker would take.
    pub(super) fn pack(&mut self, room: Room, effort: Effort) -> Option<Packed> {
        let packet = room.packet.saturating_sub(self.topic.len());
        let raw = self.raw_bytes(room).min(packet);
        let whole = room.whole.min(packet.saturating_sub(FRAMING_BYTES_MAX));
        let live = !self.live.is_empty();
        let first = if live { self.live.front()? } else { self.ready.front()? };
        let begun = !live && (self.next_part > 0 || self.large.contains_key(&first.name));
        if first.entry.payload.len() > whole || begun {
            return self.pack_part(live, room, packet, effort);
        }
        let fits_one = first.entry.payload.len() + FRAMING_BYTES_MAX;
        let mut encoder = Encoder::new(first.name.epoch, raw.max(fits_one));
        let mut pieces = Vec::new();
        let epoch = first.name.epoch;
        loop {
            let queue = if live { &mut self.live } else { &mut self.ready };
            let Some(next) = queue.front() else { break };
            let fits = next.name.epoch == epoch
                && next.entry.payload.len() <= whole
                && !self.large.contains_key(&next.name);
            if !fits || !encoder.push(&next.entry) {
                break;
            }
            pieces.push(Piece { name: next.name, part: None, live });
            self.pop(live);
        }
        self.finish(encoder, pieces, effort)
    }

    /// A message was handed to the connection, `bytes` with its topic.
    pub(super) fn sent(&mut self, packed: &Packed, bytes: u64) {
        self.served =
            self.served.saturating_add(bytes * SERVICE_UNIT / u64::from(self.setup.weight.max(1)));
        self.counts.messages += 1;
        self.counts.bytes += bytes;
        self.counts.raw_bytes += packed.raw as u64;
    }

    /// Bytes before compression that make a message of the wanted size.
    fn raw_bytes(&self, room: Room) -> usize {
        room.wanted * self.ratio_permille.clamp(1000, 1000 * RATIO_MAX) / 1000
    }

    fn pack_part(
        &mut self,
        live: bool,
        room: Room,
        packet: usize,
        effort: Effort,
    ) -> Option<Packed> {
        // A copy would have to be cut as well: the queue has not come to the record yet and will hand it out.
        if live {
            let name = self.live.front()?.name;
            self.live_names.remove(&name);
            self.pop(true);
            return self.pack(room, effort);
        }
        let first = self.ready.front()?;
        let total = first.entry.payload.len() as u64;
        let limit = room.whole.min(packet);
        let size = limit.checked_sub(FRAMING_BYTES_MAX).filter(|size| *size > 0)? as u64;
        let missing = match self.large.get(&first.name) {
            None => Some((self.next_part, total - 1)),
            Some(has) => {
                let hole = has.holes(self.next_part..=total - 1).into_iter().next();
                hole.map(|hole| hole.into_inner())
            }
        };
        let Some((start, last)) = missing.filter(|(start, _)| *start < total) else {
            // Every part is in flight or with the broker.
            self.pop(false);
            return self.pack(room, effort);
        };
        let end = (last + 1).min(start + size);
        let (name, mut entry) = (first.name, first.entry.clone());
        entry.part = Some(Part { total, offset: start });
        let bytes = usize::try_from(start).ok()?..usize::try_from(end).ok()?;
        entry.payload = entry.payload.slice(bytes);
        let mut encoder = Encoder::new(name.epoch, limit);
        if !encoder.push(&entry) {
            return None;
        }
        self.next_part = end;
        if end == total {
            self.pop(false);
        }
        self.finish(
            encoder,
            vec![Piece { name, part: Some((start, end, total)), live: false }],
            effort,
        )
    }

    fn finish(&mut self, encoder: Encoder, pieces: Vec<Piece>, effort: Effort) -> Option<Packed> {
        if pieces.is_empty() {
            return None;
        }
        let raw = encoder.bytes();
        let payload = Bytes::from(encoder.finish(effort, &mut self.trial));
        let ratio = raw.saturating_mul(1000) / payload.len().max(1);
        self.ratio_permille = (self.ratio_permille * 3 + ratio) / 4;
        Some(Packed { payload, pieces, raw })
    }

    /// Takes the first record off its list.
    fn pop(&mut self, live: bool) {
        if live {
            let weight = self.live.pop_front().map_or(0, |ready| ready.weight());
            self.live_bytes -= weight;
        } else {
            let weight = self.ready.pop_front().map_or(0, |ready| ready.weight());
            self.ready_bytes -= weight;
            self.next_part = 0;
        }
    }

    /// Adds a part that the broker has; true when it has the record.
    fn part_landed(&mut self, name: RecordName, (start, end, total): (u64, u64, u64)) -> bool {
        let has = self.large.entry(name).or_default();
        if start < end {
            has.add(start..=end - 1);
        }
        has.total() >= total
    }
}
