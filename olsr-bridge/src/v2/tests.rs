//! Answers as olsrd2 0.15.1 sends them, shortened, and what becomes of them.

use std::net::IpAddr;

use super::parse;
use crate::build::Builder;
use crate::cost::CostOptions;
use crate::view::{
    DaemonKind, LinkMetric, LinkStatus, MeshView, NetworkCost, Part, Prefix, Protocol,
};

fn view(input: &str) -> MeshView {
    let mut builder = Builder::new(DaemonKind::Olsrd2, Protocol::Olsrd2Telnet);
    parse(input.as_bytes(), &mut builder);
    builder.finish(&CostOptions::default())
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn cost(view: &MeshView, destination: &str) -> NetworkCost {
    let prefix: Prefix = destination.parse().unwrap();
    view.routes.iter().find(|route| route.destination == prefix).unwrap().cost
}

fn link(remote: &str, status: &str, in_raw: u32, out_raw: u32) -> String {
    format!(
        r#"{{"if":"mab","link_bindto":"{remote}","link_vtime_value":"5","link_itime_value":"0.5",
"link_symtime":4.705,"link_status":"{status}","link_mac":"22:81:39:20:ba:a6","link_flood_local":"true",
"link_flood_remote":"false","neighbor_originator":"10.77.0.2","domain":0,"domain_metric":"ff_dat_metric",
"domain_metric_in_raw":{in_raw},"domain_metric_out_raw":{out_raw},
"domain_metric_internal":"p_recv=26,p_total=31,speed=-1,success=1186,lneigh=0"}}"#
    )
}

fn route(destination: &str, last_hop: &str, raw: u32, hops: u32) -> String {
    format!(
        r#"{{"route_dst":"{destination}","route_gw":"10.1.2.2","route_src_prefix":"0.0.0.0/0","route_if":"mab",
"route_lasthop":"{last_hop}","domain":"0","domain_metric":"ff_dat_metric","domain_metric_out_raw":{raw},
"domain_path_hops":{hops}}}"#
    )
}

fn edge(from: &str, to: &str, out_raw: u32, in_raw: u32) -> String {
    format!(
        r#"{{"source":"id_{from}","target":"id_{to}","cost":{out_raw},"properties": {{"in_cost":{in_raw},
"source_addr":"{from}","target_addr":"{to}","type":"node"}}}}"#
    )
}

fn graph(edges: &[String]) -> String {
    format!(
        r#"{{"type":"NetworkCollection","collection": [{{"type":"NetworkGraph","version":"0.15.1",
"metric":"ff_dat_metric","topology_id":"ipv4_0","properties": {{"router_addr":"10.77.0.1"}},"nodes": [],
"links": [{}]}}]}}"#,
        edges.join(",")
    )
}

const PERFECT: u32 = 2_105_088;

#[test]
fn a_symmetric_link_has_both_directions_and_the_age_of_its_hello() {
    let view =
        view(&format!("{{\"link\": [{}]}}", link("10.1.2.2", "symmetric", PERFECT * 2, PERFECT)));
    let link = &view.links[0];
    assert_eq!((link.remote, link.neighbor), (ip("10.1.2.2"), Some(ip("10.77.0.2"))));
    assert_eq!((link.status, link.cost), (LinkStatus::Symmetric, Some(200)));
    assert_eq!((link.quality_in, link.quality_out), (Some(0.5), Some(1.0)));
    assert_eq!(link.hello_age_ms, Some(295));
    assert_eq!((link.hello_interval_ms, link.hello_validity_ms), (Some(500), Some(5000)));
    assert_eq!(view.daemon.metric, LinkMetric::Loss);
    assert_eq!(view.daemon.metric_name.as_deref(), Some("ff_dat_metric"));
    assert_eq!(view.aliases[0].address, ip("10.1.2.2"));
    assert!(view.complaints.is_empty(), "{:?}", view.complaints);
}

#[test]
fn a_lost_link_keeps_its_numbers_but_no_cost_and_no_age() {
    let view = view(&format!("{{\"link\": [{}]}}", link("10.1.2.2", "lost", PERFECT, PERFECT)));
    let link = &view.links[0];
    assert_eq!((link.status, link.cost, link.hello_age_ms), (LinkStatus::Lost, None, None));
    assert!(!link.usable());
}

#[test]
fn timers_below_one_second_are_read_in_every_form() {
    let text = link("10.1.2.2", "symmetric", PERFECT, PERFECT)
        .replace("4.705", "949m")
        .replace("\"0.5\"", "\"500m\"");
    let view = view(&format!("{{\"link\": [{text}]}}"));
    assert_eq!(view.links[0].hello_age_ms, Some(4051));
    assert_eq!(view.links[0].hello_interval_ms, Some(500));
}

#[test]
fn the_cost_of_a_route_is_the_product_of_both_directions_along_its_path() {
    // This node -> .2 (out 1, in 1.5) -> .3 (out 1.25, in 2): the route's own sum says 2.25.
    let routes = [
        route("10.77.0.2", "10.77.0.1", PERFECT, 1),
        route("10.77.0.3", "10.77.0.2", PERFECT * 9 / 4, 2),
    ];
    let edges = [
        edge("10.77.0.1", "10.77.0.2", PERFECT, PERFECT * 3 / 2),
        edge("10.77.0.2", "10.77.0.3", PERFECT * 5 / 4, PERFECT * 2),
    ];
    let table = format!("{{\"route\": [{}]}}", routes.join(","));
    let whole = view(&format!("{table}{}", graph(&edges)));
    assert_eq!(cost(&whole, "10.77.0.2"), NetworkCost::Reachable(150));
    assert_eq!(cost(&whole, "10.77.0.3"), NetworkCost::Reachable(400));
    assert_eq!(whole.own, [ip("10.77.0.1")]);
    // Without the graph the daemon's own sum counts.
    let forward = view(&table);
    assert_eq!(cost(&forward, "10.77.0.3"), NetworkCost::Reachable(225));
    assert!(!forward.ages.iter().any(|age| age.part == Part::Topology));
}

#[test]
fn an_unknown_return_direction_counts_as_perfect() {
    let routes = format!("{{\"route\": [{}]}}", route("10.77.0.2", "10.77.0.1", PERFECT * 2, 1));
    let edges = [edge("10.77.0.1", "10.77.0.2", PERFECT * 2, 16_777_215)];
    let view = view(&format!("{routes}{}", graph(&edges)));
    assert_eq!(cost(&view, "10.77.0.2"), NetworkCost::Reachable(200));
}

#[test]
fn known_bit_rates_count_the_worse_direction_against_the_reference_rate() {
    // 6 Mbit/s and the same with 19 % loss on the way back.
    let routes = format!("{{\"route\": [{}]}}", route("10.77.0.2", "10.77.0.1", 358, 1));
    let edges = [edge("10.77.0.1", "10.77.0.2", 358, 440)];
    let view = view(&format!("{routes}{}", graph(&edges)));
    assert_eq!(cost(&view, "10.77.0.2"), NetworkCost::Reachable(123));
    assert_eq!(view.daemon.metric, LinkMetric::Airtime);
}

#[test]
fn a_path_with_and_without_bit_rates_is_not_meaningful_and_said_so() {
    let routes = [
        route("10.77.0.2", "10.77.0.1", 358, 1),
        route("10.77.0.3", "10.77.0.2", 358 + PERFECT, 2),
    ];
    let edges = [
        edge("10.77.0.1", "10.77.0.2", 358, 358),
        edge("10.77.0.2", "10.77.0.3", PERFECT, PERFECT),
    ];
    let text = format!("{{\"route\": [{}]}}{}", routes.join(","), graph(&edges));
    let view = view(&text);
    assert_eq!(cost(&view, "10.77.0.2"), NetworkCost::Reachable(100));
    assert_eq!(cost(&view, "10.77.0.3"), NetworkCost::NotMeaningful);
    assert!(view.complaints.iter().any(|complaint| complaint.text.contains("bit rate")));
}

#[test]
fn a_network_costs_what_its_announcer_costs() {
    let routes = [
        route("10.77.0.2", "10.77.0.1", PERFECT, 1),
        route("192.168.21.0/25", "10.77.0.2", PERFECT + 1000, 2),
        route("192.0.2.7", "10.77.0.2", PERFECT + 1, 2),
    ];
    let networks = r#"{"attached_network": [{"node":"10.77.0.2","attached_net":"192.168.21.0/25","domain":"0"},
{"node":"10.77.0.2","attached_net":"192.0.2.7","domain":"0"}]}"#;
    let edges = [edge("10.77.0.1", "10.77.0.2", PERFECT, PERFECT * 3)];
    let text = format!("{{\"route\": [{}]}}{networks}{}", routes.join(","), graph(&edges));
    let view = view(&text);
    for destination in ["10.77.0.2", "192.168.21.0/25", "192.0.2.7"] {
        assert_eq!(cost(&view, destination), NetworkCost::Reachable(300), "{destination}");
    }
    let host = view.routes.iter().find(|route| route.destination.address == ip("192.0.2.7"));
    assert_eq!(host.unwrap().node, Some(ip("10.77.0.2")));
}

#[test]
fn a_network_behind_an_unreachable_identity_costs_the_daemons_sum() {
    // The announcer's IPv6 originator is link-local: there is a route to its network, but none to
    // itself.
    let networks = r#"{"attached_network": [{"node":"fe80::5","attached_net":"2001:db8:e::/48","domain":"0"}]}"#;
    let routes = route("2001:db8:e::/48", "fe80::5", PERFECT * 3 + 1, 4);
    let edges = [edge("10.77.0.1", "10.77.0.2", PERFECT, PERFECT)];
    let view = view(&format!("{{\"route\": [{routes}]}}{networks}{}", graph(&edges)));
    assert_eq!(cost(&view, "2001:db8:e::/48"), NetworkCost::Reachable(300));
}

#[test]
fn a_circle_of_last_hops_ends_and_falls_back_to_the_daemons_sum() {
    let routes = [
        route("10.77.0.2", "10.77.0.3", PERFECT, 1),
        route("10.77.0.3", "10.77.0.2", PERFECT * 2, 2),
    ];
    let edges = [
        edge("10.77.0.2", "10.77.0.3", PERFECT, PERFECT),
        edge("10.77.0.3", "10.77.0.2", PERFECT, PERFECT),
    ];
    let text = format!("{{\"route\": [{}]}}{}", routes.join(","), graph(&edges));
    assert_eq!(cost(&view(&text), "10.77.0.3"), NetworkCost::Reachable(200));
}

#[test]
fn a_metric_of_unknown_scale_is_reported_and_not_guessed() {
    let text = format!("{{\"route\": [{}]}}", route("10.77.0.2", "10.77.0.1", 5, 1));
    let view = view(&text.replace("ff_dat_metric", "some_metric"));
    assert_eq!(cost(&view, "10.77.0.2"), NetworkCost::NotMeaningful);
    assert_eq!(view.daemon.metric, LinkMetric::NotMeaningful);
    assert!(view.complaints[0].text.contains("some_metric"), "{:?}", view.complaints);
}

#[test]
fn an_infinite_path_is_unreachable() {
    let text = format!("{{\"route\": [{}]}}", route("10.77.0.2", "10.77.0.1", u32::MAX, 1));
    assert_eq!(cost(&view(&text), "10.77.0.2"), NetworkCost::Unreachable);
}

#[test]
fn link_local_identities_are_shown_and_marked() {
    let text = format!("{{\"route\": [{}]}}", route("fe80::1", "fe80::2", PERFECT, 1));
    assert!(view(&text).routes[0].link_local);
}

#[test]
fn error_lines_in_place_of_an_answer_do_not_touch_the_rest() {
    let text = "{\"originator\": [{\n\"originator\":\"10.77.0.1\"},{\n\"originator\":\"-\"}]}\
        Error, unknown command 'nosuch'\n{\"route\": []}\n> Unknown parameter for command 'nhdpinfo': json x\n";
    let view = view(text);
    assert_eq!(view.own, [ip("10.77.0.1")]);
    assert!(view.age_ms(Part::Routes).is_some() && view.age_ms(Part::Links).is_none());
    assert_eq!(view.complaints.len(), 2, "{:?}", view.complaints);
}

#[test]
fn a_table_that_breaks_off_was_not_read() {
    let whole = format!("{{\"link\": [{}]}}", link("10.1.2.2", "symmetric", PERFECT, PERFECT));
    for end in 0..whole.len() - 2 {
        let view = view(&whole[..end]);
        assert!(view.age_ms(Part::Links).is_none(), "{}", &whole[..end]);
    }
    assert!(view(&whole).age_ms(Part::Links).is_some());
}

#[test]
fn rows_of_a_further_domain_are_counted_as_left_out() {
    let other =
        route("10.77.0.3", "10.77.0.1", PERFECT, 1).replace("\"domain\":\"0\"", "\"domain\":\"1\"");
    let first = route("10.77.0.2", "10.77.0.1", PERFECT, 1);
    let view = view(&format!("{{\"route\": [{first},{other}]}}"));
    assert_eq!(view.routes.len(), 1);
    assert!(view.complaints[0].text.contains("domain"));
}

#[test]
fn bit_rates_of_layer_2_find_their_link() {
    let text = format!(
        "{{\"link\": [{}]}}{{\"neighbor\": [{{\"if\":\"mab\",\"neigh_addr\":\"22:81:39:20:ba:a6\",\
         \"neigh_rx_bitrate\":\"0\",\"neigh_rx_throughput\":\"54000000\"}}]}}",
        link("10.1.2.2", "symmetric", PERFECT, PERFECT)
    );
    let view = view(&text);
    assert_eq!(view.links[0].rate_in_bps, Some(54_000_000));
    assert!(view.age_ms(Part::Neighbors).is_none(), "layer 2 neighbours are no routing neighbours");
}

#[test]
fn neighbours_take_their_relay_roles_from_the_links() {
    let neighbor = r#"{"neighbor": [{"neighbor_originator":"10.77.0.2","neighbor_symmetric":"true",
"neighbor_linkcount":1,"domain":0,"domain_mpr_local":"false","domain_mpr_remote":"true","domain_mpr_willingness":7}]}"#;
    let alone = view(neighbor);
    assert_eq!((alone.neighbors[0].mpr, alone.neighbors[0].mpr_selector), (true, false));
    assert_eq!((alone.neighbors[0].willingness, alone.neighbors[0].links), (Some(7), Some(1)));
    let links = link("10.1.2.2", "symmetric", PERFECT, PERFECT);
    let both = view(&format!("{{\"link\": [{links}]}}{neighbor}"));
    assert_eq!((both.neighbors[0].mpr, both.neighbors[0].mpr_selector), (false, true));
}

#[test]
fn version_and_uptime_are_told_by_systeminfo() {
    let view = view(
        "{\"version\": [{\n\"version_text\":\"0.15.1\",\n\"version_commit\":\"v0.15.1-185-gb216412\"}]}\
         {\"time\": [{\n\"time_system\":\"21:28:55.510\",\n\"time_internal\":\"70.183\"}]}",
    );
    assert_eq!(view.daemon.version.as_deref(), Some("0.15.1"));
    assert_eq!(view.daemon.uptime_ms, Some(70_183));
    assert!(view.age_ms(Part::Daemon).is_some());
}
