//! Kills and broken connections.

use bytes::Bytes;
use nix::sys::signal::Signal;

use crate::broker::Broker;
use crate::command::Command;
use crate::program::{Agent, Start};
use crate::way::Way;
use crate::{Background, config, gather, held, noise};

/// Largest packet of the broker; one record in ten does not fit into one.
const PACKET_BYTES_MAX: usize = 5_000;

const RECORDS: usize = 120;

fn payload(number: usize) -> Vec<u8> {
    let length = if number % 10 == 7 { 3 * PACKET_BYTES_MAX } else { 20 + number % 300 };
    noise(number, length)
}

/// A vehicle gathers without a broker, is killed, gathers on, meets a broker over a way that breaks, is killed three times
/// while it delivers, and everything arrives once, in order, under the name that it was gathered with.
#[test]
fn everything_arrives_once_over_kills_and_broken_ways() {
    let settings = format!(
        "allow_anonymous true\nmax_packet_size {PACKET_BYTES_MAX}\nmax_inflight_messages 12\n"
    );
    let broker = Broker::with(&settings);
    let command = Command::listen(broker.port);
    let port = broker.port;
    let (_open, way) = Background::start(move |ready| async move {
        let _ = ready.send(Way::open(port).await);
        std::future::pending().await
    });
    // Until then the vehicle's broker is a port where nobody listens.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = nobody.local_addr().unwrap().port();
    drop(nobody);

    let mut agent = Agent::start(&config(closed, ""));
    agent.until("the spool is open", |status| status.spool.open);
    for number in 0..RECORDS / 2 {
        gather(agent.folder.path(), "gps", &payload(number));
    }
    let folder = agent.kill_and_keep();
    let mut agent = Start { folder, ..Start::plain() }.run(&config(closed, ""));
    agent.until("the spool is open again", |status| status.spool.open);
    for number in RECORDS / 2..RECORDS {
        gather(agent.folder.path(), "gps", &payload(number));
    }
    gather(agent.folder.path(), "alarm", b"fire");
    let mut folder = agent.kill_and_keep();

    for (life, acknowledged) in [1, 3, 10].into_iter().enumerate() {
        let mut agent = Start { folder, ..Start::plain() }.run(&config(way.port, ""));
        agent.until("it delivers", |status| {
            let gps = status.spool.streams.iter().find(|stream| stream.name == "gps");
            gps.is_some_and(|gps| gps.delivery.acknowledged >= acknowledged)
        });
        assert!(agent.status().is_some(), "life {life}");
        folder = agent.kill_and_keep();
    }
    let mut agent = Start { folder, ..Start::plain() }.run(&config(broker.port, ""));
    agent.until("all is delivered", |status| {
        status.spool.open && ["gps", "alarm"].iter().all(|stream| held(status, stream) == 0)
    });

    let positions = command.until("gps", RECORDS);
    let alarms = command.until("alarm", 1);
    assert_eq!((positions.len(), alarms.len()), (RECORDS, 1));
    assert!(way.broken() > 0, "the way broke {} times", way.broken());
    let epochs = [positions[0].epoch, positions[RECORDS - 1].epoch];
    for (number, record) in positions.iter().enumerate() {
        assert_eq!(record.payload, Bytes::from(payload(number)), "in the order of gathering");
        assert_eq!(record.sequence, number as u64 + 1);
        assert_eq!(record.epoch, epochs[number / (RECORDS / 2)], "named by who gathered it");
    }
    assert_ne!(epochs[0], epochs[1]);
    let gps = agent.status().unwrap().spool.streams;
    assert!(gps.iter().all(|stream| stream.dropped.is_empty()), "{gps:?}");
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.wait().code(), Some(0));
}

/// A broker that hangs holds up neither who gathers nor, once it lives, who waits for the records.
#[test]
fn a_broker_that_hangs_holds_up_nobody_who_gathers() {
    let broker = Broker::open();
    let command = Command::listen(broker.port);
    let mut agent = Agent::start(&config(broker.port, ""));
    agent.until("it is connected", |status| status.mqtt.state.connected && status.spool.open);
    gather(agent.folder.path(), "gps", b"before");
    command.until("gps", 1);

    broker.freeze();
    for number in 0..60 {
        gather(agent.folder.path(), "gps", &noise(number, 50_000));
    }
    let status = agent.until("most of it waits", |status| held(status, "gps") > 40);
    assert!(status.delivery.in_flight_bytes <= 1 << 20, "{:?}", status.delivery);
    broker.thaw();
    let all = command.until("gps", 61);
    for (number, record) in all[1..].iter().enumerate() {
        assert_eq!(record.payload, Bytes::from(noise(number, 50_000)));
    }
    agent.until("all is delivered", |status| held(status, "gps") == 0);
}
