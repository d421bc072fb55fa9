"""The API as integrators meet it: every operation works, nothing comes that is not described, and nobody gets further than their role."""

import json
import socket
import time
from urllib.parse import urlsplit

import httpx
import pytest
from schemathesis import GenerationMode
from test_rollout import NAME, Central, central, followed, mlops, runs  # noqa: F401

from support import api, bundles, records
from support.client import Person
from support.scene import GATEWAY, replay
from support.wait import until

ROLES = ("collector", "viewer", "technician", "engineer")
LATCHING = '[decision]\nraise_above = 0.5\nclear_below = 0.4\npriority = "high"\nlatching = true\n'
UNKNOWN = "01890000-0000-7000-8000-000000000000"
# It does not end by itself, so it has a test of its own.
STREAM = "events"


@pytest.fixture
def gateway(daemon, bundle, tmp_path):
    """A machine that alarms again and again."""
    return daemon(replay(tmp_path, bundle()))


@pytest.fixture
def described(gateway) -> api.Described:
    """Its API, asked by a machine that may do everything."""
    return api.Described(gateway.url, api.token(gateway, "engineer"))


def first_alert(described: api.Described, **query: str) -> dict:
    """The newest alert, once there is one."""
    return until(lambda: described.call("list_alerts", query=query).json(), "an alert", 30)[0]


def listen(gateway, token: str, last: str | None = None):
    """Opens the stream of news."""
    headers = {"Authorization": f"Bearer {token}", **({"Last-Event-ID": last} if last else {})}
    return httpx.stream("GET", f"{gateway.url}/api/v1/events", headers=headers, timeout=30, trust_env=False)


def test_every_operation_succeeds_as_described(daemon, central: Central, mlops, tmp_path):  # noqa: F811
    """Each at least once, with an answer of which every member is described."""
    central.release("1.0.0", decision=LATCHING)
    rows = [bundles.harmless()] * 30 + [bundles.alarming()] * 30
    gateway = daemon(followed(tmp_path, mlops, rows=rows, interval="20ms"))
    runs(gateway, "1.0.0")
    central.release("1.1.0", decision=LATCHING)
    runs(gateway, "1.1.0")
    token = api.token(gateway, "engineer")
    described = api.Described(gateway.url, token)

    def done(operation: str, **parts):
        answer = described.call(operation, **parts)
        assert answer.status_code < 300, f"{operation}: {answer.status_code} {answer.text}"
        return answer

    for operation in ("health", "readiness", "metrics", "description", "status", "list_models", "list_predictions", "list_feedback"):
        done(operation)
    found = first_alert(described)
    alert, prediction = {"id": found["id"]}, {"id": found["prediction_id"]}
    done("alert", path_parameters=alert)
    done("acknowledge", path_parameters=alert, body={"comment": "seen"})

    def reset():
        described.call("acknowledge", path_parameters=alert)
        return described.call("reset", path_parameters=alert).status_code == 200

    until(reset, "a latched alert to be let go", 30)
    done("shelve", path_parameters=alert, body={"for": "1h", "reason": "spare part"})
    done("unshelve", path_parameters=alert)
    done("out_of_service", path_parameters=alert, body={"reason": "rebuilt"})
    done("in_service", path_parameters=alert)
    done("prediction", path_parameters=prediction, query={"space": "margin"})
    done("counterfactuals", path_parameters=prediction)
    said = {"alert_id": found["id"], "verdict": "reject", "relevant": ["Torque [Nm]"], "comment": "no"}
    once = [done("give_feedback", body=said, headers={"Idempotency-Key": "1"}).json() for _ in range(2)]
    assert once[0] == once[1]
    assert len(done("list_feedback", query={"alert_id": found["id"]}).json()) == 1
    for accept in ("application/x-ndjson", "application/vnd.apache.parquet"):
        answer = done("pull", path_parameters={"stream": "alerts"}, query={"after": 0, "limit": 2}, headers={"Accept": accept})
        assert answer.headers["content-type"] == [accept]
    done("check_buffer", query={"part": "alerts"})

    def carried():
        # Sync takes batches away as well.
        begun = done("begin_export", body={"name": "stick", "mark": None, "holds_batches": False}).json()
        answer = done("next_batch", body=begun)
        return answer if answer.status_code == 200 else None

    batch = until(carried, "a batch to carry", 30)
    first, last = batch.headers["explaind-numbers"][0].split("-")
    stream = batch.headers["explaind-stream"][0]
    done("batch_is_safe", body={"stream": stream, "first": int(first), "last": int(last), "aside": None})
    done("rollback", path_parameters={"name": NAME}, body={"reason": "worse"})
    done("stop_model", path_parameters={"name": NAME})
    done("release_model", path_parameters={"name": NAME})
    done("stop_gateway", body={"reason": "visitors"})
    done("status")
    done("release_gateway")
    with listen(gateway, token) as stream_of_news:
        kinds = described.operations[STREAM].definition.raw["responses"]["200"]["content"]
        assert stream_of_news.status_code == 200 and stream_of_news.headers["Content-Type"] in kinds
        described.succeeded.add(STREAM)

    named = {method["operationId"] for path in described.document["paths"].values() for method in path.values()}
    assert described.succeeded == named


def test_made_up_requests_get_no_answer_that_is_not_described(gateway, described):
    """By schemathesis, with ids that there are and with whatever else; the gateway does its work all the while."""
    found = first_alert(described)
    begun = time.monotonic()
    real = {
        "alert": {"id": found["id"]},
        "prediction": {"id": found["prediction_id"]},
        "model": {"name": "press-failure"},
    }
    for operation, one in described.operations.items():
        if operation == STREAM:
            continue
        parts = one.path.split("/")
        kind = "alert" if "alerts" in parts else "prediction" if "predictions" in parts else "model" if "models" in parts else None
        if "{" in one.path and kind:
            described.fuzz(operation, GenerationMode.POSITIVE, 12, path_parameters=real[kind])
        described.fuzz(operation, GenerationMode.POSITIVE, 8)
        if one.definition.raw["parameters"] or "requestBody" in one.definition.raw:
            described.fuzz(operation, GenerationMode.NEGATIVE, 15)
    assert time.monotonic() - begun < 90
    assert described.call("status").json()["buffer"]["degraded"] is None
    assert "panicked" not in gateway.log()


def test_each_role_gets_as_far_as_the_description_says(gateway, described):
    """And nobody without a token, or with one that is not theirs any more."""
    tokens = {role: api.token(gateway, role, f"some-{role}") for role in ROLES}
    gone = api.token(gateway, "engineer", "gone")
    assert gateway.configured("users", "remove", "gone").code == 0
    http = httpx.Client(base_url=gateway.url, timeout=15, trust_env=False)
    for operation, one in described.operations.items():
        said = one.definition.raw
        least = said.get("x-explaind-role")
        path = one.path.replace("{id}", UNKNOWN).replace("{name}", "nobody").replace("{stream}", "alerts")

        def ask(token: str | None) -> int:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            options = {"content": "x", "headers": {**headers, "Content-Type": "text/plain"}} if one.method == "post" else {"headers": headers}
            with http.stream(one.method, path, **options) as answer:
                return answer.status_code

        assert (ask(None) == 401) == (least is not None), operation
        assert ask(gone) == 401, operation
        for role, token in tokens.items():
            if least == "collector":
                may = role in ("collector", "engineer")
            else:
                may = least is None or ROLES.index(role) >= ROLES.index(least)
            status = ask(token)
            assert (status != 403) == may and status != 401, f"{operation} as {role}: {status}"
            assert status == 403 or status < 300 or str(status) in said["responses"], f"{operation} as {role}: {status}"


def test_a_body_of_a_gigabyte_is_refused_without_being_read(gateway, described):
    """The answer comes before a thousandth of it was sent."""
    where = urlsplit(gateway.url)
    for path, more in (("/api/v1/feedback", f"Authorization: Bearer {described.token}\r\n"), ("/api/v1/feedback", ""), ("/sign-in", "")):
        with socket.create_connection((where.hostname, where.port), timeout=15) as line:
            kind = "application/x-www-form-urlencoded" if path == "/sign-in" else "application/json"
            head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {1 << 30}\r\n{more}\r\n"
            line.sendall(head.encode())
            sent, answer = 0, b""
            line.settimeout(0.05)
            while b"\r\n\r\n" not in answer and sent < 1 << 20:
                try:
                    sent += line.send(b" " * 4096)
                except OSError:
                    pass
                try:
                    answer += line.recv(4096)
                except TimeoutError:
                    continue
                except OSError:
                    break
            assert answer.split(b" ", 2)[1] in (b"413", b"401"), answer[:200]
            assert sent <= 1 << 20
    assert described.call("readiness").status_code == 200


TRICKS = [
    "/..%2f..%2fetc%2fpasswd", "/%2e%2e/%2e%2e/etc/passwd", "/assets/..%2f..%2fusers.toml", "/assets/%252e%252e%252fusers.toml",
    "/api/v1/..%2fstatus", "/api/v1/alerts/..%2f..%2fstatus", "/api/v1/alerts/%00", "/api/v1/alerts/%2500", "/api/v1/batches/..%2fusers",
    "/api/v1/batches/alerts%00", "/api/v1/models/..%2f..%2f/stop", "/api/v1/alerts/%ff%fe", "//etc/passwd", "/api/v1//status", "/api/v1/alerts/%c0%ae%c0%ae",
    "/api/v1/predictions/" + "9" * 4000,
]  # fmt: skip


def test_path_tricks_lead_nowhere(gateway, described):
    """With a token that may do everything: nothing is there, and nothing of the machine is said."""
    where = urlsplit(gateway.url)
    for path in TRICKS:
        with socket.create_connection((where.hostname, where.port), timeout=15) as line:
            head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {described.token}\r\nConnection: close\r\n\r\n"
            line.sendall(head.encode())
            answer = b"".join(iter(lambda: line.recv(65536), b""))
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.split(b" ", 2)[1] in (b"400", b"404", b"405"), f"{path}: {head[:100]!r}"
        problem = json.loads(body)
        assert set(problem) == {"type", "title", "status", "detail"}
        assert str(gateway.state) not in body.decode() and "root:" not in body.decode()


def test_stored_text_is_data(gateway, described):
    """Markup that somebody stores comes back as JSON and as nothing that a browser would run."""
    markup = "<script>alert(1)</script>"
    found = first_alert(described)
    said = described.call("give_feedback", body={"alert_id": found["id"], "verdict": "reject", "cause": markup, "comment": markup})
    assert said.status_code == 201 and said.json()["comment"] == markup
    for answer in (
        described.call("alert", path_parameters={"id": found["id"]}, headers={"Accept": "text/html"}),
        described.call("list_feedback", headers={"Accept": "text/html"}),
    ):
        assert answer.headers["content-type"] == ["application/json"] and answer.headers["x-content-type-options"] == ["nosniff"]
        assert "default-src 'none'" in answer.headers["content-security-policy"][0]
    refused = described.call("list_alerts", query={"state": markup}, headers={"Accept": "text/html"})
    assert refused.headers["content-type"] == ["application/problem+json"] and refused.status_code == 422
    pulled = described.call("pull", path_parameters={"stream": "feedback"}, headers={"Accept": "text/html"})
    assert pulled.headers["content-type"] == ["application/x-ndjson"]
    person = Person(gateway.url)
    person.sign_in("technician", "demo")
    assert markup not in person.http.get("/").text


def test_news_resume_over_a_dropped_line_and_a_restart(gateway, described):
    """What is told, before and after, is every transition in the alert stream from the first on, each once."""
    token = described.token
    told: list[int] = []
    ids: list[str] = []

    def hear(last: str | None, wanted: int) -> str:
        with listen(gateway, token, last) as stream:
            assert stream.status_code == 200
            got = 0
            for event in api.events(stream.iter_lines()):
                assert event["event"] != "reset", event
                described.is_described(event)
                if event["id"]:
                    last = event["id"]
                    ids.append(last)
                if event["event"] == "alert":
                    told.append(event["data"]["sequence"])
                    got += 1
                    if got == wanted:
                        break
        assert last
        return last

    last = hear(None, 2)
    for number in range(4):
        if number == 2:
            gateway.kill_and_restart()
        else:
            newest = gateway.get("alerts")[0]
            gateway.post(f"alerts/{newest['id']}/acknowledge", {})
        last = hear(last, 3)
    assert told == list(range(told[0], told[0] + len(told)))
    places = [[int(part[1:]) for part in one.split("-")[:5]] for one in ids]
    assert all(all(a <= b for a, b in zip(one, two, strict=True)) for one, two in zip(places, places[1:], strict=False))
    written = until(lambda: records.batches(gateway.registry, GATEWAY, "alerts") and records.read(gateway.registry, GATEWAY, "alerts"), "alerts", 30)
    assert set(told[:3]) <= set(written["sequence"])
    with listen(gateway, token, "a999999-f0-e0-h0-p0") as stream:
        assert "reset" in [event["event"] for event, _ in zip(api.events(stream.iter_lines()), range(2), strict=False)]


def test_a_removed_token_hears_nothing_more(gateway):
    """A line that is open when its token is taken away ends with the next heartbeat, which comes every 15 s."""
    secret = api.token(gateway, "viewer", "stolen")
    with listen(gateway, secret, None) as stream:
        lines = stream.iter_lines()
        assert stream.status_code == 200 and next(lines)
        assert gateway.configured("users", "remove", "stolen").code == 0
        removed = time.monotonic()
        for _ in lines:
            assert time.monotonic() - removed < 25, "it is still told news"


def test_alerts_that_are_over_are_listed_and_read(gateway, described):
    """Page by page without a gap while new ones come in; and by what they are."""

    def over() -> bool:
        for alert in described.call("list_alerts", query={"state": "open"}).json():
            described.call("acknowledge", path_parameters={"id": alert["id"]}, body={"comment": "seen"})
        return len(described.call("list_alerts", query={"state": "closed"}).json()) >= 6

    until(over, "six that are over", 60)
    seen: list[int] = []
    query: dict = {"limit": 2}
    while True:
        page = described.call("list_alerts", query=query)
        seen += [alert["sequence"] for alert in page.json()]
        if "explaind-next" not in page.headers:
            break
        query["before"] = int(page.headers["explaind-next"][0])
    assert seen == sorted(set(seen), reverse=True) and len(seen) >= 6
    found = described.call("list_alerts", query={"state": "normal", "priority": "high", "asset": "press-7"}).json()
    assert found and all(alert["state"] == "normal" for alert in found)
    read = described.call("alert", path_parameters={"id": found[0]["id"]}).json()
    assert (read["id"], read["acknowledged_by"], read["cleared_at"] is not None) == (found[0]["id"], "a-engineer", True)
    later = described.call("list_alerts", query={"from": read["raised_at"], "limit": 1000}).json()
    before = described.call("list_alerts", query={"to": read["raised_at"], "limit": 1000}).json()
    assert read["id"] in [alert["id"] for alert in later] and read["id"] not in [alert["id"] for alert in before]


def test_a_forged_origin_and_a_session_that_is_over_are_refused(gateway, described):
    """Each with its reason, none of them with anything else; and the log says so."""
    alert = first_alert(described)["id"]
    person = Person(gateway.url)
    person.sign_in("technician", "demo")
    body = {"alert_id": alert, "verdict": "confirm"}
    forged = {"X-CSRF-Token": person.csrf, "Origin": "http://evil.example"}
    with httpx.Client(base_url=gateway.url, cookies=dict(person.http.cookies), timeout=15, trust_env=False) as browser:
        assert browser.get("/api/v1/status").status_code == 200
        refused = browser.post("/api/v1/feedback", json=body, headers=forged)
        assert refused.status_code == 403 and "another site" in refused.json()["detail"]
        without = browser.post("/api/v1/feedback", json=body)
        assert without.status_code == 403 and "secret" in without.json()["detail"]
        assert person.http.post("/sign-out", data={"csrf": person.csrf}, headers={"Origin": gateway.url}).is_success
        over = browser.get("/api/v1/status")
        assert over.status_code == 401 and over.headers["WWW-Authenticate"]
    assert described.call("list_feedback").json() == []
    assert "refused on the page's port: GET /api/v1/status" in gateway.log()


def test_heads_that_trickle_in_are_given_up_and_others_are_served(gateway, described):
    """Fifty at once."""
    where = urlsplit(gateway.url)
    lines = [socket.create_connection((where.hostname, where.port), timeout=15) for _ in range(50)]
    for line in lines:
        line.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: ")
        line.settimeout(0.01)
    try:
        begun = time.monotonic()
        open_still = list(lines)
        while open_still and time.monotonic() - begun < 30:
            for line in list(open_still):
                try:
                    line.sendall(b"a")
                    if line.recv(1) == b"":
                        open_still.remove(line)
                except TimeoutError:
                    continue
                except OSError:
                    open_still.remove(line)
            assert described.call("readiness").status_code == 200
        assert not open_still
    finally:
        for line in lines:
            line.close()
