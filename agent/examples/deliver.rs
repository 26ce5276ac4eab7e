//! Measures how fast a full spool is delivered to a broker: `deliver HOST PORT SECONDS [BYTES [MIB]]` gathers MIB (48) MiB of
//! records of BYTES (1000) bytes that cannot be compressed, in a spool in a folder of its own, delivers them until none is left
//! or the time is over, and prints one line a second and one at the end. The loop is the agent's own, without everything
//! else: connection, courier, and the spool on its thread.
//!
//! `cargo run --release -p outrider --example deliver -- 127.0.0.1 1883 20`

#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on ends")]

#[path = "../tests/delivery/queue.rs"]
mod queue;

use std::time::Duration;

use outrider::config::MqttProtocol;
use outrider::core::courier::{Courier, Order, Request, Settings, StreamSetup};
use outrider::core::pacing::{Budget, DayCount, Limits, Urgency};
use outrider::core::presence::{Speaker, Topics};
use outrider::core::record::{Stamp, stored};
use outrider::core::time::Mono;
use outrider::shell::mqtt::Publisher;
use outrider::shell::{clock, mqtt};
use queue::Queue;

/// Memory of the window.
const WINDOW_BYTES: u64 = 1 << 20;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [host, port, seconds, rest @ ..] = arguments.as_slice() else {
        eprintln!("usage: deliver HOST PORT SECONDS [BYTES [MIB]]");
        std::process::exit(2);
    };
    let bytes = rest.first().map_or(1000, |bytes| bytes.parse().unwrap());
    let backlog = rest.get(1).map_or(48, |mib| mib.parse().unwrap()) << 20;
    let seconds = Duration::from_secs(seconds.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(deliver(host, port.parse().unwrap(), seconds, [bytes, backlog]));
}

async fn deliver(host: &str, port: u16, seconds: Duration, [bytes, backlog]: [usize; 2]) {
    let folder = tempfile::tempdir().unwrap();
    let (queue, mut fetched) = Queue::open(folder.path(), 1, &["measured"]).await;
    let tag = queue.tag(0);
    let fill = move |spool: &mut spool::Spool<_>, now| {
        let mut noise = 0x9e37_79b9_7f4a_7c15_u64;
        let mut payload = vec![0; bytes];
        for number in 0..backlog / bytes {
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
    };
    queue.ask(fill).await;

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
    let mut acknowledged_at = now();
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    let mut before = 0;
    loop {
        tokio::select! {
            _ = tick.tick() => {
                if let Some(flow) = courier.flow() {
                    let sent = sent_bytes(&courier);
                    println!(
                        "{:>7} kB/s handed over, {:>7} B in flight of {:>7}, shortest trip {:?}, \
                         deviation {:?}, goodput {:?}",
                        (sent - before) / 1000,
                        flow.in_flight(),
                        flow.window_bytes(),
                        flow.shortest_trip(),
                        flow.trips().deviation(),
                        flow.goodput()
                    );
                    before = sent;
                }
                let over = began.is_some_and(|began| now().since(began) >= seconds);
                let records: u64 = courier.streams().map(|(_, counts)| counts.acknowledged).sum();
                if over || records == (backlog / bytes) as u64 {
                    break;
                }
            }
            Some(fetched) = fetched.recv() => courier.fetched(fetched),
            event = events.recv() => match event.unwrap() {
                mqtt::Event::Connected { link: new, in_flight_max, packet_bytes_max, .. } => {
                    (link, slots) = (Some(new), usize::from(in_flight_max));
                    courier.connected(in_flight_max, packet_bytes_max, now());
                    began = began.or(Some(now()));
                }
                mqtt::Event::Acknowledged(id) => {
                    courier.acknowledged(id, now());
                    acknowledged_at = now();
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
    let took = acknowledged_at.since(began.unwrap());
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
