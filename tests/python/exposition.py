"""Reads the metrics address."""

import json
import urllib.error
import urllib.request

from prometheus_client.parser import text_string_to_metric_families


def scrape(address: str) -> str:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("text/plain")
        return answer.read().decode()


def samples(text: str) -> dict:
    """Every series: (name, labels as a frozenset of pairs) to value."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def total(series: dict, name: str, **labels: str) -> float:
    """The sum of the series of this name that carry these labels."""
    wanted = set(labels.items())
    return sum(value for (own, pairs), value in series.items() if own == name and wanted <= pairs)


def read_total(address: str, name: str, **labels: str) -> float:
    """What `total` gives of the page as it is now; the server renders it at most once a second."""
    return total(samples(scrape(address)), name, **labels)


def readiness(address: str) -> dict:
    """What `/health/ready` says, whether it is ready or not."""
    try:
        answer = urllib.request.urlopen(f"http://{address}/health/ready", timeout=10)
    except urllib.error.HTTPError as error:
        answer = error
    return json.load(answer)


def detail(address: str, model: str, version: str = "1") -> str:
    """What readiness has to say of a version; empty if nothing."""
    told = (each for each in readiness(address)["models"] if (each["model"], each["version"]) == (model, version))
    return next(told).get("detail", "")
