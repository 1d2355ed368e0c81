//! The layer around every call: who may come in, a deadline that is the server's own, and panics that become answers.
//!
//! tonic reports a passed deadline and a panic as CANCELLED, which tells clients that they cancelled. Here they are
//! `DEADLINE_EXCEEDED` and `INTERNAL`.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tonic::body::Body;
use tower::Service;
use tracing::error;

use super::answer::Answer;
use super::inflate::{Encoding, too_big};
use super::intake::Intake;
use super::services::{INFER, PROTOCOL};
use super::{Settings, deadline};
use crate::api::status::{REASON, status};
use crate::serve::{Begun, Client, Entry, Pipeline};
use crate::types::{Error, Reason, printable};

/// Bytes of a message of the protocol's other calls: names and little else.
const OTHER_BYTES_MAX: usize = 64 << 10;
const ENCODING_CHARS_MAX: usize = 60;

/// A service behind the layer, as one client sees it.
#[derive(Clone)]
pub(super) struct Door<S> {
    inner: S,
    pipeline: Arc<Pipeline>,
    settings: Settings,
    client: Arc<Client>,
}

type Answering = Pin<Box<dyn Future<Output = Result<Response<Answer>, Infallible>> + Send>>;

impl<S> Door<S> {
    /// The door to `inner` for one client.
    pub(super) fn new(inner: S, pipeline: &Arc<Pipeline>, settings: Settings, client: Arc<Client>) -> Self {
        Self { inner, pipeline: Arc::clone(pipeline), settings, client }
    }

    /// Serves one call.
    pub(super) fn call<B>(&mut self, request: Request<B>) -> Answering
    where
        S: Service<Request<Intake<B>>, Response = Response<Body>, Error = Infallible>,
        S::Future: Send + 'static,
    {
        if !is_grpc(request.headers()) {
            return at_once(not_grpc());
        }
        let mut call = Call::begin(&self.pipeline, request.uri().path() == INFER);
        let (timeout, encoding) = match (deadline::timeout(request.headers()), encoding(request.headers())) {
            (Ok(timeout), Ok(encoding)) => (timeout, encoding),
            (Err(error), _) | (_, Err(error)) => return at_once(call.refuse(&error)),
        };
        let deadline = timeout.and_then(|timeout| call.arrived.checked_add(timeout));
        let mut settings = self.settings;
        if call.begun.is_some() {
            match self.pipeline.enter(&self.client, call.arrived, deadline) {
                Ok(entry) => call.entry = Some(entry),
                Err(error) => return at_once(call.refuse(&error)),
            }
        } else {
            settings.message_bytes_max = settings.message_bytes_max.min(OTHER_BYTES_MAX);
        }
        let judged = request.uri().path().starts_with(PROTOCOL);
        let entry = call.entry.clone();
        let intake = |body| {
            if judged { Intake::new(body, encoding, settings, entry) } else { Intake::open(body, settings) }
        };
        let request = request.map(intake);
        let answer = Guarded { answer: self.inner.call(request), pipeline: Arc::clone(&self.pipeline) };
        Box::pin(async move {
            let answered = match deadline {
                None => answer.await,
                Some(at) => match tokio::time::timeout_at(at, answer).await {
                    Ok(answered) => answered,
                    Err(_elapsed) => return Ok(call.expire()),
                },
            };
            answered.map(|response| call.explain(response, settings.message_bytes_max))
        })
    }
}

fn at_once(response: Response<Answer>) -> Answering {
    Box::pin(std::future::ready(Ok(response)))
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// What the protocol has a server say to those who speak something else.
fn not_grpc() -> Response<Answer> {
    let mut response = Answer::of(Response::new(Body::empty()), None);
    *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    response
}

/// How the call's messages may be compressed. Errors: in a way that is not known.
fn encoding(headers: &HeaderMap) -> Result<Option<Encoding>, Error> {
    match headers.get("grpc-encoding").map(HeaderValue::as_bytes) {
        None | Some(b"identity") => Ok(None),
        Some(b"gzip") => Ok(Some(Encoding::Gzip)),
        Some(b"deflate") => Ok(Some(Encoding::Deflate)),
        Some(other) => {
            let got = printable(&String::from_utf8_lossy(other), ENCODING_CHARS_MAX);
            let detail = format!("header \"grpc-encoding\": expected gzip, deflate or identity, got \"{got}\"");
            Err(Error::new(Reason::Unsupported, detail))
        }
    }
}

/// What the layer knows of a call.
struct Call {
    arrived: Instant,
    pipeline: Arc<Pipeline>,
    /// Is it an inference, which is counted?
    begun: Option<Begun>,
    entry: Option<Arc<Entry>>,
}

impl Call {
    fn begin(pipeline: &Arc<Pipeline>, infers: bool) -> Self {
        let begun = infers.then(|| pipeline.begin());
        Self { arrived: Instant::now(), pipeline: Arc::clone(pipeline), begun, entry: None }
    }

    /// The answer to a call that no handler has seen or will see.
    fn refuse(&self, error: &Error) -> Response<Answer> {
        if let Some(entry) = &self.entry {
            entry.book(error);
        } else if self.begun.is_some() {
            self.pipeline.monitor().journey(self.arrived, None).finish(Err(error), Instant::now());
        }
        self.answer(status(error).into_http())
    }

    fn expire(&self) -> Response<Answer> {
        let spent = self.arrived.elapsed().as_millis();
        self.refuse(&Error::new(Reason::Deadline, format!("the call's deadline passed after {spent} ms")))
    }

    /// Puts the transport's own refusals into words and codes of ours; other answers pass.
    ///
    /// tonic calls a message over the limit `OUT_OF_RANGE`, by the protocol's custom it is `RESOURCE_EXHAUSTED`; and a
    /// message that cannot be decoded `INTERNAL`, as if the server were at fault.
    fn explain(&self, response: Response<Body>, bytes_max: usize) -> Response<Answer> {
        if let Some(refusal) = self.entry.as_ref().and_then(|entry| entry.refusal()) {
            return self.refuse(refusal);
        }
        let headers = response.headers();
        let (Some(code), None) = (headers.get("grpc-status"), headers.get(REASON)) else {
            return self.answer(response);
        };
        match code.as_bytes() {
            b"11" => self.refuse(&too_big(bytes_max)),
            b"13" => {
                self.refuse(&Error::invalid("the request message cannot be decoded: expected the protocol's protobuf"))
            }
            _ => self.answer(response),
        }
    }

    /// An answer holds its part of the server's limits until the client has read it.
    fn answer(&self, response: Response<Body>) -> Response<Answer> {
        Answer::of(response, self.entry.clone())
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
