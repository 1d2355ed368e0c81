//! The encoder of each family against the reference, alone and in company.

use candle_core::{Device, Tensor};

use super::folder::{FAMILIES, Folder, ids, modernbert, prepare};
use super::reference::{encode, mean};
use crate::model::Model;

/// Rows of 1 to 14 tokens.
const ROWS: [&[i64]; 5] =
    [&[2, 7, 9, 4, 3], &[5], &[2, 17, 1, 8, 6, 1, 5, 19, 3], &[4, 4], &[2, 9, 8, 7, 6, 5, 4, 3, 10, 11, 12, 13, 14, 3]];

fn assert_near(got: &[f32], wanted: &[f64], bound: f64, what: &str) {
    assert_eq!(got.len(), wanted.len(), "{what}");
    let largest = wanted.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
    let error =
        got.iter().zip(wanted).fold(0.0_f64, |worst, (got, wanted)| worst.max((f64::from(*got) - wanted).abs()));
    assert!(error <= bound * largest, "{what}: {error} of {largest}\n{got:?}\n{wanted:?}");
}

#[test]
fn each_family_is_its_reference() {
    for family in &FAMILIES {
        let folder = family.folder();
        let outputs = folder.outputs(&ROWS);
        for (row, got) in ROWS.iter().zip(&outputs[0]) {
            let wanted = mean(&encode(&folder, Some(family), "", row));
            assert_near(got, &wanted, 1e-5, family.model_type);
        }
        let spread: f32 = outputs[0][0].iter().zip(&outputs[0][1]).map(|(one, other)| (one - other).abs()).sum();
        assert!(spread > 0.5, "the rows of {} answer alike", family.model_type);
    }
}

#[test]
fn modernbert_is_its_reference() {
    let folder = modernbert();
    let long: Vec<i64> = (0..200).map(|at| (at * 7 + 3) % 20).collect();
    let rows: Vec<&[i64]> = ROWS.into_iter().chain([&long[..]]).collect();
    for (row, got) in rows.iter().zip(&folder.outputs(&rows)[0]) {
        assert_near(got, &mean(&encode(&folder, None, "", row)), 1e-5, "modernbert");
    }
}

#[test]
fn newer_files_name_each_layers_kind() {
    let older = modernbert();
    let mut newer = older.clone();
    newer.config = serde_json::json!({"model_type": "modernbert", "hidden_size": 8, "intermediate_size": 12,
        "num_attention_heads": 2, "num_hidden_layers": 4, "vocab_size": 20, "max_position_embeddings": 300,
        "local_attention": 4,
        "layer_types": ["full_attention", "sliding_attention", "sliding_attention", "full_attention"],
        "rope_parameters": {"full_attention": {"rope_theta": 160_000.0, "rope_type": "default"},
            "sliding_attention": {"rope_theta": 100.0, "rope_type": "default"}}});
    assert_eq!(older.outputs(&ROWS), newer.outputs(&ROWS));
}

/// No row's answer may depend on those beside it, nor on where it stands among them.
#[test]
fn rows_answer_alone_as_in_company() {
    let long: Vec<i64> = (0..290).map(|at| (at * 11 + 5) % 20).collect();
    let folders: Vec<(Folder, Vec<&[i64]>)> = FAMILIES
        .iter()
        .map(|family| (family.folder(), ROWS.to_vec()))
        .chain([(modernbert(), ROWS.into_iter().chain([&long[..]]).collect())])
        .collect();
    for (folder, rows) in folders {
        let company: Vec<&[i64]> = rows.iter().cycle().take(40).copied().collect();
        let together = &folder.outputs(&company)[0];
        for (row, got) in company.iter().zip(together) {
            let alone: Vec<f64> = folder.outputs(&[row])[0][0].iter().map(|value| f64::from(*value)).collect();
            assert_near(got, &alone, 1e-5, &folder.config["model_type"].to_string());
        }
    }
}

#[test]
fn a_prefix_and_buffers_change_nothing() {
    for family in &FAMILIES {
        let plain = family.folder();
        let mut prefixed = plain.clone();
        let named = |(name, tensor)| (format!("{}{name}", family.prefix), tensor);
        prefixed.tensors = prefixed.tensors.into_iter().map(named).collect();
        prefixed.add(&format!("{}embeddings.position_ids", family.prefix), &[1, 16]);
        assert_eq!(plain.outputs(&ROWS), prefixed.outputs(&ROWS), "{}", family.model_type);
        let mut strange = plain;
        strange.add("adapter.weight", &[2]);
        assert_eq!(strange.refused(), "model.safetensors: no layer uses \"adapter.weight\"");
    }
}

#[test]
fn inputs_are_as_many_as_tables() {
    let Model::Candle(model) = FAMILIES[0].folder().load().model else { panic!("not on candle") };
    let told = |inputs: &[Tensor]| model.forward(inputs).expect_err("refused").to_string();
    assert!(told(&[]).starts_with("expected packed rows, got no inputs"));
    let one = Tensor::new(&[0_u32, 1], &Device::Cpu).expect("a tensor");
    assert!(told(&[one.clone(), one]).starts_with("expected 3 inputs, got 1"));
}

#[test]
fn token_types_are_looked_up() {
    let bert = FAMILIES[0].folder();
    let loaded = bert.load();
    let mut inputs = ids(&[&[2, 5, 3, 6, 3]]);
    inputs.push(("token_type_ids", super::folder::integers(&[1, 5], &[0, 0, 0, 1, 1])));
    let rows = prepare(&loaded, &inputs).expect("rows").rows;
    let reference = super::reference::Reference { tensors: &bert.tensors, prefix: "", eps: 1e-5 };
    let wanted = mean(&reference.bert(&FAMILIES[0], &[2, 5, 3, 6, 3], &[0, 0, 0, 1, 1]));
    assert_near(&bert.run(&rows)[0][0], &wanted, 1e-5, "types");
}
