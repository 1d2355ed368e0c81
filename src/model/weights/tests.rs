//! Safetensors files that lie.

use proptest::prelude::*;
use safetensors::tensor::{Dtype, TensorView, serialize};

use super::shard::Shard;
use super::{Needs, Weights};
use crate::model::{Files, LoadError};

const FILE: &str = "model.safetensors";

fn parse(bytes: &[u8]) -> Result<Weights, LoadError> {
    Ok(Weights::of(FILE, vec![Shard::parse(bytes.to_vec(), FILE)?]))
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

#[test]
fn what_is_stored_is_taken_as_it_is() {
    let weights = parse(&file(Dtype::I64, &[1], &7_i64.to_le_bytes())).expect("weights");
    assert_eq!(weights.names().collect::<Vec<_>>(), ["w"]);
    let tensor = weights.take_stored("w", &[1]).expect("a tensor");
    assert_eq!(tensor.to_vec1::<i64>().expect("numbers"), [7]);
    let wrong = weights.take_stored("w", &[2]).expect_err("a shape").to_string();
    assert_eq!(wrong, "model.safetensors: tensor \"w\": expected shape [2], got [1]");
    weights.finish(&[]).expect("nothing is left");
}

#[test]
fn names_are_ignored_by_how_they_begin() {
    let weights = parse(&good()).expect("weights");
    weights.ignore_prefixes(&["x", "v."]);
    assert!(weights.finish(&[]).is_err());
    let weights = parse(&good()).expect("weights");
    weights.ignore_prefixes(&["w"]);
    weights.finish(&[]).expect("ignored");
}

const INDEX: &str = "model.safetensors.index.json";

fn named(name: &str, values: &[f32]) -> Vec<u8> {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let view = TensorView::new(Dtype::F32, vec![values.len()], &bytes).expect("a view");
    serialize([(name, view)], None).expect("a file")
}

/// `a` in the first file, `b` in the second, and this index.
fn sharded(index: &str) -> Files {
    let contents = [
        ("model-1.safetensors", named("a", &[1.0, 2.0])),
        ("model-2.safetensors", named("b", &[3.0])),
        (INDEX, index.as_bytes().to_vec()),
    ];
    Files::Memory(contents.into_iter().map(|(name, bytes)| (name.to_owned(), bytes.into())).collect())
}

fn map(entries: &str) -> Files {
    sharded(&format!("{{\"metadata\":{{\"total_size\":12}},\"weight_map\":{{{entries}}}}}"))
}

const RIGHT: &str = "\"a\":\"model-1.safetensors\",\"b\":\"model-2.safetensors\"";

#[test]
fn weights_in_several_files_are_one_set() {
    let weights = Weights::read(&map(RIGHT), FILE).expect("weights");
    assert_eq!(weights.take_values("a", &[2]).expect("numbers"), [1.0, 2.0]);
    assert_eq!(weights.take_values("b", &[1]).expect("numbers"), [3.0]);
    assert_eq!(
        weights.take("b", &[2]).expect_err("a shape").to_string(),
        "model-2.safetensors: tensor \"b\": expected shape [2], got [1]"
    );
    let missing = weights.missing("c").to_string();
    assert_eq!(missing, format!("{INDEX}: tensor \"c\" is missing; the file has \"a\", \"b\""));
    weights.finish(&[]).expect("nothing is left");
    let left = Weights::read(&map(RIGHT), FILE).expect("weights").finish(&[]).expect_err("left").to_string();
    assert_eq!(left, format!("{INDEX}: no layer uses \"a\", \"b\""));
}

#[test]
fn an_index_that_lies_is_refused() {
    let cases = [
        ("\"a\":\"model-1.safetensors\"", "tensor \"b\"", false),
        (
            "\"a\":\"model-1.safetensors\",\"c\":\"model-2.safetensors\"",
            "tensor \"b\" is in model-2.safetensors, but not in `weight_map`",
            true,
        ),
        (
            "\"a\":\"model-2.safetensors\",\"b\":\"model-1.safetensors\"",
            "tensor \"a\": expected in model-2.safetensors, found in model-1.safetensors",
            true,
        ),
        (
            "\"a\":\"model-1.safetensors\",\"b\":\"model-2.safetensors\",\"c\":\"model-2.safetensors\"",
            "tensor \"c\" is not in model-2.safetensors, where it should be",
            true,
        ),
        (
            "\"a\":\"../model-1.safetensors\"",
            "expected the plain name of a file `*.safetensors`, got \"../model-1.safetensors\"",
            true,
        ),
        ("\"a\":\"/etc/passwd\"", "expected the plain name of a file `*.safetensors`, got \"/etc/passwd\"", true),
        ("\"a\":\".hidden.safetensors\"", "expected the plain name of a file", true),
        ("\"a\":3", "expected {\"weight_map\": {tensor: file}}: invalid type", true),
    ];
    for (entries, wanted, is_wrong) in cases {
        match Weights::read(&map(entries), FILE) {
            Err(error) => assert!(is_wrong && error.reason().contains(wanted), "{wanted:?} in {error}"),
            // What no entry names is not looked for.
            Ok(weights) => assert!(!is_wrong && weights.dims("b").is_none()),
        }
    }
    let absent = Weights::read(&map("\"a\":\"model-9.safetensors\""), FILE).err().expect("an error").to_string();
    assert_eq!(absent, "model-9.safetensors: no such file");
    let many: Vec<String> = (0..1025).map(|number| format!("\"{number}\":\"{number}.safetensors\"")).collect();
    let wrong = Weights::read(&map(&many.join(",")), FILE).err().expect("an error").to_string();
    assert_eq!(wrong, format!("{INDEX}: expected at most 1024 files, got 1025"));
    let huge = Weights::read(&sharded(&" ".repeat((16 << 20) + 1)), FILE).err().expect("an error").to_string();
    assert_eq!(huge, format!("{INDEX}: expected at most 16777216 bytes, got 16777217"));
}

#[test]
fn needs_are_told_by_the_headers() {
    let half = file(Dtype::F16, &[3], &[0; 6]);
    let size = half.len() as u64;
    let files = Files::Memory([(FILE.to_owned(), half.into())].into());
    let needs = Needs::of(&files).expect("needs");
    assert_eq!((needs.weights, needs.files, needs.total()), (12, size, 12 + size));
    assert_eq!(Needs::of(&map(RIGHT)).expect("needs").weights, 12);
    assert_eq!(Needs::of(&Files::Memory([].into())).expect("needs"), Needs::default());
    for (bytes, wanted) in [
        (vec![1, 2, 3], "expected a safetensors header, the file has 3 bytes"),
        ([&100_u64.to_le_bytes()[..], b"{}"].concat(), "cut short: the header claims 100 bytes, 2 are left"),
        (with_header("{\"w\":", 0), "not a valid safetensors file: "),
        (u64::MAX.to_le_bytes().to_vec(), "expected a header of at most 4194304 bytes"),
    ] {
        let files = Files::Memory([(FILE.to_owned(), bytes.into())].into());
        let error = Needs::of(&files).expect_err("a header that lies");
        assert!(error.reason().contains(wanted), "{wanted:?} in {error}");
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
