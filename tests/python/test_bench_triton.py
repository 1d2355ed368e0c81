"""`sconce bench` against a real Triton, as pytriton brings it."""

import os
import socket
import subprocess
import sysconfig
import time

import numpy as np
import pytest
from pytriton.decorators import batch
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig
from sconce_bench import bench, bench_command

SHORT = ("--duration", "500ms", "--warmup", "200ms")
HOST = "127.0.0.1"


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server((HOST, 0)) for _ in range(count)]
    ports = [taken.getsockname()[1] for taken in sockets]
    for taken in sockets:
        taken.close()
    return ports


@batch
def scale(image, factor):
    return {"scaled": image * factor[:, :, np.newaxis]}


@batch
def slow(x):
    time.sleep(0.5)
    return {"y": x}


def reverse(requests):
    return [{"reversed": request["words"][::-1]} for request in requests]


@pytest.fixture(scope="module")
def triton():
    # The server's Python backend loads libpython by its name: it must be the one that runs this test, not the system's.
    os.environ["LD_LIBRARY_PATH"] = sysconfig.get_config_var("LIBDIR")
    http, grpc, metrics = free_ports(3)
    config = TritonConfig(
        http_address=HOST, grpc_address=HOST, metrics_address=HOST, http_port=http, grpc_port=grpc, metrics_port=metrics
    )
    with Triton(config=config) as server:
        server.bind(
            "scale",
            scale,
            inputs=[Tensor(name="image", dtype=np.float32, shape=(3, -1)), Tensor(name="factor", dtype=np.float32, shape=(1,))],
            outputs=[Tensor(name="scaled", dtype=np.float32, shape=(3, -1))],
            config=ModelConfig(max_batch_size=16),
        )
        server.bind(
            "slow",
            slow,
            inputs=[Tensor(name="x", dtype=np.int64, shape=(2,))],
            outputs=[Tensor(name="y", dtype=np.int64, shape=(2,))],
            config=ModelConfig(max_batch_size=1),
        )
        server.bind(
            "reverse",
            reverse,
            inputs=[Tensor(name="words", dtype=np.bytes_, shape=(3,))],
            outputs=[Tensor(name="reversed", dtype=np.bytes_, shape=(3,))],
            config=ModelConfig(batching=False),
        )
        server.run()
        yield f"{HOST}:{grpc}"


def test_closed_loop(triton):
    flags = ("--concurrency", "1,8", "--rows", "4", "--shape", "image:3,20", "--ids", "--priority", "1")
    report = bench(triton, "scale", *SHORT, *flags)
    assert [tensor["shape"] for tensor in report["setup"]["inputs"]] == [[4, 3, 20], [4, 1]]
    for step in report["steps"]:
        assert step["ok"] == step["calls"] > 0 and step["errors"] == []
        assert step["rows_per_second"] == pytest.approx(4 * step["ok_per_second"])


def test_open_loop(triton):
    step = bench(triton, "scale", *SHORT, "--rate", "50", "--arrivals", "constant")["steps"][0]
    assert step["ok"] == step["calls"] == step["offered"]["due"] == 25
    assert step["latency_seconds"]["p50"] < 0.5


def test_a_model_without_batches_gets_its_own_shape(triton):
    report = bench(triton, "reverse", *SHORT)
    assert report["setup"]["inputs"] == [{"name": "words", "datatype": "BYTES", "shape": [3]}]
    assert report["steps"][0]["errors"] == []
    command = bench_command(triton, "reverse", "--rows", "2")
    refused = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 1
    assert "expected inputs whose first dimension is free" in refused.stderr


def test_calls_that_expire_are_counted_by_the_client(triton):
    command = bench_command(triton, "slow", *SHORT, "--concurrency", "2", "--deadline", "100ms")
    expired = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert expired.returncode == 1
    assert "DEADLINE_EXCEEDED" in expired.stderr


def test_an_unknown_model_is_named(triton):
    command = bench_command(triton, "nope")
    refused = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: --model nope: metadata: ")
    assert "unknown model" in refused.stderr
