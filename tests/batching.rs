//! Batches over the wire: requests that arrive together share them, and a lone one waits for nobody.
#![expect(clippy::disallowed_methods, reason = "the callers are tasks of the test")]

use std::net::SocketAddr;

use sconce::api::grpc::proto::ModelInferRequest;
use sconce::api::grpc::proto::grpc_inference_service_client::GrpcInferenceServiceClient;
use sconce::api::grpc::proto::infer_parameter::ParameterChoice;
use sconce::api::grpc::proto::model_infer_request::InferInputTensor;
use sconce::app::Server;
use sconce::config::Config;
use sconce::registry::Shipped;
use tokio::time::{Duration, Instant};
use tonic::transport::Channel;

const MODEL: &str = "breast_cancer";
const CALLERS: usize = 64;
const CALLS_EACH: usize = 50;

async fn serve() -> (Server, GrpcInferenceServiceClient<Channel>) {
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut config = Config { grpc: any_port, metrics: any_port, ..Config::default() };
    config.shutdown.delay = Duration::ZERO;
    let server = Server::start(config, vec![Box::new(Shipped)]).expect("starts");
    assert_eq!(server.loaded().await, 0, "every shipped model loads");
    let client = GrpcInferenceServiceClient::connect(format!("http://{}", server.grpc())).await.expect("connects");
    (server, client)
}

fn request() -> ModelInferRequest {
    let (name, datatype) = ("features".to_owned(), "FP32".to_owned());
    let input = InferInputTensor { name, datatype, shape: vec![1, 30], ..Default::default() };
    let raw_input_contents = vec![vec![0; 120].into()];
    ModelInferRequest { model_name: MODEL.to_owned(), inputs: vec![input], raw_input_contents, ..Default::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_arrive_together_share_batches() {
    let (server, client) = serve().await;
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let mut client = client.clone();
            tokio::spawn(async move {
                for _ in 0..CALLS_EACH {
                    client.model_infer(request()).await.expect("an answer");
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.expect("no panic");
    }
    let deployment = server.pipeline().registry().table().route(MODEL, "").expect("it serves");
    let batches = deployment.instruments.snapshot(Instant::now()).batch_rows.count();
    // Some eleven share one; were calls counted only when their tasks begin, it would be two.
    assert!(batches * 4 < (CALLERS * CALLS_EACH) as u64, "{batches} batches for {} calls", CALLERS * CALLS_EACH);
    server.shut_down(std::future::pending()).await;
}

#[tokio::test]
async fn a_lone_call_runs_at_once() {
    let (server, mut client) = serve().await;
    let mut ask = request();
    let wish = sconce::api::grpc::proto::InferParameter { parameter_choice: Some(ParameterChoice::BoolParam(true)) };
    ask.parameters.insert("batch_report".to_owned(), wish);
    let answer = client.model_infer(ask).await.expect("an answer").into_inner();
    let told = |name: &str| answer.parameters.get(name).and_then(|told| told.parameter_choice.clone());
    assert_eq!(told("batch_rows"), Some(ParameterChoice::Int64Param(1)));
    assert_eq!(told("release"), Some(ParameterChoice::StringParam("idle".to_owned())));
    server.shut_down(std::future::pending()).await;
}
