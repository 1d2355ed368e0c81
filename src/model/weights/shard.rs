//! One safetensors file in memory.

use std::collections::BTreeMap;

use candle_core::safetensors::BufferedSafetensors;
use candle_core::{Device, Tensor};
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;

use super::header::{check_header, explain};
use super::one_line;
use crate::model::{Files, LoadError};

/// Largest file of weights that is read.
const FILE_BYTES_MAX: u64 = 16 << 30;

/// The type and dimensions of a tensor as it is stored.
pub(super) struct Stored {
    pub(super) dtype: Dtype,
    pub(super) dims: Vec<usize>,
}

/// A file and what it holds.
pub(super) struct Shard {
    pub(super) file: String,
    pub(super) tensors: BTreeMap<String, Stored>,
    store: BufferedSafetensors,
}

impl Shard {
    /// Reads `file`. Errors: what it claims is not what it holds, or it is no safetensors at all.
    pub(super) fn read(files: &Files, file: &str) -> Result<Self, LoadError> {
        Self::parse(files.read(file, FILE_BYTES_MAX)?, file)
    }

    pub(super) fn parse(bytes: Vec<u8>, file: &str) -> Result<Self, LoadError> {
        check_header(&bytes, bytes.len() as u64).map_err(|reason| LoadError::new(file, reason))?;
        // The crate checks here that the parts of the file follow each other without hole or overlap and fill it.
        let views = SafeTensors::deserialize(&bytes).map_err(|error| LoadError::new(file, explain(&error)))?;
        let mut tensors = BTreeMap::new();
        for (name, view) in views.iter() {
            tensors.insert(name.to_owned(), Stored { dtype: view.dtype(), dims: view.shape().to_vec() });
        }
        let store = BufferedSafetensors::new(bytes).map_err(|error| LoadError::new(file, one_line(&error)))?;
        Ok(Self { file: file.to_owned(), tensors, store })
    }

    /// A tensor as it is stored, on the host.
    pub(super) fn load(&self, name: &str) -> candle_core::Result<Tensor> {
        self.store.load(name, &Device::Cpu)
    }
}
