//! One question of the demo to its server: texts or pictures in, named numbers out.

use std::collections::HashMap;

use anyhow::Context as _;

use super::traffic::Client;
use crate::api::grpc::proto::infer_parameter::ParameterChoice;
use crate::api::grpc::proto::model_infer_request::InferInputTensor;
use crate::api::grpc::proto::{InferParameter, ModelInferRequest};

/// An input of byte strings: its name, and an element a row.
pub(super) type Strings = (&'static str, Vec<Vec<u8>>);

/// What a model answered.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// Values of each output, row after row.
    pub(super) outputs: HashMap<String, Vec<f32>>,
    /// Of each row, where the model tells it.
    pub(super) confidence: Vec<f64>,
    /// Of each row, where the model tells it.
    pub(super) labels: Vec<String>,
}

impl Answer {
    /// The rows of an output. Errors: there is no such output, or no row.
    pub(super) fn rows(&self, output: &str, rows: usize) -> anyhow::Result<Vec<&[f32]>> {
        let values = self.outputs.get(output).with_context(|| format!("the answer has no output \"{output}\""))?;
        anyhow::ensure!(rows > 0 && values.len() >= rows, "the answer has no rows");
        Ok(values.chunks_exact(values.len() / rows).collect())
    }
}

/// Asks. Errors: the call fails, or its answer is none of FP32.
pub(super) async fn ask(client: &Client, model: &str, inputs: &[Strings]) -> anyhow::Result<Answer> {
    let wish = InferParameter { parameter_choice: Some(ParameterChoice::BoolParam(true)) };
    let parameters = HashMap::from([("confidence".to_owned(), wish)]);
    let mut request = ModelInferRequest { model_name: model.to_owned(), parameters, ..Default::default() };
    for (name, strings) in inputs {
        let (name, datatype) = ((*name).to_owned(), "BYTES".to_owned());
        let shape = vec![i64::try_from(strings.len())?];
        request.inputs.push(InferInputTensor { name, datatype, shape, ..Default::default() });
        let mut raw = Vec::new();
        for string in strings {
            raw.extend_from_slice(&u32::try_from(string.len())?.to_le_bytes());
            raw.extend_from_slice(string);
        }
        request.raw_input_contents.push(raw.into());
    }
    let response = client.clone().model_infer(request).await?.into_inner();
    let mut answer = Answer::default();
    for (output, raw) in response.outputs.iter().zip(&response.raw_output_contents) {
        let values = raw.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        answer.outputs.insert(output.name.clone(), values);
    }
    let told = |name: &str| match response.parameters.get(name).and_then(|told| told.parameter_choice.clone()) {
        Some(ParameterChoice::StringParam(text)) => text,
        _ => "[]".to_owned(),
    };
    answer.confidence = serde_json::from_str(&told("confidence"))?;
    answer.labels = serde_json::from_str(&told("label"))?;
    Ok(answer)
}
