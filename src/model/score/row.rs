//! How sure a classifier was of one row: the numbers alone, stable for any finite input.
//!
//! All sums are in `f64`. Ties go to the first class. Entropy is divided by that of a uniform guess.

use std::f64::consts::LN_2;

use crate::types::ClassScore;

/// How far above 1 a probability may be, and how far from 1 the sum of all, for rounding (BF16 keeps three digits).
const PROBABILITY_SLACK: f64 = 1e-2;

/// Scores logits `x` as `softmax(x / temperature)`.
///
/// `None` if one is NaN or +infinity, or none is finite. -infinity beside finite ones is a class that was ruled out.
pub(super) fn logits(values: impl Iterator<Item = f64> + Clone, inverse_temperature: f64) -> Option<ClassScore> {
    let top = Top::of(values.clone())?;
    if !top.value.is_finite() {
        return None;
    }
    let mut classes = 0_u32;
    let mut sum = 0.0;
    let mut weighted = 0.0;
    for value in values {
        classes = classes.saturating_add(1);
        let below = (value - top.value) * inverse_temperature;
        let share = below.exp();
        sum += share;
        if share > 0.0 {
            weighted += share * below;
        }
    }
    let runner_up = ((top.second - top.value) * inverse_temperature).exp();
    let entropy = sum.ln() - weighted / sum;
    Some(score(top.class, 1.0 / sum, (1.0 - runner_up) / sum, uniform(entropy, classes)))
}

/// Scores probabilities of classes that exclude each other; another temperature than 1 sharpens or flattens them as
/// it would their logits.
///
/// `None` if one is NaN, negative or above 1, or if they do not sum up to 1, within 0.01.
pub(super) fn distribution(values: impl Iterator<Item = f64> + Clone, inverse_temperature: f64) -> Option<ClassScore> {
    let mut classes = 0_u32;
    let mut sum = 0.0;
    let mut entropy = 0.0;
    for value in values.clone() {
        if !is_probability(value) {
            return None;
        }
        classes = classes.saturating_add(1);
        sum += value;
        if value > 0.0 {
            entropy -= value * value.ln();
        }
    }
    if (sum - 1.0_f64).abs() > PROBABILITY_SLACK {
        return None;
    }
    if inverse_temperature.to_bits() != 1.0_f64.to_bits() {
        return logits(values.map(f64::ln), inverse_temperature);
    }
    let top = Top::of(values)?;
    Some(score(top.class, top.value, top.value - top.second.max(0.0), uniform(entropy, classes)))
}

/// Scores the logit of the second of two classes.
///
/// `None` if it is NaN or infinite.
pub(super) fn logit(value: f64, inverse_temperature: f64) -> Option<ClassScore> {
    if !value.is_finite() {
        return None;
    }
    let distance = (value * inverse_temperature).abs();
    let odds = (-distance).exp();
    let confidence = 1.0 / (1.0 + odds);
    // -c ln(c) - q ln(q) with q = 1 - c; a far distance has q = 0 exactly.
    let rest = if odds > 0.0 { distance * odds * confidence } else { 0.0 };
    let entropy = odds.ln_1p() + rest;
    Some(score(usize::from(value > 0.0), confidence, (1.0 - odds) * confidence, entropy / LN_2))
}

/// Scores the probability of the second of two classes.
///
/// `None` if it is NaN, negative or above 1.
pub(super) fn probability(value: f64, inverse_temperature: f64) -> Option<ClassScore> {
    let value = temper(value, inverse_temperature)?;
    let confidence = value.max(1.0 - value);
    let margin = (2.0 * value - 1.0).abs();
    Some(score(usize::from(value > 0.5), confidence, margin, binary_entropy(value) / LN_2))
}

/// Scores probabilities of labels that do not exclude each other: class and confidence are those of the likeliest label,
/// the margin is its lead, the entropy is the mean over the labels.
///
/// `None` if one is NaN, negative or above 1.
pub(super) fn labels(values: impl Iterator<Item = f64> + Clone, inverse_temperature: f64) -> Option<ClassScore> {
    let mut count = 0_u32;
    let mut entropy = 0.0;
    for value in values.clone() {
        entropy += binary_entropy(temper(value, inverse_temperature)?);
        count = count.saturating_add(1);
    }
    let top = Top::of(values)?;
    let confidence = temper(top.value, inverse_temperature)?;
    let runner_up = temper(top.second.max(0.0), inverse_temperature)?;
    Some(score(top.class, confidence, confidence - runner_up, entropy / (f64::from(count) * LN_2)))
}

/// Probability of one label, tempered; NaN if its row is not sound.
pub(super) fn label(value: f64, inverse_temperature: f64, is_sound: bool) -> f32 {
    #[expect(clippy::cast_possible_truncation, reason = "for a histogram")]
    let tempered = |value: f64| value as f32;
    temper(value, inverse_temperature).filter(|_| is_sound).map_or(f32::NAN, tempered)
}

fn score(class: usize, confidence: f64, margin: f64, entropy: f64) -> ClassScore {
    let unit = |value: f64| value.clamp(0.0, 1.0);
    ClassScore { class, confidence: unit(confidence), margin: unit(margin), entropy: unit(entropy), bin: None }
}

fn uniform(entropy: f64, classes: u32) -> f64 {
    if classes < 2 { 0.0 } else { entropy / f64::from(classes).ln() }
}

fn is_probability(value: f64) -> bool {
    (0.0..=1.0 + PROBABILITY_SLACK).contains(&value)
}

fn binary_entropy(value: f64) -> f64 {
    let part = |share: f64| if share > 0.0 { -share * share.ln() } else { 0.0 };
    part(value) + part(1.0 - value)
}

/// `sigmoid(logit(value) / temperature)`; `None` if `value` is no probability.
fn temper(value: f64, inverse_temperature: f64) -> Option<f64> {
    if !is_probability(value) {
        return None;
    }
    let value = value.min(1.0);
    if inverse_temperature.to_bits() == 1.0_f64.to_bits() {
        return Some(value);
    }
    let logit = value.ln() - (-value).ln_1p();
    Some(1.0 / (1.0 + (-logit * inverse_temperature).exp()))
}

/// The largest value, where it is, and the largest of the others.
struct Top {
    class: usize,
    value: f64,
    second: f64,
}

impl Top {
    /// `None` if a value is NaN, or there is none.
    fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut top = Self { class: 0, value: f64::NEG_INFINITY, second: f64::NEG_INFINITY };
        let mut empty = true;
        for (class, value) in values.enumerate() {
            if value > top.value {
                top = Self { class, value, second: top.value };
            } else if value > top.second {
                top.second = value;
            } else if value.is_nan() {
                return None;
            }
            empty = false;
        }
        (!empty).then_some(top)
    }
}
