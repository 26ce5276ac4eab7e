//! The txtinfo plugin's tables: a title, a line of column names, rows with tabs, an empty line.

use std::fmt::Write as _;

use super::json::netmask;
use super::{Facts, quality};
use crate::mesh::{NeighborSeen, View};

/// Tables by the first three letters of their names, in the order of the answer.
pub(super) const TABLES: [&str; 11] =
    ["nei", "lin", "rou", "hna", "mid", "top", "gat", "int", "2ho", "sgw", "ver"];
/// The first of [`TABLES`] that `/runtime` does not have.
pub(super) const RUNTIME: usize = 10;

pub(super) fn document(facts: &Facts<'_>, tables: &[usize]) -> String {
    let view = facts.view;
    let mut out = String::new();
    for table in tables {
        match TABLES[*table] {
            "nei" => neighbors(&mut out, view, false),
            "lin" => links(&mut out, view),
            "rou" => routes(&mut out, view),
            "hna" => networks(&mut out, view),
            "mid" => aliases(&mut out, view),
            "top" => topology(&mut out, view),
            "gat" => out.push_str(
                "Table: Gateways\nStatus Gateway IP                                    ETX             \
                 Hopcnt Uplink    Downlnk   IPv4    IPv6 Prefix\n",
            ),
            "int" => interfaces(&mut out, view),
            "2ho" => neighbors(&mut out, view, true),
            "sgw" => out.push_str(
                "Table: Smart Gateway IPv4\n Originator      Prefix                          Uplink    \
                 Downlink  PathCost   IPv4 IPv4-NAT IPv6 Tunnel-Name     Destination     Cost\n",
            ),
            "ver" => out.push_str(
                "Version: olsr.org - pre-0.9.9-git_3653c47b-hash_83ca2734d898514cc8e903178d63941c\n",
            ),
            unknown => unreachable!("`{unknown}` is in TABLES and has no writer"),
        }
        out.push('\n');
    }
    out
}

fn yes(value: bool) -> &'static str {
    if value { "YES" } else { "NO" }
}

fn cost(cost_1024: Option<u32>) -> String {
    cost_1024.map_or("INFINITE".to_owned(), |cost| format!("{:.3}", f64::from(cost) / 1024.0))
}

// Writing to a String cannot fail, so the results of `write!` are dropped throughout.

fn neighbors(out: &mut String, view: &View, two_hop: bool) {
    let last = if two_hop { "(2-hop address)+" } else { "2-hop count" };
    let _ = writeln!(out, "Table: Neighbors\nIP address\tSYM\tMPR\tMPRS\tWill.\t{last}");
    for NeighborSeen { node, symmetric, relay, selector, two_hop: far, .. } in &view.neighbors {
        let (address, symmetric, relay) = (view.main(*node), yes(*symmetric), yes(*relay));
        let _ = write!(out, "{address}\t{symmetric}\t{relay}\t{}\t3", yes(*selector));
        if two_hop {
            for node in far {
                let _ = write!(out, "\t{}", view.main(*node));
            }
        } else {
            let _ = write!(out, "\t{}", far.len());
        }
        out.push('\n');
    }
}

fn links(out: &mut String, view: &View) {
    out.push_str("Table: Links\nLocal IP\tRemote IP\tHyst.\tLQ\tNLQ\tCost\n");
    for link in &view.links {
        let _ = writeln!(
            out,
            "{}\t{}\t0.000\t{:.3}\t{:.3}\t{}",
            view.address((view.node, link.interface)),
            view.address(link.remote),
            quality(link.quality.0),
            quality(link.quality.1),
            cost(link.cost_1024()),
        );
    }
}

fn routes(out: &mut String, view: &View) {
    out.push_str("Table: Routes\nDestination\tGateway IP\tMetric\tETX\tInterface\n");
    for route in &view.routes {
        let _ = writeln!(
            out,
            "{}/{}\t{}\t{}\t{:.3}\t{}\t",
            route.prefix.0,
            route.prefix.1,
            view.address(route.gateway),
            route.hops,
            route.cost as f64 / 1024.0,
            view.nodes[view.node].interfaces[route.interface].name,
        );
    }
}

fn networks(out: &mut String, view: &View) {
    out.push_str("Table: HNA\nDestination\tGateway\n");
    for network in &view.networks {
        let (address, length) = network.prefix;
        let _ = writeln!(out, "{address}/{length}\t{}", view.main(network.node));
    }
}

fn aliases(out: &mut String, view: &View) {
    out.push_str("Table: MID\nIP address\t(Alias)+\n");
    for alias in &view.aliases {
        let _ = write!(out, "{}\t", view.main(alias.node));
        for interface in &view.nodes[alias.node].interfaces[1..] {
            let _ = write!(out, "\t{}", interface.address);
        }
        out.push('\n');
    }
}

fn topology(out: &mut String, view: &View) {
    out.push_str("Table: Topology\nDest. IP\tLast hop IP\tLQ\tNLQ\tCost\n");
    for edge in &view.edges {
        let _ = writeln!(
            out,
            "{}\t{}\t{:.3}\t{:.3}\t{}",
            view.main(edge.to),
            view.main(edge.from),
            quality(edge.quality.0),
            quality(edge.quality.1),
            cost(edge.cost_1024()),
        );
    }
}

fn interfaces(out: &mut String, view: &View) {
    out.push_str("Table: Interfaces\nName\tState\tMTU\tWLAN\tSrc-Adress\tMask\tDst-Adress\n");
    for interface in &view.nodes[view.node].interfaces {
        let wireless = if interface.wireless { "Yes" } else { "No" };
        let _ = writeln!(
            out,
            "{}\tUP\t1472\t{wireless}\t{}\t{}\t255.255.255.255",
            interface.name,
            interface.address,
            netmask(interface.prefix_length),
        );
    }
}
