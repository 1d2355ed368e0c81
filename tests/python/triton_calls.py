"""Short forms of tritonclient for the tests."""

from collections.abc import Sequence

import ml_dtypes
import numpy as np
import tritonclient.grpc as grpcclient
from tritonclient.grpc import service_pb2
from tritonclient.utils import np_to_triton_dtype, serialize_byte_tensor

# The types that numpy has by itself; BF16 is ml_dtypes', BYTES are objects.
NUMPY = {
    "BOOL": np.bool_, "UINT8": np.uint8, "UINT16": np.uint16, "UINT32": np.uint32, "UINT64": np.uint64, "INT8": np.int8,
    "INT16": np.int16, "INT32": np.int32, "INT64": np.int64, "FP16": np.float16, "FP32": np.float32, "FP64": np.float64,
    "BF16": ml_dtypes.bfloat16,
}


def infer_input(name: str, array: np.ndarray, dtype: str | None = None):
    """An input tensor of this array, under the datatype that it has by itself."""
    tensor = grpcclient.InferInput(name, list(array.shape), dtype or np_to_triton_dtype(array.dtype))
    tensor.set_data_from_numpy(array)
    return tensor


def raw_request(model: str, *inputs, **fields) -> service_pb2.ModelInferRequest:
    """A request of (name, datatype, shape, bytes) each, with nothing checked."""
    request = service_pb2.ModelInferRequest(model_name=model, **fields)
    for name, dtype, shape, raw in inputs:
        request.inputs.add(name=name, datatype=dtype, shape=shape)
        if raw is not None:
            request.raw_input_contents.append(raw)
    return request


def raw_bytes(rows: Sequence[bytes]) -> bytes:
    """Elements of a BYTES tensor as they stand in a request."""
    return serialize_byte_tensor(np.array(rows, dtype=np.object_)).item()


def identity_request(model: str, count: int = 4, **fields) -> service_pb2.ModelInferRequest:
    """A request of one row of `count` zeros, to a model of one FP32 tensor."""
    return raw_request(model, ("INPUT0", "FP32", [1, count], bytes(4 * count)), **fields)
