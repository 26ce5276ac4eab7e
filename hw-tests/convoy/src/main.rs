//! A convoy of real agents on loopback.

fn main() {}
