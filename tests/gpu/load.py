"""A closed loop of callers, for requests that `sconce bench` does not send: those with inputs that a model does not ask for."""

import threading
import time

from client import Client
from networks import Rows


def closed_loop(address: str, model: str, requests: list[Rows], callers: int, warm_up: float, seconds: float) -> list[float]:
    """How long each request took that ended in `seconds`, which begin after `warm_up`. Raises the first error.

    Each caller sends the requests in turn, from another one on, and waits for each answer.
    """
    took: list[float] = []
    errors: list[Exception] = []
    begins = time.perf_counter() + warm_up
    ends = begins + seconds

    def call(at: int) -> None:
        try:
            with Client(address) as client:
                encoded = [client.encoded(model, rows) for rows in requests]
                ended = time.perf_counter()
                while ended < ends:
                    began = ended
                    client.call(encoded[at % len(encoded)])
                    ended, at = time.perf_counter(), at + 1
                    if begins <= ended < ends:
                        took.append(ended - began)
        except Exception as error:  # It is raised where somebody waits for it.
            errors.append(error)

    threads = [threading.Thread(target=call, args=(at,)) for at in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return took
