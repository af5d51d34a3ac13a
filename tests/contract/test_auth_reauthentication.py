"""What a password change can ask for: digits from a mail for an old session, and the password of now."""

import re

import pytest


@pytest.fixture
def old_session(alice, database):
    """Alice, signed in a day and a second ago; the settings ask such a session for digits."""
    phone = alice.sign_in()
    database.execute(
        "update auth.sessions set created_at = now() - interval '86401 seconds' where id = %s",
        [phone.claims["session_id"]],
    )
    return phone


@pytest.fixture
def nonce(old_session, alice, mails):
    assert old_session.call("GET", "/reauthenticate").body == {}
    mail = mails(alice.email)[0]
    assert mail["kind"] == "reauthentication"
    return re.search(r"\b\d{6}\b", mail["html"])[0]


def _change(device, **body):
    return device.call("PUT", "/user", {"password": "a better one 4", **body})


def test_an_old_session_needs_a_nonce_to_change_the_password(old_session, nonce, alice, wire):
    """45: and anything else it changes without one."""
    assert _change(old_session).refusal == (400, "reauthentication_needed")
    assert _change(old_session, nonce="").refusal == (400, "reauthentication_needed")
    wrong = "000000" if nonce != "000000" else "111111"
    assert _change(old_session, nonce=wrong).refusal == (422, "reauthentication_not_valid")
    assert old_session.call("PUT", "/user", {"data": {"x": 1}}).status == 200
    assert alice.log_in().status == 200
    assert _change(old_session, nonce=nonce).status == 200
    assert alice.log_in("a better one 4").status == 200


def test_a_young_session_needs_none(alices_phone):
    """45."""
    assert _change(alices_phone).status == 200


def test_a_nonce_works_once(old_session, nonce):
    """45, 25."""
    assert _change(old_session, nonce=nonce).status == 200
    again = old_session.call("PUT", "/user", {"password": "yet another 5", "nonce": nonce})
    assert again.refusal == (422, "reauthentication_not_valid")


def test_a_nonce_expires(old_session, nonce, alice, database):
    """3.8."""
    database.execute(
        "update auth.users set reauthentication_sent_at = now() - interval '2 days' where id = %s", [alice.id]
    )
    assert _change(old_session, nonce=nonce).refusal == (422, "reauthentication_not_valid")


def test_a_nonce_is_its_owners(old_session, nonce, bob, database):
    """26."""
    bobs = bob.sign_in()
    database.execute("update auth.sessions set created_at = now() - interval '2 days' where user_id = %s", [bob.id])
    assert _change(bobs, nonce=nonce).refusal == (422, "reauthentication_not_valid")


def test_a_nonce_signs_nobody_in(wire, alice, nonce):
    """3.9."""
    for type_ in ("email", "recovery", "magiclink", "signup", "reauthentication"):
        body = {"type": type_, "email": alice.email, "token": nonce}
        assert wire("POST", "/verify", body).refusal == (403, "otp_expired")


def test_an_unconfirmed_person_gets_no_nonce(wire, alice, alices_phone, database, mails):
    """3.9."""
    database.execute("update auth.users set email_confirmed_at = null where id = %s", [alice.id])
    assert alices_phone.call("GET", "/reauthenticate").refusal == (422, "email_not_confirmed")
    assert mails(alice.email) == []
    assert wire("GET", "/reauthenticate", headers={"Authorization": ""}).refusal == (401, "no_authorization")


def test_two_nonces_at_once_are_refused(alice, alices_phone, database):
    """3.9."""
    database.execute(
        "update auth.users set reauthentication_sent_at = now() + interval '1 minute' where id = %s", [alice.id]
    )
    assert alices_phone.call("GET", "/reauthenticate").refusal == (429, "over_email_send_rate_limit")


def test_switched_off_an_old_session_needs_no_nonce(people_with, database):
    """45."""
    person = people_with(secure_password_change=False).add()
    phone = person.sign_in()
    database.execute("update auth.sessions set created_at = now() - interval '2 days' where user_id = %s", [person.id])
    assert _change(phone).status == 200


def test_the_present_password_can_be_asked_for(people_with):
    """3.8."""
    person = people_with(require_current_password=True).add()
    phone = person.sign_in()
    assert _change(phone).refusal == (400, "current_password_required")
    assert _change(phone, current_password="wrong").refusal == (400, "current_password_invalid")
    assert _change(phone, current_password=person.password).status == 200


def test_nobody_is_asked_for_a_password_they_forgot(people_with, database, mails):
    """3.8: a session from a mail; nor for one they never had."""
    people = people_with(require_current_password=True)
    person = people.add()
    made = people.wire.as_admin("POST", "/admin/generate_link", {"type": "recovery", "email": person.email}).body
    tokens = people.wire("POST", "/verify", {"type": "recovery", "token_hash": made["hashed_token"]}).body
    change = {"password": "a better one 4"}
    assert people.wire("PUT", "/user", change, token=tokens["access_token"]).status == 200
    phone = people.add().sign_in()
    database.execute("update auth.users set encrypted_password = null where id = %s", [phone.claims["sub"]])
    assert _change(phone).status == 200
