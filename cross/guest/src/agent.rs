//! Runs the agent and compares what it says about the clock with the truth.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::Report;
use crate::clock::wall;
use crate::http::{self, Answer, get};

const CONFIG: &str = "/tmp/outrider.toml";
const LOG: &str = "/tmp/outrider.log";

/// Time for the agent to start, to show a value that is read once per interval, or to end. Takes seconds; only what hangs
/// is to take longer than this.
const WITHIN: Duration = Duration::from_secs(300);

/// How old a wall clock in an answer may be, in seconds: one sampling interval and an answer, on a slow machine.
const AGE_SECONDS_MAX: i64 = 30;

/// What the agent must think of the clock.
#[derive(Clone, Copy)]
pub enum Judgement {
    /// A date within the life of the build, which nothing synchronises in this machine.
    Believed,
    /// No date at all.
    Unset,
}

/// The running agent, killed when dropped.
pub struct Agent {
    child: Child,
}

impl Agent {
    /// Starts it and waits until it is healthy.
    pub fn start() -> Result<Agent, String> {
        let config = format!(
            "[vehicle]\nname = \"guest\"\n[mesh]\ndaemon = \"none\"\n[http]\nlisten = \"{}\"\n\
             [control]\npath = \"/tmp/outrider.sock\"\n",
            http::ADDRESS
        );
        fs::write(CONFIG, config).map_err(|e| format!("writing {CONFIG}: {e}"))?;
        let log = File::create(LOG).map_err(|e| format!("writing {LOG}: {e}"))?;
        let error = log.try_clone().map_err(|e| format!("writing {LOG}: {e}"))?;
        let mut command = Command::new("/outrider");
        command.args(["run", "--config", CONFIG]).stdin(Stdio::null()).stdout(log).stderr(error);
        let child = command.spawn().map_err(|e| format!("starting /outrider: {e}"))?;
        let mut agent = Agent { child };
        agent.until(healthy)?;
        Ok(agent)
    }

    /// Checks that it answers, and what it says about the clock.
    pub fn judge(&mut self, report: &mut Report, when: &str, judgement: Judgement) {
        report.check(&format!("{when} it is healthy"), self.until(healthy));
        report.check(&format!("{when} its status is right"), self.until(|| status(judgement)));
        report.check(&format!("{when} its metrics are right"), self.until(|| metrics(judgement)));
    }

    /// Asks it to end, which must succeed.
    pub fn end(&mut self) -> Result<String, String> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).map_err(|e| format!("SIGTERM: {e}"))?;
        let started = Instant::now();
        while started.elapsed() < WITHIN {
            match self.ended()? {
                Some(status) if status.success() => return Ok(status.to_string()),
                Some(status) => return Err(format!("{status}; {}", last_words())),
                None => sleep(Duration::from_millis(50)),
            }
        }
        Err(format!("it still runs {} s later; {}", WITHIN.as_secs(), last_words()))
    }

    /// Repeats a check until it holds. Fails with its last complaint, or when the agent ends.
    fn until(&mut self, check: impl Fn() -> Result<String, String>) -> Result<String, String> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.ended()? {
                return Err(format!("the agent ended: {status}; {}", last_words()));
            }
            match check() {
                Ok(finding) => return Ok(finding),
                Err(_) if started.elapsed() < WITHIN => sleep(Duration::from_millis(200)),
                Err(why) => return Err(format!("{why}; {}", last_words())),
            }
        }
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>, String> {
        self.child.try_wait().map_err(|e| format!("waiting for the agent: {e}"))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `outrider check` may find faults, but must not be killed by one.
pub fn check_command() -> Result<String, String> {
    let mut command = Command::new("/outrider");
    let output = command.args(["check", "--config", CONFIG]).stdin(Stdio::null()).output();
    let status = output.map_err(|e| format!("starting /outrider: {e}"))?.status;
    match status.signal() {
        None => Ok(status.to_string()),
        Some(_) => Err(status.to_string()),
    }
}

fn healthy() -> Result<String, String> {
    let Answer { status, head, body } = get("/healthz")?;
    if status != 200 {
        return Err(format!("/healthz answers {status}: {body}"));
    }
    // A server that may lack a believable clock sends none.
    match head.lines().find(|line| line.to_ascii_lowercase().starts_with("date:")) {
        None => Ok("200, without a date".to_owned()),
        Some(date) => Err(format!("/healthz answers with `{date}`")),
    }
}

fn status(judgement: Judgement) -> Result<String, String> {
    let body = get("/v1/status")?.body;
    let document: Value =
        serde_json::from_str(&body).map_err(|e| format!("/v1/status: {e}: {body}"))?;
    let clock = &document["clock"];
    let seconds = clock["wall_ms"].as_i64().map(|ms| ms.div_euclid(1000));
    let right = match judgement {
        Judgement::Believed => clock["quality"] == "unsynchronised" && seconds.is_some_and(recent),
        Judgement::Unset => clock["quality"] == "unset" && clock["wall_ms"].is_null(),
    };
    if right { Ok(clock.to_string()) } else { Err(format!("/v1/status has {clock} at {}", wall())) }
}

fn metrics(judgement: Judgement) -> Result<String, String> {
    let body = get("/metrics")?.body;
    let value = |name: &str| value(&body, name).ok_or(format!("/metrics has no {name}"));
    let quality = value("outrider_clock_quality")?;
    let seconds = value("outrider_clock_wall_seconds")?;
    // Only there when the kernel answers about the discipline of the clock.
    let error = value("outrider_clock_error_max_seconds")?;
    let expected = match judgement {
        Judgement::Believed => 1.0,
        Judgement::Unset => 0.0,
    };
    let found = format!("quality {quality}, wall {seconds} s, error {error} s at most");
    if quality == expected && recent(seconds as i64) {
        return Ok(found);
    }
    Err(format!("/metrics has {found} at {}", wall()))
}

/// Value of the first series called `name`.
fn value(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| {
        let rest = line.strip_prefix(name)?;
        let rest = match rest.strip_prefix('{') {
            Some(labels) => labels.split_once('}')?.1,
            None => rest.strip_prefix(' ')?,
        };
        rest.split_whitespace().next()?.parse().ok()
    })
}

fn recent(seconds: i64) -> bool {
    (0..=AGE_SECONDS_MAX).contains(&(wall() - seconds))
}

/// The end of the agent's log, on one line.
fn last_words() -> String {
    let log = fs::read_to_string(LOG).unwrap_or_default();
    let lines: Vec<&str> = log.lines().rev().take(5).collect();
    format!("its log ends: {}", lines.into_iter().rev().collect::<Vec<_>>().join(" | "))
}
