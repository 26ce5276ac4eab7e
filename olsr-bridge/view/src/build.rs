//! Collects what parsers understood and makes one [`MeshView`] of it.
//!
//! A [`Builder`] takes rows as they are read, part by part, from any parser. [`Builder::merge`] completes it with parts
//! that were read earlier (version and configuration are asked for once per run of the daemon), keeping their ages.
//! [`Builder::finish`] removes duplicates, finds out who is who, computes the costs and sorts every list, so that the
//! same knowledge always gives the same view whatever the order of the daemon's answer. It looks at no clock and
//! decides nothing over time.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::net::IpAddr;
use std::sync::Arc;

use crate::cost::{self, CostOptions, Measure};
use crate::identity;
use crate::order;
use crate::view::{
    Alias, AttachedNetwork, Complaint, Daemon, DaemonKind, Edge, Gateway, HostName, Link, MeshView,
    Neighbor, Part, PartAge, Protocol, Route,
};

/// Rows kept per part. A 1,000-node mesh has about 20,000 edges; a daemon that sends more than this is not listing a
/// mesh, and the view must not grow with it.
pub const ROWS_MAX: usize = 65_536;

/// Own addresses kept; no node has as many.
pub const OWN_MAX: usize = 1024;

/// Names of interfaces that are shared by routes; no node has as many, and further ones are kept for each route.
const INTERFACES_MAX: usize = 64;

/// Complaints kept per view. Room for one per part is reserved, where further kinds of faults are counted together.
pub const COMPLAINTS_MAX: usize = 40;

/// What the reserved complaint of a part says.
const FURTHER: &str = "further kinds of faults were found";

/// Characters of the daemon's own text that a complaint quotes.
const EXAMPLE_MAX: usize = 40;

/// All parts, in the order in which a view lists their ages.
const PARTS: [Part; 9] = [
    Part::Links,
    Part::Neighbors,
    Part::Routes,
    Part::Topology,
    Part::Networks,
    Part::Aliases,
    Part::Gateways,
    Part::Names,
    Part::Daemon,
];

/// The rows before they become a view, for the modules that compute costs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parts {
    pub(crate) links: Vec<(Link, Measure)>,
    pub(crate) neighbors: Vec<Neighbor>,
    pub(crate) routes: Vec<(Route, Measure)>,
    pub(crate) edges: Vec<(Edge, Measure)>,
    pub(crate) networks: Vec<AttachedNetwork>,
    pub(crate) aliases: Vec<Alias>,
    pub(crate) gateways: Vec<(Gateway, Measure)>,
    pub(crate) names: Vec<HostName>,
    pub(crate) own: Vec<IpAddr>,
    pub(crate) own_addresses: Vec<IpAddr>,
    pub(crate) metric_name: Option<String>,
    /// olsrd's `LinkQualityLevel`.
    pub(crate) metric_level: Option<i64>,
    pub(crate) complaints: Vec<Gripe>,
}

/// A complaint whose text is put together only once for all rows with the same fault.
#[derive(Clone, Debug)]
pub(crate) struct Gripe {
    part: Part,
    fault: &'static str,
    example: Option<String>,
    count: u32,
}

impl Parts {
    /// Counts a row of `part` that had `fault`: a sentence that says what was wrong and what was done about it. The
    /// first `example` of the fault is quoted.
    pub(crate) fn complain(&mut self, part: Part, fault: &'static str, example: &[u8]) {
        self.complain_times(part, fault, example, 1);
    }

    pub(crate) fn complain_times(
        &mut self,
        part: Part,
        fault: &'static str,
        example: &[u8],
        count: u32,
    ) {
        let found = |list: &[Gripe], fault: &str| {
            list.iter().position(|known| known.part == part && known.fault == fault)
        };
        let known = match found(&self.complaints, fault) {
            None if self.complaints.len() >= COMPLAINTS_MAX - PARTS.len() => {
                found(&self.complaints, FURTHER).ok_or(FURTHER)
            }
            None => Err(fault),
            Some(at) => Ok(at),
        };
        match known {
            Ok(at) => self.complaints[at].count = self.complaints[at].count.saturating_add(count),
            Err(fault) => {
                let example = printable(example);
                self.complaints.push(Gripe { part, fault, example, count });
            }
        }
    }
}

/// The beginning of what a daemon sent, safe to print.
fn printable(bytes: &[u8]) -> Option<String> {
    if bytes.is_empty() {
        return None;
    }
    let text: String = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * EXAMPLE_MAX)])
        .chars()
        .map(|character| if character.is_control() { ' ' } else { character })
        .take(EXAMPLE_MAX)
        .collect();
    Some(text)
}

/// Collects the parts of one view.
#[derive(Clone, Debug)]
pub struct Builder {
    kind: DaemonKind,
    protocol: Protocol,
    version: Option<String>,
    pid: Option<u32>,
    uptime_ms: Option<u64>,
    hello_interval_ms: Option<u32>,
    ages_ms: [Option<u64>; PARTS.len()],
    /// Names of outgoing interfaces, the last one that was asked for first.
    interfaces: Vec<Arc<str>>,
    parts: Parts,
}

/// Position of `part` in [`PARTS`].
fn index(part: Part) -> usize {
    match part {
        Part::Links => 0,
        Part::Neighbors => 1,
        Part::Routes => 2,
        Part::Topology => 3,
        Part::Networks => 4,
        Part::Aliases => 5,
        Part::Gateways => 6,
        Part::Names => 7,
        Part::Daemon => 8,
    }
}

impl Builder {
    /// An empty view of a daemon, as read over `protocol`.
    #[must_use]
    pub fn new(kind: DaemonKind, protocol: Protocol) -> Builder {
        Builder {
            kind,
            protocol,
            version: None,
            pid: None,
            uptime_ms: None,
            hello_interval_ms: None,
            ages_ms: [None; PARTS.len()],
            interfaces: Vec::new(),
            parts: Parts::default(),
        }
    }

    /// Says that the daemon's table for `part` was read from its beginning to its end. A part without this is listed
    /// as not read, and what is absent from it means nothing.
    pub fn read(&mut self, part: Part) {
        self.ages_ms[index(part)] = Some(0);
    }

    /// Whether `part` was read.
    #[must_use]
    pub fn has(&self, part: Part) -> bool {
        self.ages_ms[index(part)].is_some()
    }

    /// Complains about each of the `asked` parts that was not read: a table that is missing from an answer is an error,
    /// not an empty table.
    pub fn expect(&mut self, asked: &[Part]) {
        for part in asked {
            if !self.has(*part) {
                self.complain(*part, "the table was asked for and did not come whole", b"");
            }
        }
    }

    /// Version text of the daemon.
    pub fn version(&mut self, version: String) {
        self.version = Some(version);
    }

    /// Process id of the daemon.
    pub fn pid(&mut self, pid: u32) {
        self.pid = Some(pid);
    }

    /// The process id, where it was read.
    #[must_use]
    pub fn known_pid(&self) -> Option<u32> {
        self.pid
    }

    /// Time since the daemon started in milliseconds, where it was read.
    #[must_use]
    pub fn known_uptime_ms(&self) -> Option<u64> {
        self.uptime_ms
    }

    /// Time since the daemon started, in milliseconds.
    pub fn uptime_ms(&mut self, uptime_ms: u64) {
        self.uptime_ms = Some(uptime_ms);
    }

    /// The daemon's own HELLO interval in milliseconds.
    pub fn hello_interval_ms(&mut self, interval_ms: u32) {
        self.hello_interval_ms = Some(interval_ms);
    }

    /// Name of the link metric (`etx_ff`, `ff_dat_metric`).
    pub fn metric_name(&mut self, name: String) {
        self.parts.metric_name = Some(name);
    }

    /// olsrd's `LinkQualityLevel`; 0 means that only hops count.
    pub fn metric_level(&mut self, level: i64) {
        self.parts.metric_level = Some(level);
    }

    /// An identity of this node itself.
    pub fn own(&mut self, address: IpAddr) {
        push_once(&mut self.parts.own, address);
    }

    /// An interface address of this node itself.
    pub fn own_address(&mut self, address: IpAddr) {
        push_once(&mut self.parts.own_addresses, address);
    }

    /// A link of this node. `measure` is olsrd's; olsrd2's raw metrics stand in the link.
    pub fn link(&mut self, link: Link, measure: Measure) {
        self.keep(Part::Links, |parts| &mut parts.links, (link, measure));
    }

    /// A neighbour.
    pub fn neighbor(&mut self, neighbor: Neighbor) {
        self.keep(Part::Neighbors, |parts| &mut parts.neighbors, neighbor);
    }

    /// A route; its cost comes from `measure`, and its node may be left open.
    pub fn route(&mut self, route: Route, measure: Measure) {
        self.keep(Part::Routes, |parts| &mut parts.routes, (route, measure));
    }

    /// A topology edge. `measure` is olsrd's; olsrd2's raw metrics stand in the edge.
    pub fn edge(&mut self, edge: Edge, measure: Measure) {
        self.keep(Part::Topology, |parts| &mut parts.edges, (edge, measure));
    }

    /// An announced network.
    pub fn network(&mut self, network: AttachedNetwork) {
        self.keep(Part::Networks, |parts| &mut parts.networks, network);
    }

    /// A further address of a node.
    pub fn alias(&mut self, alias: Alias) {
        self.keep(Part::Aliases, |parts| &mut parts.aliases, alias);
    }

    /// The name of an interface, for routes; bytes that are not UTF-8 become U+FFFD.
    pub fn interface(&mut self, name: &[u8]) -> Arc<str> {
        if let Some(at) = self.interfaces.iter().position(|known| known.as_bytes() == name) {
            self.interfaces.swap(0, at);
            return Arc::clone(&self.interfaces[0]);
        }
        let name: Arc<str> = String::from_utf8_lossy(name).into();
        if self.interfaces.len() < INTERFACES_MAX {
            self.interfaces.push(Arc::clone(&name));
        }
        name
    }

    /// A smart gateway; its cost comes from `measure`.
    pub fn gateway(&mut self, gateway: Gateway, measure: Measure) {
        self.keep(Part::Gateways, |parts| &mut parts.gateways, (gateway, measure));
    }

    /// A host name.
    pub fn name(&mut self, name: HostName) {
        self.keep(Part::Names, |parts| &mut parts.names, name);
    }

    /// Counts a row of `part` that had `fault`: a sentence that says what was wrong and what was done about it. The
    /// first `example` of each fault is quoted to people; it may be empty.
    pub fn complain(&mut self, part: Part, fault: &'static str, example: &[u8]) {
        self.parts.complain(part, fault, example);
    }

    fn keep<T>(&mut self, part: Part, list: fn(&mut Parts) -> &mut Vec<T>, row: T) {
        let rows = list(&mut self.parts);
        if rows.len() < ROWS_MAX {
            rows.push(row);
        } else {
            self.complain(part, "more rows than any mesh has were left out", b"");
        }
    }

    /// Takes from `older`, which was finished reading `age_ms` milliseconds before this one, every part that this
    /// one has not read. Identity and interface addresses, metric and version belong to [`Part::Daemon`] and are taken
    /// only from the same run of the daemon. Process id and uptime are never taken over.
    pub fn merge(&mut self, older: Builder, age_ms: u64) {
        let another_run = matches!((self.pid, older.pid), (Some(own), Some(other)) if own != other);
        let mut taken = [false; PARTS.len()];
        for part in PARTS {
            let at = index(part);
            let Some(older_age_ms) = older.ages_ms[at] else { continue };
            let stale = part == Part::Daemon && another_run;
            if self.ages_ms[at].is_none() && !stale {
                self.ages_ms[at] = Some(older_age_ms.saturating_add(age_ms));
                taken[at] = true;
            }
        }
        let took = |part: Part| taken[index(part)];
        let (own, other) = (&mut self.parts, older.parts);
        // What was left of a part that broke off gives way to the older complete one.
        replace_if(took(Part::Links), &mut own.links, other.links);
        replace_if(took(Part::Neighbors), &mut own.neighbors, other.neighbors);
        replace_if(took(Part::Routes), &mut own.routes, other.routes);
        replace_if(took(Part::Topology), &mut own.edges, other.edges);
        replace_if(took(Part::Networks), &mut own.networks, other.networks);
        replace_if(took(Part::Aliases), &mut own.aliases, other.aliases);
        replace_if(took(Part::Gateways), &mut own.gateways, other.gateways);
        replace_if(took(Part::Names), &mut own.names, other.names);
        if took(Part::Daemon) {
            own.metric_name = own.metric_name.take().or(other.metric_name);
            own.metric_level = own.metric_level.or(other.metric_level);
            self.version = self.version.take().or(older.version);
            self.hello_interval_ms = self.hello_interval_ms.or(older.hello_interval_ms);
            replace_if(own.own.is_empty(), &mut own.own, other.own);
            for address in other.own_addresses {
                push_once(&mut own.own_addresses, address);
            }
        }
        for gripe in other.complaints.into_iter().filter(|gripe| took(gripe.part)) {
            let example = gripe.example.unwrap_or_default();
            own.complain_times(gripe.part, gripe.fault, example.as_bytes(), gripe.count);
        }
    }

    /// Makes the view: removes duplicates, sorts, tells who is who, computes costs.
    #[must_use]
    pub fn finish(mut self, options: &CostOptions) -> MeshView {
        let complete = |part: Part| self.ages_ms[index(part)].is_some();
        let known = identity::Known {
            networks: complete(Part::Networks),
            aliases: complete(Part::Aliases),
        };
        self.parts.sort();
        identity::fill(&mut self.parts, known);
        let metric = match self.kind {
            DaemonKind::Olsrd => cost::etx::apply(&mut self.parts, options),
            DaemonKind::Olsrd2 => cost::olsrd2::apply(&mut self.parts, options),
        };
        let parts = self.parts;
        MeshView {
            daemon: Daemon {
                kind: self.kind,
                version: self.version,
                protocol: self.protocol,
                pid: self.pid,
                uptime_ms: self.uptime_ms,
                metric,
                metric_name: parts.metric_name,
                hello_interval_ms: self.hello_interval_ms,
            },
            own: parts.own,
            own_addresses: parts.own_addresses,
            links: parts.links.into_iter().map(|(link, _)| link).collect(),
            neighbors: parts.neighbors,
            routes: parts.routes.into_iter().map(|(route, _)| route).collect(),
            edges: parts.edges.into_iter().map(|(edge, _)| edge).collect(),
            networks: parts.networks,
            aliases: parts.aliases,
            gateways: parts.gateways.into_iter().map(|(gateway, _)| gateway).collect(),
            names: parts.names,
            ages: PARTS
                .into_iter()
                .filter_map(|part| Some(PartAge { part, age_ms: self.ages_ms[index(part)]? }))
                .collect(),
            complaints: parts.complaints.into_iter().map(Gripe::told).collect(),
        }
    }
}

impl Gripe {
    fn told(self) -> Complaint {
        let text = match self.example {
            Some(example) => Cow::Owned(format!("{} (first: `{example}`)", self.fault)),
            None => Cow::Borrowed(self.fault),
        };
        Complaint { part: self.part, text: text.into_owned(), count: self.count }
    }
}

impl Parts {
    /// Sorts every list by what identifies a row and keeps the first row of each.
    fn sort(&mut self) {
        self.own.sort_unstable();
        self.own_addresses.sort_unstable();
        let links = arrange(
            &mut self.links,
            |(link, _)| order::rank(link.remote),
            |(a, _), (b, _)| link_key(a).cmp(&link_key(b)),
        );
        let neighbors = arrange(
            &mut self.neighbors,
            |neighbor| order::rank(neighbor.address),
            |a, b| a.address.cmp(&b.address),
        );
        let routes = arrange(
            &mut self.routes,
            |(route, _)| order::rank(route.destination.address),
            |(a, _), (b, _)| a.destination.cmp(&b.destination),
        );
        let edges = arrange(
            &mut self.edges,
            |(edge, _)| order::rank_of_pair(edge.from, edge.to),
            |(a, _), (b, _)| (a.from, a.to).cmp(&(b.from, b.to)),
        );
        let networks = arrange(
            &mut self.networks,
            |network| order::rank(network.prefix.address),
            |a, b| (a.prefix, a.node).cmp(&(b.prefix, b.node)),
        );
        // An alias is nothing but its name, so two of the same name never contradict each other.
        arrange(
            &mut self.aliases,
            |alias| order::rank_of_pair(alias.node, alias.address),
            Ord::cmp,
        );
        let gateways = arrange(
            &mut self.gateways,
            |(gateway, _)| order::rank(gateway.node),
            |(a, _), (b, _)| a.node.cmp(&b.node),
        );
        // Names have no integer of their own that rises with them.
        let names =
            arrange(&mut self.names, |_| 0, |a, b| (&a.name, a.address).cmp(&(&b.name, b.address)));
        let doubled = [
            (Part::Links, links),
            (Part::Neighbors, neighbors),
            (Part::Routes, routes),
            (Part::Topology, edges),
            (Part::Networks, networks),
            (Part::Gateways, gateways),
            (Part::Names, names),
        ];
        for (part, count) in doubled {
            if count > 0 {
                let fault = "rows that contradict an earlier row of the same name were left out";
                self.complain_times(part, fault, b"", count);
            }
        }
    }
}

fn link_key(link: &Link) -> (IpAddr, Option<IpAddr>, Option<&str>) {
    (link.remote, link.local, link.interface.as_deref())
}

/// Sorts rows by `name`, in whose order `rank` never falls, keeps the first of each name, which is the daemon's first, and
/// tells how many of the dropped ones said something else.
fn arrange<T: PartialEq>(
    rows: &mut Vec<T>,
    rank: impl Fn(&T) -> u64,
    name: impl Fn(&T, &T) -> Ordering,
) -> u32 {
    if !order::sort(rows, rank, &name) {
        return 0;
    }
    let mut contradictions: u32 = 0;
    rows.dedup_by(|later, first| {
        let dropped = name(later, first).is_eq();
        if dropped && later != first {
            contradictions = contradictions.saturating_add(1);
        }
        dropped
    });
    contradictions
}

fn push_once(list: &mut Vec<IpAddr>, address: IpAddr) {
    if list.len() < OWN_MAX && !list.contains(&address) {
        list.push(address);
    }
}

fn replace_if<T>(condition: bool, list: &mut Vec<T>, other: Vec<T>) {
    if condition {
        *list = other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::jsoninfo;
    use crate::view::NetworkCost;

    fn read(answer: &str) -> Builder {
        let mut builder = Builder::new(DaemonKind::Olsrd, Protocol::Jsoninfo);
        jsoninfo::parse(answer.as_bytes(), &mut builder);
        builder
    }

    const STARTUP: &str = "{\"pid\": 7,\"timeSinceStartup\": 5,\"version\": {\"version\": \"0.9.8\"},\
         \"config\": {\"mainIp\": \"10.0.0.1\",\"linkQuality\": {\"level\": 2,\"algorithm\": \"etx_fpm\"}}}";
    const ROUTES: &str = "{\"pid\": 7,\"timeSinceStartup\": 9005,\"routes\": [{\"destination\": \"10.0.0.2\",\
         \"genmask\": 32,\"metric\": 1,\"rtpMetricCost\": 65535}]}";

    #[test]
    fn what_was_read_once_completes_what_is_read_often() {
        let mut fresh = read(ROUTES);
        fresh.merge(read(STARTUP), 9000);
        let view = fresh.finish(&CostOptions::default());
        assert_eq!(view.daemon.version.as_deref(), Some("0.9.8"));
        assert_eq!(view.daemon.uptime_ms, Some(9005));
        assert_eq!((view.age_ms(Part::Routes), view.age_ms(Part::Daemon)), (Some(0), Some(9000)));
        assert_eq!(view.age_ms(Part::Links), None);
        // The scale of the cost was told by the older part.
        assert_eq!(view.routes[0].cost, NetworkCost::Reachable(100));
        assert_eq!(view.own, ["10.0.0.1".parse::<IpAddr>().expect("an address")]);
    }

    #[test]
    fn facts_of_another_run_of_the_daemon_are_not_taken_over() {
        let mut fresh = read(&ROUTES.replace("\"pid\": 7", "\"pid\": 8"));
        fresh.merge(read(STARTUP), 9000);
        let view = fresh.finish(&CostOptions::default());
        assert_eq!((view.daemon.version, view.daemon.pid), (None, Some(8)));
    }

    #[test]
    fn a_part_that_broke_off_gives_way_to_the_older_whole_one() {
        let mut broken = read(&ROUTES[..ROUTES.len() - 2]);
        assert!(!broken.has(Part::Routes));
        broken.merge(read(ROUTES), 1000);
        let view = broken.finish(&CostOptions::default());
        assert_eq!((view.routes.len(), view.age_ms(Part::Routes)), (1, Some(1000)));
    }

    #[test]
    fn complaints_are_bounded_and_none_is_lost() {
        let faults: Vec<String> = (0..COMPLAINTS_MAX + 9).map(|n| format!("fault {n}")).collect();
        let mut builder = read("{}");
        for fault in faults {
            builder.complain(Part::Links, fault.leak(), b"\x1b[31mred\n");
        }
        let complaints = builder.finish(&CostOptions::default()).complaints;
        assert!(complaints.len() <= COMPLAINTS_MAX);
        let total: usize = complaints.iter().map(|complaint| complaint.count as usize).sum();
        assert_eq!(total, COMPLAINTS_MAX + 9);
        assert!(complaints.iter().all(|complaint| !complaint.text.contains('\x1b')));
    }

    #[test]
    fn what_was_asked_for_and_did_not_come_is_told() {
        let mut builder = read(ROUTES);
        builder.expect(&[Part::Routes, Part::Links]);
        let view = builder.finish(&CostOptions::default());
        assert_eq!(view.complaints.len(), 1);
        assert_eq!(view.complaints[0].part, Part::Links);
    }
}
