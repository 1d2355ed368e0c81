//! Every error text that a person or a client can read is quoted by some test.
//!
//! Finds the texts in the source, and looks for the longest part between their placeholders in the text of all tests, Rust
//! and Python. What no test can bring about is listed here, with the reason.

#[path = "tidy/code.rs"]
mod code;

use std::path::Path;
use std::{fs, io};

use code::strings;

/// What makes an error of the text that follows it.
const MAKERS: [&str; 12] = [
    "Error::new(",
    "Error::invalid(",
    "LoadError::new(",
    ".problem(",
    ".conflict(",
    "bail!(",
    "anyhow!(",
    "ensure!(",
    "context(",
    ".error(",
    ".unexpected(",
    "Err(format!(",
];
/// How far before a text its maker stands: a line or two.
const REACH: usize = 160;
/// Words of a text at least; fewer are names.
const WORDS_MIN: usize = 3;

/// Where texts stand that only a GPU's driver, or a mistake of our own on the way to it, can bring about.
const NO_GPU: [&str; 2] = ["worker/src/device/cuda/", "worker/src/device/fused/host.rs"];

/// Texts that no test can bring about.
const UNREACHABLE: &[&str] = &[
    // The machine has no threads, memory or signals left.
    "a caller panicked",
    "listen for signals",
    "no memory for its {expected} bytes",
    "start a device thread: {error}",
    "start the computing threads",
    "start the loading threads",
    "start the network's threads",
    "start the pacer's thread",
    "start the thread for batches",
    // Every version has a device, and every walk asks the first; parts of one batch are of one model.
    "no device may answer",
    "no device runs the model",
    "the parts of a batch gave outputs of different shapes",
    // Told by the log alone; a device that hangs is found out before.
    "a trial was not answered in time",
    // The server ends in the middle of it.
    "a client ended without an answer: {error}",
    "connect to the demo's server",
    "the server was started without a worker",
    "decode a message: {error}",
    // What is checked before does not let it happen; said rather than unwrapped.
    "a batch of 2^32 tokens",
    "a row of 2^32 tokens",
    "cannot be put on the device: {}",
    "expected a way of attending, got number {at}",
    "expected rows and tiles",
    "rows without positions",
    "expected a contiguous input",
    "expected a product in F32",
    "no protocol type for candle's {other:?}",
    "no rows to answer",
    "the model failed: {}",
    "the model's code panicked while it was loaded",
    "the model's worker ended without an answer",
    "the packed rows have no tokens",
    "the parts of the request gave outputs of different shapes",
    "the request's rows were not kept",
    "there is no request",
    "unknown output type",
    // The build would be broken: what is compiled in, or made by us, cannot be read.
    "a row was not answered",
    "expected a score for each sentence",
    "expected more than one sentence",
    "the answer has no output \"{output}\"",
    "the answer has no rows",
    "held_out.toml: expected a number `{figure}`",
    "inputs: expected rows",
    "read the protocol's definition",
    "render the page",
    "targets: expected I64 or F32, got {other:?}",
    "the answer has no output",
    "the model has no input",
    "write the report",
    "a shipped model did not load; the log above says why",
    "{model}/{name} is not shipped",
];

fn files(folder: &Path, extension: &str, found: &mut Vec<(String, String)>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files(&path, extension, found)?;
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push((path.display().to_string(), fs::read_to_string(&path)?));
        }
    }
    Ok(())
}

/// The source, and the tests in it.
fn parted(path: &str, text: String) -> (String, String) {
    if path.ends_with("tests.rs") || path.contains("/tests/") {
        return (String::new(), text);
    }
    match text.find("#[cfg(test)]\nmod tests {") {
        Some(at) => (text[..at].to_owned(), text[at..].to_owned()),
        None => (text, String::new()),
    }
}

/// The longest part of a text between its placeholders and quotation marks.
fn longest_part(text: &str) -> &str {
    // What stands in a placeholder is a part as well, but short.
    text.split(['{', '}', '"', '`']).map(str::trim).max_by_key(|part| part.len()).unwrap_or_default()
}

#[test]
fn every_error_text_has_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut source, mut rust, mut python) = (Vec::new(), Vec::new(), Vec::new());
    files(&root.join("src"), "rs", &mut source).expect("the source");
    files(&root.join("worker/src"), "rs", &mut source).expect("the worker's source");
    files(&root.join("tests"), "rs", &mut rust).expect("the tests");
    files(&root.join("worker/tests"), "rs", &mut rust).expect("the worker's tests");
    files(&root.join("tests/python"), "py", &mut python).expect("the tests");
    let mut quoted: String = rust
        .into_iter()
        .chain(python)
        .filter(|(path, _)| !path.ends_with("error_texts.rs"))
        .map(|(_, text)| text)
        .collect();
    let mut texts = Vec::new();
    for (path, text) in source {
        if NO_GPU.iter().any(|place| path.contains(place)) {
            continue;
        }
        let (code, own_tests) = parted(&path, text);
        quoted.push_str(&own_tests);
        texts.extend(error_texts(&code).into_iter().map(|text| (path.clone(), text)));
    }
    // A text may be cut over lines in a test as well.
    let quoted = joined(&quoted);
    let untested: Vec<String> = texts
        .iter()
        .filter(|(_, text)| !quoted.contains(longest_part(text)) && !UNREACHABLE.contains(&text.as_str()))
        .map(|(path, text)| format!("{path}: {text}"))
        .collect();
    assert!(texts.len() > 150, "found only {} texts", texts.len());
    assert!(untested.is_empty(), "no test quotes these {} error texts:\n{}", untested.len(), untested.join("\n"));
    for text in UNREACHABLE {
        assert!(texts.iter().any(|(_, known)| known == text), "listed, but not in the source: {text}");
    }
}

/// The texts of errors in this source.
fn error_texts(source: &str) -> Vec<String> {
    let mut texts = Vec::new();
    for (at, text) in strings(source) {
        let mut from = at.saturating_sub(REACH);
        while !source.is_char_boundary(from) {
            from += 1;
        }
        let before = &source[from..at];
        // `format!` may make the text first, under this name.
        let is_error = MAKERS.iter().any(|maker| before.contains(maker)) || before.contains("let detail");
        let text = joined(text);
        if is_error && longest_part(&text).split_whitespace().count() >= WORDS_MIN {
            texts.push(text);
        }
    }
    texts
}

/// Without the breaks of lines that a backslash hides.
fn joined(text: &str) -> String {
    let mut parts = text.split("\\\n");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.trim_start()).replace("\\\"", "\"").replace("\\'", "'")
}

#[test]
fn texts_are_found_as_they_are_read() {
    let far = " ".repeat(200);
    let error = "Err(Error::invalid(format!(\"x: expected one or more \\\"{a}\\\", \\\n    got {b} of them\")))";
    let source = format!("{error};{far}let name = \"not an error at all\";");
    assert_eq!(error_texts(&source), ["x: expected one or more \"{a}\", got {b} of them"]);
    assert_eq!(longest_part("input \"{name}\": expected {before} rows as before, got {here}"), "rows as before, got");
}
