"""A well-behaved client beside an attacker, in a process of its own, and how long it waits for its answers.

A process, because threads would share the attacker's interpreter lock, and waiting for it would count as the server's.
It calls from an address of its own, because the server shares its limits out between addresses.
"""

import json
import math
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from raw_grpc import INFER, Connection

ADDRESS = "127.0.0.9"
BEGIN, END = b"b", b"e"
OK = 0
PAUSE_SECONDS = 0.001
INTERVAL_SECONDS = 0.002
CALLS_MIN = 100


@dataclass
class Watch:
    """What the bystander has lived through."""

    # How long each call took, and those that it could not make because it waited.
    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def p99(self) -> float:
        if not self.seconds:
            return math.inf
        return sorted(self.seconds)[math.ceil(len(self.seconds) * 0.99) - 1]

    def __str__(self) -> str:
        p99, longest = self.p99 * 1000, max(self.seconds, default=math.inf) * 1000
        failed = f"{len(self.failures)} failures, first {self.failures[:3]}"
        return f"{len(self.seconds)} waits, p99 {p99:.1f} ms, longest {longest:.1f} ms, {failed}"


class Bystander:
    """The process, as a context manager. It calls only while it is watched."""

    def __init__(self, server: str, message: bytes):
        self.command = [sys.executable, __file__, server, message.hex()]

    def __enter__(self) -> "Bystander":
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        return self

    def __exit__(self, *_) -> None:
        # The end of its input is its end.
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()

    @contextmanager
    def watching(self) -> Iterator[Watch]:
        """It calls from before this is entered until it is left; what it saw stands in the watch afterwards."""
        watch = Watch()
        self.process.stdin.write(BEGIN)
        self._line()
        try:
            yield watch
        finally:
            self.process.stdin.write(END)
            seen = json.loads(self._line())
            watch.seconds, watch.failures = seen["seconds"], seen["failures"]

    def _line(self) -> bytes:
        line = self.process.stdout.readline()
        assert line, f"the bystander has ended: {self.process.wait(30)}"
        return line


def main(server: str, message: bytes) -> None:
    while os.read(sys.stdin.fileno(), 1) == BEGIN:
        watch = Watch()
        with Connection(server, seconds_max=10, source=ADDRESS) as connection:
            connection.call(INFER, message)
            print("begun", flush=True)
            call_until_told(connection, message, watch)
        print(json.dumps(vars(watch)), flush=True)


def call_until_told(connection: Connection, message: bytes, watch: Watch) -> None:
    try:
        while len(watch.seconds) < CALLS_MIN or not select.select([sys.stdin], [], [], 0)[0]:
            call(connection, message, watch)
            time.sleep(PAUSE_SECONDS)
    except OSError as error:
        watch.failures.append(repr(error))
    os.read(sys.stdin.fileno(), 1)


def call(connection: Connection, message: bytes, watch: Watch) -> None:
    began = time.monotonic()
    answer = connection.call(INFER, message)
    watch.seconds += waits(time.monotonic() - began)
    if answer.status != OK:
        watch.failures.append(f"status {answer.status}: {answer.message}")


def waits(seconds: float) -> list[float]:
    """The wait of a call, and of those that were due meanwhile: one long wait in place of many must not hide them."""
    return [seconds - INTERVAL_SECONDS * missed for missed in range(1 + int(seconds / INTERVAL_SECONDS))]


if __name__ == "__main__":
    main(sys.argv[1], bytes.fromhex(sys.argv[2]))
