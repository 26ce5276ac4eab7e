//! Spool time: milliseconds of observed running time, never back. Knows no wall clock.

use crate::options::{BootMs, Session};

/// Turns boot time into spool time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SpoolClock {
    /// Spool time at `boot_ms`.
    spool_ms: u64,
    boot_ms: u64,
}

impl SpoolClock {
    /// Goes on from the newest spool time in the log. Within the same boot the time since is known, otherwise it counts
    /// as zero.
    pub(crate) fn resume(
        newest_spool_ms: u64,
        last: Option<([u8; 16], u64, u64)>,
        session: &Session,
        now: BootMs,
    ) -> SpoolClock {
        let mut clock = SpoolClock { spool_ms: newest_spool_ms, boot_ms: now.0 };
        if let Some((boot_id, boot_ms, spool_ms)) = last
            && boot_id == session.boot_id
        {
            let since = now.0.saturating_sub(boot_ms);
            clock.spool_ms = clock.spool_ms.max(spool_ms.saturating_add(since));
        }
        clock
    }

    /// Spool time now. A moment before the last one counts as the last one.
    pub(crate) fn at(&mut self, now: BootMs) -> u64 {
        self.spool_ms = self.spool_ms.saturating_add(now.0.saturating_sub(self.boot_ms));
        self.boot_ms = self.boot_ms.max(now.0);
        self.spool_ms
    }

    /// The last spool time that was given.
    pub(crate) fn last(&self) -> u64 {
        self.spool_ms
    }

    /// The boot time that belongs to it.
    pub(crate) fn last_boot_ms(&self) -> u64 {
        self.boot_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: Session = Session { boot_id: [1; 16], epoch: 1, spool_id: 1 };

    #[test]
    fn time_goes_on_within_a_boot_and_stands_while_the_machine_is_off() {
        let mut clock = SpoolClock::resume(500, None, &SESSION, BootMs(90));
        assert_eq!(
            (clock.at(BootMs(100)), clock.at(BootMs(40)), clock.at(BootMs(101))),
            (510, 510, 511)
        );
        let mut same = SpoolClock::resume(511, Some(([1; 16], 90, 500)), &SESSION, BootMs(1090));
        assert_eq!(same.at(BootMs(1090)), 1500);
        let mut other = SpoolClock::resume(511, Some(([2; 16], 90, 500)), &SESSION, BootMs(5));
        assert_eq!(other.at(BootMs(15)), 521);
    }
}
