"""`explaind buffer`: what the gateway keeps is looked at, checked, and carried home by hand, with and without a daemon."""

import json
import signal
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from support import records, scene
from support.cli import Done, done, explaind, one_sentence
from support.mlflow import uploaded, without_registry
from support.paths import BINARY
from support.wait import until

GATEWAY = "island"
STREAMS = ("predictions", "alerts", "feedback", "audit", "health", "explanations")
NO_REGISTRY = {"EXPLAIND__REGISTRY__TYPE": "none"}


@pytest.fixture
def gateway(daemon, bundle, tmp_path):
    """A machine that alarms, on a gateway that reaches nothing, with feedback on its first alert."""
    gateway = daemon(without_registry(scene.replay(tmp_path, bundle()), GATEWAY), **NO_REGISTRY)
    alert = until(lambda: next(iter(gateway.alerts()), None), "an alert")
    gateway.post(f"alerts/{alert['id']}/acknowledge", {"comment": "on my way"})
    gateway.post("feedback", {"alert_id": alert["id"], "verdict": "confirm"})
    until(lambda: last(gateway, "predictions") >= 60, "predictions", 60)
    return gateway


def last(gateway, stream: str) -> int:
    """The number of a stream's last record."""
    return next(one["last"] for one in gateway.get("status")["buffer"]["streams"] if one["stream"] == stream)


def export(gateway, medium: Path) -> dict:
    """Carries all that there is to a folder."""
    carried = gateway.configured("buffer", "export", "--out", medium, "--json")
    assert carried.code == 0, carried.err
    return carried.json


def numbers(registry: Path, stream: str) -> list[int]:
    """Numbers of a stream's records in a directory, which must be from 1 on, each once."""
    found = list(records.read(registry, GATEWAY, stream)["sequence"])
    assert found == list(range(1, len(found) + 1)), f"{stream}: {found}"
    return found


def files(folder: Path) -> dict[str, bytes]:
    """All that is in a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- stat and verify -------------------------------------------------------------------------------------------------


def test_stat_says_the_same_with_and_without_a_daemon(gateway):
    """From the daemon with what it wrote so far, from the closed store without."""
    running = gateway.configured("buffer", "stat", "--json").json
    assert {"store_id", "bytes", "max_bytes", "disk_bytes", "degraded", "journal_bytes", "streams"} <= set(running)
    wear = running["wear"]
    assert wear["appended_records"] >= 60 and wear["appended_bytes"] > 60 * 50
    assert wear["disk_written_bytes"] >= 0 and wear["journal_bytes"] > 0 and wear["store_bytes"] > 0
    assert wear["bytes_per_day"] is None, "a day is not told from some seconds"
    assert gateway.stop() == 0
    closed = gateway.configured("buffer", "stat", "--json").json
    assert closed["store_id"] == running["store_id"] and closed["wear"] is None
    kept = {one["stream"]: one for one in closed["streams"]}
    for before in running["streams"]:
        assert kept[before["stream"]]["last"] >= before["last"] and kept[before["stream"]]["first"] == before["first"]
    people = gateway.configured("buffer", "stat")
    assert people.code == 0 and "predictions" in people.out and closed["store_id"] in people.out


def test_a_sound_store_is_sound_under_load_after_a_kill_and_after_a_stop(gateway):
    """Exit 0; all streams, the journal and the outbox were looked at; the daemon goes on meanwhile."""
    before = last(gateway, "predictions")
    for _ in range(5):
        live = gateway.configured("buffer", "verify", "--json")
        assert live.code == 0, live.out + live.err
        assert live.json["sound"] is True and live.json["findings"] == []
    assert live.json["checked"]["predictions"] >= before and live.json["checked"]["journal"] >= 1
    assert gateway.verb("buffer", "verify").code == 0, "by the socket alone"
    until(lambda: last(gateway, "predictions") > before, "the daemon to go on")
    gateway.kill()
    killed = gateway.configured("buffer", "verify")
    assert killed.code == 0, killed.out + killed.err
    gateway.start()
    assert gateway.stop() == 0
    assert gateway.configured("buffer", "verify").code == 0


def test_damage_is_65_with_a_line_for_each_finding(gateway, tmp_path):
    """A flipped byte in the journal; what it is said of stays as it is until a start puts it right."""
    gateway.kill()
    segment = sorted((gateway.state / "buffer.journal").glob("*.log"))[0]
    content = bytearray(segment.read_bytes())
    content[300] ^= 0x10
    segment.write_bytes(content)
    for _ in range(2):
        damaged = gateway.configured("buffer", "verify")
        assert damaged.code == 65
        lines = damaged.out.strip().splitlines()
        assert len(lines) == 2 and lines[0].startswith("journal 1: it is damaged"), damaged.out
        assert "1 findings" in one_sentence(damaged.err)
        assert segment.read_bytes() == content
    found = gateway.configured("buffer", "verify", "--json")
    assert found.code == 65 and found.json["sound"] is False and found.json["findings"][0]["part"] == "journal"
    gateway.start()
    assert gateway.configured("buffer", "verify").code == 0, "the start has put it right"


def test_without_a_store_it_says_so(tmp_path):
    """66, one sentence, and nothing is made."""
    config = tmp_path / "explaind.toml"
    config.write_text(scene.head())
    for verb in (("stat",), ("verify",), ("export", "--out", tmp_path / "medium")):
        missing = explaind("buffer", *verb, "--config", config)
        assert missing.code == 66, missing.err
        assert "no store" in one_sentence(missing.err)
    assert [path.name for path in tmp_path.iterdir()] == ["explaind.toml"]
    away = explaind("buffer", "stat", "--socket", tmp_path / "nobody.sock")
    assert away.code == 69 and "nobody.sock" in one_sentence(away.err)


# --- export and import -----------------------------------------------------------------------------------------------


def test_what_is_carried_is_what_is_sent(gateway, daemon, bundle, tmp_path):
    """From a daemon that runs, then from one that does not; central has each record once, as with sync."""
    medium, central = tmp_path / "medium", tmp_path / "central"
    first = export(gateway, medium)
    assert first["stored"] > 0 and first["set_aside"] == 0
    marked = {stream: uploaded(gateway, stream) for stream in STREAMS}
    assert marked["predictions"] >= 50 and marked["feedback"] == 1, "it may be evicted now"
    assert len(numbers(medium, "predictions")) == marked["predictions"]
    until(lambda: last(gateway, "predictions") >= marked["predictions"] + 10, "more predictions")
    assert gateway.stop() == 0
    second = export(gateway, medium)
    ends = {one["stream"]: one for one in gateway.configured("buffer", "stat", "--json").json["streams"]}
    assert len(numbers(medium, "predictions")) == ends["predictions"]["last"], "all were settled at the stop"
    before = files(medium)
    assert export(gateway, medium)["stored"] == 0
    assert files(medium) == before, "nothing twice"

    brought = done("buffer", "import", "--from", medium, "--registry-dir", central, "--json").json
    assert brought["stored"] == first["stored"] + second["stored"] > 0 and brought["set_aside"] == 0
    assert files(central) == before, "paths and bytes"
    again = done("buffer", "import", "--from", medium, "--registry-dir", central, "--json").json
    assert (again["stored"], again["already_there"]) == (0, brought["stored"])
    assert files(central) == before

    # Beside a gateway that sends: the same streams, columns and types, under the same kind of names.
    sender = daemon(scene.replay(tmp_path, bundle()), "sender")
    until(lambda: len(records.read(sender.registry, scene.GATEWAY, "predictions")) >= 50, "predictions", 60)
    for stream in ("predictions", "alerts", "health"):
        sent = pd.read_parquet(records.batches(sender.registry, scene.GATEWAY, stream)[0])
        carried = pd.read_parquet(records.batches(central, GATEWAY, stream)[0])
        assert list(sent.columns) == list(carried.columns)
    assert set(json.loads((central / GATEWAY / "store.json").read_text())) == set(
        json.loads((sender.registry / scene.GATEWAY / "store.json").read_text())
    )


def test_an_export_that_is_killed_is_run_again(gateway, tmp_path):
    """`kill -9` at any moment, of the export and of the daemon: nothing twice, nothing lost."""
    medium = tmp_path / "medium"
    cut, sizes = 0, set()
    for milliseconds in range(0, 120, 5):
        verb = [str(BINARY), "buffer", "export", "--out", str(medium), "--socket", str(gateway.socket)]
        child = subprocess.Popen(verb, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            child.wait(milliseconds / 1000)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            cut += 1
        child.wait(10)
        sizes.add(len(list(medium.rglob("*.parquet"))))
        if milliseconds % 30 == 0:
            gateway.kill_and_restart()
    assert cut > 3 and len(sizes) > 2, f"{cut} cuts left {sizes} batches"
    assert gateway.stop() == 0
    export(gateway, medium)
    ends = {one["stream"]: one for one in gateway.configured("buffer", "stat", "--json").json["streams"]}
    for stream in ("predictions", "alerts", "feedback", "health"):
        assert len(numbers(medium, stream)) == ends[stream]["last"] == ends[stream]["uploaded"]
    assert gateway.configured("buffer", "verify").code == 0


def test_the_medium_of_another_store_is_refused(gateway, daemon, bundle, tmp_path):
    """65, and neither the medium nor the store is changed."""
    medium = tmp_path / "medium"
    export(gateway, medium)
    other = daemon(without_registry(scene.replay(tmp_path, bundle()), GATEWAY), "other", **NO_REGISTRY)
    until(lambda: last(other, "predictions") >= 5, "predictions")
    before = files(medium)
    refused = other.configured("buffer", "export", "--out", medium)
    assert refused.code == 65 and "another store" in one_sentence(refused.err)
    assert files(medium) == before and uploaded(other, "predictions") == 0
    nowhere = other.configured("buffer", "export", "--out", tmp_path / "not" / "mounted")
    assert nowhere.code == 74, nowhere.err
    assert "not/mounted" in one_sentence(nowhere.err)
    assert uploaded(other, "predictions") == 0


def refused(*arguments: str | Path) -> Done:
    """An import that fails, with one sentence."""
    result = explaind("buffer", "import", *arguments)
    assert result.code != 0
    one_sentence(result.err)
    return result


def test_bad_input_is_refused_and_nothing_is_half_written(gateway, tmp_path):
    """Each with its exit code; the registry is as it was."""
    medium, central = tmp_path / "medium", tmp_path / "central"
    export(gateway, medium)
    to = ("--registry-dir", central)
    assert refused("--from", tmp_path / "nothing", *to).code == 66
    (tmp_path / "empty").mkdir()
    assert refused("--from", tmp_path / "empty", *to).code == 66
    victim = records.batches(medium, GATEWAY, "predictions")[0]
    whole = victim.read_bytes()
    for content in (b"", b"PAR1", whole[: len(whole) // 2], whole.replace(b"PAR1", b"RAP1")):
        victim.write_bytes(content)
        wrong = refused("--from", medium, *to)
        assert wrong.code == 65 and victim.name in wrong.err
        assert not central.exists()
    victim.write_bytes(whole)
    assert refused("--from", medium, "--registry-dir", tmp_path / "not" / "mounted").code == 74
    assert refused("--from", medium, "--registry", "http://127.0.0.1:9").code == 69
    assert refused("--from", medium, "--registry", "nonsense").code == 64
    (tmp_path / "bare.toml").write_text("[gateway]\n")
    assert refused("--from", medium, "--config", tmp_path / "bare.toml").code == 78
    registry = tmp_path / "central.toml"
    registry.write_text(f'[registry]\ntype = "directory"\npath = "{central}"\n')
    done("buffer", "import", "--from", medium, "--config", registry)
    assert files(central) == files(medium)


def test_a_medium_goes_into_mlflow(gateway, mlflow, tmp_path):
    """As artifacts of one run, each record once, also when it is brought twice."""
    medium = tmp_path / "medium"
    export(gateway, medium)
    to = ("--registry", mlflow.url)
    first = done("buffer", "import", "--from", medium, *to, "--json", seconds=120).json
    again = done("buffer", "import", "--from", medium, *to, "--json", seconds=120).json
    assert first["stored"] > 0 and (again["stored"], again["already_there"]) == (0, first["stored"])
    found = mlflow.read(GATEWAY)
    assert found["tags"]["explaind.store"] == json.loads((medium / GATEWAY / "store.json").read_text())["store_id"]
    for stream, there in found["streams"].items():
        assert there == numbers(medium, stream)
    assert found["streams"]["feedback"] == [1]
