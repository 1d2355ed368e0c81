"""Memory that runs out, in two steps: connections are told to go, then requests are refused."""

import urllib.request

import pytest
from exposition import read_total
from h2.errors import ErrorCodes
from processes import resident_bytes
from raw_grpc import INFER, Connection, prefixed
from repositories import write_identity
from sconce_server import SconceServer
from triton_calls import identity_request
from waiting import wait_for

OK, EXHAUSTED = 0, 8
MIB = 1 << 20
LIMIT = 256 * MIB
DRAIN_AT, REFUSE_AT = 0.92, 0.95
# Small against what lies between the two steps.
LARGE = prefixed(identity_request("quick", MIB // 2).SerializeToString())
QUICK = identity_request("quick").SerializeToString()
# In which the server gives back memory that nobody needs any more.
BACK_SECONDS = 3
NORMAL, DRAINING, REFUSING = 0, 1, 2
LIVE, READY = (f"/inference.GRPCInferenceService/Server{what}" for what in ("Live", "Ready"))


@pytest.fixture()
def server(tmp_path):
    write_identity(tmp_path, "quick", [("FP32", [-1])])
    limit = ["--limits-memory-bytes-max", f"{LIMIT}B", "--limits-in-flight-bytes-max", f"{2 * LIMIT}B"]
    # Messages are held by not being sent to their end.
    with SconceServer(tmp_path, *limit, "--limits-receive-timeout", "60s") as server:
        yield server


class Hoard:
    """Requests that the server holds because their last byte does not come."""

    def __init__(self, server):
        self.server = server
        self.connections: list[Connection] = []

    def grow_to(self, share: float) -> None:
        """Holds more, until the server's resident memory is this share of its limit."""
        while resident_bytes(self.server.pid) < share * LIMIT:
            # One connection each: on those that were told to go no call can be begun.
            connection = Connection(self.server.grpc)
            connection.write(connection.begin(INFER), LARGE[:-1])
            connection.ping()
            self.connections.append(connection)
            if connection.ended:
                # Refused: the server has come to the last step.
                return

    def let_go(self) -> None:
        for connection in self.connections:
            connection.socket.close()
        self.connections.clear()


def wait_for_pressure(server, pressure: int) -> None:
    wait_for(lambda: read_total(server.metrics, "sconce_memory_pressure") == pressure)


def test_memory_that_runs_out(server):
    hoard = Hoard(server)
    assert read_total(server.metrics, "sconce_memory_limit_bytes") == LIMIT
    wait_for_pressure(server, NORMAL)
    with Connection(server.grpc) as early:
        assert early.call(INFER, QUICK).status == OK

        hoard.grow_to(DRAIN_AT + 0.002)
        early.read_until(lambda: early.goaway is not None)
        assert early.goaway == ErrorCodes.NO_ERROR
        wait_for_pressure(server, DRAINING)
    with Connection(server.grpc) as late:
        # It is told once for each time that memory runs short, not for as long as it does.
        assert late.call(INFER, QUICK).status == OK
        late.ping()
        assert late.goaway is None

    hoard.grow_to(REFUSE_AT + 0.002)
    wait_for_pressure(server, REFUSING)
    with Connection(server.grpc) as late:
        refused = late.call(INFER, QUICK)
        assert (refused.status, refused.reason) == (EXHAUSTED, "memory")
        assert refused.pushback > 0
        assert str(LIMIT) in refused.message
        # Who only looks is not refused.
        assert late.call(LIVE, b"").status == late.call(READY, b"").status == OK
        assert urllib.request.urlopen(f"http://{server.metrics}/health/live", timeout=10).status == 200
        wait_for(lambda: read_total(server.metrics, "sconce_requests_total", reason="memory") >= 1)

        hoard.let_go()
        wait_for(lambda: late.call(INFER, QUICK).status == OK, BACK_SECONDS)
    wait_for_pressure(server, NORMAL)
    wait_for(lambda: read_total(server.metrics, "sconce_in_flight_request_bytes") == 0)


def test_it_runs_out_again(server):
    """The steps are taken each time, not only the first."""
    hoard = Hoard(server)
    for _ in range(2):
        with Connection(server.grpc) as connection:
            assert connection.call(INFER, QUICK).status == OK
            hoard.grow_to(DRAIN_AT + 0.002)
            connection.read_until(lambda: connection.goaway is not None)
        hoard.let_go()
        wait_for_pressure(server, NORMAL)
