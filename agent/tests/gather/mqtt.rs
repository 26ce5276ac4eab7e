//! `[[gather.mqtt]]` with a real mosquitto: nothing that was published with QoS 1 is missing, whoever is killed.

use std::collections::BTreeSet;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::broker::Broker;
use crate::program::{Agent, Start};
use crate::{SPOOL, kept};

fn publish(broker: &Broker, topic: &str, payload: &str, more: &[&str]) {
    let status = Command::new("mosquitto_pub")
        .args(["-h", "127.0.0.1", "-p", &broker.port.to_string(), "-q", "1", "-t", topic])
        .args(["-m", payload])
        .args(more)
        .status()
        .unwrap_or_else(|error| panic!("{error}; install it: apt-get install mosquitto-clients"));
    assert!(status.success());
}

/// One that says in its log who subscribes to what.
fn talkative() -> Broker {
    Broker::with("allow_anonymous true\nlog_type all\n")
}

fn config(broker: &Broker) -> String {
    format!(
        "{SPOOL}[[gather.mqtt]]\nfilter = \"sensors/#\"\nstream = \"sensors\"\nport = {}\n",
        broker.port
    )
}

fn held(agent: &mut Agent, records: u64) {
    agent.until("the records are there", |status| {
        let stream = status.spool.streams.iter().find(|stream| stream.name == "sensors");
        stream.is_some_and(|stream| stream.held_records >= records && stream.unsynced_records == 0)
    });
}

/// The broker knows the subscription: whatever is published from here on is for the agent.
fn subscribed(broker: &Broker, agent: &mut Agent) {
    agent.until("the subscription", |_| broker.log().contains("sensors/# (QoS 1)"));
}

#[test]
fn what_is_published_is_kept_with_its_topic_and_nothing_is_missed_across_a_kill() {
    let broker = talkative();
    publish(&broker, "sensors/old", "retained before", &["-r"]);
    let mut agent = Agent::start(&config(&broker));
    subscribed(&broker, &mut agent);
    let mut expected = BTreeSet::new();
    for n in 0..20 {
        publish(&broker, &format!("sensors/temp {}", n % 3), &format!("value {n}"), &[]);
        expected.insert(format!("value {n}"));
    }
    publish(&broker, "other/topic", "not to be gathered", &[]);
    held(&mut agent, 20);
    agent.signal(Signal::SIGKILL);
    agent.wait();
    // While nobody is there the broker keeps what comes.
    for n in 20..40 {
        publish(&broker, "sensors/meanwhile", &format!("value {n}"), &[]);
        expected.insert(format!("value {n}"));
    }
    let folder = std::mem::replace(&mut agent.folder, tempfile::tempdir().unwrap());
    let mut agent = Start { folder, ..Start::plain() }.run(&config(&broker));
    held(&mut agent, 40);
    let large = "x".repeat(100_000);
    publish(&broker, "sensors/large", &large, &[]);
    held(&mut agent, 41);
    let folder = agent.stop_and_keep();
    let kept = kept::all(&folder.path().join("spool"));
    let payloads: Vec<String> = kept::payloads(&kept, "sensors")
        .into_iter()
        .map(|payload| String::from_utf8(payload).unwrap())
        .collect();
    let found: BTreeSet<String> =
        payloads.iter().filter(|payload| payload.starts_with("value ")).cloned().collect();
    assert_eq!(found, expected);
    assert!(payloads.contains(&large));
    let unwanted = ["retained before", "not to be gathered"];
    assert!(!payloads.iter().any(|payload| unwanted.contains(&payload.as_str())));
    let topics: BTreeSet<&str> =
        kept.values().filter_map(|stored| stored.content_type.as_deref()).collect();
    assert!(topics.contains("application/mqtt; topic=\"sensors/temp 1\""), "{topics:?}");
}

/// The broker's copy is the only one that survives here: it must not have been told that it can go.
#[test]
fn the_broker_keeps_what_is_not_safe_yet() {
    let broker = talkative();
    let mut agent = Agent::start(&config(&broker));
    subscribed(&broker, &mut agent);
    std::fs::remove_dir_all(agent.path("spool")).unwrap();
    for n in 0..5 {
        publish(&broker, "sensors/risky", &format!("risky {n}"), &[]);
    }
    agent.until("the disk takes nothing", |status| status.spool.degraded);
    agent.signal(Signal::SIGKILL);
    agent.wait();
    let folder = std::mem::replace(&mut agent.folder, tempfile::tempdir().unwrap());
    let mut agent = Start { folder, ..Start::plain() }.run(&config(&broker));
    held(&mut agent, 5);
    let folder = agent.stop_and_keep();
    let kept = kept::all(&folder.path().join("spool"));
    let found: BTreeSet<Vec<u8>> = kept::payloads(&kept, "sensors").into_iter().collect();
    for n in 0..5 {
        assert!(found.contains(format!("risky {n}").as_bytes()), "{n} of {found:?}");
    }
}

#[test]
fn a_broker_that_comes_late_and_goes_away_is_waited_for() {
    let mut broker = talkative();
    broker.kill();
    let mut agent = Agent::start(&config(&broker));
    agent.until("it says that the broker is away", |status| {
        status.events.iter().any(|event| event.event.kind == "gather-mqtt")
    });
    broker.start();
    subscribed(&broker, &mut agent);
    publish(&broker, "sensors/late", "at last", &[]);
    held(&mut agent, 1);
    agent.stop();
}
