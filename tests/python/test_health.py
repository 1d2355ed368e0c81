"""The standard health and reflection services, as Kubernetes and grpcurl use them."""

import grpc
import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tritonclient.grpc import service_pb2, service_pb2_grpc

SERVING = health_pb2.HealthCheckResponse.SERVING
SERVICE = "inference.GRPCInferenceService"


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(server.grpc) as channel:
        yield channel


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_questions_may_be_compressed(server, compression):
    """A client's channel compresses all that it sends, not inference alone."""
    with grpc.insecure_channel(server.grpc, compression=compression) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        assert stub.ServerLive(service_pb2.ServerLiveRequest()).live
        assert stub.ModelMetadata(service_pb2.ModelMetadataRequest(name="pair")).name == "pair"


@pytest.fixture(scope="module")
def health(channel):
    return health_pb2_grpc.HealthStub(channel)


@pytest.mark.parametrize("service", ["", SERVICE, "pair", "identity_fp32"])
def test_check_and_watch(health, service):
    request = health_pb2.HealthCheckRequest(service=service)
    assert health.Check(request).status == SERVING
    watch = health.Watch(request)
    assert next(watch).status == SERVING
    watch.cancel()


def test_health_of_what_is_not_there(health):
    request = health_pb2.HealthCheckRequest(service="nobody")
    with pytest.raises(grpc.RpcError) as error:
        health.Check(request)
    assert error.value.code() == grpc.StatusCode.NOT_FOUND
    # The protocol has Watch answer such a name, since it may come to be.
    watch = health.Watch(request)
    try:
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.NOT_FOUND
    watch.cancel()


def test_reflection_v1alpha(channel):
    database = ProtoReflectionDescriptorDatabase(channel)
    assert {SERVICE, "grpc.health.v1.Health"} <= set(database.get_services())
    service = DescriptorPool(database).FindServiceByName(SERVICE)
    calls = {method.name for method in service.methods}
    assert calls == {"ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer"}
    infer = service.methods_by_name["ModelInfer"]
    assert "raw_input_contents" in infer.input_type.fields_by_name


def test_reflection_v1(channel):
    # The same messages as v1alpha under another name, which is the one that grpcurl tries first.
    call = channel.stream_stream(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE),
    ]
    services, file = call(iter(requests))
    assert SERVICE in {service.name for service in services.list_services_response.service}
    descriptor = descriptor_pb2.FileDescriptorProto.FromString(file.file_descriptor_response.file_descriptor_proto[0])
    assert descriptor.package == "inference"
    with pytest.raises(grpc.RpcError) as error:
        list(call(iter([reflection_pb2.ServerReflectionRequest(file_containing_symbol="no.such.Symbol")])))
    assert error.value.code() == grpc.StatusCode.NOT_FOUND
