//! Finds what a view says about reaching a peer that is known by any of its addresses.

use std::net::IpAddr;

use crate::view::{MeshView, NetworkCost, Part, Prefix, Route};

/// How an address was found to belong to its route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Via {
    /// There is a host route to the address itself.
    Address,
    /// The address is an alias (MID) of the node whose route this is.
    Alias,
    /// The node whose route this is announces a network (HNA, attached network) that contains the address.
    Network,
}

/// What a view says about reaching one address.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Resolution<'a> {
    /// It is this node's own.
    Own,
    /// There is a route that carries packets.
    Route {
        /// The route that tells cost and hops.
        route: &'a Route,
        /// Why it is the one.
        via: Via,
        /// Identity of the peer, where known.
        node: Option<IpAddr>,
    },
    /// The daemon answered and has no usable route to any address of the peer. Whether the daemon is warmed up, so
    /// that this means -1, is for its user to judge: a view has no memory.
    Unreachable {
        /// Identity of the peer, where known.
        node: Option<IpAddr>,
    },
    /// The view cannot tell: routes were not read, or something was lost from the tables that lead to peers.
    Unknown,
}

impl Resolution<'_> {
    /// The cost to publish, `None` for oneself and where the view cannot tell.
    #[must_use]
    pub fn cost(&self) -> Option<NetworkCost> {
        match self {
            Resolution::Route { route, .. } => Some(route.cost),
            Resolution::Unreachable { .. } => Some(NetworkCost::Unreachable),
            Resolution::Own | Resolution::Unknown => None,
        }
    }
}

impl MeshView {
    /// Finds the route to `address`, the address of a peer by which it happens to be known.
    ///
    /// The first of these that exists: the host route to the address; the route to the node whose alias it is; the
    /// route to the node that announces the longest network that contains it, or to the nearest of them when several
    /// announce the same. Never the route of a network itself, which leads to whoever announces it nearest. Default
    /// routes (length 0) contain everybody and therefore nobody.
    #[must_use]
    pub fn resolve(&self, address: IpAddr) -> Resolution<'_> {
        if self.is_own(address) {
            return Resolution::Own;
        }
        if let Some(route) = self.usable_host_route(address) {
            return Resolution::Route { route, via: Via::Address, node: route.node };
        }
        let main = self.aliases.iter().find(|alias| alias.address == address).map(|a| a.node);
        if let Some(main) = main {
            if self.is_own(main) {
                return Resolution::Own;
            }
            if let Some(route) = self.route_to_node(main) {
                return Resolution::Route { route, via: Via::Alias, node: Some(main) };
            }
        }
        let announcers = self.announcers(address);
        if announcers.iter().any(|node| self.is_own(*node)) {
            return Resolution::Own;
        }
        let nearest = announcers
            .iter()
            .filter_map(|node| Some((self.route_to_node(*node)?, *node)))
            .min_by_key(|(route, node)| (route.cost, *node));
        if let Some((route, node)) = nearest {
            return Resolution::Route { route, via: Via::Network, node: Some(node) };
        }
        // A row or table that was lost may have been the one that leads there.
        let lost = self.complaints.iter().any(|complaint| {
            matches!(complaint.part, Part::Routes | Part::Networks | Part::Aliases)
        });
        if self.age_ms(Part::Routes).is_some() && !lost {
            Resolution::Unreachable { node: main.or(announcers.first().copied()) }
        } else {
            Resolution::Unknown
        }
    }

    fn is_own(&self, address: IpAddr) -> bool {
        self.own.contains(&address) || self.own_addresses.contains(&address)
    }

    /// The route to exactly `address`, unless the daemon itself calls it broken.
    fn usable_host_route(&self, address: IpAddr) -> Option<&Route> {
        let host = Prefix::host(address);
        // Views of this crate are sorted; one that was put together by hand need not be.
        let route = match self.routes.binary_search_by(|route| route.destination.cmp(&host)) {
            Ok(at) => self.routes.get(at),
            Err(_) => self.routes.iter().find(|route| route.destination == host),
        };
        route.filter(|route| route.cost != NetworkCost::Unreachable)
    }

    /// The route to the identity of a node or else to any of its aliases.
    fn route_to_node(&self, node: IpAddr) -> Option<&Route> {
        self.usable_host_route(node).or_else(|| {
            self.aliases
                .iter()
                .filter(|alias| alias.node == node)
                .find_map(|alias| self.usable_host_route(alias.address))
        })
    }

    /// Who announces the longest networks that contain `address`.
    fn announcers(&self, address: IpAddr) -> Vec<IpAddr> {
        let containing = || {
            self.networks
                .iter()
                .filter(|network| network.prefix.length > 0 && network.prefix.contains(address))
        };
        let longest = containing().map(|network| network.prefix.length).max();
        containing()
            .filter(|network| Some(network.prefix.length) == longest)
            .map(|network| network.node)
            .collect()
    }
}
