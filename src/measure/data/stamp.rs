//! The times of a trace, in nanoseconds: of a number, or of a date.

/// Nanoseconds of a second.
const SECOND: i64 = 1_000_000_000;

/// Returns a number of units of `unit_ns` nanoseconds, such as `1.5` seconds; `None` beyond 200 years, or for no number.
pub(super) fn read_number(text: &str, unit_ns: f64) -> Option<i64> {
    let value: f64 = text.trim().parse().ok()?;
    let nanos = value * unit_ns;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "within the range, which is looked at"
    )]
    let whole = nanos.round() as i64;
    (nanos.is_finite() && (0.0..6.3e18).contains(&nanos)).then_some(whole)
}

/// Returns the time of a date such as `2023-11-16 18:17:03.9799600`, with `T` or a space in it, and with the offset `+00:00`,
/// `Z` or none: the offset of a trace is the same in all of its lines, and only distances count.
pub(super) fn read_date(text: &str) -> Option<i64> {
    let text = text.trim();
    let (date, time) = text.split_once([' ', 'T'])?;
    let mut parts = date.splitn(3, '-');
    let mut part = || digits(parts.next()?, 4);
    let (year, month, day) = (part()?, part()?, part()?);
    if !(1970..2200).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let time = time.split(['+', 'Z']).next()?;
    let (clock, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut parts = clock.splitn(3, ':');
    let mut part = || digits(parts.next()?, 2);
    let (hour, minute, second) = (part()?, part()?, part()?);
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let days = days_since_1970(year, month, day);
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    Some(seconds * SECOND + read_fraction(fraction)?)
}

/// Returns the nanoseconds of the digits behind the point of a second.
fn read_fraction(text: &str) -> Option<i64> {
    if text.is_empty() {
        return Some(0);
    }
    if text.len() > 12 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    format!("{text:0<9}")[..9].parse().ok()
}

fn digits(text: &str, most: usize) -> Option<i64> {
    let is_number = (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// Returns the days from 1970-01-01 to a date of the Gregorian calendar (H. Hinnant, "chrono-Compatible Low-Level Date
/// Algorithms", `days_from_civil`, for years from 1970 on).
const fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year / 400;
    let year_of_era = year - era * 400;
    let shifted = (month + 9) % 12;
    let day_of_year = (153 * shifted + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_numbers_are_read() {
        for (text, expected) in [
            ("1970-01-01 00:00:00", Some(0)),
            ("2000-03-01T00:00:00Z", Some(951_868_800 * SECOND)),
            (
                "2023-11-16 18:17:03.9799600",
                Some(1_700_158_623 * SECOND + 979_960_000),
            ),
            (
                "2024-05-10 00:00:00.009930+00:00",
                Some(1_715_299_200 * SECOND + 9_930_000),
            ),
            ("2024-13-10 00:00:00", None),
            ("2024-05-10 24:00:00", None),
            ("2024-05-10", None),
            ("2024-05-10 00:00", None),
            ("2024-05-10 00:00:00.x", None),
            ("+024-05-10 00:00:00", None),
            ("", None),
        ] {
            assert_eq!(read_date(text), expected, "{text}");
        }
        assert_eq!(read_number("1.5", 1e9), Some(1_500_000_000));
        assert_eq!(read_number(" 27482 ", 1e6), Some(27_482_000_000));
        for text in ["-1", "NaN", "inf", "1e30", "x", ""] {
            assert_eq!(read_number(text, 1e9), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[-0-9T:. +Z\\PC]{0,40}") {
            let _ = read_date(&text);
            let _ = read_number(&text, 1e9);
        }

        #[test]
        fn days_follow_each_other(day in 0_i64..80_000) {
            // The inverse of the same paper.
            let shifted = day + 719_468;
            let era = shifted / 146_097;
            let of_era = shifted - era * 146_097;
            let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
            let of_year = of_era - (365 * year + year / 4 - year / 100);
            let part = (5 * of_year + 2) / 153;
            let (month, of_month) = (if part < 10 { part + 3 } else { part - 9 }, of_year - (153 * part + 2) / 5 + 1);
            let year = year + era * 400 + i64::from(month <= 2);
            proptest::prop_assert_eq!(days_since_1970(year, month, of_month), day);
        }
    }
}
