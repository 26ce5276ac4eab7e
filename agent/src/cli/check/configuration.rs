//! Is the configuration valid?

use super::{Check, Context, Finding};
use crate::config::LoadError;

pub(super) const CHECK: Check = Check {
    id: "configuration",
    title: "Configuration",
    reason: "the agent does not start with a configuration it does not understand",
    needs_config: false,
    run,
};

fn run(context: &Context) -> Vec<Finding> {
    let path = context.source.path().display();
    match &context.invalid {
        None if context.source.is_absent() => {
            Finding::ok(format!("{path} does not exist; defaults hold"))
        }
        None => Finding::ok(format!("{path} is valid")),
        Some(error @ LoadError::Unreadable { .. }) => {
            vec![Finding::error(
                error.to_string(),
                "name another file with --config, or let this user read it",
            )]
        }
        Some(LoadError::Invalid { problems, .. }) => problems
            .iter()
            .map(|problem| {
                let place = format!("line {}, column {}", problem.line, problem.column);
                Finding::error(format!("{path}, {place}: {}", problem.text), "correct this line")
            })
            .collect(),
    }
}
