"""Fills the cache of PyTorch's compiler while the server is checked, so that measuring does not wait for it.

    python compiling.py MODEL...
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    sys.path.append(str(Path(__file__).resolve().parents[1] / "python"))

from cells import cells
from networks import MAKERS
from pytorch import compiled
from run import Run


def step(run: Run) -> dict:
    """Begins; `end` ends it. Where nothing will be compiled there is nothing to do."""
    if run.quick or not run.on_gpu:
        return {"skipped": "nothing is compiled", "failures": []}
    command = [sys.executable, __file__, *run.wanted]
    # The compiler has processes of its own, which end with the session.
    run.compiler = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    return {"failures": []}


def end(run: Run) -> None:
    """What is not in the cache by now is compiled when it is measured."""
    compiler, run.compiler = run.compiler, None
    if compiler is not None:
        if compiler.poll() is None:
            os.killpg(compiler.pid, signal.SIGKILL)
        compiler.wait()


def fill(wanted: list[str]) -> None:
    run = Run(Path(), "cuda", quick=False, wanted=wanted, ends=time.monotonic(), folder=Path())
    for name in wanted:
        run.networks = {name: MAKERS[name](False)}
        for cell in cells(run):
            if cell.compiles:
                compiled(cell.network, cell.precision, run.torch_device, cell.inputs())


if __name__ == "__main__":
    # Below the server that is being checked.
    os.nice(10)
    fill(sys.argv[1:])
