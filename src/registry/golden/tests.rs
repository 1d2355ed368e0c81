//! Golden files that agree with a model, that do not, and that are wrong themselves.

use std::collections::BTreeMap;

use super::verify;
use crate::config::{ModelConfig, Precision};
use crate::device::{Executor, LocalExecutor};
use crate::model::Files;
use crate::types::{Error, Reason, Rows, Tensor};

const MODEL: &str = "[[tensor]]\ninput = \"x\"\noutput = \"y\"\ndtype = \"FP32\"\ndims = [2]\n\
                     [[tensor]]\ninput = \"word\"\noutput = \"echo\"\ndtype = \"BYTES\"\ndims = []\n";
const INPUTS: &str = r#"{"name":"x","shape":[2,2],"datatype":"FP32","data":[[1,2],[3,4]]},
                        {"name":"word","shape":[2],"datatype":"BYTES","data":["a","b"]}"#;

fn verified(golden: &str) -> Result<(), String> {
    verified_in(golden, Precision::F32)
}

fn verified_in(golden: &str, precision: Precision) -> Result<(), String> {
    let contents = [("identity.toml", MODEL), ("golden.json", golden)];
    let contents = contents.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec().into()));
    let files = Files::Memory(BTreeMap::from(contents));
    let mut executor = LocalExecutor::load(&files, &ModelConfig::default()).expect("a model");
    let about = executor.loaded().about.clone();
    verify(&mut executor, &about, &files, precision).map_err(|error| error.detail().to_owned())
}

fn golden(inputs: &str, outputs: &str, more: &str) -> String {
    format!(r#"{{"request":{{"id":"7","inputs":[{inputs}]}},"response":{{"outputs":[{outputs}]}}{more}}}"#)
}

fn output(data: &str) -> String {
    format!(r#"{{"name":"y","shape":[2,2],"datatype":"FP32","data":{data}}}"#)
}

#[test]
fn the_right_answer_passes() {
    let echo = r#"{"name":"echo","shape":[2],"datatype":"BYTES","data":["a","b"]}"#;
    let both = format!("{},{echo}", output("[1,2,3,4]"));
    assert_eq!(verified(&golden(INPUTS, &both, "")), Ok(()));
    assert_eq!(verified(&golden(INPUTS, &output("[1,2.001,3,4]"), "")), Ok(()));
    assert_eq!(verified(&golden(INPUTS, &output("[1,2.5,3,4]"), r#","tolerance":0.2"#)), Ok(()));
}

#[test]
fn another_answer_is_told_with_output_and_row() {
    let echo = r#"{"name":"echo","shape":[2],"datatype":"BYTES","data":["a","c"]}"#;
    let cases = [
        (
            golden(INPUTS, &output("[1,2,3,5]"), ""),
            "golden.json: output \"y\": row 1: expected [3, 5], got [3, 4]: they differ by 2.000e-1, at most 1e-3 is \
             tolerated",
        ),
        (
            golden(INPUTS, &output("[0,0,3,4]"), ""),
            "golden.json: output \"y\": row 0: expected [0, 0], got [1, 2]: they differ by 2.000e0, at most 1e-3 is \
             tolerated",
        ),
        (
            golden(INPUTS, echo, ""),
            "golden.json: output \"echo\": row 1: expected bytes 01 00 00 00 63, got bytes 01 00 00 00 62: they are not \
             the same",
        ),
        (
            golden(INPUTS, r#"{"name":"y","shape":[1,2],"datatype":"FP32","data":[1,2]}"#, ""),
            "golden.json: output \"y\": expected [1,2] of FP32, got [2,2] of FP32",
        ),
    ];
    for (text, wanted) in cases {
        assert_eq!(verified(&text), Err(wanted.to_owned()));
    }
}

#[test]
fn a_golden_file_that_is_wrong_says_where() {
    let x = |more: &str| format!(r#"{{"name":"x",{more}}}"#);
    let word = r#"{"name":"word","shape":[2],"datatype":"BYTES","data":["a","b"]}"#;
    let right = output("[1,2,3,4]");
    let cases = [
        ("{}".to_owned(), "expected {\"request\": …, \"response\": …}: missing field"),
        (golden(INPUTS, &right, r#","tolerence":1"#), "unknown field `tolerence`"),
        (golden(INPUTS, &right, r#","tolerance":-1"#), "tolerance: expected a number of at least 0, got -1"),
        (golden(word, &right, ""), "input \"x\" is missing"),
        (
            golden(&x(r#""shape":[2,2],"datatype":"FP64","data":[1,2,3,4]"#), &right, ""),
            "input \"x\": expected datatype FP32, got FP64",
        ),
        (
            golden(&x(r#""shape":[2,3],"datatype":"FP32","data":[]"#), &right, ""),
            "input \"x\": expected a shape [-1,2], got [2,3]",
        ),
        (
            golden(&x(r#""shape":[1,2],"datatype":"FP32","data":[1]"#), &right, ""),
            "input \"x\": expected 2 values for shape [1,2], got 1",
        ),
        (
            golden(INPUTS, &right.replace("\"y\"", "\"z\""), ""),
            "output \"z\": the model has no such output, it has \"y\", \"echo\"",
        ),
        (
            golden(&format!("{},{word}", x(r#""shape":[1,2],"datatype":"FP32","data":[1,2]"#)), &right, ""),
            "inputs: expected the same number of rows in each",
        ),
    ];
    for (text, wanted) in cases {
        let error = verified(&text).expect_err(wanted);
        assert!(error.starts_with("golden.json: ") && error.contains(wanted), "{wanted} in {error}");
    }
}

/// A model that gives so many outputs, or fails.
struct Odd(Option<usize>);

impl Executor for Odd {
    fn run(&mut self, parts: &[Rows]) -> Result<Vec<Tensor>, Error> {
        let outputs = self.0.ok_or_else(|| Error::new(Reason::Model, "cannot"))?;
        Ok(parts[0].inputs()[..outputs].to_vec())
    }

    fn rebuild(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

#[test]
fn a_model_that_fails_on_it_is_told() {
    let text = golden(INPUTS, &output("[1,2,3,4]"), "");
    let contents = [("identity.toml", MODEL), ("golden.json", &text)];
    let contents = contents.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec().into()));
    let files = Files::Memory(BTreeMap::from(contents));
    let model = LocalExecutor::load(&files, &ModelConfig::default()).expect("a model");
    let about = &model.loaded().about;
    let told =
        |outputs| verify(&mut Odd(outputs), about, &files, Precision::F32).expect_err("it fails").detail().to_owned();
    assert_eq!(told(None), "golden.json: the model fails on it: cannot");
    assert_eq!(told(Some(0)), "golden.json: output \"y\": the model gives none");
}

#[test]
fn what_is_no_number_is_not_tolerated() {
    use super::differs;
    use crate::types::Shape;
    let tensor = |values: &[f32]| Tensor::from_f32(Shape::new(&[1, 2]), values).expect("a tensor");
    let difference = differs(&tensor(&[1.0, 2.0]), &tensor(&[1.0, f32::NAN]), 0.1);
    assert_eq!(difference.as_deref(), Some("row 0: expected [1, 2], got [1, NaN]: not every value is a number"));
    assert!(differs(&tensor(&[1.0, 2.0]), &tensor(&[1.0, f32::INFINITY]), 0.1).is_some());
}

/// An answer in half precision is not wrong for being in half precision; a file that says how exact it wants it is heeded.
#[test]
fn what_is_right_depends_on_the_precision() {
    let off = output("[1,2,3,4.03]");
    let passes = |more: &str, precision| verified_in(&golden(INPUTS, &off, more), precision).is_ok();
    assert!(!passes("", Precision::F32) && passes("", Precision::Bf16));
    assert!(!passes(r#","tolerance":0.001"#, Precision::Bf16));
}
