//! Who is who: fills in the node behind each address from the alias and network tables.
//!
//! In OLSRv1 a node is its main address; its further interfaces are aliases (MID) and the networks it announces (HNA)
//! carry its main address. In OLSRv2 a node is its originator and announces attached networks. This module only joins
//! tables of the same view; it makes no guess where a table that could say otherwise was not read.

use std::net::IpAddr;

use crate::build::Parts;
use crate::order;
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
    for network in &mut parts.networks {
        network.own |= parts.own.contains(&network.node);
    }
    let mut tables = Tables::new(parts, known);
    for (link, _) in &mut parts.links {
        if link.neighbor.is_none() {
            link.neighbor = tables.node_of_interface(link.remote);
        }
    }
    tables.rewind();
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

/// The tables that are joined, and how far each has been passed. Rows are asked for in the order of their addresses, so
/// joining is one walk over all tables.
struct Tables {
    /// (further address, identity).
    aliases: Sorted<IpAddr, IpAddr>,
    /// (prefix, announcer).
    networks: Sorted<Prefix, IpAddr>,
    /// Identities that some table names as such.
    nodes: Sorted<IpAddr, ()>,
    known: Known,
}

impl Tables {
    fn new(parts: &Parts, known: Known) -> Tables {
        let aliases = parts.aliases.iter().map(|alias| (alias.address, alias.node));
        let networks = parts.networks.iter().map(|network| (network.prefix, network.node));
        let mut nodes: Vec<IpAddr> = parts.edges.iter().map(|(edge, _)| edge.from).collect();
        nodes.extend(parts.neighbors.iter().map(|neighbor| neighbor.address));
        nodes.extend(parts.aliases.iter().map(|alias| alias.node));
        // Each of the three is sorted and repeats itself.
        nodes.dedup();
        Tables {
            aliases: Sorted::new(aliases),
            networks: Sorted::new(networks),
            nodes: Sorted::new(nodes.into_iter().map(|node| (node, ()))),
            known,
        }
    }

    fn rewind(&mut self) {
        self.aliases.at = 0;
        self.networks.at = 0;
        self.nodes.at = 0;
    }

    /// An interface address that is nobody's alias is a main address.
    fn node_of_interface(&mut self, address: IpAddr) -> Option<IpAddr> {
        let named = !self.nodes.of(&address).is_empty();
        let alias = self.aliases.of(&address).first().map(|(_, node)| *node);
        alias.or_else(|| (named || self.known.aliases).then_some(address))
    }

    /// A prefix that several nodes announce belongs to none: its route leads to the nearest, whoever that is.
    fn node_of_destination(&mut self, destination: Prefix) -> Option<IpAddr> {
        let host = destination.is_host().then_some(destination.address);
        if let Some(address) = host {
            if let Some((_, node)) = self.aliases.of(&address).first() {
                return Some(*node);
            }
            if !self.nodes.of(&address).is_empty() {
                return host;
            }
        }
        match self.networks.of(&destination) {
            [(_, node)] => Some(*node),
            [] => host.filter(|_| self.known.networks && self.known.aliases),
            [..] => None,
        }
    }
}

/// What a table is sorted by.
trait Key: Ord {
    /// An integer that never falls when the key rises.
    fn rank(&self) -> u64;
}

impl Key for IpAddr {
    fn rank(&self) -> u64 {
        order::rank(*self)
    }
}

impl Key for Prefix {
    fn rank(&self) -> u64 {
        order::rank(self.address)
    }
}

/// A sorted table that is asked for its keys in ascending order.
struct Sorted<K, V> {
    rows: Vec<(K, V)>,
    at: usize,
}

impl<K: Key, V: Ord> Sorted<K, V> {
    fn new(rows: impl Iterator<Item = (K, V)>) -> Sorted<K, V> {
        let mut rows: Vec<(K, V)> = rows.collect();
        if order::sort(&mut rows, |(key, _)| key.rank(), Ord::cmp) {
            rows.dedup();
        }
        Sorted { rows, at: 0 }
    }

    /// All rows with `key`, which must not be less than the key of the call before.
    fn of(&mut self, key: &K) -> &[(K, V)] {
        let rank = key.rank();
        loop {
            let Some((known, _)) = self.rows.get(self.at) else { return &[] };
            let known_rank = known.rank();
            if known_rank > rank {
                return &[];
            }
            if known_rank == rank && known >= key {
                break;
            }
            self.at += 1;
        }
        let rest = &self.rows[self.at..];
        let length = rest.iter().take_while(|(known, _)| known == key).count();
        &rest[..length]
    }
}
