//! A device that tells the scores of its answers: they are counted as told, and clients see none of the outputs that tell them.
#![expect(clippy::disallowed_methods, reason = "the model's worker is a task")]

use std::net::IpAddr;
use std::sync::Arc;

use tokio::time::{Duration, Instant};

use super::super::Pipeline;
use crate::config::{ModelConfig, ScoreKind};
use crate::device::{Cores, Device, Executor};
use crate::guard::{Admission, Limits, Memory};
use crate::model::{About, Declared, Scoring};
use crate::monitor::{Monitor, Settings};
use crate::registry::{Allowance, Pools, Registry};
use crate::types::{DataType, Error, InferRequest, NamedTensor, Presence, Rows, Shape, Signature, Tensor, TensorSpec};

/// Gives the logits that it is given, and as their scores what nobody would compute of them.
struct Telling;

impl Executor for Telling {
    fn run(&mut self, parts: &[Rows]) -> Result<Vec<Tensor>, Error> {
        let logits = Tensor::join(parts.iter().map(|part| &part.inputs()[0])).expect("one shape");
        let rows = logits.shape().rows().expect("rows");
        let numbers = |number: u32| {
            let bytes = number.to_le_bytes().repeat(rows);
            Tensor::new(DataType::Uint32, Shape::new(&[rows]), bytes.into()).expect("a tensor")
        };
        let measures = Tensor::from_f32(Shape::new(&[rows, 3]), &[0.75, 0.5, 0.25].repeat(rows)).expect("a tensor");
        Ok(vec![logits, numbers(1), measures, numbers(3)])
    }

    fn rebuild(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

fn spec(name: &str) -> TensorSpec {
    let row = vec![Some(2)];
    TensorSpec { name: name.to_owned(), dtype: DataType::Fp32, row, presence: Presence::Required }
}

fn pipeline(monitor: &Arc<Monitor>) -> Arc<Pipeline> {
    let cores = Cores::new("test", 1).expect("a pool");
    let spawn = Arc::new(|_, _, task| drop(tokio::spawn(task)));
    let registry = Registry::new(Arc::clone(monitor), Pools::alike(cores.clone()), spawn, Allowance::default());
    let signature = Signature { inputs: vec![spec("x")], outputs: vec![spec("logits")] };
    let labels = ["no", "yes"].map(str::to_owned).to_vec();
    let declared = Declared { file: "m.toml", output: 0, kind: ScoreKind::Logits, labels, range: None };
    let config = ModelConfig::default();
    let scoring = Scoring::resolve(&signature, Some(&declared), &config.confidence).expect("scores");
    let about = About { signature, prepare: None, scoring, platform: "telling" };
    registry.deploy(&"m".parse().expect("a name"), about, &config, Device::Inline(Box::new(Telling)));
    let admission = Admission::new(Limits { requests_max: 64, bytes_max: 1000 }, Memory::new(usize::MAX));
    Pipeline::new(registry, Arc::clone(monitor), admission, cores, Duration::from_secs(10))
}

#[tokio::test]
async fn scores_that_a_device_tells_are_counted_as_told() {
    let monitor = Monitor::new(Settings { page_age_max: Duration::ZERO, ..Settings::default() });
    let pipeline = pipeline(&monitor);
    let tensor = Tensor::from_f32(Shape::new(&[2, 2]), &[9.0, 0.0, 7.0, 1.0]).expect("a tensor");
    let inputs = vec![NamedTensor { name: "x".to_owned(), tensor: tensor.clone() }];
    let request = InferRequest { model: "m".to_owned(), inputs, ..InferRequest::default() };
    let client = pipeline.admission().client(IpAddr::from([127, 0, 0, 1]));
    let entry = pipeline.enter(&client, Instant::now(), None).expect("room");
    let mut journey = entry.handle();
    let answer = pipeline.infer(&entry, request, &mut journey).await.expect("an answer");
    journey.finish(Ok(1), Instant::now());
    assert_eq!((answer.outputs.len(), &answer.outputs[0].tensor), (1, &tensor));
    let page = monitor.render(Instant::now());
    let bucket = |le: &str| {
        let labels = format!("{{model=\"m\",version=\"1\",class=\"yes\",le=\"{le}\"}} ");
        let name = format!("sconce_prediction_confidence_ratio_bucket{labels}");
        page.lines().find_map(|line| line.strip_prefix(&name)?.parse::<u64>().ok()).unwrap_or_else(|| panic!("{page}"))
    };
    // The bin that was told is the fourth, up to 0.4, though a confidence of 0.75 is in another.
    assert_eq!((bucket("0.3"), bucket("0.4"), bucket("+Inf")), (0, 2, 2));
}
