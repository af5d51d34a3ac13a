"""Signing up, and the link that confirms the address."""

from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.contract.mailed import token_hash
from tests.waiting import eventually


def _log_in(wire, email, password):
    return wire("POST", "/token?grant_type=password", {"email": email, "password": password})


def _confirmation_due_again(database, email):
    """As if the wait between two mails were over."""
    database.execute(
        "update auth.users set confirmation_sent_at = now() - interval '5 minutes' where email = %s", [email]
    )


@pytest.fixture
def carol(people, mails):
    """Somebody who signed up and has the mail, but has not confirmed: (address, password, mail)."""
    email, password = people.free_address(), "long enough 1"
    assert people.sign_up(email, password, data={"name": "Carol"}).status == 200
    return email, password, mails(email)[0]


def test_the_client_signs_up_confirms_and_signs_in(client, people, mails):
    """The journey, by the unmodified client; 10.3.2: the proof of any verification is `otp`."""
    email = people.free_address()
    made = client.auth.sign_up({"email": email.upper(), "password": "long enough 1", "options": {"data": {"a": 1}}})
    people.made.append(made.user.id)
    assert made.session is None
    assert made.user.user_metadata == {
        "a": 1,
        "sub": made.user.id,
        "email": email,
        "email_verified": False,
        "phone_verified": False,
    }
    [mail] = mails(email)
    confirmed = client.auth.verify_otp({"token_hash": token_hash(mail), "type": "email"})
    assert confirmed.user.user_metadata["email_verified"] is True
    assert confirmed.user.identities[0].identity_data["email_verified"] is True
    assert [entry["method"] for entry in client.auth.get_claims()["claims"]["amr"]] == ["otp"]
    signed_in = client.auth.sign_in_with_password({"email": email, "password": "long enough 1"})
    assert signed_in.user.id == made.user.id


def test_an_unconfirmed_person_cannot_sign_in_and_learns_it_only_by_the_right_password(wire, carol):
    """33."""
    email, password, _ = carol
    assert _log_in(wire, email, password).refusal == (400, "email_not_confirmed")
    assert _log_in(wire, email, "wrong").refusal == (400, "invalid_credentials")


def test_a_mail_shows_an_address_as_text(people, our_server, mails):
    """Whoever signs up chooses it, and the mail goes to whom they like."""
    email = f"a&b'{people.free_address()}"
    assert people.sign_up(email).status == 200
    assert email.replace("&", "&amp;").replace("'", "&#x27;") in mails(email)[0]["html"]


def test_a_confirmed_address_is_answered_with_a_made_up_user(wire, people, alice):
    """31: nothing changes, and nothing of the real person shows."""
    answer = wire("POST", "/signup", {"email": alice.email, "password": "another one 2", "data": {"x": 1}})
    assert answer.status == 200
    assert answer.body["id"] != alice.id
    assert answer.body["identities"] == []
    assert answer.body["user_metadata"] == {"x": 1}
    assert answer.body["confirmation_sent_at"]
    assert not {"factors", "last_sign_in_at", "email_confirmed_at"} & set(answer.body)
    assert alice.log_in("another one 2").refusal == (400, "invalid_credentials")
    assert alice.log_in().status == 200


def test_signing_up_again_changes_neither_password_nor_metadata(wire, people, carol, database, mails):
    """32, and 25: the new mail makes the old link invalid."""
    email, password, first_mail = carol
    _confirmation_due_again(database, email)
    again = people.sign_up(email, "somebody else's 3", data={"name": "Mallory"})
    assert again.body["user_metadata"]["name"] == "Carol"
    second_mail = mails(email)[0]
    old = wire("POST", "/verify", {"type": "signup", "token_hash": token_hash(first_mail)})
    assert old.refusal == (403, "otp_expired")
    assert wire("POST", "/verify", {"type": "signup", "token_hash": token_hash(second_mail)}).status == 200
    assert _log_in(wire, email, "somebody else's 3").refusal == (400, "invalid_credentials")
    assert _log_in(wire, email, password).status == 200


def test_a_second_mail_at_once_is_refused(people, carol, database):
    """3.2: one mail per person and interval."""
    email, _, _ = carol
    database.execute(
        "update auth.users set confirmation_sent_at = now() + interval '1 minute' where email = %s", [email]
    )
    assert people.sign_up(email).refusal == (429, "over_email_send_rate_limit")


def test_of_two_sign_ups_at_once_with_one_address_one_makes_a_person(people, database):
    """The other waits, and then reads as a repeated sign-up."""
    email = people.free_address()
    with ThreadPoolExecutor(2) as pool:
        with database.transaction():
            database.execute("lock table auth.users in share mode")  # can be read, not written
            answers = [pool.submit(people.sign_up, email) for _ in range(2)]
            _wait_for_waiting(database, 2)
        assert {answer.result().status for answer in answers} <= {200, 429}
    assert database.execute("select count(*) from auth.users where email = %s", [email]).fetchone() == (1,)


def test_a_link_works_once(wire, carol):
    """25."""
    body = {"type": "email", "token_hash": token_hash(carol[2])}
    assert wire("POST", "/verify", body).status == 200
    assert wire("POST", "/verify", body).refusal == (403, "otp_expired")


def test_of_fifty_uses_of_one_link_at_once_one_succeeds(wire, carol, database):
    """27."""
    email, _, mail = carol
    body = {"type": "email", "token_hash": token_hash(mail)}
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: wire("POST", "/verify", body), range(50)))
    assert sorted(answer.status for answer in answers) == [200] + [403] * 49
    assert {answer.refusal for answer in answers if answer.status != 200} == {(403, "otp_expired")}
    sessions = database.execute(
        "select count(*) from auth.sessions s join auth.users u on u.id = s.user_id where email = %s", [email]
    )
    assert sessions.fetchone() == (1,)


def test_a_link_expires(wire, carol, database):
    """25, 3.11."""
    email, _, mail = carol
    database.execute("update auth.users set confirmation_sent_at = now() - interval '2 days' where email = %s", [email])
    answer = wire("POST", "/verify", {"type": "email", "token_hash": token_hash(mail)})
    assert answer.refusal == (403, "otp_expired")


def test_a_token_hash_must_match_exactly(wire, carol):
    """26."""
    right = token_hash(carol[2])
    for wrong in (right.upper(), right[:-1], f"pkce_{right}", right + " "):
        assert wire("POST", "/verify", {"type": "email", "token_hash": wrong}).refusal == (403, "otp_expired")
    wrong_type = {"type": "recovery", "token_hash": right}
    assert wire("POST", "/verify", wrong_type).refusal == (403, "otp_expired")
    assert wire("POST", "/verify", {"type": "email", "token_hash": right}).status == 200


def _plant_digits(database, email, *, digits, kind):
    """Write a token of `kind` as if a mail with these digits had just been sent."""
    database.execute(
        "insert into auth.one_time_tokens (id, user_id, token_type, token_hash, relates_to)"
        " select gen_random_uuid(), id, %(kind)s::auth.one_time_token_type,"
        " encode(sha224(convert_to(email || %(digits)s, 'utf8')), 'hex'), email from auth.users where email = %(email)s"
        " on conflict (user_id, token_type) do update set token_hash = excluded.token_hash",
        {"email": email, "digits": digits, "kind": f"{kind}_token"},
    )
    database.execute(
        f"update auth.users u set {kind}_token = t.token_hash, {kind}_sent_at = now() from auth.one_time_tokens t"
        " where t.user_id = u.id and t.token_type = %s::auth.one_time_token_type and u.email = %s",
        [f"{kind}_token", email],
    )


def test_digits_count_for_their_own_address_alone(wire, alice, bob, database):
    """26."""
    _plant_digits(database, alice.email, digits="123456", kind="recovery")
    wrong_person = {"type": "recovery", "email": bob.email, "token": "123456"}
    assert wire("POST", "/verify", wrong_person).refusal == (403, "otp_expired")
    wrong_digits = {"type": "recovery", "email": alice.email, "token": "123457"}
    assert wire("POST", "/verify", wrong_digits).refusal == (403, "otp_expired")
    right = {"type": "recovery", "email": alice.email.upper(), "token": "123456"}
    answer = wire("POST", "/verify", right)
    assert answer.status == 200
    assert "weak_password" not in answer.body
    assert wire("POST", "/verify", right).refusal == (403, "otp_expired")


def test_using_one_link_kills_the_others(wire, carol, database):
    """25: of every kind."""
    email, _, mail = carol
    _plant_digits(database, email, digits="123456", kind="recovery")
    assert wire("POST", "/verify", {"type": "signup", "token_hash": token_hash(mail)}).status == 200
    other = {"type": "recovery", "email": email, "token": "123456"}
    assert wire("POST", "/verify", other).refusal == (403, "otp_expired")


def test_a_magic_link_confirms_and_reads_as_recovery_too(wire, carol, database):
    """3.11, 6: the two share a token; the proof is `otp`, which is no second factor."""
    email, _, _ = carol
    _plant_digits(database, email, digits="123456", kind="recovery")
    answer = wire("POST", "/verify", {"type": "magiclink", "email": email, "token": "123456"})
    assert answer.status == 200
    assert answer.body["user"]["email_confirmed_at"]


def test_a_banned_person_cannot_verify(wire, alice, database):
    """35."""
    _plant_digits(database, alice.email, digits="123456", kind="recovery")
    database.execute("update auth.users set banned_until = now() + interval '1 day' where id = %s", [alice.id])
    body = {"type": "recovery", "email": alice.email, "token": "123456"}
    assert wire("POST", "/verify", body).refusal == (403, "user_banned")


def _fragment(answer):
    assert answer.status == 303
    home, _, fragment = answer.headers["Location"].partition("#")
    return home, {name: value for name, [value] in parse_qs(fragment, keep_blank_values=True).items()}


def test_following_a_link_leads_home_with_the_tokens_in_the_fragment(wire, carol, our_server):
    """30, 3.11: GET /verify needs no key, and its answer names the session in the fragment."""
    path = f"/verify?type=signup&token={token_hash(carol[2])}"
    home, fragment = _fragment(wire("GET", path, headers={"apikey": ""}))
    assert urlsplit(home).netloc == "localhost:5000"
    assert set(fragment) == {
        "access_token", "expires_at", "expires_in", "refresh_token", "sb", "token_type", "type"
    }  # fmt: skip
    assert wire("GET", "/user", token=fragment["access_token"]).status == 200
    _, again = _fragment(wire("GET", path))
    assert (again["error"], again["error_code"]) == ("access_denied", "otp_expired")
    assert "access_token" not in again


def test_looking_at_a_link_without_opening_it_does_not_use_it_up(wire, carol):
    """A mail scanner's HEAD."""
    path = f"/verify?type=signup&token={token_hash(carol[2])}"
    assert wire("HEAD", path).status == 405
    assert "access_token" in _fragment(wire("GET", path))[1]


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.test/",
        "http://localhost:5000.evil.test/",
        "http://localhost:5000@evil.test/",
        "http://localhost@evil.test/",
        "http://localhost:5000@evil/",
        "http://localhost:5000/\\evil",
        "http://localhost:5000/a b",
        "//evil.test/",
        "https://localhost:5000/",
        "http://evil.test/http://localhost:5000/",
        "http://localhost:5000\\@evil.test/",
        "http://evil.test\\.localhost:5000/",
        "http://2130706433/",
        "http://10.0.0.1/",
        "http://[2001:db8::1]/",
        "javascript:alert(1)//localhost:5000/",
        "",
    ],
)
def test_a_foreign_address_becomes_the_sites_own(wire, people, our_server, target):
    """30: neither in the mail nor after the click, whatever the Referer says."""
    query = {"type": "signup", "token": "0" * 56, "redirect_to": target}
    home, _ = _fragment(wire("GET", "/verify", params=query, headers={"Referer": target or "https://evil.test/"}))
    assert home == "http://localhost:5000"


@pytest.mark.parametrize(
    "target", ["http://localhost:5000/welcome?a=1", "http://127.0.0.1:9/x", "http://localhost:8080/a/b.c"]
)
def test_an_address_of_the_site_or_this_machine_is_kept(wire, our_server, target):
    """30, the other half."""
    query = {"type": "signup", "token": "0" * 56, "redirect_to": target}
    assert _fragment(wire("GET", "/verify", params=query))[0] == target


def test_metadata_given_at_sign_up_is_not_the_admins(people, wire):
    """39."""
    made = people.sign_up(data={"role": "service_role", "app_metadata": {"admin": True}}, app_metadata={"admin": True})
    assert made.body["app_metadata"] == {"provider": "email", "providers": ["email"]}
    assert made.body["role"] == "authenticated"
    known = people.sign_up(data={"sub": "somebody", "email": "other@example.com", "email_verified": True})
    assert known.body["user_metadata"]["sub"] == known.body["id"]
    assert known.body["user_metadata"]["email_verified"] is False


def _wait_for_waiting(database, count):
    waiting = "select count(*) from pg_locks where not granted"
    assert eventually(lambda: database.execute(waiting).fetchone() >= (count,), within=10)
