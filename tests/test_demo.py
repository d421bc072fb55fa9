"""The demo as a stranger finds it: one command, real data, a first alert with its reason, nothing lost."""

import json
import math
import time

import pytest

from support import paths, records
from support.cli import done
from support.client import Person
from support.daemon import Daemon
from support.wait import until

ASSETS = 2


@pytest.fixture
def demo(daemon) -> Daemon:
    """`config/demo.toml` as it is, with state, registry and port of the test's own."""
    return daemon(paths.DEMO, EXPLAIND__SYNC__BATCH_AGE="1s")


def first_alert(gateway: Daemon) -> dict:
    """The first alert whose explanation has been computed."""

    def found():
        alerts = [alert for alert in gateway.alerts() if alert["explanation_status"] == "exact"]
        return alerts[-1] if alerts else None

    return until(found, "a first alert with its explanation", 60)


def test_the_configuration_is_right_as_it_is():
    """The first thing that an integrator would try."""
    done("check", "--config", paths.DEMO)


@pytest.mark.alone
def test_a_first_alert_with_its_reason_within_a_minute(demo):
    """Counted from the start of the process; the page shows the same as the API."""
    began = time.monotonic()
    alert = first_alert(demo)
    assert time.monotonic() - began < 60

    assert alert["state"] in ("unacknowledged", "returned_unacknowledged")
    assert alert["priority"] in ("low", "medium", "high", "critical")
    prediction = demo.get(f"predictions/{alert['prediction_id']}")
    features = [name for name in prediction["inputs"] if name.split(" [")[0] in alert["sentence"]]
    assert features, f"names no feature: {alert['sentence']}"

    person = Person(demo.url)
    page = person.sign_in("technician", "demo")
    assert page.status_code == 200 and alert["asset"] in page.text
    assert demo.verb("status").code == 0


def test_an_acknowledged_alert_stays_so_over_kill_9(demo):
    """Acknowledged through the page's own API by a person, then the power goes."""
    alert = first_alert(demo)
    person = Person(demo.url)
    person.sign_in("technician", "demo")
    answer = person.post(f"alerts/{alert['id']}/acknowledge", {"comment": "on my way"})
    assert answer.is_success, answer.text

    demo.kill_and_restart()

    after = demo.get(f"alerts/{alert['id']}")
    assert after["state"] in ("acknowledged", "normal")
    assert after["acknowledged_by"] == "technician"
    assert after["comment"] == "on my way"


def test_acknowledging_creates_no_label(demo):
    """A label is what somebody said of a prediction, and nobody has said anything."""
    alert = first_alert(demo)
    done("alerts", "ack", alert["id"], "--comment", "seen", "--socket", demo.socket)

    def acknowledged():
        transitions = records.read(demo.registry, gateway_of(demo), "alerts")
        return transitions[(transitions["alert_id"] == alert["id"]) & transitions["author"].notna()]

    transition = until(acknowledged, "the acknowledgement to arrive in the registry").iloc[0]
    assert transition["to_state"] in ("acknowledged", "normal") and transition["comment"] == "seen"
    assert demo.get("feedback") == []
    assert not records.batches(demo.registry, gateway_of(demo), "feedback")


def gateway_of(gateway: Daemon) -> str:
    """The name under which its records arrive."""
    status = gateway.get("status")["gateway"]
    return status["id"] if isinstance(status, dict) else status


def test_parquet_opens_in_pandas_and_adds_up(demo):
    """Both models, explained: base value and attributions make the output, within the gap that the record states."""

    def arrived():
        frame = records.read(demo.registry, gateway_of(demo), "predictions")
        explained = frame[frame["explanation_status"] == "exact"]
        return frame if explained["asset"].nunique() == ASSETS and len(explained) >= 40 else None

    frame = until(arrived, "explained predictions of both assets in the registry", 60)
    predicted = frame[frame["outcome"] == "predicted"]
    assert len(predicted) > 0
    assert set(predicted["explanation_status"]) <= {"exact", "skipped"}
    for _, record in predicted[predicted["explanation_status"] == "exact"].iterrows():
        attributions = records.as_dict(record["attributions"])
        assert set(attributions) == set(records.as_dict(record["inputs"]))
        gap = abs(record["base_value"] + sum(attributions.values()) - explained_output(record))
        assert gap <= record["additivity_gap"] + 1e-6
        assert record["method"] in ("tree-shapley", "enumeration")
    for column in ("record_id", "gateway", "store_id", "recorded_at", "boot_id", "monotonic_ns", "config_digest"):
        assert frame[column].notna().all(), column
    assert str(frame["recorded_at"].dtype) == "datetime64[us, UTC]"


def explained_output(record) -> float:
    """The output in the space of its explanation: a margin is the log-odds of the probability that was stored."""
    if record["space"] != "margin":
        return record["output"]
    return math.log(record["probability"] / (1 - record["probability"]))


def test_each_record_arrives_once_over_kill_9(demo):
    """Killed while batches close and upload, three times: sequences are dense, no id comes twice, none is missing."""

    def batches():
        return len(records.batches(demo.registry, gateway_of(demo), "predictions"))

    for wanted in range(1, 4):
        until(lambda: batches() >= wanted, "another batch")  # noqa: B023
        demo.kill_and_restart()
    last = demo.predictions(1)[0]["sequence"]

    def caught_up():
        frame = records.read(demo.registry, gateway_of(demo), "predictions")
        return frame if frame["sequence"].max() >= last else None

    frame = until(caught_up, f"prediction {last} to arrive", 60)
    assert list(frame["sequence"]) == list(range(1, len(frame) + 1))
    assert frame["record_id"].is_unique
    assert frame["store_id"].nunique() == 1
    assert (frame["explanation_status"].notna()).all()


def test_an_alert_says_what_would_clear_it_in_the_language_of_its_reader(demo):
    """In a sentence on page, API and terminal, as figures, as a record in the registry, and verified by the model."""

    def found():
        told = [alert for alert in demo.alerts() if alert["would_clear"]]
        return told[-1] if told else None

    alert = until(found, "an alert that says what would clear it", 60)
    ways = alert["counterfactuals"]
    assert ways["outcome"] in ("found", "none_within_limits") and ways["evaluations"] > 0
    for way in ways["alternatives"]:
        for change in way["changes"]:
            low, high = {"Rotational speed [rpm]": (1200, 2800), "Torque [Nm]": (10, 65)}[change["feature"]]
            assert low <= change["to"] <= high
    asked = demo.get(f"predictions/{alert['prediction_id']}/counterfactuals")
    assert asked["id"] == ways["id"] and asked["sentence"] == alert["would_clear"]

    german = demo.call("GET", f"alerts/{alert['id']}", headers={"Accept-Language": "de"}).json()
    assert german["would_clear"].startswith(("Würde enden mit ", "Keine Einstellung ", "Es wurde keine "))
    shown = demo.verb("alerts", "show", alert["id"], LC_ALL="de_DE.UTF-8")
    assert german["would_clear"] in " ".join(shown.out.split())

    def arrived():
        frame = records.read(demo.registry, gateway_of(demo), "explanations")
        return frame[frame["prediction_id"] == alert["prediction_id"]]

    extras = until(lambda: (rows := arrived()) if len(arrived()) == 2 else None, "both extras in the registry", 60)
    assert set(extras["kind"]) == {"counterfactuals", "cases"}
    assert ways["id"] in set(extras["explanation_id"])
    content = json.loads(extras[extras["kind"] == "counterfactuals"]["content"].iloc[0])
    assert content["alternatives"] == ways["alternatives"]

    verdict = {"prediction_id": alert["prediction_id"], "explanation_id": ways["id"], "explanation_verdict": "agree"}
    assert demo.post("feedback", verdict)["explanation_id"] == ways["id"]
