//! What an encoder is made of, as numbers: every size is checked before it gets here.

use super::operators::{Activation, AttentionShape};

/// Sizes and choices.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::model) struct Plan {
    /// Width of a token's vector.
    pub(in crate::model) hidden: usize,
    /// Width between the two products of a layer's second half.
    pub(in crate::model) inner: usize,
    /// Tokens in the vocabulary.
    pub(in crate::model) vocabulary: usize,
    /// Rows of the table of positions, if there is one.
    pub(in crate::model) positions: Option<usize>,
    /// Rows of the table of token types, if there is one.
    pub(in crate::model) types: Option<usize>,
    /// Ways of attending; heads are as many and as wide in all.
    pub(in crate::model) ways: Vec<AttentionShape>,
    /// In which of these each layer attends.
    pub(in crate::model) layers: Vec<usize>,
    pub(in crate::model) order: Order,
    /// Is there a norm before the first layer? Only asked where norms come first.
    pub(in crate::model) starts_with_norm: bool,
    pub(in crate::model) activation: Activation,
    /// Is the activated half multiplied with another (GeGLU)?
    pub(in crate::model) is_gated: bool,
    pub(in crate::model) biases: Biases,
    /// Have queries, keys and values biases?
    pub(in crate::model) has_qkv_bias: bool,
    /// Epsilon of layer norms.
    pub(in crate::model) eps: f64,
}

/// Where layer norms stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::model) enum Order {
    /// After each sum, as in BERT.
    After,
    /// Before each half of a layer, and once at the end.
    Before,
}

/// Which parts have biases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::model) struct Biases {
    /// The product after attention.
    pub(in crate::model) attention: bool,
    pub(in crate::model) inner: bool,
    pub(in crate::model) norms: bool,
}

impl Biases {
    pub(in crate::model) const ALL: Self = Self { attention: true, inner: true, norms: true };
}
