//! `outrider spool` on real folders: what each command prints, how it ends, and that only `repair` changes anything.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use spool::{BootMs, Files, Options, Session, Spool, StreamPolicy};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_outrider");

fn run(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).env_clear().stdin(Stdio::null()).output().unwrap()
}

fn text(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn open(folder: &Path, epoch: u32) -> Spool<Files> {
    let session = Session { boot_id: [1; 16], epoch, spool_id: 0xABCD };
    Spool::open(Files::new(folder), Options::default(), session, BootMs(0)).unwrap()
}

/// A spool with five records of which the first has left.
fn spool() -> (TempDir, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("spool");
    let mut spool = open(&folder, 1);
    let event = spool.define("event", StreamPolicy::default()).unwrap();
    for n in 0..5_u8 {
        let _ = spool.append(event, vec![b'a' + n; 1000], BootMs(10)).unwrap();
        spool.commit(BootMs(10));
    }
    let first = spool.next(BootMs(10)).unwrap();
    spool.acknowledge(first.id, BootMs(10));
    spool.commit(BootMs(10));
    (place, folder)
}

fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    files
        .filter(|entry| entry.file_type().unwrap().is_file())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect()
}

/// Flips a byte in the payload of the third record.
fn damage(folder: &Path) {
    let name = contents(folder).into_keys().find(|name| name.ends_with(".seg")).unwrap();
    let mut bytes = fs::read(folder.join(&name)).unwrap();
    let at = bytes.windows(8).position(|window| window == b"cccccccc").unwrap();
    bytes[at + 100] ^= 1;
    fs::write(folder.join(name), bytes).unwrap();
}

#[test]
fn ls_shows_streams_and_files() {
    let (_place, folder) = spool();
    let shown = text(&["spool", "ls", folder.to_str().unwrap()]);
    assert!(shown.starts_with("spool 000000000000abcd\n"), "{shown}");
    let row = shown.lines().find(|line| line.starts_with("event")).unwrap();
    let words: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(words, ["event", "4", "3.9", "KiB", "6", "1", "acknowledged"]);

    let json: Value =
        serde_json::from_str(&text(&["spool", "ls", "--json", folder.to_str().unwrap()])).unwrap();
    assert_eq!(json["in_use"], false);
    assert_eq!(json["streams"][0]["name"], "event");
    assert_eq!(json["streams"][0]["records"], 4);
    assert_eq!(json["streams"][0]["counts"]["acknowledged"], 1);
    assert_eq!(json["complaints"], serde_json::json!([]));
    let running = open(&folder, 2);
    let json: Value =
        serde_json::from_str(&text(&["spool", "ls", "--json", folder.to_str().unwrap()])).unwrap();
    assert_eq!(json["in_use"], true);
    drop(running);
}

#[test]
fn check_finds_damage_and_repair_sets_it_aside() {
    let (_place, folder) = spool();
    let path = folder.to_str().unwrap();
    assert_eq!(text(&["spool", "check", path]), "nothing is wrong\n");
    damage(&folder);
    let before = contents(&folder);
    let found = run(&["spool", "check", path]);
    assert_eq!(found.status.code(), Some(1));
    let found = String::from_utf8(found.stdout).unwrap();
    assert!(found.contains("1036 bytes are damaged"), "{found}");
    assert!(found.contains("1 records are missing"), "{found}");
    assert_eq!(run(&["spool", "check", "--json", path]).status.code(), Some(1));
    for command in ["ls", "dump", "export"] {
        assert!(run(&["spool", command, path]).status.success(), "{command}");
    }
    assert_eq!(contents(&folder), before, "only `repair` changes anything");

    let running = open(&folder, 2);
    let refused = run(&["spool", "repair", path]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("stop it, then repair"));
    drop(running);

    let repaired = text(&["spool", "repair", path]);
    assert!(repaired.starts_with("3 records held, 1 lost"), "{repaired}");
    assert!(repaired.ends_with("1 file in quarantine\n"), "{repaired}");
    assert_eq!(text(&["spool", "check", path]), "nothing is wrong\n");
}

#[test]
fn dump_prints_all_and_export_what_has_not_left() {
    let (place, folder) = spool();
    let path = folder.to_str().unwrap();
    let lines = |output: &str| -> Vec<Value> {
        output.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let all = lines(&text(&["spool", "dump", path]));
    assert_eq!(all.len(), 5);
    assert_eq!((all[0]["live"].as_bool(), all[1]["live"].as_bool()), (Some(false), Some(true)));
    assert!(all[0].get("payload_hex").is_none());
    let some = lines(&text(&["spool", "dump", "--stream", "nobody", path]));
    assert!(some.is_empty());
    let held = lines(&text(&["spool", "export", path]));
    assert_eq!(held.len(), 4);
    assert_eq!(held[0]["payload_hex"], "62".repeat(1000));

    let target = place.path().join("rescued");
    for _ in 0..2 {
        let arguments = ["spool", "export", "--to", target.to_str().unwrap(), path];
        assert!(text(&arguments).starts_with("4 records in "));
    }
    let files = contents(&target.join("event"));
    assert_eq!(files.len(), 4);
    assert_eq!(files["00000000000000000002-00000001"], vec![b'b'; 1000]);
}

#[test]
fn a_folder_that_is_none_is_a_failure_and_nothing_is_made() {
    let place = tempfile::tempdir().unwrap();
    let missing = place.path().join("missing");
    for command in ["ls", "check", "dump", "repair", "export"] {
        let output = run(&["spool", command, missing.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1), "{command}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains("is no folder"), "{command}: {error}");
    }
    assert!(!missing.exists());
    let empty = text(&["spool", "ls", place.path().to_str().unwrap()]);
    assert_eq!(empty, "no spool is here\n");
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
}
