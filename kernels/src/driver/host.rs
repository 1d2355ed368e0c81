//! The host's build of the kernels: each block's threads one after the other, for tests.

use std::ffi::{CStr, CString, c_char, c_uint, c_void};
use std::marker::PhantomData;

use super::{Driver, Launch, View, ViewMut};
use crate::element::Plain;
use crate::error::Error;

#[expect(unsafe_code, reason = "the kernels are C++")]
unsafe extern "C" {
    /// Runs the kernel `name` of `count` parameters. Returns null, or what went wrong.
    fn sconce_host_launch(
        name: *const c_char,
        grid: *const c_uint,
        block: *const c_uint,
        shared: c_uint,
        parameters: *const *const c_void,
        count: usize,
        descending: bool,
    ) -> *const c_char;
}

/// In which order the threads of a block take their turns. What no barrier orders must not depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The first thread first.
    Ascending,
    /// The last thread first.
    Descending,
}

/// The host's build.
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// How threads take turns.
    pub order: Order,
}

impl Host {
    /// Memory that a kernel reads.
    pub fn view<'a, T: Plain>(&self, numbers: &'a [T]) -> View<'a, T, Self> {
        View { address: numbers.as_ptr() as u64, length: numbers.len(), _hold: (), _numbers: PhantomData }
    }

    /// Memory that a kernel writes.
    pub fn view_mut<'a, T: Plain>(&self, numbers: &'a mut [T]) -> ViewMut<'a, T, Self> {
        ViewMut { address: numbers.as_mut_ptr() as u64, length: numbers.len(), _hold: (), _numbers: PhantomData }
    }
}

impl Driver for Host {
    type Hold<'a> = ();

    fn launch(&self, launch: &Launch) -> Result<(), Error> {
        let name = CString::new(launch.kernel).map_err(|error| launch.error(&error))?;
        let [across, down] = launch.grid;
        let pointers: Vec<*const c_void> =
            launch.parameters().iter().map(|bits| std::ptr::from_ref(bits).cast()).collect();
        let (grid, block) = ([across, down, 1], [launch.block, 1, 1]);
        // SAFETY: the pointers are those of arrays of the promised lengths, which outlive the call; the call that made the launch
        // has checked that the kernel stays within the memory of its views, and those borrow that memory.
        #[expect(unsafe_code, reason = "the kernels are C++")]
        let fault = unsafe {
            sconce_host_launch(
                name.as_ptr(),
                grid.as_ptr(),
                block.as_ptr(),
                launch.shared_bytes,
                pointers.as_ptr(),
                pointers.len(),
                self.order == Order::Descending,
            )
        };
        if fault.is_null() {
            return Ok(());
        }
        // SAFETY: what the function returns is null or a literal of its own.
        #[expect(unsafe_code, reason = "a string of C++")]
        let fault = unsafe { CStr::from_ptr(fault) };
        Err(launch.error(&fault.to_string_lossy()))
    }
}

#[cfg(test)]
mod tests {
    use super::{Host, Order};
    use crate::driver::{Driver, Launch, ViewMut};
    use crate::error::Error;

    fn launch(kernel: &'static str, order: Order, out: &mut [u32]) -> Result<(), Error> {
        let host = Host { order };
        let view: ViewMut<'_, u32, Host> = host.view_mut(out);
        host.launch(&Launch::new(kernel, [1, 1], 64).shared(256).output(&view))
    }

    /// What the host's build says of a kernel with a fault.
    fn fault(kernel: &'static str) -> String {
        launch(kernel, Order::Ascending, &mut [0; 64]).expect_err("a fault").to_string()
    }

    #[test]
    fn a_kernel_that_would_hang_is_an_error() {
        assert_eq!(
            fault("fault_absent_threads"),
            "kernel fault_absent_threads: threads wait for others that do not come"
        );
        let different = "kernel fault_different_collectives: the lanes of a warp meet in different collectives";
        assert_eq!(fault("fault_different_collectives"), different);
    }

    #[test]
    fn copies_that_nobody_waits_for_are_an_error() {
        assert_eq!(
            fault("fault_lost_copies"),
            "kernel fault_lost_copies: a thread ended without waiting for its copies"
        );
    }

    #[test]
    fn a_launch_that_does_not_fit_its_kernel_is_an_error() {
        assert_eq!(fault("no_such_kernel"), "kernel no_such_kernel: no kernel of this name");
        let host = Host { order: Order::Ascending };
        let launch = Launch::new("fault_missing_barrier", [1, 1], 64);
        let error = host.launch(&launch).expect_err("no parameter");
        assert_eq!(error.to_string(), "kernel fault_missing_barrier: the kernel has another number of parameters");
        let error = host.launch(&launch.number(0)).expect_err("no shared memory");
        let wanted = "kernel fault_missing_barrier: a kernel wants more shared memory than it was launched with";
        assert_eq!(error.to_string(), wanted);
    }

    #[test]
    fn a_missing_barrier_makes_the_orders_differ() {
        let [mut ascending, mut descending] = [[0; 64]; 2];
        launch("fault_missing_barrier", Order::Ascending, &mut ascending).expect("a launch");
        launch("fault_missing_barrier", Order::Descending, &mut descending).expect("a launch");
        assert_ne!(ascending, descending);
    }

    #[test]
    fn a_fault_leaves_nothing_behind() {
        fault("fault_absent_threads");
        let mut out = [0; 64];
        launch("fault_missing_barrier", Order::Descending, &mut out).expect("a launch");
        assert_eq!(out[0], 1);
    }
}
