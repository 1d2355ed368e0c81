//! Calls that do not fit together are refused before anything is launched, and say why.

use sconce_kernels::activate::{Activate, Activation, Gate};
use sconce_kernels::attend::{Attend, Heads};
use sconce_kernels::embed::{Embed, Table};
use sconce_kernels::norm::Norm;
use sconce_kernels::pack::Pack;
use sconce_kernels::pool::{Pool, Pooling, WIDTH_MAX};
use sconce_kernels::rotate::Rotate;
use sconce_kernels::score::{Bins, Score};
use sconce_kernels::{Error, Host, Order};

const HOST: Host = Host { order: Order::Ascending };

/// The text of a refusal.
fn said(result: Result<(), Error>) -> String {
    result.expect_err("a refusal").to_string()
}

fn norm(lengths: [usize; 6]) -> String {
    let [rows, update, bias, sum, out, weight] = lengths;
    let numbers = [1.0_f32; 16];
    let [mut sums, mut outs] = [numbers; 2];
    let call = Norm {
        rows: HOST.view(&numbers[..rows]),
        update: Some(HOST.view(&numbers[..update])),
        weight: HOST.view(&numbers[..weight]),
        bias: Some(HOST.view(&numbers[..bias])),
        eps: 1e-5,
        sum: Some(HOST.view_mut(&mut sums[..sum])),
        out: HOST.view_mut(&mut outs[..out]),
    };
    said(call.launch(&HOST))
}

#[test]
fn memory_of_another_length_is_refused() {
    assert_eq!(norm([7, 8, 4, 8, 8, 4]), "rows: expected 4 numbers, got 7");
    assert_eq!(norm([8, 4, 4, 8, 8, 4]), "update: expected 8 numbers, got 4");
    assert_eq!(norm([8, 8, 3, 8, 8, 4]), "bias: expected 4 numbers, got 3");
    assert_eq!(norm([8, 8, 4, 9, 8, 4]), "sum: expected 8 numbers, got 9");
    assert_eq!(norm([8, 8, 4, 8, 0, 4]), "out: expected 8 numbers, got 0");
    assert_eq!(norm([8, 8, 0, 8, 8, 0]), "rows is 0; expected rows of 1 number at least");
}

#[test]
fn indices_are_as_many_as_tokens() {
    let numbers = [1.0_f32; 8];
    let mut embedded = numbers;
    let table = Table { entries: HOST.view(&numbers), indices: HOST.view(&[0_u32; 3]) };
    let embed = Embed {
        words: table,
        more: [None, None],
        weight: HOST.view(&numbers[..4]),
        bias: None,
        eps: 1e-5,
        out: HOST.view_mut(&mut embedded),
    };
    assert_eq!(said(embed.launch(&HOST)), "indices: expected 2 numbers, got 3");
}

#[test]
fn activations_are_refused() {
    let numbers = [1.0_f32; 8];
    let [mut rows, mut out] = [numbers; 2];
    let activation = Activation::Gelu;
    let bias = Some(HOST.view(&numbers[..3]));
    let call = Activate { rows: HOST.view_mut(&mut rows), bias, width: 4, activation };
    assert_eq!(said(call.launch(&HOST)), "bias: expected 4 numbers, got 3");
    let call = Gate { rows: HOST.view(&numbers), bias: None, width: 4, activation, out: HOST.view_mut(&mut out) };
    assert_eq!(said(call.launch(&HOST)), "rows: expected 16 numbers, got 8");
}

#[test]
fn a_layout_needs_a_bound_for_each_row() {
    let ids = [1_u32; 4];
    let [mut out, mut positions, mut row_numbers] = [ids; 3];
    let mut call = |offsets: &[u32], starts: &[u32], slots: usize| {
        let call = Pack {
            ids: HOST.view(&ids),
            offsets: HOST.view(offsets),
            order: HOST.view(&[0]),
            starts: HOST.view(starts),
            padding: 0,
            first_position: 0,
            out: HOST.view_mut(&mut out),
            positions: HOST.view_mut(&mut positions[..slots]),
            row_numbers: HOST.view_mut(&mut row_numbers[..3]),
        };
        said(call.launch(&HOST))
    };
    assert_eq!(call(&[0], &[0, 4], 4), "offsets: expected 2 numbers, got 1");
    assert_eq!(call(&[0, 4], &[0, 2, 4], 4), "starts: expected 2 numbers, got 3");
    assert_eq!(call(&[0, 4], &[0, 4], 3), "positions: expected 4 numbers, got 3");
    assert_eq!(call(&[0, 4], &[0, 4], 4), "row numbers: expected 4 numbers, got 3");
}

fn attend(heads: Heads, tiles: &[u32], tokens: usize) -> String {
    let qkv = vec![0.0_f32; 24];
    let mut out = vec![0.0_f32; tokens * 4];
    let call =
        Attend { qkv: HOST.view(&qkv), heads, tiles: HOST.view(tiles), reach: None, out: HOST.view_mut(&mut out) };
    said(call.launch(&HOST))
}

#[test]
fn attention_beyond_its_kernels_is_refused() {
    let heads = |count, width| Heads { count, width };
    assert_eq!(attend(heads(1, 129), &[], 2), "width of a head is 129; expected at most 128");
    assert_eq!(attend(heads(65536, 1), &[], 2), "heads is 65536; expected at most 65535");
    assert_eq!(attend(heads(0, 4), &[], 2), "out is 0; expected rows of 1 number at least");
    assert_eq!(attend(heads(1, 4), &[0, 2], 2), "tiles: expected 0 numbers, got 2");
    assert_eq!(attend(heads(1, 4), &[0, 3, 0], 3), "qkv: expected 36 numbers, got 24");
}

#[test]
fn turns_need_even_heads_and_angles() {
    let mut qkv = [0.0_f32; 12];
    let mut call = |width, positions: &[u32], cosines: &[f32], sines: &[f32]| {
        let call = Rotate {
            qkv: HOST.view_mut(&mut qkv),
            heads: Heads { count: 1, width },
            positions: HOST.view(positions),
            cosines: HOST.view(cosines),
            sines: HOST.view(sines),
        };
        said(call.launch(&HOST))
    };
    assert_eq!(call(3, &[0], &[1.0], &[0.0]), "width of a head is 3; expected even");
    assert_eq!(call(4, &[0; 2], &[1.0; 2], &[0.0; 2]), "positions: expected 1 numbers, got 2");
    assert_eq!(call(4, &[0], &[1.0; 2], &[0.0]), "sines: expected 2 numbers, got 1");
    assert_eq!(call(4, &[0], &[], &[]), "positions is 0; expected 1 at least");
}

#[test]
fn pooling_is_refused() {
    let rows = vec![0.0_f32; WIDTH_MAX + 1];
    let mut out = rows.clone();
    let mut call = |width: usize, offsets: &[u32]| {
        let call = Pool {
            rows: HOST.view(&rows[..width]),
            offsets: HOST.view(offsets),
            width,
            pooling: Pooling::Mean,
            normalises: false,
            out: HOST.view_mut(&mut out[..width]),
        };
        said(call.launch(&HOST))
    };
    assert_eq!(call(WIDTH_MAX + 1, &[0, 1]), "width is 8193; expected at most 8192");
    assert_eq!(call(4, &[0, 1, 1]), "offsets: expected 2 numbers, got 3");
}

#[test]
fn scores_are_refused() {
    let logits = [0.0_f32; 4];
    let call = |sharpness: f32, lengths: [usize; 3]| {
        let (mut classes, mut measures, mut probabilities, mut bins) = ([0; 8], [0.0; 8], [0.0; 8], [0; 1]);
        let call = Score {
            logits: HOST.view(&logits),
            columns: 2,
            sharpness,
            classes: HOST.view_mut(&mut classes[..lengths[0]]),
            measures: HOST.view_mut(&mut measures[..lengths[1]]),
            probabilities: Some(HOST.view_mut(&mut probabilities[..lengths[2]])),
            bins: (lengths[2] == 2).then(|| Bins { bounds: HOST.view(&[]), out: HOST.view_mut(&mut bins) }),
        };
        said(call.launch(&HOST))
    };
    assert_eq!(call(1.0, [3, 6, 4]), "classes: expected 2 numbers, got 3");
    assert_eq!(call(1.0, [2, 5, 4]), "measures: expected 6 numbers, got 5");
    assert_eq!(call(1.0, [2, 6, 3]), "probabilities: expected 4 numbers, got 3");
    assert_eq!(call(1.0, [2, 6, 2]), "bins: expected 2 numbers, got 1");
    for sharpness in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e-31] {
        let wanted = format!("sharpness is {sharpness}; expected within 1e-30 and 1e30");
        assert_eq!(call(sharpness, [2, 6, 4]), wanted);
    }
}
