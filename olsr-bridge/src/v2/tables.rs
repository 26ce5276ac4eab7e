//! The tables of `nhdpinfo`, `olsrv2info`, `systeminfo` and `layer2info`, row by row.

use std::net::IpAddr;

use super::rows::{Domain, LinkRow, Rows, link_raw, millis, push};
use crate::build::{Builder, OWN_MAX};
use crate::cost::Measure;
use crate::json::{Reader, Scalar, Shape};
use crate::number;
use crate::view::{Edge, Link, LinkStatus, Neighbor, NetworkCost, Part, Prefix, Route};

/// Path metric that says unreachable (RFC 7181 has no such value; olsrd2 prints all ones).
const PATH_RAW_INFINITE: i64 = 0xffff_ffff;

/// Reads a table: calls `row` inside each object of the array that stands here, and marks `part` as
/// read at its end.
fn table<'a>(
    reader: &mut Reader<'a>,
    builder: &mut Builder,
    part: Option<Part>,
    mut row: impl FnMut(&mut Reader<'a>, &mut Builder),
) {
    if !reader.open_array() {
        return;
    }
    while reader.element() {
        if reader.open_object() {
            row(reader, builder);
        } else if let Some(part) = part {
            builder.complain(part, "a row that is no object was left out", b"");
        }
    }
    if let Some(part) = part.filter(|_| !reader.truncated()) {
        builder.read(part);
    }
}

#[derive(Clone, Copy)]
enum LinkField {
    Interface,
    Remote,
    Validity,
    Interval,
    SymmetricFor,
    Status,
    Mac,
    FloodLocal,
    FloodRemote,
    Originator,
    Domain,
    Metric,
    InRaw,
    OutRaw,
    Internal,
}

fn link_field(key: &[u8]) -> Option<LinkField> {
    Some(match key {
        b"if" => LinkField::Interface,
        b"link_bindto" => LinkField::Remote,
        b"link_vtime_value" => LinkField::Validity,
        b"link_itime_value" => LinkField::Interval,
        b"link_symtime" => LinkField::SymmetricFor,
        b"link_status" => LinkField::Status,
        b"link_mac" => LinkField::Mac,
        b"link_flood_local" => LinkField::FloodLocal,
        b"link_flood_remote" => LinkField::FloodRemote,
        b"neighbor_originator" => LinkField::Originator,
        b"domain" => LinkField::Domain,
        b"domain_metric" => LinkField::Metric,
        b"domain_metric_in_raw" => LinkField::InRaw,
        b"domain_metric_out_raw" => LinkField::OutRaw,
        b"domain_metric_internal" => LinkField::Internal,
        _ => return None,
    })
}

/// `nhdpinfo link`: one row per own interface, neighbour interface address and domain.
pub(super) fn links<'a>(reader: &mut Reader<'a>, rows: &mut Rows<'a>, builder: &mut Builder) {
    let mut shape = Shape::new(link_field);
    table(reader, builder, Some(Part::Links), |reader, builder| {
        let mut domain = Domain::default();
        let mut link = empty_link();
        let (mut remote, mut mac, mut symmetric_for) = (None, None, None);
        let (mut local, mut chosen) = (false, false);
        let mut counters = Counters::default();
        while let Some(field) = reader.field(&mut shape) {
            let value = reader.scalar();
            match field {
                LinkField::Interface => link.interface = value.string(),
                LinkField::Remote => remote = value.address(),
                LinkField::Validity => link.hello_validity_ms = millis(value),
                LinkField::Interval => link.hello_interval_ms = millis(value),
                LinkField::SymmetricFor => symmetric_for = millis(value),
                LinkField::Status => link.status = status(value),
                LinkField::Mac => mac = value.text(),
                LinkField::FloodLocal => local = value.boolean() == Some(true),
                LinkField::FloodRemote => chosen = value.boolean() == Some(true),
                LinkField::Originator => link.neighbor = value.address(),
                LinkField::Domain => domain.id = value.integer(),
                LinkField::Metric => domain.metric = value.text(),
                LinkField::InRaw => link.metric_in_raw = link_raw(value),
                LinkField::OutRaw => link.metric_out_raw = link_raw(value),
                LinkField::Internal => counters = Counters::read(value),
            }
        }
        let Some(remote) = remote else {
            builder.complain(
                Part::Links,
                "a link without the neighbour's address was left out",
                b"",
            );
            return;
        };
        if !rows.admits(Part::Links, domain, builder) {
            return;
        }
        link.remote = remote;
        if link.status == LinkStatus::Symmetric
            && let (Some(validity), Some(left)) = (link.hello_validity_ms, symmetric_for)
        {
            link.hello_age_ms = Some(validity.saturating_sub(left));
        }
        link.rate_in_bps = counters.rate_bps;
        // With a bit rate the metric no longer tells the loss; the packet counters behind it do.
        link.quality_in = counters.rate_bps.and(counters.received_share);
        let row = LinkRow { link, mac, flooding_mpr: chosen, flooding_selector: local };
        push(&mut rows.links, row, Part::Links, builder);
    });
}

fn empty_link() -> Link {
    Link {
        local: None,
        remote: IpAddr::from([0; 4]),
        neighbor: None,
        interface: None,
        status: LinkStatus::Unusable,
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

fn status(value: Scalar<'_>) -> LinkStatus {
    match value.text() {
        Some(b"symmetric") => LinkStatus::Symmetric,
        Some(b"heard") => LinkStatus::Asymmetric,
        Some(b"lost") => LinkStatus::Lost,
        Some(_) | None => LinkStatus::Unusable,
    }
}

/// What `ff_dat_metric` tells about itself: `p_recv=26,p_total=31,speed=-1,...`.
#[derive(Clone, Copy, Default)]
struct Counters {
    received_share: Option<f32>,
    rate_bps: Option<u64>,
}

impl Counters {
    fn read(value: Scalar<'_>) -> Counters {
        let (mut received, mut total, mut rate_bps) = (None, None, None);
        for item in value.text().unwrap_or_default().split(|byte| *byte == b',') {
            let Some(equals) = item.iter().position(|byte| *byte == b'=') else { continue };
            let number = Scalar::Text(&item[equals + 1..]).integer();
            match &item[..equals] {
                b"p_recv" => received = number,
                b"p_total" => total = number,
                b"speed" => rate_bps = number.and_then(|rate| u64::try_from(rate).ok()),
                _ => {}
            }
        }
        let received_share = match (received, total) {
            (Some(received), Some(total)) if total > 0 && (0..=total).contains(&received) => {
                Some(received as f32 / total as f32)
            }
            _ => None,
        };
        Counters { received_share, rate_bps: rate_bps.filter(|rate| *rate > 0) }
    }
}

#[derive(Clone, Copy)]
enum NeighborField {
    Originator,
    Symmetric,
    Links,
    Domain,
    Metric,
    MprLocal,
    MprRemote,
    Willingness,
    Mac,
    ReceivedRate,
    ReceivedThroughput,
}

fn neighbor_field(key: &[u8]) -> Option<NeighborField> {
    Some(match key {
        b"neighbor_originator" => NeighborField::Originator,
        b"neighbor_symmetric" => NeighborField::Symmetric,
        b"neighbor_linkcount" => NeighborField::Links,
        b"domain" => NeighborField::Domain,
        b"domain_metric" => NeighborField::Metric,
        b"domain_mpr_local" => NeighborField::MprLocal,
        b"domain_mpr_remote" => NeighborField::MprRemote,
        b"domain_mpr_willingness" => NeighborField::Willingness,
        b"neigh_addr" => NeighborField::Mac,
        b"neigh_rx_bitrate" => NeighborField::ReceivedRate,
        b"neigh_rx_throughput" => NeighborField::ReceivedThroughput,
        _ => return None,
    })
}

/// `nhdpinfo neighbor` and `layer2info neighbor`, which have the same name and different rows: one
/// per neighbour node and domain, or one per MAC address.
pub(super) fn neighbors<'a>(reader: &mut Reader<'a>, rows: &mut Rows<'a>, builder: &mut Builder) {
    let mut shape = Shape::new(neighbor_field);
    let mut of_nhdp = true;
    table(reader, builder, None, |reader, builder| {
        let mut domain = Domain::default();
        let (mut address, mut mac, mut rate, mut throughput) = (None, None, None, None);
        let mut neighbor = Neighbor {
            address: IpAddr::from([0; 4]),
            symmetric: false,
            mpr: false,
            mpr_selector: false,
            willingness: None,
            links: None,
            two_hop: None,
        };
        while let Some(field) = reader.field(&mut shape) {
            let value = reader.scalar();
            match field {
                NeighborField::Originator => address = value.address(),
                NeighborField::Symmetric => neighbor.symmetric = value.boolean() == Some(true),
                NeighborField::Links => neighbor.links = value.unsigned(),
                NeighborField::Domain => domain.id = value.integer(),
                NeighborField::Metric => domain.metric = value.text(),
                NeighborField::MprLocal => neighbor.mpr_selector = value.boolean() == Some(true),
                NeighborField::MprRemote => neighbor.mpr = value.boolean() == Some(true),
                NeighborField::Willingness => {
                    neighbor.willingness = value.unsigned().and_then(|w| u8::try_from(w).ok());
                }
                NeighborField::Mac => mac = value.text(),
                NeighborField::ReceivedRate => rate = bit_rate(value),
                NeighborField::ReceivedThroughput => throughput = bit_rate(value),
            }
        }
        if let Some(mac) = mac {
            of_nhdp = false;
            if let Some(rate) = rate.or(throughput) {
                rows.rates.insert(mac, rate);
            }
            return;
        }
        let Some(address) = address else {
            builder.complain(Part::Neighbors, "a neighbour without originator was left out", b"");
            return;
        };
        if rows.admits(Part::Neighbors, domain, builder) {
            neighbor.address = address;
            push(&mut rows.neighbors, neighbor, Part::Neighbors, builder);
        }
    });
    if of_nhdp && !reader.truncated() {
        builder.read(Part::Neighbors);
    }
}

/// A rate of `layer2info`, where 0 means unknown.
fn bit_rate(value: Scalar<'_>) -> Option<u64> {
    u64::try_from(value.integer()?).ok().filter(|rate| *rate > 0)
}

/// `nhdpinfo interface`: own interfaces with the addresses they are bound to.
pub(super) fn interfaces(reader: &mut Reader<'_>, builder: &mut Builder) {
    table(reader, builder, None, |reader, builder| {
        while let Some(key) = reader.key() {
            let value = reader.scalar();
            if let (b"if_bindto_v4" | b"if_bindto_v6", Some(address)) = (key, value.address()) {
                builder.own_address(address);
            }
        }
    });
}

/// `olsrv2info originator`: own identities.
pub(super) fn originators<'a>(reader: &mut Reader<'a>, rows: &mut Rows<'a>, builder: &mut Builder) {
    table(reader, builder, None, |reader, _| {
        while let Some(key) = reader.key() {
            let value = reader.scalar();
            if let (b"originator", Some(address)) = (key, value.address()) {
                own(rows, address);
            }
        }
    });
}

/// Notes an own identity.
pub(super) fn own(rows: &mut Rows<'_>, address: IpAddr) {
    if rows.own.len() < OWN_MAX && !rows.own.contains(&address) {
        rows.own.push(address);
    }
}

#[derive(Clone, Copy)]
enum RouteField {
    Destination,
    Gateway,
    Source,
    Interface,
    LastHop,
    Domain,
    Metric,
    Raw,
    Hops,
}

fn route_field(key: &[u8]) -> Option<RouteField> {
    Some(match key {
        b"route_dst" => RouteField::Destination,
        b"route_gw" => RouteField::Gateway,
        b"route_src_prefix" => RouteField::Source,
        b"route_if" => RouteField::Interface,
        b"route_lasthop" => RouteField::LastHop,
        b"domain" => RouteField::Domain,
        b"domain_metric" => RouteField::Metric,
        b"domain_metric_out_raw" => RouteField::Raw,
        b"domain_path_hops" => RouteField::Hops,
        _ => return None,
    })
}

/// `olsrv2info route`: the best route per prefix and domain.
pub(super) fn routes<'a>(reader: &mut Reader<'a>, rows: &mut Rows<'a>, builder: &mut Builder) {
    let mut shape = Shape::new(route_field);
    table(reader, builder, Some(Part::Routes), |reader, builder| {
        let mut domain = Domain::default();
        let (mut destination, mut raw, mut any_source) = (None, None, true);
        let (mut next_hop, mut interface, mut last_hop, mut hops) = (None, None, None, None);
        while let Some(field) = reader.field(&mut shape) {
            let value = reader.scalar();
            match field {
                RouteField::Destination => destination = value.text(),
                RouteField::Gateway => next_hop = value.address(),
                RouteField::Source => any_source = is_any(value),
                RouteField::Interface => interface = value.text(),
                RouteField::LastHop => last_hop = value.address(),
                RouteField::Domain => domain.id = value.integer(),
                RouteField::Metric => domain.metric = value.text(),
                RouteField::Raw => raw = value.integer(),
                RouteField::Hops => hops = value.unsigned(),
            }
        }
        let Some(destination) = destination.and_then(number::prefix) else {
            let example = destination.unwrap_or_default();
            builder.complain(Part::Routes, "a route without destination was left out", example);
            return;
        };
        if !any_source {
            builder.complain(Part::Routes, "routes for some sources only were left out", b"");
            return;
        }
        if !rows.admits(Part::Routes, domain, builder) {
            return;
        }
        let measure = match raw {
            Some(PATH_RAW_INFINITE..) => Measure::Broken,
            Some(raw) if raw > 0 => u32::try_from(raw).map_or(Measure::Missing, Measure::Raw),
            Some(_) | None => {
                builder.complain(
                    Part::Routes,
                    "a route without metric has no meaningful cost",
                    b"",
                );
                Measure::Missing
            }
        };
        let route = Route {
            destination,
            cost: NetworkCost::NotMeaningful,
            hops,
            next_hop,
            interface: interface.map(|name| builder.interface(name)),
            node: None,
            last_hop,
            link_local: false,
        };
        push(&mut rows.routes, (route, measure), Part::Routes, builder);
    });
}

/// Whether a source prefix is the one that contains everything, or not told.
fn is_any(value: Scalar<'_>) -> bool {
    match value.text() {
        None | Some(b"-") => true,
        Some(text) => number::prefix(text).is_some_and(|prefix| prefix.length == 0),
    }
}

#[derive(Clone, Copy)]
enum EdgeField {
    From,
    To,
    Domain,
    Metric,
    Raw,
}

fn edge_field(key: &[u8]) -> Option<EdgeField> {
    Some(match key {
        b"node" => EdgeField::From,
        b"edge" => EdgeField::To,
        b"domain" => EdgeField::Domain,
        b"domain_metric" => EdgeField::Metric,
        b"domain_metric_out_raw" => EdgeField::Raw,
        _ => return None,
    })
}

/// `olsrv2info edge`: directed edges with their outgoing metric.
pub(super) fn edges<'a>(reader: &mut Reader<'a>, rows: &mut Rows<'a>, builder: &mut Builder) {
    let mut shape = Shape::new(edge_field);
    let mut edges = Vec::new();
    table(reader, builder, None, |reader, builder| {
        let mut domain = Domain::default();
        let (mut from, mut to, mut out_raw) = (None, None, None);
        while let Some(field) = reader.field(&mut shape) {
            let value = reader.scalar();
            match field {
                EdgeField::From => from = value.address(),
                EdgeField::To => to = value.address(),
                EdgeField::Domain => domain.id = value.integer(),
                EdgeField::Metric => domain.metric = value.text(),
                EdgeField::Raw => out_raw = link_raw(value),
            }
        }
        let (Some(from), Some(to)) = (from, to) else {
            builder.complain(Part::Topology, "an edge without both ends was left out", b"");
            return;
        };
        if rows.admits(Part::Topology, domain, builder) {
            let edge = Edge { from, to, cost: None, out_raw, in_raw: None };
            push(&mut edges, edge, Part::Topology, builder);
        }
    });
    if !reader.truncated() {
        rows.edges = Some(edges);
    }
}

/// `olsrv2info attached_network`: networks with their announcers, this node included.
pub(super) fn networks<'a>(reader: &mut Reader<'a>, rows: &mut Rows<'a>, builder: &mut Builder) {
    table(reader, builder, Some(Part::Networks), |reader, builder| {
        let mut domain = Domain::default();
        let (mut node, mut prefix) = (None, None);
        while let Some(key) = reader.key() {
            let value = reader.scalar();
            match key {
                b"node" => node = value.address(),
                b"attached_net" => prefix = value.text().and_then(number::prefix),
                b"domain" => domain.id = value.integer(),
                b"domain_metric" => domain.metric = value.text(),
                _ => {}
            }
        }
        let (Some(node), Some(prefix)) = (node, prefix) else {
            builder.complain(Part::Networks, "a network without announcer was left out", b"");
            return;
        };
        if rows.admits(Part::Networks, domain, builder) {
            push(&mut rows.networks, (prefix, node), Part::Networks, builder);
        }
    });
}

/// `olsrv2info lan`: networks that this node announces.
pub(super) fn lans<'a>(reader: &mut Reader<'a>, rows: &mut Rows<'a>, builder: &mut Builder) {
    table(reader, builder, None, |reader, builder| {
        let mut prefix: Option<Prefix> = None;
        while let Some(key) = reader.key() {
            let value = reader.scalar();
            if key == b"lan" {
                prefix = value.text().and_then(number::prefix);
            }
        }
        match prefix {
            Some(prefix) => push(&mut rows.lans, prefix, Part::Networks, builder),
            None => {
                builder.complain(Part::Networks, "an own network without prefix was left out", b"")
            }
        }
    });
}

/// `systeminfo version`.
pub(super) fn version(reader: &mut Reader<'_>, builder: &mut Builder) {
    table(reader, builder, Some(Part::Daemon), |reader, builder| {
        while let Some(key) = reader.key() {
            let value = reader.scalar();
            if let (b"version_text", Some(text)) = (key, value.string()) {
                builder.version(text);
            }
        }
    });
}

/// `systeminfo time`: `time_internal` is the time since the daemon started.
pub(super) fn time(reader: &mut Reader<'_>, builder: &mut Builder) {
    table(reader, builder, None, |reader, builder| {
        while let Some(key) = reader.key() {
            let value = reader.scalar();
            let in_range = |seconds: &f64| (0.0..1e12).contains(seconds);
            if let (b"time_internal", Some(seconds)) = (key, value.number().filter(in_range)) {
                builder.uptime_ms((seconds * 1000.0).round() as u64);
            }
        }
    });
}
