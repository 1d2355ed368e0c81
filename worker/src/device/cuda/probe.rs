//! What the driver says that there is.

use cudarc::driver::{CudaContext, DriverError, result, sys};
use sconce::device::wire::{CUDA, Gpu, Probe};
use sconce_kernels::Cuda;

/// Looks at every GPU; each is opened for a moment, which takes as long as opening it.
pub(crate) fn probe() -> Probe {
    let probe = Probe::new(&["cpu", CUDA]);
    match gpus() {
        Ok((gpus, problem)) => Probe { gpus, problem, ..probe },
        Err(problem) => Probe { problem: Some(problem), ..probe },
    }
}

/// The GPUs that can be opened, or, if there is none, what is wrong with the last.
fn gpus() -> Result<(Vec<Gpu>, Option<String>), String> {
    result::init().map_err(|error| format!("the driver does not start: {error}"))?;
    check_version()?;
    let count = CudaContext::device_count().map_err(|error| format!("count the GPUs: {error}"))?;
    let (mut gpus, mut problem) = (Vec::new(), None);
    for index in 0..u32::try_from(count).unwrap_or(0) {
        match look_at(index) {
            Ok(gpu) => gpus.push(gpu),
            Err(error) => problem = Some(format!("GPU {index}: {error}")),
        }
    }
    let problem = problem.filter(|_| gpus.is_empty());
    Ok((gpus, problem))
}

fn look_at(index: u32) -> Result<Gpu, String> {
    let told = |error: DriverError| error.to_string();
    let context = CudaContext::new(index as usize).map_err(told)?;
    let (free, total) = context.mem_get_info().map_err(told)?;
    let (major, minor) = context.compute_capability().map_err(told)?;
    let capability = format!("{major}.{minor}");
    // A GPU that they were not built for refuses them.
    Cuda::new(context.default_stream()).map_err(|error| format!("compute capability {capability}: {error}"))?;
    let name = context.name().map_err(told)?;
    let (memory_total, memory_free) = (total as u64, free as u64);
    Ok(Gpu { index, name, memory_total, memory_free, compute_capability: capability })
}

/// Errors: the driver is older than the CUDA that this program was built with, whose kernels it would refuse one by one.
fn check_version() -> Result<(), String> {
    let mut version = 0;
    // SAFETY: the driver writes one number where it is told to, and nothing else.
    #[expect(unsafe_code, reason = "a call of the driver's")]
    let told = unsafe { sys::cuDriverGetVersion(&raw mut version) };
    told.result().map_err(|error| format!("the driver's version: {error}"))?;
    let wanted = i32::try_from(sys::CUDA_VERSION).unwrap_or(i32::MAX);
    let text = |version: i32| format!("{}.{}", version / 1000, version % 1000 / 10);
    if version < wanted {
        return Err(format!("the driver speaks CUDA {}; this worker was built with {}", text(version), text(wanted)));
    }
    Ok(())
}
