//! What an encoder's tensors are called, without `.weight` and `.bias`.

/// Names in a family of models.
#[derive(Clone, Copy, Debug)]
pub(in crate::model) struct Names {
    /// The table of words.
    pub(in crate::model) words: &'static str,
    /// The table of positions, where the plan has one.
    pub(in crate::model) positions: &'static str,
    /// The table of token types, where the plan has one.
    pub(in crate::model) types: &'static str,
    /// The norm of the sum of these.
    pub(in crate::model) embedded: &'static str,
    /// What the layers' names begin with; their number follows.
    pub(in crate::model) layers: &'static str,
    pub(in crate::model) layer: LayerNames,
    /// The last norm, where norms come first.
    pub(in crate::model) last: &'static str,
}

/// Names in a layer.
#[derive(Clone, Copy, Debug)]
pub(in crate::model) struct LayerNames {
    pub(in crate::model) qkv: Qkv,
    pub(in crate::model) attended: &'static str,
    pub(in crate::model) attention_norm: &'static str,
    pub(in crate::model) up: &'static str,
    pub(in crate::model) down: &'static str,
    pub(in crate::model) inner_norm: &'static str,
}

/// Queries, keys and values.
#[derive(Clone, Copy, Debug)]
pub(in crate::model) enum Qkv {
    /// A matrix each.
    Apart([&'static str; 3]),
    /// One below the other in one.
    Joined(&'static str),
}
