//! The demo with the shipped models: rows they have never seen, and what came of them.

use tokio::time::{Duration, Instant};

use super::held_out::HeldOut;
use super::{report, traffic};
use crate::app::Server;

/// Sends each model its rows and prints what came of it. True if every accuracy is the committed one.
pub(super) async fn ask_all(server: &Server, time: Duration) -> anyhow::Result<bool> {
    let client = traffic::connect(server.grpc()).await?;
    let models = server.pipeline().registry().table().models();
    let mut names: Vec<&str> = models.keys().map(crate::types::ModelName::as_str).collect();
    names.sort_unstable();
    let mut as_committed = !names.is_empty();
    for name in names {
        let held_out = HeldOut::of(name)?;
        let traffic = traffic::send(&client, name, &held_out, time).await?;
        let quality = report::quality(&held_out, &traffic);
        let deployment = server.pipeline().registry().table().route(name, "")?;
        report::print(name, &quality, &traffic, &deployment.instruments.snapshot(Instant::now()));
        as_committed &= quality.as_committed;
    }
    Ok(as_committed)
}

/// How to ask the same by hand.
pub(super) fn how_to_call(server: &Server) -> String {
    let grpc = server.grpc();
    format!(
        "    import numpy as np, tritonclient.grpc as client
    server = client.InferenceServerClient(\"{grpc}\")
    row = client.InferInput(\"features\", [1, 30], \"FP32\")
    row.set_data_from_numpy(np.full((1, 30), 10, np.float32))
    answer = server.infer(\"breast_cancer\", [row], parameters={{\"confidence\": True}})
    print(answer.as_numpy(\"probabilities\"), answer.get_response().parameters)

or with grpcurl:

    grpcurl -plaintext -d '{{\"name\": \"digits\"}}' {grpc} inference.GRPCInferenceService/ModelMetadata"
    )
}
