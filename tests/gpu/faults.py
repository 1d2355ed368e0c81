"""Kills, freezes and poisons the worker in the middle of traffic, each answer compared with its own reference."""

import os
import signal
import subprocess
import time
from collections import Counter

import grpc
import numpy as np
from answers import BOUNDS, distance, taken, why
from callers import Callers
from client import Client
from networks import ImageNetwork, Network, TextNetwork
from processes import WORKER, worker_pid, worker_pids
from pytorch import reference
from run import SERVER, Run, model_of, write_model
from waiting import wait_for

# Asked all the while, in f32, which both rungs compute: with some tokens a row the cores can stand in.
LOADED = ("minilm", "bert", "tabular")
ROWS = 32
# Enough that the watchdog has learned how long batches take.
CALLS_BEFORE, CALLS_AFTER = 300, 200
RESTART_SECONDS_MAX = 60.0
FAULTS = {"killed": signal.SIGKILL, "frozen": signal.SIGSTOP}
DEMO_SECONDS, DEMO_SECONDS_QUICK = "5", "4"
SHOWN_ERRORS = 5


class Asked:
    """Rows of a network, and what PyTorch makes of them: what Callers ask."""

    def __init__(self, run: Run, network: Network):
        self.network, self.model = network, model_of(network.name, "f32")
        inputs = network.short_rows(ROWS, f"{network.name} faults")
        self.rows = [taken(inputs, [at]) for at in range(ROWS)]
        self.answers = reference(network, inputs, run.torch_device)

    @staticmethod
    def connect(address: str) -> Client:
        return Client(address)

    def call(self, client: Client, at: int) -> str | None:
        at %= ROWS
        answer = client.infer(self.model, self.rows[at])
        far = distance(answer.outputs[self.network.output], self.answers[[at]])
        assert far.max() <= BOUNDS["f32"], f"{far.max():.1e} from PyTorch's answer"
        return answer.rung


def step(run: Run) -> dict:
    loaded = [network for name, network in run.networks.items() if name in LOADED] or [*run.networks.values()][:1]
    images = [network for network in run.networks.values() if isinstance(network, ImageNetwork)][:1]
    models = run.folder / "faults"
    for network in {*loaded, *images}:
        write_model(run, models, network, "prefer-gpu", "f32")
    results = {}
    with run.new_server(models) as server, Callers(server, [Asked(run, network) for network in loaded]) as callers:
        for name, signalled in FAULTS.items():
            results[name] = tried(happen, server, callers, signalled)
        results["poison"] = tried(poison, run, server, callers, [*loaded, *images])
    results["demo"] = tried(demo, run)
    errors = list(callers.failures.queue)
    failures = [f"{name}: {result['wrong']}" for name, result in results.items() if "wrong" in result]
    return results | {"calls": len(callers.calls), "errors": len(errors), "failures": failures + errors[:SHOWN_ERRORS]}


def tried(what, *arguments) -> dict:
    """What it found; under `wrong`, what should not have been."""
    try:
        return what(*arguments)
    except (AssertionError, grpc.RpcError, OSError, subprocess.SubprocessError) as error:
        return {"wrong": why(error)}


def happen(server, callers: Callers, signalled: signal.Signals) -> dict:
    """Does it to the worker, and waits until nobody else answers. Raises AssertionError if it does not come to that."""
    callers.wait_for_rung("worker")
    callers.wait_for_calls(CALLS_BEFORE)
    before, began = worker_pid(server), time.monotonic()
    os.kill(before, signalled)
    wait_for(lambda: worker_pids(server) not in ([], [before]), RESTART_SECONDS_MAX)
    restarted = time.monotonic()
    callers.wait_for_rung("worker")
    callers.wait_for_calls(CALLS_AFTER)
    since = [call for call in callers.calls if call.ended >= began]
    others = [call.ended for call in since if call.rung != "worker"]
    return {
        "calls": len(since), "answers_by": Counter(str(call.rung) for call in since),
        "slowest_seconds": round(max(call.seconds for call in since), 4),
        "p99_before_seconds": round(callers.p99(0, began), 4),
        "process_again_seconds": round(restarted - began, 3),
        "worker_alone_again_seconds": round(max(others, default=began) - began, 3),
    }  # fmt: skip


def poison(run: Run, server, callers: Callers, networks: list[Network]) -> dict:
    """Inputs that would hurt a device, in the middle of traffic. Raises AssertionError if one did, or was not answered right."""
    pid, found = worker_pid(server), {}
    with Client(server.grpc) as client:
        for network in networks:
            if isinstance(network, TextNetwork):
                found |= ids_out_of_range(client, network)
            elif isinstance(network, ImageNetwork):
                found |= not_a_number(run, client, network)
    callers.wait_for_calls(CALLS_AFTER)
    assert worker_pids(server) == [pid], "an input ended the worker"
    return found


def ids_out_of_range(client: Client, network: TextNetwork) -> dict:
    """A token that the vocabulary does not have is refused before it can reach the device."""
    ids = np.array([[1, network.vocabulary, 2]])
    try:
        client.infer(model_of(network.name, "f32"), {"input_ids": ids})
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT and "input_ids" in error.details(), why(error)
        return {"ids_out_of_range": error.details()}
    raise AssertionError("ids out of range were answered")


def not_a_number(run: Run, client: Client, network: ImageNetwork) -> dict:
    """One row of a request is no picture; those beside it are answered as if it were not there."""
    rows = network.rows(3, f"{network.name} poison")
    theirs = reference(network, rows, run.torch_device)[[0, 2]]
    rows["pixel_values"][1] = np.nan
    answer = client.infer(model_of(network.name, "f32"), rows)
    ours = answer.outputs[network.output]
    far = float(distance(ours[[0, 2]], theirs).max())
    assert far <= BOUNDS["f32"], f"beside NaN, rows are {far:.1e} from PyTorch's"
    assert not np.isfinite(ours[1]).all(), "NaN was answered with numbers"
    return {"beside_nan": {"distance": far, "rung": answer.rung}}


def demo(run: Run) -> dict:
    """`sconce demo --kill-device`, whose exit code says whether a client noticed: it feeds the worker garbage, too."""
    seconds = DEMO_SECONDS_QUICK if run.quick else DEMO_SECONDS
    device = ["--device", "cuda" if run.on_gpu else "worker", "--worker", run.bin / WORKER]
    command = [run.bin / SERVER, "demo", "--kill-device", "--seconds", seconds, *device]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    result = {"exit_code": done.returncode, "printed": (done.stdout + done.stderr).strip().splitlines()}
    return result if done.returncode == 0 else result | {"wrong": f"it ended with exit code {done.returncode}"}
