"""Calls without end, many at a time, in a process of its own: a thread would take turns with the test that measures.

It calls from 127.0.0.1, and for as long as the context manager is open.
"""

import subprocess
import sys
import threading

import grpc
from raw_grpc import INFER

CALLS_FIRST = 200


class Flood:
    """Keeps `at_once` calls of this message going, whatever becomes of each. When entered, some have ended already."""

    def __init__(self, server: str, message: bytes, at_once: int):
        self.command = [sys.executable, __file__, server, message.hex(), str(at_once)]

    def __enter__(self) -> "Flood":
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE)
        assert self.process.stdout.readline(), "the flood has ended before it began"
        return self

    def __exit__(self, *_) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def main(server: str, message: bytes, at_once: int) -> None:
    room = threading.Semaphore(at_once)
    # Its calls share one connection; all that may be open at once should be.
    with grpc.insecure_channel(server) as channel:
        infer = channel.unary_unary(INFER)
        for number in range(sys.maxsize):
            room.acquire()
            infer.future(message).add_done_callback(lambda _: room.release())
            if number == CALLS_FIRST + at_once:
                print("begun", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], bytes.fromhex(sys.argv[2]), int(sys.argv[3]))
