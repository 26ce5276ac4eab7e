//! Serves the captured answers over real sockets as the daemons sent them, and checks that a sample
//! is what the parsers alone make of the same bytes.

#![allow(clippy::unwrap_used, reason = "a helper that fails shall fail its test")]

mod common;

use std::fs;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::Daemon;
use olsr_bridge::build::Builder;
use olsr_bridge::client::{Choice, Client, Options};
use olsr_bridge::cost::CostOptions;
use olsr_bridge::failure::FailureClass;
use olsr_bridge::view::{DaemonKind, MeshView, Part, Protocol};
use olsr_bridge::{http, v1, v2};

/// What the stand-in sends next, by request.
type Answer = Box<dyn Fn(&str) -> Vec<u8> + Send>;

/// A stand-in whose answers change from capture to capture.
struct Replay {
    daemon: Daemon,
    answer: Arc<Mutex<Answer>>,
    runtime: tokio::runtime::Runtime,
}

impl Replay {
    fn new() -> Replay {
        let answer: Arc<Mutex<Answer>> = Arc::new(Mutex::new(Box::new(|_| Vec::new())));
        let current = Arc::clone(&answer);
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let daemon = Daemon::start_watching(local, Duration::ZERO, move |request, _, stream| {
            let answer = current.lock().unwrap()(&String::from_utf8_lossy(request));
            let _ = stream.write_all(&answer);
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Replay { daemon, answer, runtime }
    }

    fn sample(
        &self,
        choice: Choice,
        answer: impl Fn(&str) -> Vec<u8> + Send + 'static,
    ) -> Result<MeshView, FailureClass> {
        *self.answer.lock().unwrap() = Box::new(answer);
        let options = Options {
            choice,
            connect: Some(self.daemon.address),
            timeout: Duration::from_secs(20),
            ..Options::default()
        };
        self.runtime.block_on(Client::new(options).sample()).map_err(|failure| failure.class)
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

fn children(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Folders of captured nodes of all scenarios but the refusals.
fn nodes(daemon: &str) -> Vec<PathBuf> {
    let scenarios =
        children(&root().join(daemon)).into_iter().filter(|path| !path.ends_with("errors"));
    let nodes = scenarios.flat_map(|scenario| children(&scenario));
    nodes.filter(|path| path.is_dir() && !path.ends_with("series")).collect()
}

/// Files of all series.
fn series(daemon: &str) -> Vec<PathBuf> {
    let scenarios = children(&root().join(daemon)).into_iter();
    let series = scenarios.map(|scenario| scenario.join("series")).filter(|path| path.is_dir());
    series.flat_map(|path| children(&path)).flat_map(|node| children(&node)).collect()
}

fn read(path: &Path) -> Option<Vec<u8>> {
    fs::read(path).ok()
}

/// What the parsers make of `answers`, read one after the other.
fn parsed(protocol: Protocol, answers: &[Vec<u8>]) -> MeshView {
    let kind = match protocol {
        Protocol::Jsoninfo | Protocol::Txtinfo => DaemonKind::Olsrd,
        Protocol::Olsrd2Http | Protocol::Olsrd2Telnet => DaemonKind::Olsrd2,
    };
    let mut builders = answers.iter().map(|answer| {
        let mut builder = Builder::new(kind, protocol);
        let body = http::split(answer).body;
        match protocol {
            Protocol::Jsoninfo => drop(v1::jsoninfo::parse(body, &mut builder)),
            Protocol::Txtinfo => drop(v1::txtinfo::parse(body, &mut builder)),
            Protocol::Olsrd2Http | Protocol::Olsrd2Telnet => v2::parse(body, &mut builder),
        }
        builder
    });
    let mut first = builders.next().unwrap();
    for later in builders {
        first.merge(later, 0);
    }
    first.finish(&CostOptions::default())
}

/// Compares all but the age of what was read first, which depends on the machine.
fn assert_same(mut sampled: MeshView, parsed: &MeshView, source: &Path) {
    for age in &mut sampled.ages {
        age.age_ms = 0;
    }
    assert_eq!(&sampled, parsed, "{}", source.display());
    assert!(sampled.age_ms(Part::Routes).is_some(), "{}", source.display());
}

#[test]
fn whole_answers_of_olsrd() {
    let replay = Replay::new();
    let mut count = 0;
    for node in nodes("olsrd") {
        for (file, choice, protocol) in [
            ("jsoninfo-all.http", Choice::Jsoninfo, Protocol::Jsoninfo),
            ("txtinfo-all.http", Choice::Txtinfo, Protocol::Txtinfo),
            ("txtinfo-all.raw", Choice::Txtinfo, Protocol::Txtinfo),
        ] {
            let source = node.join(file);
            let Some(bytes) = read(&source) else { continue };
            let expected = parsed(protocol, std::slice::from_ref(&bytes));
            let sampled = replay.sample(choice, move |_| bytes.clone()).unwrap();
            assert_same(sampled, &expected, &source);
            count += 1;
        }
    }
    assert!(count >= 15, "only {count} answers found");
}

#[test]
fn series_of_olsrd() {
    let replay = Replay::new();
    let mut count = 0;
    for source in
        series("olsrd").into_iter().filter(|path| path.extension().is_some_and(|e| e == "http"))
    {
        let bytes = read(&source).unwrap();
        let expected = parsed(Protocol::Jsoninfo, std::slice::from_ref(&bytes));
        let missing = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0           \r\n\r\n".to_vec();
        let answer = move |request: &str| {
            if request.contains("/config") { missing.clone() } else { bytes.clone() }
        };
        assert_same(replay.sample(Choice::Jsoninfo, answer).unwrap(), &expected, &source);
        count += 1;
    }
    assert!(count >= 50, "only {count} samples found");
}

/// The tables that a request names, cut out of the captures of one table each and put together as
/// olsrd does it.
fn jsoninfo_tables(node: &Path, request: &str) -> Option<Vec<u8>> {
    let path = request.strip_prefix("GET /")?.split(' ').next()?;
    let mut body = String::new();
    for table in [
        "neighbors",
        "links",
        "routes",
        "hna",
        "mid",
        "topology",
        "gateways",
        "interfaces",
        "version",
        "config",
    ] {
        if !path.split('/').any(|part| part == table) {
            continue;
        }
        let Some(answer) = read(&node.join(format!("jsoninfo-{table}.http"))) else { continue };
        let text = String::from_utf8(http::split(&answer).body.to_vec()).ok()?;
        let start = text.find(&format!("\"{table}\":"))?;
        let end = text.rfind('}')?;
        if body.is_empty() {
            body.push_str(&text[..start]);
        } else {
            body.push(',');
        }
        body.push_str(&text[start..end]);
    }
    body.push_str("}\n");
    body.starts_with("{\"pid\"").then(|| common::http(body.as_bytes()))
}

#[test]
fn composed_tables_of_jsoninfo() {
    let replay = Replay::new();
    let mut count = 0;
    for node in nodes("olsrd") {
        let everything = "GET /neighbors/links/routes/hna/mid/topology/gateways HTTP/1.0";
        let startup = "GET /version/config/interfaces HTTP/1.0";
        let Some(first) = jsoninfo_tables(&node, everything) else { continue };
        let answers: Vec<_> =
            [Some(first), jsoninfo_tables(&node, startup)].into_iter().flatten().collect();
        let expected = parsed(Protocol::Jsoninfo, &answers);
        let from = node.clone();
        let answer = move |request: &str| jsoninfo_tables(&from, request).unwrap_or_default();
        assert_same(replay.sample(Choice::Jsoninfo, answer).unwrap(), &expected, &node);
        count += 1;
    }
    assert!(count >= 20, "only {count} nodes found");
}

/// What olsrd2 answers to `request`, put together from the captures of one command each; `None` if
/// it knows none of them.
fn olsrd2_commands(node: &Path, request: &str) -> Vec<u8> {
    let commands = match request.strip_prefix("GET /telnet/") {
        Some(rest) => rest.trim_end().trim_end_matches(" HTTP/1.0").replace("%20", " "),
        None => request.trim_start_matches('/').trim_end().trim_end_matches("/quit").to_owned(),
    };
    let mut text = Vec::new();
    for command in commands.split('/') {
        let file = format!("telnet-{}.raw", command.replace(' ', "-"));
        match read(&node.join(file)) {
            Some(answer) => text.extend(answer),
            None => text.extend(format!("Error, unknown command '{command}'\n").into_bytes()),
        }
    }
    text
}

#[test]
fn nodes_of_olsrd2_over_telnet_and_http() {
    let replay = Replay::new();
    let mut count = 0;
    for node in nodes("olsrd2") {
        for (choice, protocol) in [
            (Choice::Olsrd2Telnet, Protocol::Olsrd2Telnet),
            (Choice::Olsrd2Http, Protocol::Olsrd2Http),
        ] {
            let served: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
            let (from, record) = (node.clone(), Arc::clone(&served));
            let sampled = replay.sample(choice, move |request| {
                let text = olsrd2_commands(&from, request);
                record.lock().unwrap().push(text.clone());
                if request.starts_with("GET") { common::olsrd2_http(&text) } else { text }
            });
            let expected = parsed(protocol, &served.lock().unwrap());
            let sampled = sampled.unwrap();
            assert!(!sampled.own.is_empty(), "{}", node.display());
            assert_same(sampled, &expected, &node);
            count += 1;
        }
    }
    assert!(count >= 30, "only {count} answers found");
}

#[test]
fn series_of_olsrd2() {
    let replay = Replay::new();
    let mut count = 0;
    for source in
        series("olsrd2").into_iter().filter(|path| path.extension().is_some_and(|e| e == "raw"))
    {
        let bytes = read(&source).unwrap();
        let unknown = b"Error, unknown command 'systeminfo'\n".to_vec();
        let expected = parsed(Protocol::Olsrd2Telnet, &[bytes.clone(), unknown.clone()]);
        let answer = move |request: &str| {
            if request.contains("link") { bytes.clone() } else { unknown.clone() }
        };
        assert_same(replay.sample(Choice::Olsrd2Telnet, answer).unwrap(), &expected, &source);
        count += 1;
    }
    assert!(count >= 50, "only {count} samples found");
}

#[test]
fn captured_refusals_have_their_class() {
    let replay = Replay::new();
    let mut count = 0;
    for source in children(&root().join("olsrd/errors/w01")) {
        let name = source.file_name().unwrap().to_string_lossy().into_owned();
        let choice = match name.split('-').next() {
            Some("jsoninfo") => Choice::Jsoninfo,
            Some("txtinfo") => Choice::Txtinfo,
            _ => continue,
        };
        let code =
            name.trim_end_matches(".http").trim_end_matches(".raw").rsplit('-').next().unwrap();
        let expected = match code {
            "403" => FailureClass::NotAllowed,
            "408" | "503" => FailureClass::Busy,
            // HEAD, no version, an unknown part, a query: olsrd knows no such request.
            _ => FailureClass::NotFound,
        };
        let bytes = read(&source).unwrap();
        assert_eq!(replay.sample(choice, move |_| bytes.clone()), Err(expected), "{name}");
        count += 1;
    }
    for (name, choice, expected) in [
        ("http-404-command.http", Choice::Olsrd2Http, FailureClass::NotFound),
        ("http-400-http2.http", Choice::Olsrd2Http, FailureClass::NotUnderstood),
        ("http-200-unknown-subcommand.http", Choice::Olsrd2Http, FailureClass::NotUnderstood),
        ("telnet-too-many-sessions.raw", Choice::Olsrd2Telnet, FailureClass::Busy),
        ("telnet-unknown-command.raw", Choice::Olsrd2Telnet, FailureClass::NotUnderstood),
        ("telnet-help.raw", Choice::Olsrd2Telnet, FailureClass::NotUnderstood),
    ] {
        let bytes = read(&root().join("olsrd2/errors/a").join(name)).unwrap();
        assert_eq!(replay.sample(choice, move |_| bytes.clone()), Err(expected), "{name}");
        count += 1;
    }
    assert!(count >= 20, "only {count} refusals found");
}
