//! The broker between the agents and whoever listens: mosquitto when it is installed, else the demo's own.

use std::cell::RefCell;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use convoy::broker::Broker;
use convoy::stand_in::loopback;
use nix::unistd::geteuid;

use super::Failure;
use super::tether::tied;

/// Where mosquitto is apart from the search path: Debian keeps it where ordinary users do not look.
const FOLDERS: [&str; 3] = ["/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin"];
/// Time for mosquitto to listen.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// A free port can be taken by somebody else before mosquitto has it.
const ATTEMPTS: usize = 3;

/// A broker that runs.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    mosquitto: Option<RefCell<Child>>,
    log: PathBuf,
}

impl Relay {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it is, for people.
    pub fn name(&self) -> &'static str {
        match self.mosquitto {
            Some(_) => "mosquitto",
            None => "the demo's own",
        }
    }

    /// Why it does not run any more.
    pub fn failure(&self) -> Option<String> {
        let status = self.mosquitto.as_ref()?.borrow_mut().try_wait().ok()??;
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        Some(format!("mosquitto ended ({status}):\n{log}"))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(child) = &self.mosquitto {
            let mut child = child.borrow_mut();
            // It keeps nothing, so there is nothing to save. It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Starts a broker on a free port of loopback. The demo's own, which `own` asks for, runs as a task.
pub async fn start(folder: &Path, own: bool) -> Result<Relay, Failure> {
    if let Some(program) = mosquitto().filter(|_| !own) {
        for _ in 0..ATTEMPTS {
            if let Some(relay) = start_mosquitto(&program, folder).await? {
                return Ok(relay);
            }
        }
        eprintln!("mosquitto does not start; the demo's own broker takes its place");
    }
    let broker = Broker::bind(loopback(0)).await?;
    let address = broker.address();
    tokio::spawn(broker.run());
    Ok(Relay { address, mosquitto: None, log: PathBuf::new() })
}

/// mosquitto, if it is installed.
fn mosquitto() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(FOLDERS.map(PathBuf::from));
    folders.map(|folder| folder.join("mosquitto")).find(|program| program.is_file())
}

async fn start_mosquitto(program: &Path, folder: &Path) -> Result<Option<Relay>, Failure> {
    let address = TcpListener::bind(loopback(0))?.local_addr()?;
    let config = folder.join("mosquitto.conf");
    let log = folder.join("mosquitto.log");
    let mut text =
        format!("listener {} 127.0.0.1\nallow_anonymous true\npersistence false\n", address.port());
    if geteuid().is_root() {
        // A process that changes its user loses the tie to its parent.
        text.push_str("user root\n");
    }
    std::fs::write(&config, text)?;
    let mut command = tied(program)?;
    command.arg("-c").arg(&config).stdin(Stdio::null()).stdout(Stdio::null());
    let child = command.stderr(std::fs::File::create(&log)?).spawn()?;
    let relay = Relay { address, mosquitto: Some(RefCell::new(child)), log };
    let begin = Instant::now();
    while begin.elapsed() < START_TIMEOUT && relay.failure().is_none() {
        if TcpStream::connect(address).is_ok() {
            return Ok(Some(relay));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(None)
}
