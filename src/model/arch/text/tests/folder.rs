//! Hugging Face folders in memory: small configurations, weights from a seed, a tokenizer of whole words.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use candle_core::Device;
use safetensors::tensor::{Dtype, TensorView, serialize};
use serde_json::{Value, json};

use crate::config::ModelConfig;
use crate::model::{Files, Loaded, Model, Prepared, Target, load};
use crate::types::{DataType, Error, Rows, Shape, Tensor};

pub(in crate::model::arch::text) const HIDDEN: usize = 8;
pub(in crate::model::arch::text) const INNER: usize = 12;
pub(in crate::model::arch::text) const HEADS: usize = 2;
pub(in crate::model::arch::text) const WORDS: usize = 20;

/// Tensors by name: dimensions and numbers.
pub(in crate::model::arch::text) type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// The files of a version.
#[derive(Clone)]
pub(in crate::model::arch::text) struct Folder {
    pub(in crate::model::arch::text) files: BTreeMap<String, Vec<u8>>,
    pub(in crate::model::arch::text) config: Value,
    pub(in crate::model::arch::text) tensors: Tensors,
}

/// What the tensors of a family built as BERT is are called.
pub(in crate::model::arch::text) struct Family {
    pub(in crate::model::arch::text) model_type: &'static str,
    pub(in crate::model::arch::text) layers: &'static str,
    /// Query, key, value, output, norm, up, down, norm.
    pub(in crate::model::arch::text) parts: [&'static str; 8],
    pub(in crate::model::arch::text) has_types: bool,
    pub(in crate::model::arch::text) classifier: [&'static str; 2],
    pub(in crate::model::arch::text) prefix: &'static str,
}

const BERT_PARTS: [&str; 8] = [
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "attention.output.LayerNorm",
    "intermediate.dense",
    "output.dense",
    "output.LayerNorm",
];

pub(in crate::model::arch::text) const FAMILIES: [Family; 4] = [
    Family {
        model_type: "bert",
        layers: "encoder.layer",
        parts: BERT_PARTS,
        has_types: true,
        classifier: ["bert.pooler.dense", "classifier"],
        prefix: "bert.",
    },
    Family {
        model_type: "distilbert",
        layers: "transformer.layer",
        parts: [
            "attention.q_lin",
            "attention.k_lin",
            "attention.v_lin",
            "attention.out_lin",
            "sa_layer_norm",
            "ffn.lin1",
            "ffn.lin2",
            "output_layer_norm",
        ],
        has_types: false,
        classifier: ["pre_classifier", "classifier"],
        prefix: "distilbert.",
    },
    Family {
        model_type: "roberta",
        layers: "encoder.layer",
        parts: BERT_PARTS,
        has_types: true,
        classifier: ["classifier.dense", "classifier.out_proj"],
        prefix: "roberta.",
    },
    Family {
        model_type: "xlm-roberta",
        layers: "encoder.layer",
        parts: BERT_PARTS,
        has_types: true,
        classifier: ["classifier.dense", "classifier.out_proj"],
        prefix: "roberta.",
    },
];

impl Family {
    pub(in crate::model::arch::text) fn is_roberta(&self) -> bool {
        self.prefix == "roberta."
    }

    /// A folder of the encoder alone.
    pub(in crate::model::arch::text) fn folder(&self) -> Folder {
        let config = if self.model_type == "distilbert" {
            json!({"model_type": "distilbert", "dim": HIDDEN, "hidden_dim": INNER, "n_heads": HEADS, "n_layers": 2,
                "vocab_size": WORDS, "max_position_embeddings": 16, "pad_token_id": 0})
        } else {
            json!({"model_type": self.model_type, "hidden_size": HIDDEN, "intermediate_size": INNER,
                "num_attention_heads": HEADS, "num_hidden_layers": 2, "vocab_size": WORDS,
                "type_vocab_size": if self.is_roberta() { 1 } else { 2 },
                "max_position_embeddings": if self.is_roberta() { 18 } else { 16 },
                "pad_token_id": u8::from(self.is_roberta()), "layer_norm_eps": 1e-5, "torch_dtype": null})
        };
        let mut folder = Folder { files: BTreeMap::new(), config, tensors: Tensors::new() };
        folder.add("embeddings.word_embeddings.weight", &[WORDS, HIDDEN]);
        let positions = folder.size("max_position_embeddings");
        folder.add("embeddings.position_embeddings.weight", &[positions, HIDDEN]);
        if self.has_types {
            let types = folder.size("type_vocab_size");
            folder.add("embeddings.token_type_embeddings.weight", &[types, HIDDEN]);
        }
        folder.add_norm("embeddings.LayerNorm");
        for layer in 0..2 {
            let name = |part: &str| format!("{}.{layer}.{part}", self.layers);
            let [query, key, value, output, first, up, down, second] = self.parts.map(name);
            for square in [query, key, value, output] {
                folder.add_linear(&square, HIDDEN, HIDDEN);
            }
            folder.add_linear(&up, INNER, HIDDEN);
            folder.add_linear(&down, HIDDEN, INNER);
            folder.add_norm(&first);
            folder.add_norm(&second);
        }
        folder.with_tokenizer();
        folder
    }

    /// A folder with a classifier beside the encoder.
    pub(in crate::model::arch::text) fn classifier(&self, classes: usize) -> Folder {
        let mut folder = self.folder();
        folder.tensors =
            folder.tensors.into_iter().map(|(name, tensor)| (format!("{}{name}", self.prefix), tensor)).collect();
        let [dense, out] = self.classifier;
        folder.add_linear(dense, HIDDEN, HIDDEN);
        folder.add_linear(out, classes, HIDDEN);
        folder.config["architectures"] = json!(["SomeForSequenceClassification"]);
        let labels = (0..classes).map(|class| (class.to_string(), json!(format!("class {class}"))));
        folder.config["id2label"] = Value::Object(labels.collect());
        folder
    }
}

/// A folder of ModernBERT, whose layers see all, 2 to either side, 2 to either side, and all.
pub(in crate::model::arch::text) fn modernbert() -> Folder {
    let config = json!({"model_type": "modernbert", "hidden_size": HIDDEN, "intermediate_size": INNER,
        "num_attention_heads": HEADS, "num_hidden_layers": 4, "vocab_size": WORDS, "max_position_embeddings": 300,
        "pad_token_id": 0, "local_attention": 4, "global_attn_every_n_layers": 3, "global_rope_theta": 160_000.0,
        "local_rope_theta": 100.0});
    let mut folder = Folder { files: BTreeMap::new(), config, tensors: Tensors::new() };
    folder.add("embeddings.tok_embeddings.weight", &[WORDS, HIDDEN]);
    for norm in ["embeddings.norm", "final_norm"] {
        folder.add(&format!("{norm}.weight"), &[HIDDEN]);
    }
    for layer in 0..4 {
        let name = |part: &str| format!("layers.{layer}.{part}.weight");
        folder.add(&name("attn.Wqkv"), &[3 * HIDDEN, HIDDEN]);
        folder.add(&name("attn.Wo"), &[HIDDEN, HIDDEN]);
        folder.add(&name("mlp.Wi"), &[2 * INNER, HIDDEN]);
        folder.add(&name("mlp.Wo"), &[HIDDEN, INNER]);
        folder.add(&name("mlp_norm"), &[HIDDEN]);
        if layer > 0 {
            folder.add(&name("attn_norm"), &[HIDDEN]);
        }
    }
    folder.with_tokenizer();
    folder
}

impl Folder {
    /// Adds a tensor of numbers around 0, or around 1 for norms, from a seed that is its name.
    pub(in crate::model::arch::text) fn add(&mut self, name: &str, dims: &[usize]) {
        let is_norm = name.to_lowercase().contains("norm") && name.ends_with("weight");
        let mut state = name.bytes().fold(7_u32, |state, byte| state.wrapping_mul(31).wrapping_add(byte.into()));
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let number = f32::from(u16::try_from(state >> 16).expect("16 bits")) / 32768.0 - 1.0;
            if is_norm { 1.0 + number / 4.0 } else { number * 0.9 }
        };
        let numbers = (0..dims.iter().product()).map(|_| next()).collect();
        self.tensors.insert(name.to_owned(), (dims.to_vec(), numbers));
    }

    pub(in crate::model::arch::text) fn add_linear(&mut self, name: &str, outputs: usize, inputs: usize) {
        self.add(&format!("{name}.weight"), &[outputs, inputs]);
        self.add(&format!("{name}.bias"), &[outputs]);
    }

    fn add_norm(&mut self, name: &str) {
        self.add(&format!("{name}.weight"), &[HIDDEN]);
        self.add(&format!("{name}.bias"), &[HIDDEN]);
    }

    pub(in crate::model::arch::text) fn size(&self, key: &str) -> usize {
        self.config[key].as_u64().and_then(|size| usize::try_from(size).ok()).expect("a size")
    }

    pub(in crate::model::arch::text) fn json(&mut self, file: &str, value: &Value) {
        self.files.insert(file.to_owned(), value.to_string().into_bytes());
    }

    /// A tokenizer of the words `w4` to `w19`, whose template is BERT's.
    fn with_tokenizer(&mut self) {
        self.json("tokenizer.json", &tokenizer());
    }

    pub(in crate::model::arch::text) fn files(&self) -> Files {
        let mut files = self.files.clone();
        files.entry("config.json".to_owned()).or_insert_with(|| self.config.to_string().into_bytes());
        files.entry("model.safetensors".to_owned()).or_insert_with(|| file_of(&self.tensors));
        Files::Memory(files.into_iter().map(|(name, bytes)| (name, Cow::Owned(bytes))).collect())
    }

    pub(in crate::model::arch::text) fn load(&self) -> Loaded {
        load(&self.files(), &ModelConfig::default(), &Target::cpu()).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Why it is refused.
    pub(in crate::model::arch::text) fn refused(&self) -> String {
        load(&self.files(), &ModelConfig::default(), &Target::cpu()).err().expect("refused").to_string()
    }

    /// The outputs of rows of ids.
    pub(in crate::model::arch::text) fn outputs(&self, rows: &[&[i64]]) -> Vec<Vec<Vec<f32>>> {
        let prepared = prepare(&self.load(), &ids(rows)).expect("rows");
        self.run(&prepared.rows)
    }

    /// The outputs of prepared rows: of each output, its rows.
    pub(in crate::model::arch::text) fn run(&self, rows: &Rows) -> Vec<Vec<Vec<f32>>> {
        let Model::Candle(model) = self.load().model else { panic!("not on candle") };
        let numbers = |tensor: &Tensor| -> Vec<u32> {
            tensor.data().as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect()
        };
        let mut offsets = vec![0];
        for length in rows.lengths().expect("packed rows") {
            offsets.push(offsets.last().expect("a start") + length);
        }
        let put = |numbers: Vec<u32>| candle_core::Tensor::new(numbers, &Device::Cpu).expect("a tensor");
        let inputs: Vec<_> = rows.inputs().iter().map(numbers).chain([offsets]).map(put).collect();
        let rows_of = |output: &candle_core::Tensor| {
            let rows = output.dim(0).expect("rows");
            output.reshape((rows, ())).and_then(|rows| rows.to_vec2::<f32>()).expect("numbers")
        };
        model.forward(&inputs).expect("outputs").iter().map(rows_of).collect()
    }
}

pub(in crate::model::arch::text) fn tokenizer() -> Value {
    let mut vocabulary: serde_json::Map<String, Value> = (4..WORDS).map(|id| (format!("w{id}"), json!(id))).collect();
    for (id, special) in ["[PAD]", "[UNK]", "[CLS]", "[SEP]"].iter().enumerate() {
        vocabulary.insert((*special).to_owned(), json!(id));
    }
    let piece = |kind: &str, id: &str, kind_id: u8| json!({kind: {"id": id, "type_id": kind_id}});
    let special = |name: &str, id: u8| json!({"id": name, "ids": [id], "tokens": [name]});
    let single = [piece("SpecialToken", "[CLS]", 0), piece("Sequence", "A", 0), piece("SpecialToken", "[SEP]", 0)];
    let pair = [&single[..], &[piece("Sequence", "B", 1), piece("SpecialToken", "[SEP]", 1)]].concat();
    json!({
        "version": "1.0",
        "truncation": {"max_length": 5, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
            "pad_type_id": 0, "pad_token": "[PAD]"},
        "added_tokens": [{"id": 3, "content": "[SEP]", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true}],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": {"type": "TemplateProcessing", "single": single, "pair": pair,
            "special_tokens": {"[CLS]": special("[CLS]", 2), "[SEP]": special("[SEP]", 3)}},
        "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"},
    })
}

pub(in crate::model::arch::text) fn file_of(tensors: &Tensors) -> Vec<u8> {
    let bytes: Vec<(&String, &Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, (dims, numbers))| (name, dims, numbers.iter().flat_map(|number| number.to_le_bytes()).collect()))
        .collect();
    let views = bytes.iter().map(|(name, dims, bytes)| {
        (name.as_str(), TensorView::new(Dtype::F32, (*dims).clone(), bytes).expect("a view"))
    });
    serialize(views, None).expect("a file")
}

/// A request's inputs, by name.
pub(in crate::model::arch::text) type Inputs = Vec<(&'static str, Tensor)>;

pub(in crate::model::arch::text) fn prepare(loaded: &Loaded, inputs: &Inputs) -> Result<Prepared, Error> {
    let given = loaded.about.signature.inputs.iter().map(|spec| {
        let found = inputs.iter().find(|(name, _)| *name == spec.name);
        found.map(|(_, tensor)| tensor.clone())
    });
    let given = given.collect();
    loaded.about.prepare.as_ref().expect("text is prepared").prepare(given, &mut |_| Ok(()))
}

/// Rows of ids, filled up with zeros, and the mask that says so.
pub(in crate::model::arch::text) fn ids(rows: &[&[i64]]) -> Inputs {
    let width = rows.iter().map(|row| row.len()).max().unwrap_or_default();
    let filled = |of: &dyn Fn(&[i64], usize) -> i64| {
        let numbers = rows.iter().flat_map(|row| (0..width).map(|at| of(row, at)).collect::<Vec<_>>());
        integers(&[rows.len(), width], &numbers.collect::<Vec<_>>())
    };
    let ids = filled(&|row, at| row.get(at).copied().unwrap_or_default());
    let mask = filled(&|row, at| i64::from(at < row.len()));
    vec![("input_ids", ids), ("attention_mask", mask)]
}

pub(in crate::model::arch::text) fn integers(dims: &[usize], numbers: &[i64]) -> Tensor {
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    Tensor::new(DataType::Int64, Shape::new(dims), bytes.into()).expect("a tensor")
}

pub(in crate::model::arch::text) fn texts<T: AsRef<[u8]>>(texts: &[T]) -> Tensor {
    let mut data = Vec::new();
    for text in texts {
        let text = text.as_ref();
        data.extend_from_slice(&u32::try_from(text.len()).expect("short").to_le_bytes());
        data.extend_from_slice(text);
    }
    Tensor::new(DataType::Bytes, Shape::new(&[texts.len()]), Bytes::from(data)).expect("a tensor")
}
