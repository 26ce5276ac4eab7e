//! The real `outrider fleet` and `outrider run`, as somebody starts them, and what they answer over HTTP.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// Nothing here takes long; on a machine that does much else it may.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// A running program; killed when dropped.
pub struct Program {
    child: Child,
    log: Arc<Mutex<String>>,
}

impl Program {
    pub fn start(command: &mut Command) -> Program {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(String::new()));
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                *kept.lock().unwrap() += &(line + "\n");
            }
        });
        Program { child, log }
    }

    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub fn wait_for_log(&mut self, words: &str) -> String {
        until(&format!("`{words}` in the log"), || {
            let ended = self.child.try_wait().unwrap();
            let log = self.log();
            if log.contains(words) {
                return Some(log);
            }
            assert!(ended.is_none(), "it ended: {log}");
            None
        })
    }

    /// As a power cut, for the process.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// As a service manager ends it.
    pub fn terminate(mut self) -> ExitStatus {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
        until("the end of the program", || self.child.try_wait().unwrap())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until something is there.
pub fn until<T>(what: &str, mut there: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = there() {
            return value;
        }
        assert!(Instant::now() < deadline, "no {what} within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// How a receiving end is started, with its folders.
pub struct Post {
    pub folder: tempfile::TempDir,
    pub port: u16,
    pub more: Vec<String>,
}

impl Post {
    pub fn new(port: u16, more: &[&str]) -> Post {
        let folder = tempfile::tempdir().unwrap();
        Post { folder, port, more: more.iter().map(|&text| text.to_owned()).collect() }
    }

    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub fn streams(&self) -> PathBuf {
        self.folder.path().join("streams")
    }

    pub fn command(&self) -> Command {
        let mut command = outrider(&["fleet", "--listen", "127.0.0.1:0"]);
        self.arguments(&mut command);
        command
    }

    pub fn arguments(&self, command: &mut Command) {
        command.args(["--connect", &format!("127.0.0.1:{}", self.port), "--state"]);
        command.arg(self.state()).arg("--streams-to").arg(self.streams()).args(&self.more);
    }

    pub fn start(&self) -> Receiving {
        Receiving::start(&mut self.command())
    }
}

/// The program itself, without the configuration of this machine.
pub fn outrider(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outrider"));
    command.args(arguments).env_remove("OUTRIDER_CONFIG").env_remove("NOTIFY_SOCKET");
    command
}

/// A running receiving end.
pub struct Receiving {
    pub program: Program,
    pub page: SocketAddr,
}

impl Receiving {
    pub fn start(command: &mut Command) -> Receiving {
        let mut program = Program::start(command);
        let log = program.wait_for_log("http://");
        let page = log.split("http://").nth(1).unwrap().split('/').next().unwrap();
        let page = page.parse().unwrap();
        Receiving { program, page }
    }

    pub fn wait_until_connected(&mut self) {
        self.program.wait_for_log("connected to");
    }

    pub fn get(&self, path: &str, accept: &str) -> String {
        let mut stream = TcpStream::connect(self.page).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: {}\r\naccept: {accept}\r\nconnection: close\r\n\r\n",
            self.page
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    pub fn document(&self) -> Value {
        serde_json::from_str(&self.get("/api/fleet", "*/*")).unwrap()
    }

    pub fn metrics(&self) -> String {
        self.get("/metrics", "*/*")
    }

    /// Waits until the document fits.
    pub fn wait_for(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            last = self.document();
            if fits(&last) {
                return last;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("no {what} within {PATIENCE:?}: {last:#}\n{}", self.program.log());
    }
}

/// The vehicle of this name in a document.
pub fn vehicle<'d>(document: &'d Value, name: &str) -> &'d Value {
    let vehicles = document["vehicles"].as_array().unwrap();
    vehicles.iter().find(|vehicle| vehicle["name"] == name).unwrap_or(&Value::Null)
}

/// All lines that are whole, in the order of the files, with the content of files beside them.
pub fn lines(streams: &Path, vehicle: &str, stream: &str) -> Vec<(Value, Vec<u8>)> {
    let folder = streams.join(vehicle).join(stream);
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(_) => return Vec::new(),
    };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    files.sort();
    let mut lines = Vec::new();
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            let line: Value = serde_json::from_str(line)
                .unwrap_or_else(|error| panic!("{}: {error}: {line:?}", path.display()));
            let file = line["file"].as_str().map(|name| std::fs::read(folder.join(name)).unwrap());
            lines.push((line, file.unwrap_or_default()));
        }
    }
    lines
}

/// Kills a receiving end over and over, at moments that are the same in each run, at least so many times and until the
/// publisher, which runs meanwhile, has made so many rounds: how long that takes is the machine's business.
pub fn kill_over_and_over<T>(
    mut receiving: Receiving,
    post: &Post,
    (kills, rounds): (u32, u64),
    mut random: u32,
    (publisher, made): (&JoinHandle<T>, &AtomicU64),
) -> Receiving {
    let (mut killed, mut moved) = (0, (0, Instant::now()));
    loop {
        let now = made.load(Ordering::Relaxed);
        if killed >= kills && now >= rounds {
            return receiving;
        }
        if now > moved.0 {
            moved = (now, Instant::now());
        }
        let stands_still = publisher.is_finished() || moved.1.elapsed() > PATIENCE;
        assert!(
            killed < kills || !stands_still,
            "the publisher stands still: {now} rounds, {killed} kills"
        );
        // Numerical Recipes' generator.
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        std::thread::sleep(Duration::from_millis(u64::from(random >> 24)));
        receiving.program.kill();
        receiving = post.start();
        killed += 1;
    }
}
