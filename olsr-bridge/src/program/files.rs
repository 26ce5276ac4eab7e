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

/// One view of everything in the files named on the command line, with or without HTTP headers.
pub fn view(args: &Args) -> Result<MeshView, Failure> {
    let limit = args.options.answer_bytes_max;
    let mut answers = Vec::new();
    for path in &args.files {
        answers.push((path, read(path, limit)?));
    }
    let mut builder: Option<(Protocol, Builder)> = None;
    let mut olsrd2 = Vec::new();
    for (path, bytes) in &answers {
        let answer = http::split(bytes);
        if let Some(class) = answer.refusal() {
            return Err(failure(path, class, "the daemon refused the request"));
        }
        let Some(found) = protocol(args.options.choice, answer.body) else {
            return Err(failure(
                path,
                FailureClass::NotUnderstood,
                "it holds no answer of an OLSR daemon",
            ));
        };
        let (protocol, builder) =
            builder.get_or_insert_with(|| (found, Builder::new(kind(found), found)));
        if kind(found) != kind(*protocol) {
            let why = "it is of another daemon than the files before it; read them separately";
            return Err(failure(path, FailureClass::NotUnderstood, why));
        }
        let findings = match found {
            Protocol::Jsoninfo => v1::jsoninfo::parse(answer.body, builder),
            Protocol::Txtinfo => v1::txtinfo::parse(answer.body, builder),
            Protocol::Olsrd2Http | Protocol::Olsrd2Telnet => {
                // One answer may say something about rows of another, so they are read as one text.
                olsrd2.extend_from_slice(answer.body);
                Findings { understood: true, ..Findings::default() }
            }
        };
        if let Some(class) = findings.refusal {
            return Err(failure(path, class, "the daemon refused the request"));
        }
        if !findings.understood {
            return Err(failure(path, FailureClass::NotUnderstood, "it holds no table of olsrd"));
        }
    }
    let Some((_, mut builder)) = builder else {
        return Err(Failure { class: FailureClass::Io, text: "no file to read".to_owned() });
    };
    v2::parse(&olsrd2, &mut builder);
    if let Some(path) = &args.options.names_file {
        names::parse(&read(path, limit)?, &mut builder);
    }
    let view = builder.finish(&args.options.cost);
    if view.ages.is_empty() && view.daemon.version.is_none() && view.own.is_empty() {
        let text = "the files hold no complete table of a daemon; save whole answers".to_owned();
        return Err(Failure { class: FailureClass::NotUnderstood, text });
    }
    Ok(view)
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
        b"link" | b"neighbor" | b"interface" | b"originator" | b"route" | b"edge"
        | b"attached_network" | b"lan" | b"local" | b"node" | b"time" | b"type" => {
            Some(Protocol::Olsrd2Telnet)
        }
        // An object in olsrd, a table in olsrd2.
        b"version" if reader.rest().trim_ascii_start().starts_with(b"[") => {
            Some(Protocol::Olsrd2Telnet)
        }
        _ => Some(Protocol::Jsoninfo),
    }
}
