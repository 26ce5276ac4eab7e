//! Does the vehicle have a name that tells it from the others?

use super::{Check, Context, Finding};
use crate::config::rules::is_node_name;

pub(super) const CHECK: Check = Check {
    id: "identity",
    title: "Name of the vehicle",
    reason: "two vehicles of one name overwrite each other's telemetry, and the scheduler finds a \
             node by its name",
    needs_config: true,
    run,
};

/// Host names that images ship with.
const COMMON_NAMES: &[&str] =
    &["localhost", "localhost.localdomain", "outrider", "raspberrypi", "debian", "openwrt", "none"];

fn run(context: &Context) -> Vec<Finding> {
    let name = &context.config.vehicle.name;
    if COMMON_NAMES.contains(&name.as_str()) {
        return vec![Finding::warning(
            format!("`{name}` is the name of many machines"),
            "set `name` in section `[vehicle]`, or give the machine a host name of its own",
        )];
    }
    if !is_node_name(name) {
        return vec![Finding::warning(
            format!("`{name}` cannot be the name of a Kubernetes node"),
            "use lower-case letters, digits, `-` and `.` only, if the vehicle is to join a cluster",
        )];
    }
    Finding::ok(name.as_str())
}
