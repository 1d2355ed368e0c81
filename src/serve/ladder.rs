//! Who answers a request: its model's devices, one after the other, as far as they can.
//!
//! A request that a device failed takes the next one, within its deadline and as long as not too many have been asked again. A
//! fallback answers later than the first device would have, and never instead of telling so.

use std::sync::Arc;

use tokio::time::{Duration, Instant};

use super::entry::Entry;
use super::pipeline::expired;
use super::punctual::Punctual;
use crate::batch::{Job, PartAnswer};
use crate::config::NonFinite;
use crate::guard::Verdict;
use crate::registry::{Admitted, Deployment, Rung};
use crate::types::{Error, Fallbacks, Reason, Rows, RungKind, Tensor};

/// For so long a request waits for a device's process that is being started again, where nobody else can answer.
const RESTART_PATIENCE: Duration = Duration::from_secs(2);
/// Between two looks whether it is back.
const RESTART_LOOK: Duration = Duration::from_millis(5);

/// A request's rows, and what they are owed.
pub(super) struct Question<'a> {
    pub(super) entry: &'a Entry,
    pub(super) rows: Rows,
    /// Priority level, 0 the most urgent.
    pub(super) level: usize,
    /// When the rows were ready to be computed.
    pub(super) ready: Instant,
    /// When the answer stops being wanted.
    pub(super) until: Instant,
    /// Who may answer beside the first.
    pub(super) fallbacks: Fallbacks,
}

/// An answer, and who gave it.
pub(super) struct Served {
    pub(super) answer: PartAnswer,
    pub(super) rung: RungKind,
}

/// Why no device answered.
pub(super) struct Unserved {
    pub(super) error: Error,
    /// May somebody else stand in? Not for a request that is to blame itself, nor for a first device that merely is full.
    pub(super) may_stand_in: bool,
}

/// What came of asking one device.
enum Attempt<'a> {
    Answered(PartAnswer, Admitted<'a>),
    /// It was not asked: it is down, or left alone.
    Untried(Error),
    /// It failed.
    Failed(Error),
}

/// Has one of the deployment's devices answer.
///
/// Errors: the last device's; rows that made a device fail when they ran alone are refused.
pub(super) async fn ask(deployment: &Arc<Deployment>, question: &Question<'_>) -> Result<Served, Unserved> {
    let first = deployment.rungs.first();
    if deployment.is_plain() {
        let answered = ask_worker(first, question, false).await;
        let served = answered.map(|answer| Served { answer, rung: first.name() });
        return served.map_err(|error| Unserved { error, may_stand_in: false });
    }
    deployment.retries.earn();
    let outcome = Walk { deployment, question, doubtful: None, tried: false }.devices().await;
    let is_alone = deployment.rungs.is_single() && deployment.declared.is_empty();
    match outcome {
        Err(Unserved { error, .. }) if is_alone && is_gone(&error) => {
            let again = ask_again(first, question, error).await;
            again.map_err(|error| Unserved { error, may_stand_in: false })
        }
        outcome => outcome,
    }
}

/// One request's way down the devices.
struct Walk<'a> {
    deployment: &'a Arc<Deployment>,
    question: &'a Question<'a>,
    /// An answer with NaN or an infinity, which another device may do without.
    doubtful: Option<(PartAnswer, Admitted<'a>, RungKind)>,
    /// Has a device run it?
    tried: bool,
}

impl<'a> Walk<'a> {
    async fn devices(mut self) -> Result<Served, Unserved> {
        let mut last = Error::new(Reason::NotReady, "no device may answer");
        let (first, fallbacks) = (self.deployment.rungs.first().name(), self.question.fallbacks);
        let mut rungs = self.deployment.rungs.iter().peekable();
        while let Some(rung) = rungs.next() {
            if rung.name() != first && !fallbacks.permits(rung.name()) {
                continue;
            }
            if self.tried && !self.may_ask_again() {
                break;
            }
            match attempt(rung, self.question).await {
                Attempt::Answered(answer, admitted) => {
                    if let Some(served) = self.judge(answer, admitted, rung, rungs.peek().is_some()) {
                        return Ok(served);
                    }
                }
                Attempt::Untried(error) => last = error,
                Attempt::Failed(error) if !goes_on(&error, rung.name() == first) => {
                    return self.doubt().ok_or(Unserved { error, may_stand_in: false });
                }
                Attempt::Failed(error) => {
                    self.tried = true;
                    last = error;
                }
            }
        }
        self.doubt().ok_or(Unserved { error: last, may_stand_in: true })
    }

    fn may_ask_again(&self) -> bool {
        let may = Instant::now() < self.question.until && self.deployment.retries.try_spend();
        if !may {
            self.deployment.instruments.retry_denied();
        }
        may
    }

    /// Takes an answer, unless it holds what is no number and another device can be asked.
    fn judge(&mut self, answer: PartAnswer, admitted: Admitted<'a>, rung: &Rung, has_next: bool) -> Option<Served> {
        let now = Instant::now();
        let heeds = self.deployment.config.fallback.non_finite == NonFinite::NextRung;
        let finite = !(heeds && answer.outputs.iter().any(Tensor::has_non_finite));
        if !finite && has_next && self.doubtful.is_none() {
            self.doubtful = Some((answer, admitted, rung.name()));
            self.tried = true;
            return None;
        }
        match self.doubtful.take() {
            // Both say so: it is the model, not a device.
            Some((first, doubted, name)) if !finite => {
                doubted.answered(&first.report, now);
                Some(Served { answer: first, rung: name })
            }
            doubted => {
                if let Some((_, doubted, _)) = doubted {
                    doubted.gave_non_finite(now);
                }
                admitted.answered(&answer.report, now);
                Some(Served { answer, rung: rung.name() })
            }
        }
    }

    /// The answer that was doubted, where there is no better one.
    fn doubt(&mut self) -> Option<Served> {
        let (answer, admitted, rung) = self.doubtful.take()?;
        admitted.answered(&answer.report, Instant::now());
        Some(Served { answer, rung })
    }
}

async fn attempt<'a>(rung: &'a Rung, question: &Question<'_>) -> Attempt<'a> {
    let now = Instant::now();
    let alone = match rung.verdict(&question.rows, now) {
        Verdict::Clean => false,
        Verdict::Alone => true,
        Verdict::Refused { .. } => {
            let detail = "these inputs made a device fail twice, alone; they are refused for a while";
            return Attempt::Failed(Error::new(Reason::Quarantined, detail));
        }
    };
    let admitted = match rung.admit(now) {
        Ok(admitted) => admitted,
        Err(error) => return Attempt::Untried(error),
    };
    match ask_worker(rung, question, alone).await {
        Ok(answer) => {
            if alone {
                admitted.survived(&question.rows);
            }
            Attempt::Answered(answer, admitted)
        }
        // It was refused before it ran.
        Err(error) if error.reason() == Reason::BreakerOpen => Attempt::Untried(error),
        Err(error) => {
            if is_gone(&error) || error.reason() == Reason::DeviceMemory {
                admitted.failed(Instant::now());
            }
            Attempt::Failed(error)
        }
    }
}

/// Has one device answer, in time.
async fn ask_worker(rung: &Rung, question: &Question<'_>, alone: bool) -> Result<PartAnswer, Error> {
    let Question { entry, rows, level, ready, until, .. } = question;
    let (rows, level, until) = (rows.clone(), *level, *until);
    let job = Job { rows, level, client: entry.client(), deadline: Some(until), arrived: *ready, alone };
    let worker = rung.worker();
    let punctual = Punctual::watch(worker.queue(), *ready, until);
    let answer = worker.ask(job);
    let answered = if worker.is_inline() {
        // The queue drops what expires before each batch, and a batch is short: a timer would tell nothing sooner.
        answer.await
    } else {
        tokio::time::timeout_at(until, answer).await.unwrap_or_else(|_| Err(expired(entry)))
    };
    let now = Instant::now();
    punctual.ended(&answered, now);
    if now >= until { answered.and(Err(expired(entry))) } else { answered }
}

/// Waits for the process of the only device, and asks it once more: alone, if it ended on these rows.
async fn ask_again(rung: &Rung, question: &Question<'_>, error: Error) -> Result<Served, Error> {
    let until = question.until.min(Instant::now() + RESTART_PATIENCE);
    while !rung.is_up() {
        if Instant::now() >= until {
            return Err(error);
        }
        tokio::time::sleep(RESTART_LOOK).await;
    }
    match attempt(rung, question).await {
        Attempt::Answered(answer, admitted) => {
            admitted.answered(&answer.report, Instant::now());
            Ok(Served { answer, rung: rung.name() })
        }
        Attempt::Untried(error) | Attempt::Failed(error) => Err(error),
    }
}

fn is_gone(error: &Error) -> bool {
    matches!(error.reason(), Reason::DeviceLost | Reason::DeviceOverdue)
}

/// May the next device be asked after this? A device that is full is no failure: only one that stands in for another passes
/// on what it has no room for.
fn goes_on(error: &Error, is_first: bool) -> bool {
    match error.reason() {
        Reason::DeviceLost | Reason::DeviceOverdue | Reason::DeviceMemory | Reason::Model | Reason::Panic => true,
        Reason::QueueFull | Reason::Concurrency | Reason::PredictedWait | Reason::ClientShare => !is_first,
        _ => false,
    }
}
