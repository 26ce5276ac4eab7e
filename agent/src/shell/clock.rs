//! Reads the clocks of this machine and judges the wall clock. Never sets one.

use std::time::Duration;

use nix::time::ClockId;

use super::adjtimex;
#[cfg(all(target_arch = "arm", target_env = "musl", target_endian = "little"))]
use super::time32;
use crate::core::time::{ClockQuality, Mono, Now};

/// Before this moment, in seconds since 1970, no wall clock is believed: this program did not exist yet. Release builds
/// take it from `SOURCE_DATE_EPOCH`; other builds use 2026-11-01, the month this code was begun in.
const EARLIEST_SECONDS: u64 = match option_env!("SOURCE_DATE_EPOCH") {
    Some(seconds) => match u64::from_str_radix(seconds, 10) {
        Ok(seconds) => seconds,
        Err(_) => panic!("SOURCE_DATE_EPOCH is not a number of seconds"),
    },
    None => 1_793_491_200,
};
/// Later than this no wall clock is believed: no vehicle runs one build for 25 years, but a dead clock chip may claim
/// 2099.
const LATEST_SECONDS: u64 = EARLIEST_SECONDS + 25 * 365 * 24 * 3600;

/// All clocks, read together.
#[must_use]
pub fn now() -> Now {
    let mono = read(ClockId::CLOCK_BOOTTIME).unwrap_or_default();
    let wall = read(ClockId::CLOCK_REALTIME);
    let synchronised = adjtimex::read().is_some_and(|clock| clock.synchronised);
    Now {
        mono: Mono::from_nanos(u64::try_from(mono.as_nanos()).unwrap_or(u64::MAX)),
        wall_ms: i64::try_from(wall.unwrap_or_default().as_millis()).unwrap_or(i64::MAX),
        quality: wall.map_or(ClockQuality::Unset, |wall| judge(wall, synchronised)),
    }
}

/// The wall clock as time since 1970, `None` before that. On 32-bit ARM with musl dates after 2038-01-19 are read truly;
/// on other machines with 32 bits for seconds such a date is `None`.
#[must_use]
pub fn wall() -> Option<Duration> {
    read(ClockId::CLOCK_REALTIME)
}

/// How far a wall clock that shows `wall` since 1970 can be believed, when the kernel says whether it is synchronised.
#[must_use]
pub fn judge(wall: Duration, synchronised: bool) -> ClockQuality {
    if !(EARLIEST_SECONDS..=LATEST_SECONDS).contains(&wall.as_secs()) {
        ClockQuality::Unset
    } else if synchronised {
        ClockQuality::Synchronised
    } else {
        ClockQuality::Unsynchronised
    }
}

fn read(clock: ClockId) -> Option<Duration> {
    #[cfg(all(target_arch = "arm", target_env = "musl", target_endian = "little"))]
    let (seconds, nanoseconds) = time32::read(clock.as_raw())?;
    #[cfg(not(all(target_arch = "arm", target_env = "musl", target_endian = "little")))]
    let (seconds, nanoseconds) = clock.now().ok().map(|time| (time.tv_sec(), time.tv_nsec()))?;
    Some(Duration::new(u64::try_from(seconds).ok()?, u32::try_from(nanoseconds).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_outside_the_life_of_this_build_are_not_believed() {
        for (seconds, synchronised, expected) in [
            (0, true, ClockQuality::Unset),
            (EARLIEST_SECONDS - 1, true, ClockQuality::Unset),
            (EARLIEST_SECONDS, true, ClockQuality::Synchronised),
            (EARLIEST_SECONDS + 86_400, false, ClockQuality::Unsynchronised),
            (EARLIEST_SECONDS + 50 * 365 * 86_400, true, ClockQuality::Unset),
        ] {
            assert_eq!(judge(Duration::from_secs(seconds), synchronised), expected, "{seconds}");
        }
    }

    #[test]
    fn clocks_of_this_machine_are_read() {
        let first = now();
        let second = now();
        assert!(first.mono > Mono::default() && second.mono >= first.mono);
        assert!(first.wall_ms > 0);
    }
}
