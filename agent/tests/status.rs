//! `outrider status` and `outrider mesh`: the real program asks the real server, which shows a
//! made-up convoy.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod fixture;
#[path = "fixture/server.rs"]
mod server;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use fixture::Convoy;
use outrider::core::status::Status;
use outrider::shell::http::Limits;
use server::Server;

fn outrider(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_outrider"))
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Standard output of a call that succeeds, which fits a serial console.
fn output(arguments: &[&str]) -> String {
    let output = outrider(arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    if !arguments.contains(&"--json") {
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{} columns: {line}", line.chars().count());
            assert!(line.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{line:?}");
        }
    }
    text
}

fn line<'a>(text: &'a str, begin: &str) -> &'a str {
    let found = text.lines().find(|line| line.starts_with(begin));
    found.unwrap_or_else(|| panic!("no line begins with {begin:?}:\n{text}"))
}

fn serve(convoy: Convoy) -> (Server, String) {
    let server = Server::start(convoy, Limits::default());
    let address = server.tcp.to_string();
    (server, address)
}

#[test]
fn a_convoy_is_shown_with_its_costs() {
    let (server, address) = serve(Convoy::new(6));
    let text = output(&["status", "--connect", &address]);
    assert!(line(&text, "veh-02").contains("healthy"), "{text}");
    assert!(line(&text, "VEHICLE").contains("COST"), "{text}");
    let neighbour = line(&text, "veh-01 ");
    assert!(neighbour.contains("reachable") && neighbour.contains("direct"), "{text}");
    assert!(line(&text, "MQTT").contains("connected"), "{text}");
    let document: Status =
        serde_json::from_str(&output(&["status", "--json", "--connect", &address])).unwrap();
    assert_eq!(document.vehicles.len(), 6);
    assert_eq!(
        server.counters().requests.get(&("/v1/status", 200)),
        Some(&2),
        "one request a call"
    );

    let mesh = output(&["mesh", "--connect", &address]);
    assert!(mesh.contains("LINK TO") && mesh.contains("ROUTE TO"), "{mesh}");
    let view: olsr_bridge::view::MeshView =
        serde_json::from_str(&output(&["mesh", "--json", "--connect", &address])).unwrap();
    assert!(!view.routes.is_empty());
}

#[test]
fn a_large_convoy_fits_and_so_does_one_with_long_names() {
    let (_server, address) = serve(Convoy::new(60));
    let text = output(&["status", "--connect", &address]);
    assert!(text.lines().filter(|line| line.starts_with("veh-")).count() >= 59, "{text}");
    output(&["mesh", "--connect", &address]);

    let names = (1..=9).map(|n| format!("{n}-{}", "vehicle".repeat(8))).collect();
    let (_server, address) = serve(Convoy::named(names));
    output(&["status", "--connect", &address]);
}

#[test]
fn lost_vehicles_and_a_silent_daemon_are_told_apart() {
    let (server, address) = serve(Convoy::new(6));
    server.change(|convoy| {
        convoy.lose(5);
        convoy.run(120);
    });
    let text = output(&["status", "--connect", &address]);
    let lost = line(&text, "veh-06");
    assert!(lost.contains("unreachable") && lost.contains("-1"), "{text}");

    server.change(|convoy| {
        convoy.silence();
        convoy.run(40);
    });
    let text = output(&["status", "--connect", &address]);
    assert!(line(&text, "veh-01").ends_with("old"), "{text}");
    assert!(
        !text.contains("unreachable  "),
        "nothing is unreachable for want of an answer: {text}"
    );
    assert!(line(&text, "veh-02").contains("not healthy"), "{text}");
}

#[test]
fn the_agent_is_found_through_its_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("control.sock");
    let config = folder.path().join("outrider.toml");
    let file = config.to_str().unwrap();
    let write = |control: &Path, listen: &str| {
        let text =
            format!("[control]\npath = \"{}\"\n[http]\nlisten = \"{listen}\"\n", control.display());
        std::fs::write(&config, text).unwrap();
    };
    let loopback = ([127, 0, 0, 1], 0).into();
    let server = Server::start_at(loopback, Some(&socket), Convoy::new(3), Limits::default());
    write(&socket, "off");
    assert!(output(&["status", "--config", file]).contains("veh-01"));
    assert!(output(&["mesh", "--config", file]).contains("ROUTE TO"));

    // An ordinary user may not use the socket, but everybody on the machine may read over HTTP.
    write(Path::new("/nonexistent/control.sock"), &server.tcp.to_string());
    assert!(output(&["status", "--config", file]).contains("veh-01"));
    write(Path::new("/nonexistent/control.sock"), &format!("0.0.0.0:{}", server.tcp.port()));
    assert!(output(&["status", "--config", file]).contains("veh-01"));

    write(Path::new("/nonexistent/control.sock"), "off");
    let refused = outrider(&["status", "--config", file]);
    assert_eq!(refused.status.code(), Some(3));
}

#[test]
fn the_check_recognises_a_running_agent() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("control.sock");
    let loopback = ([127, 0, 0, 1], 0).into();
    let server = Server::start_at(loopback, Some(&socket), Convoy::new(3), Limits::default());
    let config = folder.path().join("outrider.toml");
    let text = format!(
        "[control]\npath = \"{}\"\n[http]\nlisten = \"{}\"\n[mesh]\ndaemon = \"none\"\n[vehicle]\n",
        socket.display(),
        server.tcp
    );
    let check = |name: &str| {
        std::fs::write(&config, format!("{text}name = \"{name}\"\n")).unwrap();
        let found = outrider(&["check", "--config", config.to_str().unwrap()]);
        let text = String::from_utf8(found.stdout).unwrap();
        let words: Vec<&str> = text.split_whitespace().collect();
        (found.status.code(), words.join(" "))
    };
    let (code, text) = check("veh-01");
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("is held by the running agent"), "{text}");
    assert!(text.contains("and is healthy"), "{text}");
    let (code, text) = check("zulu");
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("held by an agent that calls itself `veh-01`"), "{text}");
}
