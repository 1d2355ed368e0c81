//! The body of an answer on its way out.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tonic::Status;

use crate::serve::Entry;
use crate::types::RungKind;

/// The trailer that says what served the request, for clients and proxies that do not look into the message.
const RUNG: HeaderName = HeaderName::from_static("sconce-rung");

pin_project! {
    /// An answer that holds its part of the server's limits until it is written or given up.
    ///
    /// The transport takes a whole answer at once and keeps what the client does not read; so it is the bytes themselves
    /// that hold the entry, wherever they are kept.
    pub(super) struct Answer {
        #[pin]
        body: tonic::body::Body,
        entry: Option<Arc<Entry>>,
        rung: Option<RungKind>,
    }
}

impl Answer {
    /// The answer that is `response`, whose extensions say what served it.
    pub(super) fn of(response: Response<tonic::body::Body>, entry: Option<Arc<Entry>>) -> Response<Self> {
        let rung = response.extensions().get::<RungKind>().copied();
        response.map(|body| Self { body, entry, rung })
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.project();
        let mut frame = ready!(this.body.poll_frame(context));
        if let (Some(rung), Some(Ok(frame))) = (this.rung, &mut frame)
            && let Some(trailers) = frame.trailers_mut()
        {
            trailers.insert(RUNG, HeaderValue::from_static(rung.label()));
        }
        let Some(entry) = this.entry else { return Poll::Ready(frame) };
        let held = |bytes| Bytes::from_owner(Held { bytes, _entry: Arc::clone(entry) });
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(held))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Bytes that hold the entry of the call that they answer.
struct Held {
    bytes: Bytes,
    _entry: Arc<Entry>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
