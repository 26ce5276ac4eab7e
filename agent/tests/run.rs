//! `outrider run` as a service manager and an operator see it: the real program, its signals and
//! its messages.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::fs;
use std::io::Read as _;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// No single thing may take longer, however slow the machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A service manager's folder and sockets, and the agent it runs.
struct Service {
    folder: tempfile::TempDir,
    notices: UnixDatagram,
    agent: Option<Child>,
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            let _ = agent.kill();
            let _ = agent.wait();
        }
    }
}

impl Service {
    fn new() -> Service {
        let folder = tempfile::tempdir().unwrap();
        let notices = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        notices.set_read_timeout(Some(PATIENCE)).unwrap();
        Service { folder, notices, agent: None }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn configure(&self, more: &str) {
        let text = format!(
            "[vehicle]\nname = \"alpha\"\n[mesh]\ndaemon = \"none\"\n[http]\nlisten = \"off\"\n\
             [control]\npath = \"{}\"\n{more}",
            self.path("control.sock").display()
        );
        fs::write(self.path("outrider.toml"), text).unwrap();
    }

    /// The program in an environment with nothing but what the service manager sets: no home, no
    /// place for temporary files, no locale, and the root as working directory.
    fn outrider(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_outrider"));
        command
            .args(arguments)
            .env_clear()
            .env("OUTRIDER_CONFIG", self.path("outrider.toml"))
            .env("NOTIFY_SOCKET", self.path("notify"))
            .env("WATCHDOG_USEC", "2000000")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn call(&self, arguments: &[&str]) -> Output {
        self.outrider(arguments).output().unwrap()
    }

    fn start(&mut self) {
        self.agent = Some(self.outrider(&["run"]).spawn().unwrap());
    }

    /// The next message to the service manager that begins with `begin`; others are passed over.
    fn notice(&self, begin: &str) -> String {
        let until = Instant::now() + PATIENCE;
        let mut buffer = [0; 1024];
        while Instant::now() < until {
            let length = self.notices.recv(&mut buffer).expect(begin);
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if text.starts_with(begin) {
                return text;
            }
        }
        panic!("no message begins with {begin}")
    }

    fn signal(&self, name: &str) {
        let agent = self.agent.as_ref().unwrap();
        let sent =
            Command::new("sh").args(["-c", &format!("kill -{name} {}", agent.id())]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits for the end of the agent; its exit status and its log.
    fn end(&mut self) -> (ExitStatus, String) {
        let mut agent = self.agent.take().unwrap();
        let mut log = String::new();
        agent.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        (agent.wait().unwrap(), log)
    }
}

#[test]
fn it_runs_without_home_and_tells_the_service_manager_and_the_operator_how_it_is() {
    let mut service = Service::new();
    service.configure("");
    service.start();
    assert!(service.notice("READY=1").contains("\nSTATUS="));
    service.notice("WATCHDOG=1");
    service.notice("WATCHDOG=1");

    let status = service.call(&["status"]);
    let text = String::from_utf8(status.stdout).unwrap();
    assert!(status.status.success() && text.starts_with("alpha  "), "{text}");
    let mesh = service.call(&["mesh"]);
    assert_eq!(mesh.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&mesh.stderr).contains("no routing daemon is configured"));

    service.signal("TERM");
    service.notice("STOPPING=1");
    let (status, log) = service.end();
    assert!(status.success(), "{status}: {log}");
    assert!(!service.path("control.sock").exists(), "the control socket is removed");
    let gone = service.call(&["status"]);
    assert_eq!(gone.status.code(), Some(3));
}

#[test]
fn a_hangup_reloads_and_names_what_waits_for_a_restart() {
    let mut service = Service::new();
    service.configure("");
    service.start();
    service.notice("READY=1");

    service.configure("[links]\nstale_after = \"20s\"\n[mqtt]\nsample = \"2s\"\n");
    service.signal("HUP");
    service.notice("RELOADING=1\nMONOTONIC_USEC=");
    service.notice("READY=1");
    service.configure("[links]\nstale_aftr = \"20s\"\n");
    service.signal("HUP");
    service.notice("RELOADING=1");
    service.notice("READY=1");

    let refused = service.call(&["status"]);
    assert_eq!(refused.status.code(), Some(5), "where the agent listens is not known: {refused:?}");
    service.configure("");
    let status = service.call(&["status", "--json"]);
    assert!(status.status.success(), "it still runs: {status:?}");
    service.signal("INT");
    let (status, log) = service.end();
    assert!(status.success(), "{status}: {log}");
    assert!(log.contains("mqtt.sample"), "{log}");
    assert!(log.contains("did you mean `stale_after`?"), "{log}");
}

#[test]
fn a_configuration_that_is_not_valid_is_refused_with_its_own_code() {
    let mut service = Service::new();
    service.configure("[hardware]\nintervall = \"1s\"\n");
    service.start();
    let (status, log) = service.end();
    assert_eq!(status.code(), Some(5), "{log}");
    assert!(log.contains("did you mean `interval`?"), "{log}");
}
