//! The permissions that ship for vehicles and hosts are what they are said to be.

use federation::ControlPlane;
use federation::https::{Answer, Call};
use hyper::Method;
use serde_json::json;

use crate::{account_of, member, shared};

/// Verb, resource and further words of `kubectl auth can-i`, and the answer.
const RIGHTS: &[(&str, bool)] = &[
    ("get node/allowed", true),
    ("patch node/allowed", true),
    ("delete node/allowed", true),
    ("list pods --all-namespaces", true),
    ("create pods --subresource=eviction --all-namespaces", true),
    ("get secret/allowed.node-password.k3s --namespace=kube-system", true),
    ("delete secret/allowed.node-password.k3s --namespace=kube-system", true),
    ("get lease.coordination.k8s.io/allowed --namespace=kube-node-lease", true),
    ("get node/other", false),
    ("patch node/other", false),
    ("delete node/other", false),
    ("list nodes", false),
    ("watch node/allowed", false),
    ("create nodes", false),
    ("update node/allowed", false),
    ("patch node/allowed --subresource=status", false),
    ("create pods --all-namespaces", false),
    ("get pods --all-namespaces", false),
    ("delete pods --all-namespaces", false),
    ("list secrets --namespace=kube-system", false),
    ("get secret/other.node-password.k3s --namespace=kube-system", false),
    ("get secret/allowed-token --namespace=outrider", false),
    ("update lease.coordination.k8s.io/allowed --namespace=kube-node-lease", false),
    ("get lease.coordination.k8s.io/other --namespace=kube-node-lease", false),
    ("create clusterrolebindings", false),
    ("impersonate users", false),
    ("* *", false),
];

/// The same for the host's account.
const RIGHTS_OF_HOST: &[(&str, bool)] = &[
    ("list nodes", true),
    ("get node/other", true),
    ("patch node/other", true),
    ("delete node/other", true),
    ("list leases.coordination.k8s.io --namespace=kube-node-lease", true),
    ("list leases.coordination.k8s.io --namespace=kube-system", false),
    ("update leases.coordination.k8s.io --namespace=kube-node-lease", false),
    ("create nodes", false),
    ("list pods --all-namespaces", false),
    ("create pods --subresource=eviction --all-namespaces", false),
    ("list secrets --namespace=outrider", false),
    ("get secret/host-token --namespace=outrider-host", false),
    ("create clusterrolebindings", false),
    ("impersonate users", false),
    ("* *", false),
];

/// What `kubectl auth can-i` says differently of an account.
pub fn wrong(
    plane: &ControlPlane,
    namespace: &str,
    account: &str,
    rights: &[(&str, bool)],
) -> Vec<String> {
    let account = [
        &format!("--as=system:serviceaccount:{namespace}:{account}"),
        "--as-group=system:serviceaccounts",
        &format!("--as-group=system:serviceaccounts:{namespace}"),
        "--as-group=system:authenticated",
    ];
    let differs = |(words, allowed): &(&str, bool)| {
        let mut line = vec!["auth", "can-i"];
        line.extend(words.split_whitespace());
        line.extend(account);
        let said = plane.kubectl(&line);
        // It prints the answer, and fails when that is no; warnings about resources go elsewhere.
        let said = said.unwrap_or_else(|refused| refused);
        let yes = said.lines().any(|line| line.trim() == "yes");
        let no = said.lines().any(|line| line.trim().ends_with("no"));
        (yes != *allowed || yes == no).then(|| format!("{words}: {said}"))
    };
    rights.iter().filter_map(differs).collect()
}

#[test]
fn a_vehicle_and_a_host_may_do_what_their_roles_say_and_nothing_else() {
    let red = &shared().red;
    account_of(red, "allowed");
    let mut faults = wrong(red, "outrider", "allowed", RIGHTS);
    faults.extend(wrong(red, "outrider-host", "host", RIGHTS_OF_HOST));
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_vehicles_token_reaches_its_own_node_alone() {
    let red = &shared().red;
    let token = account_of(red, "owned");
    let (_vehicle, agent) = member("owned", 28);
    let ask = |call: Call| -> Answer {
        red.call_as(call.header("authorization", format!("Bearer {token}")), None).unwrap()
    };
    let node = "/api/v1/nodes/owned";
    let merge = |path: &str, value: serde_json::Value| {
        Call::with(Method::PATCH, path, "application/merge-patch+json", value.to_string())
    };
    assert_eq!(ask(Call::get(node)).status, 200);
    assert_eq!(ask(Call::get("/api/v1/nodes")).status, 403);
    let cordon = ask(merge(node, json!({ "spec": { "unschedulable": true } })));
    assert_eq!(cordon.json()["spec"]["unschedulable"], true, "{}", cordon.text());
    let ready = json!({ "status": { "conditions": [] } });
    assert_eq!(ask(merge(&format!("{node}/status"), ready)).status, 403);

    // A precondition on the uid protects a successor; a Node that is gone stays gone.
    let delete = |uid: &serde_json::Value| {
        let body = json!({ "preconditions": { "uid": uid } }).to_string();
        ask(Call::with(Method::DELETE, node, "application/json", body)).status
    };
    assert_eq!(delete(&json!("00000000-0000-0000-0000-000000000000")), 409);
    agent.stop();
    assert_eq!(delete(&cordon.json()["metadata"]["uid"]), 200);
    let apply = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "owned" } });
    let path = format!("{node}?fieldManager=vehicle&force=true");
    let applied =
        Call::with(Method::PATCH, &path, "application/apply-patch+yaml", apply.to_string());
    assert_eq!(ask(applied).status, 403, "creating a Node is not allowed");
    assert_eq!(red.get(node).unwrap(), None);
}
