"""Asking for links by mail: forgotten passwords, signing in without one, and a new address."""

from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs

import pytest

from tests.contract.mailed import token_hash

MAIL_ENDPOINTS = [
    ("/recover", {}),
    ("/otp", {}),
    ("/otp", {"create_user": False}),
    ("/magiclink", {}),
    ("/resend", {"type": "signup"}),
    ("/resend", {"type": "email_change"}),
]


@pytest.fixture
def newest(mails):
    """The last mail to an address."""
    return lambda address: mails(address)[0]


@pytest.fixture
def change(alice, alices_phone, people, newest):
    """Alice asked for a new address: (the new one, the hash mailed to the old, the hash mailed to the new)."""
    address = people.free_address()
    answer = alices_phone.call("PUT", "/user", {"email": address.upper()})
    assert answer.status == 200, answer
    assert (answer.body["email"], answer.body["new_email"]) == (alice.email, address)
    return address, token_hash(newest(alice.email)), token_hash(newest(address))


def _verify(wire, type_, token):
    return wire("POST", "/verify", {"type": type_, "token_hash": token})


@pytest.mark.parametrize(("path", "body"), MAIL_ENDPOINTS)
def test_known_and_unknown_addresses_are_answered_alike(wire, people, alice, database, path, body):
    """31: `/otp` with `create_user` false tells, and says so in its name; an address it makes is confirmed first."""
    unknown = people.free_address()
    answers = [wire("POST", path, {"email": address, **body}) for address in (alice.email, unknown)]
    made = database.execute("select id::text from auth.users where email = %s", [unknown]).fetchall()
    people.made += [user_id for (user_id,) in made]
    if body.get("create_user") is False:
        assert answers[1].refusal == (422, "otp_disabled")
        answers = answers[:1]
    assert {(answer.status, str(answer.body)) for answer in answers} == {(200, "{}")}


@pytest.mark.parametrize(("path", "body"), MAIL_ENDPOINTS)
def test_a_missing_or_malformed_address_is_refused(wire, path, body):
    """3.10."""
    assert wire("POST", path, {**body, "email": "no address"}).refusal == (400, "validation_failed")
    missing = (422 if path == "/magiclink" else 400, "validation_failed")
    assert wire("POST", path, body).refusal == missing
    assert wire("POST", path, {**body, "email": 1}).refusal == (400, "bad_json")


@pytest.mark.parametrize(
    ("path", "body", "refusal"),
    [
        ("/otp", {"email": "a@example.com", "phone": "123"}, (400, "validation_failed")),
        ("/otp", {"email": "a@example.com", "channel": "sms"}, (400, "validation_failed")),
        ("/otp", {"phone": "123"}, (400, "phone_provider_disabled")),
        ("/resend", {"email": "a@example.com"}, (400, "validation_failed")),
        ("/resend", {"type": "recovery", "email": "a@example.com"}, (400, "validation_failed")),
        ("/resend", {"type": "sms", "email": "a@example.com"}, (400, "validation_failed")),
        ("/resend", {"type": "sms", "phone": "123"}, (400, "phone_provider_disabled")),
        ("/resend", {"type": "signup", "email": "a@example.com", "phone": "1"}, (400, "validation_failed")),
    ],
)
def test_what_is_not_offered_is_refused_with_its_code(wire, path, body, refusal):
    """3.10."""
    assert wire("POST", path, body).refusal == refusal


def test_a_recovery_link_signs_in_and_ends_no_session(client, wire, alice, alices_phone, newest):
    """25, 3.11: the proof is `otp`; only the password change that follows ends the others."""
    client.auth.reset_password_for_email(alice.email.upper(), {"redirect_to": "http://localhost:5000/reset"})
    mail = newest(alice.email)
    assert mail["kind"] == "recovery"
    recovered = client.auth.verify_otp({"token_hash": token_hash(mail), "type": "recovery"})
    assert recovered.user.id == alice.id
    assert [entry["method"] for entry in client.auth.get_claims()["claims"]["amr"]] == ["otp"]
    assert alices_phone.call("GET", "/user").status == 200
    client.auth.update_user({"password": "a better one 4"})
    assert alices_phone.call("GET", "/user").refusal == (403, "session_not_found")
    assert alice.log_in("a better one 4").status == 200


def test_a_recovery_session_does_not_pass_the_second_factor(wire, alice, alices_app, newest):
    """13: a password reset cannot bypass it."""
    wire("POST", "/recover", {"email": alice.email})
    tokens = _verify(wire, "recovery", token_hash(newest(alice.email))).body
    change = wire("PUT", "/user", {"password": "a better one 4"}, token=tokens["access_token"])
    assert change.refusal == (401, "insufficient_aal")
    assert alice.log_in().status == 200


def test_a_magic_link_signs_in_without_a_password(client, alice, newest):
    """3.10."""
    client.auth.sign_in_with_otp({"email": alice.email, "options": {"should_create_user": False}})
    mail = newest(alice.email)
    assert mail["kind"] == "magic_link"
    assert client.auth.verify_otp({"token_hash": token_hash(mail), "type": "magiclink"}).user.id == alice.id


def test_a_magic_link_to_an_unknown_address_begins_an_account(client, people, newest):
    """3.10: the mail is a sign-up's, and following it confirms the address."""
    email = people.free_address()
    client.auth.sign_in_with_otp({"email": email, "options": {"data": {"colour": "green"}}})
    mail = newest(email)
    assert mail["kind"] == "confirmation"
    made = client.auth.verify_otp({"token_hash": token_hash(mail), "type": "email"}).user
    people.made.append(made.id)
    assert made.email_confirmed_at
    assert made.user_metadata["colour"] == "green"


def test_an_unconfirmed_person_gets_the_confirmation_again(wire, people, newest, database):
    """3.10, 32, 25: by /resend and by /otp; password and metadata stay."""
    email = people.free_address()
    people.sign_up(email, "long enough 1")
    first = token_hash(newest(email))
    for path, body in (("/resend", {"type": "signup"}), ("/otp", {"data": {"name": "Mallory"}})):
        database.execute("update auth.users set confirmation_sent_at = null where email = %s", [email])
        assert wire("POST", path, {"email": email, **body}).body == {}
    mail = newest(email)
    assert mail["kind"] == "confirmation"
    assert _verify(wire, "signup", first).refusal == (403, "otp_expired")
    answer = _verify(wire, "signup", token_hash(mail))
    assert answer.status == 200
    assert "name" not in answer.body["user"]["user_metadata"]
    password = {"email": email, "password": "long enough 1"}
    assert wire("POST", "/token?grant_type=password", password).status == 200


def test_nothing_is_sent_again_when_nothing_waits(wire, alice, mails):
    """3.10."""
    for type_ in ("signup", "email_change"):
        assert wire("POST", "/resend", {"type": type_, "email": alice.email}).body == {}
    assert mails(alice.email) == []


@pytest.mark.parametrize(
    ("path", "body", "column"),
    [
        ("/recover", {}, "recovery_sent_at"),
        ("/otp", {}, "recovery_sent_at"),
        ("/resend", {"type": "email_change"}, "email_change_sent_at"),
    ],
)
def test_two_mails_of_one_kind_at_once_are_refused(wire, alice, change, database, mails, path, body, column):
    """1.9."""
    database.execute(f"update auth.users set {column} = now() + interval '1 minute' where id = %s", [alice.id])
    count = len(mails(alice.email))
    assert wire("POST", path, {"email": alice.email, **body}).refusal == (429, "over_email_send_rate_limit")
    assert len(mails(alice.email)) == count


def test_an_address_changes_when_both_have_agreed(wire, alice, change, newest):
    """46: the first answer is what the client reads as half, the second is a session; the old one works till then."""
    address, old, new = change
    half = _verify(wire, "email_change", old)
    assert (half.status, half.body["code"]) == (200, "200")
    assert "access_token" not in half.body
    assert alice.log_in().status == 200
    assert _verify(wire, "email_change", old).refusal == (403, "otp_expired")
    whole = _verify(wire, "email_change", new)
    assert (whole.status, whole.body["user"]["email"]) == (200, address)
    assert whole.body["user"]["identities"][0]["identity_data"]["email"] == address
    assert "new_email" not in whole.body["user"]
    assert alice.log_in().refusal == (400, "invalid_credentials")
    alice.email = address
    assert alice.log_in().status == 200


def test_an_address_changes_in_the_other_order_too_and_by_digits(wire, alice, change, newest, database):
    """46, 26: digits count for the address they went to."""
    address, old, new = change
    assert _verify(wire, "email_change", new).body["code"] == "200"
    for email, digits in ((address, "123456"), (alice.email, "654321")):
        database.execute(
            "update auth.one_time_tokens set token_hash = encode(sha224(convert_to(%s, 'utf8')), 'hex')"
            " where user_id = %s and token_type = 'email_change_token_current'",
            [alice.email + "654321", alice.id],
        )
        answer = wire("POST", "/verify", {"type": "email_change", "email": email, "token": digits})
    assert (answer.status, answer.body["user"]["email"]) == (200, address)


def test_one_mailbox_alone_does_not_change_an_address(wire, alice, change, alices_phone, newest, database):
    """46: neither by using its link twice, nor by asking for the mails again after the first half."""
    address, _, new = change
    assert _verify(wire, "email_change", new).body["code"] == "200"
    assert _verify(wire, "email_change", new).refusal == (403, "otp_expired")
    database.execute("update auth.users set email_change_sent_at = null where id = %s", [alice.id])
    assert wire("POST", "/resend", {"type": "email_change", "email": alice.email}).status == 200
    assert _verify(wire, "email_change", token_hash(newest(address))).body["code"] == "200"
    assert alices_phone.call("GET", "/user").body["email"] == alice.email


def test_of_many_uses_of_the_second_half_at_once_one_succeeds(wire, change):
    """27."""
    _, old, new = change
    _verify(wire, "email_change", old)
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: _verify(wire, "email_change", new), range(20)))
    assert sorted(answer.status for answer in answers) == [200] + [403] * 19


def test_both_halves_at_once_are_one_half_and_one_session(wire, change):
    """27, 46: whichever comes first."""
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda token: _verify(wire, "email_change", token), change[1:]))
    assert [answer.status for answer in answers] == [200, 200]
    assert sorted("access_token" in answer.body for answer in answers) == [False, True]


def test_an_address_somebody_has_is_refused_and_so_is_one_taken_meanwhile(wire, people, alices_phone, bob, change):
    """3.8."""
    assert alices_phone.call("PUT", "/user", {"email": bob.email}).refusal == (422, "email_exists")
    address, old, new = change
    people.add(email=address)
    _verify(wire, "email_change", old)
    assert _verify(wire, "email_change", new).refusal == (422, "email_exists")


def test_the_own_address_is_no_change(alices_phone, alice, mails):
    """3.8."""
    answer = alices_phone.call("PUT", "/user", {"email": alice.email.upper()})
    assert answer.status == 200
    assert "new_email" not in answer.body
    assert mails(alice.email) == []


def test_a_change_ends_no_session(wire, change, alices_phone):
    """3.8."""
    for token in change[1:]:
        _verify(wire, "email_change", token)
    assert alices_phone.call("GET", "/user").status == 200
    assert alices_phone.refresh().status == 200


def test_the_client_reads_half_a_change_as_such(client, change):
    """0.3: an empty answer, then a session."""
    _, old, new = change
    assert client.auth.verify_otp({"token_hash": old, "type": "email_change"}).session is None
    assert client.auth.verify_otp({"token_hash": new, "type": "email_change"}).session


def test_following_half_a_change_leads_home_with_a_message(wire, change, our_server):
    """3.11."""
    _, old, new = change
    first = wire("GET", f"/verify?type=email_change&token={old}", headers={"apikey": ""})
    assert first.status == 303
    assert "message" in parse_qs(first.headers["Location"].partition("#")[2])
    second = wire("GET", f"/verify?type=email_change&token={new}", headers={"apikey": ""})
    assert "access_token" in parse_qs(second.headers["Location"].partition("#")[2])


def test_every_mail_names_its_address_its_life_and_what_to_do_otherwise(our_server, wire, alice, bob, change, newest):
    """Of this project: links lead to the app, never to /verify, which a mail scanner would use up."""
    wire("POST", "/recover", {"email": alice.email})
    wire("POST", "/otp", {"email": bob.email})
    address = change[0]
    for mailed_to, person, path in (
        (alice.email, alice, "/reset-password?token_hash="),
        (bob.email, bob, "/auth/confirm?token_hash="),
        (address, alice, "/auth/confirm?token_hash="),
    ):
        mail = newest(mailed_to)
        assert mail["links"][0].startswith(f"http://localhost:5000{path}")
        assert person.email in mail["html"]
        assert "one hour" in mail["html"]
        assert "If it was not you" in mail["html"]
