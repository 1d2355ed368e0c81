#!/usr/bin/env python3
"""Trains the shipped models on the data inside scikit-learn and writes them, with the rows held out, beside this file.

    python models/train.py                 train all three and write them
    python models/train.py --check         compare what is committed with torch; exit 1 where they disagree
    python models/train.py --splits 20     score 20 other random splits and write nothing

One seed decides everything: the split into training and held-out rows, the first weights and the order of the batches.
Settings were chosen by cross-validation inside the training rows. The held-out rows are read once, after training.
"""

import argparse
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.metrics import r2_score, root_mean_squared_error
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

SEED = 42
HELD_OUT = 0.25
BYTES_MAX = 3_000_000
# Of committed against recomputed outputs, max|a - b| / max|b| per row: another processor may sum in another order.
TOLERANCE = 1e-4
FOLDER = Path(__file__).resolve().parent


class Standardise(nn.Module):
    """(x - mean) / scale over the last dimension, with both as buffers, so that clients send raw values."""

    def __init__(self, mean: Tensor, scale: Tensor):
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.scale


@dataclass(frozen=True)
class Task:
    """One model: where its rows come from, its network, how it is trained, and the score it must reach."""

    name: str
    load: Callable[[], tuple[np.ndarray, np.ndarray, list[str]]]
    network: Callable[[Tensor], nn.Sequential]
    input: str
    output: str
    score_min: float
    epochs: int
    weight_decay: float
    batch_rows: int
    learning_rate: float = 0.01
    range: tuple[float, float] | None = None

    @property
    def classifies(self) -> bool:
        return self.range is None


def cancer_rows():
    data = load_breast_cancer()
    return data.data, data.target, [str(name) for name in data.target_names]


def digits_rows():
    data = load_digits()
    return data.images[:, None, :, :], data.target, [str(name) for name in data.target_names]


def diabetes_rows():
    data = load_diabetes(scaled=False)
    return data.data, data.target, []


def cancer_network(x: Tensor) -> nn.Sequential:
    return nn.Sequential(
        Standardise(x.mean(0), x.std(0, correction=0)),
        nn.Linear(30, 32), nn.ReLU(), nn.Dropout(0.2),
        nn.Linear(32, 16), nn.ReLU(), nn.Dropout(0.2),
        nn.Linear(16, 2), nn.Softmax(dim=-1),
    )  # fmt: skip


def digits_network(_: Tensor) -> nn.Sequential:
    # Pixels are 0 to 16. One scale for all columns: the outer ones are nearly always 0, so their own would be tiny.
    return nn.Sequential(
        Standardise(torch.zeros(8), torch.full((8,), 16.0)),
        nn.Conv2d(1, 8, kernel_size=3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 16, kernel_size=3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.3),
        nn.Linear(16 * 4 * 4, 32), nn.ReLU(),
        nn.Linear(32, 10), nn.Softmax(dim=-1),
    )  # fmt: skip


def diabetes_network(x: Tensor) -> nn.Sequential:
    return nn.Sequential(
        Standardise(x.mean(0), x.std(0, correction=0)),
        nn.Linear(10, 16), nn.GELU(),
        nn.Linear(16, 1),
    )  # fmt: skip


TASKS = [
    Task("breast_cancer", cancer_rows, cancer_network, "features", "probabilities",
         score_min=0.95, epochs=100, weight_decay=1.0, batch_rows=32),
    Task("digits", digits_rows, digits_network, "image", "probabilities",
         score_min=0.97, epochs=30, weight_decay=0.3, batch_rows=64),
    Task("diabetes", diabetes_rows, diabetes_network, "features", "progression",
         score_min=0.40, epochs=60, weight_decay=1.0, batch_rows=32, learning_rate=0.003, range=(0.0, 350.0)),
]  # fmt: skip


@dataclass(frozen=True)
class Rows:
    """A task's rows, split: `x` is F32 [n, dims], `y` is I64 [n] of classes or F32 [n] of values."""

    x_train: Tensor
    y_train: Tensor
    x_held: Tensor
    y_held: Tensor
    labels: list[str]


def split(task: Task, seed: int) -> Rows:
    x, y, labels = task.load()
    train, held = train_test_split(
        np.arange(len(x)), test_size=HELD_OUT, random_state=seed, stratify=y if task.classifies else None
    )
    x = torch.tensor(x, dtype=torch.float32)
    y = torch.tensor(y, dtype=torch.int64 if task.classifies else torch.float32)
    return Rows(x[train], y[train], x[held], y[held], labels)


def fit(task: Task, x: Tensor, y: Tensor, seed: int) -> nn.Sequential:
    """Trains for a fixed number of epochs on these rows alone, and returns the network for inference."""
    torch.manual_seed(seed)
    model = task.network(x)
    if task.classifies:
        # Cross-entropy wants logits: everything but the softmax. The slice shares its layers with the whole.
        trained, loss, goal = model[:-1], nn.functional.cross_entropy, y
    else:
        trained, loss, goal = model, nn.functional.mse_loss, ((y - y.mean()) / y.std())[:, None]

    batches = -(-len(x) // task.batch_rows)
    optimiser = torch.optim.AdamW(trained.parameters(), lr=task.learning_rate, weight_decay=task.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, task.learning_rate, total_steps=task.epochs * batches)
    for _ in range(task.epochs):
        for rows in torch.randperm(len(x)).chunk(batches):
            optimiser.zero_grad()
            loss(trained(x[rows]), goal[rows]).backward()
            optimiser.step()
            schedule.step()

    if not task.classifies:
        with torch.no_grad():  # The last layer takes over the goal's scale, so that the answer is in original units.
            model[-1].weight.mul_(y.std())
            model[-1].bias.mul_(y.std()).add_(y.mean())
    return model.eval()


@torch.no_grad()
def score(task: Task, outputs: Tensor, targets: Tensor) -> dict[str, float]:
    """What `held_out.toml` says of the answers; the first entry is the one that `score_min` bounds."""
    if task.classifies:
        return {"accuracy": round((outputs.argmax(1) == targets).double().mean().item(), 4)}
    values = outputs[:, 0]
    return {
        "r2": round(float(r2_score(targets, values)), 4),
        "rmse": round(float(root_mean_squared_error(targets, values)), 4),
    }


def layer_text(layer: nn.Module) -> str:
    """A layer's entry in network.toml. Sizes are not said: the server reads them from the weights."""
    match layer:
        case Standardise():
            return 'type = "standardise"'
        case nn.Linear():
            return 'type = "linear"'
        case nn.Conv2d():
            return f'type = "conv2d"\npadding = {layer.padding[0]}'
        case nn.BatchNorm2d():
            return 'type = "batch_norm"'
        case nn.MaxPool2d():
            return f'type = "max_pool"\nkernel = {layer.kernel_size}'
        case nn.Dropout():
            return f'type = "dropout"\np = {layer.p}'
        case nn.ReLU() | nn.GELU() | nn.Flatten() | nn.Softmax():
            return f'type = "{type(layer).__name__.lower()}"'
    raise ValueError(f"no layer of network.toml is known for {layer}")


def network_text(task: Task, model: nn.Sequential, rows: Rows) -> str:
    dims = list(rows.x_train.shape[1:])
    if task.classifies:
        labels = ", ".join(f'"{label}"' for label in rows.labels)
        meaning = f'scores = "softmax"\nlabels = [{labels}]'
    else:
        meaning = f'scores = "regression"\nrange = [{task.range[0]}, {task.range[1]}]'
    parts = [
        "# Written by models/train.py.",
        f'[input]\nname = "{task.input}"\ndims = {dims}\n',
        f'[output]\nname = "{task.output}"\n{meaning}\n',
        "\n\n".join(f"[[layer]]\n{layer_text(layer)}" for layer in model),
    ]
    return "\n".join(parts) + "\n"


def held_out_text(scores: dict[str, float], rows: Rows) -> str:
    said = {"rows": len(rows.x_held), **scores, "framework": f'"torch {torch.__version__.split("+")[0]}"',
            "trained_on": len(rows.x_train)}  # fmt: skip
    return "# Written by models/train.py.\n" + "".join(f"{key} = {value}\n" for key, value in said.items())


def train(task: Task) -> None:
    """Trains one model and writes it, unless it misses its score on the held-out rows."""
    rows = split(task, SEED)
    model = fit(task, rows.x_train, rows.y_train, SEED)
    with torch.no_grad():
        outputs = model(rows.x_held)
    scores = score(task, outputs, rows.y_held)
    said = ", ".join(f"{key} {value}" for key, value in scores.items())
    print(f"{task.name}: {len(rows.x_train)} rows trained on, {len(rows.x_held)} held out, {said}")
    if next(iter(scores.values())) < task.score_min:
        sys.exit(f"{task.name}: below {task.score_min}, so nothing is written")

    folder = FOLDER / task.name
    version = folder / "1"
    version.mkdir(parents=True, exist_ok=True)
    (version / "network.toml").write_text(network_text(task, model, rows))
    # Not `save_file`: it lets only the owner read what it writes, and a server may run as somebody else.
    (version / "model.safetensors").write_bytes(save(model.state_dict()))
    held = {"inputs": rows.x_held, "targets": rows.y_held, "reference": outputs}
    (folder / "held_out.safetensors").write_bytes(save({name: x.contiguous() for name, x in held.items()}))
    (folder / "held_out.toml").write_text(held_out_text(scores, rows))


def difference(ours: Tensor, theirs: Tensor) -> float:
    """Largest max|ours - theirs| / max|theirs| over the rows."""
    return ((ours - theirs).abs().amax(1) / theirs.abs().amax(1)).max().item()


def check(task: Task) -> list[str]:
    """What is wrong with a committed model, its network.toml and its held-out rows; empty if nothing is."""
    folder = FOLDER / task.name
    rows = split(task, SEED)
    model = task.network(rows.x_train).eval()
    model.load_state_dict(load_file(folder / "1" / "model.safetensors"))
    held = load_file(folder / "held_out.safetensors")
    said = tomllib.loads((folder / "held_out.toml").read_text())
    with torch.no_grad():
        outputs = model(held["inputs"])
    scores = score(task, outputs, held["targets"])

    wrong = []
    if not (torch.equal(held["inputs"], rows.x_held) and torch.equal(held["targets"], rows.y_held)):
        wrong.append("the held-out rows are not those that the seed gives")
    if (furthest := difference(outputs, held["reference"])) > TOLERANCE:
        wrong.append(f"outputs differ from the reference by {furthest:.1e}, more than {TOLERANCE}")
    if task.classifies and not torch.equal(outputs.argmax(1), held["reference"].argmax(1)):
        wrong.append("predicted classes differ from the reference")
    expected = {"rows": len(rows.x_held), "trained_on": len(rows.x_train), **scores}
    for key, value in expected.items():
        if abs(said[key] - value) > 1e-3 * abs(value):
            wrong.append(f"held_out.toml says {key} = {said[key]}, computed {value}")
    if next(iter(scores.values())) < task.score_min:
        wrong.append(f"{scores} is below {task.score_min}")
    if (folder / "1" / "network.toml").read_text() != network_text(task, model, rows):
        wrong.append("network.toml is not what this script writes")
    return wrong


def check_all() -> int:
    wrong = 0
    for task in TASKS:
        problems = check(task)
        for problem in problems:
            print(f"{task.name}: {problem}", file=sys.stderr)
        if not problems:
            print(f"{task.name}: agrees")
        wrong += len(problems)
    shipped = sum(file.stat().st_size for task in TASKS for file in (FOLDER / task.name).rglob("*") if file.is_file())
    print(f"all together: {shipped / 1e6:.2f} MB")
    if shipped > BYTES_MAX:
        print(f"that is more than {BYTES_MAX / 1e6} MB", file=sys.stderr)
        wrong += 1
    return 1 if wrong else 0


def score_splits(task: Task, splits: int) -> None:
    """Prints how the score varies over other splits: whether the committed one is a lucky draw."""
    found = []
    for seed in range(splits):
        rows = split(task, seed)
        model = fit(task, rows.x_train, rows.y_train, seed)
        with torch.no_grad():
            found.append(next(iter(score(task, model(rows.x_held), rows.y_held).values())))
    print(f"{task.name}: mean {np.mean(found):.4f}, deviation {np.std(found):.4f}, "
          f"from {min(found):.4f} to {max(found):.4f} over {splits} splits")  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--check", action="store_true", help="compare the committed models with torch")
    mode.add_argument("--splits", type=int, metavar="N", help="score N other splits, write nothing")
    arguments = parser.parse_args()

    torch.set_num_threads(1)  # With more, sums may run in another order and the weights differ in their last bits.
    torch.use_deterministic_algorithms(True)
    if arguments.check:
        return check_all()
    for task in TASKS:
        if arguments.splits:
            score_splits(task, arguments.splits)
        else:
            train(task)
    return 0


if __name__ == "__main__":
    sys.exit(main())
