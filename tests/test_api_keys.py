"""The gateway's rule and the check of access tokens, case by case: no server, no database."""

import base64
import hmac
import json
from dataclasses import replace
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from flask import Flask, Request
from werkzeug.test import EnvironBuilder

from local_supabase import rest_api
from local_supabase.api_keys import (
    BadToken,
    Caller,
    InvalidApiKey,
    RejectedClaims,
    UnreadableToken,
    caller_of,
    has_secret_key,
    legacy_key,
    verify_access_token,
)
from local_supabase.platform import Config, Keys, Platform

NOW = 1_800_000_000
OURS = ec.generate_private_key(ec.SECP256R1())
KEY = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(OURS)) | {"kid": "ours", "alg": "ES256"}
CLAIMS = {"sub": "alice", "role": "authenticated", "iat": NOW, "exp": NOW + 60}


@pytest.fixture
def platform() -> Platform:
    """Without pools: nothing here gets as far as the database."""
    keys = Keys("sb_publishable_p", "sb_secret_s", KEY)
    return Platform("http://127.0.0.1:1", Config("http://x"), keys, None, None, clock=lambda: NOW)  # type: ignore[arg-type]


def signed(claims: dict[str, Any], *, key: Any = OURS, algorithm: str = "ES256", **header: Any) -> str:
    return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": "ours"} | header)


def part(content: Any) -> str:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def request(apikey: str | None = "sb_publishable_p", authorization: str | None = None) -> Request:
    sent = {"apikey": apikey, "Authorization": authorization}
    headers = {name: value for name, value in sent.items() if value is not None}
    return Request(EnvironBuilder(headers=headers).get_environ())


ANON, SERVICE = Caller("anon", {"role": "anon"}), Caller("service_role", {"role": "service_role"})


@pytest.mark.parametrize(
    ("apikey", "authorization", "caller"),
    [
        ("sb_publishable_p", None, ANON),
        ("sb_publishable_p", "Bearer sb_publishable_p", ANON),
        ("sb_secret_s", None, SERVICE),
        ("sb_secret_s", "Bearer sb_secret_s", SERVICE),
        ("sb_publishable_p", "Bearer sb_secret_s", ANON),
        ("sb_publishable_p", "Basic YTpi", None),
        ("sb_publishable_p", f"Bearer {signed(CLAIMS)}", Caller("authenticated", CLAIMS)),
        ("sb_secret_s", f"Bearer {signed(CLAIMS)}", Caller("authenticated", CLAIMS)),
        ("sb_publishable_p", f"bearer   {signed(CLAIMS)}", Caller("authenticated", CLAIMS)),
    ],
)
def test_who_is_calling(platform, apikey, authorization, caller):
    assert caller_of(platform, request(apikey, authorization), leeway_seconds=0) == caller


@pytest.mark.parametrize("apikey", [None, "", "sb_publishable_", "sb_secret_x", signed(CLAIMS), "ü"])
def test_an_unknown_key_is_refused_even_with_a_good_token(platform, apikey):
    with pytest.raises(InvalidApiKey) as refused:
        caller_of(platform, request(apikey, f"Bearer {signed(CLAIMS)}"), leeway_seconds=0)
    assert set(refused.value.body) == {"message", "hint"}


def test_a_token_without_a_role_is_anon(platform):
    token = signed({"sub": "alice", "exp": NOW + 60})
    assert caller_of(platform, request(authorization=f"Bearer {token}"), leeway_seconds=0).role == "anon"


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("", "Empty JWT is sent in Authorization header"),
        ("x", "Expected 3 parts in JWT; got 1"),
        ("x.y", "Expected 3 parts in JWT; got 2"),
        ("x.y.z.", "Expected 3 parts in JWT; got 4"),
        ("x.y.z", "JWT cryptographic operation failed"),
        (signed(CLAIMS, key=None, algorithm="none"), "Wrong or unsupported encoding algorithm"),
        (signed(CLAIMS, key="x" * 64, algorithm="HS256"), "Wrong or unsupported encoding algorithm"),
        (signed(CLAIMS, kid="other"), "No suitable key or wrong key type"),
        (jwt.encode(CLAIMS, OURS, algorithm="ES256"), "No suitable key or wrong key type"),
        (signed(CLAIMS, key=ec.generate_private_key(ec.SECP256R1())), "JWT cryptographic operation failed"),
        (signed(CLAIMS)[:-8] + "AAAAAAAA", "JWT cryptographic operation failed"),
        (f"{part(b'[' * 50_000)}.{part(CLAIMS)}.x", "JWT cryptographic operation failed"),
        (f"{part([])}.{part(CLAIMS)}.x", "JWT cryptographic operation failed"),
        (f"{part(bytes([255]))}.{part(CLAIMS)}.x", "JWT cryptographic operation failed"),
        (f"{part({'alg': 'ES256', 'kid': ['ours']})}.{part(CLAIMS)}.x", "JWT cryptographic operation failed"),
        (f"{part({'alg': 'ES256', 'kid': 'ours', 'crit': ['b64']})}.{part(CLAIMS)}.x",
         "JWT cryptographic operation failed"),
    ],
)  # fmt: skip
def test_a_token_that_is_not_ours_is_unreadable(platform, token, message):
    with pytest.raises(UnreadableToken, match=message):
        verify_access_token(platform, token, leeway_seconds=0)


@pytest.mark.parametrize(
    ("change", "leeway_seconds", "message"),
    [
        ({"exp": NOW}, 0, "JWT expired"),
        ({"exp": NOW + 1}, 0, None),
        ({"exp": NOW - 29}, 30, None),
        ({"exp": NOW - 30}, 30, "JWT expired"),
        ({"exp": "soon"}, 0, "must be a number"),
        ({"exp": True}, 0, "must be a number"),
        ({"exp": None}, 0, "must be a number"),
        ({"nbf": NOW + 1}, 0, "JWT not yet valid"),
        ({"nbf": NOW + 30}, 30, None),
        ({"nbf": NOW + 31}, 30, "JWT not yet valid"),
        ({"iat": NOW + 1}, 0, "JWT issued at future"),
        ({"iat": NOW + 30}, 30, None),
        ({"role": ["service_role"]}, 0, "must be a string"),
    ],
)
def test_claims_hold_now_give_or_take_the_leeway(platform, change, leeway_seconds, message):
    token = signed(CLAIMS | change)
    if message is None:
        assert verify_access_token(platform, token, leeway_seconds=leeway_seconds)["sub"] == "alice"
        return
    with pytest.raises(RejectedClaims, match=message):
        verify_access_token(platform, token, leeway_seconds=leeway_seconds)


def test_a_token_without_an_end_is_refused(platform):
    with pytest.raises(BadToken, match="'exp' claim is missing"):
        verify_access_token(platform, signed({"sub": "alice"}), leeway_seconds=30)


@pytest.fixture
def read_notes(platform):
    """Ask the data API for notes with such claims."""
    app = Flask(__name__)
    app.register_blueprint(rest_api.blueprint(platform), url_prefix="/rest/v1")

    def ask(claims):
        headers = {"apikey": "sb_publishable_p", "Authorization": f"Bearer {signed(claims)}"}
        return app.test_client().get("/rest/v1/notes", headers=headers)

    return ask


@pytest.mark.parametrize("role", ["postgres", "supabase_admin", "authenticator", "", "none"])
def test_the_data_api_becomes_no_other_role_even_for_a_signed_token(read_notes, role):
    answer = read_notes(CLAIMS | {"role": role})
    assert (answer.status_code, answer.json["code"]) == (403, "42501")


def test_the_data_api_answers_an_expired_token_as_postgrest_does(read_notes):
    answer = read_notes(CLAIMS | {"iat": NOW - 3600, "exp": NOW - 31})
    assert answer.status_code == 401
    assert answer.json == {"code": "PGRST303", "message": "JWT expired", "details": None, "hint": None}
    assert answer.headers["Proxy-Status"] == "PostgREST; error=PGRST303"
    assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token", error_description="JWT expired"'


@pytest.fixture
def older(platform) -> Platform:
    """A project that still has the keys of old."""
    return replace(platform, keys=replace(platform.keys, legacy_secret="s" * 43))


def test_a_legacy_key_stands_for_its_role(older):
    for caller in (ANON, SERVICE):
        key = legacy_key("s" * 43, caller.role)
        assert caller_of(older, request(key), leeway_seconds=0) == caller
        found = caller_of(older, request(key, f"Bearer {key}"), leeway_seconds=0)
        assert (found.role, found.claims["iss"]) == (caller.role, "supabase")


def test_without_the_legacy_secret_its_keys_are_unknown(platform):
    key = legacy_key("s" * 43, "service_role")
    with pytest.raises(InvalidApiKey):
        caller_of(platform, request(key), leeway_seconds=0)
    with pytest.raises(UnreadableToken):
        verify_access_token(platform, key, leeway_seconds=0)


def test_the_legacy_secret_signs_for_no_other_algorithm(platform):
    """HS256 keyed with our public key, with another secret, and another algorithm with the right one."""
    older = replace(platform, keys=replace(platform.keys, legacy_secret="s" * 64))
    text = ".".join([part({"alg": "HS256", "typ": "JWT", "kid": "ours"}), part(CLAIMS | {"role": "service_role"})])
    public = json.dumps({name: KEY[name] for name in ("kty", "crv", "x", "y")})
    for forged in (
        f"{text}.{part(hmac.digest(public.encode(), text.encode(), 'sha256'))}",
        jwt.encode(CLAIMS, "another secret, just as long as that one", algorithm="HS256"),
        jwt.encode(CLAIMS, "s" * 64, algorithm="HS384"),
    ):
        with pytest.raises(UnreadableToken):
            verify_access_token(older, forged, leeway_seconds=0)


def test_only_the_secret_key_itself_is_trusted_with_addresses(older):
    assert has_secret_key(older, request("sb_secret_s"))
    for key in ("sb_publishable_p", legacy_key("s" * 43, "service_role"), "", None):
        assert not has_secret_key(older, request(key))
