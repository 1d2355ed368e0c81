"""Runs `sconce bench` and reads its report."""

import json
import subprocess

from sconce_server import sconce_bin


def bench(address: str, model: str, *flags: str) -> dict:
    """The JSON object of a run that must succeed and print nothing else."""
    done = subprocess.run(bench_command(address, model, *flags), capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


def bench_command(address: str, model: str, *flags: str) -> list[str]:
    return [sconce_bin(), "bench", address, "--model", model, "--json", *flags]


def calls(report: dict) -> int:
    """Everything that was sent, warm-up included."""
    return sum(step["calls"] + step["warmup_calls"] for step in report["steps"])
