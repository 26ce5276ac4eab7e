//! When something arrived here, and when it happened there. The clocks of vehicles are not believed where it can be avoided:
//! the boot clock of a vehicle and ours run side by side, and the message that was fastest on its way shows how they lie.

use serde::{Deserialize, Serialize};

use crate::core::telemetry::BootId;
use crate::core::time::{ClockQuality, Now};

/// Both boot clocks may run apart by this share: a hundred parts in a million, more than any oscillator of a board.
const DRIFT_DIVISOR: u64 = 10_000;

/// A vehicle's wall clock may be ahead of ours by this much before its word counts less than our own reckoning.
const AHEAD_MS_MAX: i64 = 60_000;

/// A moment on our own clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// Our boot that `mono_ms` counts from.
    pub boot: BootId,
    /// Milliseconds since that boot.
    pub mono_ms: u64,
    /// Milliseconds since 1970, if our wall clock could be believed.
    pub wall_ms: Option<i64>,
}

impl Moment {
    /// A reading of our clocks.
    #[must_use]
    pub fn new(boot: BootId, now: Now) -> Moment {
        Moment { boot, mono_ms: now.mono.millis(), wall_ms: now.believable_wall_ms() }
    }

    /// Time from `earlier` to this one; `None` when a boot of ours without a believable clock lies between them.
    #[must_use]
    pub fn since(&self, earlier: &Moment) -> Option<u64> {
        if self.boot == earlier.boot {
            return Some(self.mono_ms.saturating_sub(earlier.mono_ms));
        }
        let passed_ms = self.wall_ms?.checked_sub(earlier.wall_ms?)?;
        Some(u64::try_from(passed_ms).unwrap_or(0))
    }
}

/// How a vehicle's boot clock lies against ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reckoning {
    /// Boot of the vehicle, boot of ours, milliseconds of ours minus those of the vehicle, and when that was found.
    found: Option<(BootId, BootId, i64, u64)>,
}

impl Reckoning {
    /// A message that was written at `boot_ms` of `boot` arrived at `arrived`. The least delay seen so far is nearest to none.
    pub fn observe(&mut self, boot: BootId, boot_ms: u64, arrived: &Moment) {
        let (Ok(here), Ok(there)) = (i64::try_from(arrived.mono_ms), i64::try_from(boot_ms)) else {
            return;
        };
        let offset_ms = here.saturating_sub(there);
        let before = self.found.filter(|found| (found.0, found.1) == (boot, arrived.boot));
        let least = match before {
            None => offset_ms,
            Some((_, _, before_ms, at)) => {
                let drift = arrived.mono_ms.saturating_sub(at) / DRIFT_DIVISOR;
                offset_ms.min(before_ms.saturating_add_unsigned(drift))
            }
        };
        self.found = Some((boot, arrived.boot, least, arrived.mono_ms));
    }

    /// Time at `now` since `boot_ms` of `boot`; `None` when nothing was heard from that boot in this one of ours.
    #[must_use]
    pub fn age_ms(&self, boot: BootId, boot_ms: u64, now: &Moment) -> Option<u64> {
        let (_, _, offset_ms, _) =
            self.found.filter(|found| (found.0, found.1) == (boot, now.boot))?;
        let then = i64::try_from(boot_ms).ok()?.saturating_add(offset_ms);
        let passed_ms = i64::try_from(now.mono_ms).ok()?.saturating_sub(then);
        Some(u64::try_from(passed_ms).unwrap_or(0))
    }
}

/// Wall time of something that is `age_ms` old and whose vehicle says that it was at `claimed_ms`. A synchronised clock is
/// taken at its word unless it runs ahead of ours; else the age counts.
#[must_use]
pub fn wall_ms(claimed: Option<(i64, ClockQuality)>, age_ms: u64, now: &Moment) -> Option<i64> {
    let ours = now.wall_ms?;
    let reckoned = ours.checked_sub_unsigned(age_ms)?;
    match claimed {
        Some((claimed_ms, ClockQuality::Synchronised))
            if claimed_ms <= ours.saturating_add(AHEAD_MS_MAX) =>
        {
            Some(claimed_ms)
        }
        Some(_) | None => Some(reckoned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: BootId = BootId([1; 16]);
    const THEIRS: BootId = BootId([2; 16]);

    fn at(mono_ms: u64) -> Moment {
        Moment { boot: OURS, mono_ms, wall_ms: Some(1_795_000_000_000 + mono_ms as i64) }
    }

    #[test]
    fn the_fastest_message_shows_how_the_clocks_lie() {
        let mut reckoning = Reckoning::default();
        assert_eq!(reckoning.age_ms(THEIRS, 0, &at(0)), None);
        // Ours is 5 s ahead of theirs; delays of 3 s, 0.2 s and an hour.
        reckoning.observe(THEIRS, 10_000, &at(18_000));
        assert_eq!(reckoning.age_ms(THEIRS, 10_000, &at(18_000)), Some(0));
        reckoning.observe(THEIRS, 14_000, &at(19_200));
        reckoning.observe(THEIRS, 20_000, &at(3_625_000));
        let age = reckoning.age_ms(THEIRS, 20_000, &at(3_625_000)).unwrap();
        assert!((3_599_000..=3_600_000).contains(&age), "{age}");
        assert_eq!(reckoning.age_ms(OURS, 20_000, &at(0)), None, "another boot of theirs");
        let rebooted = Moment { boot: THEIRS, ..at(0) };
        assert_eq!(reckoning.age_ms(THEIRS, 20_000, &rebooted), None, "another boot of ours");
    }

    #[test]
    fn a_boot_in_between_is_bridged_by_the_wall_clock() {
        let before = at(5_000);
        let after = Moment { boot: THEIRS, mono_ms: 10, wall_ms: Some(1_795_000_065_000) };
        assert_eq!(after.since(&before), Some(60_000));
        assert_eq!(before.since(&after), Some(0));
        assert_eq!(Moment { wall_ms: None, ..after }.since(&before), None);
    }

    #[test]
    fn only_a_synchronised_clock_is_taken_at_its_word() {
        let now = at(100_000);
        let ours = now.wall_ms.unwrap();
        let claim = |ms, quality| wall_ms(Some((ms, quality)), 2_000, &now);
        assert_eq!(claim(ours - 2_100, ClockQuality::Synchronised), Some(ours - 2_100));
        assert_eq!(claim(ours - 2_100, ClockQuality::Unsynchronised), Some(ours - 2_000));
        assert_eq!(claim(ours + 61_000, ClockQuality::Synchronised), Some(ours - 2_000));
        assert_eq!(wall_ms(None, 2_000, &now), Some(ours - 2_000));
        assert_eq!(wall_ms(None, 0, &Moment { wall_ms: None, ..now }), None);
    }
}
