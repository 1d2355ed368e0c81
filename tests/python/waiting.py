"""Waits on conditions."""

import time


def wait_for(condition, seconds_max: float = 10.0):
    """Asks until the condition holds."""
    end = time.monotonic() + seconds_max
    while not condition():
        assert time.monotonic() < end, "the condition did not come to hold"
        time.sleep(0.01)
