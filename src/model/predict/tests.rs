//! What is declared against what models give, and the rows that come of it.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::Prediction;
use crate::config::{ConfidenceConfig, ModelConfig, PredictionConfig, ScoreKind};
use crate::model::Scoring;
use crate::types::{DataType, Presence, Rows, Scores, Shape, Signature, Tensor, TensorSpec};

fn output(name: &str, dtype: DataType, row: &[Option<usize>]) -> TensorSpec {
    TensorSpec { name: name.to_owned(), dtype, row: row.to_vec(), presence: Presence::Required }
}

fn signature(outputs: Vec<TensorSpec>) -> Signature {
    Signature { inputs: Vec::new(), outputs }
}

fn constant(values: Json) -> PredictionConfig {
    match values {
        Json::Object(values) => PredictionConfig::Constant(values.into_iter().collect::<BTreeMap<_, _>>()),
        other => panic!("no table: {other}"),
    }
}

fn scoring(signature: &Signature, kind: ScoreKind) -> Scoring {
    let config = ConfidenceConfig { scores: Some(kind), ..ModelConfig::default().confidence };
    Scoring::resolve(signature, None, &config).expect("scored").expect("scored")
}

fn told(config: &PredictionConfig, signature: &Signature, scoring: Option<&Scoring>) -> String {
    Prediction::new(config, 2, signature, scoring).expect_err("refused").to_string()
}

fn rows(count: usize) -> Rows {
    Rows::uniform(vec![Tensor::from_f32(Shape::new(&[count]), &vec![0.5; count]).expect("a tensor")], count)
}

#[test]
fn a_constant_is_a_row_for_each_row() {
    let signature = signature(vec![
        output("p", DataType::Fp32, &[Some(2)]),
        output("label", DataType::Bytes, &[]),
        output("tags", DataType::Int64, &[None, Some(2)]),
    ]);
    let config = constant(json!({"label": "né", "p": [0.25, 0.75], "tags": [[1, 2], [3, 4]]}));
    let prediction = Prediction::new(&config, 0, &signature, None).expect("a prediction");
    let outputs = prediction.predict(&rows(3)).expect("outputs");
    let shapes: Vec<String> = outputs.iter().map(|output| output.shape().to_string()).collect();
    assert_eq!(shapes, ["[3,2]", "[3]", "[3,2,2]"], "in the signature's order");
    assert_eq!(outputs[0].to_f32(), Some([0.25, 0.75].repeat(3)));
    assert!(outputs[1].strings().eq([&b"n\xc3\xa9"[..]; 3]));
    assert_eq!(outputs[2].dtype(), DataType::Int64);
    let one = prediction.predict(&rows(1)).expect("outputs");
    assert_eq!(outputs[2].split(&[1, 2]).expect("rows")[0], one[2]);
}

#[test]
fn values_that_an_output_does_not_take_are_named() {
    let signature = signature(vec![
        output("p", DataType::Fp32, &[Some(2)]),
        output("ids", DataType::Uint8, &[None]),
        output("map", DataType::Fp16, &[None, Some(0)]),
    ]);
    let mut values = json!({"p": [0.5, 0.5], "ids": [1], "map": [1]});
    for (name, wrong, text) in [
        ("p", json!([0.5]), "output \"p\": expected 2 values for shape [1,2], got 1"),
        ("p", json!(["a", 1]), "output \"p\": value 0: expected FP32, got \"a\""),
        ("p", json!([1e300, 1]), "output \"p\": expected numbers that FP32 can hold, got [1e+300,1]"),
        ("p", json!([1, 2]), "output \"map\": expected values that fill rows of shape [-1,-1,0], got 1 of them"),
        ("ids", json!([256]), "output \"ids\": value 0: expected UINT8, got 256"),
        ("ids", json!([]), "output \"ids\": expected values that fill rows of shape [-1,-1], got 0 of them"),
        ("q", json!(1), "expected values for the model's outputs \"p\", \"ids\", \"map\", got some for \"q\""),
    ] {
        let before = std::mem::replace(&mut values[name], wrong);
        let text = format!("model.toml: `fallback.rung[2].outputs`: {text}");
        assert_eq!(told(&constant(values.clone()), &signature, None), text);
        values[name] = before;
    }
    let lacking = told(&constant(json!({"p": [0.5, 0.5]})), &signature, None);
    assert!(lacking.ends_with("the model's outputs \"p\", \"ids\", \"map\", got none for \"ids\""), "{lacking}");
    let free = self::signature(vec![output("m", DataType::Fp32, &[None, None])]);
    let text = told(&constant(json!({"m": [1]})), &free, None);
    assert!(text.ends_with("output \"m\": expected an output of one free dimension at most, got [-1,-1,-1]"), "{text}");
}

/// What scoring makes of a prior: the probability of the top class.
fn confidence(kind: ScoreKind, columns: usize, prior: &[f64]) -> (usize, f64) {
    let signature = signature(vec![output("p", DataType::Fp32, &[Some(columns)])]);
    let scoring = scoring(&signature, kind);
    let config = PredictionConfig::Prior(prior.to_vec());
    let prediction = Prediction::new(&config, 0, &signature, Some(&scoring)).expect("a prediction");
    let outputs = prediction.predict(&rows(2)).expect("outputs");
    let scores = scoring.score(&outputs[0]);
    let (Scores::Classes(top) | Scores::Labels { top, .. }) = scores else { panic!("no classes: {scores:?}") };
    assert_eq!((top.len(), top[0]), (2, top[1]));
    top[0].map(|score| (score.class, score.confidence)).expect("a score")
}

#[test]
fn a_prior_is_what_scoring_makes_of_its_output() {
    for (kind, columns, prior, class) in [
        (ScoreKind::Softmax, 3, &[0.2, 0.7, 0.1][..], 1),
        (ScoreKind::Logits, 3, &[0.2, 0.7, 0.1], 1),
        (ScoreKind::Sigmoid, 3, &[0.2, 0.4, 0.7], 2),
        (ScoreKind::Sigmoid, 1, &[0.7, 0.3], 0),
        (ScoreKind::Logits, 1, &[0.3, 0.7], 1),
    ] {
        let (found, confidence) = confidence(kind, columns, prior);
        assert_eq!(found, class, "{kind:?} {columns}");
        assert!((confidence - 0.7).abs() < 1e-6, "{kind:?} {columns}: {confidence}");
    }
}

#[test]
fn priors_that_are_not_the_models_are_named() {
    let classes = signature(vec![output("p", DataType::Fp32, &[Some(3)])]);
    let (softmax, logits) = (scoring(&classes, ScoreKind::Softmax), scoring(&classes, ScoreKind::Logits));
    let regression = scoring(&classes, ScoreKind::Regression);
    let two = signature(vec![output("p", DataType::Fp32, &[Some(3)]), output("q", DataType::Fp32, &[])]);
    for (signature, scoring, prior, text) in [
        (
            &classes,
            None,
            &[1.0][..],
            "expected a model of classes, got one whose confidence is not computed from classes",
        ),
        (
            &classes,
            Some(&regression),
            &[1.0],
            "expected a model of classes, got one whose confidence is not computed from classes",
        ),
        (
            &two,
            Some(&softmax),
            &[0.5, 0.5, 0.0],
            "expected a model of one output, got 2 outputs; a constant has values for each",
        ),
        (&classes, Some(&softmax), &[0.5, 0.5], "expected 3 probabilities, one for each class of output \"p\", got 2"),
        (&classes, Some(&softmax), &[0.5, 0.5, 0.5], "expected probabilities that sum to 1, got a sum of 1.5"),
        (
            &classes,
            Some(&logits),
            &[0.5, 0.5, 0.0],
            "expected probabilities above 0, since output \"p\" has logits, got 0",
        ),
    ] {
        let text = format!("model.toml: `fallback.rung[2].prior`: {text}");
        assert_eq!(told(&PredictionConfig::Prior(prior.to_vec()), signature, scoring), text);
    }
    assert!(Prediction::new(&PredictionConfig::Prior(vec![0.33; 3]), 0, &classes, Some(&softmax)).is_ok());
}

#[test]
fn the_last_answer_is_that_of_the_same_input() {
    let none = signature(Vec::new());
    let config = PredictionConfig::LastAnswer { entries_max: 2.try_into().expect("not zero") };
    let last = Prediction::new(&config, 0, &none, None).expect("a prediction");
    let answer = [Tensor::from_f32(Shape::new(&[2, 1]), &[1.0, 2.0]).expect("a tensor")];
    assert_eq!(last.predict(&rows(2)), None);
    last.remember(&rows(2), &answer);
    assert_eq!(last.predict(&rows(2)).as_deref(), Some(&answer[..]));
    assert_eq!(last.predict(&rows(1)), None);
    let constant =
        Prediction::new(&constant(json!({"y": 1})), 0, &signature(vec![output("y", DataType::Fp32, &[])]), None);
    let constant = constant.expect("a prediction");
    constant.remember(&rows(2), &answer);
    let outputs = constant.predict(&rows(2)).expect("outputs");
    assert_eq!(outputs[0].to_f32(), Some(vec![1.0, 1.0]), "nothing is remembered");
}

proptest! {
    /// Whatever is declared for whatever output: it is refused, or makes rows that the output takes.
    #[test]
    fn predictions_fit_their_outputs(
        row in prop::collection::vec(prop::option::of(0_usize..4), 0..4),
        values in prop::collection::vec(-3_i32..300, 0..9),
        dtype in 0_usize..DataType::ALL.len(),
        count in 0_usize..4,
    ) {
        let spec = output("y", DataType::ALL[dtype], &row);
        let signature = signature(vec![spec.clone()]);
        if let Ok(prediction) = Prediction::new(&constant(json!({"y": values})), 0, &signature, None) {
            let outputs = prediction.predict(&rows(count)).expect("a tensor");
            prop_assert_eq!(outputs[0].shape().rows(), Some(count));
            prop_assert!(spec.takes(outputs[0].shape().row_dims()));
            prop_assert_eq!(outputs[0].dtype(), spec.dtype);
        }
    }
}
