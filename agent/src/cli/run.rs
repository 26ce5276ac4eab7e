//! `outrider run`: the agent itself, in the foreground.

use super::command::{Arguments, CONFIG, Command};
use super::config::source;
use super::exit::{Exit, Failure, Outcome};
use super::terminal::Terminal;
use crate::shell;

pub(super) const COMMAND: Command = Command {
    path: &["run"],
    summary: "Run the agent in the foreground",
    about: &["Reads the routing daemon and the hardware, serves the status page and metrics, and \
         publishes to the MQTT broker when one is configured. Runs without any configuration. \
         SIGHUP reads the configuration again; SIGTERM and SIGINT end it. Logs to standard error; \
         tells systemd when it is ready."],
    operands: &[],
    options: &[CONFIG],
    examples: &[
        ("outrider run", "run with /etc/outrider/outrider.toml, or with defaults"),
        ("outrider run --config convoy.toml", "run with another configuration"),
    ],
    run,
};

fn run(arguments: &Arguments, _: &Terminal) -> Outcome {
    let source = source(arguments);
    let config = source.load().map_err(|error| Failure::new(Exit::Config, error.to_string()))?;
    shell::run(config, &source).map_err(|text| Failure::new(Exit::Failed, text))?;
    Ok(Exit::Ok)
}
