"""What static/passkeys.js does, over HTTP: fetch the options, ask an authenticator, fill in the form and submit it.

`wrong` are the lies of tests/authenticator.py.
"""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import jwt
from flask import Flask
from webtest import TestResponse

from tests.authenticator import Authenticator
from tests.people import Browser, Person

PASSKEYS = "/settings/security/passkeys"


def options_on(browser: Browser, page: TestResponse, form_id: str = "passkey-form", **more: str) -> TestResponse:
    """Ask for the options that the form names, as the script does: with all of its fields, for JSON."""
    fields = dict(page.forms[form_id].submit_fields()) | more
    path = page.html.select_one(f"#{form_id}")["data-options"]
    return browser.post(path, fields, headers={"Accept": "application/json"})


def submitted(page: TestResponse, credential: str, form_id: str = "passkey-form") -> TestResponse:
    page.forms[form_id]["credential"] = credential
    if "sign_out_elsewhere" in page.forms[form_id].fields:
        page.forms[form_id].set("sign_out_elsewhere", False, index=0)
    return page.forms[form_id].submit()


def add_passkey(browser: Browser, device: Authenticator, *, form_id: str = "device-form", **wrong: Any) -> TestResponse:
    page = browser.get(PASSKEYS)
    return submitted(page, device.create(options_on(browser, page, form_id).json, **wrong), form_id)


def sign_in(browser: Browser, device: Authenticator, *, next: str = "/account", **wrong: Any) -> TestResponse:
    page = browser.get("/login", {"next": next})
    return submitted(page, device.get(options_on(browser, page).json, **wrong))


def step_up(browser: Browser, device: Authenticator, *, next: str = "/account", **wrong: Any) -> TestResponse:
    page = browser.get("/mfa/challenge", {"next": next, "action": "security"})
    return submitted(page, device.get(options_on(browser, page).json, **wrong))


def copies_of(person: Person, browser: Browser, count: int) -> list[Browser]:
    """Browsers with the cookies that this one has now, each at an address of its own: requests sent at one moment."""
    copies = [person.browser() for _ in range(count)]
    for copy in copies:
        for cookie in browser.cookiejar:
            copy.cookiejar.set_cookie(cookie)
    return copies


def claims_of(person: Person, browser: Browser) -> dict[str, Any]:
    """What the access token in the vault of this browser says, once it has been refreshed where that is due."""
    account = person.app.extensions["stepup"].vault.read(browser.cookies["stepup"])
    return jwt.decode(account.tokens.access_token, options={"verify_signature": False})


def proofs(claims: dict[str, Any]) -> set[str]:
    return {entry["method"] for entry in claims["amr"]}


def passkeys_of(person: Person) -> list[dict[str, Any]]:
    return person.database.execute(
        "select * from public.mfa_passkeys where user_id = %s order by created_at", [person.id]
    ).fetchall()


def signals_on(page: TestResponse) -> dict[str, dict[str, Any]]:
    """What the page has the browser tell its authenticators, by method."""
    return {element["data-signal"]: json.loads(element["data-args"]) for element in page.html.select("[data-signal]")}


@contextmanager
def before_request(app: Flask, path: str, deed: Callable[[], object], *, times: int = 1) -> Iterator[None]:
    """Do something just before the app's next request to `path` of Supabase leaves, and the ones after it."""
    http = app.extensions["stepup"].gateway._http
    hooks, left = http.event_hooks, [deed] * times

    def act(request: httpx.Request) -> None:
        if request.url.path == path and left:
            with ThreadPoolExecutor(1) as elsewhere:  # the app is in the middle of a request here
                elsewhere.submit(left.pop()).result()

    http.event_hooks = {"request": [*hooks["request"], act]}
    try:
        yield
        assert not left, "it was never asked"
    finally:
        http.event_hooks = hooks
