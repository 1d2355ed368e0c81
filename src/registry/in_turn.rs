//! A model that is verified and warmed up on a device that others serve from: its batches take turns with theirs.
//!
//! Without that they would meet in the worker's process. Another model's batch would wait there for one that warms up, which
//! may take long, and be given up as overdue, with the process, though it never ran.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use tracing::warn;

use crate::batch::Seat;
use crate::device::{Executor, Interrupt};
use crate::types::{Error, Rows, Tensor};

/// After so long a batch is given up: the device hangs, and nobody else would find that out while it has the turn.
const BATCH_MAX: Duration = Duration::from_secs(30);

/// An executor that waits for its turn before each batch. Blocks, so it is none for a runtime's thread.
pub(super) struct InTurn<'a> {
    executor: &'a mut dyn Executor,
    seat: Seat,
    batch_max: Duration,
}

impl<'a> InTurn<'a> {
    pub(super) fn new(executor: &'a mut dyn Executor, seat: Seat) -> Self {
        Self { executor, seat, batch_max: BATCH_MAX }
    }
}

impl Executor for InTurn<'_> {
    fn run(&mut self, parts: &[Rows]) -> Result<Vec<Tensor>, Error> {
        let _turn = self.seat.turn_aside();
        let (interrupt, batch_max) = (self.executor.interrupt(), self.batch_max);
        let (end, ended) = channel::<()>();
        let watch = move || {
            if let (Err(RecvTimeoutError::Timeout), Some(interrupt)) = (ended.recv_timeout(batch_max), interrupt) {
                interrupt();
            }
        };
        thread::scope(|scope| {
            if let Err(error) = thread::Builder::new().name("warm-up-watch".to_owned()).spawn_scoped(scope, watch) {
                warn!(%error, "start the thread that watches a batch");
            }
            let outcome = self.executor.run(parts);
            drop(end);
            outcome
        })
    }

    fn is_parallel(&self) -> bool {
        self.executor.is_parallel()
    }

    fn interrupt(&self) -> Option<Interrupt> {
        self.executor.interrupt()
    }

    fn rebuild(&mut self) -> Result<(), Error> {
        self.executor.rebuild()
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::sync::Arc;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread;
    use std::time::Duration;

    use parking_lot::Mutex;

    use super::InTurn;
    use crate::batch::{Seat, Turns};
    use crate::device::{Executor, Interrupt};
    use crate::types::{Error, Reason, Rows, Tensor};

    /// Tells of each batch, and computes until it is let go or interrupted.
    struct Held {
        begins: Sender<()>,
        release: Receiver<()>,
        interrupt: Arc<Mutex<Option<Sender<()>>>>,
    }

    impl Executor for Held {
        fn run(&mut self, _parts: &[Rows]) -> Result<Vec<Tensor>, Error> {
            self.begins.send(()).expect("the test listens");
            self.release.recv().map(|()| Vec::new()).map_err(|_| Error::new(Reason::DeviceLost, "interrupted"))
        }

        fn interrupt(&self) -> Option<Interrupt> {
            let release = Arc::clone(&self.interrupt);
            Some(Arc::new(move || drop(release.lock().take())))
        }

        fn rebuild(&mut self) -> Result<(), Error> {
            Ok(())
        }
    }

    fn held() -> (Held, Receiver<()>, Sender<()>) {
        let (begins, begun) = channel();
        let (let_go, release) = channel();
        (Held { begins, release, interrupt: Arc::default() }, begun, let_go)
    }

    fn seat(turns: &Arc<Turns>) -> Seat {
        turns.seat(NonZeroUsize::MIN)
    }

    #[test]
    fn a_batch_waits_until_the_device_is_free_and_has_it_until_it_ends() {
        let turns = Arc::<Turns>::default();
        let (other, (mut executor, begun, let_go)) = (seat(&turns), held());
        let taken = other.turn_aside();
        thread::scope(|scope| {
            let warming = scope.spawn(|| InTurn::new(&mut executor, seat(&turns)).run(&[]));
            assert!(begun.recv_timeout(Duration::from_millis(50)).is_err(), "it runs beside another");
            drop(taken);
            begun.recv().expect("it runs");
            let next = scope.spawn(|| drop(other.turn_aside()));
            assert!(!next.is_finished());
            let_go.send(()).expect("it waits for that");
            assert_eq!(warming.join().expect("no panic").map(|outputs| outputs.len()), Ok(0));
        });
    }

    #[test]
    fn a_batch_that_hangs_is_interrupted() {
        let (mut executor, _begun, let_go) = held();
        *executor.interrupt.lock() = Some(let_go);
        let mut in_turn = InTurn::new(&mut executor, seat(&Arc::default()));
        in_turn.batch_max = Duration::from_millis(20);
        assert_eq!(in_turn.run(&[]).expect_err("interrupted").reason(), Reason::DeviceLost);
    }
}
