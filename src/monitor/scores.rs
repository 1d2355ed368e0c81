//! How sure a model was: confidence by predicted class, entropy, margin, or the distribution of predicted values.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

use super::bounds;
use super::embeddings::EmbeddingBook;
use super::latency::SLICES;
use super::snapshot::{ClassSnapshot, ScoreSnapshot};
use crate::stats::{Bounded, Window};
use crate::types::{ClassScore, Scores, printable};

/// Classes with series of their own; the rest share `other`.
const CLASSES_MAX: usize = 20;
const LABEL_CHARS_MAX: usize = 128;
/// Larger values are counted as this one, so that their sum stays finite.
const VALUE_MAX: f64 = 1e290;

/// What is to be recorded of a model's predictions.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ScorePlan {
    /// Nothing: the model declares no output to score.
    #[default]
    None,
    /// A classifier's confidence.
    Classes {
        /// Names of the classes in order; those without a name are numbered from 0.
        labels: Vec<String>,
        /// Number of classes; 0 if it is not known beforehand.
        classes: usize,
        /// Confidence below which a prediction counts as low, 0 to 1.
        low: f64,
        /// Do the classes exclude each other?
        exclusive: bool,
    },
    /// Embeddings.
    Embeddings,
    /// A regression's values.
    Values {
        /// Where values are expected, for the bounds of the histogram.
        range: Option<(f64, f64)>,
    },
}

/// Instruments for one model's scores.
#[derive(Debug)]
pub(super) enum ScoreBook {
    None,
    Classes(Box<ClassBook>),
    Embeddings(Box<EmbeddingBook>),
    Values(Box<ValueBook>),
}

#[derive(Debug)]
pub(super) struct ValueBook {
    values: Bounded,
    non_finite: AtomicU64,
}

#[derive(Debug)]
pub(super) struct ClassBook {
    labels: Vec<String>,
    /// One for each label.
    confidence: Vec<Bounded>,
    /// One for each label; none where classes exclude each other.
    probability: Vec<Bounded>,
    /// Numbers of a row.
    classes: usize,
    entropy: Bounded,
    margin: Bounded,
    threshold: f64,
    low: AtomicU64,
    non_finite: AtomicU64,
    window: Window,
}

impl ScoreBook {
    pub(super) fn new(plan: &ScorePlan, window: Duration, origin: Instant) -> Self {
        match plan {
            ScorePlan::None => Self::None,
            ScorePlan::Classes { labels, classes, low, exclusive } => {
                let mut book = ClassBook::new(series_labels(labels, *classes), *low, window, origin);
                if !exclusive {
                    book.probability = book.labels.iter().map(|_| Bounded::new(&bounds::RATIO)).collect();
                    book.classes = *classes;
                }
                Self::Classes(Box::new(book))
            }
            ScorePlan::Embeddings => Self::Embeddings(Box::new(EmbeddingBook::new())),
            ScorePlan::Values { range } => {
                let values = Bounded::new(&bounds::values(*range));
                Self::Values(Box::new(ValueBook { values, non_finite: AtomicU64::new(0) }))
            }
        }
    }

    /// Counts the scores of some rows. Scores of another kind than planned are not counted.
    pub(super) fn record(&self, scores: &Scores) {
        match (self, scores) {
            (Self::Classes(book), Scores::Classes(rows)) => rows.iter().for_each(|row| book.record(row.as_ref())),
            (Self::Classes(book), Scores::Labels { top, probabilities }) => {
                top.iter().for_each(|row| book.record(row.as_ref()));
                book.record_labels(probabilities);
            }
            (Self::Embeddings(book), Scores::Embeddings(rows)) => book.record(rows),
            (Self::Values(book), Scores::Values(rows)) => rows.iter().for_each(|row| book.record(*row)),
            _ => {}
        }
    }

    pub(super) fn turn(&self, now: Instant) {
        if let Self::Classes(book) = self {
            book.window.turn(now, book.cells());
        }
    }

    pub(super) fn snapshot(&self, now: Instant) -> ScoreSnapshot {
        match self {
            Self::None => ScoreSnapshot::None,
            Self::Classes(book) => book.snapshot(now),
            Self::Embeddings(book) => book.snapshot(),
            Self::Values(book) => {
                ScoreSnapshot::Values { values: book.values.snapshot(), non_finite: book.non_finite.load(Relaxed) }
            }
        }
    }
}

impl ValueBook {
    fn record(&self, row: Option<f64>) {
        match row.filter(|value| value.is_finite()) {
            Some(value) => self.values.record(value.clamp(-VALUE_MAX, VALUE_MAX)),
            None => _ = self.non_finite.fetch_add(1, Relaxed),
        }
    }
}

impl ClassBook {
    fn new(labels: Vec<String>, threshold: f64, window: Duration, origin: Instant) -> Self {
        Self {
            confidence: labels.iter().map(|_| Bounded::new(&bounds::CONFIDENCE)).collect(),
            probability: Vec::new(),
            classes: 0,
            entropy: Bounded::new(&bounds::RATIO),
            margin: Bounded::new(&bounds::RATIO),
            threshold,
            low: AtomicU64::new(0),
            non_finite: AtomicU64::new(0),
            window: Window::new(labels.len(), window, SLICES, origin),
            labels,
        }
    }

    fn record(&self, row: Option<&ClassScore>) {
        // One sum tells of any of the three, at a third of the cost.
        let finite = |score: &&ClassScore| (score.confidence + score.entropy + score.margin).is_finite();
        let Some(score) = row.filter(finite) else {
            self.non_finite.fetch_add(1, Relaxed);
            return;
        };
        // The last label is `other` wherever a class may lie beyond those with a label of their own.
        if let Some(confidence) = self.confidence.get(score.class).or(self.confidence.last()) {
            match score.bin {
                Some(bin) => confidence.record_in(bin, score.confidence),
                None => confidence.record(score.confidence),
            }
        }
        self.entropy.record(score.entropy);
        self.margin.record(score.margin);
        if score.confidence < self.threshold {
            self.low.fetch_add(1, Relaxed);
        }
    }

    /// Counts every label's probability; what could not be scored is NaN and was counted as such.
    fn record_labels(&self, probabilities: &[f32]) {
        for row in probabilities.chunks_exact(self.classes.max(1)) {
            for (class, probability) in row.iter().enumerate().filter(|(_, probability)| probability.is_finite()) {
                if let Some(histogram) = self.probability.get(class).or(self.probability.last()) {
                    histogram.record(f64::from(*probability));
                }
            }
        }
    }

    fn cells(&self) -> impl Iterator<Item = u64> {
        self.confidence.iter().map(Bounded::count)
    }

    fn snapshot(&self, now: Instant) -> ScoreSnapshot {
        let recent = self.window.recent(now, self.cells());
        let each = self.labels.iter().zip(&self.confidence).zip(recent).enumerate();
        let class = |(at, ((label, confidence), recent)): (usize, ((&String, &Bounded), u64))| ClassSnapshot {
            label: label.clone(),
            confidence: confidence.snapshot(),
            probability: self.probability.get(at).map(Bounded::snapshot),
            recent,
        };
        ScoreSnapshot::Classes {
            classes: each.map(class).collect(),
            entropy: self.entropy.snapshot(),
            margin: self.margin.snapshot(),
            low: self.low.load(Relaxed),
            non_finite: self.non_finite.load(Relaxed),
        }
    }
}

/// Distinct labels: the first twenty classes, then `other` if there are or may be more.
///
/// Two classes of one name would be one series twice, which makes a scrape fail as a whole: the later one gets its
/// number.
fn series_labels(labels: &[String], classes: usize) -> Vec<String> {
    let known = classes.max(labels.len());
    let own = if known == 0 { CLASSES_MAX } else { known.min(CLASSES_MAX) };
    let mut taken = HashSet::from(["other".to_owned()]);
    let mut series = Vec::with_capacity(own + 1);
    for class in 0..own {
        let mut label = labels.get(class).map_or_else(|| class.to_string(), |label| printable(label, LABEL_CHARS_MAX));
        while !taken.insert(label.clone()) {
            label = format!("{label} ({class})");
        }
        series.push(label);
    }
    if known == 0 || known > CLASSES_MAX {
        series.push("other".to_owned());
    }
    series
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use smallvec::smallvec;
    use tokio::time::Instant;

    use super::{ScoreBook, ScorePlan, series_labels};
    use crate::monitor::ScoreSnapshot;
    use crate::types::{ClassScore, Scores};

    const WINDOW: Duration = Duration::from_mins(1);

    fn score(class: usize, confidence: f64) -> ClassScore {
        ClassScore { class, confidence, margin: 0.5, entropy: 0.25, bin: None }
    }

    #[test]
    fn labels_are_distinct_and_bounded() {
        let named = ["yes", "no", "yes", "other", "1 (4)"].map(str::to_owned);
        assert_eq!(series_labels(&named, 0), ["yes", "no", "yes (2)", "other (3)", "1 (4)"]);
        assert_eq!(series_labels(&[], 3), ["0", "1", "2"]);
        assert_eq!(series_labels(&[], 20).len(), 20);
        assert_eq!(series_labels(&[], 1000).len(), 21);
        assert_eq!(series_labels(&[], 0).last().map(String::as_str), Some("other"));
        assert_eq!(series_labels(&["a\nb".to_owned()], 1), ["a\\u{a}b"]);
    }

    #[test]
    fn rows_are_counted_by_class_and_not_a_number_is_kept_out() {
        let now = Instant::now();
        let plan = ScorePlan::Classes { labels: Vec::new(), classes: 25, low: 0.6, exclusive: true };
        let book = ScoreBook::new(&plan, WINDOW, now);
        let rows = [score(0, 0.999), score(24, 0.55), score(usize::MAX, 0.7), score(1, f64::NAN)];
        book.record(&Scores::Classes(rows.into_iter().map(Some).chain([None]).collect()));
        book.record(&Scores::Values(smallvec![Some(1.0)]));
        let ScoreSnapshot::Classes { classes, entropy, margin, low, non_finite } = book.snapshot(now) else {
            unreachable!("classes were planned")
        };
        assert_eq!((low, non_finite, entropy.count(), margin.count()), (1, 2, 3, 3));
        assert_eq!((classes[0].confidence.count(), classes[20].confidence.count(), classes[20].recent), (1, 2, 2));
        assert!((classes[0].confidence.sum - 0.999).abs() < 1e-12 && (margin.sum - 1.5).abs() < 1e-12);
    }

    #[test]
    fn confidence_is_counted_in_the_bin_that_a_device_has_told() {
        let now = Instant::now();
        let plan = ScorePlan::Classes { labels: Vec::new(), classes: 2, low: 0.6, exclusive: true };
        let book = ScoreBook::new(&plan, WINDOW, now);
        let told = [Some(2), Some(16), Some(17), Some(u8::MAX), None];
        let rows = told.map(|bin| Some(ClassScore { bin, ..score(0, 0.999) }));
        book.record(&Scores::Classes(rows.into_iter().collect()));
        let ScoreSnapshot::Classes { classes, .. } = book.snapshot(now) else { unreachable!("classes were planned") };
        let counts = &classes[0].confidence.counts;
        // There are 17: what is told of others is looked up, as what is not told.
        assert_eq!((counts.len(), counts[2], counts[16], counts[14]), (17, 1, 1, 3));
        assert!((classes[0].confidence.sum - 5.0 * 0.999).abs() < 1e-12);
    }

    #[test]
    fn labels_that_do_not_exclude_each_other_have_a_histogram_each() {
        let now = Instant::now();
        let plan = ScorePlan::Classes { labels: Vec::new(), classes: 22, low: 0.6, exclusive: false };
        let book = ScoreBook::new(&plan, WINDOW, now);
        let mut probabilities = vec![0.25; 22];
        probabilities[21] = 0.75;
        probabilities.extend([f32::NAN; 22]);
        book.record(&Scores::Labels { top: smallvec![Some(score(21, 0.75)), None], probabilities });
        let ScoreSnapshot::Classes { classes, non_finite, .. } = book.snapshot(now) else {
            unreachable!("classes were planned")
        };
        let sums: Vec<f64> = classes.iter().map(|class| class.probability.as_ref().expect("labels").sum).collect();
        assert_eq!((sums[0].to_bits(), sums[20].to_bits()), (0.25_f64.to_bits(), 1.0_f64.to_bits()));
        assert_eq!((non_finite, classes[20].confidence.count()), (1, 1));
    }

    #[test]
    fn values_are_counted_and_not_a_number_is_kept_out() {
        let now = Instant::now();
        let book = ScoreBook::new(&ScorePlan::Values { range: Some((0.0, 100.0)) }, WINDOW, now);
        book.record(&Scores::Values(smallvec![Some(-5.0), Some(50.0), None, Some(f64::INFINITY)]));
        let ScoreSnapshot::Values { values, non_finite } = book.snapshot(now) else {
            unreachable!("values were planned")
        };
        assert_eq!((values.count(), non_finite), (2, 2));
        assert!((values.sum - 45.0).abs() < 1e-12);
    }
}
