//! Where a model runs, and how exactly.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use crate::config::form::{Choice, Positive, Size, Switch};
use crate::config::reader::{Reader, positive};

const WEIGHT_MAX: u32 = 1000;
const MIB: usize = 1 << 20;
const GIB: usize = 1 << 30;

/// Where a model runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceConfig {
    /// On which thread, where it runs in the server.
    pub placement: Placement,
    /// Its part of the cores under overload, against other models' weights.
    pub weight: NonZeroUsize,
    /// On which devices.
    pub policy: DevicePolicy,
    /// How exactly an accelerator computes it.
    pub precision: Precision,
    /// Memory of an accelerator that it may take, bytes; `None` for what is free.
    pub memory_max: Option<NonZeroUsize>,
    /// May an accelerator record what recurs, and replay it?
    pub graphs: bool,
}

/// On which thread a model runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Placement {
    /// Where its measured cost suits it.
    #[default]
    Auto,
    /// On the thread that serves the network.
    Inline,
    /// On a thread of its own.
    Thread,
}

/// On which devices a model runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DevicePolicy {
    /// In the worker's process alone: without it the model is not ready.
    RequireGpu,
    /// In the worker's process, and on the server's own cores where that cannot answer.
    #[default]
    PreferGpu,
    /// On the server's own cores.
    Cpu,
}

/// How exactly an accelerator computes a model. Processors always compute in single precision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Precision {
    /// Single precision.
    #[default]
    F32,
    /// Single precision whose products are rounded to ten bits of mantissa before they are added.
    Tf32,
    /// Half precision.
    F16,
    /// Half precision with the range of single precision.
    Bf16,
}

impl Precision {
    /// How far an answer may be from one in exact arithmetic, as a part of it.
    pub fn bound(self) -> f64 {
        match self {
            Self::F32 => 1e-4,
            Self::Tf32 => 2e-3,
            Self::F16 => 5e-3,
            Self::Bf16 => 2e-2,
        }
    }
}

impl DeviceConfig {
    pub(super) fn read(settings: &mut Reader<'_>) -> Self {
        Self {
            placement: Self::read_placement(settings),
            weight: settings
                .what(
                    "The model's part of the computing time under overload, against the weights of the other models that run on \
                     threads of their own. While all can be in time, the request of the earliest deadline goes first, whatever \
                     its model's weight",
                )
                .change("Raise it for a model whose answers count more than the others' when not all can be had")
                .get("device.weight", &Positive(WEIGHT_MAX), positive(1)),
            policy: Self::read_policy(settings),
            precision: Self::read_precision(settings),
            memory_max: settings
                .what("Memory of an accelerator that the model may take, weights and batches together")
                .change("Set it where models share an accelerator, so that none takes what another needs")
                .find("device.memory_max", &Size(MIB..=1024 * GIB), "what is free on the accelerator"),
            graphs: settings
                .what(
                    "Whether a GPU records the steps of batch sizes that recur, as CUDA graphs, and replays them in one call. A \
                     recording is used only if it once gave what the steps gave",
                )
                .change("`false` where the log or a driver makes recordings suspect")
                .get("device.graphs", &Switch, true),
        }
    }

    fn read_placement(settings: &mut Reader<'_>) -> Placement {
        let places = [("auto", Placement::Auto), ("inline", Placement::Inline), ("thread", Placement::Thread)];
        settings
            .what(
                "Whether the model runs on the network's threads or one of its own; `\"auto\"` goes by what its batches cost \
                 when it is warmed up",
            )
            .change("`\"thread\"` where some rows cost far more than those of the warm-up; `\"inline\"` for small models")
            .get("device.placement", &Choice(&places), Placement::Auto)
    }

    fn read_policy(settings: &mut Reader<'_>) -> DevicePolicy {
        let policies = [
            ("require-gpu", DevicePolicy::RequireGpu),
            ("prefer-gpu", DevicePolicy::PreferGpu),
            ("cpu", DevicePolicy::Cpu),
        ];
        settings
            .what(
                "On which devices the model runs: `\"prefer-gpu\"` in the worker's process and, where that cannot answer, on \
                 the server's own cores; `\"require-gpu\"` never on the cores; `\"cpu\"` never in the worker. Without a \
                 worker (`device` of the server) the first of these is the cores alone",
            )
            .change(
                "`\"require-gpu\"` for a model that the cores are too slow for; `\"cpu\"` for a small one, which leaves the \
                 accelerator to others",
            )
            .get("device.policy", &Choice(&policies), DevicePolicy::PreferGpu)
    }

    fn read_precision(settings: &mut Reader<'_>) -> Precision {
        let precisions =
            [("f32", Precision::F32), ("tf32", Precision::Tf32), ("f16", Precision::F16), ("bf16", Precision::Bf16)];
        settings
            .what("How exactly an accelerator computes the model; processors always compute in `\"f32\"`")
            .change("Where speed counts more than the last digits; compare its answers with those of `\"f32\"` first")
            .get("device.precision", &Choice(&precisions), Precision::F32)
    }
}
