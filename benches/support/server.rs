//! The inside of a server process: serves, says where, marks and ends as standard input tells it.

use std::hint::black_box;
use std::io::BufRead as _;
use std::net::SocketAddr;

use anyhow::Context as _;
use sconce::app::Server;
use sconce::config::{Config, ModelConfig};
use sconce::model::Files;
use sconce::registry::{Candidate, Found, Listing, RegistrySource, Shipped};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use super::figures::line;
use super::role::{Kind, Role};
use super::{assembled, echo};

/// Thirty floats in and out, as many as the breast-cancer model takes.
const IDENTITY: &[u8] = br#"
[[tensor]]
input = "features"
output = "features"
dtype = "FP32"
dims = [30]
"#;

/// Serves until standard input ends. Errors: the server cannot be started, or a model fails to load.
pub(crate) fn serve(role: Role) -> anyhow::Result<()> {
    let runtime = runtime(role)?;
    let (end, ended) = oneshot::channel::<()>();
    runtime.block_on(async {
        let (address, _server) = start(role).await?;
        line(&address.to_string());
        std::thread::spawn(move || obey(end));
        let _ended = ended.await;
        Ok(())
    })
}

/// The threads that a role asks for. Errors: they cannot be started.
pub(crate) fn runtime(role: Role) -> anyhow::Result<Runtime> {
    let mut builder = if role.one_thread { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    builder.enable_all().build().context("start the runtime")
}

/// A line on standard input asks for a mark, its end for the end of the process.
fn obey(end: oneshot::Sender<()>) {
    for _ in std::io::stdin().lock().lines() {
        benchmark_mark();
        line("marked");
    }
    drop(end);
}

/// Does nothing, under a name at which a profiler can be told to write down what it has counted.
#[inline(never)]
pub(crate) fn benchmark_mark() {
    black_box(());
}

/// Starts the server of a role; it serves as long as the runtime runs.
///
/// Errors: it cannot be started, or a model fails to load.
pub(crate) async fn start(role: Role) -> anyhow::Result<(SocketAddr, Option<Server>)> {
    if role.kind == Kind::Echo {
        return Ok((echo::start().await?, None));
    }
    let mut config = Config::default();
    (config.grpc, config.metrics) = (([127, 0, 0, 1], 0).into(), ([127, 0, 0, 1], 0).into());
    if let Some(recording) = role.recording {
        return Ok((assembled::start(&config, source(role.kind), recording).await?, None));
    }
    let server = Server::start(config, vec![source(role.kind)])?;
    anyhow::ensure!(server.loaded().await == 0, "a model failed to load");
    Ok((server.grpc(), Some(server)))
}

/// One model and no other.
fn source(kind: Kind) -> Box<dyn RegistrySource> {
    Box::new(One(kind))
}

struct One(Kind);

impl RegistrySource for One {
    fn list(&self) -> Result<Vec<Found>, String> {
        let name = self.0.name();
        if self.0 == Kind::BreastCancer {
            return Ok(Shipped.list()?.into_iter().filter(|found| found.folder == name).collect());
        }
        let files = Files::Memory([("identity.toml".to_owned(), IDENTITY.into())].into());
        let model = name.parse().map_err(|error| format!("{error}"))?;
        let version = "1".parse().map_err(|error| format!("{error}"))?;
        let listing =
            Listing { name: model, config: ModelConfig::default(), versions: vec![Candidate::new(version, files)] };
        Ok(vec![Found { folder: name.to_owned(), listing: Ok(listing) }])
    }
}
