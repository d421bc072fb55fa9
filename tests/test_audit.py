"""Who did what: people under pseudonyms upstream, refusals on record, and an audit that cannot be rewritten unnoticed."""

import copy
import io
import json
import re
import shutil
from pathlib import Path

import duckdb
import httpx
import pandas as pd
import pytest

from support import chain, records, scene
from support.cli import explaind, one_sentence
from support.client import Person
from support.mlflow import in_mlflow, uploaded, without_registry
from support.scene import GATEWAY
from support.wait import until

# Distinctive, so that they are found wherever they are.
PEOPLE = ("brunhilde", "theophil")
PSEUDONYM = re.compile(r"p-[0-9a-f]{8}-[0-9a-f]{16}")
STREAMS = ("feedback", "alerts", "audit", "health", "predictions")


def add(gateway, name: str, role: str = "technician") -> None:
    """Makes an account whose password is in a file."""
    password = gateway.folder / "password"
    password.write_text("a long password\n")
    added = gateway.configured("users", "add", name, "--role", role, "--password-file", password)
    assert added.code == 0, added.err


def signed_in(gateway, name: str) -> Person:
    """A person at the page."""
    person = Person(gateway.url)
    assert person.sign_in(name, "a long password").is_success
    return person


def at_work(gateway) -> dict:
    """An engineer and a technician do what leaves a name in every stream; returns the alert and the feedback's ids."""
    for name, role in zip(PEOPLE, ("engineer", "technician"), strict=True):
        add(gateway, name, role)
    alert = until(lambda: gateway.alerts("press-7"), "an alert")[0]
    engineer, technician = (signed_in(gateway, name) for name in PEOPLE)
    assert technician.post(f"alerts/{alert['id']}/acknowledge", {"comment": "on my way"}).is_success
    body = {"prediction_id": alert["prediction_id"], "verdict": "confirm"}
    first = technician.post("feedback", body).json()["id"]
    second = engineer.post("feedback", {**body, "verdict": "reject", "revises": first}).json()["id"]
    assert engineer.post("models/press-failure/stop", {"reason": "sensor replaced"}).is_success
    until(lambda: gateway.predictions(1)[0]["outcome"] == "withheld", "a prediction that is withheld")
    assert engineer.post("models/press-failure/release", {}).is_success
    assert gateway.configured("users", "remove", PEOPLE[1]).code == 0
    return {"alert": alert, "feedback": [first, second]}


def sent(registry: Path, stream: str) -> pd.DataFrame:
    """What has arrived of a stream; empty before anything has."""
    return records.read(registry, GATEWAY, stream) if records.batches(registry, GATEWAY, stream) else pd.DataFrame()


def has(frame: pd.DataFrame, **cells: str) -> bool:
    """Whether a row has these cells."""
    if frame.empty:
        return False
    found = frame
    for name, cell in cells.items():
        found = found[found[name] == cell]
    return not found.empty


def all_home(gateway, last_action: str = "remove_user") -> None:
    """Waits until what was done by then is in the registry, and stops."""
    until(lambda: has(sent(gateway.registry, "audit"), action=last_action), "the audit to arrive", 60)
    assert gateway.stop() == 0


def named_in(files: list[Path]) -> list[str]:
    """Cells that hold one of the names, of whatever column."""
    found = []
    for file in files:
        frame = pd.read_parquet(file)
        for name in frame.columns:
            cells = [str(cell) for cell in frame[name]]
            found += [f"{file.name} {name}: {cell}" for cell in cells if any(person in cell for person in PEOPLE)]
    return found


def test_people_leave_the_gateway_under_pseudonyms(daemon, bundle, tmp_path):
    """In batches, pulls and exports; the same person has the same one; the chain can be followed at both ends."""
    gateway = daemon(scene.replay(tmp_path, bundle()))
    at_work(gateway)
    add(gateway, "theophil2")
    token = gateway.configured("users", "add", "central", "--role", "collector", "--token").out.strip()
    until(lambda: has(sent(gateway.registry, "audit"), action="add_token"), "the audit to arrive", 60)
    until(lambda: sent(gateway.registry, "predictions")["withheld_reason"].notna().any(), "what was withheld", 60)
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/vnd.apache.parquet"}
    pulled = {}
    for stream in STREAMS:
        url = f"{gateway.url}/api/v1/batches/{stream}?after=0"
        answer = httpx.get(url, headers=headers, timeout=15, trust_env=False)
        assert answer.status_code == 200, answer.text
        text = httpx.get(url, headers={**headers, "Accept": "*/*"}, timeout=15, trust_env=False).text
        assert not any(person in text for person in PEOPLE), f"a name in what was pulled of {stream}"
        pulled[stream] = pd.read_parquet(io.BytesIO(answer.content))
        assert not any(person in str(row) for row in pulled[stream].to_dict("records") for person in PEOPLE)
    listed = gateway.get("feedback")
    assert {entry["author"] for entry in listed} == set(PEOPLE), "on the gateway they have their names"
    assert gateway.stop() == 0

    files = [file for file in gateway.registry.rglob("*.parquet")]
    assert {file.parts[-3] for file in files} >= set(STREAMS) and not named_in(files)
    feedback, alerts, audit, health = (sent(gateway.registry, stream) for stream in STREAMS[:4])
    technician, engineer = feedback["author"]
    assert PSEUDONYM.fullmatch(technician) and PSEUDONYM.fullmatch(engineer) and technician != engineer
    assert list(alerts["author"].dropna()) == [technician]
    assert has(audit, action="acknowledge", actor=technician, outcome="done")
    assert has(audit, action="add_user", object=f"user {engineer}") and has(audit, action="sign_in", actor=engineer)
    stopped = health[health["state"] == "stopped"].iloc[0]
    assert records.as_dict(stopped["evidence"]) == {"by": engineer, "reason": "sensor replaced"}
    withheld = sent(gateway.registry, "predictions")["withheld_reason"].dropna()
    assert set(withheld) == {f"stopped: by {engineer}: sensor replaced"}
    chain.follow(audit)
    sound = gateway.configured("buffer", "verify", "--json")
    assert sound.code == 0, sound.out + sound.err
    assert sound.json["anchor"]["state"] == "same" and sound.json["anchor"]["same"] == len(audit)
    rows = [row for row in pulled["audit"].itertuples() if row.sequence in set(audit["sequence"])]
    assert rows and all(has(audit, record_id=row.record_id, actor=row.actor, hash=row.hash) for row in rows)


def test_what_is_carried_has_pseudonyms_too(daemon, bundle, tmp_path):
    """`buffer export`, from a daemon that runs and from one that does not."""
    gateway = daemon(without_registry(scene.replay(tmp_path, bundle()), GATEWAY), EXPLAIND__REGISTRY__TYPE="none")
    at_work(gateway)
    running = gateway.configured("buffer", "export", "--out", tmp_path / "running", "--json")
    signed_in(gateway, PEOPLE[0])
    assert gateway.stop() == 0
    stopped = gateway.configured("buffer", "export", "--out", tmp_path / "stopped", "--json")
    for done in (running, stopped):
        assert done.code == 0 and done.json["records"] > 0, done.err
    files = [file for folder in ("running", "stopped") for file in (tmp_path / folder).rglob("*.parquet")]
    assert {file.parts[-3] for file in files} >= {"feedback", "audit", "alerts"} and not named_in(files)


def test_names_go_where_they_are_wanted(daemon, bundle, tmp_path):
    """`authors = "names"`: names in every column, and a chain that can be followed all the same."""
    config = scene.replay(tmp_path, bundle()).replace("[sync]\n", '[sync]\nauthors = "names"\n')
    gateway = daemon(config)
    at_work(gateway)
    all_home(gateway)
    assert list(sent(gateway.registry, "feedback")["author"]) == [PEOPLE[1], PEOPLE[0]]
    audit = sent(gateway.registry, "audit")
    assert has(audit, action="sign_in", actor=PEOPLE[0]) and has(audit, action="remove_user", object=f"user {PEOPLE[1]}")
    assert not any(person in cell for cell in audit["hashed_actor"] for person in PEOPLE)
    chain.follow(audit)
    wrong = explaind("check", "--config", gateway.config, **{**gateway.overrides, "EXPLAIND__SYNC__AUTHORS": "initials"})
    assert wrong.code == 78 and "authors" in one_sentence(wrong.err)


def test_feedback_arrives_with_exactly_what_was_judged(daemon, bundle, tmp_path):
    """On a prediction, on its explanation, and their revisions: with these ids and digests, in pandas and in DuckDB."""
    gateway = daemon(scene.replay(tmp_path, bundle()))
    alert = until(lambda: next((a for a in gateway.alerts("press-7") if gateway.get(f"predictions/{a['prediction_id']}")["explanation_id"]), None), "an explained alert")
    judged = alert["prediction_id"]
    shown = gateway.get(f"predictions/{judged}")
    on_prediction = gateway.post("feedback", {"prediction_id": judged, "verdict": "confirm"})["id"]
    said = {"prediction_id": judged, "explanation_id": shown["explanation_id"], "explanation_verdict": "disagree"}
    on_explanation = gateway.post("feedback", {**said, "relevant": ["Torque [Nm]"]})["id"]
    token = gateway.folder / "token"
    token.write_text(gateway.configured("users", "add", "lamp", "--token").out)
    unseen = gateway.verb("feedback", "add", "--prediction", judged, "--verdict", "unsure", "--json", "--token-file", token)
    assert unseen.code == 0, unseen.err
    revised = [gateway.post("feedback", {**said, "explanation_verdict": "agree", "revises": on_explanation})["id"]]
    revised.append(gateway.post("feedback", {"prediction_id": judged, "verdict": "reject", "revises": on_prediction})["id"])
    until(lambda: len(sent(gateway.registry, "feedback")) == 5, "all five in the registry", 60)
    until(lambda: has(sent(gateway.registry, "predictions"), record_id=judged), "the prediction in the registry", 60)
    assert gateway.stop() == 0

    feedback = sent(gateway.registry, "feedback")
    prediction = sent(gateway.registry, "predictions").set_index("record_id").loc[judged]
    assert prediction["explanation_id"] == shown["explanation_id"]
    assert set(feedback["prediction_id"]) == {judged} and set(feedback["explanation_id"]) == {shown["explanation_id"]}
    for digest in ("model_digest", "background_digest"):
        assert set(feedback[digest]) == {prediction[digest]} and len(prediction[digest]) == 64
    assert list(feedback["feedback_id"])[:2] == [on_prediction, on_explanation]
    assert list(feedback["feedback_id"])[3:] == revised
    assert list(feedback["revises"])[3:] == [on_explanation, on_prediction], "both are there, and the first ones too"
    assert list(feedback["explanation_seen"]) == [True, True, False, True, True], "by what was served to whom"
    assert list(feedback["explanation_verdict"].fillna("")) == ["", "disagree", "", "agree", ""]
    tables = [f"read_parquet('{gateway.registry}/*/{stream}/date=*/*.parquet')" for stream in ("feedback", "predictions")]
    joined = duckdb.sql(
        f"""SELECT f.feedback_id, f.verdict, p.model_digest = f.model_digest, p.explanation_id = f.explanation_id, p.alert_id
            FROM {tables[0]} f JOIN {tables[1]} p ON p.record_id = f.prediction_id ORDER BY f.sequence"""
    ).fetchall()
    assert [row[0] for row in joined] == list(feedback["feedback_id"])
    assert all(row[2] and row[3] and row[4] == alert["id"] for row in joined)
    assert [row[1] for row in joined] == ["confirm", None, "unsure", None, "reject"]


def test_refusals_and_accounts_are_audited(daemon, bundle, tmp_path):
    """Each kind once with its reason; a flood leaves few records, which say how many they stand for."""
    gateway = daemon(scene.replay(tmp_path, bundle()))
    add(gateway, PEOPLE[0], "viewer")
    for name in ("root", "registry", "explaind", "unknown", "mqtt:ada"):
        refused = gateway.configured("users", "add", name, "--token")
        assert refused.code == 64 and f'"{name}"' in one_sentence(refused.err), refused.err
    viewer = signed_in(gateway, PEOPLE[0])
    assert viewer.post("feedback", {}).status_code == 403
    assert viewer.post("feedback", {}, csrf="0" * 64).status_code == 403
    Person(gateway.url).sign_in(PEOPLE[0], "a wrong password")
    foreign = {"Origin": "http://evil.example"}
    assert httpx.post(f"{gateway.url}/sign-in", headers=foreign, trust_env=False).status_code == 403
    token = {"Authorization": "Bearer explaind_0000"}
    for _ in range(60):
        assert httpx.get(f"{gateway.url}/api/v1/alerts", headers=token, trust_env=False).status_code == 401
    throttled = [httpx.post(f"{gateway.url}/sign-in", data={"user": "x", "password": "y"}, trust_env=False).status_code for _ in range(40)]
    assert throttled[-1] == 429
    # The count comes by itself, a minute after what was left out.
    until(lambda: any("were left out" in outcome for outcome in sent(gateway.registry, "audit")["outcome"]), "the count", 120)
    assert gateway.stop() == 0
    audit = sent(gateway.registry, "audit")
    viewer_is = audit[(audit["action"] == "sign_in") & (audit["outcome"] == "done")]["actor"].iloc[0]
    for actor, why in (
        (viewer_is, "wrong password"),
        (viewer_is, "the role viewer is not enough"),
        (viewer_is, "without the secret of the sign-in"),
        ("unknown", "asked for by another site"),
        ("unknown", "no account has this token"),
        ("unknown", "no such account"),
    ):
        found = audit[audit["outcome"].str.contains(why, regex=False)]
        assert set(found["actor"]) == {actor}, why
    tokens = audit[audit["action"] == "token"]
    assert len(tokens) < 10, "guesses do not fill the disk"
    counted = sum(int(count) for count in tokens["outcome"].str.extract(r"(\d+) more")[0].dropna())
    assert len(tokens[tokens["outcome"].str.startswith("refused")]) + counted == 60
    assert has(audit, action="add_user", outcome="done (role viewer)", object=f"user {viewer_is}")
    chain.follow(audit)


def test_another_configuration_is_audited(daemon, bundle, tmp_path):
    """Once, at the start that brings it."""
    gateway = daemon(scene.replay(tmp_path, bundle()))
    signed = Person(gateway.url)
    signed.sign_in("technician", "demo")
    gateway.kill_and_restart()
    assert gateway.stop() == 0
    gateway.config.write_text(gateway.config.read_text().replace("batch_records = 25", "batch_records = 26"))
    for _ in range(2):
        gateway.start()
        assert gateway.stop() == 0
    changes = sent(gateway.registry, "audit")
    changes = changes[changes["action"] == "configuration"]
    assert list(changes["actor"]) == ["explaind"] and changes["outcome"].str.match("changed from [0-9a-f]{12} to").all()


@pytest.mark.parametrize("kind", ["directory", "mlflow"])
def test_a_rewritten_audit_is_found_out(daemon, bundle, tmp_path, request, running, kind):
    """A chain that is sound in itself, under the same numbers in the same store: what was sent tells it from the real one."""
    name = f"forged-{kind}"
    text = without_registry(scene.replay(tmp_path, bundle()), name)
    server = request.getfixturevalue("mlflow") if kind == "mlflow" else None
    where = in_mlflow(server.url) if server else {}
    gateway = daemon(text, **where)
    assert gateway.stop() == 0
    clean = tmp_path / "clean"
    shutil.copytree(gateway.state, clean, ignore=shutil.ignore_patterns("*.sock"))
    gateway.start()
    add(gateway, PEOPLE[0], "engineer")
    culprit = signed_in(gateway, PEOPLE[0])
    assert culprit.post("gateway/stop", {"reason": "nobody will know"}).is_success
    numbers = until(lambda: last(gateway, "audit") if uploaded(gateway, "audit") == last(gateway, "audit") >= 3 else None, "the audit to be sent", 60)
    before = gateway.configured("buffer", "verify", "--json")
    assert before.code == 0 and before.json["anchor"]["state"] == "same", before.out + before.err
    assert gateway.stop() == 0
    anchored = gateway.configured("buffer", "verify")
    assert anchored.code == 0 and "audit records are as they were sent to" in anchored.out, anchored.out

    # The same store from before it happened, in which somebody else does something else, with its way home cut.
    shutil.rmtree(gateway.state)
    shutil.copytree(clean, gateway.state)
    unreached = {"EXPLAIND__REGISTRY__TYPE": "directory", "EXPLAIND__REGISTRY__PATH": str(tmp_path / "not" / "mounted")}
    away = daemon_elsewhere(gateway, unreached)
    running.append(away)
    away.start()
    add(away, PEOPLE[1], "engineer")
    for _ in range(numbers):
        signed_in(away, PEOPLE[1])
    until(lambda: last(away, "audit") >= numbers, "as many records")
    alone = away.configured("buffer", "verify", "--json")
    assert alone.code == 0 and alone.json["anchor"]["state"] == "unreached", "by itself it is a sound chain"
    assert away.stop() == 0
    told = away.configured("buffer", "verify")
    assert told.code == 0 and "could not be compared with what was sent, which says nothing of it" in told.out

    found = gateway.configured("buffer", "verify", "--json")
    assert found.code == 65 and found.json["anchor"]["state"] == "different", found.out + found.err
    problems = [finding for finding in found.json["findings"] if "another record than the one that was sent" in finding["problem"]]
    assert problems and problems[0]["part"] == "audit" and problems[0]["numbers"][0] >= 1
    people = gateway.configured("buffer", "verify")
    assert people.code == 65 and re.search(r"^audit [\d-]+: it is another record than", people.out, re.MULTILINE), people.out
    away.start()
    if server is None:
        live = away.configured("buffer", "verify", "--registry-dir", gateway.registry, "--json")
    else:
        live = away.configured("buffer", "verify", "--registry", server.url, "--json")
    assert away.stop() == 0
    assert live.code == 65 and live.json["anchor"]["state"] == "different", "from the running daemon as well"


def last(gateway, stream: str) -> int:
    """The last number of a stream."""
    return next(one for one in gateway.get("status")["buffer"]["streams"] if one["stream"] == stream)["last"]


def daemon_elsewhere(gateway, overrides: dict[str, str]):
    """The same gateway with another registry; the original keeps its own settings, for its verbs."""
    other = copy.copy(gateway)
    other.overrides = {**gateway.overrides, **overrides}
    other.overrides.pop("EXPLAIND__REGISTRY__URL", None)
    other.env = {name: value for name, value in {**gateway.env, **overrides}.items() if name != "EXPLAIND__REGISTRY__URL"}
    return other


def test_the_end_cut_off_and_another_store(daemon, bundle, tmp_path):
    """What was sent and is not there is named; so is a store that has nothing to do with what was sent."""
    text = scene.replay(tmp_path, bundle())
    gateway = daemon(text)
    assert gateway.configured("buffer", "verify", "--json").json["anchor"]["state"] in ("nothing_sent", "same")
    assert gateway.stop() == 0
    clean = tmp_path / "clean"
    shutil.copytree(gateway.state, clean, ignore=shutil.ignore_patterns("*.sock"))
    gateway.start()
    signed = Person(gateway.url)
    signed.sign_in("technician", "demo")
    until(lambda: uploaded(gateway, "audit") >= 1, "the sign-in to be sent", 60)
    assert gateway.stop() == 0
    shutil.rmtree(gateway.state)
    shutil.copytree(clean, gateway.state)
    cut = gateway.configured("buffer", "verify", "--json")
    assert cut.code == 65
    assert any("the end of the audit is cut off" in finding["problem"] for finding in cut.json["findings"]), cut.out
    empty = gateway.configured("buffer", "verify", "--registry-dir", tmp_path / "none", "--json")
    assert (empty.code, empty.json["anchor"]["state"]) == (0, "unreached"), empty.out + empty.err
    assert not (tmp_path / "none").exists(), "it only looks"

    other = daemon(text, "other")
    person = Person(other.url)
    person.sign_in("engineer", "demo")
    until(lambda: last(other, "audit") >= 1, "an audit record")
    assert other.stop() == 0
    foreign = other.configured("buffer", "verify", "--registry-dir", gateway.registry, "--json")
    assert foreign.code == 65
    assert any("comes from another store" in finding["problem"] for finding in foreign.json["findings"]), foreign.out


def test_a_lost_key_is_said_and_is_no_forgery(daemon, bundle, tmp_path):
    """People have other pseudonyms from then on; what was sent before stays as it was."""
    gateway = daemon(scene.replay(tmp_path, bundle()))
    add(gateway, PEOPLE[0])
    signed_in(gateway, PEOPLE[0])
    until(lambda: has(sent(gateway.registry, "audit"), action="sign_in"), "the sign-in to be sent", 60)
    assert gateway.stop() == 0
    key = gateway.state / "pseudonyms.key"
    assert key.stat().st_mode & 0o777 == 0o600
    key.unlink()
    gateway.start()
    signed_in(gateway, PEOPLE[0])
    until(lambda: len(sent(gateway.registry, "audit").query("action == 'sign_in'")) == 2, "the second sign-in", 60)
    assert gateway.stop() == 0
    audit = sent(gateway.registry, "audit")
    first, second = audit[audit["action"] == "sign_in"]["actor"]
    assert first.split("-")[1] != second.split("-")[1] and first != second
    chain.follow(audit)
    verified = gateway.configured("buffer", "verify")
    assert verified.code == 0 and f"another key ({first.split('-')[1]})" in verified.out, verified.out + verified.err
    assert json.loads(gateway.configured("buffer", "verify", "--json").out)["other_keys"] == [first.split("-")[1]]
