"""The real all-MiniLM-L6-v2, as a package carries it, against sentence-transformers."""

import numpy as np
import pytest
import torch
import tritonclient.grpc as grpcclient
from sentences import mixed
from text_calls import ask, list_of, outputs_of, text_inputs
from text_references import reference

SENTENCES = 200
# Requests of so many.
PART = 25
COSINE_MIN = 0.99999

torch.set_num_threads(2)


@pytest.fixture(scope="module")
def known(seeded_models):
    return reference(seeded_models / "minilm" / "1")


@pytest.fixture(scope="module")
def sentences() -> list[str]:
    return mixed(SENTENCES)


@pytest.fixture(scope="module")
def client(seeded):
    with grpcclient.InferenceServerClient(seeded.grpc) as client:
        yield client


@pytest.fixture(scope="module")
def answers(client, sentences) -> list:
    """The server's, to each part of the sentences."""
    wanted = ["embedding", "input_ids", "attention_mask"]
    return [ask(client, "minilm", text_inputs(part), wanted) for part in parts(sentences)]


@pytest.fixture(scope="module")
def embeddings(answers) -> np.ndarray:
    return np.concatenate([answer.as_numpy("embedding") for answer in answers])


@pytest.fixture(scope="module")
def theirs(known, sentences) -> np.ndarray:
    return known.answers(sentences)["embedding"]


def parts(sentences: list[str]) -> list[list[str]]:
    return [sentences[begin : begin + PART] for begin in range(0, SENTENCES, PART)]


def test_the_sentences_are_of_all_lengths(known, sentences):
    lengths = [len(ids) for ids in known.tokenizer(sentences, verbose=False)["input_ids"]]
    assert known.length_max == 256
    assert min(lengths) == 2 and max(lengths) > 2 * known.length_max
    for begin, end in ((3, 8), (8, 32), (32, 128), (128, 256), (256, 10_000)):
        assert sum(begin <= length < end for length in lengths) >= 10, (begin, end)


def test_embeddings_are_the_references(embeddings, theirs, sentences):
    cosines = np.sum(embeddings * theirs, axis=1) / np.linalg.norm(embeddings, axis=1) / np.linalg.norm(theirs, axis=1)
    assert cosines.min() >= COSINE_MIN, (cosines.min(), sentences[cosines.argmin()])
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)


def test_the_bound_bites(embeddings, theirs):
    others = np.sum(np.roll(embeddings, 1, axis=0) * theirs, axis=1)
    assert np.sum(others < COSINE_MIN) > 0.9 * SENTENCES


def test_tokens_are_the_references(answers, known, sentences):
    for answer, part in zip(answers, parts(sentences), strict=True):
        tokens = known.tokens(part)
        np.testing.assert_array_equal(answer.as_numpy("input_ids"), tokens["input_ids"].numpy())
        np.testing.assert_array_equal(answer.as_numpy("attention_mask"), tokens["attention_mask"].numpy())


def test_truncation_is_stated(answers, known, sentences):
    for answer, part in zip(answers, parts(sentences), strict=True):
        cut = known.truncated(part)
        assert list_of(answer, "truncated") == (cut if any(cut) else None)


def test_what_means_the_same_is_near(client):
    texts = ["The bridge was washed away by the river.", "Floods destroyed the crossing.", "She plays the violin."]
    one, two, other = outputs_of(ask(client, "minilm", text_inputs(texts)))["embedding"]
    assert one @ two > 0.5 > 0.2 > one @ other
