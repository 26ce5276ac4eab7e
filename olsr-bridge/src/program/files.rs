//! Saved answers of a daemon in place of a daemon: what support gets by mail.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use olsr_bridge::build::Builder;
use olsr_bridge::client::Choice;
use olsr_bridge::failure::{Failure, FailureClass};
use olsr_bridge::http;
use olsr_bridge::json::Reader;
use olsr_bridge::names;
use olsr_bridge::v1::{self, Findings};
use olsr_bridge::v2;
use olsr_bridge::view::{DaemonKind, MeshView, Protocol};

use super::args::Args;

/// A view of the files, and what was wrong with those that gave nothing.
pub struct Reading {
    pub view: MeshView,
    pub problems: Vec<Failure>,
}

/// One view of everything in the files named on the command line, with or without HTTP headers. A
/// file that gives nothing is a problem of its own; only when none gives anything is there no view.
pub fn view(args: &Args) -> Result<Reading, Failure> {
    let limit = args.options.answer_bytes_max;
    let mut answers = Vec::new();
    for path in &args.files {
        answers.push((path, read(path, limit)?));
    }
    let mut whole: Option<(Protocol, Builder)> = None;
    let mut olsrd2 = Vec::new();
    let mut problems = Vec::new();
    for (path, bytes) in &answers {
        let answer = http::split(bytes);
        let problem = match (answer.refusal(), protocol(args.options.choice, answer.body)) {
            (Some(class), _) => Some(failure(path, class, refused(class))),
            (None, None) => Some(failure(path, FailureClass::NotUnderstood, NO_ANSWER)),
            (None, Some(found)) => {
                let (first, builder) =
                    whole.get_or_insert_with(|| (found, Builder::new(kind(found), found)));
                if kind(found) != kind(*first) {
                    let why =
                        "it is of another daemon than the files before it; read them separately";
                    return Err(failure(path, FailureClass::NotUnderstood, why));
                }
                let findings = parse(found, answer.body, builder, &mut olsrd2);
                match findings.refusal {
                    Some(class) => Some(failure(path, class, refused(class))),
                    None if !findings.understood => {
                        Some(failure(path, FailureClass::NotUnderstood, NO_ANSWER))
                    }
                    None => None,
                }
            }
        };
        problems.extend(problem);
    }
    let view = whole.map(|(_, mut builder)| {
        v2::parse(&olsrd2, &mut builder);
        if let Some(path) = &args.options.names_file {
            match read(path, limit) {
                Ok(file) => names::parse(&file, &mut builder),
                Err(problem) => problems.push(problem),
            }
        }
        builder.finish(&args.options.cost)
    });
    match view {
        Some(view) if says_something(&view) => Ok(Reading { view, problems }),
        Some(_) | None => Err(problems.into_iter().next().unwrap_or_else(|| Failure {
            class: FailureClass::NotUnderstood,
            text: "the files hold no whole table of a daemon; save complete answers".to_owned(),
        })),
    }
}

const NO_ANSWER: &str = "it holds no table of an OLSR daemon";

/// Reads one answer. Those of olsrd2 are only collected: one may say something about rows of
/// another, so they are read as one text.
fn parse(protocol: Protocol, body: &[u8], builder: &mut Builder, olsrd2: &mut Vec<u8>) -> Findings {
    match protocol {
        Protocol::Jsoninfo => v1::jsoninfo::parse(body, builder),
        Protocol::Txtinfo => v1::txtinfo::parse(body, builder),
        Protocol::Olsrd2Http | Protocol::Olsrd2Telnet => {
            olsrd2.extend_from_slice(body);
            Findings { understood: true, ..Findings::default() }
        }
    }
}

fn says_something(view: &MeshView) -> bool {
    !view.ages.is_empty() || view.daemon.version.is_some() || !view.own.is_empty()
}

/// What a refusal in a file means.
fn refused(class: FailureClass) -> &'static str {
    match class {
        FailureClass::NotAllowed => "the daemon did not accept the asker's address",
        FailureClass::NotFound => "the daemon did not know the request",
        FailureClass::Busy => "the daemon was too busy to answer",
        FailureClass::Refused
        | FailureClass::Timeout
        | FailureClass::NotUnderstood
        | FailureClass::TooLarge
        | FailureClass::Io => "the daemon refused the request",
    }
}

fn failure(path: &Path, class: FailureClass, why: &str) -> Failure {
    Failure { class, text: format!("reading {}: {why}", path.display()) }
}

/// The whole file, or standard input for `-`.
fn read(path: &Path, limit: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let limit_bytes = limit as u64 + 1;
    let result = if path == Path::new("-") {
        std::io::stdin().lock().take(limit_bytes).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(limit_bytes).read_to_end(&mut bytes))
    };
    match result {
        Err(error) => Err(failure(path, FailureClass::Io, &error.to_string())),
        Ok(count) if count > limit => {
            Err(failure(path, FailureClass::TooLarge, &format!("it is larger than {limit} bytes")))
        }
        Ok(_) => Ok(bytes),
    }
}

fn kind(protocol: Protocol) -> DaemonKind {
    match protocol {
        Protocol::Jsoninfo | Protocol::Txtinfo => DaemonKind::Olsrd,
        Protocol::Olsrd2Http | Protocol::Olsrd2Telnet => DaemonKind::Olsrd2,
    }
}

/// Which interface made this answer: as chosen, or by its first words.
fn protocol(choice: Choice, body: &[u8]) -> Option<Protocol> {
    match choice {
        Choice::Auto => {}
        Choice::Jsoninfo => return Some(Protocol::Jsoninfo),
        Choice::Txtinfo => return Some(Protocol::Txtinfo),
        Choice::Olsrd2Http => return Some(Protocol::Olsrd2Http),
        Choice::Olsrd2Telnet => return Some(Protocol::Olsrd2Telnet),
    }
    let start = body.trim_ascii_start();
    if [&b"Table:"[..], b"Version:", b"error:"].iter().any(|word| start.starts_with(word)) {
        return Some(Protocol::Txtinfo);
    }
    if start.starts_with(b"Error, ") || start.starts_with(b"Unknown parameter") {
        return Some(Protocol::Olsrd2Telnet);
    }
    let mut reader = Reader::new(start);
    if !start.starts_with(b"{") || !reader.open_object() {
        return None;
    }
    match reader.key()? {
        // An object in olsrd, a table in olsrd2.
        b"version" if reader.rest().trim_ascii_start().starts_with(b"[") => {
            Some(Protocol::Olsrd2Telnet)
        }
        b"pid" | b"systemTime" | b"timeSinceStartup" | b"uuid" | b"error" | b"links"
        | b"neighbors" | b"routes" | b"hna" | b"mid" | b"topology" | b"gateways"
        | b"interfaces" | b"config" | b"version" | b"plugins" | b"2hop" | b"sgw" => {
            Some(Protocol::Jsoninfo)
        }
        _ => Some(Protocol::Olsrd2Telnet),
    }
}
