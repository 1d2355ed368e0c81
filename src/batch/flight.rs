//! The batches of a model that are with its device, in the order in which it computes them: one, or a second that it has been
//! given ahead.

use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::Instant;

/// What is with a device.
#[derive(Debug, Default)]
pub(super) struct Flight {
    batches: Mutex<Batches>,
    moved: Notify,
}

#[derive(Debug, Default)]
struct Batches {
    next_id: u64,
    /// The one that is computed goes first.
    order: SmallVec<[Known; 2]>,
}

#[derive(Debug)]
struct Known {
    id: u64,
    alone: bool,
    /// Has another been with the device at the same time?
    beside: bool,
    /// When the one ahead of it ended.
    reached: Option<Instant>,
}

/// A batch that is with the device, until this is dropped.
#[derive(Debug)]
pub(super) struct Place<'a> {
    flight: &'a Flight,
    id: u64,
}

impl Flight {
    /// A batch is given to the device; must it be `alone` with it?
    pub(super) fn enter(&self, alone: bool) -> Place<'_> {
        let mut batches = self.batches.lock();
        batches.next_id += 1;
        let id = batches.next_id;
        let beside = !batches.order.is_empty();
        for other in &mut batches.order {
            other.beside = true;
        }
        batches.order.push(Known { id, alone, beside, reached: None });
        Place { flight: self, id }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batches.lock().order.is_empty()
    }

    /// Is there a batch that no other may be beside?
    pub(super) fn has_alone(&self) -> bool {
        self.batches.lock().order.iter().any(|known| known.alone)
    }

    /// The end of a batch, from now on: to be had before it is looked whether one has ended.
    pub(super) fn moved(&self) -> Notified<'_> {
        self.moved.notified()
    }

    /// Waits until none is with the device. Cancel safe.
    pub(super) async fn emptied(&self) {
        loop {
            let moved = self.moved();
            if self.is_empty() {
                return;
            }
            moved.await;
        }
    }
}

impl Place<'_> {
    /// Waits until the device has ended all that was ahead of the batch. Cancel safe.
    pub(super) async fn turn(&self) {
        loop {
            let moved = self.flight.moved();
            if self.with(|at, _| at) == 0 {
                return;
            }
            moved.await;
        }
    }

    /// When the batch ahead of it ended; `None` if it had the device at once.
    pub(super) fn reached(&self) -> Option<Instant> {
        self.with(|_, known| known.reached)
    }

    /// Has another batch been with the device at the same time?
    pub(super) fn is_beside(&self) -> bool {
        self.with(|_, known| known.beside)
    }

    fn with<V: Default>(&self, look: impl Fn(usize, &Known) -> V) -> V {
        let batches = self.flight.batches.lock();
        let own = batches.order.iter().enumerate().find(|(_, known)| known.id == self.id);
        own.map(|(at, known)| look(at, known)).unwrap_or_default()
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut batches = self.flight.batches.lock();
        let was_first = batches.order.first().is_some_and(|known| known.id == self.id);
        batches.order.retain(|known| known.id != self.id);
        if was_first && let Some(next) = batches.order.first_mut() {
            next.reached = Some(Instant::now());
        }
        drop(batches);
        self.flight.moved.notify_waiters();
    }
}
