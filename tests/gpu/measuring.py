"""Measures the server's worker against PyTorch on the same device, in turns, so that what slows one slows the other."""

import gc
import json
import statistics
from pathlib import Path

import torch
from cells import Cell, cells
from pytorch import Compiled, Eager, compiled
from run import Run
from sconce_bench import bench

ROUNDS = {True: 2, False: 3}
SECONDS = {True: 0.4, False: 0.7}
WARM_UP = "300ms"
CONNECTIONS = 4
# Different requests of texts, sent in turn. Pictures and rows of numbers are made by the load tester.
VARIANTS = 8
# What a cell may take beside its rounds, and what is kept for the end of the check.
SETTING_UP_SECONDS, END_SECONDS, COMPILE_SECONDS = 3.0, 5.0, 60.0


def step(run: Run) -> dict:
    """As many cells as there is time for; the rest are named."""
    results, left_out, failures = [], [], []
    for cell in cells(run):
        if run.left() < seconds_of(run) + END_SECONDS:
            left_out.append(cell.name)
            continue
        try:
            results.append(cell.name | measure(run, cell))
        except (AssertionError, RuntimeError) as error:
            failures.append(f"{cell.name}: {error}")
        release()
    if left_out:
        print(f"    no time for {len(left_out)} of {len(left_out) + len(results)}")
    return {"results": results, "left_out": left_out, "failures": failures}


def seconds_of(run: Run) -> float:
    """About what a cell takes: two loads and their warm-up, and PyTorch once or twice."""
    return SETTING_UP_SECONDS + ROUNDS[run.quick] * (4 * SECONDS[run.quick] + 1)


def measure(run: Run, cell: Cell) -> dict:
    """Medians of the rounds. Raises AssertionError if a request was not answered well."""
    inputs, seconds = cell.inputs(), SECONDS[run.quick]
    sides: list[Eager] = [Eager(cell.network, cell.precision, run.torch_device)]
    sides[0].warm_up(inputs)
    without = None
    if cell.compiles and run.left() > COMPILE_SECONDS + seconds_of(run):
        made = compiled(cell.network, cell.precision, run.torch_device, inputs)
        if isinstance(made, Compiled):
            sides.append(made)
        else:
            without = made
    flags = load_flags(run, cell)
    rounds = []
    for _ in range(ROUNDS[run.quick]):
        one = served(run, cell, flags)
        one |= {side.how: figures(side.times(inputs, seconds), cell.rows) for side in sides}
        rounds.append(one)
    return summary(rounds) | ({"not_compiled": without} if without else {})


def load_flags(run: Run, cell: Cell) -> list[str]:
    """What the load tester sends."""
    if not cell.is_text:
        return ["--rows", str(cell.rows)]
    path = run.folder / "requests.jsonl"
    write_requests(path, [cell.inputs(variant) for variant in range(VARIANTS)])
    return ["--input", str(path)]


def write_requests(path: Path, requests: list) -> None:
    with path.open("w") as file:
        for rows in requests:
            tensors = [
                {"name": name, "datatype": "INT64", "shape": list(array.shape), "data": array.ravel().tolist()}
                for name, array in rows.items()
            ]
            file.write(json.dumps({"inputs": tensors}) + "\n")


def served(run: Run, cell: Cell, flags: list[str]) -> dict:
    """The server, asked by one caller and by many."""
    callers = cell.callers(run.quick)
    report = bench(
        run.serving().grpc, cell.model, *flags, "--concurrency", f"1,{callers}", "--connections", str(CONNECTIONS),
        "--duration", f"{SECONDS[run.quick]}s", "--warmup", WARM_UP,
    )  # fmt: skip
    for step in report["steps"]:
        assert step["failed"] == 0, step["errors"]
    return {
        f"server, {step['concurrency']} at once": {
            "rows_per_second": step["rows_per_second"],
            **{name: step["latency_seconds"][name] for name in ("p50", "p90", "p99")},
        }
        for step in report["steps"]
    }


def figures(took: list[float], rows: int) -> dict:
    ordered = sorted(took)
    at = {name: ordered[min(len(ordered) - 1, int(len(ordered) * share))] for name, share in PERCENTILES.items()}
    return {"rows_per_second": rows * len(took) / sum(took)} | at


def summary(rounds: list[dict]) -> dict:
    """The median of each figure, and of the shares within a round: the server's throughput, asked by many, of each other's."""
    sides = {
        side: {name: statistics.median(one[side][name] for one in rounds) for name in rounds[0][side]}
        for side in rounds[0]
    }
    alone, loaded, *others = rounds[0]
    ratios = {
        other: statistics.median(one[loaded]["rows_per_second"] / one[other]["rows_per_second"] for one in rounds)
        for other in others
    }
    return {"rounds": len(rounds), "sides": sides, "times_the_throughput_of": ratios}


def release() -> None:
    """The memory of modules that are measured no more."""
    gc.collect()
    torch.compiler.reset()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
