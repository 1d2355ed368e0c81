//! What the tests of kernels share: every check is written once, for the host's build and for a GPU.

pub(crate) mod buffer;
pub(crate) mod data;
pub(crate) mod kernels;

use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};
use sconce_kernels::{Driver, Plain, View, ViewMut};

/// What kernels are run on.
pub(crate) trait Rig {
    type Driver: Driver;
    type Memory<T: Plain>;

    fn driver(&self) -> &Self::Driver;

    /// Puts numbers where kernels can reach them, at a multiple of 16 bytes.
    fn put<T: Plain>(&self, numbers: &[T]) -> Self::Memory<T>;

    fn get<T: Plain>(&self, memory: &Self::Memory<T>) -> Vec<T>;

    fn view<'a, T: Plain>(
        &'a self,
        memory: &'a Self::Memory<T>,
        skipped: usize,
        length: usize,
    ) -> View<'a, T, Self::Driver>;

    fn view_mut<'a, T: Plain>(
        &'a self,
        memory: &'a mut Self::Memory<T>,
        skipped: usize,
        length: usize,
    ) -> ViewMut<'a, T, Self::Driver>;
}

/// Checks some cases of a strategy.
pub(crate) fn for_cases<S: Strategy>(cases: u32, strategy: &S, check: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let checked = TestRunner::new(config).run(strategy, check);
    assert!(checked.is_ok(), "{checked:?}");
}
