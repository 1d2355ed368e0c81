//! The server to compare with: tonic's own, with the same messages and no model behind them.

use std::net::SocketAddr;

use sconce::api::grpc::proto::grpc_inference_service_server::{GrpcInferenceService, GrpcInferenceServiceServer};
use sconce::api::grpc::proto::model_infer_response::InferOutputTensor;
use sconce::api::grpc::proto::{
    ModelInferRequest, ModelInferResponse, ModelMetadataRequest, ModelMetadataResponse, ModelReadyRequest,
    ModelReadyResponse, ServerLiveRequest, ServerLiveResponse, ServerMetadataRequest, ServerMetadataResponse,
    ServerReadyRequest, ServerReadyResponse,
};
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// Listens and begins to serve. Errors: no port is free.
pub(super) async fn start() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let router = Server::builder().add_service(GrpcInferenceServiceServer::new(Echo));
    #[expect(clippy::disallowed_methods, reason = "runs until the process ends")]
    tokio::spawn(router.serve_with_incoming(incoming));
    Ok(address)
}

struct Echo;

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl GrpcInferenceService for Echo {
    async fn model_infer(&self, request: Request<ModelInferRequest>) -> Answer<ModelInferResponse> {
        let request = request.into_inner();
        let output = |input: sconce::api::grpc::proto::model_infer_request::InferInputTensor| InferOutputTensor {
            name: input.name,
            datatype: input.datatype,
            shape: input.shape,
            ..Default::default()
        };
        Ok(Response::new(ModelInferResponse {
            model_name: request.model_name,
            model_version: "1".to_owned(),
            id: request.id,
            outputs: request.inputs.into_iter().map(output).collect(),
            raw_output_contents: request.raw_input_contents,
            ..Default::default()
        }))
    }

    async fn server_live(&self, _: Request<ServerLiveRequest>) -> Answer<ServerLiveResponse> {
        Err(nothing_else())
    }

    async fn server_ready(&self, _: Request<ServerReadyRequest>) -> Answer<ServerReadyResponse> {
        Err(nothing_else())
    }

    async fn model_ready(&self, _: Request<ModelReadyRequest>) -> Answer<ModelReadyResponse> {
        Err(nothing_else())
    }

    async fn server_metadata(&self, _: Request<ServerMetadataRequest>) -> Answer<ServerMetadataResponse> {
        Err(nothing_else())
    }

    async fn model_metadata(&self, _: Request<ModelMetadataRequest>) -> Answer<ModelMetadataResponse> {
        Err(nothing_else())
    }
}

fn nothing_else() -> Status {
    Status::unimplemented("the echo server answers ModelInfer alone")
}
