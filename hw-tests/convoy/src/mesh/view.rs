//! What one daemon could tell at this moment, as indices and numbers; the writers of answers turn it into text.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use super::routes::Path;
use super::{
    Content, Edge, End, Family, METRIC_INFINITE, Mesh, Node, Status, Timers, etx_cost_1024,
};

/// olsrd2: what an attached network adds to the cost and the hops of its announcer by default.
const ATTACHED_METRIC: u64 = 1;
const ATTACHED_HOPS: u32 = 1;

/// An own link.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkSeen {
    /// Own interface.
    pub interface: usize,
    /// The other end.
    pub remote: End,
    /// Status now.
    pub status: Status,
    /// Status before; `None` while the link is new.
    pub previous: Option<Status>,
    /// Time left until it stops being symmetric, 0 when it has.
    pub symmetric_ms: u64,
    /// Time left until the other end counts as silent; negative afterwards.
    pub heard_ms: i64,
    /// Time left until the entry is forgotten.
    pub valid_ms: u64,
    /// Time left until the next HELLO counts as missed.
    pub loss_ms: u64,
    /// HELLOs missed in a row.
    pub missed: u32,
    /// olsrd: published qualities (in, out) in 1/255.
    pub quality: (u8, u8),
    /// olsrd2: metrics (in, out).
    pub metric: (u32, u32),
    /// olsrd2: packets (received, seen) in the window.
    pub packets: (u32, u32),
    /// olsrd2: transmissions for one success in thousandths.
    pub success: u32,
    /// Latest sequence number.
    pub sequence: u64,
}

/// A neighbour node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighborSeen {
    /// Which node.
    pub node: usize,
    /// At least one link is symmetric.
    pub symmetric: bool,
    /// Number of links.
    pub links: usize,
    /// Chosen as relay.
    pub relay: bool,
    /// It chose this node as relay.
    pub selector: bool,
    /// Its other neighbours.
    pub two_hop: Vec<usize>,
    /// olsrd2: metrics (in, out) of the best link.
    pub metric: (u32, u32),
}

/// A known edge.
#[derive(Clone, Debug, PartialEq)]
pub struct EdgeSeen {
    /// The announcer.
    pub from: usize,
    /// Where it leads.
    pub to: usize,
    /// olsrd: qualities (in, out) in 1/255.
    pub quality: (u8, u8),
    /// olsrd2: metrics (in, out).
    pub metric: (u32, u32),
    /// Own cost to the announcer; `None` when unreachable.
    pub path: Option<(u64, u32)>,
    /// Time left, 0 for own edges.
    pub valid_ms: u64,
    /// Version of the announcer's edges.
    pub ansn: u16,
    /// Sequence number of the message.
    pub sequence: u32,
    /// Hops the message travelled beyond the first.
    pub message_hops: u8,
    /// Number of edges of the announcer.
    pub siblings: usize,
    /// The edge is part of the tree of best paths.
    pub in_tree: bool,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteSeen {
    /// Destination.
    pub prefix: (Ipv4Addr, u8),
    /// Node that has it.
    pub node: usize,
    /// Next hop.
    pub gateway: End,
    /// Own interface.
    pub interface: usize,
    /// Cost: 1/1024 transmissions (olsrd) or metric (olsrd2).
    pub cost: u64,
    /// Hops.
    pub hops: u32,
    /// Node before the destination.
    pub last_hop: usize,
}

/// An announced network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkSeen {
    /// The network.
    pub prefix: (Ipv4Addr, u8),
    /// The announcer.
    pub node: usize,
    /// Time left; 0 for own ones.
    pub valid_ms: u64,
    /// olsrd2: version of the announcer's message.
    pub ansn: u16,
}

/// A node whose further addresses are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AliasSeen {
    /// Which node.
    pub node: usize,
    /// Time left.
    pub valid_ms: u64,
}

/// What one daemon knows.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// Descriptions of all nodes.
    pub nodes: Arc<[Node]>,
    /// Whose daemon this is.
    pub node: usize,
    /// The mesh's timers.
    pub timers: Timers,
    /// Time since the daemon started.
    pub uptime_ms: u64,
    /// Which run of the daemon this is, from 1.
    pub run: u32,
    /// Version of the own edges.
    pub ansn: u16,
    /// Own links.
    pub links: Vec<LinkSeen>,
    /// Neighbours.
    pub neighbors: Vec<NeighborSeen>,
    /// Edges, by announcer and target; with olsrd the own ones are among them.
    pub edges: Vec<EdgeSeen>,
    /// Routes, by destination.
    pub routes: Vec<RouteSeen>,
    /// Networks, own ones first.
    pub networks: Vec<NetworkSeen>,
    /// Aliases.
    pub aliases: Vec<AliasSeen>,
}

impl View {
    /// Main address of a node: that of its first radio interface (olsrd).
    #[must_use]
    pub fn main(&self, node: usize) -> Ipv4Addr {
        self.nodes[node].interfaces[0].address
    }

    /// Address of an interface.
    #[must_use]
    pub fn address(&self, (node, interface): End) -> Ipv4Addr {
        self.nodes[node].interfaces[interface].address
    }
}

impl Mesh {
    /// What the daemon of `node` knows; `None` while it does not run. `nodes` are this mesh's nodes, shared by all views.
    #[must_use]
    pub fn view(&self, node: usize, nodes: &Arc<[Node]>) -> Option<View> {
        let daemon = &self.daemons[node];
        if !daemon.running {
            return None;
        }
        let paths = self.paths(node);
        let reached = |to: usize| paths[to].map(|path| (path.cost, path.hops));
        let in_tree = |from: usize, to: usize| {
            paths[to].is_some_and(|path| path.previous == from && path.hops > 0)
        };
        let left = |until: u64| until.saturating_sub(self.now);

        let mut edges = Vec::new();
        let own = self.own_links(node);
        for from in 0..self.nodes.len() {
            let (announced, kept): (Vec<Edge>, _) = if from == node {
                match self.family {
                    Family::Olsrd => (self.announced(node), None),
                    Family::Olsrd2 => continue,
                }
            } else {
                (self.edges_of(node, from).to_vec(), self.kept(node, 0, from))
            };
            let siblings = announced.len();
            for edge in announced {
                if self.family == Family::Olsrd && !self.inverse(node, edge.to, from, &own) {
                    continue;
                }
                let ansn = match kept.map(|kept| &kept.message.content) {
                    Some(Content::Topology { ansn, .. }) => *ansn,
                    Some(Content::Aliases | Content::Networks) | None => 0,
                };
                edges.push(EdgeSeen {
                    from,
                    to: edge.to,
                    quality: edge.quality,
                    metric: (edge.metric_in, edge.metric_out),
                    path: reached(from),
                    valid_ms: kept.map_or(0, |kept| left(kept.until)),
                    ansn,
                    sequence: kept.map_or(0, |kept| kept.message.sequence),
                    message_hops: kept.map_or(0, |kept| kept.hops),
                    siblings,
                    in_tree: in_tree(from, edge.to),
                });
            }
        }
        edges.sort_by_key(|edge| match self.family {
            Family::Olsrd => {
                (nodes[edge.from].interfaces[0].address, nodes[edge.to].interfaces[0].address)
            }
            Family::Olsrd2 => (nodes[edge.from].loopback, nodes[edge.to].loopback),
        });

        let (networks, aliases) = self.announcements(node);
        let mut routes: BTreeMap<(Ipv4Addr, u8), RouteSeen> = BTreeMap::new();
        for (to, path) in paths.iter().enumerate() {
            let Some(path) = path else { continue };
            let Some((pair, side)) = path.first else { continue };
            let target = &nodes[to];
            let mut reach = |prefix: (Ipv4Addr, u8), cost, hops, last_hop| {
                let route = RouteSeen {
                    prefix,
                    node: to,
                    gateway: self.pairs[pair].ends[1 - side],
                    interface: self.pairs[pair].ends[side].1,
                    cost,
                    hops,
                    last_hop,
                };
                let better = |old: &RouteSeen| (cost, hops) < (old.cost, old.hops);
                if routes.get(&prefix).is_none_or(better) {
                    routes.insert(prefix, route);
                }
            };
            let Path { cost, hops, previous, .. } = *path;
            let main = match self.family {
                Family::Olsrd => target.interfaces[0].address,
                Family::Olsrd2 => target.loopback,
            };
            reach((main, 32), cost, hops, previous);
            if aliases.iter().any(|alias| alias.node == to) {
                for alias in &target.interfaces[1..] {
                    reach((alias.address, 32), cost, hops, previous);
                }
            }
            for network in networks.iter().filter(|network| network.node == to) {
                match self.family {
                    Family::Olsrd => reach(network.prefix, cost, hops, previous),
                    Family::Olsrd2 => {
                        reach(network.prefix, cost + ATTACHED_METRIC, hops + ATTACHED_HOPS, to);
                    }
                }
            }
        }

        Some(View {
            nodes: Arc::clone(nodes),
            node,
            timers: self.timers,
            uptime_ms: self.now - daemon.started,
            run: daemon.run,
            ansn: daemon.ansn,
            links: self.links_seen(node),
            neighbors: self.neighbors_seen(node),
            edges,
            routes: routes.into_values().collect(),
            networks,
            aliases,
        })
    }

    fn links_seen(&self, node: usize) -> Vec<LinkSeen> {
        let seen = self.pairs_of[node].iter().filter_map(|&(pair, side)| {
            let ends = self.pairs[pair].ends;
            let link = self.pairs[pair].links[side].as_ref()?;
            if link.valid_until <= self.now {
                return None;
            }
            let left = |until: u64| until.saturating_sub(self.now);
            Some(LinkSeen {
                interface: ends[side].1,
                remote: ends[1 - side],
                status: link.status(self.now),
                previous: link.previous,
                symmetric_ms: left(link.symmetric_until),
                heard_ms: link.heard_until as i64 - self.now as i64,
                valid_ms: left(link.valid_until),
                loss_ms: left(link.loss_at),
                missed: link.missed,
                quality: link.published,
                metric: (link.metric_in, link.metric_out),
                packets: link.packets(),
                success: link.success,
                sequence: link.sequence,
            })
        });
        seen.collect()
    }

    fn neighbors_seen(&self, node: usize) -> Vec<NeighborSeen> {
        let relays = self.relays(node);
        let mut neighbors: BTreeMap<usize, NeighborSeen> = BTreeMap::new();
        for link in self.links_seen(node) {
            let other = link.remote.0;
            let symmetric = link.status == Status::Symmetric;
            let entry = neighbors.entry(other).or_insert_with(|| NeighborSeen {
                node: other,
                symmetric: false,
                links: 0,
                relay: relays.contains(&other),
                selector: false,
                two_hop: Vec::new(),
                metric: (METRIC_INFINITE, METRIC_INFINITE),
            });
            entry.links += 1;
            entry.symmetric |= symmetric;
            if symmetric && link.metric.1 <= entry.metric.1 {
                entry.metric = link.metric;
            }
        }
        for neighbor in neighbors.values_mut().filter(|neighbor| neighbor.symmetric) {
            neighbor.selector = self.relays(neighbor.node).contains(&node);
            neighbor.two_hop = self.symmetric(neighbor.node);
            neighbor.two_hop.retain(|far| *far != node);
        }
        neighbors.into_values().collect()
    }

    fn announcements(&self, node: usize) -> (Vec<NetworkSeen>, Vec<AliasSeen>) {
        let networks_of = |origin: usize, valid_ms: u64, ansn: u16| {
            let origin_node = &self.nodes[origin];
            let loopback = (self.family == Family::Olsrd).then_some((origin_node.loopback, 32));
            let prefixes = loopback.into_iter().chain(origin_node.networks.iter().copied());
            prefixes.map(move |prefix| NetworkSeen { prefix, node: origin, valid_ms, ansn })
        };
        let network_kind = match self.family {
            Family::Olsrd => 2,
            Family::Olsrd2 => 0,
        };
        let mut networks: Vec<NetworkSeen> = match self.family {
            Family::Olsrd => networks_of(node, 0, 0).collect(),
            Family::Olsrd2 => Vec::new(),
        };
        let mut aliases = Vec::new();
        for origin in 0..self.nodes.len() {
            if let Some(kept) = self.kept(node, network_kind, origin) {
                let ansn = match kept.message.content {
                    Content::Topology { ansn, .. } => ansn,
                    Content::Aliases | Content::Networks => 0,
                };
                networks.extend(networks_of(origin, kept.until - self.now, ansn));
            }
            if let Some(kept) = self.kept(node, 1, origin) {
                aliases.push(AliasSeen { node: origin, valid_ms: kept.until - self.now });
            }
        }
        (networks, aliases)
    }
}

impl EdgeSeen {
    /// olsrd: cost in 1/1024 transmissions, `None` when broken.
    #[must_use]
    pub fn cost_1024(&self) -> Option<u32> {
        etx_cost_1024(self.quality)
    }
}

impl LinkSeen {
    /// olsrd: cost in 1/1024 transmissions, `None` when broken.
    #[must_use]
    pub fn cost_1024(&self) -> Option<u32> {
        etx_cost_1024(self.quality)
    }
}
