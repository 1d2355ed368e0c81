"""The worker's process of a server under test, and callers that see what becomes of their requests when it fails."""

import math
import queue
import threading
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
import tritonclient.grpc as grpcclient
from exposition import read_total
from parity import BOUND, difference
from safetensors.numpy import load_file
from triton_calls import infer_input
from waiting import wait_for

PROGRAM = "sconce-worker"
UP_SECONDS_MAX = 30.0


def worker_pids(server) -> list[int]:
    """Children of the server that are its worker."""
    children = Path(f"/proc/{server.pid}/task").glob("*/children")
    pids = [int(pid) for listed in children for pid in listed.read_text().split()]
    return [pid for pid in pids if name_of(pid) == PROGRAM]


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def worker_pid(server) -> int:
    """The worker, once there is one."""
    wait_for(lambda: worker_pids(server), UP_SECONDS_MAX)
    (pid,) = worker_pids(server)
    return pid


def restarts(server) -> float:
    return read_total(server.metrics, "sconce_worker_restarts_total", device="cpu")


def rung_of(result) -> str | None:
    """The rung that an answer of tritonclient names."""
    parameters = result.get_response().parameters
    return parameters["rung"].string_param if "rung" in parameters else None


def wait_for_rung(client, model: str, inputs: list, rung: str) -> None:
    """Asks until this rung answers."""
    wait_for(lambda: rung_of(client.infer(model, inputs)) == rung, UP_SECONDS_MAX)


@dataclass
class Call:
    """One that was answered."""

    ended: float
    seconds: float
    rung: str | None


class HeldOut:
    """The held-out rows of a shipped model, and what the framework that trained it makes of them."""

    def __init__(self, models: Path, model: str):
        tensors = load_file(models / model / "held_out.safetensors")
        network = tomllib.loads((models / model / "1" / "network.toml").read_text())
        self.model, self.input, self.output = model, network["input"]["name"], network["output"]["name"]
        self.rows, self.answers = tensors["inputs"], tensors["reference"]

    def inputs(self, at: int) -> list:
        """One row of them."""
        at %= len(self.rows)
        return [infer_input(self.input, self.rows[at : at + 1])]

    def ask(self, client, at: int):
        """Has one row answered. Raises AssertionError if the answer is not that row's."""
        result = client.infer(self.model, self.inputs(at))
        ours, at = result.as_numpy(self.output), at % len(self.rows)
        assert (difference(ours, self.answers[at : at + 1]) <= BOUND).all(), f"{self.model}, row {at}: {ours}"
        return result


class Callers:
    """Ask every model without pause, two at a time each, while the context manager is open; each row is checked."""

    def __init__(self, server, models: Sequence[HeldOut], at_once: int = 2):
        self.server = server
        self.calls: list[Call] = []
        self.failures: queue.Queue[str] = queue.Queue()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._call, args=(model, number), daemon=True)
            for model in models
            for number in range(at_once)
        ]

    def __enter__(self) -> "Callers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a request was never answered"

    def _call(self, model: HeldOut, number: int) -> None:
        at = number * len(model.rows) // 2
        with grpcclient.InferenceServerClient(self.server.grpc) as client:
            while not self._stop.is_set():
                began = time.monotonic()
                try:
                    result = model.ask(client, at)
                except (AssertionError, grpcclient.InferenceServerException, grpc.RpcError) as error:
                    self.failures.put(f"{model.model} row {at}: {error}")
                    continue
                ended = time.monotonic()
                self.calls.append(Call(ended, ended - began, rung_of(result)))
                at += 1

    def rungs(self, since: float = 0.0) -> set[str | None]:
        return {call.rung for call in self.calls if call.ended >= since}

    def p99(self, since: float, until: float) -> float:
        """The 99th percentile of the calls that ended in this time."""
        seconds = sorted(call.seconds for call in self.calls if since <= call.ended < until)
        return seconds[math.ceil(len(seconds) * 0.99) - 1] if seconds else math.inf

    def wait_for_calls(self, count: int) -> None:
        """Waits until so many more have been answered, and nothing has failed."""
        wanted = len(self.calls) + count
        wait_for(lambda: len(self.calls) >= wanted or not self.failures.empty(), 60)
        assert not self.failures.qsize(), list(self.failures.queue)[:5]

    def wait_for_rung(self, rung: str) -> None:
        """Waits until every caller's answers come from this rung, which they do when the last so many do."""
        last = 4 * len(self._threads)
        wait_for(
            lambda: {call.rung for call in self.calls[-last:]} == {rung} or not self.failures.empty(), UP_SECONDS_MAX
        )
