"""The life of alarms, with people in it: who did what is on record, and nothing is forgotten when the power goes."""

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
    assert list(by_people["author"]) == ["technician", "engineer"]
    assert list(by_people["comment"]) == ["seen by technician", "seen by engineer"]
    assert list(by_people["from_state"]) == ["returned_unacknowledged", "normal"]

    def audited():
        frame = records.read(gateway.registry, GATEWAY, "audit")
        done = frame[(frame["action"] == "acknowledge") & (frame["object"] == alert)]
        return done if len(done) == 2 else None

    assert list(until(audited, "both in the audit", 30)["outcome"]) == ["done", "done"]
