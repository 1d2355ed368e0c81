#!/usr/bin/env python3
"""Prints the tables of docs/gpu.md from what a check wrote.

    python tests/gpu/page.py result.json
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path

WAYS = ("together", "shuffled", "alone", "in_company")
PRECISIONS = ("f32", "tf32", "f16", "bf16")
FAULTS = ("killed", "frozen")


def render(report: dict) -> str:
    steps = report["steps"]
    parts = [
        *of_machine(report), *of_kernels(steps["kernels"]), *of_answers(steps["answers"]), *of_faults(steps["faults"]),
        *of_measurements(steps["measurements"]),
    ]  # fmt: skip
    return "\n".join(parts) + "\n"


def table(head: Iterable[str], rows: Iterable[Iterable]) -> list[str]:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(map(str, line)) + " |" for line in lines] + [""]


def of_machine(report: dict) -> list[str]:
    told = report["steps"]["environment"]
    if "machine" not in told:
        return [f"{report['date']}: the machine did not tell of itself.", ""]
    gpu = told["gpu"] or {}
    smi, seen = gpu.get("nvidia_smi") or {}, gpu.get("torch") or {}
    where = f"{seen.get('name', 'no GPU')}, driver {smi.get('driver_version', '?')}" if gpu else "no GPU"
    packages = ", ".join(f"{name} {version}" for name, version in told["packages"].items() if version)
    machine = told["machine"]
    result = "all checks passed" if report["passed"] else f"{len(report['failures'])} checks failed:"
    lines = [f"{report['date']}, {where}, {machine['cores']} cores of {machine['processor']}; {packages}."]
    return [*lines, f"In {report['seconds']:.0f} s {result}", *(f"- {each}" for each in report["failures"]), ""]


def of_kernels(told: dict) -> list[str]:
    if "results" not in told:
        return [f"Kernels: {told.get('skipped', 'not tested')}.", ""]
    return table(("kernel", "beside its twin"), told["results"].items())


def of_answers(told: dict) -> list[str]:
    """The worst row of each network and precision, and in brackets PyTorch's own on the same device."""
    by_network: dict[str, dict] = {}
    for result in told.get("results", ()):
        by_network.setdefault(result["network"], {})[result["precision"]] = result
    present = [each for each in PRECISIONS if any(each in results for results in by_network.values())]
    rows = [[network, *(worst(results.get(each)) for each in present)] for network, results in by_network.items()]
    return table(("worst row", *present), rows)


def worst(result: dict | None) -> str:
    if result is None:
        return ""
    if "error" in result:
        return "not answered"
    own = f" ({distance([result['pytorch']])})" if "pytorch" in result else ""
    return distance([result[way] for way in WAYS]) + own


def distance(each: list[float | None]) -> str:
    return "no number" if None in each else f"{max(each):.0e}"


def of_faults(told: dict) -> list[str]:
    rows = [
        [
            fault, each["calls"], ", ".join(f"{count} by {rung}" for rung, count in each["answers_by"].items()),
            milliseconds(each["slowest_seconds"]), milliseconds(each["process_again_seconds"]),
            milliseconds(each["worker_alone_again_seconds"]),
        ]
        for fault, each in told.items() if fault in FAULTS and "wrong" not in each
    ]  # fmt: skip
    head = ("the worker is", "answers", "of them", "slowest", "a process again after", "the worker alone again after")
    return [*table(head, rows), f"Errors seen by clients: {told.get('errors', '?')}.", ""]


def of_measurements(told: dict) -> list[str]:
    head = (
        "model", "precision", "rows", "tokens", "p50 / p99 at 1", "rows/s", "PyTorch eager", "compiled", "times eager",
        "times compiled",
    )  # fmt: skip
    rows = [measured(each) for each in told.get("results", ())]
    left_out = len(told.get("left_out", ()))
    return [*table(head, rows), *([f"There was no time for {left_out} more.", ""] if left_out else [])]


def measured(cell: dict) -> list[str]:
    alone, loaded, eager, *more = cell["sides"].values()
    ratios = [f"{ratio:.2f}" for ratio in cell["times_the_throughput_of"].values()]
    return [
        cell["network"], cell["precision"], cell["rows"], cell.get("tokens", ""),
        f"{milliseconds(alone['p50'])} / {milliseconds(alone['p99'])}", rate(loaded), rate(eager),
        *([rate(more[0])] if more else [""]), *ratios, *[""] * (2 - len(ratios)),
    ]  # fmt: skip


def rate(side: dict) -> str:
    return f"{side['rows_per_second']:,.0f}"


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms"


if __name__ == "__main__":
    print(render(json.loads(Path(sys.argv[1]).read_text())), end="")
