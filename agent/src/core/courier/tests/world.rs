//! A durable queue that is a list, a broker that writes down what it gets, and a clock that stands.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use super::super::*;
use crate::core::pacing::{DayCount, Limits, LinkState};
use crate::core::record::assemble::Receiver;
use crate::core::record::{self, Stamp, stored};
use crate::core::telemetry::BootId;

/// Memory of the courier's window.
pub const MEMORY: u64 = 512 * 1024;

pub fn setup(name: &str, urgency: Urgency, weight: u32) -> StreamSetup {
    let order = Order::BacklogFirst;
    StreamSetup { name: name.into(), urgency, weight, hold_above: None, order }
}

/// A record of the queue.
#[derive(Clone, Debug)]
pub struct Kept {
    pub name: RecordName,
    pub payload: Bytes,
    pub acknowledged: bool,
    pub dropped: bool,
}

#[derive(Debug, Default)]
pub struct Queue {
    pub records: Vec<Kept>,
    /// What is handed out next.
    cursor: usize,
    next_sequence: u64,
}

impl Queue {
    fn hand_out(&mut self, bytes: usize, records: usize, window: usize) -> (Vec<Held>, bool) {
        let mut handed = Vec::new();
        let mut size = 0;
        let live = |kept: &&Kept| !kept.acknowledged && !kept.dropped;
        let out = self.records[..self.cursor].iter().filter(live).count();
        while let Some(kept) = self.records.get(self.cursor) {
            if !live(&kept) {
                self.cursor += 1;
                continue;
            }
            let full = !handed.is_empty() && size + kept.payload.len() > bytes;
            if full || handed.len() == records || out + handed.len() >= window {
                return (handed, true);
            }
            size += kept.payload.len();
            let stamp = Stamp { boot: BootId([1; 16]), boot_ms: kept.name.sequence, wall: None };
            let stored = Bytes::from(stored::store(&stamp, None, &kept.payload));
            handed.push(Held { name: kept.name, stored });
            self.cursor += 1;
        }
        (handed, false)
    }
}

/// A message at the broker.
#[derive(Clone, Debug)]
pub struct Published {
    pub id: RecordId,
    pub stream: usize,
    pub topic: String,
    pub payload: Bytes,
}

#[derive(Debug, Default)]
pub struct Broker {
    /// Every message that ever came.
    pub published: Vec<Published>,
    /// What is not acknowledged of this connection.
    pub open: VecDeque<Published>,
    /// Messages before this connection.
    pub seen: usize,
}

impl Broker {
    /// Names in a message, by its place among all that came.
    pub fn names(&self, index: usize) -> Vec<RecordName> {
        let message = record::decode(&self.published[index].payload).unwrap();
        let epoch = message.epoch;
        message.entries.iter().map(|e| RecordName { epoch, sequence: e.sequence }).collect()
    }
}

pub struct World {
    pub now: Mono,
    pub courier: Courier,
    pub queues: Vec<Queue>,
    pub broker: Broker,
    /// Records that the queue hands out of one stream without acknowledgement.
    pub queue_window: usize,
    pub fetches: usize,
    pub slots: usize,
    pub connected: bool,
    pub epoch: u32,
    /// What the broker has acknowledged of each record, as byte ranges; a whole record is there as `None`.
    pub allowed: BTreeSet<(usize, RecordName)>,
    covered: BTreeMap<(usize, RecordName), Vec<(u64, u64)>>,
    answers: VecDeque<Fetched>,
    receiver: Receiver,
    received: BTreeMap<(usize, RecordName), usize>,
    noise: u64,
    names: Vec<String>,
    /// Streams without live copies: sequence that was published last since everything was begun anew.
    last: Vec<Option<u64>>,
    ordered: Vec<bool>,
}

impl World {
    pub fn new(streams: Vec<StreamSetup>) -> World {
        World::with_limits(streams, Limits::default())
    }

    pub fn with_limits(streams: Vec<StreamSetup>, limits: Limits) -> World {
        let now = Mono::from_millis(1_000_000);
        World {
            now,
            names: streams.iter().map(|stream| stream.name.to_string()).collect(),
            queues: streams.iter().map(|_| Queue::default()).collect(),
            courier: courier(streams.clone(), limits, DayCount::default(), now),
            broker: Broker::default(),
            queue_window: 1024,
            fetches: 0,
            slots: 0,
            connected: false,
            epoch: 7,
            allowed: BTreeSet::new(),
            covered: BTreeMap::new(),
            answers: VecDeque::new(),
            receiver: Receiver::new(1 << 24),
            received: BTreeMap::new(),
            noise: 0x9e37_79b9_7f4a_7c15,
            last: streams.iter().map(|_| None).collect(),
            ordered: streams.iter().map(|stream| stream.order == Order::BacklogFirst).collect(),
        }
    }

    /// Another process with the same queue.
    pub fn restart(&mut self, streams: Vec<StreamSetup>, limits: Limits, day: DayCount) {
        self.broker.open.clear();
        self.answers.clear();
        self.connected = false;
        self.epoch += 1;
        self.last.fill(None);
        self.queues.iter_mut().for_each(|queue| queue.cursor = 0);
        self.courier = courier(streams, limits, day, self.now);
    }

    /// Another stream of queue and courier.
    pub fn add(&mut self, setup: StreamSetup) -> usize {
        self.names.push(setup.name.to_string());
        self.ordered.push(setup.order == Order::BacklogFirst);
        self.last.push(None);
        self.queues.push(Queue::default());
        usize::from(self.courier.add(setup).0)
    }

    fn append_payload(&mut self, stream: usize, payload: Vec<u8>) -> RecordName {
        let queue = &mut self.queues[stream];
        let name = RecordName { epoch: self.epoch, sequence: queue.next_sequence };
        queue.next_sequence += 1;
        queue.records.push(Kept {
            name,
            payload: payload.into(),
            acknowledged: false,
            dropped: false,
        });
        name
    }

    pub fn append(&mut self, stream: usize, bytes: usize) -> RecordName {
        let name = self.append_payload(stream, vec![b'.'; bytes]);
        self.courier.available(StreamId(stream as u16));
        name
    }

    /// A record that cannot be compressed.
    pub fn append_noise(&mut self, stream: usize, bytes: usize) -> RecordName {
        let payload = (0..bytes).map(|_| self.random() as u8).collect();
        let name = self.append_payload(stream, payload);
        self.courier.available(StreamId(stream as u16));
        name
    }

    pub fn append_live(&mut self, stream: usize, bytes: usize) -> RecordName {
        let name = self.append_noise(stream, bytes);
        let kept = self.queues[stream].records.last().unwrap();
        let stored = Bytes::from(stored::store(&Stamp::default(), None, &kept.payload));
        self.courier.live(StreamId(stream as u16), Held { name, stored });
        name
    }

    fn random(&mut self) -> u64 {
        self.noise ^= self.noise << 13;
        self.noise ^= self.noise >> 7;
        self.noise ^= self.noise << 17;
        self.noise >> 32
    }

    pub fn connect(&mut self, slots: u16, packet_bytes_max: Option<u32>) {
        self.courier.connected(slots, packet_bytes_max, self.now);
        (self.slots, self.connected) = (usize::from(slots), true);
        self.broker.seen = self.broker.published.len();
    }

    pub fn disconnect(&mut self) {
        self.courier.disconnected();
        self.broker.open.clear();
        self.connected = false;
    }

    pub fn link(&mut self, cost: Option<u32>, strained: bool) {
        self.courier.link(LinkState { cost, strained }, self.now);
    }

    /// Lets the courier work until it wants nothing more.
    pub fn settle(&mut self) {
        for _ in 0..10_000 {
            self.work();
            if !self.answer() {
                return;
            }
        }
        panic!("the courier asks without end");
    }

    /// Does what the courier asks for; answers of the queue wait for [`World::answer`].
    pub fn work(&mut self) {
        let free = if self.connected { self.slots - self.courier.in_flight() } else { 0 };
        for request in self.courier.work(self.now, free) {
            match request {
                Request::Fetch { stream, round, bytes, records } => {
                    self.fetches += 1;
                    let queue = &mut self.queues[usize::from(stream.0)];
                    let (records, more) = queue.hand_out(bytes, records, self.queue_window);
                    self.answers.push_back(Fetched { stream, round, records, more });
                }
                Request::Rewind(stream) => {
                    let stream = usize::from(stream.0);
                    self.queues[stream].cursor = 0;
                    self.last[stream] = None;
                }
                Request::Acknowledge { stream, records } => {
                    let stream = usize::from(stream.0);
                    for name in records {
                        assert!(
                            self.allowed.contains(&(stream, name)),
                            "{name:?} was not acknowledged"
                        );
                        let kept = self.queues[stream].records.iter_mut();
                        let known = kept.into_iter().find(|kept| kept.name == name).unwrap();
                        known.acknowledged = true;
                    }
                }
                Request::Publish(id, record) => self.publish(id, record),
            }
        }
        assert!(self.courier.in_flight() <= self.slots);
        assert_eq!(self.courier.in_flight(), self.broker.open.len());
    }

    fn publish(&mut self, id: RecordId, record: Record) {
        assert!(self.connected && Courier::owns(id));
        let name = record.topic.rsplit_once('/').unwrap().1;
        let stream = self.names.iter().position(|known| known == name).unwrap();
        let topic = record.topic.to_string();
        let published = Published { id, stream, topic, payload: record.payload };
        self.broker.published.push(published.clone());
        let message = record::decode(&published.payload).unwrap();
        for entry in &message.entries {
            let last = self.last[stream].replace(entry.sequence);
            let follows =
                last.is_none_or(|last| last < entry.sequence + u64::from(entry.part.is_some()));
            assert!(follows || !self.ordered[stream], "{last:?} before {}", entry.sequence);
        }
        for received in self.receiver.take("v", name, message) {
            let name = RecordName { epoch: received.epoch, sequence: received.sequence };
            let kept = self.queues[stream].records.iter().find(|kept| kept.name == name).unwrap();
            assert_eq!(kept.payload, received.payload);
            *self.received.entry((stream, name)).or_default() += 1;
        }
        self.broker.open.push_back(published);
    }

    /// Hands the courier one answer of the queue. False when there is none.
    pub fn answer(&mut self) -> bool {
        let Some(fetched) = self.answers.pop_front() else { return false };
        self.courier.fetched(fetched);
        true
    }

    /// The broker acknowledges one open message.
    pub fn acknowledge(&mut self, index: usize) {
        let published = self.broker.open.remove(index).unwrap();
        let message = record::decode(&published.payload).unwrap();
        for entry in message.entries {
            let key =
                (published.stream, RecordName { epoch: message.epoch, sequence: entry.sequence });
            let Some(part) = entry.part else {
                self.allowed.insert(key);
                continue;
            };
            let covered = self.covered.entry(key).or_default();
            covered.push((part.offset, part.offset + entry.payload.len() as u64));
            covered.sort_unstable();
            let end = covered
                .iter()
                .fold(0, |end, (from, to)| if *from <= end { end.max(*to) } else { end });
            if end >= part.total {
                self.allowed.insert(key);
            }
        }
        assert!(self.courier.acknowledged(published.id, self.now));
    }

    pub fn acknowledge_first(&mut self, count: usize) {
        for _ in 0..count {
            self.acknowledge(0);
        }
        self.work();
    }

    pub fn acknowledge_all(&mut self) {
        self.acknowledge_first(self.broker.open.len());
    }

    /// Acknowledges until nothing comes any more.
    pub fn acknowledge_until_quiet(&mut self) {
        self.settle();
        while !self.broker.open.is_empty() {
            self.now = self.now + Duration::from_millis(20);
            self.acknowledge(0);
            self.settle();
        }
    }

    /// The broker refuses one open message, which will come again after others.
    pub fn refuse(&mut self, index: usize, cause: DropCause) {
        let published = self.broker.open.remove(index).unwrap();
        self.ordered[published.stream] = false;
        assert!(self.courier.refused(published.id, cause, self.now));
    }

    /// A link of so many bytes/s and so long a trip, for some time.
    pub fn run(&mut self, time: Duration, bytes_per_s: u64, trip: Duration) {
        let end = self.now + time;
        let mut served_at = self.now;
        let mut due: VecDeque<Mono> = VecDeque::new();
        loop {
            self.settle();
            for published in self.broker.open.iter().skip(due.len()) {
                let bytes = (published.payload.len() + published.topic.len()) as u64;
                served_at = served_at.max(self.now)
                    + Duration::from_nanos(bytes * 1_000_000_000 / bytes_per_s);
                due.push_back(served_at + trip);
            }
            let deadline = self.courier.deadline(self.now);
            let next = [due.front().copied(), deadline].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next < end) else { break };
            assert!(next >= self.now);
            self.now = next;
            if due.front() == Some(&next) {
                due.pop_front();
                self.acknowledge(0);
            }
        }
        self.now = end;
        while !due.is_empty() {
            due.pop_front();
            self.acknowledge(0);
        }
        self.work();
    }

    /// Records of a stream that are neither acknowledged nor dropped.
    pub fn held(&self, stream: usize) -> usize {
        let records = self.queues[stream].records.iter();
        records.filter(|kept| !kept.acknowledged && !kept.dropped).count()
    }

    /// Records of a stream that a receiver has.
    pub fn received(&self, stream: usize) -> usize {
        self.received.keys().filter(|(of, _)| *of == stream).count()
    }

    /// How often a receiver took each record of a stream.
    pub fn times_received(&self, stream: usize, name: RecordName) -> usize {
        self.received.get(&(stream, name)).copied().unwrap_or(0)
    }

    /// Records that a receiver dropped because it had them.
    pub fn repeats(&self, stream: usize) -> u64 {
        let counts = self.receiver.dedup().counts();
        counts
            .filter(|(_, name, _)| *name == self.names[stream])
            .map(|(_, _, counts)| counts.repeats)
            .sum()
    }

    /// The receiver forgets nothing over a restart of its own.
    pub fn restart_receiver(&mut self) {
        let snapshot = Bytes::from(self.receiver.snapshot());
        self.receiver = Receiver::restore(&snapshot, 1 << 24).unwrap();
    }
}

fn courier(streams: Vec<StreamSetup>, limits: Limits, day: DayCount, now: Mono) -> Courier {
    let topics = Topics::new("outrider", "v");
    let budget = Budget::new(limits, day, now);
    Courier::new(streams, topics, Settings { memory_bytes: MEMORY }, budget)
}
