"""Faults of what the server stands on: no descriptors, a log that nobody reads, a full disk, a freeze."""

import fcntl
import os
import socket
import time
from contextlib import contextmanager

import grpc
import pytest
from exposition import read_total, samples, scrape, total
from processes import frozen, processor_seconds, without_descriptors
from raw_grpc import INFER, Connection
from repositories import write_identity
from sconce_server import SconceServer
from triton_calls import identity_request
from tritonclient.grpc import service_pb2_grpc
from waiting import wait_for

OK, DEADLINE = 0, 4
BATCH_SECONDS = 0.4
# Only one batch, of which nothing can be predicted: requests are let in that will not be served in time.
SLOW_SETTINGS = '[warmup]\ntime_max = "0s"\n'
QUICK = identity_request("quick")
PIPE_BYTES = 4096


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """`quick`, and `slow`, whose batches take 0.4 s."""
    repository = tmp_path_factory.mktemp("environment")
    write_identity(repository, "quick", [("FP32", [-1])])
    write_identity(repository, "slow", [("FP32", [-1])], settings=SLOW_SETTINGS, batch_time=f"{BATCH_SECONDS}s")
    return repository


@contextmanager
def calls(server):
    """A function that makes so many calls, most of them at once, and gives how long they took."""
    with grpc.insecure_channel(server.grpc) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)

        def call(count: int) -> float:
            began = time.monotonic()
            for _ in range(0, count, 100):
                for waiting in [stub.ModelInfer.future(QUICK, timeout=10) for _ in range(100)]:
                    waiting.result()
            return time.monotonic() - began

        yield call


def seconds_to_stop(server) -> float:
    began = time.monotonic()
    assert server.stop() == 0
    return time.monotonic() - began


# No descriptors.


def test_without_descriptors_it_rests_and_serves_those_who_are_there(models):
    quick = QUICK.SerializeToString()
    with SconceServer(models) as server, Connection(server.grpc) as there:
        assert there.call(INFER, quick).status == OK
        with without_descriptors(server.pid):
            waiting = [Connection(server.grpc) for _ in range(5)]
            scraper = socket.create_connection(server.metrics.split(":"))
            before = processor_seconds(server.pid)
            time.sleep(2)
            assert processor_seconds(server.pid) - before <= 0.02 * 2
            for _ in range(100):
                assert there.call(INFER, quick).status == OK
        scraper.close()
        # Those that the system kept waiting are served once there are descriptors, and others too.
        for connection in waiting:
            with connection:
                assert connection.call(INFER, quick).status == OK
        with Connection(server.grpc) as late:
            assert late.call(INFER, quick).status == OK
        assert read_total(server.metrics, "sconce_accept_errors_total") > 0


# No log.


def test_a_log_whose_reader_has_gone(models):
    reader, writer = os.pipe()
    with SconceServer(models, "--log-access", stderr=writer) as server:
        os.close(writer)
        os.close(reader)
        with calls(server) as call:
            call(1000)
        wait_for(lambda: read_total(server.metrics, "sconce_log_lines_dropped_total") >= 1000)
        assert seconds_to_stop(server) < 2


def test_a_disk_full_under_the_log(models):
    with open("/dev/full", "wb") as full, SconceServer(models, "--log-access", stderr=full) as server:
        with calls(server) as call:
            call(1000)
        wait_for(lambda: read_total(server.metrics, "sconce_log_lines_dropped_total") >= 1000)
        assert seconds_to_stop(server) < 2


def test_a_log_that_nobody_reads_costs_no_speed(models):
    count = 3000
    with SconceServer(models, "--log-access") as server, calls(server) as call:
        call(count)
        seconds = call(count)
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    with SconceServer(models, "--log-access", stderr=writer) as server:
        os.close(writer)
        with calls(server) as call:
            end = time.monotonic() + 60
            while read_total(server.metrics, "sconce_log_lines_dropped_total") == 0:
                call(count)
                assert time.monotonic() < end, "no line was dropped"
            # Twice, because the machine is not ours alone.
            assert min(call(count), call(count)) < 2 * seconds
        assert seconds_to_stop(server) < 3
    os.close(reader)


# A frozen process.


def test_nothing_late_is_begun_after_a_freeze(models):
    slow, quick = (identity_request(model).SerializeToString() for model in ("slow", "quick"))
    with SconceServer(models) as server, Connection(server.grpc) as connection:
        ahead = connection.send(INFER, slow)
        # Once this is back, the one before it has reached the model.
        connection.call(INFER, quick)
        queued = [connection.send(INFER, slow, grpc_timeout="500m") for _ in range(3)]
        connection.call(INFER, quick)
        assert ahead not in connection.ended, "the machine was too slow for this test"
        with frozen(server.pid):
            time.sleep(2)
        woken = time.monotonic()
        assert [connection.wait(stream).status for stream in queued] == [DEADLINE] * 3
        assert connection.call(INFER, quick).status == OK
        assert time.monotonic() - woken < 0.2
        assert connection.wait(ahead).status == OK
        after = connection.call(INFER, slow)
        assert after.status == OK
        assert after.seconds < 2 * BATCH_SECONDS
        assert batches_of_slow(server, answered=2, expired=3) == 2


def batches_of_slow(server, answered: int, expired: int) -> float:
    """How many batches ran, by a page that knows of all these requests."""
    pages = []

    def is_booked() -> bool:
        page = samples(scrape(server.metrics))
        pages.append(page)
        booked = [total(page, "sconce_requests_total", model="slow", reason=reason) for reason in ("ok", "deadline")]
        return booked == [answered, expired]

    wait_for(is_booked)
    return total(pages[-1], "sconce_batches_total", model="slow")
