//! Records that wait for the broker, kept in memory.
//!
//! Joins the [`Window`], which decides, with the place where contents are kept. A durable spool would take that place: the
//! window needs nothing but ids. What is lost with the process is the contents here, and nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::core::delivery::{Class, DropCause, Limits, RecordId, Window};
use crate::core::state::MqttState;
use crate::core::time::Mono;

/// Memory of one record beside topic and payload, in bytes: map nodes in window and outbox, reference counts, allocator
/// rounding. Counted against the budget so that the budget is about memory.
pub const RECORD_OVERHEAD_BYTES: usize = 256;

/// One record. Cloning it shares the contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Topic it goes to.
    pub topic: Arc<str>,
    /// What it says.
    pub payload: Bytes,
    /// The broker keeps the latest one for those who come later.
    pub retain: bool,
}

impl Record {
    fn weight(&self) -> usize {
        self.topic.len() + self.payload.len() + RECORD_OVERHEAD_BYTES
    }
}

/// Window and contents.
#[derive(Debug)]
pub struct Outbox {
    window: Window,
    records: BTreeMap<RecordId, (Class, Record)>,
    sent_bytes: u64,
}

impl Outbox {
    /// An empty outbox without connection.
    #[must_use]
    pub fn new(limits: Limits) -> Outbox {
        Outbox { window: Window::new(limits), records: BTreeMap::new(), sent_bytes: 0 }
    }

    /// Takes a record; what it displaces is dropped and counted. A retained record replaces one for the same topic that
    /// has not left yet. `None` when the record itself was dropped, counted as well.
    pub fn enqueue(&mut self, now: Mono, class: Class, record: Record) -> Option<RecordId> {
        if record.retain {
            self.withdraw_older(class, &record.topic);
        }
        self.enqueue_beside(now, class, record)
    }

    /// As [`Outbox::enqueue`], but what waits for the same topic stays: others that wait still need it.
    pub fn enqueue_beside(&mut self, now: Mono, class: Class, record: Record) -> Option<RecordId> {
        let admission = self.window.admit(now, class, record.weight());
        for dropped in &admission.dropped {
            self.records.remove(dropped);
        }
        if !admission.held {
            return None;
        }
        self.records.insert(admission.id, (class, record));
        Some(admission.id)
    }

    /// A connection stands; see [`Window::connected`].
    pub fn connected(&mut self, in_flight_max: u16) {
        self.window.connected(in_flight_max);
    }

    /// The connection is gone; see [`Window::connection_lost`].
    pub fn connection_lost(&mut self) {
        self.window.connection_lost();
    }

    /// Messages in flight beside these; see [`Window::beside`].
    pub fn beside(&mut self, messages: usize) {
        self.window.beside(messages);
    }

    /// The next record to hand to the connection, in flight from now on.
    pub fn next_to_send(&mut self) -> Option<(RecordId, Record)> {
        let id = self.window.next_to_send()?;
        let (_, record) = self.records.get(&id).expect("the window only knows records held here");
        self.sent_bytes += record.payload.len() as u64;
        Some((id, record.clone()))
    }

    /// The broker acknowledged `id`: forget it. False when it was not in flight.
    pub fn acknowledged(&mut self, id: RecordId) -> bool {
        let known = self.window.acknowledged(id);
        if known {
            self.records.remove(&id);
        }
        known
    }

    /// The broker refused `id` for good: drop and count it. False when it was not in flight.
    pub fn refused(&mut self, id: RecordId, cause: DropCause) -> bool {
        let known = self.window.refused(id, cause);
        if known {
            self.records.remove(&id);
        }
        known
    }

    /// The window, to look at.
    #[must_use]
    pub fn window(&self) -> &Window {
        &self.window
    }

    /// Writes the numbers that people see. Drops appear as `class-cause`, such as `telemetry-full`.
    pub fn report(&self, state: &mut MqttState) {
        state.queued = self.window.records() as u64;
        state.queued_bytes = self.window.bytes() as u64;
        state.acknowledged = self.window.acknowledged_total();
        state.sent_bytes = self.sent_bytes;
        for (class, cause, count) in self.window.dropped_total() {
            state.dropped.insert(format!("{}-{}", class.word(), cause.word()), count);
        }
    }

    /// Only a handful of records are ever retained, and enqueueing one is rare: a scan costs less than an index.
    fn withdraw_older(&mut self, class: Class, topic: &str) {
        let older: Vec<RecordId> = self
            .records
            .iter()
            .filter(|(_, (held_class, held))| {
                *held_class == class && held.retain && *held.topic == *topic
            })
            .map(|(&id, _)| id)
            .collect();
        for id in older {
            if self.window.superseded(class, id) {
                self.records.remove(&id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { bytes: 64 * 1024, in_flight: 4 };

    fn record(topic: &str, payload: &'static str, retain: bool) -> Record {
        Record { topic: Arc::from(topic), payload: Bytes::from_static(payload.as_bytes()), retain }
    }

    fn sent(outbox: &mut Outbox) -> Vec<Bytes> {
        std::iter::from_fn(|| outbox.next_to_send()).map(|(_, record)| record.payload).collect()
    }

    #[test]
    fn contents_follow_their_ids_through_a_lost_connection() {
        let mut outbox = Outbox::new(LIMITS);
        let first = outbox.enqueue(Mono::default(), Class::Telemetry, record("t", "1", false));
        let second = outbox.enqueue(Mono::default(), Class::Telemetry, record("t", "2", false));
        outbox.connected(u16::MAX);
        assert_eq!(sent(&mut outbox), ["1", "2"]);
        assert!(outbox.acknowledged(first.unwrap()));

        outbox.connection_lost();
        outbox.connected(u16::MAX);
        assert_eq!(outbox.next_to_send(), Some((second.unwrap(), record("t", "2", false))));
        assert!(outbox.acknowledged(second.unwrap()));
        assert_eq!((outbox.records.len(), outbox.window().bytes()), (0, 0));
    }

    #[test]
    fn a_waiting_retained_record_is_replaced_and_one_in_flight_is_followed() {
        let mut outbox = Outbox::new(LIMITS);
        outbox.enqueue(Mono::default(), Class::Birth, record("birth", "old", true)).unwrap();
        outbox.enqueue(Mono::default(), Class::Birth, record("birth", "sent", true)).unwrap();
        outbox.connected(u16::MAX);
        assert_eq!(sent(&mut outbox), ["sent"]);

        outbox.enqueue(Mono::default(), Class::Birth, record("birth", "newest", true)).unwrap();
        outbox.connection_lost();
        outbox.connected(u16::MAX);
        assert_eq!(sent(&mut outbox), ["sent", "newest"], "the newest value must arrive last");

        let mut state = MqttState::default();
        outbox.report(&mut state);
        assert_eq!(state.dropped, BTreeMap::from([("birth-superseded".to_owned(), 1)]));
    }

    #[test]
    fn a_retained_record_that_others_need_stays_beside_its_successor() {
        let mut outbox = Outbox::new(LIMITS);
        outbox.enqueue(Mono::default(), Class::Birth, record("birth", "first", true)).unwrap();
        outbox
            .enqueue_beside(Mono::default(), Class::Birth, record("birth", "next", true))
            .unwrap();
        outbox.connected(u16::MAX);
        assert_eq!(sent(&mut outbox), ["first", "next"]);
    }

    #[test]
    fn hours_without_a_broker_keep_the_newest_within_the_budget() {
        let mut outbox = Outbox::new(LIMITS);
        outbox.enqueue(Mono::default(), Class::Birth, record("birth", "who", true)).unwrap();
        for minute in 0..6 * 60 {
            let payload = Bytes::from(vec![u8::try_from(minute % 256).unwrap(); 1024]);
            let record = Record { topic: Arc::from("telemetry"), payload, retain: false };
            assert!(
                outbox
                    .enqueue(Mono::from_millis(minute * 60_000), Class::Telemetry, record)
                    .is_some()
            );
            assert!(outbox.window().bytes() <= LIMITS.bytes);
            assert_eq!(outbox.records.len(), outbox.window().records());
        }
        outbox.connected(u16::MAX);
        let mut order = Vec::new();
        while let Some((id, record)) = outbox.next_to_send() {
            order.push(record.payload[0]);
            assert!(outbox.acknowledged(id));
        }
        let newest: Vec<u8> =
            (0..360_u64).map(|minute| u8::try_from(minute % 256).unwrap()).collect();
        assert_eq!(order[0], b'w');
        assert_eq!(order[1..], newest[newest.len() - (order.len() - 1)..]);

        let mut state = MqttState::default();
        outbox.report(&mut state);
        let kept = order.len() as u64 - 1;
        assert_eq!(state.dropped["telemetry-full"] + kept, 360);
        assert_eq!(state.acknowledged, kept + 1);
    }
}
