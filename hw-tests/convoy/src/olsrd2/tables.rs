//! `nhdpinfo`, `olsrv2info` and `systeminfo`: one object with one list, a field per line.

use std::net::{IpAddr, Ipv6Addr};

use super::{Facts, rate, seconds};
use crate::mesh::{LinkSeen, METRIC_INFINITE, NeighborSeen, Status, View};

const METRIC: &str = "ff_dat_metric";

/// Rows of one table in the daemon's form.
struct Table {
    out: String,
    rows: usize,
    fields: usize,
}

impl Table {
    fn new(name: &str) -> Table {
        Table { out: format!("{{\"{name}\": ["), rows: 0, fields: 0 }
    }

    fn row(&mut self) -> &mut Table {
        self.out.push_str(if self.rows == 0 { "{\n" } else { "},{\n" });
        self.rows += 1;
        self.fields = 0;
        self
    }

    /// A field whose value is written as it is.
    fn raw(&mut self, key: &str, value: impl ToString) -> &mut Table {
        if self.fields > 0 {
            self.out.push_str(",\n");
        }
        self.fields += 1;
        self.out.push_str(&format!("\"{key}\":{}", value.to_string()));
        self
    }

    fn text(&mut self, key: &str, value: impl ToString) -> &mut Table {
        self.raw(key, format!("\"{}\"", value.to_string()))
    }

    fn end(mut self) -> String {
        self.out.push_str(if self.rows == 0 { "]}" } else { "}]}" });
        self.out
    }
}

/// The two address families of a dual-stack daemon.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stack {
    V4,
    V6,
}

pub(super) const STACKS: [Stack; 2] = [Stack::V4, Stack::V6];

/// A node's identity in one address family: its loopback address, or for want of a routable one its first link-local one.
pub(super) fn originator(view: &View, node: usize, stack: Stack) -> IpAddr {
    match stack {
        Stack::V4 => view.nodes[node].loopback.into(),
        Stack::V6 => link_local(view, (node, 0)).into(),
    }
}

fn link_local(view: &View, (node, interface): (usize, usize)) -> Ipv6Addr {
    view.nodes[node].interfaces[interface].link_local
}

fn other(stack: Stack) -> Stack {
    match stack {
        Stack::V4 => Stack::V6,
        Stack::V6 => Stack::V4,
    }
}

pub(super) fn bind_address(view: &View, end: (usize, usize), stack: Stack) -> IpAddr {
    match stack {
        Stack::V4 => view.address(end).into(),
        Stack::V6 => link_local(view, end).into(),
    }
}

pub(super) fn nhdpinfo(table: &str, facts: &Facts<'_>) -> Option<String> {
    let view = facts.view;
    match table {
        "link" => Some(links(view)),
        "neighbor" => Some(neighbors(view)),
        "interface" => Some(interfaces(view)),
        "if_addr" => Some(interface_addresses(view)),
        _ => None,
    }
}

pub(super) fn olsrv2info(table: &str, facts: &Facts<'_>) -> Option<String> {
    let view = facts.view;
    match table {
        "originator" => Some(originators(view)),
        "local" => Some(local(view)),
        "route" => Some(routes(view)),
        "edge" => Some(edges(view)),
        "attached_network" => Some(attached(view)),
        "lan" => Some(lan(view)),
        "old_originator" => Some(Table::new("old_originator").end()),
        _ => None,
    }
}

pub(super) fn systeminfo(table: &str, facts: &Facts<'_>) -> Option<String> {
    let uptime_ms = facts.view.uptime_ms;
    let mut rows = Table::new(table);
    match table {
        "version" => {
            rows.row()
                .text("version_text", "0.15.1")
                .text("version_commit", "v0.15.1-185-gb216412");
        }
        "time" => {
            let day = facts.wall_s % 86_400;
            let clock = format!("{:02}:{:02}:{:02}", day / 3600, day / 60 % 60, day % 60);
            rows.row()
                .text("time_system", format!("{clock}.{:03}", uptime_ms % 1000))
                .text("time_internal", format!("{}.{:03}", uptime_ms / 1000, uptime_ms % 1000));
        }
        _ => return None,
    }
    Some(rows.end())
}

fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}

fn link_metric(rows: &mut Table, (inbound, outbound): (u32, u32)) {
    rows.text("domain_metric", METRIC)
        .text("domain_metric_in", rate(inbound.into(), 1))
        .raw("domain_metric_in_raw", inbound)
        .text("domain_metric_out", rate(outbound.into(), 1))
        .raw("domain_metric_out_raw", outbound);
}

fn links(view: &View) -> String {
    let mut rows = Table::new("link");
    for link in &view.links {
        for stack in STACKS {
            link_row(&mut rows, view, link, stack);
        }
    }
    rows.end()
}

fn link_row(rows: &mut Table, view: &View, link: &LinkSeen, stack: Stack) {
    let (node, interface) = link.remote;
    let hears = link.status != Status::Lost;
    let heard_ms = u64::try_from(link.heard_ms).unwrap_or(0);
    rows.row()
        .text("if", &view.nodes[view.node].interfaces[link.interface].name)
        .text("link_bindto", bind_address(view, link.remote, stack))
        .text("link_vtime_value", seconds(view.timers.hello_validity_ms))
        .text("link_itime_value", seconds(view.timers.hello_ms))
        .raw("link_symtime", seconds(link.symmetric_ms))
        .raw("link_heardtime", seconds(heard_ms))
        .raw("link_vtime", seconds(link.valid_ms))
        .text(
            "link_status",
            match link.status {
                Status::Symmetric => "symmetric",
                Status::Heard => "heard",
                Status::Lost => "lost",
            },
        )
        .text("link_dualstack", bind_address(view, link.remote, other(stack)))
        .text("link_mac", mac(view.nodes[node].interfaces[interface].mac))
        .text("link_flood_local", hears)
        .text("link_flood_remote", hears)
        .raw("link_flood_willingness", 7)
        .text("neighbor_originator", originator(view, node, stack))
        .text("neighbor_dualstack", originator(view, node, other(stack)))
        .raw("domain", 0);
    link_metric(rows, link.metric);
    let (received, seen) = link.packets;
    rows.text(
        "domain_metric_internal",
        format!(
            "p_recv={received},p_total={seen},speed=-1,success={},missed_hello={},lastseq={},lneigh=0",
            link.success,
            link.missed,
            link.sequence & 0xffff,
        ),
    );
}

fn neighbors(view: &View) -> String {
    let mut rows = Table::new("neighbor");
    for stack in STACKS {
        for NeighborSeen { node, symmetric, links, relay, selector, metric, .. } in &view.neighbors
        {
            let metric = if *symmetric { *metric } else { (METRIC_INFINITE, METRIC_INFINITE) };
            rows.row()
                .text("neighbor_originator", originator(view, *node, stack))
                .text("neighbor_dualstack", originator(view, *node, other(stack)))
                .text("neighbor_symmetric", symmetric)
                .raw("neighbor_linkcount", if *symmetric { *links } else { 0 })
                .raw("domain", 0);
            link_metric(&mut rows, metric);
            // `local`: this node relays for the neighbour; `remote`: the neighbour relays for this node.
            rows.text("domain_mpr", "mpr")
                .text("domain_mpr_local", selector)
                .text("domain_mpr_remote", relay)
                .raw("domain_mpr_willingness", 7);
        }
    }
    rows.end()
}

fn interfaces(view: &View) -> String {
    let mut rows = Table::new("interface");
    let own = &view.nodes[view.node];
    rows.row()
        .text("if", "lo")
        .text("if_bindto_v4", own.loopback)
        .text("if_bindto_v6", "-")
        .text("if_mac", mac([0; 6]))
        .text("if_flooding_v4", false)
        .text("if_flooding_v6", false)
        .text("if_dualstack_mode", "-");
    for interface in &own.interfaces {
        rows.row()
            .text("if", &interface.name)
            .text("if_bindto_v4", interface.address)
            .text("if_bindto_v6", interface.link_local)
            .text("if_mac", mac(interface.mac))
            .text("if_flooding_v4", false)
            .text("if_flooding_v6", true)
            .text("if_dualstack_mode", "IPv6");
    }
    rows.end()
}

fn interface_addresses(view: &View) -> String {
    let mut rows = Table::new("if_addr");
    let own = &view.nodes[view.node];
    let mut row = |name: &str, address: IpAddr| {
        rows.row()
            .text("if", name)
            .text("if_address", address)
            .text("if_address_lost", false)
            .raw("if_address_lost_vtime", 0);
    };
    row("lo", own.loopback.into());
    for interface in &own.interfaces {
        row(&interface.name, interface.address.into());
        row(&interface.name, interface.link_local.into());
    }
    rows.end()
}

fn originators(view: &View) -> String {
    let mut rows = Table::new("originator");
    for stack in STACKS {
        rows.row().text("originator", originator(view, view.node, stack));
    }
    rows.end()
}

fn local(view: &View) -> String {
    let mut rows = Table::new("local");
    rows.row()
        .text("local_ansn", view.ansn)
        .raw("local_itime", seconds(view.timers.tc_ms))
        .raw("local_vtime", seconds(view.timers.tc_validity_ms))
        .text("local_orig4", originator(view, view.node, Stack::V4))
        .text("local_orig6", originator(view, view.node, Stack::V6));
    rows.end()
}

/// A destination as the daemon writes it: a host without its length.
fn destination((address, length): (std::net::Ipv4Addr, u8)) -> String {
    if length == 32 { address.to_string() } else { format!("{address}/{length}") }
}

fn routes(view: &View) -> String {
    let mut rows = Table::new("route");
    let own = &view.nodes[view.node];
    for route in &view.routes {
        rows.row()
            .text("route_dst", destination(route.prefix))
            .text("route_gw", view.address(route.gateway))
            .text("route_src_ip", own.loopback)
            .text("route_src_prefix", "0.0.0.0/0")
            .raw("route_metric", 2)
            .raw("route_table", 254)
            .raw("route_proto", 100)
            .text("route_if", &own.interfaces[route.interface].name)
            .raw("route_ifindex", 2 + route.interface)
            .text("route_lasthop", originator(view, route.last_hop, Stack::V4))
            .text("domain", 0)
            .text("domain_metric", METRIC)
            .text(
                "domain_metric_out",
                format!("{} ({} hops)", rate(route.cost, route.hops), route.hops),
            )
            .raw("domain_metric_out_raw", route.cost)
            .raw("domain_path_hops", route.hops);
    }
    rows.end()
}

fn edges(view: &View) -> String {
    let mut rows = Table::new("edge");
    for stack in STACKS {
        for edge in &view.edges {
            rows.row()
                .text("node", originator(view, edge.from, stack))
                .text("edge", originator(view, edge.to, stack))
                .raw("edge_ansn", edge.ansn)
                .text("domain", 0)
                .text("domain_metric", METRIC)
                .text("domain_metric_out", rate(edge.metric.1.into(), 1))
                .raw("domain_metric_out_raw", edge.metric.1);
        }
    }
    rows.end()
}

fn attached(view: &View) -> String {
    let mut rows = Table::new("attached_network");
    for network in view.networks.iter().filter(|network| network.node != view.node) {
        rows.row()
            .text("node", originator(view, network.node, Stack::V4))
            .text("attached_net", destination(network.prefix))
            .text("attached_net_src", "0.0.0.0/0")
            .raw("attached_net_ansn", network.ansn)
            .text("domain", 0)
            .text("domain_metric", METRIC)
            .text("domain_metric_out", rate(1, 1))
            .raw("domain_metric_out_raw", 1)
            .raw("domain_distance", 2);
    }
    rows.end()
}

fn lan(view: &View) -> String {
    let mut rows = Table::new("lan");
    for network in &view.nodes[view.node].networks {
        rows.row()
            .text("lan", destination(*network))
            .text("lan_src", "0.0.0.0/0")
            .text("domain", 0)
            .text("domain_metric", METRIC)
            .text("domain_metric_out", rate(1, 1))
            .raw("domain_metric_out_raw", 1)
            .raw("domain_distance", 2);
    }
    rows.end()
}
