"""KServe's own Python client, unmodified, against the server. Runs in a process of its own: see requirements-kserve.txt."""

import asyncio

import grpc
import numpy as np
import pytest
from kserve import InferInput, InferRequest
from kserve.inference_client import InferenceGRPCClient


def talk(address: str, work):
    """Runs `work(client)` in an event loop of its own."""

    async def run():
        client = InferenceGRPCClient(address)
        try:
            return await work(client)
        finally:
            await client.close()

    return asyncio.run(run())


def request(model: str, name: str, dtype: str, array: np.ndarray, binary: bool) -> InferRequest:
    tensor = InferInput(name=name, shape=list(array.shape), datatype=dtype)
    tensor.set_data_from_numpy(array, binary_data=binary)
    return InferRequest(model_name=model, infer_inputs=[tensor], request_id="from-kserve")


def test_live_and_ready(server):
    async def work(client):
        return await client.is_server_live(), await client.is_server_ready(), await client.is_model_ready("pair")

    assert talk(server.grpc, work) == (True, True, True)


@pytest.mark.parametrize("binary", [True, False], ids=["raw", "typed"])
@pytest.mark.parametrize(
    ("dtype", "kind"),
    [("FP32", np.float32), ("FP64", np.float64), ("INT32", np.int32), ("INT64", np.int64), ("UINT8", np.uint8)],
)
def test_infer(server, dtype, kind, binary):
    sent = np.arange(6, dtype=kind).reshape(2, 3)
    model = f"identity_{dtype.lower()}"

    async def work(client):
        return await client.infer(request(model, "INPUT0", dtype, sent, binary))

    response = talk(server.grpc, work)
    assert response.id == "from-kserve"
    assert response.model_name == model
    assert response.model_version == "1"
    output = response.outputs[0]
    assert output.name == "OUTPUT0" and output.datatype == dtype
    np.testing.assert_array_equal(output.as_numpy(), sent)


def test_many_at_once(server):
    async def work(client):
        calls = [
            client.infer(request("identity_int64", "INPUT0", "INT64", np.full((1, 2), i, dtype=np.int64), True))
            for i in range(200)
        ]
        return await asyncio.gather(*calls)

    for i, response in enumerate(talk(server.grpc, work)):
        np.testing.assert_array_equal(response.outputs[0].as_numpy(), [[i, i]])


def test_unknown_model(server):
    async def work(client):
        return await client.infer(request("nobody", "INPUT0", "FP32", np.zeros((1, 2), dtype=np.float32), True))

    with pytest.raises(Exception) as error:
        talk(server.grpc, work)
    cause = error.value
    while cause is not None and not isinstance(cause, grpc.RpcError):
        cause = cause.__cause__ or cause.__context__
    if cause is not None:
        assert cause.code() == grpc.StatusCode.NOT_FOUND
    assert "nobody" in str(error.value) + str(cause)


def test_parameters(server):
    asked = request("identity_fp32", "INPUT0", "FP32", np.ones((1, 2), dtype=np.float32), True)
    asked.parameters = {"batch_report": True, "priority": 1}

    async def work(client):
        return await client.infer(asked)

    assert "release" in talk(server.grpc, work).parameters
