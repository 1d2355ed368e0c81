//! The load: held-out rows of each shipped model at a steady rate, whether or not earlier ones have been answered.

use std::slice;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

use super::calls::Call;
use crate::api::grpc::proto::infer_parameter::ParameterChoice;
use crate::api::grpc::proto::{ModelInferRequest, ModelInferResponse};
use crate::app::Server;
use crate::cli::demo::held_out::HeldOut;
use crate::cli::demo::report::largest_error;
use crate::cli::demo::traffic::{self, Client};
use crate::types::RungKind;

/// What the load is, in a line.
pub(super) const DESCRIPTION: &str = "200 requests/s of one held-out row to each of three models over gRPC; every answer is \
                                      held against the training framework's";
/// Between two requests to one model.
const GAP: Duration = Duration::from_millis(5);
/// Requests to one model that are not answered yet; what would be more counts as an error.
const IN_FLIGHT_MAX: usize = 4096;
/// Calls that were not read yet.
const CALLS_MAX: usize = 4096;
/// Largest deviation from the right answer: ten times what the committed models have. Another row's is further off.
const DEVIATION_MAX: f64 = 1e-5;

/// Clients that go on asking until they are stopped.
pub(super) struct Load {
    stop: CancellationToken,
    /// One a model; dropped, they end.
    _senders: JoinSet<()>,
}

impl Load {
    /// Begins to ask every model, and gives what each client saw until the last has been answered.
    ///
    /// Errors: the server cannot be connected to.
    pub(super) async fn start(server: &Server) -> anyhow::Result<(Self, mpsc::Receiver<Call>)> {
        let client = traffic::connect(server.grpc()).await?;
        let (stop, mut senders) = (CancellationToken::new(), JoinSet::new());
        let (book, calls) = mpsc::channel(CALLS_MAX);
        for name in server.pipeline().registry().table().models().keys() {
            let held_out = HeldOut::of(name.as_str())?;
            let template = traffic::template(client.clone(), name.as_str(), &held_out).await?;
            let asker = Arc::new(Asker { client: client.clone(), template, held_out });
            senders.spawn(send(asker, book.clone(), stop.clone()));
        }
        Ok((Self { stop, _senders: senders }, calls))
    }

    /// Asks no more; what has been asked is still answered.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }
}

/// Asks one model.
struct Asker {
    client: Client,
    template: ModelInferRequest,
    held_out: HeldOut,
}

/// Asks at a steady rate, and books what came of it.
async fn send(asker: Arc<Asker>, book: mpsc::Sender<Call>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(GAP);
    let mut waiting = JoinSet::new();
    let mut number = 0;
    loop {
        tokio::select! {
            due = ticks.tick() => {
                let (asker, row, full) = (Arc::clone(&asker), number, waiting.len() >= IN_FLIGHT_MAX);
                waiting.spawn(async move { asker.call(row, due, full).await });
                number += 1;
            }
            Some(ended) = waiting.join_next() => booked(&book, ended).await,
            () = stop.cancelled() => break,
        }
    }
    while let Some(ended) = waiting.join_next().await {
        booked(&book, ended).await;
    }
}

async fn booked(book: &mpsc::Sender<Call>, ended: Result<Call, tokio::task::JoinError>) {
    let lost = |error: tokio::task::JoinError| Call {
        due: Instant::now(),
        took: Duration::ZERO,
        answer: Err(format!("a client ended without an answer: {error}")),
    };
    // Nobody listens any more when the demo is stopped by hand.
    let _heard = book.send(ended.unwrap_or_else(lost)).await;
}

impl Asker {
    /// Asks one of its rows in turn. `full`: does not, because too many have not been answered.
    async fn call(&self, number: usize, due: Instant, full: bool) -> Call {
        let answer = if full { Err("too many requests were not answered".to_owned()) } else { self.ask(number).await };
        Call { due, took: due.elapsed(), answer }
    }

    async fn ask(&self, number: usize) -> Result<RungKind, String> {
        let row = number % self.held_out.rows.len().max(1);
        let mut request = self.template.clone();
        request.raw_input_contents = self.held_out.rows.get(row).cloned().into_iter().collect();
        let response = self.client.clone().model_infer(request).await;
        let response = response.map_err(|status| format!("{:?}: {}", status.code(), status.message()))?;
        self.check(row, &response.into_inner()).map_err(|error| format!("{}: {error:#}", self.template.model_name))
    }

    /// Who answered. Errors: not what this row is to be answered with.
    fn check(&self, row: usize, response: &ModelInferResponse) -> anyhow::Result<RungKind> {
        let ours = traffic::prediction(response)?;
        let theirs = self.held_out.reference.get(row).context("the answer has no known value")?;
        let is_whole = ours.output.len() == theirs.len() && ours.output.iter().all(|value| value.is_finite());
        let is_right = is_whole && largest_error(slice::from_ref(theirs), slice::from_ref(&ours)) <= DEVIATION_MAX;
        anyhow::ensure!(is_right, "row {row} was answered with {:?} and not {theirs:?}", ours.output);
        let told = response.parameters.get("rung").and_then(|told| told.parameter_choice.as_ref());
        let Some(ParameterChoice::StringParam(label)) = told else { anyhow::bail!("the answer names no rung") };
        let rung = RungKind::ALL.into_iter().find(|rung| rung.label() == label);
        rung.with_context(|| format!("the answer names an unknown rung, {label}"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::Asker;
    use crate::api::grpc::proto::infer_parameter::ParameterChoice;
    use crate::api::grpc::proto::{InferParameter, ModelInferRequest, ModelInferResponse};
    use crate::cli::demo::held_out::HeldOut;
    use crate::cli::demo::traffic::Client;
    use crate::types::RungKind;

    fn answer(values: &[f32], rung: Option<&str>) -> ModelInferResponse {
        let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let parameter =
            |label: &str| InferParameter { parameter_choice: Some(ParameterChoice::StringParam(label.to_owned())) };
        let parameters = rung.map(|label| ("rung".to_owned(), parameter(label)));
        ModelInferResponse {
            raw_output_contents: vec![raw.into()],
            parameters: HashMap::from_iter(parameters),
            ..Default::default()
        }
    }

    #[tokio::test]
    async fn only_the_rows_own_answer_is_right() {
        let endpoint = tonic::transport::Endpoint::from_static("http://127.0.0.1:1");
        let held_out = HeldOut::of("digits").expect("it ships");
        let (mine, other) = (held_out.reference[0].clone(), held_out.reference[1].clone());
        let asker =
            Asker { client: Client::new(endpoint.connect_lazy()), template: ModelInferRequest::default(), held_out };
        let check = |values: &[f32], rung| asker.check(0, &answer(values, rung)).map_err(|error| error.to_string());
        assert_eq!(check(&mine, Some("worker")), Ok(RungKind::Worker));
        assert_eq!(check(&mine, Some("cpu")), Ok(RungKind::Cpu));
        assert_eq!(check(&mine, None), Err("the answer names no rung".to_owned()));
        let unknown = check(&mine, Some("moon"));
        assert_eq!(unknown, Err("the answer names an unknown rung, moon".to_owned()));
        let not_a_number: Vec<f32> = mine.iter().map(|_| f32::NAN).collect();
        for wrong in [&other[..], &mine[1..], &not_a_number] {
            let error = check(wrong, Some("worker")).expect_err("a wrong answer");
            assert!(error.starts_with("row 0 was answered with [") && error.contains(" and not ["), "{error}");
        }
        let beyond = asker.check(usize::MAX, &answer(&mine, Some("cpu"))).expect_err("no such row");
        assert_eq!(beyond.to_string(), "the answer has no known value");
    }
}
