//! The rungs that a model declares after its devices.

use std::sync::Arc;

use crate::config::{ModelConfig, RungConfig, RungUse, VersionChoice};
use crate::model::{About, Prediction};
use crate::monitor::{Instruments, RungCounts};
use crate::types::{Error, ModelName, Reason, RungKind};

/// A declared rung.
pub struct Declared {
    /// Its kind.
    pub kind: RungKind,
    /// Who answers on it.
    pub stand_in: StandIn,
    /// What is counted of it.
    pub counts: Arc<RungCounts>,
}

/// Who answers where a model's devices cannot.
pub enum StandIn {
    /// Another version of the model.
    Version(VersionChoice),
    /// Another model.
    Model(ModelName),
    /// A prediction that needs no model.
    Prediction(Prediction),
}

/// Would the rungs be taken that a model declares? Errors: as of loading it.
pub fn check_rungs(config: &ModelConfig, about: &About) -> Result<(), Error> {
    config.fallback.rungs.iter().enumerate().try_for_each(|(at, rung)| StandIn::new(rung, at, about).map(drop))
}

impl StandIn {
    /// The rung number `at` of `model.toml`. Errors: a prediction that does not fit the model's outputs, with its key.
    fn new(rung: &RungConfig, at: usize, about: &About) -> Result<Self, Error> {
        Ok(match &rung.uses {
            RungUse::Version(choice) => Self::Version(*choice),
            RungUse::Model(name) => Self::Model(name.clone()),
            RungUse::Prediction(config) => {
                let prediction = Prediction::new(config, at, &about.signature, about.scoring.as_ref());
                Self::Prediction(prediction.map_err(|error| Error::new(Reason::Model, error.to_string()))?)
            }
        })
    }
}

impl Declared {
    /// The rungs that are switched on. Errors: a prediction that does not fit the model's outputs, with its key.
    pub(super) fn all(config: &ModelConfig, about: &About, instruments: &Instruments) -> Result<Vec<Self>, Error> {
        let rungs = config.fallback.rungs.iter().enumerate().filter(|(_, rung)| rung.enabled);
        let declared = |(at, rung): (usize, &RungConfig)| {
            let (kind, stand_in) = (rung.uses.kind(), StandIn::new(rung, at, about)?);
            Ok(Self { kind, stand_in, counts: instruments.rung(kind) })
        };
        rungs.map(declared).collect()
    }
}
