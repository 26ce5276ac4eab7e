//! The unit that is packed beside the program: what it starts, and what it is told.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use super::broker::Broker;
use super::program::{Receiving, outrider, until};

/// Values of a key of the unit.
fn values<'u>(unit: &'u str, key: &str) -> Vec<&'u str> {
    unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

#[test]
fn what_the_unit_starts_tells_the_service_manager() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../images/systemd");
    let unit = fs::read_to_string(path.join("outrider-fleet.service")).unwrap();
    assert_eq!(values(&unit, "Type"), ["notify"]);
    let [start] = values(&unit, "ExecStart")[..] else { panic!("{unit}") };
    let [name] = values(&unit, "StateDirectory")[..] else { panic!("{unit}") };

    // The folders of the unit, here.
    let broker = Broker::open();
    let folder = tempfile::tempdir().unwrap();
    let [state, etc] = ["state", "etc"].map(|name| folder.path().join(name));
    fs::create_dir(&etc).unwrap();
    let config = format!("[mqtt]\nhost = \"127.0.0.1\"\nport = {}\n", broker.port);
    fs::write(etc.join("fleet.toml"), config).unwrap();
    let words = start.split(' ').map(|word| {
        word.replace("/etc/outrider", &etc.display().to_string())
            .replace(&format!("/var/lib/{name}"), &state.display().to_string())
    });
    let words: Vec<String> = words.collect();
    assert_eq!(words[0], "/usr/bin/outrider");
    let socket = folder.path().join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut command = outrider(&[]);
    command.args(&words[1..]).args(["--listen", "127.0.0.1:0"]);
    command.env("NOTIFY_SOCKET", &socket).env("STATE_DIRECTORY", &state);
    command.env("WATCHDOG_USEC", "1000000");

    let mut receiving = Receiving::start(&mut command);
    receiving.wait_until_connected();
    let mut said = String::new();
    let mut told = |words: &str| {
        until(words, || {
            let mut buffer = [0; 4096];
            let length = manager.recv(&mut buffer).unwrap_or(0);
            said += &String::from_utf8_lossy(&buffer[..length]);
            said.contains(words).then_some(())
        });
    };
    told("READY=1");
    told("WATCHDOG=1");
    assert!(state.join("lock").exists() && state.join("streams").is_dir());
    assert!(receiving.program.terminate().success());
    told("STOPPING=1");
}
