//! The tie between a model and the process that runs it.

/// Whether a model's process is there. It may end and be started again at any time.
pub trait Lifeline: Send + Sync {
    /// Is the process up, and has it loaded the model?
    fn is_up(&self) -> bool;
    /// How often it has come up. Another number than before: it is another process, or was loaded again.
    fn generation(&self) -> u64;
    /// Why it is down; empty if it is up.
    fn why_down(&self) -> String;
}
