"""Who decides when the model cannot: a rule, then nobody, and that is said. And machines that have no model yet."""

import shutil

import pytest

from support import bundles, records, scene
from support.cli import explaind
from support.daemon import Daemon
from support.wait import until

NAME = "press-failure"
HOT = bundles.alarming()
COLD = bundles.harmless()
TORQUE = list(COLD).index("Torque [Nm]")
# Between the torque of the two rows.
LIMIT = (HOT["Torque [Nm]"] + COLD["Torque [Nm]"]) / 2


def config(folder, model: str, machines: dict[str, str], rows: list[dict]) -> str:
    """Machines that see the same recorded rows. `machines`: to each its keys and, after an empty line, its tables."""
    source, inputs = scene.recorded(folder, rows)
    assets = ""
    for name, lines in machines.items():
        keys, _, tables = lines.partition("\n\n")
        assets += f'\n[[asset]]\nid = "{name}"\non = "recorded/s{len(COLD) - 1}"\n{keys}\n[asset.inputs]\n{scene.bound(inputs)}\n{tables}\n'
    return f"""{scene.head()}
{source}
{model}
{assets}"""


def with_rule(limit: float = LIMIT) -> str:
    """A machine whose rule looks at the torque."""
    when = f'when = [{{ signal = "recorded/s{TORQUE}", above = {limit} }}]'
    return f'model = "{NAME}"\n\n[asset.fallback]\n{when}\npriority = "critical"'


def newest(gateway: Daemon, asset: str) -> dict:
    """The newest prediction of a machine."""
    return gateway.get("predictions", asset=asset, limit=1)[0]


def said(gateway: Daemon, asset: str, role: str, outcome: str, reason: str | None = None) -> dict:
    """Waits until the newest prediction of a machine is such a one."""

    def is_so() -> dict | None:
        made = newest(gateway, asset)
        as_wanted = (made["role"], made["outcome"]) == (role, outcome)
        return made if as_wanted and (reason is None or made["withheld_reason"].startswith(reason)) else None

    return until(is_so, f"{asset}: {role} {outcome} {reason}", 60)


def test_a_machine_without_a_model_only_collects(daemon, tmp_path):
    """R31: samples arrive in the registry, whole and with their quality; nothing is predicted and nothing is raised."""
    machines = {"press-7": "pass_through = true"}
    gateway = daemon(config(tmp_path, "", machines, [COLD] * 3 + [HOT] * 3))
    made = said(gateway, "press-7", "champion", "withheld", "pass_through")
    assert (made["model"], made["model_version"], made["output"], made["input_quality"]) == ("", "", None, "good")
    assert made["sentence"] == "No prediction: this machine's values are only collected."

    def arrived():
        frame = records.read(gateway.registry, scene.GATEWAY, "predictions")
        return frame if len(frame) >= 30 else None

    frame = until(arrived, "thirty rows in the registry", 60)
    assert set(frame["outcome"]) == {"withheld"} and set(frame["withheld_reason"]) == {"pass_through"}
    rows = [records.as_dict(cell) for cell in frame["inputs"]]
    for row in (COLD, HOT):
        assert any(seen == pytest.approx(row, rel=1e-6) for seen in rows), row
    assert gateway.alerts() == []
    status = gateway.get("status")
    assert (status["models"], status["assets"][0]["model"]) == ([], None)
    counted = gateway.metrics()['explaind_predictions_total{asset="press-7",model="",outcome="withheld"}']
    assert counted >= 30


def test_without_a_model_the_rule_decides_and_without_a_rule_nobody(daemon, tmp_path):
    """R30: the model that is followed was never there. One machine has a rule, the other has none."""
    machines = {"press-7": with_rule(), "press-8": f'model = "{NAME}"'}
    model = f'[[model]]\nname = "{NAME}"\nalias = "champion"'
    # Twelve seconds without the condition: longer than the rule takes to clear.
    gateway = daemon(config(tmp_path, model, machines, [HOT] * 50 + [COLD] * 300))
    raised = until(lambda: gateway.alerts("press-7"), "the rule to raise an alert", 60)[0]
    assert (raised["priority"], raised["state"]) == ("critical", "unacknowledged")
    assert raised["reason"] == f"recorded/s{TORQUE} = {HOT['Torque [Nm]']:g}, above {LIMIT}"
    assert raised["sentence"].startswith("A limit is crossed, says the rule that stands in for the model: ")
    by_rule = gateway.get(f"predictions/{raised['prediction_id']}")
    assert (by_rule["role"], by_rule["model_version"], by_rule["output"]) == ("fallback", "rule", 1.0)
    assert (set(by_rule["model_digest"]), list(by_rule["inputs"])) == ({"0"}, [f"recorded/s{TORQUE}"])
    until(
        lambda: gateway.get(f"predictions/{raised['prediction_id']}")["explanation_status"] == "skipped",
        "the rule's prediction to be settled",
    )
    returned = until(
        lambda: gateway.get(f"alerts/{raised['id']}")["state"] == "returned_unacknowledged", "the rule to clear it", 60
    )
    assert returned
    nobody = newest(gateway, "press-8")
    assert (nobody["outcome"], nobody["withheld_reason"], nobody["alert_id"]) == ("withheld", "no_model", None)
    assert set(nobody["inputs"]) == set(COLD)
    assert gateway.alerts("press-8") == []
    metrics = gateway.metrics()
    assert metrics[f'explaind_predictions_total{{asset="press-7",model="{NAME}",outcome="fallback"}}'] > 0
    assert f'explaind_predictions_total{{asset="press-7",model="{NAME}",outcome="predicted"}}' not in metrics
    assets = {asset["id"]: asset for asset in gateway.get("status")["assets"]}
    assert (assets["press-7"]["role"], assets["press-8"]["withheld"]) == ("fallback", "no_model")


def test_a_stopped_model_steps_down_to_its_rule_and_a_stopped_gateway_to_nothing(daemon, tmp_path, bundle):
    """Each rung in turn, and back up; the alert that the model raised is open all the time."""
    machines = {"press-7": with_rule(0.0), "press-8": f'model = "{NAME}"'}
    model = f'[[model]]\nname = "{NAME}"\nbundle = "{bundle("ai4i-gbt")}"'
    gateway = daemon(config(tmp_path, model, machines, [HOT]))
    said(gateway, "press-7", "champion", "predicted")
    alerts = {asset: until(lambda asset=asset: gateway.alerts(asset), "an alert", 30)[0]["id"] for asset in machines}

    gateway.post(f"models/{NAME}/stop", {"reason": "it cries wolf"})
    rule = said(gateway, "press-7", "fallback", "predicted")
    assert rule["alert_id"] == alerts["press-7"], "the rule holds on to it"
    stopped = said(gateway, "press-8", "champion", "withheld", "stopped: ")
    assert "it cries wolf" in stopped["withheld_reason"] and stopped["alert_id"] == alerts["press-8"]
    assert set(stopped["inputs"]) == set(COLD)

    gateway.post("gateway/stop", {"reason": "works on the line"})
    for asset, alert in alerts.items():
        made = said(gateway, asset, "champion", "withheld", "stopped: ")
        assert "works on the line" in made["withheld_reason"] and made["alert_id"] == alert

    gateway.post("gateway/release", {})
    said(gateway, "press-7", "fallback", "predicted")
    said(gateway, "press-8", "champion", "withheld", "stopped: ")
    gateway.post(f"models/{NAME}/release", {})
    for asset, alert in alerts.items():
        assert said(gateway, asset, "champion", "predicted")["alert_id"] == alert
    assert {asset: gateway.alerts(asset)[0]["id"] for asset in machines} == alerts, "the same all the time"


def test_a_bundle_that_is_damaged_leaves_the_rule_in_charge(daemon, tmp_path, bundle):
    """A card goes bad while nobody is there: the gateway starts, its rule decides, and the page says why."""
    copy = tmp_path / "bundle"
    shutil.copytree(bundle("ai4i-gbt"), copy)
    model = f'[[model]]\nname = "{NAME}"\nbundle = "{copy}"'
    gateway = daemon(config(tmp_path, model, {"press-7": with_rule()}, [HOT] * 6 + [COLD] * 6))
    said(gateway, "press-7", "champion", "predicted")
    gateway.stop()
    content = bytearray((copy / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (copy / "model.onnx").write_bytes(content)
    gateway.start()
    said(gateway, "press-7", "fallback", "predicted")
    shown = gateway.get("status")["models"][0]
    assert shown["state"] == "no_model" and "model.onnx" in shown["error"]
    ours = until(lambda: gateway.alerts("_gateway"), "the gateway's own alert")
    assert "model.onnx" in ours[0]["reason"] if "reason" in ours[0] else ours
    # Where nothing stands in it is the integrator's to see.
    (tmp_path / "alone").mkdir()
    alone = tmp_path / "alone" / "explaind.toml"
    alone.write_text(config(tmp_path / "alone", model, {"press-7": f'model = "{NAME}"'}, [COLD]))
    refused = explaind("run", "--config", alone)
    assert refused.code == 65 and "model.onnx" in refused.err
