"""Requests to text models that no honest client sends: each is refused in words that name the input and the row."""

import re

import grpc
import numpy as np
import pytest
import seeded_models
from hostile import EXHAUSTED, INVALID, OK, Target
from parity import BOUND, difference
from raw_grpc import INFER, Answer, Connection
from triton_calls import raw_bytes, raw_request
from tritonclient.grpc import service_pb2, service_pb2_grpc

MODEL, PAIRS, OFFSET = "embed_bert_mean", "rank_bert", "embed_roberta"
MAKERS = (seeded_models.embed_bert_mean, seeded_models.rank_bert, seeded_models.embed_roberta)
VOCABULARY, LENGTH_MAX = 1700, 48
INT64_MAX, INT64_MIN = 2**63 - 1, -(2**63)
MIB = 1 << 20
# Sent as often, so that what one of them leaves behind adds up.
ROUNDS = 10


@pytest.fixture(scope="module")
def target(identity_models, tmp_path_factory):
    models = seeded_models.write(tmp_path_factory.mktemp("texts"), MAKERS)
    with Target([identity_models, models]) as target:
        yield target


def texts(name: str, rows: list[bytes], shape: list[int] | None = None) -> tuple:
    return name, "BYTES", shape or [len(rows)], raw_bytes(rows)


def numbers(name: str, rows: list[list[int]]) -> tuple:
    array = np.array(rows, dtype="<i8")
    return name, "INT64", list(array.shape), array.tobytes()


def ids(*rows: list[int]) -> tuple:
    return numbers("input_ids", list(rows))


def mask(*rows: list[int]) -> tuple:
    return numbers("attention_mask", list(rows))


def types(*rows: list[int]) -> tuple:
    return numbers("token_type_ids", list(rows))


def case(name: str, *inputs: tuple, named: str, row: int | None = None, model: str = MODEL):
    """Inputs of a request, the name that its refusal must tell, and the row."""
    return pytest.param(raw_request(model, *inputs).SerializeToString(), named, row, id=name)


GOOD = [2, 7, 8, 3]
NOT_TEXT = {
    "no UTF-8": b"\xff\xfe", "cut off": "river é".encode()[:-1], "surrogate": b"\xed\xa0\x80", "overlong": b"\xc0\x80",
    "beyond Unicode": b"\xf4\x90\x80\x80", "end alone": b"a\x80b",
}  # fmt: skip

CASES = [
    *(case(name, texts("text", [b"river", bad, b"mayor"]), named="text", row=1) for name, bad in NOT_TEXT.items()),
    case(
        "pair that is no UTF-8", texts("text", [b"a", b"b"]), texts("text_pair", [b"c", b"\xff"]),
        named="text_pair", row=1, model=PAIRS,
    ),
    case("id beyond the vocabulary", ids(GOOD, [2, 7, VOCABULARY, 3]), named="input_ids", row=1),
    case("negative id", ids(GOOD, GOOD, [2, -1, 8, 3]), named="input_ids", row=2),
    case("largest id", ids([2, INT64_MAX, 8, 3]), named="input_ids", row=0),
    case("smallest id", ids([2, INT64_MIN, 8, 3]), named="input_ids", row=0),
    case("id of 32 bits too many", ids([2, 2**32 + 7, 8, 3]), named="input_ids", row=0),
    case("too many tokens", ids([7] * 65), named="input_ids", row=0),
    case("too many tokens after an offset", ids([7] * 65), named="input_ids", row=0, model=OFFSET),
    case("no tokens", ("input_ids", "INT64", [1, 0], b""), named="input_ids"),
    case("mask with a hole", ids(GOOD, GOOD), mask([1, 1, 1, 1], [1, 0, 1, 1]), named="attention_mask", row=1),
    case("mask that begins late", ids(GOOD), mask([0, 1, 1, 1]), named="attention_mask", row=0),
    case("mask of nothing", ids(GOOD, GOOD), mask([1, 1, 1, 0], [0, 0, 0, 0]), named="attention_mask", row=1),
    case("mask of twos", ids(GOOD), mask([1, 2, 1, 1]), named="attention_mask", row=0),
    case("negative mask", ids(GOOD), mask([1, -1, 0, 0]), named="attention_mask", row=0),
    case("mask of another length", ids(GOOD), mask([1, 1, 1]), named="attention_mask"),
    case("mask of other rows", ids(GOOD), mask([1] * 4, [1] * 4), named="attention_mask"),
    case("mask without ids", texts("text", [b"river"]), mask([1, 1]), named="attention_mask"),
    case("type beyond the types", ids(GOOD, GOOD), types([0, 0, 1, 1], [0, 0, 2, 2]), named="token_type_ids", row=1),
    case("negative type", ids(GOOD), types([0, 0, -1, 0]), named="token_type_ids", row=0),
    case("type where there is but one", ids(GOOD), types([0, 0, 1, 1]), named="token_type_ids", row=0, model=OFFSET),
    case("types of another length", ids(GOOD), types([0, 0]), named="token_type_ids"),
    case("texts and ids", texts("text", [b"river"]), ids(GOOD), named="input_ids"),
    case("neither texts nor ids", named="text"),
    case("nothing but a pair", texts("text_pair", [b"river"]), named="text", model=PAIRS),
    case("no pair", texts("text", [b"river"]), named="text_pair", model=PAIRS),
    case("a pair where none is taken", texts("text", [b"river"]), texts("text_pair", [b"river"]), named="text_pair"),
    case("a pair too few", texts("text", [b"a", b"b"]), texts("text_pair", [b"c"]), named="text_pair", model=PAIRS),
    case("two texts a row", texts("text", [b"a", b"b"], [1, 2]), named="text"),
    case("texts as numbers", ("text", "FP32", [1], bytes(4)), named="text"),
    case("ids of 32 bits", ("input_ids", "INT32", [1, 4], bytes(16)), named="input_ids"),
    case("ids of a row without a batch", ("input_ids", "INT64", [4], bytes(32)), named="input_ids"),
    case("an input of pictures", texts("image", [b"river"]), named="image"),
]  # fmt: skip


def send(target: Target, message: bytes) -> Answer:
    with Connection(target.grpc) as connection:
        return connection.call(INFER, message)


@pytest.mark.parametrize("message, named, row", CASES)
def test_it_is_refused_by_name(target, message, named, row):
    answer = send(target, message)
    assert answer.status == INVALID, answer
    assert answer.reason == "invalid"
    assert re.search(rf"\b{named}\b", answer.message), answer.message
    if row is not None:
        assert re.search(rf"\brow {row}\b", answer.message), answer.message
    assert "\n" not in answer.message and len(answer.message) < 1000


def test_refusals_cost_nobody_else_anything(target):
    with target.unharmed(memory_mib=16), Connection(target.grpc) as connection:
        for _ in range(ROUNDS):
            for parameters in CASES:
                assert connection.call(INFER, parameters.values[0]).status == INVALID


def test_the_good_beside_the_bad(target):
    """A bad request in the same batch as good ones is refused alone."""
    good = raw_request(MODEL, texts("text", [b"river", b"mayor"]))
    bad = raw_request(MODEL, texts("text", [b"river", b"\xff"]))
    with grpc.insecure_channel(target.grpc) as channel:
        infer = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer
        alone = embeddings_of(infer(good))
        for one, other in [(infer.future(good), infer.future(bad)) for _ in range(50)]:
            assert difference(embeddings_of(one.result()), alone).max() <= BOUND
            assert other.code() == grpc.StatusCode.INVALID_ARGUMENT


def embeddings_of(answer: service_pb2.ModelInferResponse) -> np.ndarray:
    return np.frombuffer(answer.raw_output_contents[0], dtype="<f4").reshape(answer.outputs[0].shape)


# A word that is looked up whole, one that is cut into pieces, words without end, one that grows when it is normalised.
LONG = {
    "one word": b"a" * 10 * MIB, "many words": b"river " * (10 * MIB // 6), "blanks": b" " * 10 * MIB,
    "one cluster": "a\u0301\u0302".encode() * (2 * MIB), "ligatures": "ﷺ".encode() * (3 * MIB),
    "controls": b"\x01" * 10 * MIB,
}  # fmt: skip


@pytest.mark.parametrize("model", [MODEL, OFFSET])
@pytest.mark.parametrize("name", LONG)
def test_ten_megabytes_of_text(target, name, model):
    message = raw_request(model, texts("text", [b"river", LONG[name]])).SerializeToString()
    with target.unharmed(memory_mib=400):
        answer = send(target, message)
        assert answer.status in (OK, INVALID, EXHAUSTED), answer
        assert answer.seconds < 10
