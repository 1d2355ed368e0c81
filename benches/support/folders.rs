//! Model folders of a given size with made-up weights, as Hugging Face's libraries would write them: what they answer means
//! nothing, but takes as long as of a trained model.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Map, Value, json};

/// Sizes of a text encoder.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Encoder {
    pub(crate) layers: usize,
    pub(crate) hidden: usize,
    pub(crate) heads: usize,
    pub(crate) words: usize,
    pub(crate) positions: usize,
}

/// Tensors by name, each with its shape and values.
type Tensors = BTreeMap<String, (Vec<usize>, Vec<u8>)>;

/// Writes a BERT that gives embeddings into `folder`; another `seed` makes other weights.
pub(crate) fn write_bert(folder: &Path, sizes: Encoder, seed: u64) -> anyhow::Result<()> {
    fs::create_dir_all(folder).context("make the model's folder")?;
    let Encoder { layers, hidden, heads, words, positions } = sizes;
    let config = json!({
        "architectures": ["BertModel"], "model_type": "bert", "hidden_act": "gelu", "hidden_size": hidden,
        "intermediate_size": 4 * hidden, "layer_norm_eps": 1e-12, "max_position_embeddings": positions,
        "num_attention_heads": heads, "num_hidden_layers": layers, "pad_token_id": 0, "type_vocab_size": 2,
        "vocab_size": words, "dtype": "float32"
    });
    let tokenizer_config = json!({"model_max_length": positions, "tokenizer_class": "BertTokenizer"});
    for (name, value) in
        [("config.json", config), ("tokenizer.json", tokenizer(words)), ("tokenizer_config.json", tokenizer_config)]
    {
        fs::write(folder.join(name), value.to_string()).with_context(|| format!("write {name}"))?;
    }
    let mut random = Random(seed);
    let mut tensors = Tensors::new();
    let mut add = |name: &str, dims: &[usize], around: f32, scale: f32| {
        let values = random.values(dims.iter().product(), around, scale);
        tensors.insert(name.to_owned(), (dims.to_vec(), values));
    };
    add("embeddings.word_embeddings.weight", &[words, hidden], 0.0, 0.5);
    add("embeddings.position_embeddings.weight", &[positions, hidden], 0.0, 0.1);
    add("embeddings.token_type_embeddings.weight", &[2, hidden], 0.0, 0.1);
    add("embeddings.LayerNorm.weight", &[hidden], 1.0, 0.1);
    add("embeddings.LayerNorm.bias", &[hidden], 0.0, 0.1);
    for layer in 0..layers {
        for (part, outputs, inputs) in [
            ("attention.self.query", hidden, hidden),
            ("attention.self.key", hidden, hidden),
            ("attention.self.value", hidden, hidden),
            ("attention.output.dense", hidden, hidden),
            ("intermediate.dense", 4 * hidden, hidden),
            ("output.dense", hidden, 4 * hidden),
        ] {
            add(&format!("encoder.layer.{layer}.{part}.weight"), &[outputs, inputs], 0.0, 0.05);
            add(&format!("encoder.layer.{layer}.{part}.bias"), &[outputs], 0.0, 0.05);
        }
        for part in ["attention.output.LayerNorm", "output.LayerNorm"] {
            add(&format!("encoder.layer.{layer}.{part}.weight"), &[hidden], 1.0, 0.1);
            add(&format!("encoder.layer.{layer}.{part}.bias"), &[hidden], 0.0, 0.1);
        }
    }
    write_weights(&folder.join("model.safetensors"), &tensors)
}

fn write_weights(file: &Path, tensors: &Tensors) -> anyhow::Result<()> {
    let mut views = Vec::with_capacity(tensors.len());
    for (name, (dims, bytes)) in tensors {
        views.push((name.as_str(), TensorView::new(Dtype::F32, dims.clone(), bytes).context("describe a tensor")?));
    }
    let bytes = safetensors::serialize(views, None).context("write the weights")?;
    fs::write(file, bytes).context("write the weights' file")
}

/// Words `w0`, `w1` and so on, and what stands before and after a text.
fn tokenizer(words: usize) -> Value {
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"].map(str::to_owned);
    let names = special.iter().cloned().chain((special.len()..words).map(|number| format!("w{number}")));
    let vocabulary: Map<String, Value> = names.enumerate().map(|(id, word)| (word, json!(id))).collect();
    let added: Vec<Value> = special
        .iter()
        .enumerate()
        .map(|(id, word)| {
            json!({"id": id, "content": word, "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false, "special": true})
        })
        .collect();
    let piece = |id: &str| json!({"SpecialToken": {"id": id, "type_id": 0}});
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [piece("[CLS]"), {"Sequence": {"id": "A", "type_id": 0}}, piece("[SEP]")],
            "pair": [piece("[CLS]"), {"Sequence": {"id": "A", "type_id": 0}}, piece("[SEP]"),
                     {"Sequence": {"id": "B", "type_id": 1}}, {"SpecialToken": {"id": "[SEP]", "type_id": 1}}],
            "special_tokens": {
                "[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
                "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]}
            }
        },
        "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"}
    })
}

/// `SplitMix64`, by Steele, Lea and Flood.
struct Random(u64);

impl Random {
    /// `count` values about `around`, at most `scale` away, as bytes.
    fn values(&mut self, count: usize, around: f32, scale: f32) -> Vec<u8> {
        let value = |random: u64| {
            #[expect(clippy::cast_precision_loss, reason = "24 bits fit")]
            let unit = (random >> 40) as f32 / (1_u32 << 23) as f32 - 1.0;
            around + scale * unit
        };
        (0..count).flat_map(|_| value(self.next()).to_le_bytes()).collect()
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
