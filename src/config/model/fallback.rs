//! The ladder as data: what answers where a model's devices cannot.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use serde_json::Value as Json;

use super::forms::{OneRow, OtherModel, OtherVersion};
use crate::config::form::{Choice, List, Number, Positive, Switch, Time};
use crate::config::reader::{Reader, positive};
use crate::types::{ModelName, RungKind, Version};

const RUNGS: &str = "fallback.rung[]";
const USE: &str = "fallback.rung[].use";
const VERSION: &str = "fallback.rung[].version";
const MODEL: &str = "fallback.rung[].model";
const KIND: &str = "fallback.rung[].kind";
const OUTPUTS: &str = "fallback.rung[].outputs";
const PRIOR: &str = "fallback.rung[].prior";
const ENTRIES: &str = "fallback.rung[].entries_max";

const RUNGS_MAX: usize = 16;
const ENTRIES_MAX: u32 = 1 << 20;
const SECOND: Duration = Duration::from_secs(1);

/// What answers where a model's devices cannot, and how that is kept honest.
#[derive(Clone, Debug, PartialEq)]
pub struct FallbackConfig {
    /// Time between two checks of each rung against the first; zero for none.
    pub check_interval: Duration,
    /// Largest relative difference between their answers that is no deviation.
    pub check_tolerance: f64,
    /// What becomes of outputs that are no numbers.
    pub non_finite: NonFinite,
    /// The declared rungs, in order; they come after the devices.
    pub rungs: Vec<RungConfig>,
}

/// What becomes of outputs with NaN or an infinity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NonFinite {
    /// The device has failed on them: the next rung answers.
    #[default]
    NextRung,
    /// They are the answer.
    Answer,
}

/// A declared rung.
#[derive(Clone, Debug, PartialEq)]
pub struct RungConfig {
    /// What answers.
    pub uses: RungUse,
    /// Does it?
    pub enabled: bool,
}

/// What answers on a declared rung.
#[derive(Clone, Debug, PartialEq)]
pub enum RungUse {
    /// Another version of the model.
    Version(VersionChoice),
    /// Another model, of the same inputs and outputs.
    Model(ModelName),
    /// A prediction that needs no model.
    Prediction(PredictionConfig),
}

impl RungUse {
    /// Its kind, by which it is labelled and can be forbidden.
    pub fn kind(&self) -> RungKind {
        match self {
            Self::Version(_) => RungKind::Version,
            Self::Model(_) => RungKind::Model,
            Self::Prediction(_) => RungKind::Prediction,
        }
    }
}

/// Which other version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VersionChoice {
    /// The newest that is older.
    #[default]
    Previous,
    /// This one.
    Number(Version),
}

/// A prediction that needs no model.
#[derive(Clone, Debug, PartialEq)]
pub enum PredictionConfig {
    /// The same row for every row: the values of each output, by its name.
    Constant(BTreeMap<String, Json>),
    /// How frequent each class is.
    Prior(Vec<f64>),
    /// The last good answer for the same input.
    LastAnswer {
        /// Answers that are kept.
        entries_max: NonZeroUsize,
    },
}

impl FallbackConfig {
    pub(super) fn read(settings: &mut Reader<'_>) -> Self {
        let choices = [("next-rung", NonFinite::NextRung), ("answer", NonFinite::Answer)];
        Self {
            check_interval: settings
                .what(
                    "Time between two checks of each rung, so that none is untested when it is needed: a row goes through it, \
                     and its answer is compared with the first rung's. 0s checks none",
                )
                .change("Raise it where a rung is dear")
                .get("fallback.check_interval", &Time(Duration::ZERO..=3600 * SECOND), 5 * SECOND),
            check_tolerance: settings
                .what(
                    "How far the answers of two devices may lie apart in such a check, as a part of their size; more is \
                     counted and shown as a deviation",
                )
                .change("Raise it for a model in half precision; lower it where the last digits count")
                .get("fallback.check_tolerance", &Number(0.0..=1.0), 0.01),
            non_finite: settings
                .what(
                    "What becomes of outputs with NaN or an infinity: `\"next-rung\"` counts them as a failure of the device \
                     and has the next rung answer, `\"answer\"` sends them",
                )
                .change("`\"answer\"` for a model that means something by them")
                .get("fallback.non_finite", &Choice(&choices), NonFinite::NextRung),
            rungs: settings.tables(RUNGS, |settings| RawRung::read(settings).checked(settings)).into_iter().flatten().collect(),
        }
    }

    pub(super) fn check(&self, settings: &mut Reader<'_>) {
        let rungs = self.rungs.len();
        if rungs > RUNGS_MAX {
            settings.conflict(
                "fallback.rung",
                "fallback.rung",
                &format!("expected at most {RUNGS_MAX} rungs, got {rungs}"),
            );
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Use {
    Version,
    Model,
    Prediction,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Constant,
    Prior,
    LastAnswer,
}

/// A rung as its table has it.
struct RawRung {
    uses: Option<Use>,
    version: Option<VersionChoice>,
    model: Option<ModelName>,
    kind: Option<Kind>,
    outputs: Option<BTreeMap<String, Json>>,
    prior: Option<Vec<f64>>,
    entries_max: Option<NonZeroUsize>,
    enabled: bool,
}

impl RawRung {
    fn read(settings: &mut Reader<'_>) -> Self {
        let uses = [("version", Use::Version), ("model", Use::Model), ("prediction", Use::Prediction)];
        Self {
            uses: settings
                .what(
                    "What answers on this rung, where those before it cannot: another version of the model, another model of \
                     the same inputs and outputs, or a prediction that needs no model",
                )
                .change("Always, in each rung")
                .find(USE, &Choice(&uses), "none: each rung has one"),
            version: settings
                .what("With `use = \"version\"`: which one; `\"previous\"` is the newest that is older than the one asked for")
                .change("Set it to the number of a version that is known to be good")
                .find(VERSION, &OtherVersion, "`\"previous\"`"),
            model: settings
                .what("With `use = \"model\"`: the other model's name")
                .change("Always, with `use = \"model\"`")
                .find(MODEL, &OtherModel, "none: such a rung has one"),
            kind: Self::read_kind(settings),
            outputs: settings
                .what("With `kind = \"constant\"`: the values of one row of each output, by the output's name")
                .change("Always, with `kind = \"constant\"`")
                .find(OUTPUTS, &OneRow, "none: such a rung has them"),
            prior: settings
                .what(
                    "With `kind = \"prior\"`: the probability of each class where nothing is known of the row, in the order of \
                     the classes",
                )
                .change("Set it to how frequent the classes were in training")
                .find(PRIOR, &List(Number(0.0..=1.0)), "none: such a rung has one"),
            entries_max: settings
                .what("With `kind = \"last-answer\"`: answers that are kept; those not asked for longest go first")
                .change("Raise it where more inputs than that come again and again")
                .find(ENTRIES, &Positive(ENTRIES_MAX), "1024"),
            enabled: settings
                .what("Whether this rung answers")
                .change("Set it to false to keep a rung in the file but out of the ladder")
                .get("fallback.rung[].enabled", &Switch, true),
        }
    }

    fn read_kind(settings: &mut Reader<'_>) -> Option<Kind> {
        let kinds = [("constant", Kind::Constant), ("prior", Kind::Prior), ("last-answer", Kind::LastAnswer)];
        settings
            .what(
                "With `use = \"prediction\"`: the same `\"constant\"` row for every row, the `\"prior\"` probability of each \
                 class, or the `\"last-answer\"` that the model gave for exactly the same input",
            )
            .change("Always, with `use = \"prediction\"`")
            .find(KIND, &Choice(&kinds), "none: such a rung has one")
    }

    /// The rung, if it is whole. What it lacks and what does not belong to it is noted.
    fn checked(self, settings: &mut Reader<'_>) -> Option<RungConfig> {
        self.refuse_foreign(settings);
        let enabled = self.enabled;
        let uses = match self.uses.or_else(|| missing(settings, USE, "what the rung uses"))? {
            Use::Version => RungUse::Version(self.version.unwrap_or_default()),
            Use::Model => RungUse::Model(self.model.or_else(|| missing(settings, MODEL, "the name of a model"))?),
            Use::Prediction => RungUse::Prediction(self.prediction(settings)?),
        };
        Some(RungConfig { uses, enabled })
    }

    fn prediction(self, settings: &mut Reader<'_>) -> Option<PredictionConfig> {
        Some(match self.kind.or_else(|| missing(settings, KIND, "the kind of prediction"))? {
            Kind::Constant => {
                PredictionConfig::Constant(self.outputs.or_else(|| missing(settings, OUTPUTS, "a row of each output"))?)
            }
            Kind::Prior => PredictionConfig::Prior(
                self.prior.or_else(|| missing(settings, PRIOR, "a probability for each class"))?,
            ),
            Kind::LastAnswer => {
                PredictionConfig::LastAnswer { entries_max: self.entries_max.unwrap_or(positive(1024)) }
            }
        })
    }

    /// A key that belongs to another kind of rung would be passed over, though somebody means something by it.
    fn refuse_foreign(&self, settings: &mut Reader<'_>) {
        let (uses, kind) = (self.uses, self.kind);
        let parts = [
            (VERSION, USE, self.version.is_some(), uses == Some(Use::Version), "use = \"version\""),
            (MODEL, USE, self.model.is_some(), uses == Some(Use::Model), "use = \"model\""),
            (KIND, USE, kind.is_some(), uses == Some(Use::Prediction), "use = \"prediction\""),
            (OUTPUTS, KIND, self.outputs.is_some(), kind == Some(Kind::Constant), "kind = \"constant\""),
            (PRIOR, KIND, self.prior.is_some(), kind == Some(Kind::Prior), "kind = \"prior\""),
            (ENTRIES, KIND, self.entries_max.is_some(), kind == Some(Kind::LastAnswer), "kind = \"last-answer\""),
        ];
        for (key, other, given, fits, home) in parts {
            if given && !fits {
                settings.conflict(key, other, &format!("expected only in a rung of `{home}`"));
            }
        }
    }
}

/// Notes that a rung lacks a key, unless what stands there was refused already.
fn missing<T>(settings: &mut Reader<'_>, key: &'static str, what: &str) -> Option<T> {
    settings.conflict(key, key, &format!("expected {what}, got nothing"));
    None
}
