//! The `grpc-timeout` header: how long the client will wait.

use http::HeaderMap;
use tokio::time::Duration;

use crate::types::Error;

const HEADER: &str = "grpc-timeout";
const DIGITS_MAX: usize = 8;

/// The client's timeout; `None` if it names none.
///
/// Errors: not 1 to 8 digits and one of the units H, M, S, m, u, n.
pub(super) fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Error> {
    let Some(value) = headers.get(HEADER) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    let parsed = parse(text);
    let refuse = || {
        let expected = "expected 1 to 8 digits and a unit of H, M, S, m, u or n";
        Error::invalid(format!("header \"{HEADER}\": {expected}, got \"{text}\""))
    };
    parsed.map(Some).ok_or_else(refuse)
}

fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > DIGITS_MAX || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::parse;
    use tokio::time::Duration;

    #[test]
    fn units_and_digits() {
        assert_eq!(parse("250m"), Some(Duration::from_millis(250)));
        assert_eq!(parse("99999999H"), Some(Duration::from_hours(99_999_999)));
        assert_eq!(parse("1u"), Some(Duration::from_micros(1)));
        for bad in ["", "m", "5", "5s", "-5S", "123456789S", "5 S", "é", "1é"] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }
}
