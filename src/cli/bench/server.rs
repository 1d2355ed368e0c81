//! The server under test: connections to it, and what its model takes.

use std::num::NonZeroUsize;
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use tonic::transport::{Channel, Endpoint};

use super::outcome::{code_name, innermost, message};
use super::shape::Declared;
use crate::api::grpc::proto::ModelMetadataRequest;
use crate::api::grpc::proto::grpc_inference_service_client::GrpcInferenceServiceClient;
use crate::api::grpc::proto::model_metadata_response::TensorMetadata;

const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
const METADATA_TIME_MAX: Duration = Duration::from_secs(30);

/// Opens `count` connections. Errors: the address is none, or nothing takes connections there.
pub(super) async fn connect(address: &str, count: NonZeroUsize) -> anyhow::Result<Vec<Channel>> {
    let authority = address.strip_prefix("http://").unwrap_or(address).trim_end_matches('/');
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    ensure!(
        has_port && !authority.contains("//"),
        "ADDR: expected HOST:PORT or http://HOST:PORT (without TLS), got {address}"
    );
    let endpoint = Endpoint::from_shared(format!("http://{authority}"))
        .with_context(|| format!("ADDR: expected HOST:PORT, got {address}"))?
        .connect_timeout(CONNECT_TIME_MAX)
        .tcp_nodelay(true);
    let mut channels = Vec::with_capacity(count.get());
    for _ in 0..count.get() {
        let channel = endpoint.connect().await;
        let told = |error: tonic::transport::Error| innermost(&error).unwrap_or_else(|| error.to_string());
        channels.push(channel.map_err(|error| anyhow!("{authority}: connect: {}", told(error)))?);
    }
    Ok(channels)
}

/// The inputs of a model. Errors: the server does not know it, or declares what the protocol has no word for.
pub(super) async fn inputs(channel: Channel, model: &str, version: &str) -> anyhow::Result<Vec<Declared>> {
    let mut ask = tonic::Request::new(ModelMetadataRequest { name: model.to_owned(), version: version.to_owned() });
    ask.set_timeout(METADATA_TIME_MAX);
    let answer = GrpcInferenceServiceClient::new(channel).model_metadata(ask).await;
    let metadata = answer
        .map_err(|status| anyhow!("--model {model}: metadata: {}: {}", code_name(status.code()), message(&status)))?
        .into_inner();
    all_declared(model, metadata.inputs)
}

fn all_declared(model: &str, inputs: Vec<TensorMetadata>) -> anyhow::Result<Vec<Declared>> {
    ensure!(!inputs.is_empty(), "--model {model}: expected a model with inputs, got none in its metadata");
    inputs.into_iter().map(declared).collect()
}

fn declared(input: TensorMetadata) -> anyhow::Result<Declared> {
    let TensorMetadata { name, datatype, shape } = input;
    let dtype = datatype.parse().ok();
    let dtype = dtype.with_context(|| format!("input {name}: expected a datatype of the protocol, got {datatype}"))?;
    Ok(Declared { name, dtype, shape })
}

#[cfg(test)]
mod tests {
    use super::{TensorMetadata, all_declared};

    #[test]
    fn metadata_that_nothing_can_be_made_of_is_refused() {
        let refused = |inputs: Vec<TensorMetadata>| all_declared("m", inputs).expect_err("refused").to_string();
        assert_eq!(refused(Vec::new()), "--model m: expected a model with inputs, got none in its metadata");
        let foreign = TensorMetadata { name: "x".to_owned(), datatype: "FP8".to_owned(), shape: vec![-1] };
        assert_eq!(refused(vec![foreign]), "input x: expected a datatype of the protocol, got FP8");
    }
}
