//! Numbers as a page shows them.

/// A space that keeps the digits of a number on one line.
const BETWEEN_THOUSANDS: char = '\u{202f}';

/// Returns a number with decimals as its size needs them, and its thousands apart.
pub(super) fn figure(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        "-".to_owned()
    } else if size >= 1e15 {
        format!("{value:.3e}")
    } else if size >= 1000.0 {
        group_thousands(&format!("{value:.0}"))
    } else if size >= 100.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

/// Returns a figure, or a dash for none.
pub(super) fn figure_or_dash(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), figure)
}

/// Returns a count with its thousands apart.
pub(super) fn count(count: u64) -> String {
    group_thousands(&count.to_string())
}

/// Returns a share of 0 to 1 as a percentage.
pub(super) fn percent(share: f64) -> String {
    let percentage = share * 100.0;
    let text = if (10.0..1000.0).contains(&percentage.abs()) {
        format!("{percentage:.1}")
    } else {
        figure(percentage)
    };
    format!("{}\u{a0}%", trim_zeros(&text))
}

/// Returns a name of a percentile, such as `p99.9`.
pub(super) fn name_percentile(percentile: f64) -> String {
    format!("p{percentile}")
}

/// Returns a figure without zeros behind its point.
pub(super) fn trim_zeros(figure: &str) -> &str {
    if figure.contains('.') && !figure.contains('e') {
        figure.trim_end_matches('0').trim_end_matches('.')
    } else {
        figure
    }
}

fn group_thousands(digits: &str) -> String {
    let (sign, digits) = digits
        .strip_prefix('-')
        .map_or(("", digits), |digits| ("-", digits));
    let mut out = sign.to_owned();
    for (index, digit) in digits.chars().enumerate() {
        // Four digits are read at once.
        if index > 0 && digits.len() > 4 && (digits.len() - index).is_multiple_of(3) {
            out.push(BETWEEN_THOUSANDS);
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_has_the_digits_that_it_needs() {
        for (value, text) in [
            (0.0, "0.00"),
            (20.004, "20.00"),
            (200.16, "200.2"),
            (1234.5, "1234"),
            (123_456.7, "123\u{202f}457"),
            (-1_234_567.0, "-1\u{202f}234\u{202f}567"),
            (1e300, "1.000e300"),
            (f64::NAN, "-"),
        ] {
            assert_eq!(figure(value), text);
        }
        assert_eq!(count(700), "700");
        let percentages = [0.5, 0.1614, 0.001, 0.0, 1.0, 20.0].map(percent);
        let texts = percentages.map(|text| text.replace("\u{a0}%", ""));
        assert_eq!(texts, ["50", "16.1", "0.1", "0", "100", "2000"]);
        let trimmed = ["12.00", "0.50", "100.0", "1200", "1.000e20"].map(trim_zeros);
        assert_eq!(trimmed, ["12", "0.5", "100", "1200", "1.000e20"]);
        assert_eq!(
            (name_percentile(99.9), name_percentile(50.0)),
            ("p99.9".to_owned(), "p50".to_owned())
        );
    }
}
