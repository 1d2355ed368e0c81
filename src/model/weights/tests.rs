//! Safetensors files that lie.

use proptest::prelude::*;
use safetensors::tensor::{Dtype, TensorView, serialize};

use super::Weights;
use crate::model::LoadError;

const FILE: &str = "model.safetensors";

fn parse(bytes: &[u8]) -> Result<Weights, LoadError> {
    Weights::parse(bytes.to_vec(), FILE)
}

fn with_header(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

fn reason(bytes: &[u8]) -> String {
    parse(bytes).err().expect("an error").reason().to_owned()
}

fn file(dtype: Dtype, dims: &[usize], bytes: &[u8]) -> Vec<u8> {
    serialize([("w", TensorView::new(dtype, dims.to_vec(), bytes).expect("a view"))], None).expect("a file")
}

fn good() -> Vec<u8> {
    file(Dtype::F32, &[2, 3], &[1_f32, 2., 3., 4., 5., 6.].map(f32::to_le_bytes).concat())
}

#[test]
fn headers_that_lie_are_refused() {
    let tensor = |dtype: &str, shape: &str, from: usize, to: usize| {
        format!("{{\"dtype\":\"{dtype}\",\"shape\":{shape},\"data_offsets\":[{from},{to}]}}")
    };
    let one =
        |dtype: &str, shape: &str, from: usize, to: usize| format!("{{\"w\":{}}}", tensor(dtype, shape, from, to));
    let two = |first: &str, second: &str| format!("{{\"a\":{first},\"b\":{second}}}");
    let cases: [(Vec<u8>, &str); 15] = [
        (Vec::new(), "expected a safetensors header, the file has 0 bytes"),
        (vec![1, 2, 3], "expected a safetensors header, the file has 3 bytes"),
        (u64::MAX.to_le_bytes().to_vec(), "expected a header of at most 4194304 bytes, it claims 18446744073709551615"),
        (
            [&(5_u64 << 20).to_le_bytes()[..], b"{"].concat(),
            "expected a header of at most 4194304 bytes, it claims 5242880",
        ),
        ([&100_u64.to_le_bytes()[..], b"{}"].concat(), "cut short: the header claims 100 bytes, 2 are left"),
        (with_header("[]", 0), "expected a safetensors header (JSON)"),
        (with_header("{\"w\":", 0), "not a valid safetensors file: "),
        (with_header(&one("F32", "[2,3]", 0, 24), 20), "the tensors do not fill the file"),
        (with_header(&one("F32", "[2,3]", 0, 24), 28), "the tensors do not fill the file"),
        (with_header(&one("F32", "[2,3]", 0, 20), 20), "a tensor's shape and type do not give its number of bytes"),
        (with_header(&one("F32", "[4611686018427387904,4]", 0, 8), 8), "more elements than can be counted"),
        (with_header(&one("F31", "[2]", 0, 8), 8), "not a valid safetensors file: "),
        (
            with_header(&one("F32", "[2]", 8, 16), 16),
            "tensor \"w\": its bytes overlap another tensor's or leave a hole",
        ),
        (
            with_header(&two(&tensor("F32", "[2]", 0, 8), &tensor("F32", "[2]", 4, 12)), 12),
            "tensor \"b\": its bytes overlap",
        ),
        (
            with_header(&two(&tensor("F32", "[2]", 0, 8), &tensor("F32", "[2]", 12, 20)), 20),
            "tensor \"b\": its bytes overlap",
        ),
    ];
    for (bytes, wanted) in cases {
        let reason = reason(&bytes);
        assert!(reason.contains(wanted), "{wanted:?} in {reason:?}");
    }
    let deep = "{\"a\":".repeat(200_000);
    assert!(parse(&with_header(&deep, 0)).is_err());
}

#[test]
fn tensors_are_taken_once_by_name_and_shape() {
    let weights = parse(&good()).expect("weights");
    assert_eq!(weights.dims("w"), Some(&[2, 3][..]));
    assert_eq!(weights.dims("v"), None);
    let error = |taken: Result<Vec<f32>, LoadError>| taken.expect_err("an error").to_string();
    assert_eq!(
        error(weights.take_values("w", &[3, 2])),
        "model.safetensors: tensor \"w\": expected shape [3, 2], got [2, 3]"
    );
    let missing = error(weights.take_values("v", &[3]));
    assert_eq!(missing, "model.safetensors: tensor \"v\" is missing; the file has \"w\"");
    assert_eq!(weights.take_values("w", &[2, 3]).expect("numbers"), [1., 2., 3., 4., 5., 6.]);
    weights.finish(&[]).expect("nothing is left");
    let left = parse(&good()).expect("weights").finish(&[".x"]).expect_err("left").to_string();
    assert_eq!(left, "model.safetensors: no layer uses \"w\"");
    parse(&good()).expect("weights").finish(&["w"]).expect("ignored");
}

#[test]
fn other_floating_types_are_converted_and_the_rest_refused() {
    let halves = [half::f16::from_f32(1.5), half::f16::from_f32(-2.0)].map(half::f16::to_le_bytes).concat();
    let brains = [half::bf16::from_f32(1.5), half::bf16::from_f32(-2.0)].map(half::bf16::to_le_bytes).concat();
    let doubles = [1.5_f64, -2.0].map(f64::to_le_bytes).concat();
    for (dtype, bytes) in [(Dtype::F16, halves), (Dtype::BF16, brains), (Dtype::F64, doubles)] {
        let weights = parse(&file(dtype, &[2], &bytes)).expect("weights");
        assert_eq!(weights.take_values("w", &[2]).expect("numbers"), [1.5, -2.0]);
    }
    let weights = parse(&file(Dtype::I64, &[1], &[0; 8])).expect("weights");
    let error = weights.take_values("w", &[1]).expect_err("integers").to_string();
    assert_eq!(error, "model.safetensors: tensor \"w\": expected F32, F64, F16 or BF16, got I64");
}

#[test]
fn numbers_that_are_none_are_refused() {
    for (value, shown) in [(f64::NAN, "NaN"), (f64::INFINITY, "inf"), (1e300, "inf")] {
        let weights = parse(&file(Dtype::F64, &[2], &[0.0, value].map(f64::to_le_bytes).concat())).expect("weights");
        let error = weights.take_values("w", &[2]).expect_err("not finite");
        let wanted = format!("tensor \"w\": element 1 is {shown} in FP32, expected a finite number");
        assert_eq!(error.reason(), wanted);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_file_that_was_cut_or_changed_never_panics(cut in 0_usize..120, at in 0_usize..120, byte: u8) {
        let mut bytes = good();
        let length = bytes.len();
        bytes[at % length] = byte;
        bytes.truncate(length - cut % length);
        if let Ok(weights) = parse(&bytes) {
            let _either = weights.take_values("w", &[2, 3]);
        }
    }
}
