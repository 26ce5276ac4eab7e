//! Small worlds, told sample by sample. The daemons' own recordings are replayed in `tests/links_replay.rs`.

use olsr_bridge::view::{
    Alias, AttachedNetwork, Complaint, Daemon, DaemonKind, Edge, HostName, LinkMetric, LinkStatus,
    PartAge, Prefix, Protocol,
};

use super::*;

mod properties;

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
        interface: Some("mesh0".into()),
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
fn a_neighbour_that_claims_the_address_of_a_vehicle_does_not_become_it() {
    let mut links = links();
    let mut routed = with_route("10.0.0.2", 3000);
    routed.routes.push(route("10.0.0.9", NetworkCost::Reachable(100)));
    routed.aliases = vec![Alias { node: address("10.0.0.9"), address: address("10.0.0.2") }];
    let (from, to) = (address("10.0.0.2"), address("10.0.0.7"));
    routed.edges = vec![Edge { from, to, cost: Some(100), out_raw: None, in_raw: None }];
    links.observe(&routed, at(1));
    assert_eq!(links.get("bravo").unwrap().addresses, [address("10.0.0.2")]);
    assert_eq!(reach(&links), reachable(3000));
}

#[test]
fn no_node_is_named_by_the_address_of_another() {
    let mut links = Links::default();
    links.configure(Setup { own: "alpha".to_owned(), ..Setup::default() }, at(0));
    let mut routed = with_route("10.0.0.4", 900);
    routed.names = vec![named("10.0.0.3", "10.0.0.4")];
    links.observe(&routed, at(1));
    assert!(links.get("10.0.0.3").is_none());
    assert_eq!(links.get("10.0.0.4").unwrap().reach, reachable(900));
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

#[test]
fn of_two_addresses_that_each_call_the_other_an_alias_neither_begins_anew_with_each_view() {
    let mut links = links();
    let view = MeshView {
        aliases: [("10.0.0.4", "10.0.0.7"), ("10.0.0.7", "10.0.0.4")]
            .map(|(node, alias)| Alias { node: address(node), address: address(alias) })
            .to_vec(),
        ..with_route("10.0.0.4", 150)
    };
    let mut since = Vec::new();
    for second in 1..30 {
        links.observe(&view, at(second));
        since.push(links.get("10.0.0.4").and_then(|vehicle| vehicle.since));
    }
    assert!(since[10].is_some() && since[10..].iter().all(|then| *then == since[10]), "{since:?}");
}
