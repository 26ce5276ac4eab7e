//! The program `olsr-bridge` as people and scripts use it: output, exit codes, endings.

#![allow(clippy::unwrap_used, reason = "a helper that fails shall fail its test")]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::Daemon;
use olsr_bridge::view::MeshView;
use serde_json::Value;

/// Far above what a slow machine needs; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_olsr-bridge"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(arguments: &[&str]) -> Output {
    program(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn olsrd() -> Daemon {
    Daemon::start(|request, _, stream| {
        let _ = stream.write_all(&common::jsoninfo(request, 7, 61_000));
    })
}

fn fixtures(node: &str, files: &[&str]) -> Vec<String> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(node);
    let paths = files.iter().map(|file| folder.join(file));
    paths.flat_map(|path| ["--file".to_owned(), path.to_str().unwrap().to_owned()]).collect()
}

fn run_files(node: &str, files: &[&str], more: &[&str]) -> Output {
    let mut arguments = fixtures(node, files);
    arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
    run(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

/// A child that is killed when a test ends early.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn exit_code(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the program did not end");
    }
}

#[test]
fn one_document_for_scripts() {
    let daemon = olsrd();
    let address = daemon.address.to_string();
    let output = run(&["--once", "--json", "--connect", &address]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["daemon"], "olsrd");
    assert_eq!(document["version"], "pre-0.9.9");
    assert_eq!(document["protocol"], "jsoninfo");
    let destination = &document["destinations"][0];
    assert_eq!(destination["address"], "10.1.2.2");
    assert_eq!((&destination["cost"], &destination["hops"]), (&Value::from(125), &Value::from(1)));
    assert_eq!(destination["next_hop"], "10.1.2.2");
    assert_eq!(
        document["links"][0]["quality_in"].as_f64().map(|share| (share * 10.0).round()),
        Some(9.0)
    );
    assert!(
        document["ages"]
            .as_array()
            .unwrap()
            .iter()
            .any(|age| age["part"] == "routes" && age["age_ms"] == 0)
    );
    serde_json::from_value::<MeshView>(document).unwrap();
}

#[test]
fn a_table_for_people_fits_80_columns() {
    let daemon = olsrd();
    let output = run(&["--connect", &daemon.address.to_string()]);
    assert_eq!(output.status.code(), Some(0));
    let shown = text(&output.stdout);
    for word in ["olsrd pre-0.9.9", "jsoninfo", "etx_ff", "10.1.2.2", "125", "symmetric"] {
        assert!(shown.contains(word), "no `{word}` in\n{shown}");
    }
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
}

#[test]
fn each_kind_of_failure_has_its_exit_code_and_cause() {
    let refused = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let output = run(&["--once", "--connect", &refused]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("nobody listens"), "{}", text(&output.stderr));
    assert!(output.stdout.is_empty());

    let silent = Daemon::start(|_, _, stream| {
        let _ = stream.read(&mut [0; 1]);
    });
    let output = run(&["--once", "--timeout", "0.3", "--connect", &silent.address.to_string()]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("in time"), "{}", text(&output.stderr));

    let page = Daemon::serving(b"HTTP/1.1 200 OK\r\n\r\n<html></html>".to_vec());
    for kind in ["auto", "jsoninfo", "txtinfo", "olsrd2-http", "olsrd2-telnet"] {
        let output =
            run(&["--once", "--json", "--daemon", kind, "--connect", &page.address.to_string()]);
        assert_eq!(output.status.code(), Some(4), "{kind}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty() && !output.stderr.is_empty());
    }

    for arguments in
        [&["--nosuch"][..], &["--daemon", "x"], &["--connect", "x"], &["--once", "--watch"]]
    {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).contains("--help"));
    }
}

#[test]
fn help_and_version_go_to_standard_output() {
    for (argument, word) in [
        ("--help", "--connect HOST:PORT"),
        ("-h", "--watch"),
        ("--version", env!("CARGO_PKG_VERSION")),
    ] {
        let output = run(&[argument]);
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output.stdout).contains(word));
    }
}

#[test]
fn saved_answers_of_olsrd_stand_for_the_daemon() {
    let tables = [
        "jsoninfo-links.http",
        "jsoninfo-routes.http",
        "jsoninfo-config.http",
        "jsoninfo-version.http",
    ];
    let names =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/olsrd/nameservice/a/hosts.file");
    let output = run_files("olsrd/nameservice/a", &tables, &["--names", names.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    assert!(shown.contains("command-post.mesh") && shown.contains("300"), "{shown}");
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");

    let output = run_files("olsrd/diamond5/a", &["txtinfo-all.raw"], &["--json"]);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&document["protocol"], &document["daemon"]), (&"txtinfo".into(), &"olsrd".into()));
}

#[test]
fn saved_answers_of_olsrd2_are_joined() {
    let tables = [
        "telnet-nhdpinfo-jsonraw-link.raw",
        "telnet-olsrv2info-jsonraw-route.raw",
        "telnet-olsrv2info-jsonraw-originator.raw",
        "telnet-netjsoninfo-graph.raw",
        "telnet-layer2info-jsonraw-neighbor.raw",
    ];
    let output = run_files("olsrd2/layer2/a", &tables[..4], &["--json"]);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["daemon"], "olsrd2");
    assert_eq!(document["metric"], "airtime");
    assert_eq!(document["destinations"][1]["cost"], 66);
    assert_eq!(document["links"][0]["rate_in_bps"], 54_000_000);

    let output = run_files("olsrd2/ipv6/a", &tables[..4], &[]);
    let shown = text(&output.stdout);
    assert!(shown.contains("fd77::5"), "{shown}");
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
}

#[test]
fn files_that_say_nothing_are_named() {
    let output = run_files("olsrd/errors/w01", &["jsoninfo-404.http"], &[]);
    assert_eq!(output.status.code(), Some(4));
    let output = run_files("olsrd/errors/w01", &["jsoninfo-403.http"], &[]);
    assert_eq!(output.status.code(), Some(3));
    let output = run(&["--file", "/nonexistent/answer"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("/nonexistent/answer"));
    let output =
        run_files("olsrd/diamond5/a", &["jsoninfo-all.http", "../../../../Cargo.toml"], &[]);
    assert_eq!(output.status.code(), Some(0), "one good file is enough");
    assert!(text(&output.stderr).contains("Cargo.toml"));
    let mixed = [
        fixtures("olsrd/diamond5/a", &["jsoninfo-all.http"]),
        fixtures("olsrd2/pair/a", &["telnet-olsrv2info-jsonraw-route.raw"]),
    ];
    let mixed: Vec<&str> = mixed.iter().flatten().map(String::as_str).collect();
    assert_eq!(run(&mixed).status.code(), Some(4));
}

#[test]
fn watching_prints_one_line_per_view_until_interrupted() {
    let daemon = olsrd();
    let command =
        program(&["--watch", "--json", "--connect", &daemon.address.to_string()]).spawn().unwrap();
    let mut child = Running(command);
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    for _ in 0..2 {
        let line = lines.next().unwrap().unwrap();
        serde_json::from_str::<MeshView>(&line).unwrap();
    }
    interrupt(&child.0);
    assert_eq!(child.exit_code(), Some(0));
}

#[test]
fn watching_ends_when_nobody_reads() {
    let daemon = olsrd();
    let mut child =
        Running(program(&["--watch", "--connect", &daemon.address.to_string()]).spawn().unwrap());
    let mut first = [0; 1];
    let mut out = child.0.stdout.take().unwrap();
    out.read_exact(&mut first).unwrap();
    drop(out);
    assert_eq!(child.exit_code(), Some(0));
    let mut complaints = String::new();
    child.0.stderr.take().unwrap().read_to_string(&mut complaints).unwrap();
    assert_eq!(complaints, "");
}

#[test]
fn watching_backs_off_and_goes_on() {
    let daemon = Daemon::start(|request, number, stream| {
        let refusal = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0   \r\n\r\n".to_vec();
        let answer = if number < 2 { refusal } else { common::jsoninfo(request, 7, 1000) };
        let _ = stream.write_all(&answer);
    });
    let address = daemon.address.to_string();
    let arguments = ["--watch", "--json", "--daemon", "jsoninfo", "--connect", &address];
    let mut child = Running(program(&arguments).spawn().unwrap());
    let mut complaints = BufReader::new(child.0.stderr.take().unwrap()).lines();
    for pause in ["again in 1 s", "again in 2 s"] {
        let complaint = complaints.next().unwrap().unwrap();
        assert!(complaint.contains("accept") && complaint.contains(pause), "{complaint}");
    }
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    serde_json::from_str::<MeshView>(&lines.next().unwrap().unwrap()).unwrap();
    interrupt(&child.0);
    assert_eq!(child.exit_code(), Some(0));
}

/// Sends SIGINT as Ctrl-C does.
fn interrupt(child: &Child) {
    let pid = child.id().to_string();
    let status = Command::new("sh").args(["-c", "kill -INT \"$0\"", &pid]).status().unwrap();
    assert!(status.success());
}
