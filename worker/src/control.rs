//! The control socket: says what this worker is, answers pings, and starts a thread for each model.
//!
//! It runs on the main thread, which computes nothing, so that a long batch is no missed ping; and it ends the process when
//! the server has gone, whatever is being computed.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;

use parking_lot::FairMutex;
use sconce::device::wire::{Broken, EXIT_UNREADABLE, LoadOrder, Order, Report, Socket};
use tracing::{error, warn};

use crate::channel::Channel;
use crate::device::Device;
use crate::faults::Faults;

/// What the threads of all models share.
pub(crate) struct Shared {
    pub(crate) device: Arc<dyn Device>,
    /// Held while a batch runs: one at a time, those who wait in turn.
    pub(crate) turn: FairMutex<()>,
    pub(crate) faults: Faults,
}

/// Serves until the server closes the socket; gives the code to end with.
pub(crate) fn serve(mut control: Socket, device: &Arc<dyn Device>, allow_faults: bool) -> u8 {
    let shared = Arc::new(Shared { device: Arc::clone(device), turn: FairMutex::new(()), faults: Faults::default() });
    let greeted = control.send(&Report::Hello(device.about()));
    match greeted.and_then(|()| obey(&mut control, &shared, allow_faults)) {
        Ok(()) | Err(Broken::Closed) => 0,
        Err(broken) => {
            error!(%broken, "the control socket");
            EXIT_UNREADABLE
        }
    }
}

fn obey(control: &mut Socket, shared: &Arc<Shared>, allow_faults: bool) -> Result<(), Broken> {
    loop {
        let (order, descriptors) = control.receive_with()?;
        match order {
            Order::Ping(number) => control.send(&Report::Pong(number))?,
            Order::Load(order) => start_channel(shared, order, descriptors)?,
            Order::Fault(fault) if allow_faults => {
                shared.faults.order(&fault);
                control.send(&Report::Obeyed)?;
            }
            Order::Fault(_) => warn!("was told to fail, but not started for that"),
        }
    }
}

fn start_channel(shared: &Arc<Shared>, order: LoadOrder, descriptors: Vec<OwnedFd>) -> Result<(), Broken> {
    let Ok([socket, areas @ ..]) = <[OwnedFd; 3]>::try_from(descriptors) else {
        return Err(std::io::Error::other("a model without its channel").into());
    };
    let shared = Arc::clone(shared);
    let channel = Channel::new(Socket::of(socket), shared);
    thread::Builder::new().name("model".to_owned()).spawn(move || channel.serve(&order, areas))?;
    Ok(())
}

/// Ends the process from any thread, with nothing to be finished: the server starts another. What drivers have registered for an
/// orderly end could hang, with threads in the midst of their calls.
#[expect(unsafe_code, reason = "the standard library ends in an orderly way only")]
pub(crate) fn end(code: u8) -> ! {
    // SAFETY: it touches nothing of the process, and does not return.
    unsafe { libc::_exit(code.into()) }
}
