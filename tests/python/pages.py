"""Pages of docs/ as a reader runs them: the first block of Python exports a model, the second one calls it."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from sconce_server import SconceServer, sconce_bin

DOCS = Path(__file__).resolve().parents[2] / "docs"
SECONDS_MAX = 120


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS_MAX)


def run_well(command: list[str], folder: Path) -> str:
    done = run(command, folder)
    assert done.returncode == 0, f"{command} exited with {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


class Page:
    def __init__(self, name: str):
        self.text = (DOCS / name).read_text()

    def blocks(self, language: str) -> list[str]:
        return re.findall(rf"^```{language}\n(.*?)^```$", self.text, flags=re.MULTILINE | re.DOTALL)

    def section(self, title: str) -> str:
        return self.text.split(f"\n## {title}\n")[1].split("\n## ")[0]

    @property
    def imports_of_client(self) -> str:
        return "".join(re.findall(r"^(?:import|from) .*$", self.blocks("python")[1], flags=re.MULTILINE))

    def export(self, folder: Path) -> None:
        """Runs the first block of Python in an empty folder."""
        (folder / "export.py").write_text(self.blocks("python")[0])
        run_well([sys.executable, "export.py"], folder)

    def check(self, folder: Path) -> str:
        """What `sconce check` prints of the model that was exported."""
        check, _ = self._commands()
        assert check[:2] == ["sconce", "check"]
        return run_well([sconce_bin(), *check[1:]], folder)

    def serve_and_call(self, folder: Path) -> str:
        """What the second block of Python prints when the model is served."""
        _, serve = self._commands()
        assert serve == ["sconce", "serve", "--models", "my_models"]
        (folder / "call.py").write_text(self.blocks("python")[1])
        with SconceServer(folder / "my_models") as server:
            said = run_well([sys.executable, "call.py", server.grpc], folder)
            assert server.stop() == 0
        return said

    def demonstrate(self, folder: Path) -> str:
        """What the demo prints that the page names in passing."""
        (command,) = re.findall(r"`sconce (demo --\w+ [^`]+)`", self.text)
        return run_well([sconce_bin(), *shlex.split(command), "--once", "--seconds", "1"], folder)

    def _commands(self) -> list[list[str]]:
        (commands,) = self.blocks("sh")
        return [shlex.split(line) for line in commands.splitlines()]
