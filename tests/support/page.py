"""What a person does on the page, and where things are on it."""

import re

from playwright.sync_api import Locator, Page

from .daemon import Daemon
from .wait import until

# What the sign-in calls things, by the language of the page.
_NAME, _PASSWORD, _SIGN_IN = re.compile("^Name$"), re.compile("^(Password|Passwort)$"), re.compile("^(Sign in|Anmelden)$")


def sign_in(page: Page, user: str = "technician", password: str = "demo") -> None:
    """As a person does it."""
    page.goto("/")
    fill_in(page, user, password)


def fill_in(page: Page, user: str = "technician", password: str = "demo") -> None:
    """The sheet that is shown already."""
    page.get_by_label(_NAME).fill(user)
    page.get_by_label(_PASSWORD).fill(password)
    page.get_by_role("button", name=_SIGN_IN).click()


def card(page: Page, alert: dict) -> Locator:
    """The alert on the page, open or closed."""
    return page.locator(f'[id="a-{alert["id"]}"]')


def first_alert(gateway: Daemon) -> dict:
    """The first alert that has its explanation."""

    def explained():
        return [alert for alert in gateway.alerts() if alert["explanation_status"] == "exact"]

    return until(explained, "an explained alert", 60)[0]


def opened(shown: Locator) -> Locator:
    """Opens it if it is a closed alert, which is a line that unfolds."""
    if shown.evaluate("it => it.tagName === 'DETAILS' && !it.open"):
        shown.locator(":scope > summary").click()
    return shown


def act(page: Page, shown: Locator, button: str, comment: str) -> None:
    """Writes a comment and presses a button; again if the page says that the card has just changed under the hand."""
    opened(shown)
    field, refused = shown.get_by_role("textbox"), shown.locator(".act .trouble")

    def pressed():
        field.fill(comment)
        shown.get_by_role("button", name=button, exact=True).click()
        # Sent is what has left the field; refused is what the card says.
        until(lambda: field.input_value() == "" or refused.is_visible(), "an answer on the card")
        return field.input_value() == ""

    until(pressed, f"the button {button} to work")


def add_user(gateway: Daemon, name: str, role: str, password: str = "wrench and oil") -> None:
    """An account beside those of the demo."""
    added = gateway.configured("users", "add", name, "--role", role, stdin=password + "\n")
    assert added.code == 0, added.err
