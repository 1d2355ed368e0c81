//! Memory that the GPU copies from and to by itself, since its pages stay where they are.
#![expect(unsafe_code, reason = "the driver is told of memory by its address")]

use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::Arc;

use cudarc::driver::{CudaContext, sys};

use super::gpu::apart;

/// Pages that are locked; dropping it lets them go.
pub(super) struct Locked {
    context: Arc<CudaContext>,
    start: NonNull<c_void>,
}

// SAFETY: the driver may be told from any thread to let them go.
unsafe impl Send for Locked {}
// SAFETY: nothing is done with it but to drop it.
unsafe impl Sync for Locked {}

impl Locked {
    /// Locks the pages of a mapping, which must outlive this. `None` if the driver does not, which makes copies slower only.
    pub(super) fn new(context: &Arc<CudaContext>, memory: NonNull<[u8]>) -> Option<Self> {
        apart(context, || context.bind_to_thread()).ok()?;
        let start = memory.cast::<c_void>();
        // SAFETY: the caller keeps the memory mapped for longer than this; the driver reads and writes it only where it is told to.
        let locked = unsafe { sys::cuMemHostRegister_v2(start.as_ptr(), memory.len(), 0) };
        (locked == sys::CUresult::CUDA_SUCCESS).then(|| Self { context: Arc::clone(context), start })
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        if apart(&self.context, || self.context.bind_to_thread()).is_ok() {
            // SAFETY: it was locked by `new`, is still mapped, and no copy runs: batches are waited for before their memory goes.
            let _gone = unsafe { sys::cuMemHostUnregister(self.start.as_ptr()) };
        }
    }
}
