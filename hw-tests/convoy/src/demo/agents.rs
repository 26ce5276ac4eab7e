//! The agents: their configuration files, processes and ends.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use convoy::stand_in::loopback;
use convoy::world;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Failure;
use super::tether::tied;

/// Port of an agent's page by default: the first vehicle's is where it is on a real vehicle.
pub const PAGE_PORT: u16 = 9695;
/// Time for an agent to end after it was asked to; then it is killed and that is reported.
const END_TIMEOUT: Duration = Duration::from_secs(10);
/// Lines of an agent's log that are shown when it ends unasked.
const LOG_LINES_SHOWN: usize = 20;

/// Addresses for the pages: `first` and the ports after it, without the ones in use.
pub fn pages(first: u16) -> impl Iterator<Item = SocketAddr> {
    (first..=u16::MAX).map(loopback).filter(|address| TcpListener::bind(address).is_ok())
}

/// What one agent is told.
pub struct Config {
    /// Its vehicle, from 0.
    pub vehicle: usize,
    /// How many there are.
    pub vehicles: usize,
    /// Word for the routing daemon's interface.
    pub daemon: &'static str,
    /// Where that is.
    pub connect: SocketAddr,
    /// Where its page is to be.
    pub page: SocketAddr,
    /// The broker.
    pub broker: SocketAddr,
}

impl Config {
    /// The configuration file. Batches are short, for nobody waits a minute in front of a demo; of filesystems only the
    /// root is read, for a developer's machine may have dozens.
    fn text(&self, folder: &Path) -> String {
        let name = world::name(self.vehicle);
        let mut text = format!(
            "[vehicle]\nname = \"{name}\"\nkind = \"demo\"\n\n\
             [mesh]\ndaemon = \"{}\"\nconnect = \"{}\"\n\n\
             [hardware]\ninclude = {{ filesystem = [\"/\"] }}\n\n\
             [http]\nlisten = \"{}\"\n\n\
             [control]\npath = \"{}\"\n\n\
             [mqtt]\nhost = \"{}\"\nport = {}\nbatch = \"5s\"\n\n\
             [log]\nlevel = \"info\"\n\n\
             [mesh.vehicles]\n",
            self.daemon,
            self.connect,
            self.page,
            folder.join(format!("{name}.sock")).display(),
            self.broker.ip(),
            self.broker.port(),
        );
        for vehicle in 0..self.vehicles {
            let line = format!("{} = [\"{}\"]\n", world::name(vehicle), world::loopback(vehicle));
            text.push_str(&line);
        }
        text
    }

    /// Starts the agent.
    pub fn start(self, program: &Path, folder: &Path) -> Result<Agent, Failure> {
        let name = world::name(self.vehicle);
        let config = folder.join(format!("{name}.toml"));
        let log = folder.join(format!("{name}.log"));
        std::fs::write(&config, self.text(folder))?;
        let output = std::fs::File::create(&log)?;
        let mut command = tied(program)?;
        command.arg("run").arg("--config").arg(&config).stdin(Stdio::null());
        command.stdout(output.try_clone()?).stderr(output);
        let child = command.spawn()?;
        Ok(Agent { name, page: self.page, child, log })
    }
}

/// An agent that runs.
#[derive(Debug)]
pub struct Agent {
    /// Name of its vehicle.
    pub name: String,
    /// Where its page is.
    pub page: SocketAddr,
    child: Child,
    log: PathBuf,
}

impl Agent {
    /// Resident memory in KiB.
    pub fn resident_kib(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }

    /// Why it does not run any more.
    pub fn failure(&mut self) -> std::io::Result<Option<String>> {
        let Some(status) = self.child.try_wait()? else { return Ok(None) };
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let shown = lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n");
        Ok(Some(format!("the agent of {} ended unasked ({status}):\n{shown}", self.name)))
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id() as i32);
        // It is our child and not waited for, so the number is still its own; it may have ended already.
        let _ = kill(pid, signal);
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Only reached with a running agent when something else failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks all agents to end and waits for them. Gives the names of those that did not end well in time.
pub async fn end(mut agents: Vec<Agent>) -> Vec<String> {
    for agent in &agents {
        agent.signal(Signal::SIGTERM);
    }
    let begin = Instant::now();
    let mut unclean = Vec::new();
    while !agents.is_empty() {
        let late = begin.elapsed() > END_TIMEOUT;
        agents.retain_mut(|agent| match agent.child.try_wait() {
            Ok(Some(status)) if status.success() => false,
            Ok(Some(status)) => {
                unclean.push(format!("{} ({status})", agent.name));
                false
            }
            Ok(None) if !late => true,
            Ok(None) | Err(_) => {
                unclean.push(format!("{} (had to be killed)", agent.name));
                false
            }
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    unclean
}
