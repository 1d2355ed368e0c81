//! One call of the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use http::uri::PathAndQuery;
use tokio::time::{Instant, timeout_at};
use tonic::client::Grpc;
use tonic::codec::CompressionEncoding::Gzip;
use tonic::transport::Channel;
use tonic::{Request, Status, TimeoutExpired};

use super::codec::{Encoded, Id, Raw};
use super::flags::Flags;
use super::outcome::Outcome;
use super::request::Requests;

/// Something that can be asked: the server, or what stands for it in a test.
pub(super) trait Ask: Clone + Send + Sync + 'static {
    /// Asks once, and waits for the answer or the deadline, which counts from `due`.
    ///
    /// Cancel safe: dropping it gives the call up.
    fn ask(&mut self, due: Instant) -> impl Future<Output = Outcome> + Send;
}

/// A connection, and what is asked over it.
#[derive(Clone)]
pub(super) struct Client {
    grpc: Grpc<Channel>,
    requests: Arc<Requests>,
    /// The next id, where requests get one.
    ids: Option<Arc<AtomicU64>>,
    deadline: Option<Duration>,
}

impl Client {
    /// A client for each connection.
    pub(super) fn on_each(channels: Vec<Channel>, flags: &Flags, requests: &Arc<Requests>) -> Vec<Self> {
        let ids = flags.ids.then(Arc::default);
        let on = |channel| {
            let mut grpc = Grpc::new(channel).max_decoding_message_size(usize::MAX);
            if flags.gzip {
                grpc = grpc.send_compressed(Gzip).accept_compressed(Gzip);
            }
            Self { grpc, requests: Arc::clone(requests), ids: ids.clone(), deadline: flags.deadline }
        };
        channels.into_iter().map(on).collect()
    }

    async fn send(&mut self, time: Option<Duration>) -> Outcome {
        let prepared = self.requests.next();
        let id = self.ids.as_ref().map(|ids| Id { id: ids.fetch_add(1, Relaxed).to_string() });
        let mut request = Request::new(Encoded { body: prepared.body.clone(), id: id.clone() });
        if let Some(time) = time {
            request.set_timeout(time);
        }
        if let Err(error) = self.grpc.ready().await {
            return Outcome::of(&Status::from_error(error.into()));
        }
        let path = PathAndQuery::from_static("/inference.GRPCInferenceService/ModelInfer");
        match self.grpc.unary(request, path, Raw { reads_ids: id.is_some() }).await {
            Err(status) if ran_out(&status) => Outcome::expired(),
            Err(status) => Outcome::of(&status),
            Ok(answer) => match id {
                Some(sent) if sent != *answer.get_ref() => Outcome::wrong_id(&sent.id, &answer.get_ref().id),
                _ => Outcome::Ok { rows: prepared.rows },
            },
        }
    }
}

/// Did tonic's own timer for `grpc-timeout` end the call? It calls that CANCELLED, which is the server's word.
fn ran_out(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<TimeoutExpired>() {
            return true;
        }
        cause = error.source();
    }
    false
}

impl Ask for Client {
    async fn ask(&mut self, due: Instant) -> Outcome {
        let Some(limit) = self.deadline else { return self.send(None).await };
        let end = due + limit;
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Outcome::expired();
        }
        timeout_at(end, self.send(Some(left))).await.unwrap_or_else(|_elapsed| Outcome::expired())
    }
}
