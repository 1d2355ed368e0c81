//! Requests, encoded once before the run and sent in turn.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use anyhow::Context as _;
use bytes::Bytes;
use prost::Message as _;

use super::flags::Flags;
use super::input_file;
use super::random::Random;
use super::shape::{Declared, elements, fill};
use super::values::made;
use crate::api::grpc::proto::infer_parameter::ParameterChoice;
use crate::api::grpc::proto::model_infer_request::InferInputTensor;
use crate::api::grpc::proto::{InferParameter, ModelInferRequest};
use crate::types::DataType;

/// Made requests differ, so that neither a cache nor a batch sees one row only.
const VARIANTS: usize = 64;

/// Memory for made requests; larger ones have fewer variants.
const VARIANTS_BYTES: usize = 64 << 20;

/// An input of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NamedTensor {
    pub(super) name: String,
    pub(super) dtype: DataType,
    pub(super) shape: Vec<usize>,
    pub(super) raw: Vec<u8>,
}

/// A request ready to be sent.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    /// The encoded message, without an id.
    pub(super) body: Bytes,
    pub(super) rows: u64,
}

/// Requests that are sent one after the other, again and again.
#[derive(Debug)]
pub(super) struct Requests {
    prepared: Vec<Prepared>,
    next: AtomicUsize,
    /// Name, datatype and shape of the first request's inputs.
    about: Vec<(String, DataType, Vec<usize>)>,
}

impl Requests {
    /// From the file that the flags name, else made from what the model declares.
    ///
    /// Errors: the file or the flags do not fit the model.
    pub(super) fn prepare(flags: &Flags, declared: &[Declared]) -> anyhow::Result<Self> {
        let requests = match &flags.input {
            Some(path) => input_file::read(Path::new(path), declared)?,
            None => make(flags, declared)?,
        };
        let first = requests.first().context("there is no request")?;
        let about = first.iter().map(|tensor| (tensor.name.clone(), tensor.dtype, tensor.shape.clone())).collect();
        let prepared = requests.into_iter().map(|tensors| encode(flags, declared, tensors)).collect();
        Ok(Self { prepared, next: AtomicUsize::new(0), about })
    }

    /// The next request.
    pub(super) fn next(&self) -> &Prepared {
        // `prepare` takes at least one.
        &self.prepared[self.next.fetch_add(1, Relaxed) % self.prepared.len()]
    }

    /// How many different ones there are.
    pub(super) fn variants(&self) -> usize {
        self.prepared.len()
    }

    /// Name, datatype and shape of the first request's inputs.
    pub(super) fn about(&self) -> &[(String, DataType, Vec<usize>)] {
        &self.about
    }
}

fn make(flags: &Flags, declared: &[Declared]) -> anyhow::Result<Vec<Vec<NamedTensor>>> {
    let shapes = fill(declared, flags.rows, &flags.shapes)?;
    let counts = declared.iter().zip(&shapes).map(|(input, shape)| elements(&input.name, input.dtype, shape));
    let counts = counts.collect::<anyhow::Result<Vec<usize>>>()?;
    let mut random = Random::new(flags.seed);
    let mut request = || -> Vec<NamedTensor> {
        let inputs = declared.iter().zip(&shapes).zip(&counts);
        let tensor = |((input, shape), count): ((&Declared, &Vec<usize>), &usize)| NamedTensor {
            name: input.name.clone(),
            dtype: input.dtype,
            shape: shape.clone(),
            raw: made(input.dtype, *count, &mut random),
        };
        inputs.map(tensor).collect()
    };
    let first = request();
    let bytes: usize = first.iter().map(|tensor| tensor.raw.len()).sum();
    let variants = (VARIANTS_BYTES / bytes.max(1)).clamp(1, VARIANTS);
    Ok(std::iter::once(first).chain((1..variants).map(|_| request())).collect())
}

fn encode(flags: &Flags, declared: &[Declared], tensors: Vec<NamedTensor>) -> Prepared {
    let mut request = ModelInferRequest {
        model_name: flags.model.clone(),
        model_version: flags.model_version.clone(),
        ..Default::default()
    };
    if let Some(priority) = flags.priority {
        let choice = ParameterChoice::Uint64Param(priority.get());
        request.parameters.insert("priority".to_owned(), InferParameter { parameter_choice: Some(choice) });
    }
    let rows = rows(declared, &tensors);
    for NamedTensor { name, dtype, shape, raw } in tensors {
        let shape = shape.iter().map(|dim| i64::try_from(*dim).unwrap_or(i64::MAX)).collect();
        let datatype = dtype.name().to_owned();
        request.inputs.push(InferInputTensor { name, datatype, shape, ..Default::default() });
        request.raw_input_contents.push(raw.into());
    }
    Prepared { body: request.encode_to_vec().into(), rows }
}

/// Rows of a request: the first dimension of an input that has it free; 1 for a model without rows.
fn rows(declared: &[Declared], tensors: &[NamedTensor]) -> u64 {
    let has_rows = |tensor: &&NamedTensor| declared.iter().any(|input| input.name == tensor.name && input.has_rows());
    let counted = tensors.iter().find(has_rows).and_then(|tensor| tensor.shape.first());
    counted.map_or(1, |rows| *rows as u64)
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, FromArgMatches as _};
    use prost::Message as _;

    use super::{Requests, VARIANTS};
    use crate::api::grpc::proto::ModelInferRequest;
    use crate::api::grpc::proto::infer_parameter::ParameterChoice;
    use crate::cli::bench::flags::Flags;
    use crate::cli::bench::shape::Declared;
    use crate::types::DataType;

    fn flags(line: &str) -> Flags {
        let words = format!("bench host:1 --model m {line}");
        let matches = Flags::augment_args(clap::Command::new("bench")).get_matches_from(words.split_whitespace());
        Flags::from_arg_matches(&matches).expect("good flags")
    }

    fn declared(name: &str, dtype: DataType, shape: &[i64]) -> Declared {
        Declared { name: name.to_owned(), dtype, shape: shape.to_vec() }
    }

    fn decode(requests: &Requests) -> ModelInferRequest {
        ModelInferRequest::decode(requests.next().body.clone()).expect("a request")
    }

    #[test]
    fn a_request_carries_what_the_flags_say() {
        let model = [declared("x", DataType::Fp16, &[-1, 3]), declared("words", DataType::Bytes, &[2])];
        let requests = Requests::prepare(&flags("--model-version 7 --rows 5 --priority 2"), &model).expect("fits");
        let request = decode(&requests);
        assert_eq!((request.model_name.as_str(), request.model_version.as_str()), ("m", "7"));
        let priority = request.parameters["priority"].parameter_choice.as_ref();
        assert_eq!(priority, Some(&ParameterChoice::Uint64Param(2)));
        let shapes: Vec<&[i64]> = request.inputs.iter().map(|input| input.shape.as_slice()).collect();
        assert_eq!(shapes, [&[5, 3][..], &[2][..]]);
        let lengths: Vec<usize> = request.raw_input_contents.iter().map(bytes::Bytes::len).collect();
        assert_eq!(lengths, [5 * 3 * 2, 2 * (4 + 12)]);
        assert_eq!(requests.next().rows, 5);
    }

    #[test]
    fn made_requests_differ_and_come_round() {
        let model = [declared("x", DataType::Fp32, &[-1, 4])];
        let requests = Requests::prepare(&flags(""), &model).expect("fits");
        let (first, second) = (decode(&requests), decode(&requests));
        assert_ne!(first, second);
        for _ in 2..VARIANTS {
            requests.next();
        }
        assert_eq!((decode(&requests), requests.variants()), (first, VARIANTS));
    }

    #[test]
    fn large_requests_have_fewer_variants() {
        // 24 MiB each, of 64.
        let model = [declared("x", DataType::Uint8, &[24 << 20])];
        assert_eq!(Requests::prepare(&flags(""), &model).expect("fits").variants(), 2);
    }

    #[test]
    fn a_model_without_rows_has_one_a_request() {
        let model = [declared("x", DataType::Fp32, &[8, 2])];
        assert_eq!(Requests::prepare(&flags(""), &model).expect("fits").next().rows, 1);
    }
}
