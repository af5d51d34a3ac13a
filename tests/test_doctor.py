"""`flask doctor`: a Supabase as it should be, and Supabases that are broken in one way each."""

import contextlib
import os
import re
import secrets
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import httpx
import jwt
import psycopg
import pytest
from cryptography.fernet import Fernet
from psycopg.conninfo import make_conninfo

import local_supabase
from app import Settings, create_app
from auth import findings, migrations
from auth.doctor import examine
from auth.gateway import Gateway, connection_pool
from tests.proxy import running_proxy
from tests.settings import SETTINGS

PROJECT = Path(__file__).parent.parent
MIGRATIONS = PROJECT / "supabase" / "migrations"


@pytest.fixture(scope="module")
def healthy():
    """A Supabase of these tests' own: what others leave in the run's would be findings."""
    with local_supabase.start(settings=SETTINGS) as stack:
        yield stack


@contextlib.contextmanager
def another(healthy, **switches):
    """Another Supabase Auth on the same database."""
    settings = replace(SETTINGS, **switches.pop("settings", {}))
    with local_supabase.start(database_url=healthy.database_url, settings=settings, **switches) as stack:
        yield stack


def doctor(stack, *, clock=time.time, **changes):
    """Run the command; return its exit code and what it says, as [(level, about, sentence), …]."""
    environment = stack.environment()
    names = ("SUPABASE_URL", "SUPABASE_PUBLISHABLE_KEY", "SUPABASE_SECRET_KEY", "SECRET_KEY", "VAULT_KEYS")
    names += ("RECOVERY_CODE_PEPPER",)
    values = {name: environment[name] for name in names} | {name.upper(): value for name, value in changes.items()}
    upper = {name: values.pop(name) for name in names[1:3]}
    app = create_app(
        Settings(_env_file=None, **upper, **{name.lower(): value for name, value in values.items()}), clock=clock
    )
    result = app.test_cli_runner().invoke(args=["doctor"])
    app.extensions["stepup"].gateway.close()
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    peppers = [pepper.partition(":")[2] for pepper in values["RECOVERY_CODE_PEPPER"].split(",")]
    for secret in (*upper.values(), *values["VAULT_KEYS"].split(","), values["SECRET_KEY"], *peppers):
        assert secret not in result.output
    return result.exit_code, [said(line) for line in result.output.splitlines()]


def said(line):
    return re.fullmatch(r"(ok|warn|bad) +([^:]+): (.+)", line).groups()


def troubles(report):
    return [(level, about) for level, about, _ in report if level != "ok"]


def execute(stack, statement, *values, user="supabase_admin"):
    with psycopg.connect(make_conninfo(stack.database_url, user=user)) as connection:
        cursor = connection.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else []


def accounts(stack):
    return execute(stack, "select email from auth.users where email like 'doctor-%'")


def test_a_supabase_as_it_should_be_is_well_and_nothing_is_left_behind(healthy):
    tables = ("auth.sessions", "auth.mfa_factors", "auth.mfa_challenges", "public.mfa_endorsed_factors")
    rows = ", ".join(f"(select count(*) from {table})" for table in tables)
    before = execute(healthy, f"select {rows}")
    code, report = doctor(healthy)
    assert troubles(report) == []
    assert code == 0
    assert len({about for _, about, _ in report}) >= 15
    assert accounts(healthy) == []
    assert execute(healthy, f"select {rows}") == before


def test_the_command_runs_from_the_shell_and_its_exit_code_says_how_it_went(healthy):
    keep = {"PATH": os.environ["PATH"]}
    for public_url, code in (("http://localhost:5000", 0), ("http://stepup.example", 1)):
        run = subprocess.run(
            [sys.executable, "-m", "flask", "--app", "app", "doctor"],
            env=keep | healthy.environment() | {"PUBLIC_URL": public_url},
            cwd=PROJECT,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert run.returncode == code, run.stderr
        assert [said(line) for line in run.stdout.splitlines()]
        assert "Traceback" not in run.stderr


def test_the_requests_are_few(healthy):
    with running_proxy(healthy.url) as proxy:
        doctor(healthy, supabase_url=proxy.url)
        assert len(proxy.requests) <= 15


@pytest.mark.parametrize(
    ("switch", "value", "trouble", "what_to_do"),
    [
        ("access_token_hook", None, ("bad", "access token hook"), "Switch on public.stamp_assurance"),
        ("enable_confirmations", False, ("bad", "confirmation of addresses"), "Switch on `Confirm email`"),
        ("totp_enroll_enabled", False, ("bad", "authenticator apps"), "auth.mfa.totp"),
        ("totp_verify_enabled", False, ("bad", "authenticator apps"), "auth.mfa.totp"),
        ("minimum_password_length", 6, ("warn", "password length"), "minimum_password_length to 10"),
        ("sb_forwarded_for", False, ("warn", "Sb-Forwarded-For"), "security_sb_forwarded_for_enabled"),
    ],
)
def test_a_wrong_switch_is_named_with_what_to_do(healthy, switch, value, trouble, what_to_do):
    with another(healthy, settings={switch: value}) as stack:
        code, report = doctor(stack)
    assert troubles(report) == [trouble]
    assert code == (trouble[0] == "bad")
    assert what_to_do in next(sentence for level, _, sentence in report if level != "ok")


# The database, changed by hand. What doctor says to do is done, and then all is well again.


@pytest.mark.parametrize(
    "breaking",
    [
        "alter table public.notes disable row level security",
        "alter table public.web_vaults disable row level security",
        "grant select on public.web_vaults to anon",
        "grant insert (code_hash) on public.mfa_spent_codes to authenticated",
        "grant usage on sequence public.mfa_challenge_grants_id_seq to anon",
        "grant truncate on public.notes to authenticated",
        "grant select on public.notes to public",
        "grant execute on function public.vault_read(text, uuid, integer) to public",
        "grant execute on function public.mfa_elevate_session(uuid, uuid, text, timestamptz) to authenticated",
        "revoke execute on function public.aal2() from authenticated",
        "revoke insert (body) on public.notes from authenticated",
        "alter function public.stamp_assurance(jsonb) reset search_path",
        "alter function public.has_factor() security invoker",
        "alter function public.aal2() security definer",
        'create policy "everybody" on public.notes for select to authenticated using (true)',
    ],
)
def test_what_was_changed_by_hand_is_found_and_doctors_sql_puts_it_right(healthy, breaking):
    execute(healthy, breaking, user="postgres")
    code, report = doctor(healthy)
    assert troubles(report) == [("bad", "migrations")]
    assert code == 1
    (sentence,) = [sentence for level, _, sentence in report if level != "ok"]
    execute(healthy, sentence.partition(": ")[2], user="postgres")
    assert doctor(healthy)[0] == 0


@pytest.mark.parametrize(
    ("breaking", "expected"),
    [
        ("drop function public.cleanup(integer, integer, integer)", "cleanup is missing. Apply"),
        ("drop table public.mfa_challenge_grants", "mfa_challenge_grants is missing. Apply"),
        ('drop policy "a second factor, once there is one" on public.notes', "once there is one"),
        ("create function public.cleanup() returns void language sql as ''", "drop others of this name"),
        ("alter table public.mfa_attempts owner to supabase_admin", "mfa_attempts works with the rights of"),
        (
            "alter function public.cleanup(integer, integer, integer) owner to supabase_admin",
            "Make it belong to postgres",
        ),
        ("drop function public.doctor_facts(text[], uuid)", "supabase db push"),
    ],
)
def test_what_is_missing_or_somebody_elses_is_named(breaking, expected):
    with local_supabase.start(settings=SETTINGS) as stack:
        execute(stack, breaking)
        code, report = doctor(stack)
    assert code == 1
    assert {about for _, about in troubles(report)} <= {"migrations", "authenticator apps"}
    assert any(expected in sentence for _, about, sentence in report if about == "migrations")


def test_of_many_differences_some_are_told_and_the_others_counted(healthy):
    execute(healthy, "grant all on public.web_vaults, public.mfa_passkeys to anon, authenticated")
    code, report = doctor(healthy)
    execute(healthy, "revoke all on public.web_vaults, public.mfa_passkeys from anon, authenticated")
    assert code == 1
    assert troubles(report) == [("bad", "migrations")] * 11
    assert re.search(r"And \d\d more", [sentence for _, about, sentence in report if about == "migrations"][-1])


@pytest.mark.parametrize(
    ("breaking", "guard"),
    [
        ("drop trigger guard_factors on auth.mfa_factors", "guard_factors"),
        ("drop function public.guard_factors cascade", "guard_factors"),
        ("alter table auth.mfa_factors disable trigger guard_factors", "guard_factors"),
        ("drop trigger gate_challenges on auth.mfa_challenges", "gate_challenges"),
        ("alter table auth.mfa_challenges disable trigger gate_challenges", "gate_challenges"),
        ("drop trigger guard_metadata on auth.users", "guard_metadata"),
        ("drop trigger log_apps on auth.mfa_factors", "log_apps"),
        ("drop trigger log_account on auth.users", "log_account"),
    ],
)
def test_a_guard_that_is_left_out_is_a_warning(breaking, guard):
    with local_supabase.start(settings=SETTINGS) as stack:
        execute(stack, breaking)
        code, report = doctor(stack)
    assert (code, troubles(report)) == (0, [("warn", "guards")])
    assert f"{guard} is left out" in str(report)


def test_a_guard_that_is_there_and_lets_everything_pass_is_bad():
    with local_supabase.start(settings=SETTINGS) as stack:
        body = "language plpgsql security definer set search_path = '' as 'begin return new; end'"
        execute(stack, f"create or replace function public.gate_challenges() returns trigger {body}")
        code, report = doctor(stack)
    assert (code, troubles(report)) == (1, [("bad", "migrations"), ("bad", "authenticator apps")])


def test_factors_that_do_not_count_are_counted():
    with local_supabase.start(settings=SETTINGS) as stack:
        execute(stack, "alter table auth.mfa_factors disable trigger guard_factors")
        user = administer(stack, "POST", "users", json={"email": "carol@example.com", "email_confirm": True})
        execute(
            stack,
            "insert into auth.mfa_factors (id, user_id, factor_type, status, created_at, updated_at)"
            " values (gen_random_uuid(), %s, 'totp', 'verified', now(), now())",
            user["id"],
        )
        execute(stack, "alter table auth.mfa_factors enable trigger guard_factors")
        code, report = doctor(stack)
    assert (code, troubles(report)) == (0, [("warn", "factors")])
    assert "1 that other clients verified do not count" in str(report)


def test_a_pepper_that_sheets_of_codes_need_and_the_settings_do_not_hold_is_named():
    old, new = f"a:{secrets.token_hex(32)}", f"b:{secrets.token_hex(32)}"
    with local_supabase.start(settings=SETTINGS) as stack:
        for replaced_at in (None, None, "now"):
            user = administer(stack, "POST", "users", json={"email": f"{uuid4()}@example.com", "email_confirm": True})
            execute(
                stack,
                "insert into public.mfa_recovery_sets (user_id, label, salt, parameters, pepper_id, replaced_at)"
                " values (%s, 1, '', '{}', 'a', %s)",
                user["id"],
                replaced_at,
            )
        assert doctor(stack, recovery_code_pepper=f"{new},{old}")[0] == 0
        code, report = doctor(stack, recovery_code_pepper=new)
    assert (code, troubles(report)) == (1, [("bad", "recovery codes")])
    assert "2 sheets were made with the pepper named a, which RECOVERY_CODE_PEPPER does not hold" in str(report)


def test_without_migrations_nobody_is_examined_but_it_is_said():
    without_hook = replace(SETTINGS, access_token_hook=None)
    with local_supabase.start(settings=without_hook, migrations=False) as stack:
        code, report = doctor(stack)
        assert accounts(stack) == []
    assert code == 1
    assert ("bad", "migrations") in troubles(report) and ("bad", "access token hook") in troubles(report)


def test_a_hook_that_fails_is_told_from_an_outage(healthy):
    execute(healthy, "revoke execute on function public.stamp_assurance(jsonb) from supabase_auth_admin")
    code, report = doctor(healthy)
    assert code == 1
    assert troubles(report) == [("bad", "signing in"), ("bad", "migrations")]
    assert "grant execute on function public.stamp_assurance to supabase_auth_admin" in str(report)
    execute(healthy, "grant execute on function public.stamp_assurance(jsonb) to supabase_auth_admin", user="postgres")
    assert accounts(healthy) == []


# Clocks


@pytest.mark.parametrize(
    ("ahead", "code", "expected"),
    [
        (12, 0, ("warn", "clocks")),
        (-12, 0, ("warn", "clocks")),
        (50, 1, ("bad", "clocks")),
        (-50, 1, ("bad", "clocks")),
    ],
)
def test_each_clock_that_is_off_is_named(healthy, ahead, code, expected):
    with another(healthy, clock=lambda: time.time() + ahead) as stack:
        found, report = doctor(stack)
    assert (found, troubles(report)) == (code, [expected] * 2)
    assert all("Supabase Auth" in sentence for level, _, sentence in report if level != "ok")

    found, report = doctor(healthy, clock=lambda: time.time() + ahead)
    assert (found, troubles(report)) == (code, [expected] * 2)
    assert all("this machine" in sentence for level, _, sentence in report if level != "ok")


def test_a_difference_that_does_no_harm_is_none():
    assert [finding.level for finding in findings.about_clocks(auth_ahead=2.4, database_ahead=-2.4)] == ["ok"]
    (finding,) = findings.about_clocks(auth_ahead=-2.6, database_ahead=2.6)
    assert (finding.level, finding.sentence[:45]) == ("warn", "Of the database: 5 s ahead of Supabase Auth. ")


# Keys and other settings


def test_swapped_keys_are_seen_before_anything_is_asked(healthy):
    keys = healthy.installation.keys
    with running_proxy(healthy.url) as proxy:
        code, report = doctor(
            healthy,
            supabase_url=proxy.url,
            supabase_publishable_key=keys.secret_key,
            supabase_secret_key=keys.publishable_key,
        )
        assert proxy.requests == []
    assert code == 1
    assert troubles(report) == [
        ("bad", "SUPABASE_PUBLISHABLE_KEY"),
        ("bad", "SUPABASE_SECRET_KEY"),
        ("bad", "Supabase"),
    ]
    assert "swapped" in str(report)


def test_keys_of_another_project_are_not_known(healthy):
    code, report = doctor(healthy, supabase_publishable_key="sb_publishable_of_another")
    assert (code, troubles(report)) == (1, [("bad", "publishable key")])
    code, report = doctor(healthy, supabase_secret_key="sb_secret_of_another")
    assert (code, troubles(report)) == (1, [("bad", "secret key")])


def test_legacy_keys_work_and_are_advised_against(healthy):
    legacy = healthy.environment()
    anon, service_role = legacy["SUPABASE_ANON_KEY"], legacy["SUPABASE_SERVICE_ROLE_KEY"]
    code, report = doctor(healthy, supabase_publishable_key=anon, supabase_secret_key=service_role)
    assert code == 0
    assert troubles(report) == [
        ("warn", "SUPABASE_PUBLISHABLE_KEY"),
        ("warn", "SUPABASE_SECRET_KEY"),
        ("warn", "Sb-Forwarded-For"),
    ]
    code, report = doctor(healthy, supabase_publishable_key=service_role, supabase_secret_key=anon)
    assert (code, "swapped" in str(report)) == (1, True)


GOOD = findings.Setup(
    supabase_url="https://project.supabase.co",
    public_url="https://stepup.example",
    publishable_key="sb_publishable_x",
    secret_key="sb_secret_x",
    app_secret=secrets.token_hex(32),
    vault_keys=(Fernet.generate_key().decode(),),
    peppers={"1": secrets.token_hex(32)},
)


@pytest.mark.parametrize(
    ("changes", "level", "about"),
    [
        ({"supabase_url": "http://project.supabase.co"}, "bad", "SUPABASE_URL"),
        ({"supabase_url": "https://project.supabase.co/auth/v1"}, "bad", "SUPABASE_URL"),
        ({"publishable_key": "sb_publish able"}, "bad", "SUPABASE_PUBLISHABLE_KEY"),
        ({"publishable_key": "eyJhbGciOi"}, "bad", "SUPABASE_PUBLISHABLE_KEY"),
        ({"secret_key": "sb_secret_x\n"}, "bad", "SUPABASE_SECRET_KEY"),
        ({"secret_key": "sb_secret_ä"}, "bad", "SUPABASE_SECRET_KEY"),
        ({"secret_key": "your-secret-key"}, "bad", "SUPABASE_SECRET_KEY"),
        ({"public_url": "http://stepup.example"}, "bad", "PUBLIC_URL"),
        ({"public_url": "http://127.0.0.1:5000"}, "warn", "PUBLIC_URL"),
        ({"public_url": "https://192.0.2.1"}, "warn", "PUBLIC_URL"),
        ({"app_secret": "0" * 32}, "bad", "SECRET_KEY"),
        ({"app_secret": GOOD.vault_keys[0]}, "bad", "SECRET_KEY"),
        ({"vault_keys": ("A" * 43 + "=",)}, "bad", "VAULT_KEYS"),
        ({"vault_keys": GOOD.vault_keys * 2}, "warn", "VAULT_KEYS"),
        ({"peppers": {"1": "0" * 64}}, "bad", "RECOVERY_CODE_PEPPER"),
        ({"peppers": {"1": GOOD.peppers["1"], "2": GOOD.peppers["1"]}}, "warn", "RECOVERY_CODE_PEPPER"),
        ({"peppers": {"1": GOOD.vault_keys[0]}}, "bad", "RECOVERY_CODE_PEPPER"),
        ({"peppers": {"1": GOOD.app_secret}}, "bad", "SECRET_KEY"),
    ],
)
def test_a_setting_that_invites_trouble_is_named(changes, level, about):
    setup = replace(GOOD, **changes)
    found = [*findings.about_app(setup), *findings.about_project(setup)]
    assert {(finding.level, finding.about) for finding in found if finding.level != "ok"} == {(level, about)}


def test_good_settings_are_good():
    for setup in (GOOD, replace(GOOD, public_url="http://localhost:5000", supabase_url="http://127.0.0.1:54321")):
        assert {finding.level for finding in (*findings.about_app(setup), *findings.about_project(setup))} == {"ok"}


# What the embedded Supabase cannot be: a project that signs otherwise, or has the other factors.


def test_a_project_that_signs_with_a_shared_secret_is_told_what_to_do():
    claims = {"iss": "https://x/auth/v1", "aud": "authenticated", "role": "authenticated", "assurance": "stamped"}
    token = jwt.encode(claims, "0" * 32, algorithm="HS256")
    found = [*findings.about_token(token, issuer="https://x/auth/v1", public_keys={"keys": []})]
    assert [finding.level for finding in found] == ["bad", "ok"]
    assert "HS256" in found[0].sentence and "ES256" in found[0].sentence


@pytest.mark.parametrize(
    "keys", [{}, {"keys": []}, {"keys": [{"kty": "oct", "k": "x"}]}, {"keys": [{"kty": "EC", "alg": "ES512"}]}]
)
def test_public_keys_that_are_of_no_use_or_secret_are_bad(keys):
    assert [finding.level for finding in findings.about_public_keys(keys)] == ["bad"]


def test_a_token_that_no_published_key_has_signed_is_bad(healthy):
    gone = {"keys": [{**public, "kid": "another"} for public in public_keys(healthy)["keys"]]}
    user = f"{uuid4().hex}@example.com"
    administer(healthy, "POST", "users", json={"email": user, "password": "correct horse", "email_confirm": True})
    token = httpx.post(
        f"{healthy.url}/auth/v1/token?grant_type=password",
        headers={"apikey": healthy.installation.keys.publishable_key},
        json={"email": user, "password": "correct horse"},
    ).json()["access_token"]
    issuer = f"{healthy.url}/auth/v1"
    for published, asked, level in (
        (public_keys(healthy), issuer, "ok"),
        (gone, issuer, "bad"),
        (public_keys(healthy), "https://x", "bad"),
    ):
        found = [*findings.about_token(token, issuer=asked, public_keys=published)]
        assert [finding.level for finding in found] == [level, "ok"]


def test_what_is_no_token_is_bad_and_no_traceback():
    found = findings.about_token("opaque", issuer="https://x/auth/v1", public_keys={"keys": []})
    assert [finding.level for finding in found] == ["bad", "bad"]


@pytest.mark.parametrize(
    ("kind", "refusal", "level"),
    [
        ("webauthn", "mfa_webauthn_enroll_not_enabled", "ok"),
        ("webauthn", "validation_failed", "ok"),
        ("webauthn", None, "bad"),
        ("webauthn", "too_many_enrolled_mfa_factors", "bad"),
        ("phone", "mfa_phone_enroll_not_enabled", "ok"),
        ("phone", "validation_failed", "warn"),
        ("phone", None, "warn"),
    ],
)
def test_factors_of_other_kinds_should_be_off(kind, refusal, level):
    assert findings.about_unused_kind(kind, refusal).level == level


# Supabase away, and what is left when a run is interrupted


def test_supabase_away_is_one_sentence(healthy):
    code, report = doctor(healthy, supabase_url="http://127.0.0.1:9")
    assert (code, troubles(report)) == (1, [("bad", "Supabase")])
    assert "No usable answer from http://127.0.0.1:9" in report[-1][2]


@pytest.mark.parametrize("fault", ["cut", "bad gateway", "broken", "garbage", "lost"])
@pytest.mark.parametrize(
    "place", ["settings", "jwks", "admin/users?", "token", "rpc/doctor_facts", "factors", "challenge", "v1/user"]
)
def test_a_fault_anywhere_is_a_sentence_and_the_account_goes(healthy, proxy, place, fault):
    with proxy.trouble(place, fault):
        code, report = doctor(healthy, supabase_url=proxy.url)
    assert code == 1  # also because tokens name Supabase itself
    assert report[-1][0] == "bad" or (place, fault) in [("challenge", "broken"), ("token", "broken")]
    assert accounts(healthy) == []


@pytest.fixture(scope="module")
def proxy(healthy):
    with running_proxy(healthy.url) as proxy:
        yield proxy


def test_an_account_that_cannot_be_deleted_is_named_and_goes_with_a_later_run(healthy, proxy):
    with proxy.trouble("admin/users/", "cut"):
        code, report = doctor(healthy, supabase_url=proxy.url)
    assert code == 1
    (left,) = accounts(healthy)
    assert report[-1][:2] == ("bad", "trial account") and left[0] in report[-1][2]

    assert doctor(healthy)[0] == 0
    assert accounts(healthy) == [left], "it could be another run's that goes on"
    execute(healthy, "update auth.users set created_at = now() - interval '11 minutes' where email = %s", left[0])
    code, report = doctor(healthy)
    assert code == 0
    assert ("ok", "trial account", "Deleted 1 that interrupted runs had left behind.") in report
    assert accounts(healthy) == []


def test_an_account_that_a_stranger_names_so_is_left_alone(healthy):
    email = f"doctor-{uuid4().hex}@doctor.invalid"
    data = {"email": email, "email_confirm": True, "user_metadata": {"made_by": "flask doctor"}}
    user = administer(healthy, "POST", "users", json=data)
    execute(healthy, "update auth.users set created_at = now() - interval '1 hour' where email = %s", email)
    doctor(healthy)
    assert accounts(healthy) == [(email,)]
    administer(healthy, "DELETE", f"users/{user['id']}")


# The migrations as files


def test_the_files_are_read_in_order_and_the_last_word_counts(tmp_path):
    (tmp_path / "1.sql").write_text(
        "create table public.a (b text); -- create table public.c ();\n"
        "create function public.f(x text) returns void\nlanguage sql security definer as $$ select 1; $$;\n"
        "create function public.g() returns void language sql as $$ select 1 $$;\n"
        'create policy "own; rows" on public.a as restrictive using (true);\n'
        "grant select, insert (b, c) on public.a to anon, authenticated;\n"
        "grant execute on function public.f(text) to anon;"
    )
    (tmp_path / "2.sql").write_text(
        "drop function public.g();\nrevoke all on public.a from public,\n anon;\n"
        "create or replace function public.f(x text) returns void language sql as $$ select 2 $$;"
    )
    promise = migrations.read(tmp_path)
    assert promise.names == ["a", "f"]
    assert promise.functions["f"].definer is False
    assert promise.grants == {
        ("a", "authenticated", "select", ""),
        ("a", "authenticated", "insert", "b"),
        ("a", "authenticated", "insert", "c"),
        ("f", "anon", "execute", ""),
    }


def test_without_the_files_the_database_is_not_said_to_be_well(healthy, tmp_path):
    environment = healthy.environment()
    keys = {name: environment[f"SUPABASE_{name.upper()}"] for name in ("publishable_key", "secret_key")}
    setup = replace(GOOD, supabase_url=healthy.url, **keys)
    gateway = Gateway(url=healthy.url, **keys, http=connection_pool(5))
    report = examine(gateway, setup, migrations.read(tmp_path), time.time)
    gateway.close()
    assert [(finding.level, finding.about) for finding in report if finding.level != "ok"] == [("warn", "migrations")]


def public_keys(stack):
    return httpx.get(f"{stack.url}/auth/v1/.well-known/jwks.json").json()


def administer(stack, method, path, **request):
    headers = {"apikey": stack.installation.keys.secret_key}
    return (
        httpx.request(method, f"{stack.url}/auth/v1/admin/{path}", headers=headers, **request).raise_for_status().json()
    )
