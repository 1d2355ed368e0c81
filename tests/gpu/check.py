#!/usr/bin/env python3
"""Checks built programs on a machine with a GPU, and measures them against PyTorch on the same card.

    python tests/gpu/check.py --bin FOLDER [--device cuda|worker] [--quick] [--out result.json]

Needs neither Rust nor a network: FOLDER holds what tests/gpu/pack.sh packed. docs/gpu.md tells the rest.
"""

import argparse
import json
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path

# Before any module of transformers or of the tests: nobody is asked for anything, and no progress is drawn.
os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", "TRANSFORMERS_VERBOSITY": "error"}
sys.path.append(str(Path(__file__).resolve().parents[1] / "python"))

import answers
import compiling
import device_tests
import faults
import making
import measuring
import system
import torch
from networks import MAKERS
from run import Run
from unpack import unpacked


def stop(run: Run) -> dict:
    """The server that has answered all the while ends as it should."""
    run.stop()
    return {"failures": []}


FORMAT = 1
STEPS = {
    "environment": system.step,
    "compiler": compiling.step,
    "kernels": device_tests.step,
    "models": making.step,
    "answers": answers.step,
    "faults": faults.step,
    "measurements": measuring.step,
    "end": stop,
}
# All must be over by then; measuring takes what the other steps leave.
SECONDS = {True: 80, False: 520}


def main() -> int:
    flags = arguments()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sconce-gpu-", dir=flags.scratch) as folder:
        steps = take_all(flags, Path(folder), began)
    failures = [f"{name}: {failure}" for name, result in steps.items() for failure in result["failures"]]
    seconds = round(time.monotonic() - began, 1)
    if flags.out:
        report = {
            "format": FORMAT, "date": flags.date, "device": flags.device, "quick": flags.quick, "passed": not failures,
            "failures": failures, "seconds": seconds, "steps": steps,
        }  # fmt: skip
        flags.out.write_text(json.dumps(report, indent=1) + "\n")
    print(f"\n{seconds} s; " + (f"{len(failures)} checks failed" if failures else "all checks passed"))
    return 1 if failures else 0


def take_all(flags: argparse.Namespace, folder: Path, began: float) -> dict:
    """What each step has to report."""
    run = Run(
        bin=unpacked(flags.bin.resolve(), folder / "bin"), device=flags.device, quick=flags.quick,
        wanted=flags.models.split(","), ends=began + (flags.seconds or SECONDS[flags.quick]), folder=folder,
        pytorch=flags.pytorch, libraries=flags.libraries,
    )  # fmt: skip
    if run.quick:
        # As many as there are cores wait for one another where the cores are shared.
        torch.set_num_threads(1)
    try:
        return {name: take(name, step, run) for name, step in STEPS.items()}
    finally:
        # If that was interrupted, nothing may be left behind.
        compiling.end(run)
        if run.server is not None:
            run.server.process.kill()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--bin", type=Path, required=True, help="sconce, sconce-worker and device-tests, packed or not")
    parser.add_argument("--device", choices=["cuda", "worker"], default="cuda", help="a GPU, or the worker on the CPU")
    parser.add_argument("--pytorch", choices=["cuda", "cpu"], default="", help="what PyTorch computes on [the same]")
    parser.add_argument("--libraries", type=Path, help="where CUDA's libraries lie [beside PyTorch]")
    parser.add_argument("--quick", action="store_true", help="tiny models and short measurements, as for CI")
    parser.add_argument("--models", default=",".join(MAKERS), help="only these, separated by commas")
    parser.add_argument("--seconds", type=float, help="measuring ends so that all is over by then (80 or 520)")
    parser.add_argument("--scratch", type=Path, help="where models are written for the time of the run")
    parser.add_argument("--date", default=time.strftime("%Y-%m-%d"), help="the day that the report names")
    parser.add_argument("--out", type=Path, help="where the report goes, as JSON")
    return parser.parse_args()


def take(name: str, step, run: Run) -> dict:
    """What a step has to report. One that fails keeps none of the others from being taken."""
    print(f"==> {name}", flush=True)
    began = time.monotonic()
    try:
        result = step(run)
    except Exception as error:
        traceback.print_exc()
        result = {"failures": [f"{type(error).__name__}: {error}"]}
    result["seconds"] = round(time.monotonic() - began, 1)
    for failure in result["failures"]:
        print(f"    FAILED {failure}", flush=True)
    print(f"    {result['seconds']} s", flush=True)
    return result


if __name__ == "__main__":
    sys.exit(main())
