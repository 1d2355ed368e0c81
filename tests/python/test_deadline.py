"""Deadlines, by hand over HTTP/2, so that the status seen is the server's own and not a client library's.

What makes a request late is a model that takes about a tenth of a second for each row, and requests before it.
"""

import grpc
import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from exposition import samples, scrape, total
from raw_grpc import INFER, Connection
from repositories import SLOW_SIDE
from sconce_server import SconceServer
from triton_calls import infer_input, raw_request
from tritonclient.utils import InferenceServerException

OK, INVALID, DEADLINE, EXHAUSTED, UNIMPLEMENTED = 0, 3, 4, 8, 12


@pytest.fixture()
def slow(slow_models):
    with SconceServer([slow_models]) as server:
        yield server


def slow_message(**parameters: int) -> bytes:
    image = np.ones((1, 1, SLOW_SIDE, SLOW_SIDE), dtype=np.float32)
    request = raw_request("slow", ("image", "FP32", image.shape, image.tobytes()))
    for name, value in parameters.items():
        request.parameters[name].int64_param = value
    return request.SerializeToString()


def quick_message() -> bytes:
    return raw_request("quick", ("INPUT0", "FP32", [1, 4], bytes(16))).SerializeToString()


def counted(server, reason: str) -> float:
    return total(samples(scrape(server.metrics)), "sconce_requests_total", reason=reason)


@pytest.mark.parametrize("timeout", ["1n", "1u", "0m"])
def test_a_passed_deadline_is_the_servers_answer(slow, timeout):
    before = counted(slow, "deadline")
    with Connection(slow.grpc) as connection:
        answer = connection.call(INFER, quick_message(), grpc_timeout=timeout)
    assert answer.reset is None
    assert answer.headers[":status"] == "200"
    assert answer.status == DEADLINE, answer
    assert answer.message
    assert answer.body == b""
    assert counted(slow, "deadline") == before + 1


def test_time_enough_is_no_matter(slow):
    with Connection(slow.grpc) as connection:
        for timeout in ("30S", "1M", "1H", "30000m", "99999999u", "99999999S"):
            assert connection.call(INFER, quick_message(), grpc_timeout=timeout).status == OK, timeout


def test_a_request_behind_others_is_not_answered_late(slow):
    late = ("deadline", "predicted_wait")
    before = sum(counted(slow, reason) for reason in late)
    with Connection(slow.grpc) as connection:
        ahead = [connection.send(INFER, slow_message()) for _ in range(8)]
        behind = connection.send(INFER, slow_message(), grpc_timeout="60m")
        answer = connection.wait(behind)
        # Refused at once if the wait was foreseen, else when the time was up; not when its turn came.
        assert answer.status in (DEADLINE, EXHAUSTED), answer
        assert answer.seconds < 0.5
        assert all(connection.wait(stream).status == OK for stream in ahead)
    assert sum(counted(slow, reason) for reason in late) == before + 1


def test_the_deadline_passes_while_the_model_runs(slow):
    with Connection(slow.grpc) as connection:
        answer = connection.call(INFER, slow_message(), grpc_timeout="5m")
        assert answer.status in (DEADLINE, EXHAUSTED), answer
        assert answer.seconds < 0.5
        # The server is none the worse.
        assert connection.call(INFER, slow_message()).status == OK


def test_the_timeout_parameter_is_a_deadline(slow):
    before = counted(slow, "deadline")
    with Connection(slow.grpc) as connection:
        answer = connection.call(INFER, slow_message(timeout=1))
    assert answer.status in (DEADLINE, EXHAUSTED), answer
    # In microseconds, as Triton's client sends it; no deadline of the client's own can have answered.
    with grpcclient.InferenceServerClient(slow.grpc) as client:
        with pytest.raises(InferenceServerException) as error:
            client.infer("quick", [infer_input("INPUT0", np.ones((1, 4), dtype=np.float32))], timeout=1)
    assert error.value.status() in ("StatusCode.DEADLINE_EXCEEDED", "StatusCode.RESOURCE_EXHAUSTED")
    assert counted(slow, "deadline") + counted(slow, "predicted_wait") >= before + 2


def test_the_earlier_deadline_counts(slow):
    with Connection(slow.grpc) as connection:
        assert connection.call(INFER, slow_message(timeout=60_000_000), grpc_timeout="1u").status == DEADLINE
        assert connection.call(INFER, slow_message(timeout=1), grpc_timeout="1M").status in (DEADLINE, EXHAUSTED)


def test_a_clients_own_deadline(slow):
    image = infer_input("image", np.ones((1, 1, SLOW_SIDE, SLOW_SIDE), dtype=np.float32))
    with grpcclient.InferenceServerClient(slow.grpc) as client:
        with pytest.raises(InferenceServerException):
            client.infer("slow", [image], client_timeout=0.01)
        assert client.infer("slow", [image], client_timeout=30).as_numpy("features").shape == (1, 64)


@pytest.mark.parametrize("timeout", ["soon", "", "1", "S", "-5m", "123456789S", "1.5S", "5 m"])
def test_a_timeout_that_cannot_be_read(slow, timeout):
    with Connection(slow.grpc) as connection:
        assert connection.call(INFER, quick_message(), grpc_timeout=timeout).status in (OK, INVALID)
        assert connection.call(INFER, quick_message()).status == OK


def test_a_client_that_leaves_is_counted_and_harms_nobody(slow):
    before = counted(slow, "cancelled")
    with Connection(slow.grpc) as connection:
        ahead = [connection.send(INFER, slow_message()) for _ in range(4)]
        gone = [connection.send(INFER, slow_message()) for _ in range(8)]
        for stream in gone:
            connection.cancel(stream)
        assert all(connection.wait(stream).status == OK for stream in ahead)
        # Eight executions would take about a second; none of them was wanted.
        assert connection.call(INFER, slow_message()).seconds < 0.8
    assert counted(slow, "cancelled") == before + len(gone)


def test_unknown_calls(slow):
    with Connection(slow.grpc) as connection:
        for path in ("/inference.GRPCInferenceService/Nothing", "/nobody/Nothing", "/"):
            assert connection.call(path, b"").status == UNIMPLEMENTED


def test_bytes_that_are_no_message(slow):
    with Connection(slow.grpc) as connection:
        answer = connection.call(INFER, b"\xff\xff\xff\xff")
        assert answer.status in (INVALID, grpc.StatusCode.INTERNAL.value[0])
        assert connection.call(INFER, quick_message()).status == OK
