"""Runs the page docs/your-own-model.md as a reader would, and compares every layer it lists with torch."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs tests/python/requirements-export.txt")
triton = pytest.importorskip("tritonclient.grpc")
from pages import SECONDS_MAX, Page, run  # noqa: E402
from parity import BOUND, difference  # noqa: E402
from safetensors.torch import load_file, save  # noqa: E402
from sconce_server import SconceServer, sconce_bin  # noqa: E402
from torch import nn  # noqa: E402

PAGE = Page("your-own-model.md")
# The last is more than one batch: it is cut and joined again.
ROW_COUNTS = (1, 5, 150)

torch.set_num_threads(1)


def layer_types_of_page() -> set[str]:
    """First column of the page's table of layers."""
    return set(re.findall(r"^\| `(\w+)` \|", PAGE.section("Layers"), flags=re.MULTILINE))


# --- the page ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    """The folder in which a reader has run the page's first block."""
    folder = tmp_path_factory.mktemp("page")
    PAGE.export(folder)
    return folder


def test_the_page_as_a_reader_runs_it(exported):
    signature = PAGE.check(exported)
    for word in ("point", "probabilities"):
        assert word in signature
    assert "100 rows" in PAGE.serve_and_call(exported)


def test_a_client_needs_no_torch():
    assert "torch" not in PAGE.imports_of_client


def drop(weights: dict) -> None:
    del weights["3.bias"], weights["3.weight"]


def add(weights: dict) -> None:
    weights["7.weight"] = torch.zeros(3)


def widen(weights: dict) -> None:
    weights["3.weight"] = torch.zeros(2, 33)


@pytest.mark.parametrize("change, named", [(drop, "3.weight"), (add, "7.weight"), (widen, "3.weight")])
def test_check_names_the_tensor_that_is_wrong(exported, tmp_path, change: Callable[[dict], None], named: str):
    version = exported / "my_models" / "my_model" / "1"
    weights = load_file(version / "model.safetensors")
    change(weights)
    wrong = tmp_path / "wrong" / "1"
    wrong.mkdir(parents=True)
    (wrong / "network.toml").write_bytes((version / "network.toml").read_bytes())
    (wrong / "model.safetensors").write_bytes(save(weights))
    done = run([sconce_bin(), "check", str(wrong.parent)], tmp_path)
    assert done.returncode != 0
    assert named in done.stdout + done.stderr


# --- every layer ------------------------------------------------------------------------------------------------------


class Standardise(nn.Module):
    """As on the page, with values made up."""

    def __init__(self, size: int):
        super().__init__()
        self.register_buffer("mean", torch.randn(size))
        self.register_buffer("scale", torch.rand(size) + 0.5)

    def forward(self, x):
        return (x - self.mean) / self.scale


@dataclass(frozen=True)
class Case:
    """A network of some layers: torch's, and what network.toml says of each. Inputs lie between `low` and `high`."""

    dims: list[int]
    layers: Callable[[], list[tuple[nn.Module, str]]]
    low: float = -3.0
    high: float = 3.0
    scores: str = "none"


def one(dims: list[int], module: Callable[[], nn.Module], text: str, **inputs) -> Case:
    return Case(dims, lambda: [(module(), text)], **inputs)


def global_pool(dims: list[int], pool: Callable[[], nn.Module], kind: str, **inputs) -> Case:
    text = f'type = "global_pool"\nkind = "{kind}"'
    return Case(dims, lambda: [(pool(), text), (nn.Flatten(), 'type = "flatten"')], **inputs)


def signal() -> list[tuple[nn.Module, str]]:
    return [
        (Standardise(32), 'type = "standardise"'),
        (nn.Conv1d(3, 8, 5, stride=2, padding=2), 'type = "conv1d"\nstride = 2\npadding = 2'),
        (nn.BatchNorm1d(8), 'type = "batch_norm"'),
        (nn.GELU(), 'type = "gelu"'),
        (nn.MaxPool1d(2), 'type = "max_pool"'),
        (nn.Conv1d(8, 8, 3, padding=2, dilation=2, groups=2, bias=False),
         'type = "conv1d"\npadding = 2\ndilation = 2\ngroups = 2'),
        (nn.SiLU(), 'type = "silu"'),
        (nn.AdaptiveAvgPool1d(1), 'type = "global_pool"'),
        (nn.Flatten(), 'type = "flatten"'),
        (nn.Linear(8, 12), 'type = "linear"'),
        (nn.LayerNorm(12), 'type = "layer_norm"'),
        (nn.Tanh(), 'type = "tanh"'),
        (nn.Linear(12, 4), 'type = "linear"'),
        (nn.Softmax(dim=-1), 'type = "softmax"'),
    ]  # fmt: skip


def image() -> list[tuple[nn.Module, str]]:
    return [
        (nn.Conv2d(3, 8, 3, stride=2, padding=1), 'type = "conv2d"\nstride = 2\npadding = 1'),
        (nn.BatchNorm2d(8), 'type = "batch_norm"'),
        (nn.ReLU(), 'type = "relu"'),
        (nn.Conv2d(8, 16, (3, 1), padding=1, groups=4, bias=False), 'type = "conv2d"\npadding = 1\ngroups = 4'),
        (nn.GELU(approximate="tanh"), 'type = "gelu"\napproximate = "tanh"'),
        (nn.MaxPool2d(3, stride=2, padding=1), 'type = "max_pool"\nkernel = 3\nstride = 2\npadding = 1'),
        (nn.AvgPool2d(2), 'type = "average_pool"\nkernel = 2'),
        (nn.Dropout(0.4), 'type = "dropout"\np = 0.4'),
        (nn.Flatten(), 'type = "flatten"'),
        (nn.LazyLinear(3), 'type = "linear"'),
        (nn.Sigmoid(), 'type = "sigmoid"'),
    ]


# Inputs are chosen so that a mistaken layer shows: the two GELUs differ most between -3 and -1; in a maximum over
# negative numbers, padding by zeros would win; small numbers feel a normalisation's eps; of 40 numbers one is surely
# positive.
CASES = {
    "standardise": one([8], lambda: Standardise(8), 'type = "standardise"'),
    "standardise_image": one([2, 4, 8], lambda: Standardise(8), 'type = "standardise"'),
    "linear": one([6], lambda: nn.Linear(6, 4), 'type = "linear"'),
    "linear_no_bias": one([6], lambda: nn.Linear(6, 4, bias=False), 'type = "linear"'),
    "linear_of_a_sequence": one([5, 6], lambda: nn.Linear(6, 4), 'type = "linear"'),
    "conv1d": one([2, 9], lambda: nn.Conv1d(2, 3, 4), 'type = "conv1d"'),
    "conv1d_options": one([4, 17], lambda: nn.Conv1d(4, 6, 3, stride=2, padding=3, dilation=2, groups=2),
                          'type = "conv1d"\nstride = 2\npadding = 3\ndilation = 2\ngroups = 2'),
    "conv2d": one([2, 7, 5], lambda: nn.Conv2d(2, 3, (3, 2)), 'type = "conv2d"'),
    "conv2d_options": one([4, 11, 9], lambda: nn.Conv2d(4, 6, 3, stride=2, padding=3, dilation=2, groups=2),
                          'type = "conv2d"\nstride = 2\npadding = 3\ndilation = 2\ngroups = 2'),
    "conv2d_depthwise": one([4, 8, 8], lambda: nn.Conv2d(4, 4, 3, padding=1, groups=4),
                            'type = "conv2d"\npadding = 1\ngroups = 4'),
    "batch_norm": one([6], lambda: nn.BatchNorm1d(6), 'type = "batch_norm"'),
    "batch_norm_1d": one([3, 8], lambda: nn.BatchNorm1d(3), 'type = "batch_norm"'),
    "batch_norm_2d": one([3, 4, 5], lambda: nn.BatchNorm2d(3, eps=0.01), 'type = "batch_norm"\neps = 0.01'),
    "layer_norm": one([6], lambda: nn.LayerNorm(6, eps=0.01), 'type = "layer_norm"\neps = 0.01', low=-0.2, high=0.2),
    "layer_norm_no_bias": one([4, 6], lambda: nn.LayerNorm(6, bias=False), 'type = "layer_norm"'),
    "layer_norm_of_two": one([3, 4, 6], lambda: nn.LayerNorm([4, 6]), 'type = "layer_norm"'),
    "max_pool_1d": one([3, 9], lambda: nn.MaxPool1d(2), 'type = "max_pool"'),
    "max_pool_1d_options": one([3, 9], lambda: nn.MaxPool1d(3, stride=2, padding=1),
                               'type = "max_pool"\nkernel = 3\nstride = 2\npadding = 1', high=-1.0),
    "max_pool_2d": one([2, 7, 6], lambda: nn.MaxPool2d(2), 'type = "max_pool"\nkernel = 2'),
    "max_pool_2d_options": one([2, 7, 6], lambda: nn.MaxPool2d(3, stride=2, padding=1),
                               'type = "max_pool"\nkernel = 3\nstride = 2\npadding = 1', high=-1.0),
    "average_pool_1d": one([3, 9], lambda: nn.AvgPool1d(3), 'type = "average_pool"\nkernel = 3'),
    "average_pool_1d_options": one([3, 9], lambda: nn.AvgPool1d(3, stride=2, padding=1),
                                   'type = "average_pool"\nkernel = 3\nstride = 2\npadding = 1'),
    "average_pool_2d": one([2, 7, 6], lambda: nn.AvgPool2d(2, stride=1), 'type = "average_pool"\nstride = 1'),
    "average_pool_2d_options": one([2, 7, 6], lambda: nn.AvgPool2d(3, stride=2, padding=1),
                                   'type = "average_pool"\nkernel = 3\nstride = 2\npadding = 1'),
    "global_pool_average_1d": global_pool([3, 9], lambda: nn.AdaptiveAvgPool1d(1), "average"),
    "global_pool_average_2d": global_pool([3, 5, 4], lambda: nn.AdaptiveAvgPool2d(1), "average"),
    "global_pool_max_1d": global_pool([3, 9], lambda: nn.AdaptiveMaxPool1d(1), "max", high=-1.0),
    "global_pool_max_2d": global_pool([3, 5, 4], lambda: nn.AdaptiveMaxPool2d(1), "max", high=-1.0),
    "flatten": one([2, 3, 4], nn.Flatten, 'type = "flatten"'),
    "dropout": one([6], lambda: nn.Dropout(0.5), 'type = "dropout"\np = 0.5'),
    "relu": one([40], nn.ReLU, 'type = "relu"'),
    "gelu": one([6], nn.GELU, 'type = "gelu"', high=-1.0),
    "gelu_none": one([6], nn.GELU, 'type = "gelu"\napproximate = "none"'),
    "gelu_tanh": one([6], lambda: nn.GELU(approximate="tanh"), 'type = "gelu"\napproximate = "tanh"', high=-1.0),
    "silu": one([6], nn.SiLU, 'type = "silu"'),
    "tanh": one([6], nn.Tanh, 'type = "tanh"'),
    "sigmoid": one([6], nn.Sigmoid, 'type = "sigmoid"'),
    "softmax": one([6], lambda: nn.Softmax(dim=-1), 'type = "softmax"'),
    "softmax_of_a_sequence": one([3, 6], lambda: nn.Softmax(dim=-1), 'type = "softmax"'),
    "softmax_of_large_values": one([6], lambda: nn.Softmax(dim=-1), 'type = "softmax"', low=-100.0, high=100.0),
    "network_of_a_signal": Case([3, 32], signal, scores="softmax"),
    "network_of_an_image": Case([3, 20, 20], image, scores="sigmoid"),
}  # fmt: skip


def seed_of(name: str) -> int:
    return list(CASES).index(name)


def inputs_of(name: str, rows: int) -> torch.Tensor:
    case = CASES[name]
    generator = torch.Generator().manual_seed(seed_of(name))
    return torch.rand([rows, *case.dims], generator=generator) * (case.high - case.low) + case.low


def network_of(name: str) -> tuple[nn.Sequential, str]:
    """torch's network of a case, with every parameter and running value made up, and its network.toml."""
    case = CASES[name]
    torch.manual_seed(seed_of(name))
    layers = case.layers()
    model = nn.Sequential(*(module for module, _ in layers)).eval()
    with torch.no_grad():
        model(inputs_of(name, 2))  # Gives lazy layers their sizes.
        for module in model:
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm)):
                for key, tensor in module.state_dict().items():
                    if key == "running_var":
                        tensor.uniform_(0.05, 1.0)
                    elif key != "num_batches_tracked":
                        tensor.normal_()
    head = f'[input]\nname = "x"\ndims = {case.dims}\n[output]\nname = "y"\nscores = "{case.scores}"\n'
    return model, head + "".join(f"[[layer]]\n{text}\n" for _, text in layers)


@torch.no_grad()
def torch_says(name: str, rows: int) -> np.ndarray:
    model, _ = network_of(name)
    return model(inputs_of(name, rows)).numpy()


@pytest.fixture(scope="module")
def layers_server(tmp_path_factory):
    """One server with a model for each case."""
    repository = tmp_path_factory.mktemp("layers")
    for name in CASES:
        model, text = network_of(name)
        version = repository / name / "1"
        version.mkdir(parents=True)
        (version / "network.toml").write_text(text)
        (version / "model.safetensors").write_bytes(save(model.state_dict()))
    with SconceServer(repository, ready_seconds=SECONDS_MAX) as server:
        yield server


@pytest.fixture(scope="module")
def client(layers_server):
    with triton.InferenceServerClient(layers_server.grpc) as client:
        yield client


def test_the_page_lists_every_layer_that_is_compared():
    used = {re.search(r'type = "(\w+)"', text)[1] for case in CASES.values() for _, text in case.layers()}
    assert used == layer_types_of_page()


@pytest.mark.parametrize("name", CASES)
def test_the_comparison_bites(name):
    """Rows in another order are far outside the tolerance: constant outputs would agree with anything."""
    outputs = torch_says(name, 5)
    assert difference(np.roll(outputs, 1, axis=0), outputs).max() > 100 * BOUND


def test_the_comparison_tells_one_gelu_from_the_other():
    x = inputs_of("gelu", 5)
    assert difference(nn.functional.gelu(x, approximate="tanh").numpy(), torch_says("gelu", 5)).min() > 2 * BOUND


@pytest.mark.parametrize("rows", ROW_COUNTS)
@pytest.mark.parametrize("name", CASES)
def test_a_layer_agrees_with_torch(client, name, rows):
    x = inputs_of(name, rows).numpy()
    theirs = torch_says(name, rows)
    tensor = triton.InferInput("x", list(x.shape), "FP32")
    tensor.set_data_from_numpy(x)
    ours = client.infer(name, [tensor]).as_numpy("y")
    assert ours.shape == theirs.shape
    assert difference(ours, theirs).max() <= BOUND
