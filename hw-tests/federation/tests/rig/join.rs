//! The double joins as k3s does, and is refused as k3s is.

use std::net::Ipv4Addr;

use federation::systemd::{Manager, UNIT, install_unit};
use federation::{ControlPlane, Options, Shape, wait_for};

use crate::{LIMIT, joining, member, shared, vehicle, wait_log, wait_ready};

/// The Secret with the hash of a node's password.
fn secret(node: &str) -> String {
    format!("/api/v1/namespaces/kube-system/secrets/{node}.node-password.k3s")
}

#[test]
fn a_vehicle_joins_and_takes_its_traces_along_when_its_node_is_deleted() {
    let red = &shared().red;
    let (vehicle, agent) = member("joins", 21);
    let node = red.get("/api/v1/nodes/joins").unwrap().unwrap();
    assert_eq!(node["status"]["addresses"][1]["address"], "10.77.0.21");
    wait_for("a pod network from the controller manager", LIMIT, || {
        let node = red.get("/api/v1/nodes/joins")?.unwrap_or_default();
        Ok(node["spec"]["podCIDR"].as_str().map(str::to_owned))
    })
    .unwrap();
    let lease = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/joins";
    assert!(red.get(lease).unwrap().is_some());
    let owner = wait_for("the Node to own its Secret", LIMIT, || {
        let secret = red.get(&secret("joins"))?.unwrap_or_default();
        Ok(secret["metadata"]["ownerReferences"][0]["uid"].as_str().map(str::to_owned))
    });
    assert_eq!(owner.unwrap(), node["metadata"]["uid"]);
    assert_eq!(vehicle.host().read("/etc/rancher/node/password").unwrap().trim().len(), 32);
    let kubeconfig = vehicle.host().read("/var/lib/rancher/k3s/agent/kubelet.kubeconfig").unwrap();
    assert!(kubeconfig.contains("https://127.0.0.1:6444"), "{kubeconfig}");

    agent.stop();
    red.kubectl(&["delete", "node", "joins"]).unwrap();
    wait_for("the Secret to be collected", LIMIT, || {
        Ok(red.get(&secret("joins"))?.is_none().then_some(()))
    })
    .unwrap();
}

#[test]
fn a_certificate_counts_while_its_node_exists_and_the_token_helps_after() {
    let red = &shared().red;
    let (vehicle, agent) = member("renewed", 22);
    agent.stop();
    // With the Node there, the certificate alone brings new ones: the token is not one of this cluster's.
    let wrong = format!("{}x", red.agent_token().unwrap());
    vehicle.configure(&red.url(), &wrong).unwrap();
    let again = vehicle.start_agent().unwrap();
    wait_log(&again, "node renewed is ready\n");
    assert!(!again.output().unwrap().contains("not accepted"));
    again.stop();
    red.kubectl(&["delete", "node", "renewed"]).unwrap();
    let refused = vehicle.start_agent().unwrap();
    wait_log(&refused, "the node's certificate is not accepted, trying the token");
    wait_log(&refused, "answered 401");
    refused.stop();
    assert_eq!(red.node_ready("renewed").unwrap(), None);
    vehicle.configure(&red.url(), &red.agent_token().unwrap()).unwrap();
    let accepted = vehicle.start_agent().unwrap();
    wait_ready("renewed", &accepted);
}

#[test]
fn a_foreign_authority_is_never_spoken_to() {
    let red = &shared().red;
    let token = red.agent_token().unwrap();
    let (hash, rest) = token.split_at("K10".len() + 64);
    let foreign = format!("K10{}{rest}", "0".repeat(hash.len() - 3));
    let (_vehicle, agent) = joining("foreign", 23, &foreign);
    wait_log(&agent, "does not have the token's hash");
    assert_eq!(red.node_ready("foreign").unwrap(), None);
    assert_eq!(red.get(&secret("foreign")).unwrap(), None);
}

#[test]
fn a_wrong_token_is_refused_again_and_again() {
    let red = &shared().red;
    let wrong = format!("{}x", red.agent_token().unwrap());
    let (_vehicle, agent) = joining("wrong", 24, &wrong);
    wait_log(&agent, "/v1-k3s/config: answered 401");
    assert_eq!(red.node_ready("wrong").unwrap(), None);
}

#[test]
fn a_second_vehicle_of_the_same_name_is_refused() {
    let red = &shared().red;
    let (_first, _agent) = member("twice", 25);
    let second = vehicle("impostor", 26);
    second.configure(&red.url(), &red.agent_token().unwrap()).unwrap();
    second
        .host()
        .write("/etc/rancher/k3s/config.yaml.d/50-name.yml", "node-name: twice\n")
        .unwrap();
    let agent = second.start_agent().unwrap();
    wait_log(&agent, "node password rejected");
    wait_log(&agent, "answered 403");
    let node = red.get("/api/v1/nodes/twice").unwrap().unwrap();
    assert_eq!(node["status"]["addresses"][1]["address"], "10.77.0.25", "it is still the first's");
}

#[test]
fn leftovers_of_one_cluster_do_not_keep_a_vehicle_from_another() {
    let address = Ipv4Addr::new(10, 77, 0, 14);
    let options = Options::new(Shape::Federation);
    let green = ControlPlane::start(&shared().ground, "green", address, &options).unwrap();
    let (vehicle, agent) = member("moves", 32);
    agent.stop();
    vehicle.configure(&green.url(), &green.agent_token().unwrap()).unwrap();
    let agent = vehicle.start_agent().unwrap();
    let ready = green.wait_node("moves", "True", LIMIT);
    ready.unwrap_or_else(|e| panic!("{e}\n{}", agent.last_words()));
    // Nobody told the first cluster.
    shared().red.wait_node("moves", "Unknown", LIMIT).unwrap();
}

#[test]
fn a_vehicle_joins_again_by_itself_after_its_power_was_cut() {
    let shared = shared();
    let mut vehicle = vehicle("cycled", 33);
    vehicle.configure(&shared.red.url(), &shared.red.agent_token().unwrap()).unwrap();
    let password = {
        let _manager = Manager::start(&vehicle).unwrap();
        install_unit(&vehicle, false).unwrap();
        vehicle.host().run("systemctl", &["enable", "--now", "--no-block", UNIT]).unwrap();
        shared.red.wait_node("cycled", "True", LIMIT).unwrap();
        vehicle.host().read("/etc/rancher/node/password").unwrap()
    };
    let node = shared.red.get("/api/v1/nodes/cycled").unwrap().unwrap();
    vehicle.power_cycle(&shared.ground).unwrap();
    shared.red.wait_node("cycled", "Unknown", LIMIT).unwrap();
    assert!(!vehicle.host().path("/run/user/0/systemd").exists(), "/run is gone");
    assert_eq!(vehicle.host().read("/etc/rancher/node/password").unwrap(), password);
    let _manager = Manager::start(&vehicle).unwrap();
    shared.red.wait_node("cycled", "True", LIMIT).unwrap();
    let again = shared.red.get("/api/v1/nodes/cycled").unwrap().unwrap();
    assert_eq!(again["metadata"]["uid"], node["metadata"]["uid"], "it is the same Node");
}
