//! Shapes of requests: what the model's metadata leaves free, filled from the command line.

use std::num::NonZeroUsize;
use std::str::FromStr;

use anyhow::{Context as _, bail, ensure};

use crate::types::DataType;

/// Bytes that a request may have: gRPC's peers take less than 2 GiB.
const REQUEST_BYTES_MAX: usize = (1 << 31) - 1;

/// An input as the model's metadata declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Declared {
    pub(super) name: String,
    pub(super) dtype: DataType,
    /// Negative dimensions are free. A free first one is the number of rows.
    pub(super) shape: Vec<i64>,
}

impl Declared {
    /// Is the first dimension a number of rows?
    pub(super) fn has_rows(&self) -> bool {
        self.shape.first().is_some_and(|dim| *dim < 0)
    }

    /// Does a tensor of this shape fit?
    pub(super) fn takes(&self, shape: &[usize]) -> bool {
        let fits = |(declared, given): (&i64, &usize)| {
            usize::try_from(*declared).is_err() || i64::try_from(*given).is_ok_and(|given| given == *declared)
        };
        self.shape.len() == shape.len() && self.shape.iter().zip(shape).all(fits)
    }
}

/// `--shape NAME:3,224,224`: the dimensions of one row of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RowShape {
    name: String,
    dims: Vec<usize>,
}

impl FromStr for RowShape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let dims = |list: &str| list.split(',').map(|dim| dim.parse().ok()).collect::<Option<Vec<usize>>>();
        // The name may hold colons itself; the dimensions cannot.
        let read = text.rsplit_once(':').and_then(|(name, list)| Some((name, dims(list)?)));
        match read {
            Some((name, dims)) if !name.is_empty() => Ok(Self { name: name.to_owned(), dims }),
            _ => Err("expected NAME:D,D,… such as image:3,224,224".to_owned()),
        }
    }
}

/// The shape of each declared input in a request. Errors: a dimension given does not fit what the model declares.
pub(super) fn fill(
    declared: &[Declared],
    rows: Option<NonZeroUsize>,
    given: &[RowShape],
) -> anyhow::Result<Vec<Vec<usize>>> {
    if let Some(rows) = rows
        && !declared.iter().any(Declared::has_rows)
    {
        bail!("--rows {rows}: expected inputs whose first dimension is free; the model has {}", list(declared));
    }
    for shape in given {
        let known = declared.iter().any(|input| input.name == shape.name);
        ensure!(known, "--shape {}: expected an input of the model, which has {}", shape.name, list(declared));
    }
    declared.iter().map(|input| fill_one(input, rows, given)).collect()
}

fn fill_one(input: &Declared, rows: Option<NonZeroUsize>, given: &[RowShape]) -> anyhow::Result<Vec<usize>> {
    // The first dimension where it is the rows, and the rest.
    let (rows, row) = match input.shape.split_first() {
        Some((_, row)) if input.has_rows() => (rows.map_or(1, NonZeroUsize::get).into(), row),
        _ => (None, input.shape.as_slice()),
    };
    let row: Vec<usize> = match given.iter().find(|shape| shape.name == input.name) {
        Some(shape) => shape.dims.clone(),
        None => row.iter().map(|dim| usize::try_from(*dim).unwrap_or(1)).collect(),
    };
    let shape: Vec<usize> = rows.into_iter().chain(row).collect();
    let Declared { name, shape: declared, .. } = input;
    let row_only = if input.has_rows() { " (without the rows)" } else { "" };
    ensure!(
        input.takes(&shape),
        "--shape {name}: expected dimensions that fit {declared:?}{row_only}, got {:?}",
        &shape[usize::from(input.has_rows())..]
    );
    Ok(shape)
}

/// Elements of a tensor. Errors: more than a request can carry.
pub(super) fn elements(name: &str, dtype: DataType, shape: &[usize]) -> anyhow::Result<usize> {
    // A byte string has at least its length.
    let width = dtype.width().unwrap_or(size_of::<u32>());
    let count = shape.iter().try_fold(1_usize, |count, dim| count.checked_mul(*dim));
    let count = count.filter(|count| count.checked_mul(width).is_some_and(|bytes| bytes <= REQUEST_BYTES_MAX));
    count.with_context(|| format!("input {name}: expected less than 2 GiB, got {dtype} of shape {shape:?}"))
}

/// The inputs as errors show them: `features FP32 [-1, 30]`.
pub(super) fn list(declared: &[Declared]) -> String {
    let each = declared.iter().map(|Declared { name, dtype, shape }| format!("{name} {dtype} {shape:?}"));
    each.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::{Declared, RowShape, elements, fill};
    use crate::types::DataType;

    fn declared(name: &str, shape: &[i64]) -> Declared {
        Declared { name: name.to_owned(), dtype: DataType::Fp32, shape: shape.to_vec() }
    }

    fn given(text: &str) -> RowShape {
        text.parse().expect("a shape")
    }

    #[test]
    fn shapes_are_read() {
        assert_eq!(given("image:3,224,224"), RowShape { name: "image".to_owned(), dims: vec![3, 224, 224] });
        assert_eq!(given("scope:0:7"), RowShape { name: "scope:0".to_owned(), dims: vec![7] });
        for bad in ["image", "image:", "image:3,", ":3", "image:3x4", "image:-1"] {
            assert!(bad.parse::<RowShape>().is_err(), "{bad}");
        }
    }

    #[test]
    fn free_dimensions_are_filled() {
        let model = [declared("image", &[-1, 3, -1, -1]), declared("scale", &[-1, 1])];
        let rows = NonZeroUsize::new(4);
        assert_eq!(fill(&model, None, &[]).expect("fits"), [vec![1, 3, 1, 1], vec![1, 1]]);
        assert_eq!(fill(&model, rows, &[given("image:3,8,9")]).expect("fits"), [vec![4, 3, 8, 9], vec![4, 1]]);
    }

    #[test]
    fn rows_are_not_forced_on_a_model_without_them() {
        let model = [declared("x", &[3, -1])];
        assert_eq!(fill(&model, None, &[given("x:3,5")]).expect("fits"), [vec![3, 5]]);
        let error = fill(&model, NonZeroUsize::new(2), &[]).expect_err("no rows").to_string();
        let wanted = "--rows 2: expected inputs whose first dimension is free; the model has x FP32 [3, -1]";
        assert_eq!(error, wanted);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let model = [declared("image", &[-1, 3, -1])];
        let error = fill(&model, None, &[given("image:4,8")]).expect_err("3 is fixed").to_string();
        assert_eq!(error, "--shape image: expected dimensions that fit [-1, 3, -1] (without the rows), got [4, 8]");
        let error = fill(&model, None, &[given("imag:3,8")]).expect_err("no such input").to_string();
        assert!(error.contains("--shape imag") && error.contains("image FP32"), "{error}");
        assert!(fill(&model, None, &[given("image:3")]).is_err());
    }

    #[test]
    fn a_request_that_nobody_takes_is_refused() {
        assert_eq!(elements("x", DataType::Fp32, &[2, 3]).expect("small"), 6);
        assert_eq!(elements("x", DataType::Fp32, &[]).expect("a scalar"), 1);
        let error = elements("x", DataType::Fp32, &[1 << 30]).expect_err("4 GiB").to_string();
        assert_eq!(error, "input x: expected less than 2 GiB, got FP32 of shape [1073741824]");
        assert!(elements("x", DataType::Bytes, &[usize::MAX, 2]).is_err());
    }
}
