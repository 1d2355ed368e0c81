//! Who runs a model's batches: a task of the model's own, or, where that is sooner, the request that just arrived.

use std::pin::pin;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::{Duration, Instant};

use super::flight::Flight;
use super::policy::Batch;
use super::queue::{Job, PartAnswer, Queue, Step, Waiting};
use super::run::Run;
use super::shapes::{BatchShape, Shapes};
use super::turns::{Seat, Turn};
use crate::device::Device;
use crate::types::{Error, Release, Rows};

/// A hold shorter than the timer's resolution is waited out by yielding, at most so often.
const YIELDS_MAX: u32 = 4096;
const TIMER_RESOLUTION: Duration = Duration::from_millis(1);
/// Calls that have begun are decoded within so long, as a rule.
const COMPANY_WITHIN: Duration = Duration::from_micros(50);

/// Hears what a worker does, to count it.
pub trait Listener: Send + Sync {
    /// A batch ended at `now`; its requests have not been answered yet.
    fn ran(&self, batch: Ran, now: Instant);
    /// A failed batch was cut in two.
    fn bisected(&self);
    /// The model panicked and its executor was rebuilt.
    fn panicked(&self);
    /// How long a batch of this size may take before its requests are told that the device is overdue; `None` for as long
    /// as it takes.
    fn patience(&self, _size: usize) -> Option<Duration> {
        None
    }
    /// A batch of this size was computed in so long.
    fn computed(&self, _size: usize, _took: Duration) {}
    /// The device failed a batch: it was lost with these rows, was overdue, or has too little memory.
    fn device_failed(&self, _suspects: Suspects<'_>, _error: &Error, _now: Instant) {}
    /// The device hung on these rows.
    fn suspect(&self, _suspects: Suspects<'_>) {}
    /// May the device be given a batch before it has answered the last one?
    fn permits_ahead(&self, _now: Instant) -> bool {
        true
    }
}

/// Rows with which a device failed; none where they are not to blame.
#[derive(Clone, Copy, Debug, Default)]
pub struct Suspects<'a> {
    /// The parts of a batch.
    pub rows: &'a [Rows],
    /// Was another batch with the device, which may be to blame as well?
    pub beside: bool,
}

/// A batch that ran, whether it failed or not.
#[derive(Clone, Copy, Debug)]
pub struct Ran {
    /// Its rows.
    pub rows: usize,
    /// Its size: rows, or tokens.
    pub size: usize,
    /// What was computed beside that, to fill the batch up.
    pub padding: usize,
    /// Was the device given it while it computed another?
    pub ahead: bool,
    /// Why it was released when it was.
    pub release: Release,
}

/// A queue and the device that serves it.
pub struct Worker {
    queue: Arc<Queue>,
    /// Taken by whoever runs a batch.
    device: Mutex<Option<Ways>>,
    inline: bool,
    /// Where the device's cores are shared with other models.
    pub(super) seat: Option<Seat>,
    shapes: Shapes,
    pub(super) listener: Arc<dyn Listener>,
    pub(super) flight: Flight,
}

/// The ways into a device: a second one where the next batch can be copied there while one is computed.
struct Ways {
    first: Device,
    ahead: Option<Device>,
}

impl Worker {
    /// A worker that serves `queue` on `device`, when it has its turn where there is a `seat`.
    pub fn new(queue: Arc<Queue>, mut device: Device, seat: Option<Seat>, listener: Arc<dyn Listener>) -> Arc<Self> {
        let inline = matches!(device, Device::Inline(_));
        let ahead = device.ahead();
        let device = Mutex::new(Some(Ways { first: device, ahead }));
        let (shapes, flight) = (Shapes::default(), Flight::default());
        Arc::new(Self { queue, device, inline, seat, shapes, listener, flight })
    }

    /// Where rows wait for it.
    pub fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }

    /// Does it run on the network's threads, in batches so short that no request needs a timer of its own?
    pub fn is_inline(&self) -> bool {
        self.inline
    }

    /// The shapes of the last batches that differed, the latest first.
    pub fn shapes(&self) -> Vec<BatchShape> {
        self.shapes.latest()
    }

    /// Has a job done. On an inline device with nobody else about to join, the caller runs the batch itself: a hop to
    /// another task would cost more than the batch.
    ///
    /// Not cancel safe: dropping it withdraws the job.
    pub async fn ask(&self, job: Job) -> Result<PartAnswer, Error> {
        let ticket = self.queue.submit(job)?;
        if self.inline && !self.queue.expects_company() {
            self.lead().await;
        } else {
            self.queue.wake();
        }
        ticket.answer().await
    }

    /// Runs what is released now, if the device is free; leaves the rest to the worker's task.
    async fn lead(&self) {
        if let Some(mut device) = self.take()
            && let Step::Run(batch, now) = self.queue.step()
        {
            self.run(&mut device.get().first, batch, now).await;
        }
        if self.queue.needs_worker() {
            self.queue.wake();
        }
    }

    /// Serves the queue until it is closed and empty: the worker's task.
    ///
    /// Not cancel safe: what runs when it is dropped is answered with an error.
    pub async fn work(self: Arc<Self>) {
        let mut yields = 0;
        loop {
            let Some(mut device) = self.take() else {
                // A request leads; it wakes us if it leaves anything.
                self.queue.wait(None).await;
                continue;
            };
            let mut turn = self.turn(self.queue.rows() > 0).await;
            let step = self.queue.step();
            if matches!(step, Step::Run(..)) && turn.is_none() {
                // What is to run has come since it was looked whether anything waits.
                turn = self.turn(true).await;
            }
            match step {
                Step::Run(batch, now) => {
                    yields = 0;
                    match device.get() {
                        Ways { first, ahead: None } => self.run(first, batch, now).await,
                        Ways { first, ahead: Some(ahead) } => self.run_in_turn([first, ahead], batch, now).await,
                    }
                    drop((device, turn));
                    // Lets answers leave and requests arrive before the next batch is chosen.
                    if self.queue.rows() > 0 {
                        tokio::task::yield_now().await;
                    }
                }
                Step::Wait(None) => {
                    drop((device, turn));
                    self.queue.wait(None).await;
                    self.let_company_arrive().await;
                }
                Step::Wait(Some(until)) if yields < YIELDS_MAX && until < Instant::now() + TIMER_RESOLUTION => {
                    drop((device, turn));
                    yields += 1;
                    tokio::task::yield_now().await;
                }
                Step::Wait(Some(until)) => {
                    drop((device, turn));
                    self.queue.wait(Some(until)).await;
                }
                Step::End => return,
            }
        }
    }

    pub(super) async fn run(&self, device: &mut Device, batch: Batch<Waiting>, now: Instant) {
        self.shapes.note(&batch);
        let mut run = Run { queue: &self.queue, device, listener: &*self.listener, flight: &self.flight };
        run.batch(batch, now).await;
    }

    /// Waits for the model's turn, if it is `wanted` and the device is shared; answers what expires meanwhile.
    async fn turn(&self, wanted: bool) -> Option<Turn<'_>> {
        let seat = self.seat.as_ref().filter(|_| wanted)?;
        let mut turn = pin!(seat.turn(&self.queue));
        tokio::select! {
            biased;
            turn = &mut turn => Some(turn),
            () = self.queue.expire() => Some(turn.await),
        }
    }

    /// What has arrived together is decoded before the batch is chosen: where that happens on this thread, once it has
    /// its turn; where it happens on others, within a moment.
    async fn let_company_arrive(&self) {
        let begun = Instant::now();
        for _ in 0..YIELDS_MAX {
            if !self.queue.expects_company() {
                return;
            }
            tokio::task::yield_now().await;
            if self.inline || begun.elapsed() > COMPANY_WITHIN {
                return;
            }
        }
    }

    fn take(&self) -> Option<Taken<'_>> {
        let device = self.device.lock().take()?;
        Some(Taken { slot: &self.device, device: Some(device) })
    }
}

/// The device in use; put back when dropped, also by a panic.
struct Taken<'a> {
    slot: &'a Mutex<Option<Ways>>,
    device: Option<Ways>,
}

impl Taken<'_> {
    fn get(&mut self) -> &mut Ways {
        self.device.as_mut().expect("it is there until the drop")
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        *self.slot.lock() = self.device.take();
    }
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;
