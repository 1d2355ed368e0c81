//! Two batches on one device, on a virtual clock: what is given ahead, whose time is counted, and who is told what.
#![expect(clippy::disallowed_methods, reason = "tests start tasks")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Duration, Instant, sleep};

use super::super::{Calls, Job, Limits, Listener, Queue, Ran, Seat, Suspects, Ticket, Turns, Unit, Worker};
use crate::device::{Device, Executor, Simulated};
use crate::types::{Error, Reason, Rows, Shape, Tensor};

/// Rows of a full batch.
const FULL: usize = 4;
const MILLI: Duration = Duration::from_millis(1);
/// How long a batch takes.
const COST: Duration = Duration::from_millis(10);
/// How long one may take.
const PATIENCE: Duration = Duration::from_millis(15);

const REFUSED: f32 = 13.0;
const PANIC: f32 = 99.0;
const DEADLY: f32 = 66.0;
const HANGS: f32 = 77.0;

/// Doubles values, or fails as they say; what has died fails all that it has been given.
struct Doubling {
    /// Has it memory for half of a full batch only?
    scarce: bool,
    dead: Arc<AtomicBool>,
}

impl Executor for Doubling {
    fn run(&mut self, parts: &[Rows]) -> Result<Vec<Tensor>, Error> {
        let joined = Tensor::join(parts.iter().map(|part| &part.inputs()[0])).expect("same shapes");
        let values = joined.to_f32().expect("f32");
        if values.contains(&DEADLY) {
            self.dead.store(true, Relaxed);
        }
        if self.dead.load(Relaxed) {
            return Err(Error::new(Reason::DeviceLost, "the device died"));
        }
        if values.contains(&PANIC) {
            std::panic::resume_unwind(Box::new("on these rows"));
        }
        if values.contains(&REFUSED) {
            return Err(Error::new(Reason::Model, "thirteen"));
        }
        if self.scarce && values.len() > FULL / 2 {
            return Err(Error::new(Reason::DeviceMemory, "out of memory"));
        }
        let doubled: Vec<f32> = values.iter().map(|value| value * 2.0).collect();
        Ok(vec![Tensor::from_f32(joined.shape().clone(), &doubled).expect("a tensor")])
    }

    fn rebuild(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

/// A batch that the device was given: when, and the first value of each item.
#[derive(Clone, Debug)]
struct Given {
    at: Duration,
    values: Vec<f32>,
}

/// What a listener has heard.
#[derive(Default)]
struct Heard {
    lost: Mutex<Vec<(Reason, usize, bool)>>,
    hung: Mutex<Vec<(usize, bool)>>,
    forbids: AtomicBool,
}

impl Listener for Heard {
    fn ran(&self, _batch: Ran, _now: Instant) {}
    fn bisected(&self) {}
    fn panicked(&self) {}

    fn patience(&self, _size: usize) -> Option<Duration> {
        Some(PATIENCE)
    }

    fn device_failed(&self, suspects: Suspects<'_>, error: &Error, _now: Instant) {
        self.lost.lock().push((error.reason(), suspects.rows.len(), suspects.beside));
    }

    fn suspect(&self, suspects: Suspects<'_>) {
        self.hung.lock().push((suspects.rows.len(), suspects.beside));
    }

    fn permits_ahead(&self, _now: Instant) -> bool {
        !self.forbids.load(Relaxed)
    }
}

struct World {
    queue: Arc<Queue>,
    heard: Arc<Heard>,
    given: Arc<Mutex<Vec<Given>>>,
    dead: Arc<AtomicBool>,
    work: JoinHandle<()>,
}

impl World {
    fn new() -> Self {
        Self::with(None, false)
    }

    /// With a device that is shared by this seat, and that has memory for half of a full batch only if it is `scarce`.
    fn with(seat: Option<Seat>, scarce: bool) -> Self {
        let limits = Limits {
            unit: Unit::Rows,
            batch_rows_max: FULL,
            batch_size_max: FULL,
            preferred_sizes: Vec::new(),
            hold_max: Duration::ZERO,
            queue_size_max: 1024,
            levels: 1,
            overtake_max: 8,
        };
        let queue = Queue::new(limits, Arc::new(Calls::default()));
        let (heard, given, dead) = (Arc::<Heard>::default(), Arc::<Mutex<Vec<Given>>>::default(), Arc::default());
        let begun = Instant::now();
        let timing = || {
            let given = Arc::clone(&given);
            Box::new(move |parts: &[Rows]| {
                let values: Vec<f32> = parts.iter().map(|part| part.inputs()[0].to_f32().expect("f32")[0]).collect();
                let takes = if values.contains(&HANGS) { Duration::from_hours(1) } else { COST };
                given.lock().push(Given { at: begun.elapsed(), values });
                takes
            })
        };
        let executor = || Box::new(Doubling { scarce, dead: Arc::clone(&dead) });
        let simulated = Simulated::new(executor(), timing(), Arc::<Notify>::default());
        let device = Device::Simulated(simulated.with_ahead(executor(), timing()));
        let worker = Worker::new(Arc::clone(&queue), device, seat, Arc::clone(&heard) as Arc<dyn Listener>);
        let work = tokio::spawn(worker.work());
        Self { queue, heard, given, dead, work }
    }

    fn submit(&self, job: Job) -> Ticket {
        let ticket = self.queue.submit(job).expect("room");
        self.queue.wake();
        ticket
    }

    /// Items of a row each.
    fn ask(&self, values: [f32; FULL]) -> [Ticket; FULL] {
        values.map(|value| self.submit(job(&[value])))
    }

    fn given(&self) -> Vec<(u128, Vec<f32>)> {
        self.given.lock().iter().map(|given| (given.at.as_millis(), given.values.clone())).collect()
    }

    async fn end(self) {
        self.queue.close();
        self.work.await.expect("no panic");
    }
}

fn job(values: &[f32]) -> Job {
    let inputs = vec![Tensor::from_f32(Shape::new(&[values.len(), 1]), values).expect("a tensor")];
    let rows = Rows::uniform(inputs, values.len());
    Job { rows, level: 0, client: 0, deadline: None, arrived: Instant::now(), alone: false }
}

/// What an item was told: the first value of its answer, or the reason of its error.
async fn told(ticket: Ticket) -> Result<f32, Reason> {
    let answer = ticket.answer().await.map_err(|error| error.reason())?;
    Ok(answer.outputs[0].to_f32().expect("f32")[0])
}

async fn all_told(tickets: [Ticket; FULL]) -> Vec<Result<f32, Reason>> {
    let mut outcomes = Vec::new();
    for ticket in tickets {
        outcomes.push(told(ticket).await);
    }
    outcomes
}

#[tokio::test(start_paused = true)]
async fn a_full_batch_is_given_ahead_and_anything_less_waits() {
    let world = World::new();
    let first = world.ask([1.0, 2.0, 3.0, 4.0]);
    sleep(MILLI).await;
    let second = world.ask([5.0, 6.0, 7.0, 8.0]);
    let [third, fourth] = [9.0, 10.0].map(|value| world.submit(job(&[value])));
    sleep(COST + MILLI).await;
    // The second is computed; what waits is less than a batch until now.
    let [fifth, sixth] = [11.0, 12.0].map(|value| world.submit(job(&[value])));
    assert_eq!(all_told(first).await, [2.0, 4.0, 6.0, 8.0].map(Ok));
    let [ticket, rest @ ..] = second;
    let report = ticket.answer().await.expect("an answer").report;
    // It began when the first ended.
    assert_eq!((report.queue, report.compute), (9 * MILLI, COST));
    for (ticket, value) in rest.into_iter().zip([12.0, 14.0, 16.0]) {
        assert_eq!(told(ticket).await, Ok(value));
    }
    assert_eq!(all_told([third, fourth, fifth, sixth]).await, [18.0, 20.0, 22.0, 24.0].map(Ok));
    let full = |from: f32| (0..4_u8).map(|at| from + f32::from(at)).collect::<Vec<_>>();
    assert_eq!(world.given(), [(0, full(1.0)), (1, full(5.0)), (12, full(9.0))]);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_full_batches_costs_what_the_device_takes_and_no_more_than_two_are_with_it() {
    let world = World::new();
    let values = |batch: u8| [0, 1, 2, 3].map(|at| f32::from(batch * 4 + at + 100));
    let batches: Vec<_> = (0..20).map(|batch| world.ask(values(batch))).collect();
    for (batch, tickets) in (0..).zip(batches) {
        assert_eq!(all_told(tickets).await, values(batch).map(|value| Ok(value * 2.0)));
    }
    let at: Vec<u128> = world.given().iter().map(|(at, _)| *at).collect();
    let expected: Vec<u128> = (0..20).map(|batch: u128| batch.saturating_sub(1) * 10).collect();
    assert_eq!(at, expected, "each is given when the one before the last ends");
    assert_eq!(world.queue.full_batch(), COST);
    assert_eq!(*world.heard.lost.lock(), [], "none is overdue for having waited");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_fails_of_one_batch_leaves_the_other_alone() {
    for (guilty, reason) in [(REFUSED, Reason::Model), (PANIC, Reason::Panic)] {
        for first_fails in [true, false] {
            let world = World::new();
            let failing = ([1.0, guilty, 3.0, 4.0], [Ok(2.0), Err(reason), Ok(6.0), Ok(8.0)]);
            let sound = ([5.0, 6.0, 7.0, 8.0], [10.0, 12.0, 14.0, 16.0].map(Ok));
            let order = if first_fails { [failing, sound] } else { [sound, failing] };
            let asked = order.map(|(values, expected)| (world.ask(values), expected));
            for (tickets, expected) in asked {
                assert_eq!(all_told(tickets).await, expected);
            }
            world.end().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn batches_that_do_not_fit_the_memory_are_halved_each_by_itself() {
    let world = World::with(None, true);
    let both = [[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]];
    let tickets = both.map(|values| world.ask(values));
    // One item that has to be cut.
    let large = world.submit(job(&[1.5, 2.5, 3.5, 4.5]));
    for (values, tickets) in both.into_iter().zip(tickets) {
        assert_eq!(all_told(tickets).await, values.map(|value| Ok(value * 2.0)));
    }
    let outputs = large.answer().await.expect("an answer").outputs;
    assert_eq!(outputs[0].to_f32(), Some(vec![3.0, 5.0, 7.0, 9.0]));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_device_that_is_lost_is_lost_to_both_and_either_is_suspect() {
    let world = World::new();
    let first = world.ask([1.0, DEADLY, 3.0, 4.0]);
    let second = world.submit(job(&[5.0, 6.0, 7.0, 8.0]));
    assert_eq!(all_told(first).await, [Err(Reason::DeviceLost); FULL]);
    assert_eq!(told(second).await, Err(Reason::DeviceLost));
    let lost = (Reason::DeviceLost, FULL, true);
    assert_eq!(*world.heard.lost.lock(), [lost, (lost.0, 1, true)], "a single item is not found guilty");
    world.dead.store(false, Relaxed);
    let deadly = world.submit(job(&[DEADLY, 0.0, 0.0, 0.0]));
    assert_eq!(told(deadly).await, Err(Reason::DeviceLost));
    assert_eq!(world.heard.lost.lock()[2], (lost.0, 1, false));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_overdue_by_its_own_time_only() {
    let world = World::new();
    let begun = Instant::now();
    let hanging = world.ask([1.0, HANGS, 3.0, 4.0]);
    let behind = world.ask([5.0, 6.0, 7.0, 8.0]);
    assert_eq!(all_told(hanging).await, [Err(Reason::DeviceOverdue); FULL]);
    assert_eq!(begun.elapsed(), PATIENCE);
    // Given at the beginning, and computed after the interrupt.
    assert_eq!(all_told(behind).await, [10.0, 12.0, 14.0, 16.0].map(Ok));
    assert_eq!(begun.elapsed(), PATIENCE + COST);
    let behind = [[9.0, 10.0, 11.0, 12.0], [HANGS, 2.0, 3.0, 4.0]].map(|values| world.ask(values));
    let [sound, hanging] = behind;
    assert_eq!(all_told(sound).await, [18.0, 20.0, 22.0, 24.0].map(Ok));
    assert_eq!(all_told(hanging).await, [Err(Reason::DeviceOverdue); FULL]);
    assert_eq!(begun.elapsed(), 2 * PATIENCE + 2 * COST);
    assert_eq!(*world.heard.hung.lock(), [(FULL, true), (FULL, true)]);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_must_be_alone_is_alone_with_the_device() {
    let world = World::new();
    let suspect = || Job { alone: true, ..job(&[5.0, 6.0, 7.0, 8.0]) };
    let first = world.ask([1.0, 2.0, 3.0, 4.0]);
    sleep(MILLI).await;
    let alone = world.submit(suspect());
    let last = world.ask([9.0, 10.0, 11.0, 12.0]);
    for ticket in first.into_iter().chain([alone]).chain(last) {
        told(ticket).await.expect("an answer");
    }
    let at: Vec<u128> = world.given().iter().map(|(at, _)| *at).collect();
    assert_eq!(at, [0, 10, 20]);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_device_that_another_waits_for_or_that_is_tried_is_given_nothing_ahead() {
    let turns = Arc::new(Turns::default());
    let seat = || turns.seat(1.try_into().expect("a weight"));
    let (own, other) = (seat(), seat());
    let world = World::with(Some(own), false);
    let first = world.ask([1.0, 2.0, 3.0, 4.0]);
    sleep(MILLI).await;
    let queue = Arc::clone(&world.queue);
    let other = tokio::spawn(async move { drop(other.turn(&queue).await) });
    sleep(MILLI).await;
    let second = world.ask([5.0, 6.0, 7.0, 8.0]);
    all_told(first).await;
    all_told(second).await;
    other.await.expect("had its turn");
    world.heard.forbids.store(true, Relaxed);
    let both = [[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]].map(|values| world.ask(values));
    for tickets in both {
        all_told(tickets).await;
    }
    let at: Vec<u128> = world.given().iter().map(|(at, _)| *at).collect();
    assert_eq!(at, [0, 10, 20, 30]);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_closes_ends_with_both_answered() {
    let world = World::new();
    let both = [[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]].map(|values| world.ask(values));
    let rest = world.submit(job(&[9.0]));
    sleep(MILLI).await;
    let (begun, end) = (Instant::now(), tokio::spawn(world.end()));
    for tickets in both {
        assert!(all_told(tickets).await.iter().all(Result::is_ok));
    }
    assert_eq!(told(rest).await, Ok(18.0));
    end.await.expect("an end");
    assert_eq!(begun.elapsed(), 29 * MILLI);
}

#[tokio::test(start_paused = true)]
async fn who_has_gone_or_expired_is_not_given_ahead() {
    let world = World::new();
    let first = world.ask([1.0, 2.0, 3.0, 4.0]);
    sleep(MILLI).await;
    let [gone, kept] = [5.0, 6.0].map(|value| world.submit(job(&[value])));
    drop(gone);
    let hasty = world.submit(Job { deadline: Some(Instant::now() + MILLI), ..job(&[7.0]) });
    sleep(2 * MILLI).await;
    let rest = [8.0, 9.0, 10.0].map(|value| world.submit(job(&[value])));
    assert_eq!(told(hasty).await, Err(Reason::Deadline));
    all_told(first).await;
    for (ticket, value) in [kept].into_iter().chain(rest).zip([12.0, 16.0, 18.0, 20.0]) {
        assert_eq!(told(ticket).await, Ok(value));
    }
    assert_eq!(world.given()[1], (3, vec![6.0, 8.0, 9.0, 10.0]));
    world.end().await;
}
