//! Links that are cut and come back.

use crate::{LIMIT, member, shared};

#[test]
fn a_node_behind_a_cut_link_is_unknown_until_the_link_is_back() {
    let shared = shared();
    let (vehicle, agent) = member("far", 27);
    shared.ground.cut(vehicle.address()).unwrap();
    shared.red.wait_node("far", "Unknown", LIMIT).unwrap();
    let taints =
        shared.red.get("/api/v1/nodes/far").unwrap().unwrap()["spec"]["taints"].to_string();
    assert!(taints.contains("node.kubernetes.io/unreachable"), "{taints}");
    shared.ground.restore(vehicle.address()).unwrap();
    let back = shared.red.wait_node("far", "True", LIMIT);
    back.unwrap_or_else(|e| panic!("{e}\n{}", agent.last_words()));
}
