"""The life of a connection: how many there may be, how each begins, what it is promised, and how it is told to go."""

import signal
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from exposition import read_total
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from raw_grpc import INFER, Connection
from repositories import write_identity
from sconce_server import SconceServer
from triton_calls import identity_request
from tritonclient.grpc import service_pb2_grpc
from waiting import wait_for

OK = 0
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# A busy machine is late; a test of "at once" allows for that.
AT_ONCE = 0.3
SLOW_SECONDS = 0.5
# One batch, so that the slow model is soon ready.
SLOW_SETTINGS = 'max_batch_size = 1\n[warmup]\ntime_max = "0s"\n'


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """`quick`, and `slow`, whose batches take half a second."""
    repository = tmp_path_factory.mktemp("connections")
    write_identity(repository, "quick", [("FP32", [-1])])
    write_identity(repository, "slow", [("FP32", [-1])], settings=SLOW_SETTINGS, batch_time=f"{SLOW_SECONDS}s")
    return repository


QUICK, SLOW = identity_request("quick").SerializeToString(), identity_request("slow").SerializeToString()


def connect(address: str) -> socket.socket:
    """A connection on which nothing has been said."""
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=10)


def wait_until_closed(connection: socket.socket) -> float:
    """Waits until the server closes a connection, whatever it says before; how long that took."""
    began = time.monotonic()
    try:
        while connection.recv(1 << 16):
            pass
    except ConnectionError:
        pass
    return time.monotonic() - began


def wait_for_goodbye(connection: Connection) -> float:
    """Waits until the server has told a connection to go; how long that took."""
    began = time.monotonic()
    connection.read_until(lambda: connection.goaway is not None)
    assert connection.goaway == ErrorCodes.NO_ERROR
    return time.monotonic() - began


def assert_ends(connection: Connection) -> None:
    """The server closes the connection, having said all that it had to say."""
    with pytest.raises(ConnectionError):
        connection.read_until(lambda: False)


def assert_serves(address: str) -> None:
    with Connection(address) as connection:
        assert connection.call(INFER, QUICK).status == OK


def count_connections(server, result: str) -> float:
    return read_total(server.metrics, "sconce_connections_total", result=result)


# How many there may be.


def test_connections_beyond_the_limit_are_closed_at_once(models):
    with SconceServer(models, "--limits-connections-max", "3") as server:
        held = [Connection(server.grpc) for _ in range(3)]
        assert all(connection.call(INFER, QUICK).status == OK for connection in held)
        with connect(server.grpc) as beyond:
            assert wait_until_closed(beyond) < AT_ONCE
        # Those that are there are none the worse, and when one goes another may come.
        assert all(connection.call(INFER, QUICK).status == OK for connection in held)
        wait_for(lambda: read_total(server.metrics, "sconce_connections") == 3)
        held.pop().socket.close()
        wait_for(lambda: read_total(server.metrics, "sconce_connections") == 2)
        assert_serves(server.grpc)
        wait_for(lambda: count_connections(server, "refused") == 1 and count_connections(server, "accepted") == 4)
        for connection in held:
            connection.socket.close()


# How each begins.


@pytest.fixture(scope="module")
def impatient(models):
    """A server that waits half a second for a connection's first words."""
    with SconceServer(models, "--limits-handshake-timeout", "500ms") as server:
        yield server


@pytest.mark.parametrize("words", [b"", PREFACE[:1], PREFACE[:-1]], ids=["silence", "one_byte", "all_but_one_byte"])
def test_a_connection_that_does_not_begin_is_closed_in_time(impatient, words):
    before = count_connections(impatient, "no_preface")
    with connect(impatient.grpc) as connection:
        connection.sendall(words)
        assert 0.4 < wait_until_closed(connection) < 1.0
    wait_for(lambda: count_connections(impatient, "no_preface") > before)
    assert_serves(impatient.grpc)


def test_dribbling_the_first_words_gains_no_time(impatient):
    with connect(impatient.grpc) as connection:
        connection.settimeout(0.1)
        began = time.monotonic()
        for byte in PREFACE:
            # A byte each 0.1 s: the whole would take 2.4 s.
            try:
                connection.sendall(bytes([byte]))
                if not connection.recv(1):
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break
        assert 0.4 < time.monotonic() - began < 1.0


@pytest.mark.parametrize(
    "words",
    [b"GET / HTTP/1.1\r\nHost: sconce\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"PRI * HTTP/2.0\r\n\r\nXX"],
    ids=["http1", "tls", "wrong_preface"],
)
def test_words_of_another_protocol_are_not_waited_on(impatient, words):
    with connect(impatient.grpc) as connection:
        connection.sendall(words)
        assert wait_until_closed(connection) < AT_ONCE
    assert_serves(impatient.grpc)


def test_first_words_in_two_parts_are_heard(impatient):
    with connect(impatient.grpc) as connection:
        connection.sendall(PREFACE[:10])
        time.sleep(0.1)
        connection.sendall(PREFACE[10:] + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
        # A SETTINGS frame comes back.
        assert connection.recv(9)[3] == 4


# What it is promised.


def test_limits_are_advertised(models):
    with SconceServer(models, "--limits-streams-max", "7") as server, Connection(server.grpc) as connection:
        assert connection.call(INFER, QUICK).status == OK
        promised = connection.http.remote_settings
        assert promised[SettingCodes.MAX_CONCURRENT_STREAMS] == 7
        assert promised[SettingCodes.MAX_HEADER_LIST_SIZE] == 16 << 10
        assert promised[SettingCodes.INITIAL_WINDOW_SIZE] == 1 << 20
        # The connection's window is not a setting: it grows by WINDOW_UPDATE, less what the call has used of it.
        assert (4 << 20) - 1024 < connection.http.outbound_flow_control_window <= 4 << 20


def test_streams_beyond_the_limit_are_refused(models):
    with SconceServer(models, "--limits-streams-max", "7") as server, Connection(server.grpc) as connection:
        # Sent before the server's settings are read, which would keep a client from sending them.
        streams = [connection.begin(INFER) for _ in range(10)]
        for stream in streams:
            connection.write(stream, b"")
        connection.read_until(lambda: len(connection.ended) == 3)
        assert connection.ended == set(streams[7:])
        assert all(connection.answers[stream].reset == ErrorCodes.REFUSED_STREAM for stream in streams[7:])
        # Room that is given back is there again.
        connection.cancel(streams[0])
        assert connection.call(INFER, QUICK).status == OK


def test_pings_are_tolerated(models):
    """Ten a second, without a call between, are more than a gRPC client is supposed to send."""
    with SconceServer(models) as server, Connection(server.grpc) as connection:
        for _ in range(20):
            connection.ping()
            time.sleep(0.1)
        assert connection.call(INFER, QUICK).status == OK
        assert connection.goaway is None


# How it is told to go.


@pytest.fixture(scope="module")
def dozing(models):
    """A server that tells a connection to go after a second without a call."""
    with SconceServer(models, "--limits-idle-timeout", "1s") as server:
        yield server


def test_an_idle_connection_is_told_to_go(dozing):
    with Connection(dozing.grpc) as silent, Connection(dozing.grpc) as connection:
        time.sleep(0.5)
        assert connection.call(INFER, QUICK).status == OK
        # Counted from the end of the last call, not from the beginning of the connection.
        assert 0.9 < wait_for_goodbye(connection) < 1.5
        assert_ends(connection)
        assert wait_for_goodbye(silent) < AT_ONCE
        assert_ends(silent)


def test_a_connection_with_a_call_is_not_idle(dozing):
    with Connection(dozing.grpc) as connection:
        waiting = [connection.send(INFER, SLOW) for _ in range(3)]
        for stream in waiting:
            assert connection.wait(stream).status == OK
            assert connection.goaway is None
        assert wait_for_goodbye(connection) > 0.9


def test_a_client_that_pauses_longer_loses_no_call(dozing):
    with grpc.insecure_channel(dozing.grpc) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        for pause in (0.95, 1.0, 1.05):
            stub.ModelInfer(identity_request("quick"), timeout=5)
            time.sleep(pause)
        stub.ModelInfer(identity_request("quick"), timeout=5)


@pytest.fixture(scope="module")
def ageing(models):
    """A server whose connections are old after a second."""
    with SconceServer(models, "--limits-connection-age", "1s") as server:
        yield server


def test_no_call_is_lost_by_age(ageing):
    """Clients that call without a pause, over several ages."""
    clients, ages = 4, 4
    before = count_connections(ageing, "accepted")

    def call_for_ages(_) -> int:
        # Channels to the same server share a connection unless told otherwise.
        with grpc.insecure_channel(ageing.grpc, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            calls, end = 0, time.monotonic() + ages
            while time.monotonic() < end:
                for call in [stub.ModelInfer.future(identity_request("quick"), timeout=5) for _ in range(8)]:
                    call.result()
                    calls += 1
            return calls

    with ThreadPoolExecutor(clients) as pool:
        assert min(pool.map(call_for_ages, range(clients))) > 100
    # Jitter makes an age 1.1 s at most.
    wait_for(lambda: count_connections(ageing, "accepted") - before >= clients * (ages - 1))


def test_calls_in_flight_outlive_the_connections_age(ageing):
    with Connection(ageing.grpc) as connection:
        waiting = [connection.send(INFER, SLOW) for _ in range(3)]
        wait_for_goodbye(connection)
        assert len(connection.ended) < len(waiting)
        assert [connection.wait(stream).status for stream in waiting] == [OK] * len(waiting)
        assert_ends(connection)


def test_ages_differ_by_a_tenth(ageing):
    """Connections opened together do not all come back together."""
    connections = [Connection(ageing.grpc) for _ in range(12)]
    for connection in connections:
        assert connection.call(INFER, QUICK).status == OK

    def age(connection: Connection) -> float:
        with connection:
            wait_for_goodbye(connection)
            return time.monotonic() - connection.began[1]

    with ThreadPoolExecutor(len(connections)) as pool:
        ages = sorted(pool.map(age, connections))
    assert 0.85 < ages[0] and ages[-1] < 1.3, ages
    # Twelve draws from a fifth of a second lie closer together than this once in a million times.
    assert ages[-1] - ages[0] > 0.05, ages


# How the server ends, whatever its clients do.

GRACE_SECONDS = 1


def say_nothing(address: str):
    return connect(address)


def say_half_a_preface(address: str):
    connection = connect(address)
    connection.sendall(PREFACE[:12])
    return connection


def leave_a_call_open(address: str):
    """A message that is announced and does not come."""
    connection = Connection(address)
    connection.write(connection.begin(INFER), struct.pack(">BI", 0, 1000))
    connection.ping()
    return connection.socket


def watch_health(address: str):
    """A call that by its nature does not end."""
    connection = Connection(address)
    stream = connection.send("/grpc.health.v1.Health/Watch", b"")
    connection.read_until(lambda: connection.answers[stream].body)
    return connection.socket


def read_no_answers(address: str):
    """An answer that is larger than a client has said that it takes."""
    connection = Connection(address)
    connection.send(INFER, identity_request("quick", 1 << 18).SerializeToString())
    return connection.socket


def acknowledge_no_pings(address: str):
    """The server asks for an acknowledgement when it tells a connection to go."""
    connection = Connection(address)
    assert connection.call(INFER, QUICK).status == OK
    return connection.socket


@pytest.mark.parametrize(
    "misbehave",
    [say_nothing, say_half_a_preface, leave_a_call_open, watch_health, read_no_answers, acknowledge_no_pings],
)
def test_the_server_ends_whatever_a_client_does(models, misbehave):
    with SconceServer(models, "--shutdown-grace", f"{GRACE_SECONDS}s") as server:
        with misbehave(server.grpc), Connection(server.grpc) as proper:
            waiting = proper.send(INFER, SLOW)
            # Answered after the call was read, which is so begun.
            proper.ping()
            began = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            assert proper.wait(waiting).status == OK
            assert server.process.wait(GRACE_SECONDS + 2) == 0
            assert time.monotonic() - began < GRACE_SECONDS + 2
