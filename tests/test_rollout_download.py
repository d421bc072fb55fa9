"""A model comes over a bad link, from a slow server, or from one that lies: a gateway takes all of it or nothing."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.cli import done
from support.hostile import PLACE, Hostile
from support.wait import until
from test_rollout import NAME, Central, mlops, model, runs
from test_rollout_mlflow import gateway_config, goes_on, towards

__all__ = ["mlops"]


@pytest.fixture
def packed(bundle, tmp_path, mlops) -> Callable[[str], Path]:
    """Signed bundles by their version."""
    return Central(tmp_path, bundle, tmp_path, mlops).packed


@pytest.fixture
def server(packed) -> Iterator[Hostile]:
    """Has version 1.0.0, and gives parts of files."""
    server = Hostile(packed("1.0.0"), parts=True)
    offer(server, server.folder, 1)
    yield server
    server.close()


def offer(server: Hostile, bundle: Path, number: int) -> None:
    """Has the alias point at this bundle from now on."""
    digest = done("bundle", "inspect", "--bundle", bundle, "--json").json["digest"]
    server.folder, server.number, server.digest = bundle, number, digest


def test_a_download_goes_on_over_cuts_and_kill_9(daemon, tmp_path, server, mlops):
    """What has arrived is not sent again, whoever was cut off."""
    size = (server.folder / "model.onnx").stat().st_size
    server.drip = 0.1
    gateway = daemon(gateway_config(tmp_path, mlops), **towards(server.url))
    until(lambda: server.sent.get("model.onnx", 0) > size // 3, "a third to be sent", 60)
    gateway.kill_and_restart()
    until(lambda: server.begun.get("model.onnx"), "it to go on", 60)
    server.drip, server.cut = 0.0, {"model.onnx": size // 4}
    runs(gateway, "1.0.0", 120)
    assert server.begun["model.onnx"][0] > size // 4 and 0 not in server.begun["model.onnx"]
    assert server.sent["model.onnx"] < 1.5 * size, "but for what was on its way when it was killed"


def test_a_slow_server_holds_nothing_up(daemon, tmp_path, server, packed, mlops):
    """Each answer takes its time, and the model comes in drops; predictions are made all the while."""
    gateway = daemon(gateway_config(tmp_path, mlops), **towards(server.url))
    runs(gateway, "1.0.0")
    server.delay, server.drip = 2.0, 0.2
    offer(server, packed("1.1.0"), 2)
    until(lambda: server.sent.get("model.onnx", 0) > 200_000, "the second model to come", 60)
    goes_on(gateway, "1.0.0", 5)
    server.delay, server.drip = 0.0, 0.0
    runs(gateway, "1.1.0", 90)


LIES = {
    "climbs out": ({"more": [("../../evil", 3)]}, "../../evil"),
    "is elsewhere": ({"more": [("/etc/passwd", 3)]}, "/etc/passwd"),
    "is announced with ten gigabytes": ({"sizes": {"model.onnx": 10 << 30}}, "10737418240 bytes"),
    "is kept at a place that climbs": ({"source": "mlflow-artifacts:/1/../../etc"}, "mlflow-artifacts:/1/../../etc"),
}


def test_a_server_that_lies_gets_nothing_in(daemon, tmp_path, server, packed, mlops):
    """The old one predicts on, and the status says what was wrong."""
    gateway = daemon(gateway_config(tmp_path, mlops), **towards(server.url))
    runs(gateway, "1.0.0")
    honest = {"more": [], "sizes": {}, "source": f"mlflow-artifacts:/{PLACE}"}
    for number, (changes, says) in enumerate(LIES.values(), 2):
        for key, value in changes.items():
            setattr(server, key, value)
        offer(server, packed("1.1.0"), number)

        def said(says: str = says) -> bool:
            found = model(gateway)
            reasons = [one["reason"] for one in found["refused"] or []] + [found["following"]["error"] or ""]
            return any(says in reason for reason in reasons)

        until(said, f"the status to tell of {says}; {model(gateway)}", 60)
        goes_on(gateway, "1.0.0", 1)
        for key, value in honest.items():
            setattr(server, key, value)
    assert not list(tmp_path.rglob("evil"))
    offer(server, packed("1.1.0"), 20)
    runs(gateway, "1.1.0", 120)


def test_the_registry_stops_at_once_and_only_a_word_counts(daemon, tmp_path, server, mlops):
    """A tag stops within seconds; a page in the server's place does not take it back."""
    gateway = daemon(gateway_config(tmp_path, mlops), **towards(server.url))
    runs(gateway, "1.0.0")
    server.stop = "recalled"
    begun = time.monotonic()
    until(lambda: (model(gateway)["stopped"] or {}).get("reason") == "recalled", "the tag to be heeded", 30)
    assert time.monotonic() - begun < 15
    server.instead = (200, b"{}")
    asked = len(server.asked)
    until(lambda: model(gateway)["following"]["error"], "the page to be told", 30)
    until(lambda: sum(path.endswith("get-by-name") for path in server.asked[asked:]) >= 2, "the stops to be asked for again", 60)
    assert model(gateway)["stopped"]["in_registry"], "a page is no word of the registry"
    server.instead, server.stop = None, "false"
    until(lambda: not model(gateway)["stopped"]["in_registry"], "the tag to be gone", 30)


def test_more_than_was_announced_is_refused_until_it_is_another(daemon, tmp_path, server, packed, mlops):
    """The version is asked for a few times, since a proxy may have answered, and then left until its digest is another."""
    gateway = daemon(gateway_config(tmp_path, mlops), **towards(server.url))
    runs(gateway, "1.0.0")
    for number, change in ((2, {"sizes": {"model.onnx": 1000}}), (3, {"endless": {"background.csv"}})):
        server.sizes, server.endless = {}, set()
        server.asked.clear()
        for key, value in change.items():
            setattr(server, key, value)
        offer(server, packed(f"1.{number}.0"), number)

        def said(number: int = number) -> dict | None:
            return next((one for one in model(gateway)["refused"] or [] if one["registry_version"] == number), None)

        refused = until(said, f"version {number} to be refused; {model(gateway)}", 90)
        assert refused["check"] == "content" and "more than the" in refused["reason"], refused
        assert refused["digest"] == server.digest
        name = next(iter(next(iter(change.values()))))
        assert sum(path.endswith(f"/{name}") for path in server.asked) == 3, server.asked
    # Nothing of the kind is left behind, and nothing is asked for again, whatever there is now.
    server.sizes, server.endless = {}, set()
    server.asked.clear()
    until(lambda: sum(path.endswith("/alias") for path in server.asked) >= 3, "the alias to be looked at", 30)
    assert not [path for path in server.asked if path.endswith("background.csv")]
    assert [place.name for place in (gateway.state / "models" / NAME).iterdir() if place.is_dir()] == [model(gateway)["bundle_digest"]]
    # Whoever pushed mends it: the same number, another bundle.
    offer(server, packed("1.4.0"), 3)
    runs(gateway, "1.4.0", 60)


def test_what_cannot_be_had_of_one_hides_no_other_stop(daemon, tmp_path, server, mlops):
    """The server keeps from us what it says of the gateway, and then of the model: each holds by itself, and the status says so."""
    gateway = daemon(gateway_config(tmp_path, mlops), **towards(server.url))
    runs(gateway, "1.0.0")
    server.keeps = {"experiments/get-by-name": 403}
    shown = until(lambda: gateway.get("status")["gateway"]["stop_error"], "the refusal to be shown", 60)
    assert "403" in shown and model(gateway)["stop_error"] is None
    server.stop = "recalled"
    until(lambda: (model(gateway)["stopped"] or {}).get("reason") == "recalled", "the tag to be heeded all the same", 30)
    server.keeps, server.stop = {"registered-models/get": 500}, None
    shown = until(lambda: model(gateway)["stop_error"], "the other failure to be shown", 60)
    assert "500" in shown and model(gateway)["stopped"]["in_registry"], "what was known of it holds"
    until(lambda: not gateway.get("status")["gateway"]["stop_error"], "the gateway's own to be had again", 60)
    server.keeps = {}
    until(lambda: not model(gateway)["stopped"]["in_registry"], "the tag to be gone", 60)
    assert model(gateway)["stop_error"] is None and model(gateway)["stopped"], "and nothing is released"
