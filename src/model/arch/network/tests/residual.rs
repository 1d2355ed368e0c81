//! Branches whose results are added, against the branches by themselves.

use super::super::step::{Residual, Step, Work};
use super::super::{DECLARATION, assemble, declared::Declared, fold, plan, portable};
use super::generate::{Generator, Net};
use super::{distance, files, read_declaration, run};
use crate::model::{Target, Weights};

const DIMS: [usize; 3] = [3, 5, 6];

/// Convolutions with a norm after each.
fn branch(generator: &mut Generator, count: usize) -> Net {
    let mut net = Net::new(&DIMS);
    for _ in 0..count {
        generator.convolution_to(&mut net, 2, 3, [1, 1, 1, 1], 3);
        generator.batch_norm(&mut net);
        net.add("relu", "");
    }
    net
}

fn steps(net: &Net) -> Vec<Step> {
    if net.tensors.is_empty() {
        return Vec::new();
    }
    let files = files(&net.text(), &net.weights());
    let declared = read_declaration(&files, DECLARATION, Declared::read).expect("a declaration");
    let weights = Weights::read(&files, "model.safetensors").expect("weights");
    plan::plan(DECLARATION, &declared.dims, &declared.layers, &weights).expect("a plan")
}

#[test]
fn branches_are_added() {
    let mut generator = Generator::new(11);
    for (main, shortcut) in [(2, 1), (1, 0), (0, 2)] {
        let (main, shortcut) = (branch(&mut generator, main), branch(&mut generator, shortcut));
        let inputs: Vec<Vec<f32>> = (0..5).map(|_| generator.row(&DIMS)).collect();
        let step = || Step {
            from: DIMS.to_vec(),
            to: DIMS.to_vec(),
            work: Work::Residual(Residual { main: steps(&main), shortcut: steps(&shortcut) }),
        };
        // The second begins where the first has left the channels.
        let twice = || vec![step(), step()];
        let cpu = assemble(twice(), &DIMS, &Target::cpu()).expect("a model");
        let by_candle = portable::Portable::new(fold::fold(twice()), &Target::cpu()).expect("a model");
        for model in [cpu.as_ref(), &by_candle] {
            for (input, got) in inputs.iter().zip(run(model, &DIMS, &inputs)) {
                let once = sum(&main, &shortcut, input);
                assert!(distance(&got, &sum(&main, &shortcut, &once)) < 5e-5);
            }
        }
    }
}

fn sum(main: &Net, shortcut: &Net, row: &[f32]) -> Vec<f32> {
    let pairs = main.reference(row).into_iter().zip(shortcut.reference(row));
    pairs.map(|(one, other)| (one + other) as f32).collect()
}
