"""Asks text models through tritonclient, and gives what came in numpy."""

import json
from collections.abc import Sequence

import numpy as np
import tritonclient.grpc as grpcclient
from triton_calls import infer_input


def text_input(name: str, texts: Sequence[str | bytes]):
    """A BYTES input [rows]."""
    rows = [text.encode() if isinstance(text, str) else text for text in texts]
    return infer_input(name, np.array(rows, dtype=np.object_), "BYTES")


def text_inputs(texts: Sequence[str], pairs: Sequence[str] | None = None) -> list:
    inputs = [text_input("text", texts)]
    return inputs if pairs is None else [*inputs, text_input("text_pair", pairs)]


def token_inputs(tokens: dict) -> list:
    """What a tokenizer of transformers gave, as INT64 [rows, tokens] each."""
    return [infer_input(name, tensor.numpy()) for name, tensor in tokens.items()]


def outputs_of(result) -> dict[str, np.ndarray]:
    return {output.name: result.as_numpy(output.name) for output in result.get_response().outputs}


def ask(client, model: str, inputs: list, outputs: Sequence[str] = (), **parameters):
    """The answer of tritonclient; without names of outputs, to what the model gives by itself."""
    wanted = [grpcclient.InferRequestedOutput(name) for name in outputs] or None
    return client.infer(model, inputs, outputs=wanted, parameters=parameters or None)


def list_of(result, parameter: str) -> list | None:
    """A parameter of the answer that is a JSON array; None if it is not there."""
    parameters = result.get_response().parameters
    return json.loads(parameters[parameter].string_param) if parameter in parameters else None
