//! The log: pretty or JSON lines on standard error, at a level that can change while the server runs.
//!
//! Lines go through a bounded buffer to a thread that writes them. A reader that is slow or gone, or a full disk, costs
//! lines, which are counted, and never holds the server up.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tracing::error;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt, reload};

use crate::config::LogFormat;

/// Lines that may wait to be written: some megabytes.
const LINES_MAX: usize = 16 << 10;

/// A log that was started. What waits is written when it is dropped, within a second.
pub struct Log {
    level: reload::Handle<EnvFilter, Registry>,
    dropped: Dropped,
    _writer: WorkerGuard,
}

/// How many lines were not written.
#[derive(Clone)]
pub struct Dropped {
    buffer: ErrorCounter,
    writer: Arc<AtomicU64>,
}

impl Log {
    /// Sets the level, such as `info` or `info,sconce::batch=debug`. Errors: it is not one.
    pub fn set_level(&self, level: &str) -> Result<(), String> {
        let filter = EnvFilter::try_new(level).map_err(|error| error.to_string())?;
        self.level.reload(filter).map_err(|error| error.to_string())
    }

    /// Counts the lines that were not written.
    pub fn dropped(&self) -> Dropped {
        self.dropped.clone()
    }
}

impl Dropped {
    /// Lines for which there was no room, and lines whose writing failed.
    pub fn count(&self) -> u64 {
        self.buffer.dropped_lines() as u64 + self.writer.load(Relaxed)
    }
}

/// Starts the process's log. Errors: the level is not one, or a log was started before.
pub fn start_log(format: LogFormat, level: &str) -> Result<Log, String> {
    let filter = EnvFilter::try_new(level).map_err(|error| error.to_string())?;
    let (filter, level) = reload::Layer::new(filter);
    let failed = Arc::new(AtomicU64::new(0));
    let output = Lossy { inner: io::stderr(), failed: Arc::clone(&failed) };
    let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(LINES_MAX).thread_name("log");
    let (writer, guard) = builder.finish(output);
    let dropped = Dropped { buffer: writer.error_counter(), writer: failed };
    // A log that cannot be written must never stop the server.
    let lines = fmt::layer().with_writer(writer).log_internal_errors(false);
    let lines = match format {
        LogFormat::Pretty => lines.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_ansi(false).boxed(),
    };
    let started = tracing_subscriber::registry().with(filter).with(lines).try_init();
    started.map_err(|error| error.to_string())?;
    log_panics();
    Ok(Log { level, dropped, _writer: guard })
}

/// The default hook writes to standard error itself, and would wait for its reader.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload_as_str().unwrap_or("no message");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        error!(place, "panic: {payload}");
    }));
}

/// Writes what can be written, and counts the rest.
struct Lossy<W> {
    inner: W,
    failed: Arc<AtomicU64>,
}

impl<W: Write> Write for Lossy<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // One call for each line; a part of one is no use to anybody.
        if self.inner.write_all(line).is_err() {
            self.failed.fetch_add(1, Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        // Every line was written already, or counted.
        let _counted = self.inner.flush();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write as _};
    use std::sync::Arc;
    use std::sync::atomic::Ordering::Relaxed;

    use super::Lossy;

    /// A disk that is full.
    struct Full;

    impl io::Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::from(io::ErrorKind::StorageFull))
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        let mut output = Lossy { inner: Full, failed: Arc::default() };
        (0..3).for_each(|_| output.write_all(b"a line\n").expect("never fails"));
        assert_eq!(output.failed.load(Relaxed), 3);
    }
}
