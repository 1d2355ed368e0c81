//! `sconce bench` against `sconce serve`.

use std::process::Output;

use serde_json::Value;

use super::{Scratch, Server, run, text};

fn serve(name: &str) -> (Scratch, Server) {
    let scratch = Scratch::new(name);
    scratch.model("echo");
    let server = Server::start(&scratch, &[]);
    (scratch, server)
}

fn bench(address: &str, model: &str, flags: &str) -> Output {
    let fixed = ["bench", address, "--model", model];
    let words: Vec<&str> = fixed.into_iter().chain(flags.split_whitespace()).collect();
    run(&words)
}

/// The JSON object on standard output, and nothing else there.
fn report(output: &Output) -> Value {
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

/// What a run that failed said.
fn told(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1));
    text(&output.stderr)
}

#[test]
fn a_closed_loop_counts_every_call() {
    let (_models, server) = serve("bench-closed");
    let flags =
        "--concurrency 1,4 --connections 2 --duration 300ms --warmup 100ms --rows 3 --priority 1 --ids --gzip --json";
    let report = report(&bench(&server.grpc, "echo", flags));
    assert_eq!((&report["format"], &report["interrupted"]), (&1.into(), &false.into()));
    assert_eq!(report["setup"]["inputs"][0]["shape"], serde_json::json!([3, 2]));
    let steps = report["steps"].as_array().expect("steps");
    assert_eq!(steps.iter().map(|step| &step["concurrency"]).collect::<Vec<_>>(), [1, 4]);
    for step in steps {
        let figure = |name: &str| step[name].as_f64().expect("a number");
        assert!(figure("ok") > 0.0 && step["ok"] == step["calls"] && step["errors"] == serde_json::json!([]), "{step}");
        assert!((figure("rows_per_second") - 3.0 * figure("ok_per_second")).abs() < 1e-6, "{step}");
        let latency = ["p50", "p90", "p95", "p99", "p99.9", "max"].map(|name| step["latency_seconds"][name].as_f64());
        assert!(latency[0] > Some(0.0) && latency.is_sorted(), "{step}");
    }
    server.stop();
}

#[test]
fn an_open_loop_offers_its_rate() {
    let (_models, server) = serve("bench-open");
    let flags = "--rate 200 --arrivals constant --duration 500ms --warmup 0s";
    let json = report(&bench(&server.grpc, "echo", &format!("{flags} --json")));
    let step = &json["steps"][0];
    assert_eq!((&step["offered"]["asked_per_second"], &step["offered"]["due"]), (&200.0.into(), &99.into()));
    assert_eq!((&step["calls"], &step["ok"], &step["offered"]["kept"]), (&99.into(), &99.into(), &true.into()));
    let table = bench(&server.grpc, "echo", flags);
    let shown = text(&table.stdout);
    assert!(table.status.success() && shown.contains("constant arrivals") && shown.contains("asked/s"), "{shown}");
    server.stop();
}

#[test]
fn a_sweep_finds_a_knee_and_draws_it() {
    let (models, server) = serve("bench-sweep");
    let plot = models.path().join("sweep.svg");
    let flags = format!("--sweep --duration 100ms --warmup 0s --json --plot {}", plot.display());
    let report = report(&bench(&server.grpc, "echo", &flags));
    let steps = report["steps"].as_array().expect("steps");
    let knee = &report["knee"];
    let at_knee = steps.iter().find(|step| step["concurrency"] == knee["concurrency"]).expect("a step of the sweep");
    assert!(steps.len() >= 3 && at_knee["goodput_per_second"] == knee["goodput_per_second"], "{report}");
    let drawn = std::fs::read_to_string(plot).expect("a drawing");
    assert_eq!(drawn.matches("<circle class=\"p99\"").count(), steps.len());
    server.stop();
}

#[test]
fn calls_that_expire_are_told_by_status() {
    let (_models, server) = serve("bench-deadline");
    let output = bench(&server.grpc, "echo", "--deadline 1us --duration 200ms --warmup 0s --json");
    let told = told(&output);
    assert!(told.contains("no call was answered well: ") && told.contains("DEADLINE_EXCEEDED"), "{told}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    let step = &report["steps"][0];
    let expired =
        step["errors"].as_array().expect("errors").iter().filter(|error| error["code"] == "DEADLINE_EXCEEDED");
    let expired: u64 = expired.filter_map(|error| error["count"].as_u64()).sum();
    assert!(expired > 0 && step["ok"] == 0 && step["goodput_per_second"] == 0.0, "{report}");
}

#[test]
fn a_file_of_inputs_is_sent() {
    let (models, server) = serve("bench-input");
    let line = |data: &str| format!(r#"{{"inputs":[{{"name":"x","datatype":"FP32","shape":[2,2],"data":{data}}}]}}"#);
    models.write("good.jsonl", &format!("{}\n{}\n", line("[1,2,3,4]"), line("[[5,6],[7,8.5]]")));
    models.write("bad.jsonl", &format!("{}\n{}\n", line("[1,2,3,4]"), line("[1,2,3]"))).write("empty.jsonl", "\n");
    let flags = |name: &str| format!("--input {} --duration 200ms --json", models.path().join(name).display());
    let report = report(&bench(&server.grpc, "echo", &flags("good.jsonl")));
    assert_eq!(report["setup"]["request_variants"], 2);
    for (name, wanted) in [
        ("bad.jsonl", "bad.jsonl:2: input x: expected 4 values for shape [2, 2], got 3"),
        ("empty.jsonl", "empty.jsonl: expected a request on each line, got none"),
    ] {
        let told = told(&bench(&server.grpc, "echo", &flags(name)));
        assert!(told.contains(wanted), "{told}");
    }
    server.stop();
}

#[test]
fn what_cannot_be_asked_is_told_in_one_line() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|taken| taken.local_addr()).expect("a port");
    let refused = told(&bench(&free.to_string(), "echo", ""));
    assert!(refused.starts_with(&format!("error: {free}: connect: Connection refused")), "{refused}");
    let (_models, server) = serve("bench-wrong");
    for (model, flags, wanted) in [
        ("nope", "", "--model nope: metadata: NOT_FOUND"),
        ("echo", "--shape x:3", "--shape x: expected dimensions that fit [-1, 2]"),
        ("echo", "--input /no/such/file", "--input /no/such/file: read the file"),
    ] {
        let told = told(&bench(&server.grpc, model, flags));
        assert!(told.contains(wanted) && told.lines().count() == 1, "{told}");
    }
    server.stop();
}

#[test]
fn an_address_that_is_none_is_told() {
    for (address, wanted) in [
        ("https://localhost:1", "ADDR: expected HOST:PORT or http://HOST:PORT (without TLS), got https://localhost:1"),
        ("localhost", "ADDR: expected HOST:PORT or http://HOST:PORT (without TLS), got localhost"),
        ("local host:1", "ADDR: expected HOST:PORT, got local host:1"),
    ] {
        let told = told(&bench(address, "echo", ""));
        assert!(told.contains(wanted) && told.lines().count() == 1, "{told}");
    }
}
