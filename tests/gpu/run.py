"""What the steps of a check share: what was asked for, the time that is left, the networks, and a server that answers."""

import os
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from networks import Network
from processes import WORKER
from sconce_server import SconceServer

SERVER = "sconce"
# Loading, warming up and, on a GPU, waking it.
READY_SECONDS_MAX = 240.0
# The largest request that is measured, of pictures.
MESSAGE_BYTES_MAX = "128MiB"
# More than all callers ask for at once.
QUEUE_ROWS_MAX = 4096


@dataclass
class Run:
    """`bin` holds the programs; `device` is the server's setting; `wanted` are the names of networks; `ends` is by
    time.monotonic(); all that is written goes below `folder`."""

    bin: Path
    device: str
    quick: bool
    wanted: list[str]
    ends: float
    folder: Path
    # What PyTorch computes on, where that is not what the server does.
    pytorch: str = ""
    # Where CUDA's libraries lie, if not beside PyTorch.
    libraries: Path | None = None
    networks: dict[str, Network] = field(default_factory=dict)
    server: SconceServer | None = None
    compiler: subprocess.Popen | None = None

    @property
    def on_gpu(self) -> bool:
        return self.device == "cuda"

    @property
    def torch_device(self) -> str:
        return self.pytorch or ("cuda" if self.on_gpu else "cpu")

    @property
    def precisions(self) -> tuple[str, ...]:
        """Those of the device; processors compute in single precision only."""
        return ("f32", "tf32", "f16", "bf16") if self.on_gpu else ("f32",)

    @property
    def models(self) -> Path:
        """The repository in which no model is answered by anything but the worker."""
        return self.folder / "models"

    def left(self) -> float:
        """Seconds until the run must be over."""
        return self.ends - time.monotonic()

    def batch_of(self, network: Network) -> tuple[int, int, str]:
        """The largest batch of a model in rows and in tokens, and how long to warm up with it.

        On the CPU, batches are such as it is done with long before they count as overdue.
        """
        if self.quick:
            return 32, 2048, "100ms"
        return (network.rows_max, 32768, "500ms") if self.on_gpu else (network.rows_max // 16, 2048, "2s")

    def new_server(self, models: Path) -> SconceServer:
        os.environ["SCONCE_BIN"] = str(self.bin / SERVER)
        return SconceServer(
            models, "--device", self.device, "--worker", str(self.bin / WORKER),
            "--limits-message-bytes-max", MESSAGE_BYTES_MAX, "--log-level", "warn", ready_seconds=READY_SECONDS_MAX,
        )  # fmt: skip

    def serving(self) -> SconceServer:
        """The server of `models`, started when it is first asked for, and again if it has ended."""
        if self.server is not None and self.server.process.poll() is not None:
            self.stop()
        if self.server is None:
            self.server = self.new_server(self.models).__enter__()
        return self.server

    def stop(self) -> None:
        """Ends that server. Raises if it did not end well."""
        server, self.server = self.server, None
        if server is not None:
            server.__exit__(None, None, None)


def model_of(network: str, precision: str) -> str:
    """The name under which a network is served in a precision."""
    return f"{network}-{precision}"


def write_model(run: Run, repository: Path, network: Network, policy: str, precision: str) -> None:
    """One model of a network, whose files are those of the network's first one there."""
    model = model_of(network.name, precision)
    first = next(repository.glob(model_of(network.name, "*")), None)
    if first is None:
        network.save(repository, model)
    else:
        shutil.copytree(first, repository / model, copy_function=os.link)
    settings = repository / model / "model.toml"
    # It may be the first one's.
    settings.unlink(missing_ok=True)
    rows, tokens, warm_up = run.batch_of(network)
    settings.write_text(
        f"max_batch_size = {rows}\n[batching]\nmax_batch_tokens = {tokens}\nqueue_rows_max = {QUEUE_ROWS_MAX}\n"
        f'[device]\npolicy = "{policy}"\nprecision = "{precision}"\n[warmup]\ntime_max = "{warm_up}"\n'
    )
