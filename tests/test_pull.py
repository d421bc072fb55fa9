"""Central comes to the gateway and takes records: with a token, by cursor, without a gap, in both forms."""

import io
import json

import httpx
import pandas as pd
import pytest

from support import records, scene
from support.mlflow import uploaded, without_registry
from support.wait import until

PARQUET = "application/vnd.apache.parquet"


@pytest.fixture
def gateway(daemon, bundle, tmp_path):
    """A machine with alerts, sending to a directory."""
    return daemon(scene.replay(tmp_path, bundle()))


@pytest.fixture
def pull(gateway):
    """Asks as a machine does, over TCP with its token."""
    added = gateway.configured("users", "add", "central", "--role", "collector", "--token")
    assert added.code == 0, added.err
    headers = {"Authorization": f"Bearer {added.out.strip()}"}

    def ask(stream: str, accept: str = "*/*", **wanted: int) -> httpx.Response:
        url = f"{gateway.url}/api/v1/batches/{stream}"
        return httpx.get(url, params=wanted, headers={**headers, "Accept": accept}, timeout=15, trust_env=False)

    return ask


def test_a_collector_has_what_the_registry_has(gateway, pull):
    """Broken off and taken up again: each record once, and cell by cell the same as what was sent."""
    until(lambda: len(records.read(gateway.registry, scene.GATEWAY, "predictions")) >= 100, "predictions", 60)
    pulled: list[dict] = []
    after = 0
    for _ in range(100):
        answer = pull("predictions", after=after, limit=7)
        assert answer.status_code == 200, answer.text
        # What was asked for and never arrived is asked for again.
        assert pull("predictions", after=after, limit=7).text.startswith(answer.text[:20])
        lines = answer.text.splitlines()
        pulled += map(json.loads, lines)
        after = int(answer.headers["Explaind-Next"])
        if len(pulled) >= 100:
            break
    assert [record["sequence"] for record in pulled] == list(range(1, len(pulled) + 1))
    sent = records.read(gateway.registry, scene.GATEWAY, "predictions").set_index("record_id")
    for record in pulled[:50]:
        row = sent.loc[record["record_id"]]
        assert record["output"] == row["output"] and record["asset"] == row["asset"]
        assert record["attributions"] == records.as_dict(row["attributions"])
        assert pd.Timestamp(record["recorded_at"]) == row["recorded_at"]
    assert set(pulled[0]) == {"record_id", *sent.columns}


def test_parquet_is_the_same_file_format(gateway, pull):
    """What is pulled opens in pandas as what is sent does."""
    until(lambda: len(pull("alerts").text.splitlines()) >= 3, "alerts", 60)
    answer = pull("alerts", PARQUET, after=0, limit=3)
    assert answer.headers["Content-Type"] == PARQUET
    frame = pd.read_parquet(io.BytesIO(answer.content))
    assert list(frame["sequence"]) == [1, 2, 3]
    assert set(frame.columns) == set(json.loads(pull("alerts", after=0, limit=1).text))


def test_a_cursor_is_remembered_over_a_restart(gateway, pull):
    """A collector that lost its own cursor goes on where it last said that it was."""
    until(lambda: len(pull("alerts").text.splitlines()) >= 4, "alerts", 60)
    assert pull("alerts", after=2, limit=1).headers["Explaind-Next"] == "3"
    gateway.kill_and_restart()
    assert json.loads(pull("alerts", limit=1).text)["sequence"] == 3


def test_what_is_gone_is_not_passed_over(daemon, bundle, tmp_path):
    """A cursor before the oldest record kept is answered with where to go on."""
    text = scene.replay(tmp_path, bundle(), interval="2ms") + '\n[buffer]\nmax_bytes = "4MiB"\nhistory_bytes = "256KiB"\n'
    gateway = daemon(text)

    def gone():
        answer = gateway.call("GET", "batches/predictions?after=0")
        return answer if answer.status_code == 410 else None

    answer = until(gone, "the first predictions to be evicted", 60)
    detail = answer.json()["detail"]
    first = int(detail.split("after=")[1].split(",")[0])
    on = gateway.call("GET", f"batches/predictions?after={first}&limit=1")
    # In between more may have gone.
    assert on.status_code in (200, 410)
    assert on.status_code == 410 or json.loads(on.text)["sequence"] > first


def test_without_a_registry_what_was_pulled_has_gone_home(daemon, bundle, tmp_path):
    """Of two collectors the slower one counts; what both have may be evicted, and the gateway does not fill up."""
    text = without_registry(scene.replay(tmp_path, bundle()), "island")
    gateway = daemon(text, EXPLAIND__REGISTRY__TYPE="none")
    until(lambda: last(gateway, "predictions") >= 30, "predictions", 60)
    tokens = {}
    for name in ("fast", "slow"):
        added = gateway.configured("users", "add", name, "--role", "collector", "--token")
        assert added.code == 0, added.err
        tokens[name] = added.out.strip()

    def ask(name: str, **wanted: int) -> httpx.Response:
        url, headers = f"{gateway.url}/api/v1/batches/predictions", {"Authorization": f"Bearer {tokens[name]}"}
        return httpx.get(url, params=wanted, headers=headers, timeout=15, trust_env=False)

    assert ask("slow", limit=5).status_code == 200
    assert ask("fast", after=20, limit=5).status_code == 200
    assert uploaded(gateway, "predictions") == 0, "one of them has nothing yet"
    assert ask("slow", after=10, limit=5).status_code == 200
    assert uploaded(gateway, "predictions") == 10
    gateway.kill_and_restart()
    assert uploaded(gateway, "predictions") == 10
    assert gateway.configured("users", "remove", "slow").code == 0
    assert ask("fast", after=21, limit=5).status_code == 200
    assert uploaded(gateway, "predictions") == 21, "who is gone is not waited for"
    added = gateway.configured("users", "add", "slow", "--role", "collector", "--token")
    tokens["slow"] = added.out.strip()
    first = json.loads(ask("slow", limit=1).text)
    assert first["sequence"] == 1, "an account that is made anew begins anew"


def last(gateway, stream: str) -> int:
    """The number of a stream's last record."""
    return next(one["last"] for one in gateway.get("status")["buffer"]["streams"] if one["stream"] == stream)
