//! The rows of all answers until every table that says something about them was seen.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::build::{Builder, ROWS_MAX};
use crate::cost::Measure;
use crate::json::Scalar;
use crate::view::{Alias, AttachedNetwork, Edge, Link, LinkStatus, Neighbor, Part, Prefix, Route};

/// Rows whose meaning depends on other tables.
#[derive(Default)]
pub(super) struct Rows<'a> {
    pub(super) links: Vec<LinkRow<'a>>,
    pub(super) neighbors: Vec<Neighbor>,
    pub(super) routes: Vec<(Route, Measure)>,
    /// Edges of the graph, which know both directions.
    pub(super) graph: Option<Vec<Edge>>,
    /// Edges of `olsrv2info edge`, which know one.
    pub(super) edges: Option<Vec<Edge>>,
    pub(super) lans: Vec<Prefix>,
    pub(super) networks: Vec<(Prefix, IpAddr)>,
    pub(super) own: Vec<IpAddr>,
    /// Bit rate by MAC address (`layer2info`).
    pub(super) rates: BTreeMap<&'a [u8], u64>,
    domain: Option<i64>,
    metric: Option<&'a [u8]>,
}

/// A link and what does not stand in the view.
pub(super) struct LinkRow<'a> {
    pub(super) link: Link,
    pub(super) mac: Option<&'a [u8]>,
    /// We chose the neighbour for flooding.
    pub(super) flooding_mpr: bool,
    /// It chose us.
    pub(super) flooding_selector: bool,
}

/// Which domain and metric a row is of.
#[derive(Clone, Copy, Default)]
pub(super) struct Domain<'a> {
    pub(super) id: Option<i64>,
    pub(super) metric: Option<&'a [u8]>,
}

impl<'a> Rows<'a> {
    /// Whether a row of `part` belongs to the domain of the view. The first row seen decides which
    /// that is.
    pub(super) fn admits(&mut self, part: Part, domain: Domain<'a>, builder: &mut Builder) -> bool {
        if let Some(id) = domain.id
            && *self.domain.get_or_insert(id) != id
        {
            builder.complain(part, "rows of a further routing domain were left out", b"");
            return false;
        }
        if let Some(name) = domain.metric.filter(|name| *name != b"-") {
            self.metric.get_or_insert(name);
        }
        true
    }

    /// Gives everything to `builder`.
    pub(super) fn hand_over(self, builder: &mut Builder) {
        if let Some(name) = self.metric {
            builder.metric_name(String::from_utf8_lossy(name).into_owned());
        }
        let flooding = flooding(&self.links);
        for mut neighbor in self.neighbors {
            if let Some((mpr, selector)) = flooding.get(&neighbor.address) {
                (neighbor.mpr, neighbor.mpr_selector) = (*mpr, *selector);
            }
            builder.neighbor(neighbor);
        }
        for LinkRow { mut link, mac, .. } in self.links {
            if let Some(rate) = mac.and_then(|mac| self.rates.get(mac)) {
                link.rate_in_bps = Some(*rate);
            }
            if let Some(alias) = alias(&link) {
                builder.alias(alias);
            }
            builder.link(link, Measure::Missing);
        }
        let node_of: BTreeMap<Prefix, IpAddr> = self.networks.iter().copied().collect();
        for (mut route, measure) in self.routes {
            if route.destination.is_host() && !node_of.contains_key(&route.destination) {
                route.node = Some(route.destination.address);
            }
            builder.route(route, measure);
        }
        if self.graph.is_some() || self.edges.is_some() {
            builder.read(Part::Topology);
        }
        for edge in self.graph.or(self.edges).unwrap_or_default() {
            builder.edge(edge, Measure::Missing);
        }
        for (prefix, node) in self.networks {
            builder.network(AttachedNetwork { prefix, node, own: self.own.contains(&node) });
        }
        for prefix in self.lans {
            let own = self.own.iter().find(|own| own.is_ipv4() == prefix.address.is_ipv4());
            if let Some(node) = own {
                builder.network(AttachedNetwork { prefix, node: *node, own: true });
            }
        }
        for own in self.own {
            builder.own(own);
        }
    }
}

/// Adds a row to a list that hostile input must not make endless.
pub(super) fn push<T>(list: &mut Vec<T>, row: T, part: Part, builder: &mut Builder) {
    if list.len() < ROWS_MAX {
        list.push(row);
    } else {
        builder.complain(part, "more rows than any mesh has were left out", b"");
    }
}

/// Flooding relays are chosen per link; a neighbour is one if any of its links says so.
fn flooding(links: &[LinkRow<'_>]) -> BTreeMap<IpAddr, (bool, bool)> {
    let mut nodes = BTreeMap::new();
    for row in links {
        let Some(node) = row.link.neighbor else { continue };
        let (mpr, selector) = nodes.entry(node).or_insert((false, false));
        *mpr |= row.flooding_mpr;
        *selector |= row.flooding_selector;
    }
    nodes
}

/// A neighbour's interface address is a further address of it. A link-local one names nobody
/// outside its link.
fn alias(link: &Link) -> Option<Alias> {
    let node = link.neighbor?;
    let usable = link.status == LinkStatus::Symmetric
        && link.remote != node
        && !crate::view::is_link_local(link.remote);
    usable.then_some(Alias { node, address: link.remote })
}

/// A duration in seconds as milliseconds. The `json` form prints durations below a second as
/// `859m`, with or without quotes.
pub(super) fn millis(value: Scalar<'_>) -> Option<u32> {
    if let Some(seconds) = value.number() {
        let in_range = (0.0..=f64::from(u32::MAX) / 1000.0).contains(&seconds);
        return in_range.then_some((seconds * 1000.0).round() as u32);
    }
    let token = match value {
        Scalar::Text(token) | Scalar::Word(token) => token,
        Scalar::Integer(_) | Scalar::Float(_) | Scalar::Bool(_) | Scalar::Missing => return None,
    };
    Scalar::Text(token.strip_suffix(b"m")?).unsigned()
}

/// A finite link metric; 16777215 says infinite.
pub(super) fn link_raw(value: Scalar<'_>) -> Option<u32> {
    let finite = 1..=crate::cost::olsrd2::LINK_RAW_MAX;
    value.unsigned().filter(|raw| finite.contains(raw))
}
