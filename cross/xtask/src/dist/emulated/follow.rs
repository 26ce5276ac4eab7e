//! The agent of a target at work: half a minute of a mesh, its pages, its broker, and its end.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::verdict::{self, Message};
use super::{Check, Host, Subject, agent, printed, way};
use crate::bench::page::{get, scrape, value};
use crate::bench::{Bench, Child, Figures, Follow, free_port};
use crate::steps::quiet;

/// Nodes of the mesh.
const NODES: u32 = 100;

/// How long it is scraped once a second.
const SECONDS: u64 = 30;

/// Time for the agent to be ready, and for what it sent to arrive. Takes seconds; this is for busy machines.
const PATIENCE: Duration = Duration::from_secs(120);

/// Time for the broker to hand out what it keeps, in seconds.
const KEPT_SECONDS: &str = "60";

/// Short batches, so that several arrive in [`SECONDS`].
const MQTT: &str = "batch = \"5s\"\n";

/// Ends of topics.
const BIRTH: &str = "/birth";
const TELEMETRY: &str = "/telemetry";

/// Name of the vehicle.
const VEHICLE: &str = "emulated";

/// The whole run.
pub fn mesh(subject: &Subject<'_>, host: &Host, bench: &Bench) -> Result<Vec<Check>, String> {
    let _broker = bench.broker()?;
    let daemon = free_port()?;
    let _daemon = bench.daemon(NODES, "jsoninfo", daemon)?;
    let subscriber = subscriber(bench)?;
    let (agent, port) = agent(subject, bench, VEHICLE, Follow { daemon, mqtt: MQTT })?;
    let mut checks = at_work(subject, &agent, port)?;
    until("telemetry at the broker", || {
        let messages = arrived(&subscriber)?;
        Ok(messages.iter().any(|message| message.topic.ends_with(TELEMETRY)).then_some(()))
    })?;
    checks.push(ended(agent)?);
    let messages = until("the agent's farewell at the broker", || {
        let messages = arrived(&subscriber)?;
        Ok(verdict::offline(&messages)?.then_some(messages))
    })?;
    let course = verdict::course(&messages, VEHICLE)?;
    verdict::kept_status(&kept_status(bench)?)?;
    checks.push(Check::new(
        "outrider run over TLS 1.3 to mosquitto",
        format!("{course}, then offline as stopped, which the broker keeps"),
    ));
    checks.push(decoded(subject, host, bench, &messages)?);
    Ok(checks)
}

/// What its pages say while it works.
fn at_work(subject: &Subject<'_>, agent: &Child, port: u16) -> Result<Vec<Check>, String> {
    until("readiness of the agent", || Ok((get(port, "/readyz")?.0 == 200).then_some(())))?;
    let before = polls(&scrape(port)?)?;
    let (page, scrapes) = scrape_each_second(port)?;
    promtool(&page)?;
    let costs = verdict::costs(&page, VEHICLE, NODES)?;
    let polled = verdict::polls(polls(&page)? - before, SECONDS)?;
    let memory = match subject.target.runner() {
        [] => format!(", peak RSS {} KiB", Figures::read(agent.pid())?.peak_kib),
        [_, ..] => String::new(),
    };
    Ok(vec![
        Check::new(
            format!("outrider run, {NODES} nodes for {SECONDS} s, {}", way(subject.target)),
            format!("{polled}, /readyz 200{memory}"),
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
    let mut command = Command::new("mosquitto_sub");
    command.args(["-h", "127.0.0.1", "-p", &port, "-q", "1", "-t", "outrider/#"]);
    command.args(["-F", verdict::MESSAGE_FORMAT]);
    Child::start("mosquitto_sub", &mut command, &bench.folder, None)
}

/// The status document that whoever comes now gets of the vehicle.
fn kept_status(bench: &Bench) -> Result<String, String> {
    let port = bench.broker_plain.to_string();
    let topic = format!("outrider/{VEHICLE}/status");
    let mut command = Command::new("mosquitto_sub");
    command.args(["-h", "127.0.0.1", "-p", &port, "-t", &topic, "--retained-only"]);
    command.args(["-C", "1", "-W", KEPT_SECONDS]);
    quiet(&mut command)
}

fn arrived(subscriber: &Child) -> Result<Vec<Message>, String> {
    let log = subscriber.log();
    let text = fs::read_to_string(log).map_err(|e| format!("reading {}: {e}", log.display()))?;
    verdict::messages(&text)
}

/// Asks `condition` until it has an answer.
fn until<T>(
    what: &str,
    mut condition: impl FnMut() -> Result<Option<T>, String>,
) -> Result<T, String> {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        if let Some(answer) = condition()? {
            return Ok(answer);
        }
        sleep(Duration::from_millis(200));
    }
    Err(format!("waited {} s for {what}", PATIENCE.as_secs()))
}

/// The last page, and how many there were.
fn scrape_each_second(port: u16) -> Result<(String, u32), String> {
    let started = Instant::now();
    let mut due = started;
    let mut scrapes = 0;
    loop {
        let page = scrape(port)?;
        scrapes += 1;
        if started.elapsed() >= Duration::from_secs(SECONDS) {
            return Ok((page, scrapes));
        }
        due += Duration::from_secs(1);
        sleep(due.saturating_duration_since(Instant::now()));
    }
}

fn polls(page: &str) -> Result<f64, String> {
    value(page, "outrider_mesh_polls_total").ok_or("/metrics tells no polls of the mesh".to_owned())
}

/// Fails when promtool finds anything on the page to remark.
fn promtool(page: &str) -> Result<(), String> {
    let mut child = Command::new("promtool")
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

/// Every batch that arrived, read by the target's program and by this machine's.
fn decoded(
    subject: &Subject<'_>,
    host: &Host,
    bench: &Bench,
    messages: &[Message],
) -> Result<Check, String> {
    let mut birth = None;
    let mut moments = verdict::Moments::default();
    let (mut batches, mut bytes) = (0, 0);
    for (number, message) in messages.iter().enumerate() {
        let file = || bench.write(&format!("payload-{number}"), &message.payload);
        if message.topic.ends_with(BIRTH) {
            birth = Some(file()?);
        } else if message.topic.ends_with(TELEMETRY) {
            let birth = birth.as_deref().ok_or("telemetry arrived before any birth document")?;
            let file = file()?;
            moments.add(&decode_twice(subject, host, birth, &file)?, VEHICLE)?;
            batches += 1;
            bytes += message.payload.len();
        }
    }
    let moments = moments.suffice(SECONDS)?;
    Ok(Check::new(
        "outrider decode of the telemetry that arrived",
        format!("{batches} batches, {bytes} bytes, {moments}, lines equal to this machine's"),
    ))
}

/// The lines of one batch, the same from both programs.
fn decode_twice(
    subject: &Subject<'_>,
    host: &Host,
    birth: &Path,
    batch: &Path,
) -> Result<String, String> {
    let (birth, batch) = (birth.to_string_lossy(), batch.to_string_lossy());
    let arguments = ["decode", "--birth", &birth, &batch];
    let there = printed(subject.target, subject.outrider, &arguments)?;
    let here = quiet(Command::new(&host.outrider).args(arguments))?;
    verdict::same_lines(&batch, &there, here.as_bytes())?;
    Ok(here)
}
