//! What clients saw, and the figures of it.

use std::collections::BTreeMap;

use tokio::time::{Duration, Instant};

use crate::types::RungKind;

/// One request, as its client saw it.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// When it was to be sent. What it takes is counted from here, so that a server that stands still is not spared.
    pub(super) due: Instant,
    /// Until it was answered.
    pub(super) took: Duration,
    /// The rung that gave the right answer, or what was wrong.
    pub(super) answer: Result<RungKind, String>,
}

/// How many requests each rung answered.
pub(super) fn by_rung(calls: &[Call]) -> BTreeMap<RungKind, usize> {
    let mut counts = BTreeMap::new();
    for rung in calls.iter().filter_map(|call| call.answer.as_ref().ok()) {
        *counts.entry(*rung).or_default() += 1;
    }
    counts
}

/// What was wrong with those that were not answered as they should have been.
pub(super) fn errors(calls: &[Call]) -> impl Iterator<Item = &str> {
    calls.iter().filter_map(|call| call.answer.as_ref().err()).map(String::as_str)
}

/// The time within which 99 of 100 were answered; zero of none.
pub(super) fn p99(calls: &[Call]) -> Duration {
    let mut times: Vec<Duration> = calls.iter().map(|call| call.took).collect();
    times.sort_unstable();
    let rank = (times.len() * 99).div_ceil(100).max(1);
    times.get(rank - 1).copied().unwrap_or_default()
}

/// How long after a fault the first `window` of time began in which p99 was within `limit`.
///
/// `calls`: those after the fault, by when they were due. `None`: there is no such window.
pub(super) fn back_after(calls: &[Call], fault: Instant, limit: Duration, window: Duration) -> Option<Duration> {
    let last = calls.last()?.due;
    let (mut end, mut late) = (0, 0);
    for (at, first) in calls.iter().enumerate() {
        let until = first.due + window;
        if until > last {
            return None;
        }
        while let Some(call) = calls.get(end).filter(|call| call.due < until) {
            late += usize::from(call.took > limit);
            end += 1;
        }
        if late * 100 <= end - at {
            return Some(first.due.saturating_duration_since(fault));
        }
        late -= usize::from(first.took > limit);
    }
    None
}

/// How long after a fault the worker gave its first answer after another rung's.
///
/// `calls`: as above. `None`: no other rung was asked, or the worker did not return.
pub(super) fn returned_after(calls: &[Call], fault: Instant) -> Option<Duration> {
    let by_worker = |call: &&Call| matches!(call.answer, Ok(RungKind::Worker));
    let returned = calls.iter().skip_while(by_worker).find(by_worker)?;
    Some(returned.due.saturating_duration_since(fault))
}

#[cfg(test)]
mod tests {
    use tokio::time::{Duration, Instant};

    use super::{Call, back_after, by_rung, errors, p99, returned_after};
    use crate::types::RungKind;

    const LIMIT: Duration = Duration::from_millis(5);
    const WINDOW: Duration = Duration::from_secs(1);

    /// A call every 10 ms; `took` says how long each takes.
    fn calls(fault: Instant, count: u32, took: impl Fn(u32) -> u64) -> Vec<Call> {
        let call = |at: u32| Call {
            due: fault + Duration::from_millis(10) * at,
            took: Duration::from_millis(took(at)),
            answer: Ok(RungKind::Worker),
        };
        (0..count).map(call).collect()
    }

    #[test]
    fn p99_leaves_one_in_a_hundred_out() {
        let now = Instant::now();
        assert_eq!(p99(&[]), Duration::ZERO);
        assert_eq!(p99(&calls(now, 1, |_| 7)), Duration::from_millis(7));
        assert_eq!(p99(&calls(now, 100, |at| if at < 1 { 90 } else { 2 })), Duration::from_millis(2));
        assert_eq!(p99(&calls(now, 100, |at| if at < 2 { 90 } else { 2 })), Duration::from_millis(90));
    }

    #[test]
    fn p99_is_back_where_a_whole_window_is_quick() {
        let fault = Instant::now();
        let back = |calls: &[Call]| back_after(calls, fault, LIMIT, WINDOW).map(|time| time.as_millis());
        assert_eq!(back(&calls(fault, 300, |_| 2)), Some(0));
        // 40 are late: the window of a hundred that begins with the last of them has only that one.
        assert_eq!(back(&calls(fault, 300, |at| if at < 40 { 80 } else { 2 })), Some(390));
        // Late again: from the last of the first ones to there is less than a window.
        assert_eq!(back(&calls(fault, 300, |at| if at < 40 || (100..110).contains(&at) { 80 } else { 2 })), Some(1090));
        // Too little is left to say so.
        assert_eq!(back(&calls(fault, 300, |at| if at < 250 { 80 } else { 2 })), None);
        assert_eq!(back(&calls(fault, 300, |_| 80)), None);
        assert_eq!(back(&calls(fault, 50, |_| 2)), None);
        assert_eq!(back(&[]), None);
    }

    #[test]
    fn the_worker_has_returned_when_it_answers_after_another() {
        let fault = Instant::now();
        let mut some = calls(fault, 6, |_| 2);
        assert_eq!(returned_after(&some, fault), None);
        some[1].answer = Ok(RungKind::Cpu);
        some[2].answer = Err("lost".to_owned());
        assert_eq!(returned_after(&some, fault), Some(Duration::from_millis(30)));
        assert_eq!(by_rung(&some).into_iter().collect::<Vec<_>>(), [(RungKind::Worker, 4), (RungKind::Cpu, 1)]);
        assert_eq!(errors(&some).collect::<Vec<_>>(), ["lost"]);
    }
}
