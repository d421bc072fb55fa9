"""The registry is away for as many records as a week brings, and answers get lost when it is back: the count is exact."""

import time
from pathlib import Path

import numpy as np
import pytest

from support import bundles, paths, scene
from support.mlflow import LossyUplink, MLflow, all_uploaded, in_mlflow, uploaded, without_registry
from support.wait import until

# One prediction a second, for a week; and how many of them make a batch, so that many batches wait either way.
RECORDS = 7 * 86_400 if paths.LONG else 4_000
BATCH = 5_000 if paths.LONG else 400
# Answers lost: fewer until it has got in, since that takes many questions one after the other.
LOSS, LATER_LOSS = 0.05, 0.05 if paths.LONG else 0.1
JUDGED = 20
# What the daemon may grow by per record that waits: its store keeps about a fifth of them in memory. A short run is
# too short to see that: what it shows is the growth of a process that has just begun.
BYTES_PER_RECORD = 150 if paths.LONG else 16_384
# What it may have at the end: of what the service is given, systemd/explaind.service says.
RESIDENT = 256 << 20


def resident(pid: int) -> int:
    """Bytes of memory that a process has."""
    for line in open(f"/proc/{pid}/status"):
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise LookupError("VmRSS")


def arrived(folder: Path, stream: str) -> list[float]:
    """When each batch of a stream came to a server that keeps its files there."""
    return [path.stat().st_mtime for path in folder.rglob("*.parquet") if f"/{stream}/" in str(path)]


@pytest.mark.timeout(7200 if paths.LONG else 300)
def test_a_week_without_the_registry(daemon, bundle, tmp_path):
    """Everything fits the buffer: each record is in MLflow once, and what people said was there first."""
    server = MLflow(tmp_path / "mlflow")
    uplink = LossyUplink(server.port, LOSS)
    week = ([bundles.harmless()] * 6 + [bundles.alarming()] * 6) * (RECORDS // 12 + 1)
    text = scene.replay(tmp_path, bundle(), week[:RECORDS], interval="1ms").replace("loop = true", "loop = false")
    text = without_registry(text, "away").replace("batch_records = 25", f"batch_records = {BATCH}")
    gateway = daemon(text + '\n[buffer]\nmax_bytes = "8GiB"\n', **in_mlflow(uplink.url))
    judged, memory, begun = [], [], time.monotonic()

    def newest() -> dict:
        return until(lambda: gateway.predictions(1), "a prediction")[0]

    # Each row is one prediction, so the last one has the number of the last row. Memory is looked at until then only.
    while (last := newest()["sequence"]) < RECORDS:
        memory.append((last, resident(gateway.pid)))
        if len(judged) < JUDGED and last > len(judged) * RECORDS // JUDGED:
            judged.append(gateway.post("feedback", {"prediction_id": newest()["id"], "verdict": "confirm"})["id"])
        time.sleep(0.2)
    played = time.monotonic() - begun
    until(lambda: "replay finished" in gateway.log(), "the week to be over", 30)

    try:
        server.start(120)
        begun = time.monotonic()
        until(lambda: uploaded(gateway, "feedback") >= len(judged), "feedback to arrive", 240)
        behind = RECORDS - uploaded(gateway, "predictions")
        fed_back = time.monotonic() - begun
        uplink.loss = LATER_LOSS
        until(lambda: all_uploaded(gateway), "everything to arrive", 3600 if paths.LONG else 200)
        caught_up = time.monotonic() - begun
        assert gateway.stop() == 0
        found = server.read("away")
    finally:
        server.close()
    assert uplink.lost >= 2, f"only {uplink.lost} answers were lost"
    for stream, numbers in found["streams"].items():
        assert numbers == list(range(1, len(numbers) + 1)), f"{stream}: each once, in order"
    assert len(found["streams"]["predictions"]) == RECORDS
    assert found["ids"]["feedback"] == judged, "what was acknowledged, each once, and nothing else"
    arrivals = {stream: arrived(tmp_path / "mlflow", stream) for stream in ("feedback", "predictions")}
    assert max(arrivals["feedback"]) <= min(arrivals["predictions"]), "what people said was there first"

    later = np.array(memory[len(memory) // 4 :], dtype=float)
    assert len(later) > 5, "too few looks at the memory"
    slope = np.polyfit(later[:, 0], later[:, 1], 1)[0]
    print(
        f"{RECORDS} predictions in {played:.0f} s and {len(judged)} verdicts while the registry was away; {uplink.lost} "
        f"answers lost; feedback there after {fed_back:.1f} s, with {behind} predictions still to come, and all after "
        f"{caught_up:.1f} s; resident {later[0, 1] / 2**20:.1f} MiB at a quarter of the run and {later[-1, 1] / 2**20:.1f} "
        f"MiB at its end, {slope:.1f} bytes a record"
    )
    assert slope < BYTES_PER_RECORD, f"{slope:.0f} bytes a record"
    assert later[-1, 1] < RESIDENT, f"{later[-1, 1] / 2**20:.0f} MiB"
