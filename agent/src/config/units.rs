//! Durations and sizes as people write them: `500ms`, `1m30s`, `512KiB`. Knows no configuration.

use std::time::Duration;

/// Units of duration with their length in milliseconds, longest first.
const DURATION_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Units of size with their number of bytes, largest first.
const SIZE_UNITS: [(&str, u64); 4] =
    [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Reads one or more whole numbers with unit, such as `2s`, `500ms`, `1m30s`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let malformed = || {
        format!(
            "`{text}` is not a duration; write a whole number and ms, s, m, h or d, like \"5s\""
        )
    };
    let mut rest = text;
    let mut total_ms = 0u64;
    loop {
        let (number, after) = split_number(rest).ok_or_else(malformed)?;
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, next) = after.split_at(letters);
        let (_, unit_ms) =
            DURATION_UNITS.into_iter().find(|(name, _)| *name == unit).ok_or_else(malformed)?;
        total_ms = number
            .checked_mul(unit_ms)
            .and_then(|ms| total_ms.checked_add(ms))
            .ok_or_else(|| format!("`{text}` is longer than can be counted"))?;
        if next.is_empty() {
            return Ok(Duration::from_millis(total_ms));
        }
        rest = next;
    }
}

/// The shortest exact form with one unit, in milliseconds resolution.
pub(crate) fn format_duration(duration: Duration) -> String {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if ms == 0 {
        return "0s".to_owned();
    }
    largest_exact(ms, &DURATION_UNITS)
}

/// Reads a whole number with unit, such as `512KiB`.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let malformed = || {
        format!(
            "`{text}` is not a size; write a whole number and B, KiB, MiB or GiB, like \"1MiB\""
        )
    };
    let (number, unit) = split_number(text).ok_or_else(malformed)?;
    let (_, bytes) = SIZE_UNITS
        .into_iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit.trim_start()))
        .ok_or_else(malformed)?;
    number.checked_mul(bytes).ok_or_else(|| format!("`{text}` is larger than can be counted"))
}

/// The shortest exact form with one unit.
pub(crate) fn format_size(bytes: u64) -> String {
    largest_exact(bytes, &SIZE_UNITS)
}

/// `amount` in the largest unit that divides it.
fn largest_exact(amount: u64, units: &[(&str, u64)]) -> String {
    units
        .iter()
        .find(|(_, unit)| amount >= *unit && amount.is_multiple_of(*unit))
        .or(units.last())
        .map_or_else(String::new, |(name, unit)| format!("{}{name}", amount / unit))
}

/// The digits in front and what follows them.
fn split_number(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(digits);
    Some((number.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_print() {
        for (text, ms) in
            [("500ms", 500), ("1s", 1_000), ("90s", 90_000), ("5m", 300_000), ("2h", 7_200_000)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        assert_eq!(parse_duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(format_duration(Duration::from_millis(1_500)), "1500ms");
        assert_eq!(format_duration(Duration::from_secs(60)), "1m");
        assert_eq!(format_duration(Duration::ZERO), "0s");
    }

    #[test]
    fn durations_without_unit_sign_or_sense_are_refused() {
        for text in ["", "5", "s", "-1s", "1.5s", "1 s", "5 minutes", "1s ", "99999999999999999d"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_read_and_print() {
        assert_eq!(parse_size("512KiB"), Ok(524_288));
        assert_eq!(parse_size("1 MiB"), Ok(1 << 20));
        assert_eq!(parse_size("100B"), Ok(100));
        assert!(parse_size("1MB").is_err());
        assert!(parse_size("17179869184GiB").is_err());
        assert_eq!(format_size(1 << 20), "1MiB");
        assert_eq!(format_size(1_000), "1000B");
        assert_eq!(format_size(0), "0B");
    }

    proptest::proptest! {
        #[test]
        fn what_is_printed_reads_back(ms in 0u64..10_000_000_000, bytes in 0u64..1 << 50) {
            let duration = Duration::from_millis(ms);
            assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
            assert_eq!(parse_size(&format_size(bytes)), Ok(bytes));
        }

        #[test]
        fn nothing_typed_panics(text in ".{0,40}") {
            let _ = parse_duration(&text);
            let _ = parse_size(&text);
        }
    }
}
