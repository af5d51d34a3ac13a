"""Waiting for what others do in their own time."""

import time
from collections.abc import Callable


def eventually(condition: Callable[[], object], *, within: float = 15.0) -> bool:
    """Whether `condition` comes true within so many seconds; that it does costs no more than it takes."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
