"""Models that change while the server runs: what appears, changes, fails and leaves, and who notices."""

import json
import os
import shutil
import threading
import time
from contextlib import contextmanager

import grpc
import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from exposition import read_total, readiness, samples, scrape
from grpc_health.v1 import health_pb2, health_pb2_grpc
from repositories import ADDER, adder_tensors, write_adder, write_identity, write_safetensors
from sconce_server import SconceServer
from triton_calls import infer_input
from waiting import wait_for

# By the clock alone, as on a network file system; and by the system's word alone.
POLLING = ["--repository-poll-interval", "100ms", "--repository-settle-time", "100ms"]
TOLD = ["--repository-poll-interval", "1h", "--repository-settle-time", "100ms"]
LOADS = "sconce_model_loads_total"


@contextmanager
def serving(repository, *args):
    with SconceServer([repository], *(args or POLLING)) as server, grpcclient.InferenceServerClient(server.grpc) as client:
        server.client = client
        yield server


def summand(server, version: str = "", model: str = "m", features: int = 1) -> float:
    """What the model adds: it tells which files it was loaded from."""
    x = infer_input("x", np.zeros((1, features), dtype=np.float32))
    return float(server.client.infer(model, [x], model_version=version).as_numpy("y")[0, 0])


def status(server, version: str = "", model: str = "m") -> str:
    try:
        summand(server, version, model)
        return "OK"
    except grpcclient.InferenceServerException as error:
        return error.status().removeprefix("StatusCode.")


def states(server, model: str = "m") -> dict:
    """By version, what readiness says of a model: state and detail."""
    models = readiness(server.metrics)["models"]
    return {each["version"]: (each["state"], each.get("detail", "")) for each in models if each["model"] == model}


def detail(server, version: str = "1") -> str:
    return states(server).get(version, ("", ""))[1]


def failures(server, version: str = "1") -> float:
    return read_total(server.metrics, LOADS, model="m", version=version, result="failure")


def put(source, target) -> None:
    """Puts a file or folder in a place at once, as careful tools do."""
    os.rename(source, target)


def add_version(tmp_path, repository, number: int, adds: float) -> None:
    """Writes a version elsewhere and moves it into the repository."""
    shutil.rmtree(tmp_path / "made", ignore_errors=True)
    made = write_adder(tmp_path / "made", "m", adds, version=number)
    (repository / "m").mkdir(exist_ok=True)
    put(made, repository / "m" / str(number))


def change(version, adds: float) -> None:
    """Other weights in the place of those of a version."""
    write_safetensors(version / "model.safetensors.tmp", adder_tensors(adds))
    put(version / "model.safetensors.tmp", version / "model.safetensors")


@pytest.fixture()
def repository(tmp_path):
    """Holds model `m` in version 1, which adds 1."""
    repository = tmp_path / "repository"
    write_adder(repository, "m", 1)
    return repository


@pytest.mark.parametrize("args", [POLLING, TOLD], ids=["polling", "told"])
def test_a_new_version_takes_the_place_of_the_one_before(tmp_path, repository, args):
    with serving(repository, *args) as server:
        assert (summand(server), states(server)) == (1, {"1": ("ready", "")})
        add_version(tmp_path, repository, 2, 2)
        wait_for(lambda: summand(server) == 2)
        wait_for(lambda: states(server) == {"2": ("ready", "")})
        assert (summand(server, "2"), status(server, "1")) == (2, "NOT_FOUND")
        assert server.client.get_model_metadata("m").versions == ["2"]
        wait_for(lambda: not any(("version", "1") in labels for _, labels in samples(scrape(server.metrics))))


def test_a_new_model_is_served(tmp_path, repository):
    with serving(repository) as server:
        assert status(server, model="n") == "NOT_FOUND"
        write_adder(tmp_path / "made", "n", 7)
        put(tmp_path / "made" / "n", repository / "n")
        wait_for(lambda: status(server, model="n") == "OK")
        assert (summand(server, model="n"), summand(server)) == (7, 1)


def test_policies_change(repository):
    for number in (2, 3):
        write_adder(repository, "m", number, version=number)
    settings = repository / "m" / "model.toml"
    with serving(repository) as server:
        for policy, versions in [
            ('"all"', {"1", "2", "3"}), ('"latest:2"', {"2", "3"}), ("[1, 3]", {"1", "3"}), ('"latest"', {"3"}), ("[1]", {"1"}),
        ]:
            settings.write_text(f"versions = {policy}\n")
            wait_for(lambda versions=versions: states(server) == {number: ("ready", "") for number in versions})
            assert summand(server) == max(int(number) for number in versions)
            for number in versions:
                assert summand(server, number) == int(number)


def test_settings_change(repository):
    settings = repository / "m" / "model.toml"
    rows = [infer_input("x", np.zeros((3, 1), dtype=np.float32))]
    with serving(repository) as server:
        server.client.infer("m", rows)
        settings.write_text("[batching]\nrequest_rows_max = 2\n")

        def is_refused():
            try:
                server.client.infer("m", rows)
            except grpcclient.InferenceServerException as error:
                return "limit of 2" in error.message()
            return False

        wait_for(is_refused)
        # What cannot be read changes nothing, and is told.
        settings.write_text("max_batch_size = -1\n")
        wait_for(lambda: detail(server).startswith("reload failed: "))
        assert "max_batch_size" in detail(server) and is_refused() and summand(server) == 1
        wait_for(lambda: failures(server, "unknown") == 1)
        settings.unlink()
        wait_for(lambda: not is_refused())
        assert states(server) == {"1": ("ready", "")}


def test_a_broken_version_leaves_the_one_before_in_its_place(tmp_path, repository):
    with serving(repository) as server:
        add_version(tmp_path, repository, 2, 2)
        wait_for(lambda: summand(server) == 2)
        write_adder(tmp_path / "other", "m", 3, version=3)
        (tmp_path / "other" / "m" / "3" / "model.safetensors").write_bytes(b"no weights")
        put(tmp_path / "other" / "m" / "3", repository / "m" / "3")
        wait_for(lambda: states(server).get("3", ("",))[0] == "failed")
        assert detail(server, "3").startswith("model.safetensors: ")
        assert states(server)["2"] == ("ready", "") and summand(server) == 2
        assert status(server, "3") == "UNAVAILABLE" and readiness(server.metrics)["ready"]
        wait_for(lambda: failures(server, "3") == 1)
        # It is tried again when it is another one, and only then.
        time.sleep(0.5)
        assert read_total(server.metrics, LOADS, model="m", version="3") == 1
        change(repository / "m" / "3", 3)
        wait_for(lambda: summand(server) == 3)
        wait_for(lambda: states(server) == {"3": ("ready", "")})


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "model.safetensors: expected a safetensors header, the file has 0 bytes"),
        (b"\x80\x04\x95\x10\0\0\0\0\0\0\0\x8c", "model.safetensors: a Python pickle: such files can run code"),
        (b"\xff" * 64, "model.safetensors: expected a header of at most 4194304 bytes"),
    ],
)
def test_a_broken_change_leaves_what_serves(repository, content, told):
    with serving(repository) as server:
        (repository / "m" / "1" / "model.safetensors").write_bytes(content)
        wait_for(lambda: detail(server).startswith("reload failed: "))
        assert detail(server).startswith(f"reload failed: {told}")
        assert states(server)["1"][0] == "ready" and summand(server) == 1
        wait_for(lambda: failures(server) == 1)
        assert "load a model again; it goes on serving as it was" in server.log()
        change(repository / "m" / "1", 5)
        wait_for(lambda: summand(server) == 5)
        assert states(server) == {"1": ("ready", "")}


def test_a_half_written_version_is_left_alone(repository):
    """Slowly copied into its place under its own name, then under another."""
    args = ["--repository-poll-interval", "100ms", "--repository-settle-time", "500ms"]
    weights = (repository / "m" / "1" / "model.safetensors").read_bytes()
    with serving(repository, *args) as server:
        version = repository / "m" / "2"
        version.mkdir()
        (version / "network.toml").write_text(ADDER.format(features=1))
        with (version / "model.safetensors").open("wb", buffering=0) as file:
            for byte in weights[:20]:
                file.write(bytes([byte]))
                time.sleep(0.1)
            file.write(weights[20:])
        wait_for(lambda: states(server) == {"2": ("ready", "")})
        assert failures(server, "2") == 0
        # Nothing that bears the name of half a file is taken, however long it lies there.
        version = repository / "m" / "3"
        version.mkdir()
        (version / "model.safetensors.part").write_bytes(weights[:20])
        (version / "network.toml").write_text(ADDER.format(features=1))
        time.sleep(1.5)
        assert states(server) == {"2": ("ready", "")}
        (version / "model.safetensors.part").write_bytes(weights)
        put(version / "model.safetensors.part", version / "model.safetensors")
        wait_for(lambda: states(server) == {"3": ("ready", "")})
        assert failures(server, "3") == 0


@pytest.mark.parametrize("args", [POLLING, TOLD], ids=["polling", "told"])
def test_a_model_that_is_removed_is_unknown_and_may_come_again(tmp_path, repository, args):
    write_identity(repository, "other", [("FP32", [4])])
    with serving(repository, *args) as server, grpc.insecure_channel(server.grpc) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service="m")
        assert health.Check(request).status == health_pb2.HealthCheckResponse.SERVING
        shutil.rmtree(repository / "m")
        wait_for(lambda: status(server) == "NOT_FOUND")
        assert states(server) == {} and readiness(server.metrics)["ready"]
        assert not server.client.is_model_ready("m") and server.client.is_model_ready("other")
        with pytest.raises(grpc.RpcError) as error:
            wait_for(lambda: health.Check(request).status == -1)
        assert error.value.code() == grpc.StatusCode.NOT_FOUND
        wait_for(lambda: not any(("model", "m") in labels for _, labels in samples(scrape(server.metrics))))
        add_version(tmp_path, repository, 1, 9)
        wait_for(lambda: status(server) == "OK")
        assert summand(server) == 9
        assert health.Check(request).status == health_pb2.HealthCheckResponse.SERVING


def test_the_last_version_is_removed(tmp_path, repository):
    with serving(repository) as server:
        shutil.rmtree(repository / "m" / "1")
        wait_for(lambda: status(server) != "OK")
        wait_for(lambda: list(states(server)) == [None])
        assert "no version folder" in states(server)[None][1] and status(server) == "UNAVAILABLE"
        add_version(tmp_path, repository, 2, 2)
        wait_for(lambda: states(server) == {"2": ("ready", "")})
        assert summand(server) == 2


def test_requests_in_progress_are_answered_when_their_model_leaves(tmp_path):
    write_identity(tmp_path, "steady", [("FP32", [1])], batch_time="3s", settings="[warmup]\ntime_max = \"0s\"\n")
    with serving(tmp_path) as server:
        answers = []
        x = [infer_input("INPUT0", np.ones((1, 1), dtype=np.float32))]
        asking = threading.Thread(target=lambda: answers.append(server.client.infer("steady", x).as_numpy("OUTPUT0")))
        asking.start()
        wait_for(lambda: read_total(server.metrics, "sconce_requests_in_flight") == 1)
        shutil.rmtree(tmp_path / "steady")
        wait_for(lambda: states(server, "steady").get("1", ("gone",))[0] != "ready", 3)
        asking.join()
        assert answers == [np.ones((1, 1), dtype=np.float32)]
        wait_for(lambda: states(server, "steady") == {})


@pytest.mark.parametrize("args", [POLLING, TOLD], ids=["polling", "told"])
def test_a_volume_as_kubernetes_mounts_it(tmp_path, args):
    """What is seen leads over the link `..data` to the folder of this moment; a change puts another link in its place."""
    volume = tmp_path / "volume"

    def mount(moment: str, adds: float) -> None:
        write_adder(volume / moment, "m", adds)
        (volume / "..data_tmp").symlink_to(moment)
        put(volume / "..data_tmp", volume / "..data")

    mount("..moment1", 1)
    (volume / "m").symlink_to("..data/m")
    with serving(volume, *args) as server:
        assert summand(server) == 1
        for number in (2, 3):
            mount(f"..moment{number}", number)
            shutil.rmtree(volume / f"..moment{number - 1}")
            wait_for(lambda number=number: summand(server) == number)
        assert states(server) == {"1": ("ready", "")}


def golden(adds: float, **more) -> str:
    def tensor(name, value):
        return {"name": name, "shape": [2, 1], "datatype": "FP32", "data": [[0.0], [value]]}

    outputs = [{"name": "y", "shape": [2, 1], "datatype": "FP32", "data": [adds, 10 + adds]}]
    return json.dumps({"request": {"inputs": [tensor("x", 10.0)]}, "response": {"outputs": outputs}} | more)


def test_a_version_that_answers_otherwise_than_its_golden_file_is_not_served(repository):
    version = repository / "m" / "1"
    (version / "golden.json").write_text(golden(1))
    with serving(repository) as server:
        assert summand(server) == 1
        change(version, 2)
        wait_for(lambda: detail(server) != "")
        assert detail(server) == (
            'reload failed: golden.json: output "y": row 0: expected [1], got [2]: they differ by 1.000e0, '
            "at most 1e-3 is tolerated"
        )
        assert summand(server) == 1
        (version / "golden.json").write_text(golden(2))
        wait_for(lambda: summand(server) == 2)
        (version / "golden.json").write_text(golden(2.5, tolerance=0.5))
        wait_for(lambda: read_total(server.metrics, LOADS, model="m", result="success") == 3)


def test_a_model_that_does_not_fit_is_refused(tmp_path):
    """256 x 256 weights are 256 KiB, and as much again while their file is read."""
    write_adder(tmp_path, "m", 1, features=256)
    write_adder(tmp_path, "n", 1, features=384)
    with serving(tmp_path, *POLLING, "--limits-models-bytes-max", "1MiB") as server:
        assert summand(server, features=256) == 1
        told = states(server, "n")["1"]
        assert told[0] == "failed"
        assert told[1].startswith("needs 1.1 MiB (577.5 KiB of weights in FP32, 577.6 KiB to read its files), ")
        assert told[1].endswith(" of the budget of 1 MiB for models are left")
        series = samples(scrape(server.metrics))
        weights = 4 * (256 * 256 + 256)
        assert series["sconce_model_bytes", frozenset({("model", "m"), ("version", "1")})] == weights
        assert series["sconce_models_limit_bytes", frozenset()] == 1 << 20
        # During a swap both count: 257 KiB that serve, and 514 for the next.
        write_safetensors(tmp_path / "made.safetensors", adder_tensors(2, 256))
        put(tmp_path / "made.safetensors", tmp_path / "m" / "1" / "model.safetensors")
        wait_for(lambda: summand(server, features=256) == 2)
        wait_for(lambda: read_total(server.metrics, "sconce_model_bytes", model="m") == weights)
        write_safetensors(tmp_path / "m" / "1" / "model.safetensors", adder_tensors(3, 320))
        wait_for(lambda: detail(server) != "")
        assert detail(server).startswith("reload failed: needs 802") and summand(server, features=256) == 2


def test_links_that_lead_out_of_the_repository_are_refused(tmp_path, repository):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    with serving(repository) as server:
        weights = repository / "m" / "1" / "model.safetensors"
        weights.unlink()
        weights.symlink_to(secret)
        wait_for(lambda: detail(server) != "")
        told = f"model.safetensors: a link leads out of the model repository, to {secret}"
        assert detail(server) == f"reload failed: {told}" and summand(server) == 1
        weights.unlink()
        os.mkfifo(weights)
        wait_for(lambda: detail(server) == "reload failed: model.safetensors: not a regular file")
        assert summand(server) == 1


def test_watching_can_be_switched_off(tmp_path, repository):
    with serving(repository, *POLLING, "--repository-watch=false") as server:
        add_version(tmp_path, repository, 2, 2)
        time.sleep(1)
        assert summand(server) == 1


def test_warming_up_tells_how_far_it_is(repository):
    settings = "max_batch_size = 8\n[warmup]\ntime_max = \"60s\"\n"
    with serving(repository) as server:
        write_identity(repository, "steady", [("FP32", [1])], batch_time="150ms", settings=settings)
        seen = set()

        def is_ready():
            seen.update(states(server, "steady").values())
            return ("ready", "") in seen

        wait_for(is_ready, 30)
        assert ("warming up", "warming up: 2 of 4 batches") in seen
        # A server that serves goes on being ready while a model is added to it.
        assert readiness(server.metrics)["ready"]


def test_files_that_change_while_they_are_loaded_are_loaded_again(repository):
    """The golden question takes a second, and is asked before the files are looked at once more."""
    written = [{"name": name, "shape": [1, 1], "datatype": "FP32", "data": [7]} for name in ("INPUT0", "OUTPUT0")]
    golden = json.dumps({"request": {"inputs": written[:1]}, "response": {"outputs": written[1:]}})
    with serving(repository) as server:
        version = write_identity(
            repository, "steady", [("FP32", [1])], batch_time="1s", settings='[warmup]\ntime_max = "0s"\n'
        )
        (version / "golden.json").write_text(golden)
        wait_for(lambda: states(server, "steady") == {"1": ("loading", "")})
        (version / "note.txt").write_text("one more file")
        told = "version: its files changed while they were loaded; it is loaded again when they have settled"
        wait_for(lambda: states(server, "steady") == {"1": ("failed", told)})
        wait_for(lambda: states(server, "steady") == {"1": ("ready", "")})


class Load:
    """Asks a model from several threads for as long as it is entered, several rows at a time."""

    THREADS, ROWS = 6, 3

    def __init__(self, server):
        self.server, self.stop, self.errors, self.seen, self.answered = server, threading.Event(), [], set(), 0
        self.threads = [threading.Thread(target=self.ask, args=[number]) for number in range(self.THREADS)]

    def ask(self, number: int) -> None:
        x = np.arange(self.ROWS, dtype=np.float32).reshape(-1, 1) + number
        with grpcclient.InferenceServerClient(self.server.grpc) as client:
            while not self.stop.is_set():
                try:
                    added = client.infer("m", [infer_input("x", x)]).as_numpy("y") - x
                except grpcclient.InferenceServerException as error:
                    self.errors.append(str(error))
                    return
                # One answer comes from one version.
                if len(set(added.flat)) != 1:
                    self.errors.append(f"mixed: {added}")
                self.seen.add(float(added[0, 0]))
                self.answered += 1

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()


QUICK = ["--repository-poll-interval", "1s", "--repository-settle-time", "10ms"]


def threads(server) -> int:
    return len(os.listdir(f"/proc/{server.pid}/task"))


@pytest.mark.parametrize("placement", ["inline", "thread"])
def test_a_hundred_reloads_under_load_fail_no_request(repository, placement):
    version = repository / "m" / "1"
    (repository / "m" / "model.toml").write_text(f'[device]\nplacement = "{placement}"\n')
    with serving(repository, *QUICK) as server, Load(server) as load:
        wait_for(lambda: load.answered > 100)
        before = threads(server)
        for number in range(2, 102):
            change(version, number)
            wait_for(lambda number=number: summand(server) == number)
            assert not load.errors
        # What was replaced has gone, with its thread; those of the runtime that may block come and go.
        wait_for(lambda: threads(server) <= before + 2)
    assert not load.errors
    assert load.seen <= set(map(float, range(1, 102))) and len(load.seen) > 90
    assert load.answered > 1000


def test_version_after_version_under_load_fails_no_request(tmp_path, repository):
    with serving(repository, *QUICK) as server, Load(server) as load:
        for number in range(2, 22):
            add_version(tmp_path, repository, number, number)
            wait_for(lambda number=number: summand(server) == number)
            if number % 2:
                shutil.rmtree(repository / "m" / str(number - 1))
        wait_for(lambda: list(states(server)) == ["21"])
    assert not load.errors and load.seen == set(map(float, range(1, 22)))
