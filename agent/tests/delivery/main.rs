//! Connection, courier and spool together, to a real broker over a way that keeps breaking: everything arrives, once, in order,
//! and leaves the spool.

#![allow(clippy::unwrap_used, reason = "tests; the helpers among them are not marked as such")]

#[allow(dead_code, reason = "shared with the tests of the MQTT client")]
#[path = "../mqtt/broker.rs"]
mod broker;
#[path = "../fixture/noise.rs"]
mod noise;
mod queue;
mod way;

use std::path::Path;
use std::time::Duration;

use broker::Broker;
use bytes::Bytes;
use noise::noise;
use outrider::config::MqttProtocol;
use outrider::core::backoff::Policy;
use outrider::core::courier::{Courier, Order, Request, Settings, StreamSetup};
use outrider::core::pacing::{Budget, DayCount, Limits, Urgency};
use outrider::core::presence::{Speaker, Topics, stream_of_topic};
use outrider::core::record::assemble::{Received, Receiver};
use outrider::core::record::{self, Stamp, stored};
use outrider::shell::mqtt::{self, Notice, Publisher};
use outrider::shell::{clock, mqtt::Subscription};
use queue::Queue;
use tokio::time::timeout;
use way::Way;

/// Nothing here takes long; on a machine that does much else it may.
const PATIENCE: Duration = Duration::from_secs(120);

const STREAMS: [&str; 2] = ["gps", "alarm"];

/// Records of the first stream: small ones, and one in forty that no packet of the broker holds.
const RECORDS: usize = 400;

/// Largest packet of the broker.
const PACKET_BYTES_MAX: usize = 5_000;

fn settings(port: u16, client_id: &str) -> mqtt::Settings {
    let wait = |ms| Duration::from_millis(ms);
    let backoff = Policy { first: wait(5), max: wait(20), stable: Duration::from_secs(60) };
    mqtt::Settings {
        host: "127.0.0.1".to_owned(),
        port,
        protocol: MqttProtocol::V5,
        client_id: client_id.to_owned(),
        username: None,
        password_file: None,
        tls: None,
        keep_alive: Duration::from_secs(30),
        in_flight: 12,
        timing: mqtt::Timing { backoff, ..mqtt::Timing::default() },
    }
}

fn payload(number: usize) -> Vec<u8> {
    let length = if number % 40 == 7 { 3 * PACKET_BYTES_MAX } else { 20 + number % 300 };
    // So that sizes are what they look like.
    noise(number, length)
}

fn setups() -> Vec<StreamSetup> {
    let setup = |name: &str, urgency| StreamSetup {
        name: name.into(),
        urgency,
        weight: 1,
        hold_above: None,
        order: Order::BacklogFirst,
    };
    vec![setup(STREAMS[0], Urgency::Normal), setup(STREAMS[1], Urgency::Event)]
}

/// One life of the agent: delivers until nothing is held or `stop_after` messages were acknowledged. The records held then.
async fn live(folder: &Path, epoch: u32, port: u16, stop_after: usize) -> u64 {
    let now = || clock::now().mono;
    let (queue, mut fetched) = Queue::open(folder, epoch, &STREAMS).await;
    let budget = Budget::new(Limits::default(), DayCount::default(), now());
    let memory = Settings { memory_bytes: 64 * 1024 };
    let mut courier = Courier::new(setups(), Topics::new("fleet", "hawk"), memory, budget);
    let (_client, mut events) =
        mqtt::publish(settings(port, "hawk"), Speaker::default(), "fleet/hawk/status".to_owned());
    let mut link = None;
    let (mut slots, mut acknowledged) = (0, 0);
    loop {
        tokio::select! {
            Some(fetched) = fetched.recv() => courier.fetched(fetched),
            event = events.recv() => match event.unwrap() {
                mqtt::Event::Connected { link: new, in_flight_max, packet_bytes_max, .. } => {
                    (link, slots) = (Some(new), usize::from(in_flight_max));
                    courier.connected(in_flight_max, packet_bytes_max, now());
                }
                mqtt::Event::Acknowledged(id) => {
                    acknowledged += usize::from(courier.acknowledged(id, now()));
                }
                mqtt::Event::Refused { reason, .. } => panic!("{reason}"),
                mqtt::Event::Disconnected { .. } => {
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
        let idle = courier.in_flight() == 0 && courier.fetched_bytes() == 0;
        if idle || acknowledged >= stop_after {
            let report = queue.ask(|spool, now| spool.report(now)).await;
            let held = report.streams.iter().map(|stream| stream.held.records).sum();
            if held == 0 || acknowledged >= stop_after {
                return held;
            }
        }
    }
}

/// Takes what arrives until `count` records are here.
async fn receive(mut subscription: Subscription, count: usize) -> Vec<(String, Received)> {
    let mut receiver = Receiver::new(1 << 20);
    let mut records = Vec::new();
    while records.len() < count {
        let Some(Notice::Message(message)) = subscription.next().await else {
            panic!("the subscriber's own way does not break")
        };
        let (vehicle, stream) = stream_of_topic(&message.topic).unwrap();
        assert_eq!(vehicle, "hawk");
        assert!(message.payload.len() + message.topic.len() <= PACKET_BYTES_MAX);
        let decoded = record::decode(&message.payload).unwrap();
        let received = receiver.take(vehicle, stream, decoded);
        records.extend(received.into_iter().map(|record| (stream.to_owned(), record)));
    }
    let repeats: u64 = receiver.dedup().counts().map(|(_, _, counts)| counts.repeats).sum();
    assert!(repeats > 0, "the way broke, so something came again");
    records
}

#[tokio::test]
async fn everything_arrives_once_over_a_way_that_keeps_breaking() {
    let settings_of_broker = format!(
        "allow_anonymous true\nmax_packet_size {PACKET_BYTES_MAX}\nmax_inflight_messages 12\n"
    );
    let broker = Broker::with(&settings_of_broker);
    let way = Way::open(broker.port).await;
    let folder = tempfile::tempdir().unwrap();
    let mut subscription =
        mqtt::subscribe(settings(broker.port, "command"), "fleet/+/stream/+".to_owned());
    assert_eq!(subscription.next().await, Some(Notice::Subscribed));
    let arriving = tokio::spawn(receive(subscription, RECORDS + 1));

    let (queue, _) = Queue::open(folder.path(), 1, &STREAMS).await;
    let (gps, alarm) = (queue.tag(0), queue.tag(1));
    let gather = move |spool: &mut spool::Spool<_>, now| {
        let store = |number| stored::store(&Stamp::default(), None, &payload(number));
        for number in 0..RECORDS {
            let _ = spool.append(gps, store(number), now).unwrap();
        }
        let _ = spool.append(alarm, store(RECORDS), now).unwrap();
        spool.commit(now);
    };
    queue.ask(gather).await;
    drop(queue);

    // Three lives: the first two end in the middle.
    for (epoch, stop_after, ends) in [(2, 10, false), (3, 10, false), (4, usize::MAX, true)] {
        let life = live(folder.path(), epoch, way.port, stop_after);
        let held = timeout(PATIENCE, life).await.expect("it is delivered in time");
        assert_eq!(held == 0, ends, "{held} held after life {epoch}");
    }
    let records = timeout(PATIENCE, arriving).await.expect("it arrives in time").unwrap();
    assert!(way.broken() > 3, "the way broke {} times", way.broken());

    let of = |name: &str| -> Vec<&Received> {
        records.iter().filter(|(stream, _)| stream == name).map(|(_, record)| record).collect()
    };
    let [alarms, positions] = [of("alarm"), of("gps")];
    assert_eq!(alarms.len(), 1);
    assert_eq!(records[0].0, "alarm", "the event goes first although it came last");
    assert_eq!(positions.len(), RECORDS);
    let first = positions[0].sequence;
    for ((record, number), sequence) in positions.iter().zip(0..).zip(first..) {
        assert_eq!(record.sequence, sequence, "in the order of gathering");
        assert_eq!(record.payload, Bytes::from(payload(number)));
        assert_eq!(record.epoch, 1, "the name is that of the start that gathered it");
    }
}
