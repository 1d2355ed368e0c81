//! Folders that are wrong: each is told by its file and key, or its tensor.

use serde_json::{Value, json};

use super::residual::{basic, timm_basic};
use super::transformer::vit;

#[test]
fn other_tasks_are_refused() {
    let expected = "config.json: `architectures`: expected a name that ends in ForImageClassification, got";
    assert_eq!(vit(true).with("architectures", json!(["ViTModel"])).refused(), format!("{expected} \"ViTModel\""));
    assert_eq!(basic().with("architectures", Value::Null).refused(), format!("{expected} \"\""));
    let several = vit(true).with("problem_type", json!("multi_label_classification")).refused();
    let single = "config.json: `problem_type`: expected \"single_label_classification\", got";
    assert_eq!(several, format!("{single} \"multi_label_classification\""));
    let gray = basic().with("num_channels", json!(1)).refused();
    assert_eq!(gray, "config.json: `num_channels`: expected 3, for red, green and blue, got 1");
}

#[test]
fn sizes_of_a_transformer_are_checked_before_anything_is_made_by_them() {
    let refused = |key: &str, value: Value| vit(true).with(key, value).refused();
    assert_eq!(refused("patch_size", json!(5)), "config.json: `patch_size`: expected a divisor of 8 and 12, got 5");
    let square = "config.json: `patch_size`: only square patches are served";
    assert_eq!(refused("patch_size", json!([4, 2])), square);
    let sides = "config.json: `image_size`: expected a side, or a height and a width, got a list";
    assert_eq!(refused("image_size", json!([8, 12, 3])), sides);
    let prepared = "config.json: `image_size`: expected 8 x 12, as preprocessor_config.json makes images, got 16 x 16";
    assert_eq!(refused("image_size", json!(16)), prepared);
    let many = vit(true).with("image_size", json!(2048)).with("patch_size", json!(1)).refused();
    assert_eq!(many, "config.json: `patch_size`: expected fewer than 16384 patches, got 4194304");
    assert!(refused("hidden_size", json!(u64::MAX)).contains("`hidden_size`: expected a whole number"));
    assert!(refused("hidden_size", json!(16)).contains("`num_attention_heads`: expected a divisor of the width 16"));
    let shape = refused("hidden_size", json!(24));
    assert!(shape.starts_with("model.safetensors: tensor \"vit."), "{shape}");
    let mut unused = vit(true);
    unused.add("vit.mystery.weight", &[2, 2]);
    assert_eq!(unused.refused(), "model.safetensors: no layer uses \"vit.mystery.weight\"");
    let mut none = vit(true);
    none.tensors.insert("classifier.weight".to_owned(), (vec![0, 12], Vec::new()));
    let classes = "model.safetensors: tensor \"classifier.weight\": expected 1 to 1048576 classes, got shape [0, 12]";
    assert_eq!(none.refused(), classes);
}

#[test]
fn sizes_of_a_residual_network_are_checked_before_anything_is_made_by_them() {
    let refused = |key: &str, value: Value| basic().with(key, value).refused();
    let kinds = "config.json: `layer_type`: expected basic or bottleneck, got \"other\"";
    assert_eq!(refused("layer_type", json!("other")), kinds);
    assert_eq!(refused("hidden_act", json!("gelu")), "config.json: `hidden_act`: expected \"relu\", got \"gelu\"");
    let depths = "config.json: `depths`: expected as many as `hidden_sizes`, 2, got 1";
    assert_eq!(refused("depths", json!([2])), depths);
    assert!(refused("depths", json!([2, 5000])).contains("`depths`: expected a list of whole numbers from 1 to 1024"));
    assert!(refused("depths", json!([2, 3])).contains("stages.1.layers.2.layer.0.convolution.weight\" is missing"));
    assert!(refused("depths", json!([2, 1])).contains("no layer uses \"resnet.encoder.stages.1.layers.1."));
    assert!(refused("hidden_sizes", json!([8, 16])).contains("expected shape [16, "));
    assert!(
        refused("id2label", json!({"0": "a"})).contains("`id2label`: expected a name for each of 5 classes, got 1")
    );
    let mut variance = basic();
    let name = "resnet.embedder.embedder.normalization.running_var";
    variance.tensors.get_mut(name).expect("a tensor").1[2] = -1.0;
    assert_eq!(variance.refused(), format!("model.safetensors: \"{name}\" is -1 at 2, expected a positive number"));
    let mut none = basic();
    none.tensors.insert("classifier.1.weight".to_owned(), (vec![0, 12], Vec::new()));
    let first = "model.safetensors: tensor \"classifier.1.weight\": expected a first dimension of 1 to 1048576, got";
    assert_eq!(none.refused(), format!("{first} shape [0, 12]"));
    let stem = "resnet.embedder.embedder.convolution";
    let mut huge = basic().with("embedding_size", json!(300)).prepared("size", json!({"shortest_edge": 2000}));
    huge.add(&format!("{stem}.weight"), &[300, 3, 7, 7]);
    let most = format!("\"{stem}\" makes nothing of [3, 2000, 2000], or more than 268435456 numbers");
    assert_eq!(huge.refused(), format!("model.safetensors: {most}"));
}

#[test]
fn networks_of_timm_that_are_built_otherwise_are_refused() {
    let refused = |key: &str, value: Value| timm_basic().with(key, value).refused();
    let other = refused("architecture", json!("vit_tiny_patch16_224"));
    assert!(other.starts_with("config.json: `architecture`: expected one of resnet18, resnet26, "), "{other}");
    assert!(other.ends_with(", got \"vit_tiny_patch16_224\""), "{other}");
    let deep = "config.json: `model_args.stem_type`: networks built with this are not served";
    assert_eq!(refused("model_args", json!({"stem_type": "deep"})), deep);
    let pool = "`global_pool`: expected \"avg\", got \"max\"";
    assert_eq!(refused("global_pool", json!("max")), format!("config.json: {pool}"));
    let inner = refused("model_args", json!({"global_pool": "max"}));
    assert_eq!(inner, "config.json: `model_args.global_pool`: expected \"avg\", got \"max\"");
    let classes = "config.json: `num_classes`: expected 5, as many as the weights have, got 6";
    assert_eq!(refused("num_classes", json!(6)), classes);
    let names = "config.json: `label_names`: expected a name for each of 5 classes, got 2";
    assert_eq!(refused("label_names", json!(["a", "b"])), names);
}
