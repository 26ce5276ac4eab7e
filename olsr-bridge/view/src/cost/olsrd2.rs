//! olsrd2's raw metrics as expected transmissions.
//!
//! `ff_dat_metric` sends each direction of a link as `2^31 / (bit rate x success)`, the inverse of
//! what gets through in bit/s. Without a known bit rate it assumes 1024 bit/s, so a perfect link
//! reads 2 105 088 (2 097 152 rounded to what its 12-bit code can carry) and the number says loss
//! only. The sum that olsrd2 itself minimises counts one direction; a packet that is acknowledged
//! needs both.
//!
//! | every raw metric of the path | `C` |
//! | --- | --- |
//! | at least 2 000 000: loss only | sum of `out / 2105088 x in / 2105088` over its links |
//! | below: bit rates known | sum of `max(out, in) x B / 2^31`, `B` the reference rate in bit/s |
//! | some of each | not meaningful: the two have no common scale; a complaint says so |
//!
//! The links of a path are found by following each route's last hop back to this node through the
//! graph, which alone knows both directions beyond the first hop. Where the graph does not know
//! `in`, `out` counts alone; where the walk fails, the route's own sum counts as it is. A network
//! behind a node costs what the node costs and the little that its announcement adds. A metric of
//! another name has an unknown scale: not meaningful.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{COST_MAX, CostOptions, HOP, Measure};
use crate::build::Parts;
use crate::view::{
    AttachedNetwork, Link, LinkMetric, LinkStatus, NetworkCost, Part, Prefix, Route,
};

/// The only metric whose scale is known.
pub const METRIC_NAME: &str = "ff_dat_metric";

/// Raw metric of a perfect link without known bit rate, as received (olsrd2 0.15.1).
pub const PERFECT_RAW: f64 = 2_105_088.0;

/// Raw metrics from here on carry no bit rate: the slowest radio would have to be below 1.1 kbit/s.
pub const RATELESS_RAW_MIN: u32 = 2_000_000;

/// Largest finite link metric (RFC 7181 section 5.4.1 and the 12-bit code of RFC 7188).
pub const LINK_RAW_MAX: u32 = 16_776_960;

/// Scale of the metric: raw x bit/s of a lossless link.
const RAW_RATE: f64 = 2_147_483_648.0;

const MIXED: &str = "a path joins links with and without known bit rate, so its cost is not meaningful; configure \
                     a bit rate for all interfaces or for none";
const UNKNOWN_METRIC: &str = "the scale of this metric is not known, so costs are not meaningful";

/// Fills the costs of all links, edges and routes in `parts` and tells how this daemon measures
/// links.
pub(crate) fn apply(parts: &mut Parts, options: &CostOptions) -> LinkMetric {
    match &parts.metric_name {
        Some(name) if name == METRIC_NAME => {}
        None if parts.routes.is_empty() => return LinkMetric::Unknown,
        None => return not_meaningful(parts, b""),
        Some(name) => {
            let name = name.clone();
            return not_meaningful(parts, name.as_bytes());
        }
    }
    for (link, _) in &mut parts.links {
        link.cost = own_link(link, options);
        (link.quality_in, link.quality_out) = qualities(link);
    }
    for (edge, _) in &mut parts.edges {
        edge.cost = Hop::new(edge.out_raw, edge.in_raw).and_then(|hop| hop.cost(options));
    }
    let paths = Paths::of(parts);
    let costs: Vec<NetworkCost> =
        parts.routes.iter().map(|(route, measure)| paths.cost(route, *measure, options)).collect();
    let mut mixed = 0;
    for ((route, measure), cost) in parts.routes.iter_mut().zip(costs) {
        route.cost = cost;
        let told = matches!(measure, Measure::Raw(_));
        mixed += u32::from(told && cost == NetworkCost::NotMeaningful);
    }
    if mixed > 0 {
        parts.complain_times(Part::Routes, MIXED, b"", mixed);
    }
    metric(parts)
}

/// Every number is of unknown scale; links and edges keep no cost.
fn not_meaningful(parts: &mut Parts, name: &[u8]) -> LinkMetric {
    for (route, _) in &mut parts.routes {
        route.cost = NetworkCost::NotMeaningful;
    }
    parts.complain(Part::Daemon, UNKNOWN_METRIC, name);
    LinkMetric::NotMeaningful
}

/// Whether bit rates are known. A mesh with some of each counts as one with rates.
fn metric(parts: &Parts) -> LinkMetric {
    let links = parts.links.iter().filter_map(|(link, _)| link.metric_out_raw);
    let edges = parts.edges.iter().filter_map(|(edge, _)| edge.out_raw);
    let mut raws = links.chain(edges).peekable();
    if raws.peek().is_none() {
        return LinkMetric::Unknown;
    }
    if raws.all(|raw| raw >= RATELESS_RAW_MIN) { LinkMetric::Loss } else { LinkMetric::Airtime }
}

/// A lost or pending link keeps finite metrics, and a usable one may carry the largest: only the
/// status decides.
fn own_link(link: &Link, options: &CostOptions) -> Option<u32> {
    match link.status {
        LinkStatus::Symmetric | LinkStatus::Unknown => {
            Hop::new(link.metric_out_raw, link.metric_in_raw)?.cost(options)
        }
        LinkStatus::Asymmetric | LinkStatus::Lost | LinkStatus::Unusable => None,
    }
}

/// Shares received in both directions, as far as the metric tells: without bit rate it is their
/// inverse. A share that the parser took from the daemon's packet counters stands.
fn qualities(link: &Link) -> (Option<f32>, Option<f32>) {
    let share = |raw: Option<u32>| {
        let raw = raw.filter(|raw| *raw >= RATELESS_RAW_MIN)?;
        Some((PERFECT_RAW / f64::from(raw)).min(1.0) as f32)
    };
    (
        link.quality_in.or_else(|| share(link.metric_in_raw)),
        link.quality_out.or_else(|| share(link.metric_out_raw)),
    )
}

/// One link of a path, as raw metrics.
#[derive(Clone, Copy, Debug)]
struct Hop {
    out: u32,
    back: Option<u32>,
}

impl Hop {
    /// `None` without a finite outgoing metric: nothing can be sent there.
    fn new(out: Option<u32>, back: Option<u32>) -> Option<Hop> {
        let finite = |raw: &u32| (1..=LINK_RAW_MAX).contains(raw);
        Some(Hop { out: out.filter(finite)?, back: back.filter(finite) })
    }

    fn cost(self, options: &CostOptions) -> Option<u32> {
        match Sum::default().plus(self).cost(1, options) {
            NetworkCost::Reachable(cost) => Some(cost),
            NetworkCost::Unreachable | NetworkCost::NotMeaningful => None,
        }
    }
}

/// What the links of a path add up to, in both readings.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    /// Sum of `out x in` in units of perfect links.
    product: f64,
    /// Sum of the worse direction, raw.
    worse_raw: f64,
    /// Some raw metric carries no bit rate.
    rateless: bool,
    /// Some raw metric carries a bit rate.
    rated: bool,
}

impl Sum {
    fn plus(mut self, hop: Hop) -> Sum {
        let back = hop.back.map_or(PERFECT_RAW, f64::from);
        let out = f64::from(hop.out);
        self.product += out / PERFECT_RAW * (back / PERFECT_RAW);
        self.worse_raw += hop.back.map_or(out, |back| out.max(f64::from(back)));
        for raw in [Some(hop.out), hop.back].into_iter().flatten() {
            self.rateless |= raw >= RATELESS_RAW_MIN;
            self.rated |= raw < RATELESS_RAW_MIN;
        }
        self
    }

    /// Adds what comes on top of the links, raw: the metric of an announced network. It is no radio
    /// link and does not tell whether rates are known.
    fn plus_raw(mut self, raw: f64) -> Sum {
        self.product += raw / PERFECT_RAW;
        self.worse_raw += raw;
        self
    }

    fn cost(self, hops: u32, options: &CostOptions) -> NetworkCost {
        if self.rateless && self.rated {
            return NetworkCost::NotMeaningful;
        }
        let transmissions = if self.rateless {
            self.product
        } else {
            self.worse_raw * options.reference_rate as f64 / RAW_RATE
        };
        cost(transmissions, hops, options)
    }
}

/// As [`super::path`], without its plausibility check: fast radios legitimately cost less than 0.01
/// per hop.
fn cost(transmissions: f64, hops: u32, options: &CostOptions) -> NetworkCost {
    if transmissions > f64::from(COST_MAX / HOP) {
        return NetworkCost::Unreachable;
    }
    let floor = if options.floor_per_hop { u64::from(hops) * u64::from(HOP) } else { 0 };
    super::reachable(super::units(transmissions).max(floor))
}

/// Sums of all paths, found by walking each route's last hops back to this node.
struct Paths<'a> {
    own: &'a [IpAddr],
    /// Sorted by prefix and node.
    networks: &'a [AttachedNetwork],
    /// Both directions of each edge by its ends.
    edges: BTreeMap<(IpAddr, IpAddr), Hop>,
    /// Host routes: last hop and the daemon's sum.
    routes: BTreeMap<IpAddr, (IpAddr, u32)>,
    /// Sum of the path to each node; `None` where the walk fails.
    sums: BTreeMap<IpAddr, Option<Sum>>,
    /// Some link of the mesh knows its bit rate.
    rated: bool,
}

impl Paths<'_> {
    fn of(parts: &Parts) -> Paths<'_> {
        let edges = parts
            .edges
            .iter()
            .filter_map(|(edge, _)| {
                Some(((edge.from, edge.to), Hop::new(edge.out_raw, edge.in_raw)?))
            })
            .collect();
        let routes = parts
            .routes
            .iter()
            .filter(|(route, _)| route.destination.is_host())
            .filter_map(|(route, measure)| match measure {
                Measure::Raw(raw) => Some((route.destination.address, (route.last_hop?, *raw))),
                Measure::Missing | Measure::Broken | Measure::Etx(_) | Measure::EtxScaled(_) => {
                    None
                }
            })
            .collect();
        let mut paths = Paths {
            own: &parts.own,
            networks: &parts.networks,
            edges,
            routes,
            sums: BTreeMap::new(),
            rated: metric(parts) == LinkMetric::Airtime,
        };
        for own in &parts.own {
            paths.sums.insert(*own, Some(Sum::default()));
        }
        let nodes: Vec<IpAddr> = paths.routes.keys().copied().collect();
        for node in nodes {
            paths.walk(node);
        }
        paths
    }

    /// Fills the sums of `node` and of every node on the way to it. Each node is walked once; a
    /// circle of last hops ends at the first node met again and fails.
    fn walk(&mut self, node: IpAddr) {
        let mut way = Vec::new();
        let mut at = node;
        let mut sum = loop {
            if let Some(known) = self.sums.get(&at) {
                break *known;
            }
            let Some((last_hop, _)) = self.routes.get(&at) else { break None };
            self.sums.insert(at, None);
            way.push((*last_hop, at));
            at = *last_hop;
        };
        while let Some((from, to)) = way.pop() {
            sum = sum.and_then(|sum| Some(sum.plus(*self.edges.get(&(from, to))?)));
            self.sums.insert(to, sum);
        }
    }

    fn cost(&self, route: &Route, measure: Measure, options: &CostOptions) -> NetworkCost {
        let raw = match measure {
            Measure::Raw(raw) => raw,
            Measure::Broken => return NetworkCost::Unreachable,
            Measure::Missing | Measure::Etx(_) | Measure::EtxScaled(_) => {
                return NetworkCost::NotMeaningful;
            }
        };
        let hops = route.hops.unwrap_or(1).max(1);
        let sum = match route.last_hop {
            Some(last_hop) if self.announced(route.destination, last_hop) => {
                self.behind(last_hop, raw)
            }
            Some(_) | None => self.sums.get(&route.destination.address).copied().flatten(),
        };
        if let Some(sum) = sum {
            return sum.cost(hops, options);
        }
        self.forward(raw, hops, options)
    }

    /// The cost by the daemon's own sum. It does not tell how many links it is of (an announced
    /// distance counts as hops), so the links elsewhere in the mesh tell how to read it.
    fn forward(&self, raw: u32, hops: u32, options: &CostOptions) -> NetworkCost {
        let rateless = raw >= RATELESS_RAW_MIN;
        if self.rated && rateless {
            return NetworkCost::NotMeaningful;
        }
        let transmissions = if rateless {
            f64::from(raw) / PERFECT_RAW
        } else {
            f64::from(raw) * options.reference_rate as f64 / RAW_RATE
        };
        cost(transmissions, hops, options)
    }

    /// Whether `prefix` is a network that `node` announces, not a node itself.
    fn announced(&self, prefix: Prefix, node: IpAddr) -> bool {
        let wanted = (prefix, node);
        let known = |network: &AttachedNetwork| (network.prefix, network.node).cmp(&wanted);
        !prefix.is_host() || self.networks.binary_search_by(known).is_ok()
    }

    /// The path to a network announced by `node`, for which the daemon's sum is `raw`.
    fn behind(&self, node: IpAddr, raw: u32) -> Option<Sum> {
        let sum = self.sums.get(&node).copied().flatten()?;
        let node_raw = if self.own.contains(&node) { 0 } else { self.routes.get(&node)?.1 };
        Some(sum.plus_raw(f64::from(raw.saturating_sub(node_raw))))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Shares received in both directions, down to the worst that `ff_dat_metric` reports (an
    /// eighth).
    fn hop(forward: f64, back: f64) -> Hop {
        let raw = |share: f64| Some((PERFECT_RAW / share).round() as u32);
        Hop::new(raw(forward), raw(back)).unwrap()
    }

    fn cost_of(hops: &[(f64, f64)]) -> u32 {
        let sum =
            hops.iter().fold(Sum::default(), |sum, (forward, back)| sum.plus(hop(*forward, *back)));
        let NetworkCost::Reachable(cost) = sum.cost(hops.len() as u32, &CostOptions::default())
        else {
            panic!("{hops:?} has no cost");
        };
        cost
    }

    fn share() -> impl Strategy<Value = f64> {
        0.126..1.0
    }

    proptest! {
        #[test]
        fn more_loss_never_lowers_a_cost(forward in share(), back in share(), worse in 0.126..1.0) {
            prop_assert!(cost_of(&[(forward.min(worse), back)]) >= cost_of(&[(forward, back)]));
            prop_assert!(cost_of(&[(forward, back.min(worse))]) >= cost_of(&[(forward, back)]));
        }

        #[test]
        fn both_directions_count_alike(forward in share(), back in share()) {
            prop_assert_eq!(cost_of(&[(forward, back)]), cost_of(&[(back, forward)]));
        }

        #[test]
        fn costs_add_up_along_a_path(hops in proptest::collection::vec((share(), share()), 1..8)) {
            let whole = cost_of(&hops);
            let single: u32 = hops.iter().map(|hop| cost_of(&[*hop])).sum();
            // Each addend is rounded on its own.
            prop_assert!(whole.abs_diff(single) <= hops.len() as u32);
            prop_assert!(hops.len() == 1 || whole > cost_of(&hops[1..]));
        }
    }

    #[test]
    fn a_perfect_hop_costs_100() {
        assert_eq!(cost_of(&[(1.0, 1.0)]), 100);
        assert_eq!(cost_of(&[(1.0, 1.0); 3]), 300);
    }

    #[test]
    fn a_fast_radio_costs_little_but_not_nothing() {
        let gigabit = Hop::new(Some(2), Some(2)).unwrap();
        assert_eq!(gigabit.cost(&CostOptions::default()), Some(1));
        let floor = CostOptions { floor_per_hop: true, ..CostOptions::default() };
        assert_eq!(gigabit.cost(&floor), Some(HOP));
    }

    #[test]
    fn an_infinite_or_zero_outgoing_metric_is_no_hop() {
        assert!(Hop::new(Some(16_777_215), Some(PERFECT_RAW as u32)).is_none());
        assert!(Hop::new(Some(0), None).is_none());
        assert!(Hop::new(None, Some(1)).is_none());
    }
}
