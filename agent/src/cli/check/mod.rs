//! `outrider check`: finds out why something does not work, and says what to do. One file per
//! check; none changes anything.

mod broker;
mod certificates;
mod clock;
mod configuration;
mod control;
mod credentials;
pub(super) mod daemon;
mod federation;
mod hardware;
mod http;
mod identity;
mod metric;
mod spool;
mod user;
mod vehicles;

use std::cell::OnceCell;
use std::future::Future;

use olsr_bridge::failure::Failure as DaemonFailure;
use olsr_bridge::view::MeshView;
use serde::Serialize;

use super::command::{Arguments, CONFIG, Command, JSON, Operand, Value};
use super::config::source;
use super::exit::{Exit, Failure, Outcome};
use super::terminal::{COLUMNS, Style, Terminal};
use super::text::wrap;
use super::units::counted;
use crate::config::{Config, ConfigSource, LoadError};

pub(super) const COMMAND: Command = Command {
    path: &["check"],
    summary: "Find out what does not work, and what to do about it",
    about: &[
        "Looks at everything the agent depends on: configuration, routing daemon, clock, ports, \
         sockets, spool, broker, certificates, hardware. Each finding that is not good comes with its \
         reason and a remedy. Nothing is changed, and the agent may run meanwhile.",
        "Run it as the user of the agent, or as root, to see what the agent can read. Warnings \
         alone leave the exit status at 0.",
        "`check federation NAME` shows the token to that federation's server as well, which it \
         otherwise does not: that costs the server more than everything else.",
    ],
    operands: &[
        Operand {
            name: "CHECK",
            value: Value::Words(IDS),
            required: false,
            doc: "Look at this alone: configuration, user, identity, clock, daemon, metric, \
                  vehicles, hardware, http, control, spool, credentials, certificates, broker, \
                  federation",
        },
        Operand {
            name: "NAME",
            value: Value::Text,
            required: false,
            doc: "Name of the federation, after `federation`",
        },
    ],
    options: &[JSON, CONFIG],
    examples: &[
        ("sudo -u outrider outrider check", "see what the service sees"),
        ("sudo outrider check federation purple", "could this vehicle join?"),
    ],
    run,
};

/// A check.
struct Check {
    /// Fixed word for programs.
    id: &'static str,
    /// What is looked at.
    title: &'static str,
    /// Why it matters.
    reason: &'static str,
    /// Needs a valid configuration.
    needs_config: bool,
    /// Looks.
    run: fn(&Context) -> Vec<Finding>,
}

/// All checks in the order in which one finding explains the next.
static CHECKS: &[Check] = &[
    configuration::CHECK,
    user::CHECK,
    identity::CHECK,
    clock::CHECK,
    daemon::CHECK,
    metric::CHECK,
    vehicles::CHECK,
    hardware::CHECK,
    http::CHECK,
    control::CHECK,
    spool::CHECK,
    credentials::CHECK,
    certificates::CHECK,
    broker::CHECK,
    federation::CHECK,
];

/// Their ids.
const IDS: &[&str] = &[
    "configuration",
    "user",
    "identity",
    "clock",
    "daemon",
    "metric",
    "vehicles",
    "hardware",
    "http",
    "control",
    "spool",
    "credentials",
    "certificates",
    "broker",
    "federation",
];

/// How something was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Skipped,
    Warning,
    Error,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    verdict: Verdict,
    text: String,
    /// What to do; empty when all is well.
    remedy: String,
}

impl Finding {
    fn ok(text: impl Into<String>) -> Vec<Finding> {
        vec![Finding { verdict: Verdict::Ok, text: text.into(), remedy: String::new() }]
    }

    fn skipped(text: impl Into<String>) -> Vec<Finding> {
        vec![Finding { verdict: Verdict::Skipped, text: text.into(), remedy: String::new() }]
    }

    fn warning(text: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { verdict: Verdict::Warning, text: text.into(), remedy: remedy.into() }
    }

    fn error(text: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { verdict: Verdict::Error, text: text.into(), remedy: remedy.into() }
    }
}

/// What checks share.
struct Context {
    source: ConfigSource,
    /// The configuration, or that of a machine without file when the file is not valid.
    config: Config,
    invalid: Option<LoadError>,
    /// The federation that was asked for.
    named: Option<String>,
    runtime: tokio::runtime::Runtime,
    /// One reading of the routing daemon for all checks: it is not to be bothered more than needed.
    sample: OnceCell<Result<MeshView, DaemonFailure>>,
}

impl Context {
    fn new(source: ConfigSource) -> Result<Context, Failure> {
        let (config, invalid) = match source.load() {
            Ok(config) => (config, None),
            Err(error) => (crate::config::default_config(source.machine()), Some(error)),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(
            |error| Failure::new(Exit::Failed, format!("cannot start checking: {error}")),
        )?;
        Ok(Context { source, config, invalid, named: None, runtime, sample: OnceCell::new() })
    }

    fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    errors: u64,
    warnings: u64,
    findings: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    id: &'static str,
    title: &'static str,
    verdict: Verdict,
    text: String,
    /// Why it matters.
    reason: &'static str,
    remedy: String,
}

fn run(arguments: &Arguments, terminal: &Terminal) -> Outcome {
    let mut context = Context::new(source(arguments))?;
    let mut operands = arguments.operands().iter().map(|operand| operand.to_string_lossy());
    let only = operands.next();
    context.named = operands.next().map(std::borrow::Cow::into_owned);
    if context.named.is_some() && only.as_deref() != Some(federation::CHECK.id) {
        let text = "a name can only stand after `check federation`; leave it out";
        return Err(Failure::new(Exit::Usage, text.to_owned()));
    }
    // What is wrong with the configuration explains why nothing else was looked at.
    let explains = |check: &Check| context.invalid.is_some() && check.id == configuration::CHECK.id;
    let is_wanted =
        |check: &&Check| only.as_deref().is_none_or(|only| only == check.id) || explains(check);
    let json = arguments.flag(&JSON);
    let mut report = Report { errors: 0, warnings: 0, findings: Vec::new() };
    for check in CHECKS.iter().filter(is_wanted) {
        for finding in look(check, &context) {
            match finding.verdict {
                Verdict::Ok | Verdict::Skipped => {}
                Verdict::Warning => report.warnings += 1,
                Verdict::Error => report.errors += 1,
            }
            if !json {
                // Shown at once: some checks wait for an answer.
                terminal.print(&render(check, &finding, terminal))?;
            }
            report.findings.push(Entry {
                id: check.id,
                title: check.title,
                verdict: finding.verdict,
                text: finding.text,
                reason: check.reason,
                remedy: finding.remedy,
            });
        }
    }
    if json {
        terminal.print_json(&report)?;
    } else {
        let errors = counted(report.errors, "error");
        let warnings = counted(report.warnings, "warning");
        terminal.print(&format!("\n{errors}, {warnings}\n"))?;
    }
    Ok(if report.errors == 0 { Exit::Ok } else { Exit::Failed })
}

fn look(check: &Check, context: &Context) -> Vec<Finding> {
    if check.needs_config && context.invalid.is_some() {
        return Finding::skipped("not looked at before the configuration is valid");
    }
    (check.run)(context)
}

/// Column of the findings.
const INDENT: usize = 9;

fn render(check: &Check, finding: &Finding, terminal: &Terminal) -> String {
    let (word, style) = match finding.verdict {
        Verdict::Ok => ("ok", Style::Good),
        Verdict::Skipped => ("skipped", Style::Faint),
        Verdict::Warning => ("warning", Style::Warning),
        Verdict::Error => ("error", Style::Bad),
    };
    let mut text = terminal.style(word, style);
    text.push_str(&" ".repeat(INDENT - word.len()));
    let mut paragraphs: Vec<String> =
        finding.text.lines().map(|line| terminal.printable(line)).collect();
    if let Some(first) = paragraphs.first_mut() {
        *first = format!("{}: {first}", check.title);
    }
    if !finding.remedy.is_empty() {
        paragraphs.push(format!("Why it matters: {}", check.reason));
        paragraphs.push(format!("What to do: {}", terminal.printable(&finding.remedy)));
    }
    let lines: Vec<String> =
        paragraphs.iter().flat_map(|paragraph| wrap(paragraph, COLUMNS - INDENT)).collect();
    text.push_str(&lines.join(&format!("\n{}", " ".repeat(INDENT))));
    text.push('\n');
    text
}

#[cfg(test)]
mod tests;
