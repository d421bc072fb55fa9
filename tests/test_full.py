"""A registry that is away for so long that the buffer fills, and then comes back."""

import subprocess
from pathlib import Path

import pytest

from support import bundles, paths, records, scene
from support.client import Person
from support.daemon import Daemon
from support.mlflow import PYTHON, LossyUplink, MLflow, in_mlflow, without_registry
from support.wait import until

BULK = ("predictions", "explanations", "health")
PRECIOUS = ("feedback", "alerts", "audit")
UNSENT = 'explaind_buffer_dropped_records_total{reason="unsent",stream="predictions"}'
REFUSED = 'explaind_buffer_dropped_records_total{reason="refused",stream="predictions"}'
# Enough to pass over the backlog several times.
RECORDS = 100_000 if paths.LONG else 12_000


def streams(gateway: Daemon) -> dict[str, dict]:
    """The buffer's figures by stream."""
    return {one["stream"]: one for one in gateway.get("status")["buffer"]["streams"]}


def received(registry: Path, gateway: str, stream: str):
    """What central has of a stream."""
    return records.read(registry, gateway, stream, thinned=True)


def has_all(gateway: Daemon) -> bool:
    """Whether the registry has everything that is to go there."""
    status = gateway.get("status")
    assert status["sources"][0]["finished"]
    return all(one["waiting"] == 0 for one in status["sync"]["streams"]) and status["sync"]["state"] == "online"


def given_up(registry: Path, gateway: str) -> dict[str, int]:
    """Records per stream that central never got, by the health records that it did get."""
    health = received(registry, gateway, "health")
    told = health[(health["subject"] == "buffer") & (health["state"] == "evicted")]
    sums: dict[str, int] = {}
    for evidence in map(dict, told["evidence"]):
        sums[evidence["stream"]] = sums.get(evidence["stream"], 0) + int(evidence["unsent"])
    return sums


def outage(folder: Path, bundle: Path) -> str:
    """A machine that alarms now and then, and more records than the buffer holds. Then it rests."""
    rows = ([bundles.harmless()] * 1994 + [bundles.alarming()] * 6) * (RECORDS // 2000)
    text = scene.replay(folder, bundle, rows, "1ms").replace("loop = true", "loop = false")
    return text.replace("batch_records = 25", "batch_records = 500") + '\n[buffer]\nmax_bytes = "2MiB"\n'


def live_through(gateway: Daemon) -> list[str]:
    """People judge while records are thinned, until the machine rests. Returns the ids of what they said."""
    judged = []
    until(lambda: gateway.metrics().get(UNSENT, 0) > 1000, "predictions to be thinned", 120)

    def judge() -> str:
        # The newest may be thinned before the verdict is there: then the next one.
        return gateway.post("feedback", {"prediction_id": gateway.predictions(1)[0]["id"], "verdict": "confirm"})["id"]

    for _ in range(20):
        judged.append(until(judge, "a verdict to be taken"))
    until(lambda: gateway.get("status")["sources"][0]["finished"], "the recording to end", 300)
    assert not gateway.get("status")["buffer"]["full"], "what is thinned makes room"
    return judged


def add_up(registry: Path, gateway: str, produced: dict[str, int], judged: list[str]) -> None:
    """Central accounts for every number, and has all that matters."""
    unsent = given_up(registry, gateway)
    assert unsent["predictions"] > 1000, unsent
    for stream in (*BULK, *PRECIOUS):
        if produced[stream] == 0:
            continue
        numbers = received(registry, gateway, stream)["sequence"]
        assert numbers.is_unique, stream
        assert len(numbers) + unsent.get(stream, 0) == produced[stream], f"{stream}: {len(numbers)}, {unsent}"
        assert stream in BULK or stream not in unsent, f"{stream} is never given up"
    assert set(judged) <= set(received(registry, gateway, "feedback")["feedback_id"])
    # What is left is spread over the outage, and what alerts name is there.
    predictions = received(registry, gateway, "predictions")
    named = received(registry, gateway, "alerts")["prediction_id"].dropna()
    assert set(named) <= set(predictions["record_id"])
    gaps = predictions["sequence"].sort_values().diff().dropna()
    assert gaps.max() <= 1024 and predictions["sequence"].min() <= 1024
    print(f"produced {produced}, given up {unsent}, widest gap {int(gaps.max())}")


@pytest.mark.timeout(1800 if paths.LONG else 400)
def test_what_arrives_and_what_was_given_up_make_what_was_produced(daemon, bundle, tmp_path):
    """A week's outage at a rate that does not fit: the sums are exact, and nothing that people did is missing."""
    folder = tmp_path / "gateway"
    folder.mkdir()
    # A registry cannot be where a file is.
    (folder / "registry").write_text("in the way")
    gateway = daemon(outage(tmp_path, bundle()))
    judged = live_through(gateway)
    # The recording plays once more.
    gateway.kill_and_restart()
    until(lambda: gateway.get("status")["sources"][0]["finished"], "the recording to end", 300)
    gateway.registry.unlink()
    until(lambda: has_all(gateway), "all to arrive", 120)
    produced = {stream: one["last"] for stream, one in streams(gateway).items()}
    gateway.kill()
    add_up(gateway.registry, scene.GATEWAY, produced, judged)


@pytest.mark.skipif(not PYTHON.exists(), reason=f"MLflow is not installed ({PYTHON}); tests/setup says how")
@pytest.mark.timeout(3600 if paths.LONG else 600)
def test_the_same_in_mlflow_when_answers_get_lost(daemon, bundle, tmp_path):
    """One answer in twenty does not arrive, and the sums are exact all the same; feedback is there first."""
    server = MLflow(tmp_path / "mlflow")
    uplink = LossyUplink(server.port, 0.05)
    gateway = daemon(without_registry(outage(tmp_path, bundle()), "tight"), **in_mlflow(uplink.url))
    judged = live_through(gateway)
    try:
        server.start(120)
        until(lambda: streams(gateway)["feedback"]["uploaded"] >= len(judged), "feedback to arrive", 240)
        behind = streams(gateway)["predictions"]
        assert behind["uploaded"] < behind["last"], "before the predictions"
        until(lambda: has_all(gateway), "all to arrive", 240)
        produced = {stream: one["last"] for stream, one in streams(gateway).items()}
        gateway.kill()
    finally:
        server.close()
    assert uplink.lost >= 1
    registry = next(server.artifacts.rglob("tight")).parent
    add_up(registry, "tight", produced, judged)


@pytest.mark.timeout(400)
def test_a_buffer_that_is_full_says_so_and_empties_and_goes_on(daemon, bundle, tmp_path):
    """What must not go fills it: predictions stop with an alert of the gateway's own, people do not."""
    folder = tmp_path / "gateway"
    folder.mkdir()
    (folder / "registry").write_text("in the way")
    # A flood that would fill it for ever is not what is looked at: at last the machine rests.
    rows = ([bundles.harmless()] * 6 + [bundles.alarming()] * 6) * 2500 + [bundles.harmless()] * 6
    text = scene.replay(tmp_path, bundle(), rows, "2ms").replace("loop = true", "loop = false")
    gateway = daemon(text + '\n[buffer]\nmax_bytes = "1MiB"\n')

    def own() -> list[dict]:
        return [alert for alert in gateway.get("alerts", limit=100, asset="_gateway")]

    until(lambda: gateway.get("status")["buffer"]["full"], "a full buffer", 120)
    alert = until(own, "an alert of the gateway's own")[0]
    assert (alert["model"], alert["state"], alert["priority"]) == ("buffer_full", "unacknowledged", "high")
    assert "buffer is full" in alert["sentence"], alert
    # What is still thinned makes room for moments.
    until(lambda: gateway.metrics()["explaind_buffer_full"] == 1, "the metric to say so")
    until(lambda: "full: yes" in gateway.verb("status").out, "the status to say so")
    assert "buffer is full" in gateway.verb("alerts", "list").out
    person = Person(gateway.url)
    assert "The buffer is full" in person.sign_in("technician", "demo").text
    person.http.headers["Accept-Language"] = "de"
    assert "Der Puffer ist voll" in person.http.get("/").text
    # Long enough for alerts to come and go while predictions are refused, and to be tried again.
    before = gateway.metrics().get(REFUSED, 0)
    until(lambda: gateway.metrics().get(REFUSED, 0) > before + 500, "predictions to be refused", 60)

    assert gateway.verb("alerts", "ack", alert["id"], "--comment", "calling the network people").code == 0
    machine = next(other for other in gateway.get("alerts", limit=100) if other["asset"] == "press-7")
    gateway.post("feedback", {"alert_id": machine["id"], "verdict": "confirm", "comment": "while it is full"})
    gateway.kill_and_restart()
    until(lambda: gateway.get("status")["buffer"]["full"], "it to be full again", 60)
    assert [one["id"] for one in own()] == [alert["id"]], "it is the same alert"

    gateway.registry.unlink()
    beyond = streams(gateway)["predictions"]["last"] + 500
    until(lambda: streams(gateway)["predictions"]["uploaded"] > beyond, f"predictions beyond {beyond} to arrive", 120)
    until(lambda: gateway.get("status")["sources"][0]["finished"], "the machine to rest", 120)
    # All transitions of an alert that is open are kept, and this one flickered all the time.
    assert gateway.verb("alerts", "ack", machine["id"]).code == 0
    normal = until(lambda: [one for one in own() if one["id"] == alert["id"] and one["state"] == "normal"], "normal", 90)
    assert normal[0]["acknowledged_by"] and normal[0]["comment"] == "calling the network people"

    def arrived():
        alerts = received(gateway.registry, scene.GATEWAY, "alerts")
        mine = alerts[alerts["alert_id"] == alert["id"]]
        assert list(mine["to_state"])[:2] == ["unacknowledged", "acknowledged"] and set(mine["asset"]) == {"_gateway"}
        assert "while it is full" in set(received(gateway.registry, scene.GATEWAY, "feedback")["comment"])
        return True

    until(arrived, "the registry to have all of it", 60)


def test_a_small_disk_is_not_filled(daemon, bundle, tmp_path):
    """64 MiB of disk, 2 GiB allowed, no registry, and most of it taken by somebody else: nothing fails."""
    folder = tmp_path / "gateway" / "state"
    folder.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", folder], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    try:
        # What else is on such a disk.
        (folder / "other").write_bytes(b"\1" * (36 << 20))
        gateway = daemon(scene.replay(tmp_path, bundle(), interval="1ms"), EXPLAIND__SYNC__BATCH_AGE="1h")
        gateway.stop()
        gateway.registry.exists() and subprocess.run(["rm", "-rf", gateway.registry], check=True)
        gateway.registry.write_text("in the way")
        gateway.start()
        until(lambda: gateway.metrics().get(UNSENT, 0) > 2000, "predictions to be thinned for the disk's sake", 240)
        buffer = gateway.get("status")["buffer"]
        assert buffer["degraded"] is None and buffer["bound"] < 32 << 20 < buffer["max_bytes"], buffer
        assert gateway.metrics()["explaind_buffer_degraded"] == 0
        machine = next(alert for alert in gateway.get("alerts", limit=100) if alert["asset"] == "press-7")
        assert gateway.verb("alerts", "ack", machine["id"]).code == 0
        gateway.kill()
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
