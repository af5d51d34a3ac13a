"""Supabase away, in every way, under every page: calm words, nobody signed out, nothing half-done, nobody stuck."""

import contextlib
import time
from dataclasses import replace

import httpx
import pyotp
import pytest

from tests.people import Browser, form
from tests.proxy import app_behind_proxy, running_proxy
from tests.settled import Reused, state_of

FAULTS = ["cut", "slow", "bad gateway", "broken", "garbage", "half", "lost"]
PLACES = {"auth": "/auth/v1/", "data": "/rest/v1/", "all": "/"}
TIMEOUT_SECONDS = 0.25  # where the answer is to be lost: a healthy one has the app's own
MOST_SECONDS = 3.1  # four timeouts, as a lost answer to verify is asked after, and the work of a busy machine

PAGES = ["/", "/account", "/settings/security", "/settings/security/totp", "/settings/security/password"]
PAGES += [
    "/settings/security/recovery-codes",
    "/settings/billing",
    "/account/change-email",
    "/account/export",
    "/account/delete",
    "/mfa/challenge",
    "/login",
    "/logout",
    "/signup",
    "/forgot-password",
]

# What people do: the page they are on, the form there, what they type.
DEEDS = {
    "sign in": ("/login", "/login", {"password": "{password}"}),
    "sign up": ("/signup", "/signup", {"email": "new-{email}", "password": "correct horse battery"}),
    "ask for a reset link": ("/forgot-password", "/forgot-password", {"email": "{email}"}),
    "ask for a sign-in link": ("/login/mail", "/login/mail", {"email": "{email}"}),
    "ask for the confirmation again": ("/signup/resend", "/signup/resend", {"email": "{email}"}),
    "follow a link": ("/auth/confirm?token_hash=abc&type=email", "/auth/confirm", {}),
    "write a note": ("/account", "/account", {"body": "written in a storm"}),
    "begin an app": ("/settings/security/totp", "/settings/security/totp", {"name": "Watch"}),
    "finish an app": ("/settings/security/totp", "/settings/security/totp/verify", {"code": "{code}"}),
    "discard an app": ("/settings/security/totp", "/settings/security/totp/discard", {}),
    "change the password": (
        "/settings/security/password",
        "/settings/security/password",
        {"password": "another good sentence"},
    ),
    "change the address": ("/account/change-email", "/account/change-email", {"email": "other-{email}"}),
    "make recovery codes": ("/settings/security/recovery-codes", "/settings/security/recovery-codes", {}),
    "save billing details": (
        "/settings/billing",
        "/settings/billing",
        {"name": "Alice", "street": "Deanery 1", "postal_code": "OX1", "city": "Oxford", "country": "UK"},
    ),
    "download everything": ("/account/export", "/account/export", {}),
    "delete the account": ("/account/delete", "/account/delete", {"email": "{email}"}),
    "sign out": ("/logout", "/logout", {}),
}


@pytest.fixture(scope="module")
def proxy():
    with running_proxy() as proxy:
        yield proxy


@pytest.fixture(scope="module")
def stormy_app(proxy):
    app = app_behind_proxy(proxy.url)
    yield app
    app.extensions["stepup"].gateway.close()


@pytest.fixture
def trouble(stormy_app, proxy):
    """Trouble. Only where it is has the app little patience: the machine may be slow itself."""
    http = stormy_app.extensions["stepup"].gateway._http
    hooks = http.event_hooks

    @contextlib.contextmanager
    def trouble(place, fault):
        def hurry(request):
            if fault == "slow" and place in request.url.path:
                request.extensions["timeout"] = httpx.Timeout(TIMEOUT_SECONDS).as_dict()

        http.event_hooks = {"request": [*hooks["request"], hurry]}
        try:
            with proxy.trouble(place, fault):
                yield
        finally:
            http.event_hooks = hooks

    return trouble


@pytest.fixture(scope="module")
def reused(new_person):
    return Reused(new_person)


@pytest.fixture
def settled(reused, stormy_app):
    """Somebody whose browser, once everything was set up, reaches Supabase through the proxy."""
    found = reused()
    return replace(found, browser=Browser(stormy_app, found.browser.cookiejar))


def check_calm(page, began):
    assert time.monotonic() - began < MOST_SECONDS, "stuck"
    assert page.status_code != 500
    if page.status_code == 503:
        assert page.headers["Retry-After"]
        assert "We cannot reach our account service" in page
        cookies = page.headers.getall("Set-Cookie")
        assert not any(cookie.startswith("stepup=") for cookie in cookies), "signed out, or renewed"


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("fault", FAULTS)
def test_pages(settled, trouble, fault, place, subtests):
    browser = settled.browser
    for path in PAGES:
        with subtests.test(path):
            began = time.monotonic()
            with trouble(PLACES[place], fault):
                page = browser.get(path)
            check_calm(page, began)
            if place != "auth" and path not in ("/signup", "/forgot-password", "/logout"):
                assert page.status_code == 503
    assert browser.get("/account").status_code == 200  # still signed in, still aal2
    assert browser.get("/settings/security").status_code == 200


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("deed", DEEDS)
def test_deeds(settled, trouble, fault, place, deed):
    person, browser = settled.person, settled.browser
    page, action, typed = DEEDS[deed]
    if deed == "begin an app":
        form(browser.get(page), "/settings/security/totp/discard").submit()
    shown = browser.get(page)
    filled = form(shown, action)
    code = pyotp.TOTP(secret.get_text().replace(" ", "")).now() if (secret := shown.html.select_one("#secret")) else ""
    for field, text in typed.items():
        filled[field] = text.format(email=person.email, password=person.password, code=code)
    before = state_of(person)

    began = time.monotonic()
    with trouble(PLACES[place], fault):
        answer = filled.submit()
    check_calm(answer, began)
    after = state_of(person)

    if answer.status_code == 503 and fault != "lost":
        # Nothing is half-done. A wrong code may have been counted, and a factor begun that nobody has endorsed: it
        # does not count, is shown to nobody, and the next set-up deletes it.
        endorsed = [factor for factor in after["factors"] if factor["endorsed"]]
        assert [factor for factor in before["factors"] if factor["endorsed"]] == endorsed
        assert {what: after[what] for what in UNTOUCHED} == {what: before[what] for what in UNTOUCHED}
    if deed != "sign out" and not (fault == "lost" and deed in ENDS_SESSIONS):
        assert browser.get("/account").status_code == 200, "signed out, or lowered"


UNTOUCHED = ["address", "password", "billing", "notes", "sessions"]
ENDS_SESSIONS = {"sign in", "sign out", "change the password", "delete the account"}


def test_a_calm_page_offers_to_try_again(settled, proxy):
    with proxy.trouble("/", "cut"):
        page = settled.browser.get("/account")
    assert page.html.find("a", string="Try again")["href"].startswith("/account")


def test_with_htmx_a_503_keeps_the_form(settled, proxy):
    note = form(settled.browser.get("/account"), "/account")
    note["body"] = "kept"
    with proxy.trouble("/", "cut"):
        answer = note.submit(headers={"HX-Request": "true"})
    assert answer.status_code == 503
    assert answer.headers["HX-Retarget"] == "#notice"


@pytest.mark.parametrize(
    ("place", "away"), [("/auth/v1/", ["auth"]), ("/rest/v1/", ["database"]), ("/", ["auth", "database"])]
)
@pytest.mark.parametrize("fault", FAULTS)
def test_readyz_says_what_is_away(stormy_app, trouble, fault, place, away):
    browser = Browser(stormy_app)
    with trouble(place, fault):
        answer = browser.get("/readyz")
    assert (answer.status_code, answer.json) == (503, {"status": "unavailable", "away": away})
    assert browser.get("/readyz").json == {"status": "ok", "away": []}
