//! The layer around every call: a deadline that is the server's own, and panics that become answers.
//!
//! tonic reports a passed deadline and a panic as CANCELLED, which tells clients that they cancelled. Here they are
//! `DEADLINE_EXCEEDED` and `INTERNAL`.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tokio::time::Instant;
use tonic::Status;
use tonic::body::Body;
use tower::Service;
use tracing::error;

use super::{Settings, deadline};
use crate::api::status::status;
use crate::serve::Pipeline;
use crate::types::{Error, Reason};

/// When the transport stops waiting for the answer, among a request's extensions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline(pub(super) Instant);

/// A service behind the layer.
#[derive(Clone)]
pub(super) struct Door<S> {
    inner: S,
    pipeline: Arc<Pipeline>,
    settings: Settings,
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl<S> Door<S> {
    pub(super) fn new(inner: S, pipeline: Arc<Pipeline>, settings: Settings) -> Self {
        Self { inner, pipeline, settings }
    }
}

impl<S> Service<Request<Body>> for Door<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Answer {
        let timeout = match deadline::timeout(request.headers()) {
            Ok(timeout) => timeout,
            Err(error) => return Box::pin(std::future::ready(Ok(status(&error).into_http()))),
        };
        let arrived = Instant::now();
        let until = timeout.and_then(|timeout| arrived.checked_add(timeout));
        if let Some(until) = until {
            request.extensions_mut().insert(Deadline(until));
        }
        let answer = Guarded { answer: Box::pin(self.inner.call(request)), pipeline: Arc::clone(&self.pipeline) };
        let bytes_max = self.settings.message_bytes_max;
        Box::pin(async move {
            let answered = match until {
                None => Ok(answer.await),
                Some(until) => tokio::time::timeout_at(until, answer).await,
            };
            match answered {
                Ok(answered) => answered.map(|response| name_the_limit(response, bytes_max)),
                Err(_elapsed) => Ok(status(&expired(arrived)).into_http()),
            }
        })
    }
}

fn expired(arrived: Instant) -> Error {
    let spent = arrived.elapsed().as_millis();
    Error::new(Reason::Deadline, format!("the call's deadline passed after {spent} ms"))
}

/// tonic calls a message over the limit `OUT_OF_RANGE`; by the protocol's custom it is `RESOURCE_EXHAUSTED`.
fn name_the_limit(response: Response<Body>, bytes_max: usize) -> Response<Body> {
    let too_big = response.headers().get("grpc-status").is_some_and(|code| code == "11");
    if !too_big {
        return response;
    }
    let detail = format!("the request message is larger than the limit of {bytes_max} bytes");
    status(&Error::new(Reason::TooBig, detail)).into_http()
}

/// A call whose panic is an INTERNAL answer.
struct Guarded<F> {
    answer: Pin<Box<F>>,
    pipeline: Arc<Pipeline>,
}

impl<F> Future for Guarded<F>
where
    F: Future<Output = Result<Response<Body>, Infallible>>,
{
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = &mut self.answer;
        if let Ok(poll) = catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(context))) {
            return poll;
        }
        error!("a handler panicked");
        self.pipeline.monitor().panicked();
        Poll::Ready(Ok(Status::internal("the server failed on this request").into_http()))
    }
}

#[cfg(test)]
#[path = "door_tests.rs"]
mod tests;
