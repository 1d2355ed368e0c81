"""What is measured: networks, precisions, rows of a request and lengths of texts, what matters most first."""

from dataclasses import dataclass

from networks import Network, Rows, TextNetwork
from run import Run, model_of

FULL = (128, 128)
RAGGED = (16, 128)
TINY = (32, 32)
TINY_RAGGED = (8, 32)
# Callers at once: as many as bring this many rows, within bounds.
ROWS_AT_ONCE = 256
CALLERS = (4, 64)
# Processors take long for more, and are kept busy by few.
ROWS_ON_CPU, CALLERS_ON_CPU = 8, 4

# Networks, precisions, rows of a request, lengths, and which of these sizes are compiled.
PLAN = [
    ("minilm", ("bf16", "f32"), (1, 8, 32, 128), FULL, (1, 32)),
    ("bert", ("bf16", "f32"), (1, 8, 32, 128), FULL, (1, 32)),
    ("minilm", ("bf16",), (32, 128), RAGGED, ()),
    ("bert", ("bf16",), (32, 128), RAGGED, ()),
    ("vit", ("bf16", "f32"), (1, 8, 32), FULL, (32,)),
    ("resnet", ("bf16", "f32"), (1, 8, 32), FULL, (32,)),
    ("minilm", ("f16", "tf32"), (1, 8, 32, 128), FULL, (32,)),
    ("bert", ("f16", "tf32"), (1, 8, 32, 128), FULL, (32,)),
    ("modernbert", ("bf16", "f32"), (1, 32), FULL, (32,)),
    ("distilbert", ("bf16", "f32"), (1, 32), FULL, ()),
    ("roberta", ("bf16", "f32"), (1, 32), FULL, ()),
    ("xlm_roberta", ("bf16", "f32"), (1, 32), FULL, ()),
    ("tabular", ("f32",), (1, 32, 128), FULL, ()),
]
PLAN_QUICK = [
    *((name, ("f32",), (1, 8), TINY, ()) for name in ("minilm", "vit", "tabular")),
    ("minilm", ("f32",), (8,), TINY_RAGGED, ()),
]


@dataclass(frozen=True)
class Cell:
    """One row of the table. `lengths`: of texts, in tokens, from the first to the second; `compiles`: whether PyTorch's compiler
    is measured too, which takes long to get ready."""

    network: Network
    precision: str
    rows: int
    lengths: tuple[int, int]
    compiles: bool

    @property
    def model(self) -> str:
        return model_of(self.network.name, self.precision)

    @property
    def name(self) -> dict:
        """What tells it from others."""
        texts = {"tokens": "-".join(map(str, sorted({*self.lengths})))} if self.is_text else {}
        return {"network": self.network.name, "precision": self.precision, "rows": self.rows} | texts

    @property
    def is_text(self) -> bool:
        return isinstance(self.network, TextNetwork)

    @property
    def is_ragged(self) -> bool:
        return self.lengths[0] != self.lengths[1]

    def inputs(self, variant: int = 0) -> Rows:
        """One request."""
        if not self.is_text:
            return self.network.rows(self.rows, f"{self.name} {variant}")
        rows = self.network.rows_of_lengths(self.rows, self.lengths, f"{self.name} {variant}")
        if not self.is_ragged:
            # All tokens are meant, which need not be said.
            del rows["attention_mask"]
        return rows

    def callers(self, on_gpu: bool) -> int:
        least, most = CALLERS
        return min(most, max(least, ROWS_AT_ONCE // self.rows)) if on_gpu else CALLERS_ON_CPU


def cells(run: Run) -> list[Cell]:
    """Those of the networks and precisions that there are."""
    return [
        Cell(run.networks[name], precision, rows, lengths, rows in compiled and run.torch_device == "cuda")
        for name, precisions, sizes, lengths, compiled in (PLAN_QUICK if run.quick else PLAN)
        if name in run.networks
        for precision in precisions
        if precision in run.precisions
        for rows in sizes
        if run.on_gpu or rows <= ROWS_ON_CPU
    ]
