//! `outrider run` as it is shipped, as a process of its own: what people see of it (status,
//! metrics, health, events, log, exit code) when what surrounds it misbehaves, and that its other
//! duties go on meanwhile.
//!
//! Everything is on loopback and in a temporary folder; a process is ended by its id. Good routing
//! answers are bytes that a real daemon sent (`olsr-bridge/fixtures`), the broker is a real
//! mosquitto. Only what misbehaves as no real program can be made to is a stand-in of a few lines
//! over a real socket.
//!
//! Not shown here is a wall clock at 1970 or one that steps by 50 years: it can be set only for the
//! whole machine, and no namespace has a clock of its own for it. The tests of `core::agent` do
//! that, with time as an argument.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod daemon;
#[allow(dead_code, reason = "shared with other tests, which need other parts of it")]
mod program;
mod routing;
mod sensors;
mod service;
mod surroundings;
mod uplink;

#[allow(dead_code, reason = "shared with the tests of the MQTT client, which need more of it")]
#[path = "../mqtt/authority.rs"]
mod authority;
#[allow(dead_code, reason = "shared with the tests of the MQTT client, which need more of it")]
#[path = "../mqtt/broker.rs"]
mod broker;
#[allow(dead_code, reason = "shared with the tests of the MQTT client, which need more of it")]
#[path = "../mqtt/double.rs"]
mod double;
#[allow(dead_code, reason = "shared with the benchmarks of the parsers, which need more of it")]
#[path = "../../../olsr-bridge/tests/mesh/mod.rs"]
mod mesh;
#[path = "../../../olsr-bridge/tests/common/mod.rs"]
mod stand_in;
