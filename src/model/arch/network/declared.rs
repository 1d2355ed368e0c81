//! `network.toml` as it is written: input, output and the list of layers, unchecked against the weights.

use super::layer::{self, Layer};
use crate::config::{ScoreKind, Table};
use crate::model::arch::tensor_name;
use crate::types::DataType;

const LAYERS_MAX: usize = 4096;
const RANK_MAX: usize = 8;
const DIM_MAX: usize = 1 << 32;

/// What the file says.
pub(super) struct Declared {
    pub(super) input: String,
    /// Dimensions of one row.
    pub(super) dims: Vec<usize>,
    pub(super) output: String,
    /// What the output means; `None` if it is left to the last layer.
    pub(super) scores: Option<ScoreKind>,
    pub(super) labels: Vec<String>,
    pub(super) range: Option<(f64, f64)>,
    pub(super) layers: Vec<Layer>,
}

impl Declared {
    /// Reads the whole file; what is wrong is noted in its document.
    pub(super) fn read(root: &Table<'_>) -> Self {
        root.require(&["input", "layer"]);
        let (input, dims) = root.table("input").map_or_else(Default::default, |table| read_input(&table));
        let tables = root.tables("layer");
        if root.has("layer") && !(1..=LAYERS_MAX).contains(&tables.len()) {
            root.problem("layer", &format!("expected 1 to {LAYERS_MAX} layers, got {}", tables.len()));
        }
        let layers = tables.iter().filter_map(layer::read).collect();
        let mut declared =
            Self { input, dims, output: "output".to_owned(), scores: None, labels: Vec::new(), range: None, layers };
        if let Some(table) = root.table("output") {
            declared.output = tensor_name(&table, "name", "output");
            declared.scores = table.choice("scores", &ScoreKind::CHOICES);
            declared.labels = table.strings("labels").unwrap_or_default();
            declared.range = read_range(&table);
        }
        declared
    }
}

fn read_input(table: &Table<'_>) -> (String, Vec<usize>) {
    table.require(&["dims"]);
    if let Some(dtype) = table.string("dtype")
        && dtype.parse() != Ok(DataType::Fp32)
    {
        table.problem("dtype", &format!("expected \"FP32\", the only type that networks take so far, got \"{dtype}\""));
    }
    let dims = table.counts("dims", 1..=DIM_MAX).unwrap_or_default();
    if table.has("dims") && !(1..=RANK_MAX).contains(&dims.len()) {
        table.problem("dims", &format!("expected 1 to {RANK_MAX} dimensions of one row, without the batch"));
    }
    (tensor_name(table, "name", "input"), dims)
}

fn read_range(table: &Table<'_>) -> Option<(f64, f64)> {
    match table.numbers("range", f64::MIN..=f64::MAX)?.as_slice() {
        [low, high] if low < high => Some((*low, *high)),
        other => {
            table.problem("range", &format!("expected [low, high] with low < high, got {other:?}"));
            None
        }
    }
}
