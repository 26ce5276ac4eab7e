//! Which records leave, in which order, and when each may be forgotten.
//!
//! The window knows record ids, sizes and classes, never contents: where a record is kept (memory today) is the owner's
//! business. A record is freed by the acknowledgement of exactly its id, by the broker's refusal of exactly its id, or by
//! being dropped here, counted by cause and class. Broker sessions are never relied on: after a lost connection everything
//! that was in flight is sent again under the same id, so delivery is at least once.
//!
//! # Bounds
//!
//! - All records together weigh at most [`Limits::bytes`] and number at most [`RECORDS_MAX`]. When a record does not fit,
//!   the oldest waiting records of the least important class make room, never those of a more important one.
//! - A class may fill only its share ([`Class::share`]), so that a storm of events cannot push out all telemetry.
//! - Records in flight take at most half of the bytes, so that the newest always find room beside what a slow broker sits
//!   on. They are not dropped: their acknowledgement may be on the way.

use std::collections::BTreeMap;

use crate::core::time::Mono;

/// Most records in a window: bounds the window's own memory (about 100 bytes a record) when records are tiny.
pub const RECORDS_MAX: usize = 4096;

/// Number of a record, ascending in order of arrival from 1, never used twice by one window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId(pub u64);

impl RecordId {
    /// Stands for what was never sent, in an acknowledgement that names nothing we know.
    pub const UNKNOWN: RecordId = RecordId(0);
}

/// What a record is worth, most important first. More important records leave first and stay longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Who this is; others need it to read the telemetry.
    Birth,
    /// Something happened.
    Event,
    /// Measurements; the newest matter most.
    Telemetry,
}

impl Class {
    /// Every class, most important first.
    pub const ALL: [Class; 3] = [Class::Birth, Class::Event, Class::Telemetry];

    /// Fixed word for metrics and logs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Class::Birth => "birth",
            Class::Event => "event",
            Class::Telemetry => "telemetry",
        }
    }

    /// Bytes of `total` that records of this class may take. A quarter is out of reach of everything but telemetry.
    #[must_use]
    pub const fn share(self, total: usize) -> usize {
        match self {
            Class::Birth => total / 2,
            Class::Event => total / 4,
            Class::Telemetry => total,
        }
    }

    /// Bytes of one record of this class that can be taken at all: its share, and no more than may be in flight.
    #[must_use]
    pub const fn record_bytes_max(self, total: usize) -> usize {
        match self {
            Class::Birth | Class::Telemetry => total / 2,
            Class::Event => total / 4,
        }
    }
}

/// Why a record was dropped without being acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DropCause {
    /// It made room for newer or more important records, or found none.
    Full,
    /// It can never fit, here or in the broker's largest packet.
    TooLarge,
    /// The broker said that it will not take it.
    Refused,
    /// A newer value for the same retained topic replaced it before it left.
    Superseded,
}

impl DropCause {
    /// Fixed word for metrics and logs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            DropCause::Full => "full",
            DropCause::TooLarge => "too-large",
            DropCause::Refused => "refused",
            DropCause::Superseded => "superseded",
        }
    }
}

/// Bounds of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all records together.
    pub bytes: usize,
    /// Records in flight without acknowledgement; at least 1.
    pub in_flight: usize,
}

/// What is known about one record.
#[derive(Clone, Copy, Debug)]
struct Entry {
    bytes: usize,
    at: Mono,
}

/// What became of a record that was offered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Admission {
    /// Its id; also when it was dropped at once.
    pub id: RecordId,
    /// It is held. When not, it has been counted as dropped.
    pub held: bool,
    /// Records that made room for it and are to be forgotten; counted already.
    pub dropped: Vec<RecordId>,
}

/// By how much a newcomer is too much.
struct Excess {
    share: usize,
    total: usize,
    records: usize,
}

impl Excess {
    /// A record of `bytes` bytes goes.
    fn reduce(&mut self, bytes: usize) {
        self.share = self.share.saturating_sub(bytes);
        self.total = self.total.saturating_sub(bytes);
        self.records = self.records.saturating_sub(1);
    }
}

/// The window.
#[derive(Debug)]
pub struct Window {
    limits: Limits,
    /// Fewer in flight while the broker asks for it.
    in_flight_max: usize,
    /// Messages in flight that are not of this window and count against the same bound.
    elsewhere: usize,
    connected: bool,
    issued: u64,
    waiting: BTreeMap<(Class, RecordId), Entry>,
    in_flight: BTreeMap<RecordId, (Class, Entry)>,
    in_flight_bytes: usize,
    bytes_by_class: BTreeMap<Class, usize>,
    acknowledged: u64,
    stray: u64,
    dropped: BTreeMap<(Class, DropCause), u64>,
}

impl Window {
    /// An empty window without connection.
    #[must_use]
    pub fn new(limits: Limits) -> Window {
        Window {
            limits,
            in_flight_max: limits.in_flight.max(1),
            elsewhere: 0,
            connected: false,
            issued: 0,
            waiting: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            in_flight_bytes: 0,
            bytes_by_class: BTreeMap::new(),
            acknowledged: 0,
            stray: 0,
            dropped: BTreeMap::new(),
        }
    }

    /// Offers a record of `bytes` bytes that came into being at `now`.
    pub fn admit(&mut self, now: Mono, class: Class, bytes: usize) -> Admission {
        self.issued += 1;
        let id = RecordId(self.issued);
        let mut admission = Admission { id, held: false, dropped: Vec::new() };
        if bytes > class.record_bytes_max(self.limits.bytes) {
            self.count(class, DropCause::TooLarge);
            return admission;
        }
        let Some(victims) = self.room_for(class, bytes) else {
            self.count(class, DropCause::Full);
            return admission;
        };
        for (victim_class, victim) in victims {
            self.remove_waiting(victim_class, victim);
            self.count(victim_class, DropCause::Full);
            admission.dropped.push(victim);
        }
        *self.bytes_by_class.entry(class).or_default() += bytes;
        self.waiting.insert((class, id), Entry { bytes, at: now });
        admission.held = true;
        admission
    }

    /// A connection stands. The broker takes `in_flight_max` records without acknowledgement (MQTT 5 section 3.2.2.3.3,
    /// "Receive Maximum").
    pub fn connected(&mut self, in_flight_max: u16) {
        self.return_in_flight();
        self.connected = true;
        self.in_flight_max = self.limits.in_flight.min(usize::from(in_flight_max)).max(1);
    }

    /// The connection is gone: what was in flight waits again, in its old place.
    pub fn connection_lost(&mut self) {
        self.connected = false;
        self.return_in_flight();
    }

    /// So many messages of the same connection are in flight that this window knows nothing of: the broker counts them
    /// together.
    pub fn beside(&mut self, messages: usize) {
        self.elsewhere = messages;
    }

    /// How many messages may still be sent without acknowledgement, by whomever.
    #[must_use]
    pub fn free(&self) -> usize {
        if !self.connected {
            return 0;
        }
        self.in_flight_max.saturating_sub(self.in_flight.len() + self.elsewhere)
    }

    /// The next record to send, which is in flight from now on; `None` when nothing may or need be sent. Most important
    /// class first, oldest first within a class.
    pub fn next_to_send(&mut self) -> Option<RecordId> {
        if self.free() == 0 {
            return None;
        }
        let (&(class, id), &entry) = self.waiting.first_key_value()?;
        if self.in_flight_bytes + entry.bytes > self.in_flight_bytes_max() {
            return None;
        }
        self.waiting.remove(&(class, id));
        self.in_flight.insert(id, (class, entry));
        self.in_flight_bytes += entry.bytes;
        Some(id)
    }

    /// The broker acknowledged `id`. False when that record is not in flight, as after a lost connection: such an
    /// acknowledgement frees nothing and is counted as stray.
    pub fn acknowledged(&mut self, id: RecordId) -> bool {
        let known = self.land(id).is_some();
        self.acknowledged += u64::from(known);
        self.stray += u64::from(!known);
        known
    }

    /// The record in flight `id` was refused for good. False when it is not in flight.
    pub fn refused(&mut self, id: RecordId, cause: DropCause) -> bool {
        let Some(class) = self.land(id) else { return false };
        self.count(class, cause);
        true
    }

    /// Takes back a record of `class` that still waits, because a newer one replaces it. False when it does not wait.
    pub fn superseded(&mut self, class: Class, id: RecordId) -> bool {
        if !self.waiting.contains_key(&(class, id)) {
            return false;
        }
        self.remove_waiting(class, id);
        self.count(class, DropCause::Superseded);
        true
    }

    /// Records held, waiting and in flight.
    #[must_use]
    pub fn records(&self) -> usize {
        self.waiting.len() + self.in_flight.len()
    }

    /// Records of a class, waiting and in flight.
    #[must_use]
    pub fn records_of(&self, class: Class) -> usize {
        let waiting = self.waiting.keys().filter(|(of, _)| *of == class).count();
        waiting + self.in_flight.values().filter(|(of, _)| *of == class).count()
    }

    /// Bytes held, waiting and in flight.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes_by_class.values().sum()
    }

    /// Records in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// When the oldest record that is still held came into being: how far behind the broker is.
    #[must_use]
    pub fn oldest(&self) -> Option<Mono> {
        // Ids ascend with time, so the first of each class will do.
        let first = |class| self.waiting.range((class, RecordId(0))..).next();
        let of_class = |class| first(class).filter(|((found, _), _)| *found == class);
        let waiting = Class::ALL.into_iter().filter_map(of_class).map(|(_, entry)| entry.at);
        let in_flight = self.in_flight.values().next().map(|(_, entry)| entry.at);
        waiting.chain(in_flight).min()
    }

    /// Records acknowledged since start.
    #[must_use]
    pub fn acknowledged_total(&self) -> u64 {
        self.acknowledged
    }

    /// Acknowledgements of what was not in flight.
    #[must_use]
    pub fn stray_total(&self) -> u64 {
        self.stray
    }

    /// Records dropped since start, by class and cause; only what occurred.
    pub fn dropped_total(&self) -> impl Iterator<Item = (Class, DropCause, u64)> {
        self.dropped.iter().map(|(&(class, cause), &count)| (class, cause, count))
    }

    /// Records that must go so that `bytes` of `class` fit, or `None` when even that would not do. Nothing is dropped for
    /// a record that is not held in the end.
    fn room_for(&self, class: Class, bytes: usize) -> Option<Vec<(Class, RecordId)>> {
        let own_bytes = self.bytes_by_class.get(&class).copied().unwrap_or_default();
        let mut excess = Excess {
            share: (own_bytes + bytes).saturating_sub(class.share(self.limits.bytes)),
            total: (self.bytes() + bytes).saturating_sub(self.limits.bytes),
            records: (self.records() + 1).saturating_sub(RECORDS_MAX),
        };
        let mut victims = Vec::new();

        // What a class has beyond its share it gives itself; then the less important give, and last its own oldest.
        let mut own = self.waiting_of(class);
        while excess.share > 0 {
            let (victim, entry) = own.next()?;
            excess.reduce(entry.bytes);
            victims.push(victim);
        }
        let less_important = Class::ALL.into_iter().rev().filter(|candidate| *candidate > class);
        let mut others = less_important.flat_map(|candidate| self.waiting_of(candidate)).chain(own);
        while excess.total > 0 || excess.records > 0 {
            let (victim, entry) = others.next()?;
            excess.reduce(entry.bytes);
            victims.push(victim);
        }
        Some(victims)
    }

    /// Waiting records of one class, oldest first.
    fn waiting_of(&self, class: Class) -> impl Iterator<Item = ((Class, RecordId), &Entry)> {
        let range = (class, RecordId(0))..=(class, RecordId(u64::MAX));
        self.waiting.range(range).map(|(&key, entry)| (key, entry))
    }

    fn in_flight_bytes_max(&self) -> usize {
        self.limits.bytes / 2
    }

    fn return_in_flight(&mut self) {
        for (id, (class, entry)) in std::mem::take(&mut self.in_flight) {
            self.waiting.insert((class, id), entry);
        }
        self.in_flight_bytes = 0;
    }

    /// Takes a record out of flight and out of the window.
    fn land(&mut self, id: RecordId) -> Option<Class> {
        let (class, entry) = self.in_flight.remove(&id)?;
        self.in_flight_bytes -= entry.bytes;
        self.release(class, entry.bytes);
        Some(class)
    }

    fn remove_waiting(&mut self, class: Class, id: RecordId) {
        if let Some(entry) = self.waiting.remove(&(class, id)) {
            self.release(class, entry.bytes);
        }
    }

    fn release(&mut self, class: Class, bytes: usize) {
        let held = self.bytes_by_class.get_mut(&class).expect("a held record was counted");
        *held -= bytes;
    }

    fn count(&mut self, class: Class, cause: DropCause) {
        *self.dropped.entry((class, cause)).or_default() += 1;
    }
}

#[cfg(test)]
mod tests;
