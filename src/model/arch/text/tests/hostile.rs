//! Configurations that ask for what is not computed, or for too much.

use serde_json::{Value, json};

use super::folder::{FAMILIES, Folder, modernbert};

fn with(folder: &Folder, key: &str, value: &Value) -> String {
    let mut folder = folder.clone();
    folder.config[key] = value.clone();
    folder.refused()
}

#[test]
fn what_changes_the_arithmetic_is_refused_by_name() {
    let bert = FAMILIES[0].folder();
    let encoders = "only encoders that read a text as a whole are served";
    let unserved = "models with this are not served";
    for (key, value, reason) in [
        ("is_decoder", json!(true), encoders),
        ("add_cross_attention", json!(true), encoders),
        ("position_embedding_type", json!("relative_key"), "expected \"absolute\", got \"relative_key\""),
        ("quantization_config", json!({"bits": 4}), unserved),
        ("pruned_heads", json!({"0": [1]}), unserved),
        ("type_vocab_size", json!(0), "expected a whole number from 1 to 1024, got 0"),
        ("layer_norm_eps", json!(-1), "expected a number from 0 to 1, got -1"),
        ("pad_token_id", json!(20), "expected a whole number from 0 to 19, got 20"),
    ] {
        assert_eq!(with(&bert, key, &value), format!("config.json: `{key}`: {reason}"));
    }
    let told = with(&bert, "hidden_act", &json!("xielu"));
    assert!(told.starts_with("config.json: `hidden_act`: expected one of gelu, gelu_python, "), "{told}");
    let told = with(&bert, "architectures", &json!(["BertForTokenClassification"]));
    let wanted = "config.json: `architectures`: expected a name that ends in Model, ForMaskedLM, ForPreTraining or \
                  ForSequenceClassification, got \"BertForTokenClassification\"";
    assert_eq!(told, wanted);
    let told = with(&FAMILIES[0].classifier(2), "problem_type", &json!("ranking"));
    let wanted = "config.json: `problem_type`: expected single_label_classification, multi_label_classification or \
                  regression, got \"ranking\"";
    assert_eq!(told, wanted);
    let mut none = bert;
    none.config["pruned_heads"] = json!({});
    none.load();
}

#[test]
fn sizes_are_in_range_and_fit_together() {
    let bert = FAMILIES[0].folder();
    for (key, most) in [
        ("hidden_size", 16384),
        ("intermediate_size", 131_072),
        ("num_hidden_layers", 512),
        ("num_attention_heads", 1024),
        ("vocab_size", 4_194_304),
        ("max_position_embeddings", 65536),
    ] {
        for value in [json!(0), json!(most + 1), json!(u64::MAX), json!(-1), json!(2.5), json!("8")] {
            let wanted = format!("config.json: `{key}`: expected a whole number from 1 to {most}, got {value}");
            assert_eq!(with(&bert, key, &value), wanted);
        }
        assert_eq!(with(&bert, key, &Value::Null), format!("config.json: `{key}`: is missing"));
    }
    let told = with(&bert, "num_attention_heads", &json!(3));
    assert_eq!(told, "config.json: `num_attention_heads`: expected a divisor of the width 8, got 3");
    let told = with(&bert, "num_hidden_layers", &json!(3));
    assert!(told.starts_with("model.safetensors: tensor \"encoder.layer.2.attention.self.query.weight\" is missing"));
    let told = with(&bert, "vocab_size", &json!(21));
    let wanted = "model.safetensors: tensor \"embeddings.word_embeddings.weight\": expected shape [21, 8], got [20, 8]";
    assert_eq!(told, wanted);
    let told = with(&FAMILIES[2].folder(), "max_position_embeddings", &json!(2));
    assert_eq!(told, "config.json: `max_position_embeddings`: no position is left for a token");
}

#[test]
fn modernberts_own_keys_are_checked() {
    let folder = modernbert();
    let told = with(&folder, "num_attention_heads", &json!(8));
    assert_eq!(told, "config.json: `num_attention_heads`: expected heads of even width, got 1");
    let told = with(&folder, "layer_types", &json!(["full_attention"]));
    assert_eq!(told, "config.json: `layer_types`: expected 4 layers, got 1");
    let told = with(&folder, "layer_types", &json!(["full_attention", "x", "x", "x"]));
    assert_eq!(told, "config.json: `layer_types`: expected full_attention or sliding_attention, got \"x\"");
    let scaled = json!({"full_attention": {"rope_type": "yarn", "rope_theta": 1.0}});
    let told = with(&folder, "rope_parameters", &scaled);
    assert_eq!(told, "config.json: `rope_parameters.full_attention.rope_type`: expected \"default\", got \"yarn\"");
    let told = with(&folder, "global_rope_theta", &json!(0));
    assert_eq!(told, "config.json: `global_rope_theta`: expected a number from 1 to 1000000000000, got 0");
}

#[test]
fn classes_are_as_many_as_their_names() {
    let folder = FAMILIES[0].classifier(3);
    let told = with(&folder, "id2label", &json!({"0": "a", "1": "b"}));
    assert_eq!(told, "config.json: `id2label`: expected a name for each of 3 classes, got 2");
    let told = with(&folder, "id2label", &json!({"0": "a", "1": "b", "3": "c"}));
    assert_eq!(told, "config.json: `id2label`: class 2 has no name");
    let mut none = folder;
    none.tensors.insert("classifier.weight".to_owned(), (vec![0, 8], Vec::new()));
    let wanted = "model.safetensors: tensor \"classifier.weight\": expected 1 to 1048576 classes, got shape [0, 8]";
    assert_eq!(none.refused(), wanted);
}
