"""What systemd sees: a unit it has nothing to say against, readiness, a watchdog that tells a hang, a clean stop."""

import re
import socket
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from support import paths
from support.scene import replay
from support.threads import frozen, thread_named
from support.wait import until

UNIT = paths.PROJECT / "systemd" / "explaind.service"
# What the service may score at most, in tenths.
EXPOSURE = 16
# Short, so that a missing sign of life shows soon; the daemon answers three times as often.
WATCHDOG_SECONDS = 2.0


@pytest.fixture
def unit(tmp_path) -> Path:
    """The unit, its program being the one under test: systemd looks whether it is there."""
    text, replaced = re.subn(r"(?m)^(ExecStart\w*=)/usr/bin/explaind", rf"\g<1>{paths.BINARY}", UNIT.read_text())
    assert replaced >= 1
    copy = tmp_path / UNIT.name
    copy.write_text(text)
    return copy


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """`systemd-analyze`."""
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False)


def test_systemd_says_nothing_on_the_unit(unit):
    """Unknown keys only make it talk; its exit code stays 0."""
    verified = analyze("verify", "--man=no", unit)
    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")


def test_the_sandbox_is_tight(unit):
    """At most 1.6 of 10."""
    scored = analyze("security", "--offline=yes", f"--threshold={EXPOSURE}", "--no-pager", unit)
    level = re.search(r"exposure level for \S+: ([\d.]+)", scored.stdout)
    assert level, scored.stdout + scored.stderr
    assert float(level[1]) <= EXPOSURE / 10
    assert scored.returncode == 0


def test_the_unit_promises_what_the_daemon_keeps():
    """Type=notify and a watchdog: without either the tests below would prove nothing in service."""
    text = UNIT.read_text()
    assert "Type=notify" in text and "WatchdogSec=" in text
    assert "User=" in text and "DynamicUser=yes" not in text


class Manager:
    """The service manager's end of the notification socket."""

    def __init__(self, path: Path):
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.heard: list[str] = []

    def listen(self, seconds: float) -> list[str]:
        """What arrives in so many seconds."""
        heard: list[str] = []
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                heard += self.socket.recv(4096).decode().splitlines()
            except TimeoutError:
                break
        self.heard += heard
        return heard

    def wait_for(self, message: str, seconds: float = 20.0) -> None:
        """Returns once the message has arrived, now or earlier."""
        until(
            lambda: message in self.heard or message in self.listen(0.1), f"{message} at the service manager", seconds
        )

    def environment(self) -> dict[str, str]:
        """What systemd would set."""
        return {"NOTIFY_SOCKET": str(self.path), "WATCHDOG_USEC": str(int(WATCHDOG_SECONDS * 1e6))}


@pytest.fixture
def manager(tmp_path) -> Manager:
    """A service manager that listens."""
    return Manager(tmp_path / "notify")


@pytest.fixture
def service(daemon, bundle, tmp_path, manager):
    """The daemon as systemd would start it."""
    return daemon(replay(tmp_path, bundle("ai4i-gbt")), **manager.environment())


def test_ready_watchdog_stopping(service, manager):
    """In this order, and the process ends with 0."""
    manager.wait_for("READY=1")
    beats = manager.listen(2 * WATCHDOG_SECONDS).count("WATCHDOG=1")
    assert beats >= 2, f"only {beats} signs of life in twice the watchdog's time"
    assert service.stop() == 0
    manager.wait_for("STOPPING=1")
    assert manager.heard.index("READY=1") < manager.heard.index("STOPPING=1")


def test_ready_means_ready(service, manager):
    """Once READY=1 has arrived the page answers: whatever is ordered after the service finds it."""
    manager.wait_for("READY=1")
    assert service.ready()


@pytest.mark.parametrize("machine", ["busy", "idle"])
def test_a_driver_that_hangs_sends_no_watchdog(machine, daemon, bundle, tmp_path, manager):
    """The rest of the process lives and answers; only the driver stands still. Then it moves again, and all is well.

    An idle machine must not look like a hang, nor a hang like an idle machine.
    """
    interval = "40ms" if machine == "busy" else "1h"
    service = daemon(replay(tmp_path, bundle("ai4i-gbt"), interval=interval), **manager.environment())
    manager.wait_for("READY=1")
    assert manager.listen(2 * WATCHDOG_SECONDS).count("WATCHDOG=1") >= 2
    with frozen(thread_named(service.pid, "driver")):
        # A sign of life may still be due for what the driver did just before.
        manager.listen(WATCHDOG_SECONDS)
        assert "WATCHDOG=1" not in manager.listen(1.5 * WATCHDOG_SECONDS)
        # Not the status: a driver that stands still may hold the store.
        assert httpx.get(f"{service.url}/healthz", timeout=10, trust_env=False).status_code == 200
    until(lambda: "WATCHDOG=1" in manager.listen(WATCHDOG_SECONDS), "the watchdog to be fed again")


def test_a_stop_loses_nothing_that_was_predicted(service):
    """SIGTERM drains: the next run goes on with the next number."""
    until(lambda: service.predictions(1), "a prediction")
    assert service.stop() == 0
    assert not service.socket.exists()
    assert "panicked" not in service.log()
    service.start()
    newest = until(lambda: service.predictions(200), "predictions")
    numbers = [prediction["sequence"] for prediction in newest]
    assert numbers == list(range(numbers[0], numbers[0] - len(numbers), -1))


def test_a_second_daemon_on_the_same_state_is_refused(service):
    """One store, one daemon: the second says so in one sentence and does no harm to the first."""
    from support.cli import explaind, one_sentence

    again = explaind("run", "--config", service.config, EXPLAIND__GATEWAY__STATE_DIR=str(service.state),
                     EXPLAIND__WEB__LISTEN="127.0.0.1:0")  # fmt: skip
    assert again.code in (69, 74)
    assert str(service.state) in one_sentence(again.err)
    assert service.verb("status").code == 0, "the first one's socket still works"
