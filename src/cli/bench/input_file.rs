//! `--input FILE`: requests as JSON Lines, each line the body of an inference over HTTP.

use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

use super::request::NamedTensor;
use super::shape::{Declared, elements, list};
use crate::types::{DataType, flatten, push_json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    inputs: Vec<Input>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    name: String,
    datatype: String,
    shape: Vec<usize>,
    /// In row-major order, flat or nested.
    data: Value,
}

/// The tensors of each request in a file. Errors: the file cannot be read, or a line is not what the model takes.
pub(super) fn read(path: &Path, declared: &[Declared]) -> anyhow::Result<Vec<Vec<NamedTensor>>> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("--input {shown}: read the file"))?;
    let mut requests = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let tensors = parse(line, declared).with_context(|| format!("--input {shown}:{}", number + 1))?;
        requests.push(tensors);
    }
    ensure!(!requests.is_empty(), "--input {shown}: expected a request on each line, got none");
    Ok(requests)
}

fn parse(line: &str, declared: &[Declared]) -> anyhow::Result<Vec<NamedTensor>> {
    let body: Body = serde_json::from_str(line)
        .context(r#"expected {"inputs":[{"name":…,"datatype":…,"shape":[…],"data":[…]}]}"#)?;
    body.inputs.iter().map(|input| tensor(input, declared)).collect()
}

fn tensor(input: &Input, declared: &[Declared]) -> anyhow::Result<NamedTensor> {
    let Input { name, datatype, shape, data } = input;
    let Some(known) = declared.iter().find(|known| known.name == *name) else {
        bail!("input {name}: expected an input of the model, which has {}", list(declared));
    };
    let dtype = known.dtype;
    ensure!(datatype.parse() == Ok(dtype), "input {name}: expected datatype {dtype}, got {datatype}");
    ensure!(known.takes(shape), "input {name}: expected a shape that fits {:?}, got {shape:?}", known.shape);
    let wanted = elements(name, dtype, shape)?;
    let values = flatten(data);
    let count = values.len();
    ensure!(count == wanted, "input {name}: expected {wanted} values for shape {shape:?}, got {count}");
    Ok(NamedTensor { name: name.clone(), dtype, shape: shape.clone(), raw: contents(name, dtype, &values)? })
}

fn contents(name: &str, dtype: DataType, values: &[&Value]) -> anyhow::Result<Vec<u8>> {
    let mut raw = Vec::new();
    for (at, value) in values.iter().enumerate() {
        let held = push_json(dtype, value, &mut raw);
        held.with_context(|| format!("input {name}: value {at}: expected {dtype}, got {value}"))?;
    }
    Ok(raw)
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::cli::bench::shape::Declared;
    use crate::types::DataType;

    fn model() -> Vec<Declared> {
        vec![
            Declared { name: "x".to_owned(), dtype: DataType::Int16, shape: vec![-1, 2] },
            Declared { name: "words".to_owned(), dtype: DataType::Bytes, shape: vec![-1] },
        ]
    }

    fn line(name: &str, datatype: &str, shape: &str, data: &str) -> String {
        format!(r#"{{"inputs":[{{"name":"{name}","datatype":"{datatype}","shape":{shape},"data":{data}}}]}}"#)
    }

    #[test]
    fn nested_and_flat_data_are_the_same() {
        let nested = parse(&line("x", "INT16", "[2,2]", "[[1,2],[3,4]]"), &model()).expect("good");
        let flat = parse(&line("x", "INT16", "[2,2]", "[1,2,3,4]"), &model()).expect("good");
        assert_eq!(nested, flat);
        assert_eq!(
            (nested[0].raw.as_slice(), nested[0].shape.as_slice()),
            (&[1, 0, 2, 0, 3, 0, 4, 0][..], &[2, 2][..])
        );
    }

    #[test]
    fn a_wrong_line_says_what_was_expected() {
        for (text, told) in [
            (
                line("y", "INT16", "[1,2]", "[1,2]"),
                "input y: expected an input of the model, which has x INT16 [-1, 2]",
            ),
            (line("x", "FP32", "[1,2]", "[1,2]"), "input x: expected datatype INT16, got FP32"),
            (line("x", "INT16", "[1,3]", "[1,2,3]"), "input x: expected a shape that fits [-1, 2], got [1, 3]"),
            (line("x", "INT16", "[1,2]", "[1]"), "input x: expected 2 values for shape [1, 2], got 1"),
            (line("x", "INT16", "[1,2]", "[1,40000]"), "input x: value 1: expected INT16, got 40000"),
            (line("words", "BYTES", "[1]", "[7]"), "input words: value 0: expected BYTES, got 7"),
            (r#"{"input":[]}"#.to_owned(), "unknown field `input`"),
            ("[".to_owned(), r#"expected {"inputs""#),
        ] {
            let error = format!("{:#}", parse(&text, &model()).expect_err(&text));
            assert!(error.contains(told), "{told} is not in: {error}");
        }
    }
}
