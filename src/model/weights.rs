//! Weights from safetensors: every claim of the header is checked before anything is allocated by it.

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use candle_core::safetensors::BufferedSafetensors;
use candle_core::{DType, Device, Tensor};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, SafeTensorError};

use super::pickle;
use super::{Files, LoadError};

/// Largest file of weights that is read.
const FILE_BYTES_MAX: u64 = 16 << 30;
/// Largest header: some tens of thousands of tensors. The format itself allows 100 MB, which takes gigabytes to parse.
const HEADER_BYTES_MAX: u64 = 4 << 20;
/// Names listed in an error.
const NAMES_SHOWN: usize = 6;

/// The tensors of one safetensors file, each taken by its name; what nobody takes is an error in the end.
pub struct Weights {
    file: String,
    /// `None` if there is no file, which is right for a model without weights.
    store: Option<BufferedSafetensors>,
    shapes: BTreeMap<String, (Dtype, Vec<usize>)>,
    left: RefCell<BTreeSet<String>>,
}

impl Weights {
    /// Reads `file`; if there is none, there are no tensors. Cost: the file once in memory.
    ///
    /// Errors: what the file claims is not what it holds, or it is no safetensors at all.
    pub fn read(files: &Files, file: &str) -> Result<Self, LoadError> {
        if !files.has(file) {
            return Ok(Self { file: file.to_owned(), store: None, shapes: BTreeMap::new(), left: RefCell::default() });
        }
        Self::parse(files.read(file, FILE_BYTES_MAX)?, file)
    }

    fn parse(bytes: Vec<u8>, file: &str) -> Result<Self, LoadError> {
        check_header(&bytes).map_err(|reason| LoadError::new(file, reason))?;
        let mut shapes = BTreeMap::new();
        // The crate checks here that the parts of the file follow each other without hole or overlap and fill it.
        let views = SafeTensors::deserialize(&bytes).map_err(|error| LoadError::new(file, explain(&error)))?;
        for (name, view) in views.iter() {
            shapes.insert(name.to_owned(), (view.dtype(), view.shape().to_vec()));
        }
        let left = RefCell::new(shapes.keys().cloned().collect());
        let store = BufferedSafetensors::new(bytes).map_err(|error| LoadError::new(file, one_line(&error)))?;
        Ok(Self { file: file.to_owned(), store: Some(store), shapes, left })
    }

    /// Dimensions of a tensor; `None` if there is no such tensor.
    pub fn dims(&self, name: &str) -> Option<&[usize]> {
        self.shapes.get(name).map(|(_, dims)| dims.as_slice())
    }

    /// Takes a tensor as `f32` on the host, converted from F64, F16 or BF16 where it is stored so.
    ///
    /// Errors: it is missing, has another shape than `dims`, is not of a floating-point type, or holds NaN or an infinity.
    pub fn take(&self, name: &str, dims: &[usize]) -> Result<Tensor, LoadError> {
        let failed = |reason: String| LoadError::new(&self.file, format!("tensor \"{name}\": {reason}"));
        let (Some(store), Some((dtype, got))) = (&self.store, self.shapes.get(name)) else {
            return Err(self.missing(name));
        };
        if got != dims {
            return Err(failed(format!("expected shape {dims:?}, got {got:?}")));
        }
        if !matches!(dtype, Dtype::F32 | Dtype::F64 | Dtype::F16 | Dtype::BF16) {
            return Err(failed(format!("expected F32, F64, F16 or BF16, got {dtype:?}")));
        }
        let load = || store.load(name, &Device::Cpu)?.to_dtype(DType::F32)?.contiguous();
        let tensor = load().map_err(|error| failed(one_line(&error)))?;
        self.left.borrow_mut().remove(name);
        let values = values(&tensor).map_err(|error| failed(one_line(&error)))?;
        if let Some(position) = values.iter().position(|value| !value.is_finite()) {
            let value = values.get(position).copied().unwrap_or(f32::NAN);
            return Err(failed(format!("element {position} is {value} in FP32, expected a finite number")));
        }
        Ok(tensor)
    }

    /// Takes a tensor as plain numbers, in order. Errors as [`Weights::take`].
    pub fn take_values(&self, name: &str, dims: &[usize]) -> Result<Vec<f32>, LoadError> {
        let tensor = self.take(name, dims)?;
        values(&tensor).map_err(|error| LoadError::new(&self.file, format!("tensor \"{name}\": {}", one_line(&error))))
    }

    /// The error that a tensor is not there.
    pub fn missing(&self, name: &str) -> LoadError {
        if self.store.is_none() {
            return LoadError::new(&self.file, format!("no such file, but the model needs tensor \"{name}\""));
        }
        let there = list(self.shapes.keys());
        LoadError::new(&self.file, format!("tensor \"{name}\" is missing; the file has {there}"))
    }

    /// Passes over tensors whose names begin with one of these: parts that a running model does not need.
    pub fn ignore_prefixes(&self, ignored: &[&str]) {
        self.left.borrow_mut().retain(|name| !ignored.iter().any(|start| name.starts_with(start)));
    }

    /// Checks that every tensor was taken, but for those whose names end in one of `ignored`.
    pub fn finish(self, ignored: &[&str]) -> Result<(), LoadError> {
        let left = self.left.into_inner();
        let unknown: Vec<_> = left.iter().filter(|name| !ignored.iter().any(|end| name.ends_with(end))).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        Err(LoadError::new(&self.file, format!("no layer uses {}", list(unknown.into_iter()))))
    }
}

fn values(tensor: &Tensor) -> candle_core::Result<Vec<f32>> {
    tensor.flatten_all()?.to_vec1::<f32>()
}

fn list<'a>(names: impl ExactSizeIterator<Item = &'a String>) -> String {
    let count = names.len();
    if count == 0 {
        return "no tensors".to_owned();
    }
    let shown: Vec<String> = names.take(NAMES_SHOWN).map(|name| format!("\"{name}\"")).collect();
    let more = if count > NAMES_SHOWN { format!(" and {} more", count - NAMES_SHOWN) } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

/// What the crate would only find out after it has parsed the header.
fn check_header(bytes: &[u8]) -> Result<(), String> {
    if let Some(format) = pickle::sniff(bytes) {
        return Err(pickle::refusal(format));
    }
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return Err(format!("expected a safetensors header, the file has {} bytes", bytes.len()));
    };
    let length = u64::from_le_bytes(*length);
    if length > HEADER_BYTES_MAX {
        return Err(format!("expected a header of at most {HEADER_BYTES_MAX} bytes, it claims {length}"));
    }
    if length > rest.len() as u64 {
        return Err(format!("cut short: the header claims {length} bytes, {} are left", rest.len()));
    }
    if rest.first() != Some(&b'{') {
        return Err("expected a safetensors header (JSON)".to_owned());
    }
    Ok(())
}

fn explain(error: &SafeTensorError) -> String {
    match error {
        SafeTensorError::MetadataIncompleteBuffer => {
            "cut short or too long: the tensors do not fill the file".to_owned()
        }
        SafeTensorError::InvalidOffset(name) => {
            format!("tensor \"{name}\": its bytes overlap another tensor's or leave a hole")
        }
        SafeTensorError::TensorInvalidInfo => "a tensor's shape and type do not give its number of bytes".to_owned(),
        SafeTensorError::ValidationOverflow => "a tensor's shape has more elements than can be counted".to_owned(),
        other => format!("not a valid safetensors file: {other}"),
    }
}

/// Candle's errors may carry a backtrace after the first line.
pub(super) fn one_line(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}
