//! What the agent says of what happened, for people.

use olsr_bridge::view::{DaemonKind, MeshView};

use crate::core::links::{Change, Reach};
use crate::core::state::Severity;

/// What is said when a daemon answers after silence.
pub(super) fn daemon_text(view: &MeshView) -> String {
    let version = view.daemon.version.as_deref().unwrap_or("of unknown version");
    let kind = match view.daemon.kind {
        DaemonKind::Olsrd => "olsrd",
        DaemonKind::Olsrd2 => "olsrd2",
    };
    format!("the routing daemon answers: {kind} {version}, {} routes", view.routes.len())
}

/// What is said after a reload.
pub(super) fn reload_text(effective: &[String], need_restart: &[String]) -> String {
    let list = |keys: &[String]| {
        if keys.is_empty() { "nothing".to_owned() } else { keys.join(", ") }
    };
    let mut text = format!("the configuration was read again; changed: {}", list(effective));
    if !need_restart.is_empty() {
        text += &format!("; takes effect at the next start: {}", list(need_restart));
    }
    text
}

/// A change of reach in words.
pub(super) fn describe(change: &Change) -> (Severity, &'static str, String) {
    let name = &change.vehicle;
    match change.to {
        Reach::Own => (Severity::Info, "vehicle-own", format!("{name} is this vehicle")),
        Reach::Reachable { cost } => {
            (Severity::Info, "vehicle-reachable", format!("{name} is reachable at cost {cost}"))
        }
        Reach::NotMeaningful => (
            Severity::Info,
            "vehicle-reachable",
            format!("{name} is reachable; the daemon's metric says nothing about the cost"),
        ),
        Reach::Unreachable => {
            (Severity::Warning, "vehicle-unreachable", format!("{name} is unreachable"))
        }
        Reach::Unknown => (
            Severity::Info,
            "vehicle-unknown",
            format!("nothing can be said about {name} any more"),
        ),
    }
}
