//! Weights from safetensors: every claim of a header is checked before anything is allocated by it.

mod header;
mod index;
mod needs;
mod shard;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use candle_core::{DType, Tensor};
use safetensors::tensor::Dtype;

pub use needs::Needs;

use super::{Files, LoadError};
use index::{Index, index_of};
use shard::{Shard, Stored};

/// Names listed in an error.
const NAMES_SHOWN: usize = 6;

/// The tensors of one safetensors file, or of several with an index, each taken by its name; what nobody takes is an
/// error in the end.
pub struct Weights {
    /// The file, or the index, that errors about all of it name.
    file: String,
    /// None if there is no file, which is right for a model without weights.
    shards: Vec<Shard>,
    /// In which shard each tensor is.
    places: BTreeMap<String, usize>,
    left: RefCell<BTreeSet<String>>,
}

impl Weights {
    /// Reads `file`, or, where it is not there, the files that `<file>.index.json` names; if there is neither, there are
    /// no tensors. Cost: the files once in memory.
    ///
    /// Errors: what a file claims is not what it holds, it is no safetensors at all, or the index does not tell the truth.
    pub fn read(files: &Files, file: &str) -> Result<Self, LoadError> {
        let index = index_of(file);
        if files.has(file) {
            return Ok(Self::of(file, vec![Shard::read(files, file)?]));
        }
        if !files.has(&index) {
            return Ok(Self::of(file, Vec::new()));
        }
        let known = Index::read(files, &index)?;
        let shards = known.shards().into_iter().map(|shard| Shard::read(files, shard));
        let shards = shards.collect::<Result<Vec<_>, _>>()?;
        known.check(&shards)?;
        Ok(Self::of(&index, shards))
    }

    fn of(file: &str, shards: Vec<Shard>) -> Self {
        let mut places = BTreeMap::new();
        for (at, shard) in shards.iter().enumerate() {
            places.extend(shard.tensors.keys().map(|name| (name.clone(), at)));
        }
        let left = RefCell::new(places.keys().cloned().collect());
        Self { file: file.to_owned(), shards, places, left }
    }

    /// Dimensions of a tensor; `None` if there is no such tensor.
    pub fn dims(&self, name: &str) -> Option<&[usize]> {
        self.find(name).map(|(_, stored)| stored.dims.as_slice())
    }

    /// Names of all tensors, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    /// Takes a tensor as `f32` on the host, converted from F64, F16 or BF16 where it is stored so.
    ///
    /// Errors: it is missing, has another shape than `dims`, is not of a floating-point type, or holds NaN or an infinity.
    pub fn take(&self, name: &str, dims: &[usize]) -> Result<Tensor, LoadError> {
        let (shard, stored) = self.found(name, dims)?;
        let failed = |reason: String| LoadError::new(&shard.file, format!("tensor \"{name}\": {reason}"));
        if !matches!(stored.dtype, Dtype::F32 | Dtype::F64 | Dtype::F16 | Dtype::BF16) {
            return Err(failed(format!("expected F32, F64, F16 or BF16, got {:?}", stored.dtype)));
        }
        let load = || shard.load(name)?.to_dtype(DType::F32)?.contiguous();
        let tensor = load().map_err(|error| failed(one_line(&error)))?;
        self.left.borrow_mut().remove(name);
        let values = values(&tensor).map_err(|error| failed(one_line(&error)))?;
        if let Some(position) = values.iter().position(|value| !value.is_finite()) {
            let value = values.get(position).copied().unwrap_or(f32::NAN);
            return Err(failed(format!("element {position} is {value} in FP32, expected a finite number")));
        }
        Ok(tensor)
    }

    /// Takes a tensor as it is stored, on the host.
    ///
    /// Errors: it is missing, has another shape than `dims`, or is of a type that cannot be computed with.
    pub fn take_stored(&self, name: &str, dims: &[usize]) -> Result<Tensor, LoadError> {
        let (shard, _) = self.found(name, dims)?;
        let failed = |error| LoadError::new(&shard.file, format!("tensor \"{name}\": {}", one_line(&error)));
        let tensor = shard.load(name).map_err(failed)?;
        self.left.borrow_mut().remove(name);
        Ok(tensor)
    }

    /// Takes a tensor as plain numbers, in order. Errors as [`Weights::take`].
    pub fn take_values(&self, name: &str, dims: &[usize]) -> Result<Vec<f32>, LoadError> {
        let tensor = self.take(name, dims)?;
        values(&tensor).map_err(|error| LoadError::new(&self.file, format!("tensor \"{name}\": {}", one_line(&error))))
    }

    /// The error that a tensor is not there.
    pub fn missing(&self, name: &str) -> LoadError {
        if self.shards.is_empty() {
            return LoadError::new(&self.file, format!("no such file, but the model needs tensor \"{name}\""));
        }
        let there = list(self.places.keys());
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

    fn find(&self, name: &str) -> Option<(&Shard, &Stored)> {
        let shard = self.shards.get(*self.places.get(name)?)?;
        Some((shard, shard.tensors.get(name)?))
    }

    /// The same. Errors: it is missing, or has another shape.
    fn found(&self, name: &str, dims: &[usize]) -> Result<(&Shard, &Stored), LoadError> {
        let (shard, stored) = self.find(name).ok_or_else(|| self.missing(name))?;
        if stored.dims != dims {
            let reason = format!("tensor \"{name}\": expected shape {dims:?}, got {:?}", stored.dims);
            return Err(LoadError::new(&shard.file, reason));
        }
        Ok((shard, stored))
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

/// Candle's errors may carry a backtrace after the first line.
pub(super) fn one_line(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}
