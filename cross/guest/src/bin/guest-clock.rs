//! Prints the wall clock in seconds since 1970: first what the standard library takes it for, then the truth. Links the
//! agent's remedy for 32-bit ARM in the very source that the agent has.

#[path = "../clock.rs"]
#[allow(dead_code, reason = "init uses the rest of it")]
mod clock;
#[cfg(all(target_arch = "arm", target_env = "musl", target_endian = "little"))]
#[path = "../../../../agent/src/shell/time32.rs"]
mod time32;

fn main() {
    #[cfg(all(target_arch = "arm", target_env = "musl", target_endian = "little"))]
    let truth = time32::read(0).map_or(-1, |(seconds, _)| seconds);
    #[cfg(not(all(target_arch = "arm", target_env = "musl", target_endian = "little")))]
    let truth = clock::wall();
    println!("{} {truth}", clock::standard_library());
}
