//! Cleaning up where no other Kubernetes lives: everything of k3s goes, and everything else is as it was, line by line.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use federation::{Vehicle, wait_for};

use crate::laid::{OURS, older_flannel, operators, shared_rules};
use crate::snapshot::{assert_same, snapshot};
use crate::{LIMIT, hands, script, try_hands, use_hands, vehicle};

/// A manager of services without which nothing can be asked.
fn managed(vehicle: &Vehicle) -> federation::systemd::Manager {
    federation::systemd::Manager::start(vehicle).unwrap()
}

#[test]
fn everything_of_k3s_goes_and_nothing_else_also_when_it_is_killed_in_between() {
    let vehicle = vehicle("alone", 60);
    let host = vehicle.host();
    let _manager = managed(&vehicle);
    let _operators = operators(host);
    // An older flannel would have written it.
    script(host, "iptables-nft -A FORWARD -s 10.42.0.0/16 -j ACCEPT");
    let before = snapshot(host);

    let lay = || {
        let shims = OURS.lay(host);
        shared_rules(host);
        shims
    };
    let _first = lay();
    let said = use_hands(host, &["clean-up"]);
    assert_eq!(said, "", "nothing was left");
    assert_same(&snapshot(host), &before, "after one clean-up");
    use_hands(host, &["clean-up"]);
    assert_same(&snapshot(host), &before, "after two");
    let image = host.read(&format!("{}/agent/images/pause.tar", OURS.data)).unwrap();
    assert_eq!(image, "image\n");
    assert_eq!(host.read("/var/srv/volume/file").unwrap(), "precious\n");

    // Killed after ever longer, until it comes to its end.
    let mut killed = 0;
    let mut delay = Duration::from_millis(10);
    loop {
        let _shims = lay();
        let mut child = hands(host, &["clean-up"]).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(delay);
        let ended = child.try_wait().unwrap().is_some();
        // What nsenter has started is its child in the vehicle's view, and has to die with it.
        for pid in host.processes(env!("CARGO_BIN_EXE_hands")).unwrap().into_keys() {
            host.run("kill", &["-9", &pid.to_string()]).unwrap_or_default();
        }
        child.wait().unwrap();
        use_hands(host, &["clean-up"]);
        assert_same(&snapshot(host), &before, &format!("killed after {delay:?}, then again"));
        if ended {
            break;
        }
        killed += 1;
        delay = delay * 8 / 5;
    }
    assert!(killed >= 3, "it was killed only {killed} times");
}

#[test]
fn rules_of_an_older_flannel_go_by_its_networks() {
    let vehicle = vehicle("older", 79);
    let host = vehicle.host();
    let _manager = managed(&vehicle);
    let _operators = operators(host);
    let own = "for table in filter mangle; do
                 iptables-nft -t $table -A FORWARD -s 10.42.0.0/16 -i eth0 -j ACCEPT
               done
               iptables-nft -t nat -A POSTROUTING -s 10.44.0.0/16 -d 10.44.0.0/16 -j RETURN";
    script(host, own);
    let rules = || host.run("iptables-nft-save", &[]).unwrap();
    let only = |saved: &str| -> Vec<String> {
        saved.lines().filter(|line| line.starts_with("-A ")).map(str::to_owned).collect()
    };
    let before = only(&rules());
    let _shims = OURS.lay(host);
    older_flannel(host);
    assert_eq!(use_hands(host, &["clean-up"]), "", "nothing was left");
    assert_eq!(only(&rules()), before);
}

#[test]
fn a_power_cut_in_between_leaves_nothing_for_the_next_cluster() {
    let mut vehicle = vehicle("dark", 61);
    {
        let _manager = managed(&vehicle);
        let host = vehicle.host();
        let _operators = operators(host);
        let _shim = OURS.lay(host);
        let mut child = hands(host, &["clean-up"]).stdout(Stdio::null()).spawn().unwrap();
        wait_for("a first death", LIMIT, || Ok((OURS.living(host) < 4).then_some(()))).unwrap();
        vehicle.power_cycle(crate::ground()).unwrap();
        child.wait().unwrap();
    }
    let _manager = managed(&vehicle);
    let host = vehicle.host();
    use_hands(host, &["clean-up"]);
    for gone in ["/var/lib/kubelet/pods", "/var/lib/cni/results", "/var/lib/cni/networks/cbr0"] {
        let listed = host.run("sh", &["-c", &format!("ls -A {gone} 2>&-; true")]).unwrap();
        assert_eq!(listed, "", "{gone}");
    }
    assert!(!host.path("/var/lib/kubelet/cpu_manager_state").exists());
    assert_eq!(host.read("/var/srv/volume/file").unwrap(), "precious\n");
    host.read(&format!("{}/agent/images/pause.tar", OURS.data)).unwrap();
}

#[test]
fn the_mesh_is_not_touched_whatever_its_interfaces_are_called() {
    let vehicle = vehicle("meshed", 62);
    let host = vehicle.host();
    let _manager = managed(&vehicle);
    let _operators = operators(host);
    let _shim = OURS.lay(host);
    script(
        host,
        "ip link add mesh0 type veth peer name mesh1
         ip link set mesh0 master cni0 up
         ip link set mesh1 up
         ip address add 10.99.0.1/32 dev flannel.1
         ip link set flannel.1 up",
    );
    let mesh = || -> Vec<String> {
        let wanted = ["mesh0", "mesh1", "flannel.1"];
        let is_mesh = |line: &&String| {
            let named = |name: &&str| line.contains(&format!("\"ifname\":\"{name}\""));
            (line.starts_with("link") || line.starts_with("address")) && wanted.iter().any(named)
        };
        snapshot(host).iter().filter(is_mesh).cloned().collect()
    };
    let before = mesh();
    assert_eq!(before.len(), 6, "{before:#?}");
    let said = use_hands(host, &["clean-up", "mesh0", "10.99.0.1"]);
    assert_eq!(mesh(), before);
    for left in ["mesh0", "cni0", "flannel.1"] {
        assert!(said.contains(&format!("left: the interface {left}")), "{said}");
    }
    let links = host.run("ip", &["-br", "link"]).unwrap();
    assert!(!links.contains(&OURS.port()) && !links.contains("kube-ipvs0"), "{links}");
    assert_eq!(OURS.living(host), 0);
}

#[test]
fn no_script_and_no_tool_is_needed_and_none_of_k3ss_is_run() {
    let vehicle = vehicle("bare", 63);
    let host = vehicle.host();
    let _manager = managed(&vehicle);
    script(
        host,
        "mkdir -p /var/traps
         for name in k3s-killall.sh k3s-uninstall.sh k3s-agent-uninstall.sh killall pkill ip umount kill lsof; do
           printf '#!/bin/sh\\ntouch /run/trapped\\n' > /var/traps/$name
           chmod +x /var/traps/$name
         done
         ln -s /usr/bin/systemctl /var/traps/systemctl",
    );
    let _operators = operators(host);
    let before = snapshot(host);
    let _shim = OURS.lay(host);
    let mut command = host.command(Path::new("env"));
    command.args(["PATH=/var/traps", env!("CARGO_BIN_EXE_hands"), "clean-up"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(!host.path("/run/trapped").exists());
    assert_same(&snapshot(host), &before, "without tools");
}

#[test]
fn nothing_is_removed_under_a_k3s_that_runs() {
    let vehicle = vehicle("busy", 64);
    let host = vehicle.host();
    let _manager = managed(&vehicle);
    let _operators = operators(host);
    let _shim = OURS.lay(host);
    // Not as a service, so that nobody can stop it.
    let main = OURS.run(host);
    let before = snapshot(host);
    let (done, said) = try_hands(host, &["clean-up"]);
    assert!(!done && said.contains("k3s still runs"), "{said}");
    assert_same(&snapshot(host), &before, "while k3s ran");
    drop(main);
    use_hands(host, &["clean-up"]);
    assert_eq!(OURS.living(host), 0);
}
