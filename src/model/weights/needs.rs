//! What a version's weights will take of the memory, told by the headers of its files before anything else is read.

use super::header::read_claims;
use super::index::{Index, index_of};
use crate::model::{Files, LoadError};

const FILE: &str = "model.safetensors";
const F32_BYTES: u64 = 4;

/// Bytes that a version takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Its weights in `f32`, for as long as it serves.
    pub weights: u64,
    /// Its files, while they are read.
    pub files: u64,
}

impl Needs {
    /// What the version in `files` will need. Errors: a header that lies.
    pub fn of(files: &Files) -> Result<Self, LoadError> {
        let mut needs = Self::default();
        let index = index_of(FILE);
        if files.has(FILE) {
            needs.add(files, FILE)?;
        } else if files.has(&index) {
            for shard in Index::read(files, &index)?.shards() {
                needs.add(files, shard)?;
            }
        }
        Ok(needs)
    }

    fn add(&mut self, files: &Files, file: &str) -> Result<(), LoadError> {
        let (claims, size) = read_claims(files, file)?;
        for tensor in claims.tensors().values() {
            let elements = tensor.shape.iter().fold(1_u64, |product, dim| product.saturating_mul(*dim as u64));
            self.weights = self.weights.saturating_add(elements.saturating_mul(F32_BYTES));
        }
        self.files = self.files.saturating_add(size);
        Ok(())
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        self.weights.saturating_add(self.files)
    }
}
