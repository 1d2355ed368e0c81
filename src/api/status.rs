//! The one table from errors to gRPC statuses.

use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use crate::types::{Error, Kind};

/// How long a client should wait, in milliseconds, as gRPC's retry design (A6) names it.
const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// Why the request failed, under the label by which it is counted; its absence marks the transport's own statuses.
pub(super) const REASON: &str = "sconce-reason";

/// The gRPC code of a kind of error.
pub(super) fn code(kind: Kind) -> Code {
    match kind {
        Kind::Invalid => Code::InvalidArgument,
        Kind::NotFound => Code::NotFound,
        Kind::Overloaded => Code::ResourceExhausted,
        Kind::Expired => Code::DeadlineExceeded,
        Kind::Cancelled => Code::Cancelled,
        Kind::Unavailable => Code::Unavailable,
        Kind::Unsupported => Code::Unimplemented,
        Kind::Internal => Code::Internal,
    }
}

/// An error as a client sees it: code, one printable line, the reason, and how long to wait before another try.
pub(super) fn status(error: &Error) -> Status {
    let mut status = Status::new(code(error.kind()), error.detail());
    status.metadata_mut().insert(REASON, MetadataValue::from_static(error.reason().label()));
    if let Some(wait) = error.pushback() {
        let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        status.metadata_mut().insert(PUSHBACK, MetadataValue::from(millis));
    }
    status
}

#[cfg(test)]
mod tests {
    use super::code;
    use crate::types::Reason;

    #[test]
    fn codes_have_the_names_under_which_they_are_counted() {
        for reason in Reason::ALL {
            let name = format!("{:?}", code(reason.kind())).to_lowercase();
            assert_eq!(name, reason.kind().code().replace('_', "").to_lowercase());
        }
    }
}
