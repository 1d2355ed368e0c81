"""A client of the protocol that needs grpc and protobuf alone: the messages are those that the server tells of."""

from dataclasses import dataclass
from functools import cached_property

import grpc
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
INFER = "/inference.GRPCInferenceService/ModelInfer"
SERVICE = "inference.GRPCInferenceService"
DATATYPES = {"int64": "INT64", "float32": "FP32"}
NUMPY = {name: np.dtype(dtype) for dtype, name in DATATYPES.items()}
SECONDS_MAX = 60.0
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


@dataclass
class Answer:
    """Outputs by name, and the rung that the server names."""

    outputs: dict[str, np.ndarray]
    rung: str | None


class Client:
    """One connection to a server, as a context manager."""

    def __init__(self, address: str):
        self.channel = grpc.insecure_channel(address, options=UNLIMITED)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_) -> None:
        self.channel.close()

    def infer(self, model: str, inputs: dict[str, np.ndarray]) -> Answer:
        """Raises grpc.RpcError as grpc does."""
        answer = self._messages["inference.ModelInferResponse"].FromString(self.call(self.encoded(model, inputs)))
        outputs = {
            output.name: np.frombuffer(raw, NUMPY[output.datatype]).reshape(output.shape)
            for output, raw in zip(answer.outputs, answer.raw_output_contents, strict=True)
        }
        parameters = answer.parameters
        return Answer(outputs, parameters["rung"].string_param if "rung" in parameters else None)

    def encoded(self, model: str, inputs: dict[str, np.ndarray]) -> bytes:
        """A request as it is sent."""
        request = self._messages["inference.ModelInferRequest"](model_name=model)
        for name, array in inputs.items():
            request.inputs.add(name=name, datatype=DATATYPES[array.dtype.name], shape=array.shape)
            request.raw_input_contents.append(np.ascontiguousarray(array).tobytes())
        return request.SerializeToString()

    def call(self, encoded: bytes) -> bytes:
        """The answer as it comes. Raises grpc.RpcError as grpc does."""
        return self._call(encoded, timeout=SECONDS_MAX)

    @cached_property
    def _call(self):
        """Without serializers, so that a request can be encoded once and sent often."""
        return self.channel.unary_unary(INFER)

    @cached_property
    def _messages(self) -> dict:
        return classes(self._files(), "inference.ModelInferRequest", "inference.ModelInferResponse")

    def _files(self) -> list[bytes]:
        """The descriptors of the service's files, by the server's reflection."""
        messages = classes([reflection_file()], "reflection.Request", "reflection.Response")
        ask = self.channel.stream_stream(
            REFLECTION,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=messages["reflection.Response"].FromString,
        )
        asked = messages["reflection.Request"](file_containing_symbol=SERVICE)
        return list(next(ask(iter([asked]), timeout=SECONDS_MAX)).files.descriptors)


def classes(files: list[bytes], *names: str) -> dict:
    """The classes of messages that are declared in these files, by their full names."""
    pool = descriptor_pool.DescriptorPool()
    for file in files:
        pool.AddSerializedFile(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(name)) for name in names}


def reflection_file() -> bytes:
    """Those fields of grpc.reflection.v1 that are needed: https://github.com/grpc/grpc-proto has them all."""
    kind = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="reflection.proto", package="reflection", syntax="proto3")
    field = {"type": kind.TYPE_STRING, "label": kind.LABEL_OPTIONAL}
    file.message_type.add(name="Request").field.add(name="file_containing_symbol", number=4, **field)
    field = {"type": kind.TYPE_BYTES, "label": kind.LABEL_REPEATED}
    file.message_type.add(name="Files").field.add(name="descriptors", number=1, **field)
    field = {"type": kind.TYPE_MESSAGE, "label": kind.LABEL_OPTIONAL, "type_name": ".reflection.Files"}
    file.message_type.add(name="Response").field.add(name="files", number=4, **field)
    return file.SerializeToString()
