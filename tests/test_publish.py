"""Results on an MQTT broker, and acknowledgements from there: what a control system sees and may do."""

import os
import re
import signal
import threading

import pytest

from support import bundles, records
from support.cli import explaind, one_sentence
from support.gate import Authority
from support.scada import PASSWORD, ROOT, USER, Scada, Site, Stub
from support.scene import GATEWAY, replay
from support.wait import until


@pytest.fixture
def site(tmp_path, running):
    """A broker that lets everyone in."""
    site = Site(tmp_path / "site")
    running.append(site)
    return site.start()


@pytest.fixture
def machine(tmp_path, bundle):
    """The configuration of a gateway whose machine is in trouble for good."""
    return replay(tmp_path, bundle("ai4i-gbt"), [bundles.alarming()] * 4)


def publish(site: Site, more: str = "", scheme: str = "mqtt") -> str:
    """The table that names a broker."""
    return f'\n[publish]\nurl = "{scheme}://localhost:{site.port}"\n{more}\n'


def published(gateway) -> dict:
    """What the status says of it."""
    return gateway.get("status")["publish"]


def audited(gateway) -> list[dict]:
    """Acknowledgements in the audit stream, as central has them."""
    frame = records.read(gateway.registry, GATEWAY, "audit")
    return [] if frame.empty else frame[frame["action"] == "acknowledge"].to_dict("records")


def test_predictions_and_alerts_arrive_and_stay_for_who_comes_later(site, machine, daemon):
    """Each prediction once, the alert with its sentence, the state of the gateway; the last two for late comers too."""
    with Scada(site) as early:
        gateway = daemon(machine + publish(site))
        alert = early.alert(state="unacknowledged", priority="high", suppression="none", open=1, others=[])
        reason = re.compile("Torque|Tool wear|speed|temperature")
        until(lambda: reason.search(early.alert()["sentence"]), "the reason, once it is worked out")
        assert alert["id"] == gateway.alerts("press-7")[0]["id"]
        until(lambda: len(early.on("press-7/prediction")) >= 30, "thirty predictions")
        told = early.on("press-7/prediction")
        ids = [heard.json["id"] for heard in told]
        assert len(set(ids)) == len(ids), "none is told twice"
        sequences = [heard.json["sequence"] for heard in told]
        assert sequences == list(range(sequences[0], sequences[0] + len(told))), "and none is left out"
        assert not any(heard.retained for heard in told)
        one = told[5].json
        kept = gateway.get(f"predictions/{one['id']}")
        for name in ("asset", "model", "model_version", "outcome", "label", "probability", "role", "alert_id"):
            assert one[name] == kept[name], name
        assert early.last("status")["state"] == "online" and early.last("status")["stopped"] is None
        with Scada(site) as late:
            again = late.alert(id=alert["id"])
            assert late.on("press-7/alert")[0].retained and reason.search(again["sentence"])
            assert late.on("status")[0].retained and late.status() == "online"
    figures = gateway.metrics()
    assert figures[f'explaind_publish_connected{{broker="mqtt://localhost:{site.port}"}}'] == 1
    assert figures['explaind_publish_messages_total{kind="prediction"}'] >= 30
    shown = published(gateway)
    assert (shown["state"], shown["acknowledge"], shown["dropped"]) == ("connected", "off", 0)


def test_an_alert_that_is_over_leaves_nothing_behind(site, tmp_path, bundle, daemon):
    """Acknowledged from the control room while its condition is gone: the topic is empty, on the page it is closed."""
    rows = [bundles.alarming()] * 3 + [bundles.harmless()] * 400
    config = replay(tmp_path, bundle("ai4i-gbt", decision='[decision]\nraise_above = 0.5\nclear_below = 0.4\npriority = "high"\noff_delay = "0s"\n'), rows)
    gateway = daemon(config + publish(site, "acknowledge = true"))
    with Scada(site) as scada:
        alert = scada.alert(state="returned_unacknowledged")
        assert alert["cleared_at"]
        scada.acknowledge(alert["id"], comment="seen from the control room")
        until(lambda: scada.on("press-7/alert")[-1].payload == b"", "the topic to be empty")
        closed = gateway.get(f"alerts/{alert['id']}")
        assert (closed["state"], closed["acknowledged_by"]) == ("normal", "mqtt:ada")
        with Scada(site) as late:
            until(lambda: late.on("status"), "the status")
            assert late.on("press-7/alert") == [], "the broker keeps none"


def test_acknowledging_from_the_control_room(site, machine, daemon):
    """It is acknowledged everywhere, once, by whom is claimed, and audited in central."""
    gateway = daemon(machine + publish(site, "acknowledge = true"))
    with Scada(site) as scada:
        alert = scada.alert(state="unacknowledged")
        until(lambda: published(gateway)["acknowledge"] == "on", "the subscription")
        for _ in range(3):
            scada.acknowledge(alert["id"], comment="on my way")
        seen = scada.alert(state="acknowledged", acknowledged_by="mqtt:ada", comment="on my way")
        assert seen["id"] == alert["id"]
        listed = gateway.verb("alerts", "list", "--json").json[0]
        assert (listed["state"], listed["acknowledged_by"]) == ("acknowledged", "mqtt:ada")
        for _ in range(2):
            scada.acknowledge(alert["id"], author="bob")
        until(lambda: len(audited(gateway)) == 2, "two audit records", 40)
        found = audited(gateway)
        actors = [record["actor"] for record in found]
        assert len(set(actors)) == 2 and all(actor.startswith("mqtt:p-") for actor in actors), "claimed, and by pseudonym"
        assert [(record["object"], record["outcome"]) for record in found] == [
            (alert["id"], "done"),
            (alert["id"], "done"),
        ]
        commands = {key: value for key, value in gateway.metrics().items() if "publish_commands" in key}
        assert commands['explaind_publish_commands_total{outcome="done"}'] == 2
        assert commands['explaind_publish_commands_total{outcome="repeated"}'] == 3
    assert explaind("buffer", "verify", "--socket", gateway.socket).code == 0


def test_what_is_no_command_changes_nothing(site, machine, daemon):
    """Retained, malformed, oversized, unknown: counted, said once, and publishing goes on."""
    with Scada(site) as scada:
        gateway = daemon(machine + publish(site, "acknowledge = true"))
        alert = scada.alert(state="unacknowledged")["id"]
        until(lambda: published(gateway)["acknowledge"] == "on", "the subscription")
        for payload in ("", "{", "[]", '{"alert_id": "7", "author": "x"}', f'{{"alert_id": "{alert}"}}'):
            scada.say("cmd/acknowledge", payload)
        scada.say("cmd/acknowledge", f'{{"alert_id": "{alert}", "author": "x", "comment": "{"x" * 100_000}"}}')
        scada.acknowledge("01890000-0000-7000-8000-000000000000")
        outcome = 'explaind_publish_commands_total{{outcome="{}"}}'.format
        expected = {outcome("malformed"): 5, outcome("too_large"): 1, outcome("unknown_alert"): 1}
        until(lambda: expected.items() <= gateway.metrics().items(), f"{expected}")
        assert published(gateway)["last_refused"].startswith("no alert has the id")
        assert gateway.log().count("a command from the broker was not carried out") == 1, "rubbish does not fill the log"
        assert gateway.get(f"alerts/{alert}")["state"] == "unacknowledged"
        # What somebody retained meanwhile arrives with the next connection, and is old news then.
        gateway.stop()
        scada.say("cmd/acknowledge", f'{{"alert_id": "{alert}", "author": "ghost"}}', retain=True)
        gateway.start()
        until(lambda: gateway.metrics().get(outcome("retained")) == 1, "the retained command to be seen")
        assert gateway.get(f"alerts/{alert}")["state"] == "unacknowledged"
        assert "retain flag" in published(gateway)["last_refused"]


def test_a_message_beyond_all_bounds_costs_commands_and_not_results(site, machine, daemon):
    """A retained command of two megabytes ends the connection, and must not do so for ever."""
    with Scada(site) as scada:
        scada.say("cmd/acknowledge", b"x" * 2_000_000, retain=True)
        gateway = daemon(machine + publish(site, "acknowledge = true"))
        until(lambda: "too large" in published(gateway)["acknowledge"], "commands to be off", 30)
        before = len(scada.on("press-7/prediction"))
        until(lambda: len(scada.on("press-7/prediction")) > before + 20, "results to go on")
        assert scada.alert()["state"] == "unacknowledged"


def test_acknowledging_is_off_unless_it_is_configured(site, machine, daemon):
    """Without `acknowledge = true` nobody listens."""
    gateway = daemon(machine + publish(site))
    with Scada(site) as scada:
        alert = scada.alert(state="unacknowledged")["id"]
        scada.acknowledge(alert)
        # Two seconds of predictions later it would have been carried out.
        before = len(scada.on("press-7/prediction"))
        until(lambda: len(scada.on("press-7/prediction")) > before + 40, "forty predictions")
        assert gateway.get(f"alerts/{alert}")["state"] == "unacknowledged"
        assert "cmd/acknowledge (QoS" not in site.log() and published(gateway)["acknowledge"] == "off"


def test_the_broker_goes_and_comes_back(site, machine, daemon):
    """Predictions go on without it; a broker that has forgotten everything is told the states anew."""
    gateway = daemon(machine + publish(site, "acknowledge = true"))
    with Scada(site) as scada:
        alert = scada.alert(state="unacknowledged")["id"]
        site.kill()
        until(lambda: published(gateway)["state"] == "disconnected", "it to be noticed")
        assert published(gateway)["error"]
        before = gateway.predictions(1)[0]["sequence"]
        until(lambda: gateway.predictions(1)[0]["sequence"] > before + 50, "fifty predictions without a broker")
        gateway.verb("alerts", "ack", alert, "--comment", "meanwhile")
        site.start()
        with Scada(site) as late:
            assert late.alert(state="acknowledged", comment="meanwhile")["id"] == alert
            until(lambda: late.status() == "online", "the status")
            until(lambda: published(gateway)["acknowledge"] == "on", "the subscription")
            told = [heard.json["sequence"] for heard in late.on("press-7/prediction")]
            until(lambda: published(gateway)["waiting"] == 0, "the backlog to be told")
            assert told == sorted(told)
    assert gateway.log().count("results do not reach the broker") == 1, "and the log says so once"


def test_a_frozen_broker_slows_nothing_and_loses_the_oldest(site, machine, daemon):
    """The connection stands and nothing is acknowledged: predictions and the page go on as if nothing were."""
    fast = machine.replace('interval = "40ms"', 'interval = "2ms"')
    gateway = daemon(fast + publish(site))
    with Scada(site) as scada:
        scada.alert(state="unacknowledged")
    os.kill(site.pid, signal.SIGSTOP)
    try:
        before = gateway.predictions(1)[0]["sequence"]
        until(lambda: published(gateway)["dropped"] > 100, "predictions to be dropped", 60)
        assert gateway.predictions(1)[0]["sequence"] > before + 1000
        assert published(gateway)["waiting"] <= 1100, "the queue has a bound"
        assert gateway.metrics()['explaind_publish_dropped_messages_total{reason="full"}'] > 100
        until(lambda: published(gateway)["state"] == "disconnected", "it to be given up", 40)
    finally:
        os.kill(site.pid, signal.SIGCONT)
    with Scada(site) as scada:
        until(lambda: scada.status() == "online", "it to be back", 60)


def test_kill_leaves_the_last_will_and_stopping_a_goodbye(site, machine, daemon):
    """Whoever looks sees whether the gateway is there, and how it went."""
    gateway = daemon(machine + publish(site))
    with Scada(site) as scada:
        until(lambda: scada.status() == "online", "it to be online")
        gateway.kill()
        until(lambda: scada.last("status") == {"state": "offline", "gateway": GATEWAY, "reason": "lost"}, "the last will", 30)
        gateway.start()
        until(lambda: scada.status() == "online", "it to be online again")
        assert gateway.stop() == 0
        assert scada.last("status")["state"] == "offline" and scada.last("status")["reason"] == "stopped"
        with Scada(site) as late:
            until(lambda: late.on("status") and late.status() == "offline", "the retained goodbye")


def test_a_frozen_gateway_is_taken_for_dead_and_comes_back(site, machine, daemon):
    """The broker hears nothing for long enough to publish the last will; afterwards the gateway is online again."""
    gateway = daemon(machine + publish(site))
    with Scada(site) as scada:
        until(lambda: scada.status() == "online", "it to be online")
        os.kill(gateway.pid, signal.SIGSTOP)
        try:
            until(lambda: scada.status() == "offline", "the last will", 30)
        finally:
            os.kill(gateway.pid, signal.SIGCONT)
        until(lambda: scada.status() == "online", "it to be back", 30)


def test_another_client_with_the_same_id(site, machine, daemon):
    """The broker throws ours out for it: the log says what to look for, and the last word is that we are here."""
    gateway = daemon(machine + publish(site))
    with Scada(site) as scada:
        until(lambda: scada.status() == "online", "it to be online")
        scada.twin(f"explaind-{GATEWAY}")
        until(lambda: f"does another client use the id explaind-{GATEWAY}?" in gateway.log(), "the hint")
        until(lambda: len(scada.on("status")) >= 3 and scada.status() == "online", "it to be back")


def test_a_stopped_gateway_says_so(site, machine, daemon):
    """The kill switch shows in the status, with who and why, and so does a source that is down."""
    gateway = daemon(machine + publish(site))
    with Scada(site) as scada:
        until(lambda: scada.status() == "online", "it to be online")
        stopped = gateway.verb("models", "stop", "--gateway", "--reason", "maintenance")
        assert stopped.code == 0, stopped.err
        until(lambda: (scada.last("status")["stopped"] or {}).get("reason") == "maintenance", "the stop to show")
        until(lambda: scada.last("press-7/prediction")["outcome"] == "withheld", "withheld predictions")
        assert scada.last("press-7/prediction")["withheld_reason"].startswith("stopped")
        assert gateway.verb("models", "release", "--gateway").code == 0
        until(lambda: scada.last("status")["stopped"] is None, "the release to show")


def test_alerts_of_machines_that_are_gone_are_cleared(site, tmp_path, bundle, daemon):
    """What a gateway left on the broker in an earlier life does not stay there for ever; what is another's does."""
    with Scada(site) as scada:
        scada.say("press-1/alert", '{"state": "unacknowledged"}', retain=True)
        scada._client.publish("explaind/other/press-1/alert", "theirs", retain=True, qos=1).wait_for_publish(10)
        daemon(replay(tmp_path, bundle("ai4i-gbt")) + publish(site))
        until(lambda: scada.on("press-1/alert")[-1].payload == b"", "the old alert to be cleared")
    others = Scada(site)
    kept = threading.Event()
    others._client.message_callback_add("explaind/other/#", lambda *_: kept.set())
    others._client.subscribe("explaind/other/#")
    assert kept.wait(10), "what is another gateway's stays"
    others.close()


def test_a_wrong_password_is_named_and_a_right_one_needs_no_restart(tmp_path, running, machine, daemon):
    """The page and the log say who is not let in; the gateway works on."""
    site = Site(tmp_path / "closed", closed=True)
    running.append(site)
    site.start()
    secret = tmp_path / "gateway" / "secret"
    secret.parent.mkdir()
    secret.write_text("not this one\n")
    gateway = daemon(machine + publish(site, f'username = "{USER}"\npassword_file = "secret"'))
    until(lambda: "lets only known users in" in (published(gateway)["error"] or ""), "the refusal")
    until(lambda: gateway.alerts("press-7"), "an alert without a broker")
    probe = gateway.configured("check", "--probe")
    assert probe.code == 69 and "publish" in one_sentence(probe.err)
    secret.write_text(PASSWORD + "\n")
    with Scada(site, password=PASSWORD) as scada:
        scada.alert(state="unacknowledged")
    for secret in (PASSWORD, "not this one"):
        assert secret not in gateway.log() and secret not in str(gateway.get("status"))


def test_tls(tmp_path, running, machine, daemon):
    """With the authority that vouches for the broker, and not without it."""
    authority = Authority(tmp_path / "ca", "plant")
    site = Site(tmp_path / "tls", tls=authority.certificate())
    running.append(site)
    site.start()
    gateway = daemon(machine + publish(site, f'ca_file = "{authority.file}"', "mqtts"))
    with Scada(site, authority=authority.file) as scada:
        scada.alert(state="unacknowledged")
        assert scada.status() == "online"
    gateway.stop()
    stranger = Authority(tmp_path / "ca", "stranger")
    distrusting = daemon(machine + publish(site, f'ca_file = "{stranger.file}"', "mqtts"), folder="distrusting")
    until(lambda: "no trusted TLS connection" in (published(distrusting)["error"] or ""), "distrust")


def test_a_broker_that_refuses_subscriptions(machine, daemon):
    """It lets us write only: results arrive, old alerts are cleared unseen, and the status says what is not possible."""
    stub = Stub(takes=True)
    stopped = '\n[[asset]]\nid = "press-8"\npass_through = true\nevery = "1s"\n[asset.inputs]\nx = "recorded/s0"\n'
    gateway = daemon(machine + stopped + f'\n[publish]\nurl = "mqtt://127.0.0.1:{stub.port}"\nacknowledge = true\n')
    until(lambda: published(gateway)["acknowledge"] == "the broker refuses the subscription", "the refusal")
    until(lambda: published(gateway)["published"] > 20, "results to arrive")
    cleared = [heard for heard in stub.told if heard.topic == f"{ROOT}/press-8/alert"]
    assert [(heard.payload, heard.retained) for heard in cleared] == [(b"", True)]
    probe = gateway.configured("check", "--probe")
    assert probe.code == 69 and "refuses the subscription" in probe.out
    stub.close()


def test_the_broker_of_a_source_and_what_check_says(site, machine, tmp_path):
    """`source = …` takes its broker; `check` says what goes where, and `--probe` connects without a word to anyone."""
    floor = f"""
[[source]]
name = "floor"
type = "mqtt"
url = "mqtt://127.0.0.1:{site.port}"
client_id = "floor-1"
  [[source.signal]]
  name = "x"
  topic = "plant/x"
"""
    config = tmp_path / "explaind.toml"

    def check(publish: str, *more: str):
        config.write_text(machine.replace("127.0.0.1:0", "127.0.0.1:8090") + floor + "[publish]\n" + publish)
        return explaind("check", "--config", config, *more)

    (tmp_path / "registry").mkdir()
    said = check('source = "floor"\nacknowledge = true')
    assert said.code == 0, said.err
    for part in (f"mqtt://127.0.0.1:{site.port}", f"{ROOT}/status", f"{ROOT}/<asset>/alert", f"{ROOT}/cmd/acknowledge"):
        assert part in said.out, said.out
    with Scada(site) as scada:
        probe = check('source = "floor"\nacknowledge = true', "--probe")
        assert "publish: connected, and subscribed" in probe.out, probe.out
        assert scada.heard == []
    for publish, part in [
        ("", "url"),
        ('source = "recorded"', "no MQTT source"),
        ('source = "floor"\nurl = "mqtt://x"', "either source"),
        ('source = "floor"\nclient_id = "floor-1"', "a source has the same"),
        ('url = "mqtt://x"\npassword = "y"', "unknown field"),
    ]:
        refused = check(publish)
        assert refused.code == 78, publish
        assert part in one_sentence(refused.err) and "publish" in refused.err, refused.err


def test_without_the_table_nothing_is_published(site, machine, daemon):
    """An installation that asks for no broker gets none."""
    gateway = daemon(machine)
    assert published(gateway) == {"state": "off"}
    until(lambda: gateway.alerts("press-7"), "an alert")
    assert "explaind" not in site.log()


def test_a_broker_that_never_acknowledges(machine, daemon):
    """It greets and answers pings: connected in no sense that matters."""
    stub = Stub(takes=False)
    gateway = daemon(machine + f'\n[publish]\nurl = "mqtt://127.0.0.1:{stub.port}"\n')
    until(lambda: len(stub.told) > 5, "messages to be sent")
    until(lambda: "does not acknowledge" in (published(gateway)["error"] or ""), "it to be found out", 60)
    assert published(gateway)["published"] == 0, "what was not acknowledged does not count"
    stub.close()
    assert gateway.stop() == 0
