//! What the numbers of a model's output mean.

/// What a model's declared output means, which decides how confidence is computed from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ScoreKind {
    /// Probabilities of exclusive classes that sum to 1 in a row.
    Softmax,
    /// Independent probabilities, one for each class; a single one is that of the second of two classes.
    Sigmoid,
    /// Unbounded scores of exclusive classes, to be put through softmax.
    Logits,
    /// Predicted values.
    Regression,
    /// Embeddings: vectors whose direction has a meaning.
    Embedding,
    /// Nothing that confidence can be computed from.
    #[default]
    None,
}

impl ScoreKind {
    /// Every kind under its name in files, for [`Table::choice`](super::Table::choice).
    pub const CHOICES: [(&'static str, Self); 6] = [
        ("softmax", Self::Softmax),
        ("sigmoid", Self::Sigmoid),
        ("logits", Self::Logits),
        ("regression", Self::Regression),
        ("embedding", Self::Embedding),
        ("none", Self::None),
    ];
}
