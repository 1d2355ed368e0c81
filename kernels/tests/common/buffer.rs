//! Memory with guard zones: what a kernel writes beyond its own shows, and what it reads beyond is poison.

use half::{bf16, f16};
use sconce_kernels::{Plain, View, ViewMut};

use super::Rig;

/// Numbers before and after, whatever their size a multiple of 16 bytes.
const GUARD: usize = 32;

/// What memory holds before anything is written: NaN, or a number that is no index.
pub(crate) trait Poison: Plain {
    const POISON: Self;

    fn bits(self) -> u64;
}

impl Poison for f32 {
    const POISON: Self = f32::from_bits(0xffff_ffff);

    fn bits(self) -> u64 {
        u64::from(self.to_bits())
    }
}

impl Poison for f64 {
    const POISON: Self = f64::from_bits(u64::MAX);

    fn bits(self) -> u64 {
        self.to_bits()
    }
}

impl Poison for u32 {
    const POISON: Self = 0xa5a5_a5a5;

    fn bits(self) -> u64 {
        u64::from(self)
    }
}

impl Poison for f16 {
    const POISON: Self = f16::from_bits(0xffff);

    fn bits(self) -> u64 {
        u64::from(self.to_bits())
    }
}

impl Poison for bf16 {
    const POISON: Self = bf16::from_bits(0xffff);

    fn bits(self) -> u64 {
        u64::from(self.to_bits())
    }
}

/// Numbers between guard zones.
pub(crate) struct Buffer<'rig, R: Rig, T: Poison> {
    rig: &'rig R,
    memory: R::Memory<T>,
    first: usize,
    length: usize,
}

impl<'rig, R: Rig, T: Poison> Buffer<'rig, R, T> {
    /// That holds `numbers`, `shift` after a multiple of 16 bytes.
    pub(crate) fn of(rig: &'rig R, numbers: &[T], shift: usize) -> Self {
        let first = GUARD + shift;
        let mut all = vec![T::POISON; first + numbers.len() + GUARD];
        all[first..first + numbers.len()].copy_from_slice(numbers);
        Self { rig, memory: rig.put(&all), first, length: numbers.len() }
    }

    /// That holds nothing yet.
    pub(crate) fn empty(rig: &'rig R, length: usize, shift: usize) -> Self {
        Self::of(rig, &vec![T::POISON; length], shift)
    }

    pub(crate) fn view(&self) -> View<'_, T, R::Driver> {
        self.rig.view(&self.memory, self.first, self.length)
    }

    pub(crate) fn view_mut(&mut self) -> ViewMut<'_, T, R::Driver> {
        self.rig.view_mut(&mut self.memory, self.first, self.length)
    }

    /// The numbers, if nothing was written around them.
    pub(crate) fn read(&self) -> Vec<T> {
        let all = self.rig.get(&self.memory);
        let end = self.first + self.length;
        for (at, number) in all.iter().enumerate().filter(|(at, _)| *at < self.first || *at >= end) {
            let wanted = T::POISON.bits();
            assert_eq!(number.bits(), wanted, "written outside: {at} of {}..{end}", self.first);
        }
        all[self.first..end].to_vec()
    }
}
