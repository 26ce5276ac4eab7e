//! Starting and stopping under a real systemd: nothing waits for a join, and what is not an agent is left alone.

use federation::systemd::{self, Manager};
use federation::{Host, wait_for};

use crate::{LIMIT, script, try_hands, use_hands, vehicle};

/// A unit with this program as k3s, which never says that it is ready unless told otherwise.
fn unit(host: &Host, name: &str, sub_command: &str, more: &str, program: &str) {
    let folder = format!("/var/{name}");
    host.write(&format!("{folder}/k3s"), &format!("#!/bin/sh\n{program}\n")).unwrap();
    let text = format!(
        "[Unit]\n{more}\n[Service]\nKillMode=process\nTimeoutStartSec=0\nRestart=always\nRestartSec=5s\n\
         ExecStart={folder}/k3s {sub_command}\n"
    );
    host.write(&format!("/etc/systemd/system/{name}.service"), &text).unwrap();
    script(host, &format!("chmod +x {folder}/k3s; systemctl daemon-reload"));
}

fn wait_unit(host: &Host, state: &str) {
    let is = || Ok((use_hands(host, &["unit"]) == format!("{state}\n")).then_some(()));
    wait_for(&format!("the unit to be {state}"), LIMIT, is).unwrap();
}

#[test]
fn a_start_is_done_when_it_is_on_its_way_and_a_stop_when_it_is_over() {
    let vehicle = vehicle("served", 70);
    let host = vehicle.host();
    let _manager = Manager::start(&vehicle).unwrap();
    wait_unit(host, "Absent");
    let (done, said) = try_hands(host, &["start"]);
    assert!(!done && said.contains("there is no service"), "{said}");
    use_hands(host, &["stop"]);

    systemd::install_unit(&vehicle, false).unwrap();
    // A server that nobody runs: the agent never gets ready.
    vehicle.configure("https://10.77.0.99:6443", "short").unwrap();
    wait_unit(host, "Stopped");
    use_hands(host, &["start"]);
    wait_unit(host, "Starting");
    use_hands(host, &["start"]);
    let main = || systemd::property(host, "MainPID").unwrap();
    let first = main();
    use_hands(host, &["restart"]);
    wait_for("another process", LIMIT, || Ok((main() != first && main() != "0").then_some(())))
        .unwrap();
    wait_unit(host, "Starting");

    host.run("kill", &["-9", &main()]).unwrap();
    wait_for("its end", LIMIT, || Ok((main() == "0").then_some(()))).unwrap();
    assert_eq!(use_hands(host, &["unit"]), "Starting\n", "systemd will start it again");
    use_hands(host, &["stop"]);
    assert_eq!(use_hands(host, &["unit"]), "Stopped\n");
    use_hands(host, &["stop"]);
}

#[test]
fn a_queued_start_counts_and_a_slow_stop_is_not_waited_for() {
    let vehicle = vehicle("slow", 71);
    let host = vehicle.host();
    let _manager = Manager::start(&vehicle).unwrap();
    let slow = "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'while ! [ -e /run/go ]; do sleep 0.1; done'\n";
    host.write("/etc/systemd/system/slow.service", slow).unwrap();
    let program = "setsid sleep 1000 &\ntrap 'while ! [ -e /run/end ]; do sleep 0.1; done; exit' TERM\nwhile :; do sleep 0.1; done";
    unit(host, "k3s-agent", "agent", "Wants=slow.service\nAfter=slow.service", program);
    use_hands(host, &["start"]);
    assert_eq!(use_hands(host, &["unit"]), "Starting\n");
    let state = systemd::property(host, "ActiveState").unwrap();
    assert_eq!(state, "inactive", "it is only queued");
    script(host, "touch /run/go");
    wait_unit(host, "Active");
    wait_for("its child", LIMIT, || Ok((!host.processes("sleep")?.is_empty()).then_some(())))
        .unwrap();

    let (done, said) = try_hands(host, &["stop"]);
    assert!(!done && said.contains("NotYet") && said.contains("on its way down"), "{said}");
    assert_eq!(use_hands(host, &["unit"]), "Stopping\n");
    script(host, "touch /run/end");
    wait_unit(host, "Stopped");
    let children = host.processes("sleep").unwrap();
    assert!(children.values().any(|line| line == "sleep 1000"), "containers live on: {children:?}");
}

#[test]
fn a_server_is_neither_started_nor_stopped() {
    let vehicle = vehicle("leads", 72);
    let host = vehicle.host();
    let _manager = Manager::start(&vehicle).unwrap();
    unit(host, "k3s", "server", "", "exec sleep 1000");
    host.run("systemctl", &["start", "k3s"]).unwrap();
    for word in ["start", "restart", "stop"] {
        let (done, said) = try_hands(host, &[word]);
        assert!(!done && said.contains("no agent"), "{word}: {said}");
    }
    assert_eq!(use_hands(host, &["unit"]), "Absent\n");
    let (done, said) = try_hands(host, &["clean-up"]);
    assert!(!done && said.contains("left alone"), "{said}");
    assert_eq!(host.run("systemctl", &["is-active", "k3s"]).unwrap(), "active\n");

    // Beside it, an agent is found by its name.
    unit(host, "k3s-agent", "agent", "", "exec sleep 1000");
    use_hands(host, &["start"]);
    wait_unit(host, "Active");
    use_hands(host, &["stop"]);
    assert_eq!(host.run("systemctl", &["is-active", "k3s"]).unwrap(), "active\n");
}
