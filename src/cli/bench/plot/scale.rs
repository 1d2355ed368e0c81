//! Axes: where a value stands, and which values get a tick.

/// Steps of ticks within a power of ten.
const MANTISSAS: [f64; 3] = [1.0, 2.0, 5.0];

/// Ticks that an axis has at most, about.
const TICKS: f64 = 8.0;

/// A range of values, as shares of an axis's length.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    is_log: bool,
    pub(super) ticks: Vec<f64>,
}

impl Scale {
    /// From zero to a round number at or above `highest`.
    pub(super) fn linear(highest: f64) -> Self {
        let highest = if highest > 0.0 { highest } else { 1.0 };
        let step = round_up(highest / TICKS);
        let mut ticks = vec![0.0];
        let mut high = 0.0;
        while high < highest {
            high += step;
            ticks.push(high);
        }
        Self { low: 0.0, high, is_log: false, ticks }
    }

    /// Logarithmic, between round numbers around `lowest` and `highest`, both positive; at least a power of ten.
    pub(super) fn log(lowest: f64, highest: f64) -> Self {
        let low = round_down(lowest);
        let high = round_up(highest).max(low * 10.0);
        let first = power(low);
        let decades = 0..=(power(high) - first);
        let all = decades.flat_map(|decade| MANTISSAS.map(|mantissa| mantissa * 10_f64.powi(first + decade)));
        // A hair of tolerance: powers of ten below one are not exact.
        let ticks = all.filter(|tick| *tick >= low * 0.999 && *tick <= high * 1.001).collect();
        Self { low, high, is_log: true, ticks }
    }

    /// Where a value stands, from 0 to 1.
    pub(super) fn place(&self, value: f64) -> f64 {
        if self.is_log {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        }
    }
}

/// The exponent of the power of ten at or below a value.
fn power(value: f64) -> i32 {
    #[expect(clippy::cast_possible_truncation, reason = "an f64's exponent is small")]
    let power = (value * 1.000_001).log10().floor() as i32;
    power
}

/// The next of 1, 2, 5, 10, … at or above a value.
fn round_up(value: f64) -> f64 {
    let unit = 10_f64.powi(power(value));
    let found = MANTISSAS.into_iter().map(|mantissa| mantissa * unit).find(|round| *round >= value * 0.999_999);
    found.unwrap_or(10.0 * unit)
}

/// The next of 1, 2, 5, 10, … at or below a value.
fn round_down(value: f64) -> f64 {
    let unit = 10_f64.powi(power(value));
    let found = MANTISSAS.into_iter().rev().map(|mantissa| mantissa * unit).find(|round| *round <= value * 1.000_001);
    found.unwrap_or(unit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Scale;

    fn near(left: f64, right: f64) -> bool {
        (left - right).abs() < 1e-9
    }

    #[test]
    fn a_linear_axis_has_round_ticks_from_zero() {
        let scale = Scale::linear(34_416.0);
        assert_eq!(scale.ticks, [0.0, 5e3, 1e4, 15e3, 2e4, 25e3, 3e4, 35e3]);
        assert!(near(scale.place(0.0), 0.0) && near(scale.place(35e3), 1.0));
    }

    #[test]
    fn a_logarithmic_axis_has_ticks_at_one_two_and_five() {
        let scale = Scale::log(0.13, 4.2);
        let wanted = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0];
        assert!(scale.ticks.iter().zip(wanted).all(|(tick, wanted)| near(*tick, wanted)), "{:?}", scale.ticks);
        assert_eq!(scale.ticks.len(), wanted.len());
        assert!(near(scale.place(0.1), 0.0) && near(scale.place(5.0), 1.0));
        assert!(Scale::log(3.0, 3.0).ticks.len() >= 3);
    }

    proptest! {
        #[test]
        fn every_value_stands_on_its_axis(low in 1e-4_f64..1e6, factor in 1.0_f64..1e5) {
            let high = low * factor;
            for (scale, value) in [(Scale::linear(high), high), (Scale::log(low, high), low), (Scale::log(low, high), high)] {
                prop_assert!((-1e-5..=1.000_01).contains(&scale.place(value)), "{value} on {scale:?}");
                prop_assert!((2..=30).contains(&scale.ticks.len()), "{scale:?}");
            }
        }
    }
}
