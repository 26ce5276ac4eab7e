//! Where the vehicles are and what the mesh makes of it: positions on a plane, links that get worse with distance, shortest
//! paths to the broker's vehicle, and the view that each vehicle's routing daemon would give. Links also go silent for reasons
//! that no distance explains.

use std::net::{IpAddr, Ipv4Addr};

use olsr_bridge::cost::HOP;
use olsr_bridge::view::{
    Daemon, DaemonKind, LinkMetric, MeshView, NetworkCost, Part, PartAge, Prefix, Protocol, Route,
};

use crate::random::Dice;

/// Metres at which a link is perfect, and beyond which there is none.
const REACH_M: [f64; 2] = [300.0, 1_500.0];

/// Name of the vehicle with the broker.
pub const BASE: &str = "base";

/// Address of a node: 0 is the broker's vehicle.
#[must_use]
pub fn address(node: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, u8::try_from(node + 1).unwrap_or(u8::MAX)))
}

/// Name of a node.
#[must_use]
pub fn name(node: usize) -> String {
    if node == 0 { BASE.to_owned() } else { format!("v{node}") }
}

#[derive(Clone, Copy, Debug)]
struct Body {
    at: (f64, f64),
    /// Where it drives.
    to: (f64, f64),
    metres_per_s: f64,
}

/// All vehicles, the broker's first.
#[derive(Debug)]
pub struct Convoy {
    bodies: Vec<Body>,
    area_m: f64,
    dice: Dice,
    /// Cost of the path from each node to each, none where there is none.
    paths: Vec<Vec<Option<(u32, u32)>>>,
}

impl Convoy {
    /// So many vehicles beside the broker's, which stay within `area_m` metres.
    #[must_use]
    pub fn new(vehicles: usize, area_m: u64, mut dice: Dice) -> Convoy {
        let area_m = area_m as f64;
        let bodies = (0..=vehicles)
            .map(|_| Body {
                at: spot(&mut dice, area_m),
                to: spot(&mut dice, area_m),
                metres_per_s: dice.between(0, 20) as f64,
            })
            .collect();
        let mut convoy = Convoy { bodies, area_m, dice, paths: Vec::new() };
        convoy.find_paths();
        convoy
    }

    /// Lets them drive.
    pub fn drive(&mut self, seconds: f64) {
        let Convoy { bodies, area_m, dice, .. } = self;
        for body in bodies {
            let (dx, dy) = (body.to.0 - body.at.0, body.to.1 - body.at.1);
            let left = dx.hypot(dy);
            let way = body.metres_per_s * seconds;
            if way >= left {
                body.at = body.to;
                body.to = spot(dice, *area_m);
                body.metres_per_s = dice.between(0, 20) as f64;
            } else {
                body.at = (body.at.0 + dx / left * way, body.at.1 + dy / left * way);
            }
        }
        self.find_paths();
    }

    /// Brings everybody next to the broker.
    pub fn gather(&mut self) {
        let at = self.bodies[0].at;
        for body in &mut self.bodies {
            (body.at, body.to, body.metres_per_s) = (at, at, 0.0);
        }
        self.area_m = 1.0;
        self.find_paths();
    }

    /// Network cost and hops from one node to another.
    #[must_use]
    pub fn path(&self, from: usize, to: usize) -> Option<(u32, u32)> {
        self.paths[from][to]
    }

    fn find_paths(&mut self) {
        let nodes = self.bodies.len();
        let direct = |from: usize, to: usize| {
            let (one, other) = (self.bodies[from].at, self.bodies[to].at);
            let metres = (one.0 - other.0).hypot(one.1 - other.1);
            if from == to { Some((0, 0)) } else { link_cost(metres).map(|cost| (cost, 1)) }
        };
        let row = |from: usize| (0..nodes).map(|to| direct(from, to)).collect();
        let mut paths: Vec<Vec<Option<(u32, u32)>>> = (0..nodes).map(row).collect();
        for over in 0..nodes {
            let rests = paths[over].clone();
            for row in &mut paths {
                let Some(first) = row[over] else { continue };
                for (known, rest) in row.iter_mut().zip(&rests) {
                    let Some(rest) = *rest else { continue };
                    let path = (first.0 + rest.0, first.1 + rest.1);
                    if known.is_none_or(|known| path.0 < known.0) {
                        *known = Some(path);
                    }
                }
            }
        }
        self.paths = paths;
    }

    /// What the daemon on a node says; it has run for so long.
    #[must_use]
    pub fn view(&self, node: usize, uptime_ms: u64, cut_off: bool) -> MeshView {
        let route = |to: usize| {
            let (cost, hops) = self.path(node, to).filter(|_| to != node && !cut_off)?;
            Some(Route {
                destination: Prefix::host(address(to)),
                cost: NetworkCost::Reachable(cost),
                hops: Some(hops),
                next_hop: Some(address(to)),
                interface: Some("mesh0".into()),
                node: Some(address(to)),
                last_hop: None,
                link_local: false,
            })
        };
        MeshView {
            daemon: Daemon {
                kind: DaemonKind::Olsrd,
                version: Some("0.9.8".to_owned()),
                protocol: Protocol::Jsoninfo,
                pid: Some(7),
                uptime_ms: Some(uptime_ms),
                metric: LinkMetric::Etx,
                metric_name: None,
                hello_interval_ms: Some(2000),
            },
            own: vec![address(node)],
            own_addresses: Vec::new(),
            links: Vec::new(),
            neighbors: Vec::new(),
            routes: (0..self.bodies.len()).filter_map(route).collect(),
            edges: Vec::new(),
            networks: Vec::new(),
            aliases: Vec::new(),
            gateways: Vec::new(),
            names: Vec::new(),
            ages: vec![PartAge { part: Part::Routes, age_ms: 0 }],
            complaints: Vec::new(),
        }
    }
}

fn spot(dice: &mut Dice, area_m: f64) -> (f64, f64) {
    let mut along = || dice.below(10_000) as f64 / 10_000.0 * area_m;
    (along(), along())
}

/// ETX grows with the square of what is left of the reach.
fn link_cost(metres: f64) -> Option<u32> {
    let [perfect, reach] = REACH_M;
    if metres >= reach {
        return None;
    }
    let stretch = ((metres - perfect) / (reach - perfect)).max(0.0);
    Some(HOP + (stretch * stretch * 900.0) as u32)
}
