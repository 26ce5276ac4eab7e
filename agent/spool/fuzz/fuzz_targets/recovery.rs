//! Any input as a spool: nothing panics, nothing prevents opening, and the spool works afterwards.

#![no_main]

#[path = "../check.rs"]
mod check;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| check::survives(input));
