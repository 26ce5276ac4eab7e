//! What a group of messages leads to at the broker, in order: documents are published, and when the broker has them, the
//! messages that they came from are acknowledged.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use crate::core::delivery::RecordId;
use crate::core::fleet::Publish;
use crate::core::outbox::Record;
use crate::shell::mqtt::{Link, Publisher as _, Receipt};

/// Receipts that may go back when everything up to a number was forwarded.
#[derive(Debug)]
struct Owed {
    forwarded: u64,
    receipts: Vec<Receipt>,
}

/// The way to the broker.
#[derive(Debug, Default)]
pub struct Outgoing {
    link: Option<(Link, usize)>,
    /// Not yet acknowledged by the broker, by number; true when it is on its way.
    documents: BTreeMap<u64, (Publish, bool)>,
    in_flight: usize,
    /// Bytes of all documents.
    bytes: usize,
    owed: VecDeque<Owed>,
    /// Last number that was handed over.
    last: u64,
}

impl Outgoing {
    /// A connection stands, which takes so many documents at once. Receipts of the one before are void.
    pub fn connected(&mut self, link: Link, in_flight_max: u16) {
        self.disconnected();
        self.link = Some((link, usize::from(in_flight_max)));
        self.submit();
    }

    /// The connection ended; what was not acknowledged is sent again on the next one.
    pub fn disconnected(&mut self) {
        self.link = None;
        self.owed.clear();
        self.in_flight = 0;
        self.documents.values_mut().for_each(|(_, on_its_way)| *on_its_way = false);
    }

    /// Messages are safe: their documents are to be published, and then their receipts to go back.
    pub fn hand_over(&mut self, publishes: Vec<Publish>, receipts: Vec<Receipt>) {
        for publish in publishes {
            self.last = self.last.max(publish.number);
            self.bytes += publish.payload.len();
            self.documents.insert(publish.number, (publish, false));
        }
        self.owed.push_back(Owed { forwarded: self.last, receipts });
        self.submit();
        self.settle();
    }

    /// The broker has a document, or will never take it.
    pub fn done(&mut self, id: RecordId) {
        if let Some((publish, on_its_way)) = self.documents.remove(&id.0) {
            self.bytes -= publish.payload.len();
            self.in_flight -= usize::from(on_its_way);
        }
        self.submit();
        self.settle();
    }

    /// The last number up to which the broker has everything.
    #[must_use]
    pub fn forwarded(&self) -> u64 {
        self.documents.first_key_value().map_or(self.last, |(first, _)| first - 1)
    }

    /// Documents that the broker has not acknowledged.
    pub fn unforwarded(&self) -> impl ExactSizeIterator<Item = &Publish> {
        self.documents.values().map(|(publish, _)| publish)
    }

    /// Bytes of these documents.
    #[must_use]
    pub fn unforwarded_bytes(&self) -> usize {
        self.bytes
    }

    fn submit(&mut self) {
        let Some((link, in_flight_max)) = &mut self.link else { return };
        let waiting = self.documents.values_mut().filter(|(_, on_its_way)| !on_its_way);
        for (publish, on_its_way) in waiting {
            if self.in_flight >= *in_flight_max {
                return;
            }
            let record = Record {
                topic: Arc::from(publish.topic.as_str()),
                payload: Bytes::copy_from_slice(&publish.payload),
                retain: false,
            };
            // A connection that is gone reports itself.
            if link.submit(RecordId(publish.number), record).is_err() {
                return;
            }
            *on_its_way = true;
            self.in_flight += 1;
        }
    }

    fn settle(&mut self) {
        let forwarded = self.forwarded();
        while let Some(owed) = self.owed.pop_front_if(|owed| owed.forwarded <= forwarded) {
            let Some((link, _)) = &self.link else { continue };
            owed.receipts.into_iter().for_each(|receipt| link.acknowledge(receipt));
        }
    }
}
