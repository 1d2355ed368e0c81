//! A server in a process of its own, as its parent sees it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::role::Role;

/// A running server; ended with its handle.
pub(crate) struct Child {
    process: std::process::Child,
    /// `None` once the process was asked to end.
    orders: Option<ChildStdin>,
    replies: BufReader<ChildStdout>,
    /// Where it serves.
    pub(crate) address: SocketAddr,
}

impl Child {
    /// Starts [`this_program`] as a server. Blocks until it serves.
    ///
    /// Errors: it cannot be started, or ends without serving.
    pub(crate) fn start(role: Role, wrapper: &[String]) -> anyhow::Result<Self> {
        let mut command = this_program(wrapper)?;
        command.args(role.arguments()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().with_context(|| format!("start {command:?}"))?;
        let (orders, replies) = (process.stdin.take(), process.stdout.take().context("no standard output")?);
        let address = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut child = Self { process, orders, replies: BufReader::new(replies), address };
        child.address = child.reply()?.parse().context("read the server's address")?;
        Ok(child)
    }

    fn reply(&mut self) -> anyhow::Result<String> {
        let mut reply = String::new();
        if self.replies.read_line(&mut reply)? == 0 {
            bail!("the server has ended: {}", self.process.wait()?);
        }
        Ok(reply.trim_end().to_owned())
    }

    /// Has it call the function at which a profiler writes down what it has counted. Blocks until it has.
    #[allow(dead_code, reason = "one benchmark alone profiles")]
    pub(crate) fn mark(&mut self) -> anyhow::Result<()> {
        let orders = self.orders.as_mut().context("the server was asked to end")?;
        writeln!(orders, "mark").context("ask the server for a mark")?;
        self.reply().map(drop)
    }

    /// Processor time that its threads have taken, theirs and the kernel's for them; zero where it cannot be told.
    pub(crate) fn processor_time(&self) -> Duration {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.process.id()));
        let took = |thread: std::fs::DirEntry| {
            let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok()
        };
        let threads = threads.into_iter().flatten().flatten();
        Duration::from_nanos(threads.filter_map(took).sum())
    }

    /// Lets it end by itself. Errors: it failed.
    pub(crate) fn end(mut self) -> anyhow::Result<()> {
        self.orders = None;
        let status = self.process.wait()?;
        anyhow::ensure!(status.success(), "the server failed: {status}");
        Ok(())
    }
}

/// This program again, behind the words of `wrapper`. Errors: it cannot be found.
pub(crate) fn this_program(wrapper: &[String]) -> anyhow::Result<Command> {
    let this = std::env::current_exe().context("find this program")?;
    let [program, arguments @ ..] = wrapper else { return Ok(Command::new(this)) };
    let mut command = Command::new(program);
    command.args(arguments).arg(this);
    Ok(command)
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended already; then neither has anything to do.
        let _ended = self.process.kill().and_then(|()| self.process.wait().map(drop));
    }
}
