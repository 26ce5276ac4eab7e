//! What the agent itself says goes through the spool, and is readable wherever it ends up.

use std::collections::BTreeSet;
use std::fs::File;
use std::process::Command;

use outrider::core::telemetry::document::{BIRTH_TYPE, EventDocument, FRAME_TYPE};
use outrider::core::telemetry::{Birth, Dictionary, frame};

use crate::broker::{Broker, mosquitto_sub};
use crate::command;
use crate::ended::Ended;
use crate::program::{Agent, Start, until};
use crate::{config, gather, noise};

/// Telemetry that soon makes a batch.
const QUICK: &str = "sample = \"1s\"\nbatch = \"2s\"\n";

/// Two lives of an agent without a broker: history and events of both arrive when there is one, each batch behind the birth
/// document that it is read with, and the broker holds the birth document of the life that is connected.
#[test]
fn telemetry_and_events_of_earlier_lives_arrive_and_are_readable() {
    let mut broker = Broker::open();
    broker.kill();
    let settings = config(broker.port, &format!("{QUICK}[delivery]\norder = \"backlog-first\"\n"));
    let accepted = |count| {
        move |status: &outrider::core::status::Status| {
            let of = |name: &str| {
                let streams = &status.spool.streams;
                let found = streams.iter().find(|stream| stream.name == name);
                found.map_or(0, |stream| stream.accepted_records - stream.unsynced_records)
            };
            of("telemetry") >= count && of("events") >= 1
        }
    };
    let mut agent = Agent::start(&settings);
    agent.until("it remembers", accepted(3));
    let folder = agent.kill_and_keep();
    let mut agent = Start { folder, ..Start::plain() }.run(&settings);
    agent.until("it remembers more", accepted(6));

    broker.start();
    let command = command::Command::listen(broker.port);
    let epochs =
        || -> BTreeSet<u32> { command.of("telemetry").iter().map(|record| record.epoch).collect() };
    until("telemetry of both lives", || epochs().len() >= 2);
    let records = command.until("telemetry", 6);
    let mut known: Vec<Dictionary> = Vec::new();
    let mut batches = 0;
    for record in &records {
        match record.content_type.as_deref() {
            Some(BIRTH_TYPE) => {
                let birth: Birth = serde_json::from_slice(&record.payload).unwrap();
                assert_eq!(birth.vehicle, "hawk");
                known.push(Dictionary::from_entries(birth.series).unwrap());
            }
            Some(FRAME_TYPE) => {
                let batch = frame::decode(&record.payload).unwrap();
                let readable = known.iter().any(|known| known.contains(batch.dictionary));
                assert!(readable, "a batch without its birth document");
                batches += 1;
            }
            other => panic!("{other:?} in the telemetry stream"),
        }
    }
    assert!(batches >= 3, "{batches} batches");

    let kinds = || -> Vec<String> {
        let events = command.of("events");
        let documents = events.iter().map(|record| serde_json::from_slice(&record.payload));
        documents.map(|document: Result<EventDocument, _>| document.unwrap().event.kind).collect()
    };
    until("that the broker was away", || kinds().contains(&"broker-away".to_owned()));
    let retained = mosquitto_sub(broker.port, "fleet/hawk/birth", 1, 60);
    assert!(retained[0].starts_with("fleet/hawk/birth {"), "{retained:?}");
    let sent = agent.stop();
    assert!(!sent.contains("are lost"), "{sent}");
    // The last word is said while there is a connection.
    until("that it stops", || kinds().contains(&"stopping".to_owned()));
    assert_eq!(kinds().last().unwrap(), "stopping");
}

/// A spool that another process has takes nothing: events and telemetry leave as if there were none.
#[test]
fn without_its_spool_the_agent_speaks_from_memory() {
    let broker = Broker::open();
    let mut first = Agent::start(&config(broker.port, ""));
    first.until("it has the spool", |status| status.spool.open);
    let spool = first.path("spool");
    let settings = config(broker.port, &format!("{QUICK}format = \"json\"\n"))
        .replace("{folder}/spool", spool.to_str().unwrap())
        .replace("\"hawk\"", "\"crow\"");
    let mut second = Agent::start(&settings);
    second.until("it knows", |status| status.spool.error.is_some());
    let told = mosquitto_sub(broker.port, "fleet/crow/telemetry", 1, 60);
    assert_eq!(told.len(), 1, "{}", second.log());
}

/// `outrider decode` reads telemetry, events and records of others that come out of a spool.
#[test]
fn decode_reads_what_leaves_a_spool() {
    let broker = Broker::open();
    let mut agent = Agent::start(&config(broker.port, QUICK));
    agent.until("it is connected", |status| status.mqtt.state.connected && status.spool.open);
    let address = format!("127.0.0.1:{}", broker.port);
    let printed = agent.path("printed");
    let mut decode = Ended(
        Command::new(env!("CARGO_BIN_EXE_outrider"))
            .args(["decode", "--connect", &address, "--topic", "fleet/#"])
            .stdout(File::create(&printed).unwrap())
            .stderr(File::create(agent.path("complaints")).unwrap())
            .spawn()
            .unwrap(),
    );
    let has = |what: &str| std::fs::read_to_string(&printed).unwrap().contains(what);
    until("it is subscribed", || has("\"type\":\"birth\""));
    gather(agent.folder.path(), "gps", br#"{"lat":1.5}"#);
    gather(agent.folder.path(), "alarm", &noise(1, 40));
    for what in [
        r#""type":"tick","vehicle":"hawk""#,
        r#"{"type":"record","vehicle":"hawk","stream":"gps""#,
        r#""json":{"lat":1.5}}"#,
        r#""base64":""#,
    ] {
        until(what, || has(what));
    }
    let complaints = std::fs::read_to_string(agent.path("complaints")).unwrap();
    assert_eq!(complaints, "");
    decode.0.kill().unwrap();
    agent.stop();
}
