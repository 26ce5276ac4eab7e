//! Rules of the project that the compiler does not know, checked by reading the sources.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::{Path, PathBuf};

/// What pure code must not name: runtimes, clocks, files, sockets, processes, threads, environment, randomness,
/// terminals, and maps whose order is random.
const IMPURE: &[&str] = &[
    "tokio",
    "hyper",
    "rumqttc",
    "std::fs",
    "std::io",
    "std::env",
    "std::process",
    "std::thread",
    "std::os",
    "Instant",
    "SystemTime",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "UnixDatagram",
    "File::",
    "println!",
    "eprintln!",
    "print!",
    "nix::",
    "sysinfo",
    "getrandom",
    "rand::",
    "thread_rng",
    "HashMap",
    "HashSet",
];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let entry = entry.unwrap();
            let path = entry.path();
            // Links are not followed: fixtures of /sys link back to their parents.
            if entry.file_type().unwrap().is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The code of a file without comments and without its tests, which by convention come last.
fn code(text: &str) -> String {
    let end = text.find("#[cfg(test)]").unwrap_or(text.len());
    text[..end]
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Every word of [`IMPURE`] that the code in `text` names.
fn impurities(text: &str) -> Vec<&'static str> {
    let code = code(text);
    IMPURE.iter().copied().filter(|word| names(&code, word)).collect()
}

/// Whether `word` begins a word in `code`, so that `operand::` does not count as `rand::`.
fn names(code: &str, word: &str) -> bool {
    code.match_indices(word)
        .any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
}

#[test]
fn core_and_parsers_are_pure() {
    let root = workspace();
    let mut files = sources(&root.join("agent/src/core"));
    files.extend(sources(&root.join("olsr-bridge/view/src")));
    let bridge = root.join("olsr-bridge/src");
    files.extend(sources(&bridge).into_iter().filter(|path| {
        let path = path.strip_prefix(&bridge).unwrap();
        !["client", "main.rs", "program"].iter().any(|shell| path.starts_with(shell))
    }));
    assert!(
        files.len() > 10,
        "only {} files found: the rule looks in the wrong place",
        files.len()
    );
    let mut faults = String::new();
    for file in files {
        for word in impurities(&fs::read_to_string(&file).unwrap()) {
            faults += &format!("{} names `{word}`\n", file.display());
        }
    }
    assert!(faults.is_empty(), "pure code must not reach outside:\n{faults}");
}

#[test]
fn the_purity_rule_can_fail() {
    assert_eq!(impurities("use std::fs;\n"), ["std::fs"]);
    assert!(impurities("// std::fs is for the shell\nlet x = operand::y;\n").is_empty());
    assert!(impurities("fn f() {}\n#[cfg(test)]\nmod tests { use std::fs; }").is_empty());
}

#[test]
fn every_source_file_says_what_it_is() {
    let root = workspace();
    let mut faults = String::new();
    for folder in ["agent", "olsr-bridge", "cross", "hw-tests"] {
        for file in sources(&root.join(folder)) {
            let text = fs::read_to_string(&file).unwrap();
            // A fuzz target begins with its crate attribute.
            if !text.trim_start_matches("#![no_main]").trim_start().starts_with("//!") {
                faults += &format!("{} has no first paragraph\n", file.display());
            }
        }
    }
    assert!(faults.is_empty(), "{faults}");
}

/// Unsafe code is denied by lint; a module that must allow it is listed here with its reason.
#[test]
fn unsafe_code_is_only_where_it_is_named() {
    const ALLOWED: &[&str] = &[
        // adjtimex(2) has no safe wrapper in any crate that is used.
        "agent/src/shell/adjtimex.rs",
        // A function of the C library is replaced, because the standard library panics on what it returns after 2038.
        "agent/src/shell/time32.rs",
    ];
    let root = workspace();
    let mut faults = String::new();
    for folder in
        ["agent/src", "olsr-bridge/src", "olsr-bridge/view/src", "cross", "hw-tests/convoy/src"]
    {
        for file in sources(&root.join(folder)) {
            let text = fs::read_to_string(&file).unwrap();
            let relative = file.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
            let allows =
                ["allow(unsafe_code", "expect(unsafe_code"].iter().any(|a| text.contains(a));
            if allows && !ALLOWED.contains(&relative.as_str()) {
                faults += &format!("{relative} allows unsafe code\n");
            }
        }
    }
    assert!(faults.is_empty(), "{faults}");
}
