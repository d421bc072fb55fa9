"""A gateway follows a model in a real MLflow server; and what it does while that is away, slow, or talks nonsense."""

import json
import subprocess
import time

import httpx
import pytest

from support import bundles, records, scene
from support.gate import Gate
from support.hostile import Hostile
from support.mlflow import PEERS, PYTHON, MLflow
from support.wait import until
from test_rollout import NAME, Central, followed, mlops, model, runs

__all__ = ["mlops"]


def towards(url: str) -> dict[str, str]:
    """The same gateway with this server as its registry."""
    return {"EXPLAIND__REGISTRY__TYPE": "mlflow", "EXPLAIND__REGISTRY__URL": url}


def gateway_config(folder, mlops, **options) -> str:
    """As for a directory, without its path."""
    return followed(folder, mlops, **options).replace('path = "registry"\n', "")


def call(mlflow: MLflow, path: str, body: dict) -> dict:
    """What a person does in MLflow's own page."""
    answer = httpx.post(f"{mlflow.url}/api/2.0/mlflow/{path}", json=body, timeout=30, trust_env=False)
    answer.raise_for_status()
    return answer.json()


@pytest.fixture
def central(bundle, tmp_path, mlops, mlflow) -> Central:
    """The central team with its server."""
    return Central(mlflow.url, bundle, tmp_path, mlops)


def test_created_signed_pushed_followed_tried_promoted_and_rolled_back(daemon, tmp_path, central, mlops, mlflow):
    """The whole way of a model, with MLflow's own client beside."""
    central.release("1.0.0")
    gateway = daemon(gateway_config(tmp_path, mlops, model='challenger = "challenger"'), **towards(mlflow.url))
    assert runs(gateway, "1.0.0")["signed"]
    # A challenger is tried beside it, and takes its place when the alias moves.
    central.release("2.0.0", alias="challenger", model="ai4i-mlp")
    until(lambda: (model(gateway)["challenger"] or {}).get("version") == "2.0.0", "the challenger to run", 60)
    assert {p["role"] for p in until(lambda: [p for p in gateway.predictions(100) if p["model_version"] == "2.0.0"], "its predictions")} == {"shadow"}
    call(mlflow, "registered-models/alias", {"name": NAME, "alias": "champion", "version": "2"})
    promoted = runs(gateway, "2.0.0")
    assert promoted["registry_version"] == 2 and promoted["previous"]["version"] == "1.0.0"
    # What MLflow opens says what the gateway said.
    rows = tmp_path / "rows.csv"
    names = [name for name, _ in bundles.FEATURES.values()]
    said = [p for p in gateway.predictions(50) if p["role"] == "champion" and p["model_version"] == "2.0.0" and p["outcome"] == "predicted"]
    bundles.write_rows(rows, [{name: p["inputs"][name] for name in names} for p in said])
    command = [PYTHON, PEERS / "mlflow_model.py", mlflow.url, NAME, "champion", rows]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300, env=mlflow.env)
    assert run.returncode == 0, run.stderr[-4000:]
    outputs = json.loads(run.stdout.splitlines()[-1])["outputs"]
    theirs = [row[bundles.KINDS["ai4i-mlp"].index] for row in outputs[bundles.KINDS["ai4i-mlp"].tensor]]
    assert [p["probability"] for p in said] == pytest.approx(theirs, abs=1e-6)
    assert gateway.verb("bundle", "rollback", "--model", NAME).code == 0
    back = runs(gateway, "1.0.0")
    assert back["refused"][0]["version"] == "2.0.0"
    # A tag stops, and its absence does not release.
    call(mlflow, "registered-models/set-tag", {"name": NAME, "key": "explaind.stop", "value": "recalled"})
    stopped = until(lambda: model(gateway)["stopped"], "the tag to be heeded", 30)
    assert stopped == {**stopped, "by": "registry", "reason": "recalled", "in_registry": True}
    until(lambda: gateway.predictions(1)[0]["outcome"] == "withheld", "predictions to be withheld")
    httpx.request(
        "DELETE", f"{mlflow.url}/api/2.0/mlflow/registered-models/delete-tag", json={"name": NAME, "key": "explaind.stop"}, timeout=30, trust_env=False
    ).raise_for_status()
    until(lambda: not model(gateway)["stopped"]["in_registry"], "the tag to be gone", 30)
    assert gateway.predictions(1)[0]["outcome"] == "withheld"
    assert gateway.verb("models", "release", "--model", NAME).code == 0
    runs(gateway, "1.0.0")


def test_an_alias_that_is_taken_away_takes_the_challenger_with_it(daemon, tmp_path, central, mlops, mlflow):
    """The champion goes on; a champion's alias that is gone changes nothing."""
    central.push(central.packed("1.0.0"), name="press-lonely")
    central.push(central.packed("1.1.0"), "challenger", name="press-lonely")
    config = gateway_config(tmp_path, mlops, model='registered_as = "press-lonely"\nchallenger = "challenger"')
    gateway = daemon(config, **towards(mlflow.url))
    runs(gateway, "1.0.0")
    until(lambda: model(gateway)["challenger"], "the challenger to run", 60)
    for alias in ("challenger", "champion"):
        httpx.request(
            "DELETE", f"{mlflow.url}/api/2.0/mlflow/registered-models/alias", json={"name": "press-lonely", "alias": alias}, timeout=30, trust_env=False
        ).raise_for_status()
    until(lambda: model(gateway)["challenger"] is None, "the challenger to go", 30)
    until(lambda: model(gateway)["following"]["error"], "the status to say that the alias is gone", 30)
    runs(gateway, "1.0.0")


def goes_on(gateway, version: str, seconds: float = 4) -> None:
    """Predictions keep coming, by this version."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        newest = gateway.predictions(1)[0]
        assert newest["model_version"] == version and newest["outcome"] == "predicted"
        until(lambda newest=newest: gateway.predictions(1)[0]["id"] != newest["id"], "the next prediction", 5)


def test_away_failing_talking_html_and_back(daemon, tmp_path, central, mlops, mlflow):
    """Nothing stops, the status says what is wrong, and what was missed is caught up with."""
    gate = Gate(to=int(mlflow.url.rsplit(":", 1)[1]))
    try:
        first = central.packed("1.0.0")
        central.push(first, name="press-away")
        config = gateway_config(tmp_path, mlops, model='registered_as = "press-away"')
        gateway = daemon(config, **towards(gate.url))
        runs(gateway, "1.0.0")
        for status in (500, 503, 404, 401):
            gate.refusals = [(status, "")] * 40
            until(lambda: model(gateway)["following"]["error"], f"the status to tell of {status}", 30)
            goes_on(gateway, "1.0.0", 2)
            gate.refusals = []
            until(lambda: not model(gateway)["following"]["error"], f"it to be well after {status}", 60)
        gate.close()
        until(lambda: model(gateway)["following"]["error"], "the status to say that it is away", 30)
        goes_on(gateway, "1.0.0")
        gateway.kill_and_restart()
        runs(gateway, "1.0.0")
        central.push(central.packed("1.1.0"), name="press-away")
        goes_on(gateway, "1.0.0", 2)
    finally:
        gate.close()


@pytest.mark.parametrize("body", [b"<html><body>Sign in to the guest network</body></html>", b"{}", b"", b'{"registered_model": 7}'])
def test_a_proxy_that_answers_in_its_place(daemon, tmp_path, bundle, mlops, body):
    """A captive portal says 200 to everything: nothing is refused for that, and nothing stops."""
    portal = Hostile(bundle(), instead=(200, body))
    try:
        gateway = daemon(gateway_config(tmp_path, mlops), **towards(portal.url))
        until(lambda: model(gateway)["following"]["error"], "the status to tell", 30)
        until(lambda: gateway.predictions(5)[0]["withheld_reason"] == "no_model", "samples to be taken all the same")
        assert model(gateway)["refused"] is None
    finally:
        portal.close()


def test_what_health_says_arrives_in_mlflow_too(daemon, tmp_path, central, mlops, mlflow):
    """The story of a model is among the gateway's records there."""
    central.push(central.packed("1.0.0"), name="press-story")
    gateway = daemon(gateway_config(tmp_path, mlops, model='registered_as = "press-story"'), **towards(mlflow.url))
    runs(gateway, "1.0.0")

    def story() -> bool:
        found = [path for path in mlflow.artifacts.rglob("health/date=*/*.parquet")]
        frames = [records.pd.read_parquet(path) for path in found if scene.GATEWAY in str(path)]
        return any((frame["subject"] == f"model/{NAME}").any() for frame in frames)

    until(story, "the record to arrive", 60)
