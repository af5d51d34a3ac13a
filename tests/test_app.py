"""Settings, headers, error pages, and Supabase being away."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from pydantic import ValidationError

from app import Settings, create_app
from tests.people import Browser, form

PROJECT = Path(__file__).parent.parent


def settings(**changes):
    values = {
        "supabase_url": os.environ["SUPABASE_URL"],
        "SUPABASE_PUBLISHABLE_KEY": os.environ["SUPABASE_PUBLISHABLE_KEY"],
        "SUPABASE_SECRET_KEY": os.environ["SUPABASE_SECRET_KEY"],
        "secret_key": "0" * 32,
        "vault_keys": Fernet.generate_key().decode(),
        "recovery_code_pepper": f"1:{'0' * 32}",
    }
    return Settings(_env_file=None, **values | changes)


@pytest.fixture
def make_app():
    made = []

    def make(**changes):
        made.append(create_app(settings(**changes)))
        return made[-1]

    yield make
    for app in made:
        app.extensions["stepup"].gateway.close()


def start(environment):
    """Start the app in a process of its own, with nothing but `environment`; return its exit code and what it says."""
    command = [sys.executable, "-c", "import app; app.create_app()"]
    keep = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT)}
    run = subprocess.run(command, env=keep | environment, cwd="/", capture_output=True, text=True, timeout=60)
    return run.returncode, run.stderr


def test_without_settings_the_start_stops_with_a_sentence_for_each():
    code, said = start({})
    assert code == 2
    for name in GOOD:
        assert f"{name}: " in said
    assert "make run" in said
    assert "Traceback" not in said


GOOD = {
    "SUPABASE_URL": "https://project.supabase.co",
    "SUPABASE_PUBLISHABLE_KEY": "sb_publishable_x",
    "SUPABASE_SECRET_KEY": "sb_secret_x",
    "SECRET_KEY": "0" * 32,
    "VAULT_KEYS": Fernet.generate_key().decode(),
    "RECOVERY_CODE_PEPPER": f"1:{'0' * 32}",
}


def test_with_all_settings_the_app_starts_and_says_nothing():
    assert start(GOOD | {"MAIL_URL": "smtps://mail.example.com"}) == (0, "")


def test_without_a_mail_server_the_app_starts_and_says_so():
    assert start(GOOD) == (0, "MAIL_URL is empty: nobody is told by mail what happens to their account.\n")


def test_settings_that_cannot_be_stop_the_start_each_with_a_sentence_and_without_their_values():
    code, said = start(GOOD | {"SUPABASE_URL": "project.supabase.co", "VAULT_KEYS": "not a Fernet key"})
    assert code == 2
    assert [line.split(":")[0] for line in said.splitlines()][:2] == ["SUPABASE_URL", "VAULT_KEYS"]
    assert "not a Fernet key" not in said and "sb_secret" not in said


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("supabase_url", "project.supabase.co"),
        ("secret_key", "short"),
        ("vault_keys", "not a Fernet key"),
        ("vault_keys", ","),
        ("recovery_code_pepper", "0" * 40),
        ("recovery_code_pepper", "1:short"),
        ("recovery_code_pepper", f"1:{'0' * 32},1:{'1' * 32}"),
        ("recovery_code_length", 12),
        ("public_url", "localhost"),
        ("public_url", "http://localhost:5000/"),
        ("mfa_attempts_cap", 1000),  # NIST allows no more than 100
        ("supabase_timeout_seconds", 8),  # longer than the vault's lease
    ],
)
def test_a_setting_that_cannot_be_is_refused(name, value):
    with pytest.raises(ValidationError):
        settings(**{name: value})


def test_the_example_lists_every_setting_in_order():
    example = re.findall(r"^([A-Z_]+)=", (PROJECT / ".env.example").read_text(), re.MULTILINE)
    assert example == [name.upper() for name in Settings.model_fields]


def test_legacy_names_of_the_keys_are_understood():
    legacy = settings(SUPABASE_ANON_KEY="anon", SUPABASE_SERVICE_ROLE_KEY="service")
    assert legacy.supabase_publishable_key  # the new names win where both are given
    assert Settings(
        _env_file=None,
        supabase_url="https://project.supabase.co",
        SUPABASE_ANON_KEY="anon",
        SUPABASE_SERVICE_ROLE_KEY="service",
        secret_key="0" * 32,
        vault_keys=Fernet.generate_key().decode(),
    )


def test_every_page_carries_the_security_headers(app, alice_at_aal2):
    for path in ("/", "/login", "/account", "/settings/security", "/no-such-page", "/static/app.css"):
        headers = alice_at_aal2.get(path).headers
        policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == "'self'"
        assert policy["frame-ancestors"] == "'none'"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"
        assert "camera=()" in headers["Permissions-Policy"]
        if not path.startswith("/static"):
            assert headers["Cache-Control"] == "no-store", path


def test_cookies_are_out_of_reach_of_scripts_and_other_sites(alice):
    browser = alice.browser()
    cookies = alice.submits_password(browser).headers.getall("Set-Cookie")
    assert len([cookie for cookie in cookies if cookie.startswith("stepup=")]) == 1
    assert all("HttpOnly" in cookie and "SameSite=Lax" in cookie for cookie in cookies)
    assert not any("Max-Age" in cookie or "Expires" in cookie for cookie in cookies)  # gone with the browser


def test_on_https_cookies_are_secure_and_bound_to_the_host(make_app, alice):
    alice.app = make_app(public_url="https://stepup.example")
    browser = Browser(alice.app)
    browser.extra_environ.update({"wsgi.url_scheme": "https", "HTTP_HOST": "stepup.example"})
    sign_in = form(browser.get("/login"), "/login")
    sign_in["email"], sign_in["password"] = alice.email, alice.password
    answer = sign_in.submit(headers={"Referer": "https://stepup.example/login"})
    assert answer.status_code == 303
    cookies = answer.headers.getall("Set-Cookie")
    assert {cookie.split("=")[0] for cookie in cookies} >= {"__Host-stepup"}
    assert all(cookie.startswith("__Host-") and "Secure" in cookie and "Path=/" in cookie for cookie in cookies)
    assert answer.headers["Strict-Transport-Security"]


def test_in_development_an_ip_address_leads_to_localhost(app):
    browser = Browser(app)
    browser.extra_environ["HTTP_HOST"] = "127.0.0.1:5000"
    answer = browser.get("/login", {"next": "/account"})
    assert (answer.status_code, answer.location) == (308, "http://localhost:5000/login?next=%2Faccount")


def test_no_address_is_made_from_the_host_header(alice):
    browser = alice.browser()
    browser.extra_environ["HTTP_HOST"] = "evil.test"
    for path in ("/", "/login", "/account"):
        page = browser.get(path)
        assert "evil.test" not in page.text + (page.location or "").removeprefix("http://evil.test/")


def test_healthz_answers_without_asking_anybody(app, round_trips):
    assert Browser(app).get("/healthz").json == {"status": "ok"}
    assert round_trips == []


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/no-such-page", 404), ("PUT", "/login", 405), ("GET", "/settings", 404)]
)
def test_errors_of_http_are_pages_too(app, method, path, status):
    page = Browser(app).request(path, method=method)
    assert page.status_code == status
    assert page.html.h1 and page.html.select_one("[role=alert]")


def test_more_than_the_page_takes_is_refused(app):
    assert Browser(app).post("/login", {"email": "x" * 100_000}).status_code == 413


class TestSupabaseAway:
    """Nobody is let in, nobody is signed out, and it is said calmly."""

    @pytest.fixture
    def stranded(self, make_app, alice):
        """Alice's browser, at an app that shares everything with the real one but reaches no Supabase."""
        browser = alice.signs_in()
        away = make_app(supabase_url="http://127.0.0.1:9", secret_key=os.environ["SECRET_KEY"])
        return Browser(away, browser.cookiejar)

    @pytest.mark.parametrize("path", ["/", "/account", "/settings/security", "/mfa/challenge", "/login"])
    def test_pages_say_so_and_the_cookie_stays(self, stranded, path):
        page = stranded.get(path)
        assert page.status_code == 503
        assert page.headers["Retry-After"]
        assert "We cannot reach our account service" in page
        assert "Set-Cookie" not in page.headers or "stepup=;" not in page.headers["Set-Cookie"]

    def test_with_htmx_the_form_keeps_what_was_typed(self, stranded, app):
        token = form(Browser(app, stranded.cookiejar).get("/account"), "/account")["csrf_token"].value
        answer = stranded.post("/account", {"csrf_token": token, "body": "x"}, headers={"HX-Request": "true"})
        assert answer.status_code == 503
        assert answer.headers["HX-Retarget"] == "#notice"
        assert "<html" not in answer.text

    def test_signing_out_fails_openly_instead_of_pretending(self, stranded, app):
        token = form(Browser(app, stranded.cookiejar).get("/account"), "/account")["csrf_token"].value
        assert stranded.post("/logout", {"csrf_token": token}).status_code == 503
        assert Browser(app, stranded.cookiejar).get("/account").status_code == 200
