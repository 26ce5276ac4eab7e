//! Who is who in one view: which node an address belongs to, which route leads there, which links reach it. Answers for
//! one view only; remembers nothing and decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use olsr_bridge::view::{
    DaemonKind, HostName, Link, MeshView, NetworkCost, Part, Prefix, Route, is_link_local,
};

/// Longest name that is taken over from the mesh: a DNS label (RFC 1035 section 2.3.4) and room for a domain.
const NAME_BYTES_MAX: usize = 100;

/// Lookup tables over one view.
pub(super) struct Directory<'v> {
    view: &'v MeshView,
    own: BTreeSet<IpAddr>,
    /// Further address -> identity of its node. Addresses that several nodes claim are left out: they name nobody.
    node_of: BTreeMap<IpAddr, IpAddr>,
    /// Identity -> its further addresses.
    further: BTreeMap<IpAddr, Vec<IpAddr>>,
    host_routes: BTreeMap<IpAddr, &'v Route>,
    /// Announced networks of more than one host, longest prefix first.
    networks: Vec<(Prefix, IpAddr)>,
    links: BTreeMap<IpAddr, Vec<&'v Link>>,
    names: BTreeMap<IpAddr, Vec<&'v str>>,
}

impl<'v> Directory<'v> {
    pub(super) fn new(view: &'v MeshView) -> Directory<'v> {
        let claims = claims(view);
        let node_of: BTreeMap<IpAddr, IpAddr> = claims
            .iter()
            .filter(|(_, nodes)| nodes.len() == 1)
            .filter_map(|(address, nodes)| Some((*address, *nodes.first()?)))
            .collect();
        let mut further: BTreeMap<IpAddr, Vec<IpAddr>> = BTreeMap::new();
        for (address, node) in &node_of {
            further.entry(*node).or_default().push(*address);
        }
        let mut directory = Directory {
            view,
            own: view.own.iter().chain(&view.own_addresses).copied().collect(),
            node_of,
            further,
            host_routes: host_routes(view),
            networks: networks(view),
            links: BTreeMap::new(),
            names: BTreeMap::new(),
        };
        for link in &view.links {
            let node = link.neighbor.unwrap_or(directory.node(link.remote));
            directory.links.entry(node).or_default().push(link);
        }
        for name in view.names.iter().filter(|name| is_vehicle_name(name)) {
            let node = name.node.unwrap_or(directory.node(name.address));
            directory.names.entry(node).or_default().push(&name.name);
        }
        directory
    }

    /// Identity of the node that `address` belongs to: the address itself when the mesh says nothing else.
    pub(super) fn node(&self, address: IpAddr) -> IpAddr {
        self.node_of.get(&address).copied().unwrap_or(address)
    }

    /// Whether the address is one of this node.
    pub(super) fn is_own(&self, address: IpAddr) -> bool {
        self.own.contains(&address) || self.own.contains(&self.node(address))
    }

    /// Further addresses of a node.
    pub(super) fn further(&self, node: IpAddr) -> &[IpAddr] {
        self.further.get(&node).map_or(&[], Vec::as_slice)
    }

    /// Links to a node.
    pub(super) fn links(&self, node: IpAddr) -> &[&'v Link] {
        self.links.get(&node).map_or(&[], Vec::as_slice)
    }

    /// Nodes that have a host name, with their names in order.
    pub(super) fn named(&self) -> impl Iterator<Item = (IpAddr, &[&'v str])> {
        self.names.iter().map(|(node, names)| (*node, names.as_slice()))
    }

    /// Whether a node announces a host name.
    pub(super) fn claims_name(&self, node: IpAddr) -> bool {
        self.names.contains_key(&node)
    }

    /// Identities of all other nodes that can be routed to, and of all neighbours; link-local identities excepted,
    /// because no other network can reach them.
    pub(super) fn nodes(&self) -> BTreeSet<IpAddr> {
        let routed = self.host_routes.iter().map(|(address, route)| route.node.unwrap_or(*address));
        let neighbors = self.view.neighbors.iter().map(|neighbor| neighbor.address);
        routed
            .chain(neighbors)
            .map(|address| self.node(address))
            .filter(|node| !is_link_local(*node) && !self.is_own(*node))
            .collect()
    }

    /// The identity behind an address somebody wrote down: the address's node when the mesh knows the address, else the
    /// announcer of the network that contains it.
    pub(super) fn identify(&self, address: IpAddr) -> Option<IpAddr> {
        self.node_at(address).or_else(|| self.announcer(address))
    }

    /// The node that has this address.
    pub(super) fn node_at(&self, address: IpAddr) -> Option<IpAddr> {
        let routed = || self.host_routes.get(&address).map(|route| route.node.unwrap_or(address));
        self.node_of.get(&address).copied().or_else(routed)
    }

    /// The node that announces the narrowest network with this address in it.
    pub(super) fn announcer(&self, address: IpAddr) -> Option<IpAddr> {
        let (longest, _) = self.networks.iter().find(|(prefix, _)| prefix.contains(address))?;
        let announcers = self.networks.iter().filter(|(prefix, _)| prefix == longest);
        // Packets to the address go to the nearest of several announcers.
        let distance = |node: &IpAddr| self.host_routes.get(node).map(|route| rank(route));
        announcers
            .map(|(_, node)| *node)
            .min_by_key(|node| distance(node).map_or((true, None), |rank| (false, Some(rank))))
    }

    /// Whether `address` lies in a network that this node announces, and in no narrower one of another.
    pub(super) fn is_behind_own(&self, address: IpAddr) -> bool {
        let own = self.view.networks.iter().filter(|network| network.own);
        let own = own.map(|network| network.prefix).filter(|prefix| prefix.contains(address));
        let others = self.networks.iter().map(|(prefix, _)| *prefix);
        let other = others.filter(|prefix| prefix.contains(address)).map(|prefix| prefix.length);
        let own = own.map(|prefix| prefix.length).filter(|length| *length > 0).max();
        own.is_some() && own >= other.max()
    }

    /// The best usable route to any of `addresses`. A route to a network is never the answer: it leads to the nearest
    /// announcer, not to this one. Nor is one to a link-local address: it means something on one link only.
    pub(super) fn route(&self, addresses: impl Iterator<Item = IpAddr>) -> Option<&'v Route> {
        addresses
            .filter_map(|address| self.host_routes.get(&address).copied())
            .filter(|route| route.cost != NetworkCost::Unreachable)
            .filter(|route| !is_link_local(route.destination.address))
            .min_by_key(|route| rank(route))
    }

    /// Whether a route that is not in the view does not exist: every row could be understood.
    pub(super) fn routes_complete(&self) -> bool {
        self.view.complaints.iter().all(|complaint| complaint.part != Part::Routes)
    }

    /// Whether nodes can be told from their further addresses. olsrd2 routes to identities only.
    pub(super) fn tells_nodes(&self) -> bool {
        match self.view.daemon.kind {
            DaemonKind::Olsrd => self.view.age_ms(Part::Aliases).is_some(),
            DaemonKind::Olsrd2 => true,
        }
    }

    /// Milliseconds since the links were read.
    pub(super) fn links_age_ms(&self) -> u32 {
        self.view.age_ms(Part::Links).map_or(0, |ms| u32::try_from(ms).unwrap_or(u32::MAX))
    }
}

/// All nodes that claim an address: by alias, by an announced host, by the daemon's own word in a route. An address that
/// announces topology or aliases (by the main address, RFC 3626 section 5.2) is a node of its own, and nobody's claim takes
/// it: otherwise a neighbour could announce the address of a vehicle and have its own route pass for the way there, and two
/// that claim each other would begin anew with each view.
fn claims(view: &MeshView) -> BTreeMap<IpAddr, BTreeSet<IpAddr>> {
    let aliases = view.aliases.iter().map(|alias| (alias.address, alias.node));
    let hosts = view
        .networks
        .iter()
        .filter(|network| network.prefix.is_host())
        .map(|network| (network.prefix.address, network.node));
    let routes = view
        .routes
        .iter()
        .filter(|route| route.destination.is_host())
        .filter_map(|route| Some((route.destination.address, route.node?)));
    let tell_topology = view.edges.iter().map(|edge| edge.from);
    let tell_aliases = view.aliases.iter().map(|alias| alias.node);
    let originators: BTreeSet<IpAddr> = tell_topology.chain(tell_aliases).collect();
    let mut claims: BTreeMap<IpAddr, BTreeSet<IpAddr>> = BTreeMap::new();
    for (address, node) in aliases.chain(hosts).chain(routes) {
        if address != node && !originators.contains(&address) {
            claims.entry(address).or_default().insert(node);
        }
    }
    claims
}

fn host_routes(view: &MeshView) -> BTreeMap<IpAddr, &Route> {
    let mut routes: BTreeMap<IpAddr, &Route> = BTreeMap::new();
    for route in view.routes.iter().filter(|route| route.destination.is_host()) {
        let kept = routes.entry(route.destination.address).or_insert(route);
        if rank(route) < rank(kept) {
            *kept = route;
        }
    }
    routes
}

/// The usable before the broken, then the cheaper.
fn rank(route: &Route) -> (bool, NetworkCost, Option<u32>) {
    (route.cost == NetworkCost::Unreachable, route.cost, route.hops)
}

/// Announced networks, longest prefix first; among announcers of the same network the order is that of the view. A
/// default route contains every address and identifies nobody.
fn networks(view: &MeshView) -> Vec<(Prefix, IpAddr)> {
    let mut networks: Vec<(Prefix, IpAddr)> = view
        .networks
        .iter()
        .filter(|network| !network.own && !network.prefix.is_host() && network.prefix.length > 0)
        .map(|network| (network.prefix, network.node))
        .collect();
    networks
        .sort_by_key(|(prefix, node)| (std::cmp::Reverse(prefix.length), prefix.address, *node));
    networks
}

/// Names of interfaces (`mid1.name`) are not names of vehicles, and nothing but letters, digits and `-_.` is a name. Nor is
/// an address: vehicles without a name are called by theirs, and no neighbour may take that from them.
fn is_vehicle_name(name: &HostName) -> bool {
    let text = name.name.as_str();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let interface = text.split_once('.').is_some_and(|(first, rest)| {
        let number = first.strip_prefix("mid").unwrap_or("");
        !rest.is_empty() && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    });
    let address = text.parse::<IpAddr>().is_ok();
    let sized = (1..=NAME_BYTES_MAX).contains(&text.len());
    sized && text.bytes().all(plain) && !interface && !address
}
