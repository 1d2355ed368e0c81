//! What the world of a simulation knows of its requests, and the model that holds the server to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::{Duration, Instant};

use crate::device::Executor;
use crate::types::{Error, InferRequest, NamedTensor, Reason, Rows, Shape, Tensor};

/// Rows of a batch at the most.
pub(super) const BATCH_ROWS_MAX: usize = 8;
/// Time of requests that name none.
pub(super) const TIMEOUT: Duration = Duration::from_secs(2);
/// The client that never floods.
pub(super) const MODEST: u8 = 1;
/// Models, by their numbers.
pub(super) const MODELS: [&str; 2] = ["slow", "inline"];

/// Numbers from a seed (`SplitMix64`, Steele and others 2014).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(super) fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    pub(super) fn micros(&mut self, bound: u64) -> Duration {
        Duration::from_micros(self.below(bound))
    }
}

/// What a request's rows do to the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Sound,
    Refused,
    Panic,
}

/// What one request is and does.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) number: u32,
    pub(super) client: u8,
    pub(super) model: usize,
    pub(super) rows: usize,
    pub(super) kind: Sort,
    pub(super) priority: Option<u64>,
    /// Time until its transport's deadline.
    pub(super) deadline: Option<Duration>,
    pub(super) cancelled_after: Option<Duration>,
    pub(super) decoding: Duration,
    pub(super) reading: Duration,
}

/// How one request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Answered,
    Failed(Reason),
    GivenUp,
}

/// What the world knows of a request that was sent.
pub(super) struct Known {
    pub(super) wish: Wish,
    pub(super) until: Instant,
    pub(super) gone: bool,
    pub(super) fate: Option<(Fate, Duration)>,
}

#[derive(Default)]
pub(super) struct Book(pub(super) Mutex<BTreeMap<u32, Known>>);

impl Book {
    pub(super) fn sent(&self, wish: &Wish, now: Instant) {
        let until = now + wish.deadline.unwrap_or(TIMEOUT).min(TIMEOUT);
        let known = Known { wish: wish.clone(), until, gone: false, fate: None };
        assert!(self.0.lock().insert(wish.number, known).is_none());
    }

    /// A batch begins: everything in it is of this model, wanted, and not late.
    pub(super) fn begins(&self, model: usize, parts: &[Rows]) {
        let (now, book) = (Instant::now(), self.0.lock());
        let mut rows = 0;
        for part in parts {
            let values = part.inputs()[0].to_f32().expect("f32");
            rows += values.len();
            let known = &book[&number_of(values[0])];
            assert!(values.iter().all(|value| number_of(*value) == known.wish.number), "rows of one request");
            assert_eq!(known.wish.model, model, "rows of another model");
            assert!(known.until > now, "begun {:?} after the deadline", now - known.until);
            assert!(!known.gone, "begun for a client that has gone");
        }
        assert!(rows <= BATCH_ROWS_MAX);
    }

    pub(super) fn kind(&self, value: f32) -> Sort {
        self.0.lock()[&number_of(value)].wish.kind
    }

    /// Rows of requests for a model that have not ended.
    pub(super) fn wanted_rows(&self, model: usize) -> usize {
        let book = self.0.lock();
        book.values().filter(|known| known.wish.model == model && !known.gone).map(|known| known.wish.rows).sum()
    }

    pub(super) fn gone(&self, number: u32) {
        self.0.lock().get_mut(&number).expect("sent").gone = true;
    }

    pub(super) fn ended(&self, number: u32, fate: Fate, took: Duration) {
        let mut book = self.0.lock();
        let known = book.get_mut(&number).expect("sent");
        known.gone = true;
        assert!(known.fate.replace((fate, took)).is_none(), "ended twice");
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small whole numbers")]
pub(super) fn number_of(value: f32) -> u32 {
    value as u32
}

#[expect(clippy::cast_precision_loss, reason = "below 2^24")]
pub(super) fn value_of(number: u32) -> f32 {
    number as f32
}

/// Gives each row's number and the model's, so that a stranger's row or model shows.
pub(super) struct Fake {
    pub(super) model: usize,
    pub(super) book: Arc<Book>,
    /// Do batches take no time, so that this is where they begin?
    pub(super) is_inline: bool,
}

impl Executor for Fake {
    fn run(&mut self, parts: &[Rows]) -> Result<Vec<Tensor>, Error> {
        if self.is_inline {
            self.book.begins(self.model, parts);
        }
        let joined = Tensor::join(parts.iter().map(|part| &part.inputs()[0])).expect("one shape");
        let values = joined.to_f32().expect("f32");
        for value in &values {
            match self.book.kind(*value) {
                Sort::Sound => {}
                Sort::Refused => return Err(Error::new(Reason::Model, "refused")),
                // Not `panic!`, whose message would fill the screen.
                Sort::Panic => std::panic::resume_unwind(Box::new("on these rows")),
            }
        }
        let answers: Vec<f32> = values.iter().map(|value| answer_of(*value, self.model)).collect();
        Ok(vec![Tensor::from_f32(joined.shape().clone(), &answers).expect("a tensor")])
    }

    fn rebuild(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

pub(super) fn answer_of(value: f32, model: usize) -> f32 {
    value * 2.0 + if model == 0 { 0.0 } else { 1.0 }
}

pub(super) fn wish(number: u32, client: u8, random: &mut Random) -> Wish {
    let modest = client == MODEST;
    let kind = match random.below(40) {
        0 if !modest => Sort::Refused,
        1 if !modest => Sort::Panic,
        _ => Sort::Sound,
    };
    // Sometimes more than a batch has.
    let rows_max = if random.one_in(20) { 20 } else { 4 };
    let rows = if modest { 1 } else { 1 + usize::try_from(random.below(rows_max)).expect("small") };
    Wish {
        number,
        client,
        model: usize::try_from(random.below(2)).expect("small"),
        rows,
        kind,
        priority: if modest || random.one_in(2) { None } else { Some(1 + random.below(2)) },
        deadline: (!modest && random.one_in(2)).then(|| Duration::from_millis(1 + random.below(200))),
        cancelled_after: (!modest && random.one_in(6)).then(|| random.micros(40_000)),
        decoding: random.micros(1500),
        reading: if random.one_in(4) { random.micros(30_000) } else { Duration::ZERO },
    }
}

pub(super) fn message(wish: &Wish) -> InferRequest {
    let values = vec![value_of(wish.number); wish.rows];
    let tensor = Tensor::from_f32(Shape::new(&[wish.rows, 1]), &values).expect("a tensor");
    let inputs = vec![NamedTensor { name: "x".to_owned(), tensor }];
    InferRequest { model: MODELS[wish.model].to_owned(), inputs, priority: wish.priority, ..InferRequest::default() }
}

pub(super) fn check_fate(wish: &Wish, fate: Fate) {
    match fate {
        Fate::Answered => assert_eq!(wish.kind, Sort::Sound),
        Fate::GivenUp => assert!(wish.cancelled_after.is_some()),
        Fate::Failed(Reason::Model) => assert_eq!(wish.kind, Sort::Refused, "only the guilty fail"),
        Fate::Failed(Reason::Panic) => assert_eq!(wish.kind, Sort::Panic, "only the guilty fail"),
        Fate::Failed(Reason::Deadline) => assert_ne!(wish.client, MODEST, "the modest client waits for its turn only"),
        Fate::Failed(reason) => {
            let refusals = [
                Reason::InFlight,
                Reason::ClientShare,
                Reason::ModelShare,
                Reason::Concurrency,
                Reason::QueueFull,
                Reason::PredictedWait,
                Reason::Draining,
                Reason::NotReady,
            ];
            assert!(refusals.contains(&reason), "{wish:?}: {reason:?}");
        }
    }
}
