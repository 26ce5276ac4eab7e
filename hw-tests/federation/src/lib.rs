//! Real Kubernetes control planes and vehicles side by side on one machine, with a double of k3s in between.
//!
//! The rig makes hosts out of namespaces, runs real programs on them, and takes everything down with the test, however the
//! test ends. What is real and what is a double is in this crate's README; the double is never part of a release.
//!
//! ```no_run
//! use std::net::Ipv4Addr;
//! use std::time::Duration;
//!
//! use federation::{ControlPlane, Equipment, Ground, Options, Shape, Vehicle};
//!
//! fn red_and_a_vehicle(equipment: Equipment) -> Result<(), String> {
//!     let ground = Ground::new(equipment)?;
//!     let options = Options::new(Shape::Federation);
//!     let red = ControlPlane::start(&ground, "red", Ipv4Addr::new(10, 77, 0, 11), &options)?;
//!     let vehicle = Vehicle::new(&ground, "veh-001", Ipv4Addr::new(10, 77, 0, 21))?;
//!     vehicle.configure(&red.url(), &red.agent_token()?)?;
//!     let _agent = vehicle.start_agent()?;
//!     red.wait_node("veh-001", "True", Duration::from_secs(60))?;
//!     ground.cut(vehicle.address())?;
//!     red.wait_node("veh-001", "Unknown", Duration::from_secs(60))
//! }
//! ```

pub mod anchor;
pub mod control_plane;
pub mod ground;
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
pub use ground::{Equipment, Ground};
pub use host::Host;
pub use link::{AVERAGE, Traits, WORST};
pub use process::{Process, wait_for};
pub use programs::Programs;
pub use vehicle::Vehicle;
