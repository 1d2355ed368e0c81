//! The Open Inference Protocol v2 over gRPC, with health and reflection.

mod answer;
mod aside;
mod convert;
mod deadline;
mod door;
#[cfg(test)]
mod for_tests;
mod health;
mod infer;
mod inflate;
mod intake;
mod service;
mod services;
mod top;
mod weigh;

use std::net::SocketAddr;
use std::sync::Arc;

use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio::time::Duration;
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

use crate::net;
use crate::serve::Pipeline;
use door::Door;
use proto::grpc_inference_service_server::GrpcInferenceServiceServer;
use service::Inference;
use services::Services;

/// The protocol's messages, generated from `proto/inference.proto`.
#[allow(missing_docs, unreachable_pub, clippy::pedantic, clippy::all, reason = "generated code")]
pub mod proto {
    tonic::include_proto!("inference");

    /// The compiled definition, for reflection.
    pub const DESCRIPTOR: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/inference.bin"));
}

/// Limits of the gRPC door.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Bytes of one request message, also when it is inflated.
    pub message_bytes_max: usize,
    /// Without a byte of a message after which its call is ended.
    pub receive_timeout: Duration,
}

/// The gRPC door on `listener`: serves until `stop`, and ends when its connections have.
///
/// Errors: the compiled protocol definition is unreadable, which is a defect of the build.
pub fn serve(
    pipeline: &Arc<Pipeline>,
    settings: Settings,
    listener: net::Listener,
    stop: CancellationToken,
) -> Result<impl Future<Output = ()> + Send + use<>, tonic_reflection::server::Error> {
    let reporter = HealthReporter::new();
    let inference = Arc::new(Inference::new(pipeline));
    let questions = GrpcInferenceServiceServer::from_arc(Arc::clone(&inference))
        .accept_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Deflate)
        .send_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Deflate);
    let others = others(&reporter)?.prepare();
    let message_bytes_max = settings.message_bytes_max;
    let services = Services { inference, message_bytes_max, questions, others };
    let serving = Arc::clone(pipeline);
    let of_client = move |peer: SocketAddr| {
        let client = serving.admission().client(peer.ip());
        let door = Door::new(services.clone(), &serving, settings, client);
        // Called as soon as a call's head is read, not when its task is first polled: a batch is to know who is coming.
        service_fn(move |request: Request<Incoming>| door.clone().call(request))
    };
    let connections = listener.serve(of_client, stop.clone());
    let health = health::keep(Arc::clone(pipeline), reporter, stop);
    Ok(async move {
        tokio::join!(connections, health);
    })
}

/// Health and reflection; everything else is unimplemented.
fn others(reporter: &HealthReporter) -> Result<Routes, tonic_reflection::server::Error> {
    let health = HealthServer::new(HealthService::from_health_reporter(reporter.clone()));
    let reflect = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTOR)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    Ok(Routes::new(health).add_service(reflect().build_v1()?).add_service(reflect().build_v1alpha()?))
}

fn serving(ready: bool) -> ServingStatus {
    if ready { ServingStatus::Serving } else { ServingStatus::NotServing }
}
