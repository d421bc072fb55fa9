"""TCP ports that a server can be started on, stopped, and started on again."""

import itertools
import os
import socket


def _first() -> int:
    """Below the range from which the kernel takes ports for outgoing connections: a port handed out here is not taken
    away while its server is down. The process id keeps two runs on one machine apart, the number that pytest-xdist gives
    the processes of one run keeps those."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if not worker:
        return 20_000 + os.getpid() * 37 % 10_000
    return 20_000 + os.getppid() * 37 % 5_000 + 3_000 * (int(worker.removeprefix("gw")) % 3)


_NEXT = itertools.count(_first())


def free() -> int:
    """A port on which nothing listens, and which this run hands out once."""
    for port in _NEXT:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port")


def accepts(port: int) -> bool:
    """Whether somebody listens."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0
