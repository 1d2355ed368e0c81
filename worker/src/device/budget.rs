//! What a model may take of a device's memory, and whether a batch would take more: told before the driver has to.

use sconce::types::Rows;

/// Batches of fewer elements tell nothing of larger ones: what any batch takes is not to be multiplied.
const LEARNED_FROM: usize = 8;

/// A model's memory: its weights and recorded graphs, which stay, and what a batch takes for a while, which is learned from those
/// that have run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Budget {
    /// Bytes of the weights.
    weights: u64,
    /// Bytes of what was recorded.
    graphs: u64,
    /// Bytes that it may take, if there is a limit.
    most: Option<u64>,
    /// The fewest bytes that a batch has taken.
    least: u64,
    /// What the largest batch has taken.
    largest: Option<Taken>,
    /// What the batch that runs is expected to take.
    running: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Taken {
    batch: Batch,
    bytes: u64,
}

/// How large a batch is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Batch {
    /// Its tokens, or else its rows.
    size: usize,
    /// Bytes of its inputs, which also tell batches apart whose rows have free dimensions.
    input: u64,
}

impl Batch {
    pub(crate) fn of(rows: &Rows) -> Self {
        let input = rows.inputs().iter().map(|input| input.data().len() as u64).sum();
        Self { size: rows.size(), input }
    }
}

impl Budget {
    /// A budget for weights of so many bytes, on a device that has `free`. Errors: they take more than there is, or may be.
    pub(crate) fn new(weights: u64, most: Option<u64>, free: u64) -> Result<Self, String> {
        if let Some(most) = most.filter(|most| weights > *most) {
            return Err(format!("its weights take {}; `device.memory_max` is {}", mib(weights), mib_left(most)));
        }
        if weights > free {
            return Err(format!("its weights take {}; the device has {} free", mib(weights), mib_left(free)));
        }
        Ok(Self { weights, graphs: 0, most, least: 0, largest: None, running: 0 })
    }

    /// Bytes that it keeps while it is loaded.
    pub(crate) fn kept(&self) -> u64 {
        self.weights.saturating_add(self.graphs)
    }

    /// Is there room for a batch? `free` is asked how much the device has: this much at least, or all. A model whose batches have
    /// told nothing yet is let in. Errors: how much it would take, and what there is.
    pub(crate) fn admit(&mut self, batch: Batch, free: impl FnOnce(u64) -> u64) -> Result<(), String> {
        let wanted = self.predict(batch);
        self.check(wanted, free, &format!("a batch of size {} takes", batch.size))?;
        self.running = wanted;
        Ok(())
    }

    /// A batch has taken so many bytes at once.
    pub(crate) fn learn(&mut self, batch: Batch, bytes: u64) {
        self.least = if self.least == 0 { bytes } else { self.least.min(bytes) };
        let tells_more = |largest: Taken| {
            let is_near = batch.input >= largest.batch.input / 2;
            batch.input >= largest.batch.input || is_near && bytes > scaled(largest, batch.input)
        };
        if batch.size >= LEARNED_FROM && self.largest.is_none_or(tells_more) {
            self.largest = Some(Taken { batch, bytes });
        }
    }

    /// May the batch that runs be recorded? The graph takes as much as the batch does, and `own` bytes for what it reads and writes;
    /// it must leave room for the largest batch. `free` as above. Errors: how much it would take, and what there is.
    pub(crate) fn admit_graph(&self, own: u64, free: impl FnOnce(u64) -> u64) -> Result<(), String> {
        let largest = self.largest.map_or(0, |largest| largest.bytes);
        let wanted = own.saturating_add(self.running).saturating_add(largest.max(self.running));
        self.check(wanted, free, "a graph and the largest batch beside it take")
    }

    /// A graph has been recorded that takes so many bytes.
    pub(crate) fn keep(&mut self, bytes: u64) {
        self.graphs = self.graphs.saturating_add(bytes);
    }

    fn check(&self, wanted: u64, free: impl FnOnce(u64) -> u64, what: &str) -> Result<(), String> {
        let left = self.most.map(|most| most.saturating_sub(self.kept()));
        if let Some(left) = left.filter(|left| wanted > *left) {
            let beside = if self.graphs > 0 { "weights and graphs" } else { "the weights" };
            let (wanted, left) = (mib(wanted), mib_left(left));
            return Err(format!("{what} {wanted}; `device.memory_max` leaves {left} beside {beside}"));
        }
        let free = if wanted > 0 { free(wanted) } else { u64::MAX };
        if wanted > free {
            return Err(format!("{what} {}; the device has {} free", mib(wanted), mib_left(free)));
        }
        Ok(())
    }

    fn predict(&self, batch: Batch) -> u64 {
        self.largest.map_or(0, |largest| scaled(largest, batch.input)).max(self.least)
    }
}

/// What a batch with so many bytes of inputs takes, if all take the same share.
fn scaled(Taken { batch, bytes }: Taken, input: u64) -> u64 {
    let share = u128::from(bytes) * u128::from(input) / u128::from(batch.input.max(1));
    u64::try_from(share).unwrap_or(u64::MAX)
}

/// Bytes that are wanted, as people read them.
fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

/// Bytes that there are.
pub(crate) fn mib_left(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

#[cfg(test)]
mod tests {
    use sconce::types::{Rows, Shape, Tensor};

    use super::{Batch, Budget};

    const MIB: u64 = 1 << 20;

    /// A batch of so many rows of one number.
    fn batch(size: usize) -> Batch {
        Batch { size, input: size as u64 * 4 }
    }

    #[test]
    fn weights_that_do_not_fit_are_refused() {
        let told = |most, free| Budget::new(100 * MIB, most, free).expect_err("too large");
        assert_eq!(told(Some(64 * MIB), 1000 * MIB), "its weights take 100 MiB; `device.memory_max` is 64 MiB");
        assert_eq!(told(None, 99 * MIB), "its weights take 100 MiB; the device has 99 MiB free");
        assert!(Budget::new(100 * MIB, Some(100 * MIB), 100 * MIB).is_ok());
    }

    #[test]
    fn batches_are_refused_by_what_others_have_taken() {
        let mut budget = Budget::new(100 * MIB, Some(200 * MIB), 1000 * MIB).expect("room");
        assert_eq!(budget.admit(batch(1 << 20), |_| 0), Ok(()), "nothing has been learned");
        budget.learn(batch(1), 10 * MIB);
        assert_eq!(budget.admit(batch(1 << 20), |_| 10 * MIB), Ok(()), "a single row tells nothing of many");
        let told = "a batch of size 1 takes 10 MiB; the device has 9 MiB free";
        assert_eq!(budget.admit(batch(1), |_| 9 * MIB), Err(told.to_owned()));
        budget.learn(batch(10), 20 * MIB);
        budget.learn(batch(100), 100 * MIB);
        assert_eq!(budget.admit(batch(100), |_| 100 * MIB), Ok(()), "the largest tells most");
        let told = "a batch of size 101 takes 101 MiB; `device.memory_max` leaves 100 MiB beside the weights";
        assert_eq!(budget.admit(batch(101), |_| 1000 * MIB), Err(told.to_owned()));
        budget.learn(batch(20), 90 * MIB);
        assert_eq!(budget.admit(batch(100), |_| 100 * MIB), Ok(()), "a small one does not");
        budget.learn(batch(60), 90 * MIB);
        let told = "a batch of size 100 takes 150 MiB; `device.memory_max` leaves 100 MiB beside the weights";
        assert_eq!(budget.admit(batch(100), |_| 1000 * MIB), Err(told.to_owned()));
        assert_eq!(budget.admit(batch(1), |_| 10 * MIB), Ok(()));
    }

    #[test]
    fn rows_of_free_dimensions_count_by_their_bytes() {
        let rows = |width: usize| {
            let values = vec![0.0; 8 * width];
            Batch::of(&Rows::uniform(vec![Tensor::from_f32(Shape::new(&[8, width]), &values).expect("a tensor")], 8))
        };
        let mut budget = Budget::new(0, None, MIB).expect("room");
        budget.learn(rows(10), 10 * MIB);
        let told = "a batch of size 8 takes 100 MiB; the device has 99 MiB free";
        assert_eq!(budget.admit(rows(100), |_| 99 * MIB), Err(told.to_owned()));
    }

    #[test]
    fn graphs_leave_room_for_batches() {
        let mut budget = Budget::new(100 * MIB, Some(200 * MIB), 1000 * MIB).expect("room");
        budget.learn(batch(8), 30 * MIB);
        assert_eq!(budget.admit(batch(8), |_| 30 * MIB), Ok(()));
        assert_eq!(budget.admit_graph(2 * MIB, |wanted| wanted), Ok(()));
        let told = "a graph and the largest batch beside it take 62 MiB; the device has 61 MiB free";
        assert_eq!(budget.admit_graph(2 * MIB, |wanted| wanted - MIB), Err(told.to_owned()));
        budget.keep(32 * MIB);
        assert_eq!(budget.kept(), 132 * MIB);
        assert_eq!(budget.admit(batch(16), |_| 60 * MIB), Ok(()));
        let told = "a graph and the largest batch beside it take 121 MiB; `device.memory_max` leaves 68 MiB beside weights \
                    and graphs";
        assert_eq!(budget.admit_graph(MIB, |wanted| wanted), Err(told.to_owned()));
        let told = "a batch of size 20 takes 75 MiB; `device.memory_max` leaves 68 MiB beside weights and graphs";
        assert_eq!(budget.admit(batch(20), |wanted| wanted), Err(told.to_owned()));
    }
}
