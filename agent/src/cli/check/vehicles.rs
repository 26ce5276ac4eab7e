//! Are the configured vehicles in the mesh?

use olsr_bridge::lookup::Resolution;

use super::daemon::sample;
use super::{Check, Context, Finding};
use crate::cli::units::counted;

pub(super) const CHECK: Check = Check {
    id: "vehicles",
    title: "Configured vehicles",
    reason: "a vehicle whose address is mistyped looks like one that cannot be reached",
    needs_config: true,
    run,
};

fn run(context: &Context) -> Vec<Finding> {
    let configured = &context.config.mesh.vehicles;
    if configured.is_empty() {
        return Finding::skipped("none; vehicles are known by what the mesh says");
    }
    let Some(Ok(view)) = sample(context) else {
        return Finding::skipped("the routing daemon gave no view");
    };
    let missing: Vec<&str> = configured
        .iter()
        .filter(|(_, addresses)| !addresses.iter().any(|address| present(view.resolve(*address))))
        .map(|(name, _)| name.as_str())
        .collect();
    if missing.is_empty() {
        let count = counted(configured.len() as u64, "vehicle");
        return Finding::ok(format!("{count}, all in the mesh"));
    }
    vec![Finding::warning(
        format!("not in the mesh now: {}", missing.join(", ")),
        "check their addresses in `[mesh.vehicles]`; a vehicle that is away is no fault",
    )]
}

/// Whether there is a way to the address now.
fn present(resolution: Resolution<'_>) -> bool {
    match resolution {
        Resolution::Own | Resolution::Route { .. } => true,
        Resolution::Unreachable { .. } | Resolution::Unknown => false,
    }
}
