//! Network cost of each vehicle over time: which addresses a vehicle has, freshness, warm-up and hysteresis.
//!
//! Takes raw views of the mesh in, gives one published cost per vehicle out. Never constant when the daemon is silent and
//! never -1 for want of an answer. Computes no cost itself (that is `olsr_bridge::cost`) and acts on none.
//!
//! A view counts as one sample when its routes were read anew: a part that is carried over from an earlier poll
//! (`MeshView::ages`) neither confirms nor contradicts anything. What happens to a vehicle:
//!
//! - A route makes it [`Reach::Reachable`]; the cost is smoothed (slower downwards, because the daemon itself
//!   recovers slowly), and a direct neighbour whose HELLOs are overdue gets more expensive before the daemon notices.
//! - A route that is missing for long enough, in enough samples, makes it [`Reach::Unreachable`]; it comes back only after
//!   the route has stayed for the return delay, which doubles while it flaps.
//! - While the daemon warms up, routes that are missing mean nothing and costs are too high: values are held, unless the
//!   daemon shows one that warm-up cannot have inflated.
//! - While the daemon is silent, values are held and marked stale; -1 and, later, everything else becomes
//!   [`Reach::Unknown`].

mod directory;
mod locate;
mod policy;
mod run;
mod track;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use olsr_bridge::view::{Link, MeshView, NetworkCost, Part, Route};
use serde::{Deserialize, Serialize};

pub use self::locate::Locator;
pub use self::policy::Policy;

use self::directory::Directory;
use self::run::Run;
use self::track::{Evidence, LinkFact, Origin, RouteFact, Rules, Track};
use crate::core::time::Mono;

/// Vehicles that are followed; the largest mesh we promise to follow has 1,000 nodes. One takes about 1 KiB.
pub const VEHICLES_MAX: usize = 1024;

/// Addresses that are kept of one vehicle: more interfaces than a vehicle has.
pub const ADDRESSES_MAX: usize = 16;

/// Two views whose routes were read within this time carry the same reading; ages are whole milliseconds, and no poll is
/// faster than one a second.
const SAME_READING: Duration = Duration::from_millis(50);

/// Missed polls that are taken for a restart of a daemon that does not tell its uptime.
const SILENT_POLLS_RESTART: u32 = 3;

/// What is published about reaching a vehicle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum Reach {
    /// This vehicle itself: cost 0.
    Own,
    /// A usable route.
    Reachable {
        /// Smoothed network cost, 100 is one perfect hop.
        cost: u32,
    },
    /// The warmed-up daemon answered and has had no usable route for long enough: cost -1.
    Unreachable,
    /// Reachable, but the daemon's numbers say nothing.
    NotMeaningful,
    /// Nothing can be said: daemon silent or warming up, or the vehicle never seen.
    #[default]
    Unknown,
}

impl Reach {
    /// The cost of a usable route; of the one to itself, 0.
    #[must_use]
    pub const fn cost(self) -> Option<u32> {
        match self {
            Reach::Own => Some(0),
            Reach::Reachable { cost } => Some(cost),
            Reach::Unreachable | Reach::NotMeaningful | Reach::Unknown => None,
        }
    }

    /// Whether both say the same apart from the number.
    #[must_use]
    pub fn same_kind(self, other: Reach) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }
}

/// What is known about one vehicle.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Vehicle {
    /// What is published.
    pub reach: Reach,
    /// Latest raw network cost, unsmoothed.
    pub raw_cost: Option<u32>,
    /// Hops of the route in use.
    pub hops: Option<u32>,
    /// Next hop of the route in use.
    pub next_hop: Option<IpAddr>,
    /// Outgoing interface.
    pub interface: Option<String>,
    /// Its addresses as far as known, the identity in the mesh first.
    pub addresses: Vec<IpAddr>,
    /// It is a direct neighbour.
    pub neighbor: bool,
    /// First-hop share received from it, 0..=1.
    pub quality_in: Option<f32>,
    /// First-hop share it receives, 0..=1.
    pub quality_out: Option<f32>,
    /// Age of its last HELLO in milliseconds, for neighbours.
    pub hello_age_ms: Option<u32>,
    /// When the samples were read that last supported what is published.
    pub fresh_at: Option<Mono>,
    /// The value is held for want of a sample that supports it: daemon silent or warming up.
    pub stale: bool,
    /// When `reach` last changed its kind.
    pub since: Option<Mono>,
    /// Changes between reachable and unreachable since start.
    pub transitions: u64,
}

/// A change of what is published about a vehicle, other than of the number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its name.
    pub vehicle: String,
    /// What was published before; [`Reach::Unknown`] for a vehicle that was not known.
    pub from: Reach,
    /// What is published now; [`Reach::Unknown`] for one that was forgotten.
    pub to: Reach,
}

/// What the operator decided about vehicles.
#[derive(Clone, Debug, PartialEq)]
pub struct Setup {
    /// Numbers of the time behaviour.
    pub policy: Policy,
    /// Name of this vehicle.
    pub own: String,
    /// Addresses of vehicles by name (`[mesh.vehicles]`). Without addresses the mesh's host name must tell them.
    pub vehicles: BTreeMap<String, Vec<IpAddr>>,
    /// Nodes without a name are vehicles named by their address.
    pub unnamed_vehicles: bool,
    /// Period of the polls.
    pub poll_interval: Duration,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            policy: Policy::default(),
            own: String::new(),
            vehicles: BTreeMap::new(),
            unnamed_vehicles: true,
            poll_interval: Duration::from_secs(1),
        }
    }
}

/// All vehicles by name.
#[derive(Debug, Default)]
pub struct Links {
    setup: Setup,
    tracks: BTreeMap<String, Track>,
    run: Run,
    routes_at: Option<Mono>,
    overflow: u64,
    name_conflicts: u64,
}

impl Links {
    /// Takes over settings, at start and when they change. What is known about vehicles stays; one that is no longer
    /// configured is treated like any other from now on.
    pub fn configure(&mut self, setup: Setup, at: Mono) {
        self.tracks.retain(|name, track| track.origin != Origin::Own || *name == setup.own);
        for track in self.tracks.values_mut() {
            if track.origin == Origin::Configured {
                track.origin = Origin::HostName;
                track.configured.clear();
            }
        }
        self.setup = setup;
        let own = self.setup.own.clone();
        if !own.is_empty() {
            self.tracks.insert(own.clone(), Track::new(Origin::Own, at));
        }
        for (name, addresses) in self.setup.vehicles.clone() {
            if name == own || !self.admit(&name, Origin::Configured, at) {
                continue;
            }
            if let Some(track) = self.tracks.get_mut(&name) {
                track.origin = Origin::Configured;
                track.configured = addresses.into_iter().take(ADDRESSES_MAX).collect();
            }
        }
    }

    /// Takes in what the daemon said at `at`. Returns what changed for whoever keeps a log.
    pub fn observe(&mut self, view: &MeshView, at: Mono) -> Vec<Change> {
        let silence_max = self.setup.poll_interval.saturating_mul(SILENT_POLLS_RESTART);
        if self.run.observe(view, at, silence_max) {
            self.tracks.values_mut().for_each(Track::interrupt);
        }
        let Some(age_ms) = view.age_ms(Part::Routes) else { return self.silent(at) };
        let routes_at = Mono::from_millis(at.millis().saturating_sub(age_ms));
        let carried_over = self.routes_at.is_some_and(|before| routes_at <= before + SAME_READING);
        if carried_over {
            return self.silent(at);
        }
        self.routes_at = Some(routes_at);

        let directory = Directory::new(view);
        let mut changes = self.enrol(&directory, routes_at);
        for (name, track) in &mut self.tracks {
            let before = track.vehicle.reach;
            let addresses = addresses(track, view, &directory);
            let evidence = evidence(track, &addresses, &directory);
            if track.origin == Origin::Own {
                track.vehicle.fresh_at = Some(routes_at);
            } else if evidence.route.is_some() || directory.routes_complete() {
                let rules = rules(&self.setup, &self.run, routes_at);
                track.sample(evidence, routes_at, rules);
            }
            track.vehicle.addresses = addresses;
            note(&mut changes, name, before, track.vehicle.reach);
        }
        changes.extend(self.silent(at));
        changes
    }

    /// Takes in that time has passed: the poll failed, or is not due. Harmless as often as one likes.
    pub fn silent(&mut self, at: Mono) -> Vec<Change> {
        let mut changes = Vec::new();
        let rules = rules(&self.setup, &self.run, at);
        self.tracks.retain(|name, track| {
            let before = track.vehicle.reach;
            track.age(at, rules);
            let forget = track.forgettable(at, &self.setup.policy);
            let now = if forget { Reach::Unknown } else { track.vehicle.reach };
            note(&mut changes, name, before, now);
            !forget
        });
        changes
    }

    /// Vehicles by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Vehicle)> {
        self.tracks.iter().map(|(name, track)| (name.as_str(), &track.vehicle))
    }

    /// One vehicle.
    #[must_use]
    pub fn of_host(&self, host: &str) -> Option<&Vehicle> {
        let Ok(address) = host.parse::<IpAddr>() else { return self.get(host) };
        let mut vehicles = self.iter().map(|(_, vehicle)| vehicle);
        vehicles.find(|vehicle| vehicle.addresses.contains(&address))
    }

    /// One vehicle by name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Vehicle> {
        self.tracks.get(name).map(|track| &track.vehicle)
    }

    /// Until when the daemon's numbers are not to be believed, if that is so at `at`.
    #[must_use]
    pub fn warming_until(&self, at: Mono) -> Option<Mono> {
        let warm_at = self.run.warm_at(&self.setup.policy);
        (self.run.answered() && warm_at > at).then_some(warm_at)
    }

    /// Restarts of the daemon that were noticed.
    #[must_use]
    pub fn daemon_restarts(&self) -> u64 {
        self.run.restarts()
    }

    /// Times a vehicle was not followed, or another was given up for it, because [`VEHICLES_MAX`] are followed.
    #[must_use]
    pub fn overflow(&self) -> u64 {
        self.overflow
    }

    /// Times a node of the mesh claimed a name that belongs to another vehicle, and did not get it. Counted per view.
    #[must_use]
    pub fn name_conflicts(&self) -> u64 {
        self.name_conflicts
    }

    /// Finds the vehicles of a view: sets each track's identity, adds what is there for the first time, and drops those
    /// that turned out to be another one.
    fn enrol(&mut self, directory: &Directory<'_>, at: Mono) -> Vec<Change> {
        let mut owners: BTreeMap<IpAddr, String> = BTreeMap::new();
        for (name, track) in &mut self.tracks {
            if track.origin != Origin::Configured {
                continue;
            }
            let told = track.configured.iter().find_map(|address| directory.identify(*address));
            track.identity = told.or(track.identity.map(|identity| directory.node(identity)));
            for address in track.identity.iter().chain(&track.configured) {
                owners.entry(*address).or_insert_with(|| name.clone());
            }
        }
        for (node, names) in directory.named() {
            if directory.is_own(node) || owners.contains_key(&node) {
                continue;
            }
            if let Some(name) = self.choose_name(node, names, directory)
                && self.admit(&name, Origin::HostName, at)
            {
                if let Some(track) = self.tracks.get_mut(&name) {
                    track.origin = track.origin.max(Origin::HostName);
                    track.identity = Some(node);
                }
                owners.insert(node, name);
            }
        }
        for (name, track) in &self.tracks {
            if let (Origin::HostName, Some(identity)) = (track.origin, track.identity) {
                owners.entry(directory.node(identity)).or_insert_with(|| name.clone());
            }
        }
        let changes = self.drop_mistaken(directory, &owners);
        if self.setup.unnamed_vehicles && directory.tells_nodes() {
            self.enrol_unnamed(directory, &owners, at);
        }
        changes
    }

    /// The name under which a node is followed: the one it already has, else the first nobody else has.
    fn choose_name(
        &mut self,
        node: IpAddr,
        names: &[&str],
        directory: &Directory<'_>,
    ) -> Option<String> {
        let names: BTreeSet<&str> = names.iter().copied().collect();
        let free = |name: &&str| {
            let Some(track) = self.tracks.get(*name) else { return true };
            match track.origin {
                Origin::Own | Origin::Address => false,
                Origin::Configured => track.configured.is_empty() && track.holder(node, directory),
                Origin::HostName => track.holder(node, directory),
            }
        };
        let held = |name: &&str| self.tracks.get(*name).is_some_and(|t| t.identity == Some(node));
        let chosen = names
            .iter()
            .copied()
            .find(|name| held(name) && free(name))
            .or_else(|| names.iter().copied().find(free))
            .map(str::to_owned);
        if chosen.is_none() {
            self.name_conflicts += 1;
        }
        chosen
    }

    /// Forgets vehicles whose node is followed under another name, or is this vehicle itself.
    fn drop_mistaken(
        &mut self,
        directory: &Directory<'_>,
        owners: &BTreeMap<IpAddr, String>,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        self.tracks.retain(|name, track| {
            let (Origin::Address | Origin::HostName, Some(identity)) =
                (track.origin, track.identity)
            else {
                return true;
            };
            let node = directory.node(identity);
            let renamed = owners.get(&node).is_some_and(|owner| owner != name);
            let alias = track.origin == Origin::Address && node != identity;
            let mistaken = renamed || alias || directory.is_own(node);
            if mistaken {
                note(&mut changes, name, track.vehicle.reach, Reach::Unknown);
            }
            !mistaken
        });
        changes
    }

    /// Follows nodes without a name. An alias whose announcement has not arrived yet looks like a node; it is dropped as
    /// mistaken as soon as it has.
    fn enrol_unnamed(
        &mut self,
        directory: &Directory<'_>,
        owners: &BTreeMap<IpAddr, String>,
        at: Mono,
    ) {
        let mut full = false;
        for node in directory.nodes() {
            let known = |address: &IpAddr| owners.contains_key(address);
            if known(&node) || directory.further(node).iter().any(known) {
                continue;
            }
            let name = node.to_string();
            if full && !self.tracks.contains_key(&name) {
                self.overflow += 1;
                continue;
            }
            full = !self.admit(&name, Origin::Address, at);
            if let Some(track) = self.tracks.get_mut(&name) {
                track.identity = Some(node);
            }
        }
    }

    /// Makes sure that there is a track of this name. When the table is full, the vehicle that was out of reach for
    /// longest makes room; if none is, the one that knocks is not followed. Both are counted.
    fn admit(&mut self, name: &str, origin: Origin, at: Mono) -> bool {
        if self.tracks.contains_key(name) {
            return true;
        }
        if self.tracks.len() >= VEHICLES_MAX {
            self.overflow += 1;
            let idle = |track: &Track| track.dispensable() && track.routed_at < at;
            let idle = self.tracks.iter().filter(|(_, track)| idle(track));
            let oldest =
                idle.min_by_key(|(_, track)| track.routed_at).map(|(name, _)| name.clone());
            let Some(oldest) = oldest else { return false };
            self.tracks.remove(&oldest);
        }
        self.tracks.insert(name.to_owned(), Track::new(origin, at));
        true
    }
}

/// Notes a change of kind.
fn note(changes: &mut Vec<Change>, vehicle: &str, from: Reach, to: Reach) {
    if !from.same_kind(to) {
        changes.push(Change { vehicle: vehicle.to_owned(), from, to });
    }
}

fn rules<'s>(setup: &'s Setup, run: &Run, at: Mono) -> Rules<'s> {
    let policy = &setup.policy;
    // Polls slower than the default must not make every value stale between two of them.
    let stale_after = policy.stale_after.max(setup.poll_interval.saturating_mul(3));
    Rules {
        policy,
        warm: run.answered() && at >= run.warm_at(policy),
        stale_after,
        unknown_after: policy.unknown_after.max(stale_after.saturating_mul(2)),
        unreachable_hold: run.unreachable_hold(policy),
        hello_interval: run.hello_interval(),
    }
}

/// Addresses of a vehicle, its identity first.
fn addresses(track: &Track, view: &MeshView, directory: &Directory<'_>) -> Vec<IpAddr> {
    let own = track.origin == Origin::Own;
    let told: Vec<IpAddr> = if own {
        view.own.iter().chain(&view.own_addresses).copied().collect()
    } else {
        let identity = track.identity;
        let further = identity.map_or(&[][..], |node| directory.further(node));
        identity.iter().chain(&track.configured).chain(further).copied().collect()
    };
    let mut addresses = Vec::with_capacity(told.len().min(ADDRESSES_MAX));
    for address in told {
        if addresses.len() < ADDRESSES_MAX && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

/// What this view says about a vehicle.
fn evidence(track: &Track, addresses: &[IpAddr], directory: &Directory<'_>) -> Evidence {
    let route = directory.route(addresses.iter().copied());
    let links = track.identity.map_or(&[][..], |node| directory.links(node));
    let next_hop = route.and_then(|route| route.next_hop);
    let best = links.iter().copied().min_by_key(|link| {
        (!link.usable(), Some(link.remote) != next_hop, link.cost.unwrap_or(u32::MAX))
    });
    let links_age_ms = directory.links_age_ms();
    Evidence {
        route: route.map(|route| route_fact(route, addresses)),
        link: best.map(|link| link_fact(link, links_age_ms)),
    }
}

fn route_fact(route: &Route, addresses: &[IpAddr]) -> RouteFact {
    let cost = match route.cost {
        NetworkCost::Reachable(cost) => Some(cost),
        NetworkCost::Unreachable | NetworkCost::NotMeaningful => None,
    };
    let direct = route.next_hop.is_some_and(|hop| addresses.contains(&hop));
    RouteFact {
        cost,
        hops: route.hops,
        next_hop: route.next_hop,
        interface: route.interface.as_deref().map(str::to_owned),
        direct: direct || route.hops == Some(1),
    }
}

fn link_fact(link: &Link, age_ms: u32) -> LinkFact {
    LinkFact {
        usable: link.usable(),
        quality_in: link.quality_in,
        quality_out: link.quality_out,
        hello_age_ms: link.hello_age_ms.map(|age| age.saturating_add(age_ms)),
        hello_interval_ms: link.hello_interval_ms,
    }
}

#[cfg(test)]
mod tests;
