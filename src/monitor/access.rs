//! The access line: one event for each request, on demand.

use std::time::Duration;

use crate::types::{BatchReport, Reason, printable};

/// Bytes of a request's id that are kept for the line.
const ID_BYTES_MAX: usize = 256;

/// What the line tells of one request.
pub(super) struct Line<'a> {
    pub(super) model: &'a str,
    pub(super) version: &'a str,
    /// `None` if it was answered.
    pub(super) failure: Option<Reason>,
    /// One printable line, where it failed with one.
    pub(super) error: Option<&'a str>,
    pub(super) id: Option<&'a str>,
    pub(super) rows: Option<usize>,
    pub(super) batch: Option<BatchReport>,
    pub(super) total: Duration,
    pub(super) request_bytes: usize,
    pub(super) response_bytes: usize,
}

impl Line<'_> {
    pub(super) fn emit(&self) {
        tracing::info!(
            target: "sconce::access",
            model = self.model,
            version = self.version,
            code = self.failure.map_or("OK", |reason| reason.kind().code()),
            reason = self.failure.map_or("ok", Reason::label),
            rows = self.rows,
            total_us = micros(self.total),
            queue_us = self.batch.map(|batch| micros(batch.queue)),
            compute_us = self.batch.map(|batch| micros(batch.compute)),
            batch_rows = self.batch.map(|batch| batch.rows),
            release = self.batch.map(|batch| batch.release.label()),
            request_bytes = self.request_bytes,
            response_bytes = self.response_bytes,
            id = self.id,
            error = self.error,
            "request"
        );
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A client's id as it may stand in a log: its first 256 bytes, escaped.
pub(super) fn loggable(id: &str) -> Box<str> {
    let mut end = id.len().min(ID_BYTES_MAX);
    while !id.is_char_boundary(end) {
        end -= 1;
    }
    printable(&id[..end], ID_BYTES_MAX).into()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use parking_lot::Mutex;
    use tokio::time::Instant;

    use super::loggable;
    use crate::monitor::{Monitor, ScorePlan, Settings};
    use crate::types::{BatchReport, Error, Reason, Release};

    const MILLI: Duration = Duration::from_millis(1);

    #[test]
    fn ids_are_cut_and_escaped() {
        assert_eq!(&*loggable("a\nb"), "a\\u{a}b");
        assert_eq!(loggable(&"x".repeat(1000)).len(), 256);
        assert_eq!(loggable(&format!("{}é", "x".repeat(255))).len(), 255);
    }

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn some_requests() {
        let monitor = Monitor::new(Settings::default());
        let (model, version) = ("m".parse().expect("a name"), "3".parse().expect("a version"));
        let instruments = monitor.deployment(&model, version, &ScorePlan::None);
        let now = Instant::now();
        monitor.journey(now, None).finish(Ok(1), now);
        monitor.set_access_log(true);
        let mut journey = monitor.journey(now, None);
        journey.describe("id\n\u{202e}", 4);
        journey.routed(instruments);
        let (queue, compute) = (2 * MILLI, 3 * MILLI);
        journey.answered(&BatchReport { rows: 4, size: 4, queue, compute, release: Release::Idle }, now + 6 * MILLI);
        journey.finish(Ok(50), now + 7 * MILLI);
        monitor.journey(now, None).finish(Err(&Error::new(Reason::NotFound, "no model \"x\"")), now);
    }

    #[test]
    fn a_line_is_written_on_demand() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, some_requests);
        let written = String::from_utf8(lines.0.lock().clone()).expect("text");
        let lines: Vec<&str> = written.lines().collect();
        assert_eq!(lines.len(), 2, "{written}");
        let answered = [
            r#""target":"sconce::access""#,
            r#""message":"request","model":"m","version":"3","code":"OK","reason":"ok","rows":4,"total_us":7000"#,
            r#""queue_us":2000,"compute_us":3000,"batch_rows":4,"release":"idle""#,
            r#""id":"id\\u{a}\\u{202e}""#,
        ];
        let failed =
            [r#""model":"unknown","version":"unknown""#, r#""reason":"not_found""#, r#""error":"no model \"x\"""#];
        for (line, parts) in lines.iter().zip([&answered[..], &failed[..]]) {
            for part in parts {
                assert!(line.contains(part), "{part} in {line}");
            }
        }
    }
}
