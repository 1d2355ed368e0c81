"""PyTorch on the same device: how long a batch takes from the host's memory to the host's memory."""

import copy
import time

import numpy as np
import torch
from networks import Network, Rows

TYPES = {"f32": torch.float32, "tf32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
# Replays CUDA graphs, which is what takes the launches out of small batches; where that fails, the default.
COMPILED = ("reduce-overhead", "default")
# Until a compiled module has recorded its graphs.
WARM_UPS = 3


class Eager:
    """A network in one precision, as transformers and timm make it."""

    how = "eager"

    def __init__(self, network: Network, precision: str, device: str):
        self.network, self.precision, self.device = network, precision, device
        self.module = copy.deepcopy(network.module).to(device, TYPES[precision])

    def forward(self, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
        return self.network.forward(self.module, tensors)

    @torch.inference_mode()
    def answer(self, rows: Rows) -> np.ndarray:
        use_tf32(self.precision == "tf32")
        tensors = {name: torch.from_numpy(array).to(self.device) for name, array in rows.items()}
        tensors = {name: self.as_taken(tensor) for name, tensor in tensors.items()}
        return self.forward(tensors).float().cpu().numpy()

    def as_taken(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(TYPES[self.precision]) if tensor.is_floating_point() else tensor

    def warm_up(self, rows: Rows) -> None:
        for _ in range(WARM_UPS):
            self.answer(rows)

    def times(self, rows: Rows, seconds: float) -> list[float]:
        """How long each batch took that was run in this time: one at least."""
        took = []
        began = ended = time.perf_counter()
        while not took or ended - began < seconds:
            self.answer(rows)
            now = time.perf_counter()
            took.append(now - ended)
            ended = now
        return took


class Compiled(Eager):
    """The same by torch.compile, for batches of one shape."""

    def __init__(self, network: Network, precision: str, device: str, mode: str):
        super().__init__(network, precision, device)
        self.how = f"compiled ({mode})"
        self._compiled = torch.compile(super().forward, mode=mode, dynamic=False)

    def forward(self, tensors):
        return self._compiled(tensors)


def compiled(network: Network, precision: str, device: str, rows: Rows) -> Compiled | str:
    """Compiled for rows of this shape; why not, if it cannot be."""
    for mode in COMPILED:
        try:
            module = Compiled(network, precision, device, mode)
            module.warm_up(rows)
            return module
        except Exception as error:  # The compiler has many ways to fail, and none may end the check.
            why = f"{mode}: {type(error).__name__}: {error}"[:300]
    return why


def reference(network: Network, rows: Rows, device: str) -> np.ndarray:
    """What everything is compared with: f32 without shortcuts."""
    return Eager(network, "f32", device).answer(rows)


def use_tf32(wanted: bool) -> None:
    torch.set_float32_matmul_precision("high" if wanted else "highest")
    torch.backends.cudnn.allow_tf32 = wanted
