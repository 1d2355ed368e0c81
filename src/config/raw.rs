//! What file, environment and flags say, gathered but unchecked.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::document::Document;
use super::flags::ServeFlags;
use super::problems::Problems;
use super::reader::{Flags, VARIABLE_PREFIX};

/// The variable that names the file, as `--config` does.
pub(super) const FILE_VARIABLE: &str = "SCONCE_CONFIG";

/// The variables of the process that begin with `SCONCE_`, as they were when it was taken. Empty ones count as unset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    variables: BTreeMap<String, String>,
}

impl Environment {
    /// Takes the process's own.
    #[expect(clippy::disallowed_methods, reason = "this is the place that reads the environment")]
    pub fn take() -> Self {
        let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect()
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        let ours = |(name, value): &(String, String)| name.starts_with(VARIABLE_PREFIX) && !value.is_empty();
        Self { variables: pairs.into_iter().filter(ours).collect() }
    }
}

/// What file, environment and flags say.
pub struct Raw {
    pub(super) flags: Flags,
    pub(super) variables: BTreeMap<String, String>,
    /// The file, if there is one, or why it cannot be used.
    pub(super) file: Option<Result<Document, Problems>>,
}

impl Raw {
    /// Reads the file that `--config` or `SCONCE_CONFIG` names. What is wrong with it is told by
    /// [`Config::resolve`](super::Config::resolve), together with everything else.
    pub fn gather(flags: &ServeFlags, environment: &Environment) -> Self {
        let mut variables = environment.variables.clone();
        let by_variable = variables.remove(FILE_VARIABLE).map(PathBuf::from);
        let path = flags.config.as_deref().or(by_variable.as_deref());
        Self { flags: flags.settings.clone(), variables, file: path.map(Document::open) }
    }
}
