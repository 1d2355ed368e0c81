//! The demo's client: held-out rows through a real gRPC connection.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context as _;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant};
use tonic::transport::{Channel, Endpoint};

use super::held_out::HeldOut;
use crate::api::grpc::proto::grpc_inference_service_client::GrpcInferenceServiceClient;
use crate::api::grpc::proto::infer_parameter::ParameterChoice;
use crate::api::grpc::proto::model_infer_request::InferInputTensor;
use crate::api::grpc::proto::{InferParameter, ModelInferRequest, ModelInferResponse, ModelMetadataRequest};
use crate::cli::screen::progress;

/// Calls at a time.
pub(super) const CONCURRENCY: usize = 64;

pub(super) type Client = GrpcInferenceServiceClient<Channel>;

/// What one row was answered with.
#[derive(Clone, Debug)]
pub(super) struct Prediction {
    /// Values of the first output.
    pub(super) output: Vec<f32>,
    /// Confidence, where the model tells it.
    pub(super) confidence: Option<f64>,
}

/// What came of sending the rows.
#[derive(Debug)]
pub(super) struct Traffic {
    /// One for each held-out row, in order.
    pub(super) predictions: Vec<Prediction>,
    /// Latencies as the client saw them, sorted.
    pub(super) latencies: Vec<Duration>,
    /// Wall-clock time of the whole.
    pub(super) took: Duration,
}

/// A client of the server at `address`. Errors: it cannot be connected to.
pub(super) async fn connect(address: SocketAddr) -> anyhow::Result<Client> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true);
    Ok(Client::new(endpoint.connect().await.context("connect to the demo's server")?))
}

/// Sends every row at least once, again and again for `time`, from [`CONCURRENCY`] callers.
///
/// Errors: a call fails.
pub(super) async fn send(client: &Client, model: &str, held_out: &HeldOut, time: Duration) -> anyhow::Result<Traffic> {
    let template = Arc::new(template(client.clone(), model, held_out).await?);
    let next = Arc::new(AtomicUsize::new(0));
    let rows: Arc<[bytes::Bytes]> = held_out.rows.clone().into();
    let begun = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..CONCURRENCY {
        callers.spawn(call(client.clone(), Arc::clone(&template), Arc::clone(&rows), Arc::clone(&next), begun + time));
    }
    let (mut predictions, mut latencies) = (vec![None; rows.len()], Vec::new());
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    while !callers.is_empty() {
        tokio::select! {
            _ = ticks.tick() => show_progress(model, next.load(Ordering::Relaxed), begun, time),
            Some(ended) = callers.join_next() => {
                let (mine, times) = ended.context("a caller panicked")??;
                latencies.extend(times);
                for (row, prediction) in mine {
                    if let Some(slot) = predictions.get_mut(row) {
                        *slot = Some(prediction);
                    }
                }
            }
        }
    }
    progress("");
    latencies.sort_unstable();
    let predictions: Option<Vec<Prediction>> = predictions.into_iter().collect();
    Ok(Traffic { predictions: predictions.context("a row was not answered")?, latencies, took: begun.elapsed() })
}

fn show_progress(model: &str, sent: usize, begun: Instant, time: Duration) {
    let (now, all) = (begun.elapsed().as_secs_f64(), time.as_secs_f64());
    progress(&format!("{model}: {sent} requests sent, {now:.1} of {all:.0} s"));
}

/// A request to fill with rows, made from the model's own metadata.
pub(super) async fn template(mut client: Client, model: &str, held_out: &HeldOut) -> anyhow::Result<ModelInferRequest> {
    let ask = ModelMetadataRequest { name: model.to_owned(), version: String::new() };
    let metadata = client.model_metadata(ask).await?.into_inner();
    let input = metadata.inputs.first().context("the model has no input")?;
    let shape = std::iter::once(1).chain(held_out.row.iter().map(|dim| i64::try_from(*dim).unwrap_or(i64::MAX)));
    let tensor = InferInputTensor {
        name: input.name.clone(),
        datatype: input.datatype.clone(),
        shape: shape.collect(),
        ..Default::default()
    };
    Ok(ModelInferRequest { model_name: model.to_owned(), inputs: vec![tensor], ..Default::default() })
}

type Answers = (Vec<(usize, Prediction)>, Vec<Duration>);

/// One caller: takes the next row, asks, and notes the answer of each row's first time.
async fn call(
    mut client: Client,
    template: Arc<ModelInferRequest>,
    rows: Arc<[bytes::Bytes]>,
    next: Arc<AtomicUsize>,
    until: Instant,
) -> anyhow::Result<Answers> {
    let (mut answers, mut times) = (Vec::new(), Vec::new());
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let first_time = number < rows.len();
        let asked = Instant::now();
        if !first_time && asked >= until {
            return Ok((answers, times));
        }
        let row = number % rows.len().max(1);
        let mut request = ModelInferRequest::clone(&template);
        request.raw_input_contents = rows.get(row).cloned().into_iter().collect();
        if first_time {
            let wish = InferParameter { parameter_choice: Some(ParameterChoice::BoolParam(true)) };
            request.parameters = HashMap::from([("confidence".to_owned(), wish)]);
        }
        let response = client.model_infer(request).await?.into_inner();
        times.push(asked.elapsed());
        if first_time {
            answers.push((row, prediction(&response)?));
        }
    }
}

/// What one row was answered with. Errors: with nothing.
pub(super) fn prediction(response: &ModelInferResponse) -> anyhow::Result<Prediction> {
    let raw = response.raw_output_contents.first().context("the answer has no output")?;
    let output = raw.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let told = response.parameters.get("confidence").and_then(|told| told.parameter_choice.as_ref());
    let confidence = match told {
        Some(ParameterChoice::StringParam(text)) => serde_json::from_str::<Vec<f64>>(text)?.first().copied(),
        _ => None,
    };
    Ok(Prediction { output, confidence })
}
