//! The info plugins of olsrd (OLSRv1).

#[cfg(test)]
mod tests;
pub mod txtinfo;

use olsr_view::v1::release;
pub use olsr_view::v1::{Findings, jsoninfo};
