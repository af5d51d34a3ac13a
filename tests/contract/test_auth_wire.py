"""Statements about every endpoint: who may call, how a refusal looks, what never leaves."""

import base64
import hashlib
import hmac
import json
import time

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec


@pytest.mark.parametrize(
    ("method", "path", "body", "refusal"),
    [
        ("POST", "/token?grant_type=password", {"email": "a@example.com"}, (400, "invalid_credentials")),
        ("POST", "/token?grant_type=password", {}, (400, "validation_failed")),
        ("POST", "/token?grant_type=none", {}, (400, "invalid_credentials")),
        ("POST", "/token?grant_type=refresh_token", {"refresh_token": "short"}, (400, "validation_failed")),
        ("POST", "/token?grant_type=refresh_token", {"refresh_token": "ABCDEFGHIJKL"}, (400, "validation_failed")),
        (
            "POST",
            "/token?grant_type=refresh_token",
            {"refresh_token": "abcdefabcdef"},
            (400, "refresh_token_not_found"),
        ),
        ("POST", "/signup", {}, (422, "anonymous_provider_disabled")),
        ("POST", "/signup", {"email": "a@example.com"}, (400, "validation_failed")),
        ("POST", "/signup", {"email": "not an address", "password": "long enough 1"}, (400, "validation_failed")),
        ("POST", "/signup", {"email": "a@example.com", "password": "x" * 73}, (400, "validation_failed")),
        ("POST", "/signup", {"email": "a@example.com", "password": "x"}, (422, "weak_password")),
        ("POST", "/verify", {"token_hash": "x"}, (400, "validation_failed")),
        ("POST", "/verify", {"type": "email"}, (400, "validation_failed")),
        ("POST", "/verify", {"type": "email", "token": "1", "token_hash": "x"}, (400, "validation_failed")),
        ("POST", "/verify", {"type": "email", "token_hash": "x", "email": "a@b.c"}, (400, "validation_failed")),
        ("POST", "/verify", {"type": "email", "token": "123456", "email": "@"}, (422, "validation_failed")),
        ("POST", "/verify", {"type": "email", "token": "123456", "email": "a@example.com"}, (403, "otp_expired")),
        ("POST", "/verify", {"type": "reauthentication", "token_hash": "x"}, (400, "validation_failed")),
        ("POST", "/verify", {"type": "reauthentication", "token": "1", "email": "a@b.cd"}, (403, "otp_expired")),
        ("POST", "/verify", {"type": "email", "token_hash": "x"}, (403, "otp_expired")),
    ],
)
def test_a_refusal_has_its_status_and_a_code_the_client_can_read(wire, method, path, body, refusal):
    """48 (`refusal` checks the echoed version), and the tables of 3.2, 3.3, 3.4 and 3.11."""
    assert wire(method, path, body).refusal == refusal


@pytest.mark.parametrize("version", [None, "2023-12-31", "yesterday"])
def test_an_older_client_gets_the_older_shape(wire, version):
    """48: the other half; the older shape has a numeric code and no echo."""
    answer = wire("POST", "/token?grant_type=password", {}, headers={"X-Supabase-Api-Version": version or ""})
    assert (answer.status, answer.body["code"], answer.body["error_code"]) == (400, 400, "validation_failed")
    assert "X-Supabase-Api-Version" not in answer.headers
    assert answer.body["msg"]


def test_a_later_version_gets_the_current_shape(wire):
    """48."""
    later = {"X-Supabase-Api-Version": "2030-01-01"}
    assert wire("POST", "/token?grant_type=password", {}, headers=later).refusal == (400, "validation_failed")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"email": 1}', b'{"email": "\xff"}', b"[" * 100_000])
def test_a_body_that_is_no_object_of_the_right_types_is_bad_json(wire, content):
    """1.4."""
    refusal = wire("POST", "/token?grant_type=password", content=content).refusal
    assert refusal == (400, "bad_json")


def test_member_names_match_in_any_case_and_null_means_absent(wire, alice):
    """1.4."""
    body = {"EMAIL": alice.email.upper(), "Password": alice.password, "phone": None, "gotrue_meta_security": {}}
    assert wire("POST", "/token?grant_type=password", body).status == 200


def test_a_bearer_is_not_looked_at_on_public_endpoints(wire, alice):
    """10.3.8: the client sends expired access tokens along with its refresh."""
    body = {"email": alice.email, "password": alice.password}
    assert wire("POST", "/token?grant_type=password", body, token="not.a.token").status == 200


def test_unknown_paths_are_404_and_wrong_methods_405(wire, alices_phone):
    """1.1, and 10.3.9: nobody deletes their own account, lists sessions or locks somebody out here."""
    assert wire("GET", "/no/such/path").status == 404
    for path in ("/sessions", "/user/sessions", "/user/lock"):
        assert alices_phone.call("GET", path).status == 404
    assert alices_phone.call("DELETE", "/user").status == 405


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/user"),
        ("PUT", "/user"),
        ("POST", "/logout"),
        ("POST", "/factors"),
        ("DELETE", "/factors/8f9d2c9e-0000-4000-8000-000000000000"),
        ("GET", "/admin/users"),
    ],
)
def test_what_needs_a_token_refuses_everybody_without_a_good_one(wire, method, path):
    """36 (no token), 37 (a token that is none), 1.3."""
    assert wire(method, path, {}, headers={"Authorization": "Basic eA=="}).refusal == (401, "no_authorization")
    assert wire(method, path, {}, token="not.a.token").refusal == (403, "bad_jwt")


def test_a_key_is_no_person(wire, server):
    """1.3: a token without `sub`."""
    key = server.secret_key
    assert wire("GET", "/user", token=key, headers={"apikey": key}).refusal == (403, "bad_jwt")


def test_only_an_admin_role_administers(wire, people, alices_phone):
    """36."""
    assert wire("GET", "/admin/users").refusal == (403, "not_admin")
    assert alices_phone.call("GET", "/admin/users").refusal == (403, "not_admin")
    assert alices_phone.call("POST", "/admin/users", {"email": people.free_address()}).refusal == (403, "not_admin")
    assert wire.as_admin("GET", "/admin/users").status == 200


def _forged(claims, header, signature):
    parts = [json.dumps(header).encode(), json.dumps(claims).encode()]
    text = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    return (text + b"." + base64.urlsafe_b64encode(signature(text)).rstrip(b"=")).decode()


def test_a_token_signed_otherwise_is_refused(wire, alices_phone):
    """37: no signature, the public key used as a shared secret, a stranger's key under our name, tampered claims."""
    [public] = wire("GET", "/.well-known/jwks.json").body["keys"][:1]
    kid, claims, good = public["kid"], alices_phone.claims, alices_phone.access_token
    stranger = ec.generate_private_key(ec.SECP256R1())
    head, _, signature = good.split(".")
    forged_body = base64.urlsafe_b64encode(json.dumps({**claims, "aal": "aal2"}).encode()).decode().rstrip("=")
    forgeries = [
        _forged(claims, {"alg": "none", "typ": "JWT", "kid": kid}, lambda text: b""),
        _forged(
            claims,
            {"alg": "HS256", "typ": "JWT", "kid": kid},
            lambda text: hmac.digest(json.dumps(public).encode(), text, hashlib.sha256),
        ),
        jwt.encode(claims, stranger, algorithm="ES256", headers={"kid": kid}),
        jwt.encode(claims, stranger, algorithm="ES256", headers={"kid": "other"}),
        f"{head}.{forged_body}.{signature}",
    ]
    assert [wire("GET", "/user", token=token).refusal for token in forgeries] == [(403, "bad_jwt")] * 5
    assert wire("GET", "/user", token=good).status == 200


def test_the_published_keys_are_public(wire):
    """38."""
    answer = wire("GET", "/.well-known/jwks.json")
    assert answer.body["keys"]
    for key in answer.body["keys"]:
        assert key["kty"] in ("EC", "RSA")
        assert not {"d", "k", "p", "q", "dp", "dq", "qi"} & set(key)
        assert key["key_ops"] == ["verify"]


def test_the_client_verifies_a_token_with_the_published_keys(client, alice):
    """38, 0.3: what get_claims() needs of the token and the keys."""
    session = client.auth.sign_in_with_password({"email": alice.email, "password": alice.password}).session
    claims = client.auth.get_claims(session.access_token)["claims"]
    assert claims["sub"] == alice.id
    assert claims["exp"] - claims["iat"] == session.expires_in
    assert abs(claims["iat"] - time.time()) < 60
    assert (claims["aud"], claims["role"], claims["is_anonymous"]) == ("authenticated", "authenticated", False)
    assert (claims["email"], claims["phone"]) == (alice.email, "")


def test_no_answer_holds_a_secret(wire, alices_phone):
    """42: the TOTP secret is in the enrol answer alone; no password, token column or hash is anywhere."""
    factor = alices_phone.enroll()
    alices_phone.step_up(factor)
    user_id = alices_phone.claims["sub"]
    answers = [
        alices_phone.tokens,
        alices_phone.call("GET", "/user").body,
        alices_phone.refresh().body,
        wire.as_admin("GET", f"/admin/users/{user_id}").body,
        wire.as_admin("GET", f"/admin/users/{user_id}/factors").body,
        wire.as_admin("GET", "/admin/users").body,
    ]
    text = json.dumps(answers)
    assert factor["totp"]["secret"] not in text
    for column in ("secret", "encrypted_password", "confirmation_token", "recovery_token", "hmac_key", "$2a$", "$2b$"):
        assert column not in text


def test_a_user_reads_as_the_client_needs_it(wire, alices_phone):
    """10.3.7: empty strings and not null, `identities` null in the admin list alone; no factors reads as no member."""
    user = alices_phone.call("GET", "/user").body
    assert user["phone"] == ""
    assert [identity["provider"] for identity in user["identities"]] == ["email"]
    assert "factors" not in user
    listed = wire.as_admin("GET", "/admin/users?page=&per_page=")
    assert listed.body["users"][0]["identities"] is None
    assert int(listed.headers["X-Total-Count"]) >= 1


def test_settings_and_health_answer(wire):
    """3.12."""
    settings = wire("GET", "/settings").body
    assert settings["external"]["email"] is True
    assert settings["disable_signup"] is False
    assert wire("GET", "/health").body["name"] == "GoTrue"


def test_a_deleted_persons_token_is_refused(wire, alice, alices_phone, alices_app):
    """43, and 10.3.5: sessions, factors and identities go with the person; 200 with a body."""
    assert wire.as_admin("DELETE", f"/admin/users/{alice.id}", {"should_soft_delete": False}).body == {}
    assert alices_phone.call("GET", "/user").refusal == (403, "user_not_found")
    assert alices_phone.refresh().refusal == (400, "refresh_token_not_found")
    assert wire.as_admin("GET", f"/admin/users/{alice.id}/factors").refusal == (404, "user_not_found")
    assert wire.as_admin("GET", "/admin/users/1").refusal == (404, "validation_failed")


def test_an_admin_sets_up_people_as_told(wire, people):
    """Section 5."""
    ben = people.add(user_metadata={"colour": "green"}, app_metadata={"team": "a"})
    user = wire.as_admin("GET", f"/admin/users/{ben.id}").body
    assert user["app_metadata"] == {"provider": "email", "providers": ["email"], "team": "a"}
    assert user["user_metadata"] == {"colour": "green", "email_verified": True}
    taken = {"email": ben.email, "password": "long enough 1"}
    assert wire.as_admin("POST", "/admin/users", taken).refusal == (422, "email_exists")
    assert wire.as_admin("POST", "/admin/users", {}).refusal == (400, "validation_failed")
    assert people.add(ban_duration="24h").log_in().refusal == (400, "user_banned")


def test_somebody_anonymous_has_no_factors(people, database):
    """47: made by hand, for nobody can sign up as such here."""
    person = people.add()
    database.execute("update auth.users set is_anonymous = true where id = %s", [person.id])
    phone = person.sign_in()
    assert phone.claims["is_anonymous"] is True
    for method, path in (
        ("POST", "/factors"),
        ("DELETE", "/factors/8f9d2c9e-0000-4000-8000-000000000000"),
        ("POST", "/factors/8f9d2c9e-0000-4000-8000-000000000000/challenge"),
        ("POST", "/factors/8f9d2c9e-0000-4000-8000-000000000000/verify"),
    ):
        assert phone.call(method, path, {}).refusal == (403, "no_authorization")
    assert phone.call("GET", "/user").status == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "refusal"),
    [
        ("GET", "/authorize?provider=github", None, (400, "validation_failed")),
        ("POST", "/token?grant_type=id_token", {}, (400, "provider_disabled")),
        ("POST", "/token?grant_type=web3", {}, (422, "web3_provider_disabled")),
        ("POST", "/passkeys/authentication/options", {}, (404, "passkey_disabled")),
        ("GET", "/passkeys", None, (404, "passkey_disabled")),
        ("POST", "/sso", {}, (404, "saml_provider_disabled")),
        ("GET", "/sso/saml/metadata", None, (404, "saml_provider_disabled")),
        ("GET", "/oauth/authorize", None, (404, "feature_disabled")),
        ("POST", "/signup", {"phone": "1", "password": "long enough 1"}, (400, "phone_provider_disabled")),
        ("POST", "/token?grant_type=password", {"phone": "1", "password": "x"}, (422, "phone_provider_disabled")),
    ],
)
def test_what_is_not_offered_says_so_as_if_it_were_switched_off(wire, method, path, body, refusal):
    """10.2."""
    assert wire(method, path, body).refusal == refusal


@pytest.mark.parametrize("query", ["", "?code=x&state=8f9d2c9e-0000-4000-8000-000000000000"])
def test_a_callback_nobody_began_leads_home_with_an_error(our_server, wire, query):
    """8.1: and makes no session."""
    answer = wire("GET", f"/callback{query}", headers={"apikey": ""})
    assert answer.status == 303
    assert answer.headers["Location"].startswith("http://localhost:5000?error=invalid_request&error_code=bad_oauth_")


def test_linking_and_admins_passkeys_are_off_for_those_who_may_ask(wire, alices_phone):
    """10.2, 8.3."""
    nobody = "8f9d2c9e-0000-4000-8000-000000000000"
    linking = alices_phone.call("GET", "/user/identities/authorize?provider=github")
    assert linking.refusal == (404, "manual_linking_disabled")
    unlinking = alices_phone.call("DELETE", f"/user/identities/{nobody}")
    assert unlinking.refusal == (404, "manual_linking_disabled")
    assert wire.as_admin("GET", f"/admin/users/{nobody}/passkeys").refusal == (404, "passkey_disabled")
    assert alices_phone.call("GET", f"/admin/users/{nobody}/passkeys").refusal == (403, "not_admin")


def test_the_keys_of_older_projects_open_the_same_doors(our_server, wire):
    """2.3: JWTs signed with a shared secret, as `apikey` and as bearer."""
    anon, service = our_server.anon_key, our_server.service_role_key
    body = {"email": "nobody@example.com", "password": "x"}
    as_anon = {"apikey": anon, "Authorization": f"Bearer {anon}"}
    assert wire("POST", "/token?grant_type=password", body, headers=as_anon).refusal == (400, "invalid_credentials")
    assert wire("GET", "/admin/users", headers=as_anon).refusal == (403, "not_admin")
    as_service = {"apikey": service, "Authorization": f"Bearer {service}"}
    assert wire("GET", "/admin/users", headers=as_service).status == 200
    assert wire("GET", "/user", token=service, headers={"apikey": service}).refusal == (403, "bad_jwt")
    forged = jwt.encode(jwt.decode(service, options={"verify_signature": False}), "x" * 43, algorithm="HS256")
    assert wire("GET", "/admin/users", token=forged).refusal == (403, "bad_jwt")
    assert wire("GET", "/admin/users", headers={"apikey": forged}).status == 401
