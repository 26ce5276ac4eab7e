//! Brokers: a real one receives what can be decoded again, and each kind of trouble with it is
//! named while the mesh and the vehicle are read on.

use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;
use outrider::core::presence::{OfflineCause, Presence, Status as PresenceDocument};
use outrider::core::status::Status;
use outrider::core::telemetry::dictionary::Dictionary;
use outrider::core::telemetry::document::{Birth, Telemetry};
use outrider::core::telemetry::frame;

use crate::authority::{Authority, Validity};
use crate::broker::{Broker, mosquitto_sub, password_file};
use crate::double::{Double, Manner};
use crate::program::{Agent, has_event, until};
use crate::routing::Routing;

/// A configuration that reads `routing` and sends a batch every second to the broker on `port`.
pub fn config(routing: &Routing, port: u16, more: &str) -> String {
    format!(
        "{}[http]\nlisten = \"off\"\n[mqtt]\nhost = \"127.0.0.1\"\nport = {port}\n\
         batch = \"1s\"\n{more}",
        routing.config()
    )
}

fn connected(status: &Status) -> bool {
    status.mqtt.state.connected
}

/// Records that were dropped for good: a birth document that a later one replaces is none.
pub fn lost(status: &Status) -> u64 {
    let dropped = status.mqtt.state.dropped.iter();
    dropped.filter(|(cause, _)| *cause != "birth-superseded").map(|(_, count)| count).sum()
}

/// mosquitto's own subscriber, which writes `topic hex` lines into a file; killed when dropped.
struct Subscriber {
    child: Child,
    lines: tempfile::NamedTempFile,
}

impl Subscriber {
    fn start(broker: &Broker) -> Subscriber {
        let lines = tempfile::NamedTempFile::new().unwrap();
        let child = Command::new("mosquitto_sub")
            .args(["-h", "127.0.0.1", "-p", &broker.port.to_string(), "-q", "1"])
            .args(["-t", "outrider/#", "-F", "%t %x"])
            .stdout(Stdio::from(lines.reopen().unwrap()))
            .spawn()
            .unwrap();
        Subscriber { child, lines }
    }

    /// Payloads that arrived on `topic`.
    fn payloads(&self, topic: &str) -> Vec<Vec<u8>> {
        let text = std::fs::read_to_string(self.lines.path()).unwrap();
        let complete = text.rsplit_once('\n').map_or("", |(complete, _)| complete);
        complete
            .lines()
            .filter_map(|line| line.strip_prefix(topic)?.strip_prefix(' '))
            .map(|hex| {
                let digits: Vec<&str> =
                    (0..hex.len()).step_by(2).map(|at| &hex[at..at + 2]).collect();
                digits.iter().map(|digits| u8::from_str_radix(digits, 16).unwrap()).collect()
            })
            .collect()
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The retained status document.
fn presence(broker: &Broker) -> PresenceDocument {
    let lines = mosquitto_sub(broker.port, "outrider/a/status", 1, 60);
    serde_json::from_str(lines[0].strip_prefix("outrider/a/status ").unwrap()).unwrap()
}

#[test]
fn what_arrives_can_be_decoded_with_the_birth_document() {
    let (routing, broker) = (Routing::healthy(), Broker::open());
    let subscriber = Subscriber::start(&broker);
    let mut agent = Agent::start(&config(&routing, broker.port, ""));
    agent.until("it delivered something", |status| status.mqtt.state.acknowledged >= 4);
    let with_cost = || {
        let births = subscriber.payloads("outrider/a/birth");
        let births = births.iter().map(|birth| serde_json::from_slice::<Birth>(birth).unwrap());
        let dictionaries: Vec<Dictionary> =
            births.map(|birth| Dictionary::from_entries(birth.series).unwrap()).collect();
        subscriber.payloads("outrider/a/telemetry").iter().find_map(|payload| {
            let batch = frame::decode(payload).unwrap();
            // Births are sent before the frames that need them; the broker keeps that order.
            let dictionary = dictionaries.iter().find(|known| known.contains(batch.dictionary));
            let readable = Telemetry::new("a", &batch, dictionary.unwrap()).unwrap();
            readable.series.contains_key("olsr_network_cost{node=\"e\"}").then_some(readable)
        })
    };
    until("a batch has the cost of vehicle e", || with_cost().is_some());
    let readable = with_cost().unwrap();
    let costs = &readable.series["olsr_network_cost{node=\"e\"}"];
    assert!(costs.iter().flatten().all(|cost| cost.as_i64() == Some(300)), "{costs:?}");
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let plain = |id: &str| id.trim().replace('-', "");
    assert_eq!(plain(&readable.boot_id), plain(&boot));
    assert_eq!(presence(&broker).status, Presence::Online);
    agent.stop();
    let left = presence(&broker);
    assert_eq!((left.status, left.cause), (Presence::Offline, Some(OfflineCause::Stopped)));
    // That it stops, if nothing else.
    until("an event", || !subscriber.payloads("outrider/a/event").is_empty());
}

#[test]
fn a_killed_agent_leaves_its_last_will() {
    let (routing, broker) = (Routing::healthy(), Broker::open());
    let mut agent = Agent::start(&config(&routing, broker.port, ""));
    agent.until("it is connected", connected);
    agent.signal(Signal::SIGKILL);
    agent.wait();
    until("the broker published the will", || {
        presence(&broker).cause == Some(OfflineCause::ConnectionLost)
    });
}

#[test]
fn a_broker_that_restarts_is_found_again_and_nothing_is_lost() {
    let (routing, mut broker) = (Routing::healthy(), Broker::open());
    let mut agent = Agent::start(&config(&routing, broker.port, ""));
    agent.until("it delivered something", |status| status.mqtt.state.acknowledged >= 3);
    broker.kill();
    let away = agent.until("it missed the broker", |status| !connected(status));
    assert!(away.mqtt.state.error.is_some());
    assert!(has_event(&away, "broker-away", ""), "{:#?}", away.events);
    agent.until_more_polls(2);
    agent.until("records wait", |status| status.mqtt.state.queued >= 2);
    broker.start();
    let back = agent.until("everything is delivered", |status| {
        connected(status) && status.mqtt.state.acknowledged > away.mqtt.state.acknowledged + 3
    });
    assert_eq!(back.mqtt.state.connects, 2);
    assert_eq!(lost(&back), 0, "{:?}", back.mqtt);
    agent.stop();
}

/// Starts with a broker that never lets the agent work, which has to be said with all of `words`;
/// the mesh is read on, the agent stays healthy (a broker may be away for a while) and ends at once
/// when it is told to.
fn no_broker(port: u16, more: &str, words: &[&str]) {
    let routing = Routing::healthy();
    let mut agent = Agent::start(&config(&routing, port, more));
    let status = agent.until("the trouble is named", |status| {
        let error = status.mqtt.state.error.as_deref().unwrap_or_default();
        words.iter().all(|word| error.contains(word))
    });
    assert!(!connected(&status));
    assert!(has_event(&status, "broker-away", ""), "{:#?}", status.events);
    agent.until_more_polls(2);
    assert_eq!(agent.metric("olsr_network_cost{node=\"e\"}"), Some(300.0));
    assert_eq!(agent.get("/healthz").code, 200);
    let log = agent.stop();
    assert!(log.contains(" WARN ") && log.contains("broker-away"), "{log}");
}

#[test]
fn refusing_credentials() {
    let folder = tempfile::tempdir().unwrap();
    password_file(folder.path(), "a", "open sesame");
    let broker = Broker::within(folder, "allow_anonymous false\npassword_file {folder}/users\n");
    let password = broker.folder.path().join("password");
    std::fs::write(&password, "closed sesame\n").unwrap();
    let more = format!("username = \"a\"\npassword_file = \"{}\"\n", password.display());
    no_broker(broker.port, &more, &["credentials", "mqtt.password_file"]);
}

/// A broker with TLS whose authority the agent knows as `trusted`, and the keys for it.
fn tls(validity: Validity, right_authority: bool) -> (Broker, String) {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("Convoy");
    authority.issue(folder.path(), "server", &["127.0.0.1"], validity);
    let known = if right_authority { authority } else { Authority::new("Somebody else") };
    let ca = known.write(folder.path(), "trusted");
    let broker = Broker::within(
        folder,
        "allow_anonymous true\ncertfile {folder}/server.pem\nkeyfile {folder}/server.key\n",
    );
    (broker, format!("tls = true\nca_file = \"{}\"\n", ca.display()))
}

#[test]
fn the_wrong_authority() {
    let (broker, keys) = tls(Validity::Now, false);
    no_broker(broker.port, &keys, &["not signed by the authority", "mqtt.ca_file"]);
}

#[test]
fn an_expired_certificate() {
    let (broker, keys) = tls(Validity::Past, true);
    no_broker(broker.port, &keys, &["expired on 2021-01-01"]);
}

#[test]
fn the_right_authority_lets_records_through() {
    let (broker, keys) = tls(Validity::Now, true);
    let routing = Routing::healthy();
    let mut agent = Agent::start(&config(&routing, broker.port, &keys));
    agent.until("it delivered something", |status| status.mqtt.state.acknowledged >= 3);
    agent.stop();
}

/// A stand-in for a broker that misbehaves as no mosquitto can be made to, on a thread of its own
/// that ends with the test.
fn double(manner: Manner) -> u16 {
    let (told, port) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let double = Double::start(manner).await;
            told.send(double.port).unwrap();
            std::future::pending::<()>().await;
        });
    });
    port.recv().unwrap()
}

#[test]
fn closing_after_its_connack() {
    let port = double(Manner::Kicks);
    let routing = Routing::healthy();
    let mut agent = Agent::start(&config(&routing, port, ""));
    let status = agent.until("it was let in and thrown out twice", |status| {
        status.mqtt.state.connects >= 2 && status.mqtt.state.error.is_some()
    });
    assert_eq!(status.mqtt.state.acknowledged, 0);
    assert!(has_event(&status, "broker-away", ""), "{:#?}", status.events);
    agent.until_more_polls(2);
    let log = agent.stop();
    // Coming and going is told at most every ten seconds each.
    assert!(log.matches("broker-away").count() <= 4, "{log}");
}

#[test]
fn accepting_nothing() {
    let routing = Routing::healthy();
    let mut agent = Agent::start(&config(&routing, double(Manner::NeverAcknowledges), ""));
    let status = agent.until("records wait for their acknowledgement", |status| {
        connected(status) && status.mqtt.state.queued >= 4
    });
    assert_eq!(status.mqtt.state.acknowledged, 0);
    agent.until_more_polls(2);
    let log = agent.stop();
    assert!(log.contains("were not acknowledged by the broker and are lost"), "{log}");
}

#[test]
fn saying_nothing_at_all() {
    // The kernel takes connections for a stopped process.
    let broker = Broker::open();
    broker.freeze();
    let routing = Routing::healthy();
    let mut agent = Agent::start(&config(&routing, broker.port, ""));
    agent.until_more_polls(3);
    let status = agent.status().unwrap();
    assert!(!connected(&status) && status.mqtt.state.queued > 0, "{:?}", status.mqtt);
    broker.thaw();
    agent.until("the thawed broker took everything", |status| status.mqtt.state.acknowledged >= 3);
    agent.stop();
}
