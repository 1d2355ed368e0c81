//! What is made of an encoder's rows: embeddings, or numbers for classes.

use candle_core::{D, DType, Tensor};

use super::super::super::json::Json;
use super::super::super::table::HUB_CONFIG;
use super::super::super::{Declared, LoadError, Weights};
use super::super::encoder::{Activation, Operators, Parts, Plan, Pooling, Then, activate};
use super::Classifier;
use super::labels::{LABELS_MAX, labels};
use super::modules::{Modules, Step};
use super::task::Meaning;
use crate::config::ScoreKind;
use crate::model::Files;
use crate::types::{DataType, Presence, TensorSpec};

/// torch's `normalize` divides by no less.
const NORM_MIN: f64 = 1e-12;

/// The last part of a text model.
pub(super) enum Head<O: Operators> {
    Embed { poolings: Vec<Pooling>, stages: Vec<Stage<O>>, width: usize },
    Classify(Classes<O>),
}

/// A step from vector to vector.
pub(super) enum Stage<O: Operators> {
    Dense(O::Linear, Then),
    Normalize,
}

/// A classifier, with its weights.
pub(super) struct Classes<O: Operators> {
    pooling: Pooling,
    dense: O::Linear,
    activation: Activation,
    norm: Option<O::Norm>,
    out: O::Linear,
    labels: Vec<String>,
    meaning: Meaning,
}

impl<O: Operators> Head<O> {
    /// An embedding. Errors: widths that do not fit together, weights that do not fit the files.
    pub(super) fn embed(
        parts: &Parts<'_, O>,
        files: &Files,
        modules: &Modules,
        hidden: usize,
    ) -> Result<Self, LoadError> {
        let mut width = hidden * modules.poolings.len();
        let mut stages = Vec::new();
        for step in &modules.steps {
            let Step::Dense(dense) = step else {
                stages.push(Stage::Normalize);
                continue;
            };
            if dense.inputs != width {
                let reason = format!("expected {width} inputs, as many as come, got {}", dense.inputs);
                return Err(LoadError::new(&dense.weights, reason));
            }
            let weights = Weights::read(files, &dense.weights)?;
            let own = Parts { operators: parts.operators, weights: &weights, prefix: "" };
            let linear = own.linear("linear", (dense.outputs, dense.inputs), dense.bias)?;
            weights.finish(&[])?;
            stages.push(Stage::Dense(linear, dense.activation.map_or(Then::Nothing, Then::Activate)));
            width = dense.outputs;
        }
        Ok(Self::Embed { poolings: modules.poolings.clone(), stages, width })
    }

    /// A classifier. Errors: no such weights, or not as many classes as are named.
    pub(super) fn classify(
        parts: &Parts<'_, O>,
        config: &Json,
        classifier: &Classifier,
        meaning: Meaning,
        plan: &Plan,
    ) -> Result<Self, LoadError> {
        let Classifier { pooling, dense, dense_bias, activation, norm, out } = *classifier;
        let name = format!("{out}.weight");
        let dims = parts.weights.dims(&name).ok_or_else(|| parts.weights.missing(&name))?;
        let count = dims.first().copied().unwrap_or_default();
        if !(1..=LABELS_MAX).contains(&count) {
            let reason = format!("tensor \"{name}\": expected 1 to {LABELS_MAX} classes, got shape {dims:?}");
            return Err(LoadError::new(super::HUB_WEIGHTS, reason));
        }
        let norm = norm.map(|norm| parts.norm(norm, plan.hidden, plan.biases.norms, plan.eps)).transpose()?;
        Ok(Self::Classify(Classes {
            pooling,
            dense: parts.linear(dense, (plan.hidden, plan.hidden), dense_bias)?,
            activation,
            norm,
            out: parts.linear(out, (count, plan.hidden), true)?,
            labels: labels(config, count)?,
            meaning,
        }))
    }

    /// What it gives, in order.
    pub(super) fn outputs(&self) -> Vec<TensorSpec> {
        let spec = |name: &str, row: &[usize]| {
            let row = row.iter().copied().map(Some).collect();
            TensorSpec { name: name.to_owned(), dtype: DataType::Fp32, row, presence: Presence::Required }
        };
        match self {
            Self::Embed { width, .. } => vec![spec("embedding", &[*width])],
            Self::Classify(classes) => {
                let count = classes.labels.len();
                let mut outputs = vec![spec("logits", &[count])];
                match classes.meaning {
                    Meaning::Exclusive | Meaning::Independent => outputs.push(spec("probabilities", &[count])),
                    Meaning::Fit { .. } => outputs.push(spec("score", &[])),
                    Meaning::Values => {}
                }
                outputs
            }
        }
    }

    /// How its outputs are scored.
    pub(super) fn scores(&self) -> Declared {
        let file = HUB_CONFIG;
        let declared = |output, kind| Declared { file, output, kind, labels: Vec::new(), range: None };
        let Self::Classify(classes) = self else { return declared(0, ScoreKind::Embedding) };
        let labels = || classes.labels.clone();
        match classes.meaning {
            Meaning::Exclusive => Declared { labels: labels(), ..declared(0, ScoreKind::Logits) },
            Meaning::Independent => Declared { labels: labels(), ..declared(1, ScoreKind::Sigmoid) },
            Meaning::Values => declared(0, ScoreKind::Regression),
            Meaning::Fit { is_sigmoid } => {
                Declared { range: is_sigmoid.then_some((0.0, 1.0)), ..declared(1, ScoreKind::Regression) }
            }
        }
    }

    /// Which output's softmax comes last.
    pub(super) fn softmax_of(&self) -> Option<usize> {
        matches!(self, Self::Classify(Classes { meaning: Meaning::Exclusive, .. })).then_some(0)
    }

    /// The outputs of an encoder's `[tokens, hidden]`, less that softmax.
    pub(super) fn compute(&self, operators: &O, batch: &O::Batch, rows: &Tensor) -> candle_core::Result<Vec<Tensor>> {
        match self {
            Self::Embed { poolings, stages, .. } => {
                let pooled = poolings.iter().map(|pooling| operators.pool(*pooling, batch, rows));
                let pooled: Vec<Tensor> = pooled.collect::<candle_core::Result<_>>()?;
                let mut vectors = Tensor::cat(&pooled, 1)?;
                for stage in stages {
                    vectors = match stage {
                        Stage::Dense(linear, then) => operators.project(linear, &vectors, *then)?,
                        Stage::Normalize => normalize(&vectors)?,
                    };
                }
                Ok(vec![vectors.to_dtype(DType::F32)?])
            }
            Self::Classify(classes) => classes.compute(operators, batch, rows),
        }
    }
}

impl<O: Operators> Classes<O> {
    fn compute(&self, operators: &O, batch: &O::Batch, rows: &Tensor) -> candle_core::Result<Vec<Tensor>> {
        let pooled = operators.pool(self.pooling, batch, rows)?;
        let mut inner = operators.project(&self.dense, &pooled, Then::Activate(self.activation))?;
        if let Some(norm) = &self.norm {
            inner = operators.normalise(norm, &inner)?;
        }
        let logits = operators.project(&self.out, &inner, Then::Nothing)?.to_dtype(DType::F32)?;
        Ok(match self.meaning {
            Meaning::Exclusive | Meaning::Values => vec![logits],
            Meaning::Independent => vec![logits.clone(), activate(&logits, Activation::Sigmoid)?],
            Meaning::Fit { is_sigmoid } => {
                let score = logits.squeeze(1)?;
                let score = if is_sigmoid { activate(&score, Activation::Sigmoid)? } else { score };
                vec![logits, score]
            }
        })
    }
}

/// Each row divided by its length.
fn normalize(rows: &Tensor) -> candle_core::Result<Tensor> {
    // Squares of small numbers are none in half precision.
    let rows = rows.to_dtype(DType::F32)?;
    let lengths = rows.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?.maximum(NORM_MIN)?;
    rows.broadcast_div(&lengths)
}
