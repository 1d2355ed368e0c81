"""Limits: what exceeds them is refused in words, at once, and hurts nobody beside it."""

import statistics
import threading
import time

import grpc
import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from exposition import samples, scrape, total
from repositories import SLOW_SIDE, write_identity, write_slow
from sconce_server import SconceServer
from tritonclient.grpc import service_pb2_grpc
from triton_calls import infer_input, raw_request
from waiting import wait_for

SETTINGS = 'max_batch_size = 1\n[batching]\nqueue_rows_max = 4\n[warmup]\ntime_max = "1s"\n'
MESSAGE_BYTES_MAX = 1 << 20


@pytest.fixture(scope="module")
def limited(tmp_path_factory):
    repository = tmp_path_factory.mktemp("limited")
    write_slow(repository, settings=SETTINGS)
    write_identity(repository, "quick", [("FP32", [-1])])
    with SconceServer([repository], "--limits-message-bytes-max", "1MiB", "--log-access") as server:
        yield server


def image_request():
    image = np.ones((1, 1, SLOW_SIDE, SLOW_SIDE), dtype="<f4")
    return raw_request("slow", ("image", "FP32", list(image.shape), image.tobytes()))


def quick_request(count: int, identifier: str = ""):
    return raw_request("quick", ("INPUT0", "FP32", [1, count], bytes(4 * count)), id=identifier)


def wait_for_total(server, wanted, **labels):
    for _ in range(100):
        if total(samples(scrape(server.metrics)), "sconce_requests_total", **labels) >= wanted:
            return
        time.sleep(0.05)
    pytest.fail(f"sconce_requests_total{labels} did not reach {wanted}")


def test_a_full_queue_refuses_at_once_and_says_when_to_come_back(limited):
    with grpc.insecure_channel(limited.grpc) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        calls = [stub.ModelInfer.future(image_request()) for _ in range(12)]
        refused = [call for call in calls if call.exception() is not None]
        # One runs and four wait.
        assert len(refused) >= 12 - 5 - 2
        for call in refused:
            assert call.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "queue full: 4 rows are waiting, 1 more exceed the limit of 4" == call.details()
            trailers = dict(call.trailing_metadata())
            assert int(trailers["grpc-retry-pushback-ms"]) > 0
            assert trailers["sconce-reason"] == "queue_full"
    wait_for_total(limited, len(refused), model="slow", reason="queue_full", code="RESOURCE_EXHAUSTED")


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_a_message_over_the_limit_is_told_the_limit(limited, compression):
    """Also one that is small on the wire and large when inflated."""
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(limited.grpc, options=options, compression=compression) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        with pytest.raises(grpc.RpcError) as refused:
            stub.ModelInfer(quick_request(MESSAGE_BYTES_MAX), timeout=20)
        assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert str(MESSAGE_BYTES_MAX) in refused.value.details()
        assert stub.ModelInfer(quick_request(8), timeout=20).outputs[0].shape == [1, 8]
    wait_for_total(limited, 1, model="unknown", reason="too_big")


def test_a_large_model_does_not_starve_the_network(limited):
    """Health and a small model answer while a large one computes on every core."""
    stop = threading.Event()

    def keep_busy():
        with grpc.insecure_channel(limited.grpc) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            while not stop.is_set():
                stub.ModelInfer(image_request(), timeout=60)

    busy = threading.Thread(target=keep_busy)
    busy.start()
    try:
        client = grpcclient.InferenceServerClient(limited.grpc)
        took = []
        for _ in range(50):
            began = time.monotonic()
            assert client.is_server_live()
            client.infer("quick", [infer_input("INPUT0", np.ones((1, 4), dtype=np.float32))])
            took.append(time.monotonic() - began)
    finally:
        stop.set()
        busy.join()
    # A row of the large model takes some hundred milliseconds; who waits for it waits about that long.
    assert statistics.median(took) < 0.025, sorted(took)


def test_an_access_line_for_each_request_on_demand(limited):
    hostile = "an id\nwith a break"
    with grpc.insecure_channel(limited.grpc) as channel:
        service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(quick_request(2, hostile))

    def lines() -> list[str]:
        return [line for line in limited.log().splitlines() if "sconce::access" in line and "an id" in line]

    # The log is written behind the answer.
    wait_for(lines)
    assert len(lines()) == 1
    for word in ("quick", "version", "ok", "rows"):
        assert word in lines()[0], lines()
