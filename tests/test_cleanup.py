"""`flask cleanup`: what has outlived its purpose goes, what is in use stays. And the page that says so."""

import re

import pytest

from tests.authenticator import Authenticator
from tests.ceremonies import add_passkey
from tests.test_app import PROJECT, make_app  # noqa: F401  # make_app is a fixture


@pytest.fixture(autouse=True)
def one_at_a_time(database):
    """It is everybody's rows that go: another worker's run would do what this one is to be seen doing."""
    database.execute("select pg_advisory_lock(hashtext('cleanup'))")
    yield
    database.execute("select pg_advisory_unlock(hashtext('cleanup'))")


def cleanup(app):
    result = app.test_cli_runner().invoke(args=["cleanup"])
    assert result.exit_code == 0, result.output
    return {what: int(count) for count, what in re.findall(r"(\d+)  (.+)", result.output)}


def rows(database, table, condition, *values):
    return database.execute(f"select from {table} where {condition}", values).rowcount


def test_sign_ins_of_long_ago_end_and_todays_stay(alice, app, database):
    old, new = alice.signs_in(), alice.signs_in()
    database.execute(
        "update public.web_account_sessions set created_at = now() - interval '31 days' where id ="
        " (select id from public.web_account_sessions where user_id = %s order by created_at limit 1)",
        [alice.id],
    )
    assert cleanup(app)["auth.sessions"] >= 1
    assert old.get("/account").location.startswith("/login")
    assert new.get("/account").status_code == 200
    assert rows(database, "public.web_account_sessions", "user_id = %s", alice.id) == 1


def test_vaults_of_sessions_that_supabase_has_ended_go(alice, app, database):
    alice.signs_in()
    database.execute("delete from auth.sessions where user_id = %s", [alice.id])
    cleanup(app)
    assert rows(database, "public.web_account_sessions", "user_id = %s", alice.id) == 0


def test_unfinished_set_ups_go_after_a_day_and_finished_ones_stay(alice, app, database):
    browser = alice.signs_in()
    alice.set_up_app(browser, "Phone")
    alice.begins_app(browser, "Tablet")
    database.execute(
        "update auth.mfa_factors set created_at = now() - interval '2 days' where user_id = %s", [alice.id]
    )
    cleanup(app)
    assert rows(database, "auth.mfa_factors", "user_id = %s and friendly_name = 'Phone'", alice.id) == 1
    assert rows(database, "auth.mfa_factors", "user_id = %s and friendly_name = 'Tablet'", alice.id) == 0


def test_a_count_of_wrong_codes_stays_however_old(alice_with_totp, app, database):
    browser = alice_with_totp.browser()
    alice_with_totp.submits_password(browser)
    alice_with_totp.submits_code(browser, alice_with_totp.phones[0].wrong_code())
    database.execute(
        "update public.mfa_attempts set window_started = now() - interval '99 days' where user_id = %s",
        [alice_with_totp.id],
    )
    cleanup(app)
    assert rows(database, "public.mfa_attempts", "user_id = %s and since_success = 1", alice_with_totp.id) == 1


def test_addresses_go_before_the_sessions_they_belong_to(alice, app, database):
    browser = alice.signs_in()
    database.execute("update auth.sessions set created_at = now() - interval '31 days' where user_id = %s", [alice.id])
    cleanup(app)
    assert rows(database, "auth.sessions", "user_id = %s and ip is null", alice.id) == 1
    assert browser.get("/account").status_code == 200


def test_the_log_goes_after_ninety_days(alice, app, database):
    alice.signs_in()
    alice.signs_in()
    database.execute(
        "update public.security_events set at = now() - interval '91 days' where id ="
        " (select min(id) from public.security_events where user_id = %s)",
        [alice.id],
    )
    assert cleanup(app)["security_events"] >= 1
    assert rows(database, "public.security_events", "user_id = %s", alice.id) == 1


@pytest.mark.parametrize(
    ("column", "kept", "gone"),
    [
        ("public.mfa_spent_codes.spent_at", "119 seconds", "121 seconds"),
        ("public.mfa_challenge_grants.expires_at", "59 minutes", "61 minutes"),
        ("public.webauthn_challenges.expires_at", "-1 minute", "1 second"),
        ("public.mfa_recovery_sets.replaced_at", "47 hours", "49 hours"),  # as log_days below, as the next
        ("public.security_events.at", "47 hours", "49 hours"),
        ("public.mfa_attempts.window_started", "23 hours", "25 hours"),
        ("auth.mfa_challenges.created_at", "23 hours", "25 hours"),
        ("auth.audit_log_entries.created_at", "47 hours", "49 hours"),
        ("public.web_account_sessions.created_at", "71 hours", "73 hours"),
    ],
)
def test_what_is_as_old_as_the_settings_say_goes_and_the_rest_stays(make_app, alice, database, column, kept, gone):  # noqa: F811
    schema, table, moment = column.split(".")
    mine = rows_of_each_kind(alice, database)[table]
    app = make_app(session_days=3, log_days=2, address_days=1)
    for age, left in ((kept, 1), (gone, 0)):
        aged = f"update {schema}.{table} set {moment} = now() - %s::interval where {mine}"
        database.execute(aged, [age, alice.id])
        cleanup(app)
        assert rows(database, f"{schema}.{table}", mine, alice.id) == left, age


def rows_of_each_kind(alice, database):
    """Write what is kept about somebody who has just signed in; return, by table, how one row of it is found."""
    browser = alice.signs_in()
    alice.set_up_app(browser)  # a spent code, a challenge, lines of the logs
    alice.makes_codes(browser)
    database.execute("delete from public.security_events where user_id = %s and event <> 'codes_made'", [alice.id])
    factor = "factor_id in (select id from auth.mfa_factors where user_id = %s)"
    database.execute(f"delete from auth.mfa_challenges where {factor}", [alice.id])
    for table, columns in (
        ("public.mfa_challenge_grants (factor_id)", "id"),
        ("public.mfa_challenge_grants (factor_id)", "id"),  # of the two, the challenge takes one
        ("auth.mfa_challenges (id, factor_id, created_at, ip_address)", "gen_random_uuid(), id, now(), '::1'"),
    ):
        database.execute(f"insert into {table} select {columns} from auth.mfa_factors where user_id = %s", [alice.id])
    database.execute(
        "insert into public.webauthn_challenges (challenge, purpose, made_for) values (%s, 'step_up', 'x')", [alice.id]
    )
    database.execute("update public.mfa_attempts set failures = 0, since_success = 0 where user_id = %s", [alice.id])
    entry = "payload ->> 'actor_id' = %s and payload ->> 'action' = 'login'"
    return {
        "mfa_spent_codes": factor,
        "mfa_challenge_grants": factor,
        "mfa_challenges": factor,
        "webauthn_challenges": "challenge = %s",
        "audit_log_entries": entry,
    } | dict.fromkeys(["mfa_recovery_sets", "security_events", "mfa_attempts", "web_account_sessions"], "user_id = %s")


def test_addresses_in_supabases_log_go_before_its_lines(make_app, alice, database):  # noqa: F811
    alice.signs_in()
    mine = "payload ->> 'actor_id' = %s and ip_address <> ''"
    database.execute(
        "update auth.audit_log_entries set ip_address = '192.0.2.1' where payload ->> 'actor_id' = %s", [alice.id]
    )
    app = make_app(log_days=2, address_days=1)
    for age, left in (("23 hours", 1), ("25 hours", 0)):
        database.execute(
            "update auth.audit_log_entries set created_at = now() - %s::interval where payload ->> 'actor_id' = %s",
            [age, alice.id],
        )
        cleanup(app)
        assert rows(database, "auth.audit_log_entries", mine, alice.id) == left
    assert rows(database, "auth.audit_log_entries", "payload ->> 'actor_id' = %s", alice.id) == 1


def test_what_belongs_to_sessions_and_sign_ins_that_are_over_goes(alice, app, database):
    browser = alice.signs_in()
    add_passkey(browser, Authenticator())
    opened = "passkey_id in (select id from public.mfa_passkeys where user_id = %s)"
    cleanup(app)
    assert rows(database, "public.mfa_passkey_sessions", opened, alice.id) == 1
    database.execute("delete from auth.sessions where user_id = %s", [alice.id])
    database.execute("insert into public.web_vaults (key_hash) values (%s)", [alice.id])
    cleanup(app)
    assert rows(database, "public.mfa_passkey_sessions", opened, alice.id) == 0
    assert rows(database, "public.web_vaults", "key_hash = %s", alice.id) == 0


def test_the_page_on_data_names_every_table(database):
    page = (PROJECT / "docs/data.md").read_text()
    tables = database.execute("select tablename from pg_tables where schemaname = 'public'").fetchall()
    assert [row["tablename"] for row in tables if f"`{row['tablename']}`" not in page] == []


def test_the_page_on_data_names_every_key_of_the_session_cookie():
    """Whoever has the cookie can read it: Flask signs it, and encrypts nothing."""
    files = [*(PROJECT / "blueprints").glob("*.py"), *(PROJECT / "templates").rglob("*.html")]
    code = "".join(file.read_text() for file in files)
    used = set(re.findall(r'\bsession(?:\[|\.(?:get|pop|setdefault)\()"(\w+)"', code))
    assert used >= {"deleting", "has_arrived"}
    table = (PROJECT / "docs/data.md").read_text().partition("| key |")[2].partition("\n\n")[0]
    named = {key for row in table.splitlines() for key in re.findall(r"`(\w+)`", row.split(" | ")[0])}
    assert named == used | {"csrf_token", "_flashes"}  # Flask-WTF's, and Flask's
