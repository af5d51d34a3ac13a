"""`flask cleanup`: what has outlived its purpose goes, what is in use stays. And the page that says so."""

import re
from pathlib import Path

PROJECT = Path(__file__).parent.parent


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


def test_the_page_on_data_names_every_table(database):
    page = (PROJECT / "docs/data.md").read_text()
    tables = database.execute("select tablename from pg_tables where schemaname = 'public'").fetchall()
    assert [row["tablename"] for row in tables if f"`{row['tablename']}`" not in page] == []
