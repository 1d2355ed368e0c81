"""Compares what the server's worker answers with PyTorch in f32, for every network and precision."""

import math
import queue
import threading

import grpc
import numpy as np
from client import Client
from networks import Network, Rows
from pytorch import Eager, reference
from run import Run, model_of

# ||ours - theirs|| / ||theirs|| of a row. docs/gpu.md states them.
BOUNDS = {"f32": 1e-4, "tf32": 2e-3, "f16": 5e-3, "bf16": 2e-2}
ROWS = 48
ROWS_ON_CPU = 12
ALONE = 6
CALLERS = 8


def step(run: Run) -> dict:
    results, failures = [], []
    with Client(run.serving().grpc) as client:
        for network in run.networks.values():
            rows = network.rows(ROWS if run.on_gpu else ROWS_ON_CPU, f"{network.name} answers")
            theirs = reference(network, rows, run.torch_device)
            for precision in run.precisions:
                result = {"network": network.name, "precision": precision, "bound": BOUNDS[precision]}
                result |= compared(run, client, network, precision, (rows, theirs))
                results.append(result)
                failures += [f"{model_of(network.name, precision)}: {told}" for told in wrong(result)]
    return {"results": results, "failures": failures}


def compared(run: Run, client: Client, network: Network, precision: str, known: tuple[Rows, np.ndarray]) -> dict:
    """`compare`, or why it could not be done; on a GPU with PyTorch's own distance, which tells whether a bound can be kept."""
    try:
        result = compare(client, run.serving().grpc, network, model_of(network.name, precision), *known)
    except (grpc.RpcError, ArithmeticError) as error:
        return {"error": why(error)}
    return result | ({"pytorch": own(run, network, precision, *known)} if run.on_gpu else {})


def own(run: Run, network: Network, precision: str, rows: Rows, theirs: np.ndarray) -> float | None:
    """None also if it cannot compute the network so."""
    try:
        return worst(Eager(network, precision, run.torch_device).answer(rows), theirs)
    except RuntimeError:
        return None


def why(error: Exception) -> str:
    """In one line: grpc's own words are many."""
    return error.details() if isinstance(error, grpc.RpcError) else str(error)


def compare(client: Client, address: str, network: Network, model: str, rows: Rows, theirs: np.ndarray) -> dict:
    """How far off the worst row is: asked together, in another order, alone, and by many callers at once.

    Raises grpc.RpcError if one is not answered.
    """
    count = len(theirs)
    order = np.random.default_rng(1).permutation(count)
    together = client.infer(model, rows)
    shuffled = client.infer(model, taken(rows, order))
    alone = [client.infer(model, taken(rows, [at])) for at in range(min(ALONE, count))]
    company = in_company(address, model, rows, count)
    rungs = {answer.rung for answer in [together, shuffled, *alone, *company]}
    output = network.output
    return {
        "together": worst(together.outputs[output], theirs),
        "shuffled": worst(shuffled.outputs[output], theirs[order]),
        "alone": worst(np.concatenate([answer.outputs[output] for answer in alone]), theirs[: len(alone)]),
        "in_company": worst(np.concatenate([answer.outputs[output] for answer in company]), theirs),
        "nearest_rows": nearest(theirs),
        "rungs": sorted(map(str, rungs)),
    }


def in_company(address: str, model: str, rows: Rows, count: int) -> list:
    """The answer to each row, asked by itself while others are. Raises the first error."""
    answers: list = [None] * count
    errors: queue.Queue[Exception] = queue.Queue()

    def call(begin: int) -> None:
        try:
            with Client(address) as client:
                for at in range(begin, count, CALLERS):
                    answers[at] = client.infer(model, taken(rows, [at]))
        except Exception as error:  # It is raised where somebody waits for it.
            errors.put(error)

    callers = [threading.Thread(target=call, args=(begin,)) for begin in range(CALLERS)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    if not errors.empty():
        raise errors.get()
    return answers


def taken(rows: Rows, at) -> Rows:
    """Some of the rows, as if nobody had padded them to longer ones."""
    chosen = {name: array[at] for name, array in rows.items()}
    mask = chosen.get("attention_mask")
    if mask is None:
        return chosen
    return {name: array[:, : mask.sum(axis=1).max()] for name, array in chosen.items()}


def distance(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """||ours - theirs|| / ||theirs|| of each row. Raises ArithmeticError where they cannot be compared."""
    if ours.shape != theirs.shape:
        raise ArithmeticError(f"expected the shape {list(theirs.shape)}, got {list(ours.shape)}")
    ours, theirs = ours.reshape(len(ours), -1), theirs.reshape(len(theirs), -1)
    return np.linalg.norm(ours - theirs, axis=1) / np.linalg.norm(theirs, axis=1)


def worst(ours: np.ndarray, theirs: np.ndarray) -> float | None:
    """None if some are no numbers."""
    far = float(distance(ours, theirs).max())
    return far if math.isfinite(far) else None


def nearest(theirs: np.ndarray) -> float:
    """How far a row is at least from the one before it: what a bound must be below to tell them apart."""
    return float(distance(theirs[1:], theirs[:-1]).min())


def wrong(result: dict) -> list[str]:
    """What is wrong with a comparison."""
    if "error" in result:
        return [result["error"]]
    bound, told = result["bound"], []
    for way in ("together", "shuffled", "alone", "in_company"):
        if result[way] is None:
            told.append(f"{way} an answer is not a number")
        elif result[way] > bound:
            told.append(f"{way} a row is {result[way]:.1e} from PyTorch's, and may be {bound:.0e}")
    if result["nearest_rows"] <= bound:
        told.append(f"its rows are too much alike: {result['nearest_rows']:.1e} for a bound of {bound:.0e}")
    if result["rungs"] != ["worker"]:
        told.append(f"answered by {', '.join(result['rungs'])}")
    return told
