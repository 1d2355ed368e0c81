//! grpc.health.v1: one status for the server, one for the protocol's service, one for each model.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tonic_health::server::HealthReporter;

use super::serving;
use crate::serve::Pipeline;

const SERVICE: &str = "inference.GRPCInferenceService";

/// Keeps health's answers as the models' states are. At `stop` it ends every watch, so that none holds a connection.
pub(super) async fn keep(pipeline: Arc<Pipeline>, mut reporter: HealthReporter, stop: CancellationToken) {
    let mut changes = pipeline.registry().changes();
    let mut known = Vec::new();
    loop {
        let names = tell(&pipeline, &reporter).await;
        // A model that has left is unknown again.
        for name in known.iter().filter(|name| !names.contains(name)) {
            reporter.clear_service_status(name).await;
        }
        let ends = tokio::select! {
            () = stop.cancelled() => true,
            next = changes.changed() => next.is_err(),
        };
        if ends {
            for name in names {
                reporter.clear_service_status(&name).await;
            }
            return;
        }
        known = names;
    }
}

/// Sets the status of everything that has one, and names it.
async fn tell(pipeline: &Pipeline, reporter: &HealthReporter) -> Vec<String> {
    let ready = pipeline.is_ready();
    for service in ["", SERVICE] {
        reporter.set_service_status(service, serving(ready)).await;
    }
    let mut names: Vec<String> = pipeline.registry().table().models().keys().map(ToString::to_string).collect();
    for name in &names {
        let ready = pipeline.is_model_ready(name, "").unwrap_or(false);
        reporter.set_service_status(name, serving(ready)).await;
    }
    names.extend(["", SERVICE].map(str::to_owned));
    names
}
