//! Renders `docs/settings.md`, the reference of every setting, from the settings' own declarations.

use std::fmt::Write as _;

use super::model::ModelConfig;
use super::reader::{Described, Reader};
use super::server::Config;

const INTRODUCTION: &str = "\
<!-- Rendered from the declarations in src/config: `BLESS=1 cargo test settings_page` writes it anew. -->

# Settings

A server has settings, and so has each model. Both are checked before anything is served: every problem is told at
once, with the file and the line or the flag where it stands. Keys that do not exist are refused.

A duration is a number and a unit: `500us`, `2ms`, `1.5s`, `10m`, `1h`. A size is one too: `512B`, `64KiB`, `1.5MiB`,
`2GiB` (powers of 1024), or `kB`, `MB`, `GB` (powers of 1000). In a file both are strings.

## The server

Every setting of the server can stand in a TOML file, in the environment and on the command line. A flag beats the
environment, that beats the file, that beats the default. The file is named by `--config FILE` or `SCONCE_CONFIG`:

```toml
models = [\"/models\"]
grpc = \"127.0.0.1:8001\"

[log]
format = \"json\"
```

A variable of the environment that is empty counts as unset. One that begins with `SCONCE_` and is no setting is
refused, save for those of the forms `…_PORT`, `…_SERVICE_HOST` and `…_SERVICE_PORT…` that Kubernetes sets for a
service named `sconce`.
";

const MODEL_INTRODUCTION: &str = "
## A model

A model's settings stand in `model.toml` in the model's folder, beside its versions. No file is needed where the
defaults suit. They have no flags and no variables.

```toml
max_batch_size = 32

[batching]
max_queue_delay = \"1ms\"

[confidence]
labels = [\"malignant\", \"benign\"]
low = 0.8

[[fallback.rung]]
use = \"version\"

[[fallback.rung]]
use = \"prediction\"
kind = \"prior\"
prior = [0.37, 0.63]
```

A name with `[]`, such as `fallback.rung[].use`, is that of a key in each table of a list: each `[[fallback.rung]]` has its
own, and the rungs are tried in the order of the file.
";

/// The text of `docs/settings.md`.
pub fn reference() -> String {
    let (mut server, mut model) = (Reader::default(), Reader::default());
    Config::read(&mut server);
    ModelConfig::read(&mut model);
    let mut page = INTRODUCTION.to_owned();
    for setting in server.described() {
        write_setting(&mut page, &setting);
        // Writing to a String cannot fail.
        let _infallible = writeln!(page, "- Variable `{}`, flag `--{}`", setting.variable(), setting.flag());
    }
    page.push_str(MODEL_INTRODUCTION);
    for setting in model.described() {
        write_setting(&mut page, &setting);
    }
    page
}

fn write_setting(page: &mut String, setting: &Described) {
    let Described { key, accepted, default, what, change, .. } = setting;
    let default = if default.contains('`') || default.contains(' ') { default.clone() } else { format!("`{default}`") };
    let _infallible = write!(
        page,
        "\n### `{key}`\n\n{what}.\n\n- Value: {accepted}\n- Default: {default}\n- When to change it: {change}\n",
    );
}

#[cfg(test)]
mod tests {
    use super::{Config, ModelConfig, Reader, reference};

    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/settings.md");

    #[test]
    fn every_setting_is_explained() {
        let (mut server, mut model) = (Reader::default(), Reader::default());
        Config::read(&mut server);
        ModelConfig::read(&mut model);
        for setting in server.described().into_iter().chain(model.described()) {
            for text in [setting.what, setting.change] {
                assert!(!text.is_empty() && !text.ends_with('.') && !text.contains("  "), "{}: {text}", setting.key);
            }
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "asks whether to rewrite the page")]
    fn settings_page() {
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(PAGE, reference()).expect("write docs/settings.md");
        }
        let page = std::fs::read_to_string(PAGE).expect("read docs/settings.md");
        // Not assert_eq, whose two whole pages would hide the one line that differs.
        for (number, (rendered, committed)) in reference().lines().zip(page.lines()).enumerate() {
            assert_eq!(rendered, committed, "line {}: run `BLESS=1 cargo test settings_page`", number + 1);
        }
        assert_eq!(reference().lines().count(), page.lines().count(), "run `BLESS=1 cargo test settings_page`");
    }
}
