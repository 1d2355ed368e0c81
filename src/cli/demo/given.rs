//! The demo with a model that the user brings: a Hugging Face folder of texts or of pictures, asked a few questions that
//! show what it does.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant};

use super::ask::Answer;
use super::question::{QUERY, Question, SENTENCES};
use super::report;
use super::traffic::{self, Client};
use crate::app::Server;
use crate::cli::screen::say;
use crate::registry::Single;

/// Callers at a time.
const CALLERS: usize = 8;
/// Classes of a picture that are shown.
const CLASSES_SHOWN: usize = 5;

/// A model that the user brings.
pub(super) struct Given {
    name: String,
    is_text: bool,
    files: Vec<PathBuf>,
    pictures: Question,
}

impl Given {
    /// The model in a folder, of texts or else of pictures. Errors: a picture cannot be read.
    pub(super) fn new(folder: &Single, is_text: bool, files: &[PathBuf]) -> anyhow::Result<Self> {
        let pictures = Question::of_pictures(files)?;
        Ok(Self { name: folder.name(), is_text, files: files.to_vec(), pictures })
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Asks, prints the answers, and then how fast they come. Errors: the model did not load, or a call fails.
    pub(super) async fn ask(&self, server: &Server, time: Duration) -> anyhow::Result<()> {
        let question = Arc::new(self.question(server)?);
        let client = traffic::connect(server.grpc()).await?;
        let answer = question.ask(&client, &self.name, 0..question.rows()).await?;
        say(&format!("\n── {} ──", self.name));
        self.print(&answer, question.rows())?;
        self.measure(&client, &question, time).await
    }

    fn question(&self, server: &Server) -> anyhow::Result<Question> {
        let state = server.pipeline().model_states().into_iter().find(|state| state.model == self.name);
        let state = state.with_context(|| "the folder could not be read; the log above says why")?;
        anyhow::ensure!(state.ready, "{}: {}", self.name, state.detail);
        let deployment = server.pipeline().registry().table().route(&self.name, "")?;
        let takes = |name: &str| deployment.about.signature.inputs.iter().any(|input| input.name == name);
        let (flag, input) = if self.is_text { ("--text", "text") } else { ("--image", "image") };
        anyhow::ensure!(takes(input), "{flag}: the model {} takes no input \"{input}\"", self.name);
        if self.is_text {
            return Ok(Question::of_texts(self.ranks(server)));
        }
        Ok(self.pictures.clone())
    }

    fn print(&self, answer: &Answer, rows: usize) -> anyhow::Result<()> {
        if answer.outputs.contains_key("embedding") {
            return print_similarity(&answer.rows("embedding", rows)?);
        }
        if answer.outputs.contains_key("score") {
            return print_ranking(&answer.rows("score", rows)?);
        }
        if !self.is_text {
            self.print_pictures(answer, &answer.rows("probabilities", rows)?);
            return Ok(());
        }
        for ((sentence, label), confidence) in SENTENCES.iter().zip(&answer.labels).zip(&answer.confidence) {
            say(&format!("  {confidence:.3}  {label:<16} {sentence}"));
        }
        Ok(())
    }

    fn print_pictures(&self, answer: &Answer, probabilities: &[&[f32]]) {
        let told = answer.labels.iter().zip(&answer.confidence);
        for (at, (row, (label, confidence))) in probabilities.iter().zip(told).enumerate() {
            let file = self.files.get(at).and_then(|file| file.file_name());
            let name = file.map_or("the shipped picture".into(), |name| name.to_string_lossy());
            say(&format!("  {name}: {label} ({confidence:.3})"));
            let mut ranked: Vec<(usize, f32)> = row.iter().copied().enumerate().collect();
            ranked.sort_by(|one, other| other.1.total_cmp(&one.1));
            let top = ranked.iter().take(CLASSES_SHOWN).map(|(class, share)| format!("class {class}: {share:.3}"));
            say(&format!("      {}", top.collect::<Vec<_>>().join(", ")));
        }
    }

    /// One row a request, from several callers, for a while.
    async fn measure(&self, client: &Client, question: &Arc<Question>, time: Duration) -> anyhow::Result<()> {
        let begun = Instant::now();
        let mut callers = JoinSet::new();
        for caller in 0..CALLERS {
            let (client, question, model) = (client.clone(), Arc::clone(question), self.name.clone());
            callers.spawn(async move {
                let (mut latencies, mut row) = (Vec::new(), caller % question.rows());
                while begun.elapsed() < time {
                    let asked = Instant::now();
                    question.ask(&client, &model, row..row + 1).await?;
                    latencies.push(asked.elapsed());
                    row = (row + 1) % question.rows();
                }
                anyhow::Ok(latencies)
            });
        }
        let mut latencies = Vec::new();
        while let Some(ended) = callers.join_next().await {
            latencies.extend(ended.context("a caller panicked")??);
        }
        latencies.sort_unstable();
        let rate = f64::from(u32::try_from(latencies.len())?) / begun.elapsed().as_secs_f64();
        if !latencies.is_empty() {
            let count = latencies.len();
            say(&format!(
                "\n  {rate:.0} requests/s ({count} requests of one row, {CALLERS} at a time, one connection)"
            ));
            say(&format!("  latency  {}", report::percentiles(&latencies)));
        }
        Ok(())
    }

    /// How to ask the same from Python.
    pub(super) fn how_to_call(&self, server: &Server) -> String {
        let (grpc, model) = (server.grpc(), &self.name);
        let items: &[(&str, &str)] = match (self.is_text, self.ranks(server)) {
            (false, _) => &[("image", "open(\"a.jpg\", \"rb\").read()")],
            (true, false) => &[("text", "\"Hello, world\"")],
            (true, true) => &[("text", "\"Who greets?\""), ("text_pair", "\"Hello, world\"")],
        };
        let items: Vec<String> = items.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
        format!(
            "    import numpy as np, tritonclient.grpc as client
    server = client.InferenceServerClient(\"{grpc}\")
    inputs = [client.InferInput(name, [1], \"BYTES\") for name in (row := {{{}}})]
    for item in inputs:
        item.set_data_from_numpy(np.array([row[item.name()]], object))
    print(server.infer(\"{model}\", inputs, parameters={{\"confidence\": True}}).get_response())",
            items.join(", ")
        )
    }

    /// Does the model score pairs of texts?
    fn ranks(&self, server: &Server) -> bool {
        let deployment = server.pipeline().registry().table().route(&self.name, "");
        deployment
            .is_ok_and(|deployment| deployment.about.signature.outputs.iter().any(|output| output.name == "score"))
    }
}

/// The cosine of every two sentences, and which is most like which.
fn print_similarity(embeddings: &[&[f32]]) -> anyhow::Result<()> {
    for (at, sentence) in SENTENCES.iter().enumerate() {
        say(&format!("  {}  {sentence}", at + 1));
    }
    say("\n  similarity (cosine of the embeddings):");
    let numbers: Vec<String> = (1..=embeddings.len()).map(|number| format!("{number:>6}")).collect();
    say(&format!("    {}", numbers.concat()));
    for (at, one) in embeddings.iter().enumerate() {
        let line: Vec<String> = embeddings.iter().map(|other| format!("{:>6.2}", cosine(one, other))).collect();
        let others = embeddings.iter().enumerate().filter(|(other, _)| *other != at);
        let nearest = others.max_by(|a, b| cosine(one, a.1).total_cmp(&cosine(one, b.1)));
        let (nearest, _) = nearest.context("expected more than one sentence")?;
        say(&format!("  {} {}   most like {}", at + 1, line.concat(), nearest + 1));
    }
    Ok(())
}

fn cosine(one: &[f32], other: &[f32]) -> f32 {
    let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    product(one, other) / (product(one, one) * product(other, other)).sqrt()
}

/// The sentences by their score for the query.
fn print_ranking(scores: &[&[f32]]) -> anyhow::Result<()> {
    say(&format!("  ranked for \"{QUERY}\":"));
    let mut ranked: Vec<(f32, &str)> = scores.iter().flat_map(|row| row.iter().copied()).zip(SENTENCES).collect();
    anyhow::ensure!(ranked.len() == SENTENCES.len(), "expected a score for each sentence");
    ranked.sort_by(|one, other| other.0.total_cmp(&one.0));
    for (score, sentence) in ranked {
        say(&format!("  {score:.4}  {sentence}"));
    }
    Ok(())
}
