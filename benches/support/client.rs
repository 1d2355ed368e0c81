//! The one client of every server: calls in a closed loop, each caller waiting for its answer before it asks again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context as _;
use bytes::{BufMut as _, BytesMut};
use sconce::api::grpc::proto::ModelInferRequest;
use sconce::api::grpc::proto::grpc_inference_service_client::GrpcInferenceServiceClient;
use sconce::api::grpc::proto::model_infer_request::InferInputTensor;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant};
use tonic::transport::{Channel, Endpoint};

use super::role::Kind;

/// The first tumour of the data set that the breast-cancer model was trained on.
const ROW: [f32; 30] = [
    17.99, 10.38, 122.8, 1001.0, 0.1184, 0.2776, 0.3001, 0.1471, 0.2419, 0.07871, 1.095, 0.9053, 8.589, 153.4,
    0.006_399, 0.04904, 0.05373, 0.01587, 0.03003, 0.006_193, 25.38, 17.33, 184.6, 2019.0, 0.1622, 0.6656, 0.7119,
    0.2654, 0.4601, 0.1189,
];

type Client = GrpcInferenceServiceClient<Channel>;

/// Connections to one server, and what is asked over them.
pub(crate) struct Load {
    clients: Vec<Client>,
    request: Arc<ModelInferRequest>,
}

/// When callers stop.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    /// After this time.
    Time(Duration),
    /// After so many calls, all callers' together.
    Calls(usize),
}

/// What the callers saw.
pub(crate) struct Seen {
    took: Duration,
    /// Sorted.
    latencies: Vec<Duration>,
}

impl Load {
    /// Connects `connections` times and tries one call. Errors: no connection, or an answer that is none.
    pub(crate) async fn new(address: SocketAddr, kind: Kind, connections: usize) -> anyhow::Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true);
        let mut clients = Vec::with_capacity(connections);
        for _ in 0..connections {
            clients.push(Client::new(endpoint.connect().await.context("connect to the server")?));
        }
        let load = Self { clients, request: Arc::new(request(kind)) };
        let mut client = load.clients.first().context("no connection")?.clone();
        let answer = client.model_infer(ModelInferRequest::clone(&load.request)).await?.into_inner();
        let expected = if kind == Kind::BreastCancer { 2 * size_of::<f32>() } else { size_of_val(&ROW) };
        let got = answer.raw_output_contents.first().map_or(0, bytes::Bytes::len);
        anyhow::ensure!(got == expected, "{}: expected {expected} bytes of output, got {got}", kind.name());
        Ok(load)
    }

    /// Calls from `callers` callers, spread over the connections. Errors: a call fails.
    pub(crate) async fn run(&self, callers: usize, until: Until) -> anyhow::Result<Seen> {
        let begun = Instant::now();
        let (end, left) = match until {
            Until::Time(time) => (begun + time, usize::MAX),
            Until::Calls(calls) => (begun + Duration::from_hours(1), calls),
        };
        let left = Arc::new(AtomicUsize::new(left));
        let mut running = JoinSet::new();
        for client in self.clients.iter().cycle().take(callers) {
            running.spawn(call(client.clone(), Arc::clone(&self.request), Arc::clone(&left), end));
        }
        let mut latencies = Vec::new();
        while let Some(ended) = running.join_next().await {
            latencies.extend(ended.context("a caller panicked")??);
        }
        let took = begun.elapsed();
        latencies.sort_unstable();
        anyhow::ensure!(!latencies.is_empty(), "no call was answered");
        Ok(Seen { took, latencies })
    }
}

async fn call(
    mut client: Client,
    request: Arc<ModelInferRequest>,
    left: Arc<AtomicUsize>,
    end: Instant,
) -> Result<Vec<Duration>, tonic::Status> {
    let mut latencies = Vec::with_capacity(4096);
    let mut asked = Instant::now();
    let one_less = |left: usize| left.checked_sub(1);
    while asked < end && left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
        client.model_infer(ModelInferRequest::clone(&request)).await?;
        let answered = Instant::now();
        latencies.push(answered - asked);
        asked = answered;
    }
    Ok(latencies)
}

fn request(kind: Kind) -> ModelInferRequest {
    let input = InferInputTensor {
        name: "features".to_owned(),
        datatype: "FP32".to_owned(),
        shape: vec![1, 30],
        ..Default::default()
    };
    let mut row = BytesMut::with_capacity(size_of_val(&ROW));
    for value in ROW {
        row.put_f32_le(value);
    }
    ModelInferRequest {
        model_name: kind.name().to_owned(),
        inputs: vec![input],
        raw_input_contents: vec![row.freeze()],
        ..Default::default()
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
impl Seen {
    /// Calls that were answered.
    pub(crate) fn calls(&self) -> f64 {
        self.latencies.len() as f64
    }

    /// Calls answered in a second.
    pub(crate) fn rate(&self) -> f64 {
        self.calls() / self.took.as_secs_f64()
    }

    /// Latency below which so many percent of the calls were answered, in microseconds.
    pub(crate) fn percentile_us(&self, percent: usize) -> f64 {
        let at = (self.latencies.len() * percent / 100).min(self.latencies.len().saturating_sub(1));
        self.latencies.get(at).map_or(0.0, |latency| latency.as_secs_f64() * 1e6)
    }
}
