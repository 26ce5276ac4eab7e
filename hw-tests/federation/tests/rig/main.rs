//! The rig's own tests, against real Kubernetes: control planes, the double's answers, joins, links and permissions; and the
//! program's pre-flight and its dealings with the API against all of it.
//!
//! One control plane, `red`, is shared; each test has vehicles of its own. They need root, and the programs that
//! `cargo xtask test` builds and installs; without them they fail and say what is missing.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod catalogue;
mod control_plane;
mod hands;
mod join;
mod kube;
mod link;
mod membership;
mod metrics;
mod pods;
mod preflight;
mod rbac;
mod rider;
mod supervisor;

use std::net::Ipv4Addr;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use federation::image::IMAGE;
use federation::{
    ControlPlane, Equipment, Ground, Options, Process, Programs, Shape, Vehicle, wait_for,
};
use outrider::core::membership::{CaHash, Token};
use serde_json::{Value, json};

const FLEET: &str = include_str!("../../../../images/kubernetes/fleet.yaml");
const HOST: &str = include_str!("../../../../images/kubernetes/host.yaml");
const ACCOUNT: &str = include_str!("../../../../images/kubernetes/vehicle.yaml");

/// Limit for whatever a slow machine should manage in a fraction of it.
const LIMIT: Duration = Duration::from_secs(120);

/// Address of `red`.
const RED: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 11);

/// Address of the real k3s, when there is one.
const K3S: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 16);

/// Address of a second control plane.
const PURPLE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 12);

/// What the tests share.
struct Shared {
    ground: Ground,
    red: ControlPlane,
}

fn equipment() -> Equipment {
    Equipment {
        folder: env!("CARGO_TARGET_TMPDIR").into(),
        double: env!("CARGO_BIN_EXE_k3s-double").into(),
    }
}

/// The switch with `red`, started by whichever test comes first.
fn shared() -> &'static Shared {
    static SHARED: OnceLock<Result<Shared, String>> = OnceLock::new();
    let start = || {
        let ground = Ground::new(equipment())?;
        let red = ControlPlane::start(&ground, "red", RED, &Options::new(Shape::Federation))?;
        Ok(Shared { ground, red })
    };
    SHARED.get_or_init(start).as_ref().unwrap_or_else(|e| panic!("{e}"))
}

/// The cluster of the vehicles that carry the whole program: a real k3s when the search path has one, else `red`.
fn home() -> &'static ControlPlane {
    static REAL: OnceLock<Result<ControlPlane, String>> = OnceLock::new();
    let Shared { ground, red } = shared();
    if Programs::find().unwrap().k3s.is_none() {
        return red;
    }
    let start = || ControlPlane::start(ground, "real", K3S, &Options::k3s());
    REAL.get_or_init(start).as_ref().unwrap_or_else(|e| panic!("{e}"))
}

/// Applies the roles that all vehicles share, and the host's. Of two that make the same at the same time one fails.
fn apply_fleet(plane: &ControlPlane) {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    for roles in [FLEET, HOST] {
        plane.apply(roles).unwrap();
    }
}

/// Makes the account of a vehicle as its file says, and gives its token.
fn account_of(plane: &ControlPlane, name: &str) -> String {
    apply_fleet(plane);
    plane.apply(&ACCOUNT.replace("veh-001", name)).unwrap();
    token_of(plane, "outrider", &format!("{name}-token"))
}

/// The token of an account, out of its Secret.
fn token_of(plane: &ControlPlane, namespace: &str, secret: &str) -> String {
    let path = format!("/api/v1/namespaces/{namespace}/secrets/{secret}");
    let token = wait_for("the token of an account", LIMIT, || {
        let secret = plane.get(&path)?.unwrap_or_default();
        Ok(secret["data"]["token"].as_str().map(str::to_owned))
    });
    String::from_utf8(BASE64_STANDARD.decode(token.unwrap()).unwrap()).unwrap()
}

/// The hash by which vehicles know the authority of a control plane.
fn authority_of(plane: &ControlPlane) -> CaHash {
    Token::parse(&plane.agent_token().unwrap()).unwrap().ca().unwrap()
}

/// Waits until pods may be made in the default namespace.
fn wait_pods_allowed(plane: &ControlPlane) {
    let path = "/api/v1/namespaces/default/serviceaccounts/default";
    wait_for("the account that pods run under", LIMIT, || plane.get(path)).unwrap();
}

/// What a pod consists of: the rig's image with these arguments.
fn container(arguments: &[&str]) -> Value {
    json!({ "name": "work", "image": IMAGE, "imagePullPolicy": "Never", "args": arguments })
}

/// A pod without a controller.
fn pod(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": "default" }, "spec": spec,
    })
}

/// The container of a pod, once it runs.
fn running(plane: &ControlPlane, pod: &str) -> Result<String, String> {
    let path = format!("/api/v1/namespaces/default/pods/{pod}");
    wait_for("the pod to run", LIMIT, || {
        let pod = plane.get(&path)?.unwrap_or_default();
        let status = &pod["status"]["containerStatuses"][0];
        Ok(status["state"]["running"].is_object().then(|| status["containerID"].to_string()))
    })
}

/// A vehicle at 10.77.0.`last`.
fn vehicle(name: &str, last: u8) -> Vehicle {
    Vehicle::new(&shared().ground, name, Ipv4Addr::new(10, 77, 0, last)).unwrap()
}

/// A vehicle whose agent runs, told to join `red` with this token.
fn joining(name: &str, last: u8, token: &str) -> (Vehicle, Process) {
    let vehicle = vehicle(name, last);
    vehicle.configure(&shared().red.url(), token).unwrap();
    let agent = vehicle.start_agent().unwrap();
    (vehicle, agent)
}

/// A vehicle that is a member of `red`.
fn member(name: &str, last: u8) -> (Vehicle, Process) {
    let red = &shared().red;
    let (vehicle, agent) = joining(name, last, &red.agent_token().unwrap());
    wait_ready(name, &agent);
    (vehicle, agent)
}

/// Waits until a Node of `red` is ready; else shows what its agent says.
fn wait_ready(name: &str, agent: &Process) {
    let ready = shared().red.wait_node(name, "True", LIMIT);
    ready.unwrap_or_else(|e| panic!("{e}\n{}", agent.last_words()));
}

/// Waits until a process has written `words`.
fn wait_log(process: &Process, words: &str) {
    let said = wait_for(&format!("`{words}` in what a process writes"), LIMIT, || {
        Ok(process.output()?.contains(words).then_some(()))
    });
    said.unwrap_or_else(|e| panic!("{e}\n{}", process.last_words()));
}
