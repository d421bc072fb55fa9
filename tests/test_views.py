"""The views of machines, the gateway and the history, and an alert's story, in a real browser."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Page, expect

from support import axe, bundles
from support.browser import DESK, PHONE, TABLET
from support.daemon import Daemon
from support.page import card, first_alert, sign_in
from support.scene import replay
from support.wait import until

GERMAN = {"extra_http_headers": {"Accept-Language": "de-DE,de;q=0.9"}, "locale": "de-DE"}
VIEWS = ["/machines", "/gateway", "/history"]


@pytest.fixture
def gateway(daemon, bundle, tmp_path) -> Daemon:
    """A machine that was well for some rows and is in trouble now, so that its curves have a before."""
    rows = [bundles.harmless()] * 8 + [bundles.alarming()] * 400
    return daemon(replay(tmp_path, bundle("ai4i-gbt"), rows, interval="250ms"))


def story(page: Page, alert: dict) -> None:
    """The alert's story, by its address."""
    page.goto(f"/alerts/{alert['id']}")


def views_of(alert: dict) -> list[str]:
    """The addresses of all views."""
    return [*VIEWS, f"/alerts/{alert['id']}"]


def test_a_card_leads_to_the_story_with_curves_before_and_after(gateway, visits):
    """Each signal that mattered has its curve over the band of what is usual, in words too, and as a table."""
    alert = first_alert(gateway)
    window = visits(gateway.url)
    page = window.page
    sign_in(page)
    card(page, alert).get_by_role("link", name="The whole story").click()
    expect(page.get_by_role("heading", name="Alert: press-7")).to_be_visible()
    expect(card(page, alert)).to_contain_text(alert["sentence"])
    curves = page.locator("figure.curve")
    # The type of the product is a category, which is no curve.
    expect(curves).to_have_count(5)
    first = max((name for name in alert["explanation"]["attributions"] if name != "Type"), key=lambda name: abs(alert["explanation"]["attributions"][name]))
    expect(curves.first.locator("strong")).to_have_text(first.split(" [")[0])
    expect(curves.first.locator("figcaption")).to_contain_text("usually")
    path = curves.first.locator("path.line").get_attribute("d")
    assert path and path.count("L") > 5, f"a curve with a before: {path}"
    expect(page.locator("figure.curve.unusual .since").first).to_contain_text("Outside of what is usual")
    page.get_by_text("The same as a table").click()
    table = page.get_by_role("table", name="Values around the moment the alert was raised")
    expect(table.get_by_role("row").filter(has_text="(raised)")).to_have_count(1)
    expect(page.get_by_role("region", name="What happened")).to_contain_text("Raised")
    expect(page.get_by_role("region", name="How sure this is")).to_contain_text("exact: they add up")
    assert window.complaints == []


def test_what_is_done_on_the_story_shows_there_at_once(gateway, visits):
    """Acknowledged and judged on its card: the steps and what people said follow, without a reload."""
    alert = first_alert(gateway)
    page = visits(gateway.url).page
    sign_in(page)
    story(page, alert)
    expect(page.locator("#line")).to_contain_text("Live")
    one = card(page, alert)
    one.locator("textarea[name=comment]").fill("on my way")
    one.get_by_role("button", name="Acknowledge", exact=True).click()
    life = page.get_by_role("region", name="What happened")
    expect(life).to_contain_text("Acknowledged by technician")
    expect(life).to_contain_text("on my way")
    one.get_by_role("button", name="False alarm").click()
    expect(page.get_by_role("region", name="What people said")).to_contain_text("False alarm, technician")
    assert page.url.endswith(f"/alerts/{alert['id']}")


def test_a_story_is_told_in_german_and_after_the_alert_is_over(daemon, bundle, visits, tmp_path):
    """The same address, long after."""
    rows = [bundles.alarming()] * 4 + [bundles.harmless()] * 400
    gateway = daemon(replay(tmp_path, bundle("ai4i-gbt"), rows, interval="250ms"))
    alert = first_alert(gateway)
    assert gateway.verb("alerts", "ack", alert["id"], "--comment", "gesehen").code == 0
    until(lambda: gateway.get(f"alerts/{alert['id']}")["state"] == "normal", "the alert to be over", 60)
    page = visits(gateway.url, **GERMAN).page
    sign_in(page)
    story(page, alert)
    life = page.get_by_role("region", name="Was geschah")
    for step in ("Ausgelöst", "Quittiert von", "Wieder normal"):
        expect(life).to_contain_text(step)
    expect(page.locator("figure.curve").first).to_contain_text("üblich")
    page.goto("/history?state=closed")
    page.get_by_role("link").filter(has_text="press-7").first.click()
    expect(page.get_by_role("heading", name="Alarm: press-7")).to_be_visible()


def test_machines_renew_themselves_and_leave_the_focus_where_it_is(gateway, visits):
    """Values and their age go on; who reads with the keyboard is not thrown back to the top."""
    first_alert(gateway)
    window = visits(gateway.url)
    page = window.page
    sign_in(page)
    page.get_by_role("link", name="Machines").click()
    machine = page.get_by_role("article", name="press-7")
    torque = machine.get_by_role("row").filter(has_text="Torque")
    expect(torque).to_contain_text("Nm")
    expect(torque).to_contain_text("good")
    expect(machine).to_contain_text("likely")
    link = machine.get_by_role("link", name="press-failure")
    link.focus()
    before = page.locator("#view .summary time").get_attribute("datetime")
    expect(page.locator("#view .summary time")).not_to_have_attribute("datetime", before or "")
    expect(link).to_be_focused()
    expect(page.locator("#line")).to_contain_text("Live")
    expect(machine.get_by_role("link", name="1", exact=True)).to_have_attribute("href", re.compile("/history"))
    assert window.complaints == []


def test_a_value_that_no_longer_comes_grows_old_and_says_that_it_is_not_usable(daemon, bundle, visits, tmp_path):
    """The replay ends, and nobody is shown a value of long ago as if it were now's."""
    config = replay(tmp_path, bundle("ai4i-gbt", max_age="2s"), [bundles.alarming()] * 3, interval="250ms")
    gateway = daemon(config.replace("loop = true", "loop = false"))
    page = visits(gateway.url).page
    sign_in(page)
    page.goto("/machines")
    row = page.get_by_role("article", name="press-7").get_by_role("row").filter(has_text="Torque")
    expect(row).to_contain_text("not usable (stale)", timeout=30_000)


def test_a_view_says_when_the_gateway_is_gone_and_recovers(gateway, visits):
    """What is shown then may be old, and the page says so."""
    page = visits(gateway.url).page
    sign_in(page)
    page.goto("/machines")
    expect(page.locator("#line")).to_contain_text("Live")
    gateway.kill()
    expect(page.locator("#lost")).to_contain_text("The connection to the gateway is lost")
    expect(page.locator("#line")).to_contain_text("Not connected")
    gateway.start()
    # It looks again by itself; whether the sign-in outlives a restart is the gateway's business.
    expect(page.locator("#line").get_by_text("Live").or_(page.get_by_label("Password"))).to_be_visible(timeout=30_000)


def test_the_gateway_shows_its_sources_buffer_sync_disk_and_clock(gateway, visits):
    """As the status has them, in words."""
    first_alert(gateway)
    page = visits(gateway.url).page
    sign_in(page)
    page.get_by_role("link", name="Gateway", exact=True).click()
    source = page.get_by_role("region", name="Sources").get_by_role("row").filter(has_text="recorded")
    expect(source).to_contain_text("up")
    expect(page.get_by_role("region", name="Buffer")).to_contain_text("takes records")
    expect(page.get_by_role("region", name="Sync")).to_contain_text("Last upload")
    expect(page.get_by_role("region", name="Disk")).to_contain_text(re.compile(r"Free\s*\d.* of \d"))
    expect(page.get_by_role("region", name="Models")).to_contain_text("press-failure")
    gateway.post("gateway/stop", {"reason": "being rebuilt"})
    expect(page.locator("#view")).to_contain_text("Everything is stopped by", timeout=20_000)
    expect(page.locator("#view")).to_contain_text("being rebuilt")


def test_the_history_is_filtered_by_local_time_and_leads_to_stories(gateway, visits):
    """Chosen with the keyboard; what is sent has its zone, so Berlin finds what was raised just now."""
    alert = first_alert(gateway)
    page = visits(gateway.url).page
    sign_in(page)
    page.get_by_role("link", name="History").click()
    shown = page.locator(f'a.past[href="/alerts/{alert["id"]}"]')
    expect(shown).to_contain_text("press-7")
    raised = datetime.fromisoformat(alert["raised_at"])
    zone = page.evaluate("at => -new Date(at).getTimezoneOffset()", alert["raised_at"])
    local = raised.astimezone(UTC) + timedelta(minutes=zone)

    def between(first: datetime, last: datetime) -> None:
        page.get_by_label("From").fill(first.strftime("%Y-%m-%dT%H:%M"))
        page.get_by_label("Until").fill(last.strftime("%Y-%m-%dT%H:%M"))
        page.get_by_role("button", name="Show", exact=True).press("Enter")
        expect(page.locator(f'input[name=to][value="{(last - timedelta(minutes=zone)).strftime("%Y-%m-%dT%H:%M")}"]')).to_be_attached()

    between(local - timedelta(minutes=2), local + timedelta(minutes=2))
    expect(shown).to_be_visible()
    assert page.get_by_label("From").input_value() == (local - timedelta(minutes=2)).strftime("%Y-%m-%dT%H:%M")
    between(local - timedelta(minutes=9), local - timedelta(minutes=5))
    expect(shown).to_have_count(0)
    expect(page.get_by_text("No alert fits.")).to_be_visible()
    page.get_by_role("link", name="Without filters").click()
    page.get_by_label("State").select_option("open")
    page.get_by_label("Verdict").select_option("none")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page).to_have_url(re.compile(r"state=open&verdict=none$"))
    shown.click()
    expect(page.get_by_role("heading", name="Alert: press-7")).to_be_visible()


def test_views_work_without_scripts(gateway, visits):
    """Links and forms do it all; times are in UTC and say so."""
    alert = first_alert(gateway)
    page = visits(gateway.url, java_script_enabled=False).page
    sign_in(page)
    for path in views_of(alert):
        page.goto(path)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
    page.goto("/history")
    expect(page.get_by_text("(UTC)").first).to_be_visible()
    page.get_by_label("State").select_option("closed")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.get_by_text("No alert fits.")).to_be_visible()


def test_a_viewer_sees_everything_and_has_no_button(gateway, visits):
    """But those that sign out or change the language, and those that only look."""
    alert = first_alert(gateway)
    added = gateway.configured("users", "add", "vera", "--role", "viewer", stdin="wrench and oil\n")
    assert added.code == 0, added.err
    page = visits(gateway.url).page
    sign_in(page, "vera", "wrench and oil")
    for path in views_of(alert):
        page.goto(path)
        posts = page.locator('form[method="post"]')
        actions = {form.get_attribute("action") for form in posts.all()}
        assert actions <= {"/sign-out", "/language"}, f"{path}: {actions}"


@pytest.mark.parametrize("viewport", [PHONE, TABLET, DESK], ids=["phone", "tablet", "desk"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_views_fit_and_axe_finds_nothing(viewport, scheme, gateway, visits):
    """No sideways scrolling, large enough to touch, and accessible as far as a machine can tell; in both languages."""
    alert = first_alert(gateway)
    language = GERMAN if scheme == "dark" else {}
    window = visits(gateway.url, viewport, color_scheme=scheme, has_touch=viewport is not DESK, **language)
    page = window.page
    sign_in(page)
    for path in views_of(alert):
        page.goto(path)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        assert window.overflow() <= 0, f"{path} is {window.overflow()} px too wide"
        assert axe.violations(page) == [], path
        for target in page.locator("main a, main button, main summary, main select, main input:not([type=hidden])").all():
            box = target.bounding_box()
            if box:
                assert box["height"] >= 44, f"{path}: {target.evaluate('it => it.outerHTML.slice(0, 120)')} is {box}"
    assert window.complaints == []
