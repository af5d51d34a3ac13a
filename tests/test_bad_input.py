"""Every address of the app, with every kind of bad input: a clear sentence and a 4xx, and nothing has changed.

The table is made from the app's own URL map, so that a new address cannot escape it.
"""

import re
from urllib.parse import quote
from uuid import uuid4

import pytest
from flask.sessions import SecureCookieSessionInterface

from app import create_app
from tests.people import Browser, form
from tests.settled import Reused, state_of

PATHS = sorted(
    {
        (rule.rule, method)
        for rule in create_app().url_map.iter_rules()
        for method in rule.methods & {"GET", "POST"}
        if rule.endpoint != "static"
    }
)
POSTED = [path for path, method in PATHS if method == "POST"]
READ = [path for path, method in PATHS if method == "GET"]
SOUND_GETS = {200, 303, 302}


def filled(path):
    return re.sub(r"<any\((\w+)[^>]*>", r"\1", re.sub(r"<uuid:\w+>", lambda _: str(uuid4()), path))


@pytest.fixture(scope="module")
def reused(new_person):
    return Reused(new_person)


@pytest.fixture
def settled(reused):
    return reused()


def token_of(browser):
    return form(browser.get("/logout"), "/logout")["csrf_token"].value


BODIES = {
    "nothing": lambda token: ({"csrf_token": token}, {}),
    "empty fields": lambda token: ({"csrf_token": token, **dict.fromkeys(FIELDS, "")}, {}),
    "NUL bytes": lambda token: ({"csrf_token": token, **dict.fromkeys(FIELDS, "a\0b\0" * 5)}, {}),
    "not UTF-8": lambda token: (
        f"csrf_token={token}&".encode() + b"&".join(field.encode() + b"=\xff\xfe" for field in FIELDS),
        {"Content-Type": "application/x-www-form-urlencoded"},
    ),
    "a megabyte": lambda token: ({"csrf_token": token, **dict.fromkeys(FIELDS, "x" * 100_000)}, {}),
    "a long field": lambda token: ({"csrf_token": token, **dict.fromkeys(FIELDS, "x" * 4000)}, {}),
    "JSON": lambda token: ('{"email": ["a"], "code": {"b": 1}}', {"Content-Type": "application/json"}),
    "no content type": lambda token: ("email=a", {"Content-Type": ""}),
    "multipart without a boundary": lambda token: ("x", {"Content-Type": "multipart/form-data"}),
    "a thousand fields": lambda token: ([("csrf_token", token)] + [(f"f{n}", "x") for n in range(2000)], {}),
}
FIELDS = ["email", "password", "code", "factor", "name", "body", "token_hash", "type"]


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("path", POSTED)
def test_bad_bodies(settled, path, body):
    content, headers = BODIES[body](token_of(settled.browser))
    answer = settled.browser.post(filled(path), content, headers=headers)
    if path in BUTTONS and answer.status_code in (200, 303):
        return  # a button needs nothing but the token
    assert 400 <= answer.status_code < 500, answer.status_code
    assert answer.html.select_one("[role=alert]:not([hidden])")
    assert state_of(settled.person) == settled.state


BUTTONS = {
    "/logout",
    "/settings/security/not-now",
    "/settings/security/sign-out-elsewhere",
    "/settings/security/totp/discard",
    "/account/change-email/cancel",
    "/account/change-email/resend",
    "/account/notes/<uuid:note_id>/delete",
    # They keep a challenge for five minutes, for whoever asks.
    "/login/passkey/options",
    "/mfa/challenge/passkey/options",
    "/settings/security/passkeys/options",
    # A download.
    "/account/export",
    # Makes a sheet and shows it.
    "/settings/security/recovery-codes",
    # A set-up is under way: whatever the name, it is resumed.
    "/settings/security/totp",
}


@pytest.mark.parametrize("token", ["", None, "nonsense", "of another session", "twice"])
@pytest.mark.parametrize("path", POSTED)
def test_without_the_sessions_own_csrf_token_nothing_happens(settled, app, path, token):
    other = form(Browser(app).get("/login"), "/login")["csrf_token"].value
    fields = {field: "value" for field in FIELDS}
    if token == "twice":
        fields = [("csrf_token", other), ("csrf_token", token_of(settled.browser)), *fields.items()]
    elif token is not None:
        fields["csrf_token"] = other if token == "of another session" else token
    answer = settled.browser.post(filled(path), fields)
    assert answer.status_code == 400
    assert "try again" in answer
    assert state_of(settled.person) == settled.state


@pytest.mark.parametrize("path", POSTED)
def test_every_field_twice_is_read_as_once(settled, path):
    """The first counts, for the check and for the deed alike."""
    pairs = [("csrf_token", token_of(settled.browser))] + [(field, text) for field in FIELDS for text in ("", "123456")]
    answer = settled.browser.post(filled(path), pairs)
    assert answer.status_code < 500
    if path not in BUTTONS:
        assert 400 <= answer.status_code
        assert state_of(settled.person) == settled.state


QUERIES = {
    "NUL": "?next=%00&token_hash=%00&type=%00&email=%00",
    "not UTF-8": "?next=%ff%fe&token_hash=%ff&type=%ff&email=%ff",
    "long": "?next=/" + "x" * 5000 + "&token_hash=" + "x" * 5000,
    "elsewhere": "?next=https://evil.test/&next=//evil.test",
    "twice": "?next=/account&next=//evil.test&token_hash=a&token_hash=b&type=email&type=recovery",
    "markup": "?next=/<script>alert(1)</script>&email=" + quote("<script>alert(1)</script>") + "&token_hash=%22%3E",
}


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("path", READ)
def test_bad_queries(settled, path, query):
    answer = settled.browser.get(filled(path) + QUERIES[query])
    assert answer.status_code in SOUND_GETS | {400, 404} | ({403} if path.startswith("/admin") else set())
    assert not (answer.location or "").startswith(("http:", "https:", "//"))
    assert "<script>alert" not in answer.text
    assert state_of(settled.person) == settled.state


TAMPERED = {
    "empty": lambda cookie: "",
    "shorter": lambda cookie: cookie[:-1],
    "other case": lambda cookie: cookie.swapcase(),
    "with more": lambda cookie: cookie + "A",
    "huge": lambda cookie: "A" * 4000,
    "odd characters": lambda cookie: "%00%ff'\"--",
    "somebody's hash": lambda cookie: "0" * 64,
}


@pytest.mark.parametrize("change", TAMPERED)
def test_a_tampered_vault_cookie_is_nobodys(settled, app, change):
    browser = Browser(app)
    browser.set_cookie("stepup", TAMPERED[change](settled.browser.cookies["stepup"]))
    assert browser.get("/account").location.startswith("/login")


@pytest.mark.parametrize("change", TAMPERED)
def test_a_tampered_session_cookie_takes_the_form_token_and_nothing_else(settled, app, change):
    browser = Browser(app)
    browser.set_cookie("stepup", settled.browser.cookies["stepup"])
    browser.set_cookie("session", TAMPERED[change](settled.browser.cookies["session"]))
    assert browser.get("/account").status_code == 200
    assert browser.post("/account", {"csrf_token": token_of(settled.browser), "body": "x"}).status_code == 400


def test_a_session_signed_by_another_installation_is_not_read(app):
    stranger = create_app()
    stranger.secret_key = "1" * 32
    forged = SecureCookieSessionInterface().get_signing_serializer(stranger).dumps({"csrf_token": "known"})
    stranger.extensions["stepup"].gateway.close()
    browser = Browser(app)
    browser.set_cookie("session", forged)
    assert browser.post("/login", {"csrf_token": "known", "email": "a@b.c", "password": "x"}).status_code == 400


def test_methods_that_an_address_does_not_have_are_405(app):
    browser = Browser(app)
    for rule in app.url_map.iter_rules():
        if rule.endpoint == "static":
            continue
        path = filled(rule.rule)
        for method in {"PUT", "PATCH", "DELETE"}:
            assert browser.request(path, method=method).status_code == 405, (method, path)
