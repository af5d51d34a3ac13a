"""Signing up: an account begins when its address has been confirmed, and nobody learns who has one."""

from uuid import uuid4

import pytest

from tests.mailbox import link_to, mails_to
from tests.people import Browser, alerts, form


@pytest.fixture
def browser(app):
    return Browser(app)


@pytest.fixture
def address():
    return f"new-{uuid4().hex[:12]}@example.com"


def sign_up(browser, email, password="correct horse battery"):
    page = form(browser.get("/signup"), "/signup")
    page["email"], page["password"] = email, password
    return page.submit()


def confirmation_path(address):
    return link_to(address, "/auth/confirm")


def test_the_link_in_the_mail_leads_to_the_account(browser, address):
    assert "Check your mail" in sign_up(browser, address)
    confirm = form(browser.get(confirmation_path(address)), "/auth/confirm")
    page = confirm.submit().follow()
    assert page.html.h1.get_text() == "Your notes"


def test_opening_the_link_confirms_nothing_because_mail_scanners_open_links(browser, address):
    sign_up(browser, address)
    for _ in range(2):
        assert "one click away" in browser.get(confirmation_path(address))
    assert form(browser.get(confirmation_path(address)), "/auth/confirm").submit().location == "/account"


def test_the_link_works_once(browser, address, app):
    sign_up(browser, address)
    path = confirmation_path(address)
    form(browser.get(path), "/auth/confirm").submit()
    again = form(Browser(app).get(path), "/auth/confirm").submit()
    assert again.status_code == 422
    assert "expired or was used before" in again


@pytest.mark.parametrize("query", ["", "?token_hash=", "?token_hash=nonsense", "?token_hash=pkce_" + "0" * 56])
def test_a_link_that_is_not_one_says_so(browser, query):
    page = form(browser.get("/auth/confirm" + query), "/auth/confirm").submit()
    assert page.status_code == 422
    assert alerts(page)


def test_without_the_click_in_the_mail_the_password_does_not_sign_in(browser, address):
    sign_up(browser, address)
    sign_in = form(browser.get("/login"), "/login")
    sign_in["email"], sign_in["password"] = address, "correct horse battery"
    assert "confirm your email first" in sign_in.submit()
    sign_in["password"] = "something else"
    assert "Email or password is incorrect." in sign_in.submit()


def test_an_address_that_has_an_account_reads_the_same_and_gets_no_mail(browser, alice, address):
    taken, free = sign_up(browser, alice.email), sign_up(browser, address)
    assert taken.status_code == free.status_code == 200
    assert taken.text.replace(alice.email, address) == free.text
    assert mails_to(alice.email) == []
    assert alice.submits_password(alice.browser()).status_code == 303  # with the old password


def test_signing_up_twice_in_a_row_reads_the_same(browser, address):
    assert sign_up(browser, address).text == sign_up(browser, address, "another long password").text


@pytest.mark.parametrize(
    ("email", "password", "sentence"),
    [
        ("", "correct horse battery", "Enter your email address."),
        ("not an address", "correct horse battery", "Enter an email address"),
        ("a@b", "correct horse battery", "Enter an email address"),
        ("alice@example.com", "", "Choose a password."),
        ("alice@example.com", "too short", "Use at least 10 characters."),
        ("alice@example.com", "é" * 37, "Use at most 72 characters"),
    ],
)
def test_bad_input_gets_a_sentence_at_its_field_and_what_was_typed_stays(browser, email, password, sentence):
    page = sign_up(browser, email, password)
    assert page.status_code == 422
    field = page.html.select_one("[aria-invalid=true]")
    described = [page.html.find(id=name).get_text() for name in field["aria-describedby"].split()]
    assert any(sentence in text for text in described)
    assert form(page, "/signup")["email"].value == email
    assert form(page, "/signup")["password"].value == ""
