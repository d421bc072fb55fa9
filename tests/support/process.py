"""A child process with its output in a file, that never outlives the test."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from . import ports
from .wait import until


class Process:
    """A program that serves on a port; it can be started, stopped, killed, and started again."""

    def __init__(self, command: Sequence[str | Path], log: Path, port: int, env: Mapping[str, str] | None = None):
        self.command = [str(part) for part in command]
        self.log_file = log
        self.port = port
        self.env = {**os.environ, **(env or {})}
        self.child: subprocess.Popen[bytes] | None = None

    def start(self, seconds: float = 30.0):
        """Starts it and waits until it listens."""
        assert self.child is None, f"{self.command[0]} runs already"
        with self.log_file.open("ab") as log:
            self.child = subprocess.Popen(
                self.command, stderr=log, env=self.env, start_new_session=True, **self._streams(log)
            )
        until(self._listens, f"{Path(self.command[0]).name} to listen on {self.port}\n{self.log()[-2000:]}", seconds)
        return self

    def _streams(self, log: BinaryIO) -> dict[str, Any]:
        """Nothing to read, and all output into the log."""
        return {"stdin": subprocess.DEVNULL, "stdout": log}

    def _listens(self) -> bool:
        if self.child is not None and self.child.poll() is not None:
            code, self.child = self.child.returncode, None
            raise RuntimeError(f"{self.command} ended with {code}:\n{self.log()[-4000:]}")
        return ports.accepts(self.port)

    @property
    def pid(self) -> int:
        """The process id."""
        assert self.child is not None, f"{self.command[0]} does not run"
        return self.child.pid

    def stop(self, seconds: float = 20.0) -> int:
        """Asks it to end, and returns its exit code."""
        return self._end(signal.SIGTERM, seconds)

    def kill(self) -> None:
        """Ends it as a power cut would: at once."""
        self._end(signal.SIGKILL, 10.0)

    def _end(self, with_signal: signal.Signals, seconds: float) -> int:
        assert self.child is not None, f"{self.command[0]} does not run"
        child = self.child
        child.send_signal(with_signal)
        try:
            code = child.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"{self.command[0]} still runs {seconds:g} s after {with_signal.name}:\n{self.log()[-4000:]}"
            ) from None
        self.child = None
        return code

    def close(self) -> None:
        """Makes sure that it is gone; for the end of a test."""
        if self.child is not None:
            self.child.kill()
            self.child.wait()
            self.child = None

    def log(self) -> str:
        """All it has said so far."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""
