//! The mesh as a drawing needs it: nodes with a name and a cost, one undirected edge per pair, both bounded.
//!
//! Addresses of one vehicle become one node. What belongs to no known vehicle is a node of its own, named by the mesh or
//! by its address. Where to put nodes is the page's business.

use std::collections::BTreeMap;
use std::net::IpAddr;

use olsr_bridge::view::{MeshView, NetworkCost};
use serde::{Deserialize, Serialize};

use crate::core::state::State;
use crate::core::status::{ReachKind, whole_cost};

/// Nodes in the graph. More cannot be told apart on a screen; vehicles come first.
pub const NODES_MAX: usize = 300;

/// Edges in the graph: about 30 kB of JSON. Own links come first, then the cheapest.
pub const EDGES_MAX: usize = 1000;

/// Nodes and edges.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Graph {
    /// Nodes: this vehicle first, then vehicles by name, then other nodes by address.
    pub nodes: Vec<Node>,
    /// Edges.
    pub edges: Vec<Edge>,
    /// Nodes left out.
    pub nodes_omitted: u64,
    /// Edges left out.
    pub edges_omitted: u64,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Name for people: the vehicle's, else what the mesh calls it, else its address.
    pub label: String,
    /// It is a known vehicle, listed under `vehicles` with this label as name.
    pub vehicle: bool,
    /// Whether it can be reached.
    pub reach: ReachKind,
    /// Network cost as published for vehicles and as the daemon has it for others; -1 unreachable.
    pub cost: Option<i64>,
    /// Hops.
    pub hops: Option<u32>,
    /// What is said here is held from before.
    pub stale: bool,
}

/// One undirected edge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edge {
    /// Index into `nodes`.
    pub a: usize,
    /// Index into `nodes`, larger than `a`.
    pub b: usize,
    /// Cost of the worse direction; `None` when broken or not meaningful.
    pub cost: Option<u32>,
}

/// The graph of what the state knows.
#[must_use]
pub fn of(state: &State) -> Graph {
    let mut builder = Builder::default();
    builder.vehicles(state);
    if let Some(view) = &state.mesh.view {
        builder.own_addresses(view);
        builder.aliases(view);
        builder.others(view, state.mesh_stale());
        builder.own_links(view);
        builder.topology(view);
    }
    builder.finish()
}

#[derive(Default)]
struct Builder {
    nodes: Vec<Node>,
    nodes_omitted: u64,
    by_address: BTreeMap<IpAddr, usize>,
    edges: BTreeMap<(usize, usize), Option<u32>>,
}

/// Index of this vehicle.
const OWN: usize = 0;

impl Builder {
    fn vehicles(&mut self, state: &State) {
        self.nodes.push(Node {
            label: state.identity.vehicle.clone(),
            vehicle: false,
            reach: ReachKind::Own,
            cost: Some(0),
            hops: Some(0),
            stale: false,
        });
        for (name, vehicle) in state.vehicles.iter() {
            let reach = ReachKind::from(vehicle.reach);
            let index = if reach == ReachKind::Own {
                name.clone_into(&mut self.nodes[OWN].label);
                self.nodes[OWN].vehicle = true;
                OWN
            } else {
                let node = Node {
                    label: name.to_owned(),
                    vehicle: true,
                    reach,
                    cost: whole_cost(vehicle.reach),
                    hops: vehicle.hops,
                    stale: vehicle.stale,
                };
                let Some(index) = self.push(node) else { continue };
                index
            };
            for address in &vehicle.addresses {
                self.by_address.entry(*address).or_insert(index);
            }
        }
    }

    fn push(&mut self, node: Node) -> Option<usize> {
        if self.nodes.len() >= NODES_MAX {
            self.nodes_omitted += 1;
            return None;
        }
        self.nodes.push(node);
        Some(self.nodes.len() - 1)
    }

    fn own_addresses(&mut self, view: &MeshView) {
        for address in view.own.iter().chain(&view.own_addresses) {
            self.by_address.insert(*address, OWN);
        }
    }

    /// A further address leads to the node of the identity, or the other way round when only that one is known.
    fn aliases(&mut self, view: &MeshView) {
        for alias in &view.aliases {
            let known = [alias.node, alias.address].map(|address| self.by_address.get(&address));
            let (address, index) = match known {
                [Some(index), None] => (alias.address, *index),
                [None, Some(index)] => (alias.node, *index),
                [Some(_), Some(_)] | [None, None] => continue,
            };
            self.by_address.insert(address, index);
        }
    }

    /// Nodes that are no known vehicle: whatever edges and own links name.
    fn others(&mut self, view: &MeshView, stale: bool) {
        let identities: BTreeMap<IpAddr, IpAddr> =
            view.aliases.iter().map(|alias| (alias.address, alias.node)).collect();
        let names: BTreeMap<IpAddr, &str> =
            view.names.iter().map(|name| (name.address, name.name.as_str())).collect();
        let routes: BTreeMap<IpAddr, (NetworkCost, Option<u32>)> = view
            .routes
            .iter()
            .filter(|route| route.destination.is_host())
            .map(|route| (route.destination.address, (route.cost, route.hops)))
            .collect();
        let mut named: Vec<IpAddr> = view
            .edges
            .iter()
            .flat_map(|edge| [edge.from, edge.to])
            .chain(view.links.iter().map(|link| link.neighbor.unwrap_or(link.remote)))
            .collect();
        named.sort_unstable();
        named.dedup();
        for address in named {
            if self.by_address.contains_key(&address) {
                continue;
            }
            let identity = identities.get(&address).copied().unwrap_or(address);
            if let Some(index) = self.by_address.get(&identity) {
                self.by_address.insert(address, *index);
                continue;
            }
            let (cost, hops) = routes.get(&identity).copied().unzip();
            let node = Node {
                label: names
                    .get(&identity)
                    .map_or_else(|| identity.to_string(), |n| (*n).to_owned()),
                vehicle: false,
                reach: cost.map_or(ReachKind::Unknown, reach_of),
                cost: cost.and_then(number_of),
                hops: hops.flatten(),
                stale,
            };
            if let Some(index) = self.push(node) {
                self.by_address.insert(identity, index);
                self.by_address.insert(address, index);
            }
        }
    }

    fn own_links(&mut self, view: &MeshView) {
        for link in view.links.iter().filter(|link| link.usable()) {
            let far = link.neighbor.unwrap_or(link.remote);
            if let Some(index) = self.by_address.get(&far) {
                // Several links to one neighbour: the daemon uses the best.
                let best = self.edges.entry((OWN, *index)).or_insert(link.cost);
                *best = [*best, link.cost].into_iter().flatten().min();
            }
        }
    }

    fn topology(&mut self, view: &MeshView) {
        let mut edges: BTreeMap<(usize, usize), Option<u32>> = BTreeMap::new();
        for edge in &view.edges {
            let ends = [edge.from, edge.to].map(|address| self.by_address.get(&address).copied());
            let [Some(from), Some(to)] = ends else { continue };
            if from == to {
                continue;
            }
            edges
                .entry((from.min(to), from.max(to)))
                .and_modify(|worst| *worst = worse(*worst, edge.cost))
                .or_insert(edge.cost);
        }
        for (pair, cost) in edges {
            // The daemon knows its own links better and sooner than what was announced about them.
            self.edges.entry(pair).or_insert(cost);
        }
    }

    fn finish(self) -> Graph {
        let mut edges: Vec<Edge> =
            self.edges.into_iter().map(|((a, b), cost)| Edge { a, b, cost }).collect();
        edges.retain(|edge| edge.a != edge.b);
        edges.sort_by_key(|edge| (edge.a != OWN, edge.cost.unwrap_or(u32::MAX), edge.a, edge.b));
        let edges_omitted = edges.len().saturating_sub(EDGES_MAX) as u64;
        edges.truncate(EDGES_MAX);
        Graph { nodes: self.nodes, edges, nodes_omitted: self.nodes_omitted, edges_omitted }
    }
}

/// The worse of two directions; one that is broken breaks the edge.
fn worse(one: Option<u32>, other: Option<u32>) -> Option<u32> {
    Some(one?.max(other?))
}

fn reach_of(cost: NetworkCost) -> ReachKind {
    match cost {
        NetworkCost::Reachable(_) => ReachKind::Reachable,
        NetworkCost::Unreachable => ReachKind::Unreachable,
        NetworkCost::NotMeaningful => ReachKind::NotMeaningful,
    }
}

fn number_of(cost: NetworkCost) -> Option<i64> {
    match cost {
        NetworkCost::Reachable(cost) => Some(i64::from(cost)),
        NetworkCost::Unreachable => Some(-1),
        NetworkCost::NotMeaningful => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use olsr_bridge::view::{Alias, Edge as Announced, HostName};
    use serde_json::json;

    use super::*;
    use crate::core::links::Setup;
    use crate::core::time::Mono;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn view(edges: &[(&str, &str, Option<u32>)]) -> MeshView {
        let empty = json!({"daemon":"olsrd","version":null,"protocol":"jsoninfo","pid":null,
            "uptime_ms":null,"metric":"etx","metric_name":null,"hello_interval_ms":null,
            "own":["10.0.0.1"],"own_addresses":["10.0.0.1"],"links":[],"neighbors":[],
            "destinations":[],"edges":[],"networks":[],"aliases":[],"gateways":[],"names":[],
            "ages":[{"part":"routes","age_ms":0}],"complaints":[]});
        let mut view: MeshView = serde_json::from_value(empty).unwrap();
        view.edges = edges
            .iter()
            .map(|(from, to, cost)| Announced {
                from: address(from),
                to: address(to),
                cost: *cost,
                out_raw: None,
                in_raw: None,
            })
            .collect();
        view
    }

    /// A state of vehicle `own` at 10.0.0.1 that knows `b` at 10.0.0.2.
    fn state(view: MeshView) -> State {
        let mut state = State::default();
        state.identity.vehicle = "own".to_owned();
        let setup = Setup {
            own: "own".to_owned(),
            vehicles: [("b".to_owned(), vec![address("10.0.0.2")])].into(),
            unnamed_vehicles: false,
            ..Setup::default()
        };
        state.vehicles.configure(setup, Mono::default());
        state.vehicles.observe(&view, Mono::from_millis(1000));
        state.mesh.view = Some(Arc::new(view));
        state
    }

    fn labels(graph: &Graph) -> Vec<&str> {
        graph.nodes.iter().map(|node| node.label.as_str()).collect()
    }

    fn edges(graph: &Graph) -> Vec<(usize, usize, Option<u32>)> {
        graph.edges.iter().map(|edge| (edge.a, edge.b, edge.cost)).collect()
    }

    #[test]
    fn without_a_mesh_there_is_this_vehicle() {
        let mut state = State::default();
        state.identity.vehicle = "alone".to_owned();
        assert_eq!(labels(&of(&state)), ["alone"]);
        assert!(of(&state).edges.is_empty());
    }

    #[test]
    fn two_directions_become_one_edge_of_the_worse_cost() {
        let view = view(&[
            ("10.0.0.1", "10.0.0.2", Some(110)),
            ("10.0.0.2", "10.0.0.1", Some(140)),
            ("10.0.0.2", "10.0.0.3", Some(100)),
            ("10.0.0.3", "10.0.0.2", None),
            ("10.0.0.3", "10.0.0.3", Some(100)),
        ]);
        let graph = of(&state(view));
        assert_eq!(labels(&graph), ["own", "b", "10.0.0.3"]);
        assert_eq!(edges(&graph), [(0, 1, Some(140)), (1, 2, None)]);
        assert!(graph.nodes[1].vehicle && !graph.nodes[2].vehicle);
    }

    #[test]
    fn further_addresses_lead_to_the_same_node() {
        let mut view = view(&[
            ("10.0.0.1", "10.9.0.2", Some(100)),
            ("10.0.0.3", "10.0.0.2", Some(120)),
            ("10.9.0.3", "10.0.0.1", Some(130)),
        ]);
        view.aliases = vec![
            Alias { node: address("10.0.0.2"), address: address("10.9.0.2") },
            Alias { node: address("10.0.0.3"), address: address("10.9.0.3") },
        ];
        view.names = vec![HostName {
            name: "<relay>".to_owned(),
            address: address("10.0.0.3"),
            node: Some(address("10.0.0.3")),
        }];
        // Not a vehicle to the links, whose names are checked; still what the mesh calls the node.
        let graph = of(&state(view));
        assert_eq!(labels(&graph), ["own", "b", "<relay>"]);
        assert_eq!(edges(&graph), [(0, 1, Some(100)), (0, 2, Some(130)), (1, 2, Some(120))]);
    }

    #[test]
    fn a_hostile_mesh_is_cut_and_the_cut_is_told() {
        let names: Vec<String> =
            (0..2000).map(|i| format!("10.1.{}.{}", i / 250, i % 250)).collect();
        let many: Vec<(&str, &str, Option<u32>)> = names
            .iter()
            .flat_map(|name| {
                [("10.0.0.1", name.as_str(), Some(100)), (name.as_str(), "10.0.0.2", Some(900))]
            })
            .chain(names.windows(2).map(|two| (two[0].as_str(), two[1].as_str(), Some(500))))
            .chain(names.windows(3).map(|two| (two[0].as_str(), two[2].as_str(), Some(600))))
            .collect();
        let graph = of(&state(view(&many)));
        assert_eq!(graph.nodes.len(), NODES_MAX);
        assert_eq!(graph.nodes_omitted, 2002 - NODES_MAX as u64);
        assert_eq!(graph.edges.len(), EDGES_MAX);
        assert!(graph.edges_omitted > 0);
        assert!(graph.edges.iter().all(|edge| edge.a < edge.b && edge.b < graph.nodes.len()));
        assert!(
            graph.edges[..NODES_MAX - 2].iter().all(|edge| edge.a == 0),
            "own edges come first"
        );
    }
}
