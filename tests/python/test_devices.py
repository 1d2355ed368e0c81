"""A worker's process that dies, hangs, cannot start or is short of memory, and the clients of a server that has one."""

import os
import resource
import shutil
import signal
import time
from pathlib import Path

import grpc
import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from callers import Callers
from exposition import detail, read_total, readiness
from processes import worker_pid, worker_pids
from repositories import write_identity
from sconce_server import SconceServer
from tritonclient.grpc import service_pb2_grpc
from triton_calls import infer_input, raw_request
from waiting import wait_for
from workers import HeldOut, restarts, rung_of, wait_for_rung

SHIPPED = ("breast_cancer", "diabetes", "digits")
# A name that nobody has given to a program.
NOWHERE = "/nonexistent/sconce-worker"
# Where NVIDIA's driver shows its GPUs.
DRIVER = Path("/proc/driver/nvidia/gpus")
BACK_SECONDS = 2.0
# Machines that test are busy: what is slower than this was not served, but waited for somebody.
P99_SECONDS_MAX = 1.0
PRIOR = [0.25, 0.75]


@pytest.fixture(scope="module")
def held_out(shipped_models) -> list[HeldOut]:
    return [HeldOut(shipped_models, model) for model in SHIPPED]


@pytest.fixture(scope="module")
def cancer(held_out) -> HeldOut:
    return held_out[SHIPPED.index("breast_cancer")]


@pytest.fixture(scope="module")
def client(with_worker):
    with grpcclient.InferenceServerClient(with_worker.grpc) as client:
        yield client


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def freeze(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)


def limit_memory(pid: int, more: int) -> None:
    """The process gets so many bytes of addresses more than it has, and no further one."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + more
    resource.prlimit(pid, resource.RLIMIT_AS, (most, most))


def cancer_model(folder: Path, shipped_models: Path, settings: str, versions: int = 1) -> Path:
    """A repository of one model, `m`: the shipped one, in so many versions."""
    for version in range(1, versions + 1):
        shutil.copytree(shipped_models / "breast_cancer" / "1", folder / "m" / str(version))
    (folder / "m" / "model.toml").write_text(settings)
    return folder


def prediction_of(**keys: str) -> str:
    """A model.toml whose model cannot do without its worker, but for a prediction."""
    lines = [f"{key} = {value}\n" for key, value in keys.items()]
    return '[device]\npolicy = "require-gpu"\n[[fallback.rung]]\nuse = "prediction"\n' + "".join(lines)


def call_raw(server, model: str, cancer: HeldOut):
    """The answer to one row, with the trailers."""
    row = cancer.rows[:1]
    request = raw_request(model, (cancer.input, "FP32", row.shape, row.tobytes()))
    with grpc.insecure_channel(server.grpc) as channel:
        answer, call = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer.with_call(request)
    return answer, dict(call.trailing_metadata())


def test_the_worker_answers_as_the_servers_own_cores_do(client, shipped, held_out):
    with grpcclient.InferenceServerClient(shipped.grpc) as on_cpu:
        for model in held_out:
            inputs = [infer_input(model.input, model.rows[:50])]
            there, here = client.infer(model.model, inputs), on_cpu.infer(model.model, inputs)
            assert (rung_of(there), rung_of(here)) == ("worker", None)
            np.testing.assert_array_equal(there.as_numpy(model.output), here.as_numpy(model.output))


@pytest.mark.parametrize("fault", [kill, freeze])
def test_a_worker_that_fails_under_load_costs_no_answer(with_worker, client, held_out, fault):
    for model in held_out:
        wait_for_rung(client, model.model, model.inputs(0), "worker")
    before, pid = restarts(with_worker), worker_pid(with_worker)
    with Callers(with_worker, held_out) as callers:
        # Enough that the watchdog has learned how long batches take.
        callers.wait_for_calls(1000)
        failed = time.monotonic()
        fault(pid)
        wait_for(lambda: worker_pids(with_worker) not in ([], [pid]), 30)
        callers.wait_for_rung("worker")
        callers.wait_for_calls(300)
        wait_for(lambda: time.monotonic() > failed + BACK_SECONDS + 1)
    assert list(callers.failures.queue) == []
    assert callers.rungs(since=failed) == {"worker", "cpu"}
    assert callers.p99(failed + BACK_SECONDS, time.monotonic()) < P99_SECONDS_MAX
    wait_for(lambda: restarts(with_worker) > before)


def test_while_the_worker_is_gone_nobody_stands_in_unasked(shipped_models, cancer):
    with SconceServer([shipped_models], "--device", "worker", "--worker", NOWHERE) as server:
        with grpcclient.InferenceServerClient(server.grpc) as client:
            with pytest.raises(grpcclient.InferenceServerException, match="the device's process is down: ") as refused:
                client.infer(cancer.model, cancer.inputs(0), parameters={"fallback": "none"})
            assert refused.value.status() == "StatusCode.UNAVAILABLE"
            for permitted in ("cpu", "cpu,prediction"):
                answer = client.infer(cancer.model, cancer.inputs(0), parameters={"fallback": permitted})
                assert rung_of(answer) == "cpu"


def test_a_worker_that_cannot_start_is_told_and_done_without(shipped_models, held_out):
    with SconceServer([shipped_models], "--device", "worker", "--worker", NOWHERE) as server:
        with grpcclient.InferenceServerClient(server.grpc) as client:
            for model in held_out:
                assert rung_of(model.ask(client, 0)) == "cpu"
                assert f"worker: down, start {NOWHERE}: No such file or directory" in detail(server.metrics, model.model)
        state = readiness(server.metrics)
        (device,) = state["devices"]
        assert state["ready"] and not device["ready"] and device["detail"].startswith(f"down, start {NOWHERE}: ")
        wait_for(lambda: "the device's worker is down" in server.log())
        wait_for(lambda: read_total(server.metrics, "sconce_rung_answers_total", rung="cpu") >= len(held_out))
        assert read_total(server.metrics, "sconce_worker_up", device="cpu") == 0
        assert read_total(server.metrics, "sconce_rung_answers_total", rung="worker") == 0


def missing_gpu() -> str:
    """Why `auto` finds no GPU on this machine, where the worker's program is nowhere."""
    if not DRIVER.exists():
        return "no NVIDIA driver"
    return f"no sconce-worker beside the server's program: {NOWHERE}" if any(DRIVER.iterdir()) else "no GPU"


def test_why_no_gpu_is_used_is_told_everywhere(shipped_models, cancer):
    with SconceServer([shipped_models], "--device", "auto", "--worker", NOWHERE) as server:
        told = missing_gpu()
        reason = told.partition(":")[0]
        state = readiness(server.metrics)
        assert state["ready"] and state["devices"] == [{"device": "cuda", "ready": False, "detail": told}]
        assert read_total(server.metrics, "sconce_gpu_missing", reason=reason) == 1
        with grpcclient.InferenceServerClient(server.grpc) as client:
            assert rung_of(cancer.ask(client, 0)) is None
        assert server.log().count("models run on the server's own cores") == 1 and reason in server.log()


def test_readiness_tells_where_the_worker_stands(with_worker):
    worker_pid(with_worker)
    wait_for(lambda: readiness(with_worker.metrics)["devices"] == [{"device": "cpu", "ready": True}])


def test_a_model_whose_worker_fails_is_answered_by_its_prediction(tmp_path, shipped_models, cancer):
    models = cancer_model(tmp_path, shipped_models, prediction_of(kind='"prior"', prior=str(PRIOR)))
    with SconceServer(models, "--device", "worker") as server:
        answer, trailers = call_raw(server, "m", cancer)
        assert answer.parameters["rung"].string_param == trailers["sconce-rung"] == "worker"
        # Stopped, it is not started again before it has been found out.
        freeze(worker_pid(server))
        answer, trailers = call_raw(server, "m", cancer)
    assert answer.parameters["rung"].string_param == trailers["sconce-rung"] == "prediction"
    assert np.frombuffer(answer.raw_output_contents[0], np.float32).tolist() == PRIOR


def test_another_version_and_another_model_stand_in(tmp_path, shipped_models, cancer):
    rungs = '[[fallback.rung]]\nuse = "version"\n[[fallback.rung]]\nuse = "model"\nmodel = "spare"\n'
    settings = 'versions = "all"\n[device]\npolicy = "require-gpu"\n' + rungs
    models = cancer_model(tmp_path, shipped_models, settings, versions=2)
    shutil.copytree(shipped_models / "breast_cancer", tmp_path / "spare")
    with SconceServer(models, "--device", "worker", "--worker", NOWHERE) as server:
        with grpcclient.InferenceServerClient(server.grpc) as client:
            # The older version has lost the same worker.
            answer = client.infer("m", cancer.inputs(0))
            assert rung_of(answer) == "model"
            assert answer.get_response().model_name == "m"
            spare = client.infer("spare", cancer.inputs(0))
            np.testing.assert_array_equal(answer.as_numpy(cancer.output), spare.as_numpy(cancer.output))
            with pytest.raises(grpcclient.InferenceServerException, match="the device's process is down: "):
                client.infer("m", cancer.inputs(0), parameters={"fallback": "version"})
        wait_for(lambda: read_total(server.metrics, "sconce_rung_failures_total", model="m", rung="version") >= 2)


def test_why_nobody_stands_in_is_told_by_the_log(tmp_path, shipped_models, cancer):
    rungs = [
        'use = "version"\n',
        'use = "model"\nmodel = "other"\n',
        'use = "prediction"\nkind = "last-answer"\n',
    ]
    settings = '[device]\npolicy = "require-gpu"\n' + "".join(f"[[fallback.rung]]\n{rung}" for rung in rungs)
    models = cancer_model(tmp_path, shipped_models, settings)
    write_identity(models, "other", [("INT32", [1])])
    args = ["--device", "worker", "--worker", NOWHERE, "--log-level", "info,sconce::serve=debug"]
    with SconceServer(models, *args) as server, grpcclient.InferenceServerClient(server.grpc) as client:
        with pytest.raises(grpcclient.InferenceServerException, match="the device's process is down: "):
            client.infer("m", cancer.inputs(0))
        for why in (
            "no such version is ready; does `versions` keep it?",
            'model "other" version 1 has other inputs or outputs',
            "no answer is remembered for these inputs",
        ):
            wait_for(lambda why=why: "a rung did not answer" in server.log() and why in server.log())


WRONG = {
    "name": (prediction_of(kind='"constant"', outputs="{ nothing = [0.5, 0.5] }"), "outputs", 'got some for "nothing"'),
    "count": (prediction_of(kind='"constant"', outputs="{ probabilities = [1.0] }"), "outputs", "expected"),
    "classes": (prediction_of(kind='"prior"', prior="[0.2, 0.3, 0.5]"), "prior", "expected 2 probabilities"),
}


@pytest.mark.parametrize(("settings", "key", "why"), WRONG.values(), ids=WRONG)
def test_a_prediction_that_does_not_fit_is_refused_at_load(tmp_path, shipped_models, settings, key, why):
    models = cancer_model(tmp_path, shipped_models, settings)
    with SconceServer(models, "--device", "worker") as server:
        (model,) = readiness(server.metrics)["models"]
    assert not model["ready"]
    assert f"model.toml: `fallback.rung[0].{key}`: " in model["detail"] and why in model["detail"]


def test_a_batch_too_large_for_the_workers_memory_is_answered(tmp_path):
    rows, width = 32, 1 << 16
    cold = '[warmup]\ntime_max = "0s"\n'
    write_identity(tmp_path, "large", [("INT32", [width])], settings=f"max_batch_size = {rows}\n{cold}")
    # Each row is of its own number.
    batch = np.repeat(np.arange(rows, dtype=np.int32)[:, np.newaxis], width, axis=1)
    with SconceServer(tmp_path, "--device", "worker") as server, grpcclient.InferenceServerClient(server.grpc) as client:
        assert rung_of(client.infer("large", [infer_input("INPUT0", batch[:1])])) == "worker"
        # Room for a few rows more than it has now, and not for a batch.
        limit_memory(worker_pid(server), 8 * batch[0].nbytes)
        for _ in range(3):
            answer = client.infer("large", [infer_input("INPUT0", batch)])
            np.testing.assert_array_equal(answer.as_numpy("OUTPUT0"), batch)
        wait_for(lambda: read_total(server.metrics, "sconce_rung_failures_total", reason="device_memory") > 0)
        assert read_total(server.metrics, "sconce_batch_size_limit", rung="worker") < rows


def test_a_model_that_warms_up_long_costs_the_others_no_worker(tmp_path):
    models = tmp_path / "models"
    write_identity(models, "quick", [("INT32", [1])])
    # Longer than a batch of the other may take before it is overdue.
    write_identity(tmp_path, "long", [("INT32", [1])], batch_time="600ms")
    args = ["--repository-poll-interval", "100ms", "--repository-settle-time", "100ms"]
    inputs = [infer_input("INPUT0", np.zeros((1, 1), dtype=np.int32))]
    with SconceServer(models, "--device", "worker", *args) as server, grpcclient.InferenceServerClient(server.grpc) as client:
        # Enough that the watchdog has learned how long its batches take.
        for _ in range(200):
            assert rung_of(client.infer("quick", inputs)) == "worker"
        (tmp_path / "long").rename(models / "long")

        def is_served() -> bool:
            assert rung_of(client.infer("quick", inputs)) == "worker"
            return client.is_model_ready("long")

        wait_for(is_served, 60)
        assert rung_of(client.infer("long", inputs)) == "worker"
        assert restarts(server) == 0
        assert read_total(server.metrics, "sconce_rung_failures_total") == 0
