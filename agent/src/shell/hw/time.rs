//! The wall clock and how far it can be believed. Reads this machine's clocks, not files, so the root does not matter.

use crate::core::catalog::hardware as catalog;
use crate::core::time::ClockQuality;
use crate::shell::{adjtimex, clock};

use super::Collector;
use super::tree::{Cause, Output, Tree};

pub(super) struct Time;

impl Collector for Time {
    fn collect(&mut self, _: &mut Tree, output: &mut Output<'_>) {
        let wall = clock::wall();
        let discipline = adjtimex::read();
        let synchronised = discipline.is_some_and(|clock| clock.synchronised);
        let quality = wall.map_or(ClockQuality::Unset, |wall| clock::judge(wall, synchronised));
        let number = match quality {
            ClockQuality::Unset => 0.0,
            ClockQuality::Unsynchronised => 1.0,
            ClockQuality::Synchronised => 2.0,
        };
        output.put(&catalog::CLOCK_QUALITY, &[], number);
        if let Some(wall) = wall {
            output.put(&catalog::CLOCK_WALL, &[], wall.as_secs_f64());
        }
        let Some(discipline) = discipline else {
            let what =
                format_args!("adjtimex is forbidden here; the clock counts as unsynchronised");
            return output.complain(Cause::Unreadable, what);
        };
        output.put(&catalog::CLOCK_ERROR_MAX, &[], discipline.error_max_seconds);
        output.put(&catalog::CLOCK_ERROR_ESTIMATED, &[], discipline.error_estimated_seconds);
    }
}
