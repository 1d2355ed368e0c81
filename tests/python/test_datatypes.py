"""Every datatype of the protocol there and back, raw and typed, through models that give back what they get."""

import grpc
import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from triton_calls import NUMPY, infer_input, raw_bytes, raw_request
from tritonclient.grpc import service_pb2_grpc

SPECIAL = [0.0, -0.0, 1.5, -2.25, np.inf, -np.inf, np.nan, 1e-7]


@pytest.fixture(scope="module")
def client(server):
    with grpcclient.InferenceServerClient(server.grpc) as client:
        yield client


@pytest.fixture(scope="module")
def stub(server):
    with grpc.insecure_channel(server.grpc, options=[("grpc.max_receive_message_length", -1)]) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


def values(dtype: str) -> np.ndarray:
    """Two rows of this type, with its extremes."""
    kind = NUMPY[dtype]
    if dtype == "BOOL":
        return np.array([[True, False], [False, True]])
    if dtype.startswith(("INT", "UINT")):
        limits = np.iinfo(kind)
        return np.array([[limits.min, limits.max], [0, 1]], dtype=kind)
    return np.array(SPECIAL, dtype=kind).reshape(2, 4)


@pytest.mark.parametrize("dtype", NUMPY)
def test_raw(client, dtype):
    sent = values(dtype)
    result = client.infer(f"identity_{dtype.lower()}", [infer_input("INPUT0", sent)])
    output = result.get_output("OUTPUT0")
    assert output.datatype == dtype and list(output.shape) == list(sent.shape)
    # By bytes: NaN and the sign of zero count.
    assert result.get_response().raw_output_contents[0] == sent.tobytes()
    # numpy cannot compare bfloat16's NaN; single precision holds all that it does.
    kind = np.float32 if dtype == "BF16" else sent.dtype
    np.testing.assert_array_equal(result.as_numpy("OUTPUT0").astype(kind), sent.astype(kind))


TYPED = {
    "BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents",
    "INT64": "int64_contents", "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents",
    "UINT64": "uint64_contents", "FP32": "fp32_contents", "FP64": "fp64_contents",
}


@pytest.mark.parametrize(("dtype", "field"), TYPED.items())
def test_typed(stub, dtype, field):
    sent = values(dtype)
    request = raw_request(f"identity_{dtype.lower()}", ("INPUT0", dtype, sent.shape, None))
    getattr(request.inputs[0].contents, field).extend(sent.ravel().tolist())
    response = stub.ModelInfer(request)
    # Answers are raw whatever came: tritonclient reads nothing else.
    assert response.raw_output_contents[0] == sent.tobytes()
    assert not response.outputs[0].HasField("contents")


def test_typed_bytes(stub):
    sent = [b"", b"\x00\xff", "naïve ☃".encode()]
    request = raw_request("identity_bytes", ("INPUT0", "BYTES", [3, 1], None))
    request.inputs[0].contents.bytes_contents.extend(sent)
    raw = stub.ModelInfer(request).raw_output_contents[0]
    assert raw == raw_bytes(sent)


@pytest.mark.parametrize(
    ("dtype", "field", "wrong"),
    [
        pytest.param("INT8", "int_contents", [128, 0], id="int8 above"),
        pytest.param("INT16", "int_contents", [-32769, 0], id="int16 below"),
        pytest.param("UINT8", "uint_contents", [256, 0], id="uint8 above"),
        pytest.param("UINT16", "uint_contents", [65536, 0], id="uint16 above"),
        pytest.param("FP32", "fp64_contents", [1.0, 2.0], id="other field"),
        pytest.param("FP32", "fp32_contents", [1.0], id="too few"),
        pytest.param("FP32", "fp32_contents", [1.0, 2.0, 3.0], id="too many"),
        pytest.param("FP16", "fp32_contents", [1.0, 2.0], id="fp16 has no typed form"),
        pytest.param("BYTES", "bytes_contents", [b"one"], id="bytes too few"),
    ],
)
def test_typed_contents_that_do_not_fit(stub, dtype, field, wrong):
    request = raw_request(f"identity_{dtype.lower()}", ("INPUT0", dtype, [1, 2], None))
    getattr(request.inputs[0].contents, field).extend(wrong)
    with pytest.raises(grpc.RpcError) as error:
        stub.ModelInfer(request)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "INPUT0" in error.value.details()


@pytest.mark.parametrize(
    "strings",
    [
        pytest.param(["plain", "naïve ☃ 日本語", ""], id="unicode"),
        pytest.param([b"\x00\x01\xff\xfe", b"\n", b"\x80"], id="not utf-8"),
        pytest.param(["x" * 70_000, "y"], id="long"),
        # Beyond the 4 MiB at which gRPC libraries stop unless told otherwise.
        pytest.param([b"z" * (6 << 20)], id="large"),
    ],
)
def test_bytes(client, strings):
    sent = np.array(strings, dtype=np.object_).reshape(-1, 1)
    came = client.infer("identity_bytes", [infer_input("INPUT0", sent, "BYTES")]).as_numpy("OUTPUT0")
    wanted = [text.encode() if isinstance(text, str) else text for text in strings]
    assert came.ravel().tolist() == wanted


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"\x05\x00\x00\x00abc", id="cut short"),
        pytest.param(b"\x01\x00\x00\x00a" * 3, id="one too many"),
        pytest.param(b"\x01\x00\x00\x00a", id="one too few"),
        pytest.param(b"\xff\xff\xff\xff", id="length of 4 GiB"),
        pytest.param(b"\x01\x00\x00\x00a\x00\x00", id="half a length"),
    ],
)
def test_bytes_whose_lengths_do_not_add_up(stub, raw):
    with pytest.raises(grpc.RpcError) as error:
        stub.ModelInfer(raw_request("identity_bytes", ("INPUT0", "BYTES", [2, 1], raw)))
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "INPUT0" in error.value.details()


def test_every_datatype_in_one_request(stub, client):
    tensors, sent = [], []
    for tensor in client.get_model_metadata("everything").inputs:
        if tensor.datatype == "BYTES":
            raw = raw_bytes([b"one", b"", b"three", b"4"])
        else:
            raw = values(tensor.datatype).ravel()[:4].tobytes()
        tensors.append((tensor.name, tensor.datatype, [2, 2], raw))
        sent.append(raw)
    response = stub.ModelInfer(raw_request("everything", *tensors))
    assert list(response.raw_output_contents) == sent
    assert [output.datatype for output in response.outputs] == [dtype for _, dtype, _, _ in tensors]
