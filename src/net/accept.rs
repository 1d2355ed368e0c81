//! The accept loop: one hyper connection a socket, each with its limits, all told to finish when the server drains.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Duration, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::activity::{Activity, Counted};

/// Pause after a failed accept, such as when descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A silent HTTP/2 peer is asked so often whether it lives, and has so long to say so.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));
/// What an HTTP/2 client says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The protocol that a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Scrapes and probes.
    Http1,
    /// gRPC.
    Http2,
}

/// Limits of a listener.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at a time; more are closed at once.
    pub connections_max: usize,
    /// Streams at a time on one connection.
    pub streams_max: u32,
    /// In which a client must say its first words: HTTP/2's preface, or the head of a request.
    pub handshake: Duration,
    /// Without a call after which a connection is told to go.
    pub idle: Duration,
    /// After draining began, how long calls may take before their connections are reset.
    pub grace: Duration,
}

/// Binds a listener. Errors: the address is taken, or not ours; the text names it.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let refused = |error: io::Error| io::Error::new(error.kind(), format!("listen on {address}: {error}"));
    let listener = std::net::TcpListener::bind(address).map_err(refused)?;
    listener.set_nonblocking(true).map_err(refused)?;
    TcpListener::from_std(listener).map_err(refused)
}

/// Serves every connection until `stop`, then lets calls finish within the grace, and ends.
///
/// Not cancel safe: dropping it resets every connection.
pub async fn serve<S, B>(listener: TcpListener, protocol: Protocol, service: S, limits: Limits, stop: CancellationToken)
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let room = Arc::new(Semaphore::new(limits.connections_max));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(_ended) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _peer)) => stream,
            Err(error) => {
                warn!(%error, "accept a connection");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            debug!(limit = limits.connections_max, "close a connection beyond the limit");
            continue;
        };
        let connection = connection(stream, protocol, service.clone(), limits.clone(), stop.clone());
        connections.spawn(async move {
            connection.await;
            drop(permit);
        });
    }
    // New connections are refused from here on.
    drop(listener);
    let finish = async { while connections.join_next().await.is_some() {} };
    if timeout(limits.grace, finish).await.is_err() {
        warn!(connections = connections.len(), "reset connections that did not finish within the grace");
        connections.shutdown().await;
    }
}

async fn connection<S, B>(stream: TcpStream, protocol: Protocol, service: S, limits: Limits, stop: CancellationToken)
where
    S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    // Answers are small: waiting to fill a packet would only delay them.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "set TCP_NODELAY");
    }
    let activity = Activity::new();
    let service = Counted::new(service, Arc::clone(&activity));
    let ended = match protocol {
        Protocol::Http1 => {
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(limits.handshake);
            let connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
            until_told(connection, http1::Connection::graceful_shutdown, &activity, &limits, &stop).await
        }
        Protocol::Http2 => {
            let hello = tokio::select! {
                hello = timeout(limits.handshake, preface(&stream)) => hello,
                () = stop.cancelled() => return,
            };
            if !matches!(hello, Ok(Ok(true))) {
                debug!("close a connection that did not begin with HTTP/2's preface");
                return;
            }
            let connection = pin!(http2(&limits).serve_connection(TokioIo::new(stream), service));
            until_told(connection, http2::Connection::graceful_shutdown, &activity, &limits, &stop).await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "connection ended");
    }
}

/// Runs a connection; told to go when the server stops or the connection has long been idle, it finishes its calls.
async fn until_told<C: Future>(
    mut connection: Pin<&mut C>,
    tell: impl Fn(Pin<&mut C>),
    activity: &Activity,
    limits: &Limits,
    stop: &CancellationToken,
) -> C::Output {
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = stop.cancelled() => {}
        () = activity.idle(limits.idle) => {}
    }
    tell(connection.as_mut());
    connection.await
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

fn http2(limits: &Limits) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .max_concurrent_streams(limits.streams_max)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .keep_alive_interval(KEEPALIVE.0)
        .keep_alive_timeout(KEEPALIVE.1);
    builder
}
