//! Machines that are short of something: ports, folders, memory, processor time, somebody who reads
//! the log.

use std::fs;
use std::io::{PipeReader, Read as _, Write as _};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::Signal;
use outrider::cli::client::Endpoint;

use crate::broker::Broker;
use crate::mesh::Mesh;
use crate::program::{Agent, BARE, Start, has_event, start_on_tcp};
use crate::routing::{Manner, Routing};
use crate::stand_in::http;
use crate::uplink;

#[test]
fn a_port_in_use_is_named_and_the_rest_works() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    let routing = Routing::healthy();
    let config = format!("{}[http]\nlisten = \"{address}\"\n", routing.config());
    let mut agent = Agent::start(&config);
    agent.until_more_polls(2);
    let status = agent.until("it is named", |status| has_event(status, "http-listen", ""));
    let event = status.events.iter().find(|shown| shown.event.kind == "http-listen").unwrap();
    assert!(event.event.text.contains(&address.to_string()), "{event:?}");
    assert!(event.event.text.contains("[http]"), "{event:?}");
    assert_eq!(agent.metric("olsr_network_cost{node=\"e\"}"), Some(300.0));
    let log = agent.stop();
    assert!(log.contains("no status page"), "{log}");
}

#[test]
fn a_second_agent_on_the_same_socket_ends_at_once() {
    let mut first = Agent::start(BARE);
    first.until("it runs", |_| true);
    let control = first.path("control.sock");
    let second = format!("{BARE}[control]\npath = \"{}\"\n", control.display());
    let mut second = Agent::start(&second);
    assert_eq!(second.wait().code(), Some(1));
    let log = second.log();
    assert!(log.contains("another outrider answers there: stop it"), "{log}");
    first.until("the first one still answers", |_| true);
    first.stop();
}

#[test]
fn a_socket_left_by_a_killed_agent_is_taken_over() {
    let mut first = Agent::start(BARE);
    first.until("it runs", |_| true);
    first.signal(Signal::SIGKILL);
    first.wait();
    let control = first.path("control.sock");
    assert!(control.exists(), "it could not clean up");
    let mut second = Agent::start(&format!("{BARE}[control]\npath = \"{}\"\n", control.display()));
    second.control = Endpoint::Control(control.clone());
    second.until("it runs", |_| true);
    second.stop();
    assert!(!control.exists(), "a clean end leaves nothing behind");
}

#[test]
fn a_mistake_in_the_configuration_is_shown_with_its_line() {
    let mut agent = Agent::start("[mesh]\ndaemon = \"none\"\nintervall = \"1s\"\n");
    assert_eq!(agent.wait().code(), Some(5));
    let log = agent.log();
    assert!(log.contains("line 3") && log.contains("`interval`"), "{log}");
    assert!(log.contains("outrider.toml"), "{log}");
}

#[test]
fn a_control_socket_that_cannot_be_made_is_named_and_the_rest_works() {
    // Not even root can make a folder in /proc.
    let routing = Routing::healthy();
    let config = format!(
        "{}[http]\nlisten = \"{{http}}\"\n[control]\npath = \"/proc/outrider/control.sock\"\n",
        routing.config()
    );
    let (mut agent, address) = start_on_tcp(Start::plain, &config);
    agent.control = Endpoint::Tcp(address.to_string());
    let status = agent.until("it is named", |status| has_event(status, "control-socket", ""));
    let event = status.events.iter().find(|shown| shown.event.kind == "control-socket").unwrap();
    assert!(event.event.text.contains("/proc/outrider/control.sock"), "{event:?}");
    agent.until("the mesh is read", |status| {
        status.vehicles.iter().any(|vehicle| vehicle.cost == Some(300))
    });
    agent.stop();
}

/// Mounts everything read-only that lets itself be, and becomes the program.
const READ_ONLY_ROOT: &str = "
    awk '{print $2}' /proc/self/mounts | while read -r mount; do
        mount -o remount,bind,ro \"$mount\" 2>/dev/null
    done
    exec \"$@\"";

#[test]
fn no_home_no_temporary_folder_and_a_read_only_root() {
    let routing = Routing::healthy();
    // Where there are no namespaces, /proc is what nobody can write to.
    let namespaces = ["-m", "-rm"].iter().any(|flag| {
        let mut unshare = Command::new("unshare");
        unshare.args([flag, "true"]).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
    });
    let control = if namespaces { "{folder}/control.sock" } else { "/proc/outrider/control.sock" };
    let config = format!(
        "{}[http]\nlisten = \"{{http}}\"\n[control]\npath = \"{control}\"\n",
        routing.config()
    );
    let start = || Start::in_own_mounts("exec \"$@\"", READ_ONLY_ROOT);
    let (mut agent, address) = start_on_tcp(start, &config);
    agent.control = Endpoint::Tcp(address.to_string());
    let environment = agent.proc("environ");
    assert!(!environment.contains("HOME=") && !environment.contains("TMPDIR="), "{environment}");
    if namespaces {
        let mounts = agent.proc("mounts");
        let root = mounts.lines().rfind(|line| line.split(' ').nth(1) == Some("/")).unwrap();
        assert!(root.split(' ').nth(3).unwrap().split(',').any(|option| option == "ro"), "{root}");
    }
    let status = agent.until("the mesh is read", |status| {
        status.vehicles.iter().any(|vehicle| vehicle.cost == Some(300))
    });
    assert!(has_event(&status, "control-socket", ""), "{:#?}", status.events);
    agent.until("every collector answered", |status| {
        status.collectors.iter().all(|collector| collector.ok + collector.failed > 0)
    });
    agent.stop();
}

#[test]
fn a_large_mesh_and_a_broker_fit_into_32_mib() {
    let routing = Routing::start(Manner::Says(http(Mesh::new(100, 4).jsoninfo().as_bytes())));
    let broker = Broker::open();
    // Data and not address space: a program built for debugging alone maps more of its file than
    // that.
    let start = Start::behind("ulimit -d 32768; exec \"$@\"");
    let mut agent = start.run(&uplink::config(&routing, broker.port, ""));
    let status = agent.until("the mesh is followed and records arrive", |status| {
        status.mesh.polls_ok >= 5 && status.mqtt.state.acknowledged >= 5
    });
    let limits = agent.proc("limits");
    let limit = limits.lines().find(|line| line.starts_with("Max data size")).unwrap();
    assert!(limit.contains("33554432"), "{limit}");
    assert!(status.vehicles.len() >= 100, "{} vehicles", status.vehicles.len());
    agent.get("/metrics");
    let peak = agent.memory_kib("VmHWM");
    assert!(peak < 32 * 1024, "{peak} KiB at the peak");
    let log = agent.stop();
    assert!(!log.contains("refused a thread"), "{log}");
}

/// A pipe that takes no byte more.
fn full_pipe() -> (PipeReader, Stdio) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let bytes = fcntl(writer.as_fd(), FcntlArg::F_GETPIPE_SZ).unwrap();
    writer.write_all(&vec![b'.'; usize::try_from(bytes).unwrap()]).unwrap();
    (reader, Stdio::from(writer))
}

#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    let (mut reader, stderr) = full_pipe();
    let routing = Routing::start(Manner::Says(Vec::new()));
    let start = Start { stderr: Some(stderr), ..Start::plain() };
    let mut agent =
        start.run(&(routing.config() + "[http]\nlisten = \"off\"\n[log]\nlevel = \"debug\"\n"));
    agent.until("it would have logged a failed poll", |status| {
        has_event(status, "daemon-silent", "")
    });
    agent.until_more_polls(1);

    // Somebody reads again: what was lost is told with the next line.
    let text = std::thread::spawn(move || {
        let mut text = Vec::new();
        reader.read_to_end(&mut text).unwrap();
        String::from_utf8_lossy(&text).into_owned()
    });
    routing.change(Manner::Says(crate::routing::captured()));
    agent.until("it logs once more", |status| has_event(status, "daemon-answers", ""));
    agent.stop();
    let text = text.join().unwrap();
    assert!(text.contains("lines of the log were lost here"), "{text}");
    assert!(text.contains("daemon-answers"), "{text}");
}

#[test]
fn a_log_whose_reader_has_gone_stops_nothing() {
    let (reader, stderr) = full_pipe();
    drop(reader);
    let routing = Routing::healthy();
    let start = Start { stderr: Some(stderr), ..Start::plain() };
    let mut agent = start.run(&(routing.config() + "[http]\nlisten = \"off\"\n"));
    agent.until_more_polls(2);
    agent.stop();
}

#[test]
fn closed_standard_streams_are_no_trouble() {
    let routing = Routing::healthy();
    let start = Start::behind("exec \"$@\" <&- >&- 2>&-");
    let mut agent = start.run(&(routing.config() + "[http]\nlisten = \"off\"\n"));
    agent.until_more_polls(2);
    assert_eq!(agent.metric("olsr_network_cost{node=\"e\"}"), Some(300.0));
    agent.stop();
}

#[test]
fn a_stopped_process_goes_on_where_it_was() {
    let (routing, broker) = (Routing::healthy(), Broker::open());
    let mut agent = Agent::start(&uplink::config(&routing, broker.port, ""));
    agent.until("it delivered something", |status| status.mqtt.state.acknowledged >= 3);
    agent.signal(Signal::SIGSTOP);
    std::thread::sleep(Duration::from_secs(4));
    agent.signal(Signal::SIGCONT);
    let before = agent.status().unwrap().mqtt.state.acknowledged;
    agent.until_more_polls(2);
    let status = agent.until("it delivered more", |status| {
        status.mqtt.state.connected && status.mqtt.state.acknowledged > before
    });
    assert_eq!(uplink::lost(&status), 0, "{:?}", status.mqtt);
    assert_eq!(agent.metric("olsr_network_cost{node=\"e\"}"), Some(300.0));
    let log = agent.stop();
    assert!(!log.contains("wall clock was set"), "{log}");
}

/// A process that does nothing but use a processor; killed when dropped.
struct Burner(Child);

impl Burner {
    fn start() -> Burner {
        // Ends by itself in case this test is killed.
        Burner(
            Command::new("timeout")
                .args(["60", "sh", "-c", "while :; do :; done"])
                .spawn()
                .unwrap(),
        )
    }
}

impl Drop for Burner {
    fn drop(&mut self) {
        // `timeout` passes SIGTERM on to what it runs.
        let pid = nix::unistd::Pid::from_raw(self.0.id().try_into().unwrap());
        let _ = nix::sys::signal::kill(pid, Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

#[test]
fn it_ticks_when_others_take_the_processor() {
    let routing = Routing::healthy();
    let nice = ["nice", "-n", "19"].map(str::to_owned).to_vec();
    let start = Start { wrapper: nice, ..Start::plain() };
    let mut agent = start.run(&(routing.config() + "[http]\nlisten = \"off\"\n"));
    agent.until("it runs", |_| true);
    let processors = std::thread::available_parallelism().map_or(2, usize::from).min(4);
    let burners: Vec<Burner> = (0..processors).map(|_| Burner::start()).collect();
    agent.until_more_polls(3);
    drop(burners);
    agent.stop();
}

#[test]
fn what_others_wrote_at_the_place_of_the_socket_is_left_alone() {
    let start = Start::plain();
    let file = start.folder.path().join("control.sock");
    fs::write(&file, "somebody's notes").unwrap();
    let mut agent = start.run(BARE);
    agent.until_logged("something that is no socket lies there");
    let _folder = agent.stop_and_keep();
    assert_eq!(fs::read_to_string(file).unwrap(), "somebody's notes");
}
