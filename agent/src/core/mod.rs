//! Decides what the vehicle knows, says and does. Pure: no async runtime, file, socket, clock or random source is named
//! here (`tests/rules.rs` reads these sources and fails when one is). `now` is an argument, effects are return values.

pub mod agent;
pub mod backoff;
pub mod catalog;
pub mod courier;
pub mod delivery;
pub mod exposition;
pub mod fleet;
pub mod gauges;
pub mod graph;
pub mod health;
pub mod links;
pub mod membership;
pub mod outbox;
pub mod pacing;
pub mod presence;
pub mod record;
pub mod sample;
pub mod schedule;
pub mod spool;
pub mod state;
pub mod status;
pub mod telemetry;
pub mod time;
pub mod x509;
