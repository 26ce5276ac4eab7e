//! The live streams: one rendering of the status for all who watch, at most once a second.
//!
//! A subscriber that does not read is skipped, and dropped when it has been skipped for long. Skipping loses nothing:
//! each event is the whole document, and the next one is newer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Read, answer};
use crate::core::state::State;

/// Time between two events.
const EVENTS_APART: Duration = Duration::from_millis(900);

/// Events a subscriber may miss in a row: a phone that sleeps for longer connects anew by itself.
const MISSED_MAX: u32 = 30;

#[derive(Debug)]
struct Subscriber {
    events: mpsc::Sender<Bytes>,
    missed: u32,
}

#[derive(Debug, Default)]
struct Streams {
    subscribers: Vec<Subscriber>,
    published: Option<Instant>,
    dropped: u64,
}

/// All who watch. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Hub {
    streams: Arc<Mutex<Streams>>,
    streams_max: usize,
}

impl Hub {
    pub(super) fn new(streams_max: usize) -> Hub {
        Hub { streams: Arc::default(), streams_max }
    }

    fn lock(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Open streams.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.lock().subscribers.iter().filter(|s| !s.events.is_closed()).count()
    }

    /// Streams that were dropped because nobody read them.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    /// Sends the status to all who watch. Does nothing when nobody does or when the last event is less than a second
    /// old, so the main loop may call it as often as it likes.
    pub fn publish(&self, state: &State) {
        self.publish_document(|| answer(state, Read::Status).body);
    }

    /// As [`Hub::publish`], with the document that is made when there is a need for it.
    pub fn publish_document(&self, document: impl FnOnce() -> Bytes) {
        let mut streams = self.lock();
        streams.subscribers.retain(|subscriber| !subscriber.events.is_closed());
        let young = streams.published.is_some_and(|at| at.elapsed() < EVENTS_APART);
        if streams.subscribers.is_empty() || young {
            return;
        }
        streams.published = Some(Instant::now());
        let event = event(&document());
        let before = streams.subscribers.len();
        streams.subscribers.retain_mut(|subscriber| {
            match subscriber.events.try_send(event.clone()) {
                Ok(()) => subscriber.missed = 0,
                Err(mpsc::error::TrySendError::Full(_)) => subscriber.missed += 1,
                Err(mpsc::error::TrySendError::Closed(_)) => return false,
            }
            subscriber.missed <= MISSED_MAX
        });
        streams.dropped += (before - streams.subscribers.len()) as u64;
    }

    /// A place among those who watch, `None` when all are taken.
    pub(super) fn subscribe(&self) -> Option<mpsc::Receiver<Bytes>> {
        let mut streams = self.lock();
        streams.subscribers.retain(|subscriber| !subscriber.events.is_closed());
        if streams.subscribers.len() >= self.streams_max {
            return None;
        }
        // Room for one event: whatever is older than the newest is of no use.
        let (events, receiver) = mpsc::channel(1);
        streams.subscribers.push(Subscriber { events, missed: 0 });
        Some(receiver)
    }
}

/// One event in the format of the HTML standard, section 9.2; JSON text has no line breaks.
pub(super) fn event(document: &[u8]) -> Bytes {
    [b"event: status\ndata: ", document, b"\n\n"].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn at_most_one_event_a_second_and_none_for_nobody() {
        let hub = Hub::new(2);
        let state = State::default();
        hub.publish(&state);
        let mut reader = hub.subscribe().unwrap();
        for _ in 0..10 {
            hub.publish(&state);
        }
        let event = reader.try_recv().unwrap();
        assert!(event.starts_with(b"event: status\ndata: {") && event.ends_with(b"}\n\n"));
        assert!(reader.try_recv().is_err(), "once");
        tokio::time::advance(EVENTS_APART).await;
        hub.publish(&state);
        assert!(reader.try_recv().is_ok(), "a second later again");
    }

    #[tokio::test(start_paused = true)]
    async fn one_who_does_not_read_is_dropped_and_counted_and_others_are_not() {
        let hub = Hub::new(2);
        let state = State::default();
        let mut slow = hub.subscribe().unwrap();
        let mut quick = hub.subscribe().unwrap();
        assert!(hub.subscribe().is_none(), "both places are taken");
        for missed in 0..=MISSED_MAX + 1 {
            assert_eq!(hub.streams(), 2, "{missed} events missed");
            hub.publish(&state);
            assert!(quick.try_recv().is_ok());
            tokio::time::advance(EVENTS_APART).await;
        }
        assert_eq!((hub.streams(), hub.dropped()), (1, 1));
        assert!(slow.try_recv().is_ok(), "what it had not taken");
        assert!(slow.recv().await.is_none(), "and then the end");
        assert!(hub.subscribe().is_some(), "its place is free again");
        drop(quick);
        assert_eq!(hub.streams(), 0);
    }
}
