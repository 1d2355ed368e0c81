//! What a model gives through a worker process is what it gives in this one, to the bit.

#[path = "../../benches/support/folders.rs"]
mod folders;
mod support;

use folders::Encoder;
use sconce::device::{Executor as _, LoadSettings};
use sconce::model::Files;
use sconce::types::{DataType, Reason, Rows, Shape, Tensor};
use support::direct::Scratch;
use support::{bytes, folder, identity, local, memory, numbers, worker};

#[test]
fn shipped_models_give_the_same_bits() {
    let (supervisor, _) = worker();
    for (model, width) in [("breast_cancer", 30), ("diabetes", 10), ("digits", 64)] {
        for files in [folder(model), memory(model)] {
            let mut here = local(&files);
            let mut there = supervisor.load(model, &files, LoadSettings::default()).expect("loaded");
            for parts in [1_u32, 7, 64] {
                let parts: Vec<_> = (0..parts).map(|seed| numbers(1 + seed as usize % 3, width, seed)).collect();
                assert_eq!(there.run(&parts), here.run(&parts), "{model}");
            }
        }
    }
}

#[test]
fn texts_of_different_lengths_travel_packed() {
    let scratch = Scratch::new("round-trip-texts");
    let sizes = Encoder { layers: 2, hidden: 32, heads: 4, words: 64, positions: 64 };
    folders::write_bert(&scratch.0, sizes, 1).expect("written");
    let files = Files::folder(&scratch.0);
    let mut here = local(&files);
    let prepare = here.loaded().about.prepare.clone().expect("texts are prepared");
    let (supervisor, _) = worker();
    let mut there = supervisor.load("bert", &files, LoadSettings::default()).expect("loaded");
    let parts: Vec<Rows> =
        [(3, 5), (1, 64), (7, 2)].map(|(count, length)| prepare.made_up(count, length).expect("rows")).into();
    assert_eq!(there.run(&parts), here.run(&parts));
    assert_eq!(there.run(&parts[1..2]), here.run(&parts[1..2]));
}

#[test]
fn more_parts_than_one_call_writes_and_areas_that_grow() {
    let (supervisor, _) = worker();
    let mut there = supervisor.load("x", &identity("UINT8"), LoadSettings::default()).expect("loaded");
    // An output of 32 bytes a row behind as much input: the area is doubled by both sides.
    for count in [1, 1500, 3000, 40_000, 2] {
        let parts: Vec<Rows> = (0..count).map(|at: u32| bytes(32, at.to_le_bytes()[0])).collect();
        let given = there.run(&parts).expect("outputs");
        let wanted = Tensor::join(parts.iter().map(|part| &part.inputs()[0]));
        assert_eq!(given.first(), wanted.as_ref(), "{count}");
    }
}

#[test]
fn strings_and_empty_batches() {
    let (supervisor, _) = worker();
    let files = identity("BYTES");
    let (mut here, mut there) = (local(&files), supervisor.load("x", &files, LoadSettings::default()).expect("loaded"));
    let strings = |texts: &[&str]| {
        let data: Vec<u8> = texts
            .iter()
            .flat_map(|text| [&[u8::try_from(text.len()).expect("short"), 0, 0, 0], text.as_bytes()].concat())
            .collect();
        Rows::uniform(
            vec![Tensor::new(DataType::Bytes, Shape::new(&[1, texts.len()]), data.into()).expect("a tensor")],
            1,
        )
    };
    let parts = [strings(&["", "one"]), strings(&["two", "three"])];
    assert_eq!(there.run(&parts), here.run(&parts));
    assert_eq!(there.run(&[strings(&[])]), here.run(&[strings(&[])]));
    // What cannot be joined is told as here, and does no harm.
    let uneven = [strings(&["one"]), strings(&["two", "three"])];
    assert_eq!(there.run(&uneven), here.run(&uneven));
    assert_eq!(there.run(&[]).map_err(|error| error.reason()), Err(Reason::Model));
}

#[test]
fn what_the_model_refuses_is_told_as_here() {
    let files = memory("breast_cancer");
    let (supervisor, _) = worker();
    let (mut here, mut there) = (local(&files), supervisor.load("x", &files, LoadSettings::default()).expect("loaded"));
    let narrow = [numbers(2, 29, 0)];
    let refused = there.run(&narrow).expect_err("too narrow");
    assert_eq!(refused, here.run(&narrow).expect_err("too narrow"));
    assert_eq!(refused.reason(), Reason::Model);
    assert_eq!(supervisor.restarts(), 0);
}
