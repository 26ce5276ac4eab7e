//! `netjsoninfo graph`: the only answer that tells both directions of links beyond the first hop.

use super::rows::{Domain, Rows, link_raw, push};
use super::tables;
use crate::build::Builder;
use crate::json::{Reader, Shape};
use crate::view::{Edge, Part};

/// Reads the members of a NetworkCollection; of these only graphs are of interest.
pub(super) fn collection<'a>(reader: &mut Reader<'a>, rows: &mut Rows<'a>, builder: &mut Builder) {
    if !reader.open_array() {
        return;
    }
    let mut edges = Vec::new();
    let mut graphs = 0_u32;
    while reader.element() {
        if reader.open_object() {
            graphs += u32::from(member(reader, rows, &mut edges, builder));
        }
    }
    if graphs > 0 && !reader.truncated() {
        rows.graph = Some(edges);
    }
}

/// One member: the graph of one address family and domain. Tells whether it is a graph.
fn member<'a>(
    reader: &mut Reader<'a>,
    rows: &mut Rows<'a>,
    edges: &mut Vec<Edge>,
    builder: &mut Builder,
) -> bool {
    let mut is_graph = false;
    let mut domain = Domain::default();
    let before = edges.len();
    while let Some(key) = reader.key() {
        match key {
            b"type" => match reader.scalar().text() {
                Some(b"NetworkGraph") => is_graph = true,
                Some(b"Error") => {
                    builder.complain(Part::Topology, "the daemon could not make the graph", b"");
                }
                Some(_) | None => {}
            },
            b"version" => {
                // systeminfo says the same; a build without it still has a version here.
                if let Some(version) = reader.scalar().string() {
                    builder.version(version);
                }
            }
            b"metric" => domain.metric = reader.scalar().text(),
            b"topology_id" => domain.id = reader.scalar().text().and_then(domain_id),
            b"properties" => router(reader, rows),
            b"links" => links(reader, edges, builder),
            _ => reader.skip(),
        }
    }
    if is_graph && !rows.admits(Part::Topology, domain, builder) {
        edges.truncate(before);
    }
    is_graph
}

/// Number of the domain in `ipv4_0`.
fn domain_id(topology: &[u8]) -> Option<i64> {
    let digits = topology.rsplit(|byte| *byte == b'_').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Properties of the graph: this node's identity in its family.
fn router<'a>(reader: &mut Reader<'a>, rows: &mut Rows<'a>) {
    if !reader.open_object() {
        return;
    }
    while let Some(key) = reader.key() {
        let value = reader.scalar();
        if let (b"router_addr", Some(address)) = (key, value.address()) {
            tables::own(rows, address);
        }
    }
}

#[derive(Clone, Copy)]
enum LinkField {
    Cost,
    Properties,
}

fn link_field(key: &[u8]) -> Option<LinkField> {
    match key {
        b"cost" => Some(LinkField::Cost),
        b"properties" => Some(LinkField::Properties),
        _ => None,
    }
}

#[derive(Clone, Copy)]
enum PropertyField {
    InCost,
    Source,
    Target,
    Type,
    Interfaces,
}

fn property_field(key: &[u8]) -> Option<PropertyField> {
    match key {
        b"in_cost" => Some(PropertyField::InCost),
        b"source_addr" => Some(PropertyField::Source),
        b"target_addr" => Some(PropertyField::Target),
        b"type" => Some(PropertyField::Type),
        b"links" => Some(PropertyField::Interfaces),
        _ => None,
    }
}

/// The links of a graph. Those to attached networks are no edges between nodes.
fn links<'a>(reader: &mut Reader<'a>, edges: &mut Vec<Edge>, builder: &mut Builder) {
    if !reader.open_array() {
        return;
    }
    let mut link_shape = Shape::new(link_field);
    let mut property_shape = Shape::new(property_field);
    while reader.element() {
        if !reader.open_object() {
            builder.complain(Part::Topology, "a row that is no object was left out", b"");
            continue;
        }
        let (mut out_raw, mut in_raw, mut from, mut to) = (None, None, None, None);
        let mut between_nodes = false;
        while let Some(field) = reader.field(&mut link_shape) {
            match field {
                LinkField::Cost => out_raw = link_raw(reader.scalar()),
                LinkField::Properties => {
                    if !reader.open_object() {
                        continue;
                    }
                    while let Some(field) = reader.field(&mut property_shape) {
                        match field {
                            PropertyField::InCost => in_raw = link_raw(reader.scalar()),
                            PropertyField::Source => from = reader.scalar().address(),
                            PropertyField::Target => to = reader.scalar().address(),
                            PropertyField::Type => {
                                let kind = reader.scalar().text();
                                between_nodes = matches!(kind, Some(b"local" | b"node"));
                            }
                            PropertyField::Interfaces => own_interfaces(reader, builder),
                        }
                    }
                }
            }
        }
        if !between_nodes {
            continue;
        }
        match (from, to) {
            (Some(from), Some(to)) => {
                let edge = Edge { from, to, cost: None, out_raw, in_raw };
                push(edges, edge, Part::Topology, builder);
            }
            _ => builder.complain(Part::Topology, "an edge without both ends was left out", b""),
        }
    }
}

/// The interface links below an own edge: their sources are own interface addresses.
fn own_interfaces(reader: &mut Reader<'_>, builder: &mut Builder) {
    if !reader.open_array() {
        return;
    }
    while reader.element() {
        if !reader.open_object() {
            continue;
        }
        while let Some(key) = reader.key() {
            let value = reader.scalar();
            if let (b"source_addr", Some(address)) = (key, value.address()) {
                builder.own_address(address);
            }
        }
    }
}
