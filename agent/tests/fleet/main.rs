//! `outrider fleet` between a real mosquitto and whoever reads its page, metrics and files; vehicles are real agents, or
//! publishers that say what agents say. Everything is on loopback, on ports that the kernel chose.
#![allow(clippy::unwrap_used, reason = "tests; the helpers among them are not marked as such")]

mod any;
#[path = "../mqtt/authority.rs"]
#[allow(dead_code, reason = "each user needs another part of it")]
mod authority;
#[path = "../mqtt/broker.rs"]
#[allow(dead_code, reason = "each user needs another part of it")]
mod broker;
#[path = "../fixture/browser.rs"]
#[allow(dead_code, reason = "each user needs another part of it")]
mod browser;
mod convoy;
mod crash;
mod files;
mod page;
mod program;
#[path = "../fixture/promtool.rs"]
mod promtool;
#[path = "../mqtt/vehicle.rs"]
#[allow(dead_code, reason = "each user needs another part of it")]
mod publisher;
mod service;

use std::process::Command;

use authority::{Authority, Validity};
use broker::{Broker, mosquitto_sub};
use bytes::Bytes;
use convoy::{Publication, Voice};
use outrider::config::MqttProtocol;
use outrider::core::telemetry::document::BIRTH_TYPE;
use outrider::shell::mqtt::Settings;
use program::{Post, Program, Receiving, lines, outrider, until, vehicle};
use promtool::promtool;
use publisher::{Vehicle, settings};

/// Publishes and waits until the broker has everything.
fn publish(port: u16, publications: impl IntoIterator<Item = Publication>) {
    let protocol = MqttProtocol::V311;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let settings = Settings { protocol, ..settings(port, "convoy") };
        let mut vehicle = Vehicle::with_queue(settings, 64 << 20);
        for (topic, payload, retain) in publications {
            vehicle.enqueue(&topic, payload, retain);
        }
        vehicle.until_delivered().await;
        vehicle.stop().await;
    });
}

/// The lines of a stream of alpha, when there are so many: the page shows a record a moment before it is written.
fn wait_for_lines(post: &Post, stream: &str, count: usize) -> Vec<(serde_json::Value, Vec<u8>)> {
    until(&format!("{count} lines of {stream}"), || {
        let lines = lines(&post.streams(), "alpha", stream);
        (lines.len() >= count).then_some(lines)
    })
}

fn agent(folder: &std::path::Path, name: &str, port: u16, more: &str) -> Program {
    let config = folder.join(format!("{name}.toml"));
    let text = format!(
        "[vehicle]\nname = \"{name}\"\n[mesh]\ndaemon = \"none\"\n[http]\nlisten = \"off\"\n\
         [control]\npath = \"{}\"\n[mqtt]\nhost = \"127.0.0.1\"\nport = {port}\nbatch = \"2s\"\n{more}",
        folder.join(format!("{name}.sock")).display()
    );
    std::fs::write(&config, text).unwrap();
    Program::start(outrider(&["run", "--config"]).arg(config))
}

/// Whether the load of both vehicles is known, which need not be in their first batches.
fn loads(receiving: &Receiving) -> bool {
    let metrics = receiving.metrics();
    let known = |name| metrics.contains(&format!("outrider_load1{{vehicle=\"{name}\"}} "));
    ["alpha", "bravo"].into_iter().all(known)
}

#[test]
fn real_agents_are_shown_with_their_values_and_their_ends() {
    let broker = Broker::open();
    let post = Post::new(broker.port, &["--forward", "json"]);
    let receiving = post.start();
    let mut alpha = agent(post.folder.path(), "alpha", broker.port, "");
    let _bravo = agent(post.folder.path(), "bravo", broker.port, "format = \"json\"\n");
    let both = |document: &serde_json::Value| {
        ["alpha", "bravo"].iter().all(|name| {
            let vehicle = vehicle(document, name);
            vehicle["series"].as_u64() > Some(5) && vehicle["presence"] == "online"
        })
    };
    receiving.wait_for("values of both", both);
    until("the load of both", || loads(&receiving).then_some(()));
    let document = receiving.document();
    assert_eq!(vehicle(&document, "alpha")["overdue"], false);
    assert_eq!(document["refused"], serde_json::json!({}));

    let metrics = receiving.metrics();
    promtool(&metrics).unwrap();
    for name in ["alpha", "bravo"] {
        let begin = format!("outrider_load1{{vehicle=\"{name}\"}} ");
        let line = metrics.lines().find(|line| line.starts_with(&begin)).expect(&metrics);
        let time_ms: i64 = line.rsplit(' ').next().unwrap().parse().unwrap();
        let now_ms = document["clock"]["wall_ms"].as_i64().unwrap();
        assert!((now_ms - time_ms).abs() < 90_000, "{line}: {now_ms}");
        assert!(
            metrics.contains(&format!("outrider_fleet_vehicle_online{{vehicle=\"{name}\"}} 1\n"))
        );
    }
    let open_metrics = receiving.get("/metrics", "application/openmetrics-text; version=1.0.0");
    assert!(open_metrics.ends_with("# EOF\n") && open_metrics.contains("# UNIT outrider_"));

    // What a compact batch says is readable for others.
    let forwarded = mosquitto_sub(broker.port, "json/alpha/telemetry", 1, 60);
    let forwarded = forwarded[0].strip_prefix("json/alpha/telemetry ").unwrap();
    let forwarded: serde_json::Value = serde_json::from_str(forwarded).unwrap();
    assert_eq!(forwarded["vehicle"], "alpha");
    assert!(forwarded["series"]["outrider_load1"].is_array());

    alpha.kill();
    let document = receiving.wait_for("alpha's last will", |document| {
        vehicle(document, "alpha")["presence"] == "offline"
    });
    assert_eq!(vehicle(&document, "alpha")["cause"], "connection-lost");
    assert_eq!(vehicle(&document, "bravo")["presence"], "online");

    // What was known is known at once, before the broker has said anything.
    assert!(receiving.program.terminate().success());
    let again = Post { port: 1, ..post }.start();
    let document = again.document();
    assert_eq!(vehicle(&document, "alpha")["cause"], "connection-lost");
    assert!(vehicle(&document, "bravo")["series"].as_u64() > Some(5), "{document:#}");
    assert!(again.get("/healthz", "*/*").contains("\"healthy\":false"));
}

#[test]
fn real_agents_with_a_queue_say_the_same_in_streams() {
    let broker = Broker::open();
    let post = Post::new(broker.port, &["--forward", "json"]);
    let mut receiving = post.start();
    receiving.wait_until_connected();
    let folder = post.folder.path();
    let spool = |name: &str| {
        let spool = folder.join(format!("{name}-spool"));
        format!("[spool]\nfolder = \"{}\"\nsync_delay = \"20ms\"\n", spool.display())
    };
    let _alpha = agent(folder, "alpha", broker.port, &spool("alpha"));
    let json = format!("format = \"json\"\n{}", spool("bravo"));
    let _bravo = agent(folder, "bravo", broker.port, &json);
    let reader = std::thread::spawn({
        let port = broker.port;
        move || mosquitto_sub(port, "json/alpha/telemetry", 1, 60)
    });
    let document = receiving.wait_for("values and an event of both", |document| {
        ["alpha", "bravo"].iter().all(|name| {
            let vehicle = vehicle(document, name);
            vehicle["series"].as_u64() > Some(5) && vehicle["last_event"].is_object()
        })
    });
    assert_eq!(document["refused"], serde_json::json!({}));
    let streams = document["streams"].as_array().unwrap();
    for name in ["alpha", "bravo"] {
        for stream in ["events", "telemetry"] {
            let found =
                streams.iter().find(|found| found["vehicle"] == name && found["stream"] == stream);
            assert!(found.is_some_and(|found| found["records"].as_u64() > Some(0)), "{streams:?}");
        }
    }
    until("the load of both", || loads(&receiving).then_some(()));
    let forwarded = reader.join().unwrap().join("");
    assert!(forwarded.starts_with("json/alpha/telemetry {\"version\":1,"), "{forwarded}");
    // What has just been said may overtake what waited.
    let mut lines = wait_for_lines(&post, "telemetry", 3);
    lines.sort_by_key(|(line, _)| line["sequence"].as_u64());
    assert_eq!(lines[0].0["content_type"], BIRTH_TYPE);
}

#[test]
fn records_become_lines_and_files_and_documents_once() {
    let broker = Broker::with("allow_anonymous true\nlog_type all\n");
    let post = Post::new(broker.port, &["--forward", "json"]);
    let mut receiving = post.start();
    receiving.wait_until_connected();
    let subscriber = std::thread::spawn({
        let port = broker.port;
        move || mosquitto_sub(port, "json/+/stream/#", 4, 60)
    });
    until("the reader of documents", || {
        broker.log().contains("json/+/stream/# (QoS 1)").then_some(())
    });
    let alpha = Voice::new("alpha");
    let picture = Bytes::from(vec![0xfe; 200_000]);
    let payloads = [
        Bytes::from_static(b"{\"lat\":1.5}"),
        Bytes::from_static(b"two\nlines"),
        Bytes::from_static(b"\xff\x00"),
    ];
    let records = alpha.records("gps", 7, 40, &payloads);
    let mut said = vec![records.clone(), records];
    for part in alpha.parts("camera", 7, 1, &picture, 90_000) {
        said.extend([part.clone(), part]);
    }
    publish(broker.port, said);
    receiving.wait_for("both streams", |document| {
        let streams = document["streams"].as_array().unwrap();
        let records = |name| {
            streams.iter().find(|stream| stream["stream"] == name).map(|stream| &stream["records"])
        };
        records("gps").is_some_and(|records| *records == 3)
            && records("camera").is_some_and(|records| *records == 1)
    });
    let gps = wait_for_lines(&post, "gps", 3);
    let bodies: Vec<String> = gps
        .iter()
        .map(|(line, _)| {
            format!("{}: {}{}{}", line["sequence"], line["json"], line["text"], line["base64"])
        })
        .collect();
    assert_eq!(
        bodies,
        ["40: {\"lat\":1.5}nullnull", "41: null\"two\\nlines\"null", "42: nullnull\"/wA=\""]
    );
    let (line, _) = &gps[0];
    assert_eq!(
        (&line["boot_ms"], &line["wall_ms"]),
        (&5_040.into(), &1_795_000_005_040_i64.into())
    );
    assert_eq!((&line["content_type"], &line["bytes"]), (&"application/json".into(), &11.into()));
    let camera = wait_for_lines(&post, "camera", 1);
    assert_eq!((camera.len(), &camera[0].1[..]), (1, &picture[..]));
    assert_eq!(camera[0].0["file"], "7-1.bin");

    let metrics = receiving.metrics();
    for line in [
        "outrider_fleet_stream_records_total{vehicle=\"alpha\",stream=\"gps\"} 3\n",
        "outrider_fleet_stream_repeats_total{vehicle=\"alpha\",stream=\"gps\"} 3\n",
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
    promtool(&metrics).unwrap();
    let mut documents = subscriber.join().unwrap();
    documents.retain(|line| !line.is_empty());
    assert_eq!(documents.len(), 4, "{documents:?}");
    assert!(documents[0].starts_with("json/alpha/stream/gps {\"vehicle\":\"alpha\""));
}

#[test]
fn what_comes_while_nobody_is_there_is_kept_by_the_broker() {
    for protocol in ["5", "3.1.1"] {
        let broker = Broker::open();
        let config = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&config, format!("[mqtt]\nprotocol = \"{protocol}\"\n")).unwrap();
        let post = Post::new(broker.port, &["--config", &config.path().display().to_string()]);
        let mut receiving = post.start();
        receiving.wait_until_connected();
        assert_eq!(receiving.document()["broker"]["protocol"], protocol);
        assert!(receiving.program.terminate().success());

        let alpha = Voice::new("alpha");
        let record = |n: u64| alpha.records("log", 1, n, &[Bytes::from(n.to_string())]);
        publish(broker.port, (0..50).map(record));
        let mut receiving = post.start();
        receiving.program.wait_for_log("the broker kept what came meanwhile");
        receiving.wait_for("what was kept", |document| document["streams"][0]["records"] == 50);
        assert_eq!(wait_for_lines(&post, "log", 50).len(), 50);
    }
}

#[test]
fn a_broker_that_comes_back_without_anything_is_connected_to_again() {
    let mut broker = Broker::open();
    let post = Post::new(broker.port, &[]);
    let mut receiving = post.start();
    receiving.wait_until_connected();
    let alpha = Voice::new("alpha");
    let record = |n: u64| alpha.records("log", 1, n, &[Bytes::from(n.to_string())]);
    publish(broker.port, (0..10).map(record));
    receiving.wait_for("the first", |document| document["streams"][0]["records"] == 10);
    broker.kill();
    receiving.wait_for("the loss", |document| document["broker"]["connected"] == false);
    broker.start();
    let document =
        receiving.wait_for("the broker", |document| document["broker"]["connected"] == true);
    assert_eq!(document["broker"]["resumed"], false);
    // The vehicle does not know what the broker had passed on, and sends all of its window again.
    publish(broker.port, (0..20).map(record));
    receiving.wait_for("the others", |document| document["streams"][0]["records"] == 20);
    let numbers: Vec<String> =
        wait_for_lines(&post, "log", 20).iter().map(|(line, _)| line["json"].to_string()).collect();
    assert_eq!(numbers, (0..20).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn hostile_payloads_are_counted_and_harm_nobody() {
    for protocol in ["5", "3.1.1"] {
        let broker = Broker::open();
        let config = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&config, format!("[mqtt]\nprotocol = \"{protocol}\"\n")).unwrap();
        let post = Post::new(broker.port, &["--config", &config.path().display().to_string()]);
        let mut receiving = post.start();
        receiving.wait_until_connected();
        let mut alpha = Voice::new("alpha");
        let mut said = vec![];
        let mut garbage: Vec<Bytes> = vec![
            Bytes::from_static(b"\x01"),
            Bytes::from_static(b"\x02\x00"),
            Bytes::from_static(b"{"),
            Bytes::from_static(b"{\"version\":9}"),
            Bytes::from(vec![0xff; 100_000]),
            Bytes::from("[".repeat(100_000)),
        ];
        garbage.push(convoy_garbage());
        for rest in
            ["birth", "status", "telemetry", "event", "stream/gps", "stream/..", "else", "a/b/c"]
        {
            said.extend(
                garbage
                    .iter()
                    .map(|bytes| (format!("outrider/mallory/{rest}"), bytes.clone(), false)),
            );
        }
        // Larger than what a packet may have: MQTT 5 lets the broker drop it, 3.1.1 does not.
        said.push(("outrider/mallory/event".to_owned(), Bytes::from(vec![b'x'; 3 << 20]), false));
        said.push(("outrider/%2e%2e/birth".to_owned(), Bytes::from_static(b"{}"), true));
        said.extend(alpha.costs(&[("bravo", 113.0)]));
        said.push(alpha.records("log", 1, 0, &[Bytes::from_static(b"safe")]));
        publish(broker.port, said);
        let document = receiving.wait_for("what is in order", |document| {
            vehicle(document, "alpha")["series"] == 3 && document["streams"][0]["records"] == 1
        });
        let refused = document["refused"].as_object().unwrap();
        for cause in ["payload", "version", "unknown-topic", "stream-name"] {
            assert!(refused.contains_key(cause), "{cause}: {document:#}");
        }
        assert_eq!(refused.contains_key("too-large"), protocol == "3.1.1", "{document:#}");
        promtool(&receiving.metrics()).unwrap();
        assert_eq!(document["broker"]["connects"], 1, "none of it ends the connection");
        receiving.program.wait_for_log("a message was turned away");
        assert!(!post.streams().join("mallory").exists());
    }
}

/// A birth whose series claim what no metrics text may hold.
fn convoy_garbage() -> Bytes {
    let series = |name: &str, label: &str, value: &str, kind: &str| serde_json::json!({"name": name, "labels": {label: value}, "kind": kind, "resolution": 0});
    let series = [
        series("a{b=\"c\"} 1\nevil", "l", "v", "gauge"),
        series("outrider_load1", "l\" 1\n", "v", "gauge"),
        series("outrider_fleet_vehicles", "l", "v", "counter"),
        series("outrider_load1", "vehicle", "alpha\"\n\\", "counter"),
    ];
    let dictionary = outrider::core::telemetry::Dictionary::from_entries(
        series.iter().map(|series| serde_json::from_value(series.clone()).unwrap()).collect(),
    );
    let version = dictionary.unwrap().version();
    let birth = serde_json::json!({
        "version": 1, "vehicle": "../../etc", "kind": "\u{202e}", "agent_version": "", "boot_id": "",
        "boot_ms": u64::MAX, "wall_ms": null, "clock": "unset", "format": "compact", "frame_version": 1,
        "sample_ms": u64::MAX, "batch_ms": u64::MAX, "dictionary": version, "series": series,
    });
    Bytes::from(birth.to_string())
}

#[test]
fn tls_and_a_client_certificate_work_as_for_the_agent() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("convoy");
    let ca = authority.write(folder.path(), "ca");
    authority.issue(folder.path(), "broker", &["127.0.0.1"], Validity::Now);
    authority.issue(folder.path(), "post", &[], Validity::Now);
    let path = folder.path().to_owned();
    let broker = Broker::within(
        folder,
        "allow_anonymous true\ncafile {folder}/ca.pem\ncertfile {folder}/broker.pem\nkeyfile {folder}/broker.key\n\
         require_certificate true\n",
    );
    let config = path.join("post.toml");
    let text = format!(
        "[mqtt]\ntls = true\nca_file = \"{}\"\ncertificate_file = \"{}\"\nkey_file = \"{}\"\n",
        ca.display(),
        path.join("post.pem").display(),
        path.join("post.key").display()
    );
    std::fs::write(&config, text).unwrap();
    let post = Post::new(broker.port, &["--config", &config.display().to_string()]);
    let mut receiving = post.start();
    receiving.wait_until_connected();
    assert!(receiving.get("/healthz", "*/*").contains("\"healthy\":true"));
}

#[test]
fn mistakes_on_the_command_line_say_what_to_do() {
    let broker = Broker::open();
    let post = Post::new(broker.port, &[]);
    let receiving = post.start();
    let says = |arguments: &[&str], words: &[&str]| {
        let output = outrider(&["fleet"]).args(arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && words.iter().all(|word| text.contains(word)), "{text}");
    };
    let connect = format!("127.0.0.1:{}", broker.port);
    let state = post.state().display().to_string();
    says(
        &["--connect", &connect, "--state", &state, "--listen", "off"],
        &["another `outrider fleet` uses", &state, "--state"],
    );
    let page = receiving.page.to_string();
    says(&["--connect", &connect, "--state", "/nowhere", "--listen", &page], &["--listen", "port"]);
    says(&["--connect", "broker"], &["host and port"]);
    says(&["--connect", &connect, "--forward", "outrider/json"], &["below what is received"]);
    says(&["--connect", &connect, "--prefix", "a/#"], &["wildcards"]);
    says(&["--connect", &connect, "--rotate", "1KiB"], &["4KiB"]);
    says(
        &["--connect", &connect, "--state", "/proc/nowhere", "--listen", "off"],
        &["/proc/nowhere"],
    );
}

/// A process that starts another, which inherits a limit on the size of files: what a full disk looks like from inside.
fn limited(post: &Post) -> Command {
    let mut command = Command::new("bash");
    command.args(["-c", "trap '' XFSZ; ulimit -f 48; exec \"$@\"", "limited"]);
    command.arg(env!("CARGO_BIN_EXE_outrider")).args(["fleet", "--listen", "127.0.0.1:0"]);
    post.arguments(&mut command);
    command.env_remove("OUTRIDER_CONFIG").env_remove("NOTIFY_SOCKET");
    command
}

#[test]
fn a_disk_that_refuses_stops_receiving_and_nothing_else() {
    let broker = Broker::open();
    let post = Post::new(broker.port, &[]);
    let mut receiving = Receiving::start(&mut limited(&post));
    receiving.wait_until_connected();
    let alpha = Voice::new("alpha");
    let payload = |n: u64| Bytes::from(format!("{n} {}", "x".repeat(1000)));
    publish(broker.port, (0..200).map(|n| alpha.records("log", 1, n, &[payload(n)])));
    let document =
        receiving.wait_for("the refusal", |document| document["storage"]["error"].is_string());
    let error = document["storage"]["error"].as_str().unwrap();
    assert!(error.contains("cannot write") && error.contains(&post.state().display().to_string()));
    assert!(receiving.metrics().contains("outrider_fleet_storage_up 0\n"));
    assert!(receiving.get("/healthz", "*/*").contains("\"healthy\":false"));
    drop(receiving);

    // With room again nothing is lost, and nothing repeated.
    let receiving = post.start();
    receiving.wait_for("all of it", |document| document["streams"][0]["records"] == 200);
    let numbers: Vec<u64> = wait_for_lines(&post, "log", 200)
        .iter()
        .map(|(line, _)| line["sequence"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, (0..200).collect::<Vec<_>>());
}
