//! From a batch's outputs to one request's answer: scored, and only what was asked for.

use super::check::Checked;
use crate::batch::PartAnswer;
use crate::model::Scoring;
use crate::monitor::Journey;
use crate::registry::Deployment;
use crate::types::{Error, InferAnswer, NamedTensor, Reason, Rows, Scores, Tensor};

/// Scores the outputs, books the scores if there is a `journey` for them, and keeps the wanted outputs.
pub(super) fn compose(
    deployment: &Deployment,
    answered: PartAnswer,
    checked: &Checked,
    shown: Option<&Rows>,
    journey: Option<&mut Journey>,
) -> Result<InferAnswer, Error> {
    let mut answer = InferAnswer {
        version: deployment.version,
        outputs: Vec::with_capacity(checked.outputs.len()),
        batch: answered.report,
        confidence: Vec::new(),
        labels: Vec::new(),
        non_finite: false,
        truncated: Vec::new(),
        rung: None,
    };
    if let Some(scoring) = &deployment.about.scoring
        && let Some(scores) = scoring.of_outputs(&answered.outputs, deployment.about.signature.outputs.len())
    {
        if let Some(journey) = journey {
            journey.scored(&scores);
        }
        answer.non_finite = holds_non_finite(&scores);
        if checked.wishes.confidence {
            tell_confidence(scoring, &scores, &mut answer);
        }
    }
    let mut outputs: Vec<Option<Tensor>> = answered.outputs.into_iter().map(Some).collect();
    let own = &deployment.about.signature.outputs;
    for at in &checked.outputs {
        let output = match own.get(*at) {
            Some(spec) => {
                let few = || Error::new(Reason::Model, "the model gave fewer outputs than its signature says");
                let tensor = outputs.get_mut(*at).and_then(Option::take).ok_or_else(few)?;
                NamedTensor { name: spec.name.clone(), tensor }
            }
            None => show(deployment, at - own.len(), shown)?,
        };
        answer.outputs.push(output);
    }
    Ok(answer)
}

/// What the model was computed on, for those who ask for it by name.
fn show(deployment: &Deployment, at: usize, rows: Option<&Rows>) -> Result<NamedTensor, Error> {
    let prepare = deployment.about.prepare.as_ref();
    let (Some(prepare), Some(rows)) = (prepare, rows) else {
        return Err(Error::new(Reason::Model, "the request's rows were not kept"));
    };
    let name = prepare.shows().get(at).map(|spec| spec.name.clone()).unwrap_or_default();
    Ok(NamedTensor { name, tensor: prepare.show(at, rows)? })
}

fn holds_non_finite(scores: &Scores) -> bool {
    match scores {
        Scores::Classes(rows) | Scores::Labels { top: rows, .. } => rows.iter().any(Option::is_none),
        Scores::Values(values) => values.iter().any(Option::is_none),
        Scores::Embeddings(rows) => rows.to_f32().is_some_and(|values| !values.iter().all(|value| value.is_finite())),
    }
}

/// Confidence and label of each row; NaN and an empty label where there is none, an empty label on abstention.
fn tell_confidence(scoring: &Scoring, scores: &Scores, answer: &mut InferAnswer) {
    let Some(rows) = scores.classes() else { return };
    for row in rows {
        answer.confidence.push(row.map_or(f64::NAN, |score| score.confidence));
        answer.labels.push(scoring.answer_label(row.as_ref()).to_owned());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use tokio::time::{Duration, Instant};

    use super::{Checked, compose};
    use crate::batch::PartAnswer;
    use crate::config::ModelConfig;
    use crate::device::{Cores, Device, LocalExecutor};
    use crate::model::Files;
    use crate::monitor::{Monitor, Settings};
    use crate::registry::{Allowance, Deployment, Pools, Registry};
    use crate::types::{BatchReport, Reason, Release, Wishes};

    /// A model of one output, whose batches nobody runs.
    fn deployment(monitor: &Arc<Monitor>) -> Arc<Deployment> {
        let text = "[[tensor]]\ninput = \"x\"\noutput = \"y\"\ndtype = \"FP32\"\ndims = [2]\n";
        let files = Files::Memory(BTreeMap::from([("identity.toml".to_owned(), text.as_bytes().into())]));
        let config = ModelConfig::default();
        let executor = LocalExecutor::load(&files, &config).expect("a model");
        let about = executor.loaded().about.clone();
        let cores = Cores::new("test", 1).expect("a pool");
        let registry =
            Registry::new(Arc::clone(monitor), Pools::alike(cores), Arc::new(|_, _, _| {}), Allowance::default());
        registry.deploy(&"m".parse().expect("a name"), about, &config, Device::Inline(Box::new(executor)));
        registry.table().route("m", "").expect("deployed")
    }

    #[test]
    fn an_output_that_the_model_did_not_give_is_an_error() {
        let monitor = Monitor::new(Settings::default());
        let report =
            BatchReport { rows: 1, size: 1, queue: Duration::ZERO, compute: Duration::ZERO, release: Release::Idle };
        let answered = PartAnswer { outputs: Vec::new(), report };
        let mut journey = monitor.journey(Instant::now(), None);
        let wishes = Wishes::default();
        let checked = Checked { inputs: Vec::new(), rows: 1, level: 0, outputs: vec![0], timeout: None, wishes };
        let error = compose(&deployment(&monitor), answered, &checked, None, Some(&mut journey)).expect_err("none");
        let told = (error.reason(), error.detail());
        assert_eq!(told, (Reason::Model, "the model gave fewer outputs than its signature says"));
    }
}
