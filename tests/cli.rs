//! The binary as a person uses it: help, `check`, `serve`, its log and its signals; `bench` and what a shell reads.

#[path = "cli/bench.rs"]
mod bench;
#[path = "cli/demo.rs"]
mod demo;
#[path = "cli/words.rs"]
mod words;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, SystemTime};

const NETWORK: &str = "[input]\nname = \"x\"\ndims = [2]\n[output]\nname = \"y\"\n[[layer]]\ntype = \"relu\"\n";

/// A folder that is removed when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("sconce-cli-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("a scratch folder");
        Self(path)
    }

    fn write(&self, file: &str, text: &str) -> &Self {
        let path = self.0.join(file);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
        self
    }

    /// A model without weights.
    fn model(&self, name: &str) -> &Self {
        self.write(
            &format!("{name}/1/identity.toml"),
            "[[tensor]]\ninput = \"x\"\noutput = \"y\"\ndtype = \"FP32\"\ndims = [2]\n",
        )
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}

fn sconce() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sconce"));
    command.env_clear();
    command
}

fn run(arguments: &[&str]) -> Output {
    sconce().args(arguments).output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A server on free ports, ended by its own pid.
struct Server {
    child: Child,
    /// Address of the gRPC door, as the ready line tells it.
    grpc: String,
}

impl Server {
    fn start(scratch: &Scratch, arguments: &[&str]) -> Self {
        let mut command = sconce();
        command.arg("serve").arg("--models").arg(scratch.path());
        command.args(["--grpc", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--shutdown-delay", "0s"]);
        let child = command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
        let mut server = Self { child, grpc: String::new() };
        let mut line = String::new();
        let out = server.child.stdout.as_mut().expect("piped");
        BufReader::new(out).read_line(&mut line).expect("a line");
        let told = line.strip_prefix("sconce is ready: grpc=").and_then(|rest| rest.split_once(' '));
        server.grpc = told.map(|(grpc, _)| grpc.to_owned()).unwrap_or_default();
        assert!(server.grpc.starts_with("127.0.0.1:"), "{line}{}", server.log());
        server
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status().expect("kill runs");
        assert!(sent.success());
    }

    /// Stops the server and returns all that it logged.
    fn stop(mut self) -> String {
        self.signal("-TERM");
        let code = self.child.wait().expect("ends").code();
        let log = self.log();
        assert_eq!(code, Some(0), "{log}");
        log
    }

    fn log(&mut self) -> String {
        let mut log = String::new();
        if let Some(mut pipe) = self.child.stderr.take() {
            pipe.read_to_string(&mut log).expect("text");
        }
        log
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[test]
fn help_names_every_command() {
    let help = text(&run(&["--help"]).stdout);
    for word in ["serve", "demo", "check", "bench", "completions", "man"] {
        assert!(help.contains(word), "{help}");
    }
    let serve = text(&run(&["serve", "--help"]).stdout);
    for flag in ["--models", "--config", "--grpc", "--metrics", "--strict", "8001", "8002"] {
        assert!(serve.contains(flag), "{serve}");
    }
}

#[test]
fn check_prints_the_signature() {
    let scratch = Scratch::new("signature");
    scratch.model("echo");
    let output = run(&["check", scratch.path().join("echo").to_str().expect("text")]);
    let shown = text(&output.stdout);
    assert!(output.status.success(), "{shown}{}", text(&output.stderr));
    assert!(shown.contains("echo version 1") && shown.contains("[-1,2]") && shown.contains("FP32"), "{shown}");
}

#[test]
fn check_names_what_is_wrong() {
    let scratch = Scratch::new("wrong");
    scratch.model("echo").write("echo/model.toml", "max_batchsize = 4\n[batching]\nqueue_rows_max = \"many\"\n");
    scratch.write("net/1/network.toml", NETWORK).write("net/1/model.safetensors", "not weights");
    scratch.write("pickle/1/model.pt", "whatever");
    scratch.model("old").write("old/model.toml", "versions = [1, 3]\n");
    let output = run(&["check", scratch.path().to_str().expect("text")]);
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    for words in [
        "model.toml:1",
        "`max_batch_size`",
        "model.toml:3",
        "queue_rows_max",
        "model.safetensors",
        "safetensors",
        "old: `versions` asks for version 3, which is not there",
    ] {
        assert!(told.contains(words), "{words} is not in:\n{told}");
    }
}

#[test]
fn check_asks_the_golden_question() {
    let scratch = Scratch::new("golden");
    let tensor =
        |name: &str, data: &str| format!(r#"{{"name":"{name}","shape":[1,2],"datatype":"FP32","data":{data}}}"#);
    for (answer, is_sound) in [("[1,2]", true), ("[1,3]", false)] {
        let (input, output) = (tensor("x", "[1,2]"), tensor("y", answer));
        let golden = format!(r#"{{"request":{{"inputs":[{input}]}},"response":{{"outputs":[{output}]}}}}"#);
        scratch.model("echo").write("echo/1/golden.json", &golden);
        let output = run(&["check", scratch.path().to_str().expect("text")]);
        let told = text(&output.stderr);
        assert_eq!(output.status.success(), is_sound, "{told}");
        assert_eq!(told.contains("golden.json: output \"y\": row 0: expected [1, 3], got [1, 2]"), !is_sound, "{told}");
    }
}

#[test]
fn check_names_a_folder_without_models() {
    let nowhere = run(&["check", "/no/such/folder"]);
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(text(&nowhere.stderr).contains("read the folder /no/such/folder: "), "{}", text(&nowhere.stderr));
    let scratch = Scratch::new("empty");
    let empty = run(&["check", scratch.path().to_str().expect("text")]);
    assert_eq!(empty.status.code(), Some(1));
    let wanted = ": expected a model folder (one that holds a numbered version such as `1`), \
                  or a repository of model folders; found neither";
    let wanted = format!("{}{wanted}", scratch.path().display());
    assert!(text(&empty.stderr).contains(&wanted), "{}", text(&empty.stderr));
}

#[test]
fn a_model_that_fails_stops_the_others_only_when_strict() {
    let scratch = Scratch::new("strict");
    scratch.model("good").write("bad/1/network.toml", "layer = 7");
    let log = Server::start(&scratch, &[]).stop();
    assert!(log.contains("bad") && log.contains("network.toml"), "{log}");
    let models = scratch.path().to_str().expect("text");
    let ports = ["--grpc", "127.0.0.1:0", "--metrics", "127.0.0.1:0"];
    let output = sconce().args(["serve", "--strict", "--models", models]).args(ports).output().expect("runs");
    assert_eq!(output.status.code(), Some(1));
    let wanted = "1 of the models failed to load, and --strict asks for all; the log above says why";
    assert!(text(&output.stderr).contains(wanted), "{}", text(&output.stderr));
}

#[test]
fn a_repository_that_is_not_there_is_named() {
    let output = run(&["serve", "--models", "/no/such/folder", "--grpc", "127.0.0.1:0", "--metrics", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("--models /no/such/folder: there is no such folder"));
}

#[test]
fn a_model_without_a_version_is_told_what_is_missing() {
    let scratch = Scratch::new("versionless");
    scratch.model("good").write("flat/network.toml", NETWORK);
    let log = Server::start(&scratch, &[]).stop();
    assert!(log.contains("flat") && log.contains("no version folder"), "{log}");
}

#[test]
fn every_problem_of_the_settings_is_told_at_once() {
    let scratch = Scratch::new("settings");
    scratch.write("sconce.toml", "grcp = \"127.0.0.1:1\"\ntimeout = \"soon\"\n");
    let config = scratch.path().join("sconce.toml");
    let output = run(&["serve", "--config", config.to_str().expect("text")]);
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    for words in ["`grcp`", "`grpc`", "`timeout`", "`models`"] {
        assert!(told.contains(words), "{words} is not in:\n{told}");
    }
}

#[test]
fn an_address_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let scratch = Scratch::new("taken");
    scratch.model("echo");
    let models = scratch.path().to_str().expect("text");
    let output = run(&["serve", "--models", models, "--grpc", &address, "--metrics", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains(&format!("listen on {address}")), "{}", text(&output.stderr));
}

#[test]
fn a_hang_up_reads_the_log_level_again() {
    let scratch = Scratch::new("level");
    scratch.model("echo");
    scratch.write("settings/sconce.toml", "[log]\nlevel = \"error\"\nformat = \"json\"\n");
    let config = scratch.path().join("settings/sconce.toml");
    let server = Server::start(&scratch, &["--config", config.to_str().expect("text")]);
    scratch.write("settings/sconce.toml", "[log]\nlevel = \"info\"\nformat = \"json\"\n");
    server.signal("-HUP");
    wait_until_handled(&server);
    let log = server.stop();
    assert!(!log.contains("model ready"), "{log}");
    assert!(log.contains("log level read again") && log.contains("draining"), "{log}");
    assert!(log.lines().all(|line| line.starts_with('{')), "{log}");
}

/// Waits until the process has no signal pending: a SIGTERM sent then is handled after the SIGHUP.
fn wait_until_handled(server: &Server) {
    let begun = SystemTime::now();
    let status = format!("/proc/{}/status", server.child.id());
    while begun.elapsed().expect("time goes on") < Duration::from_secs(10) {
        let text = fs::read_to_string(&status).expect("the process lives");
        let pending = text.lines().filter(|line| line.starts_with("SigPnd") || line.starts_with("ShdPnd"));
        if pending.clone().all(|line| line.ends_with("0000000000000000")) {
            return;
        }
    }
}

#[test]
fn a_signal_while_a_model_loads_ends_the_server() {
    let scratch = Scratch::new("loading");
    // Warm-up copies up to 256 MiB a batch.
    scratch.write(
        "large/1/identity.toml",
        "[[tensor]]\ninput = \"x\"\noutput = \"y\"\ndtype = \"FP32\"\ndims = [262144]\n",
    );
    scratch.write("large/model.toml", "max_batch_size = 256\n[warmup]\ntime_max = \"60s\"\n");
    let mut command = sconce();
    command.arg("serve").arg("--models").arg(scratch.path()).args([
        "--grpc",
        "127.0.0.1:0",
        "--metrics",
        "127.0.0.1:0",
    ]);
    let child = command.args(["--shutdown-delay", "0s"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut server = Server { child: child.expect("starts"), grpc: String::new() };
    let lines = BufReader::new(server.child.stderr.as_mut().expect("piped")).lines();
    let listens = lines.map_while(Result::ok).any(|line| line.contains("listening"));
    assert!(listens, "the server ended before it listened");
    server.signal("-TERM");
    assert_eq!(server.child.wait().expect("ends").code(), Some(0));
}
