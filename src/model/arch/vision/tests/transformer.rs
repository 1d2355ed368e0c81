//! `ViT` against a reference written out for one image at a time.

use serde_json::json;

use super::folder::{Folder, answers, difference};
use super::reference::{Weights, dot, softmax};

const HIDDEN: usize = 12;
const HEADS: usize = 3;
const PATCH: usize = 4;
const SIDES: [usize; 2] = [8, 12];
const LAYERS: usize = 2;
const EPSILON: f64 = 1e-3;

pub(super) fn vit(qkv_bias: bool) -> Folder {
    let config = json!({"model_type": "vit", "architectures": ["ViTForImageClassification"], "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "intermediate_size": 20, "image_size": SIDES,
        "patch_size": PATCH, "qkv_bias": qkv_bias, "layer_norm_eps": EPSILON, "hidden_act": "gelu"});
    let processor =
        json!({"image_processor_type": "ViTImageProcessor", "size": {"height": SIDES[0], "width": SIDES[1]}});
    let mut folder = Folder::new(config, Some(processor));
    let tokens = SIDES[0] * SIDES[1] / (PATCH * PATCH) + 1;
    folder.add("vit.embeddings.cls_token", &[1, 1, HIDDEN]);
    folder.add("vit.embeddings.position_embeddings", &[1, tokens, HIDDEN]);
    folder.add("vit.embeddings.patch_embeddings.projection.weight", &[HIDDEN, 3, PATCH, PATCH]);
    folder.add("vit.embeddings.patch_embeddings.projection.bias", &[HIDDEN]);
    for layer in 0..LAYERS {
        let name = |part: &str| format!("vit.encoder.layer.{layer}.{part}");
        for part in ["query", "key", "value"] {
            folder.linear(&name(&format!("attention.attention.{part}")), HIDDEN, HIDDEN, qkv_bias);
        }
        folder.linear(&name("attention.output.dense"), HIDDEN, HIDDEN, true);
        folder.linear(&name("intermediate.dense"), 20, HIDDEN, true);
        folder.linear(&name("output.dense"), HIDDEN, 20, true);
        norm(&mut folder, &name("layernorm_before"));
        norm(&mut folder, &name("layernorm_after"));
    }
    norm(&mut folder, "vit.layernorm");
    folder.linear("classifier", 4, HIDDEN, true);
    folder.linear("vit.pooler.dense", HIDDEN, HIDDEN, true);
    folder
}

fn norm(folder: &mut Folder, name: &str) {
    folder.add_positive(&format!("{name}.weight"), HIDDEN);
    folder.add(&format!("{name}.bias"), &[HIDDEN]);
}

fn tokens(weights: &Weights<'_>, image: &[f32]) -> Vec<Vec<f64>> {
    let (_, projection) = weights.get("vit.embeddings.patch_embeddings.projection.weight");
    let (_, bias) = weights.get("vit.embeddings.patch_embeddings.projection.bias");
    let (_, positions) = weights.get("vit.embeddings.position_embeddings");
    let [height, width] = SIDES;
    let mut tokens = vec![weights.get("vit.embeddings.cls_token").1];
    for place in 0..height / PATCH * (width / PATCH) {
        let (top, left) = (place / (width / PATCH) * PATCH, place % (width / PATCH) * PATCH);
        let patch: Vec<f64> = (0..3 * PATCH * PATCH)
            .map(|at| (at / (PATCH * PATCH), top + at / PATCH % PATCH, left + at % PATCH))
            .map(|(colour, y, x)| f64::from(image[(colour * height + y) * width + x]))
            .collect();
        tokens.push(projection.chunks(patch.len()).zip(&bias).map(|(row, bias)| dot(row, &patch) + bias).collect());
    }
    for (token, position) in tokens.iter_mut().zip(positions.chunks(HIDDEN)) {
        token.iter_mut().zip(position).for_each(|(number, position)| *number += position);
    }
    tokens
}

fn attend(weights: &Weights<'_>, name: &str, rows: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let part = |part: &str| -> Vec<Vec<f64>> {
        rows.iter().map(|row| weights.linear(&format!("{name}.attention.attention.{part}"), row)).collect()
    };
    let (queries, keys, values) = (part("query"), part("key"), part("value"));
    let width = HIDDEN / HEADS;
    let one = |query: &Vec<f64>| {
        let mut seen = Vec::new();
        for head in 0..HEADS {
            let own = head * width..(head + 1) * width;
            let score = |key: &Vec<f64>| dot(&query[own.clone()], &key[own.clone()]) / (width as f64).sqrt();
            let shares = softmax(&keys.iter().map(score).collect::<Vec<_>>());
            let sum = |at: usize| shares.iter().zip(&values).map(|(share, value)| share * value[at]).sum::<f64>();
            seen.extend(own.clone().map(sum));
        }
        weights.linear(&format!("{name}.attention.output.dense"), &seen)
    };
    queries.iter().map(one).collect()
}

fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + candle_core::cpu::erf::erf_f64(x * std::f64::consts::FRAC_1_SQRT_2))
}

fn reference(folder: &Folder, image: &[f32]) -> Vec<f64> {
    let weights = Weights(&folder.tensors);
    let mut rows = tokens(&weights, image);
    let add = |rows: &mut [Vec<f64>], updates: Vec<Vec<f64>>| {
        for (row, update) in rows.iter_mut().zip(updates) {
            row.iter_mut().zip(update).for_each(|(number, update)| *number += update);
        }
    };
    for layer in 0..LAYERS {
        let name = format!("vit.encoder.layer.{layer}");
        let normed = |rows: &[Vec<f64>], part: &str| -> Vec<Vec<f64>> {
            rows.iter().map(|row| weights.layer_norm(&format!("{name}.{part}"), row, EPSILON)).collect()
        };
        let seen = attend(&weights, &name, &normed(&rows, "layernorm_before"));
        add(&mut rows, seen);
        let inner = |row: &Vec<f64>| {
            let inner = weights.linear(&format!("{name}.intermediate.dense"), row);
            weights.linear(&format!("{name}.output.dense"), &inner.into_iter().map(gelu).collect::<Vec<_>>())
        };
        let inner = normed(&rows, "layernorm_after").iter().map(inner).collect();
        add(&mut rows, inner);
    }
    weights.linear("classifier", &weights.layer_norm("vit.layernorm", &rows[0], EPSILON))
}

#[test]
fn answers_are_the_references() {
    for qkv_bias in [true, false] {
        let mut folder = vit(qkv_bias);
        let images: Vec<Vec<f32>> = (0..5).map(|_| (0..3 * 8 * 12).map(|_| folder.number()).collect()).collect();
        let loaded = folder.load().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(loaded.about.platform, "candle_vit");
        let [logits, probabilities] = answers(&loaded, &images, SIDES);
        for (at, image) in images.iter().enumerate() {
            let expected = reference(&folder, image);
            assert!(difference(&logits[at], &expected) < 1e-4, "{:?} {expected:?}", logits[at]);
            assert!(difference(&probabilities[at], &softmax(&expected)) < 1e-4);
            assert!(difference(&logits[(at + 1) % 5], &expected) > 1e-3, "answers do not differ");
            let [alone, _] = answers(&loaded, std::slice::from_ref(image), SIDES);
            assert!(difference(&alone[0], &expected) < 1e-4);
        }
    }
}
