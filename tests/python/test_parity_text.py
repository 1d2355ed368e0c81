"""Text models over the wire, against transformers and sentence-transformers on the same folders."""

import threading

import numpy as np
import pytest
import seeded_models
import torch
import tritonclient.grpc as grpcclient
from parity import BOUND, agree, difference
from sentences import ODD, mixed
from text_calls import ask, list_of, outputs_of, text_inputs, token_inputs
from text_references import Classifier, Ranker, TextReference, reference

TEXTS = [maker.__name__ for maker in seeded_models.TEXTS]
EMBEDDINGS = [maker.__name__ for maker in seeded_models.EMBEDDINGS]
CLASSIFIERS = [maker.__name__ for maker in seeded_models.CLASSIFIERS]
RANKERS = [maker.__name__ for maker in seeded_models.CROSS_ENCODERS]
ROWS = 30
CALLERS = 8
TOKENS = ("input_ids", "attention_mask")

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def client(seeded):
    with grpcclient.InferenceServerClient(seeded.grpc) as client:
        yield client


@pytest.fixture(scope="module")
def references(seeded_models):
    """A model's reference by its name, made when it is first asked for."""
    made = {}

    def of(model: str) -> TextReference:
        if model not in made:
            made[model] = reference(seeded_models / model / "1")
        return made[model]

    return of


@pytest.fixture()
def known(references, model) -> TextReference:
    return references(model)


def of_tokens(known: TextReference, count: int) -> str:
    """A text of exactly so many tokens, with those that the tokenizer adds."""
    for words in range(count + 1):
        text = " ".join(["a"] * words)
        if len(known.tokenizer(text)["input_ids"]) == count:
            return text
    raise AssertionError(f"no text of {count} tokens")


def questions(known: TextReference, rows: int = ROWS) -> list[str]:
    """Different texts of all lengths: nothing, one word, at the limit, beside it and far beyond, and odd characters."""
    limit = known.length_max
    long = [of_tokens(known, count) for count in (limit - 1, limit, limit + 1, 3 * limit)]
    return [*long, "", "river", *mixed(3 * rows)[1::3]][:rows]


def pairs_for(known: TextReference, texts: list[str]) -> list[str] | None:
    """Other texts beside these, where a model needs them: some short beside long ones, some long beside short ones."""
    return list(reversed(texts)) if isinstance(known, Ranker) else None


def alike(known: TextReference, texts: list[str], pairs: list[str] | None, i: int, j: int) -> bool:
    ids = known.tokens([texts[i], texts[j]], pairs and [pairs[i], pairs[j]])["input_ids"]
    return torch.equal(ids[0], ids[1])


# --- what the server says of a model ----------------------------------------------------------------------------------


@pytest.mark.parametrize("model", TEXTS)
def test_metadata(client, known, model):
    metadata = client.get_model_metadata(model)
    taken = ["text", "text_pair"] if isinstance(known, Ranker) else ["text"]
    assert [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in metadata.inputs] == [
        (name, "BYTES", [-1]) for name in taken
    ]
    expected = known.answers(["river"], pairs_for(known, ["river"]))
    assert {tensor.name: list(tensor.shape) for tensor in metadata.outputs} == {
        name: [-1, *array.shape[1:]] for name, array in expected.items()
    }
    assert {tensor.datatype for tensor in metadata.outputs} == {"FP32"}


# --- answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", TEXTS)
def test_one_row(client, known, model):
    texts = ["The river took the bridge."]
    pairs = pairs_for(known, ["Who pays?"])
    assert agree(outputs_of(ask(client, model, text_inputs(texts, pairs))), known.answers(texts, pairs))


@pytest.mark.parametrize("model", TEXTS)
def test_rows_of_all_lengths(client, known, model):
    texts = questions(known)
    pairs = pairs_for(known, texts)
    ours, theirs = outputs_of(ask(client, model, text_inputs(texts, pairs))), known.answers(texts, pairs)
    assert ours.keys() == theirs.keys()
    for name in theirs:
        far = difference(ours[name], theirs[name])
        assert far.max() <= BOUND, (name, far.max(), texts[far.argmax()])


@pytest.mark.parametrize("model", TEXTS)
def test_the_bound_bites(client, known, model):
    """Any two rows in each other's place are no longer the reference's."""
    texts = questions(known)
    pairs = pairs_for(known, texts)
    theirs = known.answers(texts, pairs)
    ours = outputs_of(ask(client, model, text_inputs(texts, pairs)))
    different = [i for i in range(ROWS - 1) if not alike(known, texts, pairs, i, i + 1)]
    assert len(different) > ROWS / 2
    for i in different:
        swapped = [i + 1, i]
        for name in theirs:
            assert difference(ours[name][swapped], theirs[name][[i, i + 1]]).max() > BOUND, (name, texts[i], texts[i + 1])


@pytest.mark.parametrize("model", ["classify_bert", "classify_bert_pairs", "classify_roberta", "classify_modernbert_mean"])
def test_classifiers_take_pairs(client, known, model):
    texts = questions(known)
    pairs = texts[7:] + texts[:7]
    ours = outputs_of(ask(client, model, text_inputs(texts, pairs)))
    assert agree(ours, known.answers(texts, pairs))
    assert not agree(ours, known.answers(texts))
    assert not agree(ours, known.answers(pairs, texts))


def test_texts_in_a_column(client, references):
    texts = ["river", "bridge and mayor"]
    inputs = text_inputs(texts)
    inputs[0].set_shape([2, 1])
    assert agree(outputs_of(ask(client, "embed_bert_mean", inputs)), references("embed_bert_mean").answers(texts))


@pytest.mark.parametrize("model", [*EMBEDDINGS, *CLASSIFIERS])
def test_wanted_outputs_alone(client, known, model):
    for name, theirs in known.answers(["river"]).items():
        ours = outputs_of(ask(client, model, text_inputs(["river"]), [name]))
        assert agree(ours, {name: theirs})


# --- tokens -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", TEXTS)
def test_tokens_are_the_references(client, known, model):
    texts = [*questions(known), *ODD]
    pairs = pairs_for(known, texts)
    ours = outputs_of(ask(client, model, text_inputs(texts, pairs), TOKENS))
    theirs = known.tokens(texts, pairs)
    assert ours.keys() == set(TOKENS)
    for name in TOKENS:
        assert ours[name].dtype == np.int64
        np.testing.assert_array_equal(ours[name], theirs[name].numpy(), err_msg=name)


@pytest.mark.parametrize("model", TEXTS)
def test_tokens_instead_of_texts(client, known, model):
    texts = questions(known)
    tokens = known.tokens(texts, pairs_for(known, texts))
    ours = outputs_of(ask(client, model, token_inputs(tokens)))
    assert agree(ours, known.answers_to_tokens(tokens))


@pytest.mark.parametrize("model", ["embed_bert_mean", "classify_roberta", "classify_modernbert_cls"])
def test_tokens_without_a_mask_are_all_meant(client, known, model):
    ids = known.tokens([of_tokens(known, 12), "a b c d e f g h i j"[: 2 * 10 - 1]])["input_ids"][:, :10]
    tokens = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    ours = outputs_of(ask(client, model, token_inputs({"input_ids": ids})))
    assert agree(ours, known.answers_to_tokens(tokens))


def test_without_a_tokenizer(client, references):
    """The same network: what there is to say is said in tokens."""
    metadata = client.get_model_metadata("tokens_bert")
    assert [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in metadata.inputs] == [
        ("input_ids", "INT64", [-1, -1])
    ]
    known = references("embed_bert_plain")
    tokens = known.tokens(questions(known))
    ours = outputs_of(ask(client, "tokens_bert", token_inputs(tokens)))
    assert agree(ours, known.answers_to_tokens(tokens))


@pytest.mark.parametrize("model", TEXTS)
def test_truncation_is_stated(client, known, model):
    short = ["river", "Who pays?"]
    assert list_of(ask(client, model, text_inputs(short, pairs_for(known, short))), "truncated") is None
    texts = questions(known)
    pairs = pairs_for(known, texts)
    theirs = known.truncated(texts, pairs)
    assert max(theirs) > known.length_max and min(theirs) == 0
    assert list_of(ask(client, model, text_inputs(texts, pairs)), "truncated") == theirs


# --- company ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", TEXTS)
def test_alone_and_in_company(client, seeded, known, model):
    texts = questions(known)
    pairs = pairs_for(known, texts)
    alone = [outputs_of(ask(client, model, text_inputs(texts[i : i + 1], pairs and pairs[i : i + 1]))) for i in range(ROWS)]
    together: list = [None] * ROWS

    def call(begin: int) -> None:
        with grpcclient.InferenceServerClient(seeded.grpc) as own:
            for i in range(begin, ROWS, CALLERS):
                together[i] = outputs_of(ask(own, model, text_inputs(texts[i : i + 1], pairs and pairs[i : i + 1])))

    callers = [threading.Thread(target=call, args=(begin,)) for begin in range(CALLERS)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    for text, ours, theirs in zip(texts, together, alone, strict=True):
        assert ours is not None and agree(ours, theirs), text


# --- confidence -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [model for model in CLASSIFIERS if "multi" not in model])
def test_labels_are_the_models_own(client, known: Classifier, model):
    texts = questions(known)
    answer = ask(client, model, text_inputs(texts), confidence=True)
    probabilities = known.answers(texts)["probabilities"]
    np.testing.assert_allclose(list_of(answer, "confidence"), probabilities.max(axis=1), atol=1e-3)
    assert list_of(answer, "label") == [known.labels[i] for i in probabilities.argmax(axis=1)]
