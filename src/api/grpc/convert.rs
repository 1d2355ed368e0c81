//! Between the protocol's messages and the server's words.
//!
//! Raw contents stay slices of the received message; typed contents are rewritten as raw ones.

use std::collections::HashMap;

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::time::Duration;

use super::proto::infer_parameter::ParameterChoice;
use super::proto::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use super::proto::model_infer_response::InferOutputTensor;
use super::proto::model_metadata_response::TensorMetadata;
use super::proto::{
    InferParameter, InferTensorContents, ModelInferRequest, ModelInferResponse, ModelMetadataResponse,
    ServerMetadataResponse,
};
use crate::serve::{ModelInfo, ServerInfo};
use crate::types::{
    DataType, Error, Fallbacks, InferAnswer, InferRequest, NamedTensor, Presence, Reason, RungKind, Shape, Signature,
    Tensor, TensorSpec, Wishes,
};

const ID_BYTES_MAX: usize = 256;
const RANK_MAX: usize = 16;

/// A request in the server's words. `weigh` has held the numbers of its parts against their limits.
///
/// Errors: [`Reason::Invalid`] naming the tensor or parameter; [`Reason::Unsupported`] for shared memory, sequences and
/// classification.
pub(super) fn request(message: ModelInferRequest) -> Result<InferRequest, Error> {
    if message.id.len() > ID_BYTES_MAX {
        let got = message.id.len();
        return Err(Error::invalid(format!("id: expected at most {ID_BYTES_MAX} bytes, got {got}")));
    }
    let mut request = InferRequest { model: message.model_name, version: message.model_version, ..Default::default() };
    request.id = message.id;
    read_parameters(&message.parameters, &mut request)?;
    request.inputs = inputs(message.inputs, message.raw_input_contents)?;
    request.bytes = request.inputs.iter().map(|input| input.tensor.data().len()).sum();
    request.outputs = message.outputs.into_iter().map(wanted_output).collect::<Result<_, _>>()?;
    Ok(request)
}

/// Elements of typed contents, which are rewritten one by one.
pub(super) fn typed_elements(message: &ModelInferRequest) -> usize {
    let contents = message.inputs.iter().filter_map(|input| input.contents.as_ref());
    contents.flat_map(lengths).map(|(_, length)| length).sum()
}

/// Raw contents go to the inputs in order; they are not mixed with typed ones.
fn inputs(inputs: Vec<InferInputTensor>, raw: Vec<Bytes>) -> Result<Vec<NamedTensor>, Error> {
    if raw.is_empty() {
        return inputs.into_iter().map(typed_input).collect();
    }
    if raw.len() != inputs.len() {
        let (expected, got) = (inputs.len(), raw.len());
        return Err(Error::invalid(format!(
            "raw_input_contents: expected {expected} entries, one an input, got {got}"
        )));
    }
    inputs.into_iter().zip(raw).map(|(input, data)| raw_input(input, data)).collect()
}

fn raw_input(input: InferInputTensor, data: Bytes) -> Result<NamedTensor, Error> {
    if input.contents.is_some() {
        let detail = format!("input \"{}\": has both contents and raw_input_contents, expected one", input.name);
        return Err(Error::invalid(detail));
    }
    let (dtype, shape) = kind(&input)?;
    tensor(input.name, dtype, shape, data)
}

fn typed_input(input: InferInputTensor) -> Result<NamedTensor, Error> {
    let (dtype, shape) = kind(&input)?;
    let contents = input.contents.unwrap_or_default();
    let data =
        typed_contents(dtype, &contents).map_err(|text| Error::invalid(format!("input \"{}\": {text}", input.name)))?;
    tensor(input.name, dtype, shape, data)
}

/// Element type and shape, checked before the contents are looked at.
fn kind(input: &InferInputTensor) -> Result<(DataType, Shape), Error> {
    let name = &input.name;
    no_shared_memory(&input.parameters, "input", name)?;
    let Ok(dtype) = input.datatype.parse::<DataType>() else {
        let known: Vec<&str> = DataType::ALL.iter().map(|dtype| dtype.name()).collect();
        let (known, got) = (known.join(", "), &input.datatype);
        return Err(Error::invalid(format!("input \"{name}\": expected a datatype of {known}, got \"{got}\"")));
    };
    if input.shape.len() > RANK_MAX {
        let got = input.shape.len();
        return Err(Error::invalid(format!("input \"{name}\": expected at most {RANK_MAX} dimensions, got {got}")));
    }
    let Some(shape) = Shape::from_wire(&input.shape) else {
        let got = &input.shape;
        return Err(Error::invalid(format!("input \"{name}\": expected dimensions of at least 0, got {got:?}")));
    };
    Ok((dtype, shape))
}

fn tensor(name: String, dtype: DataType, shape: Shape, data: Bytes) -> Result<NamedTensor, Error> {
    match Tensor::new(dtype, shape, data) {
        Ok(tensor) => Ok(NamedTensor { name, tensor }),
        Err(text) => Err(Error::invalid(format!("input \"{name}\": {text}"))),
    }
}

/// Typed contents as raw ones. Errors: contents of another field than the element type's, or values out of its range.
fn typed_contents(dtype: DataType, contents: &InferTensorContents) -> Result<Bytes, String> {
    let field = field_of(dtype).ok_or_else(|| format!("{dtype} has no typed contents, expected raw_input_contents"))?;
    for (name, len) in lengths(contents) {
        if len > 0 && name != field {
            return Err(format!("{dtype} is carried by {field}, got {name}"));
        }
    }
    let out = match dtype {
        DataType::Bool => contents.bool_contents.iter().map(|value| u8::from(*value)).collect(),
        DataType::Int8 => narrow(dtype, &contents.int_contents, i8::to_le_bytes)?,
        DataType::Int16 => narrow(dtype, &contents.int_contents, i16::to_le_bytes)?,
        DataType::Int32 => narrow(dtype, &contents.int_contents, i32::to_le_bytes)?,
        DataType::Int64 => narrow(dtype, &contents.int64_contents, i64::to_le_bytes)?,
        DataType::Uint8 => narrow(dtype, &contents.uint_contents, u8::to_le_bytes)?,
        DataType::Uint16 => narrow(dtype, &contents.uint_contents, u16::to_le_bytes)?,
        DataType::Uint32 => narrow(dtype, &contents.uint_contents, u32::to_le_bytes)?,
        DataType::Uint64 => narrow(dtype, &contents.uint64_contents, u64::to_le_bytes)?,
        DataType::Fp32 => narrow(dtype, &contents.fp32_contents, f32::to_le_bytes)?,
        DataType::Fp64 => narrow(dtype, &contents.fp64_contents, f64::to_le_bytes)?,
        DataType::Bytes => strings(&contents.bytes_contents)?,
        DataType::Fp16 | DataType::Bf16 => BytesMut::new(),
    };
    Ok(out.freeze())
}

fn field_of(dtype: DataType) -> Option<&'static str> {
    match dtype {
        DataType::Bool => Some("bool_contents"),
        DataType::Int8 | DataType::Int16 | DataType::Int32 => Some("int_contents"),
        DataType::Int64 => Some("int64_contents"),
        DataType::Uint8 | DataType::Uint16 | DataType::Uint32 => Some("uint_contents"),
        DataType::Uint64 => Some("uint64_contents"),
        DataType::Fp32 => Some("fp32_contents"),
        DataType::Fp64 => Some("fp64_contents"),
        DataType::Bytes => Some("bytes_contents"),
        DataType::Fp16 | DataType::Bf16 => None,
    }
}

fn lengths(contents: &InferTensorContents) -> [(&'static str, usize); 8] {
    [
        ("bool_contents", contents.bool_contents.len()),
        ("int_contents", contents.int_contents.len()),
        ("int64_contents", contents.int64_contents.len()),
        ("uint_contents", contents.uint_contents.len()),
        ("uint64_contents", contents.uint64_contents.len()),
        ("fp32_contents", contents.fp32_contents.len()),
        ("fp64_contents", contents.fp64_contents.len()),
        ("bytes_contents", contents.bytes_contents.len()),
    ]
}

fn narrow<Wide: Copy + std::fmt::Display, Narrow: TryFrom<Wide>, const WIDTH: usize>(
    dtype: DataType,
    values: &[Wide],
    write: impl Fn(Narrow) -> [u8; WIDTH],
) -> Result<BytesMut, String> {
    let mut out = BytesMut::with_capacity(values.len() * WIDTH);
    for (position, value) in values.iter().enumerate() {
        let narrow =
            Narrow::try_from(*value).map_err(|_| format!("element {position}: {value} is out of {dtype}'s range"))?;
        out.put_slice(&write(narrow));
    }
    Ok(out)
}

fn strings(values: &[Vec<u8>]) -> Result<BytesMut, String> {
    let mut out = BytesMut::with_capacity(values.iter().map(|value| value.len() + 4).sum());
    for (position, value) in values.iter().enumerate() {
        let len = u32::try_from(value.len()).map_err(|_| format!("element {position}: longer than 4 GiB"))?;
        out.put_u32_le(len);
        out.put_slice(value);
    }
    Ok(out)
}

fn wanted_output(output: InferRequestedOutputTensor) -> Result<String, Error> {
    no_shared_memory(&output.parameters, "output", &output.name)?;
    if output.parameters.contains_key("classification") {
        let detail = format!("output \"{}\": parameter \"classification\" is not supported", output.name);
        return Err(Error::new(Reason::Unsupported, detail));
    }
    Ok(output.name)
}

fn no_shared_memory(parameters: &HashMap<String, InferParameter>, role: &str, name: &str) -> Result<(), Error> {
    if parameters.contains_key("shared_memory_region") {
        return Err(Error::new(Reason::Unsupported, format!("{role} \"{name}\": shared memory is not supported")));
    }
    Ok(())
}

/// Reads the parameters that mean something here; others are a client's own business and pass.
fn read_parameters(parameters: &HashMap<String, InferParameter>, request: &mut InferRequest) -> Result<(), Error> {
    for (name, value) in parameters {
        let choice = value.parameter_choice.as_ref();
        match name.as_str() {
            "timeout" => {
                let micros = whole_number(name, choice)?;
                request.timeout = (micros > 0).then(|| Duration::from_micros(micros));
            }
            "priority" => request.priority = Some(whole_number(name, choice)?),
            "confidence" => request.wishes.confidence = boolean(name, choice)?,
            "batch_report" => request.wishes.batch_report = boolean(name, choice)?,
            "fallback" => request.wishes.fallbacks = fallbacks(name, choice)?,
            "sequence_id" if !is_no_sequence(choice) => {
                return Err(Error::new(Reason::Unsupported, "parameter \"sequence_id\": sequences are not supported"));
            }
            _ => {}
        }
    }
    Ok(())
}

fn is_no_sequence(choice: Option<&ParameterChoice>) -> bool {
    match choice {
        None | Some(ParameterChoice::Int64Param(0) | ParameterChoice::Uint64Param(0)) => true,
        Some(ParameterChoice::StringParam(text)) => text.is_empty(),
        Some(_) => false,
    }
}

fn whole_number(name: &str, choice: Option<&ParameterChoice>) -> Result<u64, Error> {
    let number = match choice {
        Some(ParameterChoice::Uint64Param(number)) => Some(*number),
        Some(ParameterChoice::Int64Param(number)) => u64::try_from(*number).ok(),
        _ => None,
    };
    number.ok_or_else(|| {
        let got = shown(choice);
        Error::invalid(format!("parameter \"{name}\": expected a whole number of at least 0, got {got}"))
    })
}

fn boolean(name: &str, choice: Option<&ParameterChoice>) -> Result<bool, Error> {
    match choice {
        Some(ParameterChoice::BoolParam(value)) => Ok(*value),
        other => Err(Error::invalid(format!("parameter \"{name}\": expected a boolean, got {}", shown(other)))),
    }
}

fn fallbacks(name: &str, choice: Option<&ParameterChoice>) -> Result<Fallbacks, Error> {
    let named = match choice {
        Some(ParameterChoice::StringParam(text)) => text.parse().ok(),
        _ => None,
    };
    named.ok_or_else(|| {
        let (known, got) = (Fallbacks::NAMED.map(RungKind::label).join(", "), shown(choice));
        Error::invalid(format!(
            "parameter \"{name}\": expected none, or some of {known}, separated by commas, got {got}"
        ))
    })
}

fn shown(choice: Option<&ParameterChoice>) -> String {
    match choice {
        None => "nothing".to_owned(),
        Some(ParameterChoice::BoolParam(value)) => format!("boolean {value}"),
        Some(ParameterChoice::Int64Param(value)) => format!("{value}"),
        Some(ParameterChoice::Uint64Param(value)) => format!("{value}"),
        Some(ParameterChoice::DoubleParam(value)) => format!("number {value}"),
        Some(ParameterChoice::StringParam(text)) => format!("string \"{text}\""),
    }
}

/// An answer as the protocol's message: outputs always raw, one entry an output.
pub(super) fn response(model_name: String, id: String, wishes: Wishes, answer: InferAnswer) -> ModelInferResponse {
    let mut parameters = HashMap::new();
    if wishes.confidence {
        tell_confidence(&answer, &mut parameters);
    }
    if wishes.batch_report {
        tell_batch(&answer, &mut parameters);
    }
    if answer.non_finite {
        parameters.insert("non_finite".to_owned(), parameter(ParameterChoice::BoolParam(true)));
    }
    if !answer.truncated.is_empty() {
        let truncated = serde_json::json!(answer.truncated).to_string();
        parameters.insert("truncated".to_owned(), parameter(ParameterChoice::StringParam(truncated)));
    }
    if let Some(rung) = answer.rung {
        parameters.insert("rung".to_owned(), parameter(ParameterChoice::StringParam(rung.label().to_owned())));
    }
    let mut outputs = Vec::with_capacity(answer.outputs.len());
    let mut raw_output_contents = Vec::with_capacity(answer.outputs.len());
    for NamedTensor { name, tensor } in answer.outputs {
        let (dtype, shape, data) = tensor.into_parts();
        let shape = shape.dims().iter().map(|dim| i64::try_from(*dim).unwrap_or(i64::MAX)).collect();
        let datatype = dtype.name().to_owned();
        outputs.push(InferOutputTensor { name, datatype, shape, parameters: HashMap::new(), contents: None });
        raw_output_contents.push(data);
    }
    ModelInferResponse {
        model_name,
        model_version: answer.version.to_string(),
        id,
        parameters,
        outputs,
        raw_output_contents,
    }
}

/// JSON arrays, an entry a row: one form whatever the number of rows.
fn tell_confidence(answer: &InferAnswer, parameters: &mut HashMap<String, InferParameter>) {
    // JSON has no NaN: serde writes null for it.
    let confidence = serde_json::json!(answer.confidence).to_string();
    let labels = serde_json::json!(answer.labels).to_string();
    parameters.insert("confidence".to_owned(), parameter(ParameterChoice::StringParam(confidence)));
    parameters.insert("label".to_owned(), parameter(ParameterChoice::StringParam(labels)));
}

fn tell_batch(answer: &InferAnswer, parameters: &mut HashMap<String, InferParameter>) {
    let whole = |number: u128| ParameterChoice::Int64Param(i64::try_from(number).unwrap_or(i64::MAX));
    let batch = &answer.batch;
    let release = ParameterChoice::StringParam(batch.release.label().to_owned());
    parameters.insert("batch_rows".to_owned(), parameter(whole(batch.rows as u128)));
    parameters.insert("queue_us".to_owned(), parameter(whole(batch.queue.as_micros())));
    parameters.insert("compute_us".to_owned(), parameter(whole(batch.compute.as_micros())));
    parameters.insert("release".to_owned(), parameter(release));
}

fn parameter(choice: ParameterChoice) -> InferParameter {
    InferParameter { parameter_choice: Some(choice) }
}

/// What the server says of itself.
pub(super) fn server_metadata(info: ServerInfo) -> ServerMetadataResponse {
    ServerMetadataResponse {
        name: info.name.to_owned(),
        version: info.version.to_owned(),
        extensions: info.extensions.iter().map(|extension| (*extension).to_owned()).collect(),
    }
}

/// What a model says of itself.
pub(super) fn model_metadata(info: &ModelInfo) -> ModelMetadataResponse {
    let deployment = &info.deployment;
    let signature = &deployment.about.signature;
    ModelMetadataResponse {
        name: deployment.name.to_string(),
        versions: info.versions.iter().map(ToString::to_string).collect(),
        platform: deployment.about.platform.to_owned(),
        inputs: primary(&signature.inputs).map(tensor_metadata).collect(),
        outputs: signature.outputs.iter().map(tensor_metadata).collect(),
        properties: properties(signature, deployment.about.prepare.as_ref().map(|prepare| prepare.shows())),
    }
}

/// The inputs that every request can consist of; load testers send all that metadata lists.
fn primary(inputs: &[TensorSpec]) -> impl Iterator<Item = &TensorSpec> {
    inputs.iter().filter(|input| input.presence != Presence::Optional)
}

/// What a request may have beside them, and what an answer.
fn properties(signature: &Signature, shown: Option<&[TensorSpec]>) -> HashMap<String, String> {
    let list = |specs: &mut dyn Iterator<Item = &TensorSpec>| {
        let each = specs.map(|spec| format!("{} {} {}", spec.name, spec.dtype, spec.shape_text()));
        each.collect::<Vec<_>>().join(", ")
    };
    let mut properties = HashMap::new();
    if let Some(shown) = shown {
        let optional = &mut signature.inputs.iter().filter(|input| input.presence == Presence::Optional);
        properties.insert("optional_inputs".to_owned(), list(optional));
        properties.insert("outputs_on_request".to_owned(), list(&mut shown.iter()));
    }
    properties
}

fn tensor_metadata(spec: &TensorSpec) -> TensorMetadata {
    TensorMetadata { name: spec.name.clone(), datatype: spec.dtype.name().to_owned(), shape: spec.wire_shape() }
}

#[cfg(test)]
#[path = "convert_tests.rs"]
mod tests;
