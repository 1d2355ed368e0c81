"""A server under attack: whatever is done to it, its memory stays bounded and others are served as if nothing were.

    with Target([models]) as target:
        with target.unharmed(memory_mib=16):
            …the attack, and what the server answers to it…
"""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bystander import Bystander
from exposition import samples, scrape
from raw_grpc import INFER, Connection
from sconce_server import SconceServer
from triton_calls import raw_request

OK, INVALID, DEADLINE, NOT_FOUND, EXHAUSTED, UNIMPLEMENTED = 0, 3, 4, 5, 8, 12
LATENCY_P99_MAX = 0.050
MIB = 1 << 20
NICENESS = 10
# Writing this to clear_refs makes the peak of the resident memory what is resident now.
RESET_PEAK = "5"


def good_message(model: str = "identity_fp32") -> bytes:
    return raw_request(model, ("INPUT0", "FP32", [1, 4], bytes(16))).SerializeToString()


@contextmanager
def urgent() -> Iterator[None]:
    """What is started here goes before what else runs on the machine, which is not what is measured, if it may."""
    try:
        os.nice(-NICENESS)
    except PermissionError:
        yield
        return
    try:
        yield
    finally:
        os.nice(NICENESS)


class Target:
    """A server with a well-behaved client beside it. It serves a model `identity_fp32`."""

    def __init__(self, models: Path | Iterable[Path], *flags: str):
        self.server = SconceServer(models, *flags)

    def __enter__(self) -> "Target":
        with urgent():
            self.server.__enter__()
            self.bystander = Bystander(self.grpc, good_message())
            self.bystander.__enter__()
        self._warm_up()
        return self

    def __exit__(self, *error) -> None:
        try:
            self.bystander.__exit__(*error)
        finally:
            self.server.__exit__(*error)

    @property
    def grpc(self) -> str:
        return self.server.grpc

    def series(self) -> dict:
        """Every series of the metrics page, as of the last second."""
        return samples(scrape(self.server.metrics))

    @contextmanager
    def unharmed(self, memory_mib: int) -> Iterator[None]:
        """Around an attack: it may cost `memory_mib` of resident memory at most, and a bystander nothing.

        Asserts that the bystander's calls were all answered, 99 of 100 within 50 ms; that the peak of the server's
        memory stayed within the bound; that it logged no error; and that it answers the next good request.
        """
        log_before = len(self.server.log())
        memory_before = self._reset_memory_peak()
        with self.bystander.watching() as watch:
            yield
        grown = (self._memory("VmHWM") - memory_before) / MIB
        print(f"bystander: {watch}; server: {grown:+.1f} MiB of {memory_mib}")
        self.assert_serves()
        assert not watch.failures, watch
        assert watch.p99 < LATENCY_P99_MAX, watch
        assert grown <= memory_mib, f"the server took {grown:.1f} MiB more, the bound is {memory_mib}"
        assert not re.search("ERROR|panic", self.server.log()[log_before:]), self.server.log()[log_before:]

    def assert_serves(self) -> None:
        with Connection(self.grpc) as connection:
            answer = connection.call(INFER, good_message())
        assert answer.status == OK, answer

    def memory_peak_mib(self) -> float:
        """The most that was resident since the start, or since the last attack began."""
        return self._memory("VmHWM") / MIB

    def _warm_up(self) -> None:
        """Takes what memory traffic takes at first, which is no attack's doing."""
        with self.bystander.watching():
            pass

    def _reset_memory_peak(self) -> int:
        Path(f"/proc/{self.server.pid}/clear_refs").write_text(RESET_PEAK)
        return self._memory("VmRSS")

    def _memory(self, field: str) -> int:
        status = Path(f"/proc/{self.server.pid}/status").read_text()
        return int(re.search(rf"^{field}:\s+(\d+) kB$", status, re.MULTILINE)[1]) * 1024
