"""A gateway without a clock of its own: it boots in 1970, and the time jumps. Nothing is lost, reordered or rewritten."""

import os
import shutil
import time
from pathlib import Path

import pandas as pd
import pytest

from support import records, scene
from support.wait import until

LIBRARY = Path("/usr/lib") / f"{os.uname().machine}-linux-gnu" / "faketime" / "libfaketimeMT.so.1"


class WallClock:
    """What the daemon takes for the time; its clock since boot stays the kernel's."""

    def __init__(self, folder: Path):
        self.file = folder / "clock"
        self.env = {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def ahead(self, seconds: float) -> None:
        """So many seconds ahead of the machine's clock."""
        self.file.write_text(f"{seconds:+.0f}\n")


@pytest.mark.skipif(not LIBRARY.exists(), reason=f"{LIBRARY} is not installed")
def test_boot_in_1970_and_jumps_of_an_hour(daemon, bundle, tmp_path):
    """Each record once, in the order of their numbers, whatever the wall clock did; anchors say what it did."""
    clock = WallClock(tmp_path)
    clock.ahead(300 - time.time())
    gateway = daemon(scene.replay(tmp_path, bundle()), **clock.env)

    def arrived(stream: str) -> pd.DataFrame:
        return records.read(gateway.registry, scene.GATEWAY, stream)

    def some_more() -> None:
        so_far = gateway.predictions(1)[0]["sequence"] if gateway.predictions(1) else 0
        until(lambda: gateway.predictions(1)[0]["sequence"] > so_far + 30, "predictions to go on", 30)

    def jumped(times: int) -> list:
        health = arrived("health")
        found = health[(health["subject"] == "clock") & (health["state"] == "jumped")]
        return list(found["evidence"]) if len(found) == times else []

    some_more()
    judged = [gateway.post("feedback", {"prediction_id": gateway.predictions(1)[0]["id"], "verdict": "confirm"})["id"]]
    for number, hours in enumerate((0, -1, 1), start=1):
        clock.ahead(hours * 3600)
        some_more()
        prediction = gateway.predictions(1)[0]["id"]
        judged.append(gateway.post("feedback", {"prediction_id": prediction, "verdict": "confirm"})["id"])
        until(lambda: jumped(number), "the jump to be on record", 30)  # noqa: B023
    gateway.stop()
    assert "panicked" not in gateway.log()

    frame = arrived("predictions")
    assert list(frame["sequence"]) == list(range(1, len(frame) + 1))
    assert frame["record_id"].is_unique and frame["boot_id"].nunique() == 1
    assert frame["monotonic_ns"].is_monotonic_increasing, "the order is that of the numbers"
    assert frame["recorded_at"].iloc[0].year == 1970 and frame["recorded_at"].iloc[-1].year == time.gmtime().tm_year
    assert not frame["recorded_at"].is_monotonic_increasing, "else nothing was tried"
    assert list(arrived("feedback")["record_id"]) == judged
    days = {path.parent.name for path in records.batches(gateway.registry, scene.GATEWAY, "predictions")}
    assert "date=1970-01-01" in days and len(days) > 1, "a batch lies under the day on which it was closed, and stays there"

    # Central puts the first times right by the last anchor, to the second.
    evidence = records.as_dict(jumped(3)[-1])
    anchor, since = pd.Timestamp(evidence["utc"]), int(evidence["monotonic_ns"])
    true = anchor + pd.to_timedelta(frame["monotonic_ns"] - since, unit="ns")
    begun = pd.Timestamp(time.time() + 3600, unit="s", tz="UTC")
    assert (begun - true.iloc[0]) < pd.Timedelta(minutes=5)
    assert int(records.as_dict(jumped(3)[1])["by_microseconds"]) // 1_000_000 in (-3600, -3601)


@pytest.mark.skipif(not LIBRARY.exists(), reason=f"{LIBRARY} is not installed")
@pytest.mark.skipif(Path("/run/systemd/timesync/synchronized").exists(), reason="this machine's own clock is synchronised")
def test_an_anchor_says_when_the_clock_is_right(daemon, bundle, tmp_path):
    """Boot in 1970; then a time server is heard, the clock jumps and is right. Central can tell all true times from that."""
    clock, says = WallClock(tmp_path), tmp_path / "says"
    # In place of systemd's, which asks the kernel: this one is told by the test.
    tool = tmp_path / "bin" / "timedatectl"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\n[ "$*" = "show --property=NTPSynchronized --value" ] && exec {shutil.which("cat")} {says}\n')
    tool.chmod(0o755)
    says.write_text("no\n")
    clock.ahead(300 - time.time())
    gateway = daemon(scene.replay(tmp_path, bundle()), PATH=f"{tool.parent}:{os.environ['PATH']}", **clock.env)
    until(lambda: gateway.predictions(1)[0]["sequence"] > 30, "predictions", 30)
    assert gateway.get("status")["gateway"]["clock_synchronised"] is False
    clock.ahead(0)
    says.write_text("yes\n")
    right = time.time()

    def anchors() -> list[dict]:
        health = records.read(gateway.registry, scene.GATEWAY, "health")
        found = health[(health["subject"] == "clock") & (health["state"] == "synchronised")]
        return [records.as_dict(evidence) for evidence in found["evidence"]]

    # It asks once a minute.
    anchor = until(anchors, "the anchor to arrive", 120)[0]
    assert gateway.get("status")["gateway"]["clock_synchronised"] is True
    so_far = gateway.predictions(1)[0]["sequence"]
    until(lambda: gateway.predictions(1)[0]["sequence"] > so_far + 30, "predictions to go on", 30)
    assert gateway.stop() == 0
    frame = records.read(gateway.registry, scene.GATEWAY, "predictions")
    assert list(frame["sequence"]) == list(range(1, len(frame) + 1))
    known = list(frame["clock_synchronised"])
    assert not known[0] and known[-1] and known == sorted(known), "from the anchor on, and not before"
    assert set(frame["boot_id"]) == {anchor["boot_id"]}
    since = pd.to_timedelta(frame["monotonic_ns"] - int(anchor["monotonic_ns"]), unit="ns")
    true = pd.Timestamp(anchor["utc"]) + since
    assert frame["recorded_at"].iloc[0].year == 1970
    begun = pd.Timestamp(right, unit="s", tz="UTC")
    assert pd.Timedelta(0) < begun - true.iloc[0] < pd.Timedelta(minutes=2), "the first record's time, put right"
    last = frame[frame["clock_synchronised"]]
    off = (true[last.index] - last["recorded_at"]).abs().max()
    assert off < pd.Timedelta(seconds=1), f"records of a right clock are where the anchor puts them, not {off} beside"
