//! Real Kubernetes control planes and vehicles side by side on one machine, with a double of k3s in between.
//!
//! The rig makes hosts out of namespaces, runs real programs on them, and takes everything down with the test, however the
//! test ends. What is real and what is a double is in this crate's README; the double is never part of a release.

pub mod anchor;
pub mod control_plane;
pub mod host;
pub mod https;
pub mod image;
pub mod k3s;
pub mod pki;
pub mod process;
pub mod programs;
pub mod systemd;
pub mod vehicle;

pub use anchor::Kind;
pub use control_plane::{ControlPlane, Options, Part, Shape};
pub use host::{Equipment, Ground, Host};
pub use link::Traits;
pub use process::{Process, wait_for};
pub use programs::Programs;
pub use vehicle::Vehicle;
