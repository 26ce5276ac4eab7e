//! `outrider put` as scripts use it.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use crate::posting::ready;
use crate::program::Agent;
use crate::{SPOOL, kept};

/// Runs `outrider put` with `input`.
fn put(agent: &Agent, arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_outrider"))
        .arg("put")
        .args(arguments)
        .arg("--config")
        .arg(agent.path("outrider.toml"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may refuse before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn files_standard_input_and_lines_become_records() {
    let agent = ready(SPOOL);
    let photo = agent.path("photo.jpg");
    std::fs::write(&photo, b"\xff\xd8\n\xff").unwrap();
    let arguments = ["photos", photo.to_str().unwrap(), "--content-type", "image/jpeg"];
    let output = put(&agent, &arguments, b"");
    assert_eq!((code(&output), said(&output)), (0, String::new()));
    assert!(output.stdout.is_empty());
    assert_eq!(code(&put(&agent, &["notes"], b"from standard input")), 0);
    assert_eq!(code(&put(&agent, &["notes", "-"], b"")), 0);
    let many: String = (1..=2500).map(|n| format!("line {n}\n")).collect();
    let output = put(&agent, &["log", "--lines", "--json"], many.as_bytes());
    assert_eq!(code(&output), 0, "{}", said(&output));
    let taken: u64 = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["records"].as_u64().unwrap()
        })
        .sum();
    assert_eq!(taken, 2500);
    assert_eq!(code(&put(&agent, &["log", "--lines", "--accepted"], b"no line feed")), 0);

    let folder = agent.stop_and_keep();
    let kept = kept::all(&folder.path().join("spool"));
    assert_eq!(kept::payloads(&kept, "photos"), [b"\xff\xd8\n\xff"]);
    assert_eq!(kept::payloads(&kept, "notes"), [&b"from standard input"[..], b""]);
    let lines = kept::payloads(&kept, "log");
    assert_eq!(lines.len(), 2501);
    assert_eq!((&lines[0][..], &lines[2499][..]), (&b"line 1"[..], &b"line 2500"[..]));
    assert_eq!(lines[2500], b"no line feed");
}

#[test]
fn exit_codes_tell_scripts_what_to_do() {
    let stream = "[[stream]]\nname = \"tiny\"\nshare = 1\nwhen_full = \"refuse\"\n";
    let config = SPOOL.replace("size", "undeclared_max = 0\nsize");
    let agent = ready(&format!("{config}{stream}"));
    let bad_name = put(&agent, &["Bad"], b"x");
    assert_eq!(code(&bad_name), 2, "{}", said(&bad_name));
    let unknown = put(&agent, &["unknown"], b"x");
    assert_eq!(code(&unknown), 1);
    assert!(said(&unknown).contains("[[stream]]"), "{}", said(&unknown));
    let large = put(&agent, &["tiny"], &vec![0; (1 << 20) + 1]);
    assert_eq!(code(&large), 1);
    assert!(said(&large).contains("gather.folder"), "{}", said(&large));
    let missing = put(&agent, &["tiny", "/nonexistent"], b"");
    assert_eq!(code(&missing), 1);

    let line = "x".repeat(1_000) + "\n";
    let full = put(&agent, &["tiny", "--lines"], line.repeat(2_000).as_bytes());
    assert_eq!(code(&full), 6, "{}", said(&full));
    assert!(said(&full).contains("records before it were taken"), "{}", said(&full));
    let words = said(&full);
    let taken: usize = words
        .split_whitespace()
        .zip(words.split_whitespace().skip(1))
        .find(|(_, next)| *next == "records")
        .and_then(|(number, _)| number.replace(',', "").parse().ok())
        .unwrap_or_else(|| panic!("{words}"));
    let config = agent.path("outrider.toml");
    let folder = agent.stop_and_keep();
    let kept = kept::all(&folder.path().join("spool"));
    assert_eq!(kept::payloads(&kept, "tiny").len(), taken, "{words}");

    let gone = Command::new(env!("CARGO_BIN_EXE_outrider"))
        .args(["put", "tiny", "--config"])
        .arg(config)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(code(&gone), 3, "{}", said(&gone));
}
