//! Properties of the network cost, and what olsrd's own numbers become.

use std::net::IpAddr;

use proptest::prelude::*;

use crate::build::Builder;
use crate::cost::{self, COST_MAX, CostOptions, HOP, Measure};
use crate::view::{
    DaemonKind, Edge, Link, LinkMetric, LinkStatus, MeshView, NetworkCost, Prefix, Protocol, Route,
};

fn address(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

fn route(last: u8, hops: Option<u32>) -> Route {
    Route {
        destination: Prefix::host(address(last)),
        cost: NetworkCost::NotMeaningful,
        hops,
        next_hop: None,
        interface: None,
        node: None,
        last_hop: None,
        link_local: false,
    }
}

fn link(status: LinkStatus) -> Link {
    Link {
        local: None,
        remote: address(2),
        neighbor: None,
        interface: None,
        status,
        cost: None,
        quality_in: None,
        quality_out: None,
        metric_in_raw: None,
        metric_out_raw: None,
        rate_in_bps: None,
        hello_age_ms: None,
        hello_interval_ms: None,
        hello_validity_ms: None,
    }
}

fn olsrd(fill: impl FnOnce(&mut Builder)) -> MeshView {
    let mut builder = Builder::new(DaemonKind::Olsrd, Protocol::Jsoninfo);
    fill(&mut builder);
    builder.finish(&CostOptions::default())
}

/// The cost of one route among others that tell that there is an ETX.
fn cost_of(measure: Measure, hops: Option<u32>) -> NetworkCost {
    let view = olsrd(|builder| {
        builder.route(route(2, hops), measure);
        builder.route(route(3, Some(1)), Measure::Etx(1.0));
    });
    view.routes[0].cost
}

#[test]
fn a_perfect_hop_costs_100_in_every_notation() {
    for measure in [Measure::Etx(1.0), Measure::EtxScaled(1024)] {
        assert_eq!(cost_of(measure, Some(1)), NetworkCost::Reachable(100));
    }
    let fpm = olsrd(|builder| {
        builder.metric_name("etx_fpm".into());
        builder.route(route(2, Some(1)), Measure::EtxScaled(65_535));
    });
    assert_eq!(fpm.routes[0].cost, NetworkCost::Reachable(100));
}

#[test]
fn wired_hops_cost_what_the_router_compares_unless_a_floor_is_asked_for() {
    let own = CostOptions::default();
    let floor = CostOptions { floor_per_hop: true, ..CostOptions::default() };
    assert_eq!(cost::path(0.3, Some(3), &own), NetworkCost::Reachable(30));
    assert_eq!(cost::path(0.3, Some(3), &floor), NetworkCost::Reachable(300));
    assert_eq!(cost::path(7.0, Some(3), &floor), NetworkCost::Reachable(700));
    assert_eq!((cost::link(0.1, &own), cost::link(0.1, &floor)), (Some(10), Some(HOP)));
}

#[test]
fn broken_routes_are_unreachable_and_nonsense_counts_hops() {
    for measure in [
        Measure::Broken,
        Measure::Etx(4_294_967_295.0),
        Measure::Etx(f64::INFINITY),
        Measure::EtxScaled(4_294_967_295),
        Measure::EtxScaled(i64::MAX),
    ] {
        assert_eq!(cost_of(measure, Some(2)), NetworkCost::Unreachable, "{measure:?}");
    }
    assert_eq!(cost_of(Measure::Etx(0.0), Some(2)), NetworkCost::Reachable(200));
    assert_eq!(cost_of(Measure::Etx(-5.0), Some(2)), NetworkCost::Reachable(200));
    assert_eq!(cost_of(Measure::Etx(0.0), None), NetworkCost::NotMeaningful);
    assert_eq!(cost_of(Measure::Missing, Some(2)), NetworkCost::NotMeaningful);
}

#[test]
fn without_link_quality_only_hops_count() {
    let view = olsrd(|builder| {
        builder.link(link(LinkStatus::Symmetric), Measure::Etx(4_194_304.0));
        builder.route(route(2, Some(1)), Measure::Etx(0.0));
        builder.route(route(3, Some(2)), Measure::Etx(0.0));
    });
    assert_eq!(view.daemon.metric, LinkMetric::Hops);
    assert_eq!(view.links[0].cost, Some(100));
    assert_eq!(view.routes[1].cost, NetworkCost::Reachable(200));
}

#[test]
fn a_link_needs_both_a_symmetric_status_and_an_unbroken_cost() {
    let cost = |status, measure| {
        let view = olsrd(|builder| {
            builder.metric_level(2);
            builder.link(link(status), measure);
        });
        assert_eq!(view.links[0].usable(), view.links[0].cost.is_some());
        view.links[0].cost
    };
    assert_eq!(cost(LinkStatus::Symmetric, Measure::Etx(1.5)), Some(150));
    assert_eq!(cost(LinkStatus::Unknown, Measure::Etx(1.5)), Some(150));
    assert_eq!(cost(LinkStatus::Symmetric, Measure::Etx(4_194_304.0)), None);
    assert_eq!(cost(LinkStatus::Symmetric, Measure::EtxScaled(4_194_304)), None);
    assert_eq!(cost(LinkStatus::Lost, Measure::Etx(1.16)), None);
    assert_eq!(cost(LinkStatus::Asymmetric, Measure::Etx(1.0)), None);
}

#[test]
fn broken_edges_have_no_cost() {
    let cost = |measure| {
        let edge =
            Edge { from: address(2), to: address(3), cost: None, out_raw: None, in_raw: None };
        let view = olsrd(|builder| {
            builder.metric_level(2);
            builder.edge(edge, measure);
        });
        view.edges[0].cost
    };
    assert_eq!(cost(Measure::Etx(4096.0)), None);
    assert_eq!(cost(cost::etx::edge_measure(Measure::Etx(64.0), || Some(0.05))), None);
    assert_eq!(cost(cost::etx::edge_measure(Measure::Etx(64.0), || Some(0.12))), Some(6400));
    assert_eq!(cost(Measure::Etx(100.0)), Some(10_000));
}

/// ETX of a link that loses the shares `there` and `back`.
fn etx(there: f64, back: f64) -> f64 {
    1.0 / ((1.0 - there) * (1.0 - back))
}

fn number(cost: NetworkCost) -> u32 {
    match cost {
        NetworkCost::Reachable(cost) => cost,
        NetworkCost::Unreachable => COST_MAX + 1,
        NetworkCost::NotMeaningful => panic!("a measured path has a cost"),
    }
}

proptest! {
    #[test]
    fn more_loss_never_lowers_a_cost(there in 0.0..0.89, back in 0.0..0.89, more in 0.0..0.01) {
        let options = CostOptions::default();
        let cost = |etx| number(cost::path(etx, Some(1), &options));
        prop_assert!(cost(etx(there + more, back)) >= cost(etx(there, back)));
        prop_assert!(cost(etx(there, back)) >= HOP);
    }

    #[test]
    fn costs_add_along_a_path(losses in prop::collection::vec((0.0..0.6, 0.0..0.6), 1..12)) {
        let options = CostOptions::default();
        let links: Vec<f64> = losses.iter().map(|(there, back)| etx(*there, *back)).collect();
        let hops = u32::try_from(links.len()).unwrap();
        let whole = number(cost::path(links.iter().sum(), Some(hops), &options));
        let sum: u32 = links.iter().map(|etx| cost::link(*etx, &options).unwrap()).sum();
        // Each link is rounded by at most one half.
        prop_assert!(whole.abs_diff(sum) <= hops.div_ceil(2) + 1, "{whole} and {sum}");
    }

    #[test]
    fn a_part_of_a_path_never_costs_more(
        links in prop::collection::vec(1.0..100.0f64, 2..12), cut in 1usize..11, floor: bool,
    ) {
        let options = CostOptions { floor_per_hop: floor, ..CostOptions::default() };
        let cut = cut.min(links.len() - 1);
        let cost = |links: &[f64]| {
            let hops = u32::try_from(links.len()).unwrap();
            number(cost::path(links.iter().sum(), Some(hops), &options))
        };
        prop_assert!(cost(&links[..cut]) <= cost(&links));
        prop_assert!(cost(&links[cut..]) <= cost(&links));
    }

    #[test]
    fn a_cost_is_in_its_range_whatever_the_daemon_says(
        etx in any::<f64>(), hops in prop::option::of(any::<u32>()),
    ) {
        match cost::path(etx, hops, &CostOptions::default()) {
            NetworkCost::Reachable(cost) => prop_assert!((1..=COST_MAX).contains(&cost)),
            NetworkCost::Unreachable | NetworkCost::NotMeaningful => {}
        }
    }
}
