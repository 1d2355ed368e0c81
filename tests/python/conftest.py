"""Servers that the tests share. Each speaks on free ports and stops with its fixture."""

import pathlib

import pytest
from repositories import DTYPES, write_identity, write_slow
from sconce_server import SconceServer

ROOT = pathlib.Path(__file__).resolve().parents[2]




@pytest.fixture(scope="session")
def shipped_models() -> pathlib.Path:
    return ROOT / "models"


@pytest.fixture(scope="session")
def identity_models(tmp_path_factory) -> pathlib.Path:
    """`identity_fp32` and so on, one for each datatype; `pair` of two inputs; `versions` 1 and 3; `everything`."""
    repository = tmp_path_factory.mktemp("identity")
    for dtype in DTYPES:
        write_identity(repository, f"identity_{dtype.lower()}", [(dtype, [-1])])
    write_identity(repository, "pair", [("FP32", [4]), ("INT64", [2, 3])])
    write_identity(repository, "everything", [(dtype, [2]) for dtype in DTYPES])
    write_identity(repository, "versions", [("INT32", [1])], version=1, settings='versions = "all"\n')
    write_identity(repository, "versions", [("INT32", [1])], version=3)
    return repository


@pytest.fixture(scope="session")
def server(identity_models):
    """Serves the identity models."""
    with SconceServer([identity_models]) as server:
        yield server


@pytest.fixture(scope="session")
def shipped(shipped_models):
    """Serves the shipped models."""
    with SconceServer([shipped_models]) as server:
        yield server


@pytest.fixture()
def slow_models(tmp_path):
    """`slow`, which takes long for each row, and `quick`, which does not."""
    write_slow(tmp_path)
    write_identity(tmp_path, "quick", [("FP32", [4])])
    return tmp_path
