"""The metrics address: good manners by Prometheus' own tool, complete from the first scrape, and true."""

import math
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections import Counter

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from exposition import samples, scrape, total
from safetensors.numpy import load_file
from sconce_server import SconceServer
from triton_calls import infer_input

# Model: how many classes it tells apart, 0 for a regression.
CLASSES = {"breast_cancer": 2, "digits": 10, "diabetes": 0}
SERIES_MAX, SERIES_OF_A_CLASS_MAX = 400, 25
ROWS = 40


@pytest.fixture(scope="module")
def pages(shipped_models):
    """The page before any request, and after known ones."""
    with SconceServer([shipped_models]) as server:
        before = scrape(server.metrics)
        with grpcclient.InferenceServerClient(server.grpc) as client:
            send_traffic(client, shipped_models)
        yield before, settled(server)


def send_traffic(client, models):
    """Each model gets 40 rows, one at a time, and two requests that are refused; nobody gets three."""
    for model in CLASSES:
        metadata = client.get_model_metadata(model)
        for row in load_file(models / model / "held_out.safetensors")["inputs"][:ROWS]:
            client.infer(model, [infer_input(metadata.inputs[0].name, row[np.newaxis])])
        for _ in range(2):
            with pytest.raises(grpcclient.InferenceServerException):
                client.infer(model, [infer_input("nothing", np.ones((1, 2), dtype=np.float32))])
    for i in range(3):
        with pytest.raises(grpcclient.InferenceServerException):
            client.infer(f"nobody{i}", [infer_input("INPUT0", np.ones((1, 2), dtype=np.float32))])


def settled(server) -> str:
    """A page once every request is booked, which may be just after its answer."""
    for _ in range(100):
        page = scrape(server.metrics)
        if total(samples(page), "sconce_requests_total") >= len(CLASSES) * (ROWS + 2) + 3:
            return page
        time.sleep(0.05)
    pytest.fail("requests are missing from sconce_requests_total")


def quantile_label(labels) -> float | None:
    return next((float(value) for name, value in labels if name == "quantile"), None)


@pytest.mark.parametrize("page", [0, 1], ids=["first", "later"])
def test_promtool_finds_nothing(pages, page):
    promtool = os.environ.get("PROMTOOL", "promtool")
    check = subprocess.run([promtool, "check", "metrics"], input=pages[page], text=True, capture_output=True)
    assert check.returncode == 0, check.stdout + check.stderr
    assert not check.stdout + check.stderr


def test_every_series_is_there_from_the_first_scrape(pages):
    before, after = (samples(page) for page in pages)
    assert set(before) == set(after)


def test_everything_that_counts_begins_at_zero(pages):
    loads = ("sconce_model_loads_total",)
    for (name, labels), value in samples(pages[0]).items():
        if name.endswith(("_total", "_bucket", "_count", "_sum")) and name not in loads:
            assert value == 0, (name, labels)


def test_series_are_few(pages):
    series = Counter(dict(labels).get("model") for _, labels in samples(pages[1]))
    for model, classes in CLASSES.items():
        assert series[model] <= SERIES_MAX + SERIES_OF_A_CLASS_MAX * classes, f"{model}: {series[model]}"


def test_requests_are_counted_by_code_and_reason(pages):
    series = samples(pages[1])
    for model in CLASSES:
        assert total(series, "sconce_requests_total", model=model, code="OK") == ROWS
        assert total(series, "sconce_requests_total", model=model, code="INVALID_ARGUMENT", reason="invalid") == 2
        assert total(series, "sconce_requests_total", model=model) == ROWS + 2
    assert total(series, "sconce_requests_total", model="unknown", code="NOT_FOUND", reason="not_found") == 3


def test_no_label_comes_from_a_client(pages):
    assert "nobody" not in pages[1]
    assert "nothing" not in pages[1]


def test_latency_histograms(pages):
    series = samples(pages[1])
    for model in CLASSES:
        for phase in ("total", "queue", "compute"):
            labels = {"model": model, "phase": phase}
            assert total(series, "sconce_request_duration_seconds_count", **labels) == ROWS
            bounds = sorted(
                float(dict(own)["le"])
                for name, own in series
                if name == "sconce_request_duration_seconds_bucket" and set(labels.items()) <= own
            )
            assert bounds[0] <= 50e-6 and bounds[-2] >= 60 and bounds[-1] == math.inf
            for low, high in zip(bounds[:-1], bounds[1:-1]):
                assert high <= low * 1.2501
        total_sum, queue_sum, compute_sum = (
            total(series, "sconce_request_duration_seconds_sum", model=model, phase=phase)
            for phase in ("total", "queue", "compute")
        )
        assert 0 < compute_sum < total_sum
        assert queue_sum < total_sum


def test_percentiles_agree_with_the_histogram(pages):
    series = samples(pages[1])
    name = "sconce_request_duration_quantiles_seconds"
    for model in CLASSES:
        quantiles = {
            quantile_label(labels): value
            for (own, labels), value in series.items()
            if own == name and {("model", model), ("phase", "total")} <= labels
        }
        assert sorted(quantiles) == [0.5, 0.9, 0.95, 0.99, 0.999]
        values = [quantiles[share] for share in sorted(quantiles)]
        assert values == sorted(values) and values[0] > 0
        assert total(series, f"{name}_count", model=model, phase="total") == ROWS
        # The median lies in the bucket where the histogram has it, but for the edges' rounding.
        buckets = sorted(
            (float(dict(labels)["le"]), value)
            for (own, labels), value in series.items()
            if own == "sconce_request_duration_seconds_bucket" and {("model", model), ("phase", "total")} <= labels
        )
        upper = next(i for i, (_, count) in enumerate(buckets) if count >= ROWS / 2)
        low = buckets[upper - 1][0] if upper else 0.0
        assert low * 0.98 <= quantiles[0.5] <= buckets[upper][0] * 1.02


def test_confidence_of_each_class(pages, shipped_models):
    series = samples(pages[1])
    for model, classes in CLASSES.items():
        if not classes:
            continue
        reference = load_file(shipped_models / model / "held_out.safetensors")["reference"][:ROWS]
        assert total(series, "sconce_prediction_confidence_ratio_count", model=model) == ROWS
        told = total(series, "sconce_prediction_confidence_ratio_sum", model=model)
        assert told == pytest.approx(float(reference.max(axis=1).sum()), rel=1e-3)
        assert total(series, "sconce_predictions_total", model=model) == ROWS
        assert total(series, "sconce_predicted_class_ratio", model=model) == pytest.approx(1.0)
        for name in ("entropy", "margin"):
            assert total(series, f"sconce_prediction_{name}_ratio_count", model=model) == ROWS
        names = {dict(labels)["class"] for name, labels in series if name == "sconce_predictions_total" and ("model", model) in labels}
        assert len(names) >= classes


def test_outputs_of_the_regression(pages):
    series = samples(pages[1])
    assert total(series, "sconce_prediction_value_count", model="diabetes") == ROWS
    assert not any(name.startswith("sconce_prediction_confidence") and ("model", "diabetes") in labels for name, labels in series)


def test_batches_and_state(pages):
    series = samples(pages[1])
    for model in CLASSES:
        assert total(series, "sconce_batch_rows_sum", model=model) == ROWS
        assert total(series, "sconce_batches_total", model=model) == total(series, "sconce_batch_rows_count", model=model)
        assert total(series, "sconce_queue_rows", model=model) == 0
        assert total(series, "sconce_model_ready", model=model) == 1
        assert total(series, "sconce_model_load_seconds", model=model) > 0
        assert total(series, "sconce_model_warmup_seconds", model=model) > 0
        assert total(series, "sconce_model_loads_total", model=model, result="success") == 1
        assert total(series, "sconce_request_bytes_total", model=model) > 0
        assert total(series, "sconce_response_bytes_total", model=model) > 0
    assert total(series, "sconce_requests_in_flight") == 0
    assert total(series, "sconce_in_flight_request_bytes") == 0
    assert total(series, "sconce_resident_memory_bytes") > 1 << 20
    assert total(series, "sconce_build_info") == 1
    assert total(series, "sconce_panics_total") == 0


def test_the_address_serves_nothing_else(shipped):
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(f"http://{shipped.metrics}/nothing", timeout=10)
    assert error.value.code == 404
