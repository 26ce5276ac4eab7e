//! What counts: judges what the programs printed, served and sent. Pure, so that it can be shown to refuse.

use serde_json::Value;

use super::super::targets::Machine;
use crate::bench::page::series;

/// A configuration with one mistake, which is in [`WRONG_LINE`].
pub const INVALID_CONFIGURATION: &str = "[vehicle]\nname = \"a\"\n[mqtt]\nport = \"many\"\n";

/// Where the mistake is, in the words of the program.
const WRONG_LINE: &str = "line 4";

/// Status of `outrider` for a configuration that is not valid; the exit codes are part of its interface.
const STATUS_CONFIG: i32 = 5;

/// Greatest cost there is (see the README of `olsr-bridge`).
const COST_MAX: f64 = 1_000_000.0;

/// Cost of a vehicle that cannot be reached.
const UNREACHABLE: f64 = -1.0;

/// Least share of the mesh that has to be reachable, in percent; it moves, and its rim comes and goes.
const REACHABLE_PERCENT: u32 = 90;

/// `mosquitto_sub -F`: topic, and payload in hex.
pub const MESSAGE_FORMAT: &str = "%t %x";

/// Something that was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub topic: String,
    pub payload: Vec<u8>,
}

/// `outrider version --json`: this workspace's version, for that machine, from the build that is called `label`.
pub fn version(json: &[u8], machine: Machine, label: &str) -> Result<String, String> {
    let document: Value = serde_json::from_slice(json)
        .map_err(|e| format!("outrider version --json printed no JSON: {e}"))?;
    // As `std::env::consts::ARCH` names them.
    let architecture = match machine {
        Machine::X86_64 => "x86_64",
        Machine::Aarch64 => "aarch64",
        Machine::Arm => "arm",
    };
    let version = env!("CARGO_PKG_VERSION");
    let wanted = [
        ("name", "outrider"),
        ("version", version),
        ("architecture", architecture),
        ("build", label),
    ];
    for (field, wanted) in wanted {
        if document[field] != wanted {
            return Err(format!(
                "outrider version --json: `{field}` is {}, not \"{wanted}\"",
                document[field]
            ));
        }
    }
    Ok(format!("{version}, {architecture}, build as labelled"))
}

/// `outrider config check` of [`INVALID_CONFIGURATION`].
pub fn invalid_configuration(code: Option<i32>, said: &str) -> Result<String, String> {
    if code != Some(STATUS_CONFIG) || !said.contains(WRONG_LINE) {
        return Err(format!(
            "outrider config check of a wrong file ended with status {code:?} and said `{said}`; it has to end with \
             {STATUS_CONFIG} and name {WRONG_LINE}"
        ));
    }
    Ok(format!("refused with status {STATUS_CONFIG}, names {WRONG_LINE}"))
}

/// What a program printed here and there.
pub fn same_lines(what: &str, there: &[u8], here: &[u8]) -> Result<(), String> {
    if here.is_empty() {
        return Err(format!("{what}: this machine's program printed nothing to compare with"));
    }
    same_bytes(what, there, here)
}

/// Exactly the bytes that are wanted.
pub fn same_bytes(what: &str, got: &[u8], wanted: &[u8]) -> Result<(), String> {
    if got == wanted {
        return Ok(());
    }
    let at = got.iter().zip(wanted).take_while(|(a, b)| a == b).count();
    Err(format!(
        "{what}: {} bytes came out where {} are wanted; they differ from byte {at}",
        got.len(),
        wanted.len()
    ))
}

/// The costs on a page of metrics: nothing for `own`, something sane for all others of a mesh with `nodes`.
pub fn costs(page: &str, own: &str, nodes: u32) -> Result<String, String> {
    let costs = series(page, "olsr_network_cost");
    let own = format!("{{node=\"{own}\"}}");
    let mut reachable = 0;
    let mut found = false;
    for (labels, cost) in &costs {
        if **labels == own {
            found = *cost == 0.0;
        } else if (1.0..=COST_MAX).contains(cost) && cost.fract() == 0.0 {
            reachable += 1;
        } else if *cost != UNREACHABLE {
            return Err(format!("/metrics: olsr_network_cost{labels} is {cost}"));
        }
    }
    if !found {
        return Err(format!("/metrics: olsr_network_cost{own} is not 0"));
    }
    if costs.len() > nodes as usize || reachable * 100 < (nodes - 1) * REACHABLE_PERCENT {
        return Err(format!(
            "/metrics: {} costs, {reachable} of reachable vehicles, in a mesh of {nodes}",
            costs.len()
        ));
    }
    Ok(format!("{} costs, own 0, {reachable} reachable", costs.len()))
}

/// What [`MESSAGE_FORMAT`] wrote; a line that is still being written does not count.
pub fn messages(text: &str) -> Result<Vec<Message>, String> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole
        .lines()
        .map(|line| {
            let odd = || format!("mosquitto_sub wrote an odd line: {line}");
            let (topic, hex) = line.rsplit_once(' ').ok_or_else(odd)?;
            Ok(Message { topic: topic.to_owned(), payload: bytes(hex).ok_or_else(odd)? })
        })
        .collect()
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let byte = |[high, low]: &[u8; 2]| u8::try_from(digit(*high)? * 16 + digit(*low)?).ok();
    rest.is_empty().then(|| pairs.iter().map(byte).collect())?
}

/// The status documents among `messages`.
fn statuses(messages: &[Message]) -> Result<Vec<Value>, String> {
    messages
        .iter()
        .filter(|message| message.topic.ends_with("/status"))
        .map(|message| {
            serde_json::from_slice(&message.payload)
                .map_err(|e| format!("{} is no JSON: {e}", message.topic))
        })
        .collect()
}

/// Whether a vehicle has gone offline.
pub fn offline(messages: &[Message]) -> Result<bool, String> {
    Ok(statuses(messages)?.iter().any(|status| status["status"] == "offline"))
}

/// What `vehicle` sent from its start to its orderly end.
pub fn course(messages: &[Message], vehicle: &str) -> Result<String, String> {
    let count = |last: &str| {
        let topic = format!("outrider/{vehicle}/{last}");
        messages.iter().filter(|message| message.topic == topic).count()
    };
    let (births, batches) = (count("birth"), count("telemetry"));
    if births == 0 || batches == 0 {
        return Err(format!("the broker got {births} birth documents and {batches} batches"));
    }
    let statuses = statuses(messages)?;
    let causes: Vec<&Value> = statuses.iter().map(|status| &status["cause"]).collect();
    let said: Vec<&Value> = statuses.iter().map(|status| &status["status"]).collect();
    if said != ["online", "offline"] || *causes[1] != "stopped" {
        return Err(format!("the broker got these status documents: {said:?}, causes {causes:?}"));
    }
    Ok(format!("online once, {births} birth documents, {batches} batches"))
}

/// The status document that the broker keeps after an orderly end.
pub fn kept_status(payload: &str) -> Result<(), String> {
    let status: Value = serde_json::from_str(payload)
        .map_err(|e| format!("the broker keeps `{payload}` as status, which is no JSON: {e}"))?;
    if status["status"] != "offline" || status["cause"] != "stopped" {
        return Err(format!("the broker keeps this status after the end: {payload}"));
    }
    Ok(())
}

/// Decoded lines: how many moments they are, and how many of them tell the own vehicle's cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moments {
    pub all: u32,
    pub with_costs: u32,
}

impl Moments {
    /// Counts the lines that one batch of `vehicle` gave.
    pub fn add(&mut self, lines: &str, vehicle: &str) -> Result<(), String> {
        let own = format!("olsr_network_cost{{node=\"{vehicle}\"}}");
        for line in lines.lines() {
            let tick: Value = serde_json::from_str(line)
                .map_err(|e| format!("outrider decode printed no JSON: {e}: {line}"))?;
            if tick["vehicle"] != vehicle {
                return Err(format!("outrider decode told of vehicle {}", tick["vehicle"]));
            }
            self.all += 1;
            self.with_costs += u32::from(tick["values"][&own] == 0);
        }
        Ok(())
    }
}

/// What a test run on the target printed: names of tests that passed, and what did not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tests {
    pub passed: Vec<String>,
    pub others: Vec<String>,
}

impl Tests {
    /// Takes in one line of libtest.
    pub fn add(&mut self, line: &str) {
        let Some((name, verdict)) =
            line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... "))
        else {
            return;
        };
        if verdict == "ok" {
            self.passed.push(name.to_owned());
        } else {
            self.others.push(format!("{name}: {verdict}"));
        }
    }

    /// At least `least` passed, all that are `required` among them, and nothing else happened.
    pub fn suffice(&self, least: usize, required: &[&str]) -> Result<(), String> {
        if !self.others.is_empty() {
            return Err(format!("tests did not pass: {}", self.others.join("; ")));
        }
        if self.passed.len() < least {
            return Err(format!("{} tests ran, at least {least} have to", self.passed.len()));
        }
        match required.iter().find(|name| !self.passed.iter().any(|passed| passed == **name)) {
            Some(missing) => Err(format!("test `{missing}` did not run")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
