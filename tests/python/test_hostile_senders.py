"""Clients that are slow, stop half-way, hang up, speak something else, or change their minds in masses."""

import gzip
import random
import select
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterator

import pytest
from exposition import total
from hostile import DEADLINE, EXHAUSTED, INVALID, OK, Target, good_message
from raw_grpc import INFER, Answer, Connection, prefixed
from repositories import write_identity
from triton_calls import raw_request
from wire import (
    END_STREAM, PREFACE, Kind, Wire, call_frames, call_head, connect, frame, reset, seconds_until_closed, settings,
    window_update,
)

HANDSHAKE_SECONDS = 1.0
RECEIVE_SECONDS = 1.0
SEND_SECONDS = 1.0
# What a machine that is busy may add to a time-out.
LATE_SECONDS = 1.5
AT_ONCE_SECONDS = 0.5
BATCH_SECONDS = 0.02
MESSAGE_BYTES_MAX = 4 << 20
SEED = 20261124
GOOD_BODY = prefixed(good_message())
# Reasons that a server without room may give.
NO_ROOM = {"in_flight", "client_share", "model_share", "concurrency", "queue_full", "predicted_wait"}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """`identity_fp32`, and `slow`, whose batches of at most 8 rows take 20 ms each."""
    repository = tmp_path_factory.mktemp("senders")
    write_identity(repository, "identity_fp32", [("FP32", [-1])])
    write_identity(repository, "slow", [("FP32", [-1])], batch_time="20ms", settings="max_batch_size = 8\n")
    return repository


@pytest.fixture(scope="module")
def target(models):
    flags = ["--limits-message-bytes-max", f"{MESSAGE_BYTES_MAX}B", "--limits-in-flight-bytes-max", "64MiB"]
    times = ["--limits-handshake-timeout", "1s", "--limits-receive-timeout", "1s", "--limits-send-timeout", "1s"]
    with Target([models], *flags, *times) as target:
        yield target


def slow_body() -> bytes:
    return prefixed(good_message("slow"))


def assert_nothing_in_flight(target: Target) -> None:
    """The gauges come down to nothing; the page that shows them is up to a second old."""
    end = time.monotonic() + 5
    while True:
        series = target.series()
        held = total(series, "sconce_requests_in_flight") + total(series, "sconce_in_flight_request_bytes")
        if held == 0:
            return
        assert time.monotonic() < end, f"{held} requests and bytes are still in flight"
        time.sleep(0.1)


# --- what does not speak HTTP/2 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", id="HTTP/1 GET"),
        pytest.param(b"POST /v2/models/m/infer HTTP/1.1\r\nContent-Length: 1000000000\r\n\r\n", id="HTTP/1 POST"),
        pytest.param(b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", id="an upgrade from HTTP/1"),
        pytest.param(b"PRI * HTTP/1.1\r\n\r\n", id="nearly the preface"),
        pytest.param(bytes.fromhex("16030100c4010000c00303") + bytes(190), id="TLS"),
        pytest.param(b"SSH-2.0-OpenSSH_9.9\r\n", id="SSH"),
        pytest.param(b"\0", id="NUL"),
        pytest.param(random.Random(SEED).randbytes(100_000), id="random bytes"),
    ],
)
def test_another_protocol_is_closed_at_once(target, words):
    with target.unharmed(memory_mib=16):
        for _ in range(20):
            with connect(target.grpc) as connection:
                connection.sendall(words)
                assert seconds_until_closed(connection) < AT_ONCE_SECONDS


@pytest.mark.parametrize(
    "words", [b"GET / HTTP/1.1\r\n\r\n" * 3, bytes(64), b"\xff" * 64], ids=["HTTP/1", "zeros", "ones"]
)
def test_garbage_behind_the_preface_is_closed_at_once(target, words):
    with target.unharmed(memory_mib=16):
        for _ in range(20):
            with connect(target.grpc) as connection:
                connection.sendall(PREFACE + words)
                assert seconds_until_closed(connection) < AT_ONCE_SECONDS


@pytest.mark.parametrize("words", [b"", PREFACE[:1], PREFACE[:-1]], ids=["nothing", "a letter", "all but a letter"])
@pytest.mark.parametrize("hangs_up", [False, True], ids=["open", "half-closed"])
def test_a_preface_that_does_not_come_is_not_waited_for(target, words, hangs_up):
    with target.unharmed(memory_mib=24):
        connections = [connect(target.grpc) for _ in range(100)]
        for connection in connections:
            connection.sendall(words)
            if hangs_up:
                connection.shutdown(socket.SHUT_WR)
        seconds = max(seconds_until_closed(connection) for connection in connections)
        assert seconds < HANDSHAKE_SECONDS + LATE_SECONDS
        for connection in connections:
            connection.close()


def test_a_preface_letter_by_letter_has_no_more_time(target):
    with target.unharmed(memory_mib=16), connect(target.grpc) as connection:
        began = time.monotonic()
        for at in range(len(PREFACE)):
            connection.sendall(PREFACE[at : at + 1])
            if select.select([connection], [], [], 0.2)[0]:
                break
        seconds_until_closed(connection)
        assert time.monotonic() - began < HANDSHAKE_SECONDS + LATE_SECONDS


# --- messages that do not come, or come slowly ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "part",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(GOOD_BODY[:3], id="part of the prefix"),
        pytest.param(GOOD_BODY[:5], id="the prefix"),
        pytest.param(GOOD_BODY[:-1], id="all but a byte"),
    ],
)
def test_a_message_that_stops_half_way(target, part):
    """Each of a hundred calls is told that its time is up, and the connection serves on."""
    stalled = range(1, 201, 2)
    with target.unharmed(memory_mib=16), Wire(target.grpc) as wire:
        began = time.monotonic()
        wire.send(b"".join(call_head(stream) + frame(Kind.DATA, part, stream=stream) for stream in stalled))
        answers = wire.wait_for_all(stalled)
        took = time.monotonic() - began
        assert {(answer.status, answer.reason) for answer in answers} == {(DEADLINE, "deadline")}
        assert RECEIVE_SECONDS * 0.9 < took < RECEIVE_SECONDS + LATE_SECONDS
        assert wire.call(stalled[-1] + 2, GOOD_BODY).status == OK
    assert_nothing_in_flight(target)


def test_messages_announced_and_not_sent(target):
    """200 calls that announce 4 MiB each: neither memory nor a share of the limits that others need."""
    announced = range(1, 401, 2)
    part = struct.pack(">BI", 0, MESSAGE_BYTES_MAX) + bytes(1024)
    with target.unharmed(memory_mib=32), Wire(target.grpc) as wire:
        wire.send(b"".join(call_head(stream) + frame(Kind.DATA, part, stream=stream) for stream in announced))
        answers = wire.wait_for_all(announced)
        assert {answer.status for answer in answers} <= {DEADLINE, EXHAUSTED}
        assert any(answer.status == DEADLINE for answer in answers)
    assert_nothing_in_flight(target)


def test_a_slow_sender_is_served(target):
    """A piece now and then: slower altogether than the time-out, which counts from one byte to the next."""
    pieces = 10
    with target.unharmed(memory_mib=16), Wire(target.grpc) as wire:
        wire.send(call_head(1))
        size = -(-len(GOOD_BODY) // pieces)
        for at in range(0, len(GOOD_BODY), size):
            time.sleep(RECEIVE_SECONDS * 2 / pieces)
            wire.send(frame(Kind.DATA, GOOD_BODY[at : at + size], stream=1))
        wire.send(frame(Kind.DATA, stream=1, flags=END_STREAM))
        assert wire.wait(1).status == OK


def test_a_whole_call_before_a_half_closed_socket(target):
    """Answered, or given up with the connection: at once either way, and whole or not at all."""
    with target.unharmed(memory_mib=16):
        for _ in range(20):
            with Wire(target.grpc, seconds_max=AT_ONCE_SECONDS) as wire:
                wire.send(call_frames(1, GOOD_BODY))
                wire.hang_up()
                wire.ending()
                assert wire.answers.get(1, Answer()).status in (None, OK)
    assert_nothing_in_flight(target)


def test_half_a_message_before_a_half_closed_socket(target):
    """What will never be whole is given up, and the connection closed."""
    with target.unharmed(memory_mib=16):
        for _ in range(20):
            with Wire(target.grpc) as wire:
                wire.send(call_head(1) + frame(Kind.DATA, GOOD_BODY[:-1], stream=1))
                wire.hang_up()
                wire.ending()
                assert wire.answers.get(1, Answer()).status in (None, INVALID)
    assert_nothing_in_flight(target)


# --- answers that are not read ----------------------------------------------------------------------------------------


def swelling_body() -> bytes:
    """Four kilobytes on the wire whose answer is nearly 4 MiB."""
    elements = MESSAGE_BYTES_MAX // 4 - 64
    message = raw_request("identity_fp32", ("INPUT0", "FP32", [1, elements], bytes(4 * elements)))
    return prefixed(gzip.compress(message.SerializeToString()), flag=1)


def stalled_answers(target: Target) -> float:
    time.sleep(1.1)
    return total(target.series(), "sconce_stalled_answers_total")


def test_an_answer_without_a_window_is_reset(target):
    """A client that opens no window (CVE-2019-9517's kin) loses its stream, not its connection."""
    calls = range(1, 101, 2)
    before = stalled_answers(target)
    with target.unharmed(memory_mib=16), Wire(target.grpc, first=settings(initial_window_size=0)) as wire:
        began = time.monotonic()
        wire.send(b"".join(call_frames(stream, GOOD_BODY) for stream in calls))
        answers = wire.wait_for_all(calls)
        took = time.monotonic() - began
        assert all(answer.reset is not None for answer in answers)
        assert SEND_SECONDS * 0.9 < took < SEND_SECONDS + LATE_SECONDS
        wire.send(settings(initial_window_size=65_535))
        assert wire.call(calls[-1] + 2, GOOD_BODY).status == OK
    assert stalled_answers(target) - before == len(calls)
    assert_nothing_in_flight(target)


@pytest.mark.parametrize("window", [0, 2**31 - 1], ids=["no window", "a socket that is not read"])
def test_large_answers_that_nobody_reads(target, window):
    """100 requests of a few kilobytes, answers of 400 MB: held within the limit of bytes in flight, then given up."""
    body = swelling_body()
    with target.unharmed(memory_mib=64 + 48), Wire(target.grpc, first=settings(initial_window_size=window)) as wire:
        calls = (call_frames(stream, body, grpc_encoding="gzip") for stream in range(1, 201, 2))
        # Inflating one takes some milliseconds, which is not what this is about.
        wire.flood(calls, pause=0.02, reads=False)
        time.sleep(SEND_SECONDS + LATE_SECONDS)
        assert_nothing_in_flight(target)


def test_a_slow_reader_is_served(target):
    """A byte of window now and then is progress; the answer comes, however slowly."""
    with target.unharmed(memory_mib=16), Wire(target.grpc, first=settings(initial_window_size=1)) as wire:
        wire.send(call_frames(1, GOOD_BODY))
        for _ in range(8):
            time.sleep(SEND_SECONDS / 4)
            wire.send(window_update(1, 1))
        wire.send(window_update(1, 65_535))
        assert wire.wait(1).status == OK


# --- storms -----------------------------------------------------------------------------------------------------------


def assert_slow_model_serves(target: Target) -> None:
    """Nothing of the storm still waits before the next request."""
    with Connection(target.grpc) as connection:
        answer = connection.call(INFER, good_message("slow"))
    assert answer.status == OK, answer
    assert answer.seconds < 10 * BATCH_SECONDS


def groups(calls: int, size: int) -> Iterator[range]:
    for first in range(0, calls, size):
        yield range(2 * first + 1, 2 * (first + size) + 1, 2)


def ended(target: Target) -> Counter:
    """Requests so far, by code."""
    time.sleep(1.1)
    counts = Counter()
    for (name, labels), value in target.series().items():
        if name == "sconce_requests_total":
            counts[dict(labels)["code"]] += value
    return counts


def test_a_storm_of_cancellations(target):
    """1,500 requests, each cancelled while it waits or runs: counted, and no hindrance to what comes after."""
    calls, body = 1500, slow_body()
    before = ended(target)
    with target.unharmed(memory_mib=24), Wire(target.grpc) as wire:
        # Even two groups are fewer than the resets for which HTTP/2's own guard against rapid resets would close the connection: a
        # busy server may not have come to the last one yet.
        for group in groups(calls, 9):
            wire.send(b"".join(call_frames(stream, body) for stream in group))
            wire.ping()
            wire.send(b"".join(reset(stream) for stream in group))
        wire.ping()
        assert_slow_model_serves(target)
    counted = ended(target) - before
    assert set(counted) <= {"OK", "CANCELLED", "RESOURCE_EXHAUSTED"}
    assert counted["CANCELLED"] >= calls / 2
    assert_nothing_in_flight(target)


@pytest.mark.parametrize("model", ["slow", "identity_fp32"])
def test_a_storm_of_deadlines(target, model):
    """1 to 5 ms for what takes 20, or next to nothing: answered in time, or told that time is up; never CANCELLED."""
    body = prefixed(good_message(model))
    seen = Counter()
    with target.unharmed(memory_mib=24), Wire(target.grpc) as wire:
        for group in groups(1500, 50):
            wire.send(b"".join(call_frames(stream, body, grpc_timeout=f"{1 + stream // 2 % 5}m") for stream in group))
            seen.update((answer.status, answer.reason) for answer in wire.wait_for_all(group))
        assert_slow_model_serves(target)
    allowed = {(DEADLINE, "deadline"), *((EXHAUSTED, reason) for reason in NO_ROOM)}
    if model == "slow":
        assert set(seen) <= allowed and (DEADLINE, "deadline") in seen, seen
    else:
        assert set(seen) <= allowed | {(OK, None)} and (OK, None) in seen, seen
    assert_nothing_in_flight(target)


def test_a_storm_of_clients_that_vanish(target):
    """Sockets reset in the middle of waiting calls and of messages."""
    at_once = struct.pack("ii", 1, 0)
    whole = call_frames(1, slow_body())
    half = call_head(1) + frame(Kind.DATA, GOOD_BODY[:20], stream=1)
    with target.unharmed(memory_mib=24):
        for number in range(300):
            with connect(target.grpc) as connection:
                connection.sendall(PREFACE + settings() + (whole if number % 2 else half))
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
        assert_slow_model_serves(target)
    assert_nothing_in_flight(target)
