"""The life of alarms, with people in it: who did what is on record, and nothing is forgotten when the power goes."""

import pandas as pd
import pytest

from support import bundles, records
from support.client import Person
from support.scene import GATEWAY, replay
from support.wait import until

# Alarms for a second, then rests for ever.
ONCE = [bundles.harmless()] * 5 + [bundles.alarming()] * 25 + [bundles.harmless()] * 5


@pytest.fixture
def rests(daemon, bundle, tmp_path):
    """Makes a gateway whose machine alarms once and is well again; with this decision rule."""

    def make(decision: str | None = None):
        made = bundle("ai4i-gbt", decision=decision) if decision else bundle("ai4i-gbt")
        config = replay(tmp_path, made, ONCE).replace("loop = true", "loop = false")
        return daemon(config)

    return make


def in_state(gateway, state: str) -> dict:
    """The newest alert, once it is in this state."""

    def found():
        alerts = gateway.get("alerts")
        return alerts[0] if alerts and alerts[0]["state"] == state else None

    return until(found, f"an alert that is {state}", 30)


def arrived(gateway, alert: str, wanted):
    """The transitions of an alert in the registry, once there are some for which `wanted` holds."""

    def read():
        if not records.batches(gateway.registry, GATEWAY, "alerts"):
            return None
        frame = records.read(gateway.registry, GATEWAY, "alerts")
        frame = frame[frame["alert_id"] == alert]
        return frame if wanted(frame) else None

    return until(read, "the transitions in the registry", 30)


def test_two_who_acknowledge_are_both_on_record(rests):
    """The first closes it; that the second has seen it too is on record and audited, and is no error."""
    gateway = rests()
    alert = in_state(gateway, "returned_unacknowledged")["id"]
    for who in ("technician", "engineer"):
        person = Person(gateway.url)
        person.sign_in(who, "demo")
        answer = person.post(f"alerts/{alert}/acknowledge", {"comment": f"seen by {who}"})
        assert answer.is_success, answer.text
        assert answer.json()["acknowledged_by"] == "technician" and answer.json()["state"] == "normal"

    frame = arrived(gateway, alert, lambda frame: frame["author"].notna().sum() == 2)
    by_people = frame[frame["author"].notna()]
    assert by_people["author"].str.startswith("p-").all() and by_people["author"].nunique() == 2, "two people, by pseudonym"
    assert list(by_people["comment"]) == ["seen by technician", "seen by engineer"]
    assert list(by_people["from_state"]) == ["returned_unacknowledged", "normal"]

    def audited():
        frame = records.read(gateway.registry, GATEWAY, "audit")
        done = frame[(frame["action"] == "acknowledge") & (frame["object"] == alert)]
        return done if len(done) == 2 else None

    assert list(until(audited, "both in the audit", 30)["outcome"]) == ["done", "done"]


LATCHING = """[decision]
raise_above = 0.5
clear_below = 0.4
priority = "critical"
latching = true
consequence = "The spindle breaks."
response = "Change the tool."
"""
WHY = "spare part comes tomorrow"


def test_a_latched_and_a_shelved_alert_survive_kill_9(rests, tmp_path):
    """Latched stays until it is acknowledged and reset; shelved stays with its end, who and why."""
    gateway = rests(LATCHING)
    alert = in_state(gateway, "latched_unacknowledged")
    assert (alert["consequence"], alert["response"]) == ("The spindle breaks.", "Change the tool.")
    refused = gateway.verb("alerts", "reset", alert["id"])
    assert refused.code == 65 and "acknowledge it first" in refused.err
    shelved = gateway.verb("alerts", "shelve", alert["id"], "--for", "8h", "--reason", WHY)
    assert shelved.code == 0 and "shelved until" in shelved.out, shelved.err

    bundles.write_rows(tmp_path / "recorded.csv", [bundles.harmless()] * 5)
    gateway.kill_and_restart()

    after = gateway.get(f"alerts/{alert['id']}")
    assert (after["state"], after["suppression"]) == ("latched_unacknowledged", "shelved")
    assert after["suppressed_because"] == WHY and after["suppressed_by"]
    assert (after["consequence"], after["response"]) == (alert["consequence"], alert["response"])
    left = pd.Timestamp(after["shelved_until"]) - pd.Timestamp.now(tz="UTC")
    assert pd.Timedelta(hours=7.9) < left < pd.Timedelta(hours=8)

    assert gateway.verb("alerts", "unshelve", alert["id"]).code == 0
    assert gateway.verb("alerts", "ack", alert["id"]).code == 0
    assert gateway.get(f"alerts/{alert['id']}")["state"] == "latched_acknowledged"
    assert gateway.verb("alerts", "reset", alert["id"], "--comment", "tool changed").code == 0
    assert gateway.get(f"alerts/{alert['id']}")["state"] == "normal"

    steps = arrived(gateway, alert["id"], lambda frame: (frame["to_state"] == "normal").any())
    assert list(steps["to_state"]) == [
        "unacknowledged", "latched_unacknowledged", "latched_unacknowledged", "latched_unacknowledged",
        "latched_acknowledged", "normal",
    ]  # fmt: skip
    assert list(steps["suppression"]) == ["none", "none", "shelved", "none", "none", "none"]
    assert list(steps["response"].notna()) == [True] + [False] * 5
    assert list(steps["shelved_until"].notna()) == [False, False, True, False, False, False]
    assert set(steps["schema_version"]) == {5}


def test_what_is_shelved_at_rest_stays_quiet_until_its_time_is_over(rests):
    """Shelved while the machine is well; it alarms again after a restart and nobody hears of it until the time is over."""
    gateway = rests()
    alert = in_state(gateway, "returned_unacknowledged")["id"]
    gateway.post(f"alerts/{alert}/acknowledge", {})
    in_state(gateway, "normal")
    gateway.post(f"alerts/{alert}/shelve", {"for": "10s", "reason": WHY})
    gateway.kill_and_restart()

    assert gateway.get(f"alerts/{alert}")["suppression"] == "shelved", "within ten seconds"
    quiet = until(lambda: gateway.get("alerts", state="open"), "the machine to alarm again")[0]
    assert quiet["id"] != alert and quiet["suppression"] == "shelved"
    until(lambda: gateway.get(f"alerts/{quiet['id']}")["suppression"] == "none", "the time to be over", 20)
    assert gateway.get(f"alerts/{quiet['id']}")["state"] == "returned_unacknowledged"

    def over():
        if not records.batches(gateway.registry, GATEWAY, "alerts"):
            return None
        frame = records.read(gateway.registry, GATEWAY, "alerts")
        return frame if frame["reason"].str.contains("is over").any() else None

    frame = until(over, "the end of the shelving in the registry", 30)
    begun = frame[frame["reason"] == "shelved for 10s"].iloc[0]
    assert pd.isna(begun["alert_id"]) and begun["from_state"] == begun["to_state"] == "normal"
    assert begun["comment"] == WHY and begun["suppression"] == "shelved"
    ended = frame[frame["reason"].str.contains("is over")].iloc[0]
    assert pd.isna(ended["author"]) and ended["suppression"] == "none"
    between = frame[(frame["sequence"] > begun["sequence"]) & (frame["sequence"] < ended["sequence"])]
    assert "unacknowledged" in set(between["to_state"]) and set(between["suppression"]) == {"shelved"}
    passed = (ended["monotonic_ns"] - begun["monotonic_ns"]) / 1e9
    assert 10 <= passed < 14, "counted on over the restart"


def test_out_of_service_is_for_engineers_and_outlives_a_power_cut(rests):
    """A technician may not; what an engineer takes out comes back out of service after the power was gone."""
    gateway = rests()
    alert = in_state(gateway, "returned_unacknowledged")["id"]
    technician = Person(gateway.url)
    technician.sign_in("technician", "demo")
    refused = technician.post(f"alerts/{alert}/out-of-service", {"reason": "x"})
    assert refused.status_code == 403
    assert gateway.verb("alerts", "ack", alert).code == 0
    out = gateway.verb("alerts", "out-of-service", alert, "--reason", "being rebuilt")
    assert out.code == 0 and "normal, out_of_service" in out.out, out.err

    gateway.kill_and_restart()

    assert gateway.get(f"alerts/{alert}")["suppression"] == "out_of_service"
    twice = gateway.verb("alerts", "out-of-service", alert, "--reason", "being rebuilt")
    assert twice.code == 65 and "already" in twice.err
    back = gateway.verb("alerts", "in-service", alert, "--json").json
    assert (back["state"], back["suppression"], back["suppressed_because"]) == ("normal", "none", None)


def test_alarms_are_counted(daemon, bundle, tmp_path):
    """A machine that alarms every second chatters, and floods whoever is to answer; the status says so after a restart, too."""
    config = replay(tmp_path, bundle("ai4i-gbt"), [bundles.harmless()] * 10 + [bundles.alarming()] * 10)
    gateway = daemon(config)

    def counted():
        asset = gateway.get("status")["assets"][0]
        return asset if asset["alarms_last_hour"] > 10 else None

    asset = until(counted, "more than ten alarms", 60)
    assert asset["chattering"] == 1 and asset["stale"] == 0
    assert (asset["judged"], asset["nuisance_share"]) == (0, None)
    assert gateway.get("status")["gateway"]["alarm_flood"] is True
    assert until(lambda: gateway.metrics().get("explaind_alarm_flood"), "the metric", 15) == 1

    alert = gateway.get("alerts")[0]["id"]
    assert gateway.verb("feedback", "add", "--alert", alert, "--verdict", "reject").code == 0
    gateway.kill_and_restart()

    status = gateway.get("status")
    assert status["gateway"]["alarm_flood"] is True
    assert status["assets"][0]["alarms_last_hour"] >= asset["alarms_last_hour"]
    assert (status["assets"][0]["judged"], status["assets"][0]["nuisance_share"]) == (1, 1.0)
