//! A batch that is not full waits for company only when that pays. With the learned cost `a + b·size`, holding `k`
//! requests for a time `d` in which `m` more are expected serves `k + m` in `d + a + b·(k + m)` instead of `k` in
//! `a + b·k`: it pays if `a·m > k·d`, for the mean wait as for the rate. The best `d` is looked for among the bins of
//! the forecast, up to the bound, and only while no deadline is at risk.

use tokio::time::{Duration, Instant};

use super::{Head, Policy, earliest};

/// Below this fixed cost a hold cannot gain what waking up costs.
const FIXED_MIN: Duration = Duration::from_micros(100);

impl<T> Policy<T> {
    /// Until when it pays to wait for company; `None` if it does not.
    pub(super) fn hold(&self, head: &Head, now: Instant) -> Option<Instant> {
        let fixed = self.cost.fixed();
        let cost = self.predict(head.waiting + 1)?;
        if fixed < FIXED_MIN || self.limits.hold_max.is_zero() {
            return None;
        }
        let (mut count, mut oldest, mut deadline) = (0.0, now, None);
        for item in self.company(head) {
            count += 1.0;
            oldest = oldest.min(item.arrived);
            deadline = earliest(deadline, item.deadline);
        }
        // The bound is on what the hold adds, not on what was waited for the device.
        let free_since = self.ended.map_or(oldest, |ended| ended.max(oldest));
        let latest = earliest(Some(free_since + self.limits.hold_max), latest_start(deadline, cost, now))?;
        let gain = |until: Instant, expected: f64| {
            fixed.as_secs_f64() * expected - count * until.saturating_duration_since(now).as_secs_f64()
        };
        let gains = self.forecast.until(now, latest).map(|(until, expected)| (until, gain(until, expected)));
        let (until, gain) = gains.max_by(|one, other| one.1.total_cmp(&other.1))?;
        (gain > 0.0).then_some(until)
    }

    /// Must the head's company start now, lest a deadline be missed?
    pub(super) fn is_at_risk(&self, head: &Head, now: Instant) -> bool {
        let cost = self.predict(head.waiting + 1).unwrap_or(Duration::ZERO);
        self.company(head).any(|item| latest_start(item.deadline, cost, now).is_some_and(|start| start <= now))
    }
}

/// When work of this cost must begin to be done by its deadline.
fn latest_start(deadline: Option<Instant>, cost: Duration, now: Instant) -> Option<Instant> {
    deadline.map(|deadline| deadline.checked_sub(cost).unwrap_or(now))
}
