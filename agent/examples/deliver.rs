//! Measures how fast a full spool is delivered to a broker: `deliver HOST PORT SECONDS [BYTES]` gathers records of BYTES bytes
//! (1000) that cannot be compressed, in a spool in a folder of its own, delivers them as long as it may, and prints one line a
//! second and one at the end. The loop is the agent's own, without everything else: connection, courier, and the spool on its
//! thread.
//!
//! `cargo run --release -p outrider --example deliver -- 127.0.0.1 1883 20`

#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on ends")]

use std::time::Duration;

use bytes::Bytes;
use outrider::config::MqttProtocol;
use outrider::core::courier::{
    Courier, Fetched, Held, Order, RecordName, Request, Settings, StreamSetup,
};
use outrider::core::pacing::{Budget, DayCount, Limits, Urgency};
use outrider::core::presence::{Speaker, Topics};
use outrider::core::record::{Stamp, stored};
use outrider::core::time::Mono;
use outrider::shell::mqtt::Publisher;
use outrider::shell::{clock, mqtt};
use spool::{
    BootMs, Files, Options, Pace, RecordId, Session, SpoolHandle, SpoolThread, StreamPolicy,
    StreamTag,
};
use tokio::sync::mpsc;

/// Records that are gathered beforehand, in bytes; more follow while it runs.
const BACKLOG_BYTES: usize = 48 << 20;

/// Memory of the window.
const WINDOW_BYTES: u64 = 1 << 20;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [host, port, seconds, rest @ ..] = arguments.as_slice() else {
        eprintln!("usage: deliver HOST PORT SECONDS [BYTES]");
        std::process::exit(2);
    };
    let bytes = rest.first().map_or(1000, |bytes| bytes.parse().unwrap());
    let seconds = Duration::from_secs(seconds.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(deliver(host, port.parse().unwrap(), seconds, bytes));
}

fn boot_ms() -> BootMs {
    BootMs(clock::now().mono.millis())
}

struct Queue {
    handle: SpoolHandle<Files>,
    tag: StreamTag,
    answers: mpsc::UnboundedSender<Fetched>,
}

impl Queue {
    /// Does on the spool's thread what the courier asks for.
    fn perform(&self, request: Request) {
        let (tag, answers) = (self.tag, self.answers.clone());
        let done = match request {
            Request::Fetch { stream, round, bytes, records } => {
                self.handle.run(move |spool, now| {
                    let mut handed = Vec::new();
                    let mut size = 0;
                    let mut more = true;
                    while size < bytes && handed.len() < records {
                        let Some(delivery) = spool.next_of(tag, now) else {
                            let report = spool.report(now);
                            let stream =
                                report.streams.iter().find(|stream| stream.tag == tag).unwrap();
                            more = stream.held.records > stream.handed_out;
                            break;
                        };
                        size += delivery.payload.len();
                        let RecordId { epoch, sequence, .. } = delivery.id;
                        let name = RecordName { epoch, sequence };
                        handed.push(Held { name, stored: Bytes::from(delivery.payload) });
                    }
                    let _ = answers.send(Fetched { stream, round, records: handed, more });
                })
            }
            Request::Acknowledge { records, .. } => self.handle.run(move |spool, now| {
                for RecordName { epoch, sequence } in records {
                    let _ = spool.acknowledge(RecordId { stream: tag, sequence, epoch }, now);
                }
            }),
            Request::Rewind => self.handle.run(|spool, _| spool.rewind()),
            Request::Publish(..) => return,
        };
        done.unwrap();
    }
}

async fn deliver(host: &str, port: u16, seconds: Duration, bytes: usize) {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { budget_bytes: 256 << 20, ..Options::default() };
    let session = Session { boot_id: [1; 16], epoch: 1, spool_id: 1 };
    let storage = Files::new(folder.path().join("spool"));
    let thread =
        SpoolThread::start(storage, options, session, Pace::default(), boot_ms, |_| {}).unwrap();
    let (answers, mut answered) = mpsc::unbounded_channel();
    let (tags, mut tag) = mpsc::unbounded_channel();
    let count = BACKLOG_BYTES / bytes;
    let filled = thread.handle().run(move |spool, now| {
        let tag = spool.define("measured", StreamPolicy::default()).unwrap();
        let mut noise = 0x9e37_79b9_7f4a_7c15_u64;
        let mut payload = vec![0; bytes];
        for number in 0..count {
            for byte in &mut payload {
                noise ^= noise << 13;
                noise ^= noise >> 7;
                noise ^= noise << 17;
                *byte = (noise >> 32) as u8;
            }
            let _ = spool.append(tag, stored::store(&Stamp::default(), None, &payload), now);
            if number % 256 == 0 {
                spool.commit(now);
            }
        }
        spool.commit(now);
        tags.send(tag).unwrap();
    });
    filled.unwrap();
    let tag = tag.recv().await.unwrap();
    let queue = Queue { handle: thread.handle(), tag, answers };

    let setup = StreamSetup {
        name: "measured".into(),
        urgency: Urgency::Normal,
        weight: 1,
        hold_above: None,
        order: Order::BacklogFirst,
    };
    let now = || clock::now().mono;
    let budget = Budget::new(Limits::default(), DayCount::default(), now());
    let settings = Settings { memory_bytes: WINDOW_BYTES };
    let mut courier =
        Courier::new(vec![setup], Topics::new("outrider", "measured"), settings, budget);

    let (_client, mut events) =
        mqtt::publish(broker(host, port), Speaker::default(), "measured/status".to_owned());
    let mut link: Option<mqtt::Link> = None;
    let mut slots = 0;
    let mut began: Option<Mono> = None;
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    let mut before = 0;
    loop {
        tokio::select! {
            _ = tick.tick() => {
                if let Some(flow) = courier.flow() {
                    let sent = sent_bytes(&courier);
                    println!("{:>7} kB/s handed over, {:>7} B in flight of {:>7}, shortest trip {:?}, deviation {:?}, goodput {:?}",
                        (sent - before) / 1000, flow.in_flight(), flow.window_bytes(),
                        flow.shortest_trip(), flow.trips().deviation(), flow.goodput());
                    before = sent;
                }
                if began.is_some_and(|began| now().since(began) >= seconds) {
                    break;
                }
            }
            Some(fetched) = answered.recv() => courier.fetched(fetched),
            event = events.recv() => match event.unwrap() {
                mqtt::Event::Connected { link: new, in_flight_max, packet_bytes_max, .. } => {
                    (link, slots) = (Some(new), usize::from(in_flight_max));
                    courier.connected(in_flight_max, packet_bytes_max, now());
                    began = began.or(Some(now()));
                }
                mqtt::Event::Acknowledged(id) => {
                    // The status document has no id of its own and is not reported.
                    courier.acknowledged(id, now());
                }
                mqtt::Event::Refused { id, cause, reason } => {
                    println!("{reason}");
                    courier.refused(id, cause, now());
                }
                mqtt::Event::Disconnected { reason, .. } => {
                    println!("{reason}");
                    link = None;
                    courier.disconnected();
                }
            },
        }
        let free = if link.is_some() { slots - courier.in_flight() } else { 0 };
        for request in courier.work(now(), free) {
            match (request, &mut link) {
                (Request::Publish(id, record), Some(link)) => drop(link.submit(id, record)),
                (request, _) => queue.perform(request),
            }
        }
    }
    let took = now().since(began.unwrap());
    let delivered = sent_bytes(&courier) - courier.in_flight_bytes();
    let per_s = delivered as f64 / took.as_secs_f64();
    println!("{delivered} bytes acknowledged in {took:?}: {per_s:.0} bytes/s");
}

fn sent_bytes(courier: &Courier) -> u64 {
    courier.streams().map(|(_, counts)| counts.bytes).sum()
}

fn broker(host: &str, port: u16) -> mqtt::Settings {
    mqtt::Settings {
        host: host.to_owned(),
        port,
        protocol: MqttProtocol::Auto,
        client_id: "deliver".to_owned(),
        username: None,
        password_file: None,
        tls: None,
        keep_alive: Duration::from_secs(30),
        in_flight: 20,
        timing: mqtt::Timing::default(),
    }
}
