//! A model's channel: loads the model, then runs one batch after the other until the server wants no more.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use sconce::device::wire::{
    Answer, Body, Broken, Contents, EXIT_DEVICE_LOST, EXIT_UNREADABLE, Failure, LoadOrder, Opening, Socket,
};
use sconce::model::Files;
use tracing::{error, info};

use crate::area::Area;
use crate::control::{Shared, end};
use crate::device::{Failed, Model};
use crate::inbox::Inbox;

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
    pub(crate) fn serve(self, order: &LoadOrder, areas: [OwnedFd; 2]) {
        match self.try_serve(order, areas) {
            Ok(()) | Err(Broken::Closed) => info!(model = order.name, "a model is unloaded"),
            Err(broken) => {
                error!(model = order.name, %broken, "a channel");
                end(EXIT_UNREADABLE)
            }
        }
    }

    fn try_serve(mut self, order: &LoadOrder, [first, second]: [OwnedFd; 2]) -> Result<(), Broken> {
        let device = &self.shared.device;
        let (mut first, second) = (Area::new(first, device)?, Area::new(second, device)?);
        let files = files(&order.contents, &mut first)?;
        let mut model = match self.load(&files, order) {
            Ok(model) => model,
            Err(Failed { failure, detail }) => {
                // Then it is not the model that is refused: the next worker loads it.
                end_if_lost(failure, &detail);
                self.socket.send(&Opening::Refused(detail))?;
                return Ok(());
            }
        };
        drop(files);
        self.socket.send(&Opening::Loaded(model.signature().clone()))?;
        let Self { socket, shared } = self;
        let mut inbox = Inbox::new(socket, Arc::clone(&shared), [first, second]);
        loop {
            let batch = inbox.wait()?;
            let sequence = batch.sequence;
            let body = inbox
                .run(batch, &mut *model)
                .unwrap_or_else(|Failed { failure, detail }| Body::Failed(failure, detail));
            answer(inbox.socket(), &shared, Answer { sequence, body })?;
        }
    }

    /// The model, which from now on runs as fast as it will. Errors: it cannot be loaded, or the device is lost over it.
    fn load(&self, files: &Files, order: &LoadOrder) -> Result<Box<dyn Model>, Failed> {
        let Shared { device, turn, .. } = &*self.shared;
        let mut model = device.load(files, &order.settings)?;
        loop {
            let turn = turn.lock();
            let more = model.try_out()?;
            drop(turn);
            if !more {
                return Ok(model);
            }
        }
    }
}

fn answer(socket: &mut Socket, shared: &Shared, answer: Answer) -> Result<(), Broken> {
    if let Some(garbage) = shared.faults.garbage() {
        return socket.send_raw(garbage);
    }
    socket.send(&answer)?;
    if let Body::Failed(failure, detail) = answer.body {
        end_if_lost(failure, &detail);
    }
    Ok(())
}

fn end_if_lost(failure: Failure, detail: &str) {
    if failure == Failure::Device {
        error!(detail, "the device is lost");
        end(EXIT_DEVICE_LOST)
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
