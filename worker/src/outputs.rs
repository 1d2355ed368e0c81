//! Outputs of a batch, written into the staging area one behind the other.

use sconce::device::wire::{Failure, Place, TensorPlace, aligned};
#[cfg(feature = "cuda")]
use sconce::types::TensorSpec;
use sconce::types::{DataType, Tensor};

use crate::area::Area;
use crate::device::Failed;

/// What a model gives, as it gives it.
pub(crate) struct Outputs<'a> {
    area: &'a mut Area,
    places: Vec<TensorPlace>,
    end: u64,
}

impl<'a> Outputs<'a> {
    /// Outputs behind the inputs of `area`.
    pub(crate) fn new(area: &'a mut Area) -> Self {
        let end = area.lent();
        Self { area, places: Vec::new(), end }
    }

    /// Room for the next output, in the order of the signature. Errors: there is no memory for it.
    pub(crate) fn push(&mut self, dtype: DataType, dims: &[usize], bytes: usize) -> Result<&mut [u8], Failed> {
        let place = Place { offset: aligned(self.end), bytes: bytes as u64 };
        self.end = place.end().ok_or_else(|| Failed::new(Failure::Memory, "outputs that no memory can hold"))?;
        self.places.push(TensorPlace { dtype, dims: dims.to_vec(), place });
        self.area.room(place).map_err(|error| Failed::new(Failure::Memory, format!("write an output: {error}")))
    }

    /// Has room for outputs of so many bytes each, so that [`Outputs::push`] moves none that is being written. Errors: there is no
    /// memory for them.
    #[cfg(feature = "cuda")]
    pub(crate) fn reserve(&mut self, bytes: impl Iterator<Item = usize>) -> Result<(), Failed> {
        let mut end = self.end;
        for bytes in bytes {
            end = aligned(end).saturating_add(bytes as u64);
        }
        let all = Place { offset: aligned(self.end), bytes: end.saturating_sub(aligned(self.end)) };
        let failed = |error| Failed::new(Failure::Memory, format!("make room for outputs: {error}"));
        self.area.room(all).map(|_| ()).map_err(failed)
    }

    /// Outputs of no rows.
    #[cfg(feature = "cuda")]
    pub(crate) fn none(&mut self, specs: &[TensorSpec]) -> Result<(), Failed> {
        for spec in specs {
            let dims: Vec<usize> = std::iter::once(0).chain(spec.row.iter().map(|dim| dim.unwrap_or(0))).collect();
            self.push(spec.dtype, &dims, 0)?;
        }
        Ok(())
    }

    /// These outputs, in the order of the signature. Errors: there is no memory for them.
    pub(crate) fn copy(&mut self, given: &[Tensor]) -> Result<(), Failed> {
        for output in given {
            let data = output.data();
            self.push(output.dtype(), output.shape().dims(), data.len())?.copy_from_slice(data);
        }
        Ok(())
    }

    /// Makes NaN of every number of a floating-point type.
    pub(crate) fn spoil(&mut self) -> Result<(), Failed> {
        for output in &self.places {
            let nan: &[u8] = match output.dtype {
                DataType::Fp64 => &f64::NAN.to_le_bytes(),
                DataType::Fp32 => &f32::NAN.to_le_bytes(),
                DataType::Fp16 | DataType::Bf16 => &[0xff, 0x7f],
                _ => continue,
            };
            let failed = |error| Failed::new(Failure::Memory, format!("spoil an output: {error}"));
            for number in self.area.room(output.place).map_err(failed)?.chunks_exact_mut(nan.len()) {
                number.copy_from_slice(nan);
            }
        }
        Ok(())
    }

    /// Where they are.
    pub(crate) fn into_places(self) -> Vec<TensorPlace> {
        self.places
    }
}
