"""A disk that fills while the gateway runs: predictions stop, people do not, and no restart is needed."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import records
from support.client import Person
from support.daemon import Daemon
from support.process import Process
from support.scene import GATEWAY, replay
from support.wait import until

REFUSED = 'explaind_buffer_dropped_records_total{reason="refused",stream="predictions"}'


class Disk:
    """A file system of 64 MiB of its own."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.filler = folder / "filler"

    def fill(self) -> None:
        """Takes all room that is left."""
        with self.filler.open("ab", buffering=0) as file:
            for size in (1 << 20, 512):
                try:
                    while file.write(b"\1" * size) == size:
                        pass
                except OSError:
                    pass

    def free(self) -> None:
        """Gives it back."""
        self.filler.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Where the gateway keeps its state."""
    folder = tmp_path / "gateway" / "state"
    folder.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", folder], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted here (user {os.getuid()}): {mounted.stderr.strip()}")
    yield Disk(folder)
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_stops_predictions_and_nobody_from_acknowledging(disk, daemon, bundle, tmp_path):
    """All of it over HTTP and the command line, over a restart on the full disk, and without one when there is room."""
    gateway: Daemon = daemon(replay(tmp_path, bundle("ai4i-gbt")))
    alert = until(gateway.alerts, "an alert")[0]
    assert gateway.metrics()["explaind_buffer_degraded"] == 0
    assert gateway.get("status")["buffer"]["degraded"] is None

    disk.fill()
    until(lambda: gateway.metrics()["explaind_buffer_degraded"] == 1, "the full disk to be noticed", 60)
    reason = gateway.get("status")["buffer"]["degraded"]
    assert "No space left" in reason, reason
    assert reason in gateway.verb("status").out
    assert "Predictions are not stored at present" in Person(gateway.url).sign_in("technician", "demo").text
    before = gateway.metrics().get(REFUSED, 0)
    until(lambda: gateway.metrics()[REFUSED] > before + 20, "predictions to be refused")
    newest = gateway.predictions(1)[0]["id"]

    assert gateway.verb("alerts", "ack", alert["id"], "--comment", "on my way").code == 0
    said = gateway.verb("feedback", "add", "--alert", alert["id"], "--verdict", "confirm", "--comment", "disk is full")
    assert said.code == 0, said.err
    gateway.post("feedback", {"prediction_id": newest, "verdict": "reject", "comment": "at this one"})
    raised = until(
        lambda: [other for other in gateway.get("alerts", limit=100) if other["raised_at"] > alert["raised_at"]],
        "another alert to be raised meanwhile",
    )
    kept = {
        "comments": {one["comment"] for one in gateway.get("feedback")},
        "alerts": {one["id"] for one in gateway.get("alerts", limit=1000)},
    }
    assert {"disk is full", "at this one"} <= kept["comments"] and raised[0]["id"] in kept["alerts"]

    # The power goes, and comes back to a disk that is still full.
    gateway.kill()
    Process.start(gateway, 60)
    shown = until(lambda: gateway.get(f"alerts/{alert['id']}"), "the gateway to answer", 60)
    assert shown["acknowledged_by"] and shown["comment"] == "on my way"
    assert kept["comments"] <= {one["comment"] for one in gateway.get("feedback")}
    assert kept["alerts"] <= {one["id"] for one in gateway.get("alerts", limit=1000)}
    assert gateway.get("status")["buffer"]["degraded"]
    gateway.post("feedback", {"alert_id": alert["id"], "verdict": "unsure", "comment": "after the restart"})
    store, pid = gateway.get("status")["buffer"]["store_id"], gateway.pid

    disk.free()
    until(lambda: gateway.metrics()["explaind_buffer_degraded"] == 0, "the store to be opened again", 60)
    until(lambda: gateway.predictions(1)[0]["id"] > newest, "predictions to be taken again")
    until(gateway.ready, "the gateway to be ready")
    assert gateway.pid == pid, "without a restart"
    assert gateway.get("status")["buffer"]["store_id"] == store, "and with the same store"

    # All of it arrives at the registry, once, and so does what happened.
    def arrived():
        feedback = records.read(gateway.registry, GATEWAY, "feedback")
        health = records.read(gateway.registry, GATEWAY, "health")
        alerts = records.read(gateway.registry, GATEWAY, "alerts")
        assert {"disk is full", "at this one", "after the restart"} <= set(feedback["comment"])
        assert kept["alerts"] <= set(alerts["alert_id"])
        assert {"degraded", "recovered"} <= set(health["state"])
        return {"feedback": feedback, "health": health, "alerts": alerts}

    for stream, table in until(arrived, "the registry to have it", 60).items():
        assert table["record_id"].is_unique and table["sequence"].is_monotonic_increasing, stream
        assert list(table["sequence"]) == list(range(1, len(table) + 1)), f"{stream} has no gap"
