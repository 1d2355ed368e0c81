//! The six calls of the Open Inference Protocol.

use std::sync::Arc;

use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::aside::aside;
use super::convert;
use super::proto::grpc_inference_service_server::GrpcInferenceService;
use super::proto::{
    ModelInferRequest, ModelInferResponse, ModelMetadataRequest, ModelMetadataResponse, ModelReadyRequest,
    ModelReadyResponse, ServerLiveRequest, ServerLiveResponse, ServerMetadataRequest, ServerMetadataResponse,
    ServerReadyRequest, ServerReadyResponse,
};
use crate::api::status::status;
use crate::monitor::Journey;
use crate::serve::{Entry, Pipeline};
use crate::types::Error;

/// So many elements of typed contents are rewritten within some ten microseconds.
const INLINE_ELEMENTS_MAX: usize = 16 << 10;

/// The protocol's service over a pipeline.
pub(super) struct Inference {
    pipeline: Arc<Pipeline>,
}

impl Inference {
    pub(super) fn new(pipeline: &Arc<Pipeline>) -> Self {
        Self { pipeline: Arc::clone(pipeline) }
    }

    /// Answers a decoded request.
    pub(super) async fn infer(
        &self,
        entry: &Arc<Entry>,
        message: ModelInferRequest,
    ) -> Result<Response<ModelInferResponse>, Status> {
        let mut journey = entry.handle();
        let answered = self.answer(entry, message, &mut journey).await;
        let now = Instant::now();
        match answered {
            Ok(response) => {
                let bytes = response.get_ref().raw_output_contents.iter().map(bytes::Bytes::len).sum();
                entry.answered(bytes);
                journey.finish(Ok(bytes), now);
                Ok(response)
            }
            Err(error) => {
                journey.finish(Err(&error), now);
                Err(status(&error))
            }
        }
    }

    async fn answer(
        &self,
        entry: &Arc<Entry>,
        message: ModelInferRequest,
        journey: &mut Journey,
    ) -> Result<Response<ModelInferResponse>, Error> {
        let much = convert::typed_elements(&message) > INLINE_ELEMENTS_MAX;
        let request = aside(much, move || convert::request(message)).await?;
        journey.request_bytes(request.bytes);
        let (model, id) = (request.model.clone(), request.id.clone());
        let wishes = request.wishes;
        let answer = self.pipeline.infer(entry, request, journey).await?;
        let rung = answer.rung;
        let mut response = Response::new(convert::response(model, id, wishes, answer));
        if let Some(rung) = rung {
            // For the trailers, which are written at the door.
            response.extensions_mut().insert(rung);
        }
        Ok(response)
    }
}

#[tonic::async_trait]
impl GrpcInferenceService for Inference {
    async fn server_live(&self, _: Request<ServerLiveRequest>) -> Result<Response<ServerLiveResponse>, Status> {
        Ok(Response::new(ServerLiveResponse { live: true }))
    }

    async fn server_ready(&self, _: Request<ServerReadyRequest>) -> Result<Response<ServerReadyResponse>, Status> {
        Ok(Response::new(ServerReadyResponse { ready: self.pipeline.is_ready() }))
    }

    async fn model_ready(&self, ask: Request<ModelReadyRequest>) -> Result<Response<ModelReadyResponse>, Status> {
        let ask = ask.into_inner();
        let ready = self.pipeline.is_model_ready(&ask.name, &ask.version).map_err(|error| status(&error))?;
        Ok(Response::new(ModelReadyResponse { ready }))
    }

    async fn server_metadata(
        &self,
        _: Request<ServerMetadataRequest>,
    ) -> Result<Response<ServerMetadataResponse>, Status> {
        Ok(Response::new(convert::server_metadata(self.pipeline.server_info())))
    }

    async fn model_metadata(
        &self,
        ask: Request<ModelMetadataRequest>,
    ) -> Result<Response<ModelMetadataResponse>, Status> {
        let ask = ask.into_inner();
        let info = self.pipeline.model_info(&ask.name, &ask.version).map_err(|error| status(&error))?;
        Ok(Response::new(convert::model_metadata(&info)))
    }

    /// Not by this way: `infer` serves the call from its bytes, and the router knows.
    async fn model_infer(&self, _: Request<ModelInferRequest>) -> Result<Response<ModelInferResponse>, Status> {
        Err(Status::internal("the call did not come in by the door"))
    }
}
