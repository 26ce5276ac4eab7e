//! A process on a host, with its log.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Lines of a log that are shown when something went wrong.
const LINES_SHOWN: usize = 25;

/// How often a condition is looked at.
pub const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long a process may take to end by itself after SIGTERM.
const END_TIMEOUT: Duration = Duration::from_secs(20);

/// A process that is killed when this value is dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    /// `nsenter`, which forks to get into the host and ends as the program ends.
    entering: Child,
    /// The program's process id as seen outside, once it has been found.
    pid: Option<Pid>,
    log: PathBuf,
    /// Where its own words begin in the log, after those of earlier processes of the name.
    begin: u64,
}

impl Process {
    pub(crate) fn new(name: String, entering: Child, log: PathBuf, begin: u64) -> Process {
        Process { name, entering, pid: None, log, begin }
    }

    /// Where its output goes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Everything that it has written.
    pub fn output(&self) -> Result<String, String> {
        let failed = |e: std::io::Error| format!("reading {}: {e}", self.log.display());
        let mut file = File::open(&self.log).map_err(failed)?;
        file.seek(SeekFrom::Start(self.begin)).map_err(failed)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The end of what it wrote, with its name.
    pub fn last_words(&self) -> String {
        last_words(&self.name, &self.log)
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.entering.try_wait().ok().flatten()
    }

    /// Its process id outside the host; none when it has ended.
    pub fn pid(&mut self) -> Option<i32> {
        self.find().map(Pid::as_raw)
    }

    /// Sends a signal to the program. False when it has ended.
    pub fn signal(&mut self, signal: Signal) -> bool {
        // Its parent is not waited for before it has ended itself, so the number cannot be another's.
        self.find().is_some_and(|pid| kill(pid, signal).is_ok())
    }

    /// SIGTERM, and SIGKILL if that does not help. Says whether it ended by itself.
    pub fn stop(mut self) -> bool {
        self.signal(Signal::SIGTERM);
        let by_itself = self.wait(END_TIMEOUT).is_some();
        drop(self);
        by_itself
    }

    /// Waits for its end.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return Some(status);
            }
            if begin.elapsed() > limit {
                return None;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn find(&mut self) -> Option<Pid> {
        while self.ended().is_none() {
            if self.pid.is_some() {
                return self.pid;
            }
            let outside = self.entering.id();
            let children = format!("/proc/{outside}/task/{outside}/children");
            let text = fs::read_to_string(children).unwrap_or_default();
            self.pid =
                text.split_whitespace().next().and_then(|pid| pid.parse().ok()).map(Pid::from_raw);
            std::thread::sleep(Duration::from_millis(1));
        }
        None
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
        let _ = self.entering.wait();
        if std::thread::panicking() {
            eprintln!("{}", self.last_words());
        }
    }
}

/// The end of a log.
pub fn last_words(name: &str, log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let shown = lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n");
    format!("--- {name} ({}):\n{shown}", log.display())
}

/// Looks every now and then until `look` gives something. An error says what was waited for and what was seen last.
pub fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<Option<T>, String>,
) -> Result<T, String> {
    let begin = Instant::now();
    loop {
        let seen = look();
        if let Ok(Some(found)) = seen {
            return Ok(found);
        }
        if begin.elapsed() > limit {
            let seen = seen.err().map(|e| format!("; seen last: {e}")).unwrap_or_default();
            return Err(format!("waited {} s in vain for {what}{seen}", limit.as_secs()));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}
