//! Hosts: little machines of namespaces on one switch.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use link::{Relay, Traits, WHOLE_FRAMES};
use nix::sched::{CloneFlags, setns};

use crate::anchor::{self, Kind};
use crate::process::Process;

/// Namespaces that a program enters on its way into a host.
const ENTERED: [&str; 5] = ["--net", "--mount", "--pid", "--uts", "--ipc"];

/// A host. Everything on it ends with this value.
#[derive(Debug)]
pub struct Host {
    name: String,
    folder: PathBuf,
    outer: Child,
    /// Held open: its end is the end of the host.
    hold: Option<ChildStdin>,
    pid: i32,
}

impl Host {
    /// A host with loopback alone. `folder` is made and gets its state and logs; `double` is the program of this crate.
    pub(crate) fn start(
        kind: Kind,
        name: &str,
        folder: PathBuf,
        double: &Path,
    ) -> Result<Host, String> {
        let failed = |e: std::io::Error| format!("starting host {name}: {e}");
        fs::create_dir_all(folder.join("logs")).map_err(failed)?;
        let log = File::create(folder.join("logs/anchor.log")).map_err(failed)?;
        let mut outer = Command::new(double)
            .args([anchor::OUTER, kind.word(), name])
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            // Ctrl-C reaches the test, whose end is what ends the host.
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let hold = outer.stdin.take();
        let pid = furnished(&mut outer);
        let host = Host { name: name.to_owned(), folder, outer, hold, pid: pid.unwrap_or(0) };
        match pid {
            Some(_) => Ok(host),
            None => {
                let log = host.log_of("anchor");
                Err(format!(
                    "host {name} did not start:\n{}",
                    crate::process::last_words(name, &log)
                ))
            }
        }
    }

    /// Its name, which is also its host name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its state and logs lie.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Process id of its first process, seen from outside.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Where a file of the host is seen from outside.
    pub fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.pid)).join(inside.trim_start_matches('/'))
    }

    /// Writes a file of the host, and the folders that it needs.
    pub fn write(&self, inside: &str, text: &str) -> Result<(), String> {
        let path = self.path(inside);
        let failed = |e: std::io::Error| format!("writing {inside} of {}: {e}", self.name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        fs::write(&path, text).map_err(failed)
    }

    /// Reads a file of the host.
    pub fn read(&self, inside: &str) -> Result<String, String> {
        fs::read_to_string(self.path(inside))
            .map_err(|e| format!("reading {inside} of {}: {e}", self.name))
    }

    /// A command that runs `program` on the host, in its root folder.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", self.pid)).args(ENTERED).arg("--").arg(program);
        command.stdin(Stdio::null());
        command
    }

    /// Starts a command made by [`command`](Host::command) with its output appended to the log called `name`.
    pub fn spawn(&self, name: &str, command: &mut Command) -> Result<Process, String> {
        let failed = |e: std::io::Error| format!("starting {name} on {}: {e}", self.name);
        let log = self.log_of(name);
        let file = OpenOptions::new().create(true).append(true).open(&log).map_err(failed)?;
        let begin = file.metadata().map_err(failed)?.len();
        command.stdout(file.try_clone().map_err(failed)?).stderr(file).process_group(0);
        let child = command.spawn().map_err(failed)?;
        Ok(Process::new(format!("{}/{name}", self.name), child, log, begin))
    }

    /// Runs a program to its end, and gives what it printed.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String, String> {
        let mut command = self.command(Path::new(program));
        let output = command
            .args(arguments)
            .output()
            .map_err(|e| format!("starting {program} on {}: {e}", self.name))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let words = arguments.join(" ");
        let error = String::from_utf8_lossy(&output.stderr);
        Err(format!("`{program} {words}` on {} failed: {}", self.name, error.trim()))
    }

    /// Command lines of its processes that run `program`, by process id on the host.
    pub fn processes(&self, program: &str) -> Result<BTreeMap<i32, String>, String> {
        let proc = self.path("/proc");
        let entries =
            fs::read_dir(&proc).map_err(|e| format!("reading {}: {e}", proc.display()))?;
        let mut found = BTreeMap::new();
        for entry in entries.flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse() else { continue };
            // One that ends meanwhile has no line.
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ").trim().to_owned();
            if line.split(' ').next() == Some(program) {
                found.insert(pid, line);
            }
        }
        Ok(found)
    }

    /// Does `job` on a thread whose sockets belong to the host.
    pub fn enter<T: Send>(
        &self,
        job: impl FnOnce() -> Result<T, String> + Send,
    ) -> Result<T, String> {
        let path = format!("/proc/{}/ns/net", self.pid);
        let work = || {
            let file = File::open(&path).map_err(|e| format!("opening {path}: {e}"))?;
            setns(file, CloneFlags::CLONE_NEWNET)
                .map_err(|e| format!("entering the network of {}: {e}", self.name))?;
            job()
        };
        std::thread::scope(|scope| match scope.spawn(work).join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    /// Path of the log called `name`.
    pub fn log_of(&self, name: &str) -> PathBuf {
        self.folder.join("logs").join(format!("{name}.log"))
    }

    /// Ends the host at once, as when its power is cut; what is on its disk stays in its folder.
    pub fn cut_power(&mut self) {
        self.hold = None;
        let _ = self.outer.wait();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.cut_power();
    }
}

/// Waits until the host says that it is furnished; its first process's id.
fn furnished(outer: &mut Child) -> Option<i32> {
    let (mut pid, mut ready) = (None, false);
    for line in BufReader::new(outer.stdout.take()?).lines().map_while(Result::ok) {
        if let Some(number) = line.strip_prefix(anchor::PID) {
            pid = number.parse().ok();
        }
        ready |= line == anchor::READY;
        if ready && pid.is_some() {
            return pid;
        }
    }
    None
}

/// What the rig needs from the test that uses it.
#[derive(Clone, Debug)]
pub struct Equipment {
    /// Folder for state and logs, usually `env!("CARGO_TARGET_TMPDIR")`.
    pub folder: PathBuf,
    /// The program `k3s-double`, `env!("CARGO_BIN_EXE_k3s-double")` in this crate's tests.
    pub double: PathBuf,
}

/// A switch with hosts.
#[derive(Debug)]
pub struct Ground {
    equipment: Equipment,
    folder: PathBuf,
    // Before the switch, on which they work.
    shaped: Mutex<BTreeMap<Ipv4Addr, Shaped>>,
    switch: Host,
}

/// A link that is not that of a short cable.
#[derive(Debug)]
struct Shaped {
    traits: Traits,
    seed: u64,
    _relay: Relay,
}

/// Name of the switch's bridge.
const BRIDGE: &str = "br0";

/// Prefix length of the hosts' network.
const PREFIX: u8 = 24;

impl Ground {
    /// An empty one. Folders of runs that have ended are removed first.
    pub fn new(equipment: Equipment) -> Result<Ground, String> {
        let runs = equipment.folder.join("federation");
        remove_ended(&runs);
        let unique = unique();
        let folder = runs.join(format!("{}-{unique}", std::process::id()));
        let switch = Host::start(Kind::Plain, "switch", folder.join("switch"), &equipment.double)?;
        switch.run("ip", &["link", "add", BRIDGE, "type", "bridge"])?;
        switch.run("ip", &["link", "set", BRIDGE, "up"])?;
        Ok(Ground { equipment, folder, shaped: Mutex::default(), switch })
    }

    /// What it was made with.
    pub fn equipment(&self) -> &Equipment {
        &self.equipment
    }

    /// A host at `address`, with a default route into the switch's network. One of a name that there was before has its disk,
    /// and one at an address that there was before has its link.
    pub fn host(&self, kind: Kind, name: &str, address: Ipv4Addr) -> Result<Host, String> {
        let host = Host::start(kind, name, self.folder.join(name), &self.equipment.double)?;
        let port = port(address);
        let pid = host.pid().to_string();
        let peer = ["type", "veth", "peer", "name", "eth0", "netns", &pid];
        // The kernel takes down the interfaces of a host that has ended a moment later.
        let _ = self.switch_network(&["link", "delete", &port]);
        // The switch's namespaces would not know the host's process by this number, so its network alone is entered.
        self.switch_network(&[&["link", "add", &port][..], &peer[..]].concat())?;
        self.switch_network(&["link", "set", &port, "master", BRIDGE, "up"])?;
        host.run("ip", &["address", "add", &format!("{address}/{PREFIX}"), "dev", "eth0"])?;
        host.run("ip", &["link", "set", "eth0", "up"])?;
        host.run("ip", &["route", "add", "default", "dev", "eth0"])?;
        let shape = self.shaped().get(&address).map(|shaped| (shaped.traits, shaped.seed));
        if let Some((traits, seed)) = shape {
            self.shape(&host, address, traits, seed)?;
        }
        Ok(host)
    }

    /// Cuts the link of the host with this address: its interface stays up, and nothing comes through.
    pub fn cut(&self, address: Ipv4Addr) -> Result<(), String> {
        self.switch_network(&["link", "set", &joint(self.is_shaped(address), address), "nomaster"])
    }

    /// Restores a link that was cut.
    pub fn restore(&self, address: Ipv4Addr) -> Result<(), String> {
        let joint = joint(self.is_shaped(address), address);
        self.switch_network(&["link", "set", &joint, "master", BRIDGE])
    }

    /// Gives the link of a host these traits, in place of those of a short cable; a cut link is restored. `seed` decides which
    /// frames are lost.
    pub fn shape(
        &self,
        host: &Host,
        address: Ipv4Addr,
        traits: Traits,
        seed: u64,
    ) -> Result<(), String> {
        let [port, outer, inner] = [port(address), joint(true, address), far_end(address)];
        if self.shaped().remove(&address).is_none() {
            let peer = ["type", "veth", "peer", "name", &inner];
            self.switch_network(&[&["link", "add", &outer][..], &peer[..]].concat())?;
            self.on_switch("ethtool", &[&["-K", &outer][..], &WHOLE_FRAMES[..]].concat())?;
        }
        host.run("ethtool", &[&["-K", "eth0"][..], &WHOLE_FRAMES[..]].concat())?;
        self.switch_network(&["link", "set", &port, "nomaster"])?;
        self.switch_network(&["link", "set", &inner, "up"])?;
        self.switch_network(&["link", "set", &outer, "master", BRIDGE, "up"])?;
        let path = format!("/proc/{}/ns/net", self.switch.pid());
        let network = File::open(&path).map_err(|e| format!("opening {path}: {e}"))?;
        let relay = Relay::start(network, [&port, &inner], traits, seed)?;
        self.shaped().insert(address, Shaped { traits, seed, _relay: relay });
        Ok(())
    }

    fn is_shaped(&self, address: Ipv4Addr) -> bool {
        self.shaped().contains_key(&address)
    }

    fn shaped(&self) -> MutexGuard<'_, BTreeMap<Ipv4Addr, Shaped>> {
        // A test that panicked while it held this left the map whole.
        self.shaped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn switch_network(&self, words: &[&str]) -> Result<(), String> {
        self.on_switch("ip", words)
    }

    fn on_switch(&self, program: &str, words: &[&str]) -> Result<(), String> {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.switch.pid())).arg(program).args(words);
        let output = command.output().map_err(|e| format!("starting nsenter: {e}"))?;
        if output.status.success() {
            return Ok(());
        }
        let error = String::from_utf8_lossy(&output.stderr);
        Err(format!("`{program} {}` on the switch failed: {}", words.join(" "), error.trim()))
    }
}

/// Name of the switch's interface towards a host.
fn port(address: Ipv4Addr) -> String {
    let [_, _, third, last] = address.octets();
    format!("p-{third}-{last}")
}

/// Name of the switch's interface that is in the bridge for a host: its own, or that of the relay which shapes its link.
fn joint(shaped: bool, address: Ipv4Addr) -> String {
    if shaped { port(address).replacen('p', "j", 1) } else { port(address) }
}

/// Name of the interface at the other end of the relay's.
fn far_end(address: Ipv4Addr) -> String {
    port(address).replacen('p', "f", 1)
}

/// A number that this process has not given before.
fn unique() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Removes the folders of processes that are no more.
fn remove_ended(runs: &Path) {
    for entry in fs::read_dir(runs).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let alive = name.split('-').next().is_some_and(|pid| Path::new("/proc").join(pid).exists());
        if !alive {
            // What cannot be removed costs room only, and the next run tries again.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
