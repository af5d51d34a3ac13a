"""Removing factors: what is said before, what the last one takes, and signing out elsewhere."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from auth.totp import AuthenticatorApps
from tests.authenticator import Authenticator
from tests.ceremonies import PASSKEYS, add_passkey, copies_of
from tests.mailbox import mails_to
from tests.people import form

APPS = "/settings/security/totp"
SECURITY = "/settings/security"


def first_sentence(browser):
    return browser.get(SECURITY).html.h1.find_next("p").get_text(strip=True)


def factor_ids(person):
    rows = person.database.execute(
        "select id from auth.mfa_factors where user_id = %s and factor_type = 'totp' order by created_at", [person.id]
    )
    return [str(row["id"]) for row in rows]


def removal(browser, factor_id, folder=APPS):
    page = browser.get(f"{folder}/{factor_id}/remove" if folder == APPS else f"{folder}/{factor_id}")
    return form(page, f"{folder}/{factor_id}/remove")


def passkey_ids(person):
    rows = person.database.execute(
        "select id from public.mfa_passkeys where user_id = %s order by created_at", [person.id]
    )
    return [str(row["id"]) for row in rows]


@pytest.fixture
def device():
    return Authenticator("http://localhost:5000")


def test_the_forecast_is_the_first_sentence_of_the_page(alice, device):
    browser = alice.signs_in()
    assert first_sentence(browser) == "Your password is all it takes to sign in."
    alice.set_up_app(browser, "Phone")
    assert first_sentence(browser) == "If you lose “Phone”, you could not sign in any more."
    alice.makes_codes(browser)
    assert first_sentence(browser) == "If you lose “Phone”, you can still sign in with a recovery code."
    add_passkey(browser, device)
    assert first_sentence(browser).startswith("If you lose one of “Passkey” and “Phone”, you can still sign in")
    alice.database.execute("update public.mfa_passkeys set suspect = true where user_id = %s", [alice.id])
    assert first_sentence(browser) == "If you lose “Phone”, you can still sign in with a recovery code."


def test_a_removal_is_forecast(alice, alice_at_aal2, device):
    (phone,) = factor_ids(alice)
    assert "This is your only second factor." in alice_at_aal2.get(f"{APPS}/{phone}/remove")
    add_passkey(alice_at_aal2, device)
    (passkey,) = passkey_ids(alice)
    assert "You can still sign in with “Phone”".lower() in alice_at_aal2.get(f"{PASSKEYS}/{passkey}").text.lower()
    assert "then you can still sign in with “passkey”" in alice_at_aal2.get(f"{APPS}/{phone}/remove").text.lower()


def test_the_last_factor_takes_a_proof_of_the_last_minute(alice, alice_at_aal2):
    (phone,) = factor_ids(alice)
    last = removal(alice_at_aal2, phone)
    alice.ages_proofs(61)
    asked = last.submit()
    assert "This is needed to remove your last second factor." in asked.html.main.get_text()
    assert not asked.html.select("#recovery-form")  # a code from paper is not enough
    assert factor_ids(alice) == [phone]
    alice.forgets_used_codes()
    challenge = form(asked, "/mfa/challenge")
    challenge["code"] = alice.phones[0].code()
    again = form(challenge.submit(), f"{APPS}/{phone}/remove")
    assert again.submit().location == SECURITY
    assert factor_ids(alice) == []


@pytest.mark.parametrize("kind", ["app", "passkey"])
def test_the_owner_is_told_by_mail_when_the_last_one_has_gone(alice, device, kind):
    browser = alice.signs_in()
    if kind == "app":  # the one that stays is what was proven last
        add_passkey(browser, device)
        alice.set_up_app(browser, "Phone")
        first, last = (passkey_ids(alice), PASSKEYS), (factor_ids(alice), APPS)
    else:
        alice.set_up_app(browser, "Phone")
        add_passkey(browser, device)
        first, last = (factor_ids(alice), APPS), (passkey_ids(alice), PASSKEYS)
    removal(browser, first[0][0], first[1]).submit()
    assert mails_to(alice.email) == []
    removal(browser, last[0][0], last[1]).submit()
    (mail,) = mails_to(alice.email)
    assert mail["subject"].startswith("Your last second factor was removed")


def test_one_of_two_takes_a_proof_of_the_last_five_minutes(alice, alice_at_aal2):
    alice.set_up_app(alice_at_aal2, "Tablet")
    first, _ = factor_ids(alice)
    alice.ages_proofs(250)
    assert removal(alice_at_aal2, first).submit().location == SECURITY


def test_the_last_passkey_takes_a_proof_of_the_last_minute(alice, device):
    browser = alice.signs_in()
    add_passkey(browser, device)
    (passkey,) = passkey_ids(alice)
    alice.ages_proofs(61)
    assert removal(browser, passkey, PASSKEYS).submit().status_code == 403
    assert passkey_ids(alice) == [passkey]


def test_a_recovery_code_does_not_remove_the_last_factor(alice, alice_at_aal2):
    alice.makes_codes(alice_at_aal2)
    browser = alice.browser()
    alice.submits_password(browser)
    alice.submits_recovery_code(browser, alice.codes[0])
    (phone,) = factor_ids(alice)
    asked = removal(browser, phone).submit()
    assert asked.status_code == 403
    assert "recovery code, which is not enough for this" in asked.html.main.get_text(" ", strip=True)
    assert factor_ids(alice) == [phone]


def test_of_two_removals_at_once_the_second_finds_that_it_is_the_last(alice, alice_at_aal2, monkeypatch):
    """Each is one of two when it asks, so neither has proven what the last one takes."""
    alice.set_up_app(alice_at_aal2, "Tablet")
    alice.ages_proofs(100)
    ids = factor_ids(alice)
    both_allowed, remove = Barrier(2, timeout=10), AuthenticatorApps.remove

    def remove_at_once(*arguments, **named):
        both_allowed.wait()
        return remove(*arguments, **named)

    monkeypatch.setattr(AuthenticatorApps, "remove", remove_at_once)
    browsers = copies_of(alice, alice_at_aal2, 2)
    forms = [removal(browser, factor_id) for browser, factor_id in zip(browsers, ids, strict=True)]
    with ThreadPoolExecutor(2) as pool:
        answers = dict(zip(ids, pool.map(lambda one: one.submit(), forms), strict=True))
    (kept,) = factor_ids(alice)
    (removed,) = set(ids) - {kept}
    assert answers[removed].location == SECURITY
    assert answers[kept].status_code == 409
    assert "Your ways to sign in were changed a moment ago" in answers[kept]


@pytest.mark.parametrize("function", ["mfa_remove_factor", "passkey_remove"])
def test_sql_keeps_the_last_one_unless_told_otherwise(alice, alice_at_aal2, device, function):
    if function == "passkey_remove":
        add_passkey(alice_at_aal2, device)
        assert alice.database.execute(
            "select public.mfa_remove_factor(%s, %s, false) as done", [alice.id, factor_ids(alice)[0]]
        ).fetchone() == {"done": "removed"}
        (factor_id,) = passkey_ids(alice)
    else:
        (factor_id,) = factor_ids(alice)
    removes = f"select public.{function}(%s, %s, %s) as done"
    for even_last, done in [(False, "kept"), (True, "last"), (True, None)]:
        found = alice.database.execute(removes, [alice.id, factor_id, even_last]).fetchone()
        assert found == {"done": done}


@pytest.fixture
def one_of_two(alice, alice_at_aal2):
    """The form that removes the first of two apps, and a browser that is signed in elsewhere."""
    alice.set_up_app(alice_at_aal2, "Tablet")
    alice.forgets_used_codes()
    elsewhere = alice.signs_in()
    return removal(alice_at_aal2, factor_ids(alice)[0]), elsewhere


@pytest.mark.parametrize("ticked", [True, False])
def test_a_removal_offers_to_sign_out_everywhere_else(alice_at_aal2, one_of_two, ticked):
    one, elsewhere = one_of_two
    box = one.fields["sign_out_elsewhere"][0]
    assert box.checked
    box.checked = ticked
    one.submit()
    assert alice_at_aal2.get("/account").status_code == 200
    assert (elsewhere.get("/account").status_code == 200) is not ticked


@pytest.mark.parametrize("ticked", [True, False])
def test_the_box_stays_as_it_was_where_a_proof_came_between(alice, one_of_two, ticked):
    one, elsewhere = one_of_two
    one.set("sign_out_elsewhere", ticked, index=0)
    alice.ages_proofs(400)
    alice.forgets_used_codes()
    challenge = form(one.submit(), "/mfa/challenge")
    challenge["code"] = alice.phones[-1].code()
    challenge["factor"].force_value(factor_ids(alice)[1])
    page = challenge.submit()
    assert page.html.dl.get_text(" ", strip=True) == f"Sign out elsewhere {'yes' if ticked else 'no'}"
    assert form(page, one.action).submit().location == SECURITY
    assert (elsewhere.get("/account").status_code == 200) is not ticked


@pytest.mark.parametrize("ticked", [True, False])
def test_adding_a_second_factor_offers_it_too(alice, alice_at_aal2, ticked):
    alice.forgets_used_codes()
    elsewhere = alice.signs_in()
    tablet = alice.begins_app(alice_at_aal2, "Tablet")
    finish = form(alice_at_aal2.get(APPS), f"{APPS}/verify")
    box = finish.fields["sign_out_elsewhere"][0]
    assert box.checked
    box.checked = ticked
    finish["code"] = tablet.code()
    page = finish.submit().follow()
    assert ("Your other devices were signed out." in page) is ticked
    assert (elsewhere.get("/account").status_code == 200) is not ticked


def test_a_button_signs_out_everywhere_else_at_any_time(alice, alice_at_aal2, round_trips):
    alice.forgets_used_codes()
    elsewhere = alice.signs_in()
    button = form(alice_at_aal2.get(SECURITY), f"{SECURITY}/sign-out-elsewhere")
    round_trips.clear()
    assert button.submit().location == SECURITY
    assert round_trips == ["POST /rest/v1/rpc/vault_read", "POST /rest/v1/rpc/sessions_end_others"]
    assert elsewhere.get("/account").location.startswith("/login")
    assert alice_at_aal2.get("/account").status_code == 200


def test_nobody_elses_sessions_end(alice_at_aal2, new_person):
    bob = new_person("bob").signs_in()
    form(alice_at_aal2.get(SECURITY), f"{SECURITY}/sign-out-elsewhere").submit()
    assert bob.get("/account").status_code == 200
