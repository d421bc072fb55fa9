"""A real MLflow server as the registry: each record once, also when answers get lost and servers go away."""

from pathlib import Path

import pytest

from support import scene
from support.cli import explaind
from support.mlflow import LossyUplink, in_mlflow, uploaded, without_registry
from support.wait import until


def test_each_record_arrives_once_although_answers_get_lost(daemon, bundle, tmp_path, mlflow):
    """One answer in twenty is lost, the server goes away and comes back, the gateway is killed."""
    uplink = LossyUplink(mlflow.port, 0.05)
    text = without_registry(scene.replay(tmp_path, bundle()), "lossy")
    gateway = daemon(text, **in_mlflow(uplink.url))
    alert = until(lambda: next(iter(gateway.alerts()), None), "an alert")
    gateway.post(f"alerts/{alert['id']}/acknowledge", {"comment": "on my way"})
    gateway.post("feedback", {"alert_id": alert["id"], "verdict": "confirm"})
    until(lambda: uploaded(gateway, "predictions") > 50, "batches to arrive", 180)
    mlflow.kill()
    until(lambda: gateway.get("status")["sync"]["state"] == "offline", "sync to notice", 120)
    mlflow.start(120)
    gateway.kill_and_restart()
    until(lambda: uploaded(gateway, "predictions") > 150, "batches to arrive again", 180)
    uplink.loss = 0.0
    last = {one["stream"]: one["last"] for one in gateway.get("status")["buffer"]["streams"]}
    until(lambda: all(uploaded(gateway, stream) >= number for stream, number in last.items()), "all to arrive", 180)
    assert gateway.stop() == 0
    found = mlflow.read("lossy")
    assert uplink.lost >= 2, f"only {uplink.lost} answers were lost"
    for stream, numbers in found["streams"].items():
        assert numbers == list(range(1, len(numbers) + 1)), f"{stream}: each once, in order"
    assert len(found["streams"]["predictions"]) >= last["predictions"] and found["streams"]["feedback"] == [1]
    assert found["metrics"]["verdicts_confirm"] == 1 and found["metrics"]["buffer_bytes"] > 0
    # Nothing was evicted, and nothing waits: what is kept is what arrived.
    assert found["metrics"]["records_predictions"] == len(found["streams"]["predictions"])
    assert found["metrics"]["waiting_feedback"] == 0


def test_kills_while_it_catches_up_over_a_bad_uplink(daemon, bundle, tmp_path, mlflow):
    """What waited arrives once, although one answer in twenty is lost and the gateway is killed over and over meanwhile."""
    uplink = LossyUplink(mlflow.port, 0.05)
    backlog, quick, slow = 2_000, 'interval = "5ms"', 'interval = "100ms"'
    text = without_registry(scene.replay(tmp_path, bundle(), interval="5ms"), "hounded")
    assert quick in text
    gateway = daemon(text, **in_mlflow("http://127.0.0.1:9"))
    judged = []

    def judge() -> None:
        prediction = until(lambda: gateway.predictions(1), "a prediction")[0]["id"]
        judged.append(gateway.post("feedback", {"prediction_id": prediction, "verdict": "confirm"})["id"])

    until(lambda: gateway.predictions(1)[0]["sequence"] > backlog, "records to wait", 120)
    judge()
    gateway.kill()
    # From now on so slow that batches of this size leave sooner than they fill, on any machine.
    gateway.config.write_text(text.replace(quick, slow))
    gateway.env["EXPLAIND__REGISTRY__URL"] = uplink.url
    gateway.start()
    kills = 10
    for _ in range(kills):
        so_far = mlflow.count_files("hounded", "predictions")
        until(lambda: mlflow.count_files("hounded", "predictions") > so_far, "another batch to arrive", 120)  # noqa: B023
        judge()
        gateway.kill_and_restart()
    assert uploaded(gateway, "predictions") < backlog, "each kill came while it caught up"
    uplink.loss = 0.0
    last = {one["stream"]: one["last"] for one in gateway.get("status")["buffer"]["streams"]}
    until(lambda: all(uploaded(gateway, stream) >= number for stream, number in last.items()), "all to arrive", 180)
    assert gateway.stop() == 0
    found = mlflow.read("hounded")
    for stream, numbers in found["streams"].items():
        assert numbers == list(range(1, len(numbers) + 1)), f"{stream}: each once, in order"
        assert len(numbers) >= last[stream]
    assert found["ids"]["feedback"] == judged and len(judged) == kills + 1
    assert uplink.lost >= 2, f"only {uplink.lost} answers were lost"
    print(f"{kills} kills, {uplink.lost} answers lost, {len(found['streams']['predictions'])} predictions")


def test_a_retry_sends_the_bytes_of_the_first_try(daemon, bundle, tmp_path, mlflow):
    """What waits in the outbox is what arrives, although the gateway was killed and closes other batches since."""
    uplink = LossyUplink(mlflow.port, 0.0)
    text = without_registry(scene.replay(tmp_path, bundle()), "patient")
    gateway = daemon(text, **in_mlflow(uplink.url))
    until(lambda: uploaded(gateway, "predictions") > 20, "batches to arrive", 120)
    uplink.swallow = True
    outbox = gateway.state / "buffer.outbox"

    def waiting() -> dict[str, bytes]:
        files = outbox.glob("*/*.parquet")
        return {f"{file.parent.name}/{file.name}": file.read_bytes() for file in files}

    # Sync is at it when an upload was swallowed; what waits then waits until one arrives.
    until(lambda: uplink.lost >= 2 and gateway.get("status")["sync"]["state"] == "offline", "uploads to fail", 120)
    first = until(waiting, "a batch to wait")
    gateway.kill()
    gateway.env["EXPLAIND__SYNC__BATCH_RECORDS"] = "7"
    uplink.swallow = False
    gateway.start()
    until(lambda: not set(first) & set(waiting()), "the batch to leave", 180)
    assert gateway.stop() == 0
    for name, content in first.items():
        stream, file = name.split("/")
        [arrived] = mlflow.artifacts.glob(f"*/*/artifacts/patient/{stream}/date=*/{file}")
        assert arrived.read_bytes() == content, name
    for stream, numbers in mlflow.read("patient")["streams"].items():
        assert numbers == list(range(1, len(numbers) + 1)), f"{stream}: each once, in order"


def test_a_run_that_is_gone_or_was_made_again(daemon, bundle, tmp_path, mlflow):
    """A deleted run stops sync and says what to do; a run that is made again with its tags is found."""
    gateway = daemon(without_registry(scene.replay(tmp_path, bundle()), "orphan"), **in_mlflow(mlflow.url))
    until(lambda: uploaded(gateway, "predictions") > 20, "batches to arrive", 60)
    store = mlflow.read("orphan")["tags"]["explaind.store"]
    mlflow.delete_run("orphan")
    stopped = until(
        lambda: sync if (sync := gateway.get("status")["sync"])["state"] == "stopped" else None, "sync to stop", 60
    )
    assert "restore the run" in stopped["error"] and store in stopped["error"], stopped
    sent = uploaded(gateway, "predictions")
    mlflow.create_run("orphan", store)
    until(lambda: uploaded(gateway, "predictions") > sent + 20, "sync to go on", 120)
    assert gateway.stop() == 0
    numbers = mlflow.read("orphan")["streams"]["predictions"]
    assert numbers == list(range(sent + 1, numbers[-1] + 1)), "what came since, each once"


def test_a_run_of_another_store_is_left_alone(daemon, bundle, tmp_path, mlflow):
    """Two gateways of one name: the second must not write into the run of the first."""
    text = without_registry(scene.replay(tmp_path, bundle()), "twice")
    gateway = daemon(text, **in_mlflow(mlflow.url))
    until(lambda: uploaded(gateway, "predictions") > 20, "batches to arrive", 60)
    own = mlflow.read("twice")["tags"]["explaind.store"]
    mlflow.set_tag("twice", "explaind.store", "01890000-0000-7000-8000-000000000001")
    stopped = until(
        lambda: sync if (sync := gateway.get("status")["sync"])["state"] == "stopped" else None, "sync to stop", 60
    )
    assert "belongs to another store" in stopped["error"] and "tag explaind.gateway" in stopped["error"]
    mlflow.set_tag("twice", "explaind.store", own)
    until(lambda: gateway.get("status")["sync"]["state"] == "online", "sync to go on", 90)


def test_a_server_that_is_none_is_named(daemon, bundle, tmp_path):
    """A wrong address is one sentence in the status and for `check --probe`, and the gateway works on."""
    text = without_registry(scene.replay(tmp_path, bundle()), "astray")
    gateway = daemon(text, **in_mlflow("http://127.0.0.1:9"))
    error = until(lambda: gateway.get("status")["sync"]["error"], "an error", 30)
    assert "127.0.0.1:9" in error and "\n" not in error
    until(gateway.alerts, "an alert all the same")
    probed = gateway.configured("check", "--probe")
    assert probed.code == 69 and "127.0.0.1:9" in probed.out, probed


@pytest.mark.parametrize(
    ("lines", "key", "words"),
    [
        ('url = "http://central.example"\nusername = "me"\npassword_credential = "p"', "registry.url", "without TLS"),
        ('url = "https://c"\nusername = "me"', "registry.username", "needs a password"),
        ('url = "mlflow"', "registry.url", "no address of a server"),
        ('url = "https://c"\ntoken_file = "absent"', "registry.token_file", "cannot read"),
    ],
)
def test_what_makes_no_sense_is_refused(bundle, tmp_path: Path, lines: str, key: str, words: str):
    """With file, line and key, and the exit code of a wrong configuration."""
    file = tmp_path / "explaind.toml"
    text = scene.replay(tmp_path, bundle())
    file.write_text(text.replace('type = "directory"\npath = "registry"', f'type = "mlflow"\n{lines}'))
    done = explaind("check", "--config", file)
    assert done.code == 78 and key in done.err and words in done.err and "line" in done.err, done.err
