"""Signing in with a password, and the gate behind it."""

import pytest

from tests.people import alerts, form


def test_without_a_second_factor_the_password_is_enough(alice):
    page = alice.submits_password(alice.browser()).follow()
    assert page.status_code == 200
    assert page.html.h1.get_text() == "Your notes"


def test_with_a_second_factor_the_password_leads_to_the_challenge_and_nowhere_else(alice_with_totp):
    browser = alice_with_totp.browser()
    alice_with_totp.submits_password(browser)
    for path in ("/account", "/settings/security", "/settings/security/totp"):
        assert browser.get(path).location.startswith("/mfa/challenge?next="), path


def test_password_and_code_lead_to_where_the_person_wanted_to_go(alice_with_totp):
    browser = alice_with_totp.browser()
    wanted = browser.get("/settings/security")
    sign_in = form(wanted.follow(), "/login")
    sign_in["email"], sign_in["password"] = alice_with_totp.email, alice_with_totp.password
    challenge = form(sign_in.submit().follow().follow(), "/mfa/challenge")
    challenge["code"] = alice_with_totp.phones[0].code()
    assert challenge.submit().location == "/settings/security"


@pytest.mark.parametrize("attempt", ["wrong password", "unknown email"])
def test_an_unknown_email_reads_the_same_as_a_wrong_password(alice, attempt):
    browser = alice.browser()
    if attempt == "unknown email":
        alice.email = f"nobody-{alice.email}"
    page = alice.submits_password(browser, password="not the password")
    assert page.status_code == 422
    assert alerts(page) == ["Email or password is incorrect."]
    assert alice.email in page.text  # what was typed is still there
    assert "stepup" not in browser.cookies


def test_signing_out_ends_this_session_and_no_other(alice):
    here, elsewhere = alice.signs_in(), alice.signs_in()
    page = form(here.get("/logout"), "/logout").submit()
    assert page.location == "/login"
    assert here.get("/account").location.startswith("/login")
    assert elsewhere.get("/account").status_code == 200


def test_a_new_sign_in_ends_the_one_that_the_browser_had(alice, database):
    browser = alice.signs_in()
    alice.signs_in(browser)
    sessions = database.execute("select from auth.sessions where user_id = %s", [alice.id])
    assert sessions.rowcount == 1


def test_signing_in_replaces_a_key_that_was_planted_in_the_browser_before(alice):
    browser = alice.browser()
    browser.set_cookie("stepup", "planted")
    alice.signs_in(browser)
    assert browser.cookies["stepup"] != "planted"


@pytest.mark.parametrize(
    "next", ["https://evil.test/", "//evil.test", "/\\evil.test", "/\t/evil.test", "javascript:alert(1)", "account", ""]
)
def test_next_never_leads_away_from_this_site(alice, next):
    assert alice.submits_password(alice.browser(), next=next).location == "/account"


@pytest.mark.parametrize("headers", [{}, {"HX-Request": "true"}], ids=["plain", "htmx"])
def test_next_may_hold_any_letter(alice, headers):
    browser = alice.browser()
    sign_in = form(browser.get("/login", {"next": "/account?q=ü😀%20"}), "/login")
    sign_in["email"], sign_in["password"] = alice.email, alice.password
    answer = sign_in.submit(headers=headers)
    assert "/account?q=%C3%BC%F0%9F%98%80%20" in (answer.location, answer.headers.get("HX-Redirect"))
    assert browser.get("/account").status_code == 200
