"""What the worker of a server under test has to do: shipped models, and who answers for them."""

import tomllib
from pathlib import Path

import tritonclient.grpc as grpcclient
from exposition import read_total
from parity import BOUND, difference
from processes import WORKER_UP_SECONDS_MAX
from safetensors.numpy import load_file
from triton_calls import infer_input
from waiting import wait_for


def restarts(server) -> float:
    return read_total(server.metrics, "sconce_worker_restarts_total", device="cpu")


def rung_of(result) -> str | None:
    """The rung that an answer of tritonclient names."""
    parameters = result.get_response().parameters
    return parameters["rung"].string_param if "rung" in parameters else None


def wait_for_rung(client, model: str, inputs: list, rung: str) -> None:
    """Asks until this rung answers."""
    wait_for(lambda: rung_of(client.infer(model, inputs)) == rung, WORKER_UP_SECONDS_MAX)


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

    @staticmethod
    def connect(address: str):
        return grpcclient.InferenceServerClient(address)

    def call(self, client, at: int) -> str | None:
        """As `ask`, and gives the rung that answered."""
        return rung_of(self.ask(client, at))
