//! Cleaning up beside another k3s, with pods in the same bridge: what is evidently the one's goes, and the other does not notice.

use crate::laid::{OURS, SECOND, operators, shared_rules};
use crate::snapshot::{assert_same, snapshot};
use crate::{script, use_hands, vehicle};

#[test]
fn a_second_k3s_with_pods_in_the_same_places_does_not_notice() {
    let vehicle = vehicle("beside", 65);
    let host = vehicle.host();
    let _manager = federation::systemd::Manager::start(&vehicle).unwrap();
    let _operators = operators(host);
    let _second = (SECOND.lay(host), SECOND.run(host));
    shared_rules(host);
    let before = snapshot(host);
    for _ in 0..2 {
        let _shim = OURS.lay(host);
        let said = use_hands(host, &["clean-up"]);
        for left in ["cni0", "flannel.1", "kube-ipvs0", "firewall rules", "state of kubelet"] {
            assert!(said.contains(left), "{left} is left, and that is told: {said}");
        }
        assert_eq!((OURS.living(host), SECOND.living(host)), (0, 4));
        assert_same(&snapshot(host), &before, "beside a second k3s");
    }
}

#[test]
fn a_second_k3s_in_a_view_of_its_own_is_not_touched_and_holds_nothing_up() {
    let vehicle = vehicle("apart", 66);
    let host = vehicle.host();
    let _manager = federation::systemd::Manager::start(&vehicle).unwrap();
    let _operators = operators(host);
    let _shim = OURS.lay(host);
    // As in a container: the same paths, other files.
    let mut inner = host.command(std::path::Path::new("unshare"));
    let program = format!("{}/data/ab/bin/containerd-shim-runc-v2", OURS.data);
    inner.args(["--mount", "--net", "--propagation", "private", "sh", "-euc"]);
    inner.arg(format!(
        "cp {program} /run/statue
         mount -t tmpfs other {data}
         mkdir -p {data}/data/ab/bin
         cp /run/statue {program}
         rm /run/statue
         for folder in /run /var/lib/kubelet; do mount -t tmpfs other $folder; done
         exec {program} -namespace k8s.io -id other",
        data = OURS.data
    ));
    let inner = host.spawn("inner", &mut inner).unwrap();
    let lives = || {
        let found = host.processes(&program)?;
        Ok(found.values().any(|line| line.ends_with("other")).then_some(()))
    };
    federation::wait_for("the inner shim", crate::LIMIT, lives).unwrap();
    assert_eq!(use_hands(host, &["clean-up"]), "", "it shares nothing, so nothing is left for it");
    assert_eq!(OURS.living(host), 0);
    assert!(lives().unwrap().is_some(), "{}", inner.last_words());
    let links = host.run("ip", &["-br", "link"]).unwrap();
    assert!(!links.contains("cni0"), "{links}");
}

#[test]
fn a_second_k3s_with_mounts_of_its_own_and_the_same_folders_keeps_its_files() {
    let vehicle = vehicle("boxed", 73);
    let host = vehicle.host();
    let _manager = federation::systemd::Manager::start(&vehicle).unwrap();
    let _operators = operators(host);
    let _shim = OURS.lay(host);
    // As by PrivateTmp= in its unit.
    let program = "/var/other/kubelet";
    let pod = "/var/lib/kubelet/pods/0a1b2c3d-0000-1111-2222-333344445555";
    script(
        host,
        &format!(
            "mkdir -p /var/other {pod}; cp $(which sleep) {program}; echo theirs > {pod}/etc-hosts"
        ),
    );
    let mut other = host.command(std::path::Path::new("unshare"));
    other.args(["--mount", "--propagation", "slave", program, "1000"]);
    let _other = host.spawn("other", &mut other).unwrap();
    let lives = || Ok((!host.processes(program)?.is_empty()).then_some(()));
    federation::wait_for("the other kubelet", crate::LIMIT, lives).unwrap();
    let said = use_hands(host, &["clean-up"]);
    assert!(said.contains("state of kubelet"), "{said}");
    assert_eq!(OURS.living(host), 0);
    assert_eq!(host.read(&format!("{pod}/etc-hosts")).unwrap(), "theirs\n");
}
