"""What axe-core has to say of a page: the rules of WCAG 2.2 AA that a machine can check, and its own advice."""

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page

_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
_RUN = "tags => axe.run(document, { runOnly: { type: 'tag', values: tags }, resultTypes: ['violations'] })"


def violations(page: Page) -> list[str]:
    """Each as one line: the rule, the element, and what is wrong with it."""
    page.evaluate(AXE_SCRIPT)
    result = page.evaluate(_RUN, _RULES)
    assert len(result["passes"]) > 10, "the rules were looked at"
    return [
        f"{found['id']} at {' '.join(map(str, node['target']))}: {node['failureSummary']}"
        for found in result["violations"]
        for node in found["nodes"]
    ]
