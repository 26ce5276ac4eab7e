//! Shortest paths as one daemon computes them from what it has heard, and the choice of relays.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::{Content, Edge, Family, Kept, METRIC_INFINITE, Mesh, Status, etx_cost_1024};

/// Neither daemon has routes before this after its start, whatever it knows (captured: none at 2.1 s, all at 3.1 s).
const FIRST_ROUTES_MS: u64 = 3_000;

/// The best path from one node to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// Sum of the links' costs: 1/1024 transmissions (olsrd) or metric (olsrd2).
    pub cost: u64,
    /// Links on the path; 0 to oneself.
    pub hops: u32,
    /// Pair and own side of the first link; `None` to oneself.
    pub first: Option<(usize, usize)>,
    /// Node before the last one.
    pub previous: usize,
}

impl Mesh {
    /// Best usable own link to each neighbour: (cost, pair, side).
    pub(super) fn own_links(&self, node: usize) -> BTreeMap<usize, (u64, usize, usize)> {
        let mut best: BTreeMap<usize, (u64, usize, usize)> = BTreeMap::new();
        for &(pair, side) in &self.pairs_of[node] {
            let Some(link) = &self.pairs[pair].links[side] else { continue };
            if link.status(self.now) != Status::Symmetric {
                continue;
            }
            let cost = match self.family {
                Family::Olsrd => link.cost_1024().map(u64::from),
                Family::Olsrd2 => {
                    (link.metric_out != METRIC_INFINITE).then_some(u64::from(link.metric_out))
                }
            };
            let Some(cost) = cost else { continue };
            let neighbor = self.pairs[pair].ends[1 - side].0;
            let candidate = (cost, pair, side);
            best.entry(neighbor)
                .and_modify(|best| *best = (*best).min(candidate))
                .or_insert(candidate);
        }
        best
    }

    /// What the daemon of `node` has of `kind` from `origin` and has not forgotten.
    pub(super) fn kept(&self, node: usize, kind: usize, origin: usize) -> Option<&Kept> {
        self.daemons[node].kept[kind][origin].as_ref().filter(|kept| kept.until > self.now)
    }

    /// Edges `node` knows of `origin`.
    pub(super) fn edges_of(&self, node: usize, origin: usize) -> &[Edge] {
        match self.kept(node, 0, origin).map(|kept| &kept.message.content) {
            Some(Content::Topology { edges, .. }) => edges,
            Some(Content::Aliases | Content::Networks) | None => &[],
        }
    }

    /// The best paths from `node` to all nodes, by index; `None` for those it cannot reach.
    #[must_use]
    pub fn paths(&self, node: usize) -> Vec<Option<Path>> {
        let own = self.own_links(node);
        let mut paths: Vec<Option<Path>> = vec![None; self.nodes.len()];
        let mut done = vec![false; self.nodes.len()];
        let mut heap = BinaryHeap::from([Reverse((0_u64, 0_u32, node))]);
        paths[node] = Some(Path { cost: 0, hops: 0, first: None, previous: node });
        if self.now - self.daemons[node].started < FIRST_ROUTES_MS {
            return paths;
        }
        while let Some(Reverse((cost, hops, at))) = heap.pop() {
            if std::mem::replace(&mut done[at], true) {
                continue;
            }
            let through = paths[at].and_then(|path| path.first);
            let mut reach = |to: usize, link: u64, first: Option<(usize, usize)>| {
                let path = Path { cost: cost + link, hops: hops + 1, first, previous: at };
                let better = |old: Path| (path.cost, path.hops) < (old.cost, old.hops);
                if !done[to] && paths[to].is_none_or(better) {
                    paths[to] = Some(path);
                    heap.push(Reverse((path.cost, path.hops, to)));
                }
            };
            if at == node {
                for (&to, &(link, pair, side)) in &own {
                    if self.family == Family::Olsrd2 || self.confirmed(node, to, node) {
                        reach(to, link, Some((pair, side)));
                    }
                }
                continue;
            }
            for edge in self.edges_of(node, at) {
                let link = match self.family {
                    Family::Olsrd if !self.inverse(node, edge.to, at, &own) => continue,
                    Family::Olsrd => match etx_cost_1024(edge.quality) {
                        Some(cost) => u64::from(cost),
                        None => continue,
                    },
                    Family::Olsrd2 => u64::from(edge.metric_out),
                };
                reach(edge.to, link, through);
            }
            if self.family == Family::Olsrd2 && own.contains_key(&at) {
                // NHDP knows the links of neighbours from their HELLOs, whether or not they send topology messages.
                for (to, (link, ..)) in self.own_links(at) {
                    reach(to, link, through);
                }
            }
        }
        paths
    }

    /// Whether `node` has heard `from` announce an edge to `to`.
    fn confirmed(&self, node: usize, from: usize, to: usize) -> bool {
        self.edges_of(node, from).iter().any(|edge| edge.to == to)
    }

    /// Whether the edge `from` -> `to` is known to `node`, its own links included.
    pub(super) fn inverse(
        &self,
        node: usize,
        from: usize,
        to: usize,
        own: &BTreeMap<usize, (u64, usize, usize)>,
    ) -> bool {
        if from == node { own.contains_key(&to) } else { self.confirmed(node, from, to) }
    }

    /// Nodes that hear `node` and are heard by it, as its HELLOs tell.
    #[must_use]
    pub fn symmetric(&self, node: usize) -> Vec<usize> {
        let mut neighbors: Vec<usize> = self.pairs_of[node]
            .iter()
            .filter(|(pair, side)| {
                let link = self.pairs[*pair].links[*side].as_ref();
                link.is_some_and(|link| link.status(self.now) == Status::Symmetric)
            })
            .map(|(pair, side)| self.pairs[*pair].ends[1 - side].0)
            .collect();
        neighbors.sort_unstable();
        neighbors.dedup();
        neighbors
    }

    /// Multipoint relays of `node`: the neighbours through which it reaches nodes beyond them.
    ///
    /// olsrd with its default `MprCoverage 7` takes every neighbour that covers one; olsrd2 covers each node once, and also those
    /// neighbours to which two hops are better than one (RFC 7181 section 18).
    #[must_use]
    pub fn relays(&self, node: usize) -> Vec<usize> {
        let neighbors = self.symmetric(node);
        match self.family {
            Family::Olsrd => neighbors
                .iter()
                .copied()
                .filter(|relay| {
                    let beyond = self.symmetric(*relay);
                    beyond.iter().any(|far| *far != node && neighbors.binary_search(far).is_err())
                })
                .collect(),
            Family::Olsrd2 => self.cover(node),
        }
    }

    /// A small set of neighbours through which `node` reaches every node two hops away best.
    fn cover(&self, node: usize) -> Vec<usize> {
        let own = self.own_links(node);
        let mut through: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let mut open = Vec::new();
        for (&relay, &(near, ..)) in &own {
            for (far, (link, ..)) in self.own_links(relay) {
                let direct = own.get(&far).map_or(u64::MAX, |own| own.0);
                if far != node && near + link < direct {
                    through.entry(relay).or_default().push(far);
                    open.push(far);
                }
            }
        }
        open.sort_unstable();
        open.dedup();
        let mut relays = Vec::new();
        while !open.is_empty() {
            let covered = |relay: &usize| {
                through[relay].iter().filter(|far| open.binary_search(far).is_ok()).count()
            };
            let Some(best) =
                through.keys().copied().max_by_key(|relay| (covered(relay), Reverse(*relay)))
            else {
                break;
            };
            open.retain(|far| !through[&best].contains(far));
            relays.push(best);
        }
        relays.sort_unstable();
        relays
    }

    /// Edges that `node` announces now.
    pub(super) fn announced(&self, node: usize) -> Vec<Edge> {
        let mut edges: BTreeMap<usize, (u64, Edge)> = BTreeMap::new();
        for &(pair, side) in &self.pairs_of[node] {
            let Some(link) = &self.pairs[pair].links[side] else { continue };
            if link.status(self.now) != Status::Symmetric {
                continue;
            }
            let edge = Edge {
                to: self.pairs[pair].ends[1 - side].0,
                quality: link.published,
                metric_out: link.metric_out,
                metric_in: link.metric_in,
            };
            let cost = match self.family {
                Family::Olsrd => link.cost_1024().map_or(u64::MAX, u64::from),
                Family::Olsrd2 if link.metric_out == METRIC_INFINITE => continue,
                Family::Olsrd2 => u64::from(link.metric_out),
            };
            if edges.get(&edge.to).is_none_or(|(old, _)| cost < *old) {
                edges.insert(edge.to, (cost, edge));
            }
        }
        edges
            .into_values()
            .map(|(_, edge)| edge)
            .filter(|edge| {
                self.family == Family::Olsrd || self.relays(edge.to).binary_search(&node).is_ok()
            })
            .collect()
    }
}
