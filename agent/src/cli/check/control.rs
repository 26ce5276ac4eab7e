//! Does the agent answer on its control socket?

use std::path::Path;
use std::time::Duration;

use nix::unistd::{AccessFlags, access};

use super::{Check, Context, Finding};
use crate::cli::client::{AskError, Endpoint, get};
use crate::core::health::Health;

pub(super) const CHECK: Check = Check {
    id: "control",
    title: "Control socket",
    reason: "`outrider status` and `outrider mesh` ask the agent there",
    needs_config: true,
    run,
};

/// Time for the agent to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

fn run(context: &Context) -> Vec<Finding> {
    let Some(path) = &context.config.control.path else {
        return Finding::skipped("the configuration switches it off");
    };
    let shown = path.display();
    match get(&Endpoint::Control(path.clone()), "/healthz", ANSWER_WITHIN) {
        Ok(answer) => health(&answer.body, path),
        Err(AskError::Absent) => absent(path),
        Err(AskError::NotAllowed) => vec![Finding::warning(
            format!("this user may not use {shown}"),
            "use sudo, or join the group of that socket",
        )],
        Err(AskError::Slow) => vec![Finding::error(
            format!("an agent holds {shown} and does not answer"),
            "see its log (`journalctl -u outrider`) and restart it",
        )],
        Err(AskError::NotUnderstood(what)) => vec![Finding::error(
            format!("what answers at {shown} is no outrider: {what}"),
            "set another `path` in section `[control]`",
        )],
        Err(AskError::Io(error)) => vec![Finding::error(
            format!("cannot use {shown}: {error}"),
            "check `path` in section `[control]`",
        )],
    }
}

fn health(body: &str, path: &Path) -> Vec<Finding> {
    let Ok(health) = serde_json::from_str::<Health>(body) else {
        return vec![Finding::error(
            format!("the agent at {} is of another version", path.display()),
            "restart it, so that program and agent are of one version",
        )];
    };
    if health.healthy {
        return Finding::ok(format!("the agent answers at {} and is healthy", path.display()));
    }
    let reasons: Vec<&str> = health.reasons.iter().map(|reason| reason.text.as_str()).collect();
    vec![Finding::warning(
        format!("the agent answers and is not healthy: {}", reasons.join("; ")),
        "`outrider status` shows more",
    )]
}

/// Nobody listens: could the agent, as this user?
fn absent(path: &Path) -> Vec<Finding> {
    let shown = path.display();
    let existing = path.ancestors().skip(1).find(|ancestor| ancestor.exists());
    let writable = existing.is_some_and(|directory| access(directory, AccessFlags::W_OK).is_ok());
    if writable {
        return vec![Finding::warning(
            format!("no agent is running: nobody listens at {shown}"),
            "start it with `systemctl start outrider` or `outrider run`",
        )];
    }
    vec![Finding::warning(
        format!("no agent is running, and this user could not make {shown}"),
        "start it as a service, which has its own directory; or set `path` in section `[control]` \
         to where this user may write; or run it as root",
    )]
}
