//! `ModelInfer`, from bytes: the message is weighed before it is decoded, and large ones are decoded on a thread of their
//! own, so that they hold up nobody on the network's.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use http::Response;
use prost::Message as _;
use tonic::body::Body;
use tonic::codec::{BufferSettings, Codec, CompressionEncoding, DecodeBuf, Decoder, EnabledCompressionEncodings};
use tonic::server::{Grpc, UnaryService};
use tonic::{Request, Status};
use tonic_prost::ProstEncoder;

use super::aside::aside;
use super::intake::Intake;
use super::proto::{ModelInferRequest, ModelInferResponse};
use super::service::Inference;
use super::weigh::{Outline, weigh};
use crate::api::status::status;
use crate::serve::Entry;
use crate::types::{Error, Reason};

/// So many bytes are decoded piece by piece within some hundred microseconds.
const INLINE_BYTES_MAX: usize = 64 << 10;

type Answer<T> = Pin<Box<dyn Future<Output = Result<tonic::Response<T>, Status>> + Send>>;

/// Serves one call, whose contents may take `bytes_max` bytes when they are decoded.
pub(super) async fn serve<B>(
    inference: Arc<Inference>,
    bytes_max: usize,
    request: http::Request<Intake<B>>,
) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
{
    let Some(entry) = request.body().entry().map(Arc::clone) else {
        return Status::internal("the call did not come in by the door").into_http();
    };
    let mut encodings = EnabledCompressionEncodings::default();
    encodings.enable(CompressionEncoding::Gzip);
    encodings.enable(CompressionEncoding::Deflate);
    // The intake has held the message against its limit.
    let mut grpc = Grpc::new(Plain)
        .apply_compression_config(encodings, encodings)
        .apply_max_message_size_config(Some(usize::MAX), Some(usize::MAX));
    grpc.unary(Infer { inference, entry, bytes_max }, request).await
}

struct Infer {
    inference: Arc<Inference>,
    entry: Arc<Entry>,
    bytes_max: usize,
}

impl UnaryService<Bytes> for Infer {
    type Response = ModelInferResponse;
    type Future = Answer<ModelInferResponse>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let (inference, entry, bytes_max) = (Arc::clone(&self.inference), Arc::clone(&self.entry), self.bytes_max);
        Box::pin(async move {
            match decode(request.into_inner(), bytes_max, &entry).await {
                Ok(message) => inference.infer(&entry, message).await,
                Err(error) => {
                    let status = status(&error);
                    entry.refuse(error);
                    Err(status)
                }
            }
        })
    }
}

/// Decodes a message for which there is room, that of its decoded contents included.
async fn decode(message: Bytes, bytes_max: usize, entry: &Arc<Entry>) -> Result<ModelInferRequest, Error> {
    let much = Outline::of(&message)?.piecemeal > INLINE_BYTES_MAX;
    let entry = Arc::clone(entry);
    let decode = move || {
        let weight = weigh(&message)?;
        if weight > bytes_max {
            let detail = format!("the request's contents take {weight} bytes decoded, the limit is {bytes_max}");
            return Err(Error::new(Reason::TooBig, detail));
        }
        if weight > 0 {
            entry.grow(weight)?;
        }
        ModelInferRequest::decode(message)
            .map_err(|error| Error::invalid(format!("the request message cannot be decoded: {error}")))
    };
    aside(much, decode).await
}

/// Gives the bytes of a message, encodes an answer.
struct Plain;

impl Codec for Plain {
    type Encode = ModelInferResponse;
    type Decode = Bytes;
    type Encoder = ProstEncoder<ModelInferResponse>;
    type Decoder = Plain;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::new(BufferSettings::default())
    }

    fn decoder(&mut self) -> Plain {
        Plain
    }
}

impl Decoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let length = message.remaining();
        Ok(Some(message.copy_to_bytes(length)))
    }
}
