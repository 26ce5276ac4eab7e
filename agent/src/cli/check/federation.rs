//! Could this vehicle join its federations?

use super::{Check, Context, Finding, Verdict};
use crate::core::membership::preflight;
use crate::shell::federation::{Credentials, Plan, look};

pub(super) const CHECK: Check = Check {
    id: "federation",
    title: "Federations",
    reason: "a join that cannot succeed is not begun, and the vehicle stays alone",
    needs_config: true,
    run,
};

fn run(context: &Context) -> Vec<Finding> {
    let config = &context.config;
    if config.federation.is_empty() && context.named.is_none() {
        return Finding::skipped("none is configured");
    }
    let wanted = |name: &str| context.named.as_deref().is_none_or(|wanted| wanted == name);
    let node_name = config.k3s.node_name(&config.vehicle.name);
    let mut findings = Vec::new();
    for federation in config.federation.iter().filter(|federation| wanted(&federation.name)) {
        let plan = Plan {
            federation,
            unit: config.k3s.unit.as_deref(),
            has_commands: !config.k3s.start_command.is_empty(),
            data_folder: &config.k3s.data_folder,
            spool: &config.spool,
            vehicle: &config.vehicle.name,
            node_name: &node_name,
            // Only for somebody who asks for this one: it costs the server far more than all the rest.
            credentials: if context.named.is_some() {
                Credentials::Shown
            } else {
                Credentials::Kept
            },
        };
        let looked = context.wait(look(plan));
        findings.extend(looked.into_iter().map(|finding| shown(&federation.name, finding)));
    }
    if findings.is_empty() {
        let known: Vec<&str> = config.federation.iter().map(|known| known.name.as_str()).collect();
        let remedy = match &known[..] {
            [] => "add it to the configuration, which has no `[[federation]]`, or name the right file with `--config`".to_owned(),
            known => format!("write one of {}, or add it to the configuration", known.join(", ")),
        };
        findings.push(Finding::error(
            format!("`{}` is not configured", context.named.as_deref().unwrap_or_default()),
            remedy,
        ));
    }
    findings
}

fn shown(name: &str, finding: preflight::Finding) -> Finding {
    let verdict = match finding.verdict {
        preflight::Verdict::Good => Verdict::Ok,
        preflight::Verdict::Skipped => Verdict::Skipped,
        preflight::Verdict::Doubt => Verdict::Warning,
        preflight::Verdict::Bad(_) => Verdict::Error,
    };
    let text = format!("{name}, {}: {}", finding.stage.word(), finding.text);
    Finding { verdict, text, remedy: finding.remedy }
}
