//! A model's channel to the worker: a batch is written into a staging area, told of, waited for, and read out.
//!
//! It has two lanes with an area each. While the batch of one is computed, that of the other can be written or read.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::answer::span;
use super::line::Line;
use super::staging::{Filling, Staging};
use crate::device::wire::{AREA_BYTES_MAX, Body, Failure, Run, Socket, TensorPlace};
use crate::types::{Error, Reason, Rows, Shape, Signature, Tensor};

/// How many batches may be under way on a channel.
pub(super) const LANES: usize = 2;

/// Where batches of one model go, one at a time.
#[derive(Debug)]
pub(super) struct Lane {
    line: Arc<Line>,
    /// Which area of the channel's is its own.
    slot: u8,
    staging: Staging,
    signature: Arc<Signature>,
    /// Lengths of packed rows; kept so that its memory is.
    lengths: Vec<u8>,
}

/// Why a batch has no outputs.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The channel can be used further.
    Refused(Error),
    /// It cannot, and the worker is to be killed.
    Lost(String),
}

/// The lanes of a channel on which the worker has told that the model is loaded. Errors: no descriptors are left.
pub(super) fn lanes(socket: Socket, areas: [Staging; LANES], signature: Signature) -> io::Result<[Lane; LANES]> {
    let (line, signature) = (Arc::new(Line::new(socket)?), Arc::new(signature));
    let mut slots = 0..;
    Ok(areas.map(|staging| Lane {
        line: Arc::clone(&line),
        slot: slots.next().unwrap_or_default(),
        staging,
        signature: Arc::clone(&signature),
        lengths: Vec::new(),
    }))
}

impl Lane {
    /// Runs a batch, and waits for the worker as long as it takes.
    pub(super) fn run(&mut self, parts: &[Rows]) -> Result<Vec<Tensor>, Trouble> {
        let rows = parts.iter().map(Rows::count).sum();
        let mut run = self.stage(parts, rows).map_err(Trouble::Refused)?;
        let place = self.line.send(&mut run).map_err(Trouble::Lost)?;
        match place.answer().map_err(Trouble::Lost)? {
            Body::Outputs(places) => self.take_out(places, rows).map_err(Trouble::Lost),
            Body::Failed(failure, detail) => Err(trouble(failure, &detail)),
        }
    }

    /// Writes the parts' inputs into the staging area, joined: the one copy on the way in.
    fn stage(&mut self, parts: &[Rows], rows: usize) -> Result<Run, Error> {
        pack_lengths(parts, &mut self.lengths)?;
        let mut filling = Filling::default();
        let inputs = parts.first().map_or(0, |part| part.inputs().len());
        let inputs = (0..inputs).map(|at| join(parts, at, &mut filling)).collect::<Result<Vec<_>, _>>()?;
        let lengths = (!self.lengths.is_empty()).then(|| filling.add([&self.lengths[..]].into_iter()));
        let bytes = filling.bytes();
        self.staging.write(&mut filling).map_err(|error| too_large(bytes, &error))?;
        // Numbered when it is sent.
        Ok(Run { sequence: 0, slot: self.slot, rows: rows as u64, inputs, lengths })
    }

    /// Reads the outputs, which the worker has described, into memory of our own: the one copy on the way out.
    fn take_out(&mut self, places: Vec<TensorPlace>, rows: usize) -> Result<Vec<Tensor>, String> {
        let span = span(&places, &self.signature.outputs, rows)?;
        let contents = self.staging.read(span).map_err(|error| {
            let (offset, bytes) = (span.offset, span.bytes);
            format!("the worker answered with {bytes} bytes at {offset} of the staging area: {error}")
        })?;
        let contents = Bytes::from(contents);
        let slice = |output: TensorPlace| {
            let begin = usize::try_from(output.place.offset - span.offset).unwrap_or(usize::MAX);
            let end = begin.saturating_add(usize::try_from(output.place.bytes).unwrap_or(usize::MAX));
            let own = if end <= contents.len() { contents.slice(begin..end) } else { Bytes::new() };
            Tensor::new(output.dtype, Shape::new(&output.dims), own)
        };
        places
            .into_iter()
            .map(slice)
            .collect::<Result<_, _>>()
            .map_err(|error| format!("the worker answered with {error}"))
    }
}

fn trouble(failure: Failure, detail: &str) -> Trouble {
    let reason = match failure {
        Failure::Model => Reason::Model,
        Failure::Panic => Reason::Panic,
        Failure::Memory => Reason::DeviceMemory,
        Failure::Device => return Trouble::Lost(detail.to_owned()),
    };
    Trouble::Refused(Error::new(reason, detail))
}

fn too_large(bytes: u64, error: &io::Error) -> Error {
    let detail = if error.kind() == io::ErrorKind::FileTooLarge {
        format!("a batch of {bytes} bytes; a device is given {AREA_BYTES_MAX} at most")
    } else {
        format!("write a batch for the device: {error}")
    };
    Error::new(Reason::DeviceMemory, detail)
}

/// Lengths of the rows of all parts; none if rows are not packed.
fn pack_lengths(parts: &[Rows], packed: &mut Vec<u8>) -> Result<(), Error> {
    packed.clear();
    let is_packed = parts.first().is_some_and(|first| first.lengths().is_some());
    for part in parts {
        if part.lengths().is_some() != is_packed {
            return Err(differ());
        }
        packed.extend(part.lengths().unwrap_or_default().iter().flat_map(|length| length.to_le_bytes()));
    }
    Ok(())
}

fn join<'a>(parts: &'a [Rows], at: usize, filling: &mut Filling<'a>) -> Result<TensorPlace, Error> {
    let first = parts.first().and_then(|part| part.inputs().get(at)).ok_or_else(differ)?;
    let mut rows = 0_usize;
    for part in parts {
        let input = part.inputs().get(at).ok_or_else(differ)?;
        if input.dtype() != first.dtype() || input.shape().row_dims() != first.shape().row_dims() {
            return Err(differ());
        }
        rows = input.shape().rows().and_then(|own| rows.checked_add(own)).ok_or_else(differ)?;
    }
    let columns = parts.iter().filter_map(|part| part.inputs().get(at)).map(|input| &input.data()[..]);
    Ok(TensorPlace {
        dtype: first.dtype(),
        dims: first.shape().with_rows(rows).dims().to_vec(),
        place: filling.add(columns),
    })
}

fn differ() -> Error {
    Error::new(Reason::Model, "rows of a batch differ in shape")
}

#[cfg(test)]
#[path = "channel_tests.rs"]
mod tests;
