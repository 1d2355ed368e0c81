//! Folders in memory, and what a model of one answers.

use std::collections::BTreeMap;

use bytes::Bytes;
use candle_core::{Device, Tensor as CandleTensor};
use safetensors::tensor::{Dtype, TensorView, serialize};
use serde_json::Value;

use crate::config::ModelConfig;
use crate::model::{Files, LoadError, Loaded, Model, Target, load};
use crate::types::{DataType, Shape, Tensor};

/// Tensors by name: dimensions and numbers.
pub(super) type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// The files of a version.
#[derive(Clone)]
pub(super) struct Folder {
    pub(super) config: Value,
    pub(super) preprocessor: Option<Value>,
    pub(super) tensors: Tensors,
    seed: u64,
}

impl Folder {
    pub(super) fn new(config: Value, preprocessor: Option<Value>) -> Self {
        Self { config, preprocessor, tensors: Tensors::new(), seed: 7 }
    }

    /// splitmix64, uniform in [-1, 1).
    pub(super) fn number(&mut self) -> f32 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// Weights that keep numbers about as large as they come.
    pub(super) fn add(&mut self, name: &str, dims: &[usize]) {
        let inputs: usize = dims.iter().skip(1).product();
        let scale = 1.7 / (inputs as f32).sqrt();
        let numbers = (0..dims.iter().product()).map(|_| self.number() * scale).collect();
        self.tensors.insert(name.to_owned(), (dims.to_vec(), numbers));
    }

    /// Numbers from 0.5 to 1.5.
    pub(super) fn add_positive(&mut self, name: &str, count: usize) {
        let numbers = (0..count).map(|_| 1.0 + self.number() / 2.0).collect();
        self.tensors.insert(name.to_owned(), (vec![count], numbers));
    }

    pub(super) fn linear(&mut self, name: &str, outputs: usize, inputs: usize, bias: bool) {
        self.add(&format!("{name}.weight"), &[outputs, inputs]);
        if bias {
            self.add(&format!("{name}.bias"), &[outputs]);
        }
    }

    pub(super) fn load(&self) -> Result<Loaded, LoadError> {
        let mut files = BTreeMap::from([("config.json".to_owned(), self.config.to_string().into_bytes().into())]);
        if let Some(preprocessor) = &self.preprocessor {
            files.insert("preprocessor_config.json".to_owned(), preprocessor.to_string().into_bytes().into());
        }
        files.insert("model.safetensors".to_owned(), serialized(&self.tensors).into());
        load(&Files::Memory(files), &ModelConfig::default(), &Target::cpu())
    }

    /// Why it cannot be loaded.
    pub(super) fn refused(&self) -> String {
        self.load().err().expect("refused").to_string()
    }

    /// With another value in config.json.
    pub(super) fn with(&self, key: &str, value: Value) -> Self {
        let mut changed = self.clone();
        changed.config[key] = value;
        changed
    }

    /// With another value in `preprocessor_config.json`.
    pub(super) fn prepared(&self, key: &str, value: Value) -> Self {
        let mut changed = self.clone();
        changed.preprocessor.get_or_insert_default()[key] = value;
        changed
    }
}

fn serialized(tensors: &Tensors) -> Vec<u8> {
    let bytes = |numbers: &[f32]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>();
    let parts: Vec<_> = tensors.iter().map(|(name, (dims, numbers))| (name, dims, bytes(numbers))).collect();
    let view = |dims: &Vec<usize>, bytes| TensorView::new(Dtype::F32, dims.clone(), bytes).expect("a view");
    serialize(parts.iter().map(|(name, dims, bytes)| (*name, view(dims, bytes))), None).expect("a file")
}

/// Logits and probabilities of images `[3, height, width]` each, row by row.
pub(super) fn answers(loaded: &Loaded, images: &[Vec<f32>], sides: [usize; 2]) -> [Vec<Vec<f32>>; 2] {
    let Model::Candle(model) = &loaded.model else { panic!("not on candle") };
    let shape = (images.len(), 3, sides[0], sides[1]);
    let input = CandleTensor::from_vec(images.concat(), shape, &Device::Cpu).expect("a tensor");
    let outputs = model.forward(&[input]).expect("outputs");
    let rows = |at: usize| outputs[at].to_vec2::<f32>().expect("rows");
    [rows(0), rows(1)]
}

/// A BYTES tensor of these elements.
pub(super) fn strings(elements: &[&[u8]]) -> Tensor {
    let mut data = Vec::new();
    for element in elements {
        data.extend_from_slice(&u32::try_from(element.len()).expect("short").to_le_bytes());
        data.extend_from_slice(element);
    }
    Tensor::new(DataType::Bytes, Shape::new(&[elements.len()]), Bytes::from(data)).expect("a tensor")
}

/// The largest difference, as a share of the largest number expected.
pub(super) fn difference(got: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(got.len(), expected.len());
    let largest = expected.iter().fold(0.0, |most: f64, number| most.max(number.abs()));
    let far = |(got, expected): (&f32, &f64)| (f64::from(*got) - expected).abs();
    got.iter().zip(expected).map(far).fold(0.0, f64::max) / largest
}
