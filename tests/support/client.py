"""A person at the page: signs in through its form, and carries its cookies and its CSRF token."""

import re
from html.parser import HTMLParser

import httpx


class _Form(HTMLParser):
    """The first form of a page with a password field, and the page's CSRF token."""

    def __init__(self) -> None:
        super().__init__()
        self.action = ""
        self.fields: dict[str, str] = {}
        self.user = self.password = ""
        self._inside = False

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        if tag == "form" and not self.password:
            self._inside, self.action, self.fields = True, given.get("action", ""), {}
        elif tag == "input" and self._inside:
            kind, name = given.get("type", "text"), given.get("name", "")
            if kind == "password":
                self.password = name
            elif kind == "hidden":
                self.fields[name] = given.get("value", "")
            elif kind in ("text", "email", "username"):
                self.user = name

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._inside = False


class Person:
    """Somebody signed in to the gateway."""

    def __init__(self, url: str):
        self.http = httpx.Client(base_url=url, follow_redirects=True, timeout=15, trust_env=False)
        self.http.headers["Accept"] = "text/html, application/json;q=0.9"
        self.csrf = ""

    def sign_in(self, user: str, password: str) -> httpx.Response:
        """Fills in the form that an unknown visitor is shown; returns the page that follows."""
        form = _Form()
        shown = self.http.get("/")
        form.feed(shown.text)
        assert form.password, f"{shown.url} shows no sign-in form:\n{shown.text[:2000]}"
        fields = {**form.fields, form.user: user, form.password: password}
        # A browser says where a form comes from; the gateway may insist.
        origin = {"Origin": str(self.http.base_url).rstrip("/")}
        page = self.http.post(form.action or str(shown.url), data=fields, headers=origin)
        token = re.search(r'name="csrf(?:-token|_token)?"[^>]*?(?:content|value)="([^"]+)"', page.text)
        self.csrf = token.group(1) if token else ""
        return page

    def post(self, path: str, body: object, csrf: str | None = None) -> httpx.Response:
        """A POST to the API as the page's own script would make it."""
        headers = {"X-CSRF-Token": self.csrf if csrf is None else csrf, "Origin": str(self.http.base_url).rstrip("/")}
        return self.http.post(f"/api/v1/{path}", json=body, headers=headers)

    def get(self, path: str) -> httpx.Response:
        """A GET from the API."""
        return self.http.get(f"/api/v1/{path}")
