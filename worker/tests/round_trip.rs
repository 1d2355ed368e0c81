//! What a model gives through a worker process is what it gives in this one, to the bit.

mod support;

use sconce::device::Executor as _;
use support::{folder, local, memory, numbers, worker};

#[test]
fn shipped_models_give_the_same_bits() {
    let (supervisor, _) = worker();
    for (model, width) in [("breast_cancer", 30), ("diabetes", 10), ("digits", 64)] {
        for files in [folder(model), memory(model)] {
            let mut here = local(&files);
            let mut there = supervisor.load(model, &files).expect("loaded");
            assert_eq!(there.signature(), Some(&here.loaded().about.signature));
            for parts in [1_u32, 7, 64] {
                let parts: Vec<_> = (0..parts).map(|seed| numbers(1 + seed as usize % 3, width, seed)).collect();
                assert_eq!(there.run(&parts), here.run(&parts), "{model}");
            }
        }
    }
}
