//! A real spool on its thread, doing what a courier asks for, as the agent's loop has it done.

use std::path::Path;

use outrider::core::agent::{Input, Order, carry_out};
use outrider::core::courier::{Fetched, Request, StreamId};
use outrider::shell::clock;
use spool::{
    BootMs, Files, Options, Pace, Session, Spool, SpoolHandle, SpoolThread, StreamPolicy, StreamTag,
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
        let tag = |stream: StreamId| self.tags[usize::from(stream.0)];
        let order = match request {
            Request::Fetch { stream, round, bytes, records } => {
                Order::Fetch { stream: tag(stream), id: stream, round, bytes, records }
            }
            Request::Acknowledge { stream, records } => {
                Order::Acknowledge { stream: tag(stream), records }
            }
            Request::Rewind(stream) => Order::Rewind(tag(stream)),
            Request::Publish(..) => return,
        };
        let answers = self.answers.clone();
        let job = move |spool: &mut Spool<Files>, now| {
            if let Some(Input::Fetched(fetched)) = carry_out(spool, order, now) {
                let _ = answers.send(fetched);
            }
        };
        self.handle().run(job).unwrap();
    }

    fn handle(&self) -> SpoolHandle<Files> {
        self.thread.handle()
    }
}
