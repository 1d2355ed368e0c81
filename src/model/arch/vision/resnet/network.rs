//! The steps of a residual network, from what is known of it and its weights. Every shape is checked.

use crate::model::arch::network::layer::{Activation, Conv, Pooling, Window};
use crate::model::arch::network::narrow;
use crate::model::arch::network::step::{Affine, Axis, Convolve, Linear, Residual, Step, Work};
use crate::model::arch::text::LABELS_MAX;
use crate::model::table::HUB_WEIGHTS;
use crate::model::{LoadError, Weights};

/// torch's default, which both libraries keep.
const EPSILON: f64 = 1e-5;
/// Most elements of one image between two layers.
const ELEMENTS_MAX: usize = 1 << 28;
/// Most channels.
const CHANNELS_MAX: usize = 1 << 16;

/// What is known of a network beside its weights.
pub(super) struct Plan {
    pub(super) names: Names,
    /// Channels after the first convolution.
    pub(super) stem: usize,
    /// Blocks and channels of each stage.
    pub(super) stages: Vec<(usize, usize)>,
    pub(super) block: Block,
    /// Does the first stage halve the image too?
    pub(super) halves_first: bool,
}

/// What a block consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Block {
    /// Two convolutions of 3x3.
    Basic,
    /// One of 3x3 between two of 1x1.
    Bottleneck {
        /// Is the stride in the first of them rather than in the second?
        strides_first: bool,
    },
}

/// What tensors are called. A convolution and its norm have a name each.
pub(super) struct Names {
    pub(super) stem: [&'static str; 2],
    /// By the numbers of stage and block.
    pub(super) block: fn(usize, usize) -> String,
    /// In a block, by number.
    pub(super) convolution: fn(usize) -> [String; 2],
    pub(super) shortcut: [&'static str; 2],
    pub(super) classifier: &'static str,
}

impl Block {
    /// Side of the kernel and stride of each convolution, if the block's is `stride`.
    pub(super) fn convolutions(self, stride: usize) -> Vec<(usize, usize)> {
        match self {
            Self::Basic => vec![(3, stride), (3, 1)],
            Self::Bottleneck { strides_first: true } => vec![(1, stride), (3, 1), (1, 1)],
            Self::Bottleneck { strides_first: false } => vec![(1, 1), (3, stride), (1, 1)],
        }
    }
}

/// The steps for images `dims`, and the number of classes. Errors: a tensor is missing, or of another shape than planned.
pub(super) fn network(plan: &Plan, dims: &[usize], weights: &Weights) -> Result<(Vec<Step>, usize), LoadError> {
    let mut chain = Chain { weights, steps: Vec::new(), row: dims.to_vec() };
    let [convolution, norm] = plan.names.stem;
    chain.convolve([convolution, norm], Some(plan.stem), (7, 2))?;
    chain.activate();
    chain.pool()?;
    for (stage, (blocks, channels)) in plan.stages.iter().enumerate() {
        for block in 0..*blocks {
            let stride = if block == 0 && (stage > 0 || plan.halves_first) { 2 } else { 1 };
            let name = (plan.names.block)(stage, block);
            chain.block(plan, &name, *channels, stride)?;
        }
    }
    let classes = chain.classify(plan.names.classifier)?;
    Ok((chain.steps, classes))
}

/// Steps one after the other.
struct Chain<'a> {
    weights: &'a Weights,
    steps: Vec<Step>,
    /// Dimensions of a row after them.
    row: Vec<usize>,
}

impl Chain<'_> {
    fn push(&mut self, to: Vec<usize>, work: Work) {
        let from = std::mem::replace(&mut self.row, to.clone());
        self.steps.push(Step { from, to, work });
    }

    fn activate(&mut self) {
        self.push(self.row.clone(), Work::Activate(Activation::Relu));
    }

    /// A convolution without bias, and the norm after it. `outputs`: channels that it must have.
    fn convolve(
        &mut self,
        [name, norm]: [&str; 2],
        outputs: Option<usize>,
        (kernel, stride): (usize, usize),
    ) -> Result<(), LoadError> {
        let inputs = self.row.first().copied().unwrap_or_default();
        let outputs = match outputs {
            Some(outputs) => outputs,
            None => first_dim(self.weights, name, CHANNELS_MAX)?,
        };
        let sizes = [outputs, inputs, kernel, kernel];
        let how = Conv { dimensions: 2, stride, padding: kernel / 2, dilation: 1, groups: 1 };
        let weight = self.weights.take_values(&format!("{name}.weight"), &sizes)?;
        let to = self.moved(outputs, |side| how.slide(side, kernel), name)?;
        self.push(to, Work::Convolve(Convolve { how, sizes, weight, bias: None }));
        let affine = affine(self.weights, norm, outputs)?;
        self.push(self.row.clone(), Work::Affine(affine));
        Ok(())
    }

    fn pool(&mut self) -> Result<(), LoadError> {
        let window = Window { kernel: 3, stride: 2, padding: 1 };
        let channels = self.row.first().copied().unwrap_or_default();
        let to = self.moved(channels, |side| window.slide(side), "pool")?;
        self.push(to, Work::Pool { of: Pooling::Max, window });
        Ok(())
    }

    fn block(&mut self, plan: &Plan, name: &str, channels: usize, stride: usize) -> Result<(), LoadError> {
        let branch = || Chain { weights: self.weights, steps: Vec::new(), row: self.row.clone() };
        let (mut main, mut shortcut) = (branch(), branch());
        let convolutions = plan.block.convolutions(stride);
        for (number, sizes) in convolutions.iter().enumerate() {
            let is_last = number + 1 == convolutions.len();
            let [convolution, norm] = (plan.names.convolution)(number).map(|part| format!("{name}.{part}"));
            main.convolve([&convolution, &norm], is_last.then_some(channels), *sizes)?;
            if !is_last {
                main.activate();
            }
        }
        if stride != 1 || self.row.first() != Some(&channels) {
            let [convolution, norm] = plan.names.shortcut.map(|part| format!("{name}.{part}"));
            shortcut.convolve([&convolution, &norm], Some(channels), (1, stride))?;
        }
        self.push(main.row, Work::Residual(Residual { main: main.steps, shortcut: shortcut.steps }));
        self.activate();
        Ok(())
    }

    /// The mean over all places, and the product to the classes, whose number it returns.
    fn classify(&mut self, name: &str) -> Result<usize, LoadError> {
        let inputs = self.row.first().copied().unwrap_or_default();
        self.push(vec![inputs], Work::GlobalPool(Pooling::Average));
        let outputs = first_dim(self.weights, name, LABELS_MAX)?;
        let stored = self.weights.take(&format!("{name}.weight"), &[outputs, inputs])?;
        let turned = || stored.t()?.flatten_all()?.to_vec1::<f32>();
        let weight =
            turned().map_err(|error| LoadError::new(HUB_WEIGHTS, format!("cannot turn \"{name}\": {error}")))?;
        let bias = Some(self.weights.take_values(&format!("{name}.bias"), &[outputs])?);
        self.push(vec![outputs], Work::Linear(Linear { inputs, outputs, weight, bias }));
        Ok(outputs)
    }

    /// Dimensions after a window has moved over both sides.
    fn moved(
        &self,
        channels: usize,
        slide: impl Fn(usize) -> Option<usize>,
        name: &str,
    ) -> Result<Vec<usize>, LoadError> {
        let sides: Option<Vec<usize>> = self.row.iter().skip(1).map(|side| slide(*side)).collect();
        let row: Option<Vec<usize>> = sides.map(|sides| std::iter::once(channels).chain(sides).collect());
        let fits = |row: &Vec<usize>| {
            let elements = row.iter().try_fold(1_usize, |product, dim| product.checked_mul(*dim));
            elements.is_some_and(|elements| (1..=ELEMENTS_MAX).contains(&elements))
        };
        row.filter(fits).ok_or_else(|| {
            let row = &self.row;
            LoadError::new(
                HUB_WEIGHTS,
                format!("\"{name}\" makes nothing of {row:?}, or more than {ELEMENTS_MAX} numbers"),
            )
        })
    }
}

/// The first dimension of a weight, from 1 to `most`.
pub(super) fn first_dim(weights: &Weights, name: &str, most: usize) -> Result<usize, LoadError> {
    let name = format!("{name}.weight");
    let dims = weights.dims(&name).ok_or_else(|| weights.missing(&name))?;
    let first = dims.first().copied().filter(|first| (1..=most).contains(first));
    let wrong = || format!("tensor \"{name}\": expected a first dimension of 1 to {most}, got shape {dims:?}");
    first.ok_or_else(|| LoadError::new(HUB_WEIGHTS, wrong()))
}

/// A batch norm with what it has learned.
fn affine(weights: &Weights, name: &str, channels: usize) -> Result<Affine, LoadError> {
    let take = |part: &str| weights.take_values(&format!("{name}.{part}"), &[channels]);
    let (center, variance, shift) = (take("running_mean")?, take("running_var")?, take("bias")?);
    let mut scale = take("weight")?;
    for (position, (scale, variance)) in scale.iter_mut().zip(&variance).enumerate() {
        let spread = f64::from(*variance) + EPSILON;
        *scale = narrow(f64::from(*scale) / spread.sqrt());
        if spread <= 0.0 || !scale.is_finite() {
            let reason = format!("\"{name}.running_var\" is {variance} at {position}, expected a positive number");
            return Err(LoadError::new(HUB_WEIGHTS, reason));
        }
    }
    Ok(Affine { axis: Axis::Channel, center, scale, shift })
}
