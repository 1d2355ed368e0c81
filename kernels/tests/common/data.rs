//! Numbers to run kernels on, and how near results must be.

use half::{bf16, f16};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use sconce_kernels::{Element, Type};

use super::buffer::Poison;

/// What numbers are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// About 1, of both signs.
    Usual,
    /// Now and then a zero of either sign, a number below the normal ones, or a large one.
    Odd,
    /// Now and then NaN or an infinity as well.
    Hostile,
}

pub(crate) fn flavours() -> impl Strategy<Value = Flavour> {
    prop_oneof![Just(Flavour::Usual), Just(Flavour::Odd), Just(Flavour::Hostile)]
}

/// Where numbers begin after a multiple of 16 bytes: at one, or not.
pub(crate) fn shifts() -> impl Strategy<Value = usize> {
    prop_oneof![Just(0), Just(1)]
}

/// A number of a model, as the tests need it.
pub(crate) trait Number: Element + Poison + std::fmt::Debug {
    /// The largest error of rounding, relative to the number.
    const ROUNDING: f64;
    /// The largest.
    const LARGEST: f64;
    /// The smallest above zero.
    const SMALLEST: f64;
}

impl Number for f32 {
    const ROUNDING: f64 = 6e-8;
    const LARGEST: f64 = 3.4e38;
    const SMALLEST: f64 = 1.5e-45;
}

impl Number for f16 {
    const ROUNDING: f64 = 4.9e-4;
    const LARGEST: f64 = 65504.0;
    const SMALLEST: f64 = 6e-8;
}

impl Number for bf16 {
    const ROUNDING: f64 = 3.91e-3;
    const LARGEST: f64 = 3.38e38;
    const SMALLEST: f64 = 9.2e-41;
}

/// Numbers from a seed (`SplitMix64`), for shapes that a strategy of its own would make slow.
pub(crate) struct Source(pub(crate) u64);

impl Source {
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ bits >> 31
    }

    /// Below `end`.
    pub(crate) fn below(&mut self, end: u32) -> u32 {
        u32::try_from(self.bits() % u64::from(end.max(1))).expect("below 2^32")
    }

    /// Evenly within -1 and 1.
    pub(crate) fn even(&mut self) -> f64 {
        f64::from(self.below(1 << 24)) / f64::from(1 << 23) - 1.0
    }

    /// About normal, with this deviation.
    fn normal(&mut self, deviation: f64) -> f64 {
        (self.even() + self.even() + self.even()) * deviation
    }

    fn number<T: Number>(&mut self, flavour: Flavour, deviation: f64) -> T {
        const ODD: [f64; 7] = [0.0, -0.0, 3e-45, -1e-40, 5e-8, 300.0, -2000.0];
        const HOSTILE: [f64; 3] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
        let number = match (flavour, self.below(200)) {
            (Flavour::Hostile, 0) => HOSTILE[self.below(3) as usize],
            (Flavour::Hostile | Flavour::Odd, 1..8) => ODD[self.below(7) as usize],
            _ => self.normal(deviation),
        };
        T::from_f64(number)
    }

    /// `length` numbers of a deviation.
    pub(crate) fn numbers<T: Number>(&mut self, length: usize, flavour: Flavour, deviation: f64) -> Vec<T> {
        (0..length).map(|_| self.number(flavour, deviation)).collect()
    }
}

/// Is a result near enough to the twin's? `error` is what the kernel's own arithmetic may add to the rounding of the result.
///
/// NaN must be NaN, an infinity the same one; a number beyond the type's largest may be infinite.
pub(crate) fn expect_near<T: Number>(what: &str, got: T, twin: f64, error: f64) -> Result<(), TestCaseError> {
    let number = got.to_f64();
    let allowed = twin.abs() * T::ROUNDING * 1.01 + error + T::SMALLEST;
    let is_near = (number - twin).abs() <= allowed;
    let is_same = number.is_infinite() && number * twin == f64::INFINITY || number.is_nan() && twin.is_nan();
    let is_beyond = number.is_infinite() && number.signum() == twin.signum() && twin.abs() + error > T::LARGEST;
    prop_assert!(
        is_near || is_same || is_beyond,
        "{}: got {:?}, the twin says {}, allowed {}",
        what,
        got,
        twin,
        allowed
    );
    Ok(())
}

/// All of them, each with its own error.
pub(crate) fn expect_all<T: Number>(
    what: &str,
    got: &[T],
    twin: &[f64],
    error: impl Fn(usize) -> f64,
) -> Result<(), TestCaseError> {
    prop_assert_eq!(got.len(), twin.len());
    for (at, (got, twin)) in got.iter().zip(twin).enumerate() {
        expect_near(&format!("{what} {at}"), *got, *twin, error(at))?;
    }
    Ok(())
}

/// The largest finite magnitude, and 1 at least.
pub(crate) fn magnitude<T: Number>(numbers: &[T]) -> f64 {
    numbers.iter().map(|number| number.to_f64().abs()).filter(|number| number.is_finite()).fold(1.0, f64::max)
}

/// Where rows of these lengths begin, and the last ends.
pub(crate) fn offsets(lengths: &[usize]) -> Vec<u32> {
    let mut offsets = vec![0];
    let mut end = 0;
    for length in lengths {
        end += u32::try_from(*length).expect("short rows");
        offsets.push(end);
    }
    offsets
}

/// Runs a check for each type of number.
#[macro_export]
macro_rules! for_types {
    ($check:ident($($argument:expr),*)) => {
        $check::<f32, _>($($argument),*);
        $check::<half::f16, _>($($argument),*);
        $check::<half::bf16, _>($($argument),*);
    };
}

/// Is it one that tensor cores take?
pub(crate) fn is_half(of: Type) -> bool {
    of != Type::F32
}
