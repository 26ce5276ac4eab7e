//! What single rows of the info plugins mean. Whole answers are compared in `tests/fixtures.rs`.

use std::net::IpAddr;

use crate::build::Builder;
use crate::cost::CostOptions;
use crate::failure::FailureClass;
use crate::v1::{Findings, jsoninfo, release, txtinfo};
use crate::view::{DaemonKind, LinkStatus, MeshView, NetworkCost, Part, Protocol};

fn json(body: &str) -> (MeshView, Findings) {
    let mut builder = Builder::new(DaemonKind::Olsrd, Protocol::Jsoninfo);
    let findings = jsoninfo::parse(body.as_bytes(), &mut builder);
    (builder.finish(&CostOptions::default()), findings)
}

fn text(body: &str) -> (MeshView, Findings) {
    let mut builder = Builder::new(DaemonKind::Olsrd, Protocol::Txtinfo);
    let findings = txtinfo::parse(body.as_bytes(), &mut builder);
    (builder.finish(&CostOptions::default()), findings)
}

fn link(status: &str, symmetry: &str) -> crate::view::Link {
    let (view, _) = json(&format!(
        "{{\"links\": [{{\"localIP\": \"10.0.0.1\",\"remoteIP\": \"10.0.0.2\",\"ifName\": \"wlan0\",\
         \"symmetryTime\": {symmetry},\"vtime\": 5000,\"currentLinkStatus\": \"{status}\",\
         \"lossHelloInterval\": 500,\"linkCost\": 1.160000,\"linkQuality\": 0.928000,\
         \"neighborLinkQuality\": 0.928000}}]}}"
    ));
    view.links.into_iter().next().unwrap()
}

#[test]
fn the_age_of_a_hello_is_what_its_validity_has_lost() {
    assert_eq!(link("SYMMETRIC", "4850").hello_age_ms, Some(150));
    // 32 bits below zero: expired 18 ms ago.
    assert_eq!(link("SYMMETRIC", "4294967278").hello_age_ms, Some(5018));
    assert_eq!(link("ASYMMETRIC", "0").hello_age_ms, None);
    assert_eq!(link("SYMMETRIC", "9000").hello_age_ms, Some(0));
}

#[test]
fn a_lost_link_keeps_its_leftover_numbers_but_has_no_cost() {
    let lost = link("LOST", "0");
    assert_eq!((lost.status, lost.cost, lost.usable()), (LinkStatus::Lost, None, false));
    assert_eq!(link("HIDE", "0").status, LinkStatus::Unusable);
    assert_eq!(link("SYMMETRIC", "4850").cost, Some(116));
}

#[test]
fn a_missing_table_is_not_an_empty_one() {
    let (view, findings) = json("{\"pid\": 7,\"routes\": []}");
    assert!(findings.understood);
    assert_eq!(view.daemon.pid, Some(7));
    assert_eq!((view.age_ms(Part::Routes), view.age_ms(Part::Links)), (Some(0), None));
}

#[test]
fn a_bad_row_costs_that_row_only() {
    let (view, _) = json(
        "{\"routes\": [{\"destination\": \"nonsense\",\"genmask\": 32},5,\
         {\"destination\": \"10.0.0.2\",\"genmask\": 33,\"etx\": 1.0},\
         {\"destination\": \"10.0.0.3\",\"genmask\": 32,\"metric\": 1,\"etx\": 1.000000,\"new\": {\"a\": []}}]}",
    );
    assert_eq!(view.routes.len(), 1);
    assert_eq!(view.routes[0].cost, NetworkCost::Reachable(100));
    assert_eq!(view.complaints.iter().map(|complaint| complaint.count).sum::<u32>(), 3);
    assert_eq!(view.age_ms(Part::Routes), Some(0));
}

#[test]
fn the_scale_is_told_by_the_token_and_the_name_of_the_field() {
    let cost = |fields: &str| {
        let (view, _) = json(&format!(
            "{{\"routes\": [{{\"destination\": \"10.0.0.2\",\"genmask\": 32,\"metric\": 1,{fields}}}]}}"
        ));
        view.routes[0].cost
    };
    assert_eq!(cost("\"rtpMetricCost\": 1546"), NetworkCost::Reachable(151));
    assert_eq!(cost("\"rtpMetricCost\": 1.510000"), NetworkCost::Reachable(151));
    assert_eq!(cost("\"etx\": 1.510000,\"rtpMetricCost\": 1546"), NetworkCost::Reachable(151));
    assert_eq!(cost("\"rtpMetricCost\": 4294967295"), NetworkCost::Unreachable);
    assert_eq!(cost("\"etx\": nan,\"rtpMetricCost\": nan"), NetworkCost::NotMeaningful);
}

#[test]
fn refusals_are_recognised_without_http() {
    let (_, findings) = json("{\"pid\": 1,\"error\": \"404 Not Found\"}");
    assert_eq!(findings.refusal, Some(FailureClass::NotFound));
    let (_, findings) = text("error: 403 Forbidden\n");
    assert_eq!(findings.refusal, Some(FailureClass::NotAllowed));
    let (_, findings) = json("<html>no daemon</html>");
    assert!(!findings.understood);
}

#[test]
fn columns_are_found_by_name_wherever_they_stand() {
    let (view, findings) = text(
        "Table: Routes\nInterface\tETX\tDestination\tNews\tGateway IP\tMetric\n\
         wlan0\t2.500\tfd00::2/128\tx\tfe80::1\t2\n\nTable: Weather\nSun\n1\n\n",
    );
    assert!(findings.understood && !findings.truncated);
    let route = &view.routes[0];
    assert_eq!((route.cost, route.hops), (NetworkCost::Reachable(250), Some(2)));
    assert_eq!(route.interface.as_deref(), Some("wlan0"));
    assert_eq!(route.next_hop, "fe80::1".parse::<IpAddr>().ok());
}

#[test]
fn aliases_with_lifetimes_keep_the_colons_of_ipv6() {
    let (view, _) = text("Table: MID\nIP address\t(Alias:VTime)+\nfd00::1\t\tfd00::2:29.123\n\n");
    assert_eq!(view.aliases[0].address, "fd00::2".parse::<IpAddr>().unwrap());
}

#[test]
fn versions_are_shortened_to_the_release() {
    for (text, expected) in [
        ("olsr.org - pre-0.9.9-git_3653c47b-hash_83ca", "pre-0.9.9"),
        (
            "olsr.org -  0.6.6.2-git_0000000-hash_63ff (built on 2026-11-20 21:03:47 on vm)",
            "0.6.6.2",
        ),
        ("0.9.8", "0.9.8"),
        ("", ""),
    ] {
        assert_eq!(release(text), expected);
    }
}
