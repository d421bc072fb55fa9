"""`kill -9` at any moment of an activation: afterwards there is one whole, verified model, and it runs."""

import json
import os
import random
import time
from datetime import datetime

from support.cli import done
from support.daemon import Daemon
from support.wait import until
from test_rollout import NAME, Central, central, followed, mlops, model, runs

CUTS = 60 if os.environ.get("EXPLAIND_LONG") else 12
SEEN, DONE = "the registry has a bundle", "a bundle took its place"

__all__ = ["central", "mlops"]


def times(gateway: Daemon, line: str) -> list[datetime]:
    """When the log says so."""
    return [datetime.fromisoformat(said.split()[0]) for said in gateway.log().splitlines() if line in said]


def wait_for(gateway: Daemon, line: str, more_than: int) -> None:
    """As `until`, and to the millisecond."""
    deadline = time.monotonic() + 30
    while len(times(gateway, line)) <= more_than:
        assert time.monotonic() < deadline, f"no new line: {line}"
        time.sleep(0.001)


def deciding(gateway: Daemon) -> str | None:
    """The version that the status names and that predicts."""
    newest = [p["model_version"] for p in gateway.predictions(10) if p["outcome"] == "predicted"]
    return newest[0] if newest and newest[0] == model(gateway)["version"] else None


def test_a_cut_at_any_step(daemon, tmp_path, central: Central, mlops):
    """Each cut falls somewhere between the look at the registry and the record of what came of it."""
    seed = int(os.environ.get("EXPLAIND_SEED", "5"))
    choose = random.Random(seed)
    central.release("1.0.0")
    gateway = daemon(followed(tmp_path, mlops))
    runs(gateway, "1.0.0")
    home = gateway.state / "models" / NAME
    # From the look at the registry to the log's last word; some cuts fall behind it, where the record is written.
    length = 1.5 * (times(gateway, DONE)[0] - times(gateway, SEEN)[0]).total_seconds()
    found: dict[str, int] = {}
    for cut in range(1, CUTS + 1):
        version = f"1.0.{cut}"
        looks = len(times(gateway, SEEN))
        central.release(version)
        wait_for(gateway, SEEN, looks)
        time.sleep(choose.uniform(0, length))
        gateway.kill()
        # As it lies there: one state, and what it names is whole.
        state = json.loads((home / "state.json").read_text())
        runs_now = state["active"]["version"]
        outcome = "after" if runs_now == version else "before"
        found[outcome] = found.get(outcome, 0) + 1
        for place in ("active", "previous"):
            if state[place]:
                done("bundle", "verify", "--bundle", home / state[place]["digest"], "--key", mlops.public)
        gateway.start()
        # What was under way goes on at once; and a second cut under the same new one is laid at its door, so that the one
        # before it may be back.
        before = state["previous"]["version"] if state["previous"] else runs_now
        decides = until(lambda: deciding(gateway), f"a model to decide after cut {cut}, seed {seed}", 60)
        assert decides in (runs_now, version, before), f"cut {cut}, seed {seed}: {decides}"
    print(f"{CUTS} cuts within {length:.3f} s, seed {seed}: {found}")
    # Two cuts in a row may have been laid at a new one's door; the next version is a new chance.
    central.release("2.0.0")
    runs(gateway, "2.0.0", 90)
    assert set(found) == {"before", "after"}, f"the cuts fall on both sides of the step: {found}"
