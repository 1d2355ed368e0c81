//! How long a connection has been without a call.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use http::Response;
use hyper::service::Service;
use pin_project_lite::pin_project;
use tokio::time::{Duration, Instant, sleep_until};

use super::pace::{self, Paced};

/// Calls in progress on a connection, and when the last one ended.
pub(super) struct Activity {
    opened: Instant,
    calls: AtomicUsize,
    /// Nanoseconds from the opening to the end of the last call.
    ended: AtomicU64,
}

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { opened: Instant::now(), calls: AtomicUsize::new(0), ended: AtomicU64::new(0) })
    }

    /// Ends when there has been no call for `limit`. Cancel safe.
    pub(super) async fn idle(&self, limit: Duration) {
        loop {
            let now = Instant::now();
            let busy = self.calls.load(Ordering::Relaxed) > 0;
            let last = self.opened + Duration::from_nanos(self.ended.load(Ordering::Relaxed));
            if !busy && last + limit <= now {
                return;
            }
            sleep_until(if busy { now + limit } else { last + limit }).await;
        }
    }
}

/// A service whose calls are counted, and whose answers note their progress.
#[derive(Clone)]
pub(super) struct Counted<S> {
    inner: S,
    activity: Arc<Activity>,
}

impl<S> Counted<S> {
    pub(super) fn new(inner: S, activity: Arc<Activity>) -> Self {
        Self { inner, activity }
    }
}

impl<S, R, B> Service<R> for Counted<S>
where
    S: Service<R, Response = Response<B>>,
{
    type Response = Response<Paced<B>>;
    type Error = S::Error;
    type Future = Call<S::Future>;

    fn call(&self, request: R) -> Self::Future {
        self.activity.calls.fetch_add(1, Ordering::Relaxed);
        Call { future: self.inner.call(request), _ends: Ends(Arc::clone(&self.activity)) }
    }
}

pin_project! {
    /// A call in progress.
    pub(super) struct Call<F> {
        #[pin]
        future: F,
        _ends: Ends,
    }
}

impl<F, B, E> Future for Call<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<Paced<B>>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answered = ready!(self.project().future.poll(context));
        pace::answered();
        Poll::Ready(answered.map(|response| response.map(Paced::new)))
    }
}

struct Ends(Arc<Activity>);

impl Drop for Ends {
    fn drop(&mut self) {
        let since = u64::try_from(self.0.opened.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.0.ended.store(since, Ordering::Relaxed);
        self.0.calls.fetch_sub(1, Ordering::Relaxed);
    }
}
