//! Keeps programs alive past 2038-01-19T03:14:07Z on 32-bit ARM with musl.
//!
//! musl has 64-bit time there, but Rust's standard library and the `libc` crate still call the C library's entry points with
//! 32-bit seconds. For a later date these fail, and `SystemTime::now()`, which any dependency may call, then panics. A dead
//! clock chip can claim such a date today. So this module takes the place of the 32-bit `clock_gettime` in the whole
//! program, and offers the true time to those who can hold it.
//!
//! `SystemTime::now()` stands still at the last moment that 32 bits can hold. A false date was chosen over other ways:
//! failing is the panic itself, and wrapping round to 1901 would make dates run backwards. Nothing of ours decides by it:
//! whoever needs the wall clock asks [`read`] through the `clock` module, which judges the date; certificates are verified
//! by that, too. Boot and monotonic clocks hold 68 years of uptime and pass through unchanged. Times of files wrap in the C
//! library, which is no failure; nobody here reads them.

#![allow(unsafe_code)]

use core::ffi::c_int;

/// `struct timespec` of the entry points with 32-bit seconds.
#[repr(C)]
pub struct Time32 {
    seconds: i32,
    nanoseconds: i32,
}

/// `struct timespec` of musl since 1.2, little-endian.
#[repr(C)]
struct Time64 {
    seconds: i64,
    nanoseconds: i32,
    padding: i32,
}

unsafe extern "C" {
    /// What musl's headers make of `clock_gettime` for programs in C. Reads without a system call where the kernel can.
    fn __clock_gettime64(clock: c_int, time: *mut Time64) -> c_int;
}

/// Seconds and nanoseconds that `clock` shows, `None` where the kernel does not have this clock.
#[must_use]
pub fn read(clock: c_int) -> Option<(i64, i32)> {
    let mut time = Time64 { seconds: 0, nanoseconds: 0, padding: 0 };
    // SAFETY: the C library writes one structure of this layout, which it is given exclusively, and keeps no pointer to it.
    let result = unsafe { __clock_gettime64(clock, &raw mut time) };
    (result == 0).then_some((time.seconds, time.nanoseconds))
}

/// The C library's function of this name, but with the nearest time that 32 bits can hold instead of `EOVERFLOW`.
///
/// # Safety
///
/// `time` must be valid for writing, as clock_gettime(2) demands.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: c_int, time: *mut Time32) -> c_int {
    // `errno` is left as the C library's own function set it.
    let Some((seconds, nanoseconds)) = read(clock) else { return -1 };
    // SAFETY: the caller promises a valid pointer.
    unsafe { time.write(nearest(seconds, nanoseconds)) };
    0
}

/// The last nanosecond goes with the last second, else the clock would run round within that second.
fn nearest(seconds: i64, nanoseconds: i32) -> Time32 {
    match i32::try_from(seconds) {
        Ok(seconds) => Time32 { seconds, nanoseconds },
        Err(_) if seconds < 0 => Time32 { seconds: i32::MIN, nanoseconds: 0 },
        Err(_) => Time32 { seconds: i32::MAX, nanoseconds: 999_999_999 },
    }
}
