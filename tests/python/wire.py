"""HTTP/2 by hand, frame by frame, for what a library refuses to send."""

import select
import socket
import struct
import time
from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple

import hpack
from h2.errors import ErrorCodes
from raw_grpc import INFER, Answer

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
ACK = END_STREAM = 0x1
END_HEADERS = 0x4
PADDED = 0x8
HEAD_BYTES = 9
READ_BYTES = 1 << 16


class Kind(IntEnum):
    """Types of frames."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class Setting(IntEnum):
    """Names of settings."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5


class Frame(NamedTuple):
    """A frame that the server has sent."""

    kind: int
    flags: int
    stream: int
    payload: bytes


def frame(kind: int, payload: bytes = b"", *, stream: int = 0, flags: int = 0, length: int | None = None) -> bytes:
    """A frame of any bytes; `length` is what it claims to hold, by default the truth."""
    claimed = len(payload) if length is None else length
    return struct.pack(">I", claimed)[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def settings(**values: int) -> bytes:
    """A SETTINGS frame of `initial_window_size=0` and the like."""
    pairs = (struct.pack(">HI", Setting[name.upper()], value) for name, value in values.items())
    return frame(Kind.SETTINGS, b"".join(pairs))


def window_update(stream: int, more: int) -> bytes:
    return frame(Kind.WINDOW_UPDATE, struct.pack(">I", more), stream=stream)


def reset(stream: int) -> bytes:
    """As a client does that no longer wants the answer."""
    return frame(Kind.RST_STREAM, struct.pack(">I", ErrorCodes.CANCEL), stream=stream)


def header_block(fields: Iterable[tuple]) -> bytes:
    """Headers without the dynamic table, so that the block is right at any place of a connection."""
    # Nor with Huffman's code, at which the library takes minutes for a megabyte.
    return hpack.Encoder().encode([(name, value, True) for name, value in fields], huffman=False)


def call_fields(**headers: str) -> list[tuple[str, str]]:
    """The headers of a good call; `grpc_timeout="5m"` becomes `grpc-timeout`."""
    return [
        (":method", "POST"), (":scheme", "http"), (":path", INFER), (":authority", "hostile"),
        ("te", "trailers"), ("content-type", "application/grpc"),
        *((name.replace("_", "-"), value) for name, value in headers.items()),
    ]


def call_head(stream: int, **headers: str) -> bytes:
    """The HEADERS frame of a good call whose body is still to come."""
    return frame(Kind.HEADERS, header_block(call_fields(**headers)), stream=stream, flags=END_HEADERS)


def call_frames(stream: int, body: bytes, **headers: str) -> bytes:
    """A whole call, of a body that fits into one frame."""
    return call_head(stream, **headers) + frame(Kind.DATA, body, stream=stream, flags=END_STREAM)


def connect(address: str, seconds_max: float = 10.0) -> socket.socket:
    """A connection on which nothing has been said."""
    host, port = address.rsplit(":", 1)
    connection = socket.create_connection((host, int(port)), seconds_max)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def seconds_until_closed(connection: socket.socket, seconds_max: float = 10.0) -> float:
    """Reads until the server has closed the connection. Raises TimeoutError if it does not."""
    began = time.monotonic()
    try:
        while True:
            connection.settimeout(max(0.001, began + seconds_max - time.monotonic()))
            if not connection.recv(READ_BYTES):
                break
    except ConnectionError:
        pass
    return time.monotonic() - began


class Wire:
    """An HTTP/2 connection on which everything after the first words is the test's.

    Reading while it sends is part of sending, unless `reads` is off: a server whose answers are not read stops reading.
    """

    def __init__(self, address: str, first: bytes | None = None, seconds_max: float = 10.0):
        self.socket = connect(address, seconds_max)
        self.seconds_max = seconds_max
        self.closed = False
        self.goaway: ErrorCodes | None = None
        self.frames: list[Frame] = []
        self.answers: dict[int, Answer] = {}
        self.ended: set[int] = set()
        self._bytes = bytearray()
        self._decoder = hpack.Decoder()
        self.send(PREFACE + (settings() if first is None else first))
        self._read_until(lambda: any(frame.kind == Kind.SETTINGS for frame in self.frames))
        # Room for all the answers of a test; what a single stream may send is left to the settings.
        self.send(frame(Kind.SETTINGS, flags=ACK) + window_update(0, 2**30))

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_) -> None:
        self.socket.close()

    def send(self, data: bytes, reads: bool = True) -> bool:
        """Sends until all is sent (true), the server has closed, or it has taken nothing for `seconds_max` (false)."""
        rest = memoryview(data)
        self.socket.setblocking(False)
        while rest and not self.closed:
            readable, writable, _ = select.select([self.socket] if reads else [], [self.socket], [], self.seconds_max)
            if readable:
                self._read_once()
            if writable and not self.closed:
                rest = rest[self._write_once(rest) :]
            if not readable and not writable:
                return False
        return not rest

    def flood(self, parts: Iterable[bytes], pause: float = 0.001, reads: bool = True) -> None:
        """Sends part by part, as long as the server takes them, with pauses that leave the processor to others."""
        for part in parts:
            if not self.send(part, reads):
                return
            time.sleep(pause)

    def wait(self, stream: int) -> Answer:
        """The whole answer on a stream."""
        self._read_until(lambda: stream in self.ended)
        return self.answers[stream]

    def wait_for_all(self, streams: Iterable[int]) -> list[Answer]:
        return [self.wait(stream) for stream in streams]

    def call(self, stream: int, body: bytes, **headers: str) -> Answer:
        """A call on a stream that was not used before, of a body that fits into one frame."""
        self.send(call_frames(stream, body, **headers))
        return self.wait(stream)

    def ping(self) -> None:
        """Comes back once the server has read everything before."""
        asked = struct.pack(">d", time.monotonic())
        self.send(frame(Kind.PING, asked))
        answered = (Kind.PING, ACK, 0, asked)
        self._read_until(lambda: answered in self.frames)

    def hang_up(self) -> None:
        """Says that nothing more will come, while still listening: a half-closed socket."""
        if not self.closed:
            self.socket.shutdown(socket.SHUT_WR)

    def told_to_go(self) -> ErrorCodes:
        """Waits for the server's GOAWAY, and gives the error that it names."""
        self._read_until(lambda: self.goaway is not None)
        return self.goaway

    def ending(self) -> ErrorCodes | None:
        """Waits until the server closes the connection; the error that it named, if it named one."""
        self._read_until(lambda: self.closed)
        return self.goaway

    def _read_until(self, condition) -> None:
        end = time.monotonic() + self.seconds_max
        while not condition():
            if self.closed:
                raise ConnectionError(f"the server closed the connection; GOAWAY: {self.goaway!r}")
            if not select.select([self.socket], [], [], max(0.0, end - time.monotonic()))[0]:
                raise TimeoutError(f"nothing came for {self.seconds_max} s; before: {self.frames[-5:]}")
            self._read_once()

    def _write_once(self, data: memoryview) -> int:
        try:
            return self.socket.send(data[:READ_BYTES])
        except BlockingIOError:
            return 0
        except ConnectionError:
            # What the server said before it closed may still lie here to be read.
            self._read_the_rest()
            return 0

    def _read_the_rest(self) -> None:
        while not self.closed and select.select([self.socket], [], [], self.seconds_max)[0]:
            self._read_once()
        self.closed = True

    def _read_once(self) -> None:
        try:
            data = self.socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        self.closed = not data
        self._bytes += data
        at = 0
        while len(self._bytes) - at >= HEAD_BYTES:
            length = int.from_bytes(self._bytes[at : at + 3])
            if len(self._bytes) - at < HEAD_BYTES + length:
                break
            kind, flags, stream = struct.unpack_from(">BBI", self._bytes, at + 3)
            self._take(Frame(kind, flags, stream, bytes(self._bytes[at + HEAD_BYTES : at + HEAD_BYTES + length])))
            at += HEAD_BYTES + length
        del self._bytes[:at]

    def _take(self, frame: Frame) -> None:
        self.frames.append(frame)
        if frame.kind == Kind.GOAWAY:
            self.goaway = ErrorCodes(struct.unpack_from(">I", frame.payload, 4)[0])
        elif frame.kind == Kind.RST_STREAM:
            self._answer(frame.stream).reset = ErrorCodes(struct.unpack(">I", frame.payload)[0])
            self.ended.add(frame.stream)
        elif frame.kind == Kind.HEADERS:
            fields = dict(self._decoder.decode(frame.payload))
            answer = self._answer(frame.stream)
            if answer.headers:
                answer.trailers = fields
            else:
                answer.headers = fields
        elif frame.kind == Kind.DATA:
            self._answer(frame.stream).body += frame.payload
        if frame.kind in (Kind.HEADERS, Kind.DATA) and frame.flags & END_STREAM:
            self.ended.add(frame.stream)

    def _answer(self, stream: int) -> Answer:
        return self.answers.setdefault(stream, Answer())
