//! Numbers as people read them: ages, costs, sizes, dates. ASCII only.

use crate::core::time::civil;

/// An age or duration in at most five characters.
#[must_use]
pub fn age(ms: u64) -> String {
    match ms {
        0..1_000 => format!("0.{}s", ms / 100),
        1_000..120_000 => format!("{}s", ms / 1_000),
        120_000..7_200_000 => format!("{}m", ms / 60_000),
        7_200_000..172_800_000 => format!("{}h", ms / 3_600_000),
        _ => format!("{}d", ms / 86_400_000),
    }
}

/// A number of bytes with binary prefix, two to four characters and the unit.
#[must_use]
pub fn bytes(count: f64) -> String {
    let mut value = count;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            let digits = usize::from(value < 10.0 && unit != "B");
            return format!("{value:.digits$} {unit}");
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

/// Wall time as `2026-11-21 07:08:09 UTC`, from milliseconds since 1970.
#[must_use]
pub fn date(wall_ms: i64) -> String {
    let seconds = wall_ms.div_euclid(1_000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC",
        second / 3_600,
        second / 60 % 60,
        second % 60
    )
}

/// `1 route`, `2 routes`.
#[must_use]
pub fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        for (ms, text) in [
            (0, "0.0s"),
            (450, "0.4s"),
            (1_000, "1s"),
            (119_999, "119s"),
            (120_000, "2m"),
            (7_199_999, "119m"),
            (7_200_000, "2h"),
            (u64::MAX, "213503982334d"),
        ] {
            assert_eq!(age(ms), text);
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(date(951_782_400_000), "2000-02-29 00:00:00 UTC");
        assert_eq!(date(1_772_323_199_999), "2026-02-28 23:59:59 UTC");
        assert_eq!(date(1_772_323_200_000), "2026-03-01 00:00:00 UTC");
        assert_eq!(date(-1), "1969-12-31 23:59:59 UTC");
    }

    #[test]
    fn sizes_have_few_digits() {
        assert_eq!(bytes(0.0), "0 B");
        assert_eq!(bytes(1_536.0), "1.5 KiB");
        assert_eq!(bytes(1_073_741_824.0), "1.0 GiB");
        assert_eq!(bytes(5e13), "45.5 TiB");
    }
}
