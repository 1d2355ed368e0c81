//! A model's channel: loads the model, then runs one batch after the other until the server wants no more.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sconce::device::wire::{
    Answer, Body, Broken, Contents, EXIT_DEVICE_LOST, EXIT_UNREADABLE, Failure, LoadOrder, Opening, Run, Socket, Spin,
};
use sconce::model::Files;
use sconce::types::{Rows, Shape, Tensor};
use tracing::{error, info};

use crate::area::Area;
use crate::control::{Shared, end};
use crate::device::{Failed, Model};
use crate::outputs::Outputs;

/// How long to wait for the next batch without sleeping, at most.
const SPIN: Duration = Duration::from_micros(20);

/// A model's end of its channel.
pub(crate) struct Channel {
    socket: Socket,
    shared: Arc<Shared>,
}

impl Channel {
    pub(crate) fn new(socket: Socket, shared: Arc<Shared>) -> Self {
        Self { socket, shared }
    }

    /// Serves the model that `order` names, and returns when the server has closed the channel. What cannot be read, or makes
    /// no sense, ends the process.
    pub(crate) fn serve(&mut self, order: &LoadOrder, area: OwnedFd) {
        match self.try_serve(order, area) {
            Ok(()) | Err(Broken::Closed) => info!(model = order.name, "a model is unloaded"),
            Err(broken) => {
                error!(model = order.name, %broken, "a channel");
                end(EXIT_UNREADABLE)
            }
        }
    }

    fn try_serve(&mut self, order: &LoadOrder, area: OwnedFd) -> Result<(), Broken> {
        let mut area = Area::new(area)?;
        let files = files(&order.contents, &mut area)?;
        let mut model = match self.shared.device.load(&files, &order.settings) {
            Ok(model) => model,
            Err(why) => return self.socket.send(&Opening::Refused(why)),
        };
        drop(files);
        self.socket.send(&Opening::Loaded(model.signature().clone()))?;
        let mut spin = Spin::new(SPIN);
        loop {
            let run: Run = self.socket.receive_spinning(&mut spin)?;
            let body = self.batch(&run, &mut *model, &mut area)?;
            self.answer(Answer { sequence: run.sequence, body })?;
        }
    }

    /// What comes of a batch. Errors: what the server says of it does not fit together.
    fn batch(&self, run: &Run, model: &mut dyn Model, area: &mut Area) -> io::Result<Body> {
        area.begin()?;
        let rows = match rows(run, area) {
            Err(error) if error.kind() == io::ErrorKind::OutOfMemory => {
                return Ok(Body::Failed(Failure::Memory, format!("map a batch of {} rows: {error}", run.rows)));
            }
            rows => rows?,
        };
        Ok(match self.run(model, &rows, area) {
            Ok(body) => body,
            Err(Failed { failure, detail }) => Body::Failed(failure, detail),
        })
    }

    fn run(&self, model: &mut dyn Model, rows: &Rows, area: &mut Area) -> Result<Body, Failed> {
        let faults = &self.shared.faults;
        let mut outputs = Outputs::new(area);
        let turn = self.shared.turn.lock();
        faults.before(rows.size())?;
        model.run(rows, &mut outputs)?;
        drop(turn);
        faults.after(&mut outputs)?;
        Ok(Body::Outputs(outputs.into_places()))
    }

    fn answer(&mut self, answer: Answer) -> Result<(), Broken> {
        if let Some(garbage) = self.shared.faults.garbage() {
            return self.socket.send_raw(garbage);
        }
        self.socket.send(&answer)?;
        if let Body::Failed(Failure::Device, detail) = answer.body {
            error!(detail, "the device is lost");
            end(EXIT_DEVICE_LOST)
        }
        Ok(())
    }
}

/// The files of a model. Errors: a place that is none in the staging area.
fn files(contents: &Contents, area: &mut Area) -> io::Result<Files> {
    let path = |bytes: &Vec<u8>| PathBuf::from(OsString::from_vec(bytes.clone()));
    match contents {
        Contents::Folder { path: folder, roots } => Ok(Files::rooted(path(folder), roots.iter().map(path).collect())),
        Contents::Staged(places) => {
            area.begin()?;
            let mut files = BTreeMap::new();
            for (name, place) in places {
                files.insert(name.clone(), area.input(*place)?.to_vec().into());
            }
            Ok(Files::Memory(files))
        }
    }
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
