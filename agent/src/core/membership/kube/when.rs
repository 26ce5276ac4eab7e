//! Moments as Kubernetes writes them (RFC 3339, in UTC).

use crate::core::time::{civil, days};

/// Milliseconds since 1970 of `2026-11-21T18:03:20Z`, with or without a fraction of the second; `None` when it is no such text.
#[must_use]
pub fn wall_ms(text: &str) -> Option<i64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    // 60 is a leap second.
    let in_range = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !in_range || fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let digits = fraction.bytes().chain(*b"000").take(3);
    let ms = digits.fold(0, |ms, digit| ms * 10 + i64::from(digit - b'0'));
    let seconds = ((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    Some(seconds * 1_000 + ms)
}

/// The same as text, to the second.
#[must_use]
pub fn written(wall_ms: i64) -> String {
    let seconds = wall_ms.div_euclid(1_000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

fn numbers(text: &str, between: char, digits: [usize; 3]) -> Option<[i64; 3]> {
    let mut parts = text.split(between);
    let mut found = [0; 3];
    for (number, length) in found.iter_mut().zip(digits) {
        let part = parts.next()?;
        if part.len() != length || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_of_nodes_and_leases_are_read() {
        assert_eq!(wall_ms("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(wall_ms("2000-02-29T00:00:00Z"), Some(951_782_400_000));
        // A Lease's renewTime has six digits behind the second.
        assert_eq!(wall_ms("2000-02-29T00:00:00.123456Z"), Some(951_782_400_123));
        assert_eq!(wall_ms("2000-02-29T00:00:00.5Z"), Some(951_782_400_500));
        for wrong in [
            "",
            "2000-02-29",
            "2000-02-29T00:00:00",
            "2000-02-29T00:00:00+01:00",
            "2000-13-29T00:00:00Z",
            "2000-02-29T24:00:00Z",
            "2000-02-29T00:00:00.Z",
            "2000-02-29T00:00Z",
            "2000-02-29-01T00:00:00Z",
            "+200-02-29T00:00:00Z",
        ] {
            assert_eq!(wall_ms(wrong), None, "{wrong}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_can_be_read(seconds in 0_i64..200_000_000_000) {
            proptest::prop_assert_eq!(wall_ms(&written(seconds * 1_000)), Some(seconds * 1_000));
        }

        #[test]
        fn no_text_makes_it_panic(text: String) {
            let _ = wall_ms(&text);
        }
    }
}
