//! Measures what the MQTT connection costs in memory: a process that does nothing else publishes 3 KiB a second over TLS to
//! a real mosquitto and prints its own resident memory before, during, and after the broker has been away.
//!
//! `cargo run --release --example mqtt-memory` needs the Debian package `mosquitto` and takes half a minute.
#![allow(clippy::unwrap_used, reason = "a measurement that cannot be made may stop")]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use outrider::config::MqttProtocol;
use outrider::core::delivery::{Class, Limits};
use outrider::core::outbox::{Outbox, Record};
use outrider::core::presence::Speaker;
use outrider::core::time::Mono;
use outrider::shell::mqtt::{self, Event, Link, Publisher, Settings, Timing};
use outrider::shell::tls::Files;

#[path = "../tests/mqtt/authority.rs"]
#[allow(dead_code, reason = "shared with the tests, which use all of it")]
mod authority;
#[path = "../tests/mqtt/broker.rs"]
#[allow(dead_code, reason = "shared with the tests, which use all of it")]
mod broker;

/// Records a second and their size: more than a vehicle at 1 Hz produces in a minute.
const PERIOD: Duration = Duration::from_secs(1);
const PAYLOAD_BYTES: usize = 3 * 1024;

/// The default of `mqtt.queue_bytes`.
const QUEUE_BYTES: usize = 1024 * 1024;

fn main() {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next(), arguments.next()) {
        (Some(port), Some(ca)) => {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(publish(port.parse().unwrap(), PathBuf::from(ca)));
        }
        _ => watch(),
    }
}

/// Starts broker and publisher, takes the broker away for a while, and passes on what the publisher prints.
fn watch() {
    let folder = tempfile::tempdir().unwrap();
    let authority = authority::Authority::new("Convoy");
    let ca = authority.write(folder.path(), "ca");
    authority.issue(folder.path(), "server", &["127.0.0.1"], authority::Validity::Now);
    let listener =
        "allow_anonymous true\ncertfile {folder}/server.pem\nkeyfile {folder}/server.key\n";
    let mut broker = broker::Broker::within(folder, listener);

    let mut publisher = Command::new(std::env::current_exe().unwrap())
        .arg(broker.port.to_string())
        .arg(ca)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(publisher.stdout.take().unwrap()).lines();
    for (second, line) in lines.map_while(Result::ok).enumerate() {
        println!("{line}");
        match second {
            10 => broker.kill(),
            20 => broker.start(),
            30 => break,
            _ => {}
        }
    }
    publisher.kill().unwrap();
    publisher.wait().unwrap();
}

async fn publish(port: u16, ca: PathBuf) {
    println!("start: {}", memory());
    let settings = Settings {
        host: "127.0.0.1".to_owned(),
        port,
        protocol: MqttProtocol::Auto,
        client_id: "memory".to_owned(),
        username: None,
        password_file: None,
        tls: Some(Files { ca: Some(ca), certificate: None, key: None }),
        keep_alive: Duration::from_secs(30),
        in_flight: 16,
        timing: Timing::default(),
    };
    let mut outbox = Outbox::new(Limits { bytes: QUEUE_BYTES, in_flight: settings.in_flight });
    let (_client, mut events) =
        mqtt::publish(settings, Speaker::default(), "memory/status".to_owned());
    let mut link: Option<Link> = None;
    let mut tick = tokio::time::interval(PERIOD);
    loop {
        tokio::select! {
            _ = tick.tick() => {
                let payload = vec![0x55; PAYLOAD_BYTES].into();
                let record = Record { topic: Arc::from("memory/telemetry"), payload, retain: false };
                outbox.enqueue(Mono::default(), Class::Telemetry, record);
                let connected = if link.is_some() { "connected" } else { "away" };
                println!("{connected}, {} held: {}", outbox.window().records(), memory());
            }
            event = events.recv() => match event.unwrap() {
                Event::Connected { link: new, in_flight_max, .. } => {
                    link = Some(new);
                    outbox.connected(in_flight_max);
                }
                Event::Acknowledged(id) => {
                    outbox.acknowledged(id);
                }
                Event::Refused { id, cause, .. } => {
                    outbox.refused(id, cause);
                }
                Event::Disconnected { .. } => {
                    link = None;
                    outbox.connection_lost();
                }
            },
        }
        let Some(link) = &mut link else { continue };
        while let Some((id, record)) = outbox.next_to_send() {
            if link.submit(id, record).is_err() {
                break;
            }
        }
    }
}

/// Resident memory of this process as the kernel counts it, and its threads.
fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let wanted = ["VmHWM", "VmRSS", "RssAnon", "Threads"];
    let found = status.lines().filter(|line| wanted.iter().any(|name| line.starts_with(name)));
    found.map(|line| line.replace('\t', " ")).collect::<Vec<_>>().join(", ")
}
