//! Does the routing daemon answer?

use olsr_bridge::client::{Choice, Client, Options};
use olsr_bridge::failure::{Failure, FailureClass};
use olsr_bridge::view::MeshView;

use super::{Check, Context, Finding};
use crate::cli::mesh::daemon_line;
use crate::cli::units::counted;
use crate::config::{DaemonChoice, Mesh};

pub(super) const CHECK: Check = Check {
    id: "daemon",
    title: "Routing daemon",
    reason: "without it nothing is known about the mesh",
    needs_config: true,
    run,
};

fn run(context: &Context) -> Vec<Finding> {
    let Some(sample) = sample(context) else {
        return Finding::skipped("the configuration says that there is none");
    };
    match sample {
        Ok(view) => Finding::ok(format!(
            "{}, {}, {}",
            daemon_line(&view.daemon),
            counted(view.neighbors.len() as u64, "neighbour"),
            counted(view.routes.len() as u64, "route")
        )),
        Err(failure) => vec![Finding::error(failure.text.as_str(), remedy(failure))],
    }
}

/// The one reading of the daemon; `None` when there is no daemon to be read.
pub(super) fn sample(context: &Context) -> Option<&Result<MeshView, Failure>> {
    let options = options(&context.config.mesh)?;
    Some(context.sample.get_or_init(|| context.wait(Client::new(options).sample())))
}

/// How the configured daemon is read.
pub(in super::super) fn options(mesh: &Mesh) -> Option<Options> {
    let choice = match mesh.daemon {
        DaemonChoice::Auto => Choice::Auto,
        DaemonChoice::Jsoninfo => Choice::Jsoninfo,
        DaemonChoice::Txtinfo => Choice::Txtinfo,
        DaemonChoice::Olsrd2Http => Choice::Olsrd2Http,
        DaemonChoice::Olsrd2Telnet => Choice::Olsrd2Telnet,
        DaemonChoice::None => return None,
    };
    let mut options = Options {
        choice,
        connect: mesh.connect,
        timeout: mesh.timeout,
        names_file: mesh.names_file.clone(),
        ..Options::default()
    };
    options.cost.floor_per_hop = mesh.cost_floor_per_hop;
    options.cost.reference_rate = mesh.reference_rate;
    Some(options)
}

fn remedy(failure: &Failure) -> &'static str {
    match failure.class {
        FailureClass::Refused => {
            "start olsrd or olsrd2 and load its plugin: jsoninfo or txtinfo for olsrd, http or \
             telnet for olsrd2; where it listens elsewhere, set `connect` in section `[mesh]`"
        }
        FailureClass::Timeout => {
            "see whether the daemon hangs, or whether something else listens on this port"
        }
        FailureClass::NotAllowed => {
            "set the plugin's parameter `accept` to the address the agent comes from, 127.0.0.1 by \
             default"
        }
        FailureClass::NotFound => {
            "load the plugin that `daemon` in section `[mesh]` names, or write \"auto\" there"
        }
        FailureClass::Busy => "let fewer programs read the daemon at once",
        FailureClass::NotUnderstood => {
            "see what listens on this port; it does not answer like a routing daemon"
        }
        FailureClass::TooLarge => "see what listens on this port; no mesh has that many nodes",
        FailureClass::Io => "see what the system says in the message",
    }
}
