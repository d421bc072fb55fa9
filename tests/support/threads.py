"""Freezing one thread of another process, as a driver that hangs would stand still.

Signals stop all threads of a process; ptrace stops one.
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_LIBC.ptrace.restype = ctypes.c_long
_SEIZE, _INTERRUPT, _DETACH = 0x4206, 0x4207, 17
# Threads that were not made by this process are waited for with this flag.
_ALL_CHILDREN = 0x40000000


def thread_named(pid: int, name: str) -> int:
    """The id of the one thread of that name."""
    found = [
        int(task.name) for task in Path(f"/proc/{pid}/task").iterdir() if (task / "comm").read_text().strip() == name
    ]
    names = sorted((task / "comm").read_text().strip() for task in Path(f"/proc/{pid}/task").iterdir())
    assert len(found) == 1, f"{len(found)} threads are named {name}, among {names}"
    return found[0]


@contextmanager
def frozen(thread: int) -> Iterator[None]:
    """Stops this one thread for as long as the block runs."""
    _ptrace(_SEIZE, thread)
    _ptrace(_INTERRUPT, thread)
    os.waitpid(thread, _ALL_CHILDREN)
    try:
        yield
    finally:
        _ptrace(_DETACH, thread)


def _ptrace(request: int, thread: int) -> None:
    if _LIBC.ptrace(request, thread, None, None) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"ptrace {request:#x} on thread {thread}: {os.strerror(code)}")
