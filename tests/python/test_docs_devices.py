"""The pages on devices and on the ladder: their example as a reader runs it, their rules by Prometheus' own tool."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from exposition import samples, scrape
from pages import Page, run_well
from sconce_server import SconceServer, sconce_bin

LADDER, DEVICES = Page("ladder.md"), Page("devices.md")
CATALOGUE = Path(__file__).resolve().parents[2] / "src" / "monitor" / "catalogue.golden.txt"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory, shipped_models) -> Path:
    """A folder that has the shipped models, and what the example lays out."""
    folder = tmp_path_factory.mktemp("ladder")
    (folder / "models").symlink_to(shipped_models)
    lay_out, _ = LADDER.blocks("sh")
    run_well(["sh", "-ec", lay_out], folder)
    (settings,) = LADDER.blocks("toml")
    (folder / "my_models" / "screening" / "model.toml").write_text(settings)
    return folder


def commands() -> tuple[list[str], list[str]]:
    _, lines = LADDER.blocks("sh")
    check, serve = map(shlex.split, lines.splitlines())
    return check, serve


def test_the_example_is_sound(checkout):
    check, _ = commands()
    assert check[:2] == ["sconce", "check"]
    assert "screening version 2" in run_well([sconce_bin(), *check[1:]], checkout)


def test_the_example_prints_what_the_page_says(checkout):
    _, serve = commands()
    assert serve[:4] == ["sconce", "serve", "--models", "my_models"]
    (client,), (printed,) = LADDER.blocks("python"), LADDER.blocks("text")
    (checkout / "call.py").write_text(client)
    with SconceServer(checkout / "my_models", *serve[4:]) as server:
        assert run_well([sys.executable, "call.py", server.grpc], checkout) == printed
        metrics = {name for name, _ in samples(scrape(server.metrics))}
    assert set(re.findall(r"`(sconce_\w+)`", LADDER.text)) <= metrics


def test_the_rules_are_prometheus_rules(tmp_path):
    (rules,) = DEVICES.blocks("yaml")
    (tmp_path / "rules.yml").write_text(rules)
    promtool = os.environ.get("PROMTOOL", "promtool")
    check = subprocess.run([promtool, "check", "rules", "rules.yml"], cwd=tmp_path, text=True, capture_output=True)
    assert check.returncode == 0, check.stdout + check.stderr
    assert f"{rules.count('- alert: ')} rules found" in check.stdout


def test_every_metric_of_the_page_is_in_the_catalogue():
    known = set(re.findall(r"^(sconce_\w+)\{", CATALOGUE.read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"\b(sconce_[a-z_]+)\b", DEVICES.text))
    assert len(named) >= 10
    assert named <= known, named - known
