//! Writes the software bill of materials of one target as CycloneDX, and has it checked.
//!
//! Version 1.6 and not 1.7, because every consumer in use reads it: it is the one that was standardised (ECMA-424), scanners
//! and Dependency-Track take it, and nothing that 1.7 adds is needed here.
//!
//! What is linked in is a component of scope `required` and part of the graph. Crates that only ran during the build
//! are of scope `excluded` and not in the graph. Compilers and linkers are under `formulation`: they are not components of the
//! program, and not the tools that wrote this document, which is what `metadata.tools` is for. Equal input gives
//! equal bytes: there is no clock and no randomness in it.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::linked::{Component, Inventory, Origin};
use super::publish::sha256;
use crate::python;
use crate::steps::run;

/// The program that a bill is about; the others are components that it comes with.
const MAIN: &str = "outrider";

/// What checks the document, installed into a folder of its own.
const REQUIREMENTS: &str = "cross/requirements-sbom.txt";
/// The check, for the Python in that folder.
const CHECK: &str = include_str!("check_sbom.py");

/// A program that took part in the build and is not in the result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tool {
    /// Name of the program.
    pub name: String,
    /// Its version, with whatever distinguishes builds of it.
    pub version: String,
}

/// What the document says besides the components.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// Commit that was built.
    pub commit: &'a str,
    /// Time of the document, in seconds since 1970: SOURCE_DATE_EPOCH.
    pub epoch_s: u64,
    /// Compilers, linkers and what drives them.
    pub tools: &'a [Tool],
}

/// The document.
pub fn document(inventory: &Inventory, facts: &Facts<'_>) -> Result<String, String> {
    let main = inventory
        .components
        .values()
        .find(|component| component.origin == Origin::Own && component.name == MAIN)
        .ok_or_else(|| format!("{MAIN} is not among the programs for {}", inventory.target))?;
    let others = inventory.components.values().filter(|component| component.purl != main.purl);
    let linked =
        inventory.components.values().filter(|component| component.origin != Origin::BuildOnly);
    let mut head = component(main);
    head["properties"] = json!([
        property("outrider:commit", facts.commit),
        property("outrider:target", &inventory.target),
    ]);
    let mut tools: Vec<&Tool> = facts.tools.iter().collect();
    tools.sort_by_key(|tool| (&tool.name, &tool.version));
    let mut bom = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": rfc3339(facts.epoch_s)?,
            "lifecycles": [{ "phase": "build" }],
            "tools": { "components": [tool("xtask", env!("CARGO_PKG_VERSION"))] },
            "component": head,
        },
        "components": others.map(component).collect::<Vec<_>>(),
        "dependencies": linked
            .map(|component| json!({ "ref": component.purl, "dependsOn": component.needs }))
            .collect::<Vec<_>>(),
        "formulation": [{
            "components": tools.iter().map(|one| tool(&one.name, &one.version)).collect::<Vec<_>>(),
        }],
    });
    bom["serialNumber"] = json!(format!("urn:uuid:{}", uuid(&sha256(text(&bom)?.as_bytes())?)));
    text(&bom)
}

fn text(bom: &Value) -> Result<String, String> {
    serde_json::to_string_pretty(bom)
        .map(|text| text + "\n")
        .map_err(|e| format!("writing the bill of materials: {e}"))
}

fn component(component: &Component) -> Value {
    let Component { purl, name, version, licence, repository, sha256, cpe, origin, .. } = component;
    let (kind, scope, from) = match origin {
        Origin::Own => ("application", "required", "workspace"),
        Origin::Registry => ("library", "required", "registry"),
        Origin::Rust => ("library", "required", "rust-library"),
        Origin::Runtime => ("library", "required", "c-toolchain"),
        Origin::BuildOnly => ("library", "excluded", "build"),
    };
    let mut value = json!({
        "type": kind,
        "bom-ref": purl,
        "name": name,
        "version": version,
        "scope": scope,
        "licenses": [{ "expression": licence }],
        "purl": purl,
        "properties": [property("outrider:from", from)],
    });
    if let Some(sha256) = sha256 {
        value["hashes"] = json!([{ "alg": "SHA-256", "content": sha256 }]);
    }
    if let Some(cpe) = cpe {
        value["cpe"] = json!(cpe);
    }
    if let Some(repository) = repository {
        value["externalReferences"] = json!([{ "type": "vcs", "url": repository }]);
    }
    value
}

fn tool(name: &str, version: &str) -> Value {
    json!({ "type": "application", "name": name, "version": version })
}

fn property(name: &str, value: &str) -> Value {
    json!({ "name": name, "value": value })
}

/// A UUID of version 8 (RFC 9562, section 5.8: contents are the maker's) from the first 128 bits of a hash.
fn uuid(sha256: &str) -> String {
    let digit = |at: usize| sha256.as_bytes().get(at).map_or('0', |byte| char::from(*byte));
    let mut uuid = String::new();
    for at in 0..32 {
        if [8, 12, 16, 20].contains(&at) {
            uuid.push('-');
        }
        uuid.push(match at {
            12 => '8',
            // The variant is the two highest bits, 1 and 0.
            16 => ['8', '9', 'a', 'b'][digit(at).to_digit(16).unwrap_or(0) as usize % 4],
            _ => digit(at),
        });
    }
    uuid
}

/// A time in UTC as RFC 3339 has it. Refuses years of more than four digits, which it cannot write.
fn rfc3339(epoch_s: u64) -> Result<String, String> {
    const DAY_S: u64 = 24 * 60 * 60;
    /// Days of 400 years of the Gregorian calendar, after which it repeats.
    const CYCLE_D: u64 = 146_097;
    /// Days from 0000-03-01 to 1970-01-01. Years that begin in March have their leap day at the end.
    const EPOCH_D: u64 = 719_468;
    let days = epoch_s / DAY_S + EPOCH_D;
    let day_of_cycle = days % CYCLE_D;
    let leap_days = day_of_cycle / 1_460 + day_of_cycle / (CYCLE_D - 1);
    let year_of_cycle = (day_of_cycle + day_of_cycle / 36_524 - leap_days) / 365;
    let day_of_year =
        day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    // From March on, five months have 153 days: 31, 30, 31, 30, 31.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = days / CYCLE_D * 400 + year_of_cycle + u64::from(month <= 2);
    if year > 9_999 {
        return Err(format!("SOURCE_DATE_EPOCH={epoch_s} is after the year 9999"));
    }
    let (hour, minute, second) = (epoch_s / 3_600 % 24, epoch_s / 60 % 60, epoch_s % 60);
    Ok(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"))
}

/// Checks the document in `file` with the reference implementation.
pub fn check(root: &Path, venv: &Path, file: &Path) -> Result<(), String> {
    let python = validator(root, venv)?;
    run("check the bill of materials", python::isolated(&python).args(["-c", CHECK]).arg(file))
}

/// Path of a Python that has the reference implementation, which is installed into `venv` once.
pub fn validator(root: &Path, venv: &Path) -> Result<PathBuf, String> {
    python::environment(venv, &root.join(REQUIREMENTS))
}

#[cfg(test)]
mod tests;
