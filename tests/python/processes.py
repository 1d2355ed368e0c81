"""What the system knows of a process, and what it can do to it."""

import itertools
import os
import re
import resource
import signal
from contextlib import contextmanager
from pathlib import Path

from waiting import wait_for

WORKER = "sconce-worker"
WORKER_UP_SECONDS_MAX = 30.0


def resident_bytes(pid: int) -> int:
    """Memory that the process has."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)[1]) * 1024


def processor_seconds(pid: int) -> float:
    """What the process has used of processors, in itself and in the system's name."""
    return sum(map(int, stat(pid)[11:13])) / os.sysconf("SC_CLK_TCK")


def stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on: the name before it may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


@contextmanager
def without_descriptors(pid: int):
    """The process can open nothing more; afterwards it can again."""
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    used = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
    lowest_free = next(number for number in itertools.count() if number not in used)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest_free, limits[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)


@contextmanager
def frozen(pid: int):
    """The process does nothing; afterwards it goes on."""
    os.kill(pid, signal.SIGSTOP)
    wait_for(lambda: stat(pid)[0] == "T")
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def worker_pids(server) -> list[int]:
    """Children of the server that are its worker."""
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
    return [pid for pid in pids if name_of(pid) == WORKER and parent_of(pid) == server.pid]


def name_of(pid: int) -> str | None:
    """None if the process is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return None


def parent_of(pid: int) -> int | None:
    """None if the process is gone."""
    try:
        return int(stat(pid)[1])
    except OSError:
        return None


def worker_pid(server) -> int:
    """The worker, once there is one."""
    wait_for(lambda: worker_pids(server), WORKER_UP_SECONDS_MAX)
    (pid,) = worker_pids(server)
    return pid
