//! Reads the OLSR routing daemon of this vehicle into one [`MeshView`](view::MeshView).
//!
//! Speaks olsrd (OLSRv1) through jsoninfo and txtinfo and olsrd2/OONF (OLSRv2) over HTTP and telnet.
//! Parsers are pure and never fail as a whole: they return what they understood and complaints about the rest. Only
//! [`client`] touches sockets, files and clocks.
//! This crate decides nothing over time: smoothing, freshness and hysteresis belong to its user.

pub mod client;
pub mod names;
pub mod v1;
pub mod v2;

pub use olsr_view::{build, cost, failure, http, json, lookup, number, view};
