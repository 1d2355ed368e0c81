//! What answers where a model's devices cannot: the rungs that the model declares, in order.

use std::sync::Arc;

use tokio::time::{Duration, Instant};

use super::check::Checked;
use super::entry::Entry;
use super::ladder::{self, Question, Unserved};
use super::pipeline::Pipeline;
use crate::batch::PartAnswer;
use crate::config::VersionChoice;
use crate::model::Prediction;
use crate::monitor::RungFailure;
use crate::registry::{Declared, Deployment, StandIn, State};
use crate::types::{BatchReport, Error, Fallbacks, Reason, Release, Rows, RungKind, Tensor};

/// A request as its own model was asked.
pub(super) struct Ask<'a> {
    pub(super) entry: &'a Arc<Entry>,
    pub(super) checked: &'a Checked,
    /// The inputs as they came, in the signature's order.
    pub(super) inputs: Vec<Option<Tensor>>,
    /// The rows that were made of them.
    pub(super) rows: &'a Rows,
    pub(super) until: Instant,
}

/// An answer by another than the model's devices.
pub(super) struct StoodIn {
    pub(super) answer: PartAnswer,
    /// The deployment whose answer it is; `None` for a prediction that needs none.
    pub(super) by: Option<Arc<Deployment>>,
    /// The rung that it stands on.
    pub(super) rung: RungKind,
}

impl Pipeline {
    /// Has the first declared rung answer that can and may.
    ///
    /// Only second tries are paid for: what no device has run is new to the others, and a prediction costs nobody anything. A
    /// device that is gone for hours would else leave its requests without an answer once the budget is spent.
    ///
    /// Errors: why the devices did not answer, if no rung does.
    pub(super) async fn stand_in(
        &self,
        deployment: &Arc<Deployment>,
        ask: &Ask<'_>,
        permitted: Fallbacks,
        unserved: Unserved,
    ) -> Result<StoodIn, Error> {
        let Unserved { error, mut tried, .. } = unserved;
        for declared in deployment.declared.iter().filter(|declared| permitted.permits(declared.kind)) {
            if Instant::now() >= ask.until {
                break;
            }
            if tried && declared.kind != RungKind::Prediction && !deployment.retries.try_spend() {
                deployment.instruments.retry_denied();
                continue;
            }
            match self.try_out(deployment, declared, ask).await {
                Ok(stood_in) => {
                    declared.counts.answered();
                    return Ok(stood_in);
                }
                Err(why) => {
                    tried = true;
                    declared.counts.failed(RungFailure::Other);
                    tracing::debug!(model = %deployment.name, rung = declared.kind.label(), %why, "a rung did not answer");
                }
            }
        }
        Err(error)
    }

    /// Asks one declared rung: a version or a model through all of its own devices. Errors: it has no answer, or is not there.
    pub(super) async fn try_out(
        &self,
        deployment: &Arc<Deployment>,
        declared: &Declared,
        ask: &Ask<'_>,
    ) -> Result<StoodIn, Error> {
        let other = match &declared.stand_in {
            StandIn::Prediction(prediction) => return predict(prediction, ask.rows),
            StandIn::Version(choice) => self.version(deployment, *choice)?,
            StandIn::Model(name) => self.registry().table().route(name.as_str(), "")?,
        };
        if other.about.signature != deployment.about.signature {
            let detail = format!("model \"{}\" version {} has other inputs or outputs", other.name, other.version);
            return Err(Error::new(Reason::Model, detail));
        }
        let mut checked = Checked { inputs: ask.inputs.clone(), outputs: Vec::new(), ..*ask.checked };
        let prepared = self.preparer().rows(&other, &mut checked, ask.entry, ask.until).await?;
        let (entry, level, until) = (&**ask.entry, ask.checked.level, ask.until);
        let (rows, ready) = (prepared.rows, Instant::now());
        let question = Question { entry, rows, level, ready, until, fallbacks: Fallbacks::ALL };
        let served = ladder::ask(&other, &question).await.map_err(|unserved| unserved.error)?;
        Ok(StoodIn { answer: served.answer, by: Some(other), rung: declared.kind })
    }

    /// Another version of the same model that is ready.
    fn version(&self, deployment: &Deployment, choice: VersionChoice) -> Result<Arc<Deployment>, Error> {
        let models = self.registry().table().models();
        let versions = models.get(&deployment.name).into_iter().flat_map(|model| model.versions.iter().rev());
        let mut ready = versions.filter(|(_, entry)| entry.state == State::Ready);
        let found = ready.find(|(version, _)| match choice {
            VersionChoice::Previous => **version < deployment.version,
            VersionChoice::Number(number) => **version == number && number != deployment.version,
        });
        let none = || Error::new(Reason::NotReady, "no such version is ready; does `versions` keep it?");
        found.and_then(|(_, entry)| entry.deployment.clone()).ok_or_else(none)
    }
}

fn predict(prediction: &Prediction, rows: &Rows) -> Result<StoodIn, Error> {
    let none = || Error::new(Reason::NotReady, "no answer is remembered for these inputs");
    let outputs = prediction.predict(rows).ok_or_else(none)?;
    let (count, size) = (rows.count(), rows.size());
    let report =
        BatchReport { rows: count, size, queue: Duration::ZERO, compute: Duration::ZERO, release: Release::Idle };
    Ok(StoodIn { answer: PartAnswer { outputs, report }, by: None, rung: RungKind::Prediction })
}
