//! What must hold for any history of views and silences, however odd.

use proptest::prelude::*;

use super::*;

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
