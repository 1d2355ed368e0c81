//! When a model's device is left alone for a while, and how it comes back.

use std::num::NonZeroUsize;
use std::time::Duration;

use crate::config::form::{Number, Positive, Time};
use crate::config::reader::{Reader, positive};

const CALLS_MAX: u32 = 10_000;
const PROBES_MAX: u32 = 100;
const RATE_MIN: f64 = 0.01;
const OPEN_MIN: Duration = Duration::from_millis(10);
const SECOND: Duration = Duration::from_secs(1);

/// When a model's breaker opens and closes. The names are resilience4j's, the meanings too.
#[derive(Clone, Debug, PartialEq)]
pub struct BreakerConfig {
    /// Calls that it judges by: the last so many.
    pub window: NonZeroUsize,
    /// It opens when this part of them failed; above 0, at most 1.
    pub failure_rate: f64,
    /// It opens when this part of them failed or was slow; above 0, at most 1.
    pub slow_rate: f64,
    /// Calls that it must have seen before it judges, at most `window`.
    pub calls_min: NonZeroUsize,
    /// Time for which it stays open at first; doubled each time that the probes fail.
    pub open_for: Duration,
    /// The longest that this time gets, at least `open_for`.
    pub open_for_max: Duration,
    /// Calls that are let through to find out whether the device is well again.
    pub probes: NonZeroUsize,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self::read(&mut Reader::default())
    }
}

impl BreakerConfig {
    pub(super) fn read(settings: &mut Reader<'_>) -> Self {
        let (rate, open) = (Number(RATE_MIN..=1.0), Time(OPEN_MIN..=3600 * SECOND));
        let window = settings
            .what("Calls by which the breaker of a device judges it: the last so many")
            .change("Raise it where single failures are common and harmless")
            .get("breaker.window", &Positive(CALLS_MAX), positive(100));
        let open_for = settings
            .what(
                "Time for which the device is left alone at first; then a few calls probe it. While they fail, the time doubles",
            )
            .change("Raise it for a device that takes longer to recover")
            .get("breaker.open_for", &open, SECOND);
        let open_for_max = settings
            .what("The longest time for which the device is left alone between two probes. At least `breaker.open_for`")
            .change("Lower it to come back sooner after a long outage; raise it where probing does harm")
            .find("breaker.open_for_max", &open, "30s, or `breaker.open_for` if that is more");
        let calls_min = settings
            .what("Calls that the breaker must have seen before it judges. At most `breaker.window`")
            .change("Raise it where a few failures in a row mean nothing")
            .find("breaker.calls_min", &Positive(CALLS_MAX), "5, at most `breaker.window`");
        Self {
            window,
            failure_rate: settings
                .what("Part of these calls that must fail for the device to be left alone for a while")
                .change("Lower it where a good fallback makes it cheap to leave the device early")
                .get("breaker.failure_rate", &rate, 0.5),
            slow_rate: settings
                .what("Part of these calls that must fail or be slow for the device to be left alone for a while")
                .change("Lower it where a slow answer is as bad as none")
                .get("breaker.slow_rate", &rate, 0.8),
            calls_min: calls_min.unwrap_or(positive(5).min(window)),
            open_for,
            open_for_max: open_for_max.unwrap_or(open_for.max(30 * SECOND)),
            probes: settings
                .what("Calls that are let through to find out whether the device is well again; it is if none of them fails")
                .change("Raise it for a device that fails only now and then")
                .get("breaker.probes", &Positive(PROBES_MAX), positive(3)),
        }
    }

    pub(super) fn check(&self, settings: &mut Reader<'_>) {
        let (window, calls) = (self.window, self.calls_min);
        if calls > window {
            let text = format!("expected at most `breaker.window`, which is {window}, got {calls}");
            settings.conflict("breaker.calls_min", "breaker.window", &text);
        }
        let (first, last) = (self.open_for, self.open_for_max);
        if last < first {
            let text = format!("expected at least `breaker.open_for`, which is {first:?}, got {last:?}");
            settings.conflict("breaker.open_for_max", "breaker.open_for", &text);
        }
    }
}
