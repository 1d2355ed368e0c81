//! grpc.health.v1: one status for the server, one for the protocol's service, one for each model.

use std::sync::Arc;

use tonic_health::server::HealthReporter;

use super::serving;
use crate::serve::Pipeline;

const SERVICE: &str = "inference.GRPCInferenceService";

/// Keeps health's answers as the models' states are. Ends with the registry; cancel safe.
pub(super) async fn keep(pipeline: Arc<Pipeline>, reporter: HealthReporter) {
    let mut changes = pipeline.registry().changes();
    loop {
        tell(&pipeline, &reporter).await;
        if changes.changed().await.is_err() {
            return;
        }
    }
}

async fn tell(pipeline: &Pipeline, reporter: &HealthReporter) {
    let ready = pipeline.is_ready();
    for service in ["", SERVICE] {
        reporter.set_service_status(service, serving(ready)).await;
    }
    let names: Vec<String> = pipeline.registry().table().models().keys().map(ToString::to_string).collect();
    for name in names {
        let ready = pipeline.is_model_ready(&name, "").unwrap_or(false);
        reporter.set_service_status(name, serving(ready)).await;
    }
}
