//! Who is who: fills in the node behind each address from the alias and network tables.
//!
//! In OLSRv1 a node is its main address; its further interfaces are aliases (MID) and the networks it announces (HNA)
//! carry its main address. In OLSRv2 a node is its originator and announces attached networks. This module only joins
//! tables of the same view; it makes no guess where a table that could say otherwise was not read.

use std::net::IpAddr;

use crate::build::Parts;
use crate::view::{Prefix, is_link_local};

/// Which tables were read to their end, so that absence from them means something.
#[derive(Clone, Copy)]
pub(crate) struct Known {
    pub(crate) networks: bool,
    pub(crate) aliases: bool,
}

/// Fills `node`, `neighbor`, `own` and `link_local` of all rows. Expects sorted lists.
pub(crate) fn fill(parts: &mut Parts, known: Known) {
    own_identity(parts);
    let own = parts.own.clone();
    for network in &mut parts.networks {
        network.own |= own.contains(&network.node);
    }
    let tables = Tables::new(parts, known);
    for (link, _) in &mut parts.links {
        if link.neighbor.is_none() {
            link.neighbor = tables.node_of_interface(link.remote);
        }
    }
    for (route, _) in &mut parts.routes {
        route.link_local = is_link_local(route.destination.address);
        if route.node.is_none() {
            route.node = tables.node_of_destination(route.destination);
        }
    }
}

/// Without configuration the own main address is known as the announcer of own networks or as the start of own edges.
fn own_identity(parts: &mut Parts) {
    if !parts.own.is_empty() {
        return;
    }
    let announcer = parts.networks.iter().find(|network| network.own).map(|network| network.node);
    let addresses = &parts.own_addresses;
    let is_own = |address: &IpAddr| addresses.binary_search(address).is_ok();
    let start = || parts.edges.iter().map(|(edge, _)| edge.from).find(is_own);
    if let Some(address) = announcer.or_else(start) {
        parts.own.push(address);
    }
}

struct Tables {
    /// (further address, identity), sorted.
    aliases: Vec<(IpAddr, IpAddr)>,
    /// (prefix, announcer), sorted.
    networks: Vec<(Prefix, IpAddr)>,
    /// Identities that some table names as such, sorted.
    nodes: Vec<IpAddr>,
    known: Known,
}

impl Tables {
    fn new(parts: &Parts, known: Known) -> Tables {
        let mut aliases: Vec<_> =
            parts.aliases.iter().map(|alias| (alias.address, alias.node)).collect();
        aliases.sort_unstable();
        let networks =
            parts.networks.iter().map(|network| (network.prefix, network.node)).collect();
        let mut nodes: Vec<IpAddr> = parts.edges.iter().map(|(edge, _)| edge.from).collect();
        nodes.dedup();
        nodes.extend(parts.neighbors.iter().map(|neighbor| neighbor.address));
        nodes.extend(parts.aliases.iter().map(|alias| alias.node));
        nodes.sort_unstable();
        nodes.dedup();
        Tables { aliases, networks, nodes, known }
    }

    fn alias(&self, address: IpAddr) -> Option<IpAddr> {
        let at = self.aliases.partition_point(|(alias, _)| *alias < address);
        self.aliases.get(at).filter(|(alias, _)| *alias == address).map(|(_, node)| *node)
    }

    /// An interface address that is nobody's alias is a main address.
    fn node_of_interface(&self, address: IpAddr) -> Option<IpAddr> {
        let named = self.nodes.binary_search(&address).is_ok();
        self.alias(address).or_else(|| (named || self.known.aliases).then_some(address))
    }

    /// A prefix that several nodes announce belongs to none: its route leads to the nearest, whoever that is.
    fn node_of_destination(&self, destination: Prefix) -> Option<IpAddr> {
        let host = destination.is_host().then_some(destination.address);
        if let Some(node) = host.and_then(|address| self.alias(address)) {
            return Some(node);
        }
        let named = |address: &IpAddr| self.nodes.binary_search(address).is_ok();
        if let Some(node) = host.filter(named) {
            return Some(node);
        }
        let start = self.networks.partition_point(|(prefix, _)| *prefix < destination);
        let mut announcers =
            self.networks[start..].iter().take_while(|(prefix, _)| *prefix == destination);
        match (announcers.next(), announcers.next()) {
            (Some((_, node)), None) => Some(*node),
            (Some(_), Some(_)) => None,
            (None, _) => host.filter(|_| self.known.networks && self.known.aliases),
        }
    }
}
