//! The Open Inference Protocol v2 over gRPC, with health and reflection.

mod convert;
mod deadline;
mod door;
mod health;
mod service;

use std::sync::Arc;

use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::serve::Pipeline;
use door::Door;
use service::Inference;

pub use door::Door as GrpcDoor;

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
    /// Bytes of one request message.
    pub message_bytes_max: usize,
}

/// The gRPC services, and the task that keeps health's answers true.
///
/// Errors: the compiled protocol definition is unreadable, which is a defect of the build.
pub fn door(
    pipeline: &Arc<Pipeline>,
    settings: Settings,
) -> Result<(Door<Routes>, impl Future<Output = ()> + Send + use<>), tonic_reflection::server::Error> {
    let inference = proto::grpc_inference_service_server::GrpcInferenceServiceServer::new(Inference::new(pipeline))
        .max_decoding_message_size(settings.message_bytes_max)
        .max_encoding_message_size(usize::MAX)
        .accept_compressed(tonic::codec::CompressionEncoding::Gzip)
        .accept_compressed(tonic::codec::CompressionEncoding::Deflate)
        .send_compressed(tonic::codec::CompressionEncoding::Gzip)
        .send_compressed(tonic::codec::CompressionEncoding::Deflate);
    let reporter = HealthReporter::new();
    let health = tonic_health::pb::health_server::HealthServer::new(
        tonic_health::server::HealthService::from_health_reporter(reporter.clone()),
    );
    let reflect = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTOR)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let routes = Routes::new(inference)
        .add_service(health)
        .add_service(reflect().build_v1()?)
        .add_service(reflect().build_v1alpha()?);
    let keep_health = health::keep(Arc::clone(pipeline), reporter);
    Ok((Door::new(routes.prepare(), Arc::clone(pipeline), settings), keep_health))
}

fn serving(ready: bool) -> ServingStatus {
    if ready { ServingStatus::Serving } else { ServingStatus::NotServing }
}
