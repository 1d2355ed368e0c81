//! What sentence-transformers does with an encoder's rows: `modules.json` and the folders that it names.

use super::super::super::json::Json;
use super::super::encoder::{Activation, Pooling};
use crate::model::{Files, LoadError};

const MODULES: &str = "modules.json";
/// Longest prompt; it is put before every text.
const PROMPT_BYTES_MAX: usize = 4096;
/// Widest vector that a Dense module makes.
const WIDTH_MAX: usize = 1 << 16;

/// Poolings, under the name of `pooling_mode` and the older switch, in the order in which older files join them.
const POOLINGS: [(&str, &str, Pooling); 6] = [
    ("cls", "pooling_mode_cls_token", Pooling::First),
    ("max", "pooling_mode_max_tokens", Pooling::Max),
    ("mean", "pooling_mode_mean_tokens", Pooling::Mean),
    ("mean_sqrt_len_tokens", "pooling_mode_mean_sqrt_len_tokens", Pooling::MeanSqrtLength),
    ("weightedmean", "pooling_mode_weightedmean_tokens", Pooling::WeightedMean),
    ("lasttoken", "pooling_mode_lasttoken", Pooling::Last),
];

/// What pooling calls the width of what it pools, now and before version 6.
const POOLED_WIDTHS: [&str; 2] = ["embedding_dimension", "word_embedding_dimension"];

/// From an encoder's rows to an embedding.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Modules {
    /// Joined one after the other.
    pub(super) poolings: Vec<Pooling>,
    pub(super) steps: Vec<Step>,
    /// Is the prompt pooled as well?
    pools_prompt: bool,
    prompt: String,
}

/// What is done with a vector.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    Dense(Dense),
    Normalize,
}

/// A product in a folder of its own.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Dense {
    /// The file with its weights.
    pub(super) weights: String,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) bias: bool,
    pub(super) activation: Option<Activation>,
}

impl Modules {
    /// Reads `modules.json`, for an encoder of this width; `None` if there is none. Errors: a module that is not served, by
    /// name, or that is another encoder's.
    pub(super) fn read(files: &Files, hidden: usize) -> Result<Option<Self>, LoadError> {
        if !files.has(MODULES) {
            return Ok(None);
        }
        let mut modules = Self { pools_prompt: true, ..Self::default() };
        for (at, module) in Json::read_list(files, MODULES)?.iter().enumerate() {
            let path = module.text("path")?.unwrap_or_default();
            if !is_plain(path) {
                return Err(module.unexpected("path", "the name of a folder beside it"));
            }
            let kind = module.text("type")?.and_then(|kind| kind.rsplit('.').next()).unwrap_or_default();
            match (at, kind) {
                (0, "Transformer") if path.is_empty() => {}
                (1, "Pooling") => modules.read_pooling(files, path, hidden)?,
                (2.., "Dense") => modules.steps.push(Step::Dense(Dense::read(files, path)?)),
                (2.., "Normalize") => modules.steps.push(Step::Normalize),
                (2.., "Dropout") => {}
                _ => return Err(module.unexpected("type", "a Transformer, Pooling, then Dense or Normalize")),
            }
        }
        Ok(Some(modules))
    }

    /// What is done where no modules are named: the mean of all tokens.
    pub(super) fn plain() -> Self {
        Self { poolings: vec![Pooling::Mean], pools_prompt: true, ..Self::default() }
    }

    pub(super) fn has_pooling(&self) -> bool {
        !self.poolings.is_empty()
    }

    /// Why an encoder whose modules have no pooling is not served.
    pub(super) fn without_pooling() -> LoadError {
        LoadError::new(MODULES, "expected a Pooling module: vectors of single tokens are not served")
    }

    pub(super) fn prompt(&self) -> &str {
        &self.prompt
    }

    /// With the prompt that the folder puts before every text. Errors: one that is not pooled, or too long; a sparse model.
    pub(super) fn with_prompt(mut self, sentence: Option<&Json>) -> Result<Self, LoadError> {
        let Some(sentence) = sentence else { return Ok(self) };
        if sentence.text("model_type")?.is_some_and(|kind| kind != "SentenceTransformer") {
            return Err(sentence.unexpected("model_type", "\"SentenceTransformer\", as its modules are"));
        }
        let Some(name) = sentence.text("default_prompt_name")? else { return Ok(self) };
        let prompts = sentence.object("prompts")?;
        let prompt = prompts.as_ref().map(|prompts| prompts.text(name)).transpose()?.flatten().unwrap_or_default();
        if prompt.len() > PROMPT_BYTES_MAX {
            let reason = format!("expected a prompt of at most {PROMPT_BYTES_MAX} bytes, got {}", prompt.len());
            return Err(sentence.error("default_prompt_name", reason));
        }
        if !prompt.is_empty() && !self.pools_prompt {
            return Err(sentence.error("default_prompt_name", "a prompt that pooling leaves out is not served"));
        }
        prompt.clone_into(&mut self.prompt);
        Ok(self)
    }

    fn read_pooling(&mut self, files: &Files, path: &str, hidden: usize) -> Result<(), LoadError> {
        let config = Json::read(files, &format!("{path}/config.json"))?;
        for key in POOLED_WIDTHS {
            if config.size(key, 1..=usize::MAX)?.is_some_and(|width| width != hidden) {
                return Err(config.unexpected(key, &format!("{hidden}, the width of the encoder's vectors")));
            }
        }
        self.pools_prompt = config.flag("include_prompt")?.unwrap_or(true);
        self.poolings = match config.get("pooling_mode") {
            Some(serde_json::Value::String(name)) => vec![pooling(&config, name)?],
            Some(_) => {
                let names = config.texts("pooling_mode")?.unwrap_or_default();
                names.into_iter().map(|name| pooling(&config, name)).collect::<Result<_, _>>()?
            }
            None => older_poolings(&config)?,
        };
        if self.poolings.is_empty() || self.poolings.len() > POOLINGS.len() {
            return Err(config.error("pooling_mode", format!("expected 1 to {} ways of pooling", POOLINGS.len())));
        }
        Ok(())
    }
}

fn pooling(config: &Json, name: &str) -> Result<Pooling, LoadError> {
    let known = POOLINGS.iter().find(|(known, ..)| *known == name);
    known.map(|(.., pooling)| *pooling).ok_or_else(|| {
        let known: Vec<_> = POOLINGS.iter().map(|(known, ..)| *known).collect();
        config.error("pooling_mode", format!("expected one of {}, got \"{name}\"", known.join(", ")))
    })
}

/// Switches, as sentence-transformers wrote them before version 6.
fn older_poolings(config: &Json) -> Result<Vec<Pooling>, LoadError> {
    let mut poolings = Vec::new();
    for (_, switch, pooling) in POOLINGS {
        if config.flag(switch)? == Some(true) {
            poolings.push(pooling);
        }
    }
    Ok(poolings)
}

impl Dense {
    fn read(files: &Files, path: &str) -> Result<Self, LoadError> {
        let config = Json::read(files, &format!("{path}/config.json"))?;
        if config.flag("use_residual")? == Some(true) {
            return Err(config.error("use_residual", "a residual is not served"));
        }
        for key in ["module_input_name", "module_output_name"] {
            if config.text(key)?.is_some_and(|name| name != "sentence_embedding") {
                return Err(config.unexpected(key, "\"sentence_embedding\""));
            }
        }
        let activation = match config.text("activation_function")?.and_then(|name| name.rsplit('.').next()) {
            Some("Identity") => None,
            None | Some("Tanh") => Some(Activation::Tanh),
            Some("ReLU") => Some(Activation::Relu),
            Some("GELU") => Some(Activation::Gelu),
            Some("SiLU") => Some(Activation::Silu),
            Some("Sigmoid") => Some(Activation::Sigmoid),
            Some(_) => {
                return Err(config.unexpected("activation_function", "Identity, Tanh, ReLU, GELU, SiLU or Sigmoid"));
            }
        };
        Ok(Self {
            weights: format!("{path}/model.safetensors"),
            inputs: config.require_size("in_features", 1..=WIDTH_MAX)?,
            outputs: config.require_size("out_features", 1..=WIDTH_MAX)?,
            bias: config.flag("bias")?.unwrap_or(true),
            activation,
        })
    }
}

/// Is this one name, of a folder beside the file that has it? Empty for the folder itself.
fn is_plain(path: &str) -> bool {
    path.chars().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-'))
}
