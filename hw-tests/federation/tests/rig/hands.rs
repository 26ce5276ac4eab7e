//! The agent's hands with real pods: what a real kubelet, containerd, runc and network plugins left is gone afterwards, and the
//! vehicle can join again without anything being loaded anew.

use std::collections::BTreeSet;
use std::path::Path;

use federation::systemd::{Manager, install_k3s};
use federation::{Host, Process, Vehicle, wait_for};
use serde_json::json;

#[path = "../hands/snapshot.rs"]
mod snapshot;

use self::snapshot::{assert_same, snapshot};
use crate::{LIMIT, authority_of, container, home, pod, running, vehicle, wait_pods_allowed};

/// The hands do something on a vehicle, and it has to be done.
fn use_hands(vehicle: &Vehicle, words: &[&str]) -> String {
    let mut command = vehicle.host().command(Path::new(env!("CARGO_BIN_EXE_hands")));
    let output = command.args(words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What the kernel has, without two mounts that are nobody's: the first named network mounts the folder of all, and the kubelet
/// makes its folder shared, which is a mount here and a plain folder elsewhere.
fn kernel(host: &Host) -> BTreeSet<String> {
    let nobodys = [" /run/netns rw", " /var/lib/kubelet rw"];
    let is_somebodys = |line: &String| {
        !line.starts_with("file ") && !nobodys.iter().any(|part| line.contains(part))
    };
    snapshot(host).into_iter().filter(is_somebodys).filter_map(rule).collect()
}

/// Of a firewall only rules and the chains that somebody made: who looks into a table leaves it behind empty.
fn rule(line: String) -> Option<String> {
    let Some((program, rest)) = line.split_once("-save *") else { return Some(line) };
    let words: Vec<&str> = rest.splitn(3, ' ').collect();
    let [table, _, text] = words[..] else { return None };
    let is_somebodys = text.starts_with("-A ") || text.ends_with(" -");
    is_somebodys.then(|| format!("{program} {table} {text}"))
}

/// A program whose name is that of Kubernetes' own.
const OTHER: &str = "/var/other/kubelet";

fn other_kubelet(host: &Host) -> Process {
    host.run("sh", &["-euc", &format!("mkdir -p /var/other; cp $(which sleep) {OTHER}")]).unwrap();
    let other = host.spawn("other", host.command(Path::new(OTHER)).arg("1000")).unwrap();
    let runs = || Ok((!host.processes(OTHER)?.is_empty()).then_some(()));
    wait_for("the other kubelet", LIMIT, runs).unwrap();
    other
}

#[test]
fn what_real_pods_leave_is_gone_and_they_run_again_without_loading_anything() {
    let red = home();
    let vehicle = vehicle("leaves", 34);
    let host = vehicle.host();
    let _manager = Manager::start(&vehicle).unwrap();
    install_k3s(&vehicle, true).unwrap();
    // The rules of a machine that never had any look otherwise than those of one that has none any more.
    host.run("sh", &["-euc", "for i in iptables-nft iptables-legacy ip6tables-nft; do $i -N MINE; $i -t nat -N MINE; done"])
        .unwrap();
    let before = kernel(host);

    let token = red.agent_token().unwrap();
    let hash = authority_of(red).to_string();
    let equip = [
        "equip",
        "red",
        &red.address().to_string(),
        &token,
        &hash,
        "leaves",
        &vehicle.address().to_string(),
    ];
    use_hands(&vehicle, &equip);
    use_hands(&vehicle, &["start"]);
    red.wait_node("leaves", "True", LIMIT).unwrap();
    wait_pods_allowed(red);
    let mut work = container(&[]);
    work["volumeMounts"] = json!([{ "name": "memory", "mountPath": "/memory" }]);
    let spec = json!({
        "nodeName": "leaves", "containers": [work],
        "volumes": [{ "name": "memory", "emptyDir": { "medium": "Memory" } }],
    });
    red.apply(&pod("leaves", &spec).to_string()).unwrap();
    let before_clean_up = running(red, "leaves").unwrap();
    let during = kernel(host);
    for kind in ["mount", "process", "link"] {
        let more = during.difference(&before).any(|line| line.starts_with(kind));
        assert!(more, "a pod has a {kind} of its own: {during:#?}");
    }
    assert_eq!(use_hands(&vehicle, &["unit"]), "Active\n");

    // It stops the service itself.
    assert_eq!(use_hands(&vehicle, &["clean-up"]), "", "nothing was left");
    assert_same(&kernel(host), &before, "after the clean-up");
    // A real k3s that is stopped ends with a complaint.
    let unit = use_hands(&vehicle, &["unit"]);
    assert!(["Stopped\n", "Failed\n"].contains(&unit.as_str()), "{unit}");

    use_hands(&vehicle, &["start"]);
    red.wait_node("leaves", "True", LIMIT).unwrap();
    wait_for("another container", LIMIT, || {
        Ok((running(red, "leaves")? != before_clean_up).then_some(()))
    })
    .unwrap();

    // Beside another kubelet, whatever is evidently the one's goes all the same.
    let other = other_kubelet(host);
    let rules = |lines: BTreeSet<String>| -> BTreeSet<String> {
        lines.into_iter().filter(|line| line.contains(" KUBE-")).collect()
    };
    let shared = rules(kernel(host));
    let said = use_hands(&vehicle, &["clean-up"]);
    assert!(said.contains("the interface cni0") && !said.contains("the mount"), "{said}");
    // A real k3s has more that may be the other's: its tunnel, and the rules of kube-proxy.
    let is_shared = |line: &&String| {
        line.contains(" KUBE-")
            || line.contains(":KUBE-")
            || ["cni0", "flannel.1", "10.42.0.0/16", OTHER].iter().any(|part| line.contains(part))
    };
    let now: BTreeSet<String> =
        kernel(host).iter().filter(|line| !is_shared(line)).cloned().collect();
    assert_same(&now, &before, "beside another kubelet");
    assert!(shared.is_subset(&rules(kernel(host))), "rules that may be the other's went");
    for folder in ["/var/lib/cni", "/var/lib/kubelet/pods"] {
        let left =
            host.run("find", &[folder, "-name", "*eth0", "-o", "-name", "etc-hosts"]).unwrap();
        assert_eq!(left, "");
    }
    drop(other);

    use_hands(&vehicle, &["clean-up"]);
    use_hands(&vehicle, &["strip", "red"]);
    assert_same(&kernel(host), &before, "after the federation");
    let left = host
        .run(
            "find",
            &["/etc/rancher", "/var/lib/rancher/k3s/agent", "-maxdepth", "1", "-type", "f"],
        )
        .unwrap();
    let secret = |line: &&str| {
        ["crt", "key", "kubeconfig", "password"].iter().any(|end| line.ends_with(end))
    };
    assert_eq!(left.lines().filter(secret).collect::<Vec<_>>(), [""; 0]);
    let kept = host
        .run(
            "find",
            &["/var/lib/outrider/federations/red", "-type", "f", "-name", "client-kubelet.*"],
        )
        .unwrap();
    assert_eq!(kept.lines().count(), 2, "{kept}");
}
