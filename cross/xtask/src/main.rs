//! Checks and release engineering of Outrider as commands.

fn main() {}
