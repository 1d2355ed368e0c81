"""Messages that lie, overflow, swell or make no sense: each is refused in its proper words and at next to no cost."""

import gzip
import random
import struct
import time
import zlib
from urllib.parse import unquote

import pytest
from exposition import total
from hostile import EXHAUSTED, INVALID, NOT_FOUND, OK, UNIMPLEMENTED, Target, good_message
from raw_grpc import INFER, Connection, prefixed
from triton_calls import raw_request
from wire import Wire, call_frames

MESSAGE_BYTES_MAX = 4 << 20
REASONS = {OK: None, INVALID: "invalid", NOT_FOUND: "not_found", EXHAUSTED: "too_big"}
ERROR_CHARS_MAX = 1100
# Sent as often, so that what one of them leaves behind adds up and what it delays shows in the bystander's percentile.
ROUNDS = 20
SEED = 20261124
GOOD_INPUT = ("INPUT0", "FP32", [1, 4], bytes(16))


@pytest.fixture(scope="module")
def target(identity_models):
    flags = ["--limits-message-bytes-max", f"{MESSAGE_BYTES_MAX}B", "--limits-in-flight-bytes-max", "64MiB"]
    with Target([identity_models], *flags) as target:
        yield target


def case(name: str, message, status: int = INVALID):
    """A message and what becomes of it."""
    return pytest.param(message if isinstance(message, bytes) else message.SerializeToString(), status, id=name)


def one(shape, raw=bytes(16), dtype="FP32", model="identity_fp32", **fields):
    """A request of one input, by default of four elements."""
    return raw_request(model, ("INPUT0", dtype, shape, raw), **fields)


def pair(first, second=bytes(48)):
    """A request of two inputs: the first as given, the second with these contents."""
    return raw_request("pair", first, ("INPUT1", "INT64", [1, 2, 3], second))


def numbered_inputs(count: int) -> list[tuple]:
    return [(f"INPUT{number}", "FP32", [1, 4], bytes(16)) for number in range(count)]


def typed(field: str, values, dtype: str = "FP32"):
    """A request of four elements in typed contents."""
    return with_typed(one([1, 4], None, dtype, f"identity_{dtype.lower()}"), field, values)


def with_typed(request, field: str, values, at: int = 0):
    getattr(request.inputs[at].contents, field).extend(values)
    return request


def with_parameters(count: int, holder):
    """`holder`: the part of the request that gets them."""
    request = one([1, 4], outputs=[{"name": "OUTPUT0"}])
    for number in range(count):
        holder(request).parameters[f"name{number}"].bool_param = True
    return request


def with_parameter(name: str, kind: str, value):
    request = one([1, 4])
    setattr(request.parameters[name], kind, value)
    return request


def varint(number: int) -> bytes:
    low = bytearray()
    while number > 0x7F:
        low.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(low) + bytes([number])


def field(number: int, payload: bytes) -> bytes:
    """A field of protobuf that is a string, bytes or a message."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def in_place(placeholder: bytes, text: bytes, request) -> bytes:
    """The message with other bytes where the placeholder of the same length stood, which need not be UTF-8."""
    message = request.SerializeToString()
    assert message.count(placeholder) == 1 and len(placeholder) == len(text)
    return message.replace(placeholder, text)


INT64_MAX, INT64_MIN = 2**63 - 1, -(2**63)

SHAPES = [
    case("elements overflow 64 bits", one([2**62, 4])),
    case("elements overflow to zero", one([2**32, 2**32], b"")),
    case("elements overflow to what is there", one([2**62 + 1, 4])),
    case("bytes overflow 64 bits", one([1, 2**62])),
    case("largest dimensions", one([INT64_MAX, INT64_MAX])),
    case("huge dimension", one([1, 2**40])),
    case("negative rows", one([-1, 4])),
    case("negative column", one([1, -4])),
    case("two negatives", one([-1, -4])),
    case("most negative", one([INT64_MIN, 4])),
    case("most negative twice", one([INT64_MIN, INT64_MIN])),
    case("32 bits truncated", one([2**32 + 1, 4])),
    case("no rows", one([0, 4], b"")),
    case("no rows of huge size", one([0, 2**40], b"")),
    case("zero where four are taken", pair(("INPUT0", "FP32", [1, 0], b""))),
    case("scalar", one([], bytes(4))),
    case("rank 1", one([4])),
    case("rank 3", one([1, 1, 4])),
    case("rank 17", one([1] * 17, bytes(4))),
    case("rank 100,000", one([1] * 100_000, bytes(4))),
    case("unequal rows", pair(("INPUT0", "FP32", [2, 4], bytes(32)))),
]

CONTENTS = [
    case("a byte too few", one([1, 4], bytes(15))),
    case("a byte too many", one([1, 4], bytes(17))),
    case("an element too few", one([1, 4], bytes(12))),
    case("no bytes", one([1, 4], b"")),
    case("no contents", one([1, 4], None)),
    case("a megabyte too many", one([1, 4], bytes(1 << 20))),
    case("raw and typed", with_typed(one([1, 4]), "fp32_contents", [1, 2, 3, 4])),
    case("raw for one, typed for another", with_typed(pair(GOOD_INPUT, None), "int64_contents", range(6), at=1)),
    case("more raw contents than inputs", raw_request("identity_fp32", GOOD_INPUT, raw_input_contents=[b"x"])),
    case("raw contents without inputs", raw_request("identity_fp32", raw_input_contents=[b"x"])),
    case("typed: too few", typed("fp32_contents", [1, 2, 3])),
    case("typed: too many", typed("fp32_contents", [1] * 100_000)),
    case("typed: of another type", typed("fp64_contents", [1, 2, 3, 4])),
    case("typed: of two types", with_typed(typed("fp32_contents", [1, 2, 3, 4]), "int_contents", [1])),
    case("typed: out of the type's range", typed("int_contents", [128], "INT8")),
    case("typed: negative out of range", typed("int_contents", [-129], "INT8")),
    case("typed: a type without", typed("fp32_contents", [1, 2, 3, 4], "FP16")),
    case("an input twice", raw_request("identity_fp32", GOOD_INPUT, GOOD_INPUT)),
    case("an input too many", raw_request("identity_fp32", *numbered_inputs(2))),
    case("257 inputs", raw_request("identity_fp32", *numbered_inputs(257))),
    case("no inputs", raw_request("identity_fp32")),
    case("an output that is none", one([1, 4], outputs=[{"name": "OUTPUT9"}])),
    case("an output twice", one([1, 4], outputs=[{"name": "OUTPUT0"}] * 2)),
    case("257 outputs", one([1, 4], outputs=[{"name": "OUTPUT0"}] * 257)),
]


def strings(raw: bytes, elements: int = 1):
    return one([1, elements], raw, "BYTES", "identity_bytes")


LENGTHS = [
    case("a length of 4 GiB", strings(b"\xff\xff\xff\xffabc")),
    case("a length beyond by one", strings(struct.pack("<I", 4) + b"abc")),
    case("a length short by one", strings(struct.pack("<I", 2) + b"abc")),
    case("a length cut", strings(b"\x01\x00")),
    case("the second length lies", strings(struct.pack("<I", 1) + b"a" + b"\xff\xff\xff\x7f", 2)),
    case("lengths that add up past 32 bits", strings(b"\xff\xff\xff\xff" * 4, 4)),
    case("more strings than are there", strings(struct.pack("<I", 1) + b"a", 2)),
    case("2^40 strings", strings(bytes(16), 2**40)),
    case("fewer strings than are there", strings(bytes(16), 3)),
    case("a million empty strings", strings(bytes(4_000_000), 1_000_000), OK),
]

COLOURED = with_parameter("colour", "string_param", "blue")

TEXTS = [
    case("model: not UTF-8", in_place(b"identity_fp32", b"identity_\xff\xfe32", one([1, 4]))),
    case("id: not UTF-8", in_place(b"identifier", b"identifi\xc3\x28", one([1, 4], id="identifier"))),
    case("id: a surrogate", in_place(b"identifier", b"identif\xed\xa0\x80", one([1, 4], id="identifier"))),
    case("id: an overlong NUL", in_place(b"identifier", b"identifi\xc0\x80", one([1, 4], id="identifier"))),
    case("input: not UTF-8", in_place(b"INPUT0", b"INPUT\xff", one([1, 4]))),
    case("datatype: not UTF-8", in_place(b"FP32", b"FP3\xff", one([1, 4]))),
    case("parameter's name: not UTF-8", in_place(b"colour", b"colou\xff", COLOURED)),
    case("parameter's text: not UTF-8", in_place(b"blue", b"blu\xff", COLOURED)),
]

NAMES = [
    case("model: nobody", one([1, 4], model="nobody"), NOT_FOUND),
    case("model: other case", one([1, 4], model="IDENTITY_FP32"), NOT_FOUND),
    case("model: 128 bytes", one([1, 4], model="m" * 128), NOT_FOUND),
    case("model: 129 bytes", one([1, 4], model="m" * 129)),
    case("model: a megabyte", one([1, 4], model="m" * (1 << 20))),
    case("model: empty", one([1, 4], model="")),
    case("model: ../", one([1, 4], model="../identity_fp32")),
    case("model: ..", one([1, 4], model="..")),
    case("model: /etc/passwd", one([1, 4], model="/etc/passwd")),
    case("model: within", one([1, 4], model="identity_fp32/../identity_fp32")),
    case("model: backslash", one([1, 4], model="..\\identity_fp32")),
    case("model: NUL behind", one([1, 4], model="identity_fp32\0")),
    case("model: line break", one([1, 4], model="identity_fp32\n")),
    case("model: blank", one([1, 4], model=" identity_fp32")),
    case("model: escape sequence", one([1, 4], model="\x1b[2Jidentity_fp32")),
    case("model: right to left", one([1, 4], model="\u202eidentity_fp32")),
    case("model: look-alike letter", one([1, 4], model="\u0456dentity_fp32")),
    case("model: a metric's label", one([1, 4], model='x"} 1\nsconce_panics_total{a="')),
    case("version: unknown", one([1, 4], model_version="2"), NOT_FOUND),
    case("id: 256 bytes", one([1, 4], id="i" * 256), OK),
    case("id: 257 bytes", one([1, 4], id="i" * 257)),
    case("id: a megabyte", one([1, 4], id="i" * (1 << 20))),
    case("id: control characters", one([1, 4], id="a\n\0\x1b[31mb"), OK),
    case("input: NUL", raw_request("identity_fp32", ("INPUT0\0", "FP32", [1, 4], bytes(16)))),
    case("input: a megabyte", raw_request("identity_fp32", ("I" * (1 << 20), "FP32", [1, 4], bytes(16)))),
    case("output: a megabyte", one([1, 4], outputs=[{"name": "O" * (1 << 20)}])),
    case("datatype: unknown", one([1, 4], dtype="FP23")),
    case("datatype: empty", one([1, 4], dtype="")),
    case("datatype: lower case", one([1, 4], dtype="fp32")),
    case("datatype: another's word", one([1, 4], dtype="STRING")),
    case("datatype: a number", one([1, 4], dtype="11")),
    case("datatype: NUL behind", one([1, 4], dtype="FP32\0")),
    case("datatype: a megabyte", one([1, 4], dtype="F" * (1 << 20))),
    case("datatype: not the model's", one([1, 2], dtype="FP64")),
]

UNKNOWN_CHOICE = field(4, field(1, b"priority") + field(2, varint(9 << 3) + varint(1)))

PARAMETERS = [
    case("65 of the request", with_parameters(65, lambda request: request)),
    case("65 of an input", with_parameters(65, lambda request: request.inputs[0])),
    case("65 of an output", with_parameters(65, lambda request: request.outputs[0])),
    case("50,000 of the request", with_parameters(50_000, lambda request: request)),
    case("an unknown number among the choices", good_message() + UNKNOWN_CHOICE),
    case("priority: a text", with_parameter("priority", "string_param", "1")),
    case("priority: negative", with_parameter("priority", "int64_param", -1)),
    case("priority: huge", with_parameter("priority", "uint64_param", 2**64 - 1)),
    case("timeout: negative", with_parameter("timeout", "int64_param", INT64_MIN)),
    case("timeout: huge", with_parameter("timeout", "uint64_param", 2**64 - 1), OK),
    case("confidence: a number", with_parameter("confidence", "double_param", float("nan"))),
    case("a name of a megabyte", with_parameter("n" * (1 << 20), "bool_param", True), OK),
]

MODEL = field(1, b"identity_fp32")

PROTOBUF = [
    case("before any field", b"\xff\xff"),
    case("field number 0", MODEL + b"\x00\x01"),
    case("wire type 7", MODEL + b"\x0f"),
    case("wire type of a number for a text", MODEL + b"\x08\x01"),
    case("a number of 11 bytes", MODEL + b"\x7d" + b"\xff" * 11),
    case("a tag past 32 bits", MODEL + b"\xff" * 9 + b"\x01\x01"),
    case("a length of 4 GiB", MODEL + b"\x0a\xff\xff\xff\xff\x0f"),
    case("a length of 2^64", MODEL + b"\x0a" + b"\xff" * 9 + b"\x01"),
    case("cut in a tag", good_message() + b"\x80"),
    case("cut in a length", good_message() + b"\x2a\x80"),
    case("cut in a field", good_message()[:-1]),
    case("groups open", MODEL + b"\x7b" * 100_000),
    case("groups 50,000 deep", MODEL + b"\x7b" * 50_000 + b"\x7c" * 50_000),
    case("a group's end alone", MODEL + b"\x7c"),
    case("an unknown field", good_message() + field(99, b"anything"), OK),
    case("an unknown field of a megabyte", good_message() + field(99, bytes(1 << 20)), OK),
    case("text", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    case("random bytes", random.Random(SEED).randbytes(4096)),
]


def assert_answered(target, body: bytes, status: int, rounds: int = ROUNDS, memory_mib: int = 40, **headers: str):
    """Sends the body again and again beside a bystander, and looks at what the server says to it."""
    with target.unharmed(memory_mib), Connection(target.grpc) as connection:
        for _ in range(rounds):
            answer = connection.wait(connection.send_body(INFER, body, **headers))
            assert answer.status == status, (answer.status, answer.message)
            text = unquote(answer.message)
            assert text.isprintable() and len(text) <= ERROR_CHARS_MAX, text
            if status != UNIMPLEMENTED:
                assert answer.reason == REASONS[status], answer


@pytest.mark.parametrize(
    ("message", "status"), [*SHAPES, *CONTENTS, *LENGTHS, *TEXTS, *NAMES, *PARAMETERS, *PROTOBUF]
)
def test_a_message_is_told_what_is_wrong_with_it(target, message, status):
    assert_answered(target, prefixed(message), status)


@pytest.mark.parametrize("version", ["../1", "1\0", "1\n", " 1", "01", "-1", "1.5", "one", "9" * 30, "1" * (1 << 20)])
def test_a_version_that_is_none(target, version):
    """A wrong version is a wrong argument or one that is not there; neither is better for a client to know."""
    message = one([1, 4], model_version=version).SerializeToString()
    with target.unharmed(memory_mib=16), Connection(target.grpc) as connection:
        for _ in range(ROUNDS):
            answer = connection.call(INFER, message)
            assert answer.status in (INVALID, NOT_FOUND) and answer.reason == REASONS[answer.status], answer


# --- how a message is wrapped -----------------------------------------------------------------------------------------


def announced(length: int) -> bytes:
    """A good message behind a prefix of this length."""
    return struct.pack(">BI", 0, length) + good_message()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param(prefixed(good_message(), flag=2), INVALID, id="flag 2"),
        pytest.param(prefixed(good_message(), flag=255), INVALID, id="flag 255"),
        pytest.param(prefixed(good_message(), flag=1), INVALID, id="compressed, not said how"),
        pytest.param(b"", INVALID, id="nothing"),
        pytest.param(b"\0\0\0", INVALID, id="prefix cut"),
        pytest.param(announced(len(good_message()) + 1), INVALID, id="ends before its length"),
        pytest.param(announced(MESSAGE_BYTES_MAX), INVALID, id="announces all that is allowed, ends"),
        pytest.param(announced(len(good_message()) - 1), INVALID, id="goes on after its length"),
        pytest.param(prefixed(good_message()) * 2, INVALID, id="twice"),
        pytest.param(prefixed(good_message()) + b"\0", INVALID, id="a byte behind"),
        pytest.param(announced(MESSAGE_BYTES_MAX + 1), EXHAUSTED, id="announces a byte too many"),
        pytest.param(announced(2**32 - 1), EXHAUSTED, id="announces 4 GiB"),
        pytest.param(prefixed(bytes(2 * MESSAGE_BYTES_MAX)), EXHAUSTED, id="twice too large"),
    ],
)
def test_a_prefix_that_lies(target, body, status):
    assert_answered(target, body, status)


def zipped(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


@pytest.mark.parametrize(
    ("encoding", "data", "status"),
    [
        pytest.param("gzip", zipped(good_message()), OK, id="good gzip"),
        pytest.param("deflate", zlib.compress(good_message()), OK, id="good deflate"),
        pytest.param("gzip", random.Random(SEED).randbytes(64), INVALID, id="random"),
        pytest.param("gzip", b"", INVALID, id="empty"),
        pytest.param("gzip", zipped(good_message())[:-12], INVALID, id="cut"),
        pytest.param("gzip", zipped(good_message())[:-8] + b"checksum", INVALID, id="wrong checksum"),
        pytest.param("gzip", zlib.compress(good_message()), INVALID, id="deflate as gzip"),
        pytest.param("deflate", zipped(good_message()), INVALID, id="gzip as deflate"),
        pytest.param("gzip", zipped(b"\xff" * 100), INVALID, id="no message inside"),
        pytest.param("gzip", zipped(bytes(256 << 20)), EXHAUSTED, id="bomb of 256 MiB"),
        pytest.param("deflate", zlib.compress(bytes(256 << 20)), EXHAUSTED, id="deflate bomb of 256 MiB"),
        pytest.param("gzip", zipped(zipped(bytes(64 << 20))), INVALID, id="bomb in a bomb"),
        pytest.param("br", good_message(), UNIMPLEMENTED, id="br"),
        pytest.param("zstd", good_message(), UNIMPLEMENTED, id="zstd"),
        pytest.param("gzip,gzip", zipped(zipped(good_message())), UNIMPLEMENTED, id="two at once"),
        pytest.param("x" * 4000, good_message(), UNIMPLEMENTED, id="a long name"),
    ],
)
def test_compression(target, encoding, data, status):
    assert_answered(target, prefixed(data, flag=1), status, grpc_encoding=encoding)


def test_gzip_bombs_at_once(target):
    """Each would inflate to 256 MiB; 64 are on their way at the same time."""
    bomb = prefixed(zipped(bytes(256 << 20)), flag=1)
    with target.unharmed(memory_mib=64 + 32), Connection(target.grpc) as connection:
        streams = [connection.send_body(INFER, bomb, grpc_encoding="gzip") for _ in range(64)]
        statuses = {connection.wait(stream).status for stream in streams}
    assert statuses == {EXHAUSTED}


# --- small on the wire, large in memory -------------------------------------------------------------------------------

EMPTY_FIELDS = MESSAGE_BYTES_MAX // 2 - 64


@pytest.mark.parametrize(
    "message, status",
    [
        pytest.param(field(5, b"") * EMPTY_FIELDS, INVALID, id="empty inputs"),
        pytest.param(field(6, b"") * EMPTY_FIELDS, INVALID, id="empty outputs"),
        pytest.param(field(7, b"") * EMPTY_FIELDS, INVALID, id="empty raw contents"),
        pytest.param(field(4, b"") * EMPTY_FIELDS, INVALID, id="empty parameters"),
        pytest.param(b"".join(field(4, field(1, b"%x" % i)) for i in range(400_000)), INVALID, id="different parameters"),
        pytest.param(field(5, field(5, field(8, b"") * EMPTY_FIELDS)), EXHAUSTED, id="empty strings"),
        pytest.param(field(5, field(4, b"") * EMPTY_FIELDS), INVALID, id="empty parameters of an input"),
        pytest.param(field(5, field(3, b"\x01" * (2 * EMPTY_FIELDS))), INVALID, id="dimensions"),
        pytest.param(field(5, field(5, field(3, b"\x01" * (2 * EMPTY_FIELDS)))), EXHAUSTED, id="numbers of one byte"),
    ],
)
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_many_small_parts(target, message, status, encoding):
    """Two bytes on the wire become a structure of hundreds in memory, millions of times over, if nobody counts them."""
    message = MODEL + message
    body = prefixed(zipped(message), flag=1) if encoding == "gzip" else prefixed(message)
    assert_answered(target, body, status, rounds=3, memory_mib=48, grpc_encoding=encoding)


# --- any bytes --------------------------------------------------------------------------------------------------------

SEEDS = [
    message.SerializeToString()
    for message in (
        one([1, 4], id="request"),
        one([2, 2], None, model="identity_fp32", outputs=[{"name": "OUTPUT0"}]),
        typed("int64_contents", [1, -1, INT64_MAX, INT64_MIN], "INT64"),
        strings(struct.pack("<I", 3) + b"abc" + struct.pack("<I", 2) + "é".encode(), 2),
        pair(GOOD_INPUT),
        with_parameter("priority", "uint64_param", 1),
        one([1, 1], b"\x01\x02\x03\x04", "INT32", "versions", model_version="3"),
    )
]


def mutated(chance: random.Random) -> bytes:
    """A good message after one to eight changes."""
    message = bytearray(chance.choice(SEEDS))
    for _ in range(chance.randint(1, 8)):
        at, length = chance.randrange(len(message) + 1), chance.randint(1, 8)
        match chance.randrange(5):
            case 0:
                message[at:at] = chance.randbytes(length)
            case 1:
                del message[at : at + length]
            case 2:
                message[at : at + length] = chance.choice((b"\xff", b"\x80", b"\x00", b"\x7f")) * length
            case 3:
                message[at:at] = chance.choice(SEEDS)[: length * 8]
            case 4 if at < len(message):
                message[at] ^= 1 << chance.randrange(8)
    return bytes(message)


def test_mutated_messages(target):
    chance = random.Random(SEED)
    statuses = set()
    with target.unharmed(memory_mib=16), Connection(target.grpc) as connection:
        for _ in range(800):
            message = mutated(chance)
            answer = connection.call(INFER, message)
            assert answer.status in REASONS, (answer, message.hex())
            statuses.add(answer.status)
    # Some changes do no harm, so what is sent is not all refused at the first byte.
    assert statuses >= {OK, INVALID, NOT_FOUND}


def test_random_messages(target):
    chance = random.Random(SEED)
    with target.unharmed(memory_mib=16), Connection(target.grpc) as connection:
        for _ in range(300):
            message = chance.randbytes(chance.randint(1, 2000))
            answer = connection.call(INFER, message)
            assert answer.status == INVALID, (answer, message.hex())


def test_random_bodies(target):
    """Without a prefix, or with one that may be right by chance."""
    chance = random.Random(SEED)
    with target.unharmed(memory_mib=16), Connection(target.grpc) as connection:
        for _ in range(300):
            body = bytes(chance.randint(0, 5)) + chance.randbytes(chance.randint(0, 200))
            answer = connection.wait(connection.send_body(INFER, body))
            assert answer.status in REASONS, (answer, body.hex())


# --- nothing is left behind -------------------------------------------------------------------------------------------


def test_made_up_names_make_no_series(target):
    before = set(target.series())
    with target.unharmed(memory_mib=16), Connection(target.grpc) as connection:
        for i in range(1000):
            answer = connection.call(INFER, one([1, 4], model=f"model{i}").SerializeToString())
            assert answer.status == NOT_FOUND, answer
    assert set(settled_series(target)) == before


def test_garbage_leaves_nothing_behind(target):
    garbage = [
        prefixed(b"\xff" * 40),
        prefixed(b"\xff" * 40, flag=1),
        prefixed(b"\xff" * 40, flag=7),
        struct.pack(">BI", 0, 100) + b"cut",
        prefixed(one([2**62, 4]).SerializeToString()),
        prefixed(one([1, 4], model="nobody").SerializeToString()),
        prefixed(one([1, 4], bytes(15)).SerializeToString()),
        prefixed(with_parameter("priority", "string_param", "x").SerializeToString()),
    ]
    count, at_once = 20_000, 100
    before = settled_series(target)
    with target.unharmed(memory_mib=16), Wire(target.grpc) as wire:
        for first in range(0, count, at_once):
            streams = [2 * number + 1 for number in range(first, first + at_once)]
            wire.send(b"".join(call_frames(stream, garbage[stream // 2 % len(garbage)]) for stream in streams))
            assert {answer.status for answer in wire.wait_for_all(streams)} == {INVALID, NOT_FOUND}
    after = settled_series(target)
    assert set(after) == set(before)
    assert total(after, "sconce_requests_in_flight") == total(after, "sconce_in_flight_request_bytes") == 0
    assert refused(after) - refused(before) == count


def refused(series: dict) -> float:
    return total(series, "sconce_requests_total") - total(series, "sconce_requests_total", code="OK")


def settled_series(target: Target) -> dict:
    # The page is up to a second old.
    time.sleep(1.1)
    return target.series()
