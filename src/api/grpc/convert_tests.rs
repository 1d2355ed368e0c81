//! Every element type in both forms, and what is refused.

use proptest::prelude::*;
use tokio::time::Duration;

use super::super::proto::infer_parameter::ParameterChoice;
use super::super::proto::model_infer_request::InferInputTensor;
use super::super::proto::{InferParameter, InferTensorContents, ModelInferRequest};
use super::{request, response};
use crate::types::{BatchReport, DataType, Fallbacks, InferAnswer, Release, RungKind, Wishes};

fn input(datatype: &str, shape: &[i64], contents: Option<InferTensorContents>) -> InferInputTensor {
    let (name, datatype) = ("x".to_owned(), datatype.to_owned());
    InferInputTensor { name, datatype, shape: shape.to_vec(), contents, ..Default::default() }
}

fn message(input: InferInputTensor, raw: &[&[u8]]) -> ModelInferRequest {
    let raw_input_contents = raw.iter().map(|raw| bytes::Bytes::copy_from_slice(raw)).collect();
    ModelInferRequest { model_name: "m".to_owned(), inputs: vec![input], raw_input_contents, ..Default::default() }
}

fn refused(message: ModelInferRequest) -> String {
    request(message).expect_err("refused").detail().to_owned()
}

#[test]
fn typed_contents_become_raw_ones() {
    let contents = |fill: fn(&mut InferTensorContents)| {
        let mut contents = InferTensorContents::default();
        fill(&mut contents);
        Some(contents)
    };
    let cases: [(&str, Option<InferTensorContents>, &[u8]); 12] = [
        ("BOOL", contents(|typed| typed.bool_contents = vec![true, false]), &[1, 0]),
        ("INT8", contents(|typed| typed.int_contents = vec![-1, 2]), &[255, 2]),
        ("INT16", contents(|typed| typed.int_contents = vec![-1, 2]), &[255, 255, 2, 0]),
        ("INT32", contents(|typed| typed.int_contents = vec![-1, 2]), &[255, 255, 255, 255, 2, 0, 0, 0]),
        (
            "INT64",
            contents(|typed| typed.int64_contents = vec![1, 2]),
            &[1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0],
        ),
        ("UINT8", contents(|typed| typed.uint_contents = vec![255, 2]), &[255, 2]),
        ("UINT16", contents(|typed| typed.uint_contents = vec![258, 2]), &[2, 1, 2, 0]),
        ("UINT32", contents(|typed| typed.uint_contents = vec![1, 2]), &[1, 0, 0, 0, 2, 0, 0, 0]),
        (
            "UINT64",
            contents(|typed| typed.uint64_contents = vec![1, 2]),
            &[1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0],
        ),
        ("FP32", contents(|typed| typed.fp32_contents = vec![1.0, 0.0]), &[0, 0, 128, 63, 0, 0, 0, 0]),
        ("FP64", contents(|typed| typed.fp64_contents = vec![0.0, 0.0]), &[0; 16]),
        (
            "BYTES",
            contents(|typed| typed.bytes_contents = vec![b"ab".to_vec(), Vec::new()]),
            &[2, 0, 0, 0, 97, 98, 0, 0, 0, 0],
        ),
    ];
    for (dtype, contents, raw) in cases {
        let typed = request(message(input(dtype, &[2, 1], contents), &[])).expect(dtype);
        assert_eq!(&typed.inputs[0].tensor.data()[..], raw, "{dtype}");
        let same = request(message(input(dtype, &[2, 1], None), &[raw])).expect(dtype);
        assert_eq!(same.inputs, typed.inputs);
    }
}

#[test]
fn what_is_wrong_is_named() {
    let ints = |values: &[i32]| Some(InferTensorContents { int_contents: values.to_vec(), ..Default::default() });
    let cases = [
        (
            message(input("FLOAT", &[1], None), &[]),
            "input \"x\": expected a datatype of BOOL, UINT8, UINT16, UINT32, UINT64, INT8, INT16, INT32, INT64, FP16, BF16, FP32, FP64, BYTES, got \"FLOAT\"",
        ),
        (message(input("FP32", &[1, -1], None), &[&[]]), "input \"x\": expected dimensions of at least 0, got [1, -1]"),
        (message(input("FP32", &[1, 2], None), &[&[0; 4]]), "input \"x\": [1,2] of FP32 is 8 bytes, got 4"),
        (
            message(input("FP32", &[1 << 40, 1 << 40], None), &[&[]]),
            "input \"x\": shape [1099511627776,1099511627776] has more elements than can be counted",
        ),
        (message(input("INT8", &[1], ints(&[300])), &[]), "input \"x\": element 0: 300 is out of INT8's range"),
        (
            message(input("FP32", &[1], ints(&[3])), &[]),
            "input \"x\": FP32 is carried by fp32_contents, got int_contents",
        ),
        (
            message(input("FP16", &[1], ints(&[3])), &[]),
            "input \"x\": FP16 has no typed contents, expected raw_input_contents",
        ),
        (
            message(input("INT32", &[1], ints(&[3])), &[&[0; 4]]),
            "input \"x\": has both contents and raw_input_contents, expected one",
        ),
        (
            message(input("FP32", &[1], None), &[&[0; 4], &[0; 4]]),
            "raw_input_contents: expected 1 entries, one an input, got 2",
        ),
    ];
    for (message, text) in cases {
        assert_eq!(refused(message), text);
    }
}

#[test]
fn parameters_of_the_wrong_type_are_named() {
    for (name, choice, text) in [
        (
            "timeout",
            ParameterChoice::StringParam("1s".to_owned()),
            "parameter \"timeout\": expected a whole number of at least 0, got string \"1s\"",
        ),
        (
            "priority",
            ParameterChoice::Int64Param(-1),
            "parameter \"priority\": expected a whole number of at least 0, got -1",
        ),
        ("confidence", ParameterChoice::Int64Param(1), "parameter \"confidence\": expected a boolean, got 1"),
        (
            "fallback",
            ParameterChoice::StringParam("cpu,gpu".to_owned()),
            "parameter \"fallback\": expected none, or some of cpu, version, model, prediction, separated by commas, got string \"cpu,gpu\"",
        ),
        (
            "fallback",
            ParameterChoice::BoolParam(false),
            "parameter \"fallback\": expected none, or some of cpu, version, model, prediction, separated by commas, got boolean false",
        ),
        ("sequence_id", ParameterChoice::Int64Param(7), "parameter \"sequence_id\": sequences are not supported"),
    ] {
        let mut message = message(input("FP32", &[1], None), &[&[0; 4]]);
        message.parameters.insert(name.to_owned(), InferParameter { parameter_choice: Some(choice) });
        assert_eq!(refused(message), text);
    }
}

#[test]
fn a_request_says_what_may_answer_it_and_an_answer_what_did() {
    let mut asked = message(input("FP32", &[1], None), &[&[0; 4]]);
    let all = request(asked.clone()).expect("a request").wishes.fallbacks;
    assert_eq!(all, Fallbacks::ALL);
    let choice = Some(ParameterChoice::StringParam("version,prediction".to_owned()));
    asked.parameters.insert("fallback".to_owned(), InferParameter { parameter_choice: choice });
    let some = request(asked).expect("a request").wishes.fallbacks;
    assert!(some.permits(RungKind::Prediction) && !some.permits(RungKind::Cpu));

    let (version, wishes) = ("3".parse().expect("a version"), Wishes::default());
    let batch =
        BatchReport { rows: 1, size: 1, queue: Duration::ZERO, compute: Duration::ZERO, release: Release::Idle };
    for rung in RungKind::ALL.map(Some).into_iter().chain([None]) {
        let (outputs, confidence, labels, truncated) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let answer = InferAnswer { version, outputs, batch, confidence, labels, non_finite: false, truncated, rung };
        let told = response("m".to_owned(), String::new(), wishes, answer).parameters.remove("rung");
        let label = rung.map(|rung| ParameterChoice::StringParam(rung.label().to_owned()));
        assert_eq!(told.and_then(|told| told.parameter_choice), label);
    }
}

proptest! {
    #[test]
    fn no_shape_or_content_panics(shape in proptest::collection::vec(any::<i64>(), 0..6), raw in proptest::collection::vec(any::<u8>(), 0..64)) {
        for dtype in DataType::ALL {
            let result = request(message(input(dtype.name(), &shape, None), &[&raw]));
            if let Ok(request) = result {
                prop_assert_eq!(request.inputs[0].tensor.data().len(), raw.len());
            }
        }
    }
}
