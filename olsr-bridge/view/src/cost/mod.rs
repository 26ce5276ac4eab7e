//! The network cost: one dimensionless, additive number for both daemons.
//!
//! `cost = round(100 x C)` where `C` is the expected number of transmissions over the path: 100 is one perfect radio
//! hop, two perfect hops are 200, and a hop that loses packets costs more. Each daemon's own numbers become `C` in a
//! module of its own: [`etx`] for olsrd, [`olsrd2`] for olsrd2. This module holds what both share: the options, the
//! limits, and the step from `C` to the number that is published.
//!
//! | state | cost |
//! | --- | --- |
//! | route with a usable `C` | `round(100 x C)`, 1..=1 000 000 |
//! | route whose `C` is broken or above 10 000 | -1, unreachable |
//! | route whose metric has only default values or an unknown scale | not meaningful |
//! | `C` below 0.01 per hop (`LinkQualityLevel 0`, corrupted) | 100 per hop |
//!
//! Paths add up and every link contributes more than nothing, so a part of a path never costs more than the whole, and
//! more loss never lowers a cost. Absence of a route is no cost at all: [`MeshView::resolve`] tells when it means
//! unreachable. Nothing is smoothed here and nothing is remembered from one view to the next.
//!
//! [`MeshView::resolve`]: crate::view::MeshView::resolve

pub mod etx;
pub mod olsrd2;
#[cfg(test)]
mod tests;

use crate::view::NetworkCost;

/// What one perfect hop costs.
pub const HOP: u32 = 100;

/// Largest cost that is published; a path of 10 000 expected transmissions carries nothing.
pub const COST_MAX: u32 = 1_000_000;

/// Least transmissions per hop that can be meant; below it the daemon has no metric (`LinkQualityLevel 0` says 0).
pub const TRANSMISSIONS_PER_HOP_MIN: f64 = 0.01;

/// Largest number of transmissions over one link that can be meant. A usable link of olsrd has at most about 100 (LQ
/// and NLQ of 0.1); what is broken reads 4096 or more.
pub const LINK_TRANSMISSIONS_MAX: f64 = 1000.0;

/// Reference rate of olsrd2's air time mode in bit/s: one hop at this rate without loss costs 100.
pub const REFERENCE_RATE: u64 = 6_000_000;

/// What the operator may choose about the cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CostOptions {
    /// Let no hop cost less than 100. Off, the cost is what the router itself compares, where wired hops of `etx_ffeth`
    /// cost 10.
    pub floor_per_hop: bool,
    /// Bit rate that shall count as 100 per hop where olsrd2 knows bit rates, in bit/s.
    pub reference_rate: u64,
}

impl Default for CostOptions {
    fn default() -> CostOptions {
        CostOptions { floor_per_hop: false, reference_rate: REFERENCE_RATE }
    }
}

/// A daemon's own measure of a link, an edge or a path, before it becomes a cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Measure {
    /// Not told, or not understood.
    #[default]
    Missing,
    /// The daemon says that it carries nothing.
    Broken,
    /// Expected transmissions (olsrd 0.9.5 and later, txtinfo of all releases).
    Etx(f64),
    /// Expected transmissions in the fixed point steps of older olsrd: 1/1024, with `etx_fpm` 1/65535.
    EtxScaled(i64),
    /// olsrd2's raw path metric, 32 bits. Links and edges of olsrd2 carry theirs in the view.
    Raw(u32),
}

/// The cost of a path of `transmissions` expected transmissions over `hops` hops.
///
/// `transmissions` is infinite for broken paths; such and those above 10 000 are unreachable. Without a plausible
/// value the hops count, and without hops nothing can be said.
#[must_use]
pub fn path(transmissions: f64, hops: Option<u32>, options: &CostOptions) -> NetworkCost {
    if transmissions.is_nan() {
        return NetworkCost::NotMeaningful;
    }
    if transmissions > f64::from(COST_MAX / HOP) {
        return NetworkCost::Unreachable;
    }
    let hops_cost = u64::from(hops.unwrap_or(0)) * u64::from(HOP);
    if transmissions < TRANSMISSIONS_PER_HOP_MIN * f64::from(hops.unwrap_or(0).max(1)) {
        return if hops_cost > 0 { reachable(hops_cost) } else { NetworkCost::NotMeaningful };
    }
    let floor = if options.floor_per_hop { hops_cost } else { 0 };
    reachable(units(transmissions).max(floor))
}

/// The cost of one link or edge, `None` when it is broken or has no plausible value.
#[must_use]
pub fn link(transmissions: f64, options: &CostOptions) -> Option<u32> {
    if !(TRANSMISSIONS_PER_HOP_MIN..=LINK_TRANSMISSIONS_MAX).contains(&transmissions) {
        return None;
    }
    let cost = u32::try_from(units(transmissions)).ok()?;
    Some(if options.floor_per_hop { cost.max(HOP) } else { cost })
}

/// `transmissions` in units of the cost, rounded to the nearest; the caller has checked the range.
///
/// Adding a half is exact between 1 and 2^52, and rounding that way is no call into the library for each row.
fn units(transmissions: f64) -> u64 {
    (transmissions * f64::from(HOP) + 0.5) as u64
}

fn reachable(cost: u64) -> NetworkCost {
    match u32::try_from(cost) {
        Ok(cost) if cost <= COST_MAX => NetworkCost::Reachable(cost.max(1)),
        Ok(_) | Err(_) => NetworkCost::Unreachable,
    }
}
