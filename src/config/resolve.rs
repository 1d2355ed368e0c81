//! From raw to checked: a [`Config`], or every problem at once.

use super::flags::ServeFlags;
use super::problems::Problems;
use super::raw::{Environment, Raw};
use super::reader::{Reader, Sources};
use super::server::Config;

impl Config {
    /// Reads the configuration of `serve`: flags beat the environment, that beats the file, that beats the defaults.
    ///
    /// Errors: every problem of all three, one a line.
    pub fn load(flags: &ServeFlags, environment: &Environment) -> Result<Self, Problems> {
        Self::resolve(Raw::gather(flags, environment))
    }

    /// Checks what was gathered. Errors: every problem, one a line.
    pub fn resolve(raw: Raw) -> Result<Self, Problems> {
        let (file, broken) = match raw.file {
            None => (None, Problems::new()),
            Some(Ok(document)) => (Some(document), Problems::new()),
            Some(Err(broken)) => (None, broken),
        };
        let (flags, variables, file_read) = (Some(&raw.flags), Some(&raw.variables), file.as_ref());
        let sources = Sources { flags, variables, file: file_read, item: None };
        let mut settings = Reader::new(sources);
        let config = Self::read(&mut settings);
        // What a broken file says is not known, so nothing can be said about how it goes together.
        if broken.is_empty() {
            config.check(&mut settings);
        }
        let mut problems = settings.finish();
        problems.extend(broken);
        if let Some(Err(wrong)) = file.map(super::Document::finish) {
            problems.extend(wrong);
        }
        problems.or(config)
    }
}

/// The log level as it is configured now, for SIGHUP. A flag or a variable that sets it still beats the file.
///
/// Errors: every problem of the configuration; the level in use is then best kept.
pub fn reload_log_level(flags: &ServeFlags, environment: &Environment) -> Result<String, Problems> {
    Config::load(flags, environment).map(|config| config.log.level)
}

#[cfg(test)]
mod tests;
