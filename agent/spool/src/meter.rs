//! The daily allowance of bytes written, as a bucket that fills with observed running time. Pure.

use crate::limits::{WRITE_BURST_DIVISOR, WRITE_RESERVE_DIVISOR};

const DAY_MS: u128 = 24 * 3600 * 1000;

/// Bytes that may be written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meter {
    per_day: Option<u64>,
    level: u64,
    at_ms: u64,
    /// What did not yet make a whole byte, in byte-milliseconds a day.
    rest: u128,
}

impl Meter {
    /// A bucket with what was left of it; a full one when nothing is known.
    pub(crate) fn resume(per_day: Option<u64>, level: Option<u64>, spool_ms: u64) -> Meter {
        let capacity = per_day.map_or(u64::MAX, |bytes| bytes / WRITE_BURST_DIVISOR);
        Meter { per_day, level: level.unwrap_or(capacity).min(capacity), at_ms: spool_ms, rest: 0 }
    }

    /// Lets time pass.
    pub(crate) fn advance(&mut self, spool_ms: u64) {
        let Some(per_day) = self.per_day else { return };
        let capacity = per_day / WRITE_BURST_DIVISOR;
        let rate = u128::from(per_day - capacity);
        let passed = u128::from(spool_ms.saturating_sub(self.at_ms));
        self.at_ms = self.at_ms.max(spool_ms);
        let filled = passed * rate + self.rest;
        self.rest = filled % DAY_MS;
        let gained = u64::try_from(filled / DAY_MS).unwrap_or(u64::MAX);
        self.level = self.level.saturating_add(gained).min(capacity);
    }

    /// Bytes that may be written for streams of priority 0.
    pub(crate) fn level(&self) -> u64 {
        if self.per_day.is_some() { self.level } else { u64::MAX }
    }

    /// What is kept for streams of priority 0.
    pub(crate) fn reserve(&self) -> u64 {
        self.per_day.map_or(0, |bytes| bytes / WRITE_BURST_DIVISOR / WRITE_RESERVE_DIVISOR)
    }

    /// Bytes were written.
    pub(crate) fn spend(&mut self, bytes: u64) {
        self.level = self.level.saturating_sub(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_day_has_more_than_its_budget() {
        const PER_DAY: u64 = 16 * 1024 * 1024;
        const STEP_MS: u64 = 60_000;
        let mut meter = Meter::resume(Some(PER_DAY), None, 0);
        let mut spent = Vec::new();
        for minute in 0..3 * 24 * 60 {
            meter.advance(minute * STEP_MS);
            let bytes = if (500..900).contains(&minute) { 0 } else { meter.level() };
            meter.spend(bytes);
            spent.push(bytes);
        }
        let days = spent.windows(24 * 60).map(|day| day.iter().sum::<u64>());
        let most = days.max().unwrap();
        assert!(most <= PER_DAY && most > PER_DAY / 10 * 9, "{most}");
    }

    #[test]
    fn without_a_budget_everything_may_be_written() {
        let mut meter = Meter::resume(None, Some(3), 0);
        meter.spend(u64::MAX);
        assert_eq!((meter.level(), meter.reserve()), (u64::MAX, 0));
    }
}
