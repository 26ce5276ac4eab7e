//! A real spool on its thread, doing what a courier asks for, as the agent's loop has it done.

use std::path::Path;

use bytes::Bytes;
use outrider::core::courier::{Fetched, Held, RecordName, Request};
use outrider::shell::clock;
use spool::{
    BootMs, Files, Options, Pace, RecordId, Session, Spool, SpoolHandle, SpoolThread, StreamPolicy,
    StreamTag,
};
use tokio::sync::{mpsc, oneshot};

/// Bytes on disk that the spool may take.
const BUDGET_BYTES: u64 = 1 << 30;

/// The spool and its streams, by their places at the courier.
pub struct Queue {
    thread: SpoolThread<Files>,
    tags: Vec<StreamTag>,
    answers: mpsc::UnboundedSender<Fetched>,
}

fn boot_ms() -> BootMs {
    BootMs(clock::now().mono.millis())
}

impl Queue {
    /// Opens the spool in `folder` for the start of an agent that is named by `epoch`. What is fetched comes out of the channel.
    pub async fn open(
        folder: &Path,
        epoch: u32,
        streams: &[&'static str],
    ) -> (Queue, mpsc::UnboundedReceiver<Fetched>) {
        let options = Options { budget_bytes: BUDGET_BYTES, ..Options::default() };
        let session = Session { boot_id: [1; 16], epoch, spool_id: 1 };
        let storage = Files::new(folder.join("spool"));
        let thread =
            SpoolThread::start(storage, options, session, Pace::default(), boot_ms, |_| {})
                .unwrap();
        let (answers, answered) = mpsc::unbounded_channel();
        let mut queue = Queue { thread, tags: Vec::new(), answers };
        let names = streams.to_vec();
        let define = move |spool: &mut Spool<Files>, _| -> Vec<StreamTag> {
            names.iter().map(|name| spool.define(name, StreamPolicy::default()).unwrap()).collect()
        };
        queue.tags = queue.ask(define).await;
        (queue, answered)
    }

    /// Does something with the spool on its thread and waits for what comes of it.
    pub async fn ask<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Spool<Files>, BootMs) -> T + Send + 'static,
    ) -> T {
        let (done, answer) = oneshot::channel();
        let run = move |spool: &mut Spool<Files>, now| drop(done.send(job(spool, now)));
        self.handle().run(run).unwrap();
        answer.await.unwrap()
    }

    /// The tag of a stream.
    pub fn tag(&self, stream: usize) -> StreamTag {
        self.tags[stream]
    }

    /// Hands a request of the courier to the thread. Messages are not for it.
    pub fn perform(&self, request: Request) {
        let answers = self.answers.clone();
        let done = match request {
            Request::Fetch { stream, round, bytes, records } => {
                let tag = self.tags[usize::from(stream.0)];
                self.handle().run(move |spool, now| {
                    let (records, more) = hand_out(spool, tag, now, bytes, records);
                    let _ = answers.send(Fetched { stream, round, records, more });
                })
            }
            Request::Acknowledge { stream, records } => {
                let stream = self.tags[usize::from(stream.0)];
                self.handle().run(move |spool, now| {
                    for RecordName { epoch, sequence } in records {
                        let _ = spool.acknowledge(RecordId { stream, sequence, epoch }, now);
                    }
                })
            }
            Request::Rewind => self.handle().run(|spool, _| spool.rewind()),
            Request::Publish(..) => return,
        };
        done.unwrap();
    }

    fn handle(&self) -> SpoolHandle<Files> {
        self.thread.handle()
    }
}

/// The next records, and whether there are more: those that the spool does not hand out yet count, too.
fn hand_out(
    spool: &mut Spool<Files>,
    tag: StreamTag,
    now: BootMs,
    bytes: usize,
    records: usize,
) -> (Vec<Held>, bool) {
    let mut handed = Vec::new();
    let mut size = 0;
    while size < bytes && handed.len() < records {
        let Some(delivery) = spool.next_of(tag, now) else {
            let report = spool.report(now);
            let stream = report.streams.iter().find(|stream| stream.tag == tag).unwrap();
            return (handed, stream.held.records > stream.handed_out);
        };
        size += delivery.payload.len();
        let RecordId { epoch, sequence, .. } = delivery.id;
        let stored = Bytes::from(delivery.payload);
        handed.push(Held { name: RecordName { epoch, sequence }, stored });
    }
    (handed, true)
}
