//! Flags beat the environment, which beats the file, which beats the defaults; and every problem at once.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args as _, Command, FromArgMatches as _};
use proptest::prelude::*;

use super::reload_log_level;
use crate::config::document::Document;
use crate::config::reader::{Described, Reader};
use crate::config::{Config, DeviceChoice, Environment, LogFormat, Problems, Raw, ServeFlags};

/// Parses a command line as `serve` does.
fn flags(words: &[&str]) -> Result<ServeFlags, clap::Error> {
    let command = ServeFlags::augment_args(Command::new("serve").no_binary_name(true));
    ServeFlags::from_arg_matches(&command.try_get_matches_from(words)?)
}

fn environment(pairs: &[(&str, &str)]) -> Environment {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn resolve(words: &[&str], pairs: &[(&str, &str)], file: Option<&str>) -> Result<Config, Problems> {
    let mut raw = Raw::gather(&flags(words).expect("flags"), &environment(pairs));
    raw.file = file.map(|text| Document::parse("s.toml", text));
    Config::resolve(raw)
}

fn lines(words: &[&str], pairs: &[(&str, &str)], file: &str) -> Vec<String> {
    resolve(words, pairs, Some(file)).map_or_else(|problems| problems.lines().to_vec(), |_| Vec::new())
}

fn described() -> Vec<Described> {
    let mut settings = Reader::default();
    Config::read(&mut settings);
    settings.described()
}

/// A value for each setting, none of them its default, as a file would have it.
const EVERY_SETTING: [(&str, &str); 30] = [
    ("models", "[\"/a\"]"),
    ("strict", "true"),
    ("grpc", "\"127.0.0.1:1\""),
    ("metrics", "\"127.0.0.1:2\""),
    ("timeout", "\"5s\""),
    ("device", "\"cuda\""),
    ("worker.path", "\"/usr/bin/sconce-worker\""),
    ("worker.start_timeout", "\"20s\""),
    ("repository.watch", "false"),
    ("repository.poll_interval", "\"9s\""),
    ("repository.settle_time", "\"8s\""),
    ("limits.message_bytes_max", "\"1MiB\""),
    ("limits.in_flight_bytes_max", "\"2MiB\""),
    ("limits.in_flight_requests_max", "7"),
    ("limits.connections_max", "8"),
    ("limits.streams_max", "9"),
    ("limits.handshake_timeout", "\"1s\""),
    ("limits.idle_timeout", "\"2s\""),
    ("limits.connection_age", "\"1h\""),
    ("limits.receive_timeout", "\"7s\""),
    ("limits.send_timeout", "\"8s\""),
    ("limits.memory_bytes_max", "\"1GiB\""),
    ("limits.models_bytes_max", "\"3MiB\""),
    ("shutdown.delay", "\"3s\""),
    ("shutdown.grace", "\"4s\""),
    ("log.level", "\"warn,sconce=trace\""),
    ("log.format", "\"json\""),
    ("log.access", "true"),
    ("monitor.window", "\"6s\""),
    ("runtime.threads", "3"),
];

#[test]
fn every_setting_can_come_from_file_environment_and_flags() {
    let settings = described();
    assert_eq!(settings.iter().map(|setting| setting.key).collect::<Vec<_>>(), EVERY_SETTING.map(|(key, _)| key));
    let text = |value: &str| value.trim_matches(['[', ']', '"']).to_owned();
    let file = EVERY_SETTING.map(|(key, value)| format!("{key} = {value}")).join("\n");
    let pairs = settings.iter().zip(EVERY_SETTING).map(|(setting, (_, value))| (setting.variable(), text(value)));
    let words: Vec<_> = settings
        .iter()
        .zip(EVERY_SETTING)
        .map(|(setting, (_, value))| format!("--{}={}", setting.flag(), text(value)))
        .collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();

    let by_file = resolve(&[], &[], Some(&file)).expect("a file");
    let by_variables = Raw::gather(&ServeFlags::default(), &pairs.collect());
    assert_eq!(Config::resolve(by_variables).expect("variables"), by_file);
    assert_eq!(resolve(&words, &[], None).expect("flags"), by_file);

    // Nothing was left at its default, so no declaration was passed over.
    let default = Config::default();
    let Config { models, strict, grpc, metrics, timeout, limits, shutdown, log, monitor, .. } = by_file;
    let Config { device, worker, runtime, repository, .. } = by_file;
    assert!(models != default.models && strict != default.strict && grpc != default.grpc && metrics != default.metrics);
    assert!(timeout != default.timeout && limits.message_bytes_max != default.limits.message_bytes_max);
    assert!(limits.in_flight_bytes_max != default.limits.in_flight_bytes_max);
    assert_eq!(
        (limits.in_flight_requests_max.get(), limits.connections_max.get(), limits.streams_max.get()),
        (7, 8, 9)
    );
    assert_eq!(limits.handshake_timeout + limits.idle_timeout, Duration::from_secs(3));
    let followed = (repository.watch, repository.poll_interval, repository.settle_time);
    assert_eq!(followed, (false, Duration::from_secs(9), Duration::from_secs(8)));
    assert_eq!((device, worker.start_timeout), (DeviceChoice::Cuda, Duration::from_secs(20)));
    assert_eq!(worker.path.as_deref(), Some(Path::new("/usr/bin/sconce-worker")));
    assert_eq!(limits.models_bytes_max.map(usize::from), Some(3 << 20));
    assert_eq!((shutdown.delay, shutdown.grace), (Duration::from_secs(3), Duration::from_secs(4)));
    assert_eq!((log.level.as_str(), log.format, log.access), ("warn,sconce=trace", LogFormat::Json, true));
    assert_eq!((monitor.window, runtime.threads.map(usize::from)), (Duration::from_secs(6), Some(3)));
}

#[test]
fn every_default_is_what_the_reference_says() {
    for setting in described() {
        let Described { key, default, .. } = setting;
        if default.contains(' ') || key == "models" {
            continue;
        }
        let explicit = resolve(&["--models=m"], &[], Some(&format!("{key} = {default}"))).expect(key);
        assert_eq!(explicit, Config { models: vec!["m".into()], ..Config::default() }, "{key}");
    }
}

#[test]
fn flags_beat_the_environment_that_beats_the_file_that_beats_defaults() {
    let file = "models = [\"f\"]\nstrict = true\ntimeout = \"1s\"\n[log]\nlevel = \"error\"\nformat = \"json\"";
    let pairs =
        [("SCONCE_MODELS", "e1:e2"), ("SCONCE_TIMEOUT", "2s"), ("SCONCE_LOG_LEVEL", "debug"), ("SCONCE_GRPC", "")];
    let words = ["--models", "a", "--models", "b", "--log-level", "trace", "--strict=false"];
    let config = resolve(&words, &pairs, Some(file)).expect("a configuration");
    assert_eq!(config.models, ["a", "b"].map(PathBuf::from));
    assert!(!config.strict);
    assert_eq!(config.timeout, Duration::from_secs(2));
    assert_eq!((config.log.level.as_str(), config.log.format), ("trace", LogFormat::Json));
    assert_eq!(config.grpc.to_string(), "0.0.0.0:8001");
    let config = resolve(&["--strict"], &pairs, None).expect("a configuration");
    assert!(config.strict);
    assert_eq!(config.models, ["e1", "e2"].map(PathBuf::from));
}

#[test]
fn every_problem_of_every_source_is_told_at_once() {
    let file = "models = \"x\"\ngrcp = \":1\"\ntimeout = 60\n[limits]\nstreams_max = 0\n[log]\naccess = 1\n";
    let pairs = [
        ("SCONCE_SHUTDOWN_GRACE", "2h"),
        ("SCONCE_LOG_LEVLE", "debug"),
        ("SCONCE_SERVICE_HOST", "10.0.0.1"),
        ("SCONCE_PORT_8001_TCP", "tcp://10.0.0.1:8001"),
        ("PATH", "/bin"),
    ];
    let words = ["--metrics", "8002", "--log-format", "xml", "--models", ""];
    let expected = [
        "--models: expected a list, each item the path of a folder, got \"\"",
        "--metrics: expected an IP address and a port, such as \"0.0.0.0:8001\", \"[::]:8001\" or \":8001\", got \"8002\"",
        "SCONCE_SHUTDOWN_GRACE: expected a duration from 0s to 1h, such as \"250ms\", got \"2h\"",
        "--log-format: expected \"pretty\" or \"json\", got \"xml\"",
        "unknown variable SCONCE_LOG_LEVLE in the environment; did you mean SCONCE_LOG_LEVEL?",
        "s.toml:1: `models`: expected a list, each item the path of a folder, got \"x\"",
        "s.toml:2: unknown key `grcp`; did you mean `grpc`?",
        "s.toml:3: `timeout`: expected a duration from 1ms to 1h, such as \"250ms\", got 60",
        "s.toml:5: `limits.streams_max`: expected a whole number from 1 to 1048576, got 0",
        "s.toml:7: `log.access`: expected true or false, got 1",
    ];
    assert_eq!(lines(&words, &pairs, file), expected);
    let broken = ["--grpc: ", "s.toml:1: not TOML: "];
    let got = lines(&["--grpc", "x"], &[], "models = ");
    assert_eq!(got.len(), broken.len(), "{got:?}");
    assert!(got.iter().zip(broken).all(|(line, start)| line.starts_with(start)), "{got:?}");
}

#[test]
fn settings_that_do_not_go_together() {
    assert_eq!(lines(&[], &[], ""), ["`models`: no folder of models: give --models DIR, or `models` in the file"]);
    let limits = "[limits]\nmessage_bytes_max = \"1GiB\"";
    assert!(lines(&["--models=m"], &[], limits).is_empty(), "the budget grows with the message");
    let small = "536870912 bytes cannot hold one message of `limits.message_bytes_max`, 1073741824 bytes";
    let at_file = "[limits]\nmessage_bytes_max = \"1GiB\"\nin_flight_bytes_max = \"512MiB\"";
    let models = ["--models=m"];
    assert_eq!(lines(&models, &[], at_file), [format!("s.toml:3: `limits.in_flight_bytes_max`: {small}")]);
    let variable = [("SCONCE_LIMITS_IN_FLIGHT_BYTES_MAX", "512MiB")];
    assert_eq!(lines(&models, &variable, limits), [format!("SCONCE_LIMITS_IN_FLIGHT_BYTES_MAX: {small}")]);
    let taken = "127.0.0.1:8001 is taken by `grpc`, which listens at 0.0.0.0:8001";
    assert_eq!(lines(&["--models=m", "--metrics=127.0.0.1:8001"], &[], ""), [format!("--metrics: {taken}")]);
    for fine in [["--grpc=127.0.0.1:0", "--metrics=127.0.0.1:0"], ["--grpc=127.0.0.1:5", "--metrics=127.0.0.2:5"]] {
        assert!(lines(&[fine[0], fine[1], "--models=m"], &[], "").is_empty());
    }
}

#[test]
fn the_file_is_named_by_flag_or_variable() {
    let named = |words: &[&str], pairs: &[(&str, &str)]| {
        let raw = Raw::gather(&flags(words).expect("flags"), &environment(pairs));
        Config::resolve(raw).expect_err("no such file").to_string()
    };
    assert!(
        named(&["--config", "no/such/a"], &[("SCONCE_CONFIG", "no/such/b")]).starts_with("no/such/a: cannot be read: ")
    );
    assert!(named(&[], &[("SCONCE_CONFIG", "no/such/b")]).starts_with("no/such/b: cannot be read: "));
    assert_eq!(flags(&["--config", "x"]).expect("flags").config.as_deref(), Some(Path::new("x")));
}

#[test]
fn the_level_is_read_again() {
    let folder = std::env::temp_dir().join(format!("sconce-level-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join("s.toml");
    let mut flags = flags(&["--models", "m"]).expect("flags");
    flags.config = Some(path.clone());
    for level in ["debug", "warn"] {
        std::fs::write(&path, format!("log.level = \"{level}\"")).expect("write");
        assert_eq!(reload_log_level(&flags, &Environment::default()).as_deref(), Ok(level));
        let variable = environment(&[("SCONCE_LOG_LEVEL", "info")]);
        assert_eq!(reload_log_level(&flags, &variable).as_deref(), Ok("info"));
    }
    std::fs::write(&path, "log.level = \"loud\"").expect("write");
    let expected = "off, error, warn, info, debug or trace, or parts such as \"info,sconce::batch=debug\"";
    let told = format!("{}:1: `log.level`: expected {expected}, got \"loud\"", path.display());
    assert_eq!(reload_log_level(&flags, &Environment::default()).expect_err("a problem").to_string(), told);
    std::fs::remove_dir_all(&folder).expect("remove");
}

#[test]
fn flags_that_do_not_exist_are_refused_and_help_names_every_setting() {
    assert!(flags(&["--grcp", ":1"]).expect_err("no such flag").to_string().contains("--grpc"));
    assert!(flags(&["stray"]).is_err());
    let command = ServeFlags::augment_args(Command::new("serve"));
    command.clone().debug_assert();
    let help = command.clone().render_long_help().to_string();
    for setting in described() {
        assert!(help.contains(&format!("--{}", setting.flag())), "{}", setting.key);
    }
    let short = command.clone().render_help().to_string();
    assert!(short.contains("--models") && !short.contains("--limits"), "{short}");
}

#[test]
fn the_process_has_an_environment() {
    // Only that it can be taken: what is in it is not the test's.
    assert_eq!(Environment::take(), Environment::take());
}

proptest! {
    #[test]
    fn no_text_panics(file in "\\PC{0,40}", name in "[A-Z_]{0,12}", value in "\\PC{0,12}") {
        let pairs = [(format!("SCONCE_{name}"), value.clone()), ("SCONCE_TIMEOUT".to_owned(), value.clone())];
        let mut raw = Raw::gather(&ServeFlags::default(), &pairs.into_iter().collect());
        raw.flags.insert("log.level".to_owned(), vec![value]);
        raw.file = Some(Document::parse("s.toml", &file));
        prop_assert!(Config::resolve(raw).is_err(), "no model folder was named");
    }
}
