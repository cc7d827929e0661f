//! Axes: the range that holds the data, and round values to mark on it.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

/// An axis in drawing coordinates: logarithms of the values where it is
/// logarithmic, the values themselves otherwise.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scale {
    log: bool,
    pub(super) low: f64,
    pub(super) high: f64,
    /// Position in drawing coordinates, and what is printed there.
    pub(super) ticks: Vec<(f64, String)>,
}

impl Scale {
    /// An axis over these values with a margin of `margin` of the range at both
    /// ends and about `wanted` marks. With no values it runs from 0 to 1.
    ///
    /// # Errors
    /// A value that is not finite, or not positive on a logarithmic axis.
    pub(super) fn new(
        values: impl IntoIterator<Item = f64>,
        log: bool,
        margin: f64,
        wanted: usize,
    ) -> Result<Self, String> {
        let mut low = f64::INFINITY;
        let mut high = f64::NEG_INFINITY;
        for value in values {
            if !value.is_finite() || (log && value <= 0.0) {
                let kind = if log { "positive and " } else { "" };
                return Err(format!("the value {value} is not {kind}finite"));
            }
            let at = if log { value.log10() } else { value };
            low = low.min(at);
            high = high.max(at);
        }
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        if low == high {
            let half = if log { 0.5 } else { (low.abs() * 0.1).max(0.5) };
            (low, high) = (low - half, high + half);
        } else {
            let pad = margin * (high - low);
            (low, high) = (low - pad, high + pad);
        }
        let ticks = if log {
            log_ticks(low, high, wanted)
        } else {
            linear_ticks(low, high, wanted)
        };
        Ok(Self {
            log,
            low,
            high,
            ticks,
        })
    }

    /// An axis of named places 0, 1, 2…, the first at the top.
    pub(super) fn named(names: &[String]) -> Self {
        let count = names.len().max(1) as f64;
        Self {
            log: false,
            low: 0.0,
            high: count,
            ticks: names
                .iter()
                .enumerate()
                .map(|(i, name)| (count - i as f64 - 0.5, name.clone()))
                .collect(),
        }
    }

    /// Where a value stands.
    pub(super) fn at(&self, value: f64) -> f64 {
        if self.log { value.log10() } else { value }
    }

    /// The value that stands at a place.
    pub(super) fn value(&self, at: f64) -> f64 {
        if self.log { 10f64.powf(at) } else { at }
    }
}

impl Ranged for Scale {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        let share = (self.at(*value) - self.low) / (self.high - self.low);
        from + (f64::from(to - from) * share).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.iter().map(|(at, _)| self.value(*at)).collect()
    }

    fn range(&self) -> Range<f64> {
        self.value(self.low)..self.value(self.high)
    }
}

impl ValueFormatter<f64> for Scale {
    fn format_ext(&self, value: &f64) -> String {
        let at = self.at(*value);
        let near = |a: f64| (a - at).abs();
        self.ticks
            .iter()
            .min_by(|(a, _), (b, _)| near(*a).total_cmp(&near(*b)))
            .map(|(_, label)| label.clone())
            .unwrap_or_default()
    }
}

/// Multiples of 1, 2 or 5 times a power of ten inside the range.
fn linear_ticks(low: f64, high: f64, wanted: usize) -> Vec<(f64, String)> {
    let rough = (high - low) / wanted.max(1) as f64;
    let power = rough.log10().floor();
    let unit = 10f64.powf(power);
    let factor = [1.0, 2.0, 5.0]
        .into_iter()
        .find(|f| f * unit >= rough)
        .unwrap_or(10.0);
    let step = factor * unit;
    let places = if factor == 10.0 { -power - 1.0 } else { -power };
    let places = places.max(0.0) as usize;
    let first = (low / step).ceil() as i64;
    let last = (high / step).floor() as i64;
    (first..=last)
        .map(|k| {
            let value = k as f64 * step;
            (value, number(value, places))
        })
        .collect()
}

/// Powers of ten over a wide range; 1, 2 and 5 times them over one or two
/// decades; round values over less.
fn log_ticks(low: f64, high: f64, wanted: usize) -> Vec<(f64, String)> {
    let decades = high - low;
    if decades < 0.7 {
        return linear_ticks(10f64.powf(low), 10f64.powf(high), wanted)
            .into_iter()
            .filter(|(value, _)| *value > 0.0)
            .map(|(value, label)| (value.log10(), label))
            .collect();
    }
    let stride = (decades / wanted.max(1) as f64).ceil().max(1.0) as usize;
    let factors: &[f64] = if decades < 2.5 {
        &[1.0, 2.0, 5.0]
    } else {
        &[1.0]
    };
    ((low.floor() as i32)..=(high.ceil() as i32))
        .step_by(stride)
        .flat_map(|power| {
            factors.iter().map(move |factor| {
                let label = if (-3..=4).contains(&power) {
                    let places = usize::try_from(-power).unwrap_or(0);
                    number(factor * 10f64.powi(power), places)
                } else if *factor == 1.0 {
                    format!("10{}", superscript(power))
                } else {
                    format!("{factor}×10{}", superscript(power))
                };
                (f64::from(power) + factor.log10(), label)
            })
        })
        .filter(|(at, _)| (low..=high).contains(at))
        .collect()
}

/// A tick label with a real minus sign; large ones as a power of ten.
fn number(value: f64, places: usize) -> String {
    let size = value.abs();
    let sign = if value < 0.0 { "\u{2212}" } else { "" };
    if size >= 1e5 || (size > 0.0 && size < 1e-4) {
        let text = format!("{size:.1e}");
        if let Some((mantissa, power)) = text.split_once('e') {
            let mantissa = mantissa.strip_suffix(".0").unwrap_or(mantissa);
            let power = superscript(power.parse().unwrap_or(0));
            return format!("{sign}{mantissa}×10{power}");
        }
    }
    format!("{sign}{size:.places$}")
}

fn superscript(power: i32) -> String {
    power
        .to_string()
        .chars()
        .map(|c| match c {
            '-' => '⁻',
            '0' => '⁰',
            '1' => '¹',
            '2' => '²',
            '3' => '³',
            '4' => '⁴',
            '5' => '⁵',
            '6' => '⁶',
            '7' => '⁷',
            '8' => '⁸',
            _ => '⁹',
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::Scale;

    #[track_caller]
    fn check(values: &[f64], log: bool, expected: &[&str]) {
        let scale = Scale::new(values.iter().copied(), log, 0.0, 5).unwrap();
        let labels: Vec<_> = scale.ticks.iter().map(|(_, l)| l.as_str()).collect();
        assert_eq!(labels, expected);
    }

    #[test]
    fn linear_ticks_are_round() {
        check(
            &[0.0, 1.0],
            false,
            &["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"],
        );
        check(
            &[-0.1, 0.1],
            false,
            &["−0.10", "−0.05", "0.00", "0.05", "0.10"],
        );
        check(
            &[0.0, 400_000.0],
            false,
            &["0", "1×10⁵", "2×10⁵", "3×10⁵", "4×10⁵"],
        );
    }

    #[test]
    fn log_ticks_are_powers_or_round_values() {
        check(
            &[0.01, 1000.0],
            true,
            &["0.01", "0.1", "1", "10", "100", "1000"],
        );
        check(&[1.0, 20.0], true, &["1", "2", "5", "10", "20"]);
        check(&[0.8, 1.6], true, &["0.8", "1.0", "1.2", "1.4", "1.6"]);
    }

    #[test]
    fn values_that_cannot_be_drawn_are_errors() {
        assert!(Scale::new([f64::NAN], false, 0.0, 5).is_err());
        assert!(Scale::new([0.0], true, 0.0, 5).is_err());
    }

    #[test]
    fn one_value_still_has_a_range() {
        let scale = Scale::new([2.0], false, 0.0, 5).unwrap();
        assert!(scale.low < 2.0 && scale.high > 2.0);
    }
}
