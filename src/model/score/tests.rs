//! Scores against the plain definition, and numbers at the edges.

use bytes::Bytes;
use proptest::prelude::*;

use super::{Declared, Scoring, row};
use crate::config::{ConfidenceConfig, ModelConfig, ScoreKind};
use crate::model::LoadError;
use crate::types::{ClassScore, DataType, Presence, Scores, Shape, Signature, Tensor, TensorSpec};

fn config() -> ConfidenceConfig {
    ModelConfig::default().confidence
}

fn signature(row: &[Option<usize>]) -> Signature {
    let spec =
        TensorSpec { name: "y".to_owned(), dtype: DataType::Fp32, row: row.to_vec(), presence: Presence::Required };
    Signature { inputs: Vec::new(), outputs: vec![spec] }
}

fn declared(kind: ScoreKind, labels: &[&str]) -> Declared {
    let labels = labels.iter().map(|label| (*label).to_owned()).collect();
    Declared { file: "network.toml", output: 0, kind, labels, range: None }
}

fn resolve(columns: usize, kind: ScoreKind, config: &ConfidenceConfig) -> Result<Option<Scoring>, LoadError> {
    Scoring::resolve(&signature(&[Some(columns)]), Some(&declared(kind, &[])), config)
}

fn scoring(columns: usize, kind: ScoreKind, temperature: f64) -> Scoring {
    let config = ConfidenceConfig { temperature, ..config() };
    resolve(columns, kind, &config).expect("no error").expect("scoring")
}

fn classes(scoring: &Scoring, rows: &[&[f32]]) -> Vec<Option<ClassScore>> {
    let tensor = Tensor::from_f32(Shape::new(&[rows.len(), rows[0].len()]), &rows.concat()).expect("a tensor");
    scoring.score(&tensor).classes().expect("classes").to_vec()
}

fn one(kind: ScoreKind, temperature: f64, row: &[f32]) -> Option<ClassScore> {
    classes(&scoring(row.len(), kind, temperature), &[row])[0]
}

fn near(got: Option<ClassScore>, class: usize, confidence: f64, margin: f64, entropy: f64) {
    let got = got.expect("a score");
    assert_eq!(got.class, class);
    for (got, wanted) in [(got.confidence, confidence), (got.margin, margin), (got.entropy, entropy)] {
        assert!((got - wanted).abs() < 1e-6, "{got} is not {wanted}");
    }
}

#[test]
fn labels_that_do_not_exclude_each_other_keep_their_probabilities() {
    let scoring = scoring(2, ScoreKind::Sigmoid, 2.0);
    assert!(!scoring.is_exclusive());
    let tensor = Tensor::from_f32(Shape::new(&[2, 2]), &[0.8, 0.5, 2.0, 0.5]).expect("a tensor");
    let Scores::Labels { top, probabilities } = scoring.score(&tensor) else { panic!("expected labels") };
    assert_eq!((top[0].map(|score| score.class), top[1]), (Some(0), None));
    assert!((probabilities[0] - 2.0 / 3.0).abs() < 1e-6 && (probabilities[1] - 0.5).abs() < 1e-6);
    assert!(probabilities[2].is_nan() && probabilities[3].is_nan());
}

#[test]
fn embeddings_are_scored_as_they_are() {
    let scoring = resolve(3, ScoreKind::Embedding, &config()).expect("no error").expect("scoring");
    let tensor = Tensor::from_f32(Shape::new(&[1, 3]), &[0.1, 0.2, 0.3]).expect("a tensor");
    assert_eq!((scoring.score(&tensor), scoring.classes()), (Scores::Embeddings(tensor), 0));
}

#[test]
fn logits_of_any_size_are_scored() {
    near(one(ScoreKind::Logits, 1.0, &[-50.0, 45.0]), 1, 1.0, 1.0, 0.0);
    near(one(ScoreKind::Logits, 1.0, &[1e30, -1e30]), 0, 1.0, 1.0, 0.0);
    near(one(ScoreKind::Logits, 1.0, &[f32::MAX, f32::MIN, 0.0]), 0, 1.0, 1.0, 0.0);
    near(one(ScoreKind::Logits, 1.0, &[3.0, 3.0, 3.0, 3.0]), 0, 0.25, 0.0, 1.0);
    // softmax(1, 2, 3)
    near(one(ScoreKind::Logits, 1.0, &[1.0, 2.0, 3.0]), 2, 0.665_240_956, 0.420_512_485, 0.757_679_11);
    // softmax(0.5, 1, 1.5)
    near(one(ScoreKind::Logits, 2.0, &[1.0, 2.0, 3.0]), 2, 0.506_480_391, 0.199_284_497, 0.928_618_17);
    near(one(ScoreKind::Logits, 1.0, &[0.0, f32::NEG_INFINITY]), 0, 1.0, 1.0, 0.0);
    near(one(ScoreKind::Logits, 1.0, &[0.0, 0.0, f32::NEG_INFINITY]), 0, 0.5, 0.0, 2.0_f64.ln() / 3.0_f64.ln());
}

#[test]
fn rows_that_are_no_numbers_are_kept_out_alone() {
    let (nan, infinite) = (f32::NAN, f32::INFINITY);
    let scoring = scoring(2, ScoreKind::Logits, 1.0);
    let rows: [&[f32]; 6] =
        [&[nan, 1.0], &[1.0, nan], &[infinite, 1.0], &[-infinite, -infinite], &[0.0, 1.0], &[nan, nan]];
    let known: Vec<_> = classes(&scoring, &rows).iter().map(Option::is_some).collect();
    assert_eq!(known, [false, false, false, false, true, false]);
    for bad in [&[nan, 0.5][..], &[1.5, -0.5], &[0.3, 0.3], &[infinite, 0.0], &[0.0, 0.0]] {
        assert_eq!(one(ScoreKind::Softmax, 1.0, bad), None, "{bad:?}");
        assert_eq!(one(ScoreKind::Softmax, 2.0, bad), None, "{bad:?}");
    }
    for bad in [nan, infinite, -infinite, -0.1, 1.1] {
        assert_eq!(one(ScoreKind::Sigmoid, 1.0, &[bad]), None, "{bad}");
        assert_eq!(one(ScoreKind::Sigmoid, 1.0, &[0.5, bad]), None, "{bad}");
    }
    assert_eq!(one(ScoreKind::Logits, 1.0, &[-infinite]), None);
}

#[test]
fn probabilities_are_taken_as_they_are_or_tempered() {
    near(one(ScoreKind::Softmax, 1.0, &[0.2, 0.7, 0.1]), 1, 0.7, 0.5, 0.729_846_70);
    near(one(ScoreKind::Softmax, 1.0, &[1.0, 0.0]), 0, 1.0, 1.0, 0.0);
    // The square roots of 0.8 and 0.2 are as 2 to 1.
    near(one(ScoreKind::Softmax, 2.0, &[0.8, 0.2]), 0, 2.0 / 3.0, 1.0 / 3.0, 0.918_295_83);
    near(one(ScoreKind::Softmax, 2.0, &[1.0, 0.0]), 0, 1.0, 1.0, 0.0);
}

#[test]
fn one_number_stands_for_two_classes() {
    near(one(ScoreKind::Sigmoid, 1.0, &[0.8]), 1, 0.8, 0.6, 0.721_928_09);
    near(one(ScoreKind::Sigmoid, 1.0, &[0.2]), 0, 0.8, 0.6, 0.721_928_09);
    near(one(ScoreKind::Sigmoid, 1.0, &[0.5]), 0, 0.5, 0.0, 1.0);
    near(one(ScoreKind::Sigmoid, 1.0, &[1.0]), 1, 1.0, 1.0, 0.0);
    // The logit of 0.8 is ln 4; half of it is that of 2/3.
    near(one(ScoreKind::Sigmoid, 2.0, &[0.8]), 1, 2.0 / 3.0, 1.0 / 3.0, 0.918_295_83);
    near(one(ScoreKind::Logits, 2.0, &[4.0_f32.ln()]), 1, 2.0 / 3.0, 1.0 / 3.0, 0.918_295_83);
    near(one(ScoreKind::Logits, 1.0, &[-1e30]), 0, 1.0, 1.0, 0.0);
    near(one(ScoreKind::Sigmoid, 2.0, &[0.0]), 0, 1.0, 1.0, 0.0);
}

#[test]
fn labels_that_do_not_exclude_each_other_are_scored_by_the_likeliest() {
    let half = 0.721_928_09;
    near(one(ScoreKind::Sigmoid, 1.0, &[0.2, 0.8, 0.2]), 1, 0.8, 0.6, half);
    near(one(ScoreKind::Sigmoid, 1.0, &[0.2, 0.2]), 0, 0.2, 0.0, half);
    near(one(ScoreKind::Sigmoid, 2.0, &[0.8, 0.2]), 0, 2.0 / 3.0, 1.0 / 3.0, 0.918_295_83);
}

#[test]
fn every_floating_type_is_read() {
    let row = [0.25_f32, 0.75];
    let wide = row.map(f64::from).map(f64::to_le_bytes).concat();
    let half = row.map(half::f16::from_f32).map(half::f16::to_le_bytes).concat();
    let brain = row.map(half::bf16::from_f32).map(half::bf16::to_le_bytes).concat();
    let scoring = scoring(2, ScoreKind::Softmax, 1.0);
    let types = [(DataType::Fp64, wide), (DataType::Fp16, half), (DataType::Bf16, brain), (DataType::Int8, vec![1, 1])];
    for (dtype, bytes) in types {
        let scores = scoring.score(&Tensor::new(dtype, Shape::new(&[1, 2]), Bytes::from(bytes)).expect("a tensor"));
        let Scores::Classes(scores) = scores else { panic!("expected classes") };
        assert_eq!(
            scores.first().and_then(|score| score.map(|score| score.class)),
            (dtype != DataType::Int8).then_some(1)
        );
    }
}

#[test]
fn a_regression_gives_every_value() {
    let scoring = resolve(2, ScoreKind::Regression, &config()).expect("no error").expect("scoring");
    assert_eq!(scoring.classes(), 0);
    let tensor = Tensor::from_f32(Shape::new(&[2, 2]), &[1.0, f32::NAN, -3.5, f32::INFINITY]).expect("a tensor");
    assert_eq!(scoring.score(&tensor), Scores::Values([Some(1.0), None, Some(-3.5), None].into_iter().collect()));
    let free = Scoring::resolve(&signature(&[None]), Some(&declared(ScoreKind::Regression, &[])), &config());
    assert!(free.expect("no error").is_some());
}

#[test]
fn settings_come_before_the_models_own_file() {
    let own = declared(ScoreKind::Softmax, &["a", "b"]);
    let resolve = |config: &ConfidenceConfig| Scoring::resolve(&signature(&[Some(2)]), Some(&own), config);
    let plain = resolve(&config()).expect("no error").expect("scoring");
    assert_eq!((plain.label(1), plain.label(2), plain.classes()), ("b", "", 2));
    let labels = Some(vec!["no".to_owned(), "yes".to_owned()]);
    let changed = ConfidenceConfig { scores: Some(ScoreKind::Logits), labels, low: 0.9, abstain: true, ..config() };
    let scoring = resolve(&changed).expect("no error").expect("scoring");
    assert_eq!((scoring.kind, scoring.label(1)), (ScoreKind::Logits, "yes"));
    let unsure = row::logits([0.0, 1.0].into_iter(), 1.0).expect("a score");
    let sure = row::logits([0.0, 9.0].into_iter(), 1.0).expect("a score");
    assert_eq!((scoring.answer_label(Some(&unsure)), scoring.answer_label(Some(&sure))), ("", "yes"));
    assert_eq!((plain.answer_label(Some(&unsure)), plain.answer_label(None)), ("b", ""));
    let off = ConfidenceConfig { scores: Some(ScoreKind::None), ..config() };
    assert_eq!(resolve(&off).expect("no error"), None);
    let unnamed = self::resolve(3, ScoreKind::Softmax, &config()).expect("no error").expect("scoring");
    assert_eq!(unnamed.labels, ["0", "1", "2"]);
}

fn refusal(row: &[Option<usize>], own: &Declared, config: &ConfidenceConfig) -> String {
    Scoring::resolve(&signature(row), Some(own), config).expect_err("an error").to_string()
}

#[test]
fn labels_that_do_not_fit_are_refused_with_their_file() {
    let refusal = |labels: &[&str]| refusal(&[Some(3)], &declared(ScoreKind::Softmax, labels), &config());
    let wanted = "network.toml: labels: expected 3, one for each class of output \"y\", got 2";
    assert_eq!(refusal(&["a", "b"]), wanted);
    assert_eq!(refusal(&["a", "b", "a"]), "network.toml: labels: \"a\" stands for two classes");
    assert_eq!(refusal(&["a", "", "b"]), "network.toml: labels: expected 1 to 128 printable characters, got \"\"");
    let settings = ConfidenceConfig { labels: Some(vec!["a".to_owned()]), ..config() };
    let wanted = "model.toml: labels: expected 3, one for each class of output \"y\", got 1";
    assert_eq!(self::refusal(&[Some(3)], &declared(ScoreKind::Softmax, &["a", "b", "c"]), &settings), wanted);
    let idle = self::refusal(&[Some(3)], &declared(ScoreKind::None, &["a"]), &config());
    assert!(idle.starts_with("network.toml: labels or range: say what output \"y\" means: scores = "), "{idle}");
}

#[test]
fn outputs_that_cannot_be_scored_are_refused() {
    let softmax = declared(ScoreKind::Softmax, &[]);
    let cases: [(&[Option<usize>], &str); 3] = [
        (&[None], "a last dimension of fixed size, the classes, got FP32 [-1,-1]"),
        (&[Some(2), Some(3)], "one list of classes for each row, got FP32 [-1,2,3]"),
        (&[Some(1)], "two classes or more (the softmax of one number is always 1; sigmoid?), got FP32 [-1,1]"),
    ];
    for (row, wanted) in cases {
        let wanted = format!("network.toml: output \"y\" cannot be scored: expected {wanted}");
        assert_eq!(refusal(row, &softmax, &config()), wanted);
    }
    let elsewhere = ConfidenceConfig { output: Some("z".to_owned()), ..config() };
    let wanted = "model.toml: `confidence.output`: expected one of \"y\", got \"z\"";
    assert_eq!(refusal(&[Some(3)], &softmax, &elsewhere), wanted);
    let ranged = ConfidenceConfig { range: Some((0.0, 1.0)), ..config() };
    let wanted = "model.toml: range: only the values of a regression have one";
    assert_eq!(refusal(&[Some(3)], &softmax, &ranged), wanted);
    for (low, high, got) in [(1.0, 1.0, "1, 1"), (0.0, f64::INFINITY, "0, inf")] {
        let ranged = ConfidenceConfig { range: Some((low, high)), ..config() };
        let wanted = format!("model.toml: range: expected [low, high] with low < high, got [{got}]");
        assert_eq!(refusal(&[Some(3)], &declared(ScoreKind::Regression, &[]), &ranged), wanted);
    }
    let mut integers = signature(&[Some(3)]);
    integers.outputs[0].dtype = DataType::Int64;
    let error = Scoring::resolve(&integers, Some(&declared(ScoreKind::Logits, &[])), &config()).expect_err("an error");
    assert!(error.reason().contains("expected FP32, FP64, FP16 or BF16, got INT64"));
}

fn is_sound(score: &ClassScore, classes: usize) -> bool {
    let unit = |value: f64| (0.0..=1.0).contains(&value);
    score.class < classes && unit(score.confidence) && unit(score.margin) && unit(score.entropy)
}

fn any_finite() -> impl Strategy<Value = f32> {
    prop_oneof![
        any::<f32>().prop_filter("finite", |value| value.is_finite()),
        -20.0_f32..20.0,
        Just(f32::MAX),
        Just(f32::MIN),
        Just(0.0),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn finite_logits_always_have_a_sound_score(
        logits in prop::collection::vec(any_finite(), 1..20),
        temperature in prop_oneof![1e-6_f64..1e6, Just(1.0)],
    ) {
        let score = one(ScoreKind::Logits, temperature, &logits).expect("a score");
        prop_assert!(is_sound(&score, logits.len().max(2)), "{score:?}");
        if logits.len() > 1 {
            let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            prop_assert_eq!(Some(score.class), logits.iter().position(|logit| *logit == largest));
            prop_assert!(score.confidence >= 0.999_999 / logits.len() as f64);
        }
    }

    #[test]
    fn scores_are_those_of_the_plain_definition(
        logits in prop::collection::vec(-30.0_f32..30.0, 2..12),
        temperature in 0.2_f64..5.0,
    ) {
        let shares: Vec<f64> = logits.iter().map(|logit| (f64::from(*logit) / temperature).exp()).collect();
        let total: f64 = shares.iter().sum();
        let mut chances: Vec<f64> = shares.iter().map(|share| share / total).collect();
        let entropy = -chances.iter().map(|p| p * p.ln()).sum::<f64>() / (chances.len() as f64).ln();
        // Softmax first and its temperature afterwards is the same.
        let flat: Vec<f64> = logits.iter().map(|logit| f64::from(*logit).exp()).collect();
        let flat_total: f64 = flat.iter().sum();
        let flat = flat.iter().map(|share| share / flat_total);
        chances.sort_by(|left, right| right.total_cmp(left));
        for score in [row::logits(logits.iter().copied().map(f64::from), 1.0 / temperature), row::distribution(flat, 1.0 / temperature)] {
            let score = score.expect("a score");
            prop_assert!((score.confidence - chances[0]).abs() < 1e-9);
            prop_assert!((score.margin - (chances[0] - chances[1])).abs() < 1e-9);
            prop_assert!((score.entropy - entropy).abs() < 1e-9);
        }
    }

    #[test]
    fn a_larger_lead_is_a_larger_confidence(logits in prop::collection::vec(-20.0_f64..20.0, 2..10), lead in 0.01_f64..10.0) {
        let before = row::logits(logits.iter().copied(), 1.0).expect("a score");
        let mut raised = logits;
        raised[before.class] += lead;
        let after = row::logits(raised.iter().copied(), 1.0).expect("a score");
        prop_assert_eq!(before.class, after.class);
        prop_assert!(after.confidence >= before.confidence && after.margin >= before.margin);
    }

    #[test]
    fn anything_is_scored_without_a_panic(bits in prop::collection::vec(any::<u32>(), 1..8), temperature in 1e-3_f64..1e3) {
        let row: Vec<f32> = bits.iter().map(|bits| f32::from_bits(*bits)).collect();
        for kind in [ScoreKind::Logits, ScoreKind::Sigmoid, ScoreKind::Softmax] {
            if kind == ScoreKind::Softmax && row.len() == 1 {
                continue;
            }
            if let Some(score) = one(kind, temperature, &row) {
                prop_assert!(is_sound(&score, row.len().max(2)), "{score:?}");
            }
        }
    }
}

/// Whatever a device says, a class is one of the model's.
#[test]
fn scores_of_a_device_are_taken_or_left_out() {
    let sharp = scoring(3, ScoreKind::Logits, 2.0);
    assert_eq!(sharp.of_logits(), Some((0, 0.5)));
    assert_eq!(scoring(3, ScoreKind::Softmax, 1.0).of_logits(), None);
    let logits = Tensor::from_f32(Shape::new(&[3, 3]), &[0.0; 9]).expect("a tensor");
    let told: Vec<u8> = [1_u32, 3, u32::MAX].iter().flat_map(|class| class.to_le_bytes()).collect();
    let told = Tensor::new(DataType::Uint32, Shape::new(&[3]), told.into()).expect("a tensor");
    let measures = [0.5, 0.25, 1.5, 0.9, 0.9, 0.9, f32::NAN, f32::NAN, f32::NAN];
    let measures = Tensor::from_f32(Shape::new(&[3, 3]), &measures).expect("a tensor");
    let bins = Tensor::new(DataType::Uint32, Shape::new(&[3]), [4, 0, 0, 0].repeat(3).into()).expect("a tensor");
    let scores = sharp.of_outputs(&[logits.clone(), told, measures, bins], 1).expect("scores");
    let first = ClassScore { class: 1, confidence: 0.5, margin: 0.25, entropy: 1.0, bin: Some(4) };
    assert_eq!(scores.classes().expect("classes"), [Some(first), None, None]);
    let computed = sharp.of_outputs(&[logits], 1).expect("scores");
    assert_eq!(computed.classes().map(<[_]>::len), Some(3));
    assert!(sharp.of_outputs(&[], 1).is_none());
}
