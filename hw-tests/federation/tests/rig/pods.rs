//! A vehicle with a real service manager, a real kubelet and real containers.

use federation::https::Call;
use federation::systemd::{self, Manager, UNIT, install_k3s};
use federation::{Vehicle, wait_for};
use hyper::Method;
use serde_json::{Value, json};

use crate::{LIMIT, container, home, pod, shared, vehicle, wait_pods_allowed};

const POD: &str = "/api/v1/namespaces/default/pods/works";

fn wait_property(vehicle: &Vehicle, name: &str, wanted: &str) {
    let reached = wait_for(&format!("{name}={wanted}"), LIMIT, || {
        let found = systemd::property(vehicle.host(), name)?;
        if found == wanted { Ok(Some(())) } else { Err(found) }
    });
    reached.unwrap_or_else(|e| panic!("{e}\n{}", last_words(vehicle)));
}

fn last_words(vehicle: &Vehicle) -> String {
    let log = |path: std::path::PathBuf| federation::process::last_words(vehicle.name(), &path);
    let kubelet = vehicle.host().path("/var/lib/rancher/k3s/agent/kubelet.log");
    format!("{}\n{}", log(vehicle.host().log_of("k3s-agent")), log(kubelet))
}

/// The container of the pod, once it runs.
fn running(vehicle: &Vehicle) -> String {
    crate::running(home(), "works").unwrap_or_else(|e| panic!("{e}\n{}", last_words(vehicle)))
}

fn wait_node(vehicle: &Vehicle, ready: &str) {
    let reached = home().wait_node(vehicle.name(), ready, LIMIT);
    reached.unwrap_or_else(|e| panic!("{e}\n{}", last_words(vehicle)));
}

#[test]
fn real_pods_run_on_a_vehicle_and_outlive_its_agent() {
    let red = home();
    let mut vehicle = vehicle("runs", 29);
    let _manager = Manager::start(&vehicle).unwrap();
    install_k3s(&vehicle, true).unwrap();
    vehicle.configure(&red.url(), &red.agent_token().unwrap()).unwrap();

    // Without a link the unit is on its way for as long as that takes, and nothing of it runs.
    shared().ground.cut(vehicle.address()).unwrap();
    vehicle.host().run("systemctl", &["enable", "--now", "--no-block", UNIT]).unwrap();
    wait_property(&vehicle, "ActiveState", "activating");
    assert!(vehicle.host().processes("containerd").unwrap().is_empty());
    shared().ground.restore(vehicle.address()).unwrap();
    wait_property(&vehicle, "ActiveState", "active");
    wait_node(&vehicle, "True");

    wait_pods_allowed(red);
    let works = pod("works", &json!({ "nodeName": "runs", "containers": [container(&["1"])] }));
    red.apply(&works.to_string()).unwrap();
    let container = running(&vehicle);
    assert_eq!(red.kubectl(&["logs", "works"]).unwrap(), "started\n");
    let said = red.kubectl(&["exec", "works", "--", "/pod", "say", "hello"]).unwrap();
    assert_eq!(said, "hello\n", "through the double, whose connection changes its protocol");

    // A killed agent comes back by itself, a stopped one does not; the container does not notice.
    let work = |vehicle: &Vehicle| vehicle.host().processes("/pod").unwrap();
    let before = work(&vehicle);
    assert_eq!(before.len(), 2, "sandbox and workload: {before:?}");
    vehicle.host().run("systemctl", &["kill", "--kill-who=main", "--signal=KILL", UNIT]).unwrap();
    wait_property(&vehicle, "NRestarts", "1");
    wait_property(&vehicle, "ActiveState", "active");
    vehicle.host().run("systemctl", &["stop", UNIT]).unwrap();
    // A real one that is stopped may end with a complaint.
    let state = systemd::property(vehicle.host(), "ActiveState").unwrap();
    assert!(["inactive", "failed"].contains(&state.as_str()), "{state}");
    wait_node(&vehicle, "Unknown");
    for program in ["containerd", "kubelet"] {
        assert!(vehicle.host().processes(program).unwrap().is_empty(), "{program} went along");
    }
    assert_eq!(work(&vehicle), before);
    vehicle.host().run("systemctl", &["start", "--no-block", UNIT]).unwrap();
    wait_node(&vehicle, "True");
    assert_eq!(running(&vehicle), container);

    // After a power cut everything starts by itself, and the pod in a new container.
    vehicle.power_cycle(&shared().ground).unwrap();
    let _manager = Manager::start(&vehicle).unwrap();
    wait_node(&vehicle, "True");
    wait_for("a new container", LIMIT, || Ok((running(&vehicle) != container).then_some(())))
        .unwrap();

    // Eviction lets it end in order. No version is named: old and new servers understand that.
    let eviction = json!({ "metadata": { "name": "works", "namespace": "default" } }).to_string();
    let path = format!("{POD}/eviction");
    let evict = Call::with(Method::POST, &path, "application/json", eviction);
    assert_eq!(red.call(evict).unwrap().status, 201);
    wait_for("the pod to be gone", LIMIT, || {
        let pod: Option<Value> = red.get(POD)?;
        Ok(pod.is_none().then_some(()))
    })
    .unwrap_or_else(|e| panic!("{e}\n{}", last_words(&vehicle)));
    wait_for("its processes to be gone", LIMIT, || Ok(work(&vehicle).is_empty().then_some(())))
        .unwrap();
}
