//! What goes wrong when vehicles join, live in and leave k3s clusters, each case with the whole program: what it says, what it does,
//! and what it leaves alone.
//!
//! | case | here, or where |
//! |---|---|
//! | 1 the authority is not the token's | `who_is_not_the_federation_gets_nothing` |
//! | 2 the certificate lacks the address | the same |
//! | 3 the token is refused | `what_a_server_answers_is_waited_for_or_said` |
//! | 4 the node password is refused | the same; a vehicle made anew in `membership` buries its earlier self |
//! | 5 the server is starting | the same |
//! | 6 the server is busy | the same; evictions in `kube` |
//! | 7 requests take too long | the same; on a link in `a_link_of_the_worst_class_is_waited_out` |
//! | 8 k3s waits for its server for hours | `k3s_that_waits_for_its_server_is_left_alone` |
//! | 9 the link goes in the middle of a drain | `a_drain_outlasts_a_budget_a_cut_and_a_kill` |
//! | 10 the power goes in the middle of a clean-up | `membership::power_may_fail_at_every_step_and_the_vehicle_finds_its_way` |
//! | 11 the Node is deleted at the server | `membership::a_vehicle_whose_node_was_deleted_leaves_and_does_not_come_back_at_once` |
//! | 12 two vehicles have one name | `membership::two_vehicles_with_one_name_do_not_fight_and_a_vehicle_made_anew_buries_its_earlier_self` |
//! | 13 there is no k3s-killall.sh | every vehicle here; pods and all in `membership::a_vehicle_with_running_pods_goes_from_red_to_purple_and_comes_back` |
//! | 14 the disk is full | `a_full_disk_is_found_before_k3s_is_touched` |
//! | 15 the server's address changes | `a_server_that_moves_is_followed_once_it_answers_there` |
//! | a server that hangs | `a_server_that_hangs_is_out_of_contact` |
//! | a stranger at the server's address | `a_server_whose_address_a_stranger_has_is_out_of_contact` |
//!
//! Where a server has to misbehave on command it is the double's, also when a real k3s is there.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use federation::k3s::supervisor::Fault;
use federation::systemd;
use federation::{AVERAGE, ControlPlane, Options, Shape, Traits, WORST, wait_for};
use outrider::core::membership::Server;
use outrider::shell::federation::kube::Cluster;
use serde_json::json;

use crate::kube::{on, stored};
use crate::rider::{DROP_IN, Known, Rider, node, red, workload};
use crate::{LIMIT, account_of, authority_of, home, shared, wait_pods_allowed};

/// How long a silent API may take to be noticed: it is asked once a minute, and waited for longer each time.
const PATIENCE: Duration = Duration::from_secs(300);

/// Long enough to see that something is not done.
const WHILE: Duration = Duration::from_secs(15);

/// Control planes of the double, by the last number of their address.
fn double(name: &str, last: u8, names: Option<Vec<String>>) -> ControlPlane {
    let options = Options { names, ..Options::new(Shape::Federation) };
    let address = Ipv4Addr::new(10, 77, 0, last);
    ControlPlane::start(&shared().ground, name, address, &options).unwrap()
}

/// One whose supervisor takes orders.
fn amber() -> &'static ControlPlane {
    static AMBER: OnceLock<ControlPlane> = OnceLock::new();
    AMBER.get_or_init(|| double("amber", 17, None))
}

fn known<'a>(plane: &'a ControlPlane, more: &'a str) -> Known<'a> {
    Known { name: "red", plane, priority: 10, more }
}

fn fault(path: &str, status: u16) -> Vec<Fault> {
    vec![Fault { path: path.to_owned(), delay_ms: 0, status: Some(status) }]
}

fn slow(path: &str, delay_ms: u64) -> Vec<Fault> {
    vec![Fault { path: path.to_owned(), delay_ms, status: None }]
}

/// How often the supervisor has answered questions with a token by this status.
fn answers(plane: &ControlPlane, status: u16) -> u64 {
    let counts = plane.counts().unwrap().counts;
    let of = |(request, _): &(&String, &u64)| {
        request.contains("/v1-k3s/") && request.ends_with(&format!(" {status}"))
    };
    counts.iter().filter(of).map(|(_, count)| count).sum()
}

#[test]
fn who_is_not_the_federation_gets_nothing() {
    let plane = double("ochre", 18, Some(vec!["elsewhere.example".to_owned()]));
    let mut rider = Rider::new("wary", 80, &[known(&plane, "")]);
    let token = plane.agent_token().unwrap();
    let (hash, rest) = token.split_at("K10".len() + 64);
    let foreign = format!("K10{}{rest}", "0".repeat(hash.len() - 3));
    rider.vehicle.host().write("/etc/outrider/red.token", &foreign).unwrap();
    rider.start();
    rider.wait_said("foreign cluster or man in the middle");
    rider.assert_untouched();

    rider.vehicle.host().write("/etc/outrider/red.token", &token).unwrap();
    rider.tell(&["join", "red"]);
    let status = rider.wait_said("the server's certificate is not for 10.77.0.18");
    let refusal = status["federations"][0]["refusal"].as_str().unwrap();
    assert!(refusal.contains("tls-san: [\"10.77.0.18\"]"), "{refusal}");
    rider.assert_untouched();
    let secrets: u64 = [200, 401, 403].map(|status| answers(&plane, status)).iter().sum();
    assert_eq!(secrets, 0, "nobody was shown the token");
}

#[test]
fn what_a_server_answers_is_waited_for_or_said() {
    let plane = double("umber", 19, None);
    let mut rider = Rider::new("patient", 81, &[known(&plane, "")]);
    let host = rider.vehicle.host();
    host.run("mkdir", &["-p", "/etc/rancher/node"]).unwrap();
    host.write("/etc/rancher/node/password", "0123456789abcdef0123456789abcdef").unwrap();
    plane.set_faults(fault("/v1-k3s/", 503)).unwrap();
    rider.start();
    rider.wait_said("the server is starting");
    plane.set_faults(fault("/v1-k3s/", 429)).unwrap();
    rider.wait_said("busy with other joins (429)");
    plane.set_faults(slow("/", 9_000)).unwrap();
    let status = rider.wait_said("link too slow for k3s to join");
    let refusal = status["federations"][0]["refusal"].as_str().unwrap();
    assert!(refusal.contains("gathers data meanwhile"), "{refusal}");
    rider.assert_untouched();

    // A token that the server does not know is not tried over and over.
    rider.kill();
    plane.set_faults(Vec::new()).unwrap();
    let token = plane.agent_token().unwrap();
    rider.vehicle.host().write("/etc/outrider/red.token", &format!("{token}x")).unwrap();
    rider.start();
    let status = rider.wait_said("does not know the token (401)");
    let refusal = status["federations"][0]["refusal"].as_str().unwrap();
    assert!(refusal.contains("k3s token create"), "{refusal}");
    let tried = answers(&plane, 401);
    assert_eq!(tried, 1, "with one pre-flight");
    thread::sleep(WHILE);
    assert_eq!(answers(&plane, 401), tried, "it was tried again");
    rider.assert_untouched();

    // The server does not give the node its certificate: k3s goes on trying, and is left to it, with its password.
    plane.set_faults(fault("/v1-k3s/serving-kubelet.crt", 403)).unwrap();
    rider.vehicle.host().write("/etc/outrider/red.token", &token).unwrap();
    rider.tell(&["join", "red"]);
    rider.wait("joining", Some("red"));
    let refused = wait_for("k3s to be refused", LIMIT, || {
        let log = std::fs::read_to_string(rider.vehicle.host().log_of("k3s-agent"));
        Ok(log.unwrap_or_default().contains("answered 403").then_some(()))
    });
    refused.unwrap();
    let process = rider.process();
    thread::sleep(WHILE);
    assert_eq!(rider.process(), process, "k3s was restarted");
    let password = rider.vehicle.host().read("/etc/rancher/node/password").unwrap();
    assert_eq!(password.trim().len(), 32, "the password is still there");
    rider.wait_said("k3s is on its way up");
    plane.set_faults(Vec::new()).unwrap();
    rider.wait("member", Some("red"));
}

#[test]
fn a_link_of_the_worst_class_is_waited_out() {
    let mut rider = Rider::new("distant", 82, &[red()]);
    let (ground, address) = (&shared().ground, rider.vehicle.address());
    ground.shape(rider.vehicle.host(), address, WORST, 1).unwrap();
    rider.start();
    rider.wait_said("within 8 s");
    rider.assert_untouched();
    assert_eq!(node(home(), "distant"), None);

    let average = Traits { queue: Duration::from_secs(1), ..AVERAGE };
    ground.shape(rider.vehicle.host(), address, average, 1).unwrap();
    rider.tell(&["join", "red"]);
    rider.wait("joining", Some("red"));
    rider.wait("member", Some("red"));
}

#[test]
fn k3s_that_waits_for_its_server_is_left_alone() {
    let mut rider = Rider::new("waits", 83, &[Known { more: "leave_after = \"never\"", ..red() }]);
    rider.start();
    rider.wait("member", Some("red"));
    let ground = &shared().ground;
    ground.cut(rider.vehicle.address()).unwrap();
    rider.power_cycle();
    rider.wait("strained", Some("red"));
    assert_eq!(rider.unit(), "activating");
    let process = rider.process();
    rider.kill();
    rider.start();
    rider.wait("strained", Some("red"));
    thread::sleep(WHILE);
    assert_eq!((rider.unit().as_str(), rider.process()), ("activating", process));
    assert_eq!(systemd::property(rider.vehicle.host(), "NRestarts").unwrap(), "0");
    ground.restore(rider.vehicle.address()).unwrap();
    rider.wait("member", Some("red"));
}

#[test]
fn a_drain_outlasts_a_budget_a_cut_and_a_kill() {
    let plane = home();
    let mut rider = Rider::with("bound", 84, &[red()], true);
    rider.start();
    rider.wait("member", Some("red"));
    wait_pods_allowed(plane);
    // The version that old and new servers have in common.
    let group = plane.get("/apis/policy").unwrap().unwrap();
    let budget = json!({
        "apiVersion": group["preferredVersion"]["groupVersion"], "kind": "PodDisruptionBudget",
        "metadata": { "name": "bound", "namespace": "default" },
        "spec": { "minAvailable": 1, "selector": { "matchLabels": { "app": "bound" } } },
    });
    plane.apply(&workload("bound").to_string()).unwrap();
    plane.apply(&budget.to_string()).unwrap();
    rider.wait_pod(plane);
    let before = pods(&rider);
    assert_eq!(before.len(), 2, "sandbox and workload: {before:?}");

    rider.tell(&["leave"]);
    rider.wait_said("disruption budget");
    let ground = &shared().ground;
    ground.cut(rider.vehicle.address()).unwrap();
    thread::sleep(WHILE);
    assert_eq!(rider.unit(), "active", "k3s runs until its pods are gone");
    assert_eq!(pods(&rider), before, "and they run until they are evicted");
    rider.kill();
    rider.start();
    ground.restore(rider.vehicle.address()).unwrap();
    rider.wait_said("disruption budget");
    let cordoned = node(plane, "bound").unwrap();
    assert_eq!(cordoned["spec"]["unschedulable"], true, "{cordoned:#}");
    plane.kubectl(&["delete", "poddisruptionbudget", "bound"]).unwrap();
    rider.wait("solo", None);
    assert_eq!(node(plane, "bound"), None);
    assert!(pods(&rider).is_empty());
    plane.kubectl(&["delete", "deployment", "bound"]).unwrap();
}

/// Its containers' processes.
fn pods(rider: &Rider) -> BTreeMap<i32, String> {
    rider.vehicle.host().processes("/pod").unwrap()
}

#[test]
fn a_full_disk_is_found_before_k3s_is_touched() {
    let mut rider = Rider::new("full", 85, &[known(amber(), "")]);
    let host = rider.vehicle.host();
    let folder = "/etc/rancher/k3s/config.yaml.d";
    let fill = format!(
        "mkdir -p {folder}; mount -t tmpfs -o size=16k tmpfs {folder}; \
         while head -c 4096 /dev/zero >> {folder}/filling; do :; done"
    );
    // The last write fails.
    let _ = host.run("sh", &["-c", &fill]);
    rider.start();
    rider.wait_said("No space left");
    thread::sleep(WHILE);
    rider.assert_untouched();
    rider.vehicle.host().run("umount", &[folder]).unwrap();
    rider.tell(&["join", "red"]);
    rider.wait("member", Some("red"));
}

#[test]
fn a_server_that_moves_is_followed_once_it_answers_there() {
    let [here, there] = ["10.77.0.92", "10.77.0.93"];
    let plane = double("nomad", 92, Some(vec![here.to_owned(), there.to_owned()]));
    let mut rider = Rider::new("follows", 86, &[known(&plane, "leave_after = \"never\"")]);
    rider.start();
    rider.wait("member", Some("red"));
    let process = rider.process();
    let told = |rider: &Rider| rider.vehicle.host().read(DROP_IN).unwrap();
    assert!(told(&rider).contains(here));

    rider.change(here, there);
    rider.wait("strained", Some("red"));
    thread::sleep(WHILE);
    assert_eq!(rider.process(), process, "k3s was restarted though nobody answers");
    plane.host().run("ip", &["address", "add", &format!("{there}/24"), "dev", "eth0"]).unwrap();
    let [vehicle, server] = [rider.vehicle.host(), plane.host()];
    let link = server.run("cat", &["/sys/class/net/eth0/address"]).unwrap();
    vehicle
        .run("ip", &["neighbour", "replace", there, "lladdr", link.trim(), "dev", "eth0"])
        .unwrap();
    rider.wait("member", Some("red"));
    let told = wait_for("k3s to be told", LIMIT, || {
        Ok((told(&rider).contains(there) && rider.process() != process).then_some(()))
    });
    told.unwrap();
    let after = rider.process();
    thread::sleep(WHILE);
    assert_eq!(rider.process(), after, "it was restarted again");
    rider.wait("member", Some("red"));
}

#[test]
fn a_server_that_hangs_is_out_of_contact() {
    let plane = double("hangs", 94, None);
    let mut rider = Rider::new("clings", 87, &[known(&plane, "leave_after = \"never\"")]);
    rider.start();
    rider.wait("member", Some("red"));
    let process = rider.process();
    // One that is only slow is heard: it is waited for longer each time.
    plane.set_faults(slow("/api", 6_000)).unwrap();
    let credential = stored(&rider.vehicle, "slow", &account_of(&plane, "clings"));
    let servers = vec![Server::parse("10.77.0.94").unwrap()];
    let mut cluster = Cluster::new(servers, authority_of(&plane), credential);
    let heard = on(&rider.vehicle, async || cluster.node("clings").await);
    assert!(matches!(heard, Ok(Some(_))), "{heard:?}");

    plane.set_faults(slow("/api", 3_600_000)).unwrap();
    rider.wait_within(PATIENCE, "strained", Some("red"));
    assert_eq!(rider.process(), process, "k3s is left alone");
    plane.set_faults(Vec::new()).unwrap();
    rider.wait("member", Some("red"));
}

#[test]
fn a_server_whose_address_a_stranger_has_is_out_of_contact() {
    let plane = double("gone", 95, None);
    let mut rider = Rider::new("duped", 88, &[known(&plane, "leave_after = \"90s\"")]);
    rider.start();
    rider.wait("member", Some("red"));
    drop(plane);
    rider.wait("strained", Some("red"));
    // Its server accepts connections again, and it is not its server.
    let _stranger = double("usurper", 95, None);
    rider.wait_said("foreign cluster or man in the middle");
    let status = rider.wait_within(PATIENCE, "evaluating", Some("red"));
    assert_eq!(status["deferred"][0]["federation"], "red", "{status:#}");
    assert!(!rider.runs_k3s());
}
