"""A new address: asked for with fresh proof, confirmed in both mailboxes, or cancelled."""

from uuid import uuid4

import pytest

from tests.mailbox import link_to, mails_to
from tests.people import form

PAGE = "/account/change-email"


@pytest.fixture
def new_address():
    return f"new-{uuid4().hex[:12]}@example.com"


def asks(browser, address):
    change = form(browser.get(PAGE), PAGE)
    change["email"] = address
    return change.submit()


def confirms(browser, address):
    return form(browser.get(link_to(address, "/auth/confirm")), "/auth/confirm").submit()


def test_the_change_waits_for_both_mailboxes(alice, new_address):
    browser = alice.signs_in()
    waiting = asks(browser, new_address).follow()
    assert "Waiting for both mailboxes" in waiting
    assert new_address in waiting and alice.email in waiting

    half = confirms(browser, new_address)
    assert "One of two is confirmed" in half
    assert f"Your address is <strong>{alice.email}</strong>" in browser.get(PAGE)
    assert alice.submits_password(alice.browser()).location == "/account"

    done = confirms(browser, alice.email).follow()
    assert f"Your address is now {new_address}." in done
    assert new_address in browser.get("/settings/security")
    alice.email = new_address
    assert alice.submits_password(alice.browser()).location == "/account"


@pytest.mark.parametrize("mailbox", ["old", "new"])
def test_one_mailbox_alone_changes_nothing(alice, new_address, mailbox):
    browser = alice.signs_in()
    asks(browser, new_address)
    address = alice.email if mailbox == "old" else new_address
    confirms(alice.browser(), address)
    again = form(alice.browser().get(link_to(address, "/auth/confirm")), "/auth/confirm").submit()
    assert again.status_code == 422 or "One of two" in again
    assert f"Your address is <strong>{alice.email}</strong>" in browser.get(PAGE)


def test_finishing_the_change_keeps_what_this_browser_has_proven(alice, new_address, database):
    browser = alice.signs_in()
    alice.set_up_app(browser)
    asks(browser, new_address)
    confirms(browser, new_address)
    confirms(browser, alice.email)
    assert browser.get("/account").status_code == 200
    sessions = database.execute("select aal from auth.sessions where user_id = %s", [alice.id]).fetchall()
    assert [session["aal"] for session in sessions] == ["aal2"]  # the mail's own session is gone


def test_finishing_the_change_in_another_browser_does_not_get_past_the_second_factor(alice_with_totp, new_address):
    browser = alice_with_totp.signs_in()
    asks(browser, new_address)
    elsewhere = alice_with_totp.browser()
    confirms(elsewhere, new_address)
    assert confirms(elsewhere, alice_with_totp.email).location == "/account"
    assert elsewhere.get("/account").location.startswith("/mfa/challenge")


def test_a_cancelled_change_cannot_be_confirmed_any_more(alice, new_address):
    browser = alice.signs_in()
    waiting = asks(browser, new_address).follow()
    assert "Nothing was changed" in form(waiting, PAGE + "/cancel").submit().follow()
    assert "Waiting" not in browser.get(PAGE)
    assert confirms(alice.browser(), new_address).status_code == 422


def test_the_mails_can_be_sent_again(alice, new_address, database):
    browser = alice.signs_in()
    waiting = asks(browser, new_address).follow()
    database.execute(
        "update auth.users set email_change_sent_at = now() - interval '2 minutes' where id = %s", [alice.id]
    )
    before = len(mails_to(new_address))
    assert "sent the mails again" in form(waiting, PAGE + "/resend").submit().follow()
    assert len(mails_to(new_address)) == before + 1


def test_asking_for_an_address_that_is_taken_or_none_gets_a_sentence(new_person):
    alice, bob = new_person(), new_person("bob")
    browser = alice.signs_in()
    assert "cannot be used" in asks(browser, bob.email)
    assert "Enter an email address" in asks(browser, "nonsense")


def test_changing_the_address_needs_fresh_proof(alice, alice_at_aal2):
    alice.ages_proofs(400)
    assert alice_at_aal2.get(PAGE).location.startswith("/mfa/challenge")


def test_an_unchanged_address_starts_no_change(alice):
    browser = alice.signs_in()
    asks(browser, alice.email)
    assert "Waiting" not in browser.get(PAGE)
