//! A `[[layer]]` as it is written: its type and its settings.

use crate::config::Table;

/// One layer.
pub(super) struct Layer {
    /// Its type, as the file names it.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
}

/// What a layer does. Sizes that follow from the weights are not repeated here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    /// `(x - mean) / scale` over the last dimension.
    Standardise,
    Linear,
    /// Over one or two dimensions after the channels.
    Conv(Conv),
    BatchNorm {
        epsilon: f64,
    },
    LayerNorm {
        epsilon: f64,
    },
    Pool {
        of: Pooling,
        window: Window,
    },
    GlobalPool(Pooling),
    Flatten,
    Activate(Activation),
    /// Over the last dimension.
    Softmax,
    /// Does nothing when a trained model runs.
    Dropout,
}

/// How a convolution moves; the same in each dimension.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::model::arch) struct Conv {
    /// 1 or 2 dimensions after the channels.
    pub(in crate::model::arch) dimensions: usize,
    pub(in crate::model::arch) stride: usize,
    pub(in crate::model::arch) padding: usize,
    pub(in crate::model::arch) dilation: usize,
    pub(in crate::model::arch) groups: usize,
}

/// The window of a pooling layer; the same in each dimension.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::model::arch) struct Window {
    pub(in crate::model::arch) kernel: usize,
    pub(in crate::model::arch) stride: usize,
    pub(in crate::model::arch) padding: usize,
}

/// What remains of a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::model::arch) enum Pooling {
    Max,
    /// Padding counts as zeros, as in torch by default.
    Average,
}

/// Functions of one number, as torch defines them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::model::arch) enum Activation {
    Relu,
    Gelu,
    GeluTanh,
    Silu,
    Tanh,
    Sigmoid,
}

/// Larger strides and windows have no use, and keep sums of them from overflowing.
const WINDOW_MAX: usize = 1 << 16;
const GROUPS_MAX: usize = 1 << 24;

/// Reads the settings of one type of layer.
type Read = fn(&Table<'_>) -> Kind;

/// Every type of layer.
const TYPES: [(&str, Read); 17] = [
    ("standardise", |_| Kind::Standardise),
    ("linear", |_| Kind::Linear),
    ("conv1d", |table| conv(table, 1)),
    ("conv2d", |table| conv(table, 2)),
    ("batch_norm", |table| Kind::BatchNorm { epsilon: epsilon(table) }),
    ("layer_norm", |table| Kind::LayerNorm { epsilon: epsilon(table) }),
    ("max_pool", |table| Kind::Pool { of: Pooling::Max, window: window(table) }),
    ("average_pool", |table| Kind::Pool { of: Pooling::Average, window: window(table) }),
    ("global_pool", global_pool),
    ("flatten", |_| Kind::Flatten),
    ("relu", |_| Kind::Activate(Activation::Relu)),
    ("gelu", gelu),
    ("silu", |_| Kind::Activate(Activation::Silu)),
    ("tanh", |_| Kind::Activate(Activation::Tanh)),
    ("sigmoid", |_| Kind::Activate(Activation::Sigmoid)),
    ("softmax", |_| Kind::Softmax),
    ("dropout", dropout),
];

/// Reads one layer; `None` if its type is missing or unknown, which is noted.
pub(super) fn read(table: &Table<'_>) -> Option<Layer> {
    table.require(&["type"]);
    let choices = TYPES.map(|(name, _)| (name, name));
    let wanted = table.choice("type", &choices)?;
    let (name, read) = TYPES.iter().find(|(name, _)| *name == wanted)?;
    Some(Layer { name, kind: read(table) })
}

fn conv(table: &Table<'_>, dimensions: usize) -> Kind {
    Kind::Conv(Conv {
        dimensions,
        stride: table.count("stride", 1..=WINDOW_MAX).unwrap_or(1),
        padding: table.count("padding", 0..=WINDOW_MAX).unwrap_or(0),
        dilation: table.count("dilation", 1..=WINDOW_MAX).unwrap_or(1),
        groups: table.count("groups", 1..=GROUPS_MAX).unwrap_or(1),
    })
}

fn epsilon(table: &Table<'_>) -> f64 {
    table.number("eps", 0.0..=1.0).unwrap_or(1e-5)
}

fn window(table: &Table<'_>) -> Window {
    let kernel = table.count("kernel", 1..=WINDOW_MAX).unwrap_or(2);
    let stride = table.count("stride", 1..=WINDOW_MAX).unwrap_or(kernel);
    let padding = table.count("padding", 0..=WINDOW_MAX).unwrap_or(0);
    // Else a window could lie in the padding alone, and its maximum would be of nothing; torch refuses it too.
    if padding > kernel / 2 {
        table.problem("padding", &format!("expected at most {}, half the kernel, got {padding}", kernel / 2));
    }
    Window { kernel, stride, padding }
}

fn global_pool(table: &Table<'_>) -> Kind {
    let choices = [("average", Pooling::Average), ("max", Pooling::Max)];
    Kind::GlobalPool(table.choice("kind", &choices).unwrap_or(Pooling::Average))
}

fn gelu(table: &Table<'_>) -> Kind {
    let choices = [("none", Activation::Gelu), ("tanh", Activation::GeluTanh)];
    Kind::Activate(table.choice("approximate", &choices).unwrap_or(Activation::Gelu))
}

fn dropout(table: &Table<'_>) -> Kind {
    // Known, so that a list of layers can be copied from the training code; a trained model drops nothing.
    let _share = table.number("p", 0.0..=1.0);
    Kind::Dropout
}
