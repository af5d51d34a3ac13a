"""What somebody with a stolen password, token, link or cookie tries, past the app and through it."""

import base64
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import jwt
import psycopg
import pytest
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from postgrest import ReturnMethod
from postgrest.exceptions import APIError
from supabase import Client, ClientOptions, create_client
from webtest import TestResponse

from tests.people import Browser, Person, Phone, asks_first, form
from tests.stranger import Stranger, grant_challenge

# Pages for everybody. All others want a second factor of whoever has one.
FOR_EVERYBODY = {
    "/",
    "/static/<path:filename>",
    "/signup",
    "/signup/resend",
    "/auth/confirm",
    "/login",
    "/login/mail",
    "/logout",
    "/forgot-password",
    "/reset-password",
    "/mfa/challenge",
    "/mfa/challenge/recovery-code",
    "/healthz",
    "/readyz",
    "/.well-known/change-password",
    "/.well-known/passkey-endpoints",
    "/.well-known/webauthn",
    "/login/passkey/options",
    "/login/passkey",
    "/mfa/challenge/passkey",
    "/mfa/challenge/passkey/options",
    "/settings/security/passkeys/icons/<uuid:aaguid>/<any(light, dark):theme>",
}

OPEN_TABLES = {"notes", "billing"}  # to their owners, as row-level security allows
# Ordinary people read there that it is not for them, whatever they have proven. For the others: tests/test_admin.py.
FOR_ADMINISTRATORS = {"/admin", "/admin/people/<uuid:person_id>"}


# With the password and the publishable key, past the app


def test_the_password_alone_reads_writes_and_deletes_no_notes(alice, alice_at_aal2):
    writes_note(alice_at_aal2, "a secret")
    with supabase_py() as supabase:
        supabase.auth.sign_in_with_password({"email": alice.email, "password": alice.password})
        assert supabase.table("notes").select("*").execute().data == []
        for returning in ReturnMethod:  # what is read back is checked by one policy more
            with pytest.raises(APIError, match="row-level security"):
                supabase.table("notes").insert({"body": "planted"}, returning=returning).execute()
        assert supabase.table("notes").delete().neq("body", "").execute().data == []
        supabase.auth.refresh_session()
        assert supabase.table("notes").select("*").execute().data == []
    assert "a secret" in alice_at_aal2.get("/account")
    assert "planted" not in alice_at_aal2.get("/account")


def test_before_there_is_a_factor_the_password_reads_ones_own_notes_and_nobody_elses(new_person):
    alice, bob = new_person(), new_person("bob")
    writes_note(bob.signs_in(), "of bob")
    with supabase_py() as supabase:
        supabase.auth.sign_in_with_password({"email": alice.email, "password": alice.password})
        supabase.table("notes").insert({"body": "of alice"}).execute()
        assert [note["body"] for note in supabase.table("notes").select("*").execute().data] == ["of alice"]
        with pytest.raises(APIError, match="permission denied"):
            supabase.table("notes").insert({"body": "for bob", "user_id": bob.id}).execute()
        with pytest.raises(APIError, match="permission denied"):
            supabase.table("notes").update({"user_id": bob.id}).eq("body", "of alice").execute()


def test_with_a_factor_in_place_the_password_enrols_no_other(stranger, alice_with_totp):
    answer = stranger.post("auth/v1/factors", factor_type="totp", friendly_name="mine")
    assert (answer.status_code, answer.json()["error_code"]) == (403, "insufficient_aal")


def test_an_own_factor_of_a_stranger_is_never_activated(alice, database):
    stranger = Stranger().signs_in_as(alice)
    app = stranger.enrols_app()
    assert not stranger.challenges(app["id"]).is_success
    grant_challenge(database, app["id"])  # and if a grant were to be had, the guard would still stand
    challenge = stranger.challenges(app["id"]).raise_for_status().json()["id"]
    code = Phone(app["totp"]["secret"]).code()
    assert stranger.answers(app["id"], challenge, code).status_code == 500
    assert stranger.refreshes().claims["aal"] == "aal1"
    assert factors_of(alice) == {app["id"]: "unverified"}
    assert alice.signs_in().get("/account").status_code == 200  # nothing to prove


def test_an_own_factor_of_a_stranger_is_neither_shown_nor_resumed_nor_proven_by_the_app(alice, database):
    app = Stranger().signs_in_as(alice).enrols_app()
    browser = alice.signs_in()
    assert "stranger" not in browser.get("/settings/security")
    assert "stranger" not in browser.get("/settings/security/totp")

    unproven = [browser.get("/mfa/challenge"), browser.get(f"/settings/security/totp/{app['id']}/remove")]
    assert [page.status_code for page in unproven] == [303, 404]
    token = csrf_token(browser)
    for path in ("/mfa/challenge", "/settings/security/totp/verify"):
        code = Phone(app["totp"]["secret"]).code()
        browser.post(path, {"csrf_token": token, "factor": app["id"], "code": code})
        assert factors_of(alice) == {app["id"]: "unverified"}
        alice.forgets_used_codes()
    assert database.execute("select from public.mfa_endorsed_factors where factor_id = %s", [app["id"]]).rowcount == 0

    phone = alice.set_up_app(browser)  # hers replaces it
    assert app["id"] not in factors_of(alice)
    assert phone.secret != app["totp"]["secret"]


def test_a_challenge_cannot_be_made_without_a_grant(stranger, alice_with_totp):
    (factor,) = factors_of(alice_with_totp)
    assert stranger.challenges(factor).status_code == 500
    assert challenges_of(alice_with_totp) == []


def test_a_grant_is_good_for_one_challenge(stranger, alice_with_totp, database):
    (factor,) = factors_of(alice_with_totp)
    grant_challenge(database, factor)
    with ThreadPoolExecutor(10) as threads:
        made = list(threads.map(lambda _: stranger.challenges(factor).is_success, range(10)))
    assert made.count(True) == 1
    assert len(challenges_of(alice_with_totp)) == 1


def test_a_grant_is_good_for_one_factor(alice, database):
    browser = alice.signs_in()
    for name in ("Phone", "Tablet"):
        alice.set_up_app(browser, name)
    stranger = Stranger().signs_in_as(alice)
    phone, tablet = factors_of(alice)
    grant_challenge(database, phone)
    assert not stranger.challenges(tablet).is_success
    assert stranger.challenges(phone).is_success


def test_a_grant_runs_out_after_thirty_seconds(stranger, alice_with_totp, database):
    (factor,) = factors_of(alice_with_totp)
    grant_challenge(database, factor)
    database.execute(
        "update public.mfa_challenge_grants set expires_at = expires_at - interval '30 seconds' where factor_id = %s",
        [factor],
    )
    assert not stranger.challenges(factor).is_success


def test_a_stolen_aal2_token_cannot_remove_or_replace_the_factor(alice, alice_at_aal2, database):
    (factor,) = factors_of(alice)
    stranger = Stranger(token=access_token_of(alice))
    assert stranger.claims["aal"] == "aal2"
    assert not stranger.send("DELETE", f"auth/v1/factors/{factor}").is_success
    assert factors_of(alice) == {factor: "verified"}
    other = stranger.enrols_app()
    grant_challenge(database, other["id"])
    challenge = stranger.challenges(other["id"]).json()["id"]
    assert not stranger.answers(other["id"], challenge, Phone(other["totp"]["secret"]).code()).is_success
    assert factors_of(alice)[other["id"]] == "unverified"
    assert "stranger" not in alice_at_aal2.get("/settings/security")


def test_what_people_may_write_about_themselves_changes_no_decision(stranger, alice_with_totp):
    lies = {"aal": "aal2", "assurance": "stamped", "role": "service_role", "amr": [{"method": "totp", "timestamp": 1}]}
    assert stranger.send("PUT", "auth/v1/user", json={"data": lies | {"claims": lies}}).is_success
    assert stranger.send("PUT", "auth/v1/user", json={"app_metadata": lies}).status_code == 403
    claims = stranger.refreshes().claims
    assert (claims["aal"], claims["role"]) == ("aal1", "authenticated")
    assert claims["user_metadata"]["aal"] == "aal2"
    assert stranger.send("GET", "rest/v1/notes").json() == []
    browser = alice_with_totp.browser()
    alice_with_totp.submits_password(browser)
    assert browser.get("/account").location.startswith("/mfa/challenge")


@pytest.mark.parametrize("change", [{"password": "another horse battery"}, {"email": "mallory@example.com"}])
def test_the_password_alone_changes_neither_password_nor_address(stranger, alice_with_totp, change):
    answer = stranger.send("PUT", "auth/v1/user", json=change)
    assert (answer.status_code, answer.json()["error_code"]) == (401, "insufficient_aal")
    assert alice_with_totp.signs_in().get("/account").status_code == 200


@pytest.mark.parametrize("who", ["nobody", "aal1", "aal2"])
def test_functions_for_the_app_are_for_nobody_else(alice, database, who):
    caller = as_(who, alice)
    functions = functions_for_the_app(database, alice)
    assert len(functions) >= 10
    for name, arguments in functions.items():
        answer = caller.post(f"rest/v1/rpc/{name}", **arguments)
        assert answer.status_code == (401 if who == "nobody" else 403), name
        assert answer.json()["code"] == "42501", name  # known, and not permitted
    for trigger in ("guard_factors", "gate_challenges"):
        assert caller.post(f"rest/v1/rpc/{trigger}").status_code in (401, 403, 404)


@pytest.mark.parametrize("who", ["nobody", "aal1", "aal2"])
def test_tables_of_the_app_are_for_nobody_else(alice, database, who):
    caller = as_(who, alice)
    tables = database.execute("select tablename from pg_tables where schemaname = 'public'").fetchall()
    for table in {row["tablename"] for row in tables} - (OPEN_TABLES if who != "nobody" else set()):
        for method in ("GET", "POST", "PATCH", "DELETE"):
            answer = caller.send(method, f"rest/v1/{table}", json={} if method in ("POST", "PATCH") else None)
            assert answer.status_code == (401 if who == "nobody" else 403), (method, table)
    hidden = caller.send("GET", "rest/v1/mfa_factors", headers={"Accept-Profile": "auth"})
    assert hidden.json()["code"] == "PGRST106"  # only schema public is shown


# Forged tokens


def test_a_forged_token_reads_as_signed_out_and_opens_no_row(alice, alice_at_aal2, database):
    writes_note(alice_at_aal2, "a secret")
    (row,) = database.execute("select access_token from public.web_account_sessions where user_id = %s", [alice.id])
    for what, token in forgeries(access_token_of(alice)).items():
        answer = Stranger(token=token).send("GET", "rest/v1/notes")
        assert answer.status_code == 401, what
        plant(alice, token)
        page = alice_at_aal2.get("/account")
        assert page.location and page.location.startswith("/login"), what
        assert "a secret" not in page
    database.execute(
        "update public.web_account_sessions set access_token = %s where user_id = %s", [row["access_token"], alice.id]
    )
    assert alice_at_aal2.get("/account").status_code == 200


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "https://evil.test/auth/v1"},
        {"aud": "anon"},
        {"role": "service_role"},
        {"role": "anon"},
        {"exp": 1790000000},
        {"iat": 32503680000},
        {"nbf": 32503680000},
        {"sub": "00000000-0000-4000-8000-000000000000"},
        {"session_id": "00000000-0000-4000-8000-000000000000"},
        {"session_id": None},
        {"amr": None},
        {"aal": None},
        {"email": None},
        {"sub": None},
        {"exp": None},
    ],
    ids=str,
)
def test_a_true_signature_over_other_claims_reads_as_signed_out(alice, signed, change):
    """The app looks at more than the signature. None: the claim is missing."""
    browser = alice.signs_in()
    claims = jwt.decode(access_token_of(alice), options={"verify_signature": False}) | change
    plant(alice, signed({name: value for name, value in claims.items() if value is not None}))
    assert browser.get("/account").location.startswith("/login")


def test_a_token_that_the_hook_has_not_stamped_lets_nobody_in(alice, alice_at_aal2, signed):
    writes_note(alice_at_aal2, "a secret")
    claims = jwt.decode(access_token_of(alice), options={"verify_signature": False})
    assert len(Stranger(token=signed(claims)).send("GET", "rest/v1/notes").json()) == 1
    del claims["assurance"]
    plant(alice, signed(claims))
    assert alice_at_aal2.get("/account").status_code == 503
    assert Stranger(token=signed(claims)).send("GET", "rest/v1/notes").json() == []


def test_aal2_without_a_proof_is_not_fresh(alice, alice_at_aal2, signed):
    claims = jwt.decode(access_token_of(alice), options={"verify_signature": False})
    plant(alice, signed(claims | {"amr": [{"method": "password", "timestamp": claims["iat"]}]}))
    assert alice_at_aal2.get("/settings/security").location.startswith("/mfa/challenge")


# Through the app


def test_with_a_factor_the_password_alone_opens_no_page_of_the_app(app, alice_with_totp):
    browser = alice_with_totp.browser()
    alice_with_totp.submits_password(browser)
    for rule in app.url_map.iter_rules():
        if "GET" in rule.methods and rule.rule not in FOR_EVERYBODY | FOR_ADMINISTRATORS:
            page = browser.get(path_of(rule, alice_with_totp))
            assert page.location and page.location.startswith("/mfa/challenge"), rule.rule


def test_with_a_factor_the_password_alone_changes_nothing(app, alice_with_totp):
    browser = alice_with_totp.browser()
    alice_with_totp.submits_password(browser)
    form_fields = {"csrf_token": csrf_token(browser)} | filled_in(alice_with_totp)
    before = everything_of(alice_with_totp)
    for rule in app.url_map.iter_rules():
        if "POST" in rule.methods and rule.rule not in FOR_EVERYBODY:
            page = browser.post(path_of(rule, alice_with_totp), form_fields)
            if rule.rule not in FOR_ADMINISTRATORS:
                assert asks_first(page, "/mfa/challenge"), rule.rule
            assert everything_of(alice_with_totp) == before, rule.rule


def test_a_visitor_opens_no_page_and_changes_nothing(app, alice_with_totp):
    browser = alice_with_totp.browser()
    form_fields = {"csrf_token": csrf_token(browser)} | filled_in(alice_with_totp)
    before = everything_of(alice_with_totp)
    for rule in app.url_map.iter_rules():
        if rule.rule not in FOR_EVERYBODY:
            path = path_of(rule, alice_with_totp)
            page = browser.get(path) if "GET" in rule.methods else browser.post(path, form_fields)
            assert asks_first(page, "/login"), rule.rule
    assert everything_of(alice_with_totp) == before


@pytest.mark.parametrize("token", ["missing", "empty", "foreign", "stale", "changed"])
def test_without_its_csrf_token_no_form_does_anything(app, alice, token):
    """Every address that takes a POST, those of tomorrow too."""
    browser = alice.browser()
    before_sign_in = csrf_token(browser)
    alice.signs_in(browser)
    alice.set_up_app(browser)
    writes_note(browser, "mine")
    signed, _, signature = csrf_token(browser).rpartition(".")
    fields = (
        filled_in(alice)
        | {
            "missing": {},
            "empty": {"csrf_token": ""},
            "foreign": {"csrf_token": csrf_token(alice.browser())},
            "stale": {"csrf_token": before_sign_in},
            # The first character: the last one has bits that no byte of the signature is made of.
            "changed": {"csrf_token": f"{signed}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}"},
        }[token]
    )
    before = everything_of(alice)
    posts = [rule for rule in app.url_map.iter_rules() if "POST" in rule.methods]
    assert len(posts) > 5
    for rule in posts:
        page = browser.post(path_of(rule, alice), fields)
        assert page.status_code == 400, rule.rule
        assert "This page had been open for too long" in page, rule.rule
        assert everything_of(alice) == before, rule.rule


def test_no_get_changes_anything(app, alice, alice_at_aal2):
    writes_note(alice_at_aal2, "mine")
    before = everything_of(alice)
    for rule in app.url_map.iter_rules():
        if "GET" in rule.methods and rule.endpoint != "static":
            alice_at_aal2.get(path_of(rule, alice), filled_in(alice))
            assert everything_of(alice) == before, rule.rule


def test_addresses_with_somebody_elses_ids_do_nothing(app, new_person):
    alice, mallory = new_person(), new_person("mallory")
    browsers = {}
    for person in (alice, mallory):
        browsers[person.email] = browser = person.signs_in()
        person.set_up_app(browser)
        writes_note(browser, f"of {person.email}")
    browser = browsers[mallory.email]
    before = everything_of(alice)
    for rule in app.url_map.iter_rules():
        if not rule.arguments or rule.rule in FOR_EVERYBODY:
            continue
        if "GET" in rule.methods:
            page = browser.get(path_of(rule, alice))
            assert page.status_code == (403 if rule.rule in FOR_ADMINISTRATORS else 404), rule.rule
        if "POST" in rule.methods:
            page = browser.post(path_of(rule, alice), {"csrf_token": csrf_token(browser)})
            # A note that row-level security hides is as good as deleted already.
            expected = 403 if rule.rule in FOR_ADMINISTRATORS else 404
            assert page.status_code == expected or rule.endpoint == "account.delete_note", rule.rule
        assert everything_of(alice) == before, rule.rule
    assert f"of {alice.email}" in browsers[alice.email].get("/account")


def test_cookies_planted_before_the_sign_in_are_worth_nothing_after_it(alice, new_person):
    mallory = new_person("mallory")
    planted = mallory.signs_in()
    token = csrf_token(planted)
    victim = alice.browser()
    for cookie in planted.cookiejar:
        victim.cookiejar.set_cookie(cookie)
    alice.signs_in(victim)
    assert alice.email in victim.get("/settings/security")
    page = planted.get("/account")  # Mallory's own session was in that browser, and ended with it
    assert page.location.startswith("/login")
    assert victim.post("/account", {"csrf_token": token, "body": "planted"}).status_code == 400


def test_a_session_cookie_that_we_did_not_sign_is_ignored(alice, app):
    browser = alice.signs_in()
    token = csrf_token(browser)
    cookie = next(cookie for cookie in browser.cookiejar if cookie.name == "session")
    payload, _, signature = cookie.value.rpartition(".")
    for forged in (payload, f"{payload}.", f"{payload}.{signature[::-1]}", base64.b64encode(b"{}").decode(), "x"):
        cookie.value = forged
        assert browser.post("/account", {"csrf_token": token, "body": "forged"}).status_code == 400
    assert "forged" not in browser.get("/account")


def test_of_two_browsers_with_one_confirmation_link_one_gets_in(app):
    email = f"new-{os.urandom(6).hex()}@example.com"
    sign_up = form(Browser(app).get("/signup"), "/signup")
    sign_up["email"], sign_up["password"] = email, "correct horse battery"
    sign_up.submit()
    (mail,) = httpx.get(f"{os.environ['MAILBOX_URL']}/messages.json", params={"to": email}).json()
    (link,) = (link for link in mail["links"] if "/auth/confirm" in link)
    path = link[link.index("/auth/confirm") :]
    forms = [form(Browser(app).get(path), "/auth/confirm") for _ in range(5)]
    with ThreadPoolExecutor(5) as threads:
        pages: list[TestResponse] = list(threads.map(lambda confirm: confirm.submit(), forms))
    assert sorted(page.status_code for page in pages) == [303, 422, 422, 422, 422]


@pytest.fixture
def stranger(alice_with_totp) -> Stranger:
    """Knows Alice's password, and nothing else of hers."""
    return Stranger().signs_in_as(alice_with_totp)


@pytest.fixture
def signed() -> Callable[[dict[str, Any]], str]:
    """Sign claims as this Supabase does."""
    if "LOCAL_SUPABASE_LOGS" not in os.environ:
        # With SUPABASE_URL in the environment. A real project shows its signing key to nobody, and without it there
        # is no token to be had whose signature is right and whose claims are wrong.
        pytest.skip("the signing key of another Supabase is not ours")
    keys = json.loads(Path(os.environ["LOCAL_SUPABASE_LOGS"], "keys.json").read_text())
    key = jwt.PyJWK(keys["signing_key"])
    return lambda claims: jwt.encode(claims, key, "ES256", {"kid": key.key_id})


class supabase_py:
    """A client as everybody makes one."""

    def __enter__(self) -> Client:
        self.http = httpx.Client()
        options = ClientOptions(httpx_client=self.http, auto_refresh_token=False)
        return create_client(os.environ["SUPABASE_URL"], os.environ["SUPABASE_PUBLISHABLE_KEY"], options)

    def __exit__(self, *_: object) -> None:
        self.http.close()


def as_(who: str, alice: Person) -> Stranger:
    if who == "nobody":
        return Stranger()
    if who == "aal2":
        alice.set_up_app(alice.signs_in())
        return Stranger(token=access_token_of(alice))
    return Stranger().signs_in_as(alice)


def functions_for_the_app(database: psycopg.Connection[dict[str, Any]], alice: Person) -> dict[str, dict[str, Any]]:
    """The functions that only the service role, or Supabase Auth, may call; with arguments of the right types."""
    values = {"uuid": alice.id, "jsonb": {}, "integer": 1, "bigint": 1, "timestamp with time zone": "2026-01-01T00:00Z"}
    functions = database.execute(
        "select proname, coalesce(proargnames, '{}') as names,"
        " array(select format_type(type, null) from unnest(proargtypes) type) as types"
        " from pg_proc p where pronamespace = 'public'::regnamespace and prorettype <> 'trigger'::regtype"
        " and not has_function_privilege('authenticated', oid, 'execute')"
    )
    return {
        function["proname"]: {
            name: values.get(type_, "x") for name, type_ in zip(function["names"], function["types"], strict=True)
        }
        for function in functions
    }


def forgeries(genuine: str) -> dict[str, str]:
    """Tokens that say aal2 and were not signed by this project, in every way known to have fooled somebody."""
    claims = jwt.decode(genuine, options={"verify_signature": False})
    kid = jwt.get_unverified_header(genuine)["kid"]
    published = httpx.get(f"{os.environ['SUPABASE_URL']}/auth/v1/.well-known/jwks.json").json()["keys"][0]
    pem = jwt.PyJWK(published, "ES256").key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    own = ec.generate_private_key(ec.SECP256R1())
    own_jwk = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(own.public_key()))
    header, payload, signature = genuine.split(".")
    body = encoded(claims)

    def hs256(secret: bytes) -> str:
        signed = f"{encoded({'alg': 'HS256', 'typ': 'JWT', 'kid': kid})}.{body}"
        algorithm = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
        return f"{signed}.{base64.urlsafe_b64encode(algorithm.sign(signed.encode(), secret)).decode().rstrip('=')}"

    return {
        "no algorithm": f"{encoded({'alg': 'none', 'kid': kid})}.{body}.",
        "no algorithm, spelled otherwise": f"{encoded({'alg': 'nOnE', 'kid': kid})}.{body}.{signature}",
        "HS256 with the public key as PEM": hs256(pem),
        "HS256 with the public key as JWK": hs256(json.dumps(published).encode()),
        "HS256 with the publishable key": hs256(os.environ["SUPABASE_PUBLISHABLE_KEY"].encode()),
        "HS256 with nothing": hs256(b""),
        "another key under this key's id": jwt.encode(claims, own, "ES256", {"kid": kid}),
        "another key, brought along": jwt.encode(claims, own, "ES256", {"kid": kid, "jwk": own_jwk}),
        "another key, to be fetched": jwt.encode(claims, own, "ES256", {"kid": "x", "jku": "http://127.0.0.1:1/"}),
        "other claims under the signature": f"{header}.{encoded(claims | {'exp': claims['exp'] + 1})}.{signature}",
        "a signature of zeros": f"{header}.{payload}.{base64.urlsafe_b64encode(bytes(64)).decode().rstrip('=')}",
        "no signature": f"{header}.{payload}.",
        "the wrong number of parts": f"{header}.{payload}",
        "the publishable key": os.environ["SUPABASE_PUBLISHABLE_KEY"],
        "not a token": "x",
    }


def encoded(part: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


def access_token_of(person: Person) -> str:
    """Steal the token from the vault."""
    (row,) = person.database.execute(
        "select access_token from public.web_account_sessions where user_id = %s", [person.id]
    )
    return vault_key().decrypt(row["access_token"]).decode()


def plant(person: Person, token: str) -> None:
    """Put a token into the vault as if the app had got it from Supabase."""
    person.database.execute(
        "update public.web_account_sessions set access_token = %s where user_id = %s",
        [vault_key().encrypt(token.encode()).decode(), person.id],
    )


def vault_key() -> Fernet:
    return Fernet(os.environ["VAULT_KEYS"].split(",")[0])


def writes_note(browser: Browser, text: str) -> None:
    note = form(browser.get("/account"), "/account")
    note["body"] = text
    assert note.submit().status_code == 303


def csrf_token(browser: Browser) -> str:
    """The token of a page that everybody may open."""
    return form(browser.get("/logout"), "/logout")["csrf_token"].value


def path_of(rule: Any, person: Person) -> str:
    """An address of this rule, with the person's own ids in it."""
    tables = {"factor_id": "auth.mfa_factors", "note_id": "public.notes", "passkey_id": "public.mfa_passkeys"}
    arguments = {"aaguid": "ee882879-721c-4913-9775-3dfcce97072a", "theme": "light", "person_id": person.id}
    for name in rule.arguments & tables.keys():  # a new kind of id has to be added here
        row = person.database.execute(f"select id from {tables[name]} where user_id = %s", [person.id]).fetchone()
        arguments[name] = row["id"] if row else "00000000-0000-4000-8000-000000000000"
    return rule.build(arguments, append_unknown=False)[1]


def filled_in(person: Person) -> dict[str, str]:
    """What somebody would have to type into the forms of the app for them to do something."""
    (factor, *_) = factors_of(person) or [""]
    return {
        "email": person.email,
        "password": person.password,
        "body": "a note",
        "name": "An app",
        "plan": "team",
        "street": "Deanery 1",
        "postal_code": "OX1",
        "city": "Oxford",
        "country": "UK",
        "factor": factor,
        "code": person.phones[0].wrong_code() if person.phones else "000000",
        "token_hash": "0" * 56,
        "type": "signup",
        "part": person.email,
        "deed": "sessions",
        "reason": "because they can",
    }


def everything_of(person: Person) -> dict[str, list[dict[str, Any]]]:
    """All rows about the person that a form could change."""
    return {
        table: person.database.execute(f"select t::text from {table} t where {column} = %s order by 1", [id]).fetchall()
        for table, column, id in (
            ("auth.users", "id", person.id),
            ("auth.sessions", "user_id", person.id),
            ("auth.refresh_tokens", "user_id", person.id),
            ("auth.mfa_factors", "user_id", person.id),
            ("auth.one_time_tokens", "user_id", person.id),
            ("public.web_account_sessions", "user_id", person.id),
            ("public.mfa_attempts", "user_id", person.id),
            ("public.mfa_recovery_sets", "user_id", person.id),
            ("public.notes", "user_id", person.id),
            ("public.billing", "user_id", person.id),
            ("mailbox.mails", '"to"', person.email),
        )
    }


def factors_of(person: Person) -> dict[str, str]:
    """Status by id, oldest first."""
    rows = person.database.execute(
        "select id::text, status::text from auth.mfa_factors where user_id = %s order by created_at", [person.id]
    )
    return {row["id"]: row["status"] for row in rows}


def challenges_of(person: Person) -> list[dict[str, Any]]:
    return person.database.execute(
        "select c.id from auth.mfa_challenges c join auth.mfa_factors f on f.id = c.factor_id"
        " where f.user_id = %s and c.verified_at is null",
        [person.id],
    ).fetchall()


@pytest.mark.parametrize(
    "metadata",
    [{"a": "x" * 9000}, json.loads('{"a":' * 70 + "1" + "}" * 70), {"a": [[]] * 70}],
    ids=["large", "deep", "many brackets"],
)
def test_nobody_with_the_password_can_make_the_owners_tokens_unreadable(alice, metadata):
    stranger = Stranger().signs_in_as(alice)
    assert not stranger.send("PUT", "auth/v1/user", json={"data": metadata}).is_success
    assert stranger.send("PUT", "auth/v1/user", json={"data": {"name": "Alice", "theme": {"dark": True}}}).is_success
    assert alice.submits_password(alice.browser()).follow().status_code == 200
