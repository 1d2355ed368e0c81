//! `sconce check`: is a model folder sound, and what does the model take and give?

use std::path::PathBuf;
use std::process::ExitCode;

use super::screen::{complain, say};
use crate::config::{Precision, ScoreKind};
use crate::device::LocalExecutor;
use crate::model::Loaded;
use crate::registry::{Candidate, Directory, Found, Listing, RegistrySource as _, check_rungs, golden};
use crate::types::{TensorSpec, Version};

/// What to check.
#[derive(Debug, clap::Args)]
pub(super) struct Flags {
    /// A model's folder (with numbered versions inside), or a repository of such folders.
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

/// Loads every chosen version and prints its signature. Exit code 1 if any is unsound.
pub(super) fn run(flags: &Flags) -> anyhow::Result<ExitCode> {
    let found = match Directory::model(&flags.folder) {
        Some(model) => vec![model],
        None => Directory::new(&flags.folder).list().map_err(anyhow::Error::msg)?,
    };
    if found.is_empty() {
        let folder = flags.folder.display();
        anyhow::bail!(
            "{folder}: expected a model folder (one that holds a numbered version such as `1`), \
             or a repository of model folders; found neither"
        );
    }
    let mut sound = true;
    for model in found {
        sound &= check_model(&model);
    }
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn check_model(model: &Found) -> bool {
    match &model.listing {
        Ok(listing) => match listing.problem() {
            Some(problem) => complain_of(model, problem),
            None => listing.chosen().all(|candidate| check_version(listing, candidate)),
        },
        Err(problems) => complain_of(model, problems),
    }
}

/// Always false: the model is unsound.
fn complain_of(model: &Found, problems: &str) -> bool {
    for line in problems.lines() {
        complain(&format!("{}: {line}", model.folder));
    }
    false
}

fn check_version(listing: &Listing, candidate: &Candidate) -> bool {
    let version = candidate.version;
    let loaded = LocalExecutor::load(&candidate.files, &listing.config).and_then(|mut executor| {
        let about = executor.loaded().about.clone();
        golden::verify(&mut executor, &about, &candidate.files, Precision::F32)?;
        check_rungs(&listing.config, &about)?;
        Ok(executor)
    });
    match loaded {
        Ok(executor) => {
            print_model(listing, version, executor.loaded());
            true
        }
        Err(error) => {
            complain(&format!("{} version {version}: {error}", listing.name));
            false
        }
    }
}

fn print_model(listing: &Listing, version: Version, loaded: &Loaded) {
    say(&format!("{} version {version} ({}): ok", listing.name, loaded.about.platform));
    for input in &loaded.about.signature.inputs {
        say(&format!("  input   {}", tensor_line(input)));
    }
    for output in &loaded.about.signature.outputs {
        say(&format!("  output  {}", tensor_line(output)));
    }
    if let Some(scoring) = &loaded.about.scoring {
        let output = loaded.about.signature.outputs.get(scoring.output).map_or("?", |spec| spec.name.as_str());
        if scoring.kind == ScoreKind::Regression {
            say(&format!("  scores  values of \"{output}\""));
        } else if scoring.kind == ScoreKind::Embedding {
            say(&format!("  scores  norm of \"{output}\", and its likeness to the mean of those before"));
        } else {
            let labels: Vec<_> = (0..scoring.classes().min(20)).map(|class| scoring.label(class)).collect();
            let more = if scoring.classes() > 20 { ", …" } else { "" };
            let classes = scoring.classes();
            say(&format!("  scores  confidence from \"{output}\", {classes} classes: {}{more}", labels.join(", ")));
        }
    }
    let batch = listing.config.max_batch_size;
    say(&format!("  batches of at most {batch} rows"));
}

fn tensor_line(spec: &TensorSpec) -> String {
    format!("{:<16} {:<6} {}", spec.name, spec.dtype.name(), spec.shape_text())
}
