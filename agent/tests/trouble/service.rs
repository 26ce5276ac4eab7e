//! The agent as a service: what it tells systemd, reloads, and what its log says when all is well.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use outrider::cli::client::Endpoint;

use crate::broker::Broker;
use crate::program::{Agent, PATIENCE, Start, complete, has_event, start_on_tcp};
use crate::routing::Routing;
use crate::uplink;

/// Receives messages until one is `wanted`; returns all of them.
fn told(manager: &UnixDatagram, wanted: &str) -> Vec<String> {
    let deadline = Instant::now() + PATIENCE;
    let mut messages: Vec<String> = Vec::new();
    let mut buffer = [0; 4096];
    while !messages.iter().any(|message| message.contains(wanted)) {
        assert!(Instant::now() < deadline, "never told `{wanted}`, but {messages:?}");
        if let Ok(length) = manager.recv(&mut buffer) {
            messages.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
    }
    messages
}

#[test]
fn the_service_manager_is_told_everything() {
    let routing = Routing::healthy();
    let mut start = Start::plain();
    let socket = start.folder.path().join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    start.environment = vec![
        ("NOTIFY_SOCKET", socket.to_str().unwrap().to_owned()),
        ("WATCHDOG_USEC", "1000000".to_owned()),
    ];
    let mut agent = start.run(&(routing.config() + "[http]\nlisten = \"off\"\n"));
    let first = told(&manager, "READY=1");
    assert!(first.last().unwrap().contains("STATUS="), "{first:?}");
    told(&manager, "WATCHDOG=1");
    told(&manager, "WATCHDOG=1");
    told(&manager, "STATUS=4 of 4 vehicles reachable; no broker configured");
    agent.signal(Signal::SIGHUP);
    let reloading = told(&manager, "RELOADING=1");
    assert!(reloading.last().unwrap().contains("MONOTONIC_USEC="), "{reloading:?}");
    told(&manager, "READY=1");
    agent.signal(Signal::SIGTERM);
    told(&manager, "STOPPING=1");
    assert_eq!(agent.wait().code(), Some(0));
}

#[test]
fn a_reload_takes_over_what_is_right_and_leaves_the_rest() {
    let routing = Routing::healthy();
    let config = routing.config() + "[http]\nlisten = \"off\"\n";
    let mut agent = Agent::start(&config);
    let file = agent.path("outrider.toml");
    let control = agent.path("control.sock");
    agent.until("vehicle e is known", |status| status.vehicles.iter().any(|v| v.name == "e"));

    let renamed = config.replace("e = [", "echo = [").replace("\"off\"", "\"127.0.0.1:1\"");
    fs::write(&file, complete(&renamed, &control)).unwrap();
    agent.signal(Signal::SIGHUP);
    let status = agent.until("the new name has its cost", |status| {
        status.vehicles.iter().any(|v| v.name == "echo" && v.cost == Some(300))
    });
    let told = status.events.iter().find(|shown| shown.event.kind == "reloaded").unwrap();
    assert!(told.event.text.contains("mesh.vehicles"), "{told:?}");
    assert!(told.event.text.contains("at the next start: http.listen"), "{told:?}");

    fs::write(&file, complete(&config.replace("daemon =", "deamon ="), &control)).unwrap();
    agent.signal(Signal::SIGHUP);
    let status =
        agent.until("the mistake is told", |status| has_event(status, "reload-failed", ""));
    let told = status.events.iter().find(|shown| shown.event.kind == "reload-failed").unwrap();
    assert!(told.event.text.contains("line 2") && told.event.text.contains("`daemon`"), "{told:?}");
    let answer = agent.reload();
    assert!(answer.contains(" 422 ") && answer.contains("deamon"), "{answer}");
    agent.until_more_polls(2);
    assert_eq!(agent.metric("olsr_network_cost{node=\"echo\"}"), Some(300.0));

    fs::write(&file, complete(&config, &control)).unwrap();
    let answer = agent.reload();
    assert!(answer.contains(" 200 ") && answer.contains("mesh.vehicles"), "{answer}");
    agent.until("vehicle e has its cost", |status| {
        status.vehicles.iter().any(|v| v.name == "e" && v.cost == Some(300))
    });
    agent.stop();
}

#[test]
fn nothing_can_be_changed_over_tcp() {
    let routing = Routing::healthy();
    let config = format!("{}[http]\nlisten = \"{{http}}\"\n", routing.config());
    let (agent, address) = start_on_tcp(Start::plain, &config);
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("POST /v1/reload HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(
        answer.contains(" 403 ") || answer.contains(" 404 ") || answer.contains(" 405 "),
        "{answer}"
    );
    assert_eq!(agent.metric("outrider_config_reloads_total{result=\"ok\"}"), Some(0.0));
    assert!(agent.reload().contains(" 200 "));
    agent.stop();
}

#[test]
fn a_healthy_vehicle_logs_no_warning() {
    let (routing, broker) = (Routing::healthy(), Broker::open());
    let more = "[hardware]\ndeadline = \"60s\"\n";
    let config = uplink::config(&routing, broker.port, more)
        // A busy test machine is no fault of the vehicle.
        .replace("timeout = \"2s\"", "timeout = \"60s\"")
        .replace("\"off\"", "\"{http}\"");
    let (mut agent, address) = start_on_tcp(Start::plain, &config);
    agent.until("ten seconds of work", |status| {
        status.clock.agent_uptime_ms >= 10_000
            && status.mesh.polls_ok >= 5
            && status.mqtt.state.acknowledged >= 5
            && status.collectors.iter().all(|collector| collector.ok + collector.failed >= 3)
    });
    agent.control = Endpoint::Tcp(address.to_string());
    for path in ["/healthz", "/readyz", "/metrics", "/v1/status", "/v1/mesh"] {
        assert_eq!(agent.get(path).code, 200, "{path}");
    }
    // The page is no text: it comes compressed.
    let mut page = TcpStream::connect(address).unwrap();
    page.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET / HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    page.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    page.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
    let log = agent.stop();
    assert!(log.contains(" INFO "), "{log}");
    for word in [" WARN ", " ERROR ", "lost"] {
        assert!(!log.contains(word), "{log}");
    }
}
