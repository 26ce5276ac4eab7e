//! The whole thing, end to end: the demo with real agents and a real broker goes through a drive and must have seen everything.
//!
//! It takes a little more than a minute because routing daemons and agents take their time on purpose: a link is lost after 5 s,
//! believed lost after 4 s more, and believed healed after 10 s.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tempfile::TempDir;

/// Far more than any step takes, even on a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_secs(120);

/// A demo that does not outlive the test. It leads a process group; its children lead their own and are tied to it.
///
/// A demo that is killed leaves its temporary files; they go with this folder.
struct Demo(Child, #[allow(dead_code, reason = "kept for its drop")] TempDir);

impl Demo {
    /// Starts it beside the agent that the workspace builds, which it builds first if need be.
    fn start(arguments: &[&str]) -> Demo {
        let mut command = Command::new(env!("CARGO_BIN_EXE_convoy"));
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0);
        let folder = tempfile::tempdir().unwrap();
        command.env("TMPDIR", folder.path());
        Demo(command.spawn().unwrap(), folder)
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.0.id() as i32)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = killpg(self.pid(), Signal::SIGKILL);
        let _ = self.0.wait();
    }
}

#[test]
fn six_agents_live_through_a_drive() {
    // The drive begins anew after 140 s, which is for machines that are busy with something else.
    // Two demos that look for free ports at the same moment could find the same ones.
    let mut demo = Demo::start(&["--seconds", "280", "--page", "20100"]);
    let mut output = String::new();
    demo.0.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    let status = demo.0.wait().unwrap();
    assert!(status.success(), "{status}\n{output}");
    for what in ["the split was seen as -1 (by both)", "the heal was seen (by both)"] {
        assert!(output.contains(&format!("seen      {what}")), "{output}");
    }
}

#[test]
fn agents_die_with_a_demo_that_is_killed_and_end_with_one_that_is_interrupted() {
    for signal in [Signal::SIGKILL, Signal::SIGINT] {
        // The drive above has the broker that is installed in CI; here it is the demo's own.
        let mut demo = Demo::start(&[
            "--vehicles",
            "2",
            "--daemon",
            "olsrd2",
            "--own-broker",
            "--page",
            "20200",
        ]);
        let mut output = BufReader::new(demo.0.stdout.take().unwrap());
        let mut line = String::new();
        while !(line.contains("2 ready") && line.contains("2 births")) {
            line.clear();
            assert_ne!(output.read_line(&mut line).unwrap(), 0, "ended early");
        }
        let children = children(demo.pid());
        assert_eq!(children.len(), 2, "{children:?}");
        kill(demo.pid(), signal).unwrap();
        let status = demo.0.wait().unwrap();
        assert_eq!(status.success(), signal == Signal::SIGINT, "{status}");
        let begin = Instant::now();
        while children.iter().any(|child| alive(*child)) {
            assert!(begin.elapsed() < PATIENCE, "{children:?} survive {signal}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Processes whose parent is `parent`.
fn children(parent: Pid) -> Vec<Pid> {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let children = std::fs::read_to_string(path).unwrap();
    children.split_whitespace().map(|pid| Pid::from_raw(pid.parse().unwrap())).collect()
}

/// Whether it runs; one that has ended and waits to be collected by whoever inherited it does not.
fn alive(pid: Pid) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = status.rsplit(") ").next().and_then(|rest| rest.chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}
