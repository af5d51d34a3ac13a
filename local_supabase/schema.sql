-- Schema auth as Supabase Auth lays it out (contract supabase-auth, section 9). Run once, as supabase_auth_admin,
-- on Postgres 15 or later, without extensions. Needs the schema auth and the role postgres.
--
-- Ids are made by the application, as upstream; timestamps are timestamptz unless a comment says why not.

set search_path = auth;

create type aal_level as enum ('aal1', 'aal2', 'aal3');  -- the order makes `aal < 'aal2'` work
create type factor_type as enum ('totp', 'webauthn', 'phone');
create type factor_status as enum ('unverified', 'verified');
create type code_challenge_method as enum ('s256', 'plain');
create type one_time_token_type as enum (
  'confirmation_token', 'reauthentication_token', 'recovery_token',
  'email_change_token_new', 'email_change_token_current', 'phone_change_token');

create table users (
  id                          uuid primary key,
  instance_id                 uuid,  -- all zeros; every lookup of Supabase Auth filters on it
  aud                         varchar(255),
  role                        varchar(255),
  email                       varchar(255),  -- lower case
  encrypted_password          varchar(255),  -- bcrypt; null or '' means none
  email_confirmed_at          timestamptz,
  invited_at                  timestamptz,
  -- '' and not null means "no token": Supabase Auth cannot read null in these columns.
  confirmation_token          varchar(255) default '',
  confirmation_sent_at        timestamptz,
  recovery_token              varchar(255) default '',
  recovery_sent_at            timestamptz,
  email_change_token_new      varchar(255) default '',
  email_change_token_current  varchar(255) default '',
  email_change                varchar(255) default '',
  email_change_sent_at        timestamptz,
  email_change_confirm_status smallint default 0 check (email_change_confirm_status between 0 and 2),
  phone                       text unique,
  phone_confirmed_at          timestamptz,
  phone_change                text default '',
  phone_change_token          varchar(255) default '',
  phone_change_sent_at        timestamptz,
  reauthentication_token      varchar(255) default '',
  reauthentication_sent_at    timestamptz,
  confirmed_at                timestamptz generated always as (least(email_confirmed_at, phone_confirmed_at)) stored,
  last_sign_in_at             timestamptz,
  raw_app_meta_data           jsonb,
  raw_user_meta_data          jsonb,
  is_super_admin              boolean,
  is_sso_user                 boolean not null default false,
  is_anonymous                boolean not null default false,
  banned_until                timestamptz,
  deleted_at                  timestamptz,
  created_at                  timestamptz,
  updated_at                  timestamptz
);
create unique index users_email_partial_key on users (email) where not is_sso_user;
create index users_instance_id_email_idx on users (instance_id, lower(email));
create index users_is_anonymous_idx on users (is_anonymous);
-- Digits alone are short and may collide between people; whole hashes may not.
create unique index confirmation_token_idx on users (confirmation_token) where confirmation_token !~ '^[0-9 ]*$';
create unique index recovery_token_idx on users (recovery_token) where recovery_token !~ '^[0-9 ]*$';
create unique index email_change_token_new_idx on users (email_change_token_new)
  where email_change_token_new !~ '^[0-9 ]*$';
create unique index email_change_token_current_idx on users (email_change_token_current)
  where email_change_token_current !~ '^[0-9 ]*$';
create unique index reauthentication_token_idx on users (reauthentication_token)
  where reauthentication_token !~ '^[0-9 ]*$';

create table identities (
  id              uuid primary key default gen_random_uuid(),
  provider_id     text not null,
  user_id         uuid not null references users on delete cascade,
  identity_data   jsonb not null,
  provider        text not null,
  last_sign_in_at timestamptz,
  created_at      timestamptz,
  updated_at      timestamptz,
  email           text generated always as (lower(identity_data ->> 'email')) stored,
  constraint identities_provider_id_provider_unique unique (provider_id, provider)
);
create index identities_user_id_idx on identities (user_id);
create index identities_email_idx on identities (email text_pattern_ops);

create table sessions (
  id                     uuid primary key,
  user_id                uuid not null references users on delete cascade,
  created_at             timestamptz,
  updated_at             timestamptz,
  factor_id              uuid,  -- no foreign key: a removed factor downgrades the session, it does not end it
  aal                    aal_level,
  not_after              timestamptz,
  refreshed_at           timestamp,  -- UTC without a zone, as upstream
  user_agent             text,
  ip                     inet,
  tag                    text,
  oauth_client_id        uuid,
  scopes                 text,
  refresh_token_hmac_key text,
  refresh_token_counter  bigint
);
create index sessions_user_id_idx on sessions (user_id);
create index user_id_created_at_idx on sessions (user_id, created_at);
create index sessions_not_after_idx on sessions (not_after desc);

create table refresh_tokens (
  id          bigserial primary key,
  instance_id uuid,
  token       varchar(255) constraint refresh_tokens_token_unique unique,
  user_id     varchar(255),  -- a varchar without a foreign key, as upstream
  session_id  uuid references sessions on delete cascade,
  parent      varchar(255),  -- the token this one replaced
  revoked     boolean,
  created_at  timestamptz,
  updated_at  timestamptz  -- of a revoked token: when it was used
);
create index refresh_tokens_instance_id_user_id_idx on refresh_tokens (instance_id, user_id);
create index refresh_tokens_parent_idx on refresh_tokens (parent);
create index refresh_tokens_session_id_revoked_idx on refresh_tokens (session_id, revoked);

create table mfa_factors (
  id                           uuid primary key,
  user_id                      uuid not null references users on delete cascade,
  friendly_name                text,
  factor_type                  factor_type not null,
  status                       factor_status not null,
  created_at                   timestamptz not null,
  updated_at                   timestamptz not null,
  secret                       text,
  phone                        text,
  last_challenged_at           timestamptz unique,
  web_authn_credential         jsonb,
  web_authn_aaguid             uuid,
  last_webauthn_challenge_data jsonb
);
create unique index mfa_factors_user_friendly_name_unique on mfa_factors (friendly_name, user_id)
  where trim(friendly_name) <> '';
create unique index unique_phone_factor_per_user on mfa_factors (user_id, phone);
create index factor_id_created_at_idx on mfa_factors (user_id, created_at);

create table mfa_challenges (
  id                     uuid primary key,
  factor_id              uuid not null references mfa_factors on delete cascade,
  created_at             timestamptz not null,
  verified_at            timestamptz,
  ip_address             inet not null,
  otp_code               text,
  web_authn_session_data jsonb
);
create index mfa_challenges_factor_id_idx on mfa_challenges (factor_id);
create index mfa_challenge_created_at_idx on mfa_challenges (created_at desc);

create table mfa_amr_claims (
  id                    uuid primary key,
  session_id            uuid not null references sessions on delete cascade,
  authentication_method text not null,
  created_at            timestamptz not null,
  updated_at            timestamptz not null,  -- the `timestamp` of the amr entry
  constraint mfa_amr_claims_session_id_authentication_method_pkey unique (session_id, authentication_method)
);

create table one_time_tokens (
  id         uuid primary key,
  user_id    uuid not null references users on delete cascade,
  token_type one_time_token_type not null,
  token_hash text not null check (token_hash <> ''),
  relates_to text not null,  -- the address, lower case
  created_at timestamp not null default now(),  -- without a zone, as upstream
  updated_at timestamp not null default now()
);
create unique index one_time_tokens_user_id_token_type_key on one_time_tokens (user_id, token_type);
create index one_time_tokens_token_hash_hash_idx on one_time_tokens using hash (token_hash);
create index one_time_tokens_relates_to_hash_idx on one_time_tokens using hash (relates_to);

create table flow_state (
  id                     uuid primary key,
  user_id                uuid,
  auth_code              text,
  code_challenge_method  code_challenge_method,
  code_challenge         text,
  provider_type          text not null,
  provider_access_token  text,
  provider_refresh_token text,
  authentication_method  text not null,
  auth_code_issued_at    timestamptz,
  invite_token           text,
  referrer               text,
  oauth_client_state_id  uuid,
  linking_target_id      uuid,
  email_optional         boolean not null default false,
  created_at             timestamptz,
  updated_at             timestamptz
);
create index idx_auth_code on flow_state (auth_code);
create index idx_user_id_auth_method on flow_state (user_id, authentication_method);
create index flow_state_created_at_idx on flow_state (created_at desc);

create table audit_log_entries (
  id          uuid primary key,
  instance_id uuid,
  payload     json,
  created_at  timestamptz,
  ip_address  varchar(64) not null default ''
);
create index audit_logs_instance_id_idx on audit_log_entries (instance_id);

create table webauthn_credentials (
  id               uuid primary key,
  user_id          uuid not null references users on delete cascade,
  credential_id    bytea not null unique,
  public_key       bytea not null,  -- COSE
  attestation_type text not null default '',
  aaguid           uuid,
  sign_count       bigint not null default 0,
  transports       jsonb not null default '[]',
  backup_eligible  boolean not null default false,
  backed_up        boolean not null default false,
  friendly_name    text not null default '',
  created_at       timestamptz not null default now(),
  updated_at       timestamptz not null default now(),
  last_used_at     timestamptz
);
create index webauthn_credentials_user_id_idx on webauthn_credentials (user_id);

create table webauthn_challenges (
  id             uuid primary key,
  user_id        uuid references users on delete cascade,  -- null for a login: nobody is known yet
  challenge_type text not null check (challenge_type in ('signup', 'registration', 'authentication')),
  session_data   jsonb not null,
  created_at     timestamptz not null default now(),
  expires_at     timestamptz not null
);
create index webauthn_challenges_user_id_idx on webauthn_challenges (user_id);
create index webauthn_challenges_expires_at_idx on webauthn_challenges (expires_at);

-- Row-level security without a policy: even a grant made by mistake shows no row. The owner is not subject to it.
-- The two webauthn_ tables have none upstream and rely on missing grants.
alter table users enable row level security;
alter table identities enable row level security;
alter table sessions enable row level security;
alter table refresh_tokens enable row level security;
alter table mfa_factors enable row level security;
alter table mfa_challenges enable row level security;
alter table mfa_amr_claims enable row level security;
alter table one_time_tokens enable row level security;
alter table flow_state enable row level security;
alter table audit_log_entries enable row level security;

-- What `postgres`, the role that runs migrations, may do with them on the platform.
grant usage on schema auth to postgres;
grant all on all tables in schema auth to postgres;
grant select on all tables in schema auth to postgres with grant option;
grant all on all sequences in schema auth to postgres;

-- Who is asking, as PostgREST says it for one transaction. An empty setting counts as a missing one: that is
-- what a transaction-local setting leaves behind. The single-value settings are those of older PostgREST.
create function uid() returns uuid language sql stable as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim.sub', true), ''),
    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid
$$;

create function role() returns text language sql stable as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim.role', true), ''),
    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role')
$$;

create function email() returns text language sql stable as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim.email', true), ''),
    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'email')
$$;

create function jwt() returns jsonb language sql stable as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim', true), ''),
    nullif(current_setting('request.jwt.claims', true), ''))::jsonb
$$;

reset search_path;
