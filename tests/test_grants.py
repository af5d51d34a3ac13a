"""Who may do what in schema public: every object with its grants, compared with what the database says."""

import re

import pytest

# Whatever is not here must not be there. Supabase grants each new object to anon, authenticated and service_role;
# a migration that forgets to revoke one by name makes a test below fail.
GRANTS = {
    "table billing": {
        "authenticated": [
            *(f"insert ({column})" for column in ("city", "country", "name", "plan", "postal_code", "street")),
            "select",
            *(f"update ({column})" for column in ("city", "country", "name", "plan", "postal_code", "street")),
        ]
    },
    "table mfa_attempts": {},
    "table mfa_challenge_grants": {},
    "sequence mfa_challenge_grants_id_seq": {},
    "table mfa_endorsed_factors": {},
    "table mfa_passkey_sessions": {},
    "table mfa_passkeys": {},
    "table mfa_prompts": {},
    "table mfa_recovery_codes": {},
    "table mfa_recovery_sets": {},
    "table mfa_spent_codes": {},
    "table security_events": {},
    "sequence security_events_id_seq": {},
    "table notes": {"authenticated": ["delete", "insert (body)", "select"]},
    "table web_account_sessions": {},
    "table web_vaults": {},
    "table webauthn_challenges": {},
    "table webauthn_handles": {},
    "function aal2()": {"authenticated": ["execute"]},
    "function billing_mine()": {"authenticated": ["execute"]},
    "function factor_age_seconds()": {"authenticated": ["execute"]},
    "function has_factor()": {"authenticated": ["execute"]},
    "function live_session()": {"authenticated": ["execute"]},
    "function stamp_assurance(jsonb)": {"supabase_auth_admin": ["execute"]},
    "function drop_empty_vault()": {},
    "function gate_challenges()": {},
    "function guard_factors()": {},
    "function guard_metadata()": {},
    "function has_factors(uuid,uuid)": {},
    "function admin_begin(uuid,uuid,text)": {},
    "function is_admin(uuid)": {},
    "function log_account()": {},
    "function log_apps()": {},
    "function log_codes()": {},
    "function log_event(uuid,text,jsonb,uuid)": {},
    "function log_passkeys()": {},
    "function log_sheets()": {},
    "function log_sign_ins()": {},
    "function mfa_attempt_refused(uuid,text,integer)": {},
    "function mfa_attempt_right(uuid,text,integer)": {},
    "function mfa_attempts_left(uuid,text,integer)": {},
    "function mfa_count_attempt(uuid,text,integer,integer)": {},
    "function mfa_settle_sessions(uuid)": {},
    "function passkey_json(mfa_passkeys)": {},
    "function passkey_mirror(uuid)": {},
    "function recovery_code_verdict(uuid,text,integer)": {},
    **{
        f"function {function}": {"service_role": ["execute"]}
        for function in (
            "admin_end_sessions(uuid,uuid,text)",
            "admin_find(uuid,text,integer)",
            "admin_lift(uuid,uuid,integer,text)",
            "admin_person(uuid,uuid,integer,integer)",
            "admin_withdraw(uuid,uuid,uuid,text)",
            "cancel_email_change(uuid)",
            "cleanup(integer,integer,integer)",
            "doctor_facts(text[],uuid)",
            "export_account(uuid)",
            "log_of(uuid,integer,bigint,boolean)",
            "mfa_begin_attempt(uuid,uuid,text,integer,integer,integer)",
            "mfa_discard_enrolments(uuid)",
            "mfa_end_attempt(uuid,uuid,text,bigint,text,integer,integer,integer)",
            "mfa_endorse_enrolment(uuid,uuid,text)",
            "mfa_elevate_session(uuid,uuid,text,timestamp with time zone)",
            "mfa_remove_factor(uuid,uuid,boolean)",
            "passkey_add(uuid,text,text,bigint,text[],uuid,text,text,boolean,boolean,text,uuid,integer)",
            "passkey_challenge(text,text,text,boolean,uuid,text)",
            "passkey_remove(uuid,uuid,boolean)",
            "passkey_rename(uuid,uuid,text)",
            "passkey_suspect(uuid)",
            "passkey_take(text,text,text,text)",
            "passkey_used(uuid,bigint,boolean,text,uuid)",
            "mfa_not_now(uuid)",
            "passkeys_of(uuid)",
            "sessions_end_others(uuid,uuid)",
            "recovery_code_begin(uuid,integer,integer,integer)",
            "recovery_code_use(uuid,uuid,text,integer,integer,integer)",
            "recovery_codes_confirm(uuid,text,integer)",
            "recovery_codes_make(uuid,uuid,uuid,text,jsonb,text,text[])",
            "recovery_salt(uuid)",
            "vault_close(text,uuid)",
            "vault_expire(uuid)",
            "vault_open(text,text,uuid,uuid,text,text,text,timestamp with time zone)",
            "vault_read(text,uuid,integer)",
            "vault_read_and_take(text,uuid,integer,text,text)",
            "vault_release(uuid,uuid)",
            "vault_store(uuid,uuid,text,text,timestamp with time zone,text)",
        )
    },
}

CATALOGUE = """
with objects as (
  select case relkind when 'S' then 'sequence ' when 'v' then 'view ' when 'm' then 'view ' else 'table ' end
           || relname as object,
         relowner as owner,
         coalesce(relacl, acldefault(case relkind when 'S' then 's' else 'r' end::"char", relowner)) as acl, '' as part
    from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v', 'm', 'f', 'S')
  union all
  select 'table ' || relname, relowner, attacl, ' (' || attname || ')'
    from pg_attribute join pg_class c on c.oid = attrelid
   where relnamespace = 'public'::regnamespace and attacl is not null
  union all
  select 'function ' || oid::regprocedure::text, proowner, coalesce(proacl, acldefault('f', proowner)), ''
    from pg_proc where pronamespace = 'public'::regnamespace
)
select object, coalesce(grantee::regrole::text, '') as role, lower(privilege_type) || part as privilege
  from objects left join lateral aclexplode(acl) on grantee <> owner
 order by object, role, privilege
"""


def test_every_object_has_the_grants_of_the_table_above_and_no_others(database):
    found: dict[str, dict[str, list[str]]] = {}
    for row in database.execute(CATALOGUE):
        roles = found.setdefault(row["object"], {})
        if row["privilege"]:
            roles.setdefault(row["role"], []).append(row["privilege"])
    assert found == GRANTS


def test_every_table_has_row_level_security(database):
    open_ones = database.execute(
        "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')"
        " and not relrowsecurity"
    )
    assert open_ones.fetchall() == []


def test_few_tables_have_policies_and_the_second_factor_narrows_what_ownership_allows(database):
    policies = database.execute(
        "select tablename, policyname, permissive, roles::text, cmd from pg_policies"
        " where schemaname = 'public' order by tablename, policyname"
    ).fetchall()
    assert [tuple(policy.values()) for policy in policies] == [
        (
            "billing",
            "a second factor within five minutes, in a live session",
            "RESTRICTIVE",
            "{authenticated}",
            "ALL",
        ),
        ("billing", "people have their own billing details", "PERMISSIVE", "{authenticated}", "ALL"),
        ("notes", "a second factor, once there is one", "RESTRICTIVE", "{authenticated}", "ALL"),
        ("notes", "people have their own notes", "PERMISSIVE", "{authenticated}", "ALL"),
    ]


def test_every_function_has_an_empty_search_path(database):
    """Or whoever may create objects could have a security definer function call theirs."""
    open_ones = database.execute(
        "select oid::regprocedure::text as function from pg_proc where pronamespace = 'public'::regnamespace"
        " and not coalesce('search_path=\"\"' = any(proconfig), false)"
    )
    assert open_ones.fetchall() == []


def test_everything_belongs_to_the_role_that_runs_migrations_and_not_to_a_superuser(database):
    others = database.execute(
        "select relname as name from pg_class where relnamespace = 'public'::regnamespace"
        " and relowner <> 'postgres'::regrole"
        " union all select proname from pg_proc where pronamespace = 'public'::regnamespace"
        " and proowner <> 'postgres'::regrole"
    )
    assert others.fetchall() == []


@pytest.mark.parametrize("role", ["anon", "authenticated", "service_role", "authenticator"])
def test_nobody_from_outside_may_create_objects(database, role):
    (row,) = database.execute("select has_schema_privilege(%s, 'public', 'create') as may", [role])
    assert row["may"] is False


def test_policies_ask_once_for_each_statement_and_not_for_each_row(database):
    """Postgres plans (select f()) as one value; a bare f() costs a thousand times as much (SECURITY.md)."""
    for row in database.execute("select policyname, qual, with_check from pg_policies where schemaname = 'public'"):
        for expression in filter(None, (row["qual"], row["with_check"])):
            wrapped = re.sub(r"\( SELECT (\w+\.)?\w+\(\)( AS \w+)?\)", "", expression)
            assert wrapped != expression, row["policyname"]
            assert "()" not in wrapped, row["policyname"]
