//! Decides what the vehicle knows, says and does. Pure: no async runtime, file, socket, clock or random source is named
//! here (`tests/rules.rs` reads these sources and fails when one is). `now` is an argument, effects are return values.

pub mod catalog;
pub mod links;
pub mod sample;
pub mod state;
pub mod time;
