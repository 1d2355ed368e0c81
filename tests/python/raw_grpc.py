"""gRPC spoken by hand over HTTP/2, for what a gRPC library does not show: whose status it was, and when it came."""

import socket
import struct
import time
from dataclasses import dataclass, field
from urllib.parse import unquote

import h2.config
import h2.connection
import h2.events
import h2.settings

INFER = "/inference.GRPCInferenceService/ModelInfer"


def prefixed(message: bytes, flag: int = 0) -> bytes:
    """A message as gRPC frames it: whether it is compressed, its length, and itself."""
    return struct.pack(">BI", flag, len(message)) + message


@dataclass
class Answer:
    """What the server said on one stream."""

    headers: dict = field(default_factory=dict)
    trailers: dict = field(default_factory=dict)
    body: bytes = b""
    reset: int | None = None
    seconds: float = 0.0

    @property
    def status(self) -> int | None:
        """The gRPC status, from the trailers or, where there is no body, from the headers."""
        text = self.trailers.get("grpc-status", self.headers.get("grpc-status"))
        return None if text is None else int(text)

    @property
    def message(self) -> str:
        return unquote(self.trailers.get("grpc-message", self.headers.get("grpc-message", "")))

    @property
    def reason(self) -> str | None:
        """The label under which the server counts a refusal."""
        return self.trailers.get("sconce-reason", self.headers.get("sconce-reason"))

    @property
    def pushback(self) -> int | None:
        """Milliseconds after which the server says that trying again is worth while."""
        text = self.trailers.get("grpc-retry-pushback-ms", self.headers.get("grpc-retry-pushback-ms"))
        return None if text is None else int(text)


class Http(h2.connection.H2Connection):
    """h2 takes a GOAWAY for the end of everything; it is the end of new calls, and those in flight are answered."""

    def _receive_goaway_frame(self, frame):
        state = self.state_machine.state
        answered = super()._receive_goaway_frame(frame)
        self.state_machine.state = state
        return answered


class Connection:
    """One HTTP/2 connection, from the address `source` where one is named: the server tells clients apart by it."""

    def __init__(self, address: str, seconds_max: float = 30.0, source: str = ""):
        host, port = address.rsplit(":", 1)
        self.authority = address
        self.socket = socket.create_connection((host, int(port)), seconds_max, (source, 0))
        # As gRPC's clients do: a small frame does not wait until the one before it is acknowledged.
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.http = Http(h2.config.H2Configuration(header_encoding="utf-8"))
        self.http.initiate_connection()
        self.answers: dict[int, Answer] = {}
        self.began: dict[int, float] = {}
        self.ended: set[int] = set()
        # Error code of the server's GOAWAY.
        self.goaway: int | None = None
        self.pongs: set[bytes] = set()
        self._flush()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, path: str, message: bytes, **headers: str) -> int:
        """Sends one unary call and gives its stream; `grpc_timeout="50m"` becomes the header `grpc-timeout`."""
        return self.send_body(path, prefixed(message), **headers)

    def send_body(self, path: str, body: bytes, **headers: str) -> int:
        """Sends a call whose body is these bytes, which need not be what gRPC prescribes."""
        stream = self.begin(path, **headers)
        self.write(stream, body, ends=True)
        return stream

    def begin(self, path: str, **headers: str) -> int:
        """The head of a call, which goes out with the first part of its body; gives its stream."""
        stream = self.http.get_next_available_stream_id()
        fields = [
            (":method", "POST"), (":scheme", "http"), (":path", path), (":authority", self.authority),
            ("te", "trailers"), ("content-type", "application/grpc"),
        ]
        fields += [(name.replace("_", "-"), value) for name, value in headers.items()]
        self.http.send_headers(stream, fields)
        self.answers[stream], self.began[stream] = Answer(), time.monotonic()
        return stream

    def write(self, stream: int, part: bytes, ends: bool = False) -> None:
        """Sends a part of a call's body, as far as the server still wants it."""
        rest = memoryview(part)
        while rest and stream not in self.ended:
            room = min(self.http.local_flow_control_window(stream), self.http.max_outbound_frame_size, len(rest))
            if room == 0:
                self._flush()
                self._receive()
                continue
            self.http.send_data(stream, rest[:room])
            rest = rest[room:]
        if ends and stream not in self.ended:
            self.http.end_stream(stream)
        self._flush()

    def cancel(self, stream: int) -> None:
        """Resets a stream, as a client does that no longer wants the answer."""
        self.http.reset_stream(stream, error_code=8)
        self._flush()

    def wait(self, stream: int) -> Answer:
        """The whole answer on a stream."""
        self.read_until(lambda: stream in self.ended)
        return self.answers[stream]

    def read_until(self, condition) -> None:
        """Reads what the server sends until the condition holds."""
        while not condition():
            self._receive()

    def call(self, path: str, message: bytes, **headers: str) -> Answer:
        return self.wait(self.send(path, message, **headers))

    def ping(self) -> None:
        """Asks whether the server is there, and waits until it says so."""
        asked = struct.pack(">d", time.monotonic())
        self.http.ping(asked)
        self._flush()
        self.read_until(lambda: asked in self.pongs)

    def _flush(self) -> None:
        self.socket.sendall(self.http.data_to_send())

    def _receive(self) -> None:
        data = self.socket.recv(1 << 16)
        if not data:
            raise ConnectionError("the server closed the connection")
        for event in self.http.receive_data(data):
            self._take(event)
        self._flush()

    def _take(self, event) -> None:
        if isinstance(event, h2.events.ConnectionTerminated):
            self.goaway = event.error_code
        elif isinstance(event, h2.events.PingAckReceived):
            self.pongs.add(event.ping_data)
        stream = getattr(event, "stream_id", None)
        answer = self.answers.get(stream)
        if answer is None:
            return
        if isinstance(event, h2.events.ResponseReceived):
            answer.headers = dict(event.headers)
        elif isinstance(event, h2.events.TrailersReceived):
            answer.trailers = dict(event.headers)
        elif isinstance(event, h2.events.DataReceived):
            answer.body += event.data
            self.http.acknowledge_received_data(event.flow_controlled_length, stream)
        elif isinstance(event, h2.events.StreamReset):
            answer.reset = event.error_code
        if isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset)):
            answer.seconds = time.monotonic() - self.began[stream]
            self.ended.add(stream)
