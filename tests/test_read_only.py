"""A disk that is mounted for reading only, at the start and while the gateway runs: it stays up, and needs no restart."""

import pytest

from support.disk import Disk
from support.process import Process
from support.scene import replay
from support.wait import until


@pytest.fixture
def disk(tmp_path):
    """Where the gateway keeps its state."""
    disk = Disk(tmp_path / "card", 128)
    yield disk
    disk.unmount()


@pytest.fixture
def gateway(disk, daemon, bundle, tmp_path):
    """A gateway with an alert and a verdict on that disk; its socket lies elsewhere, as on a real one."""
    gateway = daemon(
        replay(tmp_path, bundle("ai4i-gbt")),
        EXPLAIND__GATEWAY__STATE_DIR=str(disk.path / "state"),
        EXPLAIND__GATEWAY__SOCKET=str(tmp_path / "explaind.sock"),
    )
    gateway.socket = tmp_path / "explaind.sock"
    alert = until(gateway.alerts, "an alert")[0]
    gateway.post("feedback", {"alert_id": alert["id"], "verdict": "confirm", "comment": "before"})
    return gateway


def mended(gateway, newest: str, store: str, pid: int) -> None:
    """Predictions are taken again, by the same process, into the same store."""
    until(lambda: gateway.metrics()["explaind_buffer_degraded"] == 0, "the store to be opened", 90)
    until(lambda: gateway.predictions(1)[0]["id"] > newest, "predictions to be taken again", 30)
    until(gateway.ready, "the gateway to be ready")
    assert gateway.pid == pid, "without a restart"
    assert gateway.get("status")["buffer"]["store_id"] == store


def test_it_starts_on_a_read_only_disk_and_goes_on_once_that_takes_writes(gateway, disk):
    """Alerts are shown; an acknowledgement that nothing can keep is refused with the reason; then all goes on."""
    newest, store = gateway.predictions(1)[0]["id"], gateway.get("status")["buffer"]["store_id"]
    known = {alert["id"] for alert in gateway.get("alerts", limit=1000)}
    gateway.stop()
    disk.protect()

    Process.start(gateway, 60)
    degraded = until(lambda: gateway.get("status")["buffer"]["degraded"], "the gateway to answer", 60)
    assert "Read-only" in degraded
    assert known <= {alert["id"] for alert in gateway.get("alerts", limit=1000)}
    assert "before" in {one["comment"] for one in gateway.get("feedback")}
    alert = gateway.get("alerts")[0]["id"]
    refused = gateway.verb("alerts", "ack", alert)
    assert refused.code != 0 and refused.err.strip(), (refused.code, refused.out, refused.err)
    pid = gateway.pid

    disk.release()
    mended(gateway, newest, store, pid)
    done = gateway.verb("alerts", "ack", alert, "--comment", "at last")
    assert done.code == 0, done.err
    assert gateway.get(f"alerts/{alert}")["comment"] == "at last"


def test_a_disk_that_turns_read_only_stops_predictions_and_is_taken_back_without_a_restart(gateway, disk):
    """As ext4 does it when it meets an error."""
    newest, store, pid = gateway.predictions(1)[0]["id"], gateway.get("status")["buffer"]["store_id"], gateway.pid
    disk.give_up()
    until(lambda: gateway.metrics()["explaind_buffer_degraded"] == 1, "it to be noticed", 60)
    assert gateway.get("status")["buffer"]["degraded"]
    # From the journal, once it is found that the store can no longer be read: it may be so on some runs.
    until(lambda: "before" in {one["comment"] for one in gateway.get("feedback")}, "what people said to be shown on", 3)

    disk.put_right()
    mended(gateway, newest, store, pid)
    feedback = gateway.get("feedback")
    assert [one["comment"] for one in feedback].count("before") == 1
    gateway.post("feedback", {"alert_id": gateway.get("alerts", limit=1)[0]["id"], "verdict": "unsure", "comment": "after"})
    assert {"before", "after"} <= {one["comment"] for one in gateway.get("feedback")}
