//! Durations and sizes as people write them: `2ms`, `1.5s`, `64MiB`.

use std::time::Duration;

const TIME_UNITS: [(&str, u128); 7] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

const SIZE_UNITS: [(&str, u128); 8] = [
    ("B", 1),
    ("kB", 1_000),
    ("KB", 1_000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
];

/// Reads `250ms`, `1.5s`, `0s`; the unit is needed. `None` if it is anything else or more than 584 years.
pub fn duration(text: &str) -> Option<Duration> {
    let nanoseconds = quantity(text, &TIME_UNITS)?;
    u64::try_from(nanoseconds).ok().map(Duration::from_nanos)
}

/// Reads `64MiB`, `1.5GiB`, `100kB`, `512B` as bytes; the unit is needed. `None` if it is anything else.
pub(super) fn size(text: &str) -> Option<usize> {
    usize::try_from(quantity(text, &SIZE_UNITS)?).ok()
}

/// Writes a duration in the largest unit that needs no fraction; minutes and hours from two minutes on.
pub(super) fn show_duration(duration: Duration) -> String {
    let nanoseconds = duration.as_nanos();
    let wanted: &[&str] = if duration >= Duration::from_mins(2) { &["h", "m"] } else { &[] };
    if nanoseconds == 0 {
        return "0s".to_owned();
    }
    show(nanoseconds, wanted.iter().chain(&["s", "ms", "us", "ns"]), &TIME_UNITS)
}

/// Writes a number of bytes in the largest binary unit that needs no fraction.
pub(super) fn show_size(bytes: usize) -> String {
    show(bytes as u128, ["GiB", "MiB", "KiB", "B"].iter(), &SIZE_UNITS)
}

fn show<'a>(amount: u128, names: impl Iterator<Item = &'a &'a str>, units: &[(&str, u128)]) -> String {
    for wanted in names {
        for (name, scale) in units {
            if name == wanted && amount >= *scale && amount.is_multiple_of(*scale) {
                return format!("{}{name}", amount / scale);
            }
        }
    }
    let smallest = units.first().map_or("", |(name, _)| name);
    format!("{amount}{smallest}")
}

/// `digits[.digits]unit` in the smallest unit; exact, so a remainder below the smallest unit is refused.
fn quantity(text: &str, units: &[(&str, u128)]) -> Option<u128> {
    let number_end = text.find(|character: char| !character.is_ascii_digit() && character != '.')?;
    let (number, unit) = text.split_at(number_end);
    let (_, scale) = units.iter().find(|(name, _)| *name == unit.strip_prefix(' ').unwrap_or(unit))?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |part: &str| !part.is_empty() && part.len() <= 18 && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let parts_per_unit = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let parts = fraction.parse::<u128>().ok()?.checked_mul(*scale)?;
    if !parts.is_multiple_of(parts_per_unit) {
        return None;
    }
    whole.parse::<u128>().ok()?.checked_mul(*scale)?.checked_add(parts / parts_per_unit)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{duration, show_duration, show_size, size};

    #[test]
    fn durations_are_exact() {
        for (text, nanoseconds) in [
            ("2ms", 2_000_000),
            ("500us", 500_000),
            ("500µs", 500_000),
            ("1.5s", 1_500_000_000),
            ("0.001ms", 1_000),
            ("1m", 60_000_000_000),
            ("2 h", 7_200_000_000_000),
            ("0s", 0),
        ] {
            assert_eq!(duration(text), Some(Duration::from_nanos(nanoseconds)), "{text}");
        }
        for bad in
            ["", "2", "ms", "-1s", "1,5s", "1e3s", ".5s", "1.s", "1.2.3s", "2  ms", "2ms ", " 2ms", "2Ms", "0.5ns"]
        {
            assert_eq!(duration(bad), None, "{bad}");
        }
        assert_eq!(duration("999999999999999999h"), None);
        assert_eq!(duration("9999999999999999999h"), None);
    }

    #[test]
    fn sizes_are_exact() {
        for (text, bytes) in [("64MiB", 64 << 20), ("1.5KiB", 1536), ("100kB", 100_000), ("7B", 7), ("1GiB", 1 << 30)] {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for bad in ["64", "64M", "64mib", "0.5B", "-1B", "999999999999999999GiB"] {
            assert_eq!(size(bad), None, "{bad}");
        }
    }

    #[test]
    fn shown_as_people_write_them() {
        for text in ["60s", "1500ms", "2ms", "250us", "7ns", "2m", "90s", "24h", "0s"] {
            assert_eq!(show_duration(duration(text).expect("a duration")), text);
        }
        for text in ["64MiB", "1GiB", "1000B", "0B", "1536B"] {
            assert_eq!(show_size(size(text).expect("a size")), text);
        }
    }
}
