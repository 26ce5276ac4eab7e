//! The MQTT client against real mosquitto brokers, and against stand-ins where a broker has to misbehave as mosquitto
//! cannot be made to. Everything is on loopback, on ports that the kernel chose.
#![allow(clippy::unwrap_used, reason = "tests; the helpers among them are not marked as such")]

mod authority;
mod broker;
mod double;
mod vehicle;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use authority::{Authority, Validity};
use broker::{Broker, mosquitto_sub, password_file};
use double::{Double, Manner};
use outrider::config::MqttProtocol;
use outrider::core::presence::{OfflineCause, Presence, Status};
use outrider::shell::mqtt::{self, Notice, Protocol, Settings};
use outrider::shell::tls::Files;
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::timeout;
use vehicle::{PATIENCE, Vehicle, next_message, settings, subscribed};

fn number(payload: &[u8]) -> u32 {
    std::str::from_utf8(payload).unwrap().parse().unwrap()
}

fn status(payload: &[u8]) -> Status {
    serde_json::from_slice(payload).unwrap()
}

#[tokio::test]
async fn both_versions_publish_and_keep_the_status() {
    let broker = Broker::open();
    for (choice, protocol) in
        [(MqttProtocol::V5, Protocol::V5), (MqttProtocol::V311, Protocol::V311)]
    {
        let mut vehicle =
            Vehicle::start(Settings { protocol: choice, ..settings(broker.port, "hawk") });
        vehicle.enqueue("fleet/hawk/birth", protocol.name(), true);
        vehicle.until_delivered().await;
        assert_eq!(vehicle.protocols, [protocol]);

        // A subscriber of others' making that comes later finds what is retained.
        let mut kept = mosquitto_sub(broker.port, "fleet/hawk/#", 2, 30);
        kept.sort();
        assert_eq!(kept[0], format!("fleet/hawk/birth {}", protocol.name()));
        let online = status(kept[1].strip_prefix("fleet/hawk/status ").unwrap().as_bytes());
        assert_eq!((online.status, online.cause, online.connection), (Presence::Online, None, 1));

        vehicle.stop().await;
        let kept = mosquitto_sub(broker.port, "fleet/hawk/status", 1, 30);
        let offline = status(kept[0].strip_prefix("fleet/hawk/status ").unwrap().as_bytes());
        assert_eq!(offline.cause, Some(OfflineCause::Stopped));
    }
}

/// Set for the process that [`the_last_will_is_published_when_the_process_is_killed`] kills: its broker's port.
const TO_BE_KILLED: &str = "OUTRIDER_TEST_VEHICLE_TO_BE_KILLED";

#[tokio::test]
async fn the_last_will_is_published_when_the_process_is_killed() {
    if let Ok(port) = std::env::var(TO_BE_KILLED) {
        let mut vehicle = Vehicle::start(settings(port.parse().unwrap(), "hawk"));
        // Ends by itself when nobody kills it, since after a while nothing happens any more.
        loop {
            vehicle.step().await;
        }
    }

    let broker = Broker::open();
    let mut watcher = subscribed(settings(broker.port, "watcher"), "fleet/+/status").await;
    let mut process = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_last_will_is_published_when_the_process_is_killed"])
        .env(TO_BE_KILLED, broker.port.to_string())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let online = status(&next_message(&mut watcher).await.payload);
    process.kill().unwrap();
    process.wait().unwrap();
    assert_eq!((online.status, online.boot_id.as_str()), (Presence::Online, "boot"));
    let will = status(&next_message(&mut watcher).await.payload);
    assert_eq!((will.status, will.cause), (Presence::Offline, Some(OfflineCause::ConnectionLost)));
    assert_eq!(will.connection, online.connection);
}

#[tokio::test]
async fn dropping_the_client_is_no_goodbye() {
    let broker = Broker::open();
    let mut vehicle = Vehicle::start(settings(broker.port, "hawk"));
    vehicle.enqueue("fleet/hawk/birth", "who", true);
    vehicle.until_delivered().await;
    let mut watcher = subscribed(settings(broker.port, "watcher"), "fleet/hawk/status").await;
    assert_eq!(status(&next_message(&mut watcher).await.payload).status, Presence::Online);
    drop(vehicle);
    let will = status(&next_message(&mut watcher).await.payload);
    assert_eq!(will.cause, Some(OfflineCause::ConnectionLost));
}

#[tokio::test]
async fn a_broker_of_the_old_version_is_found_out_and_remembered() {
    let broker = Broker::open();
    let refusing = Double::start(Manner::Only311 { broker: broker.port }).await;
    let mut vehicle = Vehicle::start(settings(refusing.port, "hawk"));
    vehicle.enqueue("fleet/hawk/telemetry", "1", false);
    vehicle.until_delivered().await;
    assert_eq!(vehicle.protocols, [Protocol::V311]);
    assert_eq!((refusing.connections(), vehicle.reasons.len()), (2, 0), "no wait in between");

    let mut broker = broker;
    broker.kill();
    vehicle.until(|vehicle| !vehicle.reasons.is_empty()).await;
    broker.start();
    vehicle.until(|vehicle| vehicle.protocols.len() == 2).await;
    assert_eq!(vehicle.protocols, [Protocol::V311; 2]);

    let mut stubborn =
        Vehicle::start(Settings { protocol: MqttProtocol::V5, ..settings(refusing.port, "kite") });
    stubborn.until_reason(&["does not speak MQTT 5", "mqtt.protocol"]).await;
}

#[tokio::test]
async fn a_broker_that_hangs_up_on_version_5_gets_the_old_one() {
    let broker = Broker::open();
    let mute = Double::start(Manner::Only311Mute { broker: broker.port }).await;
    let mut vehicle = Vehicle::start(settings(mute.port, "hawk"));
    vehicle.until_connected().await;
    assert_eq!(vehicle.protocols, [Protocol::V311]);
    assert!(vehicle.reasons[0].contains("instead of answering"), "{:?}", vehicle.reasons);
}

#[tokio::test]
async fn nothing_is_lost_when_the_broker_dies_again_and_again() {
    const RECORDS: u32 = 300;
    // The broker must not hold back for the watcher what it has acknowledged to the vehicle: it forgets that in death.
    let mut broker = Broker::with("allow_anonymous true\nmax_inflight_messages 0\n");
    let mut watcher = mqtt::subscribe(settings(broker.port, "watcher"), "stream/#".to_owned());
    let (sink, mut received) = unbounded_channel();
    let (ready, mut subscriptions) = unbounded_channel();
    let reader = tokio::spawn(async move {
        loop {
            match watcher.next().await.unwrap() {
                Notice::Subscribed => ready.send(()).unwrap(),
                Notice::Message(message) => sink.send(number(&message.payload)).unwrap(),
                Notice::Disconnected { .. } => {}
            }
        }
    });
    let mut vehicle = Vehicle::start(settings(broker.port, "hawk"));

    // Each record has a retained topic of its own: what arrives after a restart, before the watcher is back, waits for it.
    // The next death waits for the watcher too.
    for deaths in 1..=3 {
        timeout(PATIENCE, subscriptions.recv()).await.expect("a subscription within a minute");
        for record in (deaths - 1) * 100..deaths * 100 {
            vehicle.enqueue(&format!("stream/{record}"), record.to_string(), true);
        }
        let half = (deaths - 1) as usize * 100 + 50;
        vehicle.until(|vehicle| vehicle.acknowledged.len() >= half).await;
        broker.kill();
        broker.start();
    }
    vehicle.until_delivered().await;
    let mut seen = BTreeSet::new();
    while seen.len() < RECORDS as usize {
        let next = timeout(PATIENCE, received.recv()).await;
        seen.insert(next.unwrap_or_else(|_| panic!("only {seen:?} arrived")).unwrap());
    }
    reader.abort();

    assert_eq!(vehicle.acknowledged.len(), RECORDS as usize);
    assert!(vehicle.acknowledged.values().all(|count| *count == 1));
    assert_eq!(vehicle.outbox.window().dropped_total().count(), 0);
    assert!(vehicle.reasons.len() >= 3, "{:?}", vehicle.reasons);
}

#[tokio::test]
async fn while_the_broker_is_away_the_newest_are_kept_and_the_rest_is_counted() {
    const QUEUE_BYTES: usize = 64 * 1024;
    let mut broker = Broker::open();
    broker.kill();
    let mut vehicle = Vehicle::with_queue(settings(broker.port, "hawk"), QUEUE_BYTES);
    for record in 0..1000 {
        vehicle.enqueue("stream/t", format!("{record:0>1000}"), false);
        assert!(vehicle.outbox.window().bytes() <= QUEUE_BYTES);
    }
    vehicle.until_reason(&["Connection refused", "mqtt.port"]).await;
    let held = vehicle.outbox.window().records();
    let (_, _, dropped) = vehicle.outbox.window().dropped_total().next().unwrap();
    assert_eq!(dropped + held as u64, 1000);

    broker.start();
    let mut watcher = subscribed(settings(broker.port, "watcher"), "stream/#").await;
    // The queue is full: one more displaces one more. Nothing has left yet, since only `until` hands records over.
    vehicle.enqueue("stream/t", format!("{:0>1000}", 1000), false);
    vehicle.until_delivered().await;
    let mut seen = Vec::new();
    while seen.last() != Some(&1000) {
        seen.push(number(&next_message(&mut watcher).await.payload));
    }
    let held = u32::try_from(held).unwrap();
    assert_eq!(seen, (1001 - held..=1000).collect::<Vec<_>>());
    assert_eq!(vehicle.acknowledged.len(), seen.len());
}

#[tokio::test]
async fn a_frozen_broker_is_noticed_and_gets_everything_once_it_thaws() {
    let broker = Broker::open();
    let mut settings = settings(broker.port, "hawk");
    settings.keep_alive = Duration::from_secs(2);
    settings.timing.answer = Duration::from_secs(2);
    let mut vehicle = Vehicle::start(settings);
    vehicle.until_connected().await;
    vehicle.enqueue("stream/t", "0", false);
    vehicle.until_delivered().await;

    broker.freeze();
    // More than the kernel's buffers hold: writing must stall as well.
    for record in 1..=50 {
        vehicle.enqueue("stream/t", format!("{record:0>20000}"), false);
    }
    vehicle.until_reason(&["has not sent anything", "hangs"]).await;
    // The kernel still accepts connections for it.
    vehicle.until_reason(&["accepted the connection but did not answer MQTT"]).await;
    broker.thaw();
    vehicle.until_delivered().await;
    assert_eq!(vehicle.acknowledged.len(), 51);
}

#[tokio::test]
async fn a_broker_that_accepts_and_kicks_is_tried_ever_more_slowly() {
    let kicking = Double::start(Manner::Kicks).await;
    let mut vehicle = Vehicle::start(settings(kicking.port, "hawk"));
    vehicle.until(|vehicle| vehicle.waits.len() == 5).await;
    assert!(vehicle.reasons[0].contains("right after accepting"), "{:?}", vehicle.reasons);
    let longest = [40, 80, 160, 300, 300].map(Duration::from_millis);
    for (wait, longest) in vehicle.waits.iter().zip(longest) {
        assert!(*wait <= longest && *wait >= longest / 2, "{:?}", vehicle.waits);
    }
    assert!(kicking.connections() <= 6);
}

#[tokio::test]
async fn what_does_not_answer_or_is_no_broker_is_named() {
    let silent = Double::start(Manner::Silent).await;
    let mut patient = settings(silent.port, "hawk");
    patient.timing.answer = Duration::from_millis(300);
    Vehicle::start(patient).until_reason(&["did not answer MQTT", "hangs"]).await;

    let web = Double::start(Manner::Web).await;
    Vehicle::start(settings(web.port, "hawk"))
        .until_reason(&["does not speak MQTT", "mqtt.port"])
        .await;
}

#[tokio::test]
async fn a_broker_that_never_acknowledges_is_left() {
    let idle = Double::start(Manner::NeverAcknowledges).await;
    let mut settings = settings(idle.port, "hawk");
    settings.keep_alive = Duration::from_secs(1);
    settings.timing.acknowledge = Duration::from_secs(5);
    let mut vehicle = Vehicle::start(settings);
    vehicle.enqueue("stream/t", "0", false);
    vehicle.until_reason(&["answers pings", "not acknowledged"]).await;
    assert_eq!(vehicle.outbox.window().records(), 1);
}

/// One place in flight after the other would be taken up for ever.
#[tokio::test]
async fn a_broker_that_forgets_a_record_while_it_takes_others_is_left() {
    let forgetful = Double::start(Manner::Forgets(b"forget me")).await;
    let mut settings = settings(forgetful.port, "hawk");
    settings.timing.acknowledge = Duration::from_secs(2);
    let mut vehicle = Vehicle::start(settings);
    vehicle.enqueue("stream/t", "forget me", false);
    vehicle.until_connected().await;
    let told = |vehicle: &Vehicle| vehicle.reasons.iter().any(|why| why.contains("forgotten"));
    while !told(&vehicle) {
        tokio::time::sleep(Duration::from_millis(20)).await;
        vehicle.enqueue("stream/t", "take me", false);
        vehicle.step().await;
    }
    vehicle.until_connected().await;
    assert!(forgetful.connections() >= 2 && vehicle.outbox.window().records() >= 1);
}

#[tokio::test]
async fn a_wrong_password_is_named_and_a_corrected_file_is_enough() {
    let folder = tempfile::tempdir().unwrap();
    password_file(folder.path(), "hawk", "open sesame");
    let broker = Broker::within(folder, "allow_anonymous false\npassword_file {folder}/users\n");
    let password = broker.folder.path().join("password");
    std::fs::write(&password, "closed sesame\n").unwrap();

    let anonymous = settings(broker.port, "kite");
    Vehicle::start(anonymous).until_reason(&["credentials", "no user name is set"]).await;

    let mut vehicle = Vehicle::start(Settings {
        username: Some("hawk".to_owned()),
        password_file: Some(password.clone()),
        ..settings(broker.port, "hawk")
    });
    vehicle.until_reason(&["credentials", "mqtt.username", "mqtt.password_file"]).await;
    std::fs::remove_file(&password).unwrap();
    vehicle.until_reason(&["cannot read the password", "password"]).await;
    std::fs::write(&password, "open sesame\n").unwrap();
    vehicle.until_connected().await;
}

#[tokio::test]
async fn what_the_broker_may_not_take_is_refused_by_name_and_the_rest_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("acl"), "topic readwrite allowed/#\ntopic fleet/#\n")
        .unwrap();
    let settings_of_broker = "allow_anonymous true\nacl_file {folder}/acl\nmax_packet_size 2000\nmax_inflight_messages 7\n";
    let broker = Broker::within(folder, settings_of_broker);
    let mut vehicle = Vehicle::start(settings(broker.port, "hawk"));
    vehicle.enqueue("forbidden/t", "0", false);
    vehicle.enqueue("allowed/t", vec![0; 5000], false);
    vehicle.enqueue("allowed/t", "1", false);
    vehicle.until_delivered().await;

    assert_eq!(vehicle.acknowledged.len(), 1);
    assert_eq!(vehicle.in_flight_max, 7, "the broker's receive maximum");
    let mut causes: Vec<_> =
        vehicle.outbox.window().dropped_total().map(|(_, cause, n)| (cause.word(), n)).collect();
    causes.sort_unstable();
    assert_eq!(causes, [("refused", 1), ("too-large", 1)]);
    assert!(vehicle.refusals.iter().any(|r| r.contains("NotAuthorized")), "{:?}", vehicle.refusals);
    assert!(vehicle.refusals.iter().any(|r| r.contains("2000 bytes")), "{:?}", vehicle.refusals);
    assert!(vehicle.reasons.is_empty(), "{:?}", vehicle.reasons);
}

#[tokio::test]
async fn two_vehicles_of_one_name_are_told_so() {
    let broker = Broker::open();
    let mut first = Vehicle::start(settings(broker.port, "hawk"));
    first.until_connected().await;
    let mut second = Vehicle::start(settings(broker.port, "hawk"));
    second.until_connected().await;
    first.until_reason(&["another client took the identifier `hawk`"]).await;
}

/// A broker with TLS whose certificate `server.pem` is in its folder, as are the client's `client.pem` and `ca.pem`.
fn tls_broker(validity: Validity, names: &[&str], more: &str) -> Broker {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("Convoy");
    authority.write(folder.path(), "ca");
    authority.issue(folder.path(), "server", names, validity);
    authority.issue(folder.path(), "client", &["hawk"], Validity::Now);
    let listener = format!(
        "allow_anonymous true\ncertfile {{folder}}/server.pem\nkeyfile {{folder}}/server.key\n{more}"
    );
    Broker::within(folder, &listener)
}

fn tls_settings(broker: &Broker, ca: &Path, client: Option<&str>) -> Settings {
    let file = |name: String| Some(broker.folder.path().join(name));
    Settings {
        tls: Some(Files {
            ca: Some(ca.to_owned()),
            certificate: client.and_then(|client| file(format!("{client}.pem"))),
            key: client.and_then(|client| file(format!("{client}.key"))),
        }),
        ..settings(broker.port, "hawk")
    }
}

#[tokio::test]
async fn tls_by_address_and_by_name_with_a_client_certificate() {
    let names = ["127.0.0.1", "localhost"];
    let broker = tls_broker(
        Validity::Now,
        &names,
        "cafile {folder}/ca.pem\nrequire_certificate true\ntls_version tlsv1.3\n",
    );
    let ca = broker.folder.path().join("ca.pem");
    for host in names {
        let settings =
            Settings { host: host.to_owned(), ..tls_settings(&broker, &ca, Some("client")) };
        let mut watcher =
            subscribed(Settings { client_id: "watcher".to_owned(), ..settings.clone() }, "t").await;
        let mut vehicle = Vehicle::start(settings);
        vehicle.enqueue("t", vec![b'x'; 100_000], false);
        vehicle.until_delivered().await;
        assert_eq!(next_message(&mut watcher).await.payload.len(), 100_000);
        vehicle.stop().await;
    }

    let mut nobody = Vehicle::start(tls_settings(&broker, &ca, None));
    nobody.until_reason(&["requires a client certificate", "mqtt.certificate_file"]).await;

    let strangers = Authority::new("Strangers");
    strangers.issue(broker.folder.path(), "stranger", &["hawk"], Validity::Now);
    let mut stranger = Vehicle::start(tls_settings(&broker, &ca, Some("stranger")));
    stranger.until_reason(&["rejects our client certificate"]).await;
}

#[tokio::test]
async fn every_reason_not_to_trust_a_broker_is_named() {
    let loopback = ["127.0.0.1"];
    let cases: [(Validity, &[&str], &[&str]); 3] = [
        (Validity::Past, &loopback, &["expired on 2021-01-01", "clock says"]),
        (Validity::Future, &loopback, &["valid from 2119-01-01", "set the clock"]),
        (Validity::Now, &["elsewhere.lan"], &["not for `127.0.0.1`", "elsewhere.lan"]),
    ];
    for (validity, names, words) in cases {
        let broker = tls_broker(validity, names, "");
        let ca = broker.folder.path().join("ca.pem");
        Vehicle::start(tls_settings(&broker, &ca, None)).until_reason(words).await;
    }
}

#[tokio::test]
async fn the_wrong_authority_is_named_and_a_corrected_file_is_enough() {
    let broker = tls_broker(Validity::Now, &["127.0.0.1"], "");
    let folder = broker.folder.path();
    let ca = Authority::new("Somebody else").write(folder, "trusted");
    let mut vehicle = Vehicle::start(tls_settings(&broker, &ca, None));
    vehicle.until_reason(&["not signed by the authority", "mqtt.ca_file"]).await;
    std::fs::copy(folder.join("ca.pem"), &ca).unwrap();
    vehicle.until_connected().await;
}

#[tokio::test]
async fn tls_and_plain_ports_that_are_mixed_up_are_named() {
    let plain = Broker::open();
    let tls = tls_broker(Validity::Now, &["127.0.0.1"], "");
    let ca = tls.folder.path().join("ca.pem");

    let mut confused = tls_settings(&tls, &ca, None);
    confused.port = plain.port;
    confused.timing.answer = Duration::from_secs(5);
    Vehicle::start(confused).until_reason(&["TLS", "on this port"]).await;

    let mut bare = settings(tls.port, "hawk");
    bare.timing.answer = Duration::from_secs(5);
    Vehicle::start(bare).until_reason(&["mqtt.tls"]).await;
}

#[tokio::test]
async fn a_subscriber_sees_every_topic_below_its_filter_and_survives_a_restart() {
    let mut broker = Broker::open();
    let mut vehicle = Vehicle::start(settings(broker.port, "hawk"));
    vehicle.enqueue("fleet/hawk/birth", "who", true);
    vehicle.until_delivered().await;
    let mut watcher = subscribed(settings(broker.port, "watcher"), "fleet/+/birth").await;
    let message = next_message(&mut watcher).await;
    assert_eq!((message.topic.as_str(), message.retained), ("fleet/hawk/birth", true));

    broker.kill();
    broker.start();
    vehicle.until(|vehicle| vehicle.protocols.len() == 2).await;
    vehicle.enqueue("fleet/kite/birth", "another", true);
    vehicle.until_delivered().await;
    let seen: BTreeSet<String> = [next_message(&mut watcher).await.topic].into();
    assert_eq!(seen, ["fleet/kite/birth".to_owned()].into());
}
