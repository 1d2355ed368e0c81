"""What the metrics tell of text and image models: labels, embeddings, tokens, and the time of preparation."""

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from exposition import samples, scrape, total
from text_calls import ask, list_of, outputs_of, text_inputs
from waiting import wait_for

TEXTS = ["one", "a few words more", "two and three and four", "", "x " * 500]


@pytest.fixture(scope="module")
def client(seeded):
    with grpcclient.InferenceServerClient(seeded.grpc) as client:
        yield client


def series_after(server, before: dict, name: str, by: float, **labels: str) -> dict:
    """The page once a series has risen; it is rendered at most once a second."""
    wait_for(lambda: total(samples(scrape(server.metrics)), name, **labels) >= total(before, name, **labels) + by)
    return samples(scrape(server.metrics))


def test_every_label_has_a_histogram_of_its_own(seeded, client):
    model = "classify_distilbert_multi"
    before = samples(scrape(seeded.metrics))
    result = ask(client, model, text_inputs(TEXTS), confidence=True)
    probabilities = outputs_of(result)["probabilities"]
    name = "sconce_label_probability_ratio"
    after = series_after(seeded, before, f"{name}_count", probabilities.size, model=model)
    classes = {dict(pairs)["class"] for own, pairs in after if own == f"{name}_count" and ("model", model) in pairs}
    assert len(classes) == probabilities.shape[1]
    # Labels are in the order of the outputs; each one's sum has grown by its own column's.
    tops = list_of(result, "label")
    for row, label in zip(probabilities, tops):
        assert label in classes
        column = probabilities[:, int(row.argmax())].sum()
        grown = total(after, f"{name}_sum", model=model, **{"class": label})
        grown -= total(before, f"{name}_sum", model=model, **{"class": label})
        assert grown == pytest.approx(column, rel=1e-4)


def test_norms_of_embeddings_and_their_likeness(seeded, client):
    model = "embed_bert_mean"
    before = samples(scrape(seeded.metrics))
    embeddings = outputs_of(ask(client, model, text_inputs(TEXTS)))["embedding"]
    after = series_after(seeded, before, "sconce_embedding_norm_count", len(TEXTS), model=model)
    grown = total(after, "sconce_embedding_norm_sum", model=model) - total(before, "sconce_embedding_norm_sum", model=model)
    assert grown == pytest.approx(np.linalg.norm(embeddings, axis=1).sum(), rel=1e-4)
    likeness = "sconce_embedding_similarity_ratio_count"
    assert total(after, likeness, model=model) - total(before, likeness, model=model) >= len(TEXTS) - 1


def test_tokens_are_counted_without_padding(seeded, client):
    model = "embed_bert_cls"
    before = samples(scrape(seeded.metrics))
    result = ask(client, model, text_inputs(TEXTS), ["embedding", "attention_mask"])
    tokens = int(outputs_of(result)["attention_mask"].sum())
    after = series_after(seeded, before, "sconce_batch_tokens_total", tokens, model=model)
    assert total(after, "sconce_batch_tokens_total", model=model) == total(before, "sconce_batch_tokens_total", model=model) + tokens
    assert total(after, "sconce_batch_padding_tokens_total", model=model) == 0
    prepared = "sconce_request_duration_seconds_count"
    assert total(after, prepared, model=model, phase="prepare") >= 1
