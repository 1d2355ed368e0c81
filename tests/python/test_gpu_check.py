"""The check of tests/gpu itself: that it fails where something is wrong. Here the worker computes on the CPU."""

import copy
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from callers import Callers

sys.path.append(str(Path(__file__).resolve().parents[1] / "gpu"))

import answers
import device_tests
import faults
import making
import measuring
from pytorch import Compiled, compiled
from run import Run

GOOD = {
    "bound": 1e-4, "together": 1e-6, "shuffled": 1e-6, "alone": 1e-6, "in_company": 1e-6, "nearest_rows": 0.1,
    "rungs": ["worker"],
}  # fmt: skip
WRONG = {
    "far off": ({"shuffled": 2e-4}, "shuffled a row is 2.0e-04 from PyTorch's, and may be 1e-04"),
    "not a number": ({"alone": None}, "alone an answer is not a number"),
    "all alike": ({"nearest_rows": 1e-5}, "its rows are too much alike: 1.0e-05 for a bound of 1e-04"),
    "no answer": ({"error": "no rung answers"}, "no rung answers"),
    "another rung": ({"rungs": ["cpu", "worker"]}, "answered by cpu, worker"),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of two small networks."""
    folder = tmp_path_factory.mktemp("gpu")
    run = Run(Path(os.environ["SCONCE_BIN"]).parent, "worker", True, ["tabular", "minilm"], time.monotonic(), folder)
    assert making.step(run)["failures"] == []
    yield run
    run.stop()


def test_good_answers_pass(run):
    taken = answers.step(run)
    assert taken["failures"] == []
    assert [(result["network"], result["precision"]) for result in taken["results"]] == [
        ("tabular", "f32"), ("minilm", "f32"),
    ]  # fmt: skip


def test_other_weights_than_the_servers_fail(run, monkeypatch):
    spoilt = copy.deepcopy(run.networks["tabular"])
    spoilt.module[2].weight.data.mul_(1.01)
    monkeypatch.setitem(run.networks, "tabular", spoilt)
    told = answers.step(run)["failures"]
    assert len(told) == 4 and all(each.startswith("tabular-f32: ") for each in told)


def test_a_model_that_is_not_served_fails_alone(run, monkeypatch):
    monkeypatch.setattr(answers, "model_of", lambda network, precision: "nobody" if network == "tabular" else f"{network}-f32")
    taken = answers.step(run)
    (told,) = taken["failures"]
    assert told == 'nobody: model "nobody" is not known'
    assert taken["results"][1]["together"] <= answers.BOUNDS["f32"]


@pytest.mark.parametrize(("changed", "told"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_with_answers(changed, told):
    assert answers.wrong(GOOD) == []
    assert answers.wrong(GOOD | changed) == [told]


def test_anothers_rows_are_seen_under_load(run):
    asked = faults.Asked(run, run.networks["tabular"])
    with Callers(run.serving(), [asked]) as callers:
        callers.wait_for_calls(50)
        asked.answers = np.roll(asked.answers, 1, axis=0)
        with pytest.raises(AssertionError, match="from PyTorch's answer"):
            callers.wait_for_calls(1000)


def test_what_is_no_number_is_told():
    rows = np.ones((2, 3), dtype=np.float32)
    assert answers.worst(rows, rows) == 0.0
    assert answers.worst(np.full_like(rows, np.nan), rows) is None


def test_kernels_results_are_read():
    printed = "running 3 tests\ntest attend ... ok\ntest norm ... FAILED\n\nfailures:\ntest pack ... "
    assert device_tests.results_of(printed) == {"attend": "ok", "norm": "failed", "pack": "failed"}


def test_a_compiled_network_answers_as_it_is(run):
    network = run.networks["tabular"]
    rows = network.rows(8, "compiled")
    made = compiled(network, "f32", "cpu", rows)
    assert isinstance(made, Compiled), made
    assert answers.worst(made.answer(rows), network.module(torch.from_numpy(rows["features"])).detach().numpy()) < 1e-5


def test_figures_are_medians_of_rounds():
    rounds = [
        {
            "server, 1 at once": {"p50": p50},
            "server, 8 at once": {"rows_per_second": rate},
            "eager": {"rows_per_second": 100.0},
        }
        for p50, rate in ((1.0, 150.0), (3.0, 200.0), (2.0, 900.0))
    ]
    told = measuring.summary(rounds)
    assert told["sides"]["server, 1 at once"]["p50"] == 2.0
    assert told["times_the_throughput_of"] == {"eager": 2.0}
    assert measuring.figures([0.4, 0.1, 0.1, 0.4], rows=8, seconds=1.0) == {"rows_per_second": 32.0, "p50": 0.4, "p90": 0.4, "p99": 0.4}
