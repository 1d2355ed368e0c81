//! How a call ended, in gRPC's words.

use std::error::Error;
use std::time::Duration;

use tonic::{Code, Status};

use crate::types::printable;

/// Trailer in which Sconce says why it refused a request.
const REASON: &str = "sconce-reason";

/// Trailer by which a server asks for a pause, in milliseconds (gRPC's retry design, A6).
const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// Name under which an answer with another request's id is counted; no status of gRPC.
const WRONG_ID: &str = "WRONG_ID";

/// Enough for one line of a terminal or two.
const MESSAGE_CHARS_MAX: usize = 300;

/// How a call ended.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// Answered, as asked.
    Ok {
        /// Rows of the request.
        rows: u64,
    },
    /// Anything else.
    Failed(Failure),
}

/// Why a call has no good answer.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    /// Name of the gRPC status.
    pub(super) code: &'static str,
    /// The server's own reason, where it tells one.
    pub(super) reason: Option<String>,
    pub(super) message: String,
    /// How long the server asks its client to wait before another try.
    pub(super) pushback: Option<Duration>,
}

impl Outcome {
    /// What the server, or the transport, said.
    pub(super) fn of(status: &Status) -> Self {
        let reason = status.metadata().get(REASON).and_then(|reason| reason.to_str().ok());
        let reason = reason.map(|reason| printable(reason, MESSAGE_CHARS_MAX));
        let pushback = status.metadata().get(PUSHBACK).and_then(|wait| wait.to_str().ok()?.parse().ok());
        let (code, pushback) = (code_name(status.code()), pushback.map(Duration::from_millis));
        Self::Failed(Failure { code, reason, message: message(status), pushback })
    }

    /// How long the server asks its client to wait before another try.
    pub(super) fn pushback(&self) -> Option<Duration> {
        if let Self::Failed(failure) = self { failure.pushback } else { None }
    }

    /// The client's own clock ran out.
    pub(super) fn expired() -> Self {
        let message = "the client waited until the deadline".to_owned();
        Self::Failed(Failure { code: code_name(Code::DeadlineExceeded), reason: None, message, pushback: None })
    }

    /// The answer carries another id.
    pub(super) fn wrong_id(sent: &str, got: &str) -> Self {
        let message = printable(&format!("expected an answer with the id {sent}, got {got}"), MESSAGE_CHARS_MAX);
        Self::Failed(Failure { code: WRONG_ID, reason: None, message, pushback: None })
    }
}

/// A status's message and, where the transport made it, the cause that says most; in one printable line.
pub(super) fn message(status: &Status) -> String {
    let text = match innermost(status) {
        Some(cause) if !status.message().contains(&cause) => format!("{}: {cause}", status.message()),
        _ => status.message().to_owned(),
    };
    printable(&text, MESSAGE_CHARS_MAX)
}

/// The last of an error's causes: `Connection refused` rather than `transport error`.
pub(super) fn innermost(error: &dyn Error) -> Option<String> {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    causes.last().map(ToString::to_string)
}

/// The name that gRPC's documents give a code.
pub(super) fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use tonic::{Code, Status};

    use super::{Outcome, code_name, message};

    #[test]
    fn codes_have_the_names_of_the_documents() {
        for code in (0..17).map(Code::from_i32) {
            let name = code_name(code).replace('_', "").to_lowercase();
            assert_eq!(name, format!("{code:?}").to_lowercase());
        }
    }

    #[test]
    fn a_reason_is_read_from_the_trailers() {
        let mut status = Status::resource_exhausted("queue full");
        status.metadata_mut().insert("sconce-reason", "queue_full".parse().expect("text"));
        status.metadata_mut().insert("grpc-retry-pushback-ms", "250".parse().expect("text"));
        assert_eq!(Outcome::of(&status).pushback(), Some(std::time::Duration::from_millis(250)));
        let Outcome::Failed(failure) = Outcome::of(&status) else { panic!("a failure") };
        assert_eq!((failure.code, failure.reason.as_deref()), ("RESOURCE_EXHAUSTED", Some("queue_full")));
        assert_eq!(failure.message, "queue full");
    }

    #[test]
    fn an_answer_to_another_call_tells_both_ids() {
        let Outcome::Failed(failure) = Outcome::wrong_id("7", "a\nb") else { panic!("a failure") };
        assert_eq!(failure.message, "expected an answer with the id 7, got a\\u{a}b");
    }

    #[test]
    fn the_transports_cause_is_told() {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let mut status = Status::unavailable("transport error");
        status.set_source(std::sync::Arc::new(refused));
        assert_eq!(message(&status), "transport error: connection refused");
        assert_eq!(message(&Status::internal("a\nb")), "a\\u{a}b");
    }
}
