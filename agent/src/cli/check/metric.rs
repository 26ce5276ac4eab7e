//! Do the daemon's numbers mean anything?

use olsr_bridge::view::LinkMetric;

use super::daemon::sample;
use super::{Check, Context, Finding};
use crate::cli::units::counted;

pub(super) const CHECK: Check = Check {
    id: "metric",
    title: "Link metric",
    reason: "network costs are made from the daemon's link metric",
    needs_config: true,
    run,
};

fn run(context: &Context) -> Vec<Finding> {
    let Some(Ok(view)) = sample(context) else {
        return Finding::skipped("the routing daemon gave no view");
    };
    let mut findings = match view.daemon.metric {
        LinkMetric::Etx | LinkMetric::Loss | LinkMetric::Airtime | LinkMetric::Unknown => {
            let name = view.daemon.metric_name.as_deref().unwrap_or("in use");
            Finding::ok(format!("{name}, {} with a cost", costs(view)))
        }
        LinkMetric::Hops => vec![Finding::warning(
            "olsrd counts hops only (`LinkQualityLevel 0`): a bad link costs as much as a good one",
            "set `LinkQualityLevel 2` in the configuration of all olsrd of the mesh; it must be \
             the same everywhere",
        )],
        LinkMetric::NotMeaningful => vec![Finding::warning(
            "the metric has only default values, so no costs can be told",
            "load the plugin `ff_dat_metric` in olsrd2, or set a bit rate for its interfaces",
        )],
    };
    let misunderstood: u64 =
        view.complaints.iter().map(|complaint| u64::from(complaint.count)).sum();
    if misunderstood > 0 {
        findings.push(Finding::warning(
            format!("{} in the daemon's answer", counted(misunderstood, "complaint")),
            "`outrider mesh` lists them; the rest of the view is used",
        ));
    }
    findings
}

fn costs(view: &olsr_bridge::view::MeshView) -> String {
    let usable = view.links.iter().filter(|link| link.cost.is_some()).count();
    format!("{usable} of {}", counted(view.links.len() as u64, "link"))
}
