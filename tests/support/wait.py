"""Waiting for conditions. No test sleeps for a fixed time and hopes."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(check: Callable[[], T], what: str, seconds: float = 20.0) -> T:
    """Calls `check` until it returns something true, and returns that.

    An `AssertionError` or a refused connection inside `check` counts as "not yet". After `seconds` the last of them
    is in the failure, so that it says what was missing.
    """
    deadline = time.monotonic() + seconds
    pause = 0.01
    reason: object = None
    while True:
        try:
            found = check()
            # A table of pandas has no truth of its own: one with rows will do.
            if (not found.empty) if hasattr(found, "empty") else found:
                return found
            reason = found
        except (AssertionError, OSError, LookupError) as error:
            reason = f"{type(error).__name__}: {error}"
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:g} s for {what}; at last: {reason!r}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.2)
