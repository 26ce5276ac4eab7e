//! olsrd's ETX as expected transmissions.
//!
//! olsrd's link cost is `1 / (LQ x NLQ)`, the expected number of transmissions counting both directions, and a route's
//! is the sum over its links: exactly the `C` of the network cost. What differs is how releases print it (floats since
//! 0.9.5, steps of 1/1024 or, with `etx_fpm`, 1/65535 before) and what they print for broken links: 4194304 for links,
//! 4294967295 for routes, 4096 or 64 for topology edges. With `LinkQualityLevel 0` there is no ETX: every route says
//! 0.000000, every link 4194304, and the hop counts are all there is.

use crate::build::Parts;
use crate::cost::{self, CostOptions, HOP, Measure};
use crate::view::{Link, LinkMetric, LinkStatus, NetworkCost};

/// LQ or NLQ below which olsrd calls a link broken.
const QUALITY_MIN: f64 = 0.1;

/// Fixed point steps at which olsrd calls a link broken, whatever the algorithm.
const LINK_BROKEN_STEPS: i64 = 4_194_304;

/// What a broken topology edge of `etx_fpm` reads: 4194304 steps of 1/65535, printed as if they were 1/65536.
const EDGE_BROKEN_FPM: f64 = 64.0;

/// Fixed point steps at which olsrd calls a route broken, whatever the algorithm.
const ROUTE_BROKEN_STEPS: i64 = 4_294_967_295;

/// Steps per transmission of all algorithms but `etx_fpm`.
const STEPS: f64 = 1024.0;

/// Steps per transmission of `etx_fpm`.
const STEPS_FPM: f64 = 65_535.0;

/// What a topology edge of olsrd measures. With `etx_fpm` a broken edge reads a plausible 64, so there the worse of its
/// two qualities decides; it is asked for only then.
pub fn edge_measure(cost: Measure, worse_quality: impl FnOnce() -> Option<f64>) -> Measure {
    if cost == Measure::Etx(EDGE_BROKEN_FPM) && worse_quality().is_some_and(|it| it < QUALITY_MIN) {
        return Measure::Broken;
    }
    cost
}

/// Fills the costs of all links, edges, routes and gateways in `parts` and tells how this daemon measures links.
pub(crate) fn apply(parts: &mut Parts, options: &CostOptions) -> LinkMetric {
    let metric = metric(parts);
    let by_hops = metric == LinkMetric::Hops;
    let fpm = parts.metric_name.as_deref().is_some_and(|name| name.contains("fpm"));
    let scale = Scale { steps: if fpm { STEPS_FPM } else { STEPS }, options };
    for (link, measure) in &mut parts.links {
        link.cost = scale.own_link(link, *measure, by_hops);
    }
    for (edge, measure) in &mut parts.edges {
        edge.cost = if by_hops { Some(HOP) } else { scale.link(*measure) };
    }
    for (route, measure) in &mut parts.routes {
        route.cost = scale.path(*measure, route.hops, by_hops);
    }
    for (gateway, measure) in &mut parts.gateways {
        gateway.cost = scale.path(*measure, gateway.hops, by_hops);
    }
    metric
}

/// How this daemon measures links: told by its configuration, else by its routes, which all say 0 without ETX.
fn metric(parts: &Parts) -> LinkMetric {
    match parts.metric_level {
        Some(0) => return LinkMetric::Hops,
        Some(_) => return LinkMetric::Etx,
        None => {}
    }
    if parts.routes.is_empty() {
        // Without routes a link that is not broken tells that there is an ETX.
        let measured = parts.links.iter().any(|(_, measure)| {
            matches!(measure, Measure::Etx(value) if *value < cost::LINK_TRANSMISSIONS_MAX)
                || matches!(measure, Measure::EtxScaled(value) if *value < LINK_BROKEN_STEPS)
        });
        return if measured { LinkMetric::Etx } else { LinkMetric::Unknown };
    }
    let zero = |measure: &Measure| matches!(measure, Measure::Etx(0.0) | Measure::EtxScaled(0));
    if parts.routes.iter().all(|(_, measure)| zero(measure)) {
        LinkMetric::Hops
    } else {
        LinkMetric::Etx
    }
}

struct Scale<'a> {
    steps: f64,
    options: &'a CostOptions,
}

impl Scale<'_> {
    /// A link that is not symmetric has no cost: its numbers are leftovers (LOST keeps a harmless looking value).
    fn own_link(&self, link: &Link, measure: Measure, by_hops: bool) -> Option<u32> {
        match link.status {
            LinkStatus::Symmetric | LinkStatus::Unknown if by_hops => Some(HOP),
            LinkStatus::Symmetric | LinkStatus::Unknown => self.link(measure),
            LinkStatus::Asymmetric | LinkStatus::Lost | LinkStatus::Unusable => None,
        }
    }

    fn link(&self, measure: Measure) -> Option<u32> {
        match measure {
            Measure::Etx(value) => cost::link(value, self.options),
            Measure::EtxScaled(value) if value < LINK_BROKEN_STEPS => {
                cost::link(value as f64 / self.steps, self.options)
            }
            Measure::EtxScaled(_) | Measure::Broken | Measure::Missing | Measure::Raw(_) => None,
        }
    }

    fn path(&self, measure: Measure, hops: Option<u32>, by_hops: bool) -> NetworkCost {
        let transmissions = match measure {
            _ if by_hops => 0.0,
            Measure::Etx(value) => value,
            Measure::EtxScaled(value) if value < ROUTE_BROKEN_STEPS => value as f64 / self.steps,
            Measure::EtxScaled(_) | Measure::Broken => f64::INFINITY,
            Measure::Missing | Measure::Raw(_) => return NetworkCost::NotMeaningful,
        };
        cost::path(transmissions, hops, self.options)
    }
}
