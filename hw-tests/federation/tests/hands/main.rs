//! The agent's hands on vehicles of the rig: a real systemd, real mounts, networks, interfaces, rules and processes, laid out as
//! k3s leaves them, beside another k3s that must not notice. No Kubernetes is needed; root is.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod beside;
mod clean_up;
mod equip;
mod laid;
mod sandbox;
mod service;
mod snapshot;

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use federation::{Equipment, Ground, Host, Vehicle};

/// Limit for whatever a slow machine should manage in a fraction of it.
const LIMIT: Duration = Duration::from_secs(120);

fn ground() -> &'static Ground {
    static GROUND: OnceLock<Result<Ground, String>> = OnceLock::new();
    let equipment = || Equipment {
        folder: env!("CARGO_TARGET_TMPDIR").into(),
        double: env!("CARGO_BIN_EXE_k3s-double").into(),
    };
    GROUND.get_or_init(|| Ground::new(equipment())).as_ref().unwrap_or_else(|e| panic!("{e}"))
}

/// A vehicle at 10.77.0.`last`.
fn vehicle(name: &str, last: u8) -> Vehicle {
    Vehicle::new(ground(), name, Ipv4Addr::new(10, 77, 0, last)).unwrap()
}

/// The hands, about to do something on a vehicle.
fn hands(host: &Host, words: &[&str]) -> Command {
    let mut command = host.command(Path::new(env!("CARGO_BIN_EXE_hands")));
    command.args(words);
    command
}

/// What they print, and whether it is done.
fn try_hands(host: &Host, words: &[&str]) -> (bool, String) {
    let output = hands(host, words).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout) + &text(&output.stderr))
}

/// What they print when it is done, and it has to be.
fn use_hands(host: &Host, words: &[&str]) -> String {
    let (done, text) = try_hands(host, words);
    assert!(done, "{words:?}: {text}");
    text
}

/// Runs a script on a host.
fn script(host: &Host, text: &str) {
    host.run("sh", &["-euc", text]).unwrap();
}
