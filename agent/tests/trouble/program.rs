//! The program as a child process with a folder and a control socket of its own.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use outrider::cli::client::{self, Answer, Endpoint};
use outrider::core::status::Status;
use tempfile::TempDir;

/// No single thing may take longer, however slow the machine.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Pause between two looks at something that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A daemon that is warm as soon as it answers, and costs that are published as they are: the
/// captured answers stand still.
pub const AT_ONCE: &str = "[links]\nwarmup_min = \"0s\"\nwarmup_hellos = 0\n\
     warmup_window = \"0s\"\nsmooth_up = \"0s\"\n\
     smooth_down = \"0s\"\nreturn_delay = \"0s\"\nreturn_hellos = 0\n";

/// A configuration without mesh, hardware and TCP port, for tests of the rest.
pub const BARE: &str =
    "[mesh]\ndaemon = \"none\"\n[hardware]\nenabled = false\n[http]\nlisten = \"off\"\n";

/// How the program is started.
pub struct Start {
    pub folder: TempDir,
    /// Words in front of the program: `nice`, or a shell that sets limits and then becomes the
    /// program.
    pub wrapper: Vec<String>,
    pub environment: Vec<(&'static str, String)>,
    pub stderr: Option<Stdio>,
}

impl Start {
    /// Plainly, with its log in a file.
    pub fn plain() -> Start {
        Start {
            folder: tempfile::tempdir().unwrap(),
            wrapper: Vec::new(),
            environment: Vec::new(),
            stderr: None,
        }
    }

    /// Behind `script`, which ends in `exec "$@"`.
    pub fn behind(script: &str) -> Start {
        let wrapper = ["sh", "-c", script, "sh"].map(str::to_owned).to_vec();
        Start { wrapper, ..Start::plain() }
    }

    /// In a mount namespace of its own, where `inside` ends in `exec "$@"`; `-rm` is for users who are not root. `otherwise`
    /// is done where neither may have one.
    pub fn in_own_mounts(otherwise: &str, inside: &str) -> Start {
        let script = format!(
            "
            if [ -z \"$INSIDE\" ]; then
                export INSIDE=yes
                for flag in -m -rm; do
                    unshare $flag true 2>/dev/null &&
                        exec unshare $flag --propagation private sh -c \"$SCRIPT\" sh \"$@\"
                done
                {otherwise}
            fi
            {inside}"
        );
        let start = Start::behind(&script);
        Start { environment: vec![("SCRIPT", script)], ..start }
    }

    /// Starts the program with this configuration, in which `{folder}` is the test's own folder.
    pub fn run(self, config: &str) -> Agent {
        let folder = self.folder;
        let file = folder.path().join("outrider.toml");
        let control = folder.path().join("control.sock");
        let config = config.replace("{folder}", folder.path().to_str().unwrap());
        fs::write(&file, complete(&config, &control)).unwrap();
        let log = folder.path().join("log");
        let stderr = self.stderr.unwrap_or_else(|| Stdio::from(File::create(&log).unwrap()));

        let mut words = self.wrapper;
        words.push(env!("CARGO_BIN_EXE_outrider").to_owned());
        let child = Command::new(&words[0])
            .args(&words[1..])
            .args(["run", "--config"])
            .arg(&file)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(self.environment)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .unwrap();
        Agent { child, folder, control: Endpoint::Control(control) }
    }
}

/// `config` with a name and a control socket, unless it has them.
pub fn complete(config: &str, control: &Path) -> String {
    let mut text = config.to_owned();
    if !text.contains("[vehicle]") {
        text += "\n[vehicle]\nname = \"a\"\n";
    }
    if !text.contains("[control]") {
        text += &format!("\n[control]\npath = \"{}\"\n", control.display());
    }
    text
}

/// A running program; killed when dropped.
pub struct Agent {
    child: Child,
    pub folder: TempDir,
    /// Where it is asked: its control socket unless a test says otherwise.
    pub control: Endpoint,
}

impl Agent {
    /// Starts it with this configuration.
    pub fn start(config: &str) -> Agent {
        Start::plain().run(config)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// The status document; none while nobody listens.
    pub fn status(&self) -> Option<Status> {
        let answer = self.ask("/v1/status")?;
        Some(serde_json::from_str(&answer.body).unwrap())
    }

    /// One answer; none while nobody listens.
    fn ask(&self, path: &str) -> Option<Answer> {
        client::get(&self.control, path, PATIENCE).ok()
    }

    /// One answer of an agent that listens.
    pub fn get(&self, path: &str) -> Answer {
        self.ask(path).unwrap_or_else(|| panic!("no answer to {path}; its log:\n{}", self.log()))
    }

    /// The value of one series in `/metrics`.
    pub fn metric(&self, series: &str) -> Option<f64> {
        let text = self.get("/metrics").body;
        let mut values =
            text.lines().filter_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        values.next().map(|value| value.parse().unwrap())
    }

    /// Waits until the status is as it should be; `what` is for the reader of a failure.
    pub fn until(&mut self, what: &str, is_so: impl Fn(&Status) -> bool) -> Status {
        let deadline = Instant::now() + PATIENCE;
        let mut latest = None;
        while Instant::now() < deadline {
            if let Some(ended) = self.child.try_wait().unwrap() {
                panic!("ended with {ended} before {what}; its log:\n{}", self.log());
            }
            if let Some(status) = self.status() {
                if is_so(&status) {
                    return status;
                }
                latest = Some(status);
            }
            std::thread::sleep(LOOK_EVERY);
        }
        panic!("never {what}; the latest status: {latest:#?}\nits log:\n{}", self.log());
    }

    /// Waits until its log says `words`.
    pub fn until_logged(&mut self, words: &str) {
        let log = self.path("log");
        until(words, || fs::read_to_string(&log).is_ok_and(|text| text.contains(words)));
    }

    /// Waits for some more polls of the daemon, good or bad: the loop is alive.
    pub fn until_more_polls(&mut self, more: u64) {
        let polls =
            |status: &Status| status.mesh.polls_ok + status.mesh.polls_failed.values().sum::<u64>();
        let before = polls(&self.until("it runs", |_| true));
        self.until("it polled on", |status| polls(status) >= before + more);
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        panic!("does not end; its log:\n{}", self.log());
    }

    /// Ends it as a service manager does, which must be a clean end, and returns its log.
    pub fn stop(mut self) -> String {
        self.signal(Signal::SIGTERM);
        let status = self.wait();
        let log = self.log();
        assert_eq!(status.code(), Some(0), "after SIGTERM; its log:\n{log}");
        assert!(!log.contains("panicked"), "{log}");
        log
    }

    /// Like [`Agent::stop`], and returns the folder, which outlives the program.
    pub fn stop_and_keep(mut self) -> TempDir {
        let folder = std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap());
        self.stop();
        folder
    }

    /// Ends it as a power cut would, and returns the folder.
    pub fn kill_and_keep(mut self) -> TempDir {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap())
    }

    /// A field of `/proc/<pid>/status` in KiB, such as `VmHWM`.
    pub fn memory_kib(&self, field: &str) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = text.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// A file of the process in `/proc`.
    pub fn proc(&self, name: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{name}", self.child.id())).unwrap()
    }

    /// Asks for a reload over the control socket; the whole answer with its head.
    pub fn reload(&self) -> String {
        let mut stream = UnixStream::connect(self.path("control.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"POST /v1/reload HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended by itself, which is not for this place to judge.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for something that is not in the status.
pub fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "never {what}");
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Starts the program on a free TCP port, which is `{http}` in `config`. Somebody else may take the
/// port before the program does; it says so, and gets another one.
pub fn start_on_tcp(start: impl Fn() -> Start, config: &str) -> (Agent, SocketAddr) {
    for _ in 0..5 {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut agent = start().run(&config.replace("{http}", &address.to_string()));
        agent.until_logged("running; ");
        if !agent.log().contains("no status page") {
            return (agent, address);
        }
    }
    panic!("five times in a row somebody else took the port");
}

/// Whether an event of this kind was noted about this subject.
pub fn has_event(status: &Status, kind: &str, subject: &str) -> bool {
    let mut events = status.events.iter().map(|shown| &shown.event);
    events.any(|event| event.kind == kind && event.subject == subject)
}
