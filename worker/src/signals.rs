//! Signals that a person or a service manager sends to all processes of the server.
#![expect(unsafe_code, reason = "there is no safe way to ignore a signal")]

/// Ignores the signals that ask for an end: the server goes on for a while to finish what runs, for which it needs this
/// process, and then closes the control socket.
pub(crate) fn leave_to_the_server() {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: SIG_IGN installs no handler that could run at a wrong moment, and the numbers are of signals that may be
        // ignored. No other thread has been started yet.
        let before = unsafe { libc::signal(signal, libc::SIG_IGN) };
        if before == libc::SIG_ERR {
            tracing::warn!(signal, "ignore a signal");
        }
    }
}
