//! How a number is printed, before any markup.

use assay_record::Format;

/// The parts of a printed number; each output joins them in its own way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    /// A p value below the smallest printed one: `digits` is that bound.
    pub(crate) below: bool,
    /// Printed with a minus sign.
    pub(crate) negative: bool,
    /// Digits with point and thousands commas, without sign.
    pub(crate) digits: String,
    /// Power of ten to multiply by.
    pub(crate) exponent: Option<i32>,
    /// Followed by a percent sign.
    pub(crate) percent: bool,
}

/// Exponents printed as plain decimals; outside, a power of ten is cleaner to
/// read than a row of zeros.
const PLAIN_EXPONENTS: std::ops::RangeInclusive<i32> = -4..=6;

/// From this many digits on, whole numbers have thousands commas.
const GROUP_FROM: usize = 5;

/// The printed parts of a finite value.
pub(crate) fn shown(value: f64, format: Format) -> Shown {
    let plain = |digits: String| Shown {
        below: false,
        negative: value < 0.0 && digits.bytes().any(|b| (b'1'..=b'9').contains(&b)),
        digits,
        exponent: None,
        percent: false,
    };
    let size = value.abs();
    match format {
        Format::Fixed(places) => plain(format!("{size:.*}", usize::from(places))),
        Format::Integer => plain(grouped(&format!("{size:.0}"))),
        Format::Percent => Shown {
            percent: true,
            ..plain(format!("{:.1}", size * 100.0))
        },
        Format::PValue if size < 0.001 => Shown {
            below: true,
            ..plain(".001".to_owned())
        },
        Format::PValue => {
            let digits = format!("{size:.3}");
            plain(digits.strip_prefix('0').unwrap_or(&digits).to_owned())
        }
        Format::Significant(n) => significant(size, n, plain),
    }
}

/// `n` significant digits; `n` = 0 is read as 1.
fn significant(size: f64, n: u8, plain: impl Fn(String) -> Shown) -> Shown {
    let after = usize::from(n.max(1)) - 1;
    // Rust's {:e} rounds correctly, so 9.996 with three digits is 1.00e1.
    let text = format!("{size:.after$e}");
    let (mantissa, exponent) = match text.split_once('e') {
        Some((m, e)) => (m.to_owned(), e.parse::<i32>().unwrap_or(0)),
        None => (text, 0),
    };
    if !PLAIN_EXPONENTS.contains(&exponent) {
        return Shown {
            exponent: Some(exponent),
            ..plain(mantissa)
        };
    }
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    // The point stands after `whole` digits.
    let whole = exponent + 1;
    plain(if whole <= 0 {
        let zeros = usize::try_from(-whole).unwrap_or(0);
        format!("0.{}{digits}", "0".repeat(zeros))
    } else {
        let whole = usize::try_from(whole).unwrap_or(0);
        match digits.split_at_checked(whole) {
            Some((left, "")) => grouped(left),
            Some((left, right)) => format!("{left}.{right}"),
            None => grouped(&format!("{digits:0<whole$}")),
        }
    })
}

fn grouped(digits: &str) -> String {
    if digits.len() < GROUP_FROM {
        return digits.to_owned();
    }
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

impl Shown {
    /// As plain text with the given minus sign: "< .001", "-12.3%", "1.2e-7".
    pub(crate) fn plain(&self, minus: &str) -> String {
        let below = if self.below { "< " } else { "" };
        let sign = if self.negative { minus } else { "" };
        let exponent = match self.exponent {
            Some(e) if e < 0 => format!("e{minus}{}", -e),
            Some(e) => format!("e{e}"),
            None => String::new(),
        };
        let percent = if self.percent { "%" } else { "" };
        format!("{below}{sign}{}{exponent}{percent}", self.digits)
    }
}

#[cfg(test)]
mod tests {
    use assay_record::Format::{self, Fixed, Integer, PValue, Percent, Significant};

    use super::shown;

    #[track_caller]
    fn check(value: f64, format: Format, expected: &str) {
        assert_eq!(shown(value, format).plain("-"), expected);
    }

    #[test]
    fn fixed_rounds_and_drops_the_sign_of_zero() {
        check(0.99449, Fixed(3), "0.994");
        check(-0.8116303, Fixed(4), "-0.8116");
        check(-0.0004, Fixed(2), "0.00");
    }

    #[test]
    fn significant_keeps_trailing_zeros() {
        check(0.0, Significant(3), "0.00");
        check(9.996, Significant(3), "10.0");
        check(0.000123, Significant(2), "0.00012");
        check(-1234.6, Significant(4), "-1235");
        check(134_515_008.0, Significant(3), "1.35e8");
        check(12_345.0, Significant(3), "12,300");
        check(3.2e-9, Significant(2), "3.2e-9");
    }

    #[test]
    fn p_values_have_three_digits() {
        check(0.014_438, PValue, ".014");
        check(0.000_99, PValue, "< .001");
        check(1.0, PValue, "1.000");
    }

    #[test]
    fn shares_and_counts() {
        check(0.123_4, Percent, "12.3%");
        check(134_515_008.0, Integer, "134,515,008");
        check(2048.0, Integer, "2048");
        check(-30.0, Integer, "-30");
    }
}
