"""Writes model repositories for the tests, in the layout that users have."""

import json
import struct
from pathlib import Path

import numpy as np

DTYPES = (
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "BF16", "FP32", "FP64", "BYTES",
)


def write_identity(
    repository: Path, model: str, tensors, version: int = 1, settings: str = "", batch_time: str = ""
) -> Path:
    """A model that gives back what it gets. `tensors`: (dtype, dims of one row) each; INPUT0 becomes OUTPUT0, …

    `batch_time`: how long each batch takes, without work for a processor.
    """
    folder = repository / model / str(version)
    folder.mkdir(parents=True)
    tables = [
        f'[[tensor]]\ninput = "INPUT{i}"\noutput = "OUTPUT{i}"\ndtype = "{dtype}"\ndims = {list(dims)}\n'
        for i, (dtype, dims) in enumerate(tensors)
    ]
    if batch_time:
        tables.insert(0, f'batch_time = "{batch_time}"\n')
    (folder / "identity.toml").write_text("\n".join(tables))
    if settings:
        (repository / model / "model.toml").write_text(settings)
    return folder


def write_network(
    repository: Path, model: str, network: str, tensors: dict, settings: str = "", version: int = 1
) -> Path:
    """A declared network and its weights."""
    folder = repository / model / str(version)
    folder.mkdir(parents=True)
    (folder / "network.toml").write_text(network)
    write_safetensors(folder / "model.safetensors", tensors)
    if settings:
        (repository / model / "model.toml").write_text(settings)
    return folder


def write_safetensors(path: Path, tensors: dict) -> None:
    """FP32 only, which is all that these tests need."""
    header, data = {}, b""
    for name, array in tensors.items():
        raw = np.ascontiguousarray(array, dtype="<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


ADDER = '[input]\nname = "x"\ndims = [{features}]\n[output]\nname = "y"\nscores = "none"\n[[layer]]\ntype = "linear"\n'


def write_adder(repository: Path, model: str, summand: float, version: int = 1, features: int = 1) -> Path:
    """A model of `x` that answers `y` = x + summand: the answer tells which files it came from."""
    network, tensors = ADDER.format(features=features), adder_tensors(summand, features)
    return write_network(repository, model, network, tensors, version=version)


def adder_tensors(summand: float, features: int = 1) -> dict:
    return {
        "0.weight": np.eye(features, dtype=np.float32),
        "0.bias": np.full(features, summand, dtype=np.float32),
    }


SLOW_SIDE = 64


def write_slow(repository: Path, model: str = "slow", layers: int = 8, channels: int = 128, settings: str = "") -> Path:
    """A network that takes some tenths of a second for each row: much arithmetic on little data.

    It takes `image` [1, 64, 64] and gives `features` [channels].
    """
    network = ['[input]\nname = "image"\ndims = [1, 64, 64]\n', '[output]\nname = "features"\nscores = "none"\n']
    tensors = {}
    for i in range(layers):
        network.append('[[layer]]\ntype = "conv2d"\npadding = 1\n')
        tensors[f"{i}.weight"] = np.full((channels, 1 if i == 0 else channels, 3, 3), 0.001, dtype=np.float32)
    network.append('[[layer]]\ntype = "global_pool"\nkind = "average"\n')
    return write_network(
        repository, model, "\n".join(network), tensors, settings or 'max_batch_size = 1\n[warmup]\ntime_max = "3s"\n'
    )
