//! The layers: attention, and two products with an activation between them, each added to what was there.

use candle_core::Tensor;

use super::operators::{Operators, Then};
use super::{LayerNames, Names, Order, Parts, Plan, Qkv};
use crate::model::LoadError;

/// All layers, and the ways in which they attend.
pub(in crate::model) struct Layers<O: Operators> {
    /// The norm before the first layer, where norms come first and it has one.
    start: Option<O::Norm>,
    stack: Vec<Layer<O>>,
    ways: Vec<O::Attention>,
    order: Order,
    then: Then,
}

struct Layer<O: Operators> {
    way: usize,
    qkv: O::Linear,
    attended: O::Linear,
    /// The norm between the layer's halves.
    middle: O::Norm,
    up: O::Linear,
    down: O::Linear,
    /// The norm at its end: its own where norms come after, else that before the next layer, or the last of all.
    end: O::Norm,
}

impl<O: Operators> Layers<O> {
    /// Takes the weights of all layers. Errors: one is missing or of another shape than planned.
    pub(in crate::model) fn new(parts: &Parts<'_, O>, plan: &Plan, names: &Names) -> Result<Self, LoadError> {
        let way = |shape| parts.operators.attention(shape).map_err(|error| parts.failed(names.layers, &error));
        let start = (plan.order == Order::Before && plan.starts_with_norm)
            .then(|| norm(parts, plan, &layer_name(names, 0, names.layer.attention_norm)))
            .transpose()?;
        let stack = plan.layers.iter().enumerate().map(|(number, way)| Layer::new(parts, plan, names, (number, *way)));
        Ok(Self {
            start,
            stack: stack.collect::<Result<_, _>>()?,
            ways: plan.ways.iter().map(way).collect::<Result<_, _>>()?,
            order: plan.order,
            then: if plan.is_gated { Then::Gate(plan.activation) } else { Then::Activate(plan.activation) },
        })
    }

    /// The ways in which layers attend.
    pub(in crate::model) fn ways(&self) -> &[O::Attention] {
        &self.ways
    }

    /// `[tokens, hidden]` after the last layer.
    pub(in crate::model) fn forward(
        &self,
        operators: &O,
        batch: &O::Batch,
        rows: Tensor,
    ) -> candle_core::Result<Tensor> {
        operators.repeat(batch, rows, &|batch, rows| self.compute(operators, batch, rows))
    }

    fn compute(&self, operators: &O, batch: &O::Batch, rows: Tensor) -> candle_core::Result<Tensor> {
        let normed = self.start.as_ref().map(|norm| operators.normalise(norm, &rows)).transpose()?;
        // What the next half takes, and what its result is added to.
        let (mut normed, mut sum) = (normed.unwrap_or_else(|| rows.clone()), rows);
        for layer in &self.stack {
            let qkv = operators.project(&layer.qkv, &normed, Then::Nothing)?;
            let seen = operators.attend(layer.way, batch, &qkv)?;
            let attended = operators.project(&layer.attended, &seen, Then::Nothing)?;
            (sum, normed) = self.add(operators, &layer.middle, &sum, &attended)?;
            let inner = operators.project(&layer.up, &normed, self.then)?;
            let inner = operators.project(&layer.down, &inner, Then::Nothing)?;
            (sum, normed) = self.add(operators, &layer.end, &sum, &inner)?;
        }
        Ok(normed)
    }

    /// What the half after next is added to, and what the next takes.
    fn add(
        &self,
        operators: &O,
        norm: &O::Norm,
        sum: &Tensor,
        update: &Tensor,
    ) -> candle_core::Result<(Tensor, Tensor)> {
        match self.order {
            Order::Before => operators.add_norm_with_sum(norm, sum, update),
            Order::After => {
                let normed = operators.add_norm(norm, sum, update)?;
                Ok((normed.clone(), normed))
            }
        }
    }
}

impl<O: Operators> Layer<O> {
    fn new(parts: &Parts<'_, O>, plan: &Plan, names: &Names, (number, way): (usize, usize)) -> Result<Self, LoadError> {
        let LayerNames { qkv, attended, attention_norm, up, down, inner_norm } = names.layer;
        let name = |part: &str| layer_name(names, number, part);
        let (middle, end) = match plan.order {
            Order::After => (name(attention_norm), name(inner_norm)),
            Order::Before if number + 1 < plan.layers.len() => {
                (name(inner_norm), layer_name(names, number + 1, attention_norm))
            }
            Order::Before => (name(inner_norm), names.last.to_owned()),
        };
        let widened = if plan.is_gated { 2 * plan.inner } else { plan.inner };
        Ok(Self {
            way,
            qkv: join_qkv(parts, plan, qkv, &name)?,
            attended: parts.linear(&name(attended), (plan.hidden, plan.hidden), plan.biases.attention)?,
            middle: norm(parts, plan, &middle)?,
            up: parts.linear(&name(up), (widened, plan.hidden), plan.biases.inner)?,
            down: parts.linear(&name(down), (plan.hidden, plan.inner), plan.biases.inner)?,
            end: norm(parts, plan, &end)?,
        })
    }
}

fn layer_name(names: &Names, number: usize, part: &str) -> String {
    format!("{}.{number}.{part}", names.layers)
}

fn norm<O: Operators>(parts: &Parts<'_, O>, plan: &Plan, name: &str) -> Result<O::Norm, LoadError> {
    parts.norm(name, plan.hidden, plan.biases.norms, plan.eps)
}

/// Queries, keys and values as one product, `[3 · hidden, hidden]`. The queries' part is divided by the square root of a head's
/// width here rather than in each batch.
fn join_qkv<O: Operators>(
    parts: &Parts<'_, O>,
    plan: &Plan,
    qkv: Qkv,
    name: &impl Fn(&str) -> String,
) -> Result<O::Linear, LoadError> {
    let hidden = plan.hidden;
    let with_bias = plan.has_qkv_bias;
    let take = |part: &str, dims: &[usize]| parts.take(&name(part), dims);
    let (weights, biases) = match qkv {
        Qkv::Joined(one) => {
            let weight = take(&format!("{one}.weight"), &[3 * hidden, hidden])?;
            let bias = with_bias.then(|| take(&format!("{one}.bias"), &[3 * hidden])).transpose()?;
            (vec![weight], Vec::from_iter(bias))
        }
        Qkv::Apart(three) => {
            let weights = three.iter().map(|one| take(&format!("{one}.weight"), &[hidden, hidden]));
            let biases = three.iter().filter(|_| with_bias).map(|one| take(&format!("{one}.bias"), &[hidden]));
            (weights.collect::<Result<_, _>>()?, biases.collect::<Result<_, _>>()?)
        }
    };
    let width = plan.ways.first().map_or(1, |way| way.width);
    #[expect(clippy::cast_precision_loss, reason = "a head is narrow")]
    let scale = 1.0 / (width as f64).sqrt();
    let linear = || {
        let bias = if biases.is_empty() { None } else { Some(scale_queries(&biases, hidden, scale)?) };
        parts.operators.linear(scale_queries(&weights, hidden, scale)?, bias)
    };
    linear().map_err(|error| parts.failed(names_of(qkv), &error))
}

fn names_of(qkv: Qkv) -> &'static str {
    match qkv {
        Qkv::Joined(one) | Qkv::Apart([one, ..]) => one,
    }
}

/// Puts `parts` one below the other, the first `hidden` of all times `scale`.
fn scale_queries(parts: &[Tensor], hidden: usize, scale: f64) -> candle_core::Result<Tensor> {
    let all = Tensor::cat(parts, 0)?;
    let queries = all.narrow(0, 0, hidden)?.affine(scale, 0.0)?;
    let rest = all.dim(0)?.saturating_sub(hidden);
    Tensor::cat(&[&queries, &all.narrow(0, hidden, rest)?], 0)
}
