//! Moments and clock quality. Order comes from the boot clock; wall time is only a label.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment on the suspend-aware monotonic clock of this boot (`CLOCK_BOOTTIME`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mono(u64);

impl Mono {
    /// `nanos` nanoseconds after boot.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Mono {
        Mono(nanos)
    }

    /// `millis` milliseconds after boot.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Mono {
        Mono(millis.saturating_mul(1_000_000))
    }

    /// Milliseconds since boot.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Time from `earlier` to this moment, zero when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Mono) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for Mono {
    type Output = Mono;

    fn add(self, duration: Duration) -> Mono {
        Mono(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// How far the wall clock can be believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClockQuality {
    /// Before the earliest believable date (the build's own) or absurdly late: no wall time.
    #[default]
    Unset,
    /// Believable, but the kernel says that nothing disciplines it.
    Unsynchronised,
    /// The kernel says that it is synchronised (`adjtimex` without `STA_UNSYNC`).
    Synchronised,
}

/// One reading of all clocks, taken together by the shell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Boot clock.
    pub mono: Mono,
    /// Wall clock in milliseconds since 1970-01-01 UTC, as the kernel has it, however wrong.
    pub wall_ms: i64,
    /// How far `wall_ms` can be believed.
    pub quality: ClockQuality,
}

impl Now {
    /// The wall clock when it can be believed at all.
    #[must_use]
    pub fn believable_wall_ms(&self) -> Option<i64> {
        (self.quality != ClockQuality::Unset).then_some(self.wall_ms)
    }
}
