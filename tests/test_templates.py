"""What the templates may not hold: whatever a strict CSP refuses, and forms that need JavaScript."""

import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))
VOID = {"area", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"}

FORBIDDEN = {
    "hx-on": r"\shx-on[:=-]",
    "an inline event handler": r"\son[a-z]+\s*=",
    "an inline style": r"\sstyle\s*=|<style",
    "an inline script": r"<script(?![^>]*\ssrc=)",
    "an expression in an hx- attribute": r"""\shx-[a-z-]+(:[a-z]+)?=["']?\s*(js|javascript):""",
    "a filter in hx-trigger": r"""\shx-trigger=("[^"]*\[|'[^']*\[)""",
    "an address outside of this site": r"""\s(src|href|action|hx-(get|post|put|patch|delete))=["']?\s*([a-z]+:|//)""",
    "hx- attributes that are inherited": r"\shx-[a-z-]+:inherited",
}


every_template = pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: str(path.relative_to(ROOT / "templates")))


@every_template
def test_a_template_holds_nothing_that_is_forbidden(path):
    text = path.read_text()
    assert not [what for what, pattern in FORBIDDEN.items() if re.search(pattern, text, re.IGNORECASE)]


@every_template
def test_a_form_works_without_htmx_and_is_sent_once(path):
    for form in (attributes for tag, attributes in _parsed(path).elements if tag == "form"):
        if form.get("method") == "dialog":  # only closes it
            continue
        assert form.get("method") == "post"
        assert form.get("action")
        if "hx-post" in form:
            assert form["hx-post"] == form["action"]
            assert form.get("hx-sync") == "this:drop"  # htmx would queue the second click, and send it, too


@every_template
def test_a_link_of_htmx_has_its_href(path):
    for tag, attributes in _parsed(path).elements:
        if "hx-get" in attributes:
            assert tag == "a" and attributes.get("href") == attributes["hx-get"]


@every_template
def test_a_partial_has_one_root_element(path):
    if path.name.startswith("_") and path.name not in ("_form.html", "_passkey.html"):  # those hold macros
        assert len(_parsed(path).roots) == 1


@every_template
def test_a_page_extends_the_base_and_has_a_title(path):
    if not path.name.startswith("_") and path.name != "base.html":
        assert path.read_text().startswith('{% extends "base.html" %}\n')
        assert "{% block title %}" in path.read_text()


def test_htmx_is_the_released_file():
    released = "a0abb04f2f45a1f89d1d4844023245537e5e6014c87b144553e0607b4cc32130"
    assert hashlib.sha256((ROOT / "static/vendor/htmx-4.0.1.min.js").read_bytes()).hexdigest() == released


@pytest.mark.parametrize(
    ("what", "markup"),
    [
        ("hx-on", '<form hx-on:click="x">'),
        ("an inline event handler", "<body onload=x()>"),
        ("an inline style", '<p style="color: red">'),
        ("an inline script", "<script type=module>x()</script>"),
        ("an expression in an hx- attribute", "<a hx-vals='js:{x: 1}'>"),
        ("a filter in hx-trigger", '<a hx-trigger="keyup[ctrlKey]">'),
        ("an address outside of this site", '<script src="https://cdn.example/x.js">'),
        ("hx- attributes that are inherited", '<body hx-headers:inherited="{}">'),
    ],
)
def test_the_rules_find_what_they_forbid(what, markup):
    assert re.search(FORBIDDEN[what], markup, re.IGNORECASE)


class _Parser(HTMLParser):
    """Collects the start tags, and which of them stand at the top."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.roots: list[str] = []
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if not self._open:
            self.roots.append(tag)
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open and self._open.pop() == tag, f"</{tag}> closes nothing"


def _parsed(path: Path) -> _Parser:
    # Jinja's statements leave, and its expressions lose their quotes, or they would end attributes.
    text = re.sub(r"\{#.*?#\}|\{%.*?%\}", "", path.read_text(), flags=re.DOTALL)
    text = re.sub(r"\{\{.*?\}\}", lambda found: re.sub(r"[\"'<>\s]", "", found[0]), text, flags=re.DOTALL)
    parser = _Parser()
    parser.feed(text)
    parser.close()
    return parser
