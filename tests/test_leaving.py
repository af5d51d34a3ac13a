"""Downloading everything and deleting it: the file is complete and opens nothing, and no deletion is half-done."""

import re
from typing import Any

import pytest
from psycopg import sql

from tests.mailbox import link_to, mails_to
from tests.people import Browser, Person, alerts, form
from tests.proxy import app_behind_proxy, running_proxy
from tests.stranger import Stranger, grant_challenge
from tests.test_admin import REASON, does
from tests.test_attacks import access_token_of, vault_key
from tests.test_billing import saves

EXPORT, DELETE = "/account/export", "/account/delete"
GONE = "Your account is deleted, with everything in it."

# Where in the file the rows of a table are. A new table must be here or in the next one.
EXPORTED = {
    "public.security_events": "security_log",
    "auth.users": "account",
    "auth.identities": "identities",
    "auth.sessions": "sessions",
    "auth.mfa_amr_claims": "sessions.proofs",
    "auth.one_time_tokens": "links_sent_by_mail",
    "auth.mfa_factors": "second_factors",
    "auth.mfa_challenges": "second_factors.challenges",
    "auth.audit_log_entries": "log",
    "public.billing": "billing",
    "public.mfa_attempts": "wrong_codes",
    "public.mfa_endorsed_factors": "second_factors.counts_since",
    "public.mfa_passkey_sessions": "sessions.proven_with_passkey",
    "public.mfa_passkeys": "passkeys",
    "public.mfa_prompts": "account.no_second_factor_for_now",
    "public.mfa_recovery_codes": "sheets_of_recovery_codes.used_at",
    "public.mfa_recovery_sets": "sheets_of_recovery_codes",
    "public.notes": "notes",
    "public.web_account_sessions": "sessions.signed_in_with",
    "public.webauthn_handles": "account.known_to_passkeys_as",
}
LEFT_OUT = {
    "auth.refresh_tokens": "tokens, and of when nothing that the sessions do not say",
    "auth.flow_state": "codes of sign-ins under way of a kind that the app does not use",
    "auth.webauthn_credentials": "Supabase's own passkeys, which stay switched off",
    "auth.webauthn_challenges": "as webauthn_credentials",
    "public.mfa_challenge_grants": "good for 30 s; says what the log of challenges says",
    "public.mfa_spent_codes": "hashes of codes, for two minutes",
    "public.web_vaults": "the hash of a cookie; who and when is in the sessions",
    "public.webauthn_challenges": "random numbers for five minutes",
}
SECRET = re.compile("password|token(?!_type)|secret|hash|digest|salt|pepper|(?<!public)_key|challenge$|session_data")


@pytest.fixture
def lived_in(alice, alice_at_aal2, database) -> Person:
    """Somebody of whom there is something in every table that is exported, and a browser of hers."""
    alice.makes_codes(alice_at_aal2)
    note = form(alice_at_aal2.get("/account"), "/account")
    note["body"] = "Grüße aus Köln"
    note.submit()
    saves(alice_at_aal2)
    other = alice.browser()
    alice.submits_password(other)
    alice.submits_recovery_code(other, alice.codes[0])
    database.execute("insert into public.mfa_prompts values (%s, now())", [alice.id])
    change = form(alice_at_aal2.get("/account/change-email"), "/account/change-email")
    change["email"] = f"new-{alice.email}"
    change.submit()
    (factor,) = database.execute("select id from auth.mfa_factors where user_id = %s", [alice.id])
    grant_challenge(database, factor["id"])
    Stranger().signs_in_as(alice).challenges(factor["id"])
    database.execute(
        "with p as (insert into public.mfa_passkeys (user_id, credential_id, public_key, sign_count, transports,"
        " aaguid, name, backup_eligible, backed_up) values (%s, gen_random_uuid(), 'cHVibGlj', 0, '{internal}',"
        " gen_random_uuid(), 'Laptop', true, true) returning id, user_id), h as (insert into public.webauthn_handles"
        " select user_id, gen_random_uuid() from p) insert into public.mfa_passkey_sessions"
        " select s.id, p.id from p join auth.sessions s using (user_id) limit 1",
        [alice.id],
    )
    return alice


def downloads(browser: Browser):
    answer = form(browser.get(EXPORT), EXPORT).submit()
    assert answer.status_code == 200, answer
    return answer


# The download


def test_the_file_is_for_saving_and_for_nobodys_cache(alice, alice_at_aal2):
    answer = downloads(alice_at_aal2)
    assert answer.content_type == "application/json"
    assert re.fullmatch(r"attachment; filename=Stepup-\d{4}-\d\d-\d\d\.json", answer.headers["Content-Disposition"])
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json["account"]["email"] == alice.email


def test_every_table_is_in_the_file_or_in_a_list_with_the_reason_why_not(database, lived_in, alice_at_aal2):
    file = downloads(alice_at_aal2).json
    assert set(EXPORTED) | set(LEFT_OUT) == {
        row["name"]
        for row in database.execute(
            "select schemaname || '.' || tablename as name from pg_tables"
            " where schemaname = 'public' or schemaname = 'auth' and tablename !~ '^(schema_migrations|instances)$'"
        )
    }
    for table, place in EXPORTED.items():
        assert found(file, place), table


def found(file, place):
    """What is at the place, in any of the rows on the way."""
    name, _, rest = place.partition(".")
    rows = [row for row in (file[name] if isinstance(file[name], list) else [file[name]]) if row]
    return rows if not rest else [deep for row in rows for deep in found(row, rest)]


def test_the_file_says_what_was_written_used_and_done(lived_in, alice_at_aal2):
    file = downloads(alice_at_aal2).json
    assert [note["body"] for note in file["notes"]] == ["Grüße aus Köln"]
    assert file["billing"]["city"] == "Oxford"
    assert file["account"]["has_password"] is True
    assert file["account"]["new_email"] == f"new-{lived_in.email}"
    (sheet,) = file["sheets_of_recovery_codes"]
    assert (sheet["codes"], len(sheet["used_at"])) == (10, 1)
    assert {proof["method"] for session in file["sessions"] for proof in session["proofs"]} == {
        "password",
        "totp",
        "recovery_code",
    }
    assert {"signed_in", "app_added", "code_used"} <= {entry["what"] for entry in file["security_log"]}
    assert "login" in {entry["what"] for entry in file["log"]}


def test_the_file_has_every_moment_that_supabase_keeps_of_an_account(database, alice, alice_at_aal2):
    moments = database.execute(
        "select column_name as name from information_schema.columns"
        " where table_schema = 'auth' and table_name = 'users' and data_type like 'timestamp%'"
    )
    assert {row["name"] for row in moments} - set(downloads(alice_at_aal2).json["account"]) == set()


def test_what_an_administrator_did_is_in_their_file_without_whom_it_concerned_and_outlives_them(new_admin, new_person):
    admin, desk = new_admin()
    bob = new_person("bob")
    bob.signs_in()
    does(desk, bob, "sessions")
    file = downloads(desk)
    done = [(deed["what"], deed["reason"]) for deed in file.json["done_as_support"]]
    assert done == [("looked_at", None), ("sessions_ended", REASON)]
    assert bob.id not in file and bob.email not in file
    assert "stays in their logs" in desk.get(DELETE)
    deletes(desk, admin.email)
    assert left_of(admin) == ["security_events"]
    log = bob.signs_in().get("/settings/security/log").html.main.get_text()
    assert f"because: {REASON}" in log and "By support" in log


def test_the_file_opens_nothing(database, lived_in, alice_at_aal2):
    """Whatever is kept of the person in a column that is called like a secret, and what the app keeps encrypted."""
    text = downloads(alice_at_aal2).text
    secrets = {lived_in.password, lived_in.phones[0].secret, alice_at_aal2.cookies["stepup"], *lived_in.codes}
    secrets |= {code.replace("-", "") for code in lived_in.codes}
    columns = set()
    for table, column, value in secrets_of(database, lived_in):
        columns.add(f"{table}.{column}")
        secrets.add(value)
        if value.startswith("gAAAA"):
            secrets.add(vault_key().decrypt(value).decode())
    assert columns >= {
        "auth.users.encrypted_password",
        "auth.refresh_tokens.token",
        "auth.mfa_factors.secret",
        "auth.one_time_tokens.token_hash",
        "public.web_account_sessions.refresh_token",
        "public.mfa_recovery_codes.digest",
        "public.mfa_recovery_sets.salt",
    }
    assert [secret for secret in secrets if secret in text] == []


def secrets_of(database, person):
    """(table, column, value) of every column that is called like a secret, in the rows of this person."""
    rows = {
        "user_id": [person.id],
        **{
            reference: [
                row["id"]
                for row in database.execute(f"select id::text from {table} where user_id = %s", [person.id]).fetchall()
            ]
            for reference, table in (
                ("session_id", "auth.sessions"),
                ("factor_id", "auth.mfa_factors"),
                ("set_id", "public.mfa_recovery_sets"),
            )
        },
    }
    columns = database.execute(
        "select table_schema, table_name, array_agg(column_name::text) as names from information_schema.columns"
        " where table_schema in ('public', 'auth') group by 1, 2"
    ).fetchall()
    for table in columns:
        is_users = (table["table_schema"], table["table_name"]) == ("auth", "users")
        reference = "id" if is_users else next((name for name in rows if name in table["names"]), None)
        for column in filter(SECRET.search, table["names"] if reference else []):
            found = database.execute(
                sql.SQL("select {}::text as value from {} where {}::text = any(%s)").format(
                    sql.Identifier(column),
                    sql.Identifier(table["table_schema"], table["table_name"]),
                    sql.Identifier(reference),
                ),
                [rows["user_id" if is_users else reference]],
            )
            for row in found.fetchall():
                if row["value"] and len(row["value"]) >= 8:
                    yield f"{table['table_schema']}.{table['table_name']}", column, row["value"]


def test_nothing_of_anybody_else_is_in_the_file(new_person, lived_in):
    bob = new_person("bob")
    text = downloads(bob.signs_in()).text
    assert bob.email in text
    assert lived_in.id not in text
    assert "alice" not in text


def test_a_minute_after_a_proof_the_download_asks_anew(alice, alice_at_aal2):
    page = form(alice_at_aal2.get(EXPORT), EXPORT)
    alice.ages_proofs(61)
    assert page.submit().location == "/mfa/challenge?next=/account/export&action=export"
    assert alice_at_aal2.get(EXPORT).location == "/mfa/challenge?next=/account/export&action=export"


@pytest.mark.parametrize("path", [EXPORT, DELETE])
def test_a_recovery_code_is_not_enough(alice, alice_at_aal2, path):
    codes = alice.makes_codes(alice_at_aal2)
    browser = alice.browser()
    alice.submits_password(browser)
    alice.submits_recovery_code(browser, codes[0])
    asked = browser.get(path)
    assert asked.location.startswith("/mfa/challenge")
    assert "with a recovery code, which is not enough for this" in asked.follow()


def test_round_trips_of_the_download(alice_at_aal2, round_trips):
    round_trips.clear()
    page = form(alice_at_aal2.get(EXPORT), EXPORT)
    assert round_trips == ["POST /rest/v1/rpc/vault_read"]
    round_trips.clear()
    page.submit()
    assert round_trips == ["POST /rest/v1/rpc/vault_read", "POST /rest/v1/rpc/export_account"]


# Deleting


def deletes(browser: Browser, typed: str, **headers):
    page = form(browser.get(DELETE), DELETE)
    page["email"] = typed
    return page.submit(**headers)


def left_of(person: Person) -> list[str]:
    """The tables that still hold something of the person. Supabase's own log may."""
    tables = person.database.execute(
        "select c.oid::regclass::text as name from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where n.nspname in ('public', 'auth') and c.relkind = 'r'"
    ).fetchall()
    return [
        table["name"]
        for table in tables
        if table["name"].removeprefix("auth.") != "audit_log_entries"
        and person.database.execute(
            f"select from {table['name']} t where t::text like any(%s)", [[f"%{person.id}%", f"%{person.email}%"]]
        ).rowcount
    ]


@pytest.mark.parametrize("headers", [{}, {"HX-Request": "true"}], ids=["plain", "htmx"])
def test_an_account_is_deleted_with_everything_in_it(lived_in, alice_at_aal2, headers):
    vaults = vaults_of(lived_in)
    assert len(vaults) == 2
    answer = deletes(alice_at_aal2, f" {lived_in.email.upper()} ", headers=headers)
    assert (answer.headers.get("HX-Redirect") or answer.location) == "/"
    assert "stepup" not in alice_at_aal2.cookies
    assert GONE in alice_at_aal2.get("/")
    assert left_of(lived_in) == []
    assert lived_in.database.execute("select from public.web_vaults where id = any(%s)", [vaults]).rowcount == 0
    refused = lived_in.submits_password(lived_in.browser())
    assert "Email or password is incorrect." in refused
    (mail,) = mails_about_it(lived_in)
    assert "with everything in it" in mail["html"]
    assert mail["links"] == []  # there is nothing left to look at


def test_other_browsers_are_signed_out_calmly(alice, alice_at_aal2):
    other = alice.browser()
    alice.forgets_used_codes()
    alice.signs_in(other)
    note = form(other.get("/account"), "/account")
    deletes(alice_at_aal2, alice.email)
    assert other.get("/account").location == "/login?next=/account"
    note["body"] = "too late"
    assert note.submit().status_code == 403  # asks to sign in
    assert other.get("/").status_code == 200


def test_the_address_can_sign_up_again_and_finds_an_empty_account(lived_in, alice_at_aal2):
    deletes(alice_at_aal2, lived_in.email)
    browser = lived_in.browser()
    sign_up = form(browser.get("/signup"), "/signup")
    sign_up["email"], sign_up["password"] = lived_in.email, "another horse battery"
    sign_up.submit()
    link = link_to(lived_in.email, "/auth/confirm")
    confirm = form(browser.get(link), "/auth/confirm").submit()
    assert confirm.status_code == 303
    assert "Nothing yet" in browser.get("/account")


@pytest.mark.parametrize("typed", ["", "  ", "somebody@example.com", "alice", "delete"])
def test_another_address_deletes_nothing(alice, alice_at_aal2, typed):
    page = deletes(alice_at_aal2, typed)
    assert page.status_code == 422
    assert alerts(page) == [
        f"That is not the email address of your account, {alice.email}."
        if typed.strip()
        else "Enter your email address."
    ]
    assert form(page, DELETE)["email"].value == typed.strip()
    assert alice_at_aal2.get("/account").status_code == 200


def test_a_minute_after_a_proof_deleting_asks_anew_and_goes_on_after_one_click(alice, alice_at_aal2):
    page = form(alice_at_aal2.get(DELETE), DELETE)
    page["email"] = alice.email
    alice.ages_proofs(61)
    alice.forgets_used_codes()
    asked = page.submit()
    assert asked.status_code == 403
    challenge = form(asked, "/mfa/challenge")
    challenge["code"] = alice.phones[0].code()
    again = challenge.submit()
    assert alice_at_aal2.get("/account").status_code == 200
    assert form(again, DELETE).submit().location == "/"
    assert GONE in alice_at_aal2.get("/")


def test_without_a_factor_the_password_is_asked_for_after_a_minute(alice):
    browser = alice.signs_in()
    alice.ages_proofs(61)
    asked = browser.get(DELETE)
    assert asked.location == "/login?next=/account/delete&action=delete"
    sign_in = form(asked.follow(), "/login")
    sign_in["password"] = alice.password
    sign_in.submit()
    deletes(browser, alice.email)
    assert left_of(alice) == []


def test_of_two_tabs_one_deletes_and_the_other_is_told(alice, alice_at_aal2):
    first, second = (form(alice_at_aal2.get(DELETE), DELETE) for _ in range(2))
    first["email"] = second["email"] = alice.email
    first.submit()
    late = second.submit()
    assert late.status_code == 400
    assert "you signed in or out in another tab" in late
    assert alice_at_aal2.get(DELETE).location.startswith("/login")


def test_two_tabs_at_the_same_moment_both_read_that_it_is_done(alice, alice_at_aal2, new_person):
    bob = new_person("bob")
    pages = [form(alice_at_aal2.get(DELETE), DELETE) for _ in range(2)]
    with running_proxy() as proxy:
        slow = app_behind_proxy(proxy.url)
        tabs = [Browser(slow, alice_at_aal2.cookiejar) for _ in range(2)]
        fields = {"csrf_token": pages[0]["csrf_token"].value, "email": alice.email}
        # The other tab's request is answered while this one waits for Supabase.
        proxy.upset("/admin/users/", lambda: answers.append(tabs[1].post(DELETE, fields)))
        answers = []
        answers.append(tabs[0].post(DELETE, fields))
        slow.extensions["stepup"].gateway.close()
    assert [answer.location for answer in answers] == ["/", "/"]
    assert left_of(alice) == []
    assert len(mails_about_it(alice)) == 1
    assert bob.signs_in().get("/account").status_code == 200


@pytest.fixture
def stormy(alice, alice_at_aal2):
    """Alice's browser at an app that reaches Supabase through a proxy, and the proxy."""
    with running_proxy() as proxy:
        app = app_behind_proxy(proxy.url)
        yield Browser(app, alice_at_aal2.cookiejar), proxy
        app.extensions["stepup"].gateway.close()


def test_when_the_answer_is_lost_the_truth_is_found_out_at_once(alice, stormy):
    browser, proxy = stormy
    proxy.upset("/admin/users/", "lost")
    assert deletes(browser, alice.email).location == "/"
    assert GONE in browser.get("/")


@pytest.mark.parametrize("again", ["form", "page"])
def test_when_nobody_answers_any_more_the_next_try_reads_the_truth(alice, stormy, again):
    browser, proxy = stormy
    proxy.upset("/admin/users/", "lost")
    proxy.upset("/admin/users/", "cut")
    page = deletes(browser, alice.email)
    assert page.status_code == 503
    assert alerts(page) == ["We cannot reach our account service at the moment. Please try again."]
    assert form(page, DELETE)["email"].value == alice.email
    answer = form(page, DELETE).submit() if again == "form" else browser.get(DELETE)
    assert answer.location == "/"
    assert GONE in browser.get("/")
    assert "stepup" not in browser.cookies
    assert len(mails_about_it(alice)) == 1


@pytest.mark.parametrize("trouble", ["cut", "broken", "bad gateway", "garbage", "half"])
def test_when_supabase_did_not_do_it_the_account_is_as_it_was_and_the_next_try_works(alice, stormy, trouble):
    browser, proxy = stormy
    proxy.upset("/admin/users/", trouble)
    page = deletes(browser, alice.email)
    assert page.status_code == 503
    assert browser.get("/account").status_code == 200
    assert mails_about_it(alice) == []
    assert form(page, DELETE).submit().location == "/"
    assert left_of(alice) == []


def test_round_trips_of_deleting(alice, alice_at_aal2, round_trips):
    round_trips.clear()
    page = form(alice_at_aal2.get(DELETE), DELETE)
    assert round_trips == ["POST /rest/v1/rpc/vault_read"]
    page["email"] = alice.email
    round_trips.clear()
    page.submit()
    assert round_trips == [
        "POST /rest/v1/rpc/vault_read",
        *(f"{method} /auth/v1/admin/users/{alice.id}" for method in ("DELETE", "GET")),
    ]


@pytest.mark.parametrize("who", ["aal1", "aal2"])
def test_nobody_deletes_or_exports_past_the_app(alice, alice_at_aal2, who, new_person):
    stranger = Stranger().signs_in_as(alice) if who == "aal1" else Stranger(token=access_token_of(alice))
    for user_id in (alice.id, new_person("bob").id):
        assert stranger.send("DELETE", f"auth/v1/admin/users/{user_id}").status_code in (401, 403)
        assert stranger.post("rest/v1/rpc/export_account", p_user=user_id).status_code == 403
    assert alice_at_aal2.get("/account").status_code == 200


def vaults_of(person: Person) -> list[str]:
    return [
        row["vault_id"]
        for row in person.database.execute(
            "select vault_id from public.web_account_sessions where user_id = %s", [person.id]
        )
    ]


def mails_about_it(person: Person) -> list[dict[str, Any]]:
    return [mail for mail in mails_to(person.email) if mail["subject"] == "Your account was deleted (Stepup)"]
