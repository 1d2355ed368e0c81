//! What a model's output says about itself: predicted class, confidence, margin and entropy of each row.

mod resolve;
mod row;
#[cfg(test)]
#[expect(clippy::cast_precision_loss, clippy::float_cmp, reason = "the numbers of tests are small, and equal or not")]
mod tests;

pub use resolve::Declared;

use smallvec::SmallVec;

use crate::config::ScoreKind;
use crate::types::{ClassScore, DataType, Scores, Tensor};

/// How the rows of one output are scored.
#[derive(Clone, Debug, PartialEq)]
pub struct Scoring {
    /// Index of the output in the signature.
    pub output: usize,
    /// What its numbers mean.
    pub kind: ScoreKind,
    /// Name of each class, their numbers where none were declared; empty for regressions and embeddings.
    pub labels: Vec<String>,
    /// Divides the logits; 1 leaves them as they are.
    pub temperature: f64,
    /// Confidences below this count as low.
    pub low: f64,
    /// Do rows of low confidence get an empty label?
    pub abstain: bool,
    /// Where the values of a regression are expected, for their histogram.
    pub range: Option<(f64, f64)>,
    /// Numbers in a row of the output; 0 for regressions and embeddings, which may have free dimensions.
    columns: usize,
}

impl Scoring {
    /// Number of classes; a single sigmoid or logit stands for two. 0 for regressions and embeddings.
    pub fn classes(&self) -> usize {
        self.labels.len()
    }

    /// Name of a class; empty if there is no such class.
    pub fn label(&self, class: usize) -> &str {
        self.labels.get(class).map_or("", String::as_str)
    }

    /// Is this score below the threshold?
    pub fn is_low(&self, score: &ClassScore) -> bool {
        score.confidence < self.low
    }

    /// Label of a row as an answer carries it: empty if the row was not scored, or the model abstains on it.
    pub fn answer_label(&self, score: Option<&ClassScore>) -> &str {
        match score {
            Some(score) if !(self.abstain && self.is_low(score)) => self.label(score.class),
            _ => "",
        }
    }

    /// Which output is logits, and what they are multiplied with before the softmax, for devices that score them; `None` if
    /// scores are made of anything else.
    pub fn of_logits(&self) -> Option<(usize, f32)> {
        #[expect(clippy::cast_possible_truncation, reason = "scores on a device are in f32")]
        let sharpness = (1.0 / self.temperature) as f32;
        (self.kind == ScoreKind::Logits && sharpness.is_normal()).then_some((self.output, sharpness))
    }

    /// The scores of a model that gives `own` outputs: as its device told them in three outputs behind those, else computed.
    ///
    /// `None` if there is no output to score.
    pub fn of_outputs(&self, outputs: &[Tensor], own: usize) -> Option<Scores> {
        match outputs.get(own..) {
            Some([classes, measures, bins]) => Some(self.told(classes, measures, bins)),
            _ => outputs.get(self.output).map(|output| self.score(output)),
        }
    }

    /// Scores every row of `output`, which must be of the shape that the signature promises.
    ///
    /// A row is `None` where its numbers cannot be what they are declared to be: NaN, +infinity, only infinities, or
    /// "probabilities" that are none. A regression gives every element, `None` where it is not finite.
    /// Cost: some nanoseconds for each number; no allocation for up to two rows (four values), else one.
    pub fn score(&self, output: &Tensor) -> Scores {
        if self.kind == ScoreKind::Embedding {
            return Scores::Embeddings(output.clone());
        }
        let data: &[u8] = output.data();
        match output.dtype() {
            DataType::Fp32 => self.score_as(data, |bytes| f64::from(f32::from_le_bytes(bytes))),
            DataType::Fp64 => self.score_as(data, f64::from_le_bytes),
            DataType::Fp16 => self.score_as(data, |bytes| half::f16::from_le_bytes(bytes).to_f64()),
            DataType::Bf16 => self.score_as(data, |bytes| half::bf16::from_le_bytes(bytes).to_f64()),
            // Scoring is not resolved for outputs of other types.
            _ => self.score_as::<1>(&[], |_| f64::NAN),
        }
    }

    fn score_as<const WIDTH: usize>(&self, data: &[u8], read: impl Fn([u8; WIDTH]) -> f64 + Copy) -> Scores {
        let (data, _) = data.as_chunks::<WIDTH>();
        if self.kind == ScoreKind::Regression {
            let finite = |bytes: &[u8; WIDTH]| Some(read(*bytes)).filter(|value| value.is_finite());
            return Scores::Values(data.iter().map(finite).collect());
        }
        let sharpness = 1.0 / self.temperature;
        let mut scores = SmallVec::new();
        let mut probabilities = Vec::new();
        for row in data.chunks_exact(self.columns.max(1)) {
            let values = row.iter().map(|bytes| read(*bytes));
            let single = if let [bytes] = row { Some(read(*bytes)) } else { None };
            scores.push(match (self.kind, single) {
                (ScoreKind::Logits, Some(value)) => row::logit(value, sharpness),
                (ScoreKind::Logits, None) => row::logits(values, sharpness),
                (ScoreKind::Sigmoid, Some(value)) => row::probability(value, sharpness),
                (ScoreKind::Sigmoid, None) => {
                    let top = row::labels(values.clone(), sharpness);
                    let sound = top.is_some();
                    probabilities.extend(values.map(|value| row::label(value, sharpness, sound)));
                    top
                }
                _ => row::distribution(values, sharpness),
            });
        }
        if probabilities.is_empty() { Scores::Classes(scores) } else { Scores::Labels { top: scores, probabilities } }
    }

    /// Scores that a device told: `U32 [rows]` classes, `FP32 [rows, 3]` confidences, margins and entropies, which are NaN for a row
    /// that cannot be scored, and `U32 [rows]` bins of the confidences.
    fn told(&self, classes: &Tensor, measures: &Tensor, bins: &Tensor) -> Scores {
        let rows = numbers(classes).zip(measures.data().as_chunks::<12>().0).zip(numbers(bins));
        let scored = rows.map(|((class, measures), bin)| {
            let class = usize::try_from(class).ok().filter(|class| *class < self.classes())?;
            Some(ClassScore { bin: u8::try_from(bin).ok(), ..class_score(class, measures)? })
        });
        Scores::Classes(scored.collect())
    }

    /// Do the classes exclude each other?
    pub fn is_exclusive(&self) -> bool {
        !(self.kind == ScoreKind::Sigmoid && self.columns > 1)
    }
}

fn numbers(tensor: &Tensor) -> impl Iterator<Item = u32> {
    tensor.data().as_chunks::<4>().0.iter().map(|number| u32::from_le_bytes(*number))
}

fn class_score(class: usize, measures: &[u8; 12]) -> Option<ClassScore> {
    let [confidence, margin, entropy] = [0, 4, 8].map(|at| {
        measures.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(f32::NAN, f32::from_le_bytes)
    });
    let unit = |value: f32| f64::from(value).clamp(0.0, 1.0);
    (!confidence.is_nan()).then(|| ClassScore {
        class,
        confidence: unit(confidence),
        margin: unit(margin),
        entropy: unit(entropy),
        bin: None,
    })
}
