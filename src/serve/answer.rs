//! From a batch's outputs to one request's answer: scored, and only what was asked for.

use crate::batch::PartAnswer;
use crate::model::Scoring;
use crate::monitor::Journey;
use crate::registry::Deployment;
use crate::types::{Error, InferAnswer, NamedTensor, Reason, Scores, Tensor, Wishes};

/// Scores the outputs, books the scores, and keeps the wanted outputs.
pub(super) fn compose(
    deployment: &Deployment,
    answered: PartAnswer,
    wanted: &[usize],
    wishes: Wishes,
    journey: &mut Journey,
) -> Result<InferAnswer, Error> {
    let mut answer = InferAnswer {
        version: deployment.version,
        outputs: Vec::with_capacity(wanted.len()),
        batch: answered.report,
        confidence: Vec::new(),
        labels: Vec::new(),
        non_finite: false,
    };
    if let Some(scoring) = &deployment.about.scoring
        && let Some(output) = answered.outputs.get(scoring.output)
    {
        let scores = scoring.score(output);
        journey.scored(&scores);
        answer.non_finite = holds_non_finite(&scores);
        if wishes.confidence {
            tell_confidence(scoring, &scores, &mut answer);
        }
    }
    let mut outputs: Vec<Option<Tensor>> = answered.outputs.into_iter().map(Some).collect();
    for at in wanted {
        let spec = deployment.about.signature.outputs.get(*at);
        let tensor = outputs.get_mut(*at).and_then(Option::take);
        let (Some(spec), Some(tensor)) = (spec, tensor) else {
            return Err(Error::new(Reason::Model, "the model gave fewer outputs than its signature says"));
        };
        answer.outputs.push(NamedTensor { name: spec.name.clone(), tensor });
    }
    Ok(answer)
}

fn holds_non_finite(scores: &Scores) -> bool {
    match scores {
        Scores::Classes(rows) => rows.iter().any(Option::is_none),
        Scores::Values(values) => values.iter().any(Option::is_none),
    }
}

/// Confidence and label of each row; NaN and an empty label where there is none, an empty label on abstention.
fn tell_confidence(scoring: &Scoring, scores: &Scores, answer: &mut InferAnswer) {
    let Scores::Classes(rows) = scores else { return };
    for row in rows {
        answer.confidence.push(row.map_or(f64::NAN, |score| score.confidence));
        answer.labels.push(scoring.answer_label(row.as_ref()).to_owned());
    }
}
