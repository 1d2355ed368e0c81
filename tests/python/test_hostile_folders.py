"""Hostile model folders: each fails to load in words that name the file and the reason, and the others serve."""

import re
import shutil
import time

import pytest
import seeded_images
import seeded_models
import tritonclient.grpc as grpcclient
from hostile import INVALID, Target
from hostile_folders import FOLDERS
from raw_grpc import INFER, Connection
from text_calls import ask, outputs_of, text_inputs
from triton_calls import raw_request

UNAVAILABLE = 14
GOOD = (
    seeded_models.embed_bert_plain, seeded_models.embed_bert_sharded, seeded_models.embed_xlm_roberta_dense,
    seeded_models.embed_modernbert, seeded_models.classify_bert, seeded_images.vit_32, seeded_images.resnet_basic,
)  # fmt: skip
SECONDS_MAX, MEMORY_MIB_MAX = 60, 600


@pytest.fixture(scope="module")
def started(identity_models, tmp_path_factory):
    """A server of good models and all the hostile ones, and how long its start took."""
    repository = tmp_path_factory.mktemp("hostile")
    seeded_models.write(repository, GOOD)
    for hostile in FOLDERS:
        folder = repository / hostile.name / "1"
        shutil.copytree(repository / hostile.good / "1", folder)
        hostile.change(folder)
    began = time.monotonic()
    with Target([identity_models, repository]) as target:
        yield target, time.monotonic() - began


@pytest.fixture(scope="module")
def target(started) -> Target:
    return started[0]


def lines_about(target: Target, model: str) -> list[str]:
    return [line for line in target.server.log().splitlines() if re.search(rf'\bmodel="?{model}"?(\s|$)', line)]


@pytest.mark.parametrize("hostile", FOLDERS, ids=lambda hostile: hostile.name)
def test_it_is_not_loaded_and_the_log_says_why(target, hostile):
    # A library's panic is logged by itself.
    (line,) = (line for line in lines_about(target, hostile.name) if "ERROR" in line and "panic: " not in line)
    for pattern in hostile.named:
        assert re.search(pattern, line), line
    assert len(line) < 2000
    assert not re.search("panic|unwrap|overflow occurred", line), line


@pytest.mark.parametrize("hostile", FOLDERS, ids=lambda hostile: hostile.name)
def test_it_answers_nobody(target, hostile):
    with Connection(target.grpc) as connection:
        answer = connection.call(INFER, raw_request(hostile.name).SerializeToString())
    assert answer.status == UNAVAILABLE, answer
    assert hostile.name in answer.message


def test_the_good_ones_serve(target):
    with grpcclient.InferenceServerClient(target.grpc) as client:
        for maker in GOOD:
            assert client.is_model_ready(maker.__name__)
        assert outputs_of(ask(client, "embed_bert_plain", text_inputs(["river"])))["embedding"].shape == (1, 32)
    with Connection(target.grpc) as connection:
        # Without any input: the model is there and says what it wants.
        assert connection.call(INFER, raw_request("vit_32").SerializeToString()).status == INVALID


def test_nobody_else_is_harmed(target):
    target.assert_serves()
    # A panic of the library that reads tokenizers is caught; the server's own code has none.
    panics = [line for line in target.server.log().splitlines() if "panic" in line]
    assert all("/tokenizers-" in line for line in panics), panics


def test_they_cost_neither_time_nor_memory(started):
    target, seconds = started
    assert seconds < SECONDS_MAX
    assert target.memory_peak_mib() < MEMORY_MIB_MAX
