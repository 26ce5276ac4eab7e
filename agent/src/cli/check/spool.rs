//! Can gathered records be kept?

use std::path::Path;

use nix::unistd::{AccessFlags, access};
use spool::{Files, Lock, Storage as _};

use super::{Check, Context, Finding};
use crate::cli::client::{Endpoint, get};
use crate::cli::units::bytes;
use crate::core::status::SpoolStatus;
use crate::shell::disk::{existing, free_bytes};

pub(super) const CHECK: Check = Check {
    id: "spool",
    title: "Spool",
    reason: "what is gathered while nobody can be reached is kept there",
    needs_config: true,
    run,
};

/// Time for the agent to answer.
const ANSWER_WITHIN: std::time::Duration = std::time::Duration::from_secs(5);

/// Used part of the budget from which on losses are near, in percent.
const NEARLY_FULL_PERCENT: u64 = 90;

fn run(context: &Context) -> Vec<Finding> {
    let config = &context.config;
    let Some(folder) = &config.spool.folder else {
        return without(context);
    };
    if let Some(status) = ask(context) {
        return running(&status);
    }
    let existing = existing(folder);
    let mut findings = writable(folder, existing);
    findings.extend(space(existing, config.spool.size));
    if findings.is_empty() {
        return Finding::ok(format!("{} can be used", folder.display()));
    }
    findings
}

fn without(context: &Context) -> Vec<Finding> {
    let gather = &context.config.gather;
    if gather.folder.is_empty() && gather.mqtt.is_empty() {
        return Finding::skipped("none is configured");
    }
    vec![Finding::error(
        "something is to be gathered, and there is no spool to keep it in",
        "set `folder` in section `[spool]`; as a service, let systemd make it by `StateDirectory=`",
    )]
}

/// What the running agent says.
fn ask(context: &Context) -> Option<SpoolStatus> {
    let path = context.config.control.path.clone()?;
    let answer = get(&Endpoint::Control(path), "/v1/streams", ANSWER_WITHIN).ok()?;
    serde_json::from_str(&answer.body).ok()
}

fn running(status: &SpoolStatus) -> Vec<Finding> {
    let folder = &status.folder;
    let error = status.error.as_deref().unwrap_or("it is being opened");
    if !status.configured {
        return vec![Finding::warning(
            "the running agent has no spool; the configuration has one",
            "restart the agent, so that it takes over the configuration",
        )];
    }
    if !status.open {
        return vec![Finding::error(
            format!("the agent could not open {folder}: {error}"),
            "follow what the reason says; the agent runs on without gathering",
        )];
    }
    let mut findings = Vec::new();
    if status.degraded {
        findings.push(Finding::error(
            format!("the disk of {folder} takes nothing: {error}"),
            "see whether it is full, read-only or broken (`df`, `dmesg`); records wait in memory, and \
             the agent tries again by itself",
        ));
    } else if status.error.is_some() {
        findings.push(Finding::error(
            format!("what is in {folder} cannot be read: {error}"),
            "see whether its medium is there and sound (`df`, `dmesg`); nothing is lost while the folder is away, \
             and the agent tries again by itself",
        ));
    }
    if status.bad_bytes > 0 {
        findings.push(Finding::warning(
            format!(
                "{} of {folder} were not what had been written",
                bytes(status.bad_bytes as f64)
            ),
            "see what is in its folder `quarantine`; a card that damages data should be replaced",
        ));
    }
    if status.disk_bytes * 100 >= status.budget_bytes * NEARLY_FULL_PERCENT {
        findings.push(Finding::warning(
            format!(
                "{folder} is nearly full: {} of {}",
                bytes(status.disk_bytes as f64),
                bytes(status.budget_bytes as f64)
            ),
            "streams drop or refuse records by their rules; raise `size` in section `[spool]`, or see \
             why nothing leaves",
        ));
    }
    if !findings.is_empty() {
        return findings;
    }
    let held: u64 = status.streams.iter().map(|stream| stream.held_records).sum();
    Finding::ok(format!(
        "the agent keeps {held} records in {folder}, {} of {}",
        bytes(status.disk_bytes as f64),
        bytes(status.budget_bytes as f64)
    ))
}

/// No agent answers: could one keep records, as this user?
fn writable(folder: &Path, existing: &Path) -> Vec<Finding> {
    let shown = folder.display();
    if access(existing, AccessFlags::W_OK | AccessFlags::X_OK).is_err() {
        return vec![Finding::error(
            format!("this user may not write {}", existing.display()),
            format!(
                "run this check as the agent's user; or let the folder belong to it, or set another \
                 `folder` in section `[spool]` than {shown}"
            ),
        )];
    }
    if existing != folder {
        return Vec::new();
    }
    match Files::new(folder).lock() {
        Ok(Lock::Held) => Vec::new(),
        Ok(Lock::Taken) => vec![Finding::error(
            format!("another process uses {shown}, and it is not the agent at the control socket"),
            "stop it, or set another `folder` in section `[spool]`",
        )],
        Err(error) => vec![Finding::error(
            format!("cannot lock {shown}: {error}"),
            "see whether its file system is read-only or broken",
        )],
    }
}

fn space(existing: &Path, size: u64) -> Option<Finding> {
    let free = free_bytes(existing).ok()?;
    (free < size).then(|| {
        Finding::warning(
            format!(
                "the file system of {} has {} free, less than the spool may take ({})",
                existing.display(),
                bytes(free as f64),
                bytes(size as f64)
            ),
            "make room, or lower `size` in section `[spool]`",
        )
    })
}
