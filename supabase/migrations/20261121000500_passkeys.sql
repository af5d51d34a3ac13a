-- Passkeys: verified by the app, made to count as a second factor of Supabase's own.

-- What an authenticator knows a person by: 64 random bytes, never the address or the user id (WebAuthn 14.6.1).
create table public.webauthn_handles (
  user_id uuid primary key references auth.users on delete cascade,
  handle text not null unique                        -- base64url, as everything binary below
);
alter table public.webauthn_handles enable row level security;

create table public.mfa_passkeys (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null references auth.users on delete cascade,
  credential_id text not null unique,
  public_key text not null,                          -- COSE_Key
  sign_count bigint not null,
  transports text[] not null,
  aaguid uuid not null,
  name text not null check (length(btrim(name)) between 1 and 64),
  attachment text,                                   -- unsigned: for display
  backup_eligible boolean not null,
  backed_up boolean not null,
  suspect boolean not null default false,            -- its counter went backwards: there may be a copy of it
  created_at timestamptz not null default now(),
  last_used_at timestamptz,
  last_used_with text                                -- browser and system, for display
);
create index mfa_passkeys_user on public.mfa_passkeys (user_id);
alter table public.mfa_passkeys enable row level security;

-- Which passkey a session was last proven with. amr says only that it was one of them; when that one is removed,
-- because it was stolen perhaps, the sessions it opened must fall.
create table public.mfa_passkey_sessions (
  session_id uuid primary key,                       -- auth.sessions.id; Supabase Auth deletes sessions as it likes
  passkey_id uuid not null references public.mfa_passkeys on delete cascade
);
create index mfa_passkey_sessions_passkey on public.mfa_passkey_sessions (passkey_id);
alter table public.mfa_passkey_sessions enable row level security;

-- A challenge works once, for five minutes, for one purpose, in the session or browser that it was made for.
create table public.webauthn_challenges (
  challenge text primary key,
  purpose text not null check (purpose in ('register', 'sign_in', 'step_up')),
  made_for text not null,                            -- an id of web_account_sessions, or of a browser (sign_in)
  conditional boolean not null default false,        -- the browser may create the passkey without a gesture
  expires_at timestamptz not null default now() + interval '5 minutes'
);
create index webauthn_challenges_expiry on public.webauthn_challenges (expires_at);
alter table public.webauthn_challenges enable row level security;


create function public.passkey_json(p public.mfa_passkeys) returns jsonb
language sql stable security definer set search_path = '' as $$
  select to_jsonb(p) || jsonb_build_object(
    'created_at', extract(epoch from p.created_at), 'last_used_at', extract(epoch from p.last_used_at))
$$;

-- The person's handle, null before the first ceremony, and passkeys.
create function public.passkeys_of(p_user uuid) returns jsonb
language sql stable security definer set search_path = '' as $$
  select jsonb_build_object(
    'handle', (select handle from public.webauthn_handles where user_id = p_user),
    'passkeys', (
      select coalesce(jsonb_agg(public.passkey_json(p) order by p.created_at, p.id), '[]')
        from public.mfa_passkeys p where p.user_id = p_user))
$$;


-- What registration and authentication begin with: keeps a new challenge, and returns the person's handle (made
-- when there is none) and passkeys. Without p_user it is a sign-in, and nothing is said about anybody.
create function public.passkey_challenge(
  p_challenge text, p_purpose text, p_made_for text, p_conditional boolean, p_user uuid, p_new_handle text
) returns jsonb
language plpgsql security definer set search_path = '' as $$
begin
  delete from public.webauthn_challenges where expires_at < now();
  insert into public.webauthn_challenges (challenge, purpose, made_for, conditional)
  values (p_challenge, p_purpose, p_made_for, p_conditional);
  if p_user is null then return jsonb_build_object('handle', null, 'passkeys', '[]'::jsonb); end if;

  insert into public.webauthn_handles (user_id, handle) values (p_user, p_new_handle) on conflict do nothing;
  return public.passkeys_of(p_user);
end $$;


-- Takes a challenge out of the world, before what answers it is verified: whatever that says, it works once.
-- Returns {"conditional": boolean, "passkey": …, "handle": …, "email": …} or null. For the passkey with
-- p_credential_id, it also says whose it is and whether that account may sign in: confirmed and not banned.
create function public.passkey_take(
  p_challenge text, p_purpose text, p_made_for text, p_credential_id text
) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare
  taken public.webauthn_challenges;
  passkey public.mfa_passkeys;
  person auth.users;
begin
  delete from public.webauthn_challenges where challenge = p_challenge returning * into taken;
  if taken.challenge is null or taken.purpose <> p_purpose or taken.made_for <> p_made_for
     or taken.expires_at < now() then
    return null;
  end if;
  select * into passkey from public.mfa_passkeys where credential_id = p_credential_id;
  select * into person from auth.users where id = passkey.user_id;
  return jsonb_build_object(
    'conditional', taken.conditional,
    'passkey', case when passkey.id is not null then public.passkey_json(passkey) end,
    'handle', (select handle from public.webauthn_handles where user_id = passkey.user_id),
    'email', person.email,
    'may_sign_in', person.email_confirmed_at is not null and coalesce(person.banned_until < now(), true)
                   and person.deleted_at is null);
end $$;


-- What a step-up begins with, in one request: reads the vault as vault_read() does, with the lease, and takes the
-- challenge that was made for this account; "taken" is what passkey_take() says. As long as somebody else has the
-- lease, or the tokens have to be refreshed first, nothing is taken: the app asks again.
create function public.vault_read_and_take(
  p_key_hash text, p_lease_holder uuid, p_margin_seconds integer, p_challenge text, p_credential_id text
) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare
  entry jsonb := public.vault_read(p_key_hash, p_lease_holder, null);
begin
  if (entry ->> 'leased')::boolean
     and (entry ->> 'expires_at')::numeric >= extract(epoch from now()) + p_margin_seconds then
    return entry || jsonb_build_object(
      'taken', public.passkey_take(p_challenge, 'step_up', entry ->> 'account', p_credential_id));
  end if;
  return entry;
end $$;


create function public.passkey_mirror(p_user uuid) returns uuid
language sql stable security definer set search_path = '' as $$
  select f.id from auth.mfa_factors f
    join public.mfa_endorsed_factors e on e.factor_id = f.id
   where f.user_id = p_user and f.factor_type = 'webauthn' and f.status = 'verified'
$$;


-- Writes what was proven into the session, in the very rows Supabase Auth reads: the next refresh says aal2, and
-- every one after it. p_method is 'mfa/webauthn' or 'recovery_code'. False if the session is not theirs, or is over.
create function public.mfa_elevate_session(
  p_session uuid, p_user uuid, p_method text, p_proven_at timestamptz default now()
) returns boolean
language plpgsql security definer set search_path = '' as $$
declare
  mirror uuid;
begin
  if p_method not in ('mfa/webauthn', 'recovery_code') then return false; end if;
  if p_method = 'mfa/webauthn' then
    mirror := public.passkey_mirror(p_user);
    if mirror is null then return false; end if;
  end if;
  -- Null for a code: an earlier totp entry then stops counting, and the hook lifts the code's own.
  update auth.sessions set aal = 'aal2', factor_id = mirror where id = p_session and user_id = p_user;
  if not found then return false; end if;
  insert into auth.mfa_amr_claims (id, session_id, created_at, updated_at, authentication_method)
  values (gen_random_uuid(), p_session, p_proven_at, p_proven_at, p_method)
  on conflict on constraint mfa_amr_claims_session_id_authentication_method_pkey
  do update set updated_at = excluded.updated_at;
  return true;
end $$;


-- Adds a passkey, at most p_most of them. The first one also makes the mirror: a factor in Supabase's own table,
-- verified, usable by nobody (its credential is empty), endorsed. With it, Supabase Auth itself asks people who
-- have only passkeys for aal2 before a password, an address or another factor is changed.
-- With p_session, that session is elevated: making a passkey takes the same proof as using it. Returns
-- {"id": …}, or {"refused": "exists" | "too_many"}.
create function public.passkey_add(
  p_user uuid, p_credential_id text, p_public_key text, p_sign_count bigint, p_transports text[], p_aaguid uuid,
  p_name text, p_attachment text, p_backup_eligible boolean, p_backed_up boolean, p_used_with text, p_session uuid, p_most integer
) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare
  added uuid;
  mirror uuid := gen_random_uuid();
begin
  perform from auth.users where id = p_user for update;  -- one change of this person's factors at a time
  if (select count(*) from public.mfa_passkeys where user_id = p_user) >= p_most then
    return jsonb_build_object('refused', 'too_many');
  end if;
  insert into public.mfa_passkeys
    (user_id, credential_id, public_key, sign_count, transports, aaguid, name, attachment, backup_eligible,
     backed_up, last_used_with)
  values (p_user, p_credential_id, p_public_key, p_sign_count, p_transports, p_aaguid, p_name, p_attachment,
          p_backup_eligible, p_backed_up, p_used_with)
  on conflict (credential_id) do nothing
  returning id into added;
  if added is null then  -- whose it is, is not said
    return jsonb_build_object('refused', 'exists');
  end if;

  if public.passkey_mirror(p_user) is null then
    insert into public.mfa_endorsed_factors (factor_id) values (mirror);
    insert into auth.mfa_factors
      (id, user_id, friendly_name, factor_type, status, created_at, updated_at, web_authn_credential)
    values (mirror, p_user, '', 'webauthn', 'verified', now(), now(), '{}');
  end if;
  if p_session is not null and public.mfa_elevate_session(p_session, p_user, 'mfa/webauthn') then
    insert into public.mfa_passkey_sessions (session_id, passkey_id) values (p_session, added)
    on conflict (session_id) do update set passkey_id = excluded.passkey_id;
  end if;
  return jsonb_build_object('id', added);
end $$;


-- Books the use of a passkey and elevates the session it was used in, in one transaction. The counter has to grow,
-- unless the authenticator keeps none: of two answers sent at once, one wins.
create function public.passkey_used(
  p_passkey uuid, p_sign_count bigint, p_backed_up boolean, p_used_with text, p_session uuid
) returns boolean
language plpgsql security definer set search_path = '' as $$
declare
  owner uuid;
begin
  update public.mfa_passkeys
     set sign_count = p_sign_count, backed_up = p_backed_up, last_used_at = now(), last_used_with = p_used_with
   where id = p_passkey and not suspect and (sign_count < p_sign_count or (sign_count = 0 and p_sign_count = 0))
  returning user_id into owner;
  if owner is null or not public.mfa_elevate_session(p_session, owner, 'mfa/webauthn') then
    raise sqlstate 'PT409' using message = 'the passkey or the session is no longer what it was';
  end if;
  insert into public.mfa_passkey_sessions (session_id, passkey_id) values (p_session, p_passkey)
  on conflict (session_id) do update set passkey_id = excluded.passkey_id;
  return true;
end $$;

-- Its counter went backwards: it is not believed any more, until its owner removes it and registers it anew.
create function public.passkey_suspect(p_passkey uuid) returns void
language sql security definer set search_path = '' as $$
  update public.mfa_passkeys set suspect = true where id = p_passkey
$$;

create function public.passkey_rename(p_user uuid, p_passkey uuid, p_name text) returns boolean
language plpgsql security definer set search_path = '' as $$
begin
  update public.mfa_passkeys set name = p_name where id = p_passkey and user_id = p_user;
  return found;
end $$;


revoke all on public.webauthn_handles from public, anon, authenticated, service_role;
revoke all on public.mfa_passkeys from public, anon, authenticated, service_role;
revoke all on public.mfa_passkey_sessions from public, anon, authenticated, service_role;
revoke all on public.webauthn_challenges from public, anon, authenticated, service_role;
revoke all on function public.passkey_challenge(text, text, text, boolean, uuid, text)
  from public, anon, authenticated, service_role;
revoke all on function public.passkeys_of(uuid) from public, anon, authenticated, service_role;
revoke all on function public.passkey_json(public.mfa_passkeys) from public, anon, authenticated, service_role;
revoke all on function public.passkey_take(text, text, text, text) from public, anon, authenticated, service_role;
revoke all on function public.vault_read_and_take(text, uuid, integer, text, text)
  from public, anon, authenticated, service_role;
revoke all on function public.passkey_add(
  uuid, text, text, bigint, text[], uuid, text, text, boolean, boolean, text, uuid, integer)
  from public, anon, authenticated, service_role;
revoke all on function public.passkey_mirror(uuid) from public, anon, authenticated, service_role;
revoke all on function public.mfa_elevate_session(uuid, uuid, text, timestamptz)
  from public, anon, authenticated, service_role;
revoke all on function public.passkey_used(uuid, bigint, boolean, text, uuid)
  from public, anon, authenticated, service_role;
revoke all on function public.passkey_suspect(uuid) from public, anon, authenticated, service_role;
revoke all on function public.passkey_rename(uuid, uuid, text) from public, anon, authenticated, service_role;

grant execute on function public.passkey_challenge(text, text, text, boolean, uuid, text) to service_role;
grant execute on function public.passkeys_of(uuid) to service_role;
grant execute on function public.passkey_take(text, text, text, text) to service_role;
grant execute on function public.vault_read_and_take(text, uuid, integer, text, text) to service_role;
grant execute on function public.passkey_add(
  uuid, text, text, bigint, text[], uuid, text, text, boolean, boolean, text, uuid, integer) to service_role;
grant execute on function public.passkey_used(uuid, bigint, boolean, text, uuid) to service_role;
grant execute on function public.passkey_suspect(uuid) to service_role;
grant execute on function public.passkey_rename(uuid, uuid, text) to service_role;
grant execute on function public.mfa_elevate_session(uuid, uuid, text, timestamptz) to service_role;
