//! A model on this process's CPU: gathers rows, runs them, and copies the outputs out once.

use candle_core::{DType, Device, Tensor as CandleTensor, WithDType};

use super::executor::Executor;
use crate::config::ModelConfig;
use crate::model::{Files, Loaded, Model, Target, load};
use crate::types::{DataType, Error, Reason, Rows, Shape, Tensor};

/// Runs a model in this process.
pub struct LocalExecutor {
    loaded: Loaded,
    files: Files,
    config: ModelConfig,
}

impl LocalExecutor {
    /// Loads the model in `files` onto the CPU. Errors: [`Reason::Model`] with the file and what is wrong.
    pub fn load(files: &Files, config: &ModelConfig) -> Result<Self, Error> {
        Ok(Self { loaded: load_on_cpu(files, config)?, files: files.clone(), config: config.clone() })
    }

    /// What was loaded.
    pub fn loaded(&self) -> &Loaded {
        &self.loaded
    }
}

impl Executor for LocalExecutor {
    fn run(&mut self, parts: &[Rows]) -> Result<Vec<Tensor>, Error> {
        let inputs = parts.first().map_or(0, |part| part.inputs().len());
        match &self.loaded.model {
            Model::Host(model) => {
                let joined: Option<Vec<Tensor>> = (0..inputs).map(|at| join(parts, at)).collect();
                model.forward(&joined.ok_or_else(|| Error::new(Reason::Model, "rows of a batch differ in shape"))?)
            }
            Model::Candle(model) => {
                let gathered: Result<Vec<CandleTensor>, Error> = (0..inputs).map(|at| gather(parts, at)).collect();
                let mut gathered = gathered?;
                gathered.extend(offsets(parts)?);
                let outputs = model.forward(&gathered).map_err(|error| candle_failed(&error))?;
                outputs.iter().map(read_out).collect()
            }
        }
    }

    fn is_parallel(&self) -> bool {
        matches!(self.loaded.model, Model::Candle(_))
    }

    fn rebuild(&mut self) -> Result<(), Error> {
        self.loaded = load_on_cpu(&self.files, &self.config)?;
        Ok(())
    }
}

/// Starts the threads on which candle splits large operations, which all models share. Left to the first operation they would
/// have the priority of the thread that happens to run it, which may be one that loads a model.
pub fn start_candle_threads() {
    let _threads = candle_core::utils::barrier_pool();
}

fn load_on_cpu(files: &Files, config: &ModelConfig) -> Result<Loaded, Error> {
    load(files, config, &Target::cpu()).map_err(|error| Error::new(Reason::Model, error.to_string()))
}

fn join(parts: &[Rows], at: usize) -> Option<Tensor> {
    let column: Option<Vec<&Tensor>> = parts.iter().map(|part| part.inputs().get(at)).collect();
    Tensor::join(column?.into_iter())
}

/// Where each packed row begins, and the last ends; `None` if rows are not packed.
fn offsets(parts: &[Rows]) -> Result<Option<CandleTensor>, Error> {
    let mut offsets = vec![0_u32];
    let mut end = 0_u32;
    for part in parts {
        let Some(lengths) = part.lengths() else { return Ok(None) };
        for length in lengths {
            end = end.checked_add(*length).ok_or_else(|| Error::new(Reason::TooBig, "a batch of 2^32 elements"))?;
            offsets.push(end);
        }
    }
    CandleTensor::new(offsets, &Device::Cpu).map(Some).map_err(|error| candle_failed(&error))
}

/// Joins input `at` of all parts into one candle tensor: the one copy on the way in.
fn gather(parts: &[Rows], at: usize) -> Result<CandleTensor, Error> {
    let missing = || Error::new(Reason::Model, "an input is missing from the batch");
    let first = parts.first().and_then(|part| part.inputs().get(at)).ok_or_else(missing)?;
    let mut rows = 0;
    let mut bytes = 0;
    for part in parts {
        let input = part.inputs().get(at).ok_or_else(missing)?;
        rows += input.shape().rows().unwrap_or(0);
        bytes += input.data().len();
    }
    let shape = first.shape().with_rows(rows);
    let columns = parts.iter().filter_map(|part| part.inputs().get(at)).map(|input| &input.data()[..]);
    let gathered = match first.dtype() {
        DataType::Fp32 => from_bytes(columns, bytes, &shape, f32::from_le_bytes),
        DataType::Fp64 => from_bytes(columns, bytes, &shape, f64::from_le_bytes),
        DataType::Fp16 => from_bytes(columns, bytes, &shape, half::f16::from_le_bytes),
        DataType::Bf16 => from_bytes(columns, bytes, &shape, half::bf16::from_le_bytes),
        DataType::Uint8 => from_bytes(columns, bytes, &shape, u8::from_le_bytes),
        DataType::Uint32 => from_bytes(columns, bytes, &shape, u32::from_le_bytes),
        DataType::Int64 => from_bytes(columns, bytes, &shape, i64::from_le_bytes),
        other => return Err(Error::new(Reason::Model, format!("candle has no {other} tensors"))),
    };
    gathered.map_err(|error| candle_failed(&error))
}

fn from_bytes<'a, T: WithDType, const WIDTH: usize>(
    columns: impl Iterator<Item = &'a [u8]>,
    bytes: usize,
    shape: &Shape,
    read: impl Fn([u8; WIDTH]) -> T,
) -> candle_core::Result<CandleTensor> {
    let mut values = Vec::with_capacity(bytes / WIDTH);
    for column in columns {
        values.extend(column.as_chunks::<WIDTH>().0.iter().map(|chunk| read(*chunk)));
    }
    CandleTensor::from_vec(values, shape.dims(), &Device::Cpu)
}

/// Copies an output into host bytes: the one copy on the way out.
fn read_out(output: &CandleTensor) -> Result<Tensor, Error> {
    let read = match output.dtype() {
        DType::F32 => to_bytes(output, f32::to_le_bytes),
        DType::F64 => to_bytes(output, f64::to_le_bytes),
        DType::F16 => to_bytes(output, half::f16::to_le_bytes),
        DType::BF16 => to_bytes(output, half::bf16::to_le_bytes),
        DType::U8 => to_bytes(output, u8::to_le_bytes),
        DType::U32 => to_bytes(output, u32::to_le_bytes),
        DType::I64 => to_bytes(output, i64::to_le_bytes),
        other => return Err(Error::new(Reason::Model, format!("no protocol type for candle's {other:?}"))),
    };
    let data = read.map_err(|error| candle_failed(&error))?;
    let dtype = wire_type(output.dtype()).ok_or_else(|| Error::new(Reason::Model, "unknown output type"))?;
    Tensor::new(dtype, Shape::new(output.dims()), data.into()).map_err(|error| Error::new(Reason::Model, error))
}

fn to_bytes<T: WithDType, const WIDTH: usize>(
    output: &CandleTensor,
    write: impl Fn(T) -> [u8; WIDTH],
) -> candle_core::Result<Vec<u8>> {
    let values = output.flatten_all()?.to_vec1::<T>()?;
    let mut data = Vec::with_capacity(values.len() * WIDTH);
    for value in values {
        data.extend_from_slice(&write(value));
    }
    Ok(data)
}

fn wire_type(dtype: DType) -> Option<DataType> {
    match dtype {
        DType::F32 => Some(DataType::Fp32),
        DType::F64 => Some(DataType::Fp64),
        DType::F16 => Some(DataType::Fp16),
        DType::BF16 => Some(DataType::Bf16),
        DType::U8 => Some(DataType::Uint8),
        DType::U32 => Some(DataType::Uint32),
        DType::I64 => Some(DataType::Int64),
        _ => None,
    }
}

/// Candle's errors carry backtraces over several lines: the first says what went wrong.
fn candle_failed(error: &candle_core::Error) -> Error {
    let text = error.to_string();
    Error::new(Reason::Model, format!("the model failed: {}", text.lines().next().unwrap_or("no message")))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;

    use super::LocalExecutor;
    use crate::config::ModelConfig;
    use crate::device::Executor as _;
    use crate::model::Files;
    use crate::types::{DataType, Rows, Shape, Tensor};

    fn executor(file: &str, text: &'static str) -> LocalExecutor {
        let files = Files::Memory(BTreeMap::from([(file.to_owned(), text.as_bytes().into())]));
        LocalExecutor::load(&files, &ModelConfig::default()).expect("a model")
    }

    fn refused(executor: &mut LocalExecutor, parts: &[Rows]) -> String {
        executor.run(parts).expect_err("refused").detail().to_owned()
    }

    fn rows(inputs: Vec<Tensor>) -> Rows {
        Rows::uniform(inputs, 1)
    }

    fn bytes(dims: &[usize]) -> Tensor {
        let data = Bytes::from(vec![0; dims.iter().product()]);
        Tensor::new(DataType::Int8, Shape::new(dims), data).expect("a tensor")
    }

    #[test]
    fn parts_that_cannot_be_joined_are_refused() {
        let text = "[[tensor]]\ninput = \"x\"\noutput = \"y\"\ndtype = \"INT8\"\ndims = [-1]\n";
        let mut host = executor("identity.toml", text);
        let differing = [rows(vec![bytes(&[1, 2])]), rows(vec![bytes(&[1, 3])])];
        assert_eq!(refused(&mut host, &differing), "rows of a batch differ in shape");
        let mut candle = executor("network.toml", "[input]\ndims = [2]\n[[layer]]\ntype = \"relu\"\n");
        assert_eq!(refused(&mut candle, &[rows(vec![bytes(&[1, 2])])]), "candle has no INT8 tensors");
        let differing =
            [rows(vec![Tensor::from_f32(Shape::new(&[1, 2]), &[1.0, 2.0]).expect("a tensor")]), rows(Vec::new())];
        assert_eq!(refused(&mut candle, &differing), "an input is missing from the batch");
        let long = Rows::packed(Vec::new(), &[u32::MAX]).expect("rows");
        assert_eq!(refused(&mut candle, &[long.clone(), long]), "a batch of 2^32 elements");
    }
}
