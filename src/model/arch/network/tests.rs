//! Networks against an independent reference, against candle's own operations, alone and in company.

mod generate;
mod hostile;
mod reference;
mod residual;
mod shipped;

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use proptest::prelude::*;

use self::generate::{Generator, Net};
use super::declared::Declared;
use super::{DECLARATION, cpu, fold, plan, portable};
use crate::config::ModelConfig;
use crate::model::arch::read_declaration;
use crate::model::{CandleModel, Files, LoadError, Loaded, Model, Target, Weights, load};

/// Rows by rows of output.
type Rows = Vec<Vec<f32>>;

fn files(text: &str, weights: &[u8]) -> Files {
    Files::Memory(BTreeMap::from([
        (DECLARATION.to_owned(), text.as_bytes().to_vec().into()),
        ("model.safetensors".to_owned(), weights.to_vec().into()),
    ]))
}

fn load_files(files: &Files) -> Result<Loaded, LoadError> {
    load(files, &ModelConfig::default(), &Target::cpu())
}

fn candle(loaded: Loaded) -> Box<dyn CandleModel> {
    match loaded.model {
        Model::Candle(model) => model,
        Model::Host(_) => panic!("expected a candle model"),
    }
}

fn run(model: &dyn CandleModel, dims: &[usize], rows: &[Vec<f32>]) -> Rows {
    let shape: Vec<usize> = std::iter::once(rows.len()).chain(dims.iter().copied()).collect();
    let input = Tensor::from_vec(rows.concat(), shape, &Device::Cpu).expect("an input");
    let outputs = model.forward(&[input]).expect("outputs");
    let [output] = outputs.as_slice() else { panic!("expected one output") };
    assert!(output.is_contiguous());
    output.flatten_from(1).expect("rows").to_vec2().expect("numbers")
}

/// The largest difference between two rows over their largest number, or 1.
fn distance<T: Copy + Into<f64>>(left: &[f32], right: &[T]) -> f64 {
    assert_eq!(left.len(), right.len());
    let mut most = 0.0_f64;
    let mut scale = 1.0_f64;
    for (left, right) in left.iter().zip(right) {
        let right: f64 = (*right).into();
        most = most.max((f64::from(*left) - right).abs());
        scale = scale.max(right.abs());
        assert_eq!(left.is_finite(), right.is_finite(), "{left} {right}");
    }
    most / scale
}

fn portable(files: &Files) -> portable::Portable {
    let declared = read_declaration(files, DECLARATION, Declared::read).expect("a declaration");
    let weights = Weights::read(files, "model.safetensors").expect("weights");
    let steps = plan::plan(DECLARATION, &declared.dims, &declared.layers, &weights).expect("a plan");
    portable::Portable::new(fold::fold(steps), &Target::cpu()).expect("a model")
}

fn check(net: &Net, inputs: &[Vec<f32>]) {
    let files = files(&net.text(), &net.weights());
    let model = candle(load_files(&files).unwrap_or_else(|error| panic!("{error}\n{}", net.text())));
    let got = run(model.as_ref(), &net.dims, inputs);
    let by_candle = run(&portable(&files), &net.dims, inputs);
    for ((input, got), by_candle) in inputs.iter().zip(&got).zip(&by_candle) {
        let wanted = net.reference(input);
        assert!(distance(got, &wanted) < 5e-5, "{got:?} is not {wanted:?}\n{}", net.text());
        assert!(distance(by_candle, &wanted) < 5e-5, "candle: {by_candle:?} is not {wanted:?}\n{}", net.text());
        let alone = run(model.as_ref(), &net.dims, std::slice::from_ref(input));
        assert!(distance(&alone[0], got) < 1e-5, "alone {alone:?}, in company {got:?}\n{}", net.text());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_network_computes_what_the_reference_does(seed: u64, rows in 1_usize..6) {
        let mut generator = Generator::new(seed);
        let net = generator.network();
        let inputs: Vec<_> = (0..rows).map(|_| generator.row(&net.dims)).collect();
        check(&net, &inputs);
    }
}

#[test]
fn every_layer_alone_computes_what_the_reference_does() {
    for seed in 0..12 {
        for name in generate::LAYERS {
            let mut generator = Generator::new(seed);
            let net = generator.single(name);
            let inputs: Vec<_> = (0..3).map(|_| generator.row(&net.dims)).collect();
            check(&net, &inputs);
        }
    }
}

/// Large enough that windows are gathered and multiplied by candle, in tiles.
#[test]
fn large_convolutions_are_computed_in_tiles() {
    let mut generator = Generator::new(7);
    let mut net = Net::new(&[6, 40, 36]);
    generator.convolution_to(&mut net, 2, 5, [1, 2, 1, 1], 16);
    net.add("relu", "");
    generator.convolution_to(&mut net, 2, 3, [2, 1, 2, 2], 256);
    net.add("global_pool", "");
    let inputs: Vec<_> = (0..3).map(|_| generator.row(&net.dims)).collect();
    check(&net, &inputs);
}

#[test]
fn a_row_in_company_equals_the_row_alone() {
    let mut generator = Generator::new(3);
    let mut net = Net::new(&[30]);
    for outputs in [64, 300, 5] {
        generator.linear(&mut net, outputs);
        net.add("gelu", "");
    }
    net.add("softmax", "");
    let rows: Vec<_> = (0..65).map(|_| generator.row(&net.dims)).collect();
    let model = candle(load_files(&files(&net.text(), &net.weights())).expect("a model"));
    let alone: Vec<_> = rows.iter().map(|row| run(model.as_ref(), &net.dims, std::slice::from_ref(row))).collect();
    for count in 1..=65 {
        let together = run(model.as_ref(), &net.dims, &rows[..count]);
        for (together, alone) in together.iter().zip(&alone) {
            assert!(distance(together, &alone[0]) < 1e-5);
        }
    }
}

#[test]
fn broken_rows_stay_broken_and_leave_others_alone() {
    for tail in ["relu", "gelu", "silu", "tanh", "sigmoid", "softmax"] {
        let mut generator = Generator::new(1);
        let mut net = Net::new(&[4]);
        generator.linear(&mut net, 3);
        net.add(tail, "");
        let good = generator.row(&net.dims);
        let bad = vec![0.5, f32::NAN, 0.5, 0.5];
        let files = files(&net.text(), &net.weights());
        let cpu = candle(load_files(&files).expect("a model"));
        for model in [cpu.as_ref(), &portable(&files)] {
            let both = run(model, &net.dims, &[bad.clone(), good.clone()]);
            assert!(both[0].iter().all(|value| value.is_nan()), "{tail}: {both:?}");
            assert!(distance(&both[1], &net.reference(&good)) < 1e-5, "{tail}: {both:?}");
        }
    }
}

#[test]
fn no_rows_give_no_rows_and_wrong_rows_an_error() {
    let mut net = Net::new(&[4]);
    Generator::new(1).linear(&mut net, 3);
    let model = candle(load_files(&files(&net.text(), &net.weights())).expect("a model"));
    let none = Tensor::zeros((0, 4), candle_core::DType::F32, &Device::Cpu).expect("a tensor");
    assert_eq!(model.forward(&[none]).expect("outputs")[0].dims(), [0, 3]);
    let refused = |inputs: &[Tensor]| model.forward(inputs).expect_err("refused").to_string();
    let wrong = Tensor::zeros((2, 5), candle_core::DType::F32, &Device::Cpu).expect("a tensor");
    assert!(refused(&[wrong]).starts_with("expected rows of 4 elements, got shape [2, 5]"));
    assert!(refused(&[]).starts_with("expected one input, got 0"));
    let wide = Tensor::zeros((2, 4), candle_core::DType::F64, &Device::Cpu).expect("a tensor");
    assert!(model.forward(&[wide]).is_err());
}

#[test]
fn a_batch_norm_after_a_product_costs_no_step() {
    let mut generator = Generator::new(5);
    let mut net = Net::new(&[2, 6, 6]);
    generator.convolution(&mut net, 2, 3, [1, 1, 1, 1]);
    generator.batch_norm(&mut net);
    net.add("flatten", "");
    generator.linear(&mut net, 4);
    generator.batch_norm(&mut net);
    let files = files(&net.text(), &net.weights());
    let declared = read_declaration(&files, DECLARATION, Declared::read).expect("a declaration");
    let weights = Weights::read(&files, "model.safetensors").expect("weights");
    let steps = plan::plan(DECLARATION, &declared.dims, &declared.layers, &weights).expect("a plan");
    assert_eq!((steps.len(), fold::fold(steps.clone()).len()), (5, 3));
    let inputs = [generator.row(&net.dims)];
    check(&net, &inputs);
    // Unfolded, the same network gives the same.
    let unfolded = run(&cpu::Program::new(steps, &net.dims), &net.dims, &inputs);
    assert!(distance(&unfolded[0], &net.reference(&inputs[0])) < 5e-5);
}
