//! Links that are cut and come back.

use std::time::{Duration, Instant};

use federation::https::{Call, Server, Trust, block_on};
use federation::{Traits, wait_for};

use crate::{LIMIT, RED, member, shared, vehicle, wait_log, wait_ready};

/// A link that takes this long there and back.
fn slow(round_trip: Duration) -> Traits {
    let queue = Duration::from_secs(1);
    Traits { bits_per_s: 2_000_000, round_trip, loss_permille: 0, queue }
}

#[test]
fn a_node_behind_a_cut_link_is_unknown_until_the_link_is_back() {
    let shared = shared();
    let (vehicle, agent) = member("far", 27);
    shared.ground.cut(vehicle.address()).unwrap();
    shared.red.wait_node("far", "Unknown", LIMIT).unwrap();
    // The controller sets it in a pass of its own.
    let tainted = wait_for("the taint of a Node that is out of reach", LIMIT, || {
        let node = shared.red.get("/api/v1/nodes/far")?.unwrap_or_default();
        let taints = node["spec"]["taints"].to_string();
        Ok(taints.contains("node.kubernetes.io/unreachable").then_some(()))
    });
    tainted.unwrap();
    shared.ground.restore(vehicle.address()).unwrap();
    let back = shared.red.wait_node("far", "True", LIMIT);
    back.unwrap_or_else(|e| panic!("{e}\n{}", agent.last_words()));
}

#[test]
fn a_shaped_link_delays_and_a_join_gets_through() {
    let shared = shared();
    let vehicle = vehicle("slow", 30);
    let lossy = Traits { loss_permille: 50, ..slow(Duration::from_millis(200)) };
    shared.ground.shape(vehicle.host(), vehicle.address(), lossy, 1).unwrap();
    let trust = Trust::Authorities(shared.red.server_ca().to_owned());
    let server = Server::new(&format!("{RED}:6443"), &trust, None).unwrap();
    let ping = || server.call(Call::get("/ping"), LIMIT);
    let begin = Instant::now();
    let answer = vehicle.host().enter(|| block_on(ping())).unwrap();
    assert_eq!(answer.text(), "pong");
    let three = Duration::from_millis(600);
    assert!(begin.elapsed() >= three, "TCP, TLS and the request take a round trip each");

    vehicle.configure(&shared.red.url(), &shared.red.agent_token().unwrap()).unwrap();
    let agent = vehicle.start_agent().unwrap();
    wait_ready("slow", &agent);
    shared.ground.cut(vehicle.address()).unwrap();
    shared.red.wait_node("slow", "Unknown", LIMIT).unwrap();
    shared.ground.restore(vehicle.address()).unwrap();
    wait_ready("slow", &agent);
}

#[test]
fn no_request_of_a_join_fits_through_a_link_of_four_seconds() {
    let shared = shared();
    let vehicle = vehicle("never", 31);
    let traits = slow(Duration::from_secs(4));
    shared.ground.shape(vehicle.host(), vehicle.address(), traits, 1).unwrap();
    vehicle.configure(&shared.red.url(), &shared.red.agent_token().unwrap()).unwrap();
    let agent = vehicle.start_agent().unwrap();
    wait_log(&agent, "no answer from 10.77.0.11:6443 within 10 s");
    assert_eq!(shared.red.node_ready("never").unwrap(), None);
}
