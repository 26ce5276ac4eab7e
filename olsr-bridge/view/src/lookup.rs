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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::Builder;
    use crate::cost::CostOptions;
    use crate::v1::jsoninfo;
    use crate::view::{DaemonKind, Protocol};

    /// b (10.1.2.2, alias 10.2.4.1) one hop away and d (10.2.4.2) two hops away both announce 192.168.20.0/24; d also
    /// announces 172.20.0.0/16, and e, which is gone, 10.77.0.5.
    const ANSWER: &str = concat!(
        "{\"routes\": [",
        "{\"destination\": \"0.0.0.0\",\"genmask\": 0,\"metric\": 2,\"etx\": 2.0},",
        "{\"destination\": \"10.1.2.2\",\"genmask\": 32,\"metric\": 1,\"etx\": 1.5},",
        "{\"destination\": \"10.2.4.2\",\"genmask\": 32,\"metric\": 2,\"etx\": 2.5},",
        "{\"destination\": \"192.168.20.0\",\"genmask\": 24,\"metric\": 1,\"etx\": 1.5}",
        "],\"hna\": [",
        "{\"gateway\": \"10.1.2.1\",\"destination\": \"10.77.0.1\",\"genmask\": 32,\"validityTime\": 0},",
        "{\"gateway\": \"10.2.4.2\",\"destination\": \"0.0.0.0\",\"genmask\": 0,\"validityTime\": 9},",
        "{\"gateway\": \"10.2.4.2\",\"destination\": \"192.168.20.0\",\"genmask\": 24,\"validityTime\": 9},",
        "{\"gateway\": \"10.2.4.2\",\"destination\": \"172.20.0.0\",\"genmask\": 16,\"validityTime\": 9},",
        "{\"gateway\": \"10.1.2.2\",\"destination\": \"192.168.20.0\",\"genmask\": 24,\"validityTime\": 9},",
        "{\"gateway\": \"10.4.5.2\",\"destination\": \"10.77.0.5\",\"genmask\": 32,\"validityTime\": 9}",
        "],\"mid\": [{\"main\": {\"ipAddress\": \"10.1.2.2\"},\"aliases\": [{\"ipAddress\": \"10.2.4.1\"}]}]}",
    );

    fn view(answer: &str) -> MeshView {
        let mut builder = Builder::new(DaemonKind::Olsrd, Protocol::Jsoninfo);
        jsoninfo::parse(answer.as_bytes(), &mut builder);
        builder.finish(&CostOptions::default())
    }

    fn found(view: &MeshView, address: &str) -> (Option<NetworkCost>, Option<Via>) {
        let resolution = view.resolve(address.parse().unwrap());
        let via = match resolution {
            Resolution::Route { via, .. } => Some(via),
            Resolution::Own | Resolution::Unreachable { .. } | Resolution::Unknown => None,
        };
        (resolution.cost(), via)
    }

    fn reachable(cost: u32, via: Via) -> (Option<NetworkCost>, Option<Via>) {
        (Some(NetworkCost::Reachable(cost)), Some(via))
    }

    #[test]
    fn a_peer_is_found_by_any_of_its_addresses() {
        let view = view(ANSWER);
        assert_eq!(found(&view, "10.1.2.2"), reachable(150, Via::Address));
        assert_eq!(found(&view, "10.2.4.1"), reachable(150, Via::Alias));
        assert_eq!(found(&view, "172.20.3.4"), reachable(250, Via::Network));
    }

    #[test]
    fn a_network_of_several_leads_to_the_nearest_announcer() {
        assert_eq!(found(&view(ANSWER), "192.168.20.9"), reachable(150, Via::Network));
    }

    #[test]
    fn a_default_route_reaches_nobody_in_particular() {
        let unreachable = (Some(NetworkCost::Unreachable), None);
        assert_eq!(found(&view(ANSWER), "8.8.8.8"), unreachable);
        assert_eq!(found(&view(ANSWER), "10.77.0.5"), unreachable);
    }

    #[test]
    fn own_addresses_have_no_cost() {
        assert_eq!(view(ANSWER).resolve("10.77.0.1".parse().unwrap()), Resolution::Own);
    }

    #[test]
    fn absence_from_a_table_that_was_not_read_whole_says_nothing() {
        let peer = "10.9.9.9".parse().unwrap();
        assert_eq!(view("{\"hna\": []}").resolve(peer), Resolution::Unknown);
        assert_eq!(view(&ANSWER[..ANSWER.len() - 20]).resolve(peer), Resolution::Unknown);
        let with_bad_row =
            ANSWER.replace("10.1.2.2\",\"genmask\": 32", "10.1.2.\",\"genmask\": 32");
        assert_eq!(view(&with_bad_row).resolve(peer), Resolution::Unknown);
        assert_eq!(view(ANSWER).resolve(peer), Resolution::Unreachable { node: None });
    }
}
