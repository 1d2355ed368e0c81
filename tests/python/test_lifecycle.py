"""Start and stop: readiness, what is answered while the server stops, and its exit code."""

import os
import pathlib
import queue
import signal
import socket
import threading
import time
import urllib.error
import urllib.request

import grpc
import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from exposition import samples, scrape
from grpc_health.v1 import health_pb2, health_pb2_grpc
from raw_grpc import Connection
from repositories import SLOW_SIDE, write_identity
from sconce_server import SconceServer
from triton_calls import infer_input
from waiting import wait_for

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


def image():
    return [infer_input("image", np.ones((1, 1, SLOW_SIDE, SLOW_SIDE), dtype=np.float32))]


def quick():
    return [infer_input("INPUT0", np.ones((1, 4), dtype=np.float32))]


def is_running(server) -> bool:
    # A child that ended is a zombie until its exit code is asked for, and a zombie has no command line.
    return bool(pathlib.Path(f"/proc/{server.pid}/cmdline").read_bytes())


def wait_for_exit(server) -> int:
    """Waits until the server ends by itself, without another signal, and gives its exit code."""
    wait_for(lambda: not is_running(server), 20)
    return server.stop()


def ready_over_http(server) -> int:
    try:
        return urllib.request.urlopen(f"http://{server.metrics}/health/ready", timeout=10).status
    except urllib.error.HTTPError as error:
        return error.code


def test_accepted_requests_are_answered_before_the_end(slow_models):
    with SconceServer([slow_models], "--shutdown-delay", "0s") as server:
        with grpcclient.InferenceServerClient(server.grpc) as client:
            answers = queue.Queue()
            calls = 10
            for _ in range(calls):
                client.async_infer("slow", image(), lambda result, error: answers.put((result, error)))
            # Once one is answered the others, sent with it, are in the server.
            first = answers.get(timeout=30)
            os.kill(server.pid, signal.SIGTERM)
            rest = [answers.get(timeout=30) for _ in range(calls - 1)]
        for result, error in [first, *rest]:
            assert error is None
            assert result.as_numpy("features").shape == (1, 128)
        assert wait_for_exit(server) == 0


def test_sigterm_during_traffic(identity_models):
    with SconceServer([identity_models], "--shutdown-delay", "0s") as server:
        codes, stop = [], threading.Event()

        def work():
            with grpcclient.InferenceServerClient(server.grpc) as client:
                inputs = [infer_input("INPUT0", np.ones((1, 4), dtype=np.float32))]
                while not stop.is_set():
                    try:
                        client.infer("identity_fp32", inputs, client_timeout=10)
                        codes.append("OK")
                    except grpcclient.InferenceServerException as error:
                        codes.append(error.status())
                        return

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        wait_for(lambda: len(codes) > 200)
        os.kill(server.pid, signal.SIGTERM)
        assert wait_for_exit(server) == 0
        stop.set()
        for thread in threads:
            thread.join()
    # A client may find nobody there any more; nothing that was accepted may end badly.
    assert set(codes) <= {"OK", "StatusCode.UNAVAILABLE"}


def test_not_ready_but_serving_during_the_delay(identity_models):
    with SconceServer([identity_models], "--shutdown-delay", "3s") as server:
        with grpc.insecure_channel(server.grpc) as channel, grpcclient.InferenceServerClient(server.grpc) as client:
            health = health_pb2_grpc.HealthStub(channel)
            watch = health.Watch(health_pb2.HealthCheckRequest(service=""))
            assert next(watch).status == SERVING
            assert ready_over_http(server) == 200
            os.kill(server.pid, signal.SIGTERM)
            assert next(watch).status == NOT_SERVING
            assert health.Check(health_pb2.HealthCheckRequest(service="")).status == NOT_SERVING
            assert health.Check(health_pb2.HealthCheckRequest(service="pair")).status == NOT_SERVING
            assert client.is_server_live()
            assert not client.is_server_ready()
            assert ready_over_http(server) == 503
            # Whoever has not heard yet, on this connection or a new one, is served.
            inputs = [infer_input("INPUT0", np.ones((1, 4), dtype=np.float32))]
            client.infer("identity_fp32", inputs)
            with grpcclient.InferenceServerClient(server.grpc, channel_args=[("grpc.use_local_subchannel_pool", 1)]) as late:
                late.infer("identity_fp32", inputs)
            assert is_running(server)
            watch.cancel()
        assert wait_for_exit(server) == 0


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_cuts_the_delay_short(identity_models, kind):
    with SconceServer([identity_models], "--shutdown-delay", "60s") as server:
        with grpc.insecure_channel(server.grpc) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            os.kill(server.pid, kind)
            request = health_pb2.HealthCheckRequest(service="")
            wait_for(lambda: health.Check(request).status == NOT_SERVING)
            os.kill(server.pid, kind)
            assert wait_for_exit(server) is not None


def test_an_open_watch_does_not_hold_the_server_up(identity_models):
    with SconceServer([identity_models], "--shutdown-delay", "0s") as server:
        with grpc.insecure_channel(server.grpc) as channel:
            watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=""))
            assert next(watch).status == SERVING
            began = time.monotonic()
            os.kill(server.pid, signal.SIGTERM)
            assert wait_for_exit(server) == 0
            assert time.monotonic() - began < 5


def test_idle_connections_do_not_hold_the_server_up(identity_models):
    with SconceServer([identity_models], "--shutdown-delay", "0s") as server:
        host, port = server.grpc.rsplit(":", 1)
        # One that never said a word, and one of a client that has nothing to ask.
        with socket.create_connection((host, int(port))), grpcclient.InferenceServerClient(server.grpc) as client:
            assert client.is_server_live()
            began = time.monotonic()
            os.kill(server.pid, signal.SIGTERM)
            assert wait_for_exit(server) == 0
            assert time.monotonic() - began < 5


def test_a_client_that_has_stopped_reading_holds_no_longer_than_the_grace(identity_models):
    with SconceServer([identity_models], "--shutdown-delay", "0s", "--shutdown-grace", "2s") as server:
        with Connection(server.grpc) as connection:
            connection.call("/inference.GRPCInferenceService/ServerLive", b"")
            began = time.monotonic()
            os.kill(server.pid, signal.SIGTERM)
            assert wait_for_exit(server) == 0
            assert time.monotonic() - began < 5


def test_a_model_that_fails_to_load_stops_no_other(tmp_path):
    write_identity(tmp_path, "good", [("FP32", [4])])
    broken = tmp_path / "broken" / "1"
    broken.mkdir(parents=True)
    (broken / "identity.toml").write_text('[[tensor]]\ninput = "INPUT0"\ndtyp = "FP32"\n')
    with SconceServer([tmp_path]) as server, grpcclient.InferenceServerClient(server.grpc) as client:
        assert client.is_model_ready("good")
        client.infer("good", quick())
        with pytest.raises(grpcclient.InferenceServerException) as error:
            client.infer("broken", quick())
        assert error.value.status() in ("StatusCode.UNAVAILABLE", "StatusCode.NOT_FOUND")
        told = [labels for name, labels in samples(scrape(server.metrics)) if "model" in name or "load" in name]
        assert any(("model", "broken") in labels for labels in told)
