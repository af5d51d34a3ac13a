"""Signing in by password, refreshing, logging out, and changing the password."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.waiting import eventually


def test_a_password_login_answers_as_the_client_reads_it(alice):
    """5, and 10.3.6: `bearer` in lower case, `weak_password` null."""
    answer = alice.log_in()
    assert answer.body["token_type"] == "bearer"
    assert answer.body["weak_password"] is None
    assert answer.body["expires_at"] > answer.body["expires_in"]
    assert answer.body["user"]["last_sign_in_at"]
    claims = alice.sign_in().claims
    assert (claims["aal"], [entry["method"] for entry in claims["amr"]]) == ("aal1", ["password"])


def test_wrong_password_unknown_and_passwordless_read_the_same(wire, people, alice, database):
    """33."""
    passwordless = people.add()
    database.execute("update auth.users set encrypted_password = '' where id = %s", [passwordless.id])
    unknown = wire("POST", "/token?grant_type=password", {"email": people.free_address(), "password": alice.password})
    answers = [alice.log_in("wrong"), alice.log_in("x" * 100), passwordless.log_in(), unknown]
    assert [answer.refusal for answer in answers] == [(400, "invalid_credentials")] * 4
    assert len({answer.body["message"] for answer in answers}) == 1


def test_a_second_factor_is_not_in_a_password_login(alice, alices_app):
    """5: always a new session at aal1."""
    laptop = alice.sign_in()
    assert (laptop.claims["aal"], laptop.methods) == ("aal1", ["password"])
    assert laptop.tokens["user"]["factors"][0]["status"] == "verified"


@pytest.mark.parametrize(("scope", "survivors"), [("global", []), ("", []), ("local", ["b"]), ("others", ["a"])])
def test_logging_out_ends_the_sessions_of_its_scope(alice, bob, scope, survivors):
    """1, 2: at once, though the access tokens have not expired; nobody else's. 10.3.5: 204, without a body."""
    devices = {"a": alice.sign_in(), "b": alice.sign_in()}
    bobs = bob.sign_in()
    answer = devices["a"].call("POST", f"/logout?scope={scope}")
    assert (answer.status, answer.body) == (204, "")
    for name, device in devices.items():
        user, refreshed = device.call("GET", "/user"), device.refresh()
        if name in survivors:
            assert (user.status, refreshed.status) == (200, 200)
        else:
            assert user.refusal == (403, "session_not_found")
            assert refreshed.refusal == (400, "refresh_token_not_found")
    assert bobs.call("GET", "/user").status == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/user"),
        ("PUT", "/user"),
        ("POST", "/logout"),
        ("POST", "/factors"),
        ("POST", "/factors/8f9d2c9e-0000-4000-8000-000000000000/challenge"),
        ("POST", "/factors/8f9d2c9e-0000-4000-8000-000000000000/verify"),
        ("DELETE", "/factors/8f9d2c9e-0000-4000-8000-000000000000"),
    ],
)
def test_every_endpoint_notices_that_the_session_is_gone(alices_phone, method, path):
    """1."""
    alices_phone.call("POST", "/logout")
    assert alices_phone.call(method, path, {}).refusal == (403, "session_not_found")


def test_an_unknown_scope_is_refused(alices_phone):
    """3.6."""
    assert alices_phone.call("POST", "/logout?scope=mine").refusal == (400, "validation_failed")
    assert alices_phone.call("GET", "/user").status == 200


def test_refreshing_keeps_session_and_proofs_as_they_are(alices_phone):
    """23, and 3.4: no `weak_password`, a new refresh token."""
    before, old_token = alices_phone.claims, alices_phone.tokens["refresh_token"]
    answer = alices_phone.refresh()
    after = alices_phone.claims
    assert "weak_password" not in answer.body
    assert alices_phone.tokens["refresh_token"] != old_token
    assert (after["session_id"], after["aal"], after["amr"]) == (before["session_id"], "aal1", before["amr"])


def test_the_direct_parent_gets_the_current_token(alices_phone, database):
    """22: an answer lost on its way is no theft, however late."""
    parent = alices_phone.tokens["refresh_token"]
    current = alices_phone.refresh().body["refresh_token"]
    _used_long_ago(database, parent)
    assert alices_phone.refresh(parent).body["refresh_token"] == current
    assert alices_phone.refresh(current).status == 200


def test_an_older_token_is_theft_and_ends_the_family(alices_phone, database):
    """21: the live token dies with it. Access tokens live on until they expire."""
    grandparent = alices_phone.tokens["refresh_token"]
    alices_phone.refresh()
    live = alices_phone.refresh().body["refresh_token"]
    _used_long_ago(database, grandparent)
    assert alices_phone.refresh(grandparent).refusal == (400, "refresh_token_already_used")
    assert alices_phone.refresh(live).refusal == (400, "refresh_token_already_used")
    assert alices_phone.call("GET", "/user").status == 200


def test_within_the_reuse_interval_an_older_token_still_refreshes(alices_phone, our_server):
    """3.4: requests in parallel, each with the token it had."""
    grandparent = alices_phone.tokens["refresh_token"]
    alices_phone.refresh()
    alices_phone.refresh()
    assert alices_phone.refresh(grandparent).status == 200


def test_fifty_refreshes_at_once_rotate_once(wire, alices_phone, database):
    """22, 27."""
    body = {"refresh_token": alices_phone.tokens["refresh_token"]}
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: wire("POST", "/token?grant_type=refresh_token", body), range(50)))
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body["refresh_token"] for answer in answers}) == 1
    tokens = database.execute(
        "select count(*) from auth.refresh_tokens where session_id = %s", [alices_phone.claims["session_id"]]
    )
    assert tokens.fetchone() == (2,)


def test_a_session_past_its_end_is_not_refreshed(alices_phone, database):
    """3.4."""
    database.execute(
        "update auth.sessions set not_after = now() - interval '1 second' where id = %s",
        [alices_phone.claims["session_id"]],
    )
    assert alices_phone.refresh().refusal == (400, "session_expired")


def test_a_banned_person_is_refused_everywhere(alice, alices_phone, database):
    """35."""
    database.execute("update auth.users set banned_until = now() + interval '1 day' where id = %s", [alice.id])
    assert alices_phone.call("GET", "/user").refusal == (403, "user_banned")
    assert alices_phone.refresh().refusal == (400, "user_banned")
    assert alice.log_in().refusal == (400, "user_banned")
    assert alice.log_in("wrong").refusal == (400, "user_banned")
    database.execute("update auth.users set banned_until = now() - interval '1 second' where id = %s", [alice.id])
    assert alices_phone.call("GET", "/user").status == 200


def test_a_new_password_ends_the_other_sessions(alice, alices_phone, database):
    """3: and every pending link; the caller's session survives."""
    laptop = alice.sign_in()
    database.execute(
        "insert into auth.one_time_tokens (id, user_id, token_type, token_hash, relates_to)"
        " values (gen_random_uuid(), %s, 'recovery_token', %s, %s)",
        [alice.id, alice.id.replace("-", ""), alice.email],
    )
    assert alices_phone.call("PUT", "/user", {"password": "a better one 4"}).status == 200
    assert laptop.call("GET", "/user").refusal == (403, "session_not_found")
    assert alices_phone.call("GET", "/user").status == 200
    assert alices_phone.refresh().status == 200
    assert database.execute("select from auth.one_time_tokens where user_id = %s", [alice.id]).fetchone() is None
    assert alice.log_in().refusal == (400, "invalid_credentials")
    assert alice.log_in("a better one 4").status == 200


def test_a_login_that_was_checking_the_old_password_when_it_changed_fails(alice, database):
    """3: or it would open the one session that the change did not end."""
    with ThreadPoolExecutor(1) as pool:
        with database.transaction():
            database.execute("select from auth.users where id = %s for update", [alice.id])
            login = pool.submit(alice.log_in)
            _wait_until_blocked_by(database)
            database.execute("update auth.users set encrypted_password = 'changed' where id = %s", [alice.id])
        assert login.result().refusal == (400, "invalid_credentials")


def test_a_password_must_be_new_long_enough_and_not_too_long(alice, alices_phone):
    """45."""
    assert alices_phone.call("PUT", "/user", {"password": alice.password}).refusal == (422, "same_password")
    assert alices_phone.call("PUT", "/user", {"password": "x" * 73}).refusal == (400, "validation_failed")
    for weak in ("", "x"):
        answer = alices_phone.call("PUT", "/user", {"password": weak})
        assert answer.refusal == (422, "weak_password")
        assert answer.body["weak_password"]["reasons"] == ["length"]
    assert alice.log_in().status == 200


def test_metadata_is_merged_and_null_deletes(alices_phone):
    """3.8."""
    alices_phone.call("PUT", "/user", {"data": {"colour": "green", "size": 1}})
    user = alices_phone.call("PUT", "/user", {"data": {"colour": None, "shape": "round"}}).body
    assert {"colour", "size", "shape"} & set(user["user_metadata"]) == {"size", "shape"}


def test_nobody_writes_their_own_app_metadata(wire, alice, alices_phone):
    """39."""
    answer = alices_phone.call("PUT", "/user", {"app_metadata": {"admin": True}, "data": {"x": 1}})
    assert answer.refusal == (403, "not_admin")
    user = wire.as_admin("GET", f"/admin/users/{alice.id}").body
    assert "admin" not in user["app_metadata"]
    assert "x" not in user["user_metadata"]


def _used_long_ago(database, token):
    database.execute("update auth.refresh_tokens set updated_at = now() - interval '1 hour' where token = %s", [token])


def _wait_until_blocked_by(database):
    blocked = "select count(*) from pg_locks where not granted and pg_backend_pid() = any(pg_blocking_pids(pid))"
    assert eventually(lambda: database.execute(blocked).fetchone() != (0,), within=10)
