//! What a request ends with when it does not end with an answer.

use std::fmt;
use std::fmt::Write as _;
use std::time::Duration;

const DETAIL_CHARS_MAX: usize = 1024;

/// What a client can do about an error. One table in `api/status.rs` turns it into a status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request is wrong; sending it again will not help.
    Invalid,
    /// No such model or version.
    NotFound,
    /// A limit was reached; try again later.
    Overloaded,
    /// The deadline passed.
    Expired,
    /// The client went away.
    Cancelled,
    /// This server cannot serve it now; another might.
    Unavailable,
    /// The server does not do this.
    Unsupported,
    /// The server or the model failed.
    Internal,
}

impl Kind {
    /// Name of the gRPC status code that this kind of error has.
    pub fn code(self) -> &'static str {
        match self {
            Self::Invalid => "INVALID_ARGUMENT",
            Self::NotFound => "NOT_FOUND",
            Self::Overloaded => "RESOURCE_EXHAUSTED",
            Self::Expired => "DEADLINE_EXCEEDED",
            Self::Cancelled => "CANCELLED",
            Self::Unavailable => "UNAVAILABLE",
            Self::Unsupported => "UNIMPLEMENTED",
            Self::Internal => "INTERNAL",
        }
    }
}

/// Why a request ended as it did: a closed set, so that it can be a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Wrong names, types, shapes, values or parameters.
    Invalid,
    /// More rows or bytes than the limits allow in one request.
    TooBig,
    /// No model or version of that name is known.
    NotFound,
    /// The model's queue is full.
    QueueFull,
    /// As many requests as may wait for their texts or images to be read.
    PrepareFull,
    /// The server holds as many bytes or requests as it may.
    InFlight,
    /// The client holds more than its share of a limit.
    ClientShare,
    /// The model's requests hold more than their share of a limit.
    ModelShare,
    /// The model has as many requests in progress as have been seen to end in time.
    Concurrency,
    /// The server's memory is nearly used up.
    Memory,
    /// The predicted wait exceeds the time that is left.
    PredictedWait,
    /// The deadline passed.
    Deadline,
    /// The client went away before the answer.
    Cancelled,
    /// The server is shutting down.
    Draining,
    /// The model is loading, or failed to load.
    NotReady,
    /// The model refused or failed on these rows.
    Model,
    /// Code panicked.
    Panic,
    /// The device or its process was lost while, or before, these rows ran on it.
    DeviceLost,
    /// The device did not answer in time.
    DeviceOverdue,
    /// The device has too little memory for these rows.
    DeviceMemory,
    /// The device failed too often, and is not asked for a while.
    BreakerOpen,
    /// These rows made the device fail twice when they ran alone.
    Quarantined,
    /// The call or an option of it is not implemented.
    Unsupported,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 23] = [
        Self::Invalid,
        Self::TooBig,
        Self::NotFound,
        Self::QueueFull,
        Self::PrepareFull,
        Self::InFlight,
        Self::ClientShare,
        Self::ModelShare,
        Self::Concurrency,
        Self::Memory,
        Self::PredictedWait,
        Self::Deadline,
        Self::Cancelled,
        Self::Draining,
        Self::NotReady,
        Self::Model,
        Self::Panic,
        Self::DeviceLost,
        Self::DeviceOverdue,
        Self::DeviceMemory,
        Self::BreakerOpen,
        Self::Quarantined,
        Self::Unsupported,
    ];

    /// The label under which it is counted.
    pub fn label(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::TooBig => "too_big",
            Self::NotFound => "not_found",
            Self::QueueFull => "queue_full",
            Self::PrepareFull => "prepare_full",
            Self::InFlight => "in_flight",
            Self::ClientShare => "client_share",
            Self::ModelShare => "model_share",
            Self::Concurrency => "concurrency",
            Self::Memory => "memory",
            Self::PredictedWait => "predicted_wait",
            Self::Deadline => "deadline",
            Self::Cancelled => "cancelled",
            Self::Draining => "draining",
            Self::NotReady => "not_ready",
            Self::Model => "model",
            Self::Panic => "panic",
            Self::DeviceLost => "device_lost",
            Self::DeviceOverdue => "device_overdue",
            Self::DeviceMemory => "device_memory",
            Self::BreakerOpen => "breaker_open",
            Self::Quarantined => "quarantined",
            Self::Unsupported => "unsupported",
        }
    }

    /// What a client can do about it.
    pub fn kind(self) -> Kind {
        match self {
            Self::Invalid | Self::Quarantined => Kind::Invalid,
            Self::NotFound => Kind::NotFound,
            Self::TooBig
            | Self::QueueFull
            | Self::PrepareFull
            | Self::InFlight
            | Self::ClientShare
            | Self::ModelShare
            | Self::Concurrency
            | Self::Memory
            | Self::PredictedWait
            | Self::DeviceMemory => Kind::Overloaded,
            Self::Deadline => Kind::Expired,
            Self::Cancelled => Kind::Cancelled,
            Self::Draining | Self::NotReady | Self::DeviceLost | Self::DeviceOverdue | Self::BreakerOpen => {
                Kind::Unavailable
            }
            Self::Model | Self::Panic => Kind::Internal,
            Self::Unsupported => Kind::Unsupported,
        }
    }
}

/// An error that a client will read: one printable line of at most 1024 characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    reason: Reason,
    detail: String,
    retry_after: Option<Duration>,
}

impl Error {
    /// `detail` names the field, what was expected and what came. It is escaped and cut here, so it may quote input.
    pub fn new(reason: Reason, detail: impl AsRef<str>) -> Self {
        Self { reason, detail: printable(detail.as_ref(), DETAIL_CHARS_MAX), retry_after: None }
    }

    /// Wrong input: [`Reason::Invalid`].
    pub fn invalid(detail: impl AsRef<str>) -> Self {
        Self::new(Reason::Invalid, detail)
    }

    /// Asks the client to wait so long before it tries again.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Why.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// What a client can do about it.
    pub fn kind(&self) -> Kind {
        self.reason.kind()
    }

    /// The printable line.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// How long the client should wait before it tries again.
    pub fn pushback(&self) -> Option<Duration> {
        self.retry_after
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.detail)
    }
}

impl std::error::Error for Error {}

/// One line of at most `chars_max` characters: control and bidirectional characters escaped, the rest cut.
pub fn printable(text: &str, chars_max: usize) -> String {
    let mut line = String::with_capacity(text.len().min(chars_max));
    for (count, character) in text.chars().enumerate() {
        if count >= chars_max {
            line.push('…');
            break;
        }
        let bidi = matches!(character, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        let breaks = matches!(character, '\u{2028}' | '\u{2029}' | '\u{feff}');
        if character.is_control() || bidi || breaks {
            // Writing to a String cannot fail.
            let _infallible = write!(line, "{}", character.escape_unicode());
        } else {
            line.push(character);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::{Error, Reason};

    #[test]
    fn details_are_one_printable_line() {
        let error = Error::invalid("x: got \"a\nb\u{202e}c\0\"");
        assert_eq!(error.detail(), "x: got \"a\\u{a}b\\u{202e}c\\u{0}\"");
        let long = Error::new(Reason::Model, "y".repeat(5000));
        assert_eq!(long.detail().chars().count(), 1025);
    }

    #[test]
    fn labels_are_distinct() {
        let labels: std::collections::HashSet<_> = Reason::ALL.iter().map(|reason| reason.label()).collect();
        assert_eq!(labels.len(), Reason::ALL.len());
    }
}
