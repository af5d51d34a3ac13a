"""Passwords forgotten, changed and set; and signing in by mail. None of it gets past a second factor."""

from uuid import uuid4

import pytest

from tests.mailbox import link_to, mails_to
from tests.people import alerts, form

NEW = "a rather different sentence"
CHANGE = "/settings/security/password"


def asks_for_mail(browser, page, email):
    asked = form(browser.get(page), page)
    asked["email"] = email
    return asked.submit()


def follows_reset_link(person, browser):
    asks_for_mail(browser, "/forgot-password", person.email)
    page = browser.get(link_to(person.email, "/reset-password")).follow()
    return form(page, "/auth/confirm").submit()


def sets_password(browser, password=NEW):
    change = form(browser.get(CHANGE), CHANGE)
    change["password"] = password
    return change.submit()


def test_a_forgotten_password_is_replaced_by_mail(alice):
    browser = alice.browser()
    assert follows_reset_link(alice, browser).location == CHANGE
    assert sets_password(browser).location == "/settings/security"
    assert "Email or password is incorrect." in alice.submits_password(alice.browser())
    alice.password = NEW
    assert alice.submits_password(alice.browser()).location == "/account"


def test_resetting_the_password_leads_to_the_challenge_first(alice_with_totp):
    alice = alice_with_totp
    browser = alice.browser()
    assert follows_reset_link(alice, browser).location == CHANGE
    challenge = browser.get(CHANGE)
    assert challenge.location.startswith("/mfa/challenge?next=")
    token = form(challenge.follow(), "/mfa/challenge")["csrf_token"].value
    assert browser.post(CHANGE, {"csrf_token": token, "password": NEW}).location.startswith("/mfa/challenge")
    answer = form(challenge.follow(), "/mfa/challenge")
    answer["code"] = alice.phones[0].code()
    assert answer.submit().location == CHANGE
    assert sets_password(browser).location == "/settings/security"


def test_a_mailbox_alone_reads_nothing_of_somebody_with_a_second_factor(alice_with_totp):
    browser = alice_with_totp.browser()
    asks_for_mail(browser, "/login/mail", alice_with_totp.email)
    page = browser.get(link_to(alice_with_totp.email, "/auth/confirm"))
    assert form(page, "/auth/confirm").submit().location == "/account"
    assert browser.get("/account").location.startswith("/mfa/challenge")


def test_signing_in_by_mail_takes_the_place_of_the_password(alice):
    browser = alice.browser()
    asks_for_mail(browser, "/login/mail", alice.email)
    form(browser.get(link_to(alice.email, "/auth/confirm")), "/auth/confirm").submit()
    assert browser.get("/account").status_code == 200
    assert browser.get(CHANGE).status_code == 200  # fresh proof: who has no password sets one


@pytest.mark.parametrize("page", ["/forgot-password", "/login/mail", "/signup/resend"])
def test_asking_for_a_mail_tells_nothing_about_who_has_an_account(alice, page):
    known = asks_for_mail(alice.browser(), page, alice.email)
    again = asks_for_mail(alice.browser(), page, alice.email)
    nobody = f"nobody-{uuid4().hex}@example.com"
    unknown = asks_for_mail(alice.browser(), page, nobody)
    assert known.status_code == again.status_code == unknown.status_code == 200
    texts = {page.text.replace(alice.email, nobody) for page in (known, again, unknown)}
    assert len(texts) == 1
    assert mails_to(nobody) == []


def test_asking_for_the_confirmation_again_sends_it_to_who_needs_it(app, new_person, database):
    person = new_person("unconfirmed")
    database.execute("update auth.users set email_confirmed_at = null where id = %s", [person.id])
    browser = person.browser()
    asks_for_mail(browser, "/signup/resend", person.email)
    assert form(browser.get(link_to(person.email, "/auth/confirm")), "/auth/confirm").submit().location == "/account"


def test_changing_the_password_signs_out_every_other_device_and_renews_this_one(alice):
    here, elsewhere = alice.signs_in(), alice.signs_in()
    key = here.cookies["stepup"]
    assert "other devices were signed out" in sets_password(here).follow()
    assert here.cookies["stepup"] != key
    assert here.get("/account").status_code == 200
    assert elsewhere.get("/account").location.startswith("/login")


def test_changing_the_password_needs_fresh_proof(alice):
    browser = alice.signs_in()
    alice.ages_proofs(400)
    assert browser.get(CHANGE).location.startswith("/login?next=")


@pytest.mark.parametrize(
    ("password", "sentence"),
    [
        ("", "Choose a password."),
        ("short", "Use at least 10 characters."),
        ("password1234", "guessing program"),
        ("é" * 40, "Use at most 72 characters"),
        (None, "the password you have already"),
    ],
)
def test_a_password_that_will_not_do_gets_a_sentence_and_changes_nothing(alice, password, sentence):
    browser = alice.signs_in()
    page = sets_password(browser, alice.password if password is None else password)
    assert page.status_code == 422
    assert any(sentence in alert for alert in alerts(page))
    assert alice.submits_password(alice.browser()).location == "/account"


def test_a_reset_link_works_once_and_says_so(alice):
    follows_reset_link(alice, alice.browser())
    page = alice.browser().get(link_to(alice.email, "/reset-password")).follow()
    again = form(page, "/auth/confirm").submit()
    assert again.status_code == 422
    assert again.html.find("a", href="/forgot-password")


def test_a_session_older_than_a_day_proves_the_password_again_instead_of_failing(alice, database):
    """Supabase wants a nonce then (secure_password_change); a new sign-in serves as well."""
    browser = alice.signs_in()
    database.execute("update auth.sessions set created_at = now() - interval '25 hours' where user_id = %s", [alice.id])
    assert sets_password(browser).location.startswith("/login?next=")


def test_a_visit_to_the_reset_page_without_a_link_leads_to_asking_for_one(app, alice):
    assert alice.browser().get("/reset-password").location == "/forgot-password"
