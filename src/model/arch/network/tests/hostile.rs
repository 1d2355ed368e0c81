//! Declarations and weights that do not fit, or mean harm.

use super::generate::{Generator, Net, serialized};
use super::{files, load_files};

fn error(net: &Net) -> String {
    load_files(&files(&net.text(), &net.weights())).err().expect("an error").to_string()
}

fn net(dims: &[usize], layers: &[(&str, &str)], tensors: &[(&str, &[usize])]) -> Net {
    let mut net = Net::new(dims);
    for (name, settings) in layers {
        net.add(name, settings);
    }
    for (name, dims) in tensors {
        net.tensors.insert((*name).to_owned(), (dims.to_vec(), vec![1.0; dims.iter().product()]));
    }
    net
}

fn check(cases: &[(Net, &str)]) {
    for (net, wanted) in cases {
        assert_eq!(error(net), *wanted);
    }
}

#[test]
fn misfits_name_the_layer_what_it_expects_and_what_it_gets() {
    check(&[
        (
            net(&[30], &[("relu", ""), ("linear", "")], &[("1.weight", &[16, 29])]),
            "network.toml: layer 1 (linear): \"1.weight\" has shape [16, 29], which takes 29 features, got rows [30]",
        ),
        (
            net(&[30], &[("linear", "")], &[("0.weight", &[16, 30]), ("0.bias", &[15])]),
            "model.safetensors: tensor \"0.bias\": expected shape [16], got [15]",
        ),
        (
            net(&[3], &[("linear", "")], &[("0.weight", &[3, 3, 1])]),
            "network.toml: layer 0 (linear): \"0.weight\" has shape [3, 3, 1], expected [out, in]",
        ),
        (
            net(&[3], &[("linear", "")], &[("weight", &[3, 3])]),
            "model.safetensors: tensor \"0.weight\" is missing; the file has \"weight\"",
        ),
        (
            net(&[3], &[("linear", "")], &[("0.weight", &[3, 3]), ("1.weight", &[3, 3])]),
            "model.safetensors: no layer uses \"1.weight\"",
        ),
    ]);
}

#[test]
fn windows_that_do_not_fit_are_refused() {
    check(&[
        (
            net(&[3], &[("conv2d", "")], &[("0.weight", &[1, 1, 1, 1])]),
            "network.toml: layer 0 (conv2d): expected rows [channels, height, width], got [3]",
        ),
        (
            net(&[3, 2, 2], &[("conv2d", "")], &[("0.weight", &[1, 3, 3, 3])]),
            "network.toml: layer 0 (conv2d): \"0.weight\" has shape [1, 3, 3, 3], which does not fit into rows [3, 2, 2]",
        ),
        (
            net(&[4, 5], &[("conv1d", "groups = 2\n")], &[("0.weight", &[3, 2, 1])]),
            "network.toml: layer 0 (conv1d): \"0.weight\" has shape [3, 2, 1], expected a multiple of 2 groups for out",
        ),
        (
            net(&[4, 5], &[("conv1d", "groups = 2\n")], &[("0.weight", &[2, 4, 1])]),
            "network.toml: layer 0 (conv1d): \"0.weight\" has shape [2, 4, 1], which takes 4 channels in each of 2 groups, got rows [4, 5]",
        ),
        (
            net(&[4], &[("max_pool", "")], &[]),
            "network.toml: layer 0 (max_pool): expected rows [channels, length] or [channels, height, width], got [4]",
        ),
        (
            net(&[4, 1], &[("average_pool", "")], &[]),
            "network.toml: layer 0 (average_pool): a kernel of 2 does not fit into rows [4, 1]",
        ),
        (
            net(&[4], &[("global_pool", "")], &[]),
            "network.toml: layer 0 (global_pool): expected rows [channels, ..] with a dimension after the channels, got [4]",
        ),
    ]);
}

#[test]
fn shapes_of_norms_and_sizes_of_rows_are_checked() {
    check(&[
        (
            net(&[4, 6], &[("layer_norm", "")], &[("0.weight", &[4])]),
            "network.toml: layer 0 (layer_norm): \"0.weight\" has shape [4], which are not the last dimensions of rows [4, 6]",
        ),
        (
            net(&[2], &[("batch_norm", "")], &[("0.running_mean", &[2]), ("0.running_var", &[3])]),
            "model.safetensors: tensor \"0.running_var\": expected shape [2], got [3]",
        ),
        (
            net(&[1 << 16, 1 << 16], &[("flatten", "")], &[]),
            "network.toml: input: a row [65536, 65536] has no elements, or more than 268435456",
        ),
        (
            net(&[1 << 12, 1 << 12], &[("linear", "")], &[("0.weight", &[1 << 20, 1])]),
            "network.toml: layer 0 (linear): \"0.weight\" has shape [1048576, 1], which takes 1 features, got rows [4096, 4096]",
        ),
        (
            net(&[1 << 12, 1 << 12, 1], &[("linear", "")], &[("0.weight", &[1 << 5, 1])]),
            "network.toml: layer 0 (linear): a row [4096, 4096, 32] has no elements, or more than 268435456",
        ),
    ]);
}

#[test]
fn weights_that_cannot_be_divided_by_are_refused() {
    let mut zero = net(&[2], &[("standardise", "")], &[("0.mean", &[2]), ("0.scale", &[2])]);
    zero.tensors.get_mut("0.scale").expect("a tensor").1[1] = 0.0;
    assert_eq!(error(&zero), "network.toml: layer 0 (standardise): \"0.scale\" is 0 at 1, which cannot be divided by");
    let mut negative = net(&[1], &[("batch_norm", "")], &[("0.running_mean", &[1]), ("0.running_var", &[1])]);
    negative.tensors.get_mut("0.running_var").expect("a tensor").1[0] = -1.0;
    let wanted = "network.toml: layer 0 (batch_norm): \"0.running_var\" is -1 at 0, expected a positive number";
    assert_eq!(error(&negative), wanted);
}

#[test]
fn declarations_are_read_strictly_and_all_problems_told() {
    let text = "[input]\ndtype = \"INT8\"\ndims = []\n[output]\nscores = \"soft\"\nrange = [2, 1]\n[[layer]]\ntype = \"lineer\"\n\
                [[layer]]\ntype = \"conv2d\"\nstride = [1, 2]\npading = 1\n[[layer]]\ntype = \"max_pool\"\npadding = 2\n";
    let wrong = load_files(&files(text, &[])).err().expect("an error").to_string();
    for part in [
        "line 2: `input.dtype`: expected \"FP32\", the only type that networks take so far, got \"INT8\"",
        "line 3: `input.dims`: expected 1 to 8 dimensions of one row, without the batch",
        "line 5: ",
        "line 6: `output.range`: expected [low, high] with low < high, got [2.0, 1.0]",
        "line 8: ",
        "line 11: ",
        "did you mean `layer[1].padding`",
        "line 15: `layer[2].padding`: expected at most 1, half the kernel, got 2",
    ] {
        assert!(wrong.contains(part), "{part} in {wrong}");
    }
    for text in ["", "layer = []\n[input]\ndims = [1]\n", "[input]\ndims = [1]\nlayer = 3"] {
        assert!(load_files(&files(text, &serialized(&Net::new(&[1]).tensors))).is_err(), "{text}");
    }
}

#[test]
fn a_network_without_weights_needs_no_file() {
    let text = "[input]\ndims = [3]\n[[layer]]\ntype = \"softmax\"\n";
    let mut contents = std::collections::BTreeMap::new();
    contents.insert("network.toml".to_owned(), text.as_bytes().to_vec().into());
    assert!(load_files(&crate::model::Files::Memory(contents.clone())).is_ok());
    let mut needing = Net::new(&[3]);
    Generator::new(0).linear(&mut needing, 2);
    contents.insert("network.toml".to_owned(), needing.text().into_bytes().into());
    let wrong = load_files(&crate::model::Files::Memory(contents)).err().expect("an error").to_string();
    assert_eq!(wrong, "model.safetensors: no such file, but the model needs tensor \"0.weight\"");
}
