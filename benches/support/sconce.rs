//! The server and the load tester as processes of their own, as their users run them.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;
use serde_json::Value;

const SCONCE: &str = env!("CARGO_BIN_EXE_sconce");

/// A server of the models in a folder of its own, which is removed with it. Ended by its own pid when dropped.
pub(crate) struct Server {
    process: Child,
    address: String,
    metrics: String,
    folder: PathBuf,
}

impl Server {
    /// Serves what `fill` writes into an empty folder. Errors: the server does not become ready.
    pub(crate) fn start(
        name: &str,
        arguments: &[&str],
        fill: impl FnOnce(&Path) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("sconce-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        fill(&folder)?;
        let mut command = Command::new(SCONCE);
        command.args(["serve", "--grpc", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--shutdown-delay", "0s"]);
        command.args(arguments).arg("--models").arg(&folder).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().context("start the server")?;
        let mut ready = String::new();
        BufReader::new(process.stdout.take().context("no output")?).read_line(&mut ready)?;
        let after = |key: &str| ready.split(key).nth(1).and_then(|rest| rest.split_whitespace().next());
        let (address, metrics) = (after("grpc=").map(str::to_owned), after("metrics=").map(str::to_owned));
        let (address, metrics) =
            address.zip(metrics).with_context(|| format!("the server did not become ready: {ready}"))?;
        Ok(Self { process, address, metrics, folder })
    }

    /// Where its models are.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// `sconce bench` on one of its models: the figures of its one step. Errors: it could not be run.
    pub(crate) fn bench(&self, model: &str, arguments: &[&str]) -> anyhow::Result<Value> {
        let mut command = Command::new(SCONCE);
        command.args(["bench", &self.address, "--model", model, "--json"]).args(arguments);
        let output = command.stderr(Stdio::inherit()).output().context("run the client")?;
        let told: Value = serde_json::from_slice(&output.stdout).context("read the client's figures")?;
        told.pointer("/steps/0").cloned().context("the client measured nothing")
    }

    /// The sum of the series of a metric that have all these labels, such as `model="a"`.
    pub(crate) fn metric(&self, name: &str, labels: &[&str]) -> anyhow::Result<f64> {
        let mut stream = TcpStream::connect(&self.metrics)?;
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")?;
        let mut page = String::new();
        stream.read_to_string(&mut page)?;
        let of_metric = |line: &&str| line.starts_with(name) && labels.iter().all(|label| line.contains(label));
        let values = page.lines().filter(of_metric).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        Ok(values.sum())
    }

    /// Its resident memory.
    pub(crate) fn resident_mib(&self) -> anyhow::Result<f64> {
        let status = Path::new("/proc").join(self.process.id().to_string()).join("status");
        let status = std::fs::read_to_string(status)?;
        let text = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no resident memory")?;
        let kibibytes: f64 = text.trim().trim_end_matches(" kB").parse()?;
        Ok(kibibytes / 1024.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.process.kill().and_then(|()| self.process.wait());
        let _gone = std::fs::remove_dir_all(&self.folder);
    }
}

/// A number in a step's figures; zero where there is none.
pub(crate) fn number(step: &Value, path: &str) -> f64 {
    step.pointer(path).and_then(Value::as_f64).unwrap_or_default()
}
