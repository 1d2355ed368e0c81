"""Image models over the wire, from encoded bytes, against transformers, timm and torchvision on the same folders."""

import numpy as np
import pytest
import seeded_models
import torch
import tritonclient.grpc as grpcclient
from image_references import ImageReference, softmax
from parity import BOUND, agree, difference
from pictures import pictures
from text_calls import ask, list_of, outputs_of, text_input
from triton_calls import infer_input

IMAGES = [maker.__name__ for maker in seeded_models.IMAGES]
PICTURES = pictures()
ROWS = list(PICTURES.values())
PART = 8
# Of pixels between 0 and 1, of probabilities.
PIXEL_BOUND, PROBABILITY_BOUND = 2 / 255, 1e-3

torch.set_num_threads(2)


@pytest.fixture(scope="module")
def client(seeded):
    with grpcclient.InferenceServerClient(seeded.grpc) as client:
        yield client


@pytest.fixture(scope="module", params=IMAGES)
def model(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def known(seeded_models, model) -> ImageReference:
    return ImageReference(seeded_models / model / "1")


@pytest.fixture(scope="module")
def pixels(known) -> np.ndarray:
    """The reference's, of every picture."""
    return np.concatenate([known.pixels(picture) for picture in ROWS])


def image_input(rows: list[bytes]) -> list:
    return [text_input("image", rows)]


def in_parts(client, model: str, outputs=()) -> dict[str, np.ndarray]:
    """What the server answers to every picture."""
    answers = [
        outputs_of(ask(client, model, image_input(ROWS[begin : begin + PART]), outputs))
        for begin in range(0, len(ROWS), PART)
    ]
    return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}


def named(far: np.ndarray) -> dict[str, float]:
    """The pictures that are furthest off."""
    names = list(PICTURES)
    return {names[i]: round(float(far[i]), 5) for i in np.argsort(-far)[:8]}


def test_metadata(client, model, known):
    metadata = client.get_model_metadata(model)
    classes = len(known.labels)
    assert [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in metadata.inputs] == [("image", "BYTES", [-1])]
    assert [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in metadata.outputs] == [
        (name, "FP32", [-1, classes]) for name in ("logits", "probabilities")
    ]


def test_pixels_are_the_processors(client, model, known, pixels):
    ours = in_parts(client, model, ["pixel_values"])["pixel_values"]
    assert ours.shape == pixels.shape
    far = np.abs((ours - pixels) * known.deviation).max(axis=(1, 2, 3))
    # A little more for what f32 does to the edge of a level.
    assert far.max() <= PIXEL_BOUND + 1e-5, named(far * 255)


def test_the_bound_of_pixels_bites(known, pixels):
    far = np.abs((np.roll(pixels, 1, axis=0) - pixels) * known.deviation).max(axis=(1, 2, 3))
    assert far.min() > 5 * PIXEL_BOUND


def test_probabilities_from_bytes(client, model, known, pixels):
    ours, theirs = in_parts(client, model), softmax(known.logits(pixels))
    assert ours.keys() == {"logits", "probabilities"}
    far = np.abs(ours["probabilities"] - theirs).max(axis=1)
    assert far.max() <= PROBABILITY_BOUND, named(far)
    best = np.sort(theirs, axis=1)[:, -2:]
    # Two classes that are nearer to each other than the bound may change places.
    clear = best[:, 1] - best[:, 0] > 2 * PROBABILITY_BOUND
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(ours["probabilities"].argmax(axis=1)[clear], theirs.argmax(axis=1)[clear])


def test_the_bound_of_probabilities_bites(known, pixels):
    theirs = softmax(known.logits(pixels))
    assert np.abs(np.roll(theirs, 1, axis=0) - theirs).max(axis=1).min() > PROBABILITY_BOUND


def test_logits_from_pixels(client, model, known, pixels):
    ours = outputs_of(ask(client, model, [infer_input("pixel_values", pixels)]))
    theirs = known.logits(pixels)
    far = difference(ours["logits"], theirs)
    assert far.max() <= BOUND, named(far)
    far = difference(ours["probabilities"], softmax(theirs))
    assert far.max() <= BOUND, named(far)
    assert difference(np.roll(ours["logits"], 1, axis=0), theirs).min() > BOUND


def test_a_picture_alone_is_the_picture_in_company(client, model):
    rows = ROWS[:5]
    together = outputs_of(ask(client, model, image_input(rows)))
    for i, picture in enumerate(rows):
        alone = outputs_of(ask(client, model, image_input([picture])))
        for name, array in alone.items():
            assert difference(together[name][i : i + 1], array).max() <= BOUND


def test_labels_are_the_models_own(client, model, known, pixels):
    answer = ask(client, model, [infer_input("pixel_values", pixels)], confidence=True)
    theirs = softmax(known.logits(pixels))
    np.testing.assert_allclose(list_of(answer, "confidence"), theirs.max(axis=1), atol=1e-3)
    ours = answer.as_numpy("probabilities").argmax(axis=1)
    assert list_of(answer, "label") == [known.labels[i] for i in ours]


def test_without_a_processor(client):
    """The same network: it takes pictures that are prepared."""
    metadata = client.get_model_metadata("pixels_vit")
    assert [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in metadata.inputs] == [
        ("pixel_values", "FP32", [-1, 3, 32, 32])
    ]
    pixels = outputs_of(ask(client, "vit_32", image_input(ROWS[:5]), ["pixel_values"]))["pixel_values"]
    ours, theirs = (outputs_of(ask(client, model, [infer_input("pixel_values", pixels)])) for model in ("pixels_vit", "vit_32"))
    assert agree(ours, theirs)
