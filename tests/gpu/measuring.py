"""Measures the server's worker against PyTorch on the same device, in turns, so that what slows one slows the other."""

import gc
import json
import statistics
from pathlib import Path

import compiling
import grpc
import torch
from cells import Cell, cells
from load import closed_loop
from networks import Rows
from pytorch import Compiled, Eager, compiled
from run import Run
from sconce_bench import bench

ROUNDS, ROUNDS_QUICK = 3, 2
# Of each load and side in a round. Processors take long for a single request of a large model.
SECONDS, SECONDS_ON_CPU = 0.4, 2.0
WARM_UP_SECONDS = 0.15
CONNECTIONS = 4
# Different requests of texts, sent in turn. Pictures and rows of numbers are made by the load tester.
VARIANTS = 8
PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
# What a cell and a round of it take beside what is measured, what a compilation may take, and what is kept for the end.
CELL_SECONDS, ROUND_SECONDS, COMPILE_SECONDS, END_SECONDS = 2.0, 0.4, 60.0, 5.0


def step(run: Run) -> dict:
    """As many cells as there is time for; the rest are named."""
    compiling.end(run)
    results, left_out, failures = [], [], []
    for cell in cells(run):
        if run.left() < seconds_of(run) + END_SECONDS:
            left_out.append(cell.name)
            continue
        try:
            results.append(cell.name | measure(run, cell))
        except (AssertionError, RuntimeError, grpc.RpcError) as error:
            failures.append(f"{cell.model} by {cell.rows} rows: {error}")
        release()
    if left_out:
        print(f"    no time for {len(left_out)} of {len(left_out) + len(results)}")
    return {"results": results, "left_out": left_out, "failures": failures}


def seconds_of(run: Run) -> float:
    """About what a cell takes: two loads and their warm-up, and PyTorch twice."""
    return CELL_SECONDS + rounds_of(run) * (2 * WARM_UP_SECONDS + 4 * measured_seconds(run) + ROUND_SECONDS)


def rounds_of(run: Run) -> int:
    return ROUNDS_QUICK if run.quick else ROUNDS


def measured_seconds(run: Run) -> float:
    return SECONDS if run.quick or run.on_gpu else SECONDS_ON_CPU


def measure(run: Run, cell: Cell) -> dict:
    """Medians of the rounds. Raises AssertionError if a request was not answered well."""
    inputs, seconds = cell.inputs(), measured_seconds(run)
    contenders, lacks = pytorch_of(run, cell, inputs)
    flags = None if cell.is_ragged else load_flags(run, cell)
    rounds = []
    for _ in range(rounds_of(run)):
        one = served_ragged(run, cell) if flags is None else served(run, cell, flags)
        for each in contenders:
            took = each.times(inputs, seconds)
            one[each.how] = figures(took, cell.rows, sum(took))
        rounds.append(one)
    return summary(rounds) | lacks


def pytorch_of(run: Run, cell: Cell, inputs: Rows) -> tuple[list[Eager], dict]:
    """PyTorch as it is and, where wanted and possible, compiled; and why not, if it should have been."""
    eager = Eager(cell.network, cell.precision, run.torch_device)
    eager.warm_up(inputs)
    if not cell.compiles:
        return [eager], {}
    if run.left() < COMPILE_SECONDS + seconds_of(run):
        return [eager], {"not_compiled": "no time was left for it"}
    made = compiled(cell.network, cell.precision, run.torch_device, inputs)
    return ([eager, made], {}) if isinstance(made, Compiled) else ([eager], {"not_compiled": made})


def load_flags(run: Run, cell: Cell) -> list[str]:
    """What the load tester is to send."""
    if not cell.is_text:
        return ["--rows", str(cell.rows)]
    path = run.folder / "requests.jsonl"
    write_requests(path, [cell.inputs(variant) for variant in range(VARIANTS)])
    return ["--input", str(path)]


def write_requests(path: Path, requests: list[Rows]) -> None:
    with path.open("w") as file:
        for rows in requests:
            tensors = [
                {"name": name, "datatype": "INT64", "shape": list(array.shape), "data": array.ravel().tolist()}
                for name, array in rows.items()
            ]
            file.write(json.dumps({"inputs": tensors}) + "\n")


def served(run: Run, cell: Cell, flags: list[str]) -> dict:
    """The server, asked by one caller and by many, through its own load tester."""
    callers = cell.callers(run.on_gpu)
    report = bench(
        run.serving().grpc, cell.model, *flags, "--concurrency", f"1,{callers}", "--connections", str(CONNECTIONS),
        "--duration", f"{measured_seconds(run)}s", "--warmup", f"{WARM_UP_SECONDS}s",
    )  # fmt: skip
    for step in report["steps"]:
        assert step["failed"] == 0, step["errors"]
        assert step["ok"] > 0, "nothing was answered in the measured time"
    return {
        side(step["concurrency"]): {
            "rows_per_second": step["rows_per_second"],
            **{name: step["latency_seconds"][name] for name in PERCENTILES},
        }
        for step in report["steps"]
    }


def served_ragged(run: Run, cell: Cell) -> dict:
    """The same for rows of different lengths in one request."""
    address, seconds = run.serving().grpc, measured_seconds(run)
    requests = [cell.inputs(variant) for variant in range(VARIANTS)]
    sides = {}
    for callers in (1, cell.callers(run.on_gpu)):
        took = closed_loop(address, cell.model, requests, callers, WARM_UP_SECONDS, seconds)
        assert took, "nothing was answered in the measured time"
        sides[side(callers)] = figures(took, cell.rows, seconds)
    return sides


def side(callers: int) -> str:
    return f"server, {callers} at once"


def figures(took: list[float], rows: int, seconds: float) -> dict:
    """Of requests or batches of so many rows, which took this long each and these seconds together."""
    ordered = sorted(took)
    at = {name: ordered[min(len(ordered) - 1, int(len(ordered) * share))] for name, share in PERCENTILES.items()}
    return {"rows_per_second": rows * len(took) / seconds} | at


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
