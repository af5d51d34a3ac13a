"""Refresh tokens of the signed kind, under settings that make new sessions have them."""

import base64
import hashlib
from concurrent.futures import ThreadPoolExecutor

import pytest

EARLIER = "update auth.sessions set refreshed_at = refreshed_at - interval '1 hour' where id = %s"


@pytest.fixture
def people(people_with):
    return people_with(refresh_token_algorithm=2)


@pytest.fixture
def counter(database):
    def counter(device):
        select = "select refresh_token_counter from auth.sessions where id = %s"
        return database.execute(select, [device.claims["session_id"]]).fetchone()

    return counter


@pytest.fixture
def wait(database):
    """As if the reuse interval were over."""

    def wait(device):
        session = [device.claims["session_id"]]
        database.execute("update auth.sessions set created_at = created_at - interval '1 hour' where id = %s", session)
        database.execute(EARLIER, session)

    return wait


def _refresh(wire, token):
    return wire("POST", "/token?grant_type=refresh_token", {"refresh_token": token})


def _decoded(token):
    return base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))


def _encoded(content):
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _with_checksum(text):
    return _encoded(text + hashlib.sha256(text).digest()[:4])


def test_a_token_is_laid_out_as_documented(alices_phone, database):
    """3.4: version, session, counter, signature, checksum; no row is kept of it."""
    content = _decoded(alices_phone.tokens["refresh_token"])
    assert content[0] == 0
    assert content[1:17].hex() == alices_phone.claims["session_id"].replace("-", "")
    assert content[17] == 0
    assert len(content) == 1 + 16 + 1 + 16 + 4
    assert hashlib.sha256(content[:-4]).digest()[:4] == content[-4:]
    rows = "select from auth.refresh_tokens where session_id = %s"
    assert database.execute(rows, [alices_phone.claims["session_id"]]).fetchone() is None


def test_refreshing_advances_by_one_past_a_byte(alices_phone, counter):
    """3.4: LEB128."""
    alices_phone.refresh()
    assert counter(alices_phone) == (1,)
    for _ in range(130):
        assert alices_phone.refresh().status == 200
    assert counter(alices_phone) == (131,)
    assert _decoded(alices_phone.tokens["refresh_token"])[17:19] == bytes([0x83, 0x01])


def test_the_direct_parent_gets_the_current_token_at_any_time(alices_phone, counter, wait):
    """24, 22: and the counter stays."""
    parent = alices_phone.tokens["refresh_token"]
    current = alices_phone.refresh().body["refresh_token"]
    wait(alices_phone)
    assert alices_phone.refresh(parent).body["refresh_token"] == current
    assert counter(alices_phone) == (1,)


def test_within_the_interval_an_older_token_gets_the_current_one(alices_phone):
    """3.4."""
    grandparent = alices_phone.tokens["refresh_token"]
    alices_phone.refresh()
    current = alices_phone.refresh().body["refresh_token"]
    assert alices_phone.refresh(grandparent).body["refresh_token"] == current


def test_an_older_token_is_theft_and_ends_the_session(alices_phone, wait):
    """24: the row goes, and with it the access tokens."""
    grandparent = alices_phone.tokens["refresh_token"]
    alices_phone.refresh()
    live = alices_phone.refresh().body["refresh_token"]
    wait(alices_phone)
    assert alices_phone.refresh(grandparent).refusal == (400, "refresh_token_already_used")
    assert alices_phone.call("GET", "/user").refusal == (403, "session_not_found")
    assert alices_phone.refresh(live).refusal == (400, "refresh_token_not_found")


def test_without_rotation_an_older_token_fails_and_ends_nothing(people_with, wait):
    """3.4."""
    phone = people_with(refresh_token_algorithm=2, refresh_token_rotation=False).add().sign_in()
    grandparent = phone.tokens["refresh_token"]
    phone.refresh()
    live = phone.refresh().body["refresh_token"]
    wait(phone)
    assert phone.refresh(grandparent).refusal == (400, "refresh_token_already_used")
    assert phone.refresh(live).status == 200


def test_a_right_code_advances_by_two_so_that_the_token_from_before_is_no_parent(alices_phone, counter, wait):
    """24: it cannot get the stepped-up session."""
    before = alices_phone.tokens["refresh_token"]
    alices_phone.step_up(alices_phone.enroll())
    assert counter(alices_phone) == (2,)
    wait(alices_phone)
    assert alices_phone.refresh(before).refusal == (400, "refresh_token_already_used")


def test_fifty_refreshes_at_once_advance_once(people, alices_phone, counter):
    """27."""
    token = alices_phone.tokens["refresh_token"]
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: _refresh(people.wire, token), range(50)))
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body["refresh_token"] for answer in answers}) == 1
    assert counter(alices_phone) == (1,)


def test_a_forged_token_is_not_found_and_a_malformed_one_refused(people, alices_phone, bob):
    """3.4: nothing is taken from a token before its signature is right."""
    token = alices_phone.tokens["refresh_token"]
    content = _decoded(token)
    forged = content[:17] + bytes([1]) + content[18:-4]
    others = content[:1] + _decoded(bob.sign_in().tokens["refresh_token"])[1:17] + content[17:-4]
    unknown = content[:1] + b"\xff" * 16 + content[17:-4]
    for text in (forged, others, unknown):
        assert _refresh(people.wire, _with_checksum(text)).refusal == (400, "refresh_token_not_found")
    unfinished = content[:17] + bytes([0x80]) + content[18:-4]
    for malformed in (
        _encoded(content[:-1] + bytes([content[-1] ^ 1])),
        _with_checksum(b"\1" + content[1:-4]),
        _with_checksum(unfinished),
        _with_checksum(content[:-5]),
        token + "=",
        token + "é",
        token.swapcase(),
        "x" * 5000,
        "A" * 13,
    ):
        assert _refresh(people.wire, malformed).refusal == (400, "validation_failed")
    assert _refresh(people.wire, token).status == 200


def test_a_token_from_the_future_is_refused(alices_phone, database):
    """3.4: a counter the database has not come to."""
    alices_phone.refresh()
    database.execute(
        "update auth.sessions set refresh_token_counter = 0 where id = %s", [alices_phone.claims["session_id"]]
    )
    assert alices_phone.refresh().refusal == (400, "validation_failed")


def test_classic_sessions_go_on_as_they_began(wire, people, database):
    """3.4: both kinds live side by side."""
    person = people.add()
    body = {"email": person.email, "password": person.password}
    classic = wire("POST", "/token?grant_type=password", body).body["refresh_token"]
    answer = _refresh(people.wire, classic)
    assert answer.status == 200
    assert len(answer.body["refresh_token"]) == 12
