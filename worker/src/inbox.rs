//! The batches that come on a channel: one runs, and the next may be there already, in the other staging area.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use sconce::device::wire::{Body, Broken, Failure, Run, Socket, Spin};
use sconce::types::{Rows, Shape, Tensor};

use crate::area::Area;
use crate::control::Shared;
use crate::device::{Failed, Model};
use crate::outputs::Outputs;

/// How long to wait for the next batch without sleeping, at most.
const SPIN: Duration = Duration::from_micros(20);

/// A channel's socket, and where its batches lie.
pub(crate) struct Inbox {
    socket: Socket,
    spin: Spin,
    shared: Arc<Shared>,
    areas: [Area; 2],
    /// What has come while another batch ran.
    early: Option<Result<Batch, Broken>>,
}

/// A batch that has come.
pub(crate) struct Batch {
    pub(crate) sequence: u64,
    slot: u8,
    /// Or why they cannot be run.
    rows: Result<Rows, Failed>,
}

impl Inbox {
    pub(crate) fn new(socket: Socket, shared: Arc<Shared>, areas: [Area; 2]) -> Self {
        Self { socket, spin: Spin::new(SPIN), shared, areas, early: None }
    }

    pub(crate) fn socket(&mut self) -> &mut Socket {
        &mut self.socket
    }

    /// Waits for a batch. Errors: the channel is closed, or what the server says of a batch does not fit together.
    pub(crate) fn wait(&mut self) -> Result<Batch, Broken> {
        if let Some(early) = self.early.take() {
            return early;
        }
        let run: Run = self.socket.receive_spinning(&mut self.spin)?;
        let area = self.areas.get_mut(usize::from(run.slot)).ok_or_else(no_such_area)?;
        Ok(take(&run, area, &self.shared)?)
    }

    /// What comes of a batch, while which the next may come.
    pub(crate) fn run(&mut self, batch: Batch, model: &mut dyn Model) -> Result<Body, Failed> {
        let Self { socket, shared, areas: [first, second], early, .. } = self;
        let (area, other, other_slot) = if batch.slot == 0 { (first, second, 1) } else { (second, first, 0) };
        let rows = batch.rows?;
        let mut next = || {
            if early.is_some() {
                return None;
            }
            let run = socket.try_receive::<Run>().transpose()?;
            let come = run.and_then(|run| {
                if run.slot != other_slot {
                    return Err(io::Error::other("a batch in the staging area of the one that runs").into());
                }
                Ok(take(&run, other, shared)?)
            });
            let rows = come.as_ref().ok().and_then(|batch| batch.rows.as_ref().ok()).cloned();
            *early = Some(come);
            rows
        };
        let mut outputs = Outputs::new(area);
        let turn = shared.turn.lock();
        shared.faults.before();
        model.run_before(&rows, &mut outputs, &mut next)?;
        drop(turn);
        shared.faults.after(&mut outputs)?;
        Ok(Body::Outputs(outputs.into_places()))
    }
}

/// A batch where it lies. Errors: what the server says of it does not fit together.
fn take(run: &Run, area: &mut Area, shared: &Shared) -> io::Result<Batch> {
    area.begin()?;
    let rows = match rows(run, area) {
        Err(error) if error.kind() == io::ErrorKind::OutOfMemory => {
            Err(Failed::new(Failure::Memory, format!("map a batch of {} rows: {error}", run.rows)))
        }
        rows => Ok(rows?),
    };
    let rows = rows.and_then(|rows| shared.faults.admits(rows.size()).map(|()| rows));
    Ok(Batch { sequence: run.sequence, slot: run.slot, rows })
}

fn no_such_area() -> io::Error {
    io::Error::other("a batch in a staging area that there is not")
}

/// The rows of a batch, where they lie. Errors: what the server says of them does not fit together.
fn rows(run: &Run, area: &mut Area) -> io::Result<Rows> {
    let mut inputs = Vec::with_capacity(run.inputs.len());
    for input in &run.inputs {
        let data = area.input(input.place)?;
        inputs.push(Tensor::new(input.dtype, Shape::new(&input.dims), data).map_err(io::Error::other)?);
    }
    let differ = || io::Error::other("the rows of a batch are not as many as its inputs have");
    let count = usize::try_from(run.rows).map_err(|_| differ())?;
    let Some(place) = run.lengths else {
        let fits = inputs.iter().all(|input| input.shape().rows() == Some(count));
        return if fits { Ok(Rows::uniform(inputs, count)) } else { Err(differ()) };
    };
    let lengths = area.input(place)?;
    let lengths: Vec<u32> = lengths.as_chunks::<4>().0.iter().map(|length| u32::from_le_bytes(*length)).collect();
    Rows::packed(inputs, &lengths).filter(|rows| rows.count() == count).ok_or_else(differ)
}

#[cfg(test)]
#[path = "inbox_tests.rs"]
mod tests;
