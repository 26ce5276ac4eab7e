//! Small worlds, told sample by sample. The daemons' own recordings are replayed in `tests/links_replay.rs`.

use olsr_bridge::view::{
    Alias, AttachedNetwork, Complaint, Daemon, DaemonKind, HostName, LinkMetric, LinkStatus,
    PartAge, Prefix, Protocol,
};
use proptest::prelude::*;

use super::*;

const DEFAULT_POLICY_WARMUP_S: u64 = 72;

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn at(seconds: u64) -> Mono {
    Mono::from_millis(seconds * 1000)
}

/// A view of an olsrd that has been up for an hour and has no routes.
fn view() -> MeshView {
    MeshView {
        daemon: Daemon {
            kind: DaemonKind::Olsrd,
            protocol: Protocol::Jsoninfo,
            version: None,
            pid: Some(100),
            uptime_ms: Some(3_600_000),
            metric: LinkMetric::Etx,
            metric_name: None,
            hello_interval_ms: Some(2_000),
        },
        own: vec![address("10.0.0.1")],
        own_addresses: vec![address("10.0.0.1")],
        links: Vec::new(),
        neighbors: Vec::new(),
        routes: Vec::new(),
        edges: Vec::new(),
        networks: Vec::new(),
        aliases: Vec::new(),
        gateways: Vec::new(),
        names: Vec::new(),
        ages: [Part::Routes, Part::Links, Part::Aliases, Part::Networks]
            .map(|part| PartAge { part, age_ms: 0 })
            .to_vec(),
        complaints: Vec::new(),
    }
}

fn route(destination: &str, cost: NetworkCost) -> Route {
    let destination: Prefix = destination.parse().unwrap();
    Route {
        destination,
        cost,
        hops: Some(2),
        next_hop: Some(address("10.0.0.9")),
        interface: Some("mesh0".to_owned()),
        node: None,
        last_hop: None,
        link_local: false,
    }
}

fn with_route(destination: &str, cost: u32) -> MeshView {
    MeshView { routes: vec![route(destination, NetworkCost::Reachable(cost))], ..view() }
}

fn link(remote: &str, hello_age_ms: u32) -> Link {
    Link {
        local: Some(address("10.0.0.1")),
        remote: address(remote),
        neighbor: Some(address(remote)),
        interface: Some("mesh0".to_owned()),
        status: LinkStatus::Symmetric,
        cost: Some(100),
        quality_in: Some(1.0),
        quality_out: Some(1.0),
        metric_in_raw: None,
        metric_out_raw: None,
        rate_in_bps: None,
        hello_age_ms: Some(hello_age_ms),
        hello_interval_ms: Some(2_000),
        hello_validity_ms: Some(20_000),
    }
}

/// Links that know `bravo` at 10.0.0.2 from the configuration.
fn links() -> Links {
    let mut links = Links::default();
    let vehicles = BTreeMap::from([("bravo".to_owned(), vec![address("10.0.0.2")])]);
    let own = "alpha".to_owned();
    links.configure(Setup { own, vehicles, ..Setup::default() }, at(0));
    links
}

fn reach(links: &Links) -> Reach {
    links.get("bravo").unwrap().reach
}

fn reachable(cost: u32) -> Reach {
    Reach::Reachable { cost }
}

#[test]
fn a_route_of_a_warm_daemon_is_published_at_once() {
    let mut links = links();
    let changes = links.observe(&with_route("10.0.0.2", 250), at(1));
    assert_eq!(reach(&links), reachable(250));
    assert_eq!(links.get("alpha").unwrap().reach, Reach::Own);
    let change = Change { vehicle: "bravo".to_owned(), from: Reach::Unknown, to: reachable(250) };
    assert_eq!(changes, [change]);
}

#[test]
fn rises_are_smoothed_faster_than_falls() {
    let mut rising = links();
    let mut falling = links();
    rising.observe(&with_route("10.0.0.2", 100), at(0));
    falling.observe(&with_route("10.0.0.2", 1000), at(0));
    for second in 1..=5 {
        rising.observe(&with_route("10.0.0.2", 1000), at(second));
        falling.observe(&with_route("10.0.0.2", 100), at(second));
    }
    // Backward Euler: what is left of the step after n samples of 1 s is (tau / (tau + 1))^n.
    assert_eq!(reach(&rising), reachable(638));
    // The latest move is not yet large enough to be published.
    assert_eq!(reach(&falling), reachable(795));
}

#[test]
fn a_small_change_is_published_only_after_it_has_lasted() {
    let mut links = links();
    links.observe(&with_route("10.0.0.2", 100), at(0));
    let mut published = Vec::new();
    for second in 1..=60 {
        links.observe(&with_route("10.0.0.2", 105), at(second));
        published.push(reach(&links));
    }
    published.dedup();
    assert_eq!(published, [reachable(100), reachable(105)]);
}

#[test]
fn minus_one_needs_a_missing_route_for_four_seconds_and_three_samples() {
    let mut links = links();
    links.observe(&with_route("10.0.0.2", 100), at(10));
    for second in 11..15 {
        links.observe(&view(), at(second));
        assert_eq!(reach(&links), reachable(100), "{second}");
    }
    links.observe(&view(), at(15));
    assert_eq!(reach(&links), Reach::Unreachable);
    assert_eq!(links.get("bravo").unwrap().transitions, 1);
}

#[test]
fn three_samples_are_needed_however_rare_they_are() {
    let mut links = links();
    links.observe(&with_route("10.0.0.2", 100), at(0));
    links.observe(&view(), at(5));
    links.observe(&view(), at(10));
    assert_eq!(reach(&links), reachable(100));
    links.observe(&view(), at(15));
    assert_eq!(reach(&links), Reach::Unreachable);
}

#[test]
fn routes_that_are_carried_over_are_no_further_sample() {
    let mut links = links();
    links.observe(&with_route("10.0.0.2", 100), at(10));
    for second in 11..20 {
        let mut carried = view();
        let age_ms = (second - 11) * 1000;
        carried.ages = vec![PartAge { part: Part::Routes, age_ms }];
        links.observe(&carried, at(second));
        assert_eq!(reach(&links), reachable(100), "{second}");
    }
}

#[test]
fn a_view_without_routes_says_nothing_about_them() {
    let mut links = links();
    links.observe(&with_route("10.0.0.2", 100), at(10));
    let silent = MeshView { ages: Vec::new(), ..view() };
    for second in 11..30 {
        links.observe(&silent, at(second));
    }
    let vehicle = links.get("bravo").unwrap();
    assert_eq!((vehicle.reach, vehicle.stale), (reachable(100), true));
    assert_eq!(vehicle.fresh_at, Some(at(10)));
}

#[test]
fn a_row_that_was_not_understood_may_have_been_the_route() {
    let mut links = links();
    links.observe(&with_route("10.0.0.2", 100), at(10));
    let complaint = Complaint { part: Part::Routes, text: String::new(), count: 1 };
    let damaged = MeshView { complaints: vec![complaint], ..view() };
    (11..=30).for_each(|second| drop(links.observe(&damaged, at(second))));
    let vehicle = links.get("bravo").unwrap();
    assert_eq!((vehicle.reach, vehicle.stale), (reachable(100), true));
}

#[test]
fn without_aliases_nobody_knows_which_address_is_a_node() {
    let mut links = links();
    let mut routed = with_route("10.0.5.2", 100);
    routed.ages.retain(|age| age.part != Part::Aliases);
    links.observe(&routed, at(1));
    assert!(links.get("10.0.5.2").is_none());
}

#[test]
fn a_broken_route_counts_as_missing() {
    let mut links = links();
    let broken = MeshView { routes: vec![route("10.0.0.2", NetworkCost::Unreachable)], ..view() };
    links.observe(&with_route("10.0.0.2", 100), at(10));
    (11..=15).for_each(|second| drop(links.observe(&broken, at(second))));
    assert_eq!(reach(&links), Reach::Unreachable);
}

#[test]
fn a_daemon_without_meaningful_numbers_is_not_unreachable() {
    let mut links = links();
    let flat = MeshView { routes: vec![route("10.0.0.2", NetworkCost::NotMeaningful)], ..view() };
    links.observe(&flat, at(1));
    assert_eq!(reach(&links), Reach::NotMeaningful);
}

#[test]
fn a_silent_daemon_makes_values_stale_and_then_unknown() {
    let mut links = links();
    links.observe(&with_route("10.0.0.2", 100), at(0));
    links.silent(at(10));
    assert!(!links.get("bravo").unwrap().stale);
    links.silent(at(11));
    assert!(links.get("bravo").unwrap().stale);
    assert_eq!(links.get("bravo").unwrap().next_hop, None);
    assert!(links.silent(at(120)).is_empty());
    let changes = links.silent(at(121));
    assert_eq!(reach(&links), Reach::Unknown);
    assert_eq!(changes[0].to, Reach::Unknown);
}

#[test]
fn minus_one_does_not_outlive_the_answers_it_rests_on() {
    let mut links = links();
    links.observe(&with_route("10.0.0.2", 100), at(0));
    (1..=5).for_each(|second| drop(links.observe(&view(), at(second))));
    assert_eq!(reach(&links), Reach::Unreachable);
    links.silent(at(15));
    assert_eq!(reach(&links), Reach::Unreachable);
    links.silent(at(16));
    assert_eq!(reach(&links), Reach::Unknown);
}

#[test]
fn a_poll_period_beyond_the_limits_does_not_make_everything_stale() {
    let mut links = links();
    let setup = Setup { poll_interval: Duration::from_secs(30), ..links.setup.clone() };
    links.configure(setup, at(0));
    links.observe(&with_route("10.0.0.2", 100), at(0));
    links.silent(at(60));
    assert!(!links.get("bravo").unwrap().stale);
}

#[test]
fn it_comes_back_only_after_the_route_has_stayed() {
    let mut links = links();
    links.observe(&with_route("10.0.0.2", 100), at(0));
    (1..=5).for_each(|second| drop(links.observe(&view(), at(second))));
    for second in 6..16 {
        links.observe(&with_route("10.0.0.2", 500), at(second));
        assert_eq!(reach(&links), Reach::Unreachable, "{second}");
    }
    links.observe(&with_route("10.0.0.2", 500), at(16));
    assert_eq!(reach(&links), reachable(500));
    assert_eq!(links.get("bravo").unwrap().transitions, 2);
}

#[test]
fn an_old_link_shortens_the_return_of_a_neighbour() {
    let mut links = links();
    let mut linked = view();
    let mut neighbour = link("10.0.0.2", 0);
    neighbour.hello_interval_ms = Some(500);
    linked.links = vec![neighbour];
    linked.daemon.hello_interval_ms = Some(500);
    let mut routed = linked.clone();
    routed.routes = vec![route("10.0.0.2", NetworkCost::Reachable(300))];
    links.observe(&routed, at(0));
    (1..=5).for_each(|second| drop(links.observe(&view(), at(second))));
    links.observe(&linked, at(6));
    (7..11).for_each(|second| drop(links.observe(&routed, at(second))));
    assert_eq!(reach(&links), Reach::Unreachable);
    links.observe(&routed, at(11));
    assert_eq!(reach(&links), reachable(300), "10 intervals of 0.5 s since the link came back");
}

/// Seconds from the return of the route to being published as reachable, `turns` times with little time in between.
fn return_delays(turns: usize, reachable_s: u64) -> Vec<u64> {
    let mut links = links();
    let mut second = 0;
    let mut delays = Vec::new();
    links.observe(&with_route("10.0.0.2", 100), at(second));
    for _ in 0..turns {
        while reach(&links) != Reach::Unreachable {
            second += 1;
            links.observe(&view(), at(second));
        }
        let back = second + 1;
        while reach(&links) == Reach::Unreachable {
            second += 1;
            links.observe(&with_route("10.0.0.2", 100), at(second));
        }
        delays.push(second - back);
        for _ in 0..reachable_s {
            second += 1;
            links.observe(&with_route("10.0.0.2", 100), at(second));
        }
    }
    delays
}

#[test]
fn flapping_doubles_the_return_delay_up_to_its_limit() {
    assert_eq!(return_delays(7, 5), [10, 20, 40, 80, 160, 160, 160]);
    assert_eq!(return_delays(3, 60), [10, 10, 10]);
}

#[test]
fn missing_routes_mean_nothing_while_the_daemon_warms_up() {
    let mut links = links();
    links.observe(&with_route("10.0.0.2", 100), at(0));
    for second in 1..DEFAULT_POLICY_WARMUP_S {
        let mut young = view();
        young.daemon.pid = Some(101);
        young.daemon.uptime_ms = Some((second - 1) * 1000);
        links.observe(&young, at(second));
        assert_eq!(reach(&links), reachable(100), "{second}");
        assert!(links.warming_until(at(second)).is_some());
    }
    assert_eq!(links.daemon_restarts(), 1);
    assert!(links.get("bravo").unwrap().stale);
}

#[test]
fn warm_up_may_lower_a_cost_but_not_raise_it() {
    let mut links = links();
    links.observe(&with_route("10.0.0.2", 300), at(0));
    let mut young = with_route("10.0.0.2", 2400);
    young.daemon.uptime_ms = Some(100);
    links.observe(&young, at(1));
    assert_eq!(reach(&links), reachable(300));
    young.routes[0].cost = NetworkCost::Reachable(200);
    links.observe(&young, at(2));
    assert!(!links.get("bravo").unwrap().stale);
    assert_eq!(links.get("bravo").unwrap().fresh_at, Some(at(2)));
}

#[test]
fn after_a_cold_start_only_perfect_paths_are_believed() {
    let mut links = links();
    let mut young = with_route("10.0.0.2", 700);
    young.daemon.uptime_ms = Some(100);
    links.observe(&young, at(1));
    assert_eq!(reach(&links), Reach::Unknown);
    assert_eq!(links.get("bravo").unwrap().raw_cost, Some(700));
    young.routes[0].cost = NetworkCost::Reachable(205);
    links.observe(&young, at(2));
    assert_eq!(reach(&links), reachable(205));
}

#[test]
fn a_wrapped_uptime_is_no_restart() {
    let mut links = links();
    let mut old = with_route("10.0.0.2", 100);
    old.daemon.uptime_ms = Some((1 << 32) - 500);
    links.observe(&old, at(10));
    old.daemon.uptime_ms = Some(500);
    links.observe(&old, at(11));
    assert_eq!(links.daemon_restarts(), 0);
    old.daemon.uptime_ms = Some(0);
    links.observe(&old, at(12));
    assert_eq!(links.daemon_restarts(), 1);
}

#[test]
fn a_daemon_that_tells_no_uptime_warms_up_after_a_silence() {
    let mut links = links();
    let mut anonymous = with_route("10.0.0.2", 900);
    anonymous.daemon.pid = None;
    anonymous.daemon.uptime_ms = None;
    links.observe(&anonymous, at(0));
    assert_eq!(reach(&links), Reach::Unknown);
    links.observe(&anonymous, at(72));
    assert_eq!(links.daemon_restarts(), 1, "72 s of silence");
    (73..=144).for_each(|second| drop(links.observe(&anonymous, at(second))));
    assert_eq!(reach(&links), reachable(900));
}

#[test]
fn olsrd2_waits_for_the_validity_time_of_the_dead_link() {
    let mut links = links();
    let mut routed = with_route("10.0.0.2", 100);
    routed.daemon.kind = DaemonKind::Olsrd2;
    let mut other = link("10.0.0.3", 0);
    other.hello_validity_ms = Some(5_000);
    routed.links = vec![other];
    let mut gone = view();
    gone.daemon.kind = DaemonKind::Olsrd2;
    links.observe(&routed, at(0));
    (1..9).for_each(|second| drop(links.observe(&gone, at(second))));
    assert_eq!(reach(&links), reachable(100));
    links.observe(&gone, at(9));
    assert_eq!(reach(&links), Reach::Unreachable);
}

#[test]
fn overdue_hellos_raise_the_cost_of_a_neighbour_only() {
    let late = |hops: u32, next_hop: &str| {
        let mut links = links();
        let mut routed = with_route("10.0.0.2", 100);
        routed.routes[0].hops = Some(hops);
        routed.routes[0].next_hop = Some(address(next_hop));
        routed.links = vec![link("10.0.0.2", 0)];
        links.observe(&routed, at(0));
        routed.links[0].hello_age_ms = Some(10_000);
        (1..=30).for_each(|second| drop(links.observe(&routed, at(second))));
        reach(&links)
    };
    // 10 s are five intervals: two beyond the free three.
    let Reach::Reachable { cost } = late(1, "10.0.0.2") else { panic!() };
    assert!((270..=300).contains(&cost), "{cost}");
    assert_eq!(late(2, "10.0.0.3"), reachable(100));
}

#[test]
fn a_suspended_machine_starts_counting_anew() {
    let mut links = links();
    links.observe(&with_route("10.0.0.2", 100), at(0));
    links.observe(&view(), at(1));
    links.observe(&view(), at(2));
    links.observe(&view(), at(7200));
    // Hours passed, but nobody watched: the value is too old to stand, and -1 would be a guess.
    assert_eq!(reach(&links), Reach::Unknown);
    links.observe(&view(), at(7202));
    assert_eq!(reach(&links), Reach::Unknown);
    links.observe(&view(), at(7204));
    assert_eq!(reach(&links), Reach::Unreachable);
}

#[test]
fn a_configured_vehicle_that_was_never_seen_is_unreachable_only_after_a_minute() {
    let mut links = links();
    for second in 1..61 {
        links.observe(&view(), at(second));
        assert_eq!(reach(&links), Reach::Unknown, "{second}");
    }
    links.observe(&view(), at(61));
    assert_eq!(reach(&links), Reach::Unreachable);
    assert_eq!(links.get("bravo").unwrap().transitions, 0);
}

#[test]
fn a_vehicle_is_found_by_alias_announced_host_and_announced_network() {
    let node = address("10.9.0.2");
    let routed = with_route("10.9.0.2", 100);
    let alias = Alias { node, address: address("10.0.0.2") };
    let network = |prefix: &str, node: &str| AttachedNetwork {
        prefix: prefix.parse().unwrap(),
        node: address(node),
        own: false,
    };
    let by_alias = MeshView { aliases: vec![alias], ..routed.clone() };
    let by_host = MeshView { networks: vec![network("10.0.0.2", "10.9.0.2")], ..routed.clone() };
    // The network's own route would lead to its nearest announcer, here another node.
    let mut by_network = MeshView {
        networks: vec![network("10.0.0.0/8", "10.9.0.7"), network("10.0.0.0/24", "10.9.0.2")],
        ..routed.clone()
    };
    by_network.routes.push(route("10.0.0.0/24", NetworkCost::Reachable(7)));
    for view in [by_alias, by_host, by_network] {
        let mut links = links();
        links.observe(&view, at(1));
        assert_eq!(reach(&links), reachable(100));
        assert_eq!(links.get("bravo").unwrap().addresses[0], node);
        assert_eq!(links.iter().count(), 2, "no second vehicle for the same node");
        // What was learned outlives the announcement, as the announcement's end is not the node's.
        links.observe(&routed, at(2));
        assert_eq!(reach(&links), reachable(100));
    }
    let mut links = links();
    let default_route = MeshView { networks: vec![network("0.0.0.0/0", "10.9.0.2")], ..routed };
    links.observe(&default_route, at(1));
    assert_eq!(reach(&links), Reach::Unknown);
}

fn named(name: &str, node: &str) -> HostName {
    HostName { name: name.to_owned(), address: address(node), node: Some(address(node)) }
}

#[test]
fn names_from_the_mesh_name_vehicles_but_never_take_one_over() {
    let mut links = links();
    let mut routed = with_route("10.0.0.3", 100);
    routed.names = vec![
        named("mid1.charlie", "10.0.0.3"),
        named("charlie", "10.0.0.3"),
        named("alpha", "10.0.0.4"),
        named("bravo", "10.0.0.4"),
        named("<b>", "10.0.0.4"),
    ];
    links.observe(&routed, at(1));
    assert_eq!(links.get("charlie").unwrap().reach, reachable(100));
    assert_eq!(links.get("bravo").unwrap().addresses, [address("10.0.0.2")]);
    assert_eq!(
        links.iter().map(|(name, _)| name).collect::<Vec<_>>(),
        ["alpha", "bravo", "charlie"]
    );
    assert_eq!(links.name_conflicts(), 1);
    // Another node claims the name while its holder is still there.
    routed.names.push(named("charlie", "10.0.0.2"));
    routed.routes.push(route("10.0.0.2", NetworkCost::Reachable(900)));
    links.observe(&routed, at(2));
    assert_eq!(links.get("charlie").unwrap().addresses, [address("10.0.0.3")]);
}

#[test]
fn a_configured_name_without_address_is_found_by_its_host_name() {
    let mut links = Links::default();
    let vehicles = BTreeMap::from([("delta".to_owned(), Vec::new())]);
    let own = "alpha".to_owned();
    links.configure(Setup { own, vehicles, unnamed_vehicles: false, ..Setup::default() }, at(0));
    (1..100).for_each(|second| drop(links.observe(&with_route("10.0.0.4", 100), at(second))));
    assert_eq!(links.get("delta").unwrap().reach, Reach::Unknown, "no address, no statement");
    assert_eq!(links.iter().count(), 2);
    let mut routed = with_route("10.0.0.4", 100);
    routed.names = vec![named("delta", "10.0.0.4")];
    links.observe(&routed, at(100));
    assert_eq!(links.get("delta").unwrap().reach, reachable(100));
}

#[test]
fn an_address_that_turns_out_to_be_an_alias_is_no_vehicle() {
    let mut links = links();
    let mut routed = with_route("10.0.5.2", 100);
    links.observe(&routed, at(1));
    assert_eq!(links.get("10.0.5.2").unwrap().reach, reachable(100));
    routed.aliases = vec![Alias { node: address("10.0.4.2"), address: address("10.0.5.2") }];
    let changes = links.observe(&routed, at(2));
    assert!(links.get("10.0.5.2").is_none());
    assert_eq!(links.get("10.0.4.2").unwrap().reach, reachable(100));
    assert_eq!(changes.len(), 2);
}

#[test]
fn vehicles_that_left_for_good_are_forgotten_and_configured_ones_are_not() {
    let mut links = links();
    links.observe(&with_route("10.0.0.3", 100), at(0));
    links.observe(&view(), at(3600));
    assert!(links.get("10.0.0.3").is_some());
    links.silent(at(13 * 3600));
    assert!(links.get("10.0.0.3").is_none());
    assert!(links.get("bravo").is_some());
}

#[test]
fn the_table_of_vehicles_is_bounded() {
    let mut links = links();
    links.observe(&view(), at(0));
    let crowd = |first: u32| {
        let routes = (first..first + 3000)
            .map(|number| std::net::Ipv4Addr::from(0x0b00_0000 + number).to_string())
            .map(|address| route(&address, NetworkCost::Reachable(100)))
            .collect();
        MeshView { routes, ..view() }
    };
    links.observe(&crowd(0), at(1));
    assert_eq!(links.iter().count(), VEHICLES_MAX);
    assert_eq!(links.overflow(), 3000 + 2 - VEHICLES_MAX as u64);
    // Those that are gone make room.
    (2..=6).for_each(|second| drop(links.observe(&crowd(10_000), at(second))));
    links.observe(&crowd(10_000), at(7));
    assert_eq!(links.iter().count(), VEHICLES_MAX);
    assert_eq!(links.get("11.0.39.16").map(|v| v.reach), Some(reachable(100)));
    assert!(links.get("bravo").is_some());
}

#[test]
fn a_reload_keeps_what_is_known() {
    let mut links = links();
    links.observe(&with_route("10.0.0.2", 100), at(1));
    let own = "alpha".to_owned();
    let vehicles = BTreeMap::from([("bravo".to_owned(), vec![address("10.0.0.2")])]);
    links.configure(Setup { own: own.clone(), vehicles, ..Setup::default() }, at(2));
    assert_eq!(reach(&links), reachable(100));
    links.configure(Setup { own, ..Setup::default() }, at(3));
    links.observe(&with_route("10.0.0.2", 100), at(4));
    assert_eq!(reach(&links), reachable(100));
}

/// One step of an arbitrary history.
#[derive(Clone, Debug)]
enum Step {
    View(Box<MeshView>),
    Silent,
}

fn any_address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (1_u8..8).prop_map(|last| IpAddr::from([10, 0, 0, last])),
        (1_u16..4).prop_map(|last| IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, last])),
        any::<[u8; 4]>().prop_map(IpAddr::from),
    ]
}

fn any_cost() -> impl Strategy<Value = NetworkCost> {
    prop_oneof![
        4 => (1_u32..3000).prop_map(NetworkCost::Reachable),
        1 => any::<u32>().prop_map(NetworkCost::Reachable),
        1 => Just(NetworkCost::Unreachable),
        1 => Just(NetworkCost::NotMeaningful),
    ]
}

prop_compose! {
    fn any_route()(
        address in any_address(),
        length in prop_oneof![Just(128_u8), 0_u8..128],
        cost in any_cost(),
        hops in proptest::option::of(any::<u32>()),
        next_hop in proptest::option::of(any_address()),
        node in proptest::option::of(any_address()),
    ) -> Route {
        let host = Prefix::host(address);
        let destination = Prefix { address, length: length.min(host.length) };
        Route { destination, cost, hops, next_hop, node, ..route("10.0.0.2", cost) }
    }
}

prop_compose! {
    fn any_link()(
        remote in any_address(),
        neighbor in proptest::option::of(any_address()),
        lost in any::<bool>(),
        cost in proptest::option::of(1_u32..5000),
        quality in proptest::option::of(any::<f32>()),
        hello_age_ms in proptest::option::of(any::<u32>()),
        hello_interval_ms in proptest::option::of(any::<u32>()),
        hello_validity_ms in proptest::option::of(any::<u32>()),
    ) -> Link {
        let status = if lost { LinkStatus::Lost } else { LinkStatus::Symmetric };
        Link {
            remote, neighbor, status, cost, hello_age_ms, hello_interval_ms, hello_validity_ms,
            quality_in: quality, quality_out: quality, ..link("10.0.0.2", 0)
        }
    }
}

prop_compose! {
    fn any_view()(
        olsrd2 in any::<bool>(),
        pid in proptest::option::of(1_u32..3),
        uptime_ms in proptest::option::of(prop_oneof![0_u64..100_000, any::<u64>()]),
        hello_interval_ms in proptest::option::of(any::<u32>()),
        routes in proptest::collection::vec(any_route(), 0..6),
        links in proptest::collection::vec(any_link(), 0..4),
        aliases in proptest::collection::vec((any_address(), any_address()), 0..4),
        names in proptest::collection::vec(("[a-c.]{0,3}|alpha|bravo", any_address()), 0..3),
        routes_age_ms in proptest::option::of(prop_oneof![Just(0_u64), 0_u64..20_000, any::<u64>()]),
    ) -> MeshView {
        let mut view = view();
        if olsrd2 {
            view.daemon.kind = DaemonKind::Olsrd2;
        }
        view.daemon.pid = pid;
        view.daemon.uptime_ms = uptime_ms;
        view.daemon.hello_interval_ms = hello_interval_ms;
        view.routes = routes;
        view.links = links;
        view.aliases = aliases.into_iter().map(|(node, address)| Alias { node, address }).collect();
        view.names = names
            .into_iter()
            .map(|(name, address)| HostName { name, address, node: Some(address) })
            .collect();
        view.ages = routes_age_ms
            .map(|age_ms| PartAge { part: Part::Routes, age_ms })
            .into_iter()
            .collect();
        view
    }
}

fn any_step() -> impl Strategy<Value = (u64, Step)> {
    let pause_ms = prop_oneof![8 => 900_u64..1100, 1 => 0_u64..20_000, 1 => 0_u64..10_000_000];
    let what = prop_oneof![
        3 => any_view().prop_map(|view| Step::View(Box::new(view))),
        3 => Just(Step::View(Box::new(with_route("10.0.0.2", 150)))),
        3 => Just(Step::View(Box::new(view()))),
        2 => Just(Step::Silent),
    ];
    (pause_ms, what)
}

/// Everything that must hold after each step of any history.
fn check_step(links: &Links, before: &BTreeMap<String, Vehicle>, now: Mono, answered: bool) {
    for (name, vehicle) in links.iter() {
        let known = before.get(name);
        match vehicle.reach {
            Reach::Unreachable => {
                let fresh_at = vehicle.fresh_at.expect("-1 rests on an answer");
                let limit = Duration::from_secs(10);
                assert!(
                    now.since(fresh_at) <= limit,
                    "-1 of {name} is {:?} old",
                    now.since(fresh_at)
                );
                assert!(!vehicle.stale);
                assert!(links.warming_until(now).is_none(), "-1 of {name} while warming up");
            }
            Reach::Reachable { cost } => assert!((1..=1_000_000).contains(&cost)),
            Reach::Own => assert_eq!(name, "alpha"),
            Reach::NotMeaningful | Reach::Unknown => {}
        }
        let Some(known) = known else { continue };
        assert!(vehicle.transitions >= known.transitions);
        if !answered {
            assert_eq!(vehicle.fresh_at, known.fresh_at, "silence refreshes nothing");
            let same = vehicle.reach == known.reach;
            assert!(same || vehicle.reach == Reach::Unknown, "silence publishes nothing");
            let still = vehicle.reach == Reach::Unknown || vehicle.stale || !known.stale;
            assert!(still, "silence makes nothing fresh");
        }
    }
    assert!(links.iter().count() <= VEHICLES_MAX);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn no_history_breaks_the_promises(steps in proptest::collection::vec(any_step(), 1..60)) {
        let mut links = links();
        let mut now = at(1000);
        let mut before = BTreeMap::new();
        for (pause_ms, step) in steps {
            now = now + Duration::from_millis(pause_ms);
            let answered = match step {
                Step::View(view) => { links.observe(&view, now); true }
                Step::Silent => { links.silent(now); false }
            };
            check_step(&links, &before, now, answered);
            before = links.iter().map(|(name, vehicle)| (name.to_owned(), vehicle.clone())).collect();
        }
    }

    /// Only differences between moments count, so a history that begins later tells the same story.
    #[test]
    fn only_differences_of_time_matter(
        steps in proptest::collection::vec(any_step(), 1..30),
        later_ms in 0_u64..4_000_000_000_000,
    ) {
        let story = |offset_ms: u64| {
            let mut links = links();
            let mut now = at(50_000_000) + Duration::from_millis(offset_ms);
            let mut story = Vec::new();
            for (pause_ms, step) in &steps {
                now = now + Duration::from_millis(*pause_ms);
                match step {
                    // An age beyond the boot is cut off there, which is a difference of its own.
                    Step::View(view) if view.age_ms(Part::Routes).is_none_or(|ms| ms < 20_000) =>
                        links.observe(view, now),
                    Step::View(_) | Step::Silent => links.silent(now),
                };
                let reaches: Vec<_> = links.iter().map(|(name, v)| (name.to_owned(), v.reach)).collect();
                story.push(reaches);
            }
            story
        };
        prop_assert_eq!(story(0), story(later_ms));
    }

    /// However a cost wanders within the publishing margin, at most one change is published per settling time.
    #[test]
    fn noise_is_not_published(costs in proptest::collection::vec(95_u32..=105, 300)) {
        let mut links = links();
        links.observe(&with_route("10.0.0.2", 100), at(0));
        let mut published = vec![reach(&links)];
        for (second, cost) in (1..).zip(costs) {
            links.observe(&with_route("10.0.0.2", cost), at(second));
            published.push(reach(&links));
        }
        published.dedup();
        prop_assert!(published.len() <= 1 + 300 / 30, "{published:?}");
    }

    /// Between two returns lies at least the return delay, however the route comes and goes.
    #[test]
    fn returns_are_bounded(present in proptest::collection::vec(any::<bool>(), 400)) {
        let mut links = links();
        let mut returns = Vec::new();
        for (second, present) in (0..).zip(present) {
            let before = reach(&links);
            let view = if present { with_route("10.0.0.2", 100) } else { view() };
            links.observe(&view, at(second));
            if before == Reach::Unreachable && reach(&links) != Reach::Unreachable {
                returns.push(second);
            }
        }
        for pair in returns.windows(2) {
            prop_assert!(pair[1] - pair[0] >= 14, "{returns:?}");
        }
    }

    /// More loss never makes a vehicle look better.
    #[test]
    fn a_higher_raw_cost_never_publishes_lower(
        steps in proptest::collection::vec((50_u32..2000, 0_u32..500), 1..60),
    ) {
        let (mut good, mut bad) = (links(), links());
        for (second, (cost, extra)) in (0..).zip(steps) {
            good.observe(&with_route("10.0.0.2", cost), at(second));
            bad.observe(&with_route("10.0.0.2", cost + extra), at(second));
            let (Reach::Reachable { cost: good }, Reach::Reachable { cost: bad }) =
                (reach(&good), reach(&bad))
            else { panic!("both are reachable") };
            // Each may lag behind by its own publishing margin.
            let slack = good / 10 + bad / 10 + 20;
            prop_assert!(good <= bad + slack, "{good} against {bad}");
        }
    }
}
