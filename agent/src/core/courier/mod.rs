//! Carries records of the durable queue to the broker: which stream goes next, how its records are packed, what is in flight,
//! and which records the queue may forget.
//!
//! The queue itself is far away, on a thread of its own. What is wanted of it comes out as [`Request`]s, what it has comes in
//! by [`Courier::fetched`]; the same for the broker. Nothing here reads, sends or waits.
//!
//! # Promises
//!
//! - A record is acknowledged towards the queue when the broker has acknowledged the message with it, or every part of it.
//!   Nothing else: not a lost connection, not a refusal, not an acknowledgement of a number that is not in flight (counted
//!   as stray).
//! - Records of a stream are published in the order in which the queue hands them out. After a lost connection the queue
//!   begins anew with what is left; records keep their names, so a receiver can drop what comes twice.
//! - A refusal is no reason to destroy what was gathered: the stream waits, with growing pauses, until the broker takes it, or
//!   the queue expires it.
//! - Events leave before everything else. The others share by weight: the stream that had least for its weight is next
//!   (start-time fair queueing, so that a stream that was silent has no claim to what it did not use).
//! - Broker sessions are never relied on.
//!
//! # Live first
//!
//! A stream may be asked to send what has just come in before its backlog ([`Courier::live`]). Such a copy travels under the
//! name of its record. When the queue comes to that record and the broker has it, it is acknowledged without being sent again.
//!
//! # Bounds
//!
//! Messages in flight are kept until they are acknowledged: as many bytes as [`Flow`] allows, at most
//! [`Settings::memory_bytes`] and 64 KiB more for events. Records that were fetched ahead: [`FETCHED_BYTES_MAX`] together, but
//! 16 KiB for each stream where there are many, and one record more for each. Live copies: [`LIVE_BYTES_MAX`] for each stream
//! that has them.

mod report;
mod setup;
mod stream;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::core::delivery::{DropCause, RecordId};
use crate::core::outbox::Record;
use crate::core::pacing::{Budget, Departure, Flow, LinkState, MESSAGE_BYTES_MAX, Urgency};
use crate::core::presence::Topics;
use crate::core::record::compress::Effort;
use crate::core::time::Mono;

pub use self::report::{DeliveryState, Way};
pub use self::setup::{Order, Settings, StreamSetup, limits};
use self::stream::{Packed, Room, Stream, Supply};

/// Bytes of records that are fetched before they are packed, all streams together: twice what a link of 1 Gbit/s carries
/// while the queue's thread answers.
pub const FETCHED_BYTES_MAX: usize = 256 * 1024;

/// And of one stream at least, so that an important one always has something ready.
const FETCHED_BYTES_MIN: usize = 16 * 1024;

/// Records asked for at once: bounds the answer for tiny ones.
const FETCHED_RECORDS_MAX: usize = 512;

/// Live copies that wait, for each stream. What finds no room is not lost: it is in the queue.
pub const LIVE_BYTES_MAX: usize = 64 * 1024;

/// Records up to this size are not cut for a slow link: cut records cost a receiver work and memory.
const WHOLE_BYTES_MIN: usize = 16 * 1024;

/// What a PUBLISH has beside topic and payload (MQTT 5 section 3.3): type, length of up to 4 bytes, length of the topic, packet
/// number, length of the properties; and room for what TLS adds.
const PACKET_OVERHEAD_BYTES: usize = 16;

/// Window beyond the usual that an event may use: it must not wait until backlog is acknowledged.
const EVENT_WINDOW_BYTES: u64 = 64 * 1024;

/// Messages in flight that are left to births and events from memory, of those the broker takes.
const SLOTS_RESERVED: usize = 2;

/// First pause of a stream that the broker refused, and the longest.
const REFUSED_PAUSE: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(300)];

/// Connections in a row that end with messages in flight more than twice as large as any that was acknowledged, after which
/// messages are made half as large: a broker that speaks 3.1.1 cannot tell its largest packet and closes the connection
/// instead.
const BARREN_MAX: u32 = 2;

/// Messages are not made smaller than this because of that.
const CAP_BYTES_MIN: u64 = 1024;

/// Acknowledged messages after which they may be twice as large again.
const REGROW_AFTER: u32 = 256;

/// Ids of this courier have this bit, those of the outbox have not, so that an acknowledgement finds its owner.
const ID_BIT: u64 = 1 << 63;

/// A stream by its place in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u16);

/// Name of a record within its stream, given once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordName {
    /// Start of the agent that accepted it.
    pub epoch: u32,
    /// Number in the stream.
    pub sequence: u64,
}

/// A record as the queue holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its name.
    pub name: RecordName,
    /// Its stored form ([`crate::core::record::stored`]).
    pub stored: Bytes,
}

/// What the queue answers to [`Request::Fetch`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// As asked.
    pub stream: StreamId,
    /// As asked.
    pub round: u64,
    /// The next records in order, none when there is none or the queue hands out no more for now.
    pub records: Vec<Held>,
    /// There is more than this.
    pub more: bool,
}

/// What is to be done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Let the queue hand out the next records of a stream: at least one if there is one, beyond that no more than this.
    Fetch {
        /// Which.
        stream: StreamId,
        /// To be given back. Grows with each [`Request::Rewind`] of the stream.
        round: u64,
        /// Bytes at most.
        bytes: usize,
        /// Records at most.
        records: usize,
    },
    /// The broker has these: the queue may forget them. It may not know some of them any more, or not have handed them out yet.
    Acknowledge {
        /// Of this stream.
        stream: StreamId,
        /// These.
        records: Vec<RecordName>,
    },
    /// The queue is to hand out everything of this stream again that was not acknowledged, from the oldest.
    Rewind(StreamId),
    /// Hand this message to the connection.
    Publish(RecordId, Record),
}

/// What is to be seen of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamCounts {
    /// Messages handed to the connection, repeats included.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of their items before compression.
    pub raw_bytes: u64,
    /// Records that the broker has acknowledged.
    pub acknowledged: u64,
    /// Messages that the broker refused or that its packets are too small for; they wait.
    pub refused: u64,
    /// It is held because of the link's cost or a strained membership.
    pub held: bool,
}

/// A message without acknowledgement.
#[derive(Debug)]
struct Flight {
    stream: StreamId,
    departure: Departure,
    message: Packed,
}

/// The courier.
#[derive(Debug)]
pub struct Courier {
    settings: Settings,
    streams: Vec<Stream>,
    topics: Topics,
    budget: Budget,
    connection: Option<Connection>,
    flight: BTreeMap<RecordId, Flight>,
    issued: u64,
    /// Service of the stream that was served last, in bytes for each unit of weight.
    served: u64,
    /// Size that messages are bounded to because connections broke.
    cap_bytes: u64,
    barren: u32,
    acknowledged_since_cap: u32,
    stray: u64,
    cramped: Option<StreamId>,
    requests: Vec<Request>,
}

#[derive(Debug)]
struct Connection {
    flow: Flow,
    packet_bytes_max: usize,
    slots: usize,
    /// Largest message that was acknowledged.
    acknowledged_max: u64,
    /// It was told that its packets are too small.
    cramped: bool,
}

impl Courier {
    /// Without connection, with these streams; their [`StreamId`]s are their places.
    #[must_use]
    pub fn new(
        streams: Vec<StreamSetup>,
        topics: Topics,
        settings: Settings,
        budget: Budget,
    ) -> Courier {
        let mut courier = Courier {
            settings,
            streams: Vec::new(),
            topics,
            budget,
            connection: None,
            flight: BTreeMap::new(),
            issued: 0,
            served: 0,
            cap_bytes: MESSAGE_BYTES_MAX,
            barren: 0,
            acknowledged_since_cap: 0,
            stray: 0,
            cramped: None,
            requests: Vec::new(),
        };
        for setup in streams {
            courier.add(setup);
        }
        courier
    }

    /// Another stream, such as one that came into being by being used.
    pub fn add(&mut self, setup: StreamSetup) -> StreamId {
        let topic = self.topics.stream(&setup.name).into();
        let mut stream = Stream::new(setup, topic);
        stream.served = self.served;
        self.streams.push(stream);
        StreamId(u16::try_from(self.streams.len() - 1).unwrap_or(u16::MAX))
    }

    /// The name of a stream was found that was lost, or another policy is to hold.
    pub fn change(&mut self, id: StreamId, setup: StreamSetup) {
        let topic = self.topics.stream(&setup.name).into();
        if let Some(stream) = self.streams.get_mut(usize::from(id.0)) {
            (stream.setup, stream.topic) = (setup, topic);
            self.rewind(id);
        }
    }

    /// What is configured of a stream.
    #[must_use]
    pub fn setup(&self, id: StreamId) -> Option<&StreamSetup> {
        self.streams.get(usize::from(id.0)).map(|stream| &stream.setup)
    }

    /// A stream of which not even a part of a record fits into the broker's packets; told once for each connection.
    pub fn take_cramped(&mut self) -> Option<&StreamSetup> {
        let id = self.cramped.take()?;
        self.setup(id)
    }

    /// Whether this id is one of the courier's.
    #[must_use]
    pub const fn owns(id: RecordId) -> bool {
        id.0 & ID_BIT != 0
    }

    /// A connection stands, on which `slots` messages may be without acknowledgement, the outbox's included, and whose packets
    /// may have `packet_bytes_max` bytes.
    pub fn connected(&mut self, slots: u16, packet_bytes_max: Option<u32>, now: Mono) {
        self.disconnected();
        let packet_bytes_max = packet_bytes_max.and_then(|max| usize::try_from(max).ok());
        self.connection = Some(Connection {
            flow: Flow::new(self.settings.memory_bytes, now),
            packet_bytes_max: packet_bytes_max.unwrap_or(usize::MAX),
            slots: usize::from(slots),
            acknowledged_max: 0,
            cramped: false,
        });
    }

    /// The connection is gone: what was in flight is fetched again.
    pub fn disconnected(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        let largest = self.flight.values().map(|flight| flight.message.payload.len() as u64).max();
        match largest {
            // Small messages that arrive say nothing of large ones.
            Some(largest) if connection.acknowledged_max < largest / 2 => {
                self.barren += 1;
                if self.barren >= BARREN_MAX {
                    self.barren = 0;
                    self.shrink_to(self.cap_bytes.min(largest) / 2);
                }
            }
            Some(_) => self.barren = 0,
            None => {}
        }
        self.flight.clear();
        self.rewind_all();
    }

    /// There is something in the queue that has not been handed out.
    pub fn available(&mut self, stream: StreamId) {
        if let Some(stream) = self.streams.get_mut(usize::from(stream.0)) {
            stream.available(self.served);
        }
    }

    /// What the queue answered.
    pub fn fetched(&mut self, fetched: Fetched) {
        let Some(stream) = self.streams.get_mut(usize::from(fetched.stream.0)) else { return };
        // An answer from before a rewind: the queue hands it out again.
        if fetched.round != stream.round {
            return;
        }
        let known = stream.take(fetched.records, fetched.more);
        self.acknowledge(fetched.stream, known);
    }

    /// A record was just accepted by the queue. Where the stream sends what is live first and has a backlog, a copy goes out
    /// before that.
    pub fn live(&mut self, stream: StreamId, held: Held) {
        let connected = self.connection.is_some();
        if let Some(stream) = self.streams.get_mut(usize::from(stream.0)).filter(|_| connected) {
            stream.copy_live(held, self.served);
        }
    }

    /// What is known of the way to the broker's vehicle.
    pub fn link(&mut self, link: LinkState, now: Mono) {
        self.budget.link(link, now);
    }

    /// What is left of the caps; whoever sends anything else spends from it as well.
    pub fn budget(&mut self) -> &mut Budget {
        &mut self.budget
    }

    /// The broker acknowledged `id`. False when it is not in flight: counted as stray, and nothing is freed.
    pub fn acknowledged(&mut self, id: RecordId, now: Mono) -> bool {
        let Some(flight) = self.flight.remove(&id) else {
            self.stray += 1;
            return false;
        };
        if let Some(connection) = &mut self.connection {
            connection.flow.acknowledged(flight.departure, now);
            let bytes = flight.message.payload.len() as u64;
            connection.acknowledged_max = connection.acknowledged_max.max(bytes);
        }
        self.regrow();
        self.streams.iter_mut().for_each(Stream::unblock);
        if let Some(stream) = self.streams.get_mut(usize::from(flight.stream.0)) {
            let whole = stream.landed(&flight.message.pieces);
            self.acknowledge(flight.stream, whole);
        }
        true
    }

    /// The broker refused `id`, or its packet cannot be sent. False when it is not in flight. What is in it stays in the queue.
    pub fn refused(&mut self, id: RecordId, cause: DropCause, now: Mono) -> bool {
        let Some(flight) = self.flight.remove(&id) else {
            self.stray += 1;
            return false;
        };
        if let Some(connection) = &mut self.connection {
            connection.flow.withdrawn(flight.departure);
        }
        let Some(stream) = self.streams.get_mut(usize::from(flight.stream.0)) else { return true };
        stream.refuse(now, REFUSED_PAUSE);
        if cause == DropCause::TooLarge {
            self.shrink_to(flight.message.payload.len() as u64 / 2);
        }
        self.rewind(flight.stream);
        true
    }

    /// Does what can be done at `now`, with room for `slots_free` messages more on the connection. To be called after anything
    /// above, and at [`Courier::deadline`].
    pub fn work(&mut self, now: Mono, slots_free: usize) -> Vec<Request> {
        let reserved = self.connection.as_ref().map_or(0, Connection::reserved);
        self.work_beside(now, slots_free, reserved)
    }

    /// As [`Courier::work`] for one message, also if that takes the last place: for when others have taken theirs.
    pub fn work_in_turn(&mut self, now: Mono, slots_free: usize) -> Vec<Request> {
        self.work_beside(now, slots_free.min(1), 0)
    }

    fn work_beside(&mut self, now: Mono, slots_free: usize, reserved: usize) -> Vec<Request> {
        self.hold(now);
        let mut slots_free = slots_free;
        loop {
            self.fetch(now);
            if slots_free == 0 {
                break;
            }
            let Some((index, packed)) = self.next(now, slots_free, reserved) else { break };
            slots_free -= 1;
            self.publish(index, packed, now);
        }
        std::mem::take(&mut self.requests)
    }

    /// When [`Courier::work`] can do something again although nothing has happened.
    #[must_use]
    pub fn deadline(&mut self, now: Mono) -> Option<Mono> {
        let has_room_at = self.connection.as_ref()?.flow.has_room_at(now);
        let budget = &mut self.budget;
        // A stream that pauses fetches nothing meanwhile.
        let waits = |stream: &Stream| stream.has_something() || stream.is_paused(now);
        let waiting = self.streams.iter().filter(|stream| waits(stream) && !stream.held);
        waiting
            .filter_map(|stream| {
                let paused = stream.paused_until.filter(|until| *until > now);
                let allowed = budget.allows_at(stream.setup.urgency, now);
                paused.or_else(|| [allowed, has_room_at].into_iter().flatten().min())
            })
            .min()
    }

    /// Whether there is nothing to send now and nothing to wait for.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let moves = |stream: &Stream| !stream.held && (stream.is_asked() || stream.has_something());
        self.flight.is_empty() && !self.streams.iter().any(moves)
    }

    /// Messages in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.flight.len()
    }

    /// Bytes in flight.
    #[must_use]
    pub fn in_flight_bytes(&self) -> u64 {
        self.connection.as_ref().map_or(0, |connection| connection.flow.in_flight())
    }

    /// Bytes of records that were fetched and not sent.
    #[must_use]
    pub fn fetched_bytes(&self) -> usize {
        self.streams.iter().map(|stream| stream.ready_bytes + stream.live_bytes).sum()
    }

    /// How the connection does; `None` without one.
    #[must_use]
    pub fn flow(&self) -> Option<&Flow> {
        self.connection.as_ref().map(|connection| &connection.flow)
    }

    /// Acknowledgements of what was not in flight.
    #[must_use]
    pub fn stray_total(&self) -> u64 {
        self.stray
    }

    /// Every stream with its numbers, in the order of the configuration.
    pub fn streams(&self) -> impl Iterator<Item = (&StreamSetup, StreamCounts)> {
        self.streams.iter().map(|stream| (&stream.setup, stream.counts()))
    }

    fn acknowledge(&mut self, stream: StreamId, records: Vec<RecordName>) {
        if !records.is_empty() {
            self.requests.push(Request::Acknowledge { stream, records });
        }
    }

    fn rewind_all(&mut self) {
        for id in 0..u16::try_from(self.streams.len()).unwrap_or(u16::MAX) {
            self.rewind(StreamId(id));
        }
    }

    fn rewind(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(usize::from(id.0)) else { return };
        stream.rewind();
        // What is still to be acknowledged comes first; what is to be fetched is asked for again.
        self.requests.retain(|request| match request {
            Request::Fetch { stream, .. } | Request::Rewind(stream) => *stream != id,
            Request::Acknowledge { .. } | Request::Publish(..) => true,
        });
        self.requests.push(Request::Rewind(id));
    }

    fn shrink_to(&mut self, bytes: u64) {
        self.cap_bytes = bytes.clamp(CAP_BYTES_MIN, MESSAGE_BYTES_MAX);
        self.acknowledged_since_cap = 0;
    }

    fn regrow(&mut self) {
        if self.cap_bytes >= MESSAGE_BYTES_MAX {
            return;
        }
        self.acknowledged_since_cap += 1;
        if self.acknowledged_since_cap >= REGROW_AFTER {
            self.shrink_to(self.cap_bytes * 2);
        }
    }

    /// Decides anew which streams are held.
    fn hold(&mut self, now: Mono) {
        for stream in &mut self.streams {
            let StreamSetup { urgency, hold_above, .. } = stream.setup;
            let held = self.budget.holds(urgency, hold_above, stream.held);
            stream.hold(held, self.served, now);
        }
    }

    /// Asks for what will be sent soon.
    fn fetch(&mut self, now: Mono) {
        if self.connection.is_none() {
            return;
        }
        let each = (FETCHED_BYTES_MAX / self.streams.len().max(1)).max(FETCHED_BYTES_MIN);
        // The queue answers in the order in which it is asked.
        for urgency in Urgency::ALL {
            for (stream, id) in self.streams.iter_mut().zip(0_u16..) {
                let wanted = stream.supply == Supply::Available && stream.ready_bytes <= each / 2;
                if stream.setup.urgency != urgency
                    || stream.held
                    || stream.is_paused(now)
                    || !wanted
                {
                    continue;
                }
                stream.supply = Supply::Asked { again: false };
                self.requests.push(Request::Fetch {
                    stream: StreamId(id),
                    round: stream.round,
                    bytes: each - stream.ready_bytes,
                    records: FETCHED_RECORDS_MAX,
                });
            }
        }
    }

    /// The next message and its stream.
    fn next(&mut self, now: Mono, slots_free: usize, reserved: usize) -> Option<(usize, Packed)> {
        let connection = self.connection.as_mut()?;
        let window = connection.flow.window_bytes(now);
        let in_flight = connection.flow.in_flight();
        let room = connection.room(self.cap_bytes);
        let effort = Effort::for_link(connection.flow.goodput());

        let mut starved = in_flight < window && slots_free > reserved;
        for event in [true, false] {
            if !event && !starved {
                return None;
            }
            // Events are on their way here: what is less urgent would overtake them.
            let mut urgent =
                self.streams.iter().filter(|stream| stream.setup.urgency == Urgency::Event);
            if !event && urgent.any(|stream| stream.is_asked() && !stream.is_paused(now)) {
                return None;
            }
            if event && in_flight >= window + EVENT_WINDOW_BYTES {
                continue;
            }
            while let Some(index) = self.choose(event, room, now) {
                let stream = &mut self.streams[index];
                let before = stream.served;
                let Some(packed) = stream.pack(room, effort) else {
                    // The broker's packets are too small for anything: as if it had said so.
                    if stream.is_ready(room, now) {
                        stream.refuse(now, REFUSED_PAUSE);
                        self.cramped(index);
                    }
                    continue;
                };
                if !event {
                    self.served = before.max(self.served);
                }
                return Some((index, packed));
            }
        }
        starved &= !self.streams.iter().any(|stream| stream.is_asked() && !stream.held);
        if let Some(connection) = self.connection.as_mut().filter(|_| starved) {
            connection.flow.starved();
        }
        None
    }

    fn cramped(&mut self, index: usize) {
        let Some(connection) = &mut self.connection else { return };
        if !std::mem::replace(&mut connection.cramped, true) {
            self.cramped = u16::try_from(index).ok().map(StreamId);
        }
    }

    /// The stream that is to send next among events, or among the others.
    fn choose(&mut self, event: bool, room: Room, now: Mono) -> Option<usize> {
        let mut next: Option<(u64, usize)> = None;
        for (index, stream) in self.streams.iter().enumerate() {
            let urgency = stream.setup.urgency;
            if (urgency == Urgency::Event) != event
                || !stream.is_ready(room, now)
                || !self.budget.allows(urgency, now)
            {
                continue;
            }
            // Events in the order of the configuration.
            let served = if event { 0 } else { stream.served };
            if next.is_none_or(|(least, _)| served < least) {
                next = Some((served, index));
            }
        }
        next.map(|(_, index)| index)
    }

    fn publish(&mut self, index: usize, packed: Packed, now: Mono) {
        let Some(connection) = &mut self.connection else { return };
        let stream = &mut self.streams[index];
        let bytes = packed.payload.len() + stream.topic.len() + PACKET_OVERHEAD_BYTES;
        stream.sent(&packed, bytes as u64);
        self.budget.spend(bytes as u64, now);
        self.issued += 1;
        let id = RecordId(ID_BIT | self.issued);
        let record = Record {
            topic: Arc::clone(&stream.topic),
            payload: packed.payload.clone(),
            retain: false,
        };
        let departure = connection.flow.sent(bytes as u64, now);
        let stream = StreamId(u16::try_from(index).unwrap_or(u16::MAX));
        self.flight.insert(id, Flight { stream, departure, message: packed });
        self.requests.push(Request::Publish(id, record));
    }
}

impl Connection {
    /// Slots that are left to others.
    fn reserved(&self) -> usize {
        SLOTS_RESERVED.min(self.slots / 4)
    }

    /// How large a message may be.
    fn room(&self, cap_bytes: u64) -> Room {
        let slots = self.slots - self.reserved();
        let wanted = usize::try_from(self.flow.message_bytes(slots)).unwrap_or(usize::MAX);
        let cap = usize::try_from(cap_bytes).unwrap_or(usize::MAX);
        Room {
            wanted: wanted.min(cap),
            whole: wanted.max(WHOLE_BYTES_MIN).min(cap),
            packet: self.packet_bytes_max.saturating_sub(PACKET_OVERHEAD_BYTES),
        }
    }
}

#[cfg(test)]
mod tests;
