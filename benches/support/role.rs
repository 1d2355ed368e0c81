//! What a server process is told on its command line: which server to be, and how.

use anyhow::{Context as _, bail};

/// A server that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// tonic alone, giving back what it gets.
    Echo,
    /// Sconce with a model that gives back what it gets.
    Identity,
    /// Sconce with the shipped breast-cancer model.
    BreastCancer,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Echo, Self::Identity, Self::BreastCancer];

    /// Its name, which is also its model's.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Identity => "identity",
            Self::BreastCancer => "breast_cancer",
        }
    }

    fn named(name: &str) -> anyhow::Result<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).with_context(|| format!("no server \"{name}\""))
    }
}

/// A server process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Role {
    /// Which server it is.
    pub(crate) kind: Kind,
    /// `None` for the server as it is served; else one assembled with recording on or off, whose models run inline.
    pub(crate) recording: Option<bool>,
    /// Does it call itself, rather than be called? One benchmark alone knows of this.
    pub(crate) alone: bool,
    /// Does it have one thread for the network, or one for each core?
    pub(crate) one_thread: bool,
}

impl Role {
    /// The server as anyone would start it.
    pub(crate) fn plain(kind: Kind) -> Self {
        Self { kind, recording: None, alone: false, one_thread: false }
    }

    /// Arguments that [`Role::read`] understands.
    pub(crate) fn arguments(self) -> Vec<&'static str> {
        let mut arguments = vec!["--serve", self.kind.name()];
        match self.recording {
            Some(true) => arguments.push("--recording"),
            Some(false) => arguments.push("--no-recording"),
            None => {}
        }
        arguments.extend(self.alone.then_some("--alone"));
        arguments.extend(self.one_thread.then_some("--one-thread"));
        arguments
    }

    /// The role that the command line asks for; `None` for that of the client. Errors: it asks for no known server.
    pub(crate) fn read(arguments: impl Iterator<Item = String>) -> anyhow::Result<Option<Self>> {
        let mut arguments = arguments.skip_while(|argument| argument != "--serve").skip(1);
        let Some(name) = arguments.next() else { return Ok(None) };
        let mut role = Self::plain(Kind::named(&name)?);
        for argument in arguments {
            match argument.as_str() {
                "--recording" => role.recording = Some(true),
                "--no-recording" => role.recording = Some(false),
                "--alone" => role.alone = true,
                "--one-thread" => role.one_thread = true,
                other => bail!("unknown argument {other}"),
            }
        }
        Ok(Some(role))
    }
}
