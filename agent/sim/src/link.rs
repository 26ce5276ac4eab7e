//! One vehicle's way to the broker and the MQTT client on it: what is sent arrives in order after a time that its size and the
//! way decide, or waits while the link is silent. The client keeps what the real one keeps: packet numbers, how many are in
//! flight, how long it waits for what; its pauses are those of `outrider::core::backoff`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use outrider::core::backoff::{Backoff, Policy};
use outrider::core::courier::RecordName;
use outrider::core::delivery::RecordId;
use outrider::core::pacing::RoundTrip;
use outrider::core::record::{self, Part};

use crate::agenda::{Moment, SECOND, micros};

/// For TCP to connect.
pub const CONNECT_WITHIN: Moment = 20 * SECOND;

/// Shortest and longest time that a broker may acknowledge nothing.
const ACKNOWLEDGE_WITHIN: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(120)];

/// Pauses between attempts.
const BACKOFF: Policy = Policy {
    first: Duration::from_secs(1),
    max: Duration::from_secs(60),
    stable: Duration::from_secs(60),
};

/// The way.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// It carries something.
    pub up: bool,
    /// How much.
    pub bytes_per_s: u64,
    /// How long one direction takes.
    pub one_way: Moment,
    /// When the last bit that was sent has left.
    pub free_at: Moment,
}

impl Way {
    /// When a packet that is sent now arrives.
    pub fn send(&mut self, now: Moment, bytes: usize) -> Moment {
        let takes = bytes as u64 * SECOND / self.bytes_per_s.max(1);
        self.free_at = self.free_at.max(now) + takes;
        self.free_at + self.one_way
    }
}

/// A record in a message, or a part of one and how many bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Which.
    pub name: RecordName,
    /// Where the part begins in what, and its bytes.
    pub part: Option<(Part, u64)>,
}

/// A message on its way.
#[derive(Clone, Debug)]
pub struct Publish {
    /// Packet number.
    pub packet: u16,
    /// Topic.
    pub topic: Arc<str>,
    /// Content.
    pub payload: Bytes,
    /// Stream and decoded records, when it is a message of a stream.
    pub records: Option<Arc<(String, record::Message)>>,
}

impl Publish {
    /// Bytes of the packet (MQTT 5 section 3.3).
    #[must_use]
    pub fn bytes(&self) -> usize {
        packet_bytes(&self.topic, &self.payload)
    }

    /// Stream and names of what is in it.
    pub fn pieces(&self) -> impl Iterator<Item = (&str, Piece)> {
        self.records.iter().flat_map(|records| {
            let (stream, message) = &**records;
            message.entries.iter().map(move |entry| {
                let name = RecordName { epoch: message.epoch, sequence: entry.sequence };
                let part = entry.part.map(|part| (part, entry.payload.len() as u64));
                (stream.as_str(), Piece { name, part })
            })
        })
    }
}

/// Bytes of a PUBLISH.
#[must_use]
pub fn packet_bytes(topic: &str, payload: &[u8]) -> usize {
    let rest = 2 + topic.len() + 2 + 1 + payload.len();
    let length = match rest {
        0..128 => 1,
        128..16_384 => 2,
        16_384..2_097_152 => 3,
        _ => 4,
    };
    1 + length + rest
}

/// A message without acknowledgement.
#[derive(Debug)]
pub struct Pending {
    /// As the core knows it.
    pub id: RecordId,
    /// The message.
    pub publish: Publish,
    sent_at: Moment,
    overtaken_at: Option<Moment>,
}

/// A connection, as the client sees it.
#[derive(Debug)]
pub struct Connection {
    /// Its number in the world.
    pub number: u64,
    /// Messages that may be without acknowledgement.
    pub slots: usize,
    /// Largest packet, if the broker said.
    pub packet_bytes_max: Option<u32>,
    /// What is without acknowledgement, oldest first.
    pub pending: VecDeque<Pending>,
    last_packet: u16,
    received_at: Moment,
    acknowledged_at: Moment,
    trips: RoundTrip,
}

impl Connection {
    /// The broker let us in.
    #[must_use]
    pub fn new(
        number: u64,
        slots: usize,
        packet_bytes_max: Option<u32>,
        now: Moment,
    ) -> Connection {
        Connection {
            number,
            slots,
            packet_bytes_max,
            pending: VecDeque::new(),
            last_packet: 0,
            received_at: now,
            acknowledged_at: now,
            trips: RoundTrip::new(),
        }
    }

    /// Gives a message its packet number and remembers it.
    pub fn publish(
        &mut self,
        id: RecordId,
        topic: Arc<str>,
        payload: Bytes,
        records: Option<Arc<(String, record::Message)>>,
        now: Moment,
    ) -> Publish {
        self.last_packet = self.last_packet.checked_add(1).unwrap_or(1);
        let publish = Publish { packet: self.last_packet, topic, payload, records };
        self.pending.push_back(Pending {
            id,
            publish: publish.clone(),
            sent_at: now,
            overtaken_at: None,
        });
        publish
    }

    /// An acknowledgement of a packet: what it was for, if that is in flight.
    pub fn acknowledged(&mut self, packet: u16, now: Moment) -> Option<Pending> {
        self.received_at = now;
        let at = self.pending.iter().position(|pending| pending.publish.packet == packet)?;
        let pending = self.pending.remove(at)?;
        for before in self.pending.iter_mut().take(at) {
            before.overtaken_at.get_or_insert(now);
        }
        self.acknowledged_at = now;
        self.trips.measure(Duration::from_micros(now - pending.sent_at));
        Some(pending)
    }

    /// A ping was answered.
    pub fn ponged(&mut self, now: Moment) {
        self.received_at = now;
    }

    /// Why it is to end now, if it is.
    #[must_use]
    pub fn is_over(&self, now: Moment, keep_alive: Duration) -> Option<&'static str> {
        if now >= self.received_at + micros(keep_alive) * 3 / 2 {
            return Some("silent");
        }
        let oldest = self.pending.front()?;
        let [least, most] = ACKNOWLEDGE_WITHIN;
        if oldest.overtaken_at.is_some_and(|at| now >= at + micros(most)) {
            return Some("something forgotten");
        }
        let waits_since = oldest.sent_at.max(self.acknowledged_at);
        (now >= waits_since + micros(self.trips.timeout(least, most)))
            .then_some("nothing acknowledged")
    }
}

/// The client.
#[derive(Debug)]
pub struct Client {
    /// What stands.
    pub connection: Option<Connection>,
    /// Pauses.
    pub backoff: Backoff,
}

impl Default for Client {
    fn default() -> Client {
        Client { connection: None, backoff: Backoff::new(BACKOFF) }
    }
}
