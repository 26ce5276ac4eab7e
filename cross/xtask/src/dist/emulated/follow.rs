//! The agent of a target at work: a mesh that it follows, its pages, its broker, and its end.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::verdict::{self, Message, Moments};
use super::{Check, Trial, way};
use crate::bench::page::{get, scrape, value};
use crate::bench::{Bench, Child, Figures, Follow, PATIENCE, free_port, until};
use crate::packages;
use crate::steps::quiet;

/// Nodes of the mesh.
const NODES: u32 = 100;

/// Pause between two looks at something that is waited for.
const PAUSE: Duration = Duration::from_millis(200);

/// Short batches, so that several arrive during a run.
const MQTT: &str = "batch = \"5s\"\n";

/// Ends of topics.
const BIRTH: &str = "/birth";
const TELEMETRY: &str = "/telemetry";

/// Name of the vehicle.
const VEHICLE: &str = "emulated";

/// The whole run.
pub fn mesh(trial: &Trial<'_>, bench: &Bench) -> Result<Vec<Check>, String> {
    let _broker = bench.broker()?;
    let daemon = free_port()?;
    let _daemon = bench.daemon(NODES, "jsoninfo", daemon)?;
    let subscriber = subscriber(bench)?;
    let (agent, port) = trial.agent(bench, VEHICLE, Follow { daemon, more: MQTT })?;
    let mut checks = at_work(trial, &agent, port)?;
    let mut decoder = Decoder { trial, bench, seen: 0, birth: None, totals: Totals::default() };
    until("telemetry of the costs at the broker", PAUSE, || {
        decoder.take(&arrived(&subscriber)?)?;
        Ok((decoder.totals.moments.with_costs >= trial.polls).then_some(()))
    })?;
    checks.push(ended(agent)?);
    let messages = until("the agent's farewell at the broker", PAUSE, || {
        let messages = arrived(&subscriber)?;
        Ok(verdict::offline(&messages)?.then_some(messages))
    })?;
    let course = verdict::course(&messages, VEHICLE)?;
    verdict::kept_status(&kept_status(bench)?)?;
    checks.push(Check::new(
        "outrider run over TLS 1.3 to mosquitto",
        format!("{course}, then offline as stopped, which the broker keeps"),
    ));
    decoder.take(&messages)?;
    checks.push(decoder.check());
    Ok(checks)
}

/// What its pages say while it works.
fn at_work(trial: &Trial<'_>, agent: &Child, port: u16) -> Result<Vec<Check>, String> {
    until("readiness of the agent", PAUSE, || Ok((get(port, "/readyz")?.0 == 200).then_some(())))?;
    let last = polls(&scrape(port)?)? + f64::from(trial.polls);
    let mut scrapes = 0;
    let page = until("polls of the mesh", Duration::from_secs(1), || {
        let page = scrape(port)?;
        scrapes += 1;
        Ok((polls(&page)? >= last).then_some(page))
    })?;
    promtool(&page)?;
    let costs = verdict::costs(&page, VEHICLE, NODES)?;
    let memory = match trial.runner {
        [] => format!(", peak RSS {} KiB", Figures::read(agent.pid())?.peak_kib),
        [_, ..] => String::new(),
    };
    Ok(vec![
        Check::new(
            format!("outrider run, {NODES} nodes, {}", way(trial.runner)),
            format!("{} polls of the mesh at one a second, /readyz 200{memory}", trial.polls),
        ),
        Check::new(
            "/metrics, scraped each second",
            format!("{scrapes} scrapes, the last one clean by promtool; {costs}"),
        ),
    ])
}

/// Ends it as a service manager does.
fn ended(agent: Child) -> Result<Check, String> {
    let asked = Instant::now();
    let status = agent.stop()?;
    if !status.success() {
        return Err(format!("outrider run: after SIGTERM it ended with {status}"));
    }
    let seconds = asked.elapsed().as_secs_f64();
    Ok(Check::new("outrider run, SIGTERM", format!("status 0 after {seconds:.1} s")))
}

/// A client that writes down everything that vehicles publish.
fn subscriber(bench: &Bench) -> Result<Child, String> {
    let port = bench.broker_plain.to_string();
    let mut command = packages::command("mosquitto_sub");
    command.args(["-h", "127.0.0.1", "-p", &port, "-q", "1", "-t", "outrider/#"]);
    command.args(["-F", verdict::MESSAGE_FORMAT]);
    Child::start("mosquitto_sub", &mut command, &bench.folder, None)
}

/// The status document that whoever comes now gets of the vehicle.
fn kept_status(bench: &Bench) -> Result<String, String> {
    let port = bench.broker_plain.to_string();
    let topic = format!("outrider/{VEHICLE}/status");
    let mut command = packages::command("mosquitto_sub");
    command.args(["-h", "127.0.0.1", "-p", &port, "-t", &topic, "--retained-only"]);
    command.args(["-C", "1", "-W", &PATIENCE.as_secs().to_string()]);
    quiet(&mut command)
}

fn arrived(subscriber: &Child) -> Result<Vec<Message>, String> {
    let log = subscriber.log();
    let text = fs::read_to_string(log).map_err(|e| format!("reading {}: {e}", log.display()))?;
    verdict::messages(&text)
}

fn polls(page: &str) -> Result<f64, String> {
    value(page, "outrider_mesh_polls_total").ok_or("/metrics tells no polls of the mesh".to_owned())
}

/// Fails when promtool finds anything on the page to remark.
fn promtool(page: &str) -> Result<(), String> {
    let mut child = packages::command("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("starting promtool: {e}"))?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(page.as_bytes()).map_err(|e| format!("writing to promtool: {e}"))?;
    }
    let output = child.wait_with_output().map_err(|e| format!("waiting for promtool: {e}"))?;
    let said = [output.stdout, output.stderr].concat();
    if output.status.success() && said.is_empty() {
        return Ok(());
    }
    Err(format!("promtool about /metrics: {}", String::from_utf8_lossy(&said)))
}

/// Reads every batch that arrives by the target's program and by this machine's.
struct Decoder<'a> {
    trial: &'a Trial<'a>,
    bench: &'a Bench,
    /// Messages that were looked at.
    seen: usize,
    /// The latest birth document.
    birth: Option<PathBuf>,
    totals: Totals,
}

/// What was in the batches.
#[derive(Default)]
struct Totals {
    batches: u32,
    bytes: usize,
    moments: Moments,
}

impl Decoder<'_> {
    /// Takes in what is new among `messages`, all that arrived until now.
    fn take(&mut self, messages: &[Message]) -> Result<(), String> {
        for message in messages.iter().skip(self.seen) {
            let name = format!("payload-{}", self.seen);
            self.seen += 1;
            if message.topic.ends_with(BIRTH) {
                self.birth = Some(self.bench.write(&name, &message.payload)?);
            } else if message.topic.ends_with(TELEMETRY) {
                let lines = self.lines(&self.bench.write(&name, &message.payload)?)?;
                self.totals.moments.add(&lines, VEHICLE)?;
                self.totals.batches += 1;
                self.totals.bytes += message.payload.len();
            }
        }
        Ok(())
    }

    /// The lines of one batch, the same from both programs.
    fn lines(&self, batch: &Path) -> Result<String, String> {
        let birth = self.birth.as_deref().ok_or("telemetry arrived before any birth document")?;
        let (birth, batch) = (birth.to_string_lossy(), batch.to_string_lossy());
        let arguments = ["decode", "--birth", &birth, &batch];
        let there = self.trial.printed(self.trial.subject.outrider, &arguments)?;
        let here = quiet(Command::new(&self.trial.host.outrider).args(arguments))?;
        verdict::same_lines(&batch, &there, here.as_bytes())?;
        Ok(here)
    }

    fn check(&self) -> Check {
        let Totals { batches, bytes, moments: Moments { all, with_costs } } = self.totals;
        Check::new(
            "outrider decode of the telemetry that arrived",
            format!(
                "{batches} batches, {bytes} bytes, {all} moments, {with_costs} with costs, lines equal to this machine's"
            ),
        )
    }
}
