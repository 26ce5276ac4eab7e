//! Can the agent serve its page and metrics?

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use super::{Check, Context, Finding};
use crate::cli::agent;
use crate::cli::client::{Endpoint, get};
use crate::core::status::Status;

pub(super) const CHECK: Check = Check {
    id: "http",
    title: "HTTP port",
    reason: "metrics and the status page are served there",
    needs_config: true,
    run,
};

/// Time for an agent to say that the port is its.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

fn run(context: &Context) -> Vec<Finding> {
    let Some(listen) = context.config.http.listen else {
        return Finding::skipped("the configuration switches HTTP off");
    };
    let mut findings = port(context, listen);
    if !listen.ip().is_loopback() {
        findings.push(Finding::warning(
            format!("{listen} can be read by everybody who reaches this vehicle, without password"),
            "listen on 127.0.0.1 unless others are meant to read; nothing can be changed through \
             it",
        ));
    }
    findings
}

fn port(context: &Context, listen: SocketAddr) -> Vec<Finding> {
    match holder(context) {
        Some(vehicle) if vehicle == context.config.vehicle.name => {
            return Finding::ok(format!("{listen} is held by the running agent"));
        }
        Some(vehicle) => {
            return vec![Finding::error(
                format!("{listen} is held by an agent that calls itself `{vehicle}`"),
                "let only one agent run, or set another `listen` in section `[http]`",
            )];
        }
        None => {}
    }
    // The agent, too, listens on addresses that the machine does not have yet; so only what is
    // there is tried.
    match TcpListener::bind(listen) {
        Ok(_) => Finding::ok(format!("{listen} is free")),
        Err(error) if error.kind() == ErrorKind::AddrNotAvailable => vec![Finding::warning(
            format!("this machine has no address {} now", listen.ip()),
            "check `listen` in section `[http]`; an interface that comes up later is no fault",
        )],
        Err(error) if error.kind() == ErrorKind::AddrInUse => vec![Finding::error(
            format!("{listen} is held by another program"),
            format!(
                "find it with `ss -ltnp 'sport = :{}'`, or set `listen` in section `[http]`",
                listen.port()
            ),
        )],
        Err(error) if error.kind() == ErrorKind::PermissionDenied => vec![Finding::error(
            format!("this user may not listen on {listen}"),
            "choose a port above 1023 at `listen` in section `[http]`",
        )],
        Err(error) => vec![Finding::error(
            format!("cannot listen on {listen}: {error}"),
            "check `listen` in section `[http]`",
        )],
    }
}

/// What the agent that answers on the configured port calls its vehicle.
fn holder(context: &Context) -> Option<String> {
    let endpoints = agent::of_config(&context.config);
    let tcp = endpoints.iter().find(|endpoint| matches!(endpoint, Endpoint::Tcp(_)))?;
    let answer = get(tcp, "/v1/status", ANSWER_WITHIN).ok()?;
    let status: Status = serde_json::from_str(&answer.body).ok()?;
    Some(status.identity.vehicle)
}
