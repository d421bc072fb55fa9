"""What technicians say on the page, in two taps or at length: stored once, whatever the connection does, and shown to all."""

import re

import pytest
from playwright.sync_api import Page, expect

from support import bundles
from support.browser import PHONE, TABLET
from support.daemon import Daemon
from support.page import act, add_user, card, fill_in, first_alert, sign_in
from support.scene import replay
from support.wait import until

CAUSES = '\n[feedback]\ncauses = ["Sensor verschmutzt", "Werkzeug verschlissen"]\n'
NASTY = "<img src=x onerror=\"document.title='broken'\"><script>document.title='broken'</script>"


@pytest.fixture
def gateway(daemon, bundle, tmp_path) -> Daemon:
    """A machine in trouble that stays so, on a site with causes of its own."""
    return daemon(replay(tmp_path, bundle("ai4i-gbt"), [bundles.alarming()], interval="500ms") + CAUSES)


def said(gateway: Daemon) -> list[dict]:
    """All feedback, oldest first."""
    return list(reversed(gateway.get("feedback")))


def live(page: Page) -> None:
    """The line of news is up."""
    expect(page.locator("#line .text")).to_have_text(re.compile("Live|Verbunden"))


def test_two_taps_say_what_it_really_was(gateway, visits):
    """A cause from the site's list, and the verdict: one record, bound to prediction, explanation and model."""
    alert = first_alert(gateway)
    page = visits(gateway.url, TABLET, has_touch=True, locale="de-DE").page
    sign_in(page)
    shown = card(page, alert)
    shown.get_by_role("radio", name="Sensor verschmutzt").tap()
    shown.get_by_role("button", name="Fehlalarm").tap()
    expect(shown.locator(".said")).to_contain_text("Fehlalarm, sagt technician")
    expect(shown.locator(".said")).to_contain_text("Ursache: Sensor verschmutzt.")
    only = said(gateway)
    assert len(only) == 1
    stored = only[0]
    assert (stored["verdict"], stored["cause"], stored["author"]) == ("reject", "Sensor verschmutzt", "technician")
    assert stored["alert_id"] == alert["id"] and stored["prediction_id"] == alert["prediction_id"]
    assert stored["explanation_id"] == alert["explanation"]["id"] and stored["explanation_seen"] is True
    assert stored["model_digest"] and gateway.get(f"alerts/{alert['id']}")["acknowledged_by"] is None


def test_everything_else_is_said_below(gateway, visits):
    """Another class, whether the reasons are right, which signals mattered, a cause in one's own words; then a change of mind."""
    alert = first_alert(gateway)
    page = visits(gateway.url, PHONE, has_touch=True).page
    sign_in(page)
    shown = card(page, alert)
    shown.get_by_text("Say more").tap()
    torque = shown.get_by_role("group", name="Torque [Nm]")
    wear = shown.get_by_role("group", name="Tool wear [min]")
    torque.get_by_role("checkbox", name="Did not").tap()
    torque.get_by_role("checkbox", name="Mattered").tap()
    expect(torque.get_by_role("checkbox", name="Did not")).not_to_be_checked()
    wear.get_by_role("checkbox", name="Did not").tap()
    shown.get_by_role("group", name="Were these the reasons?").get_by_role("radio", name="No", exact=True).tap()
    shown.get_by_label("Another cause, in your own words").fill("the cable")
    shown.get_by_label("What should it have been?").select_option("healthy")
    shown.get_by_label("Comment").fill("pulled by the forklift")
    shown.get_by_role("button", name="It was something else").tap()
    first = until(lambda: said(gateway), "the feedback")[0]
    assert (first["verdict"], first["corrected"], first["explanation_verdict"]) == ("correct", "healthy", "disagree")
    assert (first["relevant"], first["irrelevant"]) == (["Torque [Nm]"], ["Tool wear [min]"])
    assert (first["cause"], first["comment"]) == ("the cable", "pulled by the forklift")

    expect(shown.locator(".said")).to_contain_text("Something else: healthy, says technician")
    for part in ("The reasons are wrong.", "Really mattered: Torque [Nm].", "Did not matter: Tool wear [min].", "the cable"):
        expect(shown.locator(".said")).to_contain_text(part)
    shown.get_by_role("button", name="Unsure").tap()
    second = until(lambda: said(gateway)[1:], "the revision")[0]
    assert (second["verdict"], second["corrected"], second["revises"]) == ("unsure", None, first["id"])
    assert (second["relevant"], second["cause"]) == (["Torque [Nm]"], "the cable"), "what was said with it stays said"
    expect(shown.locator(".said li.revised")).to_contain_text("(since revised)")
    expect(shown.locator(".said li:not(.revised)").last).to_contain_text("Unsure, says technician")
    assert len(said(gateway)) == 2


def test_two_technicians_at_once_are_both_on_record(gateway, visits):
    """Each sees what the other says, and neither loses what they are about to."""
    add_user(gateway, "maria", "technician")
    alert = first_alert(gateway)
    one, other = visits(gateway.url).page, visits(gateway.url).page
    sign_in(one)
    sign_in(other, "maria", "wrench and oil")
    hers = card(other, alert)
    hers.get_by_label("Comment").fill("I look at it")
    act(one, card(one, alert), "Right", "worn")
    expect(hers.locator(".said")).to_contain_text("Right, says technician")
    expect(hers.get_by_label("Comment")).to_have_value("I look at it")
    act(other, hers, "False alarm", "it is new")
    expect(card(one, alert).locator(".said")).to_contain_text("False alarm, says maria")
    act(one, card(one, alert), "Acknowledge", "first")
    stored = {(said["author"], said["verdict"], said["revises"]) for said in said(gateway)}
    assert {("technician", "confirm", None), ("maria", "reject", None)} <= stored


def test_what_was_not_answered_is_sent_again_and_stored_once(gateway, visits):
    """The gateway has it, and its answer is lost on the way: the page sends it again by itself."""
    alert = first_alert(gateway)
    page = visits(gateway.url).page
    sign_in(page)
    live(page)
    lost = []

    def swallow(route):
        if lost:
            route.continue_()
            return
        lost.append(route.fetch(max_redirects=0).status)
        route.abort()

    page.route(re.compile("/feedback$"), swallow)
    shown = card(page, alert)
    shown.get_by_label("Comment").fill("once")
    shown.get_by_role("button", name="Right", exact=True).dblclick()
    expect(shown.get_by_role("button", name="Right", exact=True)).to_have_attribute("aria-pressed", "true")
    expect(shown.get_by_label("Comment")).to_have_value("")
    assert lost == [303]
    assert [said["comment"] for said in said(gateway)] == ["once"]


def test_without_a_connection_it_waits_and_goes_out_later(gateway, visits):
    """Shown as not sent, with what was written; sent, once, when the network is back."""
    alert = first_alert(gateway)
    window = visits(gateway.url, locale="de-DE")
    page = window.page
    sign_in(page)
    live(page)
    window.context.set_offline(True)
    shown = card(page, alert)
    shown.get_by_label("Kommentar").fill("im Keller")
    shown.get_by_role("button", name="Richtig", exact=True).click()
    expect(shown.locator(".act > .trouble")).to_contain_text("Noch nicht gesendet")
    expect(shown.get_by_label("Kommentar")).to_have_value("im Keller")
    assert said(gateway) == []
    window.context.set_offline(False)
    until(lambda: said(gateway), "the feedback after the outage", 30)
    expect(shown.locator(".act > .trouble")).to_be_hidden()
    expect(shown.get_by_role("button", name="Richtig", exact=True)).to_have_attribute("aria-pressed", "true")
    assert [said["comment"] for said in said(gateway)] == ["im Keller"]


def test_a_session_that_ends_costs_nothing_that_was_written(gateway, visits):
    """A restart ends all sign-ins: what waits goes out once the person has signed in again, in another window."""
    alert = first_alert(gateway)
    window = visits(gateway.url)
    page = window.page
    sign_in(page)
    live(page)
    gateway.kill()
    shown = card(page, alert)
    shown.get_by_label("Comment").fill("during the outage")
    shown.get_by_role("button", name="False alarm").click()
    expect(shown.locator(".act > .trouble")).to_contain_text("Not sent yet")
    expect(page.locator("#line .text")).to_have_text("Not connected")
    gateway.start()
    again = page.get_by_role("link", name="Sign in again in a new window")
    expect(again).to_be_visible(timeout=30_000)
    with window.context.expect_page() as opened:
        again.click()
    fill_in(opened.value)
    expect(opened.value.get_by_text("Live")).to_be_visible()
    until(lambda: said(gateway), "the feedback after signing in again", 40)
    expect(shown.get_by_role("button", name="False alarm")).to_have_attribute("aria-pressed", "true", timeout=20_000)
    assert [(said["verdict"], said["comment"]) for said in said(gateway)] == [("reject", "during the outage")]


def test_who_only_looked_is_led_to_the_sign_in_and_back(gateway, visits):
    """When a session ends under the page, and when somebody comes to a view without one."""
    first_alert(gateway)
    window = visits(gateway.url)
    page = window.page
    sign_in(page)
    live(page)
    window.context.clear_cookies()
    gateway.kill_and_restart()
    expect(page).to_have_url(re.compile(r"/sign-in\?ended=true"), timeout=40_000)
    expect(page.get_by_role("status")).to_contain_text("You were signed out")
    page.goto("/models")
    expect(page).to_have_url(re.compile(r"/sign-in\?back=/models"))
    fill_in(page)
    expect(page).to_have_url(re.compile("/models$"))


def test_an_event_without_an_alert_is_reported_in_local_time(gateway, visits):
    """The browser is in Berlin, the record in UTC; reported once, and revised."""
    window = visits(gateway.url, TABLET, has_touch=True)
    page = window.page
    sign_in(page)
    page.get_by_role("link", name="Report an event").click()
    expect(page.get_by_text("(your time)").first).to_be_visible()
    page.get_by_label("Machine").select_option("press-7")
    page.get_by_label("From").fill("2026-01-31T14:05")
    page.get_by_label("Until").fill("2026-01-31T14:35")
    page.get_by_role("radio", name="Werkzeug verschlissen").tap()
    page.get_by_label("Comment").fill(NASTY)
    page.get_by_role("button", name="Report it").dblclick()
    expect(page.get_by_text("Noted, thank you: the event is on record.")).to_be_visible()
    stored = said(gateway)
    assert [(said["verdict"], said["asset"], said["cause"]) for said in stored] == [
        ("missed", "press-7", "Werkzeug verschlissen")
    ]
    assert stored[0]["event_from"].startswith("2026-01-31T13:05:00") and stored[0]["event_to"].startswith("2026-01-31T13:35")
    expect(page.locator(".said q")).to_have_text(NASTY)
    expect(page.locator(".said img, .said script")).to_have_count(0)
    page.get_by_role("link", name="Revise").tap()
    expect(page.get_by_label("From")).to_have_value("2026-01-31T14:05")
    page.get_by_label("Until").fill("2026-01-31T15:00")
    page.get_by_role("button", name="Report it").tap()
    expect(page.get_by_text("(since revised)")).to_be_visible()
    assert [said["revises"] for said in said(gateway)] == [None, stored[0]["id"]]
    assert window.complaints == []


def test_what_is_stored_is_never_markup(gateway, visits):
    """Comments and causes are shown as they were written, to everybody."""
    alert = first_alert(gateway)
    for verdict in ("confirm", "reject"):
        gateway.post("feedback", {"alert_id": alert["id"], "verdict": verdict, "cause": NASTY, "comment": NASTY})
    gateway.post(f"alerts/{alert['id']}/acknowledge", {"comment": NASTY})
    window = visits(gateway.url)
    page = window.page
    sign_in(page)
    shown = card(page, alert)
    expect(shown.locator(".said q")).to_have_text([NASTY] * 3)
    expect(shown).to_contain_text(f"Cause: {NASTY}")
    expect(page.locator("main img, main script")).to_have_count(0)
    assert "broken" not in page.title() and window.complaints == []
