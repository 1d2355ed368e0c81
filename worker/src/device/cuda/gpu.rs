//! One GPU as this process has it: a context, a stream that all models share, and the memory behind them.

use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use candle_core::{CudaDevice, DType, Device, Tensor};
use cudarc::driver::{CudaContext, CudaStream, DriverError, result, sys};
use parking_lot::RwLock;
use sconce::device::wire::Hello;
use tracing::debug;

/// A GPU.
pub(super) struct Gpu {
    pub(super) device: Device,
    /// Computes.
    pub(super) stream: Arc<CudaStream>,
    /// Copies the inputs of the next batch meanwhile.
    pub(super) copies: Arc<CudaStream>,
    pool: Pool,
    /// Held, with others, by whoever takes memory or gives it back beside the batches; alone by who records what the stream does.
    pub(super) recording: RwLock<()>,
    /// How often somebody has.
    pub(super) beside: AtomicU64,
}

impl Gpu {
    /// Takes the GPU of this number. Errors: what the driver says.
    pub(super) fn open(ordinal: usize) -> Result<Self, String> {
        let opened = CudaDevice::new_with_stream(ordinal);
        let cuda = opened.map_err(|error| format!("open GPU {ordinal}: {}", first_line(&error)))?;
        stop_tracking(&cuda);
        let stream = cuda.cuda_stream();
        let copies = stream.context().new_stream().map_err(|error| format!("a stream on GPU {ordinal}: {error}"))?;
        let pool = Pool::of(stream.context()).map_err(|error| format!("the memory of GPU {ordinal}: {error}"))?;
        let gpu = Self {
            device: Device::Cuda(cuda),
            stream,
            copies,
            pool,
            recording: RwLock::new(()),
            beside: AtomicU64::new(0),
        };
        gpu.try_candle().map_err(|error| format!("GPU {ordinal}: {}", first_line(&error)))?;
        Ok(gpu)
    }

    /// Errors: candle's kernels were built for another GPU.
    fn try_candle(&self) -> candle_core::Result<()> {
        Tensor::ones(1, DType::F32, &self.device)?.affine(2.0, 1.0)?.to_vec1::<f32>().map(|_| ())
    }

    /// Has the driver compile candle's kernels, which it would otherwise do in the middle of first batches: seconds, where it has not
    /// kept what it compiled before.
    pub(super) fn wake(&self) {
        if let Err(error) = self.try_wake() {
            debug!(why = first_line(&error), "compile candle's kernels");
        }
    }

    /// Uses one kernel of each of candle's modules that models need.
    fn try_wake(&self) -> candle_core::Result<()> {
        let ones = Tensor::ones((1, 1, 2, 2), DType::F32, &self.device)?;
        let first = Tensor::zeros(1, DType::U32, &self.device)?;
        let seen = ones.conv2d(&ones, 0, 1, 1, 1)?.affine(2.0, 1.0)?.exp()?;
        let seen = (&seen + &seen)?.sum_all()?.reshape(1)?.index_select(&first, 0)?;
        first.where_cond(&seen, &seen)?.to_dtype(DType::F16)?;
        self.stream.synchronize().map_err(candle_core::Error::wrap)
    }

    /// Has `work` take memory, or give it back, beside the batches: nothing is recorded meanwhile.
    pub(super) fn beside<T>(&self, work: impl FnOnce() -> T) -> T {
        let _not_recorded = self.recording.read();
        let done = work();
        self.beside.fetch_add(1, Relaxed);
        done
    }

    pub(super) fn context(&self) -> &Arc<CudaContext> {
        self.stream.context()
    }

    /// What it is.
    pub(super) fn about(&self) -> Hello {
        let (free, total) = self.context().mem_get_info().unwrap_or_default();
        let name = self.context().name().unwrap_or_else(|_| "unknown".to_owned());
        Hello { kind: "cuda".to_owned(), name, memory_total: total as u64, memory_free: free as u64 }
    }

    /// Bytes that the driver has left, which takes long to be asked.
    pub(super) fn driver_bytes(&self) -> u64 {
        apart(self.context(), || self.context().mem_get_info()).map_or(0, |(free, _)| free as u64)
    }

    /// Bytes that can still be taken, `wanted` at least or all: what the pool has and nobody uses, and what the driver has.
    pub(super) fn free_bytes(&self, wanted: u64) -> u64 {
        let unused = self.pool.unused();
        if unused >= wanted {
            return unused;
        }
        unused.saturating_add(self.driver_bytes())
    }

    /// Bytes that recorded graphs have of the driver, beside the pool.
    pub(super) fn graph_bytes(&self) -> u64 {
        let attribute = sys::CUgraphMem_attribute::CU_GRAPH_MEM_ATTR_RESERVED_MEM_CURRENT;
        let mut value = 0_u64;
        let device = self.context().cu_device();
        // SAFETY: the device is that of a context that lives, and this attribute is a number of 64 bits.
        #[expect(unsafe_code, reason = "a call of the driver's")]
        let got = unsafe { sys::cuDeviceGetGraphMemAttribute(device, attribute, (&raw mut value).cast::<c_void>()) };
        got.result().map_or(0, |()| value)
    }

    /// Gives back to the driver what graphs had that are no more.
    pub(super) fn trim_graphs(&self) {
        // SAFETY: the device is that of a context that lives.
        #[expect(unsafe_code, reason = "a call of the driver's")]
        let _trimmed = unsafe { sys::cuDeviceGraphMemTrim(self.context().cu_device()) };
    }

    /// Gives up to so many bytes back to the driver that the pool has and nobody uses, and what graphs had that are no more.
    pub(super) fn give_back(&self, bytes: u64) {
        // What was dropped is free when the stream has come to it.
        let _done = apart(self.context(), || self.stream.synchronize());
        self.pool.trim(bytes);
        self.trim_graphs();
    }

    /// From now on [`Gpu::peak_bytes`] tells what is taken at once beyond what is taken now.
    pub(super) fn watch_peak(&self) -> Peak {
        Peak { beside: self.beside.load(Relaxed), bytes: self.pool.watch_peak() }
    }

    /// The most bytes that have been taken at once since then, beyond those; `None` if somebody beside the batches may have.
    pub(super) fn peak_bytes(&self, before: &Peak) -> Option<u64> {
        let alone = self.recording.try_write().is_some() && self.beside.load(Relaxed) == before.beside;
        alone.then(|| self.pool.peak().saturating_sub(before.bytes))
    }

    /// Waits until all is done that the computing stream was told. Errors: that of any call since the last wait.
    pub(super) fn finish(&self) -> Result<(), DriverError> {
        // Left where it is, it would be told before the wait, and in its place.
        let earlier = self.context().check_err();
        self.stream.synchronize()?;
        self.context().check_err()?;
        earlier
    }

    /// Does the context work? A broken one fails at everything. Errors: what the driver says.
    pub(super) fn try_out(&self) -> Result<(), String> {
        // What earlier calls have left is no answer to this one.
        let _earlier = self.context().check_err();
        let tried = self.stream.clone_htod(&[1_u32]).and_then(|memory| self.stream.clone_dtoh(&memory));
        match tried {
            Ok(back) if back == [1] => Ok(()),
            Ok(back) => Err(format!("the GPU gives back {back:?} for [1]")),
            Err(DriverError(sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY)) => Ok(()),
            Err(error) => Err(format!("the GPU cannot be used any more: {error}")),
        }
    }
}

/// What was taken when a batch began.
pub(super) struct Peak {
    beside: u64,
    bytes: u64,
}

/// Candle's tensors keep two events each to order streams, which are not needed: the one that computes waits for a batch's copies.
#[expect(unsafe_code, reason = "who has several streams has to order them himself")]
fn stop_tracking(cuda: &CudaDevice) {
    // SAFETY: every tensor of this process is made, used and dropped on this device's stream, which does things in order, but for
    // inputs that were copied ahead: the stream waits for their copy, and they are dropped when it has been waited for.
    unsafe { cuda.disable_event_tracking() };
}

/// Has the driver do something whatever earlier calls have left, which is told by the next wait.
///
/// An error in a drop is kept by the context, whose next call would tell it and do nothing.
pub(super) fn apart<T>(context: &CudaContext, call: impl FnOnce() -> Result<T, DriverError>) -> Result<T, DriverError> {
    let earlier = context.check_err();
    let done = call();
    context.record_err(earlier);
    done
}

/// The driver's pool that tensors are taken from.
struct Pool {
    pool: sys::CUmemoryPool,
}

// SAFETY: the driver's calls on a pool may come from any thread, and the pool lives as long as the process.
#[expect(unsafe_code, reason = "a handle of the driver's")]
unsafe impl Send for Pool {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "a handle of the driver's")]
unsafe impl Sync for Pool {}

impl Pool {
    /// The context's pool, which from now on keeps what it has: else each wait would give it back, to be mapped again.
    fn of(context: &Arc<CudaContext>) -> Result<Self, DriverError> {
        context.bind_to_thread()?;
        // SAFETY: the device is that of a context that lives.
        #[expect(unsafe_code, reason = "a call of the driver's")]
        let pool = Self { pool: unsafe { result::device::get_default_mem_pool(context.cu_device()) }? };
        pool.set(sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, u64::MAX)?;
        Ok(pool)
    }

    fn unused(&self) -> u64 {
        let reserved = self.get(sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT);
        reserved.saturating_sub(self.get(sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT))
    }

    /// Gives up to so many bytes back that nobody uses; the rest is kept for the batches of others.
    fn trim(&self, bytes: u64) {
        let reserved = self.get(sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT);
        let keep = usize::try_from(reserved.saturating_sub(bytes)).unwrap_or(usize::MAX);
        // SAFETY: the pool is the driver's own.
        #[expect(unsafe_code, reason = "a call of the driver's")]
        let _trimmed = unsafe { result::mem_pool::trim_to(self.pool, keep) };
    }

    fn watch_peak(&self) -> u64 {
        // Zero sets it to what is used now; where it cannot be set, the peak is that of all time, which errs on the safe side.
        let _set = self.set(sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH, 0);
        self.get(sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT)
    }

    fn peak(&self) -> u64 {
        self.get(sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH)
    }

    /// An attribute of 64 bits; 0 where the driver does not tell.
    fn get(&self, attribute: sys::CUmemPool_attribute) -> u64 {
        let mut value = 0_u64;
        // SAFETY: the pool is the driver's own, and each attribute that is asked for here is a number of 64 bits.
        #[expect(unsafe_code, reason = "a call of the driver's")]
        let got = unsafe { result::mem_pool::get_attribute(self.pool, attribute, (&raw mut value).cast::<c_void>()) };
        got.map_or(0, |()| value)
    }

    fn set(&self, attribute: sys::CUmemPool_attribute, value: u64) -> Result<(), DriverError> {
        let mut value = value;
        // SAFETY: as for `get`; the driver reads the number and keeps no pointer to it.
        #[expect(unsafe_code, reason = "a call of the driver's")]
        unsafe {
            result::mem_pool::set_attribute(self.pool, attribute, (&raw mut value).cast::<c_void>())
        }
    }
}

/// Candle's errors carry backtraces over several lines.
pub(super) fn first_line(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or("no message").to_owned()
}
