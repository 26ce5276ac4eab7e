//! When something periodic is due. Keeps its phase, so that things with the same period fall due together and wake the
//! processor once; skips what was missed, so that a suspended vehicle does not catch up with a burst.

use std::time::Duration;

use crate::core::time::Mono;

/// A period and the next moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    due: Mono,
    period: Duration,
}

impl Schedule {
    /// Due at `first`, then every `period`.
    #[must_use]
    pub const fn new(first: Mono, period: Duration) -> Schedule {
        Schedule { due: first, period }
    }

    /// The next moment.
    #[must_use]
    pub const fn due(&self) -> Mono {
        self.due
    }

    /// Whether it is due at `now`; if so the next moment is set.
    pub fn take(&mut self, now: Mono) -> bool {
        if now < self.due {
            return false;
        }
        self.due = self.due + self.period;
        if self.due <= now {
            self.due = now + self.period;
        }
        true
    }

    /// Not before `at`; later moments keep their phase.
    pub fn postpone(&mut self, at: Mono) {
        let period = self.period.max(Duration::from_millis(1));
        if at <= self.due {
            return;
        }
        let missing = at.since(self.due);
        let periods = missing.as_nanos().div_ceil(period.as_nanos());
        self.due = self.due + period.saturating_mul(u32::try_from(periods).unwrap_or(u32::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Mono {
        Mono::from_millis(ms)
    }

    #[test]
    fn keeps_its_phase_and_skips_what_was_missed() {
        let mut schedule = Schedule::new(at(100), Duration::from_millis(1000));
        assert!(!schedule.take(at(99)));
        assert!(schedule.take(at(130)));
        assert_eq!(schedule.due(), at(1100));
        assert!(schedule.take(at(50_000)));
        assert_eq!(schedule.due(), at(51_000));
        assert!(!schedule.take(at(50_000)));
    }

    #[test]
    fn postponing_keeps_the_phase() {
        let mut schedule = Schedule::new(at(100), Duration::from_millis(1000));
        schedule.postpone(at(2500));
        assert_eq!(schedule.due(), at(3100));
        schedule.postpone(at(500));
        assert_eq!(schedule.due(), at(3100));
    }
}
