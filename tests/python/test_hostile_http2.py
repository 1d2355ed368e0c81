"""HTTP/2 that breaks the rules, or keeps them to do harm: floods, bombs, thousands of streams and of connections."""

import itertools
import random
import struct
import time
from collections.abc import Callable, Iterable, Iterator

import hpack
import pytest
from exposition import total
from h2.errors import ErrorCodes
from hostile import OK, Target, good_message
from raw_grpc import prefixed
from wire import (
    ACK, END_HEADERS, END_STREAM, PADDED, Kind, Wire, call_fields, call_frames, call_head, connect, frame,
    header_block, reset, seconds_until_closed, settings, window_update,
)

CONNECTIONS_MAX = 1000
STREAMS_MAX = 1024
IDLE_SECONDS = 1.0
# What a machine that is busy may add to a time-out.
LATE_SECONDS = 1.5
FRAME_BYTES_MAX = 16384
WINDOW_MAX = 2**31 - 1
ROUNDS = 10
SEED = 20261124
CALM = ErrorCodes.ENHANCE_YOUR_CALM
GOOD_BODY = prefixed(good_message())
GOOD_BLOCK = header_block(call_fields())


@pytest.fixture(scope="module")
def target(identity_models):
    flags = ["--limits-connections-max", str(CONNECTIONS_MAX), "--limits-streams-max", str(STREAMS_MAX)]
    with Target([identity_models], *flags, "--limits-handshake-timeout", "1s", "--limits-idle-timeout", "1s") as target:
        yield target


def headers(fields: Iterable[tuple], stream: int = 1, flags: int = END_STREAM) -> bytes:
    """HEADERS of any fields, as many CONTINUATIONs behind as they need."""
    block = header_block(fields)
    parts = [block[at : at + FRAME_BYTES_MAX] for at in range(0, len(block), FRAME_BYTES_MAX)]
    first = frame(Kind.HEADERS, parts[0], stream=stream, flags=flags | (END_HEADERS if len(parts) == 1 else 0))
    last = len(parts) - 1
    return first + b"".join(
        frame(Kind.CONTINUATION, part, stream=stream, flags=END_HEADERS if at == last else 0)
        for at, part in enumerate(parts)
        if at
    )


def numbered(count: int) -> list[tuple]:
    return [(f"x-{number}", "y") for number in range(count)]


def raw_block(block: bytes) -> bytes:
    return frame(Kind.HEADERS, block, stream=1, flags=END_HEADERS | END_STREAM)


def fields_with(*more: tuple, without: str = "") -> list[tuple]:
    """The headers of a good call, but for these."""
    return [pair for pair in call_fields() if pair[0] != without] + list(more)


def fields_of(name: str, value: str) -> list[tuple]:
    """The headers of a good call, one with another value."""
    return [(own, value if own == name else text) for own, text in call_fields()]


def with_length(claimed: int, body: bytes) -> bytes:
    head = headers(fields_with(("content-length", str(claimed))), flags=0)
    return head + frame(Kind.DATA, body, stream=1, flags=END_STREAM)


def priority(stream: int, parent: int) -> bytes:
    return frame(Kind.PRIORITY, struct.pack(">IB", parent, 1), stream=stream)


def chunks(frames: Iterable[bytes], size: int) -> Iterator[bytes]:
    frames = iter(frames)
    while chunk := b"".join(itertools.islice(frames, size)):
        yield chunk


def streams(count: int) -> range:
    return range(1, 2 * count, 2)


# --- rules of the connection ------------------------------------------------------------------------------------------

PROTOCOL, FLOW, SIZE = ErrorCodes.PROTOCOL_ERROR, ErrorCodes.FLOW_CONTROL_ERROR, ErrorCodes.FRAME_SIZE_ERROR
COMPRESSION, CLOSED = ErrorCodes.COMPRESSION_ERROR, ErrorCodes.STREAM_CLOSED


def wrong(name: str, frames: bytes, code: ErrorCodes = PROTOCOL):
    return pytest.param(frames, code, id=name)


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        wrong("DATA on stream 0", frame(Kind.DATA, b"x")),
        wrong("DATA on a stream that is idle", frame(Kind.DATA, b"x", stream=5)),
        wrong("DATA after the end", call_frames(1, GOOD_BODY) + frame(Kind.DATA, b"x", stream=1), CLOSED),
        wrong("DATA with more padding than frame", call_head(1) + frame(Kind.DATA, b"\xffab", stream=1, flags=PADDED)),
        wrong("DATA larger than allowed", call_head(1) + frame(Kind.DATA, bytes(FRAME_BYTES_MAX + 1), stream=1), SIZE),
        wrong("a frame that claims 16 MiB", call_head(1) + frame(Kind.DATA, stream=1, length=2**24 - 1), SIZE),
        wrong("HEADERS on stream 0", frame(Kind.HEADERS, GOOD_BLOCK, flags=END_HEADERS | END_STREAM)),
        wrong("HEADERS on an even stream", call_head(2)),
        wrong("HEADERS of nothing but padding", frame(Kind.HEADERS, b"\xff", stream=1, flags=END_HEADERS | PADDED)),
        wrong("streams that go back", call_frames(3, GOOD_BODY) + call_frames(1, GOOD_BODY)),
        wrong("HEADERS interrupted", frame(Kind.HEADERS, stream=1) + frame(Kind.PING, bytes(8))),
        wrong("CONTINUATION of nothing", frame(Kind.CONTINUATION, stream=1, flags=END_HEADERS)),
        wrong("CONTINUATION of another", frame(Kind.HEADERS, stream=1) + frame(Kind.CONTINUATION, stream=3)),
        wrong("PUSH_PROMISE", frame(Kind.PUSH_PROMISE, b"\0\0\0\2" + GOOD_BLOCK, stream=1, flags=END_HEADERS)),
        wrong("SETTINGS on a stream", frame(Kind.SETTINGS, stream=1)),
        wrong("SETTINGS cut", frame(Kind.SETTINGS, bytes(5)), SIZE),
        wrong("SETTINGS that acknowledge and set", frame(Kind.SETTINGS, bytes(6), flags=ACK), SIZE),
        wrong("SETTINGS of a window too large", settings(initial_window_size=2**31), FLOW),
        wrong("SETTINGS of frames too small", settings(max_frame_size=1)),
        wrong("SETTINGS of frames too large", settings(max_frame_size=2**24)),
        wrong("SETTINGS of push 2", settings(enable_push=2)),
        wrong("PING of 7 bytes", frame(Kind.PING, bytes(7)), SIZE),
        wrong("PING on a stream", frame(Kind.PING, bytes(8), stream=1)),
        wrong("GOAWAY on a stream", frame(Kind.GOAWAY, bytes(8), stream=1)),
        wrong("GOAWAY cut", frame(Kind.GOAWAY, bytes(4)), SIZE),
        wrong("WINDOW_UPDATE of nothing", window_update(0, 0)),
        wrong("WINDOW_UPDATE of 3 bytes", frame(Kind.WINDOW_UPDATE, bytes(3)), SIZE),
        wrong("WINDOW_UPDATE on a stream that is idle", window_update(7, 1)),
        wrong("WINDOW_UPDATE past the largest", window_update(0, WINDOW_MAX), FLOW),
        wrong("RST_STREAM on stream 0", reset(0)),
        wrong("RST_STREAM on a stream that is idle", reset(9)),
        wrong("RST_STREAM of 3 bytes", call_head(1) + frame(Kind.RST_STREAM, bytes(3), stream=1), SIZE),
        wrong("PRIORITY of 4 bytes", frame(Kind.PRIORITY, bytes(4), stream=1), SIZE),
        wrong("HPACK: index 0", raw_block(b"\x80"), COMPRESSION),
        wrong("HPACK: index past the table", raw_block(b"\xff\x80\x01"), COMPRESSION),
        wrong("HPACK: a table past its limit", raw_block(b"\x3f\xff\xff\x7f"), COMPRESSION),
        wrong("HPACK: a number that overflows", raw_block(b"\xff" * 13), COMPRESSION),
        wrong("HPACK: a text cut", raw_block(b"\x40\x0aab"), COMPRESSION),
        wrong("HPACK: Huffman's end of text", raw_block(b"\x40\x84\xff\xff\xff\xff\x01a"), COMPRESSION),
        wrong("a name in capitals", headers(fields_with(("X-Up", "1")))),
        wrong("a name that is empty", headers(fields_with(("", "1")))),
        wrong("a name with NUL", headers(fields_with(("x\0y", "1")))),
        wrong("a value with a line break", headers(fields_with(("x", "a\r\nb: c")))),
        wrong("a pseudo-header that is none", headers([(":nothing", "1"), *call_fields()])),
        wrong("a method that is none", headers(fields_of(":method", "B@D METHOD"))),
    ],
)
def test_a_broken_rule_ends_the_connection(target, frames, code):
    """By GOAWAY, under the standard's code for it or the general one, which is all that some libraries name."""
    with target.unharmed(memory_mib=16):
        for _ in range(ROUNDS):
            with Wire(target.grpc) as wire:
                wire.send(frames)
                assert wire.ending() in (code, PROTOCOL)


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param(headers(fields_with(without=":path")), id="no path"),
        pytest.param(headers(fields_of(":path", "")), id="an empty path"),
        pytest.param(headers(fields_of(":path", "/a\0b")), id="a path with NUL"),
        pytest.param(headers(fields_with(without=":method")), id="no method"),
        pytest.param(headers(fields_with(without=":scheme")), id="no scheme"),
        pytest.param(headers(fields_with((":path", "/"))), id="a pseudo-header behind"),
        pytest.param(headers([(":path", "/"), *call_fields()]), id="two paths"),
        pytest.param(headers([(":status", "200"), *call_fields()]), id="a status"),
        pytest.param(headers(fields_of(":method", "CONNECT")), id="CONNECT with a path"),
        pytest.param(headers(fields_with(("connection", "close"))), id="a header of HTTP/1"),
        pytest.param(headers(fields_of("te", "gzip")), id="another te"),
        pytest.param(headers(fields_with(("content-length", "-1"))), id="a negative length"),
        pytest.param(with_length(9, b"8 bytes."), id="a length longer than it is"),
        pytest.param(with_length(7, b"8 bytes."), id="a length shorter than it is"),
        pytest.param(call_head(1) + headers([("x", "y")], flags=0), id="trailers that do not end"),
        pytest.param(call_head(1) + window_update(1, WINDOW_MAX), id="a window past the largest"),
        pytest.param(priority(1, 1), id="a stream that depends on itself"),
    ],
)
def test_a_malformed_request_ends_its_stream_alone(target, frames):
    with target.unharmed(memory_mib=16):
        for _ in range(ROUNDS):
            with Wire(target.grpc) as wire:
                wire.send(frames)
                assert wire.wait(1).reset in (PROTOCOL, FLOW)
                assert wire.call(3, GOOD_BODY).status == OK


# --- floods -----------------------------------------------------------------------------------------------------------

FLOOD = 10_000


def of_each_stream(frames: Callable[[int], bytes]) -> Iterator[bytes]:
    return (frames(stream) for stream in streams(FLOOD))


def endless_headers(part: bytes) -> Iterator[bytes]:
    yield frame(Kind.HEADERS, GOOD_BLOCK, stream=1)
    yield from itertools.repeat(frame(Kind.CONTINUATION, part, stream=1), FLOOD)


def endless_data(part: bytes, flags: int = 0) -> Iterator[bytes]:
    yield call_head(1)
    yield from itertools.repeat(frame(Kind.DATA, part, stream=1, flags=flags), FLOOD)


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param(lambda: of_each_stream(lambda stream: call_head(stream) + reset(stream)), id="rapid resets"),
        pytest.param(
            lambda: of_each_stream(lambda stream: call_frames(stream, GOOD_BODY) + reset(stream)),
            id="rapid resets of whole calls",
        ),
        pytest.param(
            lambda: of_each_stream(lambda stream: call_head(stream) + window_update(stream, WINDOW_MAX)),
            id="resets by the server",
        ),
        pytest.param(lambda: endless_headers(b""), id="empty CONTINUATIONs"),
        pytest.param(lambda: endless_headers(header_block([("x", "y")])), id="small CONTINUATIONs"),
        pytest.param(lambda: endless_headers(header_block([("x", "y" * 16_000)])), id="large CONTINUATIONs"),
        pytest.param(lambda: endless_data(b""), id="empty DATA"),
        pytest.param(lambda: endless_data(b"\xfe" + bytes(254), PADDED), id="DATA of nothing but padding"),
        pytest.param(lambda: [headers(fields_with(("x", "y" * 1_000_000)))], id="a header of a megabyte"),
        pytest.param(lambda: [headers(fields_with(*numbered(20_000)))], id="20,000 headers"),
    ],
)
def test_a_flood_is_cut_off(target, parts):
    """CVE-2023-44487, CVE-2025-8671, CVE-2024-27316, CVE-2019-9518 and their kin, on several connections."""
    with target.unharmed(memory_mib=40):
        for _ in range(3):
            with Wire(target.grpc) as wire:
                # So many at once that they are there before the first of them is looked at.
                wire.flood(chunks(parts(), 500))
                assert wire.ending() == CALM


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param(frame(Kind.PING, bytes(8)), id="PING"),
        pytest.param(settings(initial_window_size=65_535), id="SETTINGS"),
        pytest.param(settings(header_table_size=0) + settings(header_table_size=4096), id="SETTINGS of the table"),
        pytest.param(window_update(0, 1), id="WINDOW_UPDATE of a byte"),
        pytest.param(priority(1, 3) + priority(3, 5), id="PRIORITY back and forth"),
        pytest.param(frame(0x77), id="frames of an unknown type"),
        pytest.param(frame(Kind.SETTINGS, b"\xff\xff" + bytes(4)), id="unknown SETTINGS"),
    ],
)
def test_what_is_allowed_in_masses_is_borne(target, frames):
    """CVE-2019-9512, 9513, 9515: every frame is read, none is kept, and the same connection serves on."""
    with target.unharmed(memory_mib=16), Wire(target.grpc) as wire:
        wire.flood(itertools.repeat(frames * 250, 100))
        wire.frames.clear()
        assert wire.call(1, GOOD_BODY).status == OK


@pytest.mark.parametrize(
    "frames", [frame(Kind.PING, bytes(8)), settings(initial_window_size=65_535)], ids=["PING", "SETTINGS"]
)
def test_answers_that_nobody_reads_are_not_kept(target, frames):
    """The server stops reading from a client that does not read; what it owes does not pile up."""
    with target.unharmed(memory_mib=16), Wire(target.grpc, seconds_max=1) as wire:
        wire.flood(itertools.repeat(frames * 1000, 600), reads=False)


def test_headers_beyond_the_limit_are_refused_one_by_one(target):
    """431 by HTTP's own words, since there is no gRPC call yet; the connection serves on."""
    large = [fields_with(("x", "y" * 40_000)), fields_with(*numbered(1000))]
    with target.unharmed(memory_mib=24), Wire(target.grpc) as wire:
        for stream in streams(200):
            wire.send(headers(large[stream // 2 % 2], stream))
            assert wire.wait(stream).headers[":status"] == "431"
        assert wire.call(1001, GOOD_BODY).status == OK


def test_an_hpack_bomb(target):
    """A byte on the wire for four kilobytes of header: 200 blocks of 60 MB each."""
    encoder = hpack.Encoder()
    entry = encoder.encode([*((name, value, True) for name, value in call_fields()), ("x", "y" * 3900)])
    last_entry = b"\xbe"
    bomb = GOOD_BLOCK + last_entry * 15_000
    with target.unharmed(memory_mib=24):
        for _ in range(3):
            with Wire(target.grpc) as wire:
                wire.send(frame(Kind.HEADERS, entry, stream=1, flags=END_HEADERS | END_STREAM))
                wire.flood(
                    frame(Kind.HEADERS, bomb, stream=stream, flags=END_HEADERS | END_STREAM)
                    for stream in streams(200)[1:]
                )
                assert wire.ending() == CALM


def test_ten_thousand_streams_on_one_connection(target):
    """As many as the server has said are taken; more are refused, and a client that does not listen is cut off."""
    with target.unharmed(memory_mib=32), Wire(target.grpc) as wire:
        wire.flood(chunks((call_head(stream) for stream in streams(10_000)), 100))
        assert wire.ending() == CALM
        refused = {stream for stream, answer in wire.answers.items() if answer.reset == ErrorCodes.REFUSED_STREAM}
        assert len(refused) >= STREAMS_MAX / 2
        assert min(refused) == streams(10_000)[STREAMS_MAX]
        assert not set(wire.answers) - refused


def test_a_client_that_keeps_to_the_limit_of_streams_is_served(target):
    with target.unharmed(memory_mib=32), Wire(target.grpc) as wire:
        opened = streams(STREAMS_MAX)
        wire.flood(chunks((call_head(stream) for stream in opened), 100))
        wire.ping()
        wire.flood(chunks((frame(Kind.DATA, GOOD_BODY, stream=stream, flags=END_STREAM) for stream in opened), 100))
        assert {answer.status for answer in wire.wait_for_all(opened)} == {OK}


# --- random bytes -----------------------------------------------------------------------------------------------------


def random_frame(chance: random.Random) -> bytes:
    payload = chance.randbytes(chance.choice((0, 1, 4, 5, 6, 8, 9, chance.randint(0, 300))))
    stream = chance.choice((0, 1, 2, 3, 5, 2**31 - 1))
    return frame(chance.randint(0, 11), payload, stream=stream, flags=chance.choice((0, chance.randint(0, 255))))


def test_random_frames(target):
    """The connection serves on or ends in an error of the client's; the server's own (INTERNAL_ERROR) it never is."""
    chance = random.Random(SEED)
    endings = set()
    with target.unharmed(memory_mib=16):
        for _ in range(400):
            with Wire(target.grpc, seconds_max=3) as wire:
                wire.send(b"".join(random_frame(chance) for _ in range(chance.randint(1, 6))))
                endings.add(outcome(wire))
    assert endings >= {"open", PROTOCOL}
    assert ErrorCodes.INTERNAL_ERROR not in endings


def outcome(wire: Wire):
    try:
        wire.ping()
    except ConnectionError:
        return wire.goaway
    return "open"


def test_random_bytes_as_frames(target):
    chance = random.Random(SEED)
    with target.unharmed(memory_mib=16):
        for _ in range(200):
            with Wire(target.grpc, seconds_max=3) as wire:
                wire.send(chance.randbytes(chance.randint(9, 2000)))
                # What looks like the beginning of a long frame would be waited for.
                wire.hang_up()
                assert wire.ending() != ErrorCodes.INTERNAL_ERROR


# --- connections ------------------------------------------------------------------------------------------------------


def test_thousands_of_silent_connections(target):
    """Held up to the limit, until the handshake's time is over; those beyond it are closed at once."""
    before = target.series()
    with target.unharmed(memory_mib=48):
        connections = [connect(target.grpc) for _ in range(3000)]
        for connection in connections:
            seconds_until_closed(connection)
            connection.close()
    # The page is up to a second old.
    time.sleep(1.1)
    after = target.series()
    refused = connections_by(after, "refused") - connections_by(before, "refused")
    silent = connections_by(after, "no_preface") - connections_by(before, "no_preface")
    assert refused + silent == len(connections)
    assert refused > 0
    assert total(after, "sconce_connections") == 0


def connections_by(series: dict, result: str) -> float:
    return total(series, "sconce_connections_total", result=result)


@pytest.mark.parametrize(
    ("words", "count"),
    [
        pytest.param(b"", CONNECTIONS_MAX * 9 // 10, id="nothing"),
        pytest.param(b"\0\0\x10\0", 200, id="a frame's head, cut"),
        pytest.param(frame(Kind.DATA, b"ab", stream=1, length=100), 200, id="a frame, cut"),
        pytest.param(frame(Kind.HEADERS, GOOD_BLOCK, stream=1), 200, id="headers without end"),
    ],
)
def test_connections_that_stop_before_a_call_are_told_to_go(target, words, count):
    """Without a call a connection is idle, whatever it has begun. One that ignores GOAWAY falls to the keepalive."""
    with target.unharmed(memory_mib=48):
        wires = []
        for _ in range(count):
            wires.append(Wire(target.grpc))
            wires[-1].send(words)
        began = time.monotonic()
        for wire in wires:
            assert wire.told_to_go() == ErrorCodes.NO_ERROR
        assert time.monotonic() - began < IDLE_SECONDS + LATE_SECONDS
        for wire in wires:
            wire.socket.close()
