"""The worker for GPUs, whole, where there is none: the device of its CUDA driver is the host (tests/cuda).

The driver ends the worker's process where it is misused, which clients or the log would tell.
"""

import sys
from pathlib import Path

import numpy as np
import pytest
from callers import Callers
from exposition import read_total
from processes import worker_pid
from sconce_server import SconceServer
from waiting import wait_for

sys.path.append(str(Path(__file__).resolve().parents[1] / "gpu"))

from client import Client
from networks import MAKERS

DEVICE = "cuda:0"
CONFIDENCE = "sconce_prediction_confidence_ratio"
WAIT_SECONDS = 60.0
MIB = 1 << 20
# Where a build with symbols looks its errors up in them, a batch that failed counts as overdue first.
ENVIRONMENT = {"RUST_LOG": "sconce_worker=debug", "RUST_BACKTRACE": "0"}


@pytest.fixture(scope="module")
def bert():
    return MAKERS["bert"](True)


@pytest.fixture()
def repository(tmp_path, bert):
    """Writes the classifier with these settings, and gives the folder."""

    def write(settings: str) -> Path:
        bert.save(tmp_path, "bert")
        (tmp_path / "bert" / "model.toml").write_text(settings)
        return tmp_path

    return write


def serve(models: Path, **environment: str) -> SconceServer:
    return SconceServer(models, "--device", "cuda", ready_seconds=WAIT_SECONDS, env=ENVIRONMENT | environment)


def tokens(rows: int, length: int) -> dict[str, np.ndarray]:
    return {"input_ids": 5 + np.arange(rows * length, dtype=np.int64).reshape(rows, length) % 50}


def test_batches_that_recur_are_recorded_and_answered_alike(repository):
    with serve(repository('[device]\npolicy = "require-gpu"\n')) as server, Client(server.grpc) as client:
        asked = [client.infer("bert", tokens(3, 11)) for _ in range(8)]
        wait_for(lambda: "recorded as a graph" in server.log(), WAIT_SECONDS)
        assert "not recorded as a graph" not in server.log()
    assert {answer.rung for answer in asked} == {"worker"}
    for answer in asked[1:]:
        np.testing.assert_allclose(answer.outputs["logits"], asked[0].outputs["logits"], atol=1e-5)


def test_probabilities_and_confidences_are_those_of_the_cores(repository):
    """They come of the pass that scores on the device, and of candle and the server's own scoring on the cores."""
    models, seen = repository(""), {}
    for device, rung in (("cuda", "worker"), ("cpu", None)):
        with SconceServer(models, "--device", device) as server, Client(server.grpc) as client:
            answer = client.infer("bert", tokens(5, 7))
            assert answer.rung == rung
            # The page is rendered once a second.
            wait_for(lambda: read_total(server.metrics, f"{CONFIDENCE}_count") == 5, WAIT_SECONDS)
            bins = {le: read_total(server.metrics, f"{CONFIDENCE}_bucket", le=le) for le in ("0.1", "0.2", "0.5", "0.9", "1")}
            seen[device] = answer.outputs["probabilities"], bins
    (on_device, told), (on_cores, computed) = seen["cuda"], seen["cpu"]
    np.testing.assert_allclose(on_device, on_cores, atol=1e-6)
    np.testing.assert_allclose(on_device.sum(axis=1), 1, atol=1e-6)
    assert told == computed and told["1"] == 5


def test_batches_beyond_a_models_memory_are_halved(repository):
    """Nothing is tried that has no room: the driver is never asked for more than there is."""
    settings = 'max_batch_size = 64\n[device]\nmemory_max = "1MiB"\n[warmup]\ntime_max = "0s"\n'
    with serve(repository(settings)) as server, Client(server.grpc) as client:
        answers = [client.infer("bert", tokens(16, 60)) for _ in range(3)]
        limit = read_total(server.metrics, "sconce_batch_size_limit", model="bert", rung="worker")
        assert {answer.rung for answer in answers} == {"worker"}
        assert limit < 16 * 60
        assert "`device.memory_max` leaves" in server.log() and "OUT_OF_MEMORY" not in server.log()


def test_a_model_without_room_for_a_row_is_refused_with_what_there_is(tmp_path):
    network = MAKERS["resnet"](True)
    network.save(tmp_path, "resnet")
    with serve(tmp_path, CUDA_HOST_MEMORY=str(4 * MIB)) as server, Client(server.grpc) as client:
        answer = client.infer("resnet", network.rows(1, "a picture"))
        assert answer.rung is None, "there is one rung, the cores"
        assert "a single row does not fit beside its weights: the device has" in server.log()


class Asked:
    """Rows of the network, whose answers must stay what they were on a device that was well: what Callers ask."""

    model = "tabular"

    def __init__(self, rows: np.ndarray, address: str):
        self.rows = rows
        with Client(address) as client:
            self.answers = client.infer(self.model, {"features": rows}).outputs["logits"]

    @staticmethod
    def connect(address: str) -> Client:
        return Client(address)

    def call(self, client: Client, at: int) -> str | None:
        at %= len(self.rows)
        answer = client.infer(self.model, {"features": self.rows[[at]]})
        np.testing.assert_allclose(answer.outputs["logits"], self.answers[[at]], atol=1e-5)
        return answer.rung


def test_full_batches_are_copied_while_others_are_computed(tmp_path):
    """By two streams, of which neither does a thing before it is waited for: what is out of order is NaN."""
    network = MAKERS["tabular"](True)
    network.save(tmp_path, Asked.model)
    (tmp_path / Asked.model / "model.toml").write_text('max_batch_size = 4\n[device]\npolicy = "require-gpu"\n')
    with serve(tmp_path) as server:
        asked = Asked(network.rows(16, "one after the other")["features"], server.grpc)
        with Callers(server, [asked], at_once=16) as callers:
            wait_for(lambda: read_total(server.metrics, "sconce_batches_ahead_total") >= 50, WAIT_SECONDS)
        assert list(callers.failures.queue) == []


def test_a_device_that_breaks_costs_no_client_an_answer(tmp_path):
    """Each worker's device breaks after so many operations, and answers every call with the error from then on."""
    network = MAKERS["tabular"](True)
    network.save(tmp_path, Asked.model)
    with serve(tmp_path, CUDA_HOST_LOST_AFTER="3000") as server:
        first, asked = worker_pid(server), Asked(network.rows(16, "a broken device")["features"], server.grpc)
        with Callers(server, [asked]) as callers:
            wait_for(lambda: read_total(server.metrics, "sconce_worker_restarts_total", device=DEVICE) >= 2, WAIT_SECONDS)
            callers.wait_for_rung("worker")
        assert list(callers.failures.queue) == []
        assert {call.rung for call in callers.calls} == {"worker", "cpu"}
        assert worker_pid(server) != first
        assert "ILLEGAL_ADDRESS" in server.log()
