//! What must stand in the environment before the first thread starts.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Turns of the loop in which candle's threads wait for each other's parts of an operation before they sleep.
const SPIN_LIMIT: &str = "CANDLE_BARRIER_POOL_SPIN_LIMIT";

/// Starts this program again in its own place, told not to spin, unless the environment says how long to.
///
/// Candle's threads spin for a millisecond at each of their many meetings. On cores that others use too, the network's threads
/// among them, that costs half of a text model's throughput; and candle only reads this from the environment. Does nothing where
/// the program cannot be started again.
pub fn keep_pools_from_spinning() {
    #[expect(clippy::disallowed_methods, reason = "a setting of candle's, not of the server's")]
    if std::env::var_os(SPIN_LIMIT).is_some() {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let mut arguments = std::env::args_os();
    let mut command = Command::new(program);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    // Returns only if it failed; then threads spin.
    let _failed = command.args(arguments).env(SPIN_LIMIT, "0").exec();
}
