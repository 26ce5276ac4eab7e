//! What is to happen when. Things due at the same moment happen in the order in which they were put down.

use std::collections::BTreeMap;

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
