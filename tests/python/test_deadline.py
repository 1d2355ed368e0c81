"""Deadlines, by hand over HTTP/2, so that the status seen is the server's own and not a client library's.

What makes a request late is a model that takes some tenths of a second for each row, and a row that it is busy with.
"""

import time

import grpc
import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from exposition import samples, scrape, total
from raw_grpc import INFER, Connection
from repositories import SLOW_SIDE, write_identity, write_slow
from sconce_server import SconceServer
from triton_calls import infer_input, raw_request
from tritonclient.utils import InferenceServerException

OK, INVALID, DEADLINE, EXHAUSTED, UNIMPLEMENTED = 0, 3, 4, 8, 12


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    """Serves `slow`, one row at a time, and `quick`."""
    repository = tmp_path_factory.mktemp("slow")
    write_slow(repository)
    write_identity(repository, "quick", [("FP32", [4])])
    with SconceServer([repository]) as server:
        yield server


@pytest.fixture(scope="module")
def compute_seconds(slow) -> float:
    """What one row of `slow` takes."""
    with Connection(slow.grpc) as connection:
        return min(connection.call(INFER, slow_message()).seconds for _ in range(3))


def slow_message(**parameters: int) -> bytes:
    image = np.ones((1, 1, SLOW_SIDE, SLOW_SIDE), dtype=np.float32)
    request = raw_request("slow", ("image", "FP32", image.shape, image.tobytes()))
    for name, value in parameters.items():
        request.parameters[name].int64_param = value
    return request.SerializeToString()


def quick_message() -> bytes:
    return raw_request("quick", ("INPUT0", "FP32", [1, 4], bytes(16))).SerializeToString()


class Counted:
    """Requests of these reasons since this was made."""

    def __init__(self, server, *reasons: str):
        self.server, self.reasons = server, reasons
        # The page is up to a second old: count from one that holds what was before.
        time.sleep(1.1)
        self.before = self.now()

    def now(self) -> float:
        page = samples(scrape(self.server.metrics))
        return sum(total(page, "sconce_requests_total", reason=reason) for reason in self.reasons)

    def grow_to(self, more: int) -> bool:
        """Does the count come to be this much larger, and not more?"""
        end = time.monotonic() + 10
        while self.now() < self.before + more and time.monotonic() < end:
            time.sleep(0.1)
        return self.now() == self.before + more


@pytest.mark.parametrize("timeout", ["1n", "1u", "0m"])
def test_a_passed_deadline_is_the_servers_answer(slow, timeout):
    counted = Counted(slow, "deadline")
    with Connection(slow.grpc) as connection:
        answer = connection.call(INFER, quick_message(), grpc_timeout=timeout)
    assert answer.reset is None
    assert answer.headers[":status"] == "200"
    assert answer.status == DEADLINE, answer
    assert answer.message
    assert answer.body == b""
    assert counted.grow_to(1)


def test_time_enough_is_no_matter(slow):
    with Connection(slow.grpc) as connection:
        for timeout in ("30S", "1M", "1H", "30000m", "99999999u", "99999999S", "99999999H"):
            assert connection.call(INFER, quick_message(), grpc_timeout=timeout).status == OK, timeout


def test_a_request_behind_another_is_not_answered_late(slow, compute_seconds):
    counted = Counted(slow, "deadline", "predicted_wait")
    with Connection(slow.grpc) as connection:
        ahead = connection.send(INFER, slow_message())
        # Once this is back, the one before it has reached the model.
        connection.call(INFER, quick_message())
        behind = connection.call(INFER, slow_message(), grpc_timeout=f"{int(compute_seconds * 300)}m")
        # Refused at once if the wait was foreseen, else when the time was up; not when its turn came.
        assert behind.status in (DEADLINE, EXHAUSTED), behind
        assert behind.seconds < compute_seconds * 0.8
        assert connection.wait(ahead).status == OK
    assert counted.grow_to(1)


def test_the_deadline_passes_while_the_model_runs(slow, compute_seconds):
    with Connection(slow.grpc) as connection:
        answer = connection.call(INFER, slow_message(), grpc_timeout=f"{int(compute_seconds * 300)}m")
        assert answer.status in (DEADLINE, EXHAUSTED), answer
        assert answer.seconds < compute_seconds * 0.8
        # The server is none the worse.
        assert connection.call(INFER, slow_message()).status == OK


def test_the_timeout_parameter_is_a_deadline(slow):
    counted = Counted(slow, "deadline", "predicted_wait")
    with Connection(slow.grpc) as connection:
        answer = connection.call(INFER, slow_message(timeout=1))
    assert answer.status in (DEADLINE, EXHAUSTED), answer
    # In microseconds, as Triton's client sends it; no deadline of the client's own can have answered.
    with grpcclient.InferenceServerClient(slow.grpc) as client:
        with pytest.raises(InferenceServerException) as error:
            client.infer("quick", [infer_input("INPUT0", np.ones((1, 4), dtype=np.float32))], timeout=1)
    assert error.value.status() in ("StatusCode.DEADLINE_EXCEEDED", "StatusCode.RESOURCE_EXHAUSTED")
    assert counted.grow_to(2)


def test_the_earlier_deadline_counts(slow):
    with Connection(slow.grpc) as connection:
        assert connection.call(INFER, slow_message(timeout=60_000_000), grpc_timeout="1u").status == DEADLINE
        assert connection.call(INFER, slow_message(timeout=1), grpc_timeout="1M").status in (DEADLINE, EXHAUSTED)


def test_a_clients_own_deadline(slow):
    image = infer_input("image", np.ones((1, 1, SLOW_SIDE, SLOW_SIDE), dtype=np.float32))
    with grpcclient.InferenceServerClient(slow.grpc) as client:
        with pytest.raises(InferenceServerException):
            client.infer("slow", [image], client_timeout=0.01)
        assert client.infer("slow", [image], client_timeout=30).as_numpy("features").shape == (1, 128)


@pytest.mark.parametrize("timeout", ["soon", "", "1", "S", "-5m", "123456789S", "1.5S", "5 m"])
def test_a_timeout_that_cannot_be_read(slow, timeout):
    with Connection(slow.grpc) as connection:
        assert connection.call(INFER, quick_message(), grpc_timeout=timeout).status in (OK, INVALID)
        assert connection.call(INFER, quick_message()).status == OK


def test_a_client_that_leaves_is_counted_and_its_rows_never_run(slow, compute_seconds):
    counted = Counted(slow, "cancelled")
    with Connection(slow.grpc) as connection:
        ahead = connection.send(INFER, slow_message())
        gone = [connection.send(INFER, slow_message()) for _ in range(8)]
        for stream in gone:
            connection.cancel(stream)
        last = connection.call(INFER, slow_message())
        assert connection.wait(ahead).status == last.status == OK
        # The one ahead and its own; at most one of the others can have begun before it was cancelled.
        assert last.seconds < compute_seconds * 5
    assert counted.grow_to(len(gone))


def test_unknown_calls(slow):
    with Connection(slow.grpc) as connection:
        for path in ("/inference.GRPCInferenceService/Nothing", "/nobody/Nothing", "/"):
            assert connection.call(path, b"").status == UNIMPLEMENTED


def test_bytes_that_are_no_message(slow):
    with Connection(slow.grpc) as connection:
        answer = connection.call(INFER, b"\xff\xff\xff\xff")
        assert answer.status == INVALID
        assert connection.call(INFER, quick_message()).status == OK
