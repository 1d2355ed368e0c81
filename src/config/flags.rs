//! The flags of `serve`, made from the settings: every setting has one.

use std::path::PathBuf;
use std::sync::LazyLock;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use super::reader::{Described, Flags, Reader};
use super::server::Config;

const FILE: &str = "config";
const SECTIONS_ON_LONG_HELP: [&str; 5] = ["limits", "monitor", "repository", "runtime", "worker"];

/// What the flags of `serve` say, unchecked: [`Config::load`] checks them with everything else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServeFlags {
    /// `--config FILE`.
    pub config: Option<PathBuf>,
    /// The texts given for each setting.
    pub(super) settings: Flags,
}

/// A setting and its words on the command line.
struct Flag {
    setting: Described,
    name: String,
    heading: String,
}

static FLAGS: LazyLock<Vec<Flag>> = LazyLock::new(|| {
    let mut settings = Reader::default();
    Config::read(&mut settings);
    settings.described().into_iter().map(Flag::of).collect()
});

impl Flag {
    fn of(setting: Described) -> Self {
        let name = setting.flag();
        let heading = setting.section().map_or("Options".to_owned(), |section| format!("Settings [{section}]"));
        Self { setting, name, heading }
    }

    fn arg(&'static self) -> Arg {
        let setting = &self.setting;
        let Described { key, accepted, noun, default, what, .. } = setting;
        let help = format!("{what} [default: {default}]");
        let long = format!("{what}\n[{accepted}; default: {default}; variable: {}]", setting.variable());
        let arg = Arg::new(*key).long(self.name.as_str()).value_name(*noun).help(help).long_help(long);
        let rare = setting.section().is_some_and(|section| SECTIONS_ON_LONG_HELP.contains(&section));
        let arg = arg.help_heading(self.heading.as_str()).hide_short_help(rare);
        match *noun {
            // `--strict` alone is true; `--strict=false` beats what the file says.
            "BOOL" => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
            "DIR" => arg.action(ArgAction::Append),
            _ => arg,
        }
    }
}

impl Args for ServeFlags {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new(FILE).long(FILE).value_name("FILE").value_parser(clap::value_parser!(PathBuf));
        let help = "TOML file of settings; flags and SCONCE_ variables of the environment come before it";
        command.arg(file.help(help)).args(FLAGS.iter().map(Flag::arg))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ServeFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        if let Some(path) = matches.get_one::<PathBuf>(FILE) {
            self.config = Some(path.clone());
        }
        for flag in FLAGS.iter() {
            if let Some(texts) = matches.get_many::<String>(flag.setting.key) {
                self.settings.insert(flag.setting.key.to_owned(), texts.cloned().collect());
            }
        }
        Ok(())
    }
}
