//! One connection: its first words, its calls, and how it is told to go.

use std::future::Future;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Duration, sleep, timeout};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::activity::{Activity, Counted};
use super::limits::{Limits, Protocol};
use super::pace::Streams;
use super::tally::Tally;
use super::windows::Window;

/// A silent HTTP/2 peer is asked so often whether it lives, and has so long to say so.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));
/// Bytes of all headers of a call, uncompressed.
const HEADERS_BYTES_MAX: u32 = 16 << 10;
/// Bytes that a client may send on one stream before anyone reads them.
const STREAM_WINDOW_MAX: u32 = 1 << 20;
/// A connection that was told to go because it had no calls has so long to do it.
const IDLE_LINGER: Duration = Duration::from_secs(5);
/// What an HTTP/2 client says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A socket that was accepted, and what holds for it.
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) protocol: Protocol,
    pub(super) window: Window,
    pub(super) limits: Arc<Limits>,
    pub(super) tally: Arc<Tally>,
    pub(super) shed: watch::Receiver<()>,
    pub(super) stop: CancellationToken,
}

/// Serves one connection to its end.
pub(super) async fn serve<S, B>(connection: Connection, service: S)
where
    S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let Connection { stream, protocol, window, limits, tally, mut shed, stop } = connection;
    let _open = Open::begin(&tally);
    // Answers are small: waiting to fill a packet would only delay them.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "set TCP_NODELAY");
    }
    let activity = Activity::new();
    let service = Counted::new(service, Arc::clone(&activity));
    let told = Told { activity, limits: &limits, shed: &mut shed, stop: &stop };
    let ended = match protocol {
        Protocol::Http1 => {
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(limits.handshake);
            let connection = pin!(builder.serve_connection(read_in_time(stream, &limits), service));
            told.run(connection, http1::Connection::graceful_shutdown).await
        }
        Protocol::Http2 => {
            let hello = tokio::select! {
                hello = timeout(limits.handshake, preface(&stream)) => hello,
                () = stop.cancelled() => return,
            };
            if !matches!(hello, Ok(Ok(true))) {
                tally.without_preface.up();
                debug!("close a connection that did not begin with HTTP/2's preface");
                return;
            }
            let streams = Streams::new(limits.send, Arc::clone(&tally));
            let stream = read_in_time(stream, &limits);
            let connection = pin!(http2(&limits, &window, streams).serve_connection(stream, service));
            told.run(connection, http2::Connection::graceful_shutdown).await
        }
    };
    match ended {
        Some(Ok(())) => {}
        Some(Err(error)) if is_stalled(&error) => {
            tally.stalled_answers.up();
            debug!("reset a connection whose client does not read");
        }
        Some(Err(error)) => debug!(%error, "connection ended"),
        None => debug!("reset a connection that was told to go and did not"),
    }
}

/// A socket that fails when its client has long read nothing of what waits to be written.
fn read_in_time(stream: TcpStream, limits: &Limits) -> TokioIo<Pin<Box<TimeoutStream<TcpStream>>>> {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(limits.send));
    TokioIo::new(Box::pin(stream))
}

/// Did the connection end because its client read nothing?
fn is_stalled(error: &hyper::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut) {
            return true;
        }
        source = cause.source();
    }
    false
}

/// Counts a connection as open until it is dropped.
struct Open<'a>(&'a Tally);

impl<'a> Open<'a> {
    fn begin(tally: &'a Tally) -> Self {
        tally.accepted.up();
        tally.open.up();
        Self(tally)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.down();
    }
}

/// What tells a connection to go.
struct Told<'a> {
    activity: Arc<Activity>,
    limits: &'a Limits,
    shed: &'a mut watch::Receiver<()>,
    stop: &'a CancellationToken,
}

impl Told<'_> {
    /// Runs a connection. Told to go, because the server stops or sheds it, or because it is old or has long been idle,
    /// it finishes its calls; a client that does not let it end is cut off. `None` then.
    async fn run<C: Future>(self, mut connection: Pin<&mut C>, tell: impl Fn(Pin<&mut C>)) -> Option<C::Output> {
        let linger = tokio::select! {
            ended = connection.as_mut() => return Some(ended),
            // The accept loop cuts off what is left at the end of the grace.
            () = self.stop.cancelled() => Duration::MAX,
            () = self.activity.idle(self.limits.idle) => IDLE_LINGER,
            () = sleep(about(self.limits.age)) => self.limits.linger,
            Ok(()) = self.shed.changed() => self.limits.linger,
        };
        tell(connection.as_mut());
        timeout(linger, connection).await.ok()
    }
}

/// The duration, give or take a tenth, so that connections opened together do not all end together (gRPC's A9).
fn about(duration: Duration) -> Duration {
    // The keys of a new hasher are random.
    let random = u32::try_from(RandomState::new().hash_one(()) >> 32).unwrap_or(0);
    duration.mul_f64(0.9 + 0.2 * f64::from(random) / f64::from(u32::MAX))
}

/// Waits for the client's first words, which stay to be read. False if they are not HTTP/2's. Cancel safe.
async fn preface(stream: &TcpStream) -> io::Result<bool> {
    let mut words = [0; PREFACE.len()];
    let mut before = 0;
    loop {
        let count = stream.peek(&mut words).await?;
        let (said, expected) = (words.get(..count), PREFACE.get(..count));
        if count == 0 || said != expected {
            return Ok(false);
        }
        if count == PREFACE.len() {
            return Ok(true);
        }
        // What has come stays readable, so there is nothing to wait for but time.
        if count == before {
            sleep(Duration::from_millis(20)).await;
        }
        before = count;
    }
}

fn http2(limits: &Limits, window: &Window, streams: Streams) -> http2::Builder<Streams> {
    let mut builder = http2::Builder::new(streams);
    builder
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .max_concurrent_streams(limits.streams_max)
        .max_header_list_size(HEADERS_BYTES_MAX)
        .initial_stream_window_size(window.size().min(STREAM_WINDOW_MAX))
        .initial_connection_window_size(window.size())
        .keep_alive_interval(KEEPALIVE.0)
        .keep_alive_timeout(KEEPALIVE.1);
    builder
}

#[cfg(test)]
mod tests {
    use super::{Duration, about};

    #[test]
    fn ages_differ_by_a_tenth_at_most() {
        let ages: Vec<_> = (0..200).map(|_| about(Duration::from_secs(100)).as_secs_f64()).collect();
        assert!(ages.iter().all(|age| (90.0..=110.0).contains(age)));
        assert!(ages.iter().any(|age| *age < 99.0) && ages.iter().any(|age| *age > 101.0));
    }
}
