//! What holds for every connection of a listener.

use tokio::time::Duration;

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
    /// Bytes that clients may send before anyone reads them, over all connections.
    pub windows_bytes_max: usize,
    /// In which a client must say its first words: HTTP/2's preface, or the head of a request.
    pub handshake: Duration,
    /// Without a call after which a connection is told to go.
    pub idle: Duration,
    /// Age at which a connection is told to go, give or take a tenth.
    pub age: Duration,
    /// How long calls may take on a connection that was told to go before it is reset.
    pub linger: Duration,
    /// Without progress after which an answer that its client does not read is reset.
    pub send: Duration,
    /// After draining began, how long calls may take before their connections are reset.
    pub grace: Duration,
}
