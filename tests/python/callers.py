"""Callers that see what becomes of their requests when a server's worker fails."""

import math
import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from processes import WORKER_UP_SECONDS_MAX
from waiting import wait_for


@dataclass
class Call:
    """One that was answered."""

    ended: float
    seconds: float
    rung: str | None


class Callers:
    """Ask every model without pause, `at_once` at a time each, while the context manager is open.

    A model has a name, `model`, and `rows`; `connect(address)` gives a client as a context manager, and `call(client, at)`
    has one of the rows answered, raises if the answer is not that row's, and gives the rung.
    """

    def __init__(self, server, models: Sequence, at_once: int = 2):
        self.server = server
        self.calls: list[Call] = []
        self.failures: queue.Queue[str] = queue.Queue()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._call, args=(model, number), daemon=True)
            for model in models
            for number in range(at_once)
        ]

    def __enter__(self) -> "Callers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a request was never answered"

    def _call(self, model, number: int) -> None:
        at = number * len(model.rows) // 2
        with model.connect(self.server.grpc) as client:
            while not self._stop.is_set():
                began = time.monotonic()
                try:
                    rung = model.call(client, at)
                except Exception as error:  # Whatever it is, it is no answer.
                    self.failures.put(f"{model.model} row {at}: {error}")
                    continue
                ended = time.monotonic()
                self.calls.append(Call(ended, ended - began, rung))
                at += 1

    def rungs(self, since: float = 0.0) -> set[str | None]:
        return {call.rung for call in self.calls if call.ended >= since}

    def p99(self, since: float, until: float) -> float:
        """The 99th percentile of the calls that ended in this time."""
        seconds = sorted(call.seconds for call in self.calls if since <= call.ended < until)
        return seconds[math.ceil(len(seconds) * 0.99) - 1] if seconds else math.inf

    def wait_for_calls(self, count: int) -> None:
        """Waits until so many more have been answered, and nothing has failed."""
        wanted = len(self.calls) + count
        wait_for(lambda: len(self.calls) >= wanted or not self.failures.empty(), 60)
        assert not self.failures.qsize(), list(self.failures.queue)[:5]

    def wait_for_rung(self, rung: str) -> None:
        """Waits until every caller's answers come from this rung, which they do when the last so many do."""
        last = 4 * len(self._threads)
        wait_for(
            lambda: {call.rung for call in self.calls[-last:]} == {rung} or not self.failures.empty(),
            WORKER_UP_SECONDS_MAX,
        )
