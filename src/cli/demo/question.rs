//! What the demo asks a model that the user brings: some sentences, or some pictures.

use std::fs;
use std::ops::Range;
use std::path::PathBuf;

use anyhow::Context as _;

use super::ask::{Answer, Strings, ask};
use super::traffic::Client;

/// Said in pairs that mean much the same.
pub(super) const SENTENCES: [&str; 8] = [
    "A man is playing a guitar on the stage.",
    "Someone makes music with a string instrument.",
    "The stock market fell sharply today.",
    "Shares lost much of their value this afternoon.",
    "How do I reset my password?",
    "I cannot remember my login; what should I do?",
    "The dog is sleeping on the couch.",
    "A pet takes a nap on the sofa.",
];
/// What rankers rank the sentences for.
pub(super) const QUERY: &str = "forgotten password";
/// Drawn for the demo: the sun over the sea.
const PICTURE: &[u8] = include_bytes!("picture.png");

/// Rows of byte strings for one or two inputs.
#[derive(Clone)]
pub(super) struct Question {
    inputs: Vec<(&'static str, Vec<Vec<u8>>)>,
}

impl Question {
    /// The sentences, each after the query where the model takes pairs.
    pub(super) fn of_texts(in_pairs: bool) -> Self {
        let sentences: Vec<Vec<u8>> = SENTENCES.map(|text| text.as_bytes().to_vec()).to_vec();
        if !in_pairs {
            return Self { inputs: vec![("text", sentences)] };
        }
        let queries = vec![QUERY.as_bytes().to_vec(); SENTENCES.len()];
        Self { inputs: vec![("text", queries), ("text_pair", sentences)] }
    }

    /// The pictures in these files, or the one that ships. Errors: a file cannot be read.
    pub(super) fn of_pictures(files: &[PathBuf]) -> anyhow::Result<Self> {
        let mut pictures = Vec::new();
        for file in files {
            pictures.push(fs::read(file).with_context(|| format!("read the picture {}", file.display()))?);
        }
        if pictures.is_empty() {
            pictures.push(PICTURE.to_vec());
        }
        Ok(Self { inputs: vec![("image", pictures)] })
    }

    /// How many rows it has, at least one.
    pub(super) fn rows(&self) -> usize {
        self.inputs.first().map_or(1, |(_, rows)| rows.len())
    }

    /// Asks about some of its rows in one request. Errors: the call fails.
    pub(super) async fn ask(&self, client: &Client, model: &str, rows: Range<usize>) -> anyhow::Result<Answer> {
        let some = |all: &'_ [Vec<u8>]| all.get(rows.clone()).unwrap_or_default().to_vec();
        let strings: Vec<Strings> = self.inputs.iter().map(|(name, all)| (*name, some(all))).collect();
        ask(client, model, &strings).await
    }
}
