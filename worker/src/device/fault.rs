//! What an error of the driver means for the process that has it.

use sconce::device::wire::Failure;

use super::Failed;

/// What the driver's and cuBLAS's errors of too little memory are called in their texts.
const MEMORY: [&str; 2] = ["CUDA_ERROR_OUT_OF_MEMORY", "CUBLAS_STATUS_ALLOC_FAILED"];

/// Why a batch failed: for want of memory, with its device, or by itself.
///
/// An error that leaves the context broken comes back from every later call, so the device is asked to do something: `still_works`.
/// Its other errors are those of the batch.
pub(crate) fn failed(error: &candle_core::Error, still_works: impl FnOnce() -> Result<(), String>) -> Failed {
    let text = error.to_string();
    let text = text.lines().next().unwrap_or("no message");
    if let Err(why) = still_works() {
        return Failed::new(Failure::Device, format!("{text}; {why}"));
    }
    let failure = if MEMORY.iter().any(|name| text.contains(name)) { Failure::Memory } else { Failure::Model };
    Failed::new(failure, format!("the model failed: {text}"))
}

#[cfg(test)]
mod tests {
    use candle_core::Error;
    use sconce::device::wire::Failure;

    use super::failed;

    #[test]
    fn memory_device_and_batch_are_told_apart() {
        let text = "DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")\n   0: somewhere";
        let memory = failed(&Error::msg(text), || Ok(()));
        assert_eq!((memory.failure, memory.detail.lines().count()), (Failure::Memory, 1));
        let broken = failed(&Error::msg(text), || Err("an illegal address".to_owned()));
        assert_eq!(broken.failure, Failure::Device);
        let own = failed(&Error::msg("shape mismatch in matmul"), || Ok(()));
        assert_eq!((own.failure, own.detail.as_str()), (Failure::Model, "the model failed: shape mismatch in matmul"));
    }
}
