//! A tiny, obvious queue beside the real one: generated actions are done to both, and after each step both must say the same.
//! The model has no bounds, so the workloads stay below them; bounds are the crash tests' business.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;
use spool::simulated::{Left, Simulated};
use spool::{
    Acknowledgement, BootMs, Delivery, Fate, Options, RecordId, Session, Spool, StreamPolicy,
    StreamTag,
};

const EXPIRE_MS: u64 = 10_000;

#[derive(Clone, Debug)]
enum Action {
    Append {
        stream: usize,
        size: usize,
    },
    Commit,
    Next,
    /// Of what was handed out, or of a name that nobody was given.
    Acknowledge(usize),
    Rewind,
    Wait(u64),
    Close,
    PowerCut,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        10 => (0..3_usize, 0..3000_usize).prop_map(|(stream, size)| Action::Append { stream, size }),
        3 => Just(Action::Commit),
        8 => Just(Action::Next),
        8 => (0..12_usize).prop_map(Action::Acknowledge),
        1 => Just(Action::Rewind),
        2 => (1..4000_u64).prop_map(Action::Wait),
        1 => Just(Action::Close),
        1 => Just(Action::PowerCut),
    ]
}

fn policies() -> [(&'static str, StreamPolicy); 3] {
    let plain = StreamPolicy::default();
    [
        ("urgent", StreamPolicy { priority: 0, ..plain }),
        ("fleeting", StreamPolicy { priority: 1, expire_ms: EXPIRE_MS, ..plain }),
        ("each", StreamPolicy { priority: 2, sync: true, ..plain }),
    ]
}

#[derive(Clone, Debug)]
struct Item {
    id: RecordId,
    payload: Vec<u8>,
    at_ms: u64,
    out: bool,
}

#[derive(Clone, Debug, Default)]
struct ModelStream {
    items: VecDeque<Item>,
    next: u64,
    acknowledged: u64,
    expired: u64,
}

/// The obvious queue.
#[derive(Clone, Debug, Default)]
struct Model {
    streams: Vec<ModelStream>,
}

impl Model {
    fn next(&mut self, now: u64, tags: &[StreamTag]) -> Option<(RecordId, Vec<u8>, u64)> {
        for (stream, tag) in self.streams.iter_mut().zip(tags) {
            let expires = *tag == tags[1];
            while let Some(at) = stream.items.iter().position(|item| !item.out) {
                let age = now - stream.items[at].at_ms;
                if expires && age > EXPIRE_MS {
                    stream.items.remove(at);
                    stream.expired += 1;
                    continue;
                }
                stream.items[at].out = true;
                let item = &stream.items[at];
                return Some((item.id, item.payload.clone(), age));
            }
        }
        None
    }

    fn acknowledge(&mut self, stream: usize, id: RecordId) -> bool {
        let stream = &mut self.streams[stream];
        let at = stream.items.iter().position(|item| item.id == id && item.out);
        at.map(|at| stream.items.remove(at)).is_some_and(|_| {
            stream.acknowledged += 1;
            true
        })
    }
}

struct Pair {
    disk: Simulated,
    spool: Option<Spool<Simulated>>,
    tags: Vec<StreamTag>,
    model: Model,
    /// The model as it was when everything was durable.
    durable: Model,
    epoch: u32,
    now: u64,
}

impl Pair {
    fn new() -> Pair {
        let streams = vec![ModelStream { next: 1, ..ModelStream::default() }; 3];
        let model = Model { streams };
        let mut pair = Pair {
            disk: Simulated::new(),
            spool: None,
            tags: Vec::new(),
            durable: model.clone(),
            model,
            epoch: 0,
            now: 1,
        };
        pair.open();
        pair
    }

    fn open(&mut self) {
        self.epoch += 1;
        let session = Session { boot_id: [4; 16], epoch: self.epoch, spool_id: 3 };
        let options = Options::default();
        let mut spool = Spool::open(self.disk.clone(), options, session, BootMs(self.now)).unwrap();
        self.tags =
            policies().iter().map(|(name, policy)| spool.define(name, *policy).unwrap()).collect();
        self.spool = Some(spool);
        for stream in &mut self.model.streams {
            stream.items.iter_mut().for_each(|item| item.out = false);
        }
    }

    fn act(&mut self, action: &Action) {
        let now = BootMs(self.now);
        let spool = self.spool.as_mut().unwrap();
        match action {
            Action::Append { stream, size } => {
                let payload = vec![self.model.streams[*stream].next as u8; *size];
                let accepted = spool.append(self.tags[*stream], payload.clone(), now).unwrap();
                let state = &mut self.model.streams[*stream];
                let id = RecordId {
                    stream: self.tags[*stream],
                    sequence: state.next,
                    epoch: self.epoch,
                };
                assert_eq!(accepted.id, id);
                state.next += 1;
                state.items.push_back(Item { id, payload, at_ms: self.now, out: false });
                assert_eq!(accepted.durable, *stream == 2);
                if accepted.durable {
                    self.durable = self.model.clone();
                }
            }
            Action::Commit => {
                spool.commit(now);
                self.durable = self.model.clone();
            }
            Action::Next => {
                let real = spool.next(now);
                let model = self.model.next(self.now, &self.tags);
                let model = model.map(|(id, payload, age_ms)| Delivery { id, payload, age_ms });
                assert_eq!(real, model);
            }
            Action::Acknowledge(at) => {
                let items = self.model.streams.iter().enumerate();
                let all: Vec<(usize, RecordId)> = items
                    .flat_map(|(n, stream)| stream.items.iter().map(move |item| (n, item.id)))
                    .collect();
                if all.is_empty() {
                    return;
                }
                let (stream, id) = all[at % all.len()];
                let model = self.model.acknowledge(stream, id);
                let real = spool.acknowledge(id, now);
                let expected =
                    if model { Acknowledgement::Freed } else { Acknowledgement::Unknown };
                assert_eq!(real, expected);
                if model {
                    assert_ne!(spool.acknowledge(id, now), Acknowledgement::Freed, "twice");
                }
            }
            Action::Rewind => {
                spool.rewind();
                let items = self.model.streams.iter_mut().flat_map(|stream| &mut stream.items);
                items.for_each(|item| item.out = false);
            }
            Action::Wait(ms) => self.now += ms,
            Action::Close => {
                let (_, left) = self.spool.take().unwrap().close(now);
                assert_eq!(left, 0);
                self.durable = self.model.clone();
                self.disk.release_lock();
                self.open();
            }
            Action::PowerCut => {
                self.spool = None;
                self.disk.restart(Left::Nothing);
                self.model = self.durable.clone();
                self.open();
            }
        }
    }

    fn compare(&mut self) {
        let report = self.spool.as_mut().unwrap().report(BootMs(self.now));
        let real: BTreeMap<StreamTag, _> =
            report.streams.iter().map(|stream| (stream.tag, stream)).collect();
        for (model, tag) in self.model.streams.iter().zip(&self.tags) {
            let real = real[tag];
            let bytes: u64 = model.items.iter().map(|item| item.payload.len() as u64).sum();
            assert_eq!(real.held.records, model.items.len() as u64);
            assert_eq!(real.held.bytes, bytes);
            assert_eq!(real.next_sequence, model.next);
            assert_eq!(real.counts.get(Fate::Acknowledged).records, model.acknowledged);
            assert_eq!(real.counts.get(Fate::Expired).records, model.expired);
            assert_eq!(real.counts.get(Fate::Lost).records, 0);
            let oldest = model.items.front().map(|item| self.now - item.at_ms);
            assert_eq!(real.oldest_age_ms.is_some(), oldest.is_some());
            assert!(real.oldest_age_ms >= oldest, "{:?} {oldest:?}", real.oldest_age_ms);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_spool_does_what_an_obvious_queue_does(
        actions in proptest::collection::vec(action(), 1..150),
    ) {
        let mut pair = Pair::new();
        for action in &actions {
            pair.act(action);
            pair.compare();
        }
    }
}
