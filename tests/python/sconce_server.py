"""Starts the built server on free ports, waits until it is ready, and stops it as an operator would."""

import os
import queue
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import IO

READY = re.compile(r"^sconce is ready: grpc=(?P<grpc>\S+) metrics=(?P<metrics>\S+)\s*$")
LOG_LINES_SHOWN = 60
SHUTDOWN_DELAY = "--shutdown-delay"


def sconce_bin() -> str:
    """Path of the binary under test, from the environment's SCONCE_BIN."""
    path = os.environ.get("SCONCE_BIN")
    if not path:
        raise RuntimeError("set SCONCE_BIN to the sconce binary, for instance target/release/sconce")
    return str(Path(path).resolve())


class SconceServer:
    """`sconce serve` on free ports of 127.0.0.1, as a context manager.

    models_dirs: one model repository, or several. extra_args go to `sconce serve` as they are. After entering, `grpc`
    and `metrics` are "127.0.0.1:PORT", `process` is the server's and `log()` is what it has logged, unless `stderr`
    names a file or descriptor that takes the log instead. Leaving stops the server and fails unless it exits with 0; how
    a server ends that the test has stopped or waited for is left to the test. An error inside the `with` block is
    passed on, with the end of the log added.
    """

    def __init__(
        self,
        models_dirs: str | Path | Iterable[str | Path],
        *extra_args: str,
        env: dict[str, str] | None = None,
        ready_seconds: float = 60.0,
        stop_seconds: float = 30.0,
        stderr: int | IO | None = None,
    ):
        if isinstance(models_dirs, (str, Path)):
            models_dirs = [models_dirs]
        self.command = [sconce_bin(), "serve", "--grpc", "127.0.0.1:0", "--metrics", "127.0.0.1:0"]
        for folder in models_dirs:
            self.command += ["--models", str(folder)]
        self.command += extra_args
        if SHUTDOWN_DELAY not in extra_args:
            # By default the server goes on accepting for some seconds after SIGTERM, for load balancers.
            self.command += [SHUTDOWN_DELAY, "0s"]
        # The server refuses variables that look like settings of its own and are none.
        self.env = {name: value for name, value in os.environ.items() if name != "SCONCE_BIN"} | (env or {})
        self.ready_seconds = ready_seconds
        self.stop_seconds = stop_seconds
        self.stderr = stderr
        self.grpc = ""
        self.metrics = ""

    @property
    def pid(self) -> int:
        return self.process.pid

    def __enter__(self) -> "SconceServer":
        # Files and a thread that reads for as long as the server lives: a full pipe would stop it in its tracks.
        self._log_file = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log_file if self.stderr is None else self.stderr,
            env=self.env,
            text=True,
            errors="replace",
        )
        self._stdout: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read_stdout, daemon=True)
        self._reader.start()
        try:
            self._wait_until_ready()
        except BaseException:
            self._kill()
            self._close()
            raise
        return self

    def __exit__(self, kind, error, _traceback) -> None:
        try:
            if error is not None:
                self._kill()
                error.add_note(self._tail())
            elif self.process.returncode is None:
                code = self.stop()
                assert code == 0, f"the server exited with {code} instead of 0\n{self._tail()}"
        finally:
            self._close()

    def stop(self) -> int:
        """Sends SIGTERM, waits, and returns the exit code (negative: the signal that ended it). May be called twice."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(self.stop_seconds)
        except subprocess.TimeoutExpired:
            self._kill()
            raise AssertionError(f"still there {self.stop_seconds} s after SIGTERM\n{self._tail()}") from None

    def log(self) -> str:
        """Everything the server has written to its standard error so far."""
        # By position: the server shares this open file, so reading on from a place in it would move the server's too.
        descriptor = self._log_file.fileno()
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode(errors="replace")

    def stdout(self) -> str:
        """Everything the server has written to its standard output so far."""
        return "".join(self._stdout)

    def _read_stdout(self) -> None:
        for line in self.process.stdout:
            self._stdout.append(line)
            self._lines.put(line)
        self._lines.put(None)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + self.ready_seconds
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise TimeoutError(f"the server was not ready within {self.ready_seconds} s\n{self._tail()}") from None
            if line is None:
                code = self.process.wait(self.stop_seconds)
                raise RuntimeError(f"the server exited with {code} before it was ready\n{self._tail()}")
            if said := READY.match(line):
                self.grpc, self.metrics = said["grpc"], said["metrics"]
                return

    def _kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def _close(self) -> None:
        self._reader.join(timeout=5)
        self.process.stdout.close()
        self._log_file.close()

    def _tail(self) -> str:
        lines = (self.stdout() + self.log()).splitlines()[-LOG_LINES_SHOWN:]
        return "\n".join([f"$ {' '.join(self.command)}", *lines])
