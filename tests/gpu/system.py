"""What the check runs on: the machine, its GPU, the packages and the programs."""

import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from device_tests import PROGRAM as KERNELS
from processes import WORKER
from run import SERVER, Run

PACKAGES = ("torch", "transformers", "timm", "numpy", "grpcio", "triton")
# Where the wheels of PyTorch have CUDA's libraries, which the worker needs.
LIBRARIES = "nvidia/cu13/lib"
ASKED = ("name", "driver_version", "memory.total", "memory.used", "clocks.max.sm", "power.limit")


def step(run: Run) -> dict:
    failures = [f"{run.bin / name} is not there" for name in (SERVER, WORKER) if not (run.bin / name).is_file()]
    if run.torch_device == "cuda" and not torch.cuda.is_available():
        failures.append("PyTorch finds no GPU")
    if run.on_gpu:
        find_libraries(run.libraries)
    return {
        "machine": {
            "processor": processor(), "cores": os.cpu_count(), "system": platform.platform(),
            "python": platform.python_version(),
        },
        "gpu": {"nvidia_smi": nvidia_smi(), "torch": torch_device()} if run.torch_device == "cuda" else None,
        "packages": {name: version_of(name) for name in PACKAGES},
        "programs": {name: program(run.bin / name) for name in (SERVER, WORKER, KERNELS)},
        "failures": failures,
    }  # fmt: skip


def find_libraries(named: Path | None) -> None:
    """Has every process that is started from here find those libraries, or those beside PyTorch unless others are named."""
    folder = Path(torch.__file__).parents[1] / LIBRARIES
    if named:
        os.environ["LD_LIBRARY_PATH"] = str(named.resolve())
    elif folder.is_dir():
        os.environ.setdefault("LD_LIBRARY_PATH", str(folder))


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def nvidia_smi() -> dict | None:
    """What the driver says of the first GPU; None if its program is not there or says nothing."""
    if shutil.which("nvidia-smi") is None:
        return None
    command = ["nvidia-smi", f"--query-gpu={','.join(ASKED)}", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    lines = done.stdout.splitlines()
    return dict(zip(ASKED, lines[0].split(", "), strict=False)) if done.returncode == 0 and lines else None


def torch_device() -> dict | None:
    if not torch.cuda.is_available():
        return None
    properties = torch.cuda.get_device_properties(0)
    return {
        "name": properties.name, "memory_bytes": properties.total_memory, "cuda": torch.version.cuda,
        "capability": list(torch.cuda.get_device_capability(0)), "processors": properties.multi_processor_count,
    }  # fmt: skip


def version_of(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def program(path: Path) -> dict | None:
    """Its size and, as far as it tells, its version."""
    if not path.is_file():
        return None
    if path.name == KERNELS:
        return {"bytes": path.stat().st_size}
    done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=30)
    return {"bytes": path.stat().st_size, "version": (done.stdout or done.stderr).strip()}
