"""Authenticator apps: what raises a session to aal2, what lowers it, and what happens to the others."""

import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs, urlsplit

import pyotp
import pytest

NO_FACTOR = "8f9d2c9e-0000-4000-8000-000000000000"


def test_the_client_enrols_and_steps_up(client, alice, people):
    """The journey, by the unmodified client; 10.3.2: the proof is `totp`."""
    client.auth.sign_in_with_password({"email": alice.email, "password": alice.password})
    factor = client.auth.mfa.enroll({"factor_type": "totp", "friendly_name": "phone"})
    assert factor.totp.qr_code.startswith("data:image/svg+xml;utf-8,<svg")
    assert "#" not in factor.totp.qr_code
    people.guards.endorse(factor.id)
    people.guards.grant(factor.id)
    challenge = client.auth.mfa.challenge({"factor_id": factor.id})
    code = pyotp.TOTP(factor.totp.secret).now()
    client.auth.mfa.verify({"factor_id": factor.id, "challenge_id": challenge.id, "code": code})
    level = client.auth.mfa.get_authenticator_assurance_level()
    assert (level.current_level, level.next_level) == ("aal2", "aal2")
    assert {entry.method for entry in level.current_authentication_methods} == {"totp", "password"}
    assert [listed.id for listed in client.auth.mfa.list_factors().totp] == [factor.id]


def test_the_enrolment_says_everything_an_app_needs(alices_phone):
    """4.1."""
    body = {"factor_type": "totp", "friendly_name": "phone", "issuer": "Acme & Co"}
    factor = alices_phone.call("POST", "/factors", body).body
    assert (factor["type"], factor["friendly_name"]) == ("totp", "phone")
    uri, secret = urlsplit(factor["totp"]["uri"]), factor["totp"]["secret"]
    assert len(secret) == 32
    assert parse_qs(uri.query) == {
        "secret": [secret], "issuer": ["Acme & Co"], "algorithm": ["SHA1"], "digits": ["6"], "period": ["30"]
    }  # fmt: skip
    assert "Acme%20" in uri.path
    assert pyotp.parse_uri(factor["totp"]["uri"]).secret == secret


def test_a_right_code_upgrades_this_session(alices_phone, database):
    """7: same session, aal2, the new proof; in the token and in the row."""
    before = alices_phone.claims["session_id"]
    factor = alices_phone.enroll()
    answer = alices_phone.verify(factor, alices_phone.challenge(factor))
    assert answer.status == 200
    assert "weak_password" not in answer.body
    claims = alices_phone.claims
    assert (claims["session_id"], claims["aal"]) == (before, "aal2")
    assert set(alices_phone.methods) == {"password", "totp"}
    row = database.execute("select aal::text, factor_id::text from auth.sessions where id = %s", [before]).fetchone()
    assert row == ("aal2", factor["id"])
    assert alices_phone.call("GET", "/user").body["factors"][0]["status"] == "verified"
    assert alices_phone.refresh().status == 200
    assert alices_phone.claims["aal"] == "aal2"


def test_the_newest_proof_comes_first(alices_phone, database):
    """2.2."""
    database.execute(
        "update auth.mfa_amr_claims set updated_at = now() - interval '1 hour' where session_id = %s",
        [alices_phone.claims["session_id"]],
    )
    alices_phone.step_up(alices_phone.enroll())
    assert alices_phone.methods == ["totp", "password"]


def test_refreshing_does_not_renew_a_proof(alices_phone, alices_app, database):
    """23."""
    database.execute(
        "update auth.mfa_amr_claims set updated_at = now() - interval '1 hour' where session_id = %s",
        [alices_phone.claims["session_id"]],
    )
    alices_phone.refresh()
    assert all(entry["timestamp"] < alices_phone.claims["iat"] - 3500 for entry in alices_phone.claims["amr"])


def test_proving_a_factor_again_renews_its_time(alices_phone, alices_app, database):
    """2.2: one entry per method, and only its own time moves."""
    database.execute(
        "update auth.mfa_amr_claims set updated_at = now() - interval '1 hour' where session_id = %s",
        [alices_phone.claims["session_id"]],
    )
    alices_phone.step_up(alices_app)
    ages = {entry["method"]: alices_phone.claims["iat"] - entry["timestamp"] for entry in alices_phone.claims["amr"]}
    assert ages["totp"] < 60
    assert ages["password"] > 3500


@pytest.mark.parametrize("method", ["passkey", "otp", "recovery", "oauth", "mfa/totp", "web3"])
def test_other_proofs_do_not_raise_a_session(alices_phone, database, method):
    """6."""
    _prove(database, alices_phone, method)
    alices_phone.refresh()
    assert (alices_phone.claims["aal"], set(alices_phone.methods)) == ("aal1", {"password", method})


@pytest.mark.parametrize("method", ["totp", "mfa/phone", "mfa/webauthn"])
def test_these_proofs_raise_a_session(our_server, alices_phone, database, method):
    """6, the other half. (An app may have a hook that asks for more than the row: our own stack only.)"""
    _prove(database, alices_phone, method)
    alices_phone.refresh()
    assert alices_phone.claims["aal"] == "aal2"


def test_a_right_code_ends_the_other_aal1_sessions_and_no_aal2_one(alice, bob, alices_phone, alices_app):
    """8: of this person only."""
    waiting, laptop, bobs = alice.sign_in(), alice.sign_in(), bob.sign_in()
    laptop.step_up(alices_app)
    assert waiting.call("GET", "/user").refusal == (403, "session_not_found")
    assert alices_phone.call("GET", "/user").status == 200
    assert bobs.call("GET", "/user").status == 200


def test_a_right_code_deletes_the_unfinished_enrolments(wire, alice, alices_phone, database):
    """9: of the same type only; one of another type is made by hand, since there is one type here."""
    alices_phone.enroll("first try")
    kept = alices_phone.enroll("second try")
    database.execute(
        "insert into auth.mfa_factors (id, user_id, friendly_name, factor_type, status, created_at, updated_at)"
        " values (gen_random_uuid(), %s, 'key', 'webauthn', 'unverified', now(), now())",
        [alice.id],
    )
    alices_phone.step_up(kept)
    factors = wire.as_admin("GET", f"/admin/users/{alice.id}/factors").body
    assert {(factor["friendly_name"], factor["status"]) for factor in factors} == {
        ("second try", "verified"),
        ("key", "unverified"),
    }


def test_a_further_factor_needs_the_first(alice, alices_phone, alices_app):
    """10, and 10.3.1: 403 here."""
    body = {"factor_type": "totp", "friendly_name": "tablet"}
    assert alice.sign_in().call("POST", "/factors", body).refusal == (403, "insufficient_aal")
    assert alices_phone.call("POST", "/factors", body).status == 200


def test_removing_a_verified_factor_needs_aal2_and_an_unfinished_one_does_not(alice, alices_phone, alices_app):
    """11, and 10.3.1: 422 here."""
    laptop = alice.sign_in()
    assert laptop.call("DELETE", f"/factors/{alices_app['id']}").refusal == (422, "insufficient_aal")
    unfinished = alices_phone.enroll("tablet")
    assert laptop.unenroll(unfinished).body == {"id": unfinished["id"]}
    assert [factor["id"] for factor in laptop.call("GET", "/user").body["factors"]] == [alices_app["id"]]


def test_after_removal_a_refresh_falls_back_to_aal1(alices_phone, alices_app, database):
    """12: the row at once, the issued token when it expires; the session is not ended."""
    assert alices_phone.unenroll(alices_app).status == 200
    row = "select aal::text, factor_id from auth.sessions where id = %s"
    assert database.execute(row, [alices_phone.claims["session_id"]]).fetchone() == ("aal1", None)
    assert alices_phone.claims["aal"] == "aal2"
    assert alices_phone.call("GET", "/user").status == 200
    alices_phone.refresh()
    assert (alices_phone.claims["aal"], alices_phone.methods) == ("aal1", ["password"])


def test_a_session_that_used_the_removed_factor_elsewhere_falls_back_too(alice, alices_phone, alices_app):
    """12."""
    laptop = alice.sign_in()
    laptop.step_up(alices_app)
    alices_phone.unenroll(alices_app)
    laptop.refresh()
    assert laptop.claims["aal"] == "aal1"


@pytest.mark.parametrize(
    "change", [{"password": "a better one 4"}, {"email": "other@example.com"}, {"phone": "4912345"}]
)
def test_credentials_of_somebody_with_a_factor_need_it(alice, alices_app, change):
    """13, and 10.3.1: 401 here."""
    laptop = alice.sign_in()
    assert laptop.call("PUT", "/user", change).refusal == (401, "insufficient_aal")
    assert laptop.call("PUT", "/user", {"data": {"x": 1}, "email": alice.email}).status == 200


def test_a_mailed_link_does_not_get_around_the_factor(wire, alice, alices_phone, alices_app, database):
    """13, 6: a password reset; the link's proof is `otp`."""
    database.execute(
        "insert into auth.one_time_tokens (id, user_id, token_type, token_hash, relates_to)"
        " values (gen_random_uuid(), %s, 'recovery_token', %s, %s)",
        [alice.id, alice.id.replace("-", ""), alice.email],
    )
    database.execute("update auth.users set recovery_sent_at = now() where id = %s", [alice.id])
    link = {"type": "recovery", "token_hash": alice.id.replace("-", "")}
    granted = wire("POST", "/verify", link)
    assert granted.status == 200
    new_password = {"password": "a better one 4"}
    answer = wire("PUT", "/user", new_password, token=granted.body["access_token"])
    assert answer.refusal == (401, "insufficient_aal")
    # 3.11: following the link has not ended the other session.
    assert alices_phone.call("PUT", "/user", new_password).status == 200


def test_the_gate_reads_the_session_and_not_the_token(alices_phone, alices_app, database):
    """14."""
    database.execute("update auth.sessions set aal = 'aal1' where id = %s", [alices_phone.claims["session_id"]])
    assert alices_phone.claims["aal"] == "aal2"
    body = {"factor_type": "totp", "friendly_name": "tablet"}
    assert alices_phone.call("POST", "/factors", body).refusal == (403, "insufficient_aal")
    assert alices_phone.call("PUT", "/user", {"password": "a better one 4"}).refusal == (401, "insufficient_aal")
    removal = alices_phone.call("DELETE", f"/factors/{alices_app['id']}")
    assert removal.refusal == (422, "insufficient_aal")


@pytest.mark.parametrize(
    ("method", "action", "body"),
    [
        ("POST", "/challenge", {}),
        ("POST", "/verify", {"challenge_id": NO_FACTOR, "code": "123456"}),
        ("DELETE", "", None),
    ],
)
def test_another_persons_factor_reads_as_missing(alices_app, bob, method, action, body):
    """15."""
    bobs = bob.sign_in()
    for factor_id in (alices_app["id"], NO_FACTOR):
        assert bobs.call(method, f"/factors/{factor_id}{action}", body).refusal == (404, "mfa_factor_not_found")
    assert bobs.call(method, f"/factors/7{action}", body).refusal == (404, "validation_failed")


def test_a_challenge_belongs_to_its_factor(alices_phone, alices_app):
    """16: even if both factors are the caller's. 10.3.3: an unknown challenge reports a missing factor."""
    other = alices_phone.enroll("tablet")
    challenge = alices_phone.challenge(alices_app)
    assert alices_phone.verify(other, challenge).refusal == (422, "mfa_factor_not_found")
    assert alices_phone.verify(alices_app, NO_FACTOR).refusal == (422, "mfa_factor_not_found")
    assert alices_phone.verify(alices_app, challenge).status == 200


def test_a_challenge_works_once(alices_phone, alices_app):
    """17, and 10.3.3: a used one reports an IP mismatch."""
    challenge = alices_phone.challenge(alices_app)
    assert alices_phone.verify(alices_app, challenge).status == 200
    assert alices_phone.verify(alices_app, challenge).refusal == (422, "mfa_ip_address_mismatch")


def test_of_ten_uses_of_one_challenge_at_once_one_succeeds(alices_phone, alices_app):
    """17, 27."""
    challenge = alices_phone.challenge(alices_app)
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: alices_phone.verify(alices_app, challenge), range(10)))
    assert sorted(answer.status for answer in answers) == [200] + [422] * 9


def test_two_devices_verifying_at_once_both_get_an_answer(alice, alices_app):
    """8: each ends the other's session, unless the other was first; neither waits for the other for ever."""
    devices = [alice.sign_in() for _ in range(6)]
    challenges = [device.challenge(alices_app) for device in devices]
    with ThreadPoolExecutor(6) as pool:
        answers = list(
            pool.map(lambda each: each[0].verify(alices_app, each[1]), zip(devices, challenges, strict=True))
        )
    assert sorted(answer.status for answer in answers) == [200] + [403] * 5
    assert {answer.refusal for answer in answers if answer.status != 200} == {(403, "session_not_found")}


def test_a_challenge_expires(alices_phone, alices_app, database):
    """17: after 300 s, and then it is gone."""
    challenge = alices_phone.challenge(alices_app)
    _age_challenge(database, challenge, seconds=290)
    assert alices_phone.verify(alices_app, challenge, "000000").refusal == (422, "mfa_verification_failed")
    _age_challenge(database, challenge, seconds=20)
    assert alices_phone.verify(alices_app, challenge).refusal == (422, "mfa_challenge_expired")
    assert alices_phone.verify(alices_app, challenge).refusal == (422, "mfa_factor_not_found")


def test_a_challenge_is_answered_from_where_it_was_made(alices_phone, alices_app, other_address):
    """18."""
    challenge = alices_phone.challenge(alices_app)
    elsewhere = alices_phone.verify(alices_app, challenge, http=other_address)
    assert elsewhere.refusal == (422, "mfa_ip_address_mismatch")
    assert alices_phone.verify(alices_app, challenge).status == 200


@pytest.mark.parametrize("header", ["Sb-Forwarded-For", "X-Forwarded-For"])
def test_a_forwarded_address_is_not_believed(our_server, alices_phone, alices_app, header):
    """19: without the secret key; and 10.2 for the other header."""
    challenge = alices_phone.challenge(alices_app, headers={header: "192.0.2.1"})
    assert alices_phone.verify(alices_app, challenge, headers={header: "192.0.2.2"}).status == 200


@pytest.mark.parametrize(("steps", "status"), [(-2, 422), (-1, 200), (0, 200), (1, 200), (2, 422)])
def test_a_code_may_be_one_step_off(steady_step, alices_phone, steps, status):
    """20."""
    factor = alices_phone.enroll()
    code = pyotp.TOTP(factor["totp"]["secret"]).at(int(time.time()), counter_offset=steps)
    assert alices_phone.verify(factor, alices_phone.challenge(factor), code).status == status


def test_a_wrong_code_changes_nothing(alices_phone):
    """4.3: the challenge may be tried again, the session stays aal1."""
    factor = alices_phone.enroll()
    challenge = alices_phone.challenge(factor)
    for wrong in ("000000", "12345", "1234567", "abcdef", "١٢٣٤٥٦"):
        assert alices_phone.verify(factor, challenge, wrong).refusal == (422, "mfa_verification_failed")
    path, good = f"/factors/{factor['id']}/verify", {"challenge_id": challenge}
    assert alices_phone.call("POST", path, good).refusal == (400, "validation_failed")
    assert alices_phone.call("POST", path, {"challenge_id": "7", "code": "123456"}).refusal == (400, "bad_json")
    alices_phone.refresh()
    assert alices_phone.claims["aal"] == "aal1"
    assert alices_phone.verify(factor, challenge).status == 200


def test_names_must_differ_and_no_name_is_a_name(alices_phone):
    """10.3.4."""
    for name in ("phone", None):
        body = {"factor_type": "totp", "friendly_name": name}
        first = alices_phone.call("POST", "/factors", body)
        assert (first.status, first.body["friendly_name"]) == (200, name or "")
        assert alices_phone.call("POST", "/factors", body).refusal == (422, "mfa_factor_name_conflict")


def test_there_is_room_for_ten(alices_phone):
    """4.1."""
    for number in range(10):
        alices_phone.enroll(f"app {number}")
    body = {"factor_type": "totp", "friendly_name": "one more"}
    assert alices_phone.call("POST", "/factors", body).refusal == (422, "too_many_enrolled_mfa_factors")


@pytest.mark.parametrize(
    ("type_", "refusal"),
    [
        ("phone", (422, "mfa_phone_enroll_not_enabled")),
        ("webauthn", (422, "mfa_webauthn_enroll_not_enabled")),
        ("fax", (400, "validation_failed")),
        (None, (400, "validation_failed")),
    ],
)
def test_other_kinds_of_factor_are_off(alices_phone, type_, refusal):
    """4.1, 10.2."""
    assert alices_phone.call("POST", "/factors", {"factor_type": type_, "friendly_name": "x"}).refusal == refusal


def test_an_abandoned_enrolment_is_cleared_by_anybodys_next_one(wire, alice, alices_phone, bob, database):
    """4.6: unless it was challenged once."""
    abandoned, tried = alices_phone.enroll("abandoned"), alices_phone.enroll("tried")
    alices_phone.challenge(tried)
    database.execute(
        "update auth.mfa_factors set created_at = now() - interval '301 seconds' where user_id = %s", [alice.id]
    )
    bob.sign_in().enroll()
    left = wire.as_admin("GET", f"/admin/users/{alice.id}/factors").body
    assert [factor["id"] for factor in left] == [tried["id"]]
    assert abandoned["id"] != tried["id"]


def test_of_two_apps_the_session_remembers_the_last(alices_phone, alices_app):
    """4.5: removing the earlier one leaves it at aal2."""
    second = alices_phone.enroll("tablet")
    alices_phone.step_up(second)
    alices_phone.unenroll(alices_app)
    alices_phone.refresh()
    assert alices_phone.claims["aal"] == "aal2"
    alices_phone.unenroll(second)
    alices_phone.refresh()
    assert alices_phone.claims["aal"] == "aal1"


def test_the_token_from_before_the_code_still_finds_the_session(alices_phone, database):
    """4.3 and 22: it is the direct parent, so a lost answer to verify is not a lost session."""
    factor = alices_phone.enroll()
    before = alices_phone.tokens["refresh_token"]
    alices_phone.step_up(factor)
    current = alices_phone.tokens["refresh_token"]
    database.execute("update auth.refresh_tokens set updated_at = now() - interval '1 hour' where token = %s", [before])
    answer = alices_phone.refresh(before)
    assert answer.body["refresh_token"] == current
    assert alices_phone.claims["aal"] == "aal2"


def _prove(database, device, method):
    database.execute(
        "insert into auth.mfa_amr_claims (id, session_id, authentication_method, created_at, updated_at)"
        " values (gen_random_uuid(), %s, %s, now(), now())",
        [device.claims["session_id"], method],
    )


def _age_challenge(database, challenge, *, seconds):
    database.execute(
        "update auth.mfa_challenges set created_at = created_at - make_interval(secs => %s) where id = %s",
        [seconds, challenge],
    )


def test_two_challenges_in_the_same_microsecond_are_both_made(our_server, database, alices_phone, alices_app):
    """Section 9.2: last_challenged_at is unique across the table."""
    tablet = alices_phone.enroll("tablet")
    database.execute("create sequence public.clock_stops")
    database.execute(
        "create function public.stop_clock() returns trigger language plpgsql security definer as $$ begin"
        " if nextval('public.clock_stops') <= 2 then new.last_challenged_at := '2020-01-01'; end if;"
        " return new; end $$"
    )
    database.execute(
        "create trigger stop_clock before update of last_challenged_at on auth.mfa_factors"
        " for each row execute function public.stop_clock()"
    )
    try:
        for factor in (alices_app, tablet):
            alices_phone.challenge(factor)
    finally:
        database.execute("drop function public.stop_clock cascade")
        database.execute("drop sequence public.clock_stops")
