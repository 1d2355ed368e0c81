//! The layer around every call: a deadline that is the server's own, and panics that become answers.
//!
//! tonic reports a passed deadline and a panic as CANCELLED, which tells clients that they cancelled. Here they are
//! `DEADLINE_EXCEEDED` and `INTERNAL`.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tonic::body::Body;
use tower::Service;
use tracing::error;

use super::{Settings, deadline};
use crate::api::status::{REASON, status};
use crate::serve::{Begun, Pipeline};
use crate::types::{Error, Reason};

/// The call whose requests are counted.
const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";

/// When the transport stops waiting for the answer, among a request's extensions.
#[derive(Clone, Debug)]
pub(super) struct Deadline {
    at: Instant,
    /// Set by the handler, which then books the request.
    handled: Arc<AtomicBool>,
}

impl Deadline {
    /// Says that a handler has begun, and when its answer stops being wanted.
    pub(super) fn handle(&self) -> Instant {
        self.handled.store(true, Ordering::Relaxed);
        self.at
    }
}

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
        let arrived = Instant::now();
        let infers = request.uri().path() == INFER;
        let begun = infers.then(|| self.pipeline.begin());
        let call = Call { arrived, infers, pipeline: Arc::clone(&self.pipeline), _begun: begun };
        let deadline = match deadline::timeout(request.headers()) {
            Ok(timeout) => timeout.and_then(|timeout| arrived.checked_add(timeout)),
            Err(error) => return Box::pin(std::future::ready(Ok(call.refuse(&error)))),
        };
        let deadline = deadline.map(|at| Deadline { at, handled: Arc::default() });
        if let Some(deadline) = &deadline {
            request.extensions_mut().insert(deadline.clone());
        }
        let answer = Guarded { answer: self.inner.call(request), pipeline: Arc::clone(&self.pipeline) };
        let bytes_max = self.settings.message_bytes_max;
        Box::pin(async move {
            let answered = match &deadline {
                None => answer.await,
                Some(deadline) => match tokio::time::timeout_at(deadline.at, answer).await {
                    Ok(answered) => answered,
                    Err(_elapsed) => return Ok(call.expire(deadline)),
                },
            };
            answered.map(|response| call.explain(response, bytes_max))
        })
    }
}

/// What the layer knows of a call.
struct Call {
    arrived: Instant,
    /// Is it an inference, which is counted?
    infers: bool,
    pipeline: Arc<Pipeline>,
    _begun: Option<Begun>,
}

impl Call {
    /// The answer to a call that no handler has seen or will see.
    fn refuse(&self, error: &Error) -> Response<Body> {
        if self.infers {
            self.pipeline.monitor().journey(self.arrived, None).finish(Err(error), Instant::now());
        }
        status(error).into_http()
    }

    fn expire(&self, deadline: &Deadline) -> Response<Body> {
        let spent = self.arrived.elapsed().as_millis();
        let error = Error::new(Reason::Deadline, format!("the call's deadline passed after {spent} ms"));
        // A handler that had begun has booked the request when it was dropped.
        if deadline.handled.load(Ordering::Relaxed) { status(&error).into_http() } else { self.refuse(&error) }
    }

    /// Puts the transport's own refusals into words and codes of ours; other answers pass.
    ///
    /// tonic calls a message over the limit `OUT_OF_RANGE`, by the protocol's custom it is `RESOURCE_EXHAUSTED`; and a
    /// message that cannot be decoded `INTERNAL`, as if the server were at fault.
    fn explain(&self, response: Response<Body>, bytes_max: usize) -> Response<Body> {
        let headers = response.headers();
        let (Some(code), None) = (headers.get("grpc-status"), headers.get(REASON)) else { return response };
        match code.as_bytes() {
            b"11" => {
                let detail = format!("the request message is larger than the limit of {bytes_max} bytes");
                self.refuse(&Error::new(Reason::TooBig, detail))
            }
            b"13" => {
                self.refuse(&Error::invalid("the request message cannot be decoded: expected the protocol's protobuf"))
            }
            _ => response,
        }
    }
}

pin_project! {
    /// A call whose panic is an `INTERNAL` answer.
    struct Guarded<F> {
        #[pin]
        answer: F,
        pipeline: Arc<Pipeline>,
    }
}

impl<F> Future for Guarded<F>
where
    F: Future<Output = Result<Response<Body>, Infallible>>,
{
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Ok(poll) = catch_unwind(AssertUnwindSafe(|| this.answer.poll(context))) {
            return poll;
        }
        error!("a handler panicked");
        this.pipeline.monitor().panicked();
        let error = Error::new(Reason::Panic, "the server failed on this request");
        Poll::Ready(Ok(status(&error).into_http()))
    }
}

#[cfg(test)]
#[path = "door_tests.rs"]
mod tests;
