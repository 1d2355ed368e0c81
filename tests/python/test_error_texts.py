"""The whole text of each error that a client can be told, with its status and reason: what is quoted here is a promise.

In a text, `{}` stands for a number that is a matter of time.
"""

import gzip
import re
import struct
import time
from typing import NamedTuple

import pytest
from processes import frozen
from raw_grpc import INFER, Answer, Connection, prefixed
from repositories import write_identity
from sconce_server import SconceServer
from triton_calls import identity_request, raw_request
from tritonclient.grpc import service_pb2
from wire import Wire, call_frames

METADATA = "/inference.GRPCInferenceService/ModelMetadata"
MESSAGE_BYTES_MAX = 256 << 10
OTHER_BYTES_MAX = 64 << 10
COMPRESSED = 1
# The server tells clients apart by their addresses.
OTHER = "127.0.0.2"


class Refusal(NamedTuple):
    """The gRPC status and the reason that goes with it."""

    status: int
    reason: str


INVALID = Refusal(3, "invalid")
DEADLINE = Refusal(4, "deadline")
NOT_FOUND = Refusal(5, "not_found")
TOO_BIG = Refusal(8, "too_big")
QUEUE_FULL = Refusal(8, "queue_full")
CLIENT_SHARE = Refusal(8, "client_share")
CONCURRENCY = Refusal(8, "concurrency")
PREDICTED_WAIT = Refusal(8, "predicted_wait")
UNSUPPORTED = Refusal(12, "unsupported")
NOT_READY = Refusal(14, "not_ready")

# No warm-up, so that nothing is predicted; one row each second, so that what waits goes on waiting.
CRAWLING = 'max_batch_size = 1\n[batching]\nqueue_rows_max = 64\nrequest_rows_max = 64\n[warmup]\ntime_max = "0s"\n'
# On the network's threads, where no request has a timer of its own.
INLINE = f'{CRAWLING}[device]\nplacement = "inline"\n'
# One row each 50 ms, which the warm-up has shown.
STEADY = "max_batch_size = 1\n"
# Eight rows each 20 ms, which the warm-up has shown.
BRISK = "max_batch_size = 8\n[batching]\nqueue_rows_max = 90\nrequest_rows_max = 90\n"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Models with limits, models that take their time, and two that cannot be loaded."""
    repository = tmp_path_factory.mktemp("texts")
    write_identity(repository, "narrow", [("FP32", [-1])], settings="[batching]\nrequest_rows_max = 2\n")
    write_identity(repository, "crawling", [("FP32", [-1])], settings=CRAWLING, batch_time="1s")
    write_identity(repository, "halting", [("FP32", [-1])], settings=CRAWLING, batch_time="1s")
    write_identity(repository, "inline", [("FP32", [-1])], settings=INLINE, batch_time="300ms")
    write_identity(repository, "steady", [("FP32", [-1])], settings=STEADY, batch_time="50ms")
    write_identity(repository, "brisk", [("FP32", [-1])], settings=BRISK, batch_time="20ms")
    write_identity(repository, "failed", [("FP23", [-1])])
    write_identity(repository, "unreadable", [("FP32", [-1])], settings="max_batch_size = -1\n")
    return repository


@pytest.fixture(scope="module")
def server(identity_models, models):
    limits = ["--limits-message-bytes-max", f"{MESSAGE_BYTES_MAX}B", "--limits-receive-timeout", "500ms"]
    with SconceServer([identity_models, models], *limits) as server:
        yield server


@pytest.fixture()
def connection(server):
    with Connection(server.grpc) as connection:
        yield connection


def assert_told(answer: Answer, refusal: Refusal, text: str) -> None:
    assert (answer.status, answer.reason) == refusal, answer
    pattern = re.escape(text).replace(re.escape("{}"), r"\d+")
    assert re.fullmatch(pattern, answer.message), (answer.message, text)


def case(request, text: str, refusal: Refusal = INVALID):
    """A request, or its bytes, and what becomes of it."""
    message = request if isinstance(request, bytes) else request.SerializeToString()
    return pytest.param(message, refusal, text, id=text[:60])


def one(shape=(1, 4), raw: bytes | None = bytes(16), dtype: str = "FP32", model: str = "identity_fp32", **fields):
    """A request of one input, by default a good one."""
    return raw_request(model, ("INPUT0", dtype, shape, raw), **fields)


def pair(*more, first_rows: int = 1):
    """A request of two inputs, and of `more` than the model has."""
    first = ("INPUT0", "FP32", [first_rows, 4], bytes(16 * first_rows))
    return raw_request("pair", first, ("INPUT1", "INT64", [1, 2, 3], bytes(48)), *more)


def typed(dtype: str, **contents):
    """A request of typed contents, `int_contents=[1, 2]` and the like."""
    (values,) = contents.values()
    request = one([1, len(values)], None, dtype, f"identity_{dtype.lower()}")
    request.inputs[0].contents.MergeFrom(service_pb2.InferTensorContents(**contents))
    return request


def strings(raw: bytes, count: int):
    return one([1, count], raw, "BYTES", "identity_bytes")


def itself(request):
    return request


def with_parameter(name: str, value, holder=itself):
    """A good request with a parameter: of its own, or of the part of it that `holder` gives."""
    request = one()
    kind = {bool: "bool_param", int: "int64_param", float: "double_param", str: "string_param"}[type(value)]
    setattr(holder(request).parameters[name], kind, value)
    return request


def many_parameters(holder):
    request = one()
    for number in range(65):
        holder(request).parameters[f"name{number}"].bool_param = True
    return request


def of_input(request):
    return request.inputs[0]


def of_output(request):
    return request.outputs.add(name="OUTPUT0")


def outputs(*names: str):
    return one(outputs=[{"name": name} for name in names])


BOTH_CONTENTS = one()
BOTH_CONTENTS.inputs[0].contents.fp32_contents.extend([1, 2, 3, 4])
NO_CHOICE = one(parameters={"timeout": {}})
# Field 15, which none of the messages has; a decoder keeps it, so that it is sent on.
STRANGE = b"\x7a\x00" * 65
# An input whose contents come in 65 pieces, which a decoder makes one of.
MERGED_CONTENTS = b"\x2a\x82\x01" + b"\x2a\x00" * 65
CUT = one().SerializeToString()[:-1]
NOT_UTF8 = one(id="identifier").SerializeToString().replace(b"identifier", b"identifie\xff")


def strange(part):
    """A good request in which this part has fields that the protocol has not."""
    request = one()
    part(request).MergeFromString(STRANGE)
    return request


DATATYPES = "BOOL, UINT8, UINT16, UINT32, UINT64, INT8, INT16, INT32, INT64, FP16, BF16, FP32, FP64, BYTES"
NAME = "model name: expected 1 to 128 letters, digits, '_', '-' or '.', not starting with '.'"

CONVERTED = [
    case(one(id="i" * 257), "id: expected at most 256 bytes, got 257"),
    case(one(raw_input_contents=[b"x"]), "raw_input_contents: expected 1 entries, one an input, got 2"),
    case(
        one(inputs=[{"name": "INPUT0", "datatype": "FP32", "shape": [1], "contents": {"fp32_contents": [1]}}]),
        "raw_input_contents: expected 2 entries, one an input, got 1",
    ),
    case(BOTH_CONTENTS, 'input "INPUT0": has both contents and raw_input_contents, expected one'),
    case(one(dtype="FP23"), f'input "INPUT0": expected a datatype of {DATATYPES}, got "FP23"'),
    case(one([1] * 17), 'input "INPUT0": expected at most 16 dimensions, got 17'),
    case(one([1, -4]), 'input "INPUT0": expected dimensions of at least 0, got [1, -4]'),
    case(typed("FP16", fp32_contents=[1]), 'input "INPUT0": FP16 has no typed contents, expected raw_input_contents'),
    case(typed("INT8", fp32_contents=[1]), 'input "INPUT0": INT8 is carried by int_contents, got fp32_contents'),
    case(typed("BOOL", int_contents=[1]), 'input "INPUT0": BOOL is carried by bool_contents, got int_contents'),
    case(typed("INT64", int_contents=[1]), 'input "INPUT0": INT64 is carried by int64_contents, got int_contents'),
    case(typed("UINT8", int_contents=[1]), 'input "INPUT0": UINT8 is carried by uint_contents, got int_contents'),
    case(typed("UINT64", int_contents=[1]), 'input "INPUT0": UINT64 is carried by uint64_contents, got int_contents'),
    case(typed("FP32", fp64_contents=[1]), 'input "INPUT0": FP32 is carried by fp32_contents, got fp64_contents'),
    case(typed("FP64", fp32_contents=[1]), 'input "INPUT0": FP64 is carried by fp64_contents, got fp32_contents'),
    case(typed("BYTES", uint_contents=[1]), 'input "INPUT0": BYTES is carried by bytes_contents, got uint_contents'),
    case(typed("FP32", uint64_contents=[1]), 'input "INPUT0": FP32 is carried by fp32_contents, got uint64_contents'),
    case(typed("FP32", bytes_contents=[b"1"]), 'input "INPUT0": FP32 is carried by fp32_contents, got bytes_contents'),
    case(typed("INT8", int_contents=[1, 300]), "input \"INPUT0\": element 1: 300 is out of INT8's range"),
    case(typed("INT16", int_contents=[-32769]), "input \"INPUT0\": element 0: -32769 is out of INT16's range"),
    case(typed("UINT8", uint_contents=[256]), "input \"INPUT0\": element 0: 256 is out of UINT8's range"),
    case(typed("UINT16", uint_contents=[65536]), "input \"INPUT0\": element 0: 65536 is out of UINT16's range"),
    case(
        with_parameter("classification", 3, of_output),
        'output "OUTPUT0": parameter "classification" is not supported',
        UNSUPPORTED,
    ),
    case(
        with_parameter("shared_memory_region", "here", of_input),
        'input "INPUT0": shared memory is not supported',
        UNSUPPORTED,
    ),
    case(
        with_parameter("shared_memory_region", "here", of_output),
        'output "OUTPUT0": shared memory is not supported',
        UNSUPPORTED,
    ),
    case(with_parameter("sequence_id", 7), 'parameter "sequence_id": sequences are not supported', UNSUPPORTED),
    case(with_parameter("timeout", -1), 'parameter "timeout": expected a whole number of at least 0, got -1'),
    case(
        with_parameter("timeout", "soon"),
        'parameter "timeout": expected a whole number of at least 0, got string "soon"',
    ),
    case(
        with_parameter("priority", 1.5),
        'parameter "priority": expected a whole number of at least 0, got number 1.5',
    ),
    case(
        with_parameter("priority", True),
        'parameter "priority": expected a whole number of at least 0, got boolean true',
    ),
    case(NO_CHOICE, 'parameter "timeout": expected a whole number of at least 0, got nothing'),
    case(with_parameter("confidence", 1), 'parameter "confidence": expected a boolean, got 1'),
    case(with_parameter("batch_report", "yes"), 'parameter "batch_report": expected a boolean, got string "yes"'),
    case(
        with_parameter("fallback", "gpu"),
        'parameter "fallback": expected none, or some of cpu, version, model, prediction, separated by commas, got string "gpu"',
    ),
]

WEIGHED = [
    case(one(inputs=[{}] * 256), "expected at most 256 inputs, got more"),
    case(one(outputs=[{}] * 257), "expected at most 256 outputs, got more"),
    case(one(raw_input_contents=[b""] * 256), "expected at most 256 raw_input_contents, got more"),
    case(many_parameters(itself), "expected at most 64 parameters, got more"),
    case(strange(itself), "expected at most 64 other fields, got more"),
    case(many_parameters(of_input), "expected at most 64 parameters of a tensor, got more"),
    case(strange(of_input), "expected at most 64 other fields of a tensor, got more"),
    case(strange(lambda request: request.inputs[0].contents), "expected at most 64 other fields of contents, got more"),
    case(MERGED_CONTENTS, "expected at most 64 contents of a tensor, got more"),
    case(one([1] * 1025), "the shape of an input has far more dimensions than a tensor may have"),
    case(CUT, "the request message cannot be decoded: expected the protocol's protobuf"),
    case(
        NOT_UTF8,
        "the request message cannot be decoded: failed to decode Protobuf message: ModelInferRequest.id: "
        "invalid string value: data is not UTF-8 encoded",
    ),
    case(
        typed("INT64", int64_contents=[1] * 40_000),
        f"the request's contents take 320000 bytes decoded, the limit is {MESSAGE_BYTES_MAX}",
        TOO_BIG,
    ),
]

TENSORS = [
    case(one([2**62, 4]), 'input "INPUT0": shape [4611686018427387904,4] has more elements than can be counted'),
    case(one([1, 2**62]), 'input "INPUT0": shape [1,4611686018427387904] of FP32 has more bytes than can be counted'),
    case(one(raw=bytes(15)), 'input "INPUT0": [1,4] of FP32 is 16 bytes, got 15'),
    case(strings(struct.pack("<I", 1) + b"a", 2), 'input "INPUT0": expected 2 strings, the contents end after 1'),
    case(strings(struct.pack("<I", 9) + b"abc", 1), 'input "INPUT0": string 0 claims 9 bytes, 3 are left'),
    case(strings(struct.pack("<I", 1) + b"abc", 1), 'input "INPUT0": expected 1 strings, 2 bytes are left over'),
]

CHECKED = [
    case(raw_request("identity_fp32"), 'input "INPUT0" is missing; no inputs were given'),
    case(
        raw_request("pair", ("a", "FP32", [1], bytes(4)), ("b", "FP32", [1], bytes(4))),
        'input "INPUT0" is missing; got "a", "b"',
    ),
    case(raw_request("identity_fp32", *[("INPUT0", "FP32", [1, 4], bytes(16))] * 2), 'input "INPUT0" is given twice'),
    case(pair(("INPUT2", "FP32", [1], bytes(4))), 'input "INPUT2" is not one of the model\'s: "INPUT0", "INPUT1"'),
    case(one(dtype="INT32"), 'input "INPUT0": expected datatype FP32, got INT32'),
    case(one([1, 1, 4]), 'input "INPUT0": expected shape [-1,-1], got [1,1,4]'),
    case(pair(first_rows=2), 'input "INPUT1": expected 2 rows as before, got 1'),
    case(one([0, 4], b""), "expected at least one row, got 0"),
    case(one([3, 4], bytes(48), model="narrow"), "3 rows in one request exceed the model's limit of 2", TOO_BIG),
    case(with_parameter("priority", 3), 'parameter "priority": expected 0 to 2, got 3'),
    case(outputs("OUTPUT9"), 'output "OUTPUT9" is not one of the model\'s: "OUTPUT0"'),
    case(outputs("OUTPUT0", "OUTPUT0"), 'output "OUTPUT0" is asked for twice'),
]

ROUTED = [
    case(one(model="nobody"), 'model "nobody" is not known', NOT_FOUND),
    case(one(model_version="9"), 'model "identity_fp32" has no version 9', NOT_FOUND),
    case(one(model="failed"), 'model "failed" is not ready: it failed to load, the server\'s log says why', NOT_READY),
    case(one(model="unreadable"), 'model "unreadable" failed to load, the server\'s log says why', NOT_READY),
    case(one(model=".hidden"), f'{NAME}, got ".hidden"'),
    case(one(model=""), f'{NAME}, got ""'),
    case(one(model_version="1.5"), 'model version: expected a positive whole number such as "1", got "1.5"'),
    # What comes last in a message counts, but the request was let in under what stands at its top.
    case(
        one().SerializeToString() + service_pb2.ModelInferRequest(model_name="pair").SerializeToString(),
        'model_name and model_version: expected one of each, got "identity_fp32" "1" and "pair" ""',
    ),
    case(
        one().SerializeToString() + service_pb2.ModelInferRequest(model_version="2").SerializeToString(),
        'model_name and model_version: expected one of each, got "identity_fp32" "1" and "identity_fp32" "2"',
    ),
    case(with_parameter("timeout", 1), "the deadline passed before the request was queued", DEADLINE),
]


@pytest.mark.parametrize(("message", "refusal", "text"), [*CONVERTED, *WEIGHED, *TENSORS, *CHECKED, *ROUTED])
def test_a_message(connection, message, refusal, text):
    assert_told(connection.call(INFER, message), refusal, text)


GOOD = one().SerializeToString()
ANNOUNCED_10 = struct.pack(">BI", 0, 10)
BR = 'header "grpc-encoding": expected gzip, deflate or identity, got "br"'
SOON = 'header "grpc-timeout": expected 1 to 8 digits and a unit of H, M, S, m, u or n, got "soon"'
TOO_LARGE = f"the request message is larger than the limit of {MESSAGE_BYTES_MAX} bytes"


def zipped(message: bytes) -> bytes:
    return prefixed(gzip.compress(message), COMPRESSED)


def body(sent: bytes, text: str, refusal: Refusal = INVALID, **headers: str):
    """All that a call sends, with its headers, and what becomes of it."""
    return pytest.param(sent, headers, refusal, text, id=text[:60])


@pytest.mark.parametrize(
    ("sent", "headers", "refusal", "text"),
    [
        body(prefixed(GOOD), BR, UNSUPPORTED, grpc_encoding="br"),
        body(prefixed(GOOD), SOON, grpc_timeout="soon"),
        body(prefixed(GOOD) * 2, "the call has more than one message, expected one"),
        body(zipped(GOOD) * 2, "the call has more than one message, expected one", grpc_encoding="gzip"),
        body(prefixed(GOOD, COMPRESSED), "the message is marked as compressed, but there is no grpc-encoding"),
        body(prefixed(GOOD, 7), "the message begins with 7, expected 0 or 1 (compressed)"),
        body(b"", "the call has no message, expected one"),
        body(bytes(3), "the call ended after 3 of the 5 bytes before a message"),
        body(ANNOUNCED_10 + b"abc", "the message ended after 3 of the 10 bytes that it announced"),
        body(prefixed(bytes(MESSAGE_BYTES_MAX + 1)), TOO_LARGE, TOO_BIG),
        body(zipped(bytes(MESSAGE_BYTES_MAX + 1)), TOO_LARGE, TOO_BIG, grpc_encoding="gzip"),
        body(
            prefixed(b"not in the least compressed", COMPRESSED),
            "the compressed message cannot be inflated: invalid gzip header",
            grpc_encoding="gzip",
        ),
    ],
)
def test_a_body(connection, sent, headers, refusal, text):
    assert_told(connection.wait(connection.send_body(INFER, sent, **headers)), refusal, text)


@pytest.mark.parametrize(
    ("message", "refusal", "text"),
    [
        (b"\xff", INVALID, "the request message cannot be decoded: expected the protocol's protobuf"),
        (
            bytes(OTHER_BYTES_MAX + 1),
            TOO_BIG,
            f"the request message is larger than the limit of {OTHER_BYTES_MAX} bytes",
        ),
    ],
    ids=["decoded", "larger"],
)
def test_a_message_that_asks_for_metadata(connection, message, refusal, text):
    assert_told(connection.call(METADATA, message), refusal, text)


NO_MORE = " bytes of the message came; no more within 0.5 s or the time of the call"


@pytest.mark.parametrize(
    ("part", "text"),
    [
        (b"", f"0{NO_MORE}"),
        (ANNOUNCED_10 + b"abc", f"3 of 10{NO_MORE}"),
        (prefixed(GOOD), "the call's message has come, but not the end of the call"),
    ],
    ids=["no message", "a part", "no end"],
)
def test_a_call_that_does_not_go_on(connection, part, text):
    stream = connection.begin(INFER)
    connection.write(stream, part)
    assert_told(connection.wait(stream), DEADLINE, text)


def test_the_deadline_of_a_call_that_does_not_go_on(connection):
    stream = connection.begin(METADATA, grpc_timeout="50m")
    connection.write(stream, b"")
    assert_told(connection.wait(stream), DEADLINE, "the call's deadline passed after {} ms")


# What waits.


def rows_message(model: str, rows: int = 1) -> bytes:
    return raw_request(model, ("INPUT0", "FP32", [rows, 4], bytes(16 * rows))).SerializeToString()


def message_with(model: str, **parameters: int) -> bytes:
    request = identity_request(model)
    for name, value in parameters.items():
        request.parameters[name].int64_param = value
    return request.SerializeToString()


def send_in_turn(connection: Connection, *messages: bytes) -> None:
    """Sends each when those before have reached their model, and comes back when the last has."""
    for message in messages:
        connection.send(INFER, message)
        connection.call(INFER, GOOD)


def test_a_queue_without_room(connection):
    send_in_turn(connection, rows_message("crawling"), rows_message("crawling", 40))
    crowding = connection.call(INFER, rows_message("crawling", 25))
    assert_told(crowding, QUEUE_FULL, "queue full: 40 rows are waiting, 25 more exceed the limit of 64")
    greedy = connection.call(INFER, rows_message("crawling", 20))
    text = "the client has 40 rows in the model's queue of 64, its share is 4 times the 24 that are free"
    assert_told(greedy, CLIENT_SHARE, text)


def test_the_deadline_passes_while_a_batch_runs(connection):
    late = connection.call(INFER, message_with("halting", timeout=50_000))
    assert_told(late, DEADLINE, "the deadline passed after {} ms, before the batch was done")


def test_the_deadline_passes_in_the_queue(server):
    """Two arrive at once: whichever goes first, the other waits for longer than it has time."""
    late = prefixed(message_with("inline", timeout=50_000))
    with Wire(server.grpc) as wire:
        wire.send(call_frames(1, late) + call_frames(3, late))
        ran, waited = sorted(wire.wait_for_all([1, 3]), key=lambda answer: answer.message.endswith("in the queue"))
    assert_told(ran, DEADLINE, "the deadline passed after {} ms, before the batch was done")
    assert_told(waited, DEADLINE, "the deadline passed after {} ms in the queue")


def test_an_answer_that_would_be_late(connection):
    # A cost that was learned more than a second ago is put to the test, whatever it predicts: this one makes it fresh.
    connection.call(INFER, rows_message("steady"))
    refused = connection.call(INFER, message_with("steady", timeout=10_000))
    assert_told(refused, PREDICTED_WAIT, "the answer is predicted in {} ms, too late for a deadline in {} ms")


def test_a_model_that_was_late_before(server, connection):
    """A freeze makes it late; twice, because the limit is found anew when something ends after those that were."""
    for _ in range(2):
        late = [connection.send(INFER, rows_message("brisk"), grpc_timeout="500m") for _ in range(60)]
        connection.call(INFER, GOOD)
        with frozen(server.pid):
            time.sleep(0.7)
        for stream in late:
            connection.wait(stream)
    # Another client's rows, so that the one that is refused has not had its share.
    with Connection(server.grpc, source=OTHER) as other:
        send_in_turn(other, rows_message("brisk", 40))
        refused = connection.call(INFER, rows_message("brisk", 50))
    assert_told(refused, CONCURRENCY, "{} rows are waiting, and no more than {} were seen to end in time lately")
