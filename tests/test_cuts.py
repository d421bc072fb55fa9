"""The process is killed, and the power is cut, at random moments under load: nothing that was answered is lost.

What was answered: feedback and acknowledgements that got their answer, and predictions that were shown. At the end each
is in the registry, once, and the numbers of each stream have no gap.
"""

import os
import random
import time

import pytest

from support import paths, records, scene
from support.bundles import alarming, harmless
from support.disk import Disk
from support.technicians import Technicians
from support.wait import until

KILLS = 300 if paths.LONG else 12
CUTS = 100 if paths.LONG else 8
# With the clearing rule of the test bundle, alerts come and go several times a second.
ROWS = [harmless()] * 6 + [alarming()] * 6
STREAMS = ("predictions", "alerts", "feedback", "audit")


@pytest.fixture
def luck(request):
    """Moments that differ from run to run, and can be had again."""
    seed = int(os.environ.get("EXPLAIND_SEED", time.time_ns() % 1_000_000))
    print(f"EXPLAIND_SEED={seed}")
    return random.Random(seed)


@pytest.fixture
def disk(tmp_path):
    """A disk whose power can be cut."""
    disk = Disk(tmp_path / "card")
    yield disk
    disk.unmount()


def arrived(gateway, stream):
    """All of a stream that the registry has; numbers are dense from 1 on, ids unique."""
    frame = records.read(gateway.registry, scene.GATEWAY, stream)
    assert list(frame["sequence"]) == list(range(1, len(frame) + 1)), f"gaps in {stream}"
    assert frame["record_id"].is_unique
    return frame


def check(gateway, technicians, interruptions):
    """Everything that was answered is in the registry, once, in order."""
    for answered in (technicians.judged, technicians.acknowledged, technicians.shown):
        assert len(answered) >= interruptions // 6, "too little was answered to show anything"
    last = gateway.predictions(1)[0]["sequence"]

    def complete():
        frames = {stream: arrived(gateway, stream) for stream in STREAMS}
        assert frames["predictions"]["sequence"].max() >= last
        assert set(technicians.judged) <= set(frames["feedback"]["record_id"])
        return frames

    frames = until(complete, "everything to be in the registry", 120)
    feedback = frames["feedback"].set_index("record_id")["sequence"]
    order = [feedback[given] for given in technicians.judged]
    assert order == sorted(order), "feedback is numbered in the order in which it was given"
    alerts = frames["alerts"]
    authored = alerts[alerts["author"].notna()].groupby("alert_id")["sequence"].agg(list).to_dict()
    once = [authored.get(alert, []) for alert in technicians.acknowledged]
    assert all(len(numbers) == 1 for numbers in once), "each acknowledgement is there once"
    predictions = frames["predictions"].set_index("record_id")["sequence"].to_dict()
    for shown, sequence in technicians.shown.items():
        assert predictions.get(shown) == sequence, f"prediction {sequence} was shown, and is gone"
    return frames


def report(what, count, frames, technicians):
    """What was tried, for whoever reads the log."""
    sizes = {stream: len(frame) for stream, frame in frames.items()}
    print(
        f"{count} {what}: {len(technicians.judged)} verdicts, {len(technicians.acknowledged)} acknowledgements and "
        f"{len(technicians.shown)} predictions were answered; in the registry, each once: {sizes}"
    )


@pytest.mark.timeout(3600 if paths.LONG else 180)
def test_kill_9_at_any_moment(daemon, bundle, tmp_path, luck):
    """The process dies while people work and batches close."""
    gateway = daemon(scene.replay(tmp_path, bundle(), ROWS, interval="10ms"))
    technicians = Technicians(gateway)
    for _ in range(KILLS):
        technicians.start()
        time.sleep(luck.uniform(0.0, 0.8))
        gateway.kill()
        technicians.stop()
        gateway.start()
    report("kills", KILLS, check(gateway, technicians, KILLS), technicians)


@pytest.mark.timeout(3600 if paths.LONG else 180)
def test_power_cut_at_any_moment(disk, daemon, bundle, tmp_path, luck):
    """The disk forgets all that was not synced."""
    gateway = daemon(
        scene.replay(tmp_path, bundle(), ROWS, interval="10ms"), EXPLAIND__GATEWAY__STATE_DIR=str(disk.path / "state")
    )
    technicians = Technicians(gateway)
    for _ in range(CUTS):
        technicians.start()
        time.sleep(luck.uniform(0.0, 0.8))
        power_cut(gateway, disk, technicians)
    report("power cuts", CUTS, check(gateway, technicians, CUTS), technicians)


@pytest.mark.timeout(3600 if paths.LONG else 180)
def test_power_cut_with_predictions_alone(disk, daemon, bundle, tmp_path, luck):
    """No alert, no feedback, no batch: nothing but the predictions' own sync can have saved them."""
    text = scene.replay(tmp_path, bundle(), [harmless()], interval="10ms").replace('"1s"', '"1h"', 1)
    assert 'batch_age = "1h"' in text
    text = text.replace("batch_records = 25", "batch_records = 100000")
    gateway = daemon(text, EXPLAIND__GATEWAY__STATE_DIR=str(disk.path / "state"))
    technicians = Technicians(gateway)
    for _ in range(CUTS):
        technicians.start(only_read=True)
        # Predictions are gathered for a second.
        time.sleep(luck.uniform(1.1, 2.5))
        power_cut(gateway, disk, technicians)
        newest = max(technicians.shown.values(), default=0)
        assert newest > 0, "predictions were shown"
        assert until(lambda: gateway.predictions(1), "predictions")[0]["sequence"] >= newest
        for shown in [one for one, sequence in technicians.shown.items() if sequence > newest - 10]:
            assert gateway.get(f"predictions/{shown}")["id"] == shown
    print(f"{CUTS} power cuts: {len(technicians.shown)} predictions were shown, all are there")


def power_cut(gateway, disk, technicians):
    """The power goes, the machine comes up again."""
    disk.cut()
    gateway.kill()
    technicians.stop()
    disk.replug()
    gateway.start()


def test_the_disk_forgets_what_was_not_synced(disk):
    """Else the tests above would show nothing."""
    for name, synced in (("kept", True), ("lost", False)):
        with (disk.path / name).open("wb") as file:
            file.write(b"x" * 4096)
            file.flush()
            if synced:
                os.fsync(file.fileno())
                folder = os.open(disk.path, os.O_RDONLY)
                os.fsync(folder)
                os.close(folder)
    disk.cut()
    disk.replug()
    assert (disk.path / "kept").read_bytes() == b"x" * 4096
    assert not (disk.path / "lost").exists()
