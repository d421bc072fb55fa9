"""One machine, three servers of other people: mosquitto, asyncua, pymodbus. They go and come; the daemon stays."""

import os
import signal

import pytest

from support import bundles, records
from support.cli import explaind, one_sentence
from support.plant import SOURCES, Plant
from support.scene import GATEWAY
from support.wait import until

# After this long without news a value is stale. The daemon needs up to five seconds to notice a silent server.
MAX_AGE = "2s"


@pytest.fixture
def plant(tmp_path, running):
    """The plant, not started yet, its machine working well."""
    plant = Plant(tmp_path, bundles.harmless())
    running.extend(plant.servers.values())
    return plant


@pytest.fixture
def gateway(plant, daemon, bundle):
    """A gateway that reads it."""
    plant.start()
    return daemon(plant.config(bundle("ai4i-gbt", max_age=MAX_AGE)))


def newest(gateway) -> dict:
    """The newest prediction."""
    return gateway.predictions(1)[0]


def predicts(gateway, plant) -> None:
    """Waits for a prediction from exactly the values that the machine has now."""

    def same():
        prediction = newest(gateway)
        assert prediction["outcome"] == "predicted", prediction["withheld_reason"]
        for feature, value in plant.values.items():
            assert prediction["inputs"][feature] == pytest.approx(value, rel=1e-6), feature
        return True

    until(same, f"a prediction from {plant.values}", 60)


def withheld(gateway, reason: str) -> None:
    """Waits for a prediction that was withheld for this reason."""

    def is_so():
        prediction = newest(gateway)
        assert prediction["outcome"] == "withheld", "it goes on predicting"
        assert prediction["withheld_reason"].startswith(reason), prediction["withheld_reason"]
        assert prediction["output"] is None
        return True

    until(is_so, f"a prediction withheld as {reason}", 30)


def only_down(gateway, source: str) -> bool:
    """Whether this source is down. The others must be up, each time somebody looks."""
    status = gateway.sources()
    others = [name for name in SOURCES if name != source and not status[name]["up"]]
    if others:
        pytest.fail(f"{source} was stopped, and {others} went down too: {status}")
    if status[source]["up"]:
        return False
    assert status[source]["error"], "it says why"
    return True


def test_values_of_three_protocols_make_one_row(gateway, plant):
    """What the machine does reaches the model, digit for digit, and changes follow."""
    predicts(gateway, plant)
    assert all(source["up"] and source["last_sample_at"] for source in gateway.sources().values())
    plant.set({**plant.values, "Torque [Nm]": 33.25, "Air temperature [K]": 301.5, "Process temperature [K]": 310.75})
    predicts(gateway, plant)
    by_quality = {key: value for key, value in gateway.metrics().items() if key.startswith("explaind_samples_total")}
    for source in SOURCES:
        assert by_quality[f'explaind_samples_total{{quality="good",source="{source}"}}'] > 0


def test_each_server_goes_and_comes_back(gateway, plant):
    """Stopped and started again, one after the other: withheld meanwhile, predicting afterwards, never restarted."""
    process = gateway.pid
    predicts(gateway, plant)
    for number, (source, server) in enumerate(plant.servers.items()):
        server.stop()
        until(lambda: only_down(gateway, source), f"{source} to be seen down", 30)  # noqa: B023
        withheld(gateway, "stale")
        server.start()
        plant.set({**plant.values, "Torque [Nm]": 30.0 + number, "Tool wear [min]": 10.0 + number})
        predicts(gateway, plant)
        until(lambda: all(state["up"] for state in gateway.sources().values()), "all sources to be up")
    assert gateway.pid == process


@pytest.mark.parametrize("source", ["press-plc", "line-opc"])
def test_a_server_that_freezes(source, gateway, plant):
    """The connection stands and nothing comes: that is down, not up; and when it goes on, so do we."""
    predicts(gateway, plant)
    server = plant.servers[source]
    os.kill(server.pid, signal.SIGSTOP)
    try:
        until(lambda: only_down(gateway, source), f"{source} to be seen down", 30)
        withheld(gateway, "stale")
    finally:
        os.kill(server.pid, signal.SIGCONT)
    predicts(gateway, plant)


def test_a_withheld_prediction_clears_no_alert(gateway, plant):
    """The machine is in trouble, then a sensor goes silent: silence is no good news."""
    plant.set(bundles.alarming())
    alert = until(lambda: gateway.alerts("press-7"), "an alert", 30)[0]
    assert alert["state"] == "unacknowledged"
    plant.modbus.stop()
    withheld(gateway, "stale")
    assert gateway.get(f"alerts/{alert['id']}")["state"] == "unacknowledged"
    plant.set(bundles.harmless())
    plant.modbus.start()
    until(lambda: gateway.get(f"alerts/{alert['id']}")["state"] == "returned_unacknowledged", "it to return", 30)
    assert len(gateway.alerts("press-7")) == 1, "one occurrence from first to last"


def test_the_daemon_may_be_there_first(plant, daemon, bundle):
    """After a power cut everything boots at once: no server is there yet, and that is no reason to give up."""
    gateway = daemon(plant.config(bundle("ai4i-gbt", max_age=MAX_AGE)))
    withheld(gateway, "missing")
    assert not any(source["up"] for source in gateway.sources().values())
    plant.start()
    predicts(gateway, plant)


@pytest.mark.parametrize(("server", "signal"), [("modbus", "torque"), ("opcua", "air_temperature")])
def test_a_sensor_that_fails(server, signal, gateway, plant):
    """Bad quality is refused with its reason, harms no other signal, and ends when the sensor works again."""
    predicts(gateway, plant)
    peer = getattr(plant, server)
    peer.obey("bad", signal)
    withheld(gateway, "bad_quality")
    assert all(source["up"] for source in gateway.sources().values())
    peer.obey("good", signal)
    predicts(gateway, plant)


def test_one_wrong_node_harms_no_other(plant, daemon, bundle):
    """A node that the server does not know is that signal's problem alone."""
    plant.start()
    config = plant.config(bundle("ai4i-gbt", max_age=MAX_AGE)).replace(
        '[[source]]\nname = "floor"',
        '  [[source.signal]]\n  name = "ghost"\n  node = "nsu=urn:plant;s=Press7.ghost"\n\n[[source]]\nname = "floor"',
    )
    gateway = daemon(config)
    predicts(gateway, plant)
    assert gateway.sources()["line-opc"]["up"]
    assert "Press7.ghost" in gateway.log()


def test_a_machine_that_is_off_is_left_alone(plant, daemon, bundle):
    """No predictions while `active_when` does not hold, and its alert is suppressed by design, not cleared."""
    plant.start()
    plant.set(bundles.alarming())
    active = '\nactive_when = { signal = "press-plc/speed", above = 100.0 }'
    gateway = daemon(plant.config(bundle("ai4i-gbt", max_age=MAX_AGE), active))
    alert = until(lambda: gateway.alerts("press-7"), "an alert", 30)[0]
    plant.set({**bundles.alarming(), "Rotational speed [rpm]": 0.0})
    until(lambda: gateway.get(f"alerts/{alert['id']}")["suppression"] == "by_design", "it to be suppressed", 30)
    before = newest(gateway)["sequence"]
    # Two seconds of samples arrive, and none of them is predicted from.
    seen = gateway.metrics()['explaind_samples_total{quality="good",source="press-plc"}']
    samples = 'explaind_samples_total{quality="good",source="press-plc"}'
    until(lambda: gateway.metrics()[samples] >= seen + 40, "forty more samples")
    assert newest(gateway)["sequence"] == before
    plant.set(bundles.alarming())
    until(lambda: newest(gateway)["sequence"] > before, "predictions to go on", 30)
    until(lambda: gateway.get(f"alerts/{alert['id']}")["suppression"] == "none", "the alert to be back")


def test_the_records_say_why_there_was_no_prediction(gateway, plant):
    """Central sees withheld predictions too, each with its reason and the inputs that were there."""
    predicts(gateway, plant)
    plant.broker.stop()
    withheld(gateway, "stale")

    def arrived():
        frame = records.read(gateway.registry, GATEWAY, "predictions")
        stale = frame[(frame["outcome"] == "withheld") & frame["withheld_reason"].fillna("").str.startswith("stale")]
        return None if stale.empty else stale.iloc[-1]

    record = until(arrived, "a withheld prediction in the registry", 30)
    assert "Torque [Nm]" in records.as_dict(record["inputs"])
    assert record["output"] is None or record["output"] != record["output"]
    assert record["explanation_status"] == "skipped"


def test_a_probe_names_who_is_away(plant, bundle, tmp_path):
    """`check --probe` connects once to each source: what an integrator does before the first start."""
    plant.start()
    config = tmp_path / "explaind.toml"
    config.write_text(plant.config(bundle("ai4i-gbt")).replace("127.0.0.1:0", "127.0.0.1:8090"))
    (tmp_path / "registry").mkdir()
    all_there = explaind("check", "--config", config, "--probe")
    assert all_there.code == 0, all_there.err
    for source in SOURCES:
        assert source in all_there.out
    plant.opcua.stop()
    one_away = explaind("check", "--config", config, "--probe")
    assert one_away.code == 69
    sentence = one_sentence(one_away.err)
    assert "line-opc" in sentence and "floor" not in sentence
