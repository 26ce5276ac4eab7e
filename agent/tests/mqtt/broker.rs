//! A real mosquitto with a configuration of its own, on a port of its own, ended by its process id.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// Debian puts the broker where ordinary users do not look.
const MOSQUITTO: &[&str] = &["mosquitto", "/usr/sbin/mosquitto"];

/// How long a broker may take to listen, on a machine that does much else.
const START_MAX: Duration = Duration::from_secs(20);

/// A running broker; killed when dropped.
pub struct Broker {
    pub port: u16,
    pub folder: TempDir,
    process: Option<Child>,
}

impl Broker {
    /// Starts a broker for anonymous clients.
    pub fn open() -> Broker {
        Broker::with("allow_anonymous true\n")
    }

    /// Starts a broker whose configuration continues with `settings` after its listener; `{folder}` in them is the
    /// broker's own folder.
    pub fn with(settings: &str) -> Broker {
        let folder = tempfile::tempdir().unwrap();
        Broker::within(folder, settings)
    }

    /// Like [`Broker::with`], in a folder that already holds what the settings name.
    pub fn within(folder: TempDir, settings: &str) -> Broker {
        // Between choosing a port and listening on it somebody else may take it: then another is chosen.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let configuration = format!(
                "user root\npersistence false\nlog_dest file {folder}/log\n\
                 listener {port} 127.0.0.1\n{settings}",
                folder = folder.path().display(),
                settings = settings.replace("{folder}", &folder.path().display().to_string()),
            );
            std::fs::write(folder.path().join("mosquitto.conf"), configuration).unwrap();
            if let Some(process) = start(folder.path(), port) {
                return Broker { port, folder, process: Some(process) };
            }
        }
        panic!("mosquitto does not start; its log: {}", log(folder.path()));
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Starts it again on the same port.
    pub fn start(&mut self) {
        assert!(self.process.is_none());
        // Meanwhile somebody's connection may have got the port.
        for _ in 0..5 {
            self.process = start(self.folder.path(), self.port);
            if self.process.is_some() {
                return;
            }
            std::thread::sleep(Duration::from_secs(1));
        }
        panic!("mosquitto does not start again; its log: {}", self.log());
    }

    /// What it has logged; with the setting `log_type all` that is also who subscribes to what.
    pub fn log(&self) -> String {
        log(self.folder.path())
    }

    /// Makes it hang: the kernel still takes connections and bytes on its behalf.
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Ends [`Broker::freeze`].
    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = self.process.as_ref().unwrap().id();
        kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

fn start(folder: &Path, port: u16) -> Option<Child> {
    let mut process = spawn(&folder.join("mosquitto.conf"));
    let deadline = Instant::now() + START_MAX;
    while Instant::now() < deadline {
        if process.try_wait().unwrap().is_some() {
            return None;
        }
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Some(process);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    process.kill().unwrap();
    process.wait().unwrap();
    None
}

fn spawn(configuration: &Path) -> Child {
    for program in MOSQUITTO {
        let spawned = Command::new(program)
            .arg("-c")
            .arg(configuration)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        if let Ok(process) = spawned {
            return process;
        }
    }
    panic!("cannot run mosquitto, which these tests need: install the Debian package `mosquitto`");
}

fn log(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("log")).unwrap_or_default()
}

/// Hashes a password into the file that mosquitto reads.
pub fn password_file(folder: &Path, user: &str, password: &str) -> PathBuf {
    let path = folder.join("users");
    let made = Command::new("mosquitto_passwd")
        .args(["-b", "-c"])
        .arg(&path)
        .args([user, password])
        .output()
        .unwrap_or_else(|e| {
            panic!("mosquitto_passwd: {e}: install the Debian package `mosquitto`")
        });
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    path
}

/// Reads `count` messages with mosquitto's own subscriber, as `topic payload` lines; it gives up after `seconds`.
pub fn mosquitto_sub(port: u16, filter: &str, count: usize, seconds: u32) -> Vec<String> {
    let output = Command::new("mosquitto_sub")
        .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-q", "1", "-v", "-t", filter])
        .args(["-C", &count.to_string(), "-W", &seconds.to_string()])
        .output()
        .unwrap_or_else(|e| {
            panic!("mosquitto_sub: {e}: install the Debian package `mosquitto-clients`")
        });
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}
