//! Queue and worker over a fake device: who gets which rows, and who is blamed.
#![expect(clippy::disallowed_methods, reason = "tests start tasks and block device threads")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::time::{Duration, Instant};

use super::super::{Calls, Job, Limits, Queue, Ticket, Unit};
use super::{Listener, Ran, Worker};
use crate::device::{Cores, Device, Executor};
use crate::types::{Error, Reason, Release, Rows, Shape, Tensor};

/// Doubles every value; refuses 13, panics on 99, loses the rows on 17, sleeps for a while on 7.
struct Doubling;

impl Executor for Doubling {
    fn run(&mut self, parts: &[Rows]) -> Result<Vec<Tensor>, Error> {
        let joined = Tensor::join(parts.iter().map(|part| &part.inputs()[0])).expect("same shapes");
        let values = joined.to_f32().expect("f32");
        assert!(!values.contains(&99.0), "ninety-nine");
        if values.contains(&13.0) {
            return Err(Error::new(Reason::Model, "thirteen"));
        }
        if values.contains(&17.0) {
            return Ok(vec![Tensor::from_f32(Shape::new(&[0, 1]), &[]).expect("a tensor")]);
        }
        if values.contains(&7.0) {
            std::thread::sleep(Duration::from_millis(400));
        }
        let doubled: Vec<f32> = values.iter().map(|value| value * 2.0).collect();
        Ok(vec![Tensor::from_f32(joined.shape().clone(), &doubled).expect("a tensor")])
    }

    fn rebuild(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

#[derive(Default)]
struct Counts {
    batches: AtomicUsize,
    bisections: AtomicUsize,
    panics: AtomicUsize,
}

impl Listener for Counts {
    fn ran(&self, _batch: Ran, _now: Instant) {
        self.batches.fetch_add(1, Ordering::Relaxed);
    }

    fn bisected(&self) {
        self.bisections.fetch_add(1, Ordering::Relaxed);
    }

    fn panicked(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }
}

fn queue(queue_rows_max: usize) -> Arc<Queue> {
    Queue::new(
        Limits {
            unit: Unit::Rows,
            batch_rows_max: 16,
            batch_size_max: 16,
            preferred_sizes: Vec::new(),
            hold_max: Duration::from_millis(2),
            queue_size_max: queue_rows_max,
            levels: 2,
            overtake_max: 8,
        },
        Arc::new(Calls::default()),
    )
}

fn job(values: &[f32]) -> Job {
    let inputs = vec![Tensor::from_f32(Shape::new(&[values.len(), 1]), values).expect("a tensor")];
    let rows = Rows::uniform(inputs, values.len());
    Job { rows, level: 0, client: 0, deadline: None, arrived: Instant::now(), alone: false }
}

async fn ask(worker: &Worker, values: &[f32]) -> Result<Vec<f32>, Error> {
    let answer = worker.ask(job(values)).await?;
    Ok(answer.outputs[0].to_f32().expect("f32"))
}

fn submit(queue: &Arc<Queue>, job: Job) -> Ticket {
    let ticket = queue.submit(job).expect("room");
    queue.wake();
    ticket
}

fn worker(queue: &Arc<Queue>, device: Device) -> (Arc<Worker>, Arc<Counts>) {
    let counts = Arc::new(Counts::default());
    (Worker::new(Arc::clone(queue), device, None, Arc::clone(&counts) as Arc<dyn Listener>), counts)
}

/// A worker with its task.
fn start(queue: &Arc<Queue>, device: Device) -> (Arc<Worker>, Arc<Counts>) {
    let (worker, counts) = worker(queue, device);
    tokio::spawn(Arc::clone(&worker).work());
    (worker, counts)
}

fn inline() -> Device {
    Device::Inline(Box::new(Doubling))
}

fn threaded() -> Device {
    let cores = Cores::new("test", 1).expect("a pool");
    Device::on_thread("test", Box::new(Doubling), cores).expect("a thread")
}

#[tokio::test]
async fn rows_keep_their_owner_and_share_batches() {
    let queue = queue(1024);
    let (worker, counts) = start(&queue, inline());
    let _begun: Vec<_> = (0..100).map(|_| queue.calls().begin()).collect();
    let asks: Vec<_> = (0..100_u16)
        .map(|value| {
            let worker = Arc::clone(&worker);
            tokio::spawn(async move { (value, ask(&worker, &[f32::from(value) * 100.0, 1.0]).await) })
        })
        .collect();
    for ask in asks {
        let (value, answer) = ask.await.expect("no panic");
        assert_eq!(answer.expect("an answer"), [f32::from(value) * 200.0, 2.0]);
    }
    assert!(counts.batches.load(Ordering::Relaxed) < 50, "batches were shared");
}

#[tokio::test]
async fn requests_larger_than_a_batch_are_cut_and_joined() {
    for device in [inline(), threaded()] {
        let queue = queue(1024);
        let (worker, _) = start(&queue, device);
        let values: Vec<f32> = (20..70_u8).map(f32::from).collect();
        let doubled: Vec<f32> = values.iter().map(|value| value * 2.0).collect();
        assert_eq!(ask(&worker, &values).await.expect("an answer"), doubled);
    }
}

#[test]
fn a_request_that_cannot_be_cut_is_refused() {
    let input = |rows: usize| Tensor::from_f32(Shape::new(&[rows, 1]), &vec![1.0; rows]).expect("a tensor");
    let uneven = Job { rows: Rows::uniform(vec![input(20), input(19)], 20), ..job(&[]) };
    let refused = queue(1024).submit(uneven).expect_err("19 rows are not 20");
    assert_eq!((refused.reason(), refused.detail()), (Reason::Invalid, "inputs differ in their number of rows"));
}

#[tokio::test]
async fn only_the_guilty_request_fails() {
    for device in [inline(), threaded()] {
        let queue = queue(1024);
        let asks: Vec<_> = [1.0, 2.0, 13.0, 4.0, 99.0, 6.0, 8.0, 9.0]
            .into_iter()
            .map(|value| (value, queue.submit(job(&[value])).expect("room")))
            .collect();
        let (worker, counts) = start(&queue, device);
        queue.wake();
        for (value, ticket) in asks {
            let answer = ticket.answer().await;
            match value {
                13.0 => assert_eq!(answer.expect_err("refused").detail(), "thirteen"),
                99.0 => assert_eq!(answer.expect_err("panicked").reason(), Reason::Panic),
                value => assert_eq!(answer.expect("an answer").outputs[0].to_f32(), Some(vec![value * 2.0])),
            }
        }
        assert!(counts.bisections.load(Ordering::Relaxed) > 0);
        assert!(counts.panics.load(Ordering::Relaxed) > 0);
        assert_eq!(ask(&worker, &[5.0]).await.expect("serves on"), [10.0]);
    }
}

#[tokio::test]
async fn a_full_queue_refuses_and_cancelled_work_leaves_it() {
    let queue = queue(4);
    let kept = queue.submit(job(&[1.0, 2.0])).expect("room");
    let dropped = queue.submit(job(&[3.0, 4.0])).expect("room");
    let refused = queue.submit(job(&[5.0])).expect_err("full");
    assert_eq!(refused.detail(), "queue full: 4 rows are waiting, 1 more exceed the limit of 4");
    assert!(refused.pushback().is_some());
    drop(dropped);
    assert_eq!(queue.rows(), 2);
    let (_, counts) = start(&queue, inline());
    assert_eq!(kept.answer().await.expect("an answer").report.rows, 2);
    assert_eq!(counts.batches.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn what_expires_while_the_device_is_busy_is_answered_then_and_never_run() {
    let queue = queue(64);
    let (_, counts) = start(&queue, threaded());
    let slow = submit(&queue, job(&[7.0]));
    while queue.rows() > 0 {
        tokio::task::yield_now().await;
    }
    let begun = Instant::now();
    let mut hasty = job(&[1.0]);
    hasty.deadline = Some(begun + Duration::from_millis(10));
    let late = submit(&queue, hasty).answer().await.expect_err("expired");
    assert_eq!(late.reason(), Reason::Deadline);
    assert!(begun.elapsed() < Duration::from_millis(300), "answered while the device was busy");
    assert_eq!(slow.answer().await.expect("an answer").outputs[0].to_f32(), Some(vec![14.0]));
    assert_eq!(counts.batches.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_closed_queue_is_emptied_and_its_worker_ends() {
    let queue = queue(64);
    let waiting = queue.submit(job(&[1.0])).expect("room");
    queue.close();
    let refused = queue.submit(job(&[1.0])).expect_err("closed");
    assert_eq!((refused.reason(), refused.detail()), (Reason::Draining, "the server is shutting down"));
    worker(&queue, inline()).0.work().await;
    assert_eq!(waiting.answer().await.expect("an answer").report.release, Release::Drain);
}

#[tokio::test]
async fn a_request_with_no_company_to_expect_runs_its_own_batch() {
    let queue = queue(64);
    // Without a task: who else could run it?
    let (worker, counts) = worker(&queue, inline());
    let _begun = queue.calls().begin();
    assert_eq!(ask(&worker, &[1.0]).await.expect("an answer"), [2.0]);
    assert_eq!(ask(&worker, &[13.0]).await.expect_err("refused").detail(), "thirteen");
    let panicked = ask(&worker, &[99.0]).await.expect_err("panicked");
    assert_eq!((panicked.reason(), panicked.detail()), (Reason::Panic, "the model failed on these rows"));
    let lost = ask(&worker, &[17.0, 18.0]).await.expect_err("lost");
    assert_eq!((lost.reason(), lost.detail()), (Reason::Model, "the model did not give 2 rows for 2 rows"));
    assert_eq!(ask(&worker, &[4.0]).await.expect("serves on"), [8.0]);
    assert_eq!(counts.batches.load(Ordering::Relaxed), 5);
}
