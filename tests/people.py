"""People, their phones and their browsers: verbs for the journeys over HTTP."""

import json
import re
import secrets
import time
from dataclasses import dataclass, field
from http.cookiejar import CookieJar
from typing import Any

import pyotp
from flask import Flask
from psycopg import Connection
from webtest import Form, TestApp, TestResponse


@dataclass
class Phone:
    """An authenticator app. A code works once, so code() gives one that was not used yet."""

    secret: str
    used: set[str] = field(default_factory=set)

    def code(self) -> str:
        """Return the code of now, or else the next or the last one: a verifier takes both (RFC 6238 section 5.2)."""
        totp, now = pyotp.TOTP(self.secret), int(time.time())
        fresh = [code for step in (0, 30, -30) if (code := totp.at(now + step)) not in self.used]
        assert fresh, "all codes are used: call Person.forgets_used_codes() first"
        self.used.add(fresh[0])
        return fresh[0]

    def wrong_code(self, nth: int = 0) -> str:
        """Return a code that is not valid now, nor a minute earlier or later; another one for each `nth`."""
        now = int(time.time())
        valid = {pyotp.TOTP(self.secret).at(now + 30 * step) for step in range(-3, 4)}
        return [code for code in (f"{n:06}" for n in range(20)) if code not in valid][nth]


class Browser(TestApp):
    """A browser without JavaScript, with an address and cookies of its own. Statuses are for the test to judge."""

    def __init__(self, app: Flask, cookiejar: CookieJar | None = None) -> None:
        address = f"fd00::{secrets.randbits(16):x}:{secrets.randbits(16):x}"
        super().__init__(app, extra_environ={"HTTP_HOST": "localhost", "REMOTE_ADDR": address}, cookiejar=cookiejar)

    def do_request(self, req: Any, status: Any = None, expect_errors: Any = None) -> TestResponse:
        return super().do_request(req, status=status or "*", expect_errors=True)


def form(page: TestResponse, action: str) -> Any:
    """The form on the page that posts to `action`."""
    # Not page.forms, which parses every form of the page once more.
    found = page.html.find("form", action=re.compile(rf"^{re.escape(action)}(\?|$)"))
    assert found, f"no form posts to {action}"
    return Form(page, str(found), page.parser_features)


def alerts(page: TestResponse) -> list[str]:
    """What the page says out loud, from its notice and its fields."""
    return [alert.get_text(" ", strip=True) for alert in page.html.select("[role=alert]:not([hidden])")]


def asks_first(page: TestResponse, path: str) -> bool:
    """Whether this leads to the page that asks for a proof, or is that page, with what was typed carried along."""
    if page.location:
        return str(page.location).startswith(path)
    return page.status_code == 403 and any(form.action.startswith(path) for form in page.forms.values())


@dataclass
class Person:
    id: str
    email: str
    password: str
    app: Flask
    database: Connection[dict[str, Any]]
    phones: list[Phone] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)

    def browser(self) -> Browser:
        return Browser(self.app)

    def submits_password(
        self, browser: Browser, *, next: str = "/account", password: str | None = None
    ) -> TestResponse:
        sign_in = form(browser.get("/login", {"next": next}), "/login")
        sign_in["email"], sign_in["password"] = self.email, password or self.password
        return sign_in.submit()

    def signs_in(self, browser: Browser | None = None) -> Browser:
        """Sign in as far as it takes: with the password, and a code if there is an app."""
        browser = browser or self.browser()
        assert self.submits_password(browser).status_code == 303
        if self.phones:
            assert self.submits_code(browser).status_code == 303
        return browser

    def submits_code(self, browser: Browser, code: str | None = None) -> TestResponse:
        page = browser.get("/mfa/challenge", {"next": "/account", "action": "security"})
        challenge = form(page, "/mfa/challenge")
        challenge["code"] = code or self.phones[-1].code()
        return challenge.submit()

    def begins_app(self, browser: Browser, name: str | None = None) -> Phone:
        """Start to set up an app, as far as having the secret on the phone."""
        return self._is_shown_a_secret(browser, name)[1]

    def phone_of(self, page: TestResponse) -> Phone:
        """The phone that has scanned the QR code of the page."""
        return Phone(page.html.select_one("#secret").get_text().replace(" ", ""))

    def gets_roles(self, *roles: str) -> None:
        """As an administrator would give them; the next token says so."""
        app_metadata = json.dumps({"roles": roles})
        self.database.execute(
            "update auth.users set raw_app_meta_data = raw_app_meta_data || %s::jsonb where id = %s",
            [app_metadata, self.id],
        )

    def lets_days_pass_since_prompt(self, days: int) -> None:
        self.database.execute(
            "update public.mfa_prompts set not_now_at = not_now_at - make_interval(days => %s) where user_id = %s",
            [days, self.id],
        )

    def set_up_app(self, browser: Browser, name: str | None = None) -> Phone:
        page, phone = self._is_shown_a_secret(browser, name)
        finish = form(page, "/settings/security/totp/verify")
        finish["code"] = phone.code()
        finish.set("sign_out_elsewhere", False, index=0)
        assert finish.submit().location in ("/settings/security", "/settings/security/recovery-codes")
        self.phones.append(phone)
        return phone

    def _is_shown_a_secret(self, browser: Browser, name: str | None) -> tuple[TestResponse, Phone]:
        named = form(browser.get("/settings/security/totp"), "/settings/security/totp")
        if name:
            named["name"] = name
        page = named.submit().follow()
        return page, self.phone_of(page)

    def makes_codes(self, browser: Browser) -> list[str]:
        """Make a sheet of recovery codes, and keep it."""
        page = form(browser.get("/settings/security/recovery-codes"), "/settings/security/recovery-codes").submit()
        self.codes = page.html.select_one("#codes").get_text().split()
        return self.codes

    def submits_recovery_code(self, browser: Browser, code: str) -> TestResponse:
        page = browser.get("/mfa/challenge", {"next": "/account", "action": "security"})
        challenge = form(page, "/mfa/challenge/recovery-code")
        challenge["code"] = code
        return challenge.submit()

    def forgets_used_codes(self) -> None:
        """Let two minutes pass for the codes that this person has used."""
        self.database.execute(
            "delete from public.mfa_spent_codes s using auth.mfa_factors f where f.id = s.factor_id and f.user_id = %s",
            [self.id],
        )
        for phone in self.phones:
            phone.used.clear()

    def ages_proofs(self, seconds: int) -> None:
        """Let time pass since this person last proved anything; the next request gets a token that says so."""
        self.database.execute(
            "update auth.mfa_amr_claims c set updated_at = c.updated_at - make_interval(secs => %s)"
            " from auth.sessions s where s.id = c.session_id and s.user_id = %s",
            [seconds, self.id],
        )
        self.expires_tokens()

    def expires_tokens(self) -> None:
        """Let the access tokens of this person run out, as the app knows them."""
        self.database.execute(
            "update public.web_account_sessions set expires_at = now() - interval '1 second' where user_id = %s",
            [self.id],
        )


def at_challenge(person: Person) -> Browser:
    """A browser of the person in which the password was given, and a code is asked for."""
    person.forgets_used_codes()
    browser = person.browser()
    assert person.submits_password(browser).status_code == 303
    return browser
