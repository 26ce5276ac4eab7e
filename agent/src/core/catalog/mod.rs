//! Every metric the agent knows, in one place: name, meaning, unit, labels, resolution.

pub mod agent;
pub mod delivery;
pub mod hardware;
pub mod membership;
pub mod mesh;
pub mod spool;

use crate::core::sample::Metric;

/// Takes one value: metric, label values in the metric's order, value.
pub type Sink<'a> = dyn FnMut(&'static Metric, &[&str], f64) + 'a;

fn flag(value: bool) -> f64 {
    if value { 1.0 } else { 0.0 }
}

/// Exact up to 2^53, which nothing counted here reaches.
fn count(value: u64) -> f64 {
    value as f64
}

fn size(value: usize) -> f64 {
    value as f64
}
