//! Whole models by the host's build of the kernels, against the same models by candle's operations.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor};
use safetensors::tensor::{Dtype, TensorView, serialize};
use sconce::config::ModelConfig;
use sconce::device::LogitScores;
use sconce::model::kernels::{Kernels, LayerNorm, Recorder, Size};
use sconce::model::{CandleModel, Files, Loaded, Model, Target, load};
use sconce::monitor::CONFIDENCE;
use sconce::types::{ClassScore, DataType, Presence, Shape, Signature, Tensor as HostTensor, TensorSpec};
use serde_json::{Value, json};

use super::host::HostSide;
use super::{Fused, Scorer};

const WIDTH: usize = 24;
const WORDS: usize = 40;
/// Rows of one token, of a tile's length, and of more.
const LENGTHS: [usize; 6] = [1, 7, 64, 65, 130, 3];

/// Fills batches up, as a device does that records them, and computes them each time.
struct Filling;

impl Recorder for Filling {
    fn run(&self, size: &Size, inputs: &[Tensor], compute: &dyn Fn(&[Tensor]) -> Result<Tensor>) -> Result<Tensor> {
        let filled = inputs.iter().zip(&size.lengths).map(|(input, length)| {
            assert!(input.dim(0)? <= *length, "{:?} in {length}", input.dims());
            input.pad_with_zeros(0, 0, length - input.dim(0)?)
        });
        compute(&filled.collect::<Result<Vec<_>>>()?)?.narrow(0, 0, size.rows)
    }
}

fn target(dtype: DType, fills: bool) -> Target {
    let recorder = move || fills.then(|| Box::new(Filling) as Box<dyn Recorder>);
    let kernels = Arc::new(Fused::new(Arc::new(HostSide::new()), Box::new(recorder))) as Arc<dyn Kernels>;
    Target { device: Device::Cpu, dtype, kernels: Some(kernels), records: true }
}

/// A Hugging Face folder in memory; `tensors` are names and dimensions.
fn folder(config: &Value, more: &[(&str, &str)], tensors: &[(String, Vec<usize>)]) -> Files {
    let mut seed = 1_u32;
    let mut number = |spread: f32, around: f32| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (f32::from(u16::try_from(seed >> 16).expect("16 bits")) / 32768.0 - 1.0) * spread + around
    };
    let data: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(name, dims)| {
            let is_norm = name.to_lowercase().contains("norm") && name.ends_with("weight");
            let (spread, around) = if is_norm { (0.3, 1.0) } else { (0.35, 0.0) };
            (0..dims.iter().product()).flat_map(|_: usize| number(spread, around).to_le_bytes()).collect()
        })
        .collect();
    let views = tensors.iter().zip(&data).map(|((name, dims), data)| {
        (name.clone(), TensorView::new(Dtype::F32, dims.clone(), data).expect("as many bytes as numbers"))
    });
    let weights = serialize(views, None).expect("weights");
    let mut files = BTreeMap::from([
        ("config.json".to_owned(), config.to_string().into_bytes().into()),
        ("model.safetensors".to_owned(), weights.into()),
    ]);
    files.extend(more.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec().into())));
    Files::Memory(files)
}

fn pair(tensors: &mut Vec<(String, Vec<usize>)>, name: &str, dims: &[usize]) {
    tensors.push((format!("{name}.weight"), dims.to_vec()));
    tensors.push((format!("{name}.bias"), dims[..1].to_vec()));
}

fn bert(task: &str) -> Files {
    let config = json!({"model_type": "bert", "architectures": [task], "hidden_size": WIDTH, "intermediate_size": 40,
        "num_attention_heads": 3, "num_hidden_layers": 2, "vocab_size": WORDS, "type_vocab_size": 2,
        "max_position_embeddings": 140, "id2label": {"0": "a", "1": "b", "2": "c"}});
    let classifies = task.ends_with("Classification");
    let mut tensors = Vec::new();
    for (name, entries) in [("word", WORDS), ("position", 140), ("token_type", 2)] {
        tensors.push((format!("embeddings.{name}_embeddings.weight"), vec![entries, WIDTH]));
    }
    pair(&mut tensors, "embeddings.LayerNorm", &[WIDTH]);
    for layer in 0..2 {
        for part in ["self.query", "self.key", "self.value", "output.dense"] {
            pair(&mut tensors, &format!("encoder.layer.{layer}.attention.{part}"), &[WIDTH, WIDTH]);
        }
        pair(&mut tensors, &format!("encoder.layer.{layer}.attention.output.LayerNorm"), &[WIDTH]);
        pair(&mut tensors, &format!("encoder.layer.{layer}.intermediate.dense"), &[40, WIDTH]);
        pair(&mut tensors, &format!("encoder.layer.{layer}.output.dense"), &[WIDTH, 40]);
        pair(&mut tensors, &format!("encoder.layer.{layer}.output.LayerNorm"), &[WIDTH]);
    }
    if classifies {
        for (name, _) in &mut tensors {
            name.insert_str(0, "bert.");
        }
        pair(&mut tensors, "bert.pooler.dense", &[WIDTH, WIDTH]);
        pair(&mut tensors, "classifier", &[3, WIDTH]);
    }
    folder(&config, &[], &tensors)
}

fn modernbert() -> Files {
    let config = json!({"model_type": "modernbert", "hidden_size": WIDTH, "intermediate_size": 20,
        "num_attention_heads": 3, "num_hidden_layers": 3, "vocab_size": WORDS, "max_position_embeddings": 140,
        "local_attention": 8, "global_attn_every_n_layers": 2, "pad_token_id": 0});
    let mut tensors = vec![
        ("embeddings.tok_embeddings.weight".to_owned(), vec![WORDS, WIDTH]),
        ("embeddings.norm.weight".to_owned(), vec![WIDTH]),
        ("final_norm.weight".to_owned(), vec![WIDTH]),
    ];
    for layer in 0..3 {
        let of = |part: &str, dims: &[usize]| (format!("layers.{layer}.{part}.weight"), dims.to_vec());
        tensors.extend((layer > 0).then(|| of("attn_norm", &[WIDTH])));
        tensors.push(of("attn.Wqkv", &[3 * WIDTH, WIDTH]));
        tensors.push(of("attn.Wo", &[WIDTH, WIDTH]));
        tensors.push(of("mlp_norm", &[WIDTH]));
        tensors.push(of("mlp.Wi", &[40, WIDTH]));
        tensors.push(of("mlp.Wo", &[WIDTH, 20]));
    }
    folder(&config, &[], &tensors)
}

fn vit() -> Files {
    let config = json!({"model_type": "vit", "architectures": ["ViTForImageClassification"], "hidden_size": WIDTH,
        "intermediate_size": 40, "num_attention_heads": 3, "num_hidden_layers": 2, "image_size": 24, "patch_size": 4,
        "hidden_act": "gelu", "id2label": {"0": "a", "1": "b"}});
    let mut tensors = vec![
        ("vit.embeddings.cls_token".to_owned(), vec![1, 1, WIDTH]),
        ("vit.embeddings.position_embeddings".to_owned(), vec![1, 37, WIDTH]),
    ];
    pair(&mut tensors, "vit.embeddings.patch_embeddings.projection", &[WIDTH, 3, 4, 4]);
    for layer in 0..2 {
        let of = |part: &str| format!("vit.encoder.layer.{layer}.{part}");
        for part in ["attention.query", "attention.key", "attention.value", "output.dense"] {
            pair(&mut tensors, &of(&format!("attention.{part}")), &[WIDTH, WIDTH]);
        }
        pair(&mut tensors, &of("layernorm_before"), &[WIDTH]);
        pair(&mut tensors, &of("layernorm_after"), &[WIDTH]);
        pair(&mut tensors, &of("intermediate.dense"), &[40, WIDTH]);
        pair(&mut tensors, &of("output.dense"), &[WIDTH, 40]);
    }
    pair(&mut tensors, "vit.layernorm", &[WIDTH]);
    pair(&mut tensors, "classifier", &[2, WIDTH]);
    folder(&config, &[], &tensors)
}

fn loaded(files: &Files, target: &Target) -> Loaded {
    load(files, &ModelConfig::default(), target).unwrap_or_else(|error| panic!("{error}"))
}

/// What a model makes of rows of ids, or of pictures where it takes those.
fn outputs(files: &Files, target: &Target) -> Vec<Tensor> {
    let loaded = loaded(files, target);
    let Model::Candle(model) = &loaded.model else { panic!("a model on the host") };
    let number = |at: usize| u32::try_from((at * 7 + 3) % WORDS).expect("small");
    let tokens: usize = LENGTHS.iter().sum();
    let put = |numbers: Vec<u32>| Tensor::new(numbers, &Device::Cpu).expect("a tensor");
    let offsets = LENGTHS.iter().scan(0, |end, length| {
        *end += u32::try_from(*length).expect("short");
        Some(*end)
    });
    let inputs = match loaded.about.platform {
        "candle_vit" => {
            let numbers: Vec<f32> = (0_u16..3 * 3 * 24 * 24).map(|at| f32::from(at % 251) / 125.0 - 1.0).collect();
            vec![Tensor::from_vec(numbers, (3, 3, 24, 24), &Device::Cpu).expect("a tensor")]
        }
        platform => {
            let positions = LENGTHS.iter().flat_map(|length| 0..u32::try_from(*length).expect("short")).collect();
            let mut inputs = vec![put((0..tokens).map(number).collect())];
            if platform == "candle_bert" {
                inputs.push(put((0..tokens).map(|at| number(at) % 2).collect()));
                inputs.push(put(positions));
            }
            inputs.push(put(std::iter::once(0).chain(offsets).collect()));
            inputs
        }
    };
    model.forward(&inputs).unwrap_or_else(|error| panic!("{error}"))
}

/// How far `got` is from `wanted`, as a part of it.
fn distance(got: &Tensor, wanted: &Tensor) -> f32 {
    assert_eq!((got.dims(), got.dtype()), (wanted.dims(), DType::F32));
    let length = |tensor: Tensor| tensor.sqr()?.sum_all()?.sqrt()?.to_scalar::<f32>();
    let (off, all) = (length((got - wanted).expect("alike")), length(wanted.clone()));
    off.expect("a number") / all.expect("a number")
}

fn expect_near(files: &Files, target: &Target, bound: f32) {
    let (got, wanted) = (outputs(files, target), outputs(files, &Target::cpu()));
    assert_eq!(got.len(), wanted.len());
    for (got, wanted) in got.iter().zip(&wanted) {
        let distance = distance(got, wanted);
        assert!(distance < bound, "{target:?}: {distance}");
    }
}

#[test]
fn encoders_are_what_candle_makes_of_them() {
    for files in [bert("BertModel"), bert("BertForSequenceClassification"), modernbert(), vit()] {
        for fills in [false, true] {
            expect_near(&files, &target(DType::F32, fills), 1e-5);
        }
    }
}

#[test]
fn encoders_in_half_precision_are_near() {
    for files in [bert("BertModel"), bert("BertForSequenceClassification"), modernbert(), vit()] {
        expect_near(&files, &target(DType::F16, true), 5e-3);
    }
}

/// A model that gives these logits, and their softmax.
struct Given(Tensor);

impl CandleModel for Given {
    fn compute(&self, _inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![self.0.clone()])
    }

    fn softmax_of(&self) -> Option<usize> {
        Some(0)
    }
}

/// A model that gives nothing.
struct Silent;

impl CandleModel for Silent {
    fn compute(&self, _inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(Vec::new())
    }
}

fn kernels() -> Fused<HostSide> {
    Fused::new(Arc::new(HostSide::new()), Box::new(|| None))
}

/// Scores as a server asks for them, of a model with one output of this width.
fn scorer(columns: usize, sharpness: f32) -> Option<Scorer> {
    let row = vec![Some(columns)];
    let output = TensorSpec { name: "logits".to_owned(), dtype: DataType::Fp32, row, presence: Presence::Required };
    let signature = Signature { inputs: Vec::new(), outputs: vec![output] };
    let scores = LogitScores { output: 0, sharpness, bounds: CONFIDENCE.to_vec() };
    Scorer::new(&scores, &signature, &Device::Cpu).expect("bounds")
}

fn to_host(tensor: &Tensor) -> HostTensor {
    let flat = tensor.flatten_all().expect("flat");
    let (dtype, bytes): (_, Vec<u8>) = match tensor.dtype() {
        DType::U32 => (DataType::Uint32, flat.to_vec1().expect("u32").into_iter().flat_map(u32::to_le_bytes).collect()),
        _ => (DataType::Fp32, flat.to_vec1().expect("f32").into_iter().flat_map(f32::to_le_bytes).collect()),
    };
    HostTensor::new(dtype, Shape::new(tensor.dims()), bytes.into()).expect("alike")
}

/// What the server makes of scores that a device tells is what it makes of the logits, and the probabilities that come of the same
/// pass are those of candle.
#[test]
fn scores_are_those_of_the_server() {
    let mut logits: Vec<f32> = (0_u16..300).map(|at| f32::from(at * 37 % 101) / 10.0 - 5.0).collect();
    logits.extend([f32::NAN, 0.0, 1.0, f32::NEG_INFINITY, 3.0, 3.0, f32::INFINITY, 0.0, 0.0, 90.0, -90.0, 0.0]);
    let rows = logits.len() / 3;
    let given = Given(Tensor::from_slice(&logits, (rows, 3), &Device::Cpu).expect("a tensor"));
    let scoring = loaded(&bert("BertForSequenceClassification"), &Target::cpu()).about.scoring.expect("scored");
    assert_eq!(scoring.of_logits(), Some((0, 1.0)));
    let outputs = kernels().forward(&given, &[], scorer(3, 1.0).as_ref()).expect("outputs");
    let outputs: Vec<HostTensor> = outputs.iter().map(to_host).collect();
    let own: Vec<HostTensor> = given.forward(&[]).expect("outputs").iter().map(to_host).collect();
    assert_eq!((outputs.len(), own.len(), outputs[0] == own[0]), (5, 2, true));
    for (told, spec) in outputs[2..].iter().zip(Scorer::specs()) {
        assert_eq!(told.dtype(), spec.dtype);
        assert!(spec.takes(&told.shape().dims()[1..]), "{told:?}");
    }
    for (told, computed) in outputs[1].data().as_chunks::<4>().0.iter().zip(own[1].data().as_chunks::<4>().0) {
        let [told, computed] = [told, computed].map(|bytes| f32::from_le_bytes(*bytes));
        assert!((told - computed).abs() < 1e-6 || told.is_nan() && computed.is_nan(), "{told} {computed}");
    }
    let (told, computed) = (scoring.of_outputs(&outputs, 2).expect("told"), scoring.score(&own[0]));
    let (told, computed) = (told.classes().expect("classes"), computed.classes().expect("classes"));
    assert_eq!((told.len(), computed.len()), (rows, rows));
    for (told, computed) in told.iter().zip(computed) {
        let numbers = |score: &ClassScore| [score.confidence, score.margin, score.entropy];
        assert_eq!(told.map(|score| score.class), computed.map(|score| score.class));
        let bin = told.map(|score| CONFIDENCE.partition_point(|bound| *bound < score.confidence));
        assert_eq!(told.and_then(|score| score.bin).map(usize::from), bin);
        let (told, computed) = (told.as_ref().map(numbers), computed.as_ref().map(numbers));
        let off = told.unwrap_or_default().into_iter().zip(computed.unwrap_or_default()).map(|(a, b)| (a - b).abs());
        assert!(off.fold(0.0, f64::max) < 1e-6, "{told:?} {computed:?}");
    }
}

/// Where a temperature or a single logit makes the scores' probabilities others than the softmax, it is candle's.
#[test]
fn a_softmax_that_is_not_scored_stays_what_it_is() {
    for (columns, sharpness) in [(3, 0.25), (1, 1.0)] {
        let logits: Vec<f32> = (0_u8..6).map(f32::from).collect();
        let given = Given(Tensor::from_slice(&logits, (6 / columns, columns), &Device::Cpu).expect("a tensor"));
        let outputs = kernels().forward(&given, &[], scorer(columns, sharpness).as_ref()).expect("outputs");
        let own = given.forward(&[]).expect("outputs");
        assert_eq!(outputs.len(), 5);
        assert!(outputs.iter().zip(&own).all(|(told, own)| to_host(told) == to_host(own)), "{columns} {sharpness}");
    }
    let given = Given(Tensor::zeros((2, 3), DType::F32, &Device::Cpu).expect("a tensor"));
    assert_eq!(kernels().forward(&given, &[], None).expect("outputs").len(), 2, "no scores are wanted");
}

#[test]
fn what_kernels_do_not_compute_is_an_error() {
    let kernels = kernels();
    let rows = Tensor::zeros((2, 3), DType::F64, &Device::Cpu).expect("a tensor");
    let told = kernels.activate(&rows, None, None).expect_err("no such kernel").to_string();
    assert!(told.starts_with("kernels do not compute in F64"), "{told}");
    let rows = Tensor::zeros((3, 2), DType::F32, &Device::Cpu).expect("a tensor").t().expect("a view");
    let told = kernels.activate(&rows, None, None).expect_err("in pieces").to_string();
    assert!(told.starts_with("a kernel was given a tensor in pieces"), "{told}");
    let norm =
        LayerNorm { weight: Tensor::zeros(3, DType::F32, &Device::Cpu).expect("a tensor"), bias: None, eps: 1e-5 };
    let told = kernels.norm(&rows, None, &norm).expect_err("in pieces").to_string();
    assert!(told.starts_with("a kernel was given a tensor of shape [2, 3] in pieces"), "{told}");
    let told = kernels.forward(&Silent, &[], scorer(3, 1.0).as_ref()).expect_err("nothing").to_string();
    assert!(told.starts_with("the model gave no output 0"), "{told}");
    let told = kernels.forward(&Given(rows), &[], scorer(3, f32::NAN).as_ref()).expect_err("how sharp?").to_string();
    assert!(told.starts_with("sharpness is NaN; expected within 1e-30 and 1e30"), "{told}");
}
