//! Settles how a model is scored: what its own file declares, overridden by the settings, checked against its outputs.

use std::collections::HashSet;

use super::Scoring;
use crate::config::{ConfidenceConfig, ScoreKind};
use crate::model::LoadError;
use crate::types::{DataType, Signature, TensorSpec, printable};

/// Most classes that are scored; each has a label in memory.
const CLASSES_MAX: usize = 1 << 20;
const LABEL_CHARS_MAX: usize = 128;
/// The file in which the settings stand.
const SETTINGS: &str = "model.toml";

/// What a model's own file says about its output.
#[derive(Clone, Debug)]
pub struct Declared {
    /// The file that says so, for errors.
    pub file: &'static str,
    /// Index of the output.
    pub output: usize,
    /// What its numbers mean.
    pub kind: ScoreKind,
    /// Names of the classes, in order; empty if they have none.
    pub labels: Vec<String>,
    /// Where the values of a regression are expected.
    pub range: Option<(f64, f64)>,
}

impl Scoring {
    /// Scoring by the model's own declaration and the settings of `[confidence]` in model.toml, which come first.
    ///
    /// `None` if neither says what an output means. Errors: no such output; the output has no fixed number of
    /// classes, or is not floating-point; labels that are not one for each class, distinct and printable.
    pub fn resolve(
        signature: &Signature,
        declared: Option<&Declared>,
        config: &ConfidenceConfig,
    ) -> Result<Option<Self>, LoadError> {
        let output = output_index(signature, declared, config)?;
        // What was declared for another output says nothing about this one.
        let declared = declared.filter(|declared| declared.output == output);
        let kind = config.scores.or(declared.map(|declared| declared.kind)).unwrap_or(ScoreKind::None);
        let Some(spec) = signature.outputs.get(output) else {
            return Ok(None);
        };
        if kind == ScoreKind::None {
            return refuse_idle(declared, config, spec).map(|()| None);
        }
        let file = if config.scores.is_some() { SETTINGS } else { declared.map_or(SETTINGS, |declared| declared.file) };
        let (columns, classes) = classes(spec, kind).map_err(|reason| LoadError::new(file, reason))?;
        let (file, labels) = match (&config.labels, declared) {
            (Some(labels), _) => (SETTINGS, labels.clone()),
            (None, Some(declared)) => (declared.file, declared.labels.clone()),
            (None, None) => (SETTINGS, Vec::new()),
        };
        let labels = check_labels(labels, classes, spec).map_err(|reason| LoadError::new(file, reason))?;
        let range = config.range.or(declared.and_then(|declared| declared.range));
        let file = if config.range.is_some() { SETTINGS } else { file };
        check_range(range, kind).map_err(|reason| LoadError::new(file, reason))?;
        let (temperature, low, abstain) = (config.temperature, config.low, config.abstain);
        Ok(Some(Self { output, kind, labels, temperature, low, abstain, range, columns }))
    }
}

fn output_index(
    signature: &Signature,
    declared: Option<&Declared>,
    config: &ConfidenceConfig,
) -> Result<usize, LoadError> {
    let Some(name) = &config.output else {
        return Ok(declared.map_or(0, |declared| declared.output));
    };
    let found = signature.outputs.iter().position(|output| output.name == *name);
    found.ok_or_else(|| {
        let known: Vec<_> = signature.outputs.iter().map(|output| format!("\"{}\"", output.name)).collect();
        let known = known.join(", ");
        LoadError::new(SETTINGS, format!("`confidence.output`: expected one of {known}, got \"{name}\""))
    })
}

/// Labels or a range that nothing would use are a mistake, unless the settings say "none" on purpose.
fn refuse_idle(declared: Option<&Declared>, config: &ConfidenceConfig, spec: &TensorSpec) -> Result<(), LoadError> {
    let idle = |labels: Option<&Vec<String>>, range: Option<(f64, f64)>| {
        labels.is_some_and(|labels| !labels.is_empty()) || range.is_some()
    };
    let file = match declared {
        _ if config.scores.is_some() => return Ok(()),
        _ if idle(config.labels.as_ref(), config.range) => SETTINGS,
        Some(declared) if idle(Some(&declared.labels), declared.range) => declared.file,
        _ => return Ok(()),
    };
    let meanings = "scores = \"softmax\", \"sigmoid\", \"logits\", \"regression\" or \"embedding\"";
    Err(LoadError::new(file, format!("labels or range: say what output \"{}\" means: {meanings}", spec.name)))
}

/// Numbers in a row and classes that they stand for; both are 0 for regressions and embeddings.
fn classes(spec: &TensorSpec, kind: ScoreKind) -> Result<(usize, usize), String> {
    let failed = |expected: &str| {
        let (name, dtype, shape) = (&spec.name, spec.dtype, spec.shape_text());
        format!("output \"{name}\" cannot be scored: expected {expected}, got {dtype} {shape}")
    };
    if !matches!(spec.dtype, DataType::Fp32 | DataType::Fp64 | DataType::Fp16 | DataType::Bf16) {
        return Err(failed("FP32, FP64, FP16 or BF16"));
    }
    if matches!(kind, ScoreKind::Regression | ScoreKind::Embedding) {
        return Ok((0, 0));
    }
    let [before @ .., Some(columns)] = spec.row.as_slice() else {
        return Err(failed("a last dimension of fixed size, the classes"));
    };
    if before.iter().any(|dim| *dim != Some(1)) {
        return Err(failed("one list of classes for each row"));
    }
    match (kind, columns) {
        (ScoreKind::Softmax, 1) => Err(failed("two classes or more (the softmax of one number is always 1; sigmoid?)")),
        (ScoreKind::Sigmoid | ScoreKind::Logits, 1) => Ok((1, 2)),
        (_, 1..=CLASSES_MAX) => Ok((*columns, *columns)),
        _ => Err(failed("1 to 1048576 classes")),
    }
}

fn check_labels(labels: Vec<String>, classes: usize, spec: &TensorSpec) -> Result<Vec<String>, String> {
    if labels.is_empty() {
        return Ok((0..classes).map(|class| class.to_string()).collect());
    }
    if labels.len() != classes {
        let (name, got) = (&spec.name, labels.len());
        return Err(format!("labels: expected {classes}, one for each class of output \"{name}\", got {got}"));
    }
    let mut seen = HashSet::new();
    for label in &labels {
        if label.is_empty() || printable(label, LABEL_CHARS_MAX) != *label {
            return Err(format!("labels: expected 1 to {LABEL_CHARS_MAX} printable characters, got \"{label}\""));
        }
        if !seen.insert(label) {
            return Err(format!("labels: \"{label}\" stands for two classes"));
        }
    }
    Ok(labels)
}

fn check_range(range: Option<(f64, f64)>, kind: ScoreKind) -> Result<(), String> {
    let Some((low, high)) = range else { return Ok(()) };
    if kind != ScoreKind::Regression {
        return Err("range: only the values of a regression have one".to_owned());
    }
    if !(low.is_finite() && high.is_finite() && low < high) {
        return Err(format!("range: expected [low, high] with low < high, got [{low}, {high}]"));
    }
    Ok(())
}
