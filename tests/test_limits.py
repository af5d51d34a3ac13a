"""How often one address may try."""

import os
import subprocess
import sys

import pytest

from tests.people import Browser, form
from tests.test_app import PROJECT, make_app, settings  # noqa: F401  # make_app is a fixture


@pytest.fixture
def browser(make_app):  # noqa: F811
    return Browser(make_app(rate_limits="3 per minute"))


def try_password(browser):
    sign_in = form(browser.get("/login"), "/login")
    sign_in["email"], sign_in["password"] = "nobody@example.com", "wrong"
    return sign_in.submit()


def test_after_so_many_tries_an_address_has_to_wait_and_is_told_how_long(browser):
    assert [try_password(browser).status_code for _ in range(3)] == [422, 422, 422]
    refused = try_password(browser)
    assert refused.status_code == 429
    assert refused.headers["Retry-After"]
    assert "Too many tries" in refused


def test_guessing_does_not_go_on_at_another_page(browser):
    for _ in range(3):
        try_password(browser)
    asked = form(browser.get("/forgot-password"), "/forgot-password")
    asked["email"] = "nobody@example.com"
    assert asked.submit().status_code == 429


@pytest.mark.parametrize(
    "path",
    ["/login", "/login/passkey", "/login/mail", "/signup", "/signup/resend", "/auth/confirm", "/forgot-password"],
)
def test_every_try_of_a_visitor_counts_as_one(browser, path):
    token = form(browser.get("/login"), "/login")["csrf_token"].value
    for _ in range(3):
        try_password(browser)
    assert browser.post(path, {"csrf_token": token}).status_code == 429


@pytest.mark.parametrize(
    "path",
    [
        "/mfa/challenge",
        "/mfa/challenge/passkey",
        "/mfa/challenge/recovery-code",
        "/settings/security/recovery-codes",
        "/settings/security/recovery-codes/confirm",
        "/account/change-email",
        "/account/change-email/resend",
    ],
)
def test_and_so_does_every_try_of_a_person(make_app, new_person, path):  # noqa: F811
    alice = new_person(app=make_app(rate_limits="3 per minute"))
    browser = alice.signs_in()  # the first
    token = form(browser.get("/account"), "/account")["csrf_token"].value
    for _ in range(2):
        assert browser.post("/mfa/challenge", {"csrf_token": token}).status_code == 422
    assert browser.post(path, {"csrf_token": token}).status_code == 429


def test_while_tries_cannot_be_counted_nobody_tries_and_pages_are_still_read():
    """In a process of its own: the limiter has one store for all apps of a process."""
    shows = (
        "import re, app; c = app.create_app().test_client(); page = c.get('/login');"
        ' token = re.search(\'name="csrf_token"[^>]* value="([^"]+)\', page.text)[1];'
        " answer = c.post('/login', data={'csrf_token': token, 'email': 'a@b.test', 'password': 'x'});"
        " print(page.status_code, answer.status_code, 'Traceback' in answer.text)"
    )
    environment = os.environ | {"REDIS_URL": "redis://127.0.0.1:1", "PYTHONPATH": str(PROJECT)}
    run = subprocess.run([sys.executable, "-c", shows], env=environment, capture_output=True, text=True, timeout=60)
    assert run.stdout.split() == ["200", "503", "False"], run.stderr
    assert "Traceback" not in run.stderr


def test_reading_pages_is_not_trying(browser):
    assert {browser.get("/login").status_code for _ in range(10)} == {200}


def test_another_address_is_not_held_up(browser):
    for _ in range(4):
        try_password(browser)
    browser.extra_environ["REMOTE_ADDR"] = "fd00::1"
    assert try_password(browser).status_code == 422


@pytest.mark.parametrize(("proxies", "status"), [(0, 429), (1, 422)])
def test_an_address_in_a_header_is_believed_only_if_our_own_proxy_wrote_it(make_app, proxies, status):  # noqa: F811
    browser = Browser(make_app(rate_limits="3 per minute", trusted_proxies=proxies))
    for n in range(4):
        browser.extra_environ["HTTP_X_FORWARDED_FOR"] = f"192.0.2.{n}"
        answer = try_password(browser)
    assert answer.status_code == status


def test_each_app_has_its_own_limits_whichever_was_made_last(make_app):  # noqa: F811
    without = Browser(make_app(rate_limits=""))
    limited = Browser(make_app(rate_limits="3 per minute"))
    assert {try_password(without).status_code for _ in range(5)} == {422}
    Browser(make_app(rate_limits=""))
    assert [try_password(limited).status_code for _ in range(4)] == [422, 422, 422, 429]
