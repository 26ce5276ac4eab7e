//! Any messages at the receiving end.

#![no_main]

#[path = "../fleet.rs"]
mod check;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| check::survives(input));
