"""The registry is away for as many records as a week brings, and answers get lost when it is back: the count is exact."""

import time

import numpy as np
import pytest

from support import paths, scene
from support.mlflow import LossyUplink, MLflow, in_mlflow, uploaded, without_registry
from support.wait import until

# One prediction a second, for a week.
RECORDS = 7 * 86_400 if paths.LONG else 4_000
JUDGED = 20


def resident(pid: int) -> int:
    """Bytes of memory that a process has."""
    for line in open(f"/proc/{pid}/status"):
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise LookupError("VmRSS")


@pytest.mark.timeout(7200 if paths.LONG else 300)
def test_a_week_without_the_registry(daemon, bundle, tmp_path):
    """Everything fits the buffer: each record is in MLflow once, and what people said was there first."""
    server = MLflow(tmp_path / "mlflow")
    uplink = LossyUplink(server.port, 0.05)
    text = without_registry(scene.replay(tmp_path, bundle(), interval="1ms"), "away")
    text = text.replace("batch_records = 25", "batch_records = 5000") + '\n[buffer]\nmax_bytes = "8GiB"\n'
    gateway = daemon(text, **in_mlflow(uplink.url))
    judged, memory = [], []

    def newest() -> dict:
        return until(lambda: gateway.predictions(1), "a prediction")[0]

    while (last := newest()["sequence"]) < RECORDS:
        memory.append((last, resident(gateway.pid)))
        if len(judged) < JUDGED and last > len(judged) * RECORDS // JUDGED:
            judged.append(gateway.post("feedback", {"prediction_id": newest()["id"], "verdict": "confirm"})["id"])
        time.sleep(0.2)

    try:
        server.start(120)
        begun = time.monotonic()
        until(lambda: uploaded(gateway, "feedback") >= len(judged), "feedback to arrive", 240)
        behind = last - uploaded(gateway, "predictions")
        fed_back = time.monotonic() - begun
        until(lambda: uploaded(gateway, "predictions") >= last, f"{last} predictions to arrive", 3600)
        caught_up = time.monotonic() - begun
        assert gateway.stop() == 0
        found = server.read("away")
    finally:
        server.close()
    assert uplink.lost >= 2, f"only {uplink.lost} answers were lost"
    for stream, numbers in found["streams"].items():
        assert numbers == list(range(1, len(numbers) + 1)), f"{stream}: each once, in order"
    assert found["streams"]["feedback"] == list(range(1, len(judged) + 1))
    assert len(found["streams"]["predictions"]) >= RECORDS
    assert behind > 0, "feedback was there before the predictions that waited with it"

    later = np.array(memory[len(memory) // 4 :], dtype=float)
    slope = np.polyfit(later[:, 0], later[:, 1], 1)[0] if len(later) > 2 else float("nan")
    print(
        f"{last} predictions and {len(judged)} verdicts while the registry was away; {uplink.lost} answers lost; feedback "
        f"there after {fed_back:.1f} s, with {behind} predictions still to come, and these after {caught_up:.1f} s; "
        f"resident {memory[-1][1] / 2**20:.1f} MiB at the end, {slope:.1f} bytes a record from a quarter of the run on"
    )
