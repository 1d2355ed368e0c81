//! The last good answers, by the exact bytes of what they answered.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher as _, RandomState};
use std::num::NonZeroUsize;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::types::{Rows, Tensor};

/// Bytes of the answers that are kept; those not asked for longest go first.
pub(super) const BYTES_MAX: usize = 64 << 20;

/// Answers by their inputs, bounded by entries and bytes.
///
/// Inputs are known by 128 bits of hash and not kept: they are often far larger than the answers, such as pictures, and would
/// have to be copied out of the messages that they came in. The hash is keyed anew in each process, so that nobody can make
/// two inputs that share it; that two of a billion inputs share it by chance has a probability of 2^-69.
#[derive(Debug)]
pub(super) struct LastAnswers {
    keys: [RandomState; 2],
    entries_max: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    answers: HashMap<u128, Answer>,
    /// Inputs by when they were last asked for, the longest ago first.
    by_use: BTreeMap<u64, u128>,
    uses: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Answer {
    outputs: Vec<Tensor>,
    used: u64,
}

impl LastAnswers {
    pub(super) fn new(entries_max: NonZeroUsize) -> Self {
        let keys = [RandomState::new(), RandomState::new()];
        Self { keys, entries_max: entries_max.get(), kept: Mutex::default() }
    }

    pub(super) fn recall(&self, rows: &Rows) -> Option<Vec<Tensor>> {
        let input = self.hash(rows);
        let mut kept = self.kept.lock();
        let Answer { outputs, .. } = kept.take(input)?;
        kept.put(input, outputs.clone());
        Some(outputs)
    }

    pub(super) fn remember(&self, rows: &Rows, outputs: &[Tensor]) {
        // Alone in their memory: the outputs of a request are slices of its whole batch's.
        let Some(outputs) = outputs.iter().map(copied).collect::<Option<Vec<_>>>() else { return };
        let input = self.hash(rows);
        let mut kept = self.kept.lock();
        kept.take(input);
        if size(&outputs) <= BYTES_MAX {
            kept.put(input, outputs);
        }
        while kept.answers.len() > self.entries_max || kept.bytes > BYTES_MAX {
            let Some((_, oldest)) = kept.by_use.first_key_value() else { return };
            let oldest = *oldest;
            kept.take(oldest);
        }
    }

    fn hash(&self, rows: &Rows) -> u128 {
        let [high, low] = self.keys.each_ref().map(|key| u128::from(key.hash_one(rows)));
        high << 64 | low
    }
}

impl Kept {
    fn put(&mut self, input: u128, outputs: Vec<Tensor>) {
        self.uses += 1;
        self.bytes += size(&outputs);
        self.by_use.insert(self.uses, input);
        self.answers.insert(input, Answer { outputs, used: self.uses });
    }

    fn take(&mut self, input: u128) -> Option<Answer> {
        let answer = self.answers.remove(&input)?;
        self.by_use.remove(&answer.used);
        self.bytes -= size(&answer.outputs);
        Some(answer)
    }
}

fn size(outputs: &[Tensor]) -> usize {
    outputs.iter().map(|output| output.data().len()).sum()
}

fn copied(tensor: &Tensor) -> Option<Tensor> {
    Tensor::new(tensor.dtype(), tensor.shape().clone(), Bytes::copy_from_slice(tensor.data())).ok()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use proptest::prelude::*;

    use super::{BYTES_MAX, LastAnswers};
    use crate::types::{DataType, Rows, Shape, Tensor};

    fn one(number: u8, bytes: usize) -> Tensor {
        Tensor::new(DataType::Uint8, Shape::new(&[1, bytes]), vec![number; bytes].into()).expect("a tensor")
    }

    fn rows(number: u8) -> Rows {
        Rows::uniform(vec![one(number, 3)], 1)
    }

    fn answers(entries_max: usize) -> LastAnswers {
        LastAnswers::new(NonZeroUsize::new(entries_max).expect("not zero"))
    }

    #[test]
    fn inputs_that_differ_in_anything_are_others() {
        let answers = answers(9);
        answers.remember(&rows(1), &[one(7, 1)]);
        assert_eq!(answers.recall(&rows(1)), Some(vec![one(7, 1)]));
        let signed = Tensor::new(DataType::Int8, Shape::new(&[1, 3]), vec![1; 3].into()).expect("a tensor");
        let tall = Tensor::new(DataType::Uint8, Shape::new(&[3, 1]), vec![1; 3].into()).expect("a tensor");
        let packed = |lengths| Rows::packed(vec![tall.clone()], lengths).expect("rows");
        for other in [
            Rows::uniform(vec![one(1, 3), one(1, 3)], 1),
            Rows::uniform(vec![one(1, 2), one(1, 1)], 1),
            Rows::uniform(vec![signed], 1),
            Rows::uniform(vec![tall.clone()], 3),
            packed(&[1, 2]),
            packed(&[2, 1]),
            rows(2),
        ] {
            assert_eq!(answers.recall(&other), None, "{other:?}");
        }
    }

    #[test]
    fn answers_hold_no_memory_of_their_batch() {
        let (answers, batch) = (answers(9), one(7, 1000));
        answers.remember(&rows(1), std::slice::from_ref(&batch));
        assert!(batch.into_data().is_unique());
    }

    #[test]
    fn many_bytes_are_not_kept() {
        let answers = answers(9);
        let half = BYTES_MAX / 2;
        answers.remember(&rows(1), &[one(1, half)]);
        answers.remember(&rows(2), &[one(2, half)]);
        answers.remember(&rows(1), &[one(1, half)]);
        assert!(answers.recall(&rows(1)).is_some() && answers.recall(&rows(2)).is_some());
        answers.remember(&rows(3), &[one(3, 1)]);
        assert_eq!(answers.recall(&rows(1)), None);
        answers.remember(&rows(2), &[one(4, BYTES_MAX + 1)]);
        assert_eq!(answers.recall(&rows(2)), None, "what was known of it is no longer the last");
        assert_eq!(answers.recall(&rows(3)), Some(vec![one(3, 1)]));
        assert_eq!(answers.kept.lock().bytes, 1);
    }

    proptest! {
        /// Against a list in the order of use.
        #[test]
        fn the_last_answers_to_the_last_inputs_are_kept(
            entries_max in 1_usize..6,
            steps in prop::collection::vec((0_u8..8, prop::option::of(any::<u8>())), 0..80),
        ) {
            let answers = answers(entries_max);
            let mut list: Vec<(u8, u8)> = Vec::new();
            for (input, answer) in steps {
                let at = list.iter().position(|(known, _)| *known == input);
                let known = at.map(|at| list.remove(at).1);
                if let Some(answer) = answer {
                    answers.remember(&rows(input), &[one(answer, 4)]);
                } else {
                    prop_assert_eq!(answers.recall(&rows(input)), known.map(|known| vec![one(known, 4)]));
                }
                list.extend(answer.or(known).map(|answer| (input, answer)));
                if list.len() > entries_max {
                    list.remove(0);
                }
                let kept = answers.kept.lock();
                let sizes = (kept.answers.len(), kept.by_use.len(), kept.bytes);
                prop_assert_eq!(sizes, (list.len(), list.len(), 4 * list.len()));
            }
        }
    }
}
