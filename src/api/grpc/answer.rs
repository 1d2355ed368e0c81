//! The body of an answer on its way out.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tonic::Status;

use crate::serve::Entry;

pin_project! {
    /// An answer that holds its part of the server's limits until it is sent or given up.
    pub(super) struct Answer {
        #[pin]
        body: tonic::body::Body,
        entry: Option<Arc<Entry>>,
    }
}

impl Answer {
    pub(super) fn new(body: tonic::body::Body, entry: Option<Arc<Entry>>) -> Self {
        Self { body, entry }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.project().body.poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
