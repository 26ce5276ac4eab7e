//! A convoy on one machine: a mesh model, stand-ins that answer as olsrd and olsrd2 do, a broker, and the demo that runs real
//! `outrider` processes on top of them.
//!
//! The mesh is simulated, everything above it is real: agents are separate processes that read the daemons' true wire
//! formats over TCP and talk to a real MQTT broker. The package is test equipment and is never part of a release.

pub mod broker;
pub mod mesh;
pub mod olsrd;
pub mod olsrd2;
pub mod random;
pub mod scene;
pub mod stand_in;
pub mod world;
