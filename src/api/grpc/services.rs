//! Which service a call is for: the protocol's by its prefix, at once; the others by a router.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use tonic::body::Body;
use tonic::service::Routes;
use tower::Service;

use super::infer;
use super::intake::Intake;
use super::proto::grpc_inference_service_server::GrpcInferenceServiceServer;
use super::service::Inference;

/// The call that brings rows.
pub(super) const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";
/// How the calls of the protocol begin.
pub(super) const PROTOCOL: &str = "/inference.GRPCInferenceService/";

/// The services of the gRPC port.
#[derive(Clone)]
pub(super) struct Services {
    /// Answers `ModelInfer`.
    pub(super) inference: Arc<Inference>,
    /// Bytes of a message, also when its contents are decoded.
    pub(super) message_bytes_max: usize,
    /// Answers the protocol's other calls.
    pub(super) questions: GrpcInferenceServiceServer<Inference>,
    pub(super) others: Routes,
}

impl<B> Service<Request<Intake<B>>> for Services
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Both are always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Intake<B>>) -> Self::Future {
        let path = request.uri().path();
        if path == INFER {
            let (inference, bytes_max) = (Arc::clone(&self.inference), self.message_bytes_max);
            return Box::pin(async move { Ok(infer::serve(inference, bytes_max, request).await) });
        }
        if path.starts_with(PROTOCOL) {
            return self.questions.call(request);
        }
        Box::pin(self.others.call(request.map(Body::new)))
    }
}
