//! Can the wall clock be believed?

use super::{Check, Context, Finding};
use crate::cli::units::date;
use crate::core::time::ClockQuality;
use crate::shell::clock;

pub(super) const CHECK: Check = Check {
    id: "clock",
    title: "Clock",
    reason: "certificates are valid only at their time, and samples of several vehicles are put in \
             order by it",
    needs_config: false,
    run,
};

fn run(_: &Context) -> Vec<Finding> {
    let now = clock::now();
    let shown = date(now.wall_ms);
    match now.quality {
        ClockQuality::Synchronised => Finding::ok(format!("{shown}, synchronised")),
        ClockQuality::Unsynchronised => vec![Finding::warning(
            format!("{shown}, and nothing synchronises it"),
            "run chrony, systemd-timesyncd or gpsd; on a vehicle without any source of time this \
             stays a warning",
        )],
        ClockQuality::Unset => vec![Finding::warning(
            format!("{shown} cannot be right"),
            "set the clock, or run something that does; until then telemetry carries no wall time \
             and TLS cannot connect",
        )],
    }
}
