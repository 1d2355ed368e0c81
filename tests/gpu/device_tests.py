"""Runs the kernels' own tests, which compare each on the GPU with its plain twin."""

import re
import subprocess

from run import Run

PROGRAM = "device-tests"
TESTED = re.compile(r"^test (?P<kernel>\S+) \.\.\.(?: (?P<result>ok|FAILED)$)?", re.MULTILINE)
SECONDS_MAX = 180.0
SHOWN = 2000


def step(run: Run) -> dict:
    path = run.bin / PROGRAM
    if run.torch_device != "cuda":
        return {"skipped": "kernels run on a GPU only", "failures": []}
    if not path.is_file():
        return {"failures": [f"{path} is not there"]}
    command = [path, "--include-ignored", "--test-threads", "1"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=SECONDS_MAX)
    except subprocess.TimeoutExpired as late:
        return {"failures": [f"not done within {late.timeout:.0f} s"]}
    results = results_of(done.stdout)
    failures = [f"{kernel} {result}" for kernel, result in results.items() if result != "ok"]
    if not results or (done.returncode != 0 and not failures):
        failures.append(f"exit code {done.returncode}: {(done.stdout + done.stderr)[-SHOWN:]}")
    return {"results": results, "output": "" if not failures else done.stdout[-SHOWN:], "failures": failures}


def results_of(output: str) -> dict[str, str]:
    """By kernel: `ok` or `failed`, also for the one during which the program ended."""
    return {test["kernel"]: "ok" if test["result"] == "ok" else "failed" for test in TESTED.finditer(output)}
