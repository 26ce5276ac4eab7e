//! The simulated world below the agents: a mesh, the scene that moves it, and time that only goes forward when told to.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use crate::mesh::{Family, Interface, Mesh, Node, Timers, View};
use crate::scene::{Act, Convoy, Field};

/// The mesh has run this long when the world begins, so that all metrics have warmed up (32 s) and no agent has reason to wait.
pub const AGE_MS: u64 = 100_000;
/// How often positions become losses.
const SCENE_STEP_MS: u64 = 250;

/// What moves the vehicles.
#[derive(Clone, Debug)]
enum Scene {
    Convoy(Convoy),
    Field(Field),
}

impl Scene {
    fn loss(&self, one: usize, other: usize, t: u64) -> f64 {
        match self {
            Scene::Convoy(convoy) => convoy.loss(one, other, t),
            Scene::Field(field) => field.loss(one, other, t),
        }
    }
}

/// A mesh in motion.
#[derive(Clone, Debug)]
pub struct World {
    mesh: Mesh,
    nodes: Arc<[Node]>,
    scene: Scene,
    elapsed_ms: u64,
}

/// Names for the vehicles of a small convoy.
const NAMES: [&str; 12] = [
    "alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliett",
    "kilo", "lima",
];

/// Name of vehicle `index` (from 0).
#[must_use]
pub fn name(index: usize) -> String {
    NAMES.get(index).map_or_else(|| format!("ugv-{:03}", index + 1), |name| (*name).to_owned())
}

/// Vehicle `index` with one radio; its number k = index + 1 is in its addresses: radio 10.42.0.k, loopback 10.77.0.k.
#[must_use]
pub fn vehicle(index: usize) -> Node {
    let number = index as u16 + 1;
    let [high, low] = number.to_be_bytes();
    let radio = Interface {
        name: "wlan0".to_owned(),
        address: Ipv4Addr::new(10, 42, high, low),
        prefix_length: 16,
        link_local: Ipv6Addr::new(0xfe80, 0, 0, 0, 0x5c2a, 0x10ff, 0xfe00, number),
        mac: [0x5e, 0x2a, 0x10, 0x00, high, low],
        wireless: true,
    };
    Node {
        name: name(index),
        interfaces: vec![radio],
        loopback: loopback(index),
        networks: Vec::new(),
    }
}

/// Address by which the vehicles' agents know vehicle `index`.
#[must_use]
pub fn loopback(index: usize) -> Ipv4Addr {
    let [high, low] = (index as u16 + 1).to_be_bytes();
    Ipv4Addr::new(10, 77, high, low)
}

impl World {
    /// The scripted convoy of `vehicles` whose daemons are of `family`.
    #[must_use]
    pub fn convoy(family: Family, vehicles: usize, seed: u64) -> World {
        let mut nodes: Vec<Node> = (0..vehicles).map(vehicle).collect();
        // The vehicle in front carries the command post's network.
        nodes[0].networks.push((Ipv4Addr::new(192, 168, 10, 0), 24));
        let pairs: Vec<(usize, usize)> = (0..vehicles)
            .flat_map(|one| (one + 1..vehicles).map(move |other| (one, other)))
            .collect();
        World::new(family, Timers::FAST, nodes, &pairs, Scene::Convoy(Convoy::new(vehicles)), seed)
    }

    /// A field of `vehicles`; with the daemons' default timers when there are more than a few dozen, as one would configure it.
    #[must_use]
    pub fn field(family: Family, vehicles: usize, moving: bool, seed: u64) -> World {
        let field = Field::new(vehicles, moving, seed);
        let timers = if vehicles > 50 { Timers::DEFAULT } else { Timers::FAST };
        let nodes = (0..vehicles).map(vehicle).collect();
        let pairs = field.pairs();
        World::new(family, timers, nodes, &pairs, Scene::Field(field), seed)
    }

    fn new(
        family: Family,
        timers: Timers,
        nodes: Vec<Node>,
        pairs: &[(usize, usize)],
        scene: Scene,
        seed: u64,
    ) -> World {
        let ends: Vec<_> = pairs.iter().map(|(one, other)| [(*one, 0), (*other, 0)]).collect();
        let shared = nodes.clone().into();
        let mesh = Mesh::new(family, timers, nodes, &ends, seed);
        let mut world = World { mesh, nodes: shared, scene, elapsed_ms: 0 };
        world.set_losses();
        world.mesh.advance(AGE_MS);
        world
    }

    fn set_losses(&mut self) {
        for pair in 0..self.mesh.pairs() {
            let [(one, _), (other, _)] = self.mesh.ends(pair);
            let loss = self.scene.loss(one, other, self.elapsed_ms);
            self.mesh.set_loss(pair, loss, loss);
        }
    }

    /// Lets the world catch up with `elapsed_ms` since it began.
    pub fn advance(&mut self, elapsed_ms: u64) {
        while self.elapsed_ms + SCENE_STEP_MS <= elapsed_ms {
            let from = self.elapsed_ms;
            self.elapsed_ms += SCENE_STEP_MS;
            self.mesh.advance(AGE_MS + self.elapsed_ms);
            self.set_losses();
            if let Scene::Convoy(convoy) = &self.scene {
                for (vehicle, act) in convoy.acts(from, self.elapsed_ms) {
                    match act {
                        Act::Stop => self.mesh.stop(vehicle, true),
                        Act::Kill => self.mesh.stop(vehicle, false),
                        Act::Start => self.mesh.start(vehicle),
                    }
                }
            }
        }
        self.mesh.advance(AGE_MS + elapsed_ms);
    }

    /// What the daemon of `node` knows; `None` while it does not run.
    #[must_use]
    pub fn view(&self, node: usize) -> Option<View> {
        self.mesh.view(node, &self.nodes)
    }

    /// Whether the daemon of `node` runs.
    #[must_use]
    pub fn running(&self, node: usize) -> bool {
        self.mesh.running(node)
    }

    /// Stops the daemon of `node`; see [`Mesh::stop`].
    pub fn stop(&mut self, node: usize, announced: bool) {
        self.mesh.stop(node, announced);
    }

    /// Starts the daemon of `node`.
    pub fn start(&mut self, node: usize) {
        self.mesh.start(node);
    }

    /// The mesh.
    #[must_use]
    pub fn mesh(&self) -> &Mesh {
        &self.mesh
    }

    /// What is happening, in words.
    #[must_use]
    pub fn story(&self) -> String {
        match &self.scene {
            Scene::Convoy(convoy) => convoy.story(self.elapsed_ms, name),
            Scene::Field(_) => format!("{} vehicles drive in circles", self.nodes.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(world: &World, from: usize, to: usize) -> Option<u64> {
        world.mesh().paths(from)[to].map(|path| path.cost)
    }

    #[test]
    fn the_convoy_goes_through_its_script_with_both_families() {
        for family in [Family::Olsrd, Family::Olsrd2] {
            let perfect = match family {
                Family::Olsrd => 1024,
                Family::Olsrd2 => u64::from(crate::mesh::METRIC_PERFECT),
            };
            let mut world = World::convoy(family, 6, 1);
            let together = cost(&world, 0, 5).unwrap();
            assert!((perfect..perfect * 3 / 2).contains(&together), "{together}");
            world.advance(23_000);
            let straggling = cost(&world, 0, 5).unwrap();
            assert!(straggling > together * 3 / 2, "{family:?}: {straggling} after {together}");
            world.advance(38_000);
            assert_eq!(cost(&world, 0, 5), None, "{family:?}: behind the ridge");
            assert_eq!(cost(&world, 5, 0), None);
            assert!(cost(&world, 4, 5).is_some() && cost(&world, 0, 3).is_some());
            world.advance(62_000);
            assert!(cost(&world, 0, 5).is_some(), "{family:?}: healed");
            world.advance(71_000);
            assert!(world.view(1).is_none() && world.view(0).is_some());
            world.advance(73_000);
            assert_eq!(world.view(1).unwrap().run, 2);
            world.advance(104_000);
            assert!(!world.running(2));
            assert_eq!(cost(&world, 0, 2), None, "{family:?}: dead daemon");
            world.advance(135_000);
            assert!(cost(&world, 0, 2).is_some(), "{family:?}: back");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_views_however_often_time_is_read() {
        let mut one = World::convoy(Family::Olsrd, 4, 3);
        let mut other = one.clone();
        one.advance(50_000);
        for step in 0..=500 {
            other.advance(step * 100);
        }
        assert_eq!(one.view(0), other.view(0));
    }

    #[test]
    fn a_large_field_is_reachable_almost_everywhere() {
        let world = World::field(Family::Olsrd, 100, true, 1);
        let reached = world.mesh().paths(0).iter().flatten().count();
        assert!(reached >= 98, "{reached} of 100");
        let view = world.view(0).unwrap();
        assert!(view.edges.len() > 400 && view.routes.len() > 190, "{}", view.edges.len());
    }
}
