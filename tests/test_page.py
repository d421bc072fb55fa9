"""The page in a real browser: sign in, see why, acknowledge, judge, and find it all again."""

import re

import pytest
from playwright.sync_api import expect

from support import bundles, paths
from support.browser import DESK, PHONE, TABLET
from support.client import Person
from support.daemon import Daemon
from support.page import act, card, first_alert, opened, sign_in
from support.scene import replay
from support.wait import until


@pytest.fixture
def gateway(daemon, bundle, tmp_path) -> Daemon:
    """A machine in trouble that stays so: its alert stands still while somebody looks at it."""
    return daemon(replay(tmp_path, bundle("ai4i-gbt"), [bundles.alarming()], interval="500ms"))


def test_a_shelved_alert_leaves_the_list_and_comes_back(gateway, visits):
    """Put aside on its card, with a time and a reason; taken back below the list, where everybody sees both."""
    page = visits(gateway.url).page
    sign_in(page)
    alert = until(lambda: gateway.alerts()[0], "an alert")
    one = card(page, alert)
    one.get_by_text("Shelve", exact=True).click()
    expect(one.get_by_text("Out of service", exact=True)).to_have_count(0)
    one.get_by_label("For how long").select_option("1h")
    one.get_by_label("Why").fill("spare part comes tomorrow")
    one.get_by_role("button", name="Shelve it now").click()
    expect(one).to_have_count(0)
    hidden = page.get_by_role("region", name="Alerts that are not shown")
    expect(hidden).to_contain_text("by technician")
    expect(hidden).to_contain_text("spare part comes tomorrow")
    assert gateway.get(f"alerts/{alert['id']}")["suppression"] == "shelved"
    hidden.get_by_role("button", name=re.compile("Unshelve")).click()
    expect(page.get_by_text("Unshelved.")).to_be_visible()
    expect(card(page, alert)).to_be_visible()


def test_a_card_says_what_would_clear_the_alert_in_the_language_of_its_reader(gateway, visits):
    """It comes by itself, after the reasons; here to a browser that prefers German."""
    page = visits(gateway.url, locale="de-AT").page
    sign_in(page)
    alert = until(lambda: gateway.alerts()[0], "an alert")
    expect(card(page, alert).locator(".remedy")).to_have_text(
        re.compile(r"(Würde enden mit (Torque|Rotational speed) bei \d.*|Keine Einstellung .*|Es wurde keine .*)\.$")
    )
    expect(card(page, alert).locator(".sentence")).to_contain_text("üblich")


def test_the_whole_way_in_the_demo(daemon, visits):
    """Sign in as the demo says, see an alert with its reason, acknowledge it, judge it, and see it survive a reload."""
    demo = daemon(paths.DEMO)
    alert = first_alert(demo)
    window = visits(demo.url)
    page = window.page

    sign_in(page)
    shown = card(page, alert)
    expect(shown).to_contain_text(alert["asset"])
    act(page, shown, "Acknowledge", "looking at it now")
    until(lambda: demo.get(f"alerts/{alert['id']}")["acknowledged_by"] == "technician", "the acknowledgement")
    act(page, shown, "Right", "the tool was worn")
    until(lambda: demo.get("feedback"), "the feedback")

    page.reload()
    shown = card(page, alert)
    opened(shown)
    expect(shown).to_contain_text("Seen by technician")
    expect(shown).to_contain_text("looking at it now")
    expect(shown).to_contain_text("the tool was worn")
    said = demo.get("feedback")[0]
    assert (said["verdict"], said["author"], said["role"]) == ("confirm", "technician", "technician")
    assert said["alert_id"] == alert["id"] and said["prediction_id"]
    assert said["comment"] == "the tool was worn"


def test_the_reason_is_said_and_drawn(gateway, visits):
    """The sentence of the API, and a bar for every feature, the longest for the largest share."""
    alert = first_alert(gateway)
    page = visits(gateway.url).page
    sign_in(page)
    shown = card(page, alert)
    expect(shown).to_contain_text(alert["sentence"])
    bars = shown.get_by_role("listitem").filter(has=page.locator("svg"))
    shares = alert["explanation"]["attributions"]
    expect(bars).to_have_count(len(shares))
    for bar, feature in zip(bars.all(), sorted(shares, key=lambda name: -abs(shares[name])), strict=True):
        expect(bar).to_contain_text(feature.split(" [")[0])


def test_acknowledged_and_judged_survive_a_reload(gateway, visits):
    """And a restart of the daemon too: the page shows what is on disk."""
    alert = first_alert(gateway)
    page = visits(gateway.url).page
    sign_in(page)
    shown = card(page, alert)
    act(page, shown, "Acknowledge", "seen")
    expect(shown.get_by_text("Acknowledged", exact=True)).to_be_visible()
    expect(shown.get_by_role("button", name="Acknowledge", exact=True)).to_have_count(0)
    act(page, shown, "False alarm", "the sensor was being cleaned")
    expect(shown.get_by_role("button", name="False alarm")).to_have_attribute("aria-pressed", "true")

    for again in (page.reload, gateway.kill_and_restart):
        again()
        page.goto("/")
        if page.get_by_label("Password").is_visible():
            sign_in(page)
        expect(shown).to_contain_text("Seen by technician")
        expect(shown).to_contain_text("the sensor was being cleaned")
        expect(shown.get_by_role("button", name="False alarm")).to_have_attribute("aria-pressed", "true")
    assert [said["verdict"] for said in gateway.get("feedback")] == ["reject"]


def test_news_arrive_without_a_reload(gateway, visits):
    """Somebody acknowledges from a terminal, and the page in front of somebody else says so."""
    alert = first_alert(gateway)
    page = visits(gateway.url).page
    sign_in(page)
    shown = card(page, alert)
    expect(shown.get_by_role("button", name="Acknowledge", exact=True)).to_be_visible()
    assert gateway.verb("alerts", "ack", alert["id"], "--comment", "from the terminal").code == 0
    expect(shown).to_contain_text("from the terminal")
    expect(shown.get_by_role("button", name="Acknowledge", exact=True)).to_have_count(0)


def test_it_says_when_the_gateway_is_gone(gateway, visits):
    """A page that shows old news as if they were fresh would be worse than none."""
    alert = first_alert(gateway)
    page = visits(gateway.url).page
    sign_in(page)
    expect(card(page, alert)).to_be_visible()
    expect(page.locator("#line")).to_contain_text("Live")
    gateway.kill()
    expect(page.locator("#line")).not_to_contain_text("Live")
    gateway.start()
    page.goto("/")
    expect(page.locator("body")).to_contain_text(re.compile("press-7|Sign in"))


@pytest.mark.parametrize("viewport", [PHONE, TABLET, DESK], ids=["phone", "tablet", "desk"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits(viewport, scheme, gateway, visits):
    """No sideways scrolling, and nothing to press that is too small for a thumb."""
    alert = first_alert(gateway)
    window = visits(gateway.url, viewport, color_scheme=scheme, has_touch=viewport is not DESK)
    page = window.page
    page.goto("/")
    assert window.overflow() <= 0
    sign_in(page)
    shown = card(page, alert)
    expect(shown.get_by_role("button", name="Right", exact=True)).to_be_visible()
    assert window.overflow() <= 0
    if viewport is not DESK:
        for button in shown.get_by_role("button").all():
            box = button.bounding_box()
            assert box and box["height"] >= 40, f"{button.inner_text()} is {box}"


def test_it_works_without_scripts(gateway, visits):
    """Server-rendered: forms and links do it all, only slower."""
    alert = first_alert(gateway)
    page = visits(gateway.url, java_script_enabled=False).page
    sign_in(page)
    shown = card(page, alert)
    shown.get_by_role("textbox").fill("no scripts here")
    shown.get_by_role("button", name="Acknowledge", exact=True).click()
    expect(card(page, alert)).to_contain_text("no scripts here")
    assert gateway.get(f"alerts/{alert['id']}")["acknowledged_by"] == "technician"


def test_times_are_local(gateway, visits):
    """The browser is in Berlin: the page shows its time, not UTC's."""
    alert = first_alert(gateway)
    page = visits(gateway.url).page
    sign_in(page)
    shown = card(page, alert).locator("header time")
    expect(shown).to_have_attribute("title", re.compile(r"CES?T|GMT[+]\d|Central European"))
    local = page.evaluate(
        "at => new Date(at).toLocaleTimeString('en-GB', { timeZone: 'Europe/Berlin' })", alert["raised_at"]
    )
    expect(shown).to_contain_text(local)


def test_no_complaints_from_the_browser(gateway, visits):
    """Its console stays empty: no script error, nothing that the content security policy had to stop."""
    window = visits(gateway.url)
    sign_in(window.page)
    expect(card(window.page, first_alert(gateway))).to_be_visible()
    expect(window.page.locator("#line")).to_contain_text("Live")
    assert window.complaints == []


def test_a_wrong_password_is_told_and_not_too_often(gateway, visits):
    """One sentence, the form again, and no way in."""
    page = visits(gateway.url).page
    sign_in(page, password="guess")
    expect(page.get_by_role("alert")).to_contain_text("wrong")
    page.goto("/")
    expect(page.get_by_label("Password")).to_be_visible()


# --- what no browser would do, but somebody else might ----------------------------------------------------------------


def test_strangers_get_nothing(gateway):
    """Without a sign-in the API says 401, and changes nothing."""
    alert = first_alert(gateway)
    stranger = Person(gateway.url)
    stranger.http.headers["Accept"] = "application/json"
    for path in ("alerts", f"alerts/{alert['id']}", "predictions", "feedback", "status", "events"):
        refused = stranger.get(path)
        assert refused.status_code == 401, path
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.json()["detail"]
    assert stranger.post(f"alerts/{alert['id']}/acknowledge", {}).status_code == 401
    assert gateway.get(f"alerts/{alert['id']}")["acknowledged_by"] is None


def test_a_change_needs_the_secret_and_the_right_origin(gateway):
    """A page of another site can neither read the secret nor hide where it comes from."""
    alert = first_alert(gateway)
    person = Person(gateway.url)
    person.sign_in("technician", "demo")
    path = f"alerts/{alert['id']}/acknowledge"
    refused = person.post(path, {}, csrf="")
    assert (refused.status_code, refused.headers["Connection"]) == (403, "close"), "its body may not have been read"
    assert person.post(path, {}, csrf="A" * 43).status_code == 403
    elsewhere = {"X-CSRF-Token": person.csrf, "Origin": "http://evil.example"}
    assert person.http.post(f"/api/v1/{path}", json={}, headers=elsewhere).status_code == 403
    assert gateway.get(f"alerts/{alert['id']}")["acknowledged_by"] is None
    assert person.post(path, {}).is_success


def test_whether_an_explanation_was_seen_is_what_was_served(gateway):
    """The gateway knows what it has shown to whom; what a client says of that does not count."""
    first_alert(gateway)
    person = Person(gateway.url)
    person.sign_in("engineer", "demo")

    def quiet():
        return [one for one in gateway.predictions() if one["explanation_status"] == "exact" and not on_board(one)]

    def on_board(prediction):
        return any(alert["prediction_id"] == prediction["id"] for alert in gateway.alerts())

    prediction = until(quiet, "an explained prediction that is not on the page")[0]["id"]
    judged = {"prediction_id": prediction, "verdict": "confirm"}
    assert person.post("feedback", judged).json()["explanation_seen"] is False
    assert person.get(f"predictions/{prediction}").is_success
    assert person.post("feedback", judged).json()["explanation_seen"] is True
    assert person.post("feedback", {**judged, "explanation_seen": True}).status_code == 400


def test_a_prediction_is_explained_in_the_space_that_is_asked_for(gateway):
    """The probability of a boosted ensemble, which explains its margin by itself: onnxruntime's Shapley values, once."""
    alert = first_alert(gateway)
    path = f"predictions/{alert['prediction_id']}"
    assert gateway.get(path)["space"] == "margin"
    found = gateway.get(path, space="probability")
    golden = bundles.golden("ai4i-gbt")
    reference = max(golden["rows"], key=lambda row: row["outputs"]["probabilities"][1])
    assert (found["space"], found["id"]) == ("probability", alert["prediction_id"])
    assert found["output"] == pytest.approx(reference["outputs"]["probabilities"][1], abs=1e-6)
    assert found["base_value"] == pytest.approx(golden["base_value"], abs=1e-5)
    names = [name for name, _ in bundles.FEATURES.values()]
    assert [found["attributions"][name] for name in names] == pytest.approx(reference["shap"], abs=1e-5)
    gateway.kill_and_restart()
    again = gateway.get(path, space="probability")
    assert (again["explanation_id"], again["explanation"]) == (found["explanation_id"], found["explanation"])


def test_a_name_pointed_at_this_machine_is_refused(gateway):
    """Against DNS rebinding: the gateway answers to its own names only."""
    person = Person(gateway.url)
    refused = person.http.get("/", headers={"Host": "evil.example"})
    assert refused.status_code == 421 or refused.status_code == 403
    assert person.http.get("/", headers={"X-Forwarded-For": "203.0.113.7"}).status_code == 403


def test_answers_carry_their_armour(gateway):
    """Content security policy, no framing, no guessing of types, and a cookie out of reach of scripts."""
    person = Person(gateway.url)
    page = person.sign_in("technician", "demo")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    cookie = next(iter(page.history[-1].headers.get_list("set-cookie")))
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
