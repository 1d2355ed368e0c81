//! Answers that their client does not read: each stream is watched, and reset when it has long made no progress.
//!
//! hyper runs each call in a task and hands the body's frames on as the client's window opens, but has no limit for how
//! long that may take. The executor that is given to it wraps those tasks. While one is polled, the body's wrapper notes
//! in a thread-local what it did; afterwards the task knows whether it waits for the client or for the server.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use hyper::rt::Executor;
use hyper_util::rt::TokioExecutor;
use pin_project_lite::pin_project;
use tokio::time::{Duration, Sleep, sleep};

use super::tally::Tally;

/// What was last seen of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// Nothing since the task was last polled.
    Nothing,
    /// Something was handed on, which the client is to read.
    HandedOn,
    /// The server has not made the next part yet.
    NotReady,
}

thread_local! {
    static SEEN: Cell<Seen> = const { Cell::new(Seen::Nothing) };
}

/// Notes that the head of an answer is handed on.
pub(super) fn answered() {
    SEEN.set(Seen::HandedOn);
}

pin_project! {
    /// A body that notes its progress.
    pub(super) struct Paced<B> {
        #[pin]
        body: B,
    }
}

impl<B> Paced<B> {
    pub(super) fn new(body: B) -> Self {
        Self { body }
    }
}

impl<B: Body> Body for Paced<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = self.project().body.poll_frame(context);
        SEEN.set(if frame.is_ready() { Seen::HandedOn } else { Seen::NotReady });
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Runs hyper's tasks, each watched.
#[derive(Clone)]
pub(super) struct Streams {
    patience: Duration,
    tally: Arc<Tally>,
}

impl Streams {
    /// Streams whose client may make no progress for `patience`.
    pub(super) fn new(patience: Duration, tally: Arc<Tally>) -> Self {
        Self { patience, tally }
    }
}

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        TokioExecutor::new().execute(Watched { task, streams: self.clone(), waits: false, stalled: None });
    }
}

pin_project! {
    /// A task that ends when its client has long not read what it was handed. Dropping the task resets the stream.
    struct Watched<F> {
        #[pin]
        task: F,
        streams: Streams,
        // Was something handed on that the client is yet to read?
        waits: bool,
        stalled: Option<Pin<Box<Sleep>>>,
    }
}

impl<F: Future<Output = ()>> Future for Watched<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        SEEN.set(Seen::Nothing);
        if this.task.poll(context).is_ready() {
            return Poll::Ready(());
        }
        match SEEN.replace(Seen::Nothing) {
            Seen::Nothing => {}
            Seen::HandedOn => (*this.waits, *this.stalled) = (true, None),
            Seen::NotReady => (*this.waits, *this.stalled) = (false, None),
        }
        if !*this.waits {
            return Poll::Pending;
        }
        let patience = this.streams.patience;
        let stalled = this.stalled.get_or_insert_with(|| Box::pin(sleep(patience)));
        if stalled.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        this.streams.tally.stalled_answers.up();
        Poll::Ready(())
    }
}
