//! Quantities with their units: parsing is strict, printing is for people.

use std::fmt::{self, Write};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One kibibyte.
pub const KIB: u64 = 1 << 10;
/// One mebibyte.
pub const MIB: u64 = 1 << 20;
/// One gibibyte.
pub const GIB: u64 = 1 << 30;

/// Returns the free space in bytes that files of `bytes` need: a twentieth more.
#[must_use]
pub const fn with_margin(bytes: u64) -> u64 {
    bytes.saturating_add(bytes / 20)
}

/// A number of bytes. Prints decimal units (as `hf`, `df -H` and disk vendors do): `11.3 GB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 4] = [
            (1_000_000_000_000, "TB"),
            (1_000_000_000, "GB"),
            (1_000_000, "MB"),
            (1_000, "kB"),
        ];
        for (size, unit) in UNITS {
            if self.0 >= size {
                let tenths = u128::from(self.0) * 10 / u128::from(size);
                return f.pad(&format!("{}.{} {unit}", tenths / 10, tenths % 10));
            }
        }
        f.pad(&format!("{} B", self.0))
    }
}

impl FromStr for Bytes {
    type Err = String;

    /// Parses the syntax of `docker --shm-size`, with binary units: `256g`, `256gb`, `1024m`, `64k`, `512`.
    fn from_str(text: &str) -> Result<Self, String> {
        let lower = text.trim().to_ascii_lowercase();
        let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = match &lower[digits.len()..] {
            "" | "b" => 1,
            "k" | "kb" | "kib" => KIB,
            "m" | "mb" | "mib" => MIB,
            "g" | "gb" | "gib" => GIB,
            "t" | "tb" | "tib" => GIB << 10,
            other => {
                return Err(format!(
                    "unknown unit `{other}` in `{text}`, expected k, m, g or t"
                ));
            }
        };
        times(digits, unit)
            .map(Self)
            .ok_or_else(|| format!("`{text}` is not a size such as `256g` or `1.5t`"))
    }
}

/// Multiplies a decimal number by a unit, rounded down; `None` if the text is not a number, or the product too large.
fn times(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    // Nine digits state a terabyte to the kilobyte; more digits would overflow.
    if fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let scale = 10_u64.pow(u32::try_from(fraction.len()).ok()?);
    let fraction = u128::from(fraction.parse::<u64>().ok()?) * u128::from(unit) / u128::from(scale);
    whole
        .parse::<u64>()
        .ok()?
        .checked_mul(unit)?
        .checked_add(u64::try_from(fraction).ok()?)
}

/// Returns a count with its noun: `1 file`, `2 files`.
#[must_use]
pub fn counted(count: usize, thing: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {thing}{ending}")
}

/// Returns bytes as lower-case hexadecimal digits, as hashes are written.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// Returns a duration as people write it: `0.4s`, `41s`, `5m12s`, `1h02m`.
#[must_use]
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..10 => format!("{:.1}s", duration.as_secs_f64()),
        10..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Parses a period: a whole number with its unit, as in `90s`, `10m`, `2h`, `1d`.
///
/// # Errors
/// The reason, for a text that is none.
pub fn period(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err("write a number with its unit, such as 90s, 10m, 2h or 1d".to_owned()),
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| "write a whole number before the unit, as in 10m".to_owned())?;
    let seconds = number.checked_mul(factor);
    seconds
        .map(Duration::from_secs)
        .ok_or_else(|| "it is too long".to_owned())
}

/// Returns a time in seconds since 1970 in UTC as `2026-11-23T21:52:31Z` (RFC 3339).
#[must_use]
pub fn utc(seconds: u64) -> String {
    let (year, month, day) = civil(seconds / 86_400);
    let rest = seconds % 86_400;
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        rest / 3600,
        rest % 3600 / 60,
        rest % 60
    )
}

/// Returns a time in milliseconds since 1970 in UTC as `2026-11-23T21:52:31.042Z` (RFC 3339).
#[must_use]
pub fn utc_millis(millis: u64) -> String {
    let seconds = utc(millis / 1000);
    format!("{}.{:03}Z", seconds.trim_end_matches('Z'), millis % 1000)
}

/// Returns the seconds since 1970 of a time in RFC 3339, such as `2026-11-23T21:52:31.5+01:00`; `None` for another text and
/// for a time before 1970.
#[must_use]
pub fn seconds_of(text: &str) -> Option<u64> {
    let (date, time) = text.split_once('T')?;
    let numbers =
        |text: &str, by: char| -> Option<Vec<u64>> { text.split(by).map(|part| part.parse().ok()).collect() };
    let at = time.find(['Z', '+', '-'])?;
    let (time, zone) = time.split_at(at);
    let time = time.split('.').next()?;
    let [year, month, day]: [u64; 3] = numbers(date, '-')?.try_into().ok()?;
    let [hours, minutes, seconds]: [u64; 3] = numbers(time, ':')?.try_into().ok()?;
    if !(1970..10_000).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Gregorian days, counted in years that begin in March.
    let (from_march, of_year) = if month > 2 {
        (month - 3, year)
    } else {
        (month + 9, year - 1)
    };
    let days =
        of_year * 365 + of_year / 4 - of_year / 100 + of_year / 400 + (from_march * 153 + 2) / 5 + day - 1;
    let within = hours < 24 && minutes < 60 && seconds <= 60;
    let total: u64 =
        days.checked_sub(719_468).filter(|_| within)? * 86_400 + hours * 3600 + minutes * 60 + seconds;
    let offset = |text: &str| -> Option<u64> {
        let [hours, minutes]: [u64; 2] = numbers(text, ':')?.try_into().ok()?;
        (hours < 24 && minutes < 60).then_some(hours * 3600 + minutes * 60)
    };
    match zone.split_at(1) {
        ("Z", "") => Some(total),
        ("+", rest) => total.checked_sub(offset(rest)?),
        ("-", rest) => total.checked_add(offset(rest)?),
        _ => None,
    }
}

/// Converts days since 1970-01-01 to year, month and day of the Gregorian calendar.
fn civil(mut days: u64) -> (u64, u64, u64) {
    let leap = |year: u64| (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400);
    let mut year = 1970;
    loop {
        let length = if leap(year) { 366 } else { 365 };
        if days < length {
            break;
        }
        days -= length;
        year += 1;
    }
    let february = if leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_utc() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc_millis(1042), "1970-01-01T00:00:01.042Z");
        assert_eq!(utc(951_827_696), "2000-02-29T12:34:56Z");
        assert_eq!(utc(4_107_542_400), "2100-03-01T00:00:00Z");
    }

    #[test]
    fn times_are_read_as_they_are_written() {
        for seconds in [
            0,
            59,
            951_782_399,
            951_827_696,
            1_800_000_000,
            4_107_542_400,
            4_133_980_799,
        ] {
            assert_eq!(seconds_of(&utc(seconds)), Some(seconds), "{seconds}");
        }
        assert_eq!(
            seconds_of("2026-11-23T21:52:31.123456789+01:00"),
            seconds_of("2026-11-23T20:52:31Z")
        );
        assert_eq!(
            seconds_of("2026-11-23T21:52:31-00:30"),
            seconds_of("2026-11-23T22:22:31Z")
        );
        for text in [
            "",
            "now",
            "2026-11-23",
            "2026-11-23T21:52Z",
            "2026-13-23T21:52:31Z",
            "1969-12-31T23:59:59Z",
            "2026-11-23T21:52:31",
        ] {
            assert_eq!(seconds_of(text), None, "{text}");
        }
    }

    #[test]
    fn bytes_parse_as_docker_does() {
        assert_eq!("256gb".parse(), Ok(Bytes(256 * GIB)));
        assert_eq!("1g".parse(), Ok(Bytes(GIB)));
        assert_eq!("512".parse(), Ok(Bytes(512)));
        assert_eq!("1.5g".parse(), Ok(Bytes(3 * GIB / 2)));
        assert_eq!("0.25k".parse(), Ok(Bytes(256)));
        for wrong in [
            "1.g",
            ".5g",
            "1.5.5g",
            "-1g",
            "1.-5g",
            "1,5g",
            "99999999999999t",
            "18014398509481984k",
        ] {
            assert!(wrong.parse::<Bytes>().is_err(), "{wrong}");
        }
        assert!("5 parsecs".parse::<Bytes>().is_err());
    }

    #[test]
    fn one_thing_is_counted_in_the_singular() {
        let counts = [0, 1, 2].map(|count| counted(count, "file"));
        assert_eq!(counts, ["0 files", "1 file", "2 files"]);
    }

    #[test]
    fn bytes_print_decimal() {
        assert_eq!(Bytes(11_300_000_000).to_string(), "11.3 GB");
        assert_eq!(Bytes(999).to_string(), "999 B");
    }

    #[test]
    fn hex_has_two_digits_a_byte() {
        assert_eq!(hex(&[0, 15, 255]), "000fff");
    }

    #[test]
    fn a_period_has_a_unit() {
        assert_eq!(period("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(period("2h"), Ok(Duration::from_hours(2)));
        assert_eq!(period("1d"), Ok(Duration::from_hours(24)));
        for text in [
            "",
            "10",
            "m",
            "-3m",
            "1.5h",
            "3w",
            "99999999999999999999d",
            "999999999999999999d",
            "ü",
        ] {
            assert!(period(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_written_for_people() {
        assert_eq!(duration(Duration::from_millis(420)), "0.4s");
        assert_eq!(duration(Duration::from_secs(312)), "5m12s");
        assert_eq!(duration(Duration::from_secs(3725)), "1h02m");
    }
}
