//! The steps in candle's own operations, for any device that candle knows.

use candle_core::{DType, Device, Result, Tensor, bail};

use super::layer::{Activation, Conv, Pooling, Window};
use super::step::{Affine, Axis, Convolve, Linear, Normalise, Residual, Step, Work};
use crate::model::{CandleModel, Target};

/// A network whose weights are on a device.
pub(super) struct Portable {
    /// What is done first, in `F32`: differences of large numbers would be lost in half precision.
    first: Vec<Op>,
    ops: Vec<Op>,
    dtype: DType,
}

enum Op {
    /// Center, scale and shift, shaped so that they broadcast.
    Affine(Tensor, Tensor, Tensor),
    /// Weight `[in, out]`, bias `[out]`.
    Linear(Tensor, Option<Tensor>),
    /// Weight, and bias shaped so that it broadcasts.
    Convolve(Conv, Tensor, Option<Tensor>),
    /// Weight and bias, flat.
    Normalise(Tensor, Option<Tensor>, f64),
    Pool(Pooling, Window),
    GlobalPool(Pooling),
    Flatten,
    Activate(Activation),
    Softmax,
    Residual(Vec<Op>, Vec<Op>),
}

impl Portable {
    /// Moves the weights to `target`.
    pub(super) fn new(mut steps: Vec<Step>, target: &Target) -> Result<Self> {
        let shifts = steps.iter().take_while(|step| matches!(step.work, Work::Affine(_))).count();
        let rest = steps.split_off(shifts);
        let exact = Target { dtype: DType::F32, ..target.clone() };
        Ok(Self { first: put_all(steps, &exact)?, ops: put_all(rest, target)?, dtype: target.dtype })
    }
}

fn put_all(steps: Vec<Step>, target: &Target) -> Result<Vec<Op>> {
    steps.into_iter().map(|step| Op::new(step, target)).collect()
}

fn run(ops: &[Op], rows: &Tensor) -> Result<Tensor> {
    let mut rows = rows.clone();
    for op in ops {
        rows = op.run(&rows)?;
    }
    Ok(rows)
}

impl CandleModel for Portable {
    fn compute(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let [input] = inputs else { bail!("expected one input, got {}", inputs.len()) };
        let output = run(&self.ops, &run(&self.first, input)?.to_dtype(self.dtype)?)?;
        Ok(vec![output.to_dtype(DType::F32)?.contiguous()?])
    }
}

impl Op {
    fn new(step: Step, target: &Target) -> Result<Self> {
        let put = |values: Vec<f32>, dims: Vec<usize>| target.put(&Tensor::from_vec(values, dims, &Device::Cpu)?);
        let flat = |values: Vec<f32>| {
            let length = values.len();
            put(values, vec![length])
        };
        // One number for each channel, with ones for the dimensions after it.
        let by_channel = |values: Vec<f32>, rank: usize| {
            let mut dims = vec![1; rank];
            if let Some(first) = dims.first_mut() {
                *first = values.len();
            }
            put(values, dims)
        };
        Ok(match step.work {
            Work::Affine(Affine { axis, center, scale, shift }) => {
                let rank = if axis == Axis::Last { 1 } else { step.from.len() };
                Self::Affine(by_channel(center, rank)?, by_channel(scale, rank)?, by_channel(shift, rank)?)
            }
            Work::Linear(Linear { inputs, outputs, weight, bias }) => {
                Self::Linear(put(weight, vec![inputs, outputs])?, bias.map(flat).transpose()?)
            }
            Work::Convolve(Convolve { how, sizes, weight, bias }) => {
                let [outputs, inputs, height, width] = sizes;
                let dims = if how.dimensions == 1 {
                    vec![outputs, inputs, width]
                } else {
                    vec![outputs, inputs, height, width]
                };
                let bias = bias.map(|bias| by_channel(bias, step.to.len())).transpose()?;
                Self::Convolve(how, put(weight, dims)?, bias)
            }
            Work::Normalise(Normalise { weight, bias, epsilon }) => {
                let exact = |values: Vec<f32>| {
                    let length = values.len();
                    Tensor::from_vec(values, length, &target.device)
                };
                Self::Normalise(exact(weight)?, bias.map(exact).transpose()?, epsilon)
            }
            Work::Pool { of, window } => Self::Pool(of, window),
            Work::GlobalPool(of) => Self::GlobalPool(of),
            Work::Flatten => Self::Flatten,
            Work::Activate(function) => Self::Activate(function),
            Work::Softmax => Self::Softmax,
            Work::Residual(Residual { main, shortcut }) => {
                Self::Residual(put_all(main, target)?, put_all(shortcut, target)?)
            }
        })
    }

    fn run(&self, rows: &Tensor) -> Result<Tensor> {
        match self {
            Self::Affine(center, scale, shift) => {
                rows.broadcast_sub(center)?.broadcast_mul(scale)?.broadcast_add(shift)
            }
            Self::Linear(weight, bias) => linear(rows, weight, bias.as_ref()),
            Self::Convolve(how, weight, bias) => convolve(rows, how, weight, bias.as_ref()),
            Self::Normalise(weight, bias, epsilon) => normalise(rows, weight, bias.as_ref(), *epsilon),
            Self::Pool(of, window) => pool(rows, *of, *window),
            Self::GlobalPool(Pooling::Average) => {
                rows.flatten_from(2)?.to_dtype(DType::F32)?.mean(2)?.to_dtype(rows.dtype())
            }
            Self::GlobalPool(Pooling::Max) => largest(rows, |rows| rows.flatten_from(2)?.max(2)),
            Self::Flatten => rows.flatten_from(1),
            Self::Activate(function) => activate(rows, *function),
            Self::Residual(main, shortcut) => run(main, rows)?.add(&run(shortcut, rows)?),
            Self::Softmax => {
                let exact = rows.to_dtype(DType::F32)?.contiguous()?;
                candle_nn::ops::softmax_last_dim(&exact)?.to_dtype(rows.dtype())
            }
        }
    }
}

fn linear(rows: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (inputs, outputs) = weight.dims2()?;
    let mut dims = rows.dims().to_vec();
    if let Some(width) = dims.last_mut() {
        *width = outputs;
    }
    let product = rows.contiguous()?.reshape(((), inputs))?.matmul(weight)?;
    let shifted = match bias {
        Some(bias) => product.broadcast_add(bias)?,
        None => product,
    };
    shifted.reshape(dims)
}

fn convolve(rows: &Tensor, how: &Conv, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let product = match how.dimensions {
        1 => rows.conv1d(weight, how.padding, how.stride, how.dilation, how.groups)?,
        _ => rows.conv2d(weight, how.padding, how.stride, how.dilation, how.groups)?,
    };
    match bias {
        Some(bias) => product.broadcast_add(bias),
        None => Ok(product),
    }
}

fn normalise(rows: &Tensor, weight: &Tensor, bias: Option<&Tensor>, epsilon: f64) -> Result<Tensor> {
    // Sums of squares are beyond half precision.
    let groups = rows.to_dtype(DType::F32)?.contiguous()?.reshape(((), weight.elem_count()))?;
    let centered = groups.broadcast_sub(&groups.mean_keepdim(1)?)?;
    let spread = (centered.sqr()?.mean_keepdim(1)? + epsilon)?.sqrt()?;
    let scaled = centered.broadcast_div(&spread)?.broadcast_mul(weight)?;
    let shifted = match bias {
        Some(bias) => scaled.broadcast_add(bias)?,
        None => scaled,
    };
    shifted.to_dtype(rows.dtype())?.reshape(rows.dims())
}

fn pool(rows: &Tensor, of: Pooling, window: Window) -> Result<Tensor> {
    let Window { kernel, stride, padding } = window;
    let flat = rows.rank() == 3;
    let mut padded = rows.clone();
    for dim in 2..rows.rank() {
        padded = match of {
            Pooling::Average => padded.pad_with_zeros(dim, padding, padding)?,
            Pooling::Max => pad_with_least(&padded, dim, padding)?,
        };
    }
    let (sizes, strides) = if flat { ((1, kernel), (1, stride)) } else { ((kernel, kernel), (stride, stride)) };
    let padded = if flat { padded.unsqueeze(2)? } else { padded };
    let pooled = match of {
        Pooling::Average => padded.avg_pool2d_with_stride(sizes, strides)?,
        Pooling::Max => largest(&padded, |rows| rows.max_pool2d_with_stride(sizes, strides))?,
    };
    if flat { pooled.squeeze(2) } else { Ok(pooled) }
}

/// The largest numbers, as `pool` finds them; NaN where one is, which a GPU's maximum leaves out.
fn largest(rows: &Tensor, pool: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    let found = pool(rows)?;
    let broken = pool(&rows.ne(rows)?.to_dtype(rows.dtype())?)?.gt(0_f32)?;
    let nan = Tensor::full(f32::NAN, found.dims(), found.device())?.to_dtype(found.dtype())?;
    broken.where_cond(&nan, &found)
}

fn pad_with_least(rows: &Tensor, dim: usize, padding: usize) -> Result<Tensor> {
    if padding == 0 {
        return Ok(rows.clone());
    }
    let mut dims = rows.dims().to_vec();
    if let Some(size) = dims.get_mut(dim) {
        *size = padding;
    }
    let least = Tensor::full(f32::NEG_INFINITY, dims, rows.device())?.to_dtype(rows.dtype())?;
    Tensor::cat(&[&least, rows, &least], dim)
}

fn activate(rows: &Tensor, function: Activation) -> Result<Tensor> {
    match function {
        // Candle's relu turns NaN into 0, and so a broken row into a confident answer.
        Activation::Relu => rows.lt(0_f32)?.where_cond(&rows.zeros_like()?, rows),
        Activation::Gelu => rows.gelu_erf(),
        Activation::GeluTanh => rows.gelu(),
        Activation::Silu => rows.silu(),
        Activation::Tanh => rows.tanh(),
        Activation::Sigmoid => candle_nn::ops::sigmoid(&rows.to_dtype(DType::F32)?)?.to_dtype(rows.dtype()),
    }
}
