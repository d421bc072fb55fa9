"""The technician's work from a terminal, over the socket: what scripts rely on."""

import json
import subprocess

import pytest

from support import bundles
from support.cli import done, explaind, one_sentence
from support.client import Person
from support.paths import BINARY
from support.scene import replay
from support.wait import until

UNKNOWN = "01890000-0000-7000-8000-000000000000"


@pytest.fixture
def gateway(daemon, bundle, tmp_path):
    """A gateway whose machine alarms."""
    return daemon(replay(tmp_path, bundle("ai4i-gbt")))


@pytest.fixture
def alert(gateway):
    """Its first alert."""
    return until(lambda: gateway.verb("alerts", "list", "--json").json, "an alert in the list")[0]


def test_alerts_are_listed_as_one_array(gateway, alert):
    """With the names of the API; `show` gives one of them; without `--json` it is for people."""
    assert {"id", "asset", "state", "priority", "raised_at", "sentence", "prediction_id", "suppression"} <= set(alert)
    assert alert["asset"] == "press-7" and alert["suppression"] == "none" and alert["priority"] == "high"
    shown = gateway.verb("alerts", "show", alert["id"], "--json")
    assert shown.code == 0 and alert["id"] in shown.out
    listing = gateway.verb("alerts", "list")
    assert listing.code == 0 and "press-7" in listing.out and not listing.out.lstrip().startswith("[")


def test_acknowledging(gateway, alert):
    """Done at once, done again without harm, and recorded with its author and comment."""
    first = gateway.verb("alerts", "ack", alert["id"], "--comment", "tool changed")
    assert first.code == 0, first.err
    assert gateway.verb("alerts", "ack", alert["id"]).code == 0
    after = gateway.get(f"alerts/{alert['id']}")
    assert after["acknowledged_by"] and after["comment"] == "tool changed"
    assert after["state"] in ("acknowledged", "normal")


def test_a_token_says_who_it_is(gateway, alert, tmp_path):
    """In place of the terminal's own user; from a file that is named on the line or in the environment."""

    def token(name: str, role: str) -> str:
        file = tmp_path / name
        file.write_text(gateway.configured("users", "add", name, "--role", role, "--token").out)
        return str(file)

    scripts, lamp = token("scripts", "technician"), token("lamp", "viewer")
    refused = gateway.verb("alerts", "ack", alert["id"], "--token-file", lamp)
    assert refused.code == 77 and "lamp is viewer" in one_sentence(refused.err)
    assert gateway.verb("alerts", "list", EXPLAIND_TOKEN_FILE=lamp).code == 0
    assert gateway.verb("alerts", "ack", alert["id"], EXPLAIND_TOKEN_FILE=scripts).code == 0
    assert gateway.get(f"alerts/{alert['id']}")["acknowledged_by"] == "scripts"
    gateway.configured("users", "remove", "scripts")
    refused = gateway.verb("alerts", "list", "--token-file", scripts)
    assert refused.code == 77 and "token" in one_sentence(refused.err), "revoked"


def test_shells_complete_and_manuals_are_written(tmp_path):
    """bash takes the completions and offers the verbs; man has a page for every verb."""
    script = tmp_path / "explaind.bash"
    script.write_text(done("completions", "bash").out)
    ask = f"source {script}; COMP_WORDS=(explaind alerts ''); COMP_CWORD=2; _explaind explaind '' alerts; echo ${{COMPREPLY[@]}}"
    offered = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, timeout=30, check=True).stdout.split()
    assert {"list", "show", "ack"} <= set(offered)
    assert "#compdef explaind" in done("completions", "zsh").out
    assert ".TH explaind 1" in done("man").out
    done("man", "--out", tmp_path / "man")
    pages = {page.name for page in (tmp_path / "man").iterdir()}
    assert {"explaind.1", "explaind-alerts.1", "explaind-alerts-ack.1", "explaind-bundle-create.1"} <= pages
    assert "explaind-verify-bundle.1" not in pages
    refused = explaind("man", "--out", script)
    assert refused.code == 74 and str(script) in one_sentence(refused.err)


@pytest.mark.parametrize("verb", [("alerts", "show"), ("alerts", "ack")])
@pytest.mark.parametrize("name", [UNKNOWN, "not-an-id"])
def test_an_unknown_alert_is_one_sentence(gateway, verb, name):
    """The id is named, and the exit code is not success."""
    refused = gateway.verb(*verb, name)
    assert refused.code == (64 if name == "not-an-id" else 66)
    assert name in one_sentence(refused.err)


def test_feedback_is_added_and_listed(gateway, alert):
    """On an alert and on a prediction; the author is who ran the command."""
    judged = gateway.verb(
        "feedback", "add", "--alert", alert["id"], "--verdict", "reject", "--comment", "sensor was being cleaned"
    )
    assert judged.code == 0, judged.err
    prediction = gateway.predictions(1)[0]["id"]
    assert gateway.verb("feedback", "add", "--prediction", prediction, "--verdict", "confirm").code == 0
    listed = gateway.verb("feedback", "list", "--json").json
    by_verdict = {entry["verdict"]: entry for entry in listed}
    assert by_verdict["reject"]["comment"] == "sensor was being cleaned"
    assert by_verdict["reject"]["alert_id"] == alert["id"]
    assert by_verdict["confirm"]["prediction_id"] == prediction
    assert all(entry["author"] and entry["role"] == "engineer" for entry in listed)


def test_feedback_on_nothing_is_refused(gateway):
    """A prediction that never was cannot be judged."""
    refused = gateway.verb("feedback", "add", "--prediction", UNKNOWN, "--verdict", "confirm")
    assert refused.code != 0 and UNKNOWN in one_sentence(refused.err)
    wrong = gateway.verb("feedback", "add", "--prediction", UNKNOWN, "--verdict", "perhaps")
    assert wrong.code == 64 and "perhaps" in wrong.err


def test_status_is_one_object(gateway, alert):
    """With the parts that interface names, for scripts; and a page for people."""
    status = gateway.verb("status", "--json").json
    assert {"gateway", "sources", "models", "buffer", "sync", "assets"} <= set(status)
    source = next(source for source in status["sources"] if source["name"] == "recorded")
    assert source["up"] is True and source["last_sample_at"] and not source["error"]
    model = next(model for model in status["models"] if model["name"] == "press-failure")
    assert model["version"] == "1.0.0" and len(model["digest"]) == 64
    people = gateway.verb("status")
    assert people.code == 0 and "recorded" in people.out and "press-7" in people.out


def test_users_come_and_go(gateway):
    """Made with a password from standard input, listed without it, and gone after removal."""
    added = gateway.configured("users", "add", "maria", "--role", "technician", stdin="wrench and oil\n")
    assert added.code == 0, added.err
    listed = gateway.configured("users", "list", "--json")
    users = {user["name"]: user for user in listed.json}
    assert users["maria"]["role"] == "technician"
    assert "argon2" not in listed.out and "wrench" not in listed.out
    twice = gateway.configured("users", "add", "maria", "--role", "engineer", stdin="another word\n")
    assert twice.code == 65 and "maria" in one_sentence(twice.err)
    assert gateway.configured("users", "remove", "maria").code == 0
    assert gateway.configured("users", "list", "--json").json == []
    gone = gateway.configured("users", "remove", "maria")
    assert gone.code == 66 and "maria" in one_sentence(gone.err)


def test_a_made_account_signs_in(gateway):
    """What `users add` made opens the page, and what `users remove` took away closes it at once."""
    gateway.configured("users", "add", "maria", "--role", "technician", stdin="wrench and oil\n")
    person = Person(gateway.url)
    person.sign_in("maria", "wrench and oil")
    assert person.get("alerts").status_code == 200
    gateway.configured("users", "remove", "maria")
    until(lambda: person.get("alerts").status_code == 401, "the account to be closed", 5)


def test_a_viewer_may_only_look(gateway, alert):
    """Roles hold on the page and in the API."""
    gateway.configured("users", "add", "guest", "--role", "viewer", stdin="just looking around\n")
    person = Person(gateway.url)
    person.sign_in("guest", "just looking around")
    assert person.get(f"alerts/{alert['id']}").status_code == 200
    assert person.post(f"alerts/{alert['id']}/acknowledge", {}).status_code == 403
    assert person.post("feedback", {"alert_id": alert["id"], "verdict": "confirm"}).status_code == 403


VERBS = [
    ("status",),
    ("buffer", "stat"),
    ("buffer", "verify"),
    ("alerts", "list"),
    ("alerts", "ack", UNKNOWN),
    ("feedback", "list"),
    ("feedback", "add", "--prediction", UNKNOWN, "--verdict", "confirm"),
]


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_without_a_daemon_it_says_so(verb, tmp_path):
    """69, and where it looked."""
    away = explaind(*verb, "--socket", tmp_path / "nobody.sock")
    assert away.code == 69
    assert "nobody.sock" in one_sentence(away.err)


def test_the_socket_is_found_by_the_configuration(gateway):
    """`--config` is enough: the socket lies in the state folder that it names."""
    found = gateway.configured("status", "--json")
    assert found.code == 0, found.err
    assert json.loads(found.out)["gateway"]


@pytest.mark.parametrize("arguments", [(), ("--help",), ("alerts", "--help"), ("buffer", "--help"), ("explain", "--help"), ("--version",)])
def test_help_is_there(arguments, version):
    """Each verb explains itself."""
    shown = explaind(*arguments)
    assert shown.code == (0 if arguments else 64)
    assert "explaind" in shown.out + shown.err
    assert version


@pytest.mark.parametrize("arguments", [("alerts", "dance"), ("explain",), ("run", "--nonsense")])
def test_wrong_usage_is_64(arguments):
    """As sysexits has it."""
    wrong = explaind(*arguments)
    assert wrong.code == 64
    assert "panicked" not in wrong.err and wrong.err.strip()


def test_the_listing_ends_quietly_when_nobody_reads_on(gateway, alert):
    """`explaind alerts list | head -0` is no error worth a backtrace."""
    pipe = subprocess.run(
        ["bash", "-c", f"{BINARY} alerts list --json --socket {gateway.socket} | head -c 1"],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert "panicked" not in pipe.stderr and pipe.stdout == "["


def test_bundles_are_made_from_the_parts(tmp_path):
    """The whole way of an author: create, inspect, verify; a second creation on the same place is refused."""
    made = bundles.make(tmp_path / "mine", "ai4i-forest")
    for name in ("manifest.toml", "background.csv", "golden.csv", "SHA256SUMS", "model.onnx", "MLmodel"):
        assert (made / name).is_file(), name
    done("bundle", "verify", "--bundle", made)
