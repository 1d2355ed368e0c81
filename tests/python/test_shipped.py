"""The shipped models over the wire, against the answers of the framework that trained them."""

import json
import tomllib

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from parity import BOUND, difference
from safetensors.numpy import load_file
from triton_calls import infer_input

LABELS = {"breast_cancer": ["malignant", "benign"], "digits": [str(digit) for digit in range(10)]}


@pytest.fixture(scope="module")
def client(shipped):
    with grpcclient.InferenceServerClient(shipped.grpc) as client:
        yield client


def pytest_generate_tests(metafunc):
    if "model" in metafunc.fixturenames:
        from conftest import ROOT

        metafunc.parametrize("model", sorted(path.parent.name for path in (ROOT / "models").glob("*/held_out.safetensors")))


@pytest.fixture()
def held_out(shipped_models, model):
    return load_file(shipped_models / model / "held_out.safetensors")


def predict(client, model: str, rows: np.ndarray) -> np.ndarray:
    """The model's first output, asked for in requests of some rows each."""
    metadata = client.get_model_metadata(model)
    answers = [
        client.infer(model, [infer_input(metadata.inputs[0].name, part)]).as_numpy(metadata.outputs[0].name)
        for part in np.array_split(rows, max(1, len(rows) // 50))
    ]
    return np.concatenate(answers)


def test_there_are_shipped_models(shipped_models):
    assert len(list(shipped_models.glob("*/held_out.safetensors"))) >= 3


def test_predictions_are_the_frameworks(client, model, held_out):
    ours, theirs = predict(client, model, held_out["inputs"]), held_out["reference"]
    assert difference(ours, theirs).max() <= BOUND
    if theirs.shape[-1] > 1:
        np.testing.assert_array_equal(ours.argmax(axis=-1), theirs.argmax(axis=-1))


def test_the_bound_bites(client, model, held_out):
    # Two inputs in each other's place are no longer the framework's rows.
    swapped = held_out["inputs"].copy()
    flat = swapped.reshape(len(swapped), -1)
    spread = np.argsort(flat.std(axis=0))
    flat[:, [spread[-1], spread[-2]]] = flat[:, [spread[-2], spread[-1]]]
    assert difference(predict(client, model, swapped), held_out["reference"]).max() > BOUND


def test_accuracy_is_the_committed_one(client, shipped_models, model, held_out):
    told = tomllib.loads((shipped_models / model / "held_out.toml").read_text())
    ours, targets = predict(client, model, held_out["inputs"]), held_out["targets"]
    assert told["rows"] == len(targets)
    if "accuracy" in told:
        accuracy = np.mean(ours.argmax(axis=-1) == targets)
        assert accuracy == pytest.approx(told["accuracy"], abs=5e-5)
    else:
        residual = np.sum((targets - ours.ravel()) ** 2) / np.sum((targets - targets.mean()) ** 2)
        assert 1 - residual == pytest.approx(told["r2"], abs=5e-4)


def test_a_row_alone_is_the_row_in_company(client, model, held_out):
    metadata = client.get_model_metadata(model)
    inputs, output = metadata.inputs[0].name, metadata.outputs[0].name
    rows = held_out["inputs"][:64]
    alone = np.concatenate([client.infer(model, [infer_input(inputs, rows[i : i + 1])]).as_numpy(output) for i in range(len(rows))])
    together = client.infer(model, [infer_input(inputs, rows)]).as_numpy(output)
    np.testing.assert_allclose(alone, together, rtol=1e-5, atol=1e-5)


def test_confidence_is_told_when_asked_for(client, model, held_out):
    metadata = client.get_model_metadata(model)
    rows, reference = held_out["inputs"][:5], held_out["reference"][:5]
    inputs = [infer_input(metadata.inputs[0].name, rows)]
    assert not client.infer(model, inputs).get_response().parameters
    parameters = client.infer(model, inputs, parameters={"confidence": True}).get_response().parameters
    # JSON lists, an entry for each row.
    confidence, labels = (json.loads(parameters[name].string_param) for name in ("confidence", "label"))
    if reference.shape[-1] > 1:
        np.testing.assert_allclose(confidence, reference.max(axis=1), atol=1e-3)
        names = LABELS[model]
        assert labels == [names[i] for i in reference.argmax(axis=1)]
    else:
        assert confidence == [] and labels == []
