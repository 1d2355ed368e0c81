//! Between host bytes and tensors on the GPU.

use std::sync::Arc;

use candle_core::cuda::{CudaDType, CudaStorage, WrapErr as _};
use candle_core::op::BackpropOp;
use candle_core::{DType, Error, Result, Storage, Tensor, WithDType, bail};
use cudarc::driver::CudaStream;
use sconce::types::{DataType, Tensor as HostTensor};

use super::gpu::Gpu;

/// Numbers in the bytes of both sides.
trait Bits: WithDType + CudaDType + bytemuck::Pod + cudarc::driver::DeviceRepr {}

impl Bits for f32 {}
impl Bits for f64 {}
impl Bits for half::f16 {}
impl Bits for half::bf16 {}
impl Bits for u8 {}
impl Bits for u32 {}
impl Bits for i64 {}

/// Has `stream` copy an input to the device. The bytes and the tensor must stay until all that uses them has been waited for: what
/// is dropped is given back by the stream that it was taken on.
pub(super) fn upload(input: &HostTensor, gpu: &Gpu, stream: &Arc<CudaStream>) -> Result<Tensor> {
    let (data, dims) = (input.data(), input.shape().dims());
    match input.dtype() {
        DataType::Fp32 => upload_as::<f32>(data, dims, gpu, stream),
        DataType::Fp64 => upload_as::<f64>(data, dims, gpu, stream),
        DataType::Fp16 => upload_as::<half::f16>(data, dims, gpu, stream),
        DataType::Bf16 => upload_as::<half::bf16>(data, dims, gpu, stream),
        DataType::Uint8 => upload_as::<u8>(data, dims, gpu, stream),
        DataType::Uint32 => upload_as::<u32>(data, dims, gpu, stream),
        DataType::Int64 => upload_as::<i64>(data, dims, gpu, stream),
        other => bail!("candle has no {other} tensors"),
    }
}

fn upload_as<T: Bits>(data: &[u8], dims: &[usize], gpu: &Gpu, stream: &Arc<CudaStream>) -> Result<Tensor> {
    // Places in the staging area are multiples of 64 bytes.
    let numbers: &[T] = bytemuck::try_cast_slice(data).map_err(|error| Error::msg(format!("an input: {error}")))?;
    let memory = stream.clone_htod(numbers).w()?;
    let storage = CudaStorage::wrap_cuda_slice(memory, gpu.device.as_cuda_device()?.clone());
    Ok(Tensor::from_storage(Storage::Cuda(storage), dims, BackpropOp::none(), false))
}

/// What the protocol calls a tensor's numbers, and the bytes that they take. Errors: it has no name for them.
pub(super) fn described(tensor: &Tensor) -> Result<(DataType, usize)> {
    let dtype = match tensor.dtype() {
        DType::F32 => DataType::Fp32,
        DType::F64 => DataType::Fp64,
        DType::F16 => DataType::Fp16,
        DType::BF16 => DataType::Bf16,
        DType::U8 => DataType::Uint8,
        DType::U32 => DataType::Uint32,
        DType::I64 => DataType::Int64,
        other => bail!("no protocol type for candle's {other:?}"),
    };
    Ok((dtype, tensor.elem_count() * tensor.dtype().size_in_bytes()))
}

/// Has an output copied into `room`, which must stay until the stream has been waited for.
pub(super) fn download(output: &Tensor, gpu: &Gpu, room: &mut [u8]) -> Result<()> {
    match output.dtype() {
        DType::F32 => download_as::<f32>(output, gpu, room),
        DType::F64 => download_as::<f64>(output, gpu, room),
        DType::F16 => download_as::<half::f16>(output, gpu, room),
        DType::BF16 => download_as::<half::bf16>(output, gpu, room),
        DType::U8 => download_as::<u8>(output, gpu, room),
        DType::U32 => download_as::<u32>(output, gpu, room),
        DType::I64 => download_as::<i64>(output, gpu, room),
        other => bail!("no protocol type for candle's {other:?}"),
    }
}

fn download_as<T: Bits>(output: &Tensor, gpu: &Gpu, room: &mut [u8]) -> Result<()> {
    let output = output.contiguous()?;
    let (storage, layout) = output.storage_and_layout();
    let (Storage::Cuda(storage), Some((start, end))) = (&*storage, layout.contiguous_offsets()) else {
        bail!("an output that is not on the GPU")
    };
    let numbers: &mut [T] =
        bytemuck::try_cast_slice_mut(room).map_err(|error| Error::msg(format!("an output: {error}")))?;
    let Some(view) = storage.as_cuda_slice::<T>()?.try_slice(start..end).filter(|_| numbers.len() == end - start)
    else {
        bail!("an output beyond its memory")
    };
    gpu.stream.memcpy_dtoh(&view, numbers).w()
}
