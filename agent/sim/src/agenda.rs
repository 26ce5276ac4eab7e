//! What is to happen when. Things due at the same moment happen in the order in which they were put down.

use std::collections::BTreeMap;
use std::time::Duration;

use outrider::core::time::Mono;

/// Microseconds since the beginning of the world.
pub type Moment = u64;

/// A millisecond.
pub const MS: Moment = 1_000;
/// A second.
pub const SECOND: Moment = 1_000 * MS;
/// A minute.
pub const MINUTE: Moment = 60 * SECOND;
/// An hour.
pub const HOUR: Moment = 60 * MINUTE;

/// Times that a loop may wake at one moment before it counts as spinning.
pub(crate) const SPINS_MAX: u32 = 1_000;

/// A duration in microseconds.
#[must_use]
pub fn micros(duration: Duration) -> Moment {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The clock of a boot that began at `boot_at`.
#[must_use]
pub fn mono(boot_at: Moment, now: Moment) -> Mono {
    Mono::default() + Duration::from_micros(now.saturating_sub(boot_at))
}

/// When the clock of that boot has reached this.
#[must_use]
pub fn moment_of(boot_at: Moment, mono: Mono) -> Moment {
    let nanos = mono.since(Mono::default()).as_nanos();
    boot_at.saturating_add(u64::try_from(nanos.div_ceil(1_000)).unwrap_or(u64::MAX))
}

/// The list.
#[derive(Debug)]
pub struct Agenda<T> {
    due: BTreeMap<(Moment, u64), T>,
    serial: u64,
}

impl<T> Default for Agenda<T> {
    fn default() -> Agenda<T> {
        Agenda { due: BTreeMap::new(), serial: 0 }
    }
}

impl<T> Agenda<T> {
    /// Puts something down.
    pub fn put(&mut self, at: Moment, what: T) {
        self.serial += 1;
        self.due.insert((at, self.serial), what);
    }

    /// What is next, and when.
    pub fn next(&mut self) -> Option<(Moment, T)> {
        self.due.pop_first().map(|((at, _), what)| (at, what))
    }
}
