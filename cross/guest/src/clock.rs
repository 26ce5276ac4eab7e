//! Sets and reads the wall clock with 64 bits, and asks the standard library for its opinion.

use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};

/// 2038-01-19T03:14:07Z in seconds since 1970.
pub const LAST_OF_32_BITS: i64 = i32::MAX as i64;

/// Sets the wall clock to `seconds` since 1970.
pub fn set(seconds: i64) -> Result<(), String> {
    clock_settime(ClockId::Realtime, Timespec { tv_sec: seconds, tv_nsec: 0 })
        .map_err(|e| format!("setting the clock to {seconds} s: {e}"))
}

/// The wall clock as the kernel has it, in seconds since 1970.
pub fn wall() -> i64 {
    clock_gettime(ClockId::Realtime).tv_sec
}

/// Waits for the wall clock to get there by itself.
pub fn wait_until(seconds: i64) -> String {
    while wall() < seconds {
        sleep(Duration::from_millis(100));
    }
    format!("the clock shows {} s since 1970", wall())
}

/// What the standard library takes for the time, in seconds since 1970, negative before. This is the call that aborts.
pub fn standard_library() -> i64 {
    let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => seconds(since),
        Err(before) => -seconds(before.duration()),
    }
}
