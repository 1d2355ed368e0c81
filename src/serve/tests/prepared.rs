//! A model that makes its rows of what clients send: words become one element for each letter.
#![expect(clippy::disallowed_methods, reason = "the model's worker is a task")]

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::{Duration, Instant};

use super::super::Pipeline;
use crate::config::ModelConfig;
use crate::device::{Cores, Device, Executor};
use crate::guard::{Admission, Client, Limits, Memory};
use crate::model::{About, Prepare, Prepared, Room};
use crate::monitor::{Monitor, Settings};
use crate::registry::{Allowance, Pools, Registry};
use crate::types::{
    DataType, Error, InferAnswer, InferRequest, NamedTensor, Presence, Reason, Rows, Shape, Signature, Tensor,
    TensorSpec,
};

/// Letters of the longest word; more are cut off.
const LETTERS_MAX: usize = 9;

#[derive(Debug)]
struct Letters {
    shows: Vec<TensorSpec>,
}

impl Prepare for Letters {
    fn prepare(&self, inputs: Vec<Option<Tensor>>, room: &mut Room<'_>) -> Result<Prepared, Error> {
        let words = inputs.into_iter().flatten().next().ok_or_else(|| Error::invalid("no word"))?;
        let (mut letters, mut lengths, mut truncated) = (Vec::new(), Vec::new(), Vec::new());
        let count = words.shape().rows().expect("rows");
        for word in words.split(&vec![1; count]).expect("words") {
            let word = &word.data()[4..];
            room(word.len())?;
            if word == b"panic" {
                // Not `panic!`, whose message would fill the screen.
                std::panic::resume_unwind(Box::new("on this word"));
            }
            let kept = word.len().min(LETTERS_MAX);
            letters.extend_from_slice(&word[..kept]);
            lengths.push(u32::try_from(kept).expect("short"));
            truncated.push(u32::try_from(word.len() - kept).expect("short"));
        }
        let shape = Shape::new(&[letters.len()]);
        let letters = Tensor::new(DataType::Uint8, shape, letters.into()).map_err(Error::invalid)?;
        Ok(Prepared { rows: Rows::packed(vec![letters], &lengths).expect("no empty word"), truncated })
    }

    fn shows(&self) -> &[TensorSpec] {
        &self.shows
    }

    fn show(&self, _at: usize, rows: &Rows) -> Result<Tensor, Error> {
        Ok(rows.inputs()[0].clone())
    }

    fn length_max(&self) -> Option<usize> {
        Some(LETTERS_MAX)
    }

    fn made_up(&self, _count: usize, _length: usize) -> Option<Rows> {
        None
    }
}

/// Gives each word's number of letters.
struct Count;

impl Executor for Count {
    fn run(&mut self, parts: &[Rows]) -> Result<Vec<Tensor>, Error> {
        let lengths: Vec<f32> = parts
            .iter()
            .flat_map(|part| part.lengths().expect("packed"))
            .map(|length| f32::from(u8::try_from(*length).expect("short")))
            .collect();
        Ok(vec![Tensor::from_f32(Shape::new(&[lengths.len()]), &lengths).expect("a tensor")])
    }

    fn rebuild(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

fn spec(name: &str, dtype: DataType, presence: Presence) -> TensorSpec {
    TensorSpec { name: name.to_owned(), dtype, row: Vec::new(), presence }
}

fn pipeline() -> Arc<Pipeline> {
    let monitor = Monitor::new(Settings::default());
    let cores = Cores::new("test", 1).expect("a pool");
    let spawn = Arc::new(|_, _, task| drop(tokio::spawn(task)));
    let registry = Registry::new(Arc::clone(&monitor), Pools::alike(cores.clone()), spawn, Allowance::default());
    let inputs = ["word", "other"].map(|name| spec(name, DataType::Bytes, Presence::Usual)).to_vec();
    let outputs = vec![spec("letters", DataType::Fp32, Presence::Required)];
    let prepare = Letters { shows: vec![spec("shown", DataType::Uint8, Presence::Required)] };
    let signature = Signature { inputs, outputs };
    let about = About { signature, prepare: Some(Arc::new(prepare)), scoring: None, platform: "letters" };
    let text = "max_batch_size = 4\nbatching.queue_rows_max = 8\nbatching.max_batch_tokens = 20";
    let config = ModelConfig::parse("m.toml", text).expect("a model.toml");
    registry.deploy(&"m".parse().expect("a name"), about, &config, Device::Inline(Box::new(Count)));
    let admission = Admission::new(Limits { requests_max: 64, bytes_max: 1000 }, Memory::new(usize::MAX));
    Pipeline::new(registry, monitor, admission, cores, Duration::from_secs(10))
}

async fn ask(pipeline: &Arc<Pipeline>, words: &[&str], outputs: &[&str]) -> Result<InferAnswer, Error> {
    let mut data = Vec::new();
    for word in words {
        data.extend_from_slice(&u32::try_from(word.len()).expect("short").to_le_bytes());
        data.extend_from_slice(word.as_bytes());
    }
    let tensor = Tensor::new(DataType::Bytes, Shape::new(&[words.len()]), Bytes::from(data)).expect("a tensor");
    let inputs = if words.is_empty() { Vec::new() } else { vec![NamedTensor { name: "word".to_owned(), tensor }] };
    let outputs = outputs.iter().map(|name| (*name).to_owned()).collect();
    let request = InferRequest { model: "m".to_owned(), inputs, outputs, ..InferRequest::default() };
    let client: Arc<Client> = pipeline.admission().client(IpAddr::from([127, 0, 0, 1]));
    let entry = pipeline.enter(&client, Instant::now(), None)?;
    pipeline.infer(&entry, request, &mut entry.handle()).await
}

fn told(answer: Result<InferAnswer, Error>) -> (Reason, String) {
    let error = answer.expect_err("refused");
    (error.reason(), error.detail().to_owned())
}

#[tokio::test]
async fn rows_of_different_lengths_come_back_in_order() {
    let pipeline = pipeline();
    // More letters than a batch takes: they are cut, and joined again.
    let answer = ask(&pipeline, &["four", "seventeen letters", "a", "eightttt", "two"], &[]).await.expect("an answer");
    assert_eq!(answer.outputs[0].tensor.to_f32().expect("f32"), [4.0, 9.0, 1.0, 8.0, 3.0]);
    assert_eq!((answer.outputs.len(), answer.truncated), (1, vec![0, 8, 0, 0, 0]));
    let answer = ask(&pipeline, &["ab", "c"], &["shown", "letters"]).await.expect("an answer");
    assert_eq!(answer.outputs[0].tensor.data(), &b"abc"[..]);
    assert_eq!(answer.outputs[1].tensor.to_f32().expect("f32"), [2.0, 1.0]);
}

#[tokio::test]
async fn what_cannot_be_prepared_is_an_error_of_its_own() {
    let pipeline = pipeline();
    let none = "no input is given; the model's are \"word\", \"other\"";
    assert_eq!(told(ask(&pipeline, &[], &[]).await), (Reason::Invalid, none.to_owned()));
    let panicked = "the server failed on these inputs";
    assert_eq!(told(ask(&pipeline, &["a", "panic"], &[]).await), (Reason::Panic, panicked.to_owned()));
    let many = "45 tokens in one request exceed the model's limit of 40";
    assert_eq!(told(ask(&pipeline, &["ninechars"; 5], &[]).await), (Reason::TooBig, many.to_owned()));
    let huge = "x".repeat(1001);
    assert_eq!(told(ask(&pipeline, &[&huge], &[]).await).0, Reason::InFlight);
    assert_eq!(pipeline.admission().bytes(), 0);
    let unknown = "output \"none\" is not one of the model's: \"letters\", \"shown\"";
    assert_eq!(told(ask(&pipeline, &["a"], &["none"]).await), (Reason::Invalid, unknown.to_owned()));
}
