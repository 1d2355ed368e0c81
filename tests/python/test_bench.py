"""`sconce bench` against the server's own books."""

import json
import signal
import subprocess
import time
import xml.etree.ElementTree as ElementTree

import pytest
from exposition import samples, scrape, total
from repositories import write_identity
from sconce_bench import bench, bench_command, calls
from sconce_server import SconceServer

SHORT = ("--duration", "300ms", "--warmup", "100ms")


@pytest.fixture(scope="module")
def model_names(identity_models):
    return sorted(folder.name for folder in identity_models.iterdir())


def counted(server, **labels: str) -> float:
    return total(samples(scrape(server.metrics)), "sconce_requests_total", **labels)


def settled(server, wanted: float, **labels: str) -> float:
    """The count once it is the wanted one: a request is booked a moment after its answer is sent."""
    deadline = time.monotonic() + 10
    while (count := counted(server, **labels)) != wanted and time.monotonic() < deadline:
        pass
    return count


@pytest.mark.parametrize("load", [("--concurrency", "1,8"), ("--rate", "300"), ("--rate", "200", "--arrivals", "constant")])
def test_counts_are_the_servers(server, load):
    before = counted(server, model="pair", code="OK")
    report = bench(server.grpc, "pair", *SHORT, *load, "--ids", "--rows", "2")
    assert calls(report) == settled(server, before + calls(report), model="pair", code="OK") - before
    for step in report["steps"]:
        assert step["calls"] == step["ok"] > 0 and step["failed"] == step["unanswered"] == 0


def test_every_datatype_is_made(server, model_names):
    for model in model_names:
        report = bench(server.grpc, model, "--duration", "50ms", "--warmup", "0s")
        assert report["steps"][0]["errors"] == [], model


def test_the_drawing_is_xml(server, tmp_path):
    drawing = tmp_path / "plot.svg"
    report = bench(server.grpc, "pair", *SHORT, "--concurrency", "1,4", "--plot", str(drawing))
    svg = ElementTree.parse(drawing).getroot()
    points = [point for point in svg.iter("{http://www.w3.org/2000/svg}circle") if point.get("class") == "p99"]
    assert svg.tag == "{http://www.w3.org/2000/svg}svg" and len(points) == len(report["steps"]) == 2


def test_a_file_of_inputs_is_what_the_model_gets(server, tmp_path):
    def line(text: str) -> str:
        tensor = {"name": "INPUT0", "datatype": "BYTES", "shape": [2, 1], "data": [[text], ["ü"]]}
        return json.dumps({"inputs": [tensor]})

    requests = tmp_path / "requests.jsonl"
    requests.write_text("\n".join(map(line, ("a", "bc"))))
    report = bench(server.grpc, "identity_bytes", *SHORT, "--input", str(requests))
    assert report["setup"]["request_variants"] == 2
    assert report["setup"]["inputs"] == [{"name": "INPUT0", "datatype": "BYTES", "shape": [2, 1]}]
    step = report["steps"][0]
    assert step["errors"] == []
    assert step["rows_per_second"] == pytest.approx(2 * step["ok_per_second"])


def test_refusals_are_told_as_the_server_counts_them(tmp_path):
    write_identity(tmp_path, "narrow", [("FP32", [4])], settings="max_batch_size = 2\n[batching]\nqueue_rows_max = 2\n")
    with SconceServer(tmp_path) as server:
        report = bench(server.grpc, "narrow", "--duration", "300ms", "--warmup", "0s", "--concurrency", "64")
        step = report["steps"][0]
        assert step["errors"] and step["failed"] == sum(error["count"] for error in step["errors"])
        for error in step["errors"]:
            assert error["code"] == "RESOURCE_EXHAUSTED"
            assert error["count"] == settled(server, error["count"], model="narrow", reason=error["reason"])


def test_an_interrupt_ends_the_run_with_what_was_measured(server):
    before = counted(server, model="pair")
    command = bench_command(server.grpc, "pair", "--duration", "60s", "--warmup", "0s", "--rate", "200")
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        while counted(server, model="pair") < before + 20:
            assert running.poll() is None
        running.send_signal(signal.SIGINT)
        told, complaints = running.communicate(timeout=20)
    finally:
        running.kill()
    assert running.returncode == 0, complaints
    report = json.loads(told)
    assert report["interrupted"] is True
    assert 20 <= report["steps"][0]["ok"] < 200 * 60
