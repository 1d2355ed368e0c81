//! The accept loop: sockets become connections, within limits, until the server stops.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::Service;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Duration, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::connection::{Connection, serve};
use super::limits::{Limits, Protocol};
use super::tally::Tally;
use super::windows::Windows;

/// Pause after an accept that failed for want of something: descriptors come back when connections end, not sooner.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections that may wait to be accepted; the system may allow fewer.
const BACKLOG: u32 = 4096;

/// Tells every connection to go, once for each time that it is asked.
#[derive(Clone, Debug, Default)]
pub struct Shed(Arc<watch::Sender<()>>);

impl Shed {
    /// Tells the connections that are open now to go: they finish their calls, and their clients connect anew.
    pub fn shed(&self) {
        self.0.send_replace(());
    }

    pub(super) fn watch(&self) -> watch::Receiver<()> {
        self.0.subscribe()
    }
}

/// A socket that listens, and everything that holds for its connections.
pub struct Listener {
    socket: TcpListener,
    protocol: Protocol,
    limits: Limits,
    shed: Shed,
    tally: Arc<Tally>,
}

impl Listener {
    /// Listens. Errors: the address is taken, or not ours; the text names it.
    pub fn bind(address: SocketAddr, protocol: Protocol, limits: Limits) -> io::Result<Self> {
        let refused = |error: io::Error| io::Error::new(error.kind(), format!("listen on {address}: {error}"));
        let socket = listen(address).map_err(refused)?;
        Ok(Self { socket, protocol, limits, shed: Shed::default(), tally: Arc::default() })
    }

    /// Where it listens. Errors: the system does not tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// What is counted of its connections.
    pub fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    /// Tells its connections to go.
    pub fn shed(&self) -> &Shed {
        &self.shed
    }

    /// Serves every connection, by what `service` makes for its peer, until `stop`; then lets calls finish within the
    /// grace, and ends.
    ///
    /// Not cancel safe: dropping it resets every connection.
    pub async fn serve<S, B>(self, service: impl Fn(SocketAddr) -> S, stop: CancellationToken)
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
        S::Future: Send,
        S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let Self { socket, protocol, limits, shed, tally } = self;
        let room = Arc::new(Semaphore::new(limits.connections_max));
        let windows = Windows::new(limits.windows_bytes_max);
        let limits = Arc::new(limits);
        let mut connections = JoinSet::new();
        let mut trouble = Trouble::default();
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(_ended) = connections.join_next() => continue,
                accepted = accept(&socket, &mut trouble, &tally) => accepted,
            };
            let Some((stream, peer)) = accepted else { continue };
            let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
                debug!(limit = limits.connections_max, "close a connection beyond the limit");
                tally.refused.up();
                continue;
            };
            let window = windows.open();
            let (limits, tally, stop) = (Arc::clone(&limits), Arc::clone(&tally), stop.clone());
            let connection = Connection { stream, protocol, window, limits, tally, shed: shed.watch(), stop };
            let service = service(peer);
            connections.spawn(async move {
                serve(connection, service).await;
                drop(permit);
            });
        }
        // New connections are refused from here on.
        drop(socket);
        let finish = async { while connections.join_next().await.is_some() {} };
        if timeout(limits.grace, finish).await.is_err() {
            warn!(connections = connections.len(), "reset connections that did not finish within the grace");
            connections.shutdown().await;
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A server that was just stopped leaves connections behind that would hold the port for a minute.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Is accepting in trouble? Told when it begins and when it ends, not ten times a second.
#[derive(Default)]
struct Trouble(bool);

/// Accepts a connection. `None` after a pause, where that failed. Cancel safe.
async fn accept(socket: &TcpListener, trouble: &mut Trouble, tally: &Tally) -> Option<(TcpStream, SocketAddr)> {
    match socket.accept().await {
        Ok(accepted) => {
            if std::mem::take(&mut trouble.0) {
                info!("connections are accepted again");
            }
            Some(accepted)
        }
        // The client was gone before it was accepted.
        Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => None,
        Err(error) => {
            tally.accept_errors.up();
            if !std::mem::replace(&mut trouble.0, true) {
                warn!(%error, "connections cannot be accepted; those that are open are served on");
            }
            sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}
