//! What the generated tests share: actions, and an oracle that remembers what it was told.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(dead_code, reason = "each test uses its part")]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use spool::simulated::{Left, Simulated};
use spool::{
    Acknowledgement, AtBound, BootMs, Event, Fate, OpenError, Options, RecordId, Report, Session,
    Spool, StreamPolicy, StreamTag,
};

/// Streams of the generated workloads: name and policy.
pub fn streams() -> [(&'static str, StreamPolicy); 3] {
    [
        (
            "event",
            StreamPolicy { priority: 0, at_bound: AtBound::Refuse, ..StreamPolicy::default() },
        ),
        ("log", StreamPolicy { priority: 1, ..StreamPolicy::default() }),
        (
            "telemetry",
            StreamPolicy { priority: 2, at_bound: AtBound::Thin, ..StreamPolicy::default() },
        ),
    ]
}

/// Something that is done to a spool.
#[derive(Clone, Debug)]
pub enum Action {
    Append {
        stream: usize,
        size: usize,
    },
    Commit,
    /// Hands out up to so many records.
    Deliver(usize),
    /// Acknowledges one that was handed out, counted from the oldest.
    Acknowledge(usize),
    /// Acknowledges all that were handed out.
    AcknowledgeAll,
    Reject(usize),
    Rewind,
    /// Time passes.
    Wait(u64),
    Expire,
    /// The process ends and starts again, in an orderly way or not.
    Restart {
        orderly: bool,
    },
}

/// Actions on records of up to `size_max` bytes.
pub fn actions(
    size_max: usize,
    count: std::ops::Range<usize>,
) -> impl Strategy<Value = Vec<Action>> {
    let size = prop_oneof![
        1 => Just(0),
        2 => 1..20_usize,
        6 => 20..size_max,
    ];
    let action = prop_oneof![
        24 => (0..3_usize, size).prop_map(|(stream, size)| Action::Append { stream, size }),
        6 => Just(Action::Commit),
        4 => (1..12_usize).prop_map(Action::Deliver),
        5 => (0..8_usize).prop_map(Action::Acknowledge),
        2 => Just(Action::AcknowledgeAll),
        1 => (0..4_usize).prop_map(Action::Reject),
        1 => Just(Action::Rewind),
        2 => (1..5000_u64).prop_map(Action::Wait),
        1 => Just(Action::Expire),
        1 => any::<bool>().prop_map(|orderly| Action::Restart { orderly }),
    ];
    proptest::collection::vec(action, count)
}

/// The payload of a record: says whose it is, and the rest follows from that.
pub fn payload(stream: usize, number: u64, size: usize) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ stream as u64;
    let mut bytes = Vec::with_capacity(size);
    while bytes.len() < size {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// What a tester was told about one record.
#[derive(Clone, Debug)]
pub struct Known {
    pub payload: Vec<u8>,
    pub durable: bool,
    /// The session in which it was acknowledged or rejected.
    pub ended: Option<u32>,
    /// Acknowledged before a commit that went through.
    pub surely_gone: bool,
}

/// Mistakes that a test plants to prove that it would be noticed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bug {
    #[default]
    None,
    /// The spool is told that a record has arrived when it was only handed out.
    FreeWhenHandedOut,
}

/// A spool with somebody who remembers.
pub struct World {
    pub disk: Simulated,
    pub options: Options,
    pub spool: Option<Spool<Simulated>>,
    pub now: BootMs,
    pub epoch: u32,
    pub tags: Vec<StreamTag>,
    pub known: BTreeMap<RecordId, Known>,
    pub out: Vec<RecordId>,
    pub bug: Bug,
    number: u64,
}

impl World {
    pub fn new(disk: Simulated, options: Options) -> World {
        let mut world = World {
            disk,
            options,
            spool: None,
            now: BootMs(1000),
            epoch: 0,
            tags: Vec::new(),
            known: BTreeMap::new(),
            out: Vec::new(),
            bug: Bug::None,
            number: 0,
        };
        world.open();
        world
    }

    /// Opens the spool as another session and declares the streams, unless the power goes meanwhile.
    pub fn open(&mut self) {
        self.epoch += 1;
        let session = Session { boot_id: [3; 16], epoch: self.epoch, spool_id: 0x5EED };
        // A disk that will not read is asked again; faults end.
        let mut spool = loop {
            match Spool::open(self.disk.clone(), self.options, session, self.now) {
                Ok(spool) => break spool,
                Err(OpenError::Unreadable(_)) if self.disk.is_off() => return,
                Err(OpenError::Unreadable(_)) => self.disk.release_lock(),
                Err(error) => panic!("always opens: {error}"),
            }
        };
        self.tags = streams()
            .iter()
            .map(|(name, policy)| spool.define(name, *policy).expect("a good name"))
            .collect();
        self.out.clear();
        self.spool = Some(spool);
    }

    pub fn spool(&mut self) -> &mut Spool<Simulated> {
        self.spool.as_mut().expect("it is open")
    }

    pub fn report(&mut self) -> Report {
        let now = self.now;
        self.spool().report(now)
    }

    /// Does one thing. What happens after the power went is nobody's promise, so nothing is noted then.
    pub fn act(&mut self, action: &Action) {
        if self.spool.is_none() {
            return;
        }
        let now = self.now;
        match action {
            Action::Append { stream, size } => {
                self.number += 1;
                let payload = payload(*stream, self.number, *size);
                let tag = self.tags[*stream];
                if let Ok(accepted) = self.spool().append(tag, payload.clone(), now) {
                    let known = Known { payload, durable: false, ended: None, surely_gone: false };
                    self.known.insert(accepted.id, known);
                }
            }
            Action::Commit => self.spool().commit(now),
            Action::Deliver(count) => {
                for _ in 0..*count {
                    let Some(delivery) = self.spool().next(now) else { break };
                    self.check_delivery(&delivery).unwrap();
                    if self.bug == Bug::FreeWhenHandedOut {
                        self.spool().acknowledge(delivery.id, now);
                    } else {
                        self.out.push(delivery.id);
                    }
                }
            }
            Action::Acknowledge(at) => self.end(*at, true),
            Action::AcknowledgeAll => {
                while !self.out.is_empty() {
                    self.end(0, true);
                }
            }
            Action::Reject(at) => self.end(*at, false),
            Action::Rewind => {
                self.spool().rewind();
                self.out.clear();
            }
            Action::Wait(ms) => self.now.0 += ms,
            Action::Expire => self.spool().expire(now),
            Action::Restart { orderly } => {
                let spool = self.spool.take().expect("it is open");
                if *orderly {
                    let (_, left) = spool.close(now);
                    if left == 0 && !self.disk.is_off() {
                        self.known
                            .iter_mut()
                            .filter(|(id, _)| id.epoch == self.epoch)
                            .for_each(|(_, known)| known.durable = true);
                    }
                } else {
                    drop(spool);
                }
                if !self.disk.is_off() {
                    self.disk.release_lock();
                    self.open();
                }
                return;
            }
        }
        self.listen();
    }

    fn end(&mut self, at: usize, acknowledge: bool) {
        if self.out.is_empty() {
            return;
        }
        let now = self.now;
        let id = self.out.remove(at % self.out.len());
        let spool = self.spool();
        let met = if acknowledge { spool.acknowledge(id, now) } else { spool.reject(id, now) };
        assert_ne!(met, Acknowledgement::Unknown, "{id:?} was handed out");
        if let Some(known) = self.known.get_mut(&id) {
            known.ended = Some(self.epoch);
        }
    }

    /// Notes what the spool says. A cut that happened while it worked makes everything it says void.
    fn listen(&mut self) {
        let events = self.spool().take_events();
        if self.disk.is_off() {
            return;
        }
        for event in events {
            if let Event::Durable { stream, up_to } = event {
                let first = RecordId { stream, sequence: 0, epoch: 0 };
                let last = RecordId { stream, sequence: up_to, epoch: u32::MAX };
                // What an earlier session appended and did not commit is nobody's promise.
                let own = self.known.range_mut(first..=last);
                let own = own.filter(|(id, _)| id.epoch == self.epoch);
                own.for_each(|(_, known)| known.durable = true);
            }
        }
    }

    /// A commit that went through says that acknowledgements before it are in the log.
    pub fn commit_for_sure(&mut self) {
        if self.spool.is_none() {
            return;
        }
        let now = self.now;
        self.spool().commit(now);
        self.listen();
        if !self.disk.is_off() && self.report().degraded.is_none() {
            for known in self.known.values_mut().filter(|known| known.ended == Some(self.epoch)) {
                known.surely_gone = true;
            }
        }
    }

    fn check_delivery(&self, delivery: &spool::Delivery) -> Result<(), String> {
        match self.known.get(&delivery.id) {
            None => Err(format!("{:?} was never appended", delivery.id)),
            Some(known) if known.payload != delivery.payload => {
                Err(format!("{:?} is not what was appended", delivery.id))
            }
            Some(_) => Ok(()),
        }
    }

    /// Everything there is, in order, without acknowledging.
    pub fn read_all(&mut self) -> Result<Vec<RecordId>, String> {
        let now = self.now;
        let mut all = Vec::new();
        let mut last: BTreeMap<StreamTag, u64> = BTreeMap::new();
        while let Some(delivery) = self.spool().next(now) {
            self.check_delivery(&delivery)?;
            let id = delivery.id;
            if last.insert(id.stream, id.sequence).is_some_and(|last| last >= id.sequence) {
                return Err(format!("{id:?} is out of order"));
            }
            all.push(id);
        }
        Ok(all)
    }

    /// What must hold after the power was cut and the spool opened again. `lossless` when no bound was reached.
    pub fn check_recovered(&mut self, lossless: bool) -> Result<(), String> {
        let report = self.report();
        if let Some(degraded) = &report.degraded {
            return Err(format!("degraded on a sound disk: {degraded:?}"));
        }
        let present: BTreeSet<RecordId> = self.read_all()?.into_iter().collect();
        for stream in &report.streams {
            law(stream)?;
            let tag = stream.tag;
            let held = present.iter().filter(|id| id.stream == tag).count() as u64;
            if held != stream.held.records {
                return Err(format!("{tag}: {held} found of {} held", stream.held.records));
            }
            let known = self.known.iter().filter(|(id, _)| id.stream == tag);
            let missing: Vec<RecordId> = known
                .clone()
                .filter(|(id, known)| {
                    known.durable && known.ended.is_none() && !present.contains(id)
                })
                .map(|(id, _)| *id)
                .collect();
            let losses: u64 = stream
                .counts
                .iter()
                .filter(|(fate, _)| *fate != Fate::Acknowledged && *fate != Fate::Refused)
                .map(|(_, count)| count.records)
                .sum();
            if lossless && !missing.is_empty() {
                return Err(format!("{tag}: durable and gone: {missing:?}"));
            }
            if (missing.len() as u64) > losses {
                return Err(format!("{tag}: {missing:?} gone, {losses} counted"));
            }
            // What was acknowledged before its commit was never written; if the mark is torn away, it looks lost.
            let could_be = known
                .clone()
                .filter(|(_, known)| !known.durable || known.ended.is_some() && !known.surely_gone);
            let could_be = could_be.count() as u64;
            let lost = stream.counts.get(Fate::Lost).records;
            if lost > could_be {
                return Err(format!("{tag}: {lost} lost, of {could_be} that could be"));
            }
            let back = known.clone().find(|(id, known)| known.surely_gone && present.contains(id));
            if let Some((id, _)) = back {
                return Err(format!("{id:?} came back after its acknowledgement was durable"));
            }
        }
        Ok(())
    }

    /// After the power was cut: switches it on and opens the spool.
    pub fn power_on(&mut self, left: Left) {
        self.spool = None;
        self.disk.restart(left);
        self.open();
    }
}

/// Every number that was given belongs to a record that is held or counted.
pub fn law(stream: &spool::StreamReport) -> Result<(), String> {
    let counted: u64 = stream
        .counts
        .iter()
        .filter(|(fate, _)| *fate != Fate::Refused)
        .map(|(_, count)| count.records)
        .sum();
    let issued = stream.next_sequence - 1;
    if issued == stream.held.records + counted {
        Ok(())
    } else {
        Err(format!(
            "{}: {issued} numbers given, {} held and {counted} counted: {stream:?}",
            stream.tag, stream.held.records
        ))
    }
}
