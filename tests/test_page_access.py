"""The page for everybody: by keyboard and screen reader, by day and by night, on each size, in both languages."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from support import bundles
from support.axe import violations
from support.browser import DESK, PHONE, TABLET
from support.daemon import Daemon
from support.page import add_user, card, fill_in, first_alert, sign_in
from support.scene import replay
from support.wait import until

CAUSES = '\n[feedback]\ncauses = ["Sensor verschmutzt", "Werkzeug verschlissen"]\n'
SMALLEST = 44


@pytest.fixture(scope="module")
def gateway(bundle, tmp_path_factory) -> Daemon:
    """One gateway for all of these: they look and change little. Its first alert is acknowledged and judged."""
    folder: Path = tmp_path_factory.mktemp("page")
    text = replay(folder, bundle("ai4i-gbt"), [bundles.alarming()], interval="500ms") + CAUSES
    running = Daemon(folder / "gateway", text).start()
    try:
        add_user(running, "viktor", "viewer")
        alert = first_alert(running)
        running.post("feedback", {"alert_id": alert["id"], "verdict": "confirm", "cause": "Sensor verschmutzt"})
        span = {"event_from": "2026-01-01T10:00:00Z", "event_to": "2026-01-01T11:00:00Z"}
        running.post("feedback", {"verdict": "missed", "asset": "press-7", "comment": "ein Knall", **span})
        yield running
    finally:
        running.close()


def ready(page: Page) -> None:
    """The page has come to rest: what is shown is what stays."""
    expect(page.locator("#line .text")).to_have_text(re.compile("Live|Verbunden"))


def unfold(page: Page) -> None:
    """Opens all that opens, as somebody does who uses it."""
    page.evaluate("document.querySelectorAll('details').forEach(it => { it.open = true })")


def small(page: Page) -> list[str]:
    """What is there to be pressed and is smaller than a thumb in a glove."""
    return page.evaluate(
        """least => Array.from(document.querySelectorAll(
            "button, .button, summary, .tick, select, textarea, input:not([type=hidden]), .ways a"))
          .filter(it => it.checkVisibility() && !it.closest(".skip"))
          .filter(it => it.getBoundingClientRect().height < least || it.getBoundingClientRect().width < least)
          .map(it => `${it.outerHTML.slice(0, 120)}: ${it.getBoundingClientRect().width} x ${it.getBoundingClientRect().height}`)
        """,
        SMALLEST,
    )


@pytest.mark.parametrize("viewport", [PHONE, TABLET, DESK], ids=["phone", "tablet", "desk"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("language", ["en", "de"])
def test_nothing_stands_in_anybodys_way(language, scheme, viewport, gateway, visits):
    """Every view, folded and unfolded: axe-core finds nothing, nothing is cut off, nothing is too small to press."""
    locale = {"en": "en-GB", "de": "de-AT"}[language]
    window = visits(
        gateway.url, viewport, color_scheme=scheme, locale=locale, has_touch=viewport is not DESK, reduced_motion="reduce"
    )
    page, looked = window.page, []

    def look(name: str) -> None:
        expect(page.locator("html")).to_have_attribute("lang", language)
        assert violations(page) == [], name
        assert window.overflow() <= 0, name
        assert small(page) == [], name
        looked.append(name)

    page.goto("/models")
    look("signing in")
    fill_in(page, "nobody", "wrong")
    expect(page.get_by_role("alert")).to_be_visible()
    look("a wrong password")
    fill_in(page, "engineer")
    expect(page).to_have_url(re.compile("/models$"))
    look("models")
    unfold(page)
    look("models, unfolded")
    page.goto("/")
    ready(page)
    look("alerts")
    unfold(page)
    look("alerts, unfolded")
    page.goto("/missed")
    look("an event without an alert")
    page.goto("/missed?done=missed")
    look("an event, reported")
    page.goto("/nowhere")
    look("an error")
    page.goto("/sign-in?ended=true")
    look("signed out")
    assert len(looked) == 10 and window.elsewhere() == []


def test_a_viewer_sees_all_and_is_offered_nothing_that_is_not_allowed(gateway, visits):
    """And axe-core finds nothing wrong with that view either."""
    window = visits(gateway.url, TABLET)
    page = window.page
    sign_in(page, "viktor", "wrench and oil")
    shown = card(page, gateway.alerts()[0])
    expect(shown).to_contain_text("Torque")
    expect(shown.locator(".said")).to_contain_text("Right")
    expect(shown.get_by_role("button")).to_have_count(0)
    expect(page.get_by_role("textbox")).to_have_count(0)
    expect(page.get_by_role("checkbox")).to_have_count(0)
    expect(page.get_by_role("link", name="Report an event")).to_have_count(0)
    assert sorted(page.get_by_role("button").all_inner_texts()) == ["Deutsch", "Sign out"]
    assert violations(page) == []
    page.get_by_role("link", name="Models").click()
    expect(page.get_by_role("heading", name="The whole gateway")).to_be_visible()
    assert sorted(page.get_by_role("button").all_inner_texts()) == ["Deutsch", "Sign out"]
    page.goto("/missed")
    expect(page.get_by_role("alert")).to_contain_text("viewer")


def test_the_language_is_chosen_on_the_page_and_kept(gateway, visits):
    """By a button, before and after signing in; times and what the script says follow it."""
    window = visits(gateway.url)
    page = window.page
    page.goto("/")
    page.get_by_role("button", name="Deutsch").click()
    expect(page.get_by_role("heading", name="Anmelden")).to_be_visible()
    fill_in(page)
    ready(page)
    expect(page.locator("#line .text")).to_have_text("Verbunden")
    expect(page.get_by_role("button", name="Fehlalarm")).to_be_visible()
    day, month = page.evaluate("[new Date().getDate(), new Date().getMonth() + 1]")
    assert re.search(r"\d\d:\d\d:\d\d", page.locator("article header time").first.inner_text())
    assert re.search(rf"\b{day}\. ", page.locator("article header time").first.get_attribute("title")), month
    page.goto("/models")
    expect(page.get_by_role("heading", name="Modelle")).to_be_visible()
    page.get_by_role("button", name="English").click()
    expect(page).to_have_url(re.compile("/models$"))
    expect(page.get_by_role("heading", name="Models")).to_be_visible()
    assert window.complaints == []


def test_all_of_it_goes_by_keyboard(gateway, visits):
    """Sign in, skip the head, unfold, choose, judge: never a mouse; and the focus stays where it was when the card is renewed."""
    page = visits(gateway.url).page
    page.goto("/")
    expect(page.get_by_label("Name")).to_be_focused()
    page.keyboard.type("engineer")
    page.keyboard.press("Tab")
    page.keyboard.type("demo")
    page.keyboard.press("Enter")
    ready(page)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the alerts")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#board")).to_be_focused()

    def walk_to(target, key: str = "Tab") -> None:
        for _ in range(60):
            if target.evaluate("it => it === document.activeElement"):
                ring = target.evaluate("it => getComputedStyle(it.matches('.tick input') ? it.nextElementSibling : it).outlineStyle")
                assert ring != "none", "the focus is seen"
                return
            page.keyboard.press(key)
        raise AssertionError("the keyboard does not get there")

    shown = card(page, gateway.alerts()[0])
    chip = shown.get_by_role("radio", name="Werkzeug verschlissen")
    walk_to(shown.get_by_role("radio", name="Sensor verschmutzt"))
    page.keyboard.press("ArrowDown")
    expect(chip).to_be_checked()
    page.keyboard.press("Space")
    expect(chip).not_to_be_checked()
    page.keyboard.press("Space")
    expect(chip).to_be_checked()
    more = shown.locator("summary", has_text="Say more")
    walk_to(more)
    page.keyboard.press("Enter")
    walk_to(shown.get_by_role("checkbox", name="Mattered").first)
    page.keyboard.press("Space")
    expect(shown.get_by_role("group", name="Torque [Nm]").get_by_role("checkbox", name="Mattered")).to_be_checked()
    wrong = shown.get_by_role("button", name="False alarm")
    walk_to(wrong, "Shift+Tab")
    page.keyboard.press("Enter")
    expect(wrong).to_have_attribute("aria-pressed", "true")
    expect(wrong).to_be_focused()
    said = until(lambda: [said for said in gateway.get("feedback") if said["author"] == "engineer"], "the feedback")[0]
    assert (said["verdict"], said["cause"], said["relevant"]) == ("reject", "Werkzeug verschlissen", ["Torque [Nm]"])
    expect(page.locator("#news")).to_have_text("Noted, thank you.")
