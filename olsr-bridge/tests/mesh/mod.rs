//! Writes the answer of an olsrd in a mesh of any size, byte for byte in the form of releases 0.9.5 to 0.9.9.
//!
//! Every node has an interface per neighbour, its first interface as main address and a loopback address that it
//! announces as a network, as the captured meshes have. Routes are shortest paths by ETX over links of known quality.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt::Write as _;
use std::net::Ipv4Addr;

/// A mesh seen from node 0.
pub struct Mesh {
    /// Neighbours of each node with the ETX of the link in 1/1000.
    links: Vec<BTreeMap<usize, u32>>,
}

/// Numbers that look random and are the same in every run (a linear congruential generator, Knuth's constants).
pub struct Dice(pub u64);

impl Dice {
    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or(0) % limit.max(1)
    }
}

impl Mesh {
    /// `nodes` nodes on a ring with chords to nearby nodes, `degree` neighbours each on average.
    pub fn new(nodes: usize, degree: usize) -> Mesh {
        let mut dice = Dice(7);
        let mut links = vec![BTreeMap::new(); nodes];
        let mut join = |one: usize, other: usize, etx: u32| {
            if one != other {
                links[one].insert(other, etx);
                links[other].insert(one, etx);
            }
        };
        for node in 1..nodes {
            join(node - 1, node, 1000);
        }
        for _ in 0..nodes * degree.saturating_sub(2) / 2 {
            let one = dice.below(nodes);
            let other = (one + 2 + dice.below(12)) % nodes;
            // Half the links are perfect, the others lose up to half their packets.
            let etx = if dice.below(2) == 0 { 1000 } else { 1001 + dice.below(3000) };
            join(one, other, u32::try_from(etx).expect("below 4001"));
        }
        Mesh { links }
    }

    /// Interface address of `node` towards its neighbour number `place`; place 0 is the main address.
    fn address(node: usize, place: usize) -> String {
        format!("10.{}.{}.{}", 1 + node / 250, node % 250, place + 1)
    }

    fn identity(node: usize) -> String {
        format!("10.250.{}.{}", node / 250, node % 250 + 1)
    }

    /// ETX in 1/1000, hops and first hop from node 0 to every node; `None` for itself.
    fn paths(&self) -> Vec<Option<(u32, u32, usize)>> {
        let mut found = vec![None; self.links.len()];
        let mut queue = BinaryHeap::from([Reverse((0, 0, 0, 0))]);
        while let Some(Reverse((etx, hops, node, first))) = queue.pop() {
            if found[node].is_some() {
                continue;
            }
            found[node] = Some((etx, hops, first));
            for (&next, &link) in &self.links[node] {
                let first = if node == 0 { next } else { first };
                queue.push(Reverse((etx + link, hops + 1, next, first)));
            }
        }
        found
    }

    /// The body for `/neighbors/links/routes/topology/hna/mid`.
    pub fn jsoninfo(&self) -> String {
        let head = "{\"pid\": 4242,\"systemTime\": 1795211849,\"timeSinceStartup\": 3600179,\"configurationChecksum\": \"0fa4e11f\"";
        format!(
            "{head},\"neighbors\": [{}],\"links\": [{}],\"routes\": [{}],\"hna\": [{}],\"mid\": [{}],\"topology\": [{}]}}\n",
            self.neighbors(),
            self.own_links(),
            self.routes(),
            self.networks(),
            self.aliases(),
            self.topology()
        )
    }

    fn neighbors(&self) -> String {
        let rows = self.links[0].keys().map(|&node| {
            format!(
                "{{\"ipAddress\": \"{}\",\"symmetric\": true,\"willingness\": 3,\"isMultiPointRelay\": true,\"wasMultiPointRelay\": true,\"multiPointRelaySelector\": false,\"skip\": true,\"neighbor2nocov\": 0,\"linkcount\": 1,\"twoHopNeighborCount\": {}}}",
                Self::address(node, 0),
                self.links[node].len()
            )
        });
        joined(rows)
    }

    fn own_links(&self) -> String {
        let rows = self.links[0].iter().enumerate().map(|(place, (&node, &etx))| {
            let (cost, quality) = (f64::from(etx) / 1000.0, (1000.0 / f64::from(etx)).sqrt());
            format!(
                "{{\"localIP\": \"{}\",\"remoteIP\": \"{}\",\"olsrInterface\": \"m{place}\",\"ifName\": \"m{place}\",\"validityTime\": 23668,\"symmetryTime\": 4547,\"asymmetryTime\": 79726,\"vtime\": 5000,\"currentLinkStatus\": \"SYMMETRIC\",\"previousLinkStatus\": \"SYMMETRIC\",\"hysteresis\": 0.000000,\"pending\": false,\"lostLinkTime\": 0,\"helloTime\": 0,\"lastHelloTime\": 0,\"seqnoValid\": false,\"seqno\": 0,\"lossHelloInterval\": 500,\"lossTime\": 297,\"lossMultiplier\": 65536,\"linkCost\": {cost:.6},\"linkQuality\": {quality:.3}000,\"neighborLinkQuality\": {quality:.3}000}}",
                Self::address(0, place),
                Self::address(node, self.place(node, 0)),
            )
        });
        joined(rows)
    }

    /// Which of `node`'s interfaces leads to `neighbor`.
    fn place(&self, node: usize, neighbor: usize) -> usize {
        self.links[node].keys().position(|&other| other == neighbor).unwrap_or(0)
    }

    fn routes(&self) -> String {
        let paths = self.paths();
        let mut rows = BTreeMap::new();
        for (node, path) in paths.iter().enumerate().skip(1) {
            let Some((etx, hops, first)) = *path else { continue };
            let gateway = Self::address(first, self.place(first, 0));
            let interface = self.place(0, first);
            let own = (0..self.links[node].len()).map(|place| Self::address(node, place));
            for destination in own.chain([Self::identity(node)]) {
                let cost = f64::from(etx) / 1000.0;
                let row = format!(
                    "{{\"destination\": \"{destination}\",\"genmask\": 32,\"gateway\": \"{gateway}\",\"metric\": {hops},\"etx\": {cost:.6},\"rtpMetricCost\": {cost:.6},\"networkInterface\": \"m{interface}\"}}"
                );
                // The daemon keeps its routes in the order of their addresses.
                rows.insert(destination.parse::<Ipv4Addr>().expect("an address"), row);
            }
        }
        joined(rows.into_values())
    }

    fn networks(&self) -> String {
        joined((0..self.links.len()).map(|node| {
            let validity = if node == 0 { 0 } else { 29397 };
            format!("{{\"gateway\": \"{}\",\"destination\": \"{}\",\"genmask\": 32,\"validityTime\": {validity}}}", Self::address(node, 0), Self::identity(node))
        }))
    }

    fn aliases(&self) -> String {
        joined((1..self.links.len()).filter(|&node| self.links[node].len() > 1).map(|node| {
            let further = (1..self.links[node].len()).map(|place| {
                format!(
                    "{{\"ipAddress\": \"{}\",\"validityTime\": 29093}}",
                    Self::address(node, place)
                )
            });
            format!(
                "{{\"main\": {{\"ipAddress\": \"{}\",\"validityTime\": 29093}},\"aliases\": [{}]}}",
                Self::address(node, 0),
                joined(further)
            )
        }))
    }

    fn topology(&self) -> String {
        let paths = self.paths();
        let mut rows = Vec::new();
        for (node, links) in self.links.iter().enumerate() {
            let (etx, hops, _) = paths[node].unwrap_or((0, 0, 0));
            let validity = if node == 0 { 0 } else { 19337 };
            for (&other, &link) in links {
                let (cost, quality) = (f64::from(link) / 1000.0, (1000.0 / f64::from(link)).sqrt());
                rows.push(format!("{{\"lastHopIP\": \"{}\",\"pathCost\": {:.6},\"validityTime\": {validity},\"refCount\": {},\"msgSeq\": 46351,\"msgHops\": 0,\"hops\": {hops},\"ansn\": 21,\"tcIgnored\": 0,\"errSeq\": 0,\"errSeqValid\": false,\"destinationIP\": \"{}\",\"tcEdgeCost\": {cost:.6},\"ansnEdge\": 21,\"linkQuality\": {quality:.3}000,\"neighborLinkQuality\": {quality:.3}000}}", Self::address(node, 0), f64::from(etx) / 1000.0, links.len() * 2, Self::address(other, 0)));
            }
        }
        joined(rows.into_iter())
    }
}

fn joined(rows: impl Iterator<Item = String>) -> String {
    let mut text = String::new();
    for row in rows {
        let comma = if text.is_empty() { "" } else { "," };
        write!(text, "{comma}{row}").expect("writing to a string");
    }
    text
}
