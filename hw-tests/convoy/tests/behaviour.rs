//! The model over time against series of captured answers: when links are lost, routes vanish and return, and how costs recover.
//!
//! The captured daemons ran with HELLO 0.5 s and 5 s validity, TC 1 s and 20 s, on the mesh `diamond5`: a-b-d-e with c beside b.
//! Seconds below are those of the captured series; the slack allows for the phase of timers, which nobody knows.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::ops::RangeInclusive;
use std::sync::Arc;

use common::mesh;
use convoy::mesh::{Family, Mesh, Node, Status, View};

const A: usize = 0;
const B: usize = 1;
const E: usize = 4;
/// Pairs of `diamond5` in the order of its scenario.
const A_B: usize = 0;
const D_E: usize = 4;

/// One second after the other of a drive on `diamond5`, seen from node a.
struct Series {
    begin: u64,
    mesh: Mesh,
    nodes: Arc<[Node]>,
}

impl Series {
    fn new(family: Family) -> Series {
        let mesh = mesh(family, "diamond5");
        Series { begin: mesh.now(), nodes: mesh.nodes().into(), mesh }
    }

    /// Goes on to `second` and gives what a's daemon knows then.
    fn at(&mut self, second: f64) -> Option<View> {
        self.mesh.advance(self.begin + (second * 1000.0) as u64);
        self.mesh.view(A, &self.nodes)
    }

    /// ETX of a's route to `node` at `second`.
    fn etx(&mut self, second: f64, node: usize) -> Option<f64> {
        let view = self.at(second)?;
        let route = view.routes.iter().find(|route| route.node == node)?;
        Some(route.cost as f64 / 1024.0)
    }

    /// The first second at which `condition` holds, looked at every half second from `from` on.
    fn when(&mut self, from: f64, mut condition: impl FnMut(&View) -> bool) -> f64 {
        (0..200)
            .map(|step| from + f64::from(step) / 2.0)
            .find(|second| self.at(*second).is_some_and(|view| condition(&view)))
            .expect("it happens within 100 s")
    }
}

fn reachable(view: &View, node: usize) -> bool {
    view.routes.iter().any(|route| route.node == node)
}

fn link_status(view: &View, node: usize) -> Option<Status> {
    view.links.iter().find(|link| link.remote.0 == node).map(|link| link.status)
}

fn assert_in(second: f64, expected: RangeInclusive<f64>, what: &str) {
    assert!(expected.contains(&second), "{what} at {second} s, expected {expected:?}");
}

/// Compares ETX with captured values, in parts of the captured value.
fn assert_curve(series: &mut Series, node: usize, captured: &[(f64, f64)], slack: f64) {
    for (second, etx) in captured {
        let modelled = series.etx(*second, node).unwrap();
        assert!(
            (modelled - etx).abs() <= etx * slack,
            "{modelled:.3} at {second} s, the daemon showed {etx}"
        );
    }
}

#[test]
fn a_cut_link_is_lost_after_its_validity_and_routed_around() {
    let mut series = Series::new(Family::Olsrd);
    series.at(5.0);
    series.mesh.set_loss(A_B, 1.0, 1.0);
    let before = series.at(8.0).unwrap();
    assert_eq!(link_status(&before, B), Some(Status::Symmetric));
    assert_eq!(series.etx(8.0, B), Some(1.0), "three seconds of silence do not show");
    let lost = series.when(9.0, |view| link_status(view, B) == Some(Status::Lost));
    assert_in(lost, 9.5..=11.0, "lost");
    let around =
        series.when(9.5, |view| view.routes.iter().any(|route| route.node == B && route.hops == 3));
    assert_in(around, 9.5..=12.0, "routed around");
    let gone = series.when(11.0, |view| link_status(view, B).is_none());
    assert_in(gone, 28.5..=31.0, "the lost link is forgotten");
}

#[test]
fn a_healed_link_begins_badly_and_is_perfect_after_34_seconds() {
    let mut series = Series::new(Family::Olsrd);
    series.at(5.0);
    series.mesh.set_loss(A_B, 1.0, 1.0);
    series.at(30.0);
    series.mesh.set_loss(A_B, 0.0, 0.0);
    let link = |view: &View| {
        let link = view.links.iter().find(|link| link.remote.0 == B)?;
        Some(f64::from(link.cost_1024()?) / 1024.0)
    };
    assert_eq!(series.at(31.0).as_ref().and_then(link), None, "broken at first");
    for (second, etx, slack) in [
        (34.0, 12.9, 0.5),
        (36.0, 5.7, 0.3),
        (40.0, 3.25, 0.2),
        (51.0, 1.88, 0.15),
        (66.0, 1.0, 0.0),
    ] {
        let modelled = series.at(second).as_ref().and_then(link).unwrap();
        assert!(
            (modelled - etx).abs() <= etx * slack,
            "{modelled:.3} at {second} s, the daemon showed {etx}"
        );
    }
}

#[test]
fn a_leaf_that_is_cut_off_vanishes_and_returns_as_captured() {
    let mut series = Series::new(Family::Olsrd);
    series.at(5.1);
    series.mesh.set_loss(D_E, 1.0, 1.0);
    assert_in(series.when(5.5, |view| !reachable(view, E)), 10.0..=12.5, "routes gone");
    let edges = series.at(13.0).unwrap().edges;
    assert!(edges.iter().all(|edge| edge.from != E && edge.to != E), "no edge without inverse");
    let forgotten = series.when(13.0, |view| view.networks.iter().all(|network| network.node != E));
    assert_in(forgotten, 33.0..=37.0, "its announced network outlives its routes");
    series.at(40.1);
    series.mesh.set_loss(D_E, 0.0, 0.0);
    let back = series.when(40.5, |view| reachable(view, E));
    assert_in(back, 43.0..=47.5, "route back");
    let captured = [(48.0, 7.149), (50.0, 6.206), (55.0, 4.76), (60.0, 4.304), (70.0, 3.606)];
    assert_curve(&mut series, E, &captured, 0.25);
    assert_curve(&mut series, E, &[(78.0, 3.0)], 0.0);
}

#[test]
fn a_restarted_daemon_has_routes_after_three_seconds_and_perfect_ones_after_34() {
    let mut series = Series::new(Family::Olsrd);
    series.at(5.0);
    series.mesh.stop(A, false);
    assert!(series.at(8.0).is_none());
    series.at(10.0);
    series.mesh.start(A);
    let empty = series.at(10.0).unwrap();
    assert!(empty.links.is_empty() && empty.routes.is_empty() && empty.run == 2);
    let back = series.when(10.5, |view| reachable(view, E));
    assert_in(back, 11.5..=14.5, "all routes");
    // In transmissions of the whole path of three hops; only the first of them is being warmed up.
    let captured = [(15.0, 4.524), (19.0, 3.889), (24.0, 3.545), (38.0, 3.256)];
    assert_curve(&mut series, E, &captured, 0.12);
    assert_curve(&mut series, E, &[(46.0, 3.0)], 0.0);
}

#[test]
fn olsrd_says_goodbye_and_a_crash_does_not() {
    for (announced, expected) in [(true, 5.0..=6.5), (false, 9.5..=12.5)] {
        let mut series = Series::new(Family::Olsrd);
        series.at(5.0);
        series.mesh.stop(E, announced);
        let gone = series.when(5.0, |view| !reachable(view, E));
        assert_in(gone, expected, if announced { "goodbye" } else { "crash" });
    }
}

#[test]
fn olsrd2_loses_a_link_after_its_validity_and_warms_up_from_eight_times_perfect() {
    let mut series = Series::new(Family::Olsrd2);
    series.at(5.0);
    series.mesh.set_loss(A_B, 1.0, 1.0);
    let lost = series.when(5.5, |view| link_status(view, B) == Some(Status::Lost));
    assert_in(lost, 9.5..=11.5, "lost");
    let forgotten = series.when(10.0, |view| link_status(view, B).is_none());
    assert_in(forgotten, 14.5..=16.5, "forgotten");
    series.at(30.0);
    series.mesh.set_loss(A_B, 0.0, 0.0);
    let metric = |view: &View| {
        let link = view.links.iter().find(|link| link.remote.0 == B)?;
        Some(f64::from(link.metric.0) / f64::from(convoy::mesh::METRIC_PERFECT))
    };
    for (second, captured, slack) in
        [(32.0, 7.97, 0.01), (36.0, 3.549, 0.35), (41.0, 1.879, 0.25), (52.0, 1.0, 0.0)]
    {
        let modelled = series.at(second).as_ref().and_then(metric).unwrap();
        assert!(
            (modelled - captured).abs() <= captured * slack,
            "{modelled:.3} at {second} s, the daemon showed {captured}"
        );
    }
}

#[test]
fn lossy_links_cost_what_lossy_links_cost() {
    // Means of 60 samples of captured daemons, both directions losing the share (HELLO 0.5 s).
    for (loss, captured, slack) in [(0.05, 1.095, 0.12), (0.1, 1.19, 0.12), (0.2, 1.436, 0.2)] {
        let mut series = Series::new(Family::Olsrd);
        series.mesh.set_loss(A_B, loss, loss);
        series.at(60.0);
        let samples: Vec<f64> = (0..240)
            .filter_map(|second| {
                let view = series.at(60.0 + f64::from(second))?;
                let link = view.links.iter().find(|link| link.remote.0 == B)?;
                Some(f64::from(link.cost_1024()?) / 1024.0)
            })
            .collect();
        let mean = samples.iter().sum::<f64>() / samples.len() as f64;
        assert!((mean - captured).abs() <= captured * slack, "{mean:.3} for {captured} at {loss}");
    }
}
