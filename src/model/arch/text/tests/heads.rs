//! What is made of an encoder's rows: pooling, modules, classes and scores.

use serde_json::{Value, json};

use super::folder::{FAMILIES, Folder, HIDDEN, Tensors, file_of, modernbert};
use super::reference::{Reference, encode, gelu, mapped, mean};
use crate::config::ScoreKind;

const ROW: &[i64] = &[2, 7, 9, 4, 11, 3];
const ROWS: [&[i64]; 2] = [ROW, &[2, 5, 3]];

fn near(got: &[f32], wanted: &[f64]) {
    assert_eq!(got.len(), wanted.len());
    for (got, wanted) in got.iter().zip(wanted) {
        assert!((f64::from(*got) - wanted).abs() < 1e-5 * wanted.abs().max(1.0), "{got} is not {wanted}");
    }
}

fn module(at: usize, kind: &str, path: &str) -> Value {
    json!({"idx": at, "name": at.to_string(), "path": path, "type": format!("sentence_transformers.models.{kind}")})
}

/// BERT with these modules after it, and this configuration of pooling.
fn with_modules(modules: &[(&str, &str)], pooling: &Value) -> Folder {
    let mut folder = FAMILIES[0].folder();
    let first = module(0, "Transformer", "");
    let others = modules.iter().enumerate().map(|(at, (kind, path))| module(at + 1, kind, path));
    folder.json("modules.json", &std::iter::once(first).chain(others).collect());
    folder.json("1_Pooling/config.json", pooling);
    folder
}

fn embedding(folder: &Folder) -> Vec<f32> {
    folder.outputs(&ROWS)[0][0].clone()
}

fn tokens() -> Vec<Vec<f64>> {
    encode(&FAMILIES[0].folder(), Some(&FAMILIES[0]), "", ROW)
}

#[test]
fn each_pooling_is_what_its_name_says() {
    let tokens = tokens();
    let count = f64::from(u32::try_from(tokens.len()).expect("few"));
    let column = |of: &dyn Fn(&[f64]) -> f64| -> Vec<f64> {
        (0..HIDDEN).map(|column| of(&tokens.iter().map(|row| row[column]).collect::<Vec<_>>())).collect()
    };
    let weighted = |values: &[f64]| {
        let weights = (1..=values.len()).map(|at| f64::from(u32::try_from(at).expect("few")));
        values.iter().zip(weights).map(|(value, weight)| value * weight).sum::<f64>() / (count * (count + 1.0) / 2.0)
    };
    let wanted: [(&str, &str, Vec<f64>); 6] = [
        ("cls", "cls_token", tokens[0].clone()),
        ("max", "max_tokens", column(&|values| values.iter().copied().fold(f64::MIN, f64::max))),
        ("mean", "mean_tokens", mean(&tokens)),
        ("mean_sqrt_len_tokens", "mean_sqrt_len_tokens", column(&|values| values.iter().sum::<f64>() / count.sqrt())),
        ("weightedmean", "weightedmean_tokens", column(&weighted)),
        ("lasttoken", "lasttoken", tokens[tokens.len() - 1].clone()),
    ];
    let modules = [("Pooling", "1_Pooling")];
    for (name, switch, wanted) in &wanted {
        near(&embedding(&with_modules(&modules, &json!({"pooling_mode": name}))), wanted);
        let older = json!({format!("pooling_mode_{switch}"): true, "word_embedding_dimension": HIDDEN});
        near(&embedding(&with_modules(&modules, &older)), wanted);
    }
    let joined = embedding(&with_modules(&modules, &json!({"pooling_mode": ["mean", "cls"]})));
    near(&joined, &[&wanted[2].2[..], &wanted[0].2].concat());
    let older = json!({"pooling_mode_mean_tokens": true, "pooling_mode_cls_token": true});
    near(&embedding(&with_modules(&modules, &older)), &[&wanted[0].2[..], &wanted[2].2].concat());
}

#[test]
fn dense_and_normalize_follow_in_order() {
    let modules = [("Pooling", "1_Pooling"), ("Dense", "2_Dense"), ("Normalize", "3_Normalize")];
    let mut folder = with_modules(&modules, &json!({"pooling_mode": "mean"}));
    let mut weights = Folder { tensors: Tensors::new(), ..folder.clone() };
    weights.add_linear("linear", 3, HIDDEN);
    folder.files.insert("2_Dense/model.safetensors".to_owned(), file_of(&weights.tensors));
    let tanh = "torch.nn.modules.activation.Tanh";
    folder.json(
        "2_Dense/config.json",
        &json!({"in_features": HIDDEN, "out_features": 3, "bias": true, "activation_function": tanh}),
    );
    let reference = Reference { tensors: &weights.tensors, prefix: "", eps: 0.0 };
    let dense = mapped(&reference.linear("linear", &vec![mean(&tokens())]), f64::tanh).remove(0);
    let length = dense.iter().map(|value| value * value).sum::<f64>().sqrt();
    near(&embedding(&folder), &dense.iter().map(|value| value / length).collect::<Vec<_>>());
    assert_eq!(folder.load().about.signature.outputs[0].wire_shape(), [-1, 3]);
    folder.json("2_Dense/config.json", &json!({"in_features": 5, "out_features": 3}));
    let told = "2_Dense/model.safetensors: expected 8 inputs, as many as come, got 5";
    assert_eq!(folder.refused(), told);
    folder.json("2_Dense/config.json", &json!({"in_features": 8, "out_features": 3, "use_residual": true}));
    assert_eq!(folder.refused(), "2_Dense/config.json: `use_residual`: a residual is not served");
    folder.json("2_Dense/config.json", &json!({"in_features": 8, "out_features": 3, "module_input_name": "x"}));
    let told = "2_Dense/config.json: `module_input_name`: expected \"sentence_embedding\", got \"x\"";
    assert_eq!(folder.refused(), told);
    folder.json(
        "2_Dense/config.json",
        &json!({"in_features": 8, "out_features": 3, "activation_function": "torch.Mish"}),
    );
    let told = "2_Dense/config.json: `activation_function`: expected Identity, Tanh, ReLU, GELU, SiLU or Sigmoid, got";
    assert!(folder.refused().starts_with(told), "{}", folder.refused());
}

#[test]
fn classes_are_scored_as_the_folder_says() {
    for family in &FAMILIES {
        let mut folder = family.classifier(3);
        if family.is_roberta() {
            // Older files have a pooler that nothing uses.
            folder.add_linear("roberta.pooler.dense", HIDDEN, HIDDEN);
        }
        let reference = Reference { tensors: &folder.tensors, prefix: "", eps: 1e-5 };
        let first = encode(&folder, Some(family), family.prefix, ROW).remove(0);
        let [dense, out] = family.classifier;
        let activation = if family.model_type == "distilbert" { |x: f64| x.max(0.0) } else { f64::tanh };
        let inner = mapped(&reference.linear(dense, &vec![first]), activation);
        let logits = reference.linear(out, &inner).remove(0);
        let outputs = folder.outputs(&ROWS);
        near(&outputs[0][0], &logits);
        let total: f64 = logits.iter().map(|logit| logit.exp()).sum();
        near(&outputs[1][0], &logits.iter().map(|logit| logit.exp() / total).collect::<Vec<_>>());
        let scoring = folder.load().about.scoring.expect("scored");
        assert_eq!((scoring.output, scoring.kind, scoring.label(2)), (0, ScoreKind::Logits, "class 2"));
        folder.config["problem_type"] = json!("multi_label_classification");
        let outputs = folder.outputs(&ROWS);
        near(&outputs[1][0], &logits.iter().map(|logit| 1.0 / (1.0 + (-logit).exp())).collect::<Vec<_>>());
        let scoring = folder.load().about.scoring.expect("scored");
        assert_eq!((scoring.output, scoring.kind), (1, ScoreKind::Sigmoid));
        folder.config["problem_type"] = json!("regression");
        let loaded = folder.load();
        assert_eq!(loaded.about.signature.outputs.len(), 1);
        assert_eq!(loaded.about.scoring.expect("values").kind, ScoreKind::Regression);
        folder.config["id2label"] = Value::Null;
        folder.config["problem_type"] = Value::Null;
        assert_eq!(folder.load().about.scoring.expect("scored").label(1), "LABEL_1");
    }
}

#[test]
fn modernbert_classifies_with_a_norm() {
    let mut folder = modernbert();
    let named = |(name, tensor)| (format!("model.{name}"), tensor);
    folder.tensors = folder.tensors.into_iter().map(named).collect();
    folder.add("head.dense.weight", &[HIDDEN, HIDDEN]);
    folder.add("head.norm.weight", &[HIDDEN]);
    folder.add_linear("classifier", 3, HIDDEN);
    folder.config["architectures"] = json!(["ModernBertForSequenceClassification"]);
    let tokens = encode(&folder, None, "model.", ROW);
    let reference = Reference { tensors: &folder.tensors, prefix: "", eps: 1e-5 };
    for (pooling, pooled) in [("cls", tokens[0].clone()), ("mean", mean(&tokens))] {
        folder.config["classifier_pooling"] = json!(pooling);
        let inner = reference.norm("head.norm", &mapped(&reference.linear("head.dense", &vec![pooled]), gelu));
        near(&folder.outputs(&ROWS)[0][0], &reference.linear("classifier", &inner)[0]);
    }
    folder.config["classifier_pooling"] = json!("max");
    let told = "config.json: `classifier_pooling`: expected \"cls\" or \"mean\", got \"max\"";
    assert_eq!(folder.refused(), told);
}

#[test]
fn a_pairs_score_has_the_activation_that_is_named() {
    let mut folder = FAMILIES[0].classifier(1);
    let loaded = folder.load();
    let names: Vec<&str> = loaded.about.signature.outputs.iter().map(|output| output.name.as_str()).collect();
    let scoring = loaded.about.scoring.expect("scored");
    assert_eq!((names, scoring.output, scoring.range), (vec!["logits", "score"], 1, Some((0.0, 1.0))));
    let logit = folder.outputs(&ROWS)[0][0][0];
    let score = |folder: &Folder| folder.outputs(&ROWS)[1][0][0];
    let sigmoid = 1.0 / (1.0 + (-logit).exp());
    assert!((score(&folder) - sigmoid).abs() < 1e-6);
    let identity = "torch.nn.modules.linear.Identity";
    folder.json("config_sentence_transformers.json", &json!({"activation_fn": identity}));
    assert!((score(&folder) - logit).abs() < 1e-6);
    folder.config["sbert_ce_default_activation_function"] = json!("torch.nn.modules.activation.Sigmoid");
    assert!((score(&folder) - sigmoid).abs() < 1e-6);
    folder.config["sentence_transformers"] = json!({"activation_fn": identity});
    assert!((score(&folder) - logit).abs() < 1e-6);
    folder.config["sentence_transformers"] = json!({"activation_fn": "my.own.Identity"});
    assert!((score(&folder) - sigmoid).abs() < 1e-6);
    folder.config["sentence_transformers"] = json!({"activation_fn": "torch.nn.Softplus"});
    let told = "config.json: `sentence_transformers.activation_fn`: expected torch's Sigmoid or Identity, got \"torch.nn.Softplus\"";
    assert_eq!(folder.refused(), told);
}

#[test]
fn modules_that_are_not_served_are_named() {
    let mean = json!({"pooling_mode": "mean"});
    let told = |modules: &[(&str, &str)], pooling: &Value| with_modules(modules, pooling).refused();
    let expected = "modules.json: `[2].type`: expected a Transformer, Pooling, then Dense or Normalize, got";
    assert!(told(&[("Pooling", "1_Pooling"), ("CNN", "2_CNN")], &mean).starts_with(expected));
    assert_eq!(told(&[], &mean), "modules.json: expected a Pooling module: vectors of single tokens are not served");
    let outside = told(&[("Pooling", "../1_Pooling")], &mean);
    assert_eq!(outside, "modules.json: `[1].path`: expected the name of a folder beside it, got \"../1_Pooling\"");
    let pooling = [("Pooling", "1_Pooling")];
    let unknown = told(&pooling, &json!({"pooling_mode": "attention"}));
    assert!(unknown.starts_with("1_Pooling/config.json: `pooling_mode`: expected one of cls, max, "), "{unknown}");
    let none = told(&pooling, &json!({}));
    assert_eq!(none, "1_Pooling/config.json: `pooling_mode`: expected 1 to 6 ways of pooling");
    for key in ["embedding_dimension", "word_embedding_dimension"] {
        let wider = told(&pooling, &json!({"pooling_mode": "mean", key: 9}));
        let wanted = format!("1_Pooling/config.json: `{key}`: expected 8, the width of the encoder's vectors, got 9");
        assert_eq!(wider, wanted);
        with_modules(&pooling, &json!({"pooling_mode": "mean", key: HIDDEN})).load();
    }
    let mut folder = with_modules(&pooling, &json!({"pooling_mode": "mean", "include_prompt": false}));
    let sentence = |prompt: &str| json!({"default_prompt_name": "query", "prompts": {"query": prompt}});
    folder.json("config_sentence_transformers.json", &sentence("query: "));
    let told =
        "config_sentence_transformers.json: `default_prompt_name`: a prompt that pooling leaves out is not served";
    assert_eq!(folder.refused(), told);
    folder.json("config_sentence_transformers.json", &sentence(&"x".repeat(5000)));
    let told =
        "config_sentence_transformers.json: `default_prompt_name`: expected a prompt of at most 4096 bytes, got 5000";
    assert_eq!(folder.refused(), told);
    folder.json("config_sentence_transformers.json", &json!({"model_type": "SparseEncoder"}));
    let told =
        "config_sentence_transformers.json: `model_type`: expected \"SentenceTransformer\", as its modules are, got";
    assert!(folder.refused().starts_with(told), "{}", folder.refused());
}
