//! Every kernel's host build does what its twin does, whichever order the threads of a block run in.

mod common;

use common::Rig;
use sconce_kernels::{Host, Order, Plain, View, ViewMut};

/// The host's build.
struct HostRig(Host);

/// Numbers of which the first that counts is at a multiple of 16 bytes.
struct Aligned<T> {
    numbers: Vec<T>,
    skipped: usize,
}

impl Rig for HostRig {
    type Driver = Host;
    type Memory<T: Plain> = Aligned<T>;

    fn driver(&self) -> &Host {
        &self.0
    }

    fn put<T: Plain>(&self, numbers: &[T]) -> Aligned<T> {
        let mut all: Vec<T> = Vec::with_capacity(numbers.len() + 16);
        let skipped = all.as_ptr().align_offset(16);
        // What is skipped is any number; the first will do.
        all.extend(numbers.first().into_iter().cycle().take(skipped));
        all.extend_from_slice(numbers);
        Aligned { numbers: all, skipped }
    }

    fn get<T: Plain>(&self, memory: &Aligned<T>) -> Vec<T> {
        memory.numbers[memory.skipped..].to_vec()
    }

    fn view<'a, T: Plain>(&'a self, memory: &'a Aligned<T>, skipped: usize, length: usize) -> View<'a, T, Host> {
        self.0.view(&memory.numbers[memory.skipped + skipped..][..length])
    }

    fn view_mut<'a, T: Plain>(
        &'a self,
        memory: &'a mut Aligned<T>,
        skipped: usize,
        length: usize,
    ) -> ViewMut<'a, T, Host> {
        self.0.view_mut(&mut memory.numbers[memory.skipped + skipped..][..length])
    }
}

/// A test of each kernel, in both orders.
macro_rules! parity {
    ($($kernel:ident)*) => {
        $(
            #[test]
            fn $kernel() {
                for order in [Order::Ascending, Order::Descending] {
                    common::kernels::$kernel::check(&HostRig(Host { order }));
                }
            }
        )*
    };
}

parity!(activate attend embed norm pack pool rotate score);
