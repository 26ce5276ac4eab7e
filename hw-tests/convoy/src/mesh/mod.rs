//! A mesh of routing daemons as pure arithmetic: which packets get through, what each daemon therefore believes, and when.
//!
//! Vehicles with radio interfaces, pairs of interfaces with a loss in each direction, HELLOs and topology messages that
//! really travel from node to node and can be lost, timers, and the two daemons' link metrics. No clock, socket or
//! file: time is an argument and chance comes from a seed, so a run can be repeated. It is not a radio simulator:
//! packets do not collide and distance matters only through the loss the caller sets.

mod link;
mod routes;
mod view;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

pub use link::{
    Family, HOLD_MS, Link, METRIC_INFINITE, METRIC_MAX, METRIC_PERFECT, QUALITY_PERFECT, Status,
    etx_cost_1024, told_metric,
};
pub use routes::Path;
pub use view::{AliasSeen, EdgeSeen, LinkSeen, NeighborSeen, NetworkSeen, RouteSeen, View};

use crate::random::Random;
use link::Told;

/// Step of the model, and olsrd's default `Pollrate`: the daemon does nothing between two polls.
pub const STEP_MS: u64 = 50;

/// Time to live of one topology message after the other with olsrd's fish-eye: near nodes hear more often.
const FISHEYE: [u8; 8] = [2, 8, 2, 16, 2, 8, 2, 255];

/// Periods and validity times of a daemon, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// Between two HELLOs.
    pub hello_ms: u64,
    /// A neighbour is lost after this long without HELLO.
    pub hello_validity_ms: u64,
    /// Between two topology messages.
    pub tc_ms: u64,
    /// An edge is forgotten after this long.
    pub tc_validity_ms: u64,
    /// Between two announcements of aliases or networks.
    pub announce_ms: u64,
    /// Aliases and networks are forgotten after this long.
    pub announce_validity_ms: u64,
}

impl Timers {
    /// Timers of a mesh that moves; those of most captures.
    pub const FAST: Timers = Timers {
        hello_ms: 500,
        hello_validity_ms: 5_000,
        tc_ms: 1_000,
        tc_validity_ms: 20_000,
        announce_ms: 2_000,
        announce_validity_ms: 30_000,
    };
    /// olsrd's defaults.
    pub const DEFAULT: Timers = Timers {
        hello_ms: 2_000,
        hello_validity_ms: 20_000,
        tc_ms: 5_000,
        tc_validity_ms: 300_000,
        announce_ms: 5_000,
        announce_validity_ms: 300_000,
    };
}

/// A radio interface of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Name, such as `wlan0`.
    pub name: String,
    /// IPv4 address.
    pub address: Ipv4Addr,
    /// Its prefix length.
    pub prefix_length: u8,
    /// Link-local IPv6 address.
    pub link_local: Ipv6Addr,
    /// Hardware address.
    pub mac: [u8; 6],
    /// Wi-Fi, as olsrd finds out about it.
    pub wireless: bool,
}

/// A node: a vehicle with its routing daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Name of the vehicle.
    pub name: String,
    /// Radio interfaces, the one of the main address first.
    pub interfaces: Vec<Interface>,
    /// Address on the loopback interface, which stays when radios change: announced as a network by olsrd, the
    /// originator with olsrd2.
    pub loopback: Ipv4Addr,
    /// Further networks this node announces (address, prefix length).
    pub networks: Vec<(Ipv4Addr, u8)>,
}

/// One end of a pair: (node, interface), both counted from 0.
pub type End = (usize, usize);

/// Two interfaces that may hear each other.
#[derive(Clone, Debug)]
struct Pair {
    ends: [End; 2],
    /// Share of packets lost from end 0 to end 1, and back.
    loss: [f64; 2],
    /// What each end knows about the other.
    links: [Option<Link>; 2],
}

/// What a flooded message says.
#[derive(Clone, Debug)]
enum Content {
    /// Links of the origin: to whom, and how good.
    Topology { edges: Vec<Edge>, ansn: u16 },
    /// The origin's further interface addresses; they are known from its description.
    Aliases,
    /// Networks of the origin; known from its description.
    Networks,
}

/// An edge as its origin announces it.
#[derive(Clone, Copy, Debug)]
struct Edge {
    to: usize,
    quality: (u8, u8),
    metric_out: u32,
    metric_in: u32,
}

#[derive(Clone, Debug)]
struct Message {
    origin: usize,
    /// Which run of the origin's daemon sent it: sequence numbers begin anew with each.
    run: u32,
    sequence: u32,
    content: Content,
}

/// A message on its way.
#[derive(Clone, Debug)]
struct Flight {
    message: Arc<Message>,
    hops: u8,
    ttl: u8,
}

/// What a node keeps of a message.
#[derive(Clone, Debug)]
struct Kept {
    message: Arc<Message>,
    hops: u8,
    until: u64,
}

const KINDS: usize = 3;

fn kind(content: &Content) -> usize {
    match content {
        Content::Topology { .. } => 0,
        Content::Aliases => 1,
        Content::Networks => 2,
    }
}

/// A running or stopped daemon.
#[derive(Clone, Debug)]
struct Daemon {
    running: bool,
    run: u32,
    started: u64,
    sequence: u64,
    message_sequence: u32,
    /// Start of the first HELLO period.
    phase: u64,
    hello_at: u64,
    topology_at: u64,
    announce_at: u64,
    tick_at: u64,
    topology_sent: usize,
    /// Topology messages are sent until then even without edges.
    topology_until: u64,
    ansn: u16,
    announced: Vec<usize>,
    outbox: Vec<Flight>,
    /// Per kind and origin: the latest message.
    kept: [Vec<Option<Kept>>; KINDS],
    /// Per kind and origin: run and sequence number of the latest message.
    seen: [Vec<(u32, u32)>; KINDS],
}

/// The mesh.
#[derive(Clone, Debug)]
pub struct Mesh {
    family: Family,
    timers: Timers,
    nodes: Vec<Node>,
    pairs: Vec<Pair>,
    /// Per node: its pairs and on which side it is.
    pairs_of: Vec<Vec<(usize, usize)>>,
    daemons: Vec<Daemon>,
    random: Random,
    now: u64,
}

impl Mesh {
    /// A mesh at time 0 in which all daemons have just been started. Each of `pairs` gets its losses by
    /// [`Mesh::set_loss`]; until then nothing is lost.
    ///
    /// # Panics
    /// When a pair names a node or interface that does not exist.
    #[must_use]
    pub fn new(
        family: Family,
        timers: Timers,
        nodes: Vec<Node>,
        pairs: &[[End; 2]],
        seed: u64,
    ) -> Mesh {
        let mut pairs_of = vec![Vec::new(); nodes.len()];
        for (index, ends) in pairs.iter().enumerate() {
            for (side, (node, interface)) in ends.iter().enumerate() {
                assert!(*interface < nodes[*node].interfaces.len(), "no such interface");
                pairs_of[*node].push((index, side));
            }
        }
        let mut random = Random::new(seed);
        let daemons = (0..nodes.len())
            .map(|_| Daemon::start(nodes.len(), 0, 1, &mut random, &timers))
            .collect();
        let pairs = pairs
            .iter()
            .map(|ends| Pair { ends: *ends, loss: [0.0; 2], links: [None, None] })
            .collect();
        Mesh { family, timers, nodes, pairs, pairs_of, daemons, random, now: 0 }
    }

    /// The daemons' family.
    #[must_use]
    pub fn family(&self) -> Family {
        self.family
    }

    /// The daemons' timers.
    #[must_use]
    pub fn timers(&self) -> &Timers {
        &self.timers
    }

    /// All nodes.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Number of pairs.
    #[must_use]
    pub fn pairs(&self) -> usize {
        self.pairs.len()
    }

    /// The ends of a pair.
    #[must_use]
    pub fn ends(&self, pair: usize) -> [End; 2] {
        self.pairs[pair].ends
    }

    /// Time of the model in milliseconds.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Sets the share of packets (0..=1) lost on a pair from its first end to its second, and back.
    pub fn set_loss(&mut self, pair: usize, there: f64, back: f64) {
        self.pairs[pair].loss = [there.clamp(0.0, 1.0), back.clamp(0.0, 1.0)];
    }

    /// Whether the daemon of `node` runs.
    #[must_use]
    pub fn running(&self, node: usize) -> bool {
        self.daemons[node].running
    }

    /// Stops the daemon of `node`. olsrd says goodbye when it is asked to stop (`announced`); a crash, a power cut and olsrd2
    /// do not.
    pub fn stop(&mut self, node: usize, announced: bool) {
        self.daemons[node].running = false;
        for (pair, side) in self.pairs_of[node].clone() {
            self.pairs[pair].links[side] = None;
        }
        if !announced || self.family == Family::Olsrd2 {
            return;
        }
        for daemon in &mut self.daemons {
            for kept in &mut daemon.kept {
                kept[node] = None;
            }
        }
        for (pair, side) in self.pairs_of[node].clone() {
            if let Some(link) = &mut self.pairs[pair].links[1 - side] {
                link.symmetric_until = self.now;
                link.heard_until = self.now;
            }
        }
    }

    /// Starts the daemon of `node` with an empty memory.
    pub fn start(&mut self, node: usize) {
        let run = self.daemons[node].run + 1;
        self.daemons[node] =
            Daemon::start(self.nodes.len(), self.now, run, &mut self.random, &self.timers);
        for (pair, side) in self.pairs_of[node].clone() {
            self.pairs[pair].links[side] = None;
        }
    }

    /// Lets time pass until `until`; does nothing when that is in the past.
    pub fn advance(&mut self, until: u64) {
        while self.now + STEP_MS <= until {
            self.now += STEP_MS;
            for node in 0..self.nodes.len() {
                if self.daemons[node].running {
                    self.step(node);
                }
            }
        }
    }

    fn step(&mut self, node: usize) {
        let now = self.now;
        let daemon = &self.daemons[node];
        let (hello, tick) = (daemon.hello_at <= now, daemon.tick_at <= now);
        if tick {
            self.tick(node);
        }
        if hello {
            self.flood(node);
            self.send(node);
        }
    }

    /// Timers and estimators.
    fn tick(&mut self, node: usize) {
        let (now, timers, family) = (self.now, self.timers, self.family);
        let mut moved = false;
        for &(pair, side) in &self.pairs_of[node] {
            let slot = &mut self.pairs[pair].links[side];
            let Some(link) = slot else { continue };
            if link.valid_until <= now {
                *slot = None;
                moved = true;
                continue;
            }
            link.count_missed(&timers, now);
            match family {
                Family::Olsrd => moved |= link.tick_etx(&timers),
                Family::Olsrd2 => link.tick_dat(),
            }
        }
        if moved {
            for &(pair, side) in &self.pairs_of[node] {
                if let Some(link) = &mut self.pairs[pair].links[side] {
                    link.publish_etx();
                }
            }
        }
        let daemon = &mut self.daemons[node];
        daemon.tick_at = now
            + match family {
                Family::Olsrd => 1_000,
                Family::Olsrd2 => timers.hello_ms,
            };
    }

    /// Puts the node's own messages that are due into its outbox.
    fn flood(&mut self, node: usize) {
        let now = self.now;
        if self.daemons[node].topology_at <= now {
            let edges = self.announced(node);
            let targets: Vec<usize> = edges.iter().map(|edge| edge.to).collect();
            let daemon = &mut self.daemons[node];
            daemon.topology_at = now + self.timers.tc_ms;
            if targets != daemon.announced {
                daemon.announced = targets;
                daemon.ansn = daemon.ansn.wrapping_add(1);
            }
            let networks = self.family == Family::Olsrd2 && !self.nodes[node].networks.is_empty();
            if !edges.is_empty() || networks {
                daemon.topology_until = now + self.timers.tc_validity_ms;
            }
            // Who has announced edges goes on saying that there are none until the others have forgotten them.
            if daemon.topology_until > now {
                let ttl = match self.family {
                    Family::Olsrd => FISHEYE[daemon.topology_sent % FISHEYE.len()],
                    Family::Olsrd2 => u8::MAX,
                };
                daemon.topology_sent += 1;
                let ansn = daemon.ansn;
                daemon.post(node, ttl, Content::Topology { edges, ansn });
            }
        }
        if self.daemons[node].announce_at <= now && self.family == Family::Olsrd {
            let aliases = self.nodes[node].interfaces.len() > 1;
            let daemon = &mut self.daemons[node];
            daemon.announce_at = now + self.timers.announce_ms;
            if aliases {
                daemon.post(node, u8::MAX, Content::Aliases);
            }
            daemon.post(node, u8::MAX, Content::Networks);
        }
    }

    /// Sends one packet with a HELLO and all waiting messages on every interface.
    fn send(&mut self, node: usize) {
        let (now, timers, family) = (self.now, self.timers, self.family);
        let jitter = self.random.below(timers.hello_ms / 4);
        let daemon = &mut self.daemons[node];
        // The nominal period is kept and each sending shifted, or jitter would add up.
        let periods = (now - daemon.phase) / timers.hello_ms + 1;
        daemon.hello_at = daemon.phase + periods * timers.hello_ms + jitter;
        daemon.sequence += 1;
        let sequence = daemon.sequence;
        let outbox = std::mem::take(&mut daemon.outbox);
        for (index, side) in self.pairs_of[node].clone() {
            let pair = &mut self.pairs[index];
            let (receiver, _) = pair.ends[1 - side];
            let lost = self.random.share() < pair.loss[side];
            if lost || !self.daemons[receiver].running {
                continue;
            }
            let told = match &pair.links[side] {
                Some(link) => Told {
                    heard: link.heard_until > now,
                    quality: link.quality,
                    metric: link.metric_in,
                },
                None => Told { heard: false, quality: 0, metric: METRIC_INFINITE },
            };
            let hold_less_ms = self.random.below(1000);
            let link = pair.links[1 - side]
                .get_or_insert_with(|| Link::new(family, sequence - 1, hold_less_ms));
            link.receive(family, &timers, now, sequence, told);
            if link.status(now) != Status::Symmetric {
                continue;
            }
            for flight in &outbox {
                self.daemons[receiver].take(receiver, flight, now, &timers);
            }
        }
    }
}

impl Daemon {
    fn start(nodes: usize, now: u64, run: u32, random: &mut Random, timers: &Timers) -> Daemon {
        let phase = now + random.below(timers.hello_ms);
        Daemon {
            running: true,
            run,
            started: now,
            sequence: random.below(50_000) + 1_000,
            message_sequence: random.below(50_000) as u32 + 1,
            phase,
            hello_at: phase,
            topology_at: now + timers.tc_ms,
            announce_at: now + random.below(timers.announce_ms),
            tick_at: now + 1_000 - random.below(200),
            topology_sent: 0,
            topology_until: 0,
            ansn: random.below(1_000) as u16,
            announced: Vec::new(),
            outbox: Vec::new(),
            kept: std::array::from_fn(|_| vec![None; nodes]),
            seen: std::array::from_fn(|_| vec![(0, 0); nodes]),
        }
    }

    fn post(&mut self, node: usize, ttl: u8, content: Content) {
        self.message_sequence += 1;
        let message =
            Message { origin: node, run: self.run, sequence: self.message_sequence, content };
        self.outbox.push(Flight { message: Arc::new(message), hops: 0, ttl });
    }

    /// A message arrives at this daemon of node `own`.
    fn take(&mut self, own: usize, flight: &Flight, now: u64, timers: &Timers) {
        let message = &flight.message;
        if message.origin == own {
            return;
        }
        let kind = kind(&message.content);
        let seen = &mut self.seen[kind][message.origin];
        if (message.run, message.sequence) <= *seen {
            return;
        }
        *seen = (message.run, message.sequence);
        let validity = match message.content {
            Content::Topology { .. } => timers.tc_validity_ms,
            Content::Aliases | Content::Networks => timers.announce_validity_ms,
        };
        self.kept[kind][message.origin] =
            Some(Kept { message: Arc::clone(message), hops: flight.hops, until: now + validity });
        if flight.ttl > 1 {
            self.outbox.push(Flight {
                message: Arc::clone(message),
                hops: flight.hops.saturating_add(1),
                ttl: flight.ttl - 1,
            });
        }
    }
}
