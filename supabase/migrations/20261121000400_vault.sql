-- Supabase tokens never reach the browser: they stay here, encrypted by the app, behind an opaque cookie.
-- The cookie is 256 random bits, the database has its SHA-256.

create table public.web_vaults (
  id uuid primary key default gen_random_uuid(),
  key_hash text not null unique,
  -- Requests that were under way when the key was replaced still read, for 10 s, with the token of before.
  previous_key_hash text unique,
  previous_until timestamptz,
  previous_access_token text,
  current_account uuid,
  created_at timestamptz not null default now()
);
alter table public.web_vaults enable row level security;

create table public.web_account_sessions (
  id uuid primary key default gen_random_uuid(),
  vault_id uuid not null references public.web_vaults on delete cascade,
  user_id uuid not null references auth.users on delete cascade,
  session_id uuid not null unique,   -- auth.sessions.id; no foreign key, Supabase Auth deletes sessions as it likes
  signed_in_with text not null,      -- password, signup, …: amr cannot tell (everything by mail is 'otp' there)
  access_token text not null,        -- encrypted by the app, as the next one
  refresh_token text not null,
  expires_at timestamptz not null,   -- of the access token
  lease_holder uuid,                 -- who may rotate the tokens, until when
  lease_until timestamptz,
  enrolment_factor uuid,             -- the authenticator app being set up here, and its secret, encrypted
  enrolment_secret text,
  created_at timestamptz not null default now()
);
create index web_account_sessions_vault on public.web_account_sessions (vault_id);
create index web_account_sessions_user on public.web_account_sessions (user_id);
alter table public.web_account_sessions enable row level security;

alter table public.web_vaults
  add foreign key (current_account) references public.web_account_sessions on delete set null;


-- Starts a vault for a new sign-in and returns the account's id. A vault that the browser held before
-- (p_replaces) ends, and its Supabase session with it. One thing survives when it is the same person, who has
-- just proven the password again: an unfinished enrolment, or the QR code on their phone would be worth nothing.
create function public.vault_open(
  p_key_hash text, p_replaces text, p_user uuid, p_session uuid, p_signed_in_with text,
  p_access_token text, p_refresh_token text, p_expires_at timestamptz
) returns uuid
language plpgsql security definer set search_path = '' as $$
declare
  before public.web_account_sessions;
  vault uuid;
  account uuid;
begin
  select a.* into before
    from public.web_account_sessions a join public.web_vaults v on v.current_account = a.id
   where v.key_hash = p_replaces and a.user_id = p_user;
  perform public.vault_close(p_replaces, p_user);
  insert into public.web_vaults (key_hash) values (p_key_hash) returning id into vault;
  insert into public.web_account_sessions
    (vault_id, user_id, session_id, signed_in_with, access_token, refresh_token, expires_at,
     enrolment_factor, enrolment_secret)
  values (vault, p_user, p_session, p_signed_in_with, p_access_token, p_refresh_token, p_expires_at,
          before.enrolment_factor, before.enrolment_secret)
  returning id into account;
  update public.web_vaults set current_account = account where id = vault;
  return account;
end $$;


-- Ends a vault and the Supabase sessions in it. The session row is Supabase's unit of revocation, so this is its
-- logout with scope=local, in one transaction and also when the access token has expired.
-- A key that was replaced a moment ago, by a step-up in another tab, signs out too.
-- p_stays: whoever has just signed in anew in this browser, and so is not logged as gone.
create function public.vault_close(p_key_hash text, p_stays uuid default null) returns void
language plpgsql security definer set search_path = '' as $$
declare
  vault uuid := (
    select id from public.web_vaults
     where key_hash = p_key_hash or (previous_key_hash = p_key_hash and previous_until > now()));
begin
  perform public.log_event(user_id, 'signed_out', '{}', session_id)
     from public.web_account_sessions where vault_id = vault and user_id is distinct from p_stays;
  -- Sign-in, session, vault: whoever deletes more than one of them does it in this order, or two would wait for each
  -- other.
  with closed as (delete from public.web_account_sessions where vault_id = vault returning session_id)
  delete from auth.sessions s using closed where s.id = closed.session_id;
  delete from public.web_vaults where id = vault;
end $$;


-- Everything a request needs to know about who is asking, or null: unknown key, ended session.
--
-- It also tries to take the lease for p_lease_holder, if the access token has less than p_margin_seconds left
-- (null: in any case): whoever rotates the tokens (refresh, MFA verify) must hold it. 7 s are longer than the
-- app's Auth timeout, and shorter than Supabase's reuse interval of 10 s, so that whoever takes over from a dead
-- holder is still answered.
create function public.vault_read(p_key_hash text, p_lease_holder uuid, p_margin_seconds integer) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare
  vault public.web_vaults;
  account public.web_account_sessions;
  stale boolean;
begin
  select * into vault from public.web_vaults
   where key_hash = p_key_hash
      or (previous_key_hash = p_key_hash and previous_until > now() and previous_access_token is not null);
  stale := vault.key_hash <> p_key_hash;
  if not stale then
    update public.web_account_sessions
       set lease_holder = p_lease_holder, lease_until = now() + interval '7 seconds'
     where id = vault.current_account and (lease_until is null or lease_until < now())
       and (p_margin_seconds is null or expires_at < now() + make_interval(secs => p_margin_seconds));
  end if;
  select * into account from public.web_account_sessions where id = vault.current_account;
  if account.id is null or not exists (select from auth.sessions where id = account.session_id) then
    return null;
  end if;
  return jsonb_build_object(
    'account', account.id,
    'user', account.user_id,
    'session', account.session_id,
    'signed_in_with', account.signed_in_with,
    'stale', stale,
    'leased', not stale and account.lease_holder is not distinct from p_lease_holder,
    'access_token', case when stale then vault.previous_access_token else account.access_token end,
    'refresh_token', case when not stale then account.refresh_token end,
    'expires_at', extract(epoch from account.expires_at),
    'new_email', (select nullif(email_change, '') from auth.users where id = account.user_id),
    'factors', (
      select coalesce(jsonb_agg(jsonb_build_object(
               'id', f.id, 'type', f.factor_type, 'name', f.friendly_name,
               'created_at', extract(epoch from f.created_at)) order by f.created_at, f.id), '[]')
        from auth.mfa_factors f join public.mfa_endorsed_factors e on e.factor_id = f.id
       where f.user_id = account.user_id and f.status = 'verified'),
    'codes', (
      select jsonb_build_object(
               'label', s.label, 'made_at', extract(epoch from s.made_at), 'confirmed', s.confirmed_at is not null,
               'left', (select count(*) from public.mfa_recovery_codes where set_id = s.id and used_at is null))
        from public.mfa_recovery_sets s where s.user_id = account.user_id and s.replaced_at is null),
    'not_now_at', (select extract(epoch from not_now_at) from public.mfa_prompts where user_id = account.user_id),
    'enrolment', (
      select jsonb_build_object('factor', f.id, 'name', f.friendly_name, 'secret', account.enrolment_secret)
        from auth.mfa_factors f join public.mfa_endorsed_factors e on e.factor_id = f.id
       where f.id = account.enrolment_factor and f.user_id = account.user_id and f.status = 'unverified'
         and not stale));
end $$;


-- Stores rotated tokens and gives the lease back. With p_new_key_hash the cookie is replaced too (step-up).
-- False if the lease has gone to somebody else: then these tokens are not the newest and must be dropped.
create function public.vault_store(
  p_account uuid, p_lease_holder uuid,
  p_access_token text, p_refresh_token text, p_expires_at timestamptz, p_new_key_hash text default null
) returns boolean
language plpgsql security definer set search_path = '' as $$
declare
  account public.web_account_sessions;
begin
  select * into account from public.web_account_sessions
   where id = p_account and lease_holder = p_lease_holder for update;
  if not found then return false; end if;

  update public.web_account_sessions
     set access_token = p_access_token, refresh_token = p_refresh_token, expires_at = p_expires_at,
         lease_holder = null, lease_until = null
   where id = p_account;
  if p_new_key_hash is not null then
    update public.web_vaults
       set previous_key_hash = key_hash, previous_until = now() + interval '10 seconds',
           previous_access_token = account.access_token, key_hash = p_new_key_hash
     where id = account.vault_id;
  end if;
  return true;
end $$;

-- Has every browser of this person fetch new tokens at its next request: what the ones they have say is no longer so.
create function public.vault_expire(p_user uuid) returns void
language sql security definer set search_path = '' as $$
  update public.web_account_sessions set expires_at = now() where user_id = p_user
$$;

-- Gives the lease back without new tokens.
create function public.vault_release(p_account uuid, p_lease_holder uuid) returns void
language sql security definer set search_path = '' as $$
  update public.web_account_sessions set lease_holder = null, lease_until = null
   where id = p_account and lease_holder = p_lease_holder
$$;


-- Deletes every unfinished enrolment of the person, whoever began it. What a stranger with the password began
-- is never shown, resumed or endorsed.
create function public.mfa_discard_enrolments(p_user uuid) returns void
language sql security definer set search_path = '' as $$
  delete from auth.mfa_factors where user_id = p_user and status = 'unverified'
$$;

-- Endorses the factor that this session has just begun to set up, and keeps its secret with the session.
-- Before the first code, so that the first token already says aal2 and a crash leaves nothing half-done.
create function public.mfa_endorse_enrolment(p_account uuid, p_factor uuid, p_secret text) returns boolean
language plpgsql security definer set search_path = '' as $$
begin
  update public.web_account_sessions account
     set enrolment_factor = p_factor, enrolment_secret = p_secret
    from auth.mfa_factors f
   where account.id = p_account and f.id = p_factor and f.user_id = account.user_id
     and f.factor_type = 'totp' and f.status = 'unverified';
  if not found then return false; end if;
  insert into public.mfa_endorsed_factors (factor_id) values (p_factor);
  return true;
end $$;


revoke all on public.web_vaults from public, anon, authenticated, service_role;
revoke all on public.web_account_sessions from public, anon, authenticated, service_role;
revoke all on function public.vault_open(text, text, uuid, uuid, text, text, text, timestamptz)
  from public, anon, authenticated, service_role;
revoke all on function public.vault_close(text, uuid) from public, anon, authenticated, service_role;
revoke all on function public.vault_read(text, uuid, integer) from public, anon, authenticated, service_role;
revoke all on function public.vault_store(uuid, uuid, text, text, timestamptz, text)
  from public, anon, authenticated, service_role;
revoke all on function public.vault_expire(uuid) from public, anon, authenticated, service_role;
revoke all on function public.vault_release(uuid, uuid) from public, anon, authenticated, service_role;
revoke all on function public.mfa_discard_enrolments(uuid) from public, anon, authenticated, service_role;
revoke all on function public.mfa_endorse_enrolment(uuid, uuid, text)
  from public, anon, authenticated, service_role;

grant execute on function public.vault_open(text, text, uuid, uuid, text, text, text, timestamptz) to service_role;
grant execute on function public.vault_close(text, uuid) to service_role;
grant execute on function public.vault_read(text, uuid, integer) to service_role;
grant execute on function public.vault_store(uuid, uuid, text, text, timestamptz, text) to service_role;
grant execute on function public.vault_expire(uuid) to service_role;
grant execute on function public.vault_release(uuid, uuid) to service_role;
grant execute on function public.mfa_discard_enrolments(uuid) to service_role;
grant execute on function public.mfa_endorse_enrolment(uuid, uuid, text) to service_role;
