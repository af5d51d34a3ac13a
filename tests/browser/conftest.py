"""Chromium, the app on a port of its own, and a watch over what no page may do."""

import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, Request, Route, sync_playwright

from app import Settings, create_app
from local_supabase.stack import _serving
from tests.browser.chromium import launch_options
from tests.browser.pages import Site
from tests.browser.passkey_device import PasskeyDevice
from tests.people import Person
from tests.settings import with_cheap_codes

RESULTS = Path(__file__).parent.parent.parent / "test-results"
TIMEOUT_MS = 10_000
MAILED_SITE = re.compile(r"http://localhost:5000/")  # site_url in supabase/config.toml: where mails say the app is

visits = pytest.StashKey["list[Visit]"]()


class Visit:
    """One browser with cookies of its own, and what went wrong in it."""

    def __init__(self, context: BrowserContext, site: Site) -> None:
        self.context = context
        self.complaints: list[str] = []
        self._allowed = {urlsplit(address).netloc for address in (site.url, site.mailbox_url)}
        self._allowed.add(urlsplit(site.url.replace("localhost", "127.0.0.1")).netloc)
        context.set_default_timeout(TIMEOUT_MS)
        context.on("request", self._watch_request)
        context.on("console", lambda message: self._watch_console(message.text))
        context.on("weberror", lambda error: self.complaints.append(f"uncaught: {error.error}"))
        context.route(MAILED_SITE, lambda route: _send_to(route, site))
        # What the page looked like at each step costs a fifth of the time: a test that is run by itself keeps it too.
        context.tracing.start(sources=True, snapshots="PYTEST_XDIST_WORKER" not in os.environ)

    def keep(self, name: str) -> list[Path]:
        """Write a screenshot of every page and the trace; `playwright show-trace` opens it."""
        kept = []
        for number, page in enumerate(self.context.pages):
            kept.append(RESULTS / f"{name}-{number}.png")
            page.screenshot(path=kept[-1], full_page=True)
        kept.append(RESULTS / f"{name}.zip")
        self.context.tracing.stop(path=kept[-1])
        return kept

    def _watch_request(self, request: Request) -> None:
        address = urlsplit(request.url)
        if address.netloc not in self._allowed and not MAILED_SITE.match(request.url):
            self.complaints.append(f"leaves the site: {request.url}")

    def _watch_console(self, text: str) -> None:
        if "Content Security Policy" in text:
            self.complaints.append(text)


def _send_to(route: Route, site: Site) -> None:
    address = urlsplit(route.request.url)
    route.fulfill(status=302, headers={"Location": f"{site.url}{address.path}?{address.query}"})


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    launch_options()  # tries a browser with a Playwright of its own, so before this one starts
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="session")
def chromium(playwright: Playwright) -> Iterator[Browser]:
    browser = playwright.chromium.launch(**launch_options())
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def chromium_with_memory(playwright: Playwright) -> Iterator[Browser]:
    """Playwright switches the back/forward cache off; people have it."""
    browser = playwright.chromium.launch(**launch_options(), ignore_default_args=["--disable-back-forward-cache"])
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    """The app as it is served to people, by the server of the stack. Its log is in the report of a test that fails."""
    with _served() as site:
        yield site


@pytest.fixture
def hurried_site() -> Iterator[Site]:
    """The same, but for a passkey people have one second."""
    with _served(passkey_timeout_ms=1000) as site:
        yield site


@contextmanager
def _served(**settings: Any) -> Iterator[Site]:
    with socket.create_server(("localhost", 0)) as listener:
        url = f"http://localhost:{listener.getsockname()[1]}"
        app = create_app(Settings(public_url=url, rate_limits="", **settings))  # every browser has the same address
        with_cheap_codes(app)
        with _serving(app, listener):
            yield Site(url, app.extensions["stepup"].mailbox_url)
        app.extensions["stepup"].gateway.close()


@pytest.fixture
def open_browser(chromium: Browser, site: Site, request: pytest.FixtureRequest) -> Iterator[Callable[..., Page]]:
    """Open a new browser with these options of Playwright's `new_context`; another Chromium with `chromium`."""
    opened = request.node.stash[visits] = []

    def open_browser(*, chromium: Browser = chromium, site: Site = site, **options: Any) -> Page:
        context = chromium.new_context(base_url=site.url, reduced_motion="reduce", **options)
        opened.append(Visit(context, site))
        return context.new_page()

    yield open_browser
    for visit in opened:
        visit.context.close()


@pytest.fixture
def page(open_browser: Callable[..., Page]) -> Page:
    return open_browser()


@pytest.fixture
def comes_in(site: Site) -> Callable[[Page, Person], Page]:
    """Sign a browser in as somebody, as far as HTTP alone can: through the form it takes much longer."""

    def comes_in(page: Page, person: Person) -> Page:
        cookie = person.signs_in().cookies["stepup"]
        page.context.add_cookies([{"name": "stepup", "value": cookie, "url": site.url}])
        return page

    return comes_in


@pytest.fixture
def passkey_device(page: Page) -> PasskeyDevice:
    """The device that `page` is on."""
    return PasskeyDevice(page)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Fail a test in which a page broke the Content Security Policy, threw, or reached out of the site."""
    result = yield
    complaints = [complaint for visit in item.stash.get(visits, []) for complaint in visit.complaints]
    assert not complaints
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    if report.failed and call.when == "call":
        name = re.sub(r"\W+", "-", item.name).strip("-")
        kept = [path for n, visit in enumerate(item.stash.get(visits, [])) for path in visit.keep(f"{name}-{n}")]
        report.sections.append(("browser", "\n".join(str(path) for path in kept)))
    return report
