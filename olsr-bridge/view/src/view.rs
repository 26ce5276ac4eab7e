//! The mesh as one vehicle's routing daemon sees it at one moment, whatever the daemon.
//!
//! Plain data without a clock: ages are relative to the moment the answer was read. Nothing here is smoothed.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Which routing daemon answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DaemonKind {
    /// olsrd, OLSRv1 (RFC 3626).
    Olsrd,
    /// olsrd2 of the OONF project, OLSRv2 (RFC 7181).
    Olsrd2,
}

/// The interface of the daemon that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// olsrd's jsoninfo plugin.
    Jsoninfo,
    /// olsrd's txtinfo plugin.
    Txtinfo,
    /// olsrd2's http plugin.
    Olsrd2Http,
    /// olsrd2's telnet plugin, one-shot form.
    Olsrd2Telnet,
}

/// How the daemon measures links, which decides what its numbers mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkMetric {
    /// Not told by this answer.
    #[default]
    Unknown,
    /// olsrd with a link quality extension: ETX.
    Etx,
    /// olsrd with `LinkQualityLevel 0`: hop counts only.
    Hops,
    /// olsrd2 `ff_dat_metric` without bit rates: loss only.
    Loss,
    /// olsrd2 `ff_dat_metric` with bit rates: air time.
    Airtime,
    /// olsrd2 whose metric carries only default values, or one whose scale is not known.
    NotMeaningful,
}

/// The daemon that answered, and this run of it. Its fields stand at the top level of a serialised view.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Daemon {
    /// Which daemon.
    #[serde(rename = "daemon")]
    pub kind: DaemonKind,
    /// Version text as the daemon gives it.
    pub version: Option<String>,
    /// Which of its interfaces was read.
    pub protocol: Protocol,
    /// Process id (olsrd 0.9 and later). Another pid is another run of the daemon.
    pub pid: Option<u32>,
    /// Time since the daemon started, in milliseconds. olsrd's wraps after 49.7 days.
    pub uptime_ms: Option<u64>,
    /// How links are measured.
    pub metric: LinkMetric,
    /// Name of the metric as the daemon gives it (`etx_ff`, `ff_dat_metric`).
    pub metric_name: Option<String>,
    /// The daemon's own HELLO interval in milliseconds, where told.
    pub hello_interval_ms: Option<u32>,
}

/// State of a link as the daemon reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkStatus {
    /// Heard in both directions.
    Symmetric,
    /// We hear the neighbour; it does not (yet) say that it hears us.
    Asymmetric,
    /// Timed out; its numbers are leftovers.
    Lost,
    /// Hidden, pending or unspecified: not used.
    Unusable,
    /// The daemon's interface has no status field (olsrd before 0.9.5, txtinfo).
    Unknown,
}

/// One link of this node: a pair of interface addresses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Link {
    /// Own interface address. olsrd2 does not tell it.
    pub local: Option<IpAddr>,
    /// Interface address of the neighbour.
    pub remote: IpAddr,
    /// The neighbour's identity (main address or originator), where known.
    pub neighbor: Option<IpAddr>,
    /// Own interface name.
    pub interface: Option<String>,
    /// State.
    pub status: LinkStatus,
    /// Network cost of this link by the rules of [`crate::cost`]; `None` when broken or not meaningful.
    pub cost: Option<u32>,
    /// Share of the neighbour's packets that we receive, 0..=1 (LQ; for olsrd2 derived from `in`).
    pub quality_in: Option<f32>,
    /// Share of our packets that the neighbour receives, 0..=1 (NLQ; for olsrd2 derived from `out`).
    pub quality_out: Option<f32>,
    /// olsrd2's raw incoming link metric (1..=16776960), `None` for olsrd or infinite.
    pub metric_in_raw: Option<u32>,
    /// olsrd2's raw outgoing link metric (1..=16776960), `None` for olsrd or infinite.
    pub metric_out_raw: Option<u32>,
    /// Bit rate at which the neighbour's packets arrive, in bit/s, where olsrd2 knows one.
    #[serde(default)]
    pub rate_in_bps: Option<u64>,
    /// Time since the last HELLO that confirmed the link, in milliseconds (validity time minus `symmetryTime`).
    pub hello_age_ms: Option<u32>,
    /// The neighbour's HELLO interval in milliseconds.
    pub hello_interval_ms: Option<u32>,
    /// The neighbour's announced HELLO validity time in milliseconds.
    pub hello_validity_ms: Option<u32>,
}

impl Link {
    /// Whether packets can use this link now: symmetric (where told) and not broken.
    #[must_use]
    pub fn usable(&self) -> bool {
        matches!(self.status, LinkStatus::Symmetric | LinkStatus::Unknown) && self.cost.is_some()
    }
}

/// One neighbour node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbor {
    /// Identity: main address (olsrd) or originator (olsrd2).
    pub address: IpAddr,
    /// Heard in both directions.
    pub symmetric: bool,
    /// We selected it as multipoint relay (RFC 3626 section 8.3.1; flooding MPR in RFC 7181).
    pub mpr: bool,
    /// It selected us as multipoint relay.
    pub mpr_selector: bool,
    /// Willingness to relay, 0..=7.
    pub willingness: Option<u8>,
    /// Number of links to it.
    pub links: Option<u32>,
    /// Number of its symmetric neighbours.
    pub two_hop: Option<u32>,
}

/// One directed edge of the topology, between identities.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Edge {
    /// Where the edge starts (the node that announced it).
    pub from: IpAddr,
    /// Where it leads.
    pub to: IpAddr,
    /// Network cost by the rules of [`crate::cost`]; `None` when broken or not meaningful.
    pub cost: Option<u32>,
    /// Raw outgoing metric of olsrd2.
    pub out_raw: Option<u32>,
    /// Raw incoming metric of olsrd2 where the graph tells it.
    pub in_raw: Option<u32>,
}

/// An address with prefix length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prefix {
    /// Network address.
    pub address: IpAddr,
    /// Prefix length in bits, 0..=32 or 0..=128.
    pub length: u8,
}

impl Prefix {
    /// The prefix of exactly one host.
    #[must_use]
    pub fn host(address: IpAddr) -> Prefix {
        Prefix { address, length: if address.is_ipv4() { 32 } else { 128 } }
    }

    /// Whether this names exactly one host.
    #[must_use]
    pub fn is_host(&self) -> bool {
        self.length == if self.address.is_ipv4() { 32 } else { 128 }
    }

    /// Whether `address` lies in this prefix; never across address families.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(net), IpAddr::V4(host)) => {
                let shift = 32 - u32::from(self.length.min(32));
                (u64::from(u32::from(net)) >> shift) == (u64::from(u32::from(host)) >> shift)
            }
            (IpAddr::V6(net), IpAddr::V6(host)) => {
                let shift = 128 - u32::from(self.length.min(128));
                let (net, host) = (u128::from(net), u128::from(host));
                net.checked_shr(shift).unwrap_or(0) == host.checked_shr(shift).unwrap_or(0)
            }
            _ => false,
        }
    }
}

impl fmt::Display for Prefix {
    /// A host prints as the bare address, anything else as `address/length`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_host() {
            write!(f, "{}", self.address)
        } else {
            write!(f, "{}/{}", self.address, self.length)
        }
    }
}

impl std::str::FromStr for Prefix {
    type Err = String;

    /// Reads `address` or `address/length`.
    fn from_str(text: &str) -> Result<Prefix, String> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr =
            address.parse().map_err(|_| format!("`{address}` is not an IP address"))?;
        let host = Prefix::host(address);
        let Some(length) = length else { return Ok(host) };
        match length.parse::<u8>() {
            Ok(length) if length <= host.length => Ok(Prefix { address, length }),
            _ => Err(format!("`{length}` is not a prefix length for {address}")),
        }
    }
}

impl Serialize for Prefix {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Prefix, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What a number for reaching a destination says.
///
/// Serialised as the number of the product's convention: the cost itself, -1 for unreachable, `null` for not meaningful.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NetworkCost {
    /// Additive, dimensionless; 100 is one perfect hop. 1..=1_000_000.
    Reachable(u32),
    /// The warmed-up daemon answered and has no usable route.
    Unreachable,
    /// Reachable, but the daemon's metric has only default values or an unknown scale.
    NotMeaningful,
}

impl Serialize for NetworkCost {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            NetworkCost::Reachable(cost) => serializer.serialize_some(cost),
            NetworkCost::Unreachable => serializer.serialize_some(&-1),
            NetworkCost::NotMeaningful => serializer.serialize_none(),
        }
    }
}

impl<'de> Deserialize<'de> for NetworkCost {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<NetworkCost, D::Error> {
        match Option::<i64>::deserialize(deserializer)? {
            None => Ok(NetworkCost::NotMeaningful),
            Some(-1) => Ok(NetworkCost::Unreachable),
            Some(cost) => u32::try_from(cost)
                .map(NetworkCost::Reachable)
                .map_err(|_| serde::de::Error::custom(format!("{cost} is not a network cost"))),
        }
    }
}

/// The daemon's best route to one prefix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// Where it leads. Written as a bare address when it is a host.
    #[serde(rename = "address")]
    pub destination: Prefix,
    /// Network cost by the rules of [`crate::cost`].
    pub cost: NetworkCost,
    /// Hops as the daemon counts them.
    pub hops: Option<u32>,
    /// Interface address of the next hop.
    pub next_hop: Option<IpAddr>,
    /// Outgoing interface; routes that leave by the same one share its name.
    pub interface: Option<Arc<str>>,
    /// Identity of the destination node, where the daemon or the alias and network tables tell it.
    pub node: Option<IpAddr>,
    /// Identity of the node before the destination (olsrd2 `route_lasthop`).
    pub last_hop: Option<IpAddr>,
    /// The destination is a link-local address (fe80::/10, 169.254.0.0/16): reachable from its own links only, so it
    /// is shown but no work may be scheduled on it.
    #[serde(default)]
    pub link_local: bool,
}

/// Whether `address` means something only on its own link.
#[must_use]
pub fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// A network announced into the mesh (HNA in OLSRv1, attached network in OLSRv2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachedNetwork {
    /// The prefix.
    pub prefix: Prefix,
    /// Identity of the announcing node.
    pub node: IpAddr,
    /// Announced by this node itself.
    pub own: bool,
}

/// A further interface address of a node (MID in OLSRv1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Alias {
    /// Identity of the node.
    pub node: IpAddr,
    /// Its further address.
    pub address: IpAddr,
}

/// A smart gateway (olsrd).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gateway {
    /// Identity of the gateway.
    pub node: IpAddr,
    /// In use by this node.
    pub selected: bool,
    /// Announced uplink in kbit/s.
    pub uplink_kbps: Option<u64>,
    /// Announced downlink in kbit/s.
    pub downlink_kbps: Option<u64>,
    /// Network cost of the path to it.
    pub cost: NetworkCost,
    /// Hops to it.
    pub hops: Option<u32>,
}

/// A host name announced by olsrd's nameservice plugin. As untrusted as everything that comes over the radio.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostName {
    /// The name.
    pub name: String,
    /// The address it stands for.
    pub address: IpAddr,
    /// Identity of the node that announced it; `None` for own names.
    pub node: Option<IpAddr>,
}

/// The parts of a view, each of which can be of another age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Own links.
    Links,
    /// Neighbours.
    Neighbors,
    /// Routes.
    Routes,
    /// Topology edges.
    Topology,
    /// Attached networks.
    Networks,
    /// Aliases.
    Aliases,
    /// Smart gateways.
    Gateways,
    /// Host names.
    Names,
    /// Version and configuration of the daemon.
    Daemon,
}

/// Something in the daemon's answer that could not be understood. The rest of the view stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Complaint {
    /// The part it concerns.
    pub part: Part,
    /// What was wrong and what was done about it, for a person.
    pub text: String,
    /// How many rows had the same fault.
    pub count: u32,
}

/// Age of one part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartAge {
    /// The part.
    pub part: Part,
    /// Milliseconds between its reading and the view; includes up to 1 s of the daemon's own cache.
    pub age_ms: u64,
}

/// The mesh as this vehicle's daemon sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MeshView {
    /// The daemon.
    #[serde(flatten)]
    pub daemon: Daemon,
    /// Own identities: main address (olsrd) or originator of each family (olsrd2). Empty when not told.
    pub own: Vec<IpAddr>,
    /// Own interface addresses.
    pub own_addresses: Vec<IpAddr>,
    /// Own links.
    pub links: Vec<Link>,
    /// Neighbours.
    pub neighbors: Vec<Neighbor>,
    /// Best route to each prefix.
    #[serde(rename = "destinations")]
    pub routes: Vec<Route>,
    /// Directed topology edges. No proof of reachability: only a route is.
    pub edges: Vec<Edge>,
    /// Networks announced into the mesh.
    pub networks: Vec<AttachedNetwork>,
    /// Further addresses of nodes.
    pub aliases: Vec<Alias>,
    /// Smart gateways.
    pub gateways: Vec<Gateway>,
    /// Host names.
    pub names: Vec<HostName>,
    /// Which parts were read and how old they are. A part that is missing here was not read: its list says nothing.
    pub ages: Vec<PartAge>,
    /// What could not be understood.
    pub complaints: Vec<Complaint>,
}

impl MeshView {
    /// Age of `part` in milliseconds, `None` when it was not read.
    #[must_use]
    pub fn age_ms(&self, part: Part) -> Option<u64> {
        self.ages.iter().find(|age| age.part == part).map(|age| age.age_ms)
    }
}
