"""Triton's own Python client, unmodified, against the server: the six calls, requests good and bad."""

import queue
import re
import threading

import grpc
import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from sconce_server import SconceServer
from triton_calls import infer_input, raw_request
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException


@pytest.fixture(scope="module")
def client(server):
    with grpcclient.InferenceServerClient(server.grpc) as client:
        yield client


@pytest.fixture(scope="module")
def stub(server):
    """The generated stub below the client, for what the client does not send by itself."""
    with grpc.insecure_channel(server.grpc) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


def pair(rows: int = 2):
    """Inputs of the model `pair`."""
    return [
        np.arange(rows * 4, dtype=np.float32).reshape(rows, 4),
        np.arange(rows * 6, dtype=np.int64).reshape(rows, 2, 3),
    ]


def pair_inputs(rows: int = 2):
    return [infer_input(f"INPUT{i}", array) for i, array in enumerate(pair(rows))]


def refused(call, *args, **kwargs) -> tuple[str, str]:
    """Status and text of the error that a call of the client or of the stub ends with."""
    try:
        call(*args, **kwargs)
    except InferenceServerException as error:
        return error.status().removeprefix("StatusCode."), error.message()
    except grpc.RpcError as error:
        return error.code().name, error.details()
    pytest.fail("the call was answered")


# --- what the server is -----------------------------------------------------------------------------------------------


def test_live_and_ready(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("pair")
    assert client.is_model_ready("versions", "1")


def test_what_is_not_there_is_not_ready(client):
    for name, version in (("nobody", ""), ("pair", "2")):
        try:
            assert not client.is_model_ready(name, version)
        except InferenceServerException as error:
            assert error.status() == "StatusCode.NOT_FOUND"


def test_server_metadata(client):
    metadata = client.get_server_metadata()
    assert metadata.name == "sconce"
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", metadata.version)
    # Clients call ModelStatistics and fail when it is advertised but not there.
    assert "statistics" not in metadata.extensions


def test_model_metadata(client):
    metadata = client.get_model_metadata("pair")
    assert metadata.name == "pair"
    assert list(metadata.versions) == ["1"]
    inputs = [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in metadata.inputs]
    assert inputs == [("INPUT0", "FP32", [-1, 4]), ("INPUT1", "INT64", [-1, 2, 3])]
    outputs = [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in metadata.outputs]
    assert outputs == [("OUTPUT0", "FP32", [-1, 4]), ("OUTPUT1", "INT64", [-1, 2, 3])]
    assert list(client.get_model_metadata("versions").versions) == ["1", "3"]


def test_metadata_of_what_is_not_there(client):
    for name, version in (("nobody", ""), ("pair", "2"), ("PAIR", "")):
        status, text = refused(client.get_model_metadata, name, version)
        assert status == "NOT_FOUND"
        assert name in text


# --- good requests ----------------------------------------------------------------------------------------------------


def test_outputs_come_back_in_order_with_the_id(client):
    result = client.infer("pair", pair_inputs(), request_id="request-7")
    response = result.get_response()
    assert response.id == "request-7"
    assert response.model_name == "pair"
    assert response.model_version == "1"
    assert [output.name for output in response.outputs] == ["OUTPUT0", "OUTPUT1"]
    # Triton's client reads raw contents only.
    assert len(response.raw_output_contents) == 2
    for i, array in enumerate(pair()):
        np.testing.assert_array_equal(result.as_numpy(f"OUTPUT{i}"), array)


def test_inputs_in_any_order(client):
    result = client.infer("pair", pair_inputs()[::-1])
    np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), pair()[0])


def test_only_the_requested_outputs(client):
    wanted = [grpcclient.InferRequestedOutput("OUTPUT1")]
    response = client.infer("pair", pair_inputs(), outputs=wanted).get_response()
    assert [output.name for output in response.outputs] == ["OUTPUT1"]
    assert len(response.raw_output_contents) == 1
    wanted = [grpcclient.InferRequestedOutput(name) for name in ("OUTPUT1", "OUTPUT0")]
    response = client.infer("pair", pair_inputs(), outputs=wanted).get_response()
    assert [output.name for output in response.outputs] == ["OUTPUT1", "OUTPUT0"]


def test_versions(client):
    inputs = [infer_input("INPUT0", np.array([[5]], dtype=np.int32))]
    for asked, used in (("", "3"), ("1", "1"), ("3", "3")):
        assert client.infer("versions", inputs, model_version=asked).get_response().model_version == used


def test_parameters_of_triton_clients(client):
    # What perf_analyzer sends on each request, and what users send; `priority` travels as an unsigned number.
    result = client.infer(
        "pair",
        pair_inputs(),
        priority=1,
        timeout=30_000_000,
        client_timeout=30,
        headers={"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "x-user": "someone"},
        parameters={"colour": "blue", "depth": 3, "wide": True},
    )
    np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), pair()[0])


def test_perf_analyzer_parameter(stub):
    request = raw_request("identity_uint8", ("INPUT0", "UINT8", [1, 2], b"ab"))
    request.parameters["triton_enable_empty_final_response"].bool_param = True
    request.inputs[0].parameters["binary_data_size"].int64_param = 2
    assert stub.ModelInfer(request).raw_output_contents[0] == b"ab"


def test_more_rows_than_a_batch(client):
    rows = 500
    result = client.infer("pair", pair_inputs(rows))
    for i, array in enumerate(pair(rows)):
        np.testing.assert_array_equal(result.as_numpy(f"OUTPUT{i}"), array)


def test_batch_report(client):
    response = client.infer("pair", pair_inputs(3), parameters={"batch_report": True}).get_response()
    report = {name: value.WhichOneof("parameter_choice") for name, value in response.parameters.items()}
    for name in ("batch_rows", "queue_us", "compute_us", "release"):
        assert name in report, report
    assert response.parameters["batch_rows"].int64_param >= 3
    releases = ("full", "preferred", "idle", "delay", "deadline", "drain", "bisect")
    assert response.parameters["release"].string_param in releases
    # Unasked for, nothing is told.
    assert not client.infer("pair", pair_inputs(3)).get_response().parameters


def test_many_at_once_each_get_their_own_rows(client):
    calls, answers = 400, queue.Queue()
    for i in range(calls):
        inputs = [infer_input("INPUT0", np.full((1 + i % 3, 1), i, dtype=np.int32))]
        client.async_infer("versions", inputs, lambda result, error, i=i: answers.put((i, result, error)), request_id=str(i))
    for _ in range(calls):
        i, result, error = answers.get(timeout=60)
        assert error is None
        assert result.get_response().id == str(i)
        np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), np.full((1 + i % 3, 1), i, dtype=np.int32))


def test_many_connections(server):
    failures = []

    def work(mark: int):
        try:
            with grpcclient.InferenceServerClient(server.grpc, channel_args=[("grpc.use_local_subchannel_pool", 1)]) as own:
                for _ in range(20):
                    inputs = [infer_input("INPUT0", np.full((1, 1), mark, dtype=np.int32))]
                    assert own.infer("versions", inputs).as_numpy("OUTPUT0")[0, 0] == mark
        except Exception as error:  # any failure of a thread is the test's
            failures.append(error)

    threads = [threading.Thread(target=work, args=(mark,)) for mark in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compression_is_served_or_refused_in_words(client, algorithm):
    try:
        result = client.infer("pair", pair_inputs(64), compression_algorithm=algorithm)
    except InferenceServerException as error:
        assert error.status() == "StatusCode.UNIMPLEMENTED"
        assert algorithm in error.message()
    else:
        np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), pair(64)[0])


def test_a_client_that_pings_often_is_not_sent_away(server):
    options = grpcclient.KeepAliveOptions(
        keepalive_time_ms=200,
        keepalive_timeout_ms=2000,
        keepalive_permit_without_calls=True,
        http2_max_pings_without_data=0,
    )
    with grpcclient.InferenceServerClient(server.grpc, keepalive_options=options) as client:
        assert client.is_server_live()
        # Nothing to wait for: the point is that nothing happens for as long as some pings take.
        threading.Event().wait(1.5)
        assert client.is_server_live()


# --- bad requests -----------------------------------------------------------------------------------------------------


def test_unknown_model_and_version(client):
    for model, version in (("nobody", ""), ("pair", "2"), ("pair", "01"), ("pair", "one"), ("../pair", ""), ("", "")):
        status, text = refused(client.infer, model, pair_inputs(), model_version=version)
        assert status in ("NOT_FOUND", "INVALID_ARGUMENT"), (model, version, text)
        assert text.isprintable()
    assert refused(client.infer, "nobody", pair_inputs())[0] == "NOT_FOUND"


@pytest.mark.parametrize(
    ("inputs", "names"),
    [
        pytest.param([("INPUT0", "FP64", [1, 4], bytes(32))], ["INPUT0", "FP32", "FP64"], id="datatype"),
        pytest.param([("INPUT0", "FP23", [1, 4], bytes(16))], ["INPUT0", "FP23"], id="no such datatype"),
        pytest.param([("INPUT0", "FP32", [1, 5], bytes(20))], ["INPUT0", "[-1,4]", "[1,5]"], id="shape"),
        pytest.param([("INPUT0", "FP32", [4], bytes(16))], ["INPUT0", "[-1,4]", "[4]"], id="rank"),
        pytest.param([("INPUT0", "FP32", [-1, 4], bytes(16))], ["INPUT0", "-1"], id="negative"),
        pytest.param([("INPUT0", "FP32", [1, 4], bytes(15))], ["INPUT0", "16", "15"], id="too few bytes"),
        pytest.param([("INPUT0", "FP32", [1, 4], bytes(17))], ["INPUT0", "16", "17"], id="too many bytes"),
        pytest.param([("INPUT9", "FP32", [1, 4], bytes(16))], ["INPUT9"], id="unknown name"),
        pytest.param([], ["INPUT0"], id="none"),
        pytest.param([("INPUT0", "FP32", [1, 4], bytes(16))] * 2, ["INPUT0"], id="twice"),
        pytest.param([("INPUT0", "FP32", [2**62, 4], bytes(16))], ["INPUT0"], id="overflow"),
        pytest.param([("INPUT0", "FP32", [2**40, 4], bytes(16))], ["INPUT0"], id="huge"),
        pytest.param([("INPUT0", "FP32", [1, 4], None)], ["raw_input_contents", "2", "1"], id="no contents"),
    ],
)
def test_wrong_inputs_are_told_what_was_expected_and_what_came(stub, inputs, names):
    good = ("INPUT1", "INT64", [1, 2, 3], bytes(48))
    status, text = refused(stub.ModelInfer, raw_request("pair", *inputs, good))
    assert status == "INVALID_ARGUMENT", text
    for name in names:
        assert name in text, f"{name} in: {text}"
    assert text.isprintable()


def test_inputs_of_unequal_rows(stub):
    inputs = [("INPUT0", "FP32", [2, 4], bytes(32)), ("INPUT1", "INT64", [1, 2, 3], bytes(48))]
    assert refused(stub.ModelInfer, raw_request("pair", *inputs))[0] == "INVALID_ARGUMENT"


def test_raw_and_typed_contents_do_not_mix(stub):
    request = raw_request("pair", ("INPUT0", "FP32", [1, 4], bytes(16)), ("INPUT1", "INT64", [1, 2, 3], None))
    request.inputs[1].contents.int64_contents.extend(range(6))
    assert refused(stub.ModelInfer, request)[0] == "INVALID_ARGUMENT"


def test_more_contents_than_inputs(stub):
    request = raw_request("identity_uint8", ("INPUT0", "UINT8", [1, 2], b"ab"))
    request.raw_input_contents.append(b"cd")
    assert refused(stub.ModelInfer, request)[0] == "INVALID_ARGUMENT"


def test_unknown_output(client):
    wanted = [grpcclient.InferRequestedOutput("OUTPUT9")]
    status, text = refused(client.infer, "pair", pair_inputs(), outputs=wanted)
    assert status == "INVALID_ARGUMENT"
    assert "OUTPUT9" in text and "OUTPUT0" in text


@pytest.mark.parametrize("name", ["timeout", "priority", "confidence", "batch_report", "fallback"])
def test_parameters_of_the_wrong_type(stub, name):
    request = raw_request("identity_uint8", ("INPUT0", "UINT8", [1, 2], b"ab"))
    request.parameters[name].string_param = "soon"
    status, text = refused(stub.ModelInfer, request)
    assert status == "INVALID_ARGUMENT"
    assert name in text


def test_no_rows(stub):
    request = raw_request("identity_uint8", ("INPUT0", "UINT8", [0, 2], b""))
    try:
        response = stub.ModelInfer(request)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert "row" in error.details()
    else:
        assert list(response.outputs[0].shape) == [0, 2]


def test_text_from_a_client_comes_back_on_one_printable_line(stub):
    name = "no\nsuch\x1b[31m\u202emodel" + "x" * 5000
    status, text = refused(stub.ModelInfer, raw_request(name, ("INPUT0", "UINT8", [1, 2], b"ab")))
    assert status in ("NOT_FOUND", "INVALID_ARGUMENT")
    assert text.isprintable()
    assert len(text) <= 1100


def test_what_is_not_implemented_says_so(stub):
    assert refused(stub.ModelStatistics, service_pb2.ModelStatisticsRequest())[0] == "UNIMPLEMENTED"


def test_good_requests_go_on_after_bad_ones(client):
    for _ in range(20):
        refused(client.infer, "nobody", pair_inputs())
    np.testing.assert_array_equal(client.infer("pair", pair_inputs()).as_numpy("OUTPUT0"), pair()[0])


def test_a_message_over_the_limit_is_told_the_limit(identity_models):
    with SconceServer([identity_models], "--limits-message-bytes-max", "1MiB") as small:
        with grpcclient.InferenceServerClient(small.grpc) as client:
            status, text = refused(client.infer, "pair", pair_inputs(30_000))
            assert status == "RESOURCE_EXHAUSTED"
            assert str(1 << 20) in text
            client.infer("pair", pair_inputs())
