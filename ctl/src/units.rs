//! Sizes and times, to be read and to be typed.

use std::time::Duration;

/// Bytes in at most 6 characters: `999 B`, `1.2 kB`, `340 MB` (powers of 1000).
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let mut value = count as f64;
    let mut unit = 0;
    // 999.5 would be shown as 1000
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    match unit {
        0 => format!("{count} B"),
        // 9.95 would be shown as 10.0
        _ if value < 9.95 => format!("{value:.1} {}", UNITS[unit]),
        _ => format!("{value:.0} {}", UNITS[unit]),
    }
}

/// A time in s, in its largest unit: `14 s`, `3 min`, `2 h`, `5 d`.
pub fn seconds(count: u64) -> String {
    match count {
        0..60 => format!("{count} s"),
        60..3600 => format!("{} min", count / 60),
        3600..86_400 => format!("{} h", count / 3600),
        _ => format!("{} d", count / 86_400),
    }
}

/// A round trip in ms, in at most 7 characters.
pub fn milliseconds(count: f64) -> String {
    match count {
        c if c < 9.995 => format!("{c:.2} ms"),
        c if c < 99.95 => format!("{c:.1} ms"),
        c if c < 9999.5 => format!("{c:.0} ms"),
        c => format!("{:.0} s", c / 1000.0),
    }
}

/// Reads `90s`, `30m`, `12h`, `7d` or `2w`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("\"{text}\" is not a time; write a number and s, m, h, d or w, as in 7d");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let factor: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - unit.len_utf8()]
        .parse()
        .map_err(|_| wrong())?;
    let seconds = number
        .checked_mul(factor)
        .filter(|s| (1..=u64::from(u32::MAX)).contains(s));
    seconds
        .map(Duration::from_secs)
        .ok_or_else(|| format!("\"{text}\" is not between 1 s and 136 years"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_stay_short() {
        for (count, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (9_949, "9.9 kB"),
            (9_999, "10 kB"),
            (999_499, "999 kB"),
            (999_500, "1.0 MB"),
            (u64::MAX, "18 EB"),
        ] {
            assert_eq!(bytes(count), text);
        }
        assert!((0..64).all(|bit| bytes(u64::MAX >> bit).len() <= 6));
    }

    #[test]
    fn times_are_said_in_their_largest_unit() {
        for (count, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (7199, "1 h"),
            (86_400, "1 d"),
            (864_000, "10 d"),
        ] {
            assert_eq!(seconds(count), text);
        }
        for (count, text) in [
            (0.123, "0.12 ms"),
            (9.999, "10.0 ms"),
            (12.34, "12.3 ms"),
            (250.0, "250 ms"),
            (60_000.0, "60 s"),
        ] {
            assert_eq!(milliseconds(count), text);
        }
    }

    #[test]
    fn times_are_typed_with_a_unit() {
        assert_eq!(parse_duration("7d").unwrap().as_secs(), 604_800);
        assert_eq!(parse_duration("90s").unwrap().as_secs(), 90);
        for wrong in [
            "",
            "7",
            "d",
            "7 d",
            "-1d",
            "0s",
            "7x",
            "99999999999999999999d",
            "1000000w",
            "7é",
        ] {
            let message = parse_duration(wrong).unwrap_err();
            assert!(message.contains(&format!("\"{wrong}\"")), "{message}");
        }
    }
}
