//! What `model.toml` may say, and what it is told where it may not.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::{
    DevicePolicy, ModelConfig, NonFinite, Placement, Precision, PredictionConfig, RungUse, VersionChoice, VersionPolicy,
};
use crate::config::ScoreKind;
use crate::config::reader::Reader;
use crate::types::RungKind;

fn lines(text: &str) -> Vec<String> {
    ModelConfig::parse("m.toml", text).map_or_else(|problems| problems.lines().to_vec(), |_| Vec::new())
}

const EVERY_SETTING: &str = r#"
max_batch_size = 32
versions = [3, 1, 3]
timeout = "5s"
[batching]
max_queue_delay = "0ms"
max_batch_tokens = 4096
preferred_batch_sizes = [32, 8, 8]
queue_rows_max = 100
request_rows_max = 50
priority_levels = 3
default_priority = 1
overtake_max = 4
[confidence]
output = "p"
scores = "logits"
labels = ["a", "b"]
temperature = 2
low = 0.8
abstain = true
range = [0, 350.5]
[device]
weight = 3
placement = "thread"
policy = "require-gpu"
precision = "bf16"
memory_max = "2GiB"
graphs = false
[warmup]
time_max = "1s"
[breaker]
window = 50
failure_rate = 0.25
slow_rate = 1
calls_min = 50
open_for = "2s"
open_for_max = "2s"
probes = 1
[fallback]
check_interval = "0s"
check_tolerance = 0.5
non_finite = "answer"
[[fallback.rung]]
use = "version"
version = 3
enabled = false
[[fallback.rung]]
use = "version"
[[fallback.rung]]
use = "model"
model = "small_encoder"
[[fallback.rung]]
use = "prediction"
kind = "prior"
prior = [0.25, 0.75]
[[fallback.rung]]
use = "prediction"
kind = "last-answer"
entries_max = 5
[[fallback.rung]]
use = "prediction"
kind = "constant"
outputs = { p = [[0.25, 1], [-1, 18446744073709551615]], label = "none", "is sure" = false }
"#;

#[test]
fn every_setting_is_read() {
    let config = ModelConfig::parse("m.toml", EVERY_SETTING).expect("a model.toml");
    assert_eq!(config.max_batch_size.get(), 32);
    assert_eq!(config.versions, VersionPolicy::Only(vec![1, 3]));
    assert_eq!(config.timeout, Some(Duration::from_secs(5)));
    let batching = &config.batching;
    assert_eq!((batching.max_queue_delay, batching.max_batch_tokens.get()), (Duration::ZERO, 4096));
    assert_eq!(batching.preferred_batch_sizes.iter().map(|size| size.get()).collect::<Vec<_>>(), [8, 32]);
    assert_eq!((batching.queue_rows_max.get(), batching.request_rows_max.get()), (100, 50));
    assert_eq!((batching.priority_levels.get(), batching.default_priority.get()), (3, 1));
    assert_eq!(batching.overtake_max.get(), 4);
    let confidence = &config.confidence;
    assert_eq!((confidence.output.as_deref(), confidence.scores), (Some("p"), Some(ScoreKind::Logits)));
    assert_eq!(confidence.labels, Some(vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!((confidence.temperature, confidence.low, confidence.abstain), (2.0, 0.8, true));
    assert_eq!(confidence.range, Some((0.0, 350.5)));
    assert_eq!((config.device.placement, config.device.weight.get()), (Placement::Thread, 3));
    assert_eq!(config.warmup.time_max, Duration::from_secs(1));
    let breaker = &config.breaker;
    assert_eq!((breaker.window.get(), breaker.calls_min.get(), breaker.probes.get()), (50, 50, 1));
    assert_eq!((breaker.failure_rate, breaker.slow_rate), (0.25, 1.0));
    assert_eq!((breaker.open_for, breaker.open_for_max), (Duration::from_secs(2), Duration::from_secs(2)));
    assert!(!config.device.graphs);
    let device = (config.device.policy, config.device.precision, config.device.memory_max.map(usize::from));
    assert_eq!(device, (DevicePolicy::RequireGpu, Precision::Bf16, Some(2 << 30)));
    // Every declared key is in the text, so no declaration is passed over.
    let mut settings = Reader::default();
    ModelConfig::read(&mut settings);
    for setting in settings.described() {
        let name = setting.key.rsplit('.').next().unwrap_or_default();
        assert!(EVERY_SETTING.contains(&format!("\n{name} = ")), "{}", setting.key);
    }
}

#[test]
fn every_rung_is_read_in_order() {
    let fallback = ModelConfig::parse("m.toml", EVERY_SETTING).expect("a model.toml").fallback;
    assert_eq!((fallback.check_interval, fallback.check_tolerance), (Duration::ZERO, 0.5));
    assert_eq!(fallback.non_finite, NonFinite::Answer);
    let enabled: Vec<bool> = fallback.rungs.iter().map(|rung| rung.enabled).collect();
    assert_eq!(enabled, [false, true, true, true, true, true]);
    let kinds: Vec<RungKind> = fallback.rungs.iter().map(|rung| rung.uses.kind()).collect();
    let predicted = RungKind::Prediction;
    assert_eq!(kinds, [RungKind::Version, RungKind::Version, RungKind::Model, predicted, predicted, predicted]);
    let constant = json!({"p": [[0.25, 1], [-1, u64::MAX]], "label": "none", "is sure": false});
    let constant = constant.as_object().expect("an object").clone().into_iter().collect();
    let uses: Vec<RungUse> = fallback.rungs.into_iter().map(|rung| rung.uses).collect();
    let expected = [
        RungUse::Version(VersionChoice::Number("3".parse().expect("a version"))),
        RungUse::Version(VersionChoice::Previous),
        RungUse::Model("small_encoder".parse().expect("a name")),
        RungUse::Prediction(PredictionConfig::Prior(vec![0.25, 0.75])),
        RungUse::Prediction(PredictionConfig::LastAnswer { entries_max: 5.try_into().expect("not zero") }),
        RungUse::Prediction(PredictionConfig::Constant(constant)),
    ];
    assert_eq!(uses, expected);
}

#[test]
fn what_is_wrong_with_a_rung_is_told_where_it_stands() {
    let text = r#"[[fallback.rung]]
use = "version"
version = 0
model = "m"
[[fallback.rung]]
use = "model"
outputs = { p = [0.5] }
[[fallback.rung]]
use = "model"
model = "../m"
[[fallback.rung]]
use = "prediction"
[[fallback.rung]]
use = "prediction"
kind = "constant"
prior = [0.5]
[[fallback.rung]]
use = "prediction"
kind = "constant"
outputs = { p = 2026-01-01 }
[[fallback.rung]]
use = "prediction"
kind = "prior"
prior = [1.5]
version = "previous"
[[fallback.rung]]
enabled = 1
usee = "model"
[[fallback.rung]]
use = "luck"
model = "m"
[[fallback.rung]]
use = "prediction"
kind = "prior"
"#;
    let expected = [
        "m.toml:3: `fallback.rung[0].version`: expected \"previous\" or the number of a version, got 0",
        "m.toml:4: `fallback.rung[0].model`: expected only in a rung of `use = \"model\"`",
        "m.toml:5: `fallback.rung[1].model`: expected the name of a model, got nothing",
        "m.toml:7: `fallback.rung[1].outputs`: expected only in a rung of `kind = \"constant\"`",
        "m.toml:10: `fallback.rung[2].model`: expected the name of a model, got \"../m\"",
        "m.toml:11: `fallback.rung[3].kind`: expected the kind of prediction, got nothing",
        "m.toml:13: `fallback.rung[4].outputs`: expected a row of each output, got nothing",
        "m.toml:16: `fallback.rung[4].prior`: expected only in a rung of `kind = \"prior\"`",
        "m.toml:20: `fallback.rung[5].outputs`: expected the values of one row of each output, such as { probabilities = [0.65, 0.35] }, got a table",
        "m.toml:24: `fallback.rung[6].prior`: expected a list, each item a number from 0 to 1, got [1.5]",
        "m.toml:25: `fallback.rung[6].version`: expected only in a rung of `use = \"version\"`",
        "m.toml:26: `fallback.rung[7].use`: expected what the rung uses, got nothing",
        "m.toml:27: `fallback.rung[7].enabled`: expected true or false, got 1",
        "m.toml:28: unknown key `fallback.rung[7].usee`; did you mean `fallback.rung[7].use`?",
        "m.toml:30: `fallback.rung[8].use`: expected \"version\", \"model\" or \"prediction\", got \"luck\"",
        "m.toml:32: `fallback.rung[9].prior`: expected a probability for each class, got nothing",
    ];
    assert_eq!(lines(text), expected);
}

#[test]
fn rungs_are_a_list_of_some_tables() {
    let many = "[[fallback.rung]]\nuse = \"version\"\n".repeat(17);
    assert_eq!(lines(&many), ["m.toml:1: `fallback.rung`: expected at most 16 rungs, got 17"]);
    let single = "m.toml:1: `fallback.rung`: expected tables [[fallback.rung]], got a table";
    assert_eq!(lines("fallback.rung.use = \"model\""), [single]);
    let misplaced =
        "m.toml:1: unknown key `fallback.use`; known here: check_interval, check_tolerance, non_finite, rung";
    assert_eq!(lines("fallback.use = \"model\""), [misplaced]);
}

#[test]
fn defaults() {
    let config = ModelConfig::default();
    assert_eq!(ModelConfig::parse("m.toml", ""), Ok(config.clone()));
    assert_eq!((config.max_batch_size.get(), config.timeout), (64, None));
    assert_eq!(config.versions, VersionPolicy::default());
    assert_eq!(config.batching.max_queue_delay, Duration::from_millis(2));
    assert_eq!((config.batching.queue_rows_max.get(), config.batching.request_rows_max.get()), (1024, 1024));
    assert_eq!((config.batching.priority_levels.get(), config.batching.default_priority.get()), (2, 2));
    assert_eq!((config.confidence.temperature, config.confidence.low), (1.0, 0.5));
    assert_eq!(config.device.placement, Placement::Auto);
    assert_eq!(config.warmup.time_max, Duration::from_secs(10));
    let breaker = &config.breaker;
    assert_eq!((breaker.calls_min.get(), breaker.open_for_max), (5, Duration::from_secs(30)));
    let own =
        ModelConfig::parse("m.toml", "breaker.window = 2\nbreaker.open_for = \"1m\"").expect("a model.toml").breaker;
    assert_eq!((own.calls_min.get(), own.open_for_max), (2, Duration::from_mins(1)));
    assert_eq!((config.device.policy, config.device.precision), (DevicePolicy::PreferGpu, Precision::F32));
    assert!(config.fallback.rungs.is_empty() && config.fallback.non_finite == NonFinite::NextRung);
    let small = ModelConfig::parse("m.toml", "max_batch_size = 1\nbatching.priority_levels = 1").expect("a model.toml");
    assert_eq!((small.batching.queue_rows_max.get(), small.batching.default_priority.get()), (16, 1));
    let short = ModelConfig::parse("m.toml", "batching.queue_rows_max = 64").expect("a model.toml");
    assert_eq!(short.batching.request_rows_max.get(), 64);
}

#[test]
fn every_default_is_what_the_reference_says() {
    let mut settings = Reader::default();
    ModelConfig::read(&mut settings);
    for setting in settings
        .described()
        .iter()
        .filter(|setting| !setting.default.contains([' ', '`']) && !setting.key.contains("[]"))
    {
        let text = format!("{} = {}", setting.key, setting.default);
        assert_eq!(ModelConfig::parse("m.toml", &text), Ok(ModelConfig::default()), "{text}");
    }
}

#[test]
fn every_problem_is_told_at_once() {
    let text = r#"max_batchsize = 1
versions = "newest"
timeout = "2h"
[batching]
max_queue_delay = 2
preferred_batch_sizes = [0]
priority_levels = 17
[confidence]
scores = "probability"
labels = [1]
temperature = 0
low = 1.5
range = [2, 1]
[device]
placement = "gpu"
[warm_up]
"#;
    let expected = [
        "m.toml:1: unknown key `max_batchsize`; did you mean `max_batch_size`?",
        "m.toml:2: `versions`: expected \"latest\", \"latest:2\" for the newest two, \"all\" or a list of version numbers such as [1, 3], got \"newest\"",
        "m.toml:3: `timeout`: expected a duration from 1ms to 1h, such as \"250ms\", got \"2h\"",
        "m.toml:5: `batching.max_queue_delay`: expected a duration from 0s to 1s, such as \"250ms\", got 2",
        "m.toml:6: `batching.preferred_batch_sizes`: expected a list, each item a whole number from 1 to 65536, got [0]",
        "m.toml:7: `batching.priority_levels`: expected a whole number from 1 to 16, got 17",
        "m.toml:9: `confidence.scores`: expected \"softmax\", \"sigmoid\", \"logits\", \"regression\", \"embedding\" or \"none\", \
         got \"probability\"",
        "m.toml:10: `confidence.labels`: expected a list, each item a string, got [1]",
        "m.toml:11: `confidence.temperature`: expected a number from 0.001 to 1000, got 0",
        "m.toml:12: `confidence.low`: expected a number from 0 to 1, got 1.5",
        "m.toml:13: `confidence.range`: expected two numbers, the lower first, such as [0.0, 350.0], got [2, 1]",
        "m.toml:15: `device.placement`: expected \"auto\", \"inline\" or \"thread\", got \"gpu\"",
        "m.toml:16: unknown key `warm_up`; did you mean `warmup`?",
    ];
    assert_eq!(lines(text), expected);
}

#[test]
fn settings_that_do_not_go_together() {
    let text = r#"
max_batch_size = 32
[batching]
preferred_batch_sizes = [64, 8]
queue_rows_max = 16
request_rows_max = 17
default_priority = 3
[confidence]
labels = ["a", "b", "a"]
[breaker]
calls_min = 101
open_for = "40s"
open_for_max = "20s"
"#;
    let expected = [
        "m.toml:4: `batching.preferred_batch_sizes`: expected at most `max_batch_size`, which is 32, got 64",
        "m.toml:5: `batching.queue_rows_max`: expected at least `max_batch_size`, which is 32, got 16",
        "m.toml:6: `batching.request_rows_max`: expected at most `batching.queue_rows_max`, which is 16, got 17",
        "m.toml:7: `batching.default_priority`: expected at most `batching.priority_levels`, which is 2, got 3",
        "m.toml:9: `confidence.labels`: expected labels that all differ, got \"a\" twice",
        "m.toml:11: `breaker.calls_min`: expected at most `breaker.window`, which is 100, got 101",
        "m.toml:13: `breaker.open_for_max`: expected at least `breaker.open_for`, which is 40s, got 20s",
    ];
    assert_eq!(lines(text), expected);
    assert_eq!(lines("confidence.labels = []"), ["m.toml:1: `confidence.labels`: expected at least one label, got []"]);
    assert_eq!(
        lines("versions = []"),
        [
            "m.toml:1: `versions`: expected \"latest\", \"latest:2\" for the newest two, \"all\" or a list of version numbers such as [1, 3], got []"
        ]
    );
    let misplaced = "m.toml:1: unknown key `max_queue_delay`; did you mean `batching.max_queue_delay`?";
    assert_eq!(lines("max_queue_delay = \"1ms\""), [misplaced]);
    // A value that was refused is not held against others.
    let refused = "max_batch_size = 0\nbatching.preferred_batch_sizes = [128]";
    assert_eq!(lines(refused), ["m.toml:1: `max_batch_size`: expected a whole number from 1 to 65536, got 0"]);
}

#[test]
fn files_are_named() {
    let path = std::env::temp_dir().join("sconce-no-such-model.toml");
    let problems = ModelConfig::open(&path).expect_err("no such file");
    assert!(problems.to_string().starts_with(&path.display().to_string()));
}

proptest! {
    #[test]
    fn no_text_panics(
        key in "(max_batch_size|versions|batching(\\.[a-z_]+)?|confidence(\\.(labels|range))?|fallback(\\.rung)?|\\PC{0,9})",
        value in "(0|-1|64|nan|\"\\PC{0,4}\"|\\[\\]|\\[1, 9223372036854775807, 1\\]|\\[1e308, -1e308\\]|\\{x = 1\\}|\\[\\{(use|kind|outputs|prior) = \\PC{0,9}\\}\\]|\\PC{0,9})",
    ) {
        if let Err(problems) = ModelConfig::parse("m.toml", &format!("{key} = {value}\n")) {
            prop_assert!(!problems.is_empty());
        }
    }
}

#[test]
fn version_policies() {
    let latest = |count| VersionPolicy::Latest(std::num::NonZeroUsize::new(count).expect("not zero"));
    for (text, policy) in [
        ("\"latest\"", latest(1)),
        ("\"latest:1\"", latest(1)),
        ("\"latest:2\"", latest(2)),
        ("\"all\"", VersionPolicy::All),
        ("[3, 1, 3]", VersionPolicy::Only(vec![1, 3])),
    ] {
        assert_eq!(ModelConfig::parse("m.toml", &format!("versions = {text}")).expect(text).versions, policy);
    }
    for text in ["\"latest:\"", "\"latest:0\"", "\"latest:-1\"", "\"all:2\"", "\"newest\"", "[]", "[0]", "2"] {
        assert!(ModelConfig::parse("m.toml", &format!("versions = {text}")).is_err(), "{text}");
    }
}
