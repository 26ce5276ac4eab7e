//! Asks the kernel how well its wall clock is disciplined (adjtimex(2), read-only mode). Needs `unsafe`,
//! because none of the crates in use wraps this call.
//!
//! Its answer also holds the time, cut off after 2038 where seconds have 32 bits. That is not an error there, and the time is
//! not used: `clock` reads it.

use nix::libc;

/// The kernel does not know of anything that disciplines the clock (`STA_UNSYNC` of adjtimex(2)).
const STA_UNSYNC: libc::c_int = 0x40;

/// What the kernel says about its wall clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Discipline {
    /// A time daemon keeps the clock synchronised.
    pub synchronised: bool,
    /// Largest error to expect, in seconds; the kernel lets it grow while nobody corrects the clock.
    pub error_max_seconds: f64,
    /// Error estimated by the time daemon, in seconds.
    pub error_estimated_seconds: f64,
}

/// Reads the state of the clock's discipline; `None` where a sandbox forbids the call.
#[must_use]
#[allow(unsafe_code)]
pub fn read() -> Option<Discipline> {
    // SAFETY: `timex` consists of integers only, for which all zeros is a value; `modes` 0 only reads, and the kernel
    // writes no further than the structure that it is given exclusively.
    let (result, clock) = unsafe {
        let mut clock: libc::timex = std::mem::zeroed();
        let result = libc::adjtimex(&raw mut clock);
        (result, clock)
    };
    if result < 0 {
        return None;
    }
    Some(Discipline {
        synchronised: clock.status & STA_UNSYNC == 0,
        error_max_seconds: clock.maxerror as f64 / 1e6,
        error_estimated_seconds: clock.esterror as f64 / 1e6,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_answers_and_its_errors_are_not_negative() {
        let clock = read().expect("adjtimex in read-only mode needs no privilege");
        assert!(clock.error_max_seconds >= 0.0 && clock.error_estimated_seconds >= 0.0);
    }
}
