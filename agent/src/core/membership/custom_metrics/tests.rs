//! The documents against what Kubernetes expects, and the mapping against views of the mesh as daemons give them.

use std::sync::Arc;
use std::time::Duration;

use olsr_bridge::view::{
    Alias, AttachedNetwork, Daemon, DaemonKind, LinkMetric, MeshView, NetworkCost, Part, PartAge,
    Prefix, Protocol, Route,
};
use serde_json::{Value, json};

use super::*;
use crate::core::links::{Policy, Setup};
use crate::core::time::{ClockQuality, Now};

/// 2026-03-01T08:00:00Z.
const WALL_MS: i64 = 1_772_352_000_000;

/// Between boot and the first poll.
const BOOT_MS: u64 = 3_600_000;

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn route(to: &str, cost: u32) -> Route {
    Route {
        destination: to.parse().unwrap(),
        cost: NetworkCost::Reachable(cost),
        hops: Some(1),
        next_hop: None,
        interface: None,
        node: None,
        last_hop: None,
        link_local: false,
    }
}

fn network(prefix: &str, node: &str, own: bool) -> AttachedNetwork {
    AttachedNetwork { prefix: prefix.parse::<Prefix>().unwrap(), node: address(node), own }
}

/// Three vehicles beside this one: 10.0.0.2 with an alias and a network, 10.0.0.3 with a narrower one, 10.0.0.4 called `delta`.
fn view() -> MeshView {
    let parts = [Part::Routes, Part::Aliases, Part::Networks, Part::Links, Part::Daemon];
    MeshView {
        daemon: Daemon {
            kind: DaemonKind::Olsrd,
            version: None,
            protocol: Protocol::Jsoninfo,
            pid: None,
            uptime_ms: Some(BOOT_MS),
            metric: LinkMetric::Etx,
            metric_name: None,
            hello_interval_ms: None,
        },
        own: vec![address("10.0.0.1")],
        own_addresses: vec![address("10.0.1.1")],
        links: Vec::new(),
        neighbors: Vec::new(),
        routes: vec![route("10.0.0.2", 100), route("10.0.0.3", 250), route("10.0.0.4", 700)],
        edges: Vec::new(),
        networks: vec![
            network("192.168.0.0/16", "10.0.0.2", false),
            network("192.168.3.0/24", "10.0.0.3", false),
            network("192.168.4.0/24", "10.0.0.1", true),
            network("0.0.0.0/0", "10.0.0.2", false),
        ],
        aliases: vec![Alias { node: address("10.0.0.2"), address: address("10.9.0.2") }],
        gateways: Vec::new(),
        names: Vec::new(),
        ages: parts.map(|part| PartAge { part, age_ms: 0 }).to_vec(),
        complaints: Vec::new(),
    }
}

fn node(name: &str, addresses: &[&str]) -> Node {
    Node {
        name: name.to_owned(),
        addresses: addresses.iter().map(|text| (*text).to_owned()).collect(),
        labels: BTreeMap::from([("kind".to_owned(), name[..1].to_owned())]),
        ..Node::default()
    }
}

fn marked(mut node: Node, vehicle: &str) -> Node {
    node.annotations.insert(VEHICLE.to_owned(), vehicle.to_owned());
    node
}

/// What an agent knows after it has read the daemon for so many seconds, with these Nodes.
fn state(seconds: u64, nodes: &[Node]) -> State {
    let mut state = State::default();
    let setup = Setup {
        policy: Policy { warmup_min: Duration::ZERO, ..Policy::default() },
        own: "alpha".to_owned(),
        vehicles: BTreeMap::from([("delta".to_owned(), vec![address("10.0.0.4")])]),
        ..Setup::default()
    };
    state.vehicles.configure(setup, Mono::from_millis(BOOT_MS));
    let view = Arc::new(view());
    for second in 0..seconds {
        let at = Mono::from_millis(BOOT_MS + second * 1_000);
        state.vehicles.observe(&view, at);
        state.mesh.view_at = Some(at);
    }
    state.mesh.view = (seconds > 0).then_some(view);
    pass(&mut state, seconds);
    let own = Own {
        vehicle: "alpha".to_owned(),
        node_name: "alpha-node".to_owned(),
        address: Some(address("172.30.0.1")),
    };
    state.seats = Some(nodes.iter().filter_map(|node| Seat::of(node, &own)).collect());
    state
}

/// So many seconds after the first poll.
fn pass(state: &mut State, seconds: u64) {
    let mono = Mono::from_millis(BOOT_MS + seconds * 1_000);
    let wall_ms = WALL_MS + i64::try_from(seconds).unwrap() * 1_000;
    state.now = Now { mono, wall_ms, quality: ClockQuality::Synchronised };
    state.vehicles.silent(mono);
}

fn ask(state: &State, target: &str) -> (u16, Value) {
    let answer = answer(state, -1, target);
    (answer.code, serde_json::from_str(&answer.body).unwrap_or_else(|e| panic!("{e}: {answer:?}")))
}

fn path(name: &str) -> String {
    format!("/apis/custom.metrics.k8s.io/v1beta2/nodes/{name}/olsr-network-cost")
}

/// Values by Node.
fn values(document: &Value) -> BTreeMap<String, String> {
    let items = document["items"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    items.map(|item| (text(&item["describedObject"]["name"]), text(&item["value"]))).collect()
}

fn costs(state: &State) -> BTreeMap<String, String> {
    let (code, document) = ask(state, &path("*"));
    assert_eq!(code, 200, "{document}");
    values(&document)
}

#[test]
fn a_node_has_the_cost_of_the_vehicle_that_has_its_address() {
    let nodes = [
        node("originator", &["10.0.0.3"]),
        node("alias", &["10.9.0.2"]),
        node("wide", &["192.168.7.7"]),
        node("narrow", &["192.168.3.7"]),
        node("second", &["172.16.0.1", "10.0.0.3"]),
        node("own-address", &["10.0.1.1"]),
        node("behind-us", &["192.168.4.9"]),
        node("elsewhere", &["172.16.0.1"]),
        node("nothing", &["not an address"]),
    ];
    let state = state(60, &nodes);
    let expected = [
        ("originator", "250"),
        ("alias", "100"),
        ("wide", "100"),
        ("narrow", "250"),
        ("second", "250"),
        ("own-address", "0"),
        ("behind-us", "0"),
        ("elsewhere", "-1"),
        ("nothing", "-1"),
    ];
    let expected = expected.map(|(name, cost)| (name.to_owned(), cost.to_owned()));
    assert_eq!(costs(&state), BTreeMap::from(expected));
    assert_eq!(mapped(&state), Some(Mapped { own: 2, mesh: 5, unmapped: 2 }));
    assert!(costs(&state).values().all(|cost| cost.parse::<i64>().is_ok()), "whole numbers");
}

#[test]
fn without_a_known_address_the_vehicles_id_counts_and_then_the_name() {
    let mut labelled = node("labelled", &[]);
    labelled.labels.insert(VEHICLE.to_owned(), "delta".to_owned());
    let nodes = [
        marked(node("annotated", &["172.16.0.1"]), "delta"),
        labelled,
        node("delta", &["172.16.0.1"]),
        marked(node("address-first", &["10.0.0.3"]), "delta"),
        marked(node("ours", &["172.16.0.1"]), "alpha"),
        node("alpha-node", &["172.16.0.1"]),
        marked(node("unknown", &[]), "nobody"),
    ];
    let costs = costs(&state(60, &nodes));
    for (name, cost) in [
        ("annotated", "700"),
        ("labelled", "700"),
        ("delta", "700"),
        ("address-first", "250"),
        ("ours", "0"),
        ("alpha-node", "0"),
        ("unknown", "-1"),
    ] {
        assert_eq!(costs[name], cost, "{name}");
    }
    // A Node of our name that is another vehicle's.
    let taken = state(60, &[marked(node("alpha-node", &[]), "delta")]);
    assert_eq!(mapped(&taken), Some(Mapped { own: 0, mesh: 1, unmapped: 0 }));
}

#[test]
fn a_silent_daemon_ends_in_the_value_for_what_is_out_of_reach_and_nobody_is_left_out() {
    let nodes = [node("b", &["10.0.0.2"]), node("alpha-node", &["10.0.0.1"])];
    let mut known = state(60, &nodes);
    let all = |b: &str| {
        BTreeMap::from([("b".to_owned(), b.to_owned()), ("alpha-node".to_owned(), "0".to_owned())])
    };
    assert_eq!(costs(&known), all("100"));
    pass(&mut known, 60 + 60);
    assert_eq!(costs(&known), all("100"), "held, as olsr_network_cost is");
    let raw = path("b") + "-raw";
    assert_eq!(values(&ask(&known, &raw).1)["b"], "-1", "the latest one says nothing");
    pass(&mut known, 60 + 200);
    assert_eq!(costs(&known), all("-1"));
    let answer = answer(&known, 2_147_483_647, &path("b"));
    assert!(answer.body.contains("\"value\":\"2147483647\""), "{}", answer.body);
    // As long as the daemon was never read, too.
    let never = state(0, &nodes);
    assert_eq!(costs(&never), all("-1"));
}

#[test]
fn both_versions_have_their_documents() {
    let state = state(60, &[node("b", &["10.0.0.2"])]);
    let (code, second) = ask(&state, &path("b"));
    let object = json!({ "kind": "Node", "name": "b", "apiVersion": "/v1" });
    let expected = json!({
        "kind": "MetricValueList", "apiVersion": "custom.metrics.k8s.io/v1beta2", "metadata": {},
        "items": [{
            "describedObject": object,
            "metric": { "name": "olsr-network-cost", "selector": null },
            "timestamp": "2026-03-01T08:00:59Z", "value": "100",
        }],
    });
    assert_eq!((code, second), (200, expected));
    let (code, first) = ask(&state, &path("b").replace("v1beta2", "v1beta1"));
    let expected = json!({
        "kind": "MetricValueList", "apiVersion": "custom.metrics.k8s.io/v1beta1", "metadata": {},
        "items": [{
            "describedObject": object,
            "metricName": "olsr-network-cost",
            "timestamp": "2026-03-01T08:00:59Z", "value": "100", "selector": null,
        }],
    });
    assert_eq!((code, first), (200, expected));
    for version in VERSIONS {
        let (code, list) = ask(&state, &format!("/apis/custom.metrics.k8s.io/{version}"));
        assert_eq!((code, &list["kind"]), (200, &json!("APIResourceList")));
        assert_eq!(list["groupVersion"], format!("custom.metrics.k8s.io/{version}"));
        let names: Vec<&Value> =
            list["resources"].as_array().unwrap().iter().map(|of| &of["name"]).collect();
        assert_eq!(names, ["nodes/olsr-network-cost", "nodes/olsr-network-cost-raw"]);
        assert_eq!(list["resources"][0]["verbs"], json!(["get"]));
    }
    let (code, group) = ask(&state, "/apis/custom.metrics.k8s.io");
    assert_eq!((code, &group["kind"]), (200, &json!("APIGroup")));
    assert_eq!(group["preferredVersion"]["version"], "v1beta2");
}

#[test]
fn a_moment_is_that_of_the_observation_or_unknown() {
    let mut state = state(60, &[node("b", &["10.0.0.2"])]);
    pass(&mut state, 90);
    let stamp = |state: &State| ask(state, &path("b")).1["items"][0]["timestamp"].clone();
    assert_eq!(stamp(&state), "2026-03-01T08:00:59Z", "not now");
    state.now.quality = ClockQuality::Unset;
    assert_eq!(stamp(&state), Value::Null);
}

#[test]
fn paths_and_parameters_are_read_as_api_servers_pass_them_on() {
    let state = state(60, &[node("b", &["10.0.0.2"]), node("c", &["10.0.0.3"])]);
    let all = ask(&state, &path("*"));
    for same in [
        path("%2A"),
        path("%2a"),
        path("*") + "?metricLabelSelector=&timeout=5s&pretty",
        path("*") + "?labelSelector=",
        path("*") + "?labelSelector=kind+in+%28b%2Cc%29",
    ] {
        assert_eq!(ask(&state, &same), all, "{same}");
    }
    let selected = ask(&state, &(path("*") + "?x=1&labelSelector=kind%3Dc")).1;
    assert_eq!(values(&selected).keys().collect::<Vec<_>>(), ["c"]);
    let none = ask(&state, &(path("*") + "?labelSelector=kind%3Dz"));
    assert_eq!((none.0, &none.1["items"]), (200, &json!([])));
    for (target, code, reason) in [
        (path("d"), 404, "NotFound"),
        (path("*").replace("cost", "cash"), 404, "NotFound"),
        (path("*").replace("nodes", "pods"), 404, "NotFound"),
        (path("*").replace("v1beta2", "v1"), 404, "NotFound"),
        ("/apis".to_owned(), 404, "NotFound"),
        ("/openapi/v2".to_owned(), 404, "NotFound"),
        ("/openapi/v3".to_owned(), 404, "NotFound"),
        ("/\"%00\u{fffd}".to_owned(), 404, "NotFound"),
        (String::new(), 404, "NotFound"),
        (path("*") + "?labelSelector=%28", 400, "BadRequest"),
    ] {
        let (status, document) = ask(&state, &target);
        assert_eq!(status, code, "{target}");
        assert_eq!((&document["kind"], &document["reason"]), (&json!("Status"), &json!(reason)));
        assert_eq!((&document["code"], &document["status"]), (&json!(code), &json!("Failure")));
    }
    let unseen = State::default();
    assert_eq!(ask(&unseen, &path("*")).0, 503);
    assert_eq!(ask(&unseen, "/apis/custom.metrics.k8s.io/v1beta2").0, 200);
    assert_eq!(mapped(&unseen), None);
}

#[test]
fn a_node_without_a_real_name_is_not_taken_in() {
    let own = Own::default();
    for name in ["", "a\"b", "A"] {
        assert_eq!(Seat::of(&Node { name: name.to_owned(), ..Node::default() }, &own), None);
    }
}

proptest::proptest! {
    #[test]
    fn no_target_makes_it_panic(target: String, selector: String) {
        let state = State { seats: Some(Vec::new()), ..State::default() };
        let _ = ask(&state, &target);
        let _ = ask(&state, &(path("*") + "?labelSelector=" + &selector));
    }
}

#[test]
fn what_a_node_has_itself_counts_before_the_networks_that_it_lies_in() {
    let nodes = [
        // Behind this vehicle's network, and yet another vehicle.
        node("by-second", &["192.168.4.10", "10.0.0.4"]),
        marked(node("by-id", &["192.168.4.11"]), "delta"),
        node("wired", &["192.168.4.12"]),
    ];
    let costs = costs(&state(3, &nodes));
    let of = |name: &str| costs[name].as_str();
    assert_eq!((of("by-second"), of("by-id"), of("wired")), ("700", "700", "0"));
}

#[test]
fn the_node_at_which_it_is_served_costs_nothing_also_before_the_daemon_has_said_anything() {
    let nodes = [node("server-1", &["172.30.0.1"]), node("other", &["172.30.0.2"])];
    let costs = costs(&state(0, &nodes));
    assert_eq!((costs["server-1"].as_str(), costs["other"].as_str()), ("0", "-1"));
}

#[test]
fn a_node_with_thousands_of_addresses_is_looked_up_by_the_first() {
    let many: Vec<String> =
        (0..5_000).map(|at| format!("172.20.{}.{}", at / 250, at % 250)).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let own = Own::default();
    assert_eq!(Seat::of(&node("many", &many), &own).unwrap().addresses.len(), ADDRESSES_MAX);
}
