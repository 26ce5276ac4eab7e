//! A host: a little machine of namespaces, on which programs run.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

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
