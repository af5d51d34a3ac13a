"""PKCE: a link gives a code, and the code a session only to whoever began the flow."""

import base64
import hashlib
import secrets
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from supabase import ClientOptions, create_client

from tests.contract.mailed import token_hash


class Flow:
    """A verifier, and the challenge made from it."""

    def __init__(self, method="s256"):
        self.verifier = secrets.token_urlsafe(48)
        digest = hashlib.sha256(self.verifier.encode()).digest()
        derived = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        self.pair = {
            "code_challenge": self.verifier if method == "plain" else derived,
            "code_challenge_method": method,
        }


@pytest.fixture
def flow():
    return Flow()


@pytest.fixture
def code(wire, alice, flow, mails):
    """Alice forgot her password, with PKCE, and has followed the link."""
    wire("POST", "/recover", {"email": alice.email, **flow.pair})
    return _code(_follow(wire, "recovery", token_hash(mails(alice.email)[0])))


def _follow(wire, type_, token):
    answer = wire("GET", f"/verify?type={type_}&token={token}", headers={"apikey": ""})
    assert answer.status == 303
    return urlsplit(answer.headers["Location"])


def _code(home):
    assert not home.fragment
    [code] = parse_qs(home.query)["code"]
    return code


def _exchange(wire, code, verifier):
    return wire("POST", "/token?grant_type=pkce", {"auth_code": code, "code_verifier": verifier})


@pytest.mark.parametrize("method", ["s256", "S256", "plain"])
def test_a_code_and_its_verifier_make_a_session(wire, alice, mails, method):
    """28, 2.2: the proof is the kind of link; the link itself gives nothing but the code."""
    flow = Flow(method)
    wire("POST", "/recover", {"email": alice.email, **flow.pair})
    token = token_hash(mails(alice.email)[0])
    assert token.startswith("pkce_")
    answer = _exchange(wire, _code(_follow(wire, "recovery", token)), flow.verifier)
    assert (answer.status, answer.body["user"]["id"]) == (200, alice.id)
    claims = answer.body["access_token"].split(".")[1]
    assert b'"method":"recovery"' in base64.urlsafe_b64decode(claims + "==").replace(b": ", b":")


def test_the_wrong_verifier_gets_no_session_and_does_not_use_the_code_up(wire, flow, code):
    """28."""
    assert _exchange(wire, code, Flow().verifier).refusal == (400, "bad_code_verifier")
    assert _exchange(wire, code, flow.pair["code_challenge"]).refusal == (400, "bad_code_verifier")
    assert _exchange(wire, code, flow.verifier).status == 200


def test_a_code_works_once(wire, flow, code):
    """28: deleted on success."""
    assert _exchange(wire, code, flow.verifier).status == 200
    assert _exchange(wire, code, flow.verifier).refusal == (404, "flow_state_not_found")


def test_of_twenty_exchanges_of_one_code_at_once_one_succeeds(wire, flow, code):
    """27: upstream reads, then deletes, and may let two pass."""
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: _exchange(wire, code, flow.verifier), range(20)))
    assert sorted(answer.status for answer in answers) == [200] + [404] * 19


@pytest.mark.parametrize("missing", ["auth_code", "code_verifier"])
def test_a_missing_half_is_refused(wire, missing):
    """3.5."""
    body = {"auth_code": "a", "code_verifier": "b"} | {missing: ""}
    assert wire("POST", "/token?grant_type=pkce", body).refusal == (400, "validation_failed")


def test_a_code_nobody_was_given_is_refused(wire, flow):
    """3.5."""
    assert _exchange(wire, "8f9d2c9e-0000-4000-8000-000000000000", flow.verifier).refusal == (
        404,
        "flow_state_not_found",
    )


def test_a_code_expires_five_minutes_after_the_request(wire, flow, code, alice, database):
    """28, 3.5: not after the click."""
    database.execute(
        "update auth.flow_state set created_at = now() - interval '301 seconds' where user_id = %s", [alice.id]
    )
    assert _exchange(wire, code, flow.verifier).refusal == (422, "flow_state_expired")


def test_a_magic_links_code_expires_five_minutes_after_the_click(wire, flow, alice, mails, database):
    """3.5: the one exception."""
    wire("POST", "/otp", {"email": alice.email, **flow.pair})
    database.execute(
        "update auth.flow_state set created_at = now() - interval '301 seconds' where user_id = %s", [alice.id]
    )
    code = _code(_follow(wire, "magiclink", token_hash(mails(alice.email)[0])))
    clicked = "update auth.flow_state set auth_code_issued_at = now() - make_interval(secs => %s) where user_id = %s"
    database.execute(clicked, [301, alice.id])
    assert _exchange(wire, code, flow.verifier).refusal == (422, "flow_state_expired")
    database.execute(clicked, [299, alice.id])
    assert _exchange(wire, code, flow.verifier).status == 200


def test_a_token_is_its_hash_with_the_prefix_and_its_digits_without(wire, flow, alice, mails):
    """26: POST /verify takes either, and gives a session at once."""
    wire("POST", "/recover", {"email": alice.email, **flow.pair})
    token = token_hash(mails(alice.email)[0])
    bare = {"type": "recovery", "token_hash": token.removeprefix("pkce_")}
    assert wire("POST", "/verify", bare).refusal == (403, "otp_expired")
    assert wire("POST", "/verify", {"type": "recovery", "token_hash": token}).status == 200


def test_the_client_exchanges_the_code_of_a_sign_up(server, people, mails, wire):
    """0.3: the flow that the client has by default; it keeps the verifier itself."""
    email = people.free_address()
    with httpx.Client(trust_env=False, timeout=15) as http:
        options = ClientOptions(httpx_client=http, auto_refresh_token=False, flow_type="pkce")
        client = create_client(server.url, server.publishable_key, options)
        people.made.append(client.auth.sign_up({"email": email, "password": "long enough 1"}).user.id)
        code = _code(_follow(wire, "signup", token_hash(mails(email)[0])))
        signed_in = client.auth.exchange_code_for_session({"auth_code": code})
        assert signed_in.user.email_confirmed_at
        claims = client.auth.get_claims()["claims"]
    assert [entry["method"] for entry in claims["amr"]] == ["email/signup"]


def test_a_change_of_address_gives_its_code_with_the_second_half(wire, flow, alice, alices_phone, people, mails):
    """3.11: the first says so in the query too, as a PKCE app reads no fragment."""
    address = people.free_address()
    assert alices_phone.call("PUT", "/user", {"email": address, **flow.pair}).status == 200
    first = _follow(wire, "email_change", token_hash(mails(alice.email)[0]))
    assert "message" in parse_qs(first.query)
    code = _code(_follow(wire, "email_change", token_hash(mails(address)[0])))
    assert _exchange(wire, code, flow.verifier).body["user"]["email"] == address


def test_an_error_is_in_the_query_too(wire):
    """3.11."""
    home = _follow(wire, "recovery", f"pkce_{'0' * 56}")
    assert parse_qs(home.query)["error_code"] == ["otp_expired"]
    assert parse_qs(home.fragment)["error_code"] == ["otp_expired"]


def test_a_link_whose_flow_is_gone_leads_home_with_an_error(wire, flow, alice, mails, database):
    """3.11; and is not used up by it."""
    wire("POST", "/recover", {"email": alice.email, **flow.pair})
    token = token_hash(mails(alice.email)[0])
    database.execute("delete from auth.flow_state where user_id = %s", [alice.id])
    assert parse_qs(_follow(wire, "recovery", token).query)["error_code"] == ["flow_state_not_found"]
    assert wire("POST", "/verify", {"type": "recovery", "token_hash": token}).status == 200


@pytest.mark.parametrize("path", ["/signup", "/recover", "/otp", "/magiclink", "/resend"])
@pytest.mark.parametrize(
    "pair",
    [
        {"code_challenge": "x" * 43},
        {"code_challenge_method": "s256"},
        {"code_challenge": "x" * 42, "code_challenge_method": "s256"},
        {"code_challenge": "x" * 129, "code_challenge_method": "s256"},
        {"code_challenge": "x" * 42 + "!", "code_challenge_method": "s256"},
        {"code_challenge": "x" * 43, "code_challenge_method": "md5"},
    ],
)
def test_half_a_pair_or_a_malformed_challenge_is_refused(wire, people, path, pair):
    """3.2."""
    body = {"email": people.free_address(), "password": "long enough 1", "type": "signup", **pair}
    assert wire("POST", path, body).refusal == (400, "validation_failed")
