-- The platform's roles, default privileges and timeouts, as hosted Supabase sets them up (the migrations of its
-- Postgres image say what; checked against those of 2026-10). Run once, as supabase_admin, the bootstrap superuser.
-- Whatever is easier here than there would let the tests pass on a hole that production has.

create role anon nologin;
create role authenticated nologin;
create role service_role nologin bypassrls;

-- The data API logs in as this role, which may do nothing itself, and becomes one of the three per transaction.
create role authenticator login noinherit;
grant anon, authenticated, service_role to authenticator;

-- Supabase Auth. Owns schema auth, and runs the hooks with these rights and no others.
create role supabase_auth_admin login noinherit;

-- Who runs migrations: passes row-level security and owns the database, but is no superuser.
create role postgres login createdb createrole replication bypassrls;
grant anon, authenticated, service_role to postgres with admin option;

alter role anon set statement_timeout = '3s';
alter role authenticated set statement_timeout = '8s';
alter role authenticator set statement_timeout = '8s';
alter role authenticator set lock_timeout = '8s';
alter role supabase_auth_admin set search_path = auth;
alter role supabase_auth_admin set idle_in_transaction_session_timeout = '60s';
alter role postgres set search_path = "$user", public, extensions;
alter role supabase_admin set search_path = "$user", public, auth, extensions;

do $$
begin
  execute format('alter database %I owner to postgres', current_database());
  execute format('grant create on database %I to supabase_auth_admin', current_database());
end $$;

create schema extensions;
grant all on schema extensions to postgres;
grant usage on schema extensions to anon, authenticated, service_role;

create schema auth authorization supabase_auth_admin;
grant usage on schema auth to postgres, anon, authenticated, service_role;

grant usage on schema public to postgres, anon, authenticated, service_role, supabase_auth_admin;

-- Why every migration must revoke by name (design D2): whatever postgres creates in public is granted to the API
-- roles at once, and `revoke … from public` does not take that back.
alter default privileges for role postgres in schema public
  grant all on tables to postgres, anon, authenticated, service_role;
alter default privileges for role postgres in schema public
  grant all on functions to postgres, anon, authenticated, service_role;
alter default privileges for role postgres in schema public
  grant all on sequences to postgres, anon, authenticated, service_role;

-- Where the Supabase CLI records the migrations it has applied.
create schema supabase_migrations authorization postgres;
create table supabase_migrations.schema_migrations (version text primary key, statements text[], name text);
alter table supabase_migrations.schema_migrations owner to postgres;
