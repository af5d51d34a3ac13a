-- Recovery codes: sheets of ten, each code good for one step-up, kept as argon2id hashes that the app computes.

-- A person has one set that counts, the one that was not replaced. The salt is the person's, not the code's: one
-- computation is compared with all codes of all sets, so that an attempt costs the same whatever was typed, and a code
-- of an older sheet is recognised. It changes only with parameters or pepper.
create table public.mfa_recovery_sets (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null references auth.users on delete cascade,
  label integer not null,                            -- printed on the sheet: 1, 2, …
  salt text not null,                                -- hexadecimal, as the digests
  parameters jsonb not null,                         -- of argon2id: {"memory_kib": 19456, "passes": 2, "lanes": 1}
  pepper_id text not null,                           -- which key of RECOVERY_CODE_PEPPER
  made_at timestamptz not null default now(),
  confirmed_at timestamptz,                          -- a code was typed back, or used
  replaced_at timestamptz,
  unique (user_id, label)
);
create unique index mfa_recovery_sets_current on public.mfa_recovery_sets (user_id) where replaced_at is null;
alter table public.mfa_recovery_sets enable row level security;

-- Used ones stay: they tell what happened, and are explained when they are typed again.
create table public.mfa_recovery_codes (
  set_id uuid not null references public.mfa_recovery_sets on delete cascade,
  digest text not null,
  used_at timestamptz,
  primary key (set_id, digest)
);
alter table public.mfa_recovery_codes enable row level security;


-- What a code of this person has to be hashed with, or null without a set:
-- {"set": id, "salt": …, "parameters": {…}, "pepper_id": …}
create function public.recovery_salt(p_user uuid) returns jsonb
language sql stable security definer set search_path = '' as $$
  select jsonb_build_object('set', id, 'salt', salt, 'parameters', parameters, 'pepper_id', pepper_id)
    from public.mfa_recovery_sets where user_id = p_user and replaced_at is null
$$;


-- Makes a set in place of the one p_replaces (null: there was none) and returns its label. Null if that is no longer
-- the one that counts: another tab was faster, and two sets with two salts would be the end of "one computation". Null
-- also without a second factor: a thief with the password could make codes now that still work when there is one.
--
-- The old codes are dead from here on, and so is what they had opened: they may be replaced because the sheet was
-- stolen. Only p_session keeps its proof, or whoever came in by the last code would lock themselves out here.
create function public.recovery_codes_make(
  p_user uuid, p_session uuid, p_replaces uuid, p_salt text, p_parameters jsonb, p_pepper_id text, p_digests text[]
) returns integer
language plpgsql security definer set search_path = '' as $$
declare
  made public.mfa_recovery_sets;
begin
  perform from auth.users where id = p_user for update;  -- one change of this person's factors at a time
  if not public.has_factors(p_user)
     or p_replaces is distinct from (
          select id from public.mfa_recovery_sets where user_id = p_user and replaced_at is null) then
    return null;
  end if;
  update public.mfa_recovery_sets set replaced_at = now() where id = p_replaces;
  insert into public.mfa_recovery_sets (user_id, label, salt, parameters, pepper_id)
  select p_user, coalesce(max(label), 0) + 1, p_salt, p_parameters, p_pepper_id
    from public.mfa_recovery_sets where user_id = p_user
  returning * into made;
  insert into public.mfa_recovery_codes (set_id, digest) select made.id, unnest(p_digests);

  delete from auth.mfa_amr_claims
   where authentication_method = 'recovery_code' and session_id <> p_session
     and session_id in (select id from auth.sessions where user_id = p_user);
  if found then
    perform public.mfa_settle_sessions(p_user);
  end if;
  return made.label;
end $$;


-- What there is to say of a code: {"set": id, "label": of the sheet}, and of one that is not good, why: {"refused":
-- "wrong" (it is of no sheet) | "used" | "old" | "expired"}. p_ttl_days: how long a set is good for, or null.
create function public.recovery_code_verdict(p_user uuid, p_digest text, p_ttl_days integer) returns jsonb
language sql stable security definer set search_path = '' as $$
  select coalesce((
    select jsonb_strip_nulls(jsonb_build_object(
             'set', s.id, 'label', s.label,
             'refused', case when s.replaced_at is not null then 'old'
                             when c.used_at is not null then 'used'
                             when s.made_at < now() - make_interval(days => p_ttl_days) then 'expired' end))
      from public.mfa_recovery_codes c join public.mfa_recovery_sets s on s.id = c.set_id
     where s.user_id = p_user and c.digest = p_digest
     order by s.replaced_at nulls first limit 1), '{"refused": "wrong"}')
$$;


-- Confirms that the sheet was kept: p_digest is of one of its codes, which stays good. Returns the verdict on it.
create function public.recovery_codes_confirm(p_user uuid, p_digest text, p_ttl_days integer) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare
  verdict jsonb := public.recovery_code_verdict(p_user, p_digest, p_ttl_days);
begin
  update public.mfa_recovery_sets set confirmed_at = coalesce(confirmed_at, now())
   where id = (verdict ->> 'set')::uuid and not verdict ? 'refused';
  return verdict;
end $$;


-- Begins an attempt, counted as a failure until proven otherwise.
-- Returns {"known": what recovery_salt() says}, or {"refused": "disabled" | "locked", "retry_after": seconds}.
create function public.recovery_code_begin(p_user uuid, p_limit integer, p_window_seconds integer, p_cap integer)
returns jsonb
language plpgsql security definer set search_path = '' as $$
declare
  refusal jsonb := public.mfa_attempt_refused(p_user, 'recovery_code', p_cap);
begin
  if refusal is not null then return refusal; end if;
  perform public.mfa_count_attempt(p_user, 'recovery_code', p_limit, p_window_seconds);
  return jsonb_build_object('known', public.recovery_salt(p_user));
end $$;


-- Consumes a code and elevates the session, in one transaction: a code is spent if and only if it opened something.
-- The tokens that the session has do not say so yet. They expire here, so that the next request fetches new ones if
-- the caller dies now. Returns {"left": codes}, or
--   {"refused": "over"}: the session is, and the code is as it was; or
--   the verdict on the code, with "attempts_remaining": n, "retry_after": seconds or null
create function public.recovery_code_use(
  p_user uuid, p_session uuid, p_digest text, p_ttl_days integer, p_limit integer, p_cap integer
) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare
  verdict jsonb;
  sheet uuid;
begin
  perform from auth.users where id = p_user for update;  -- of two with one code, or with a new sheet, one is first
  verdict := public.recovery_code_verdict(p_user, p_digest, p_ttl_days);
  sheet := verdict ->> 'set';
  if verdict ? 'refused' then
    return coalesce(public.mfa_attempts_left(p_user, 'recovery_code', p_limit), '{}') || verdict;
  end if;

  if not public.mfa_elevate_session(p_session, p_user, 'recovery_code') then
    return jsonb_build_object('refused', 'over');
  end if;
  update public.mfa_recovery_codes set used_at = now() where set_id = sheet and digest = p_digest;
  update public.mfa_recovery_sets set confirmed_at = coalesce(confirmed_at, now()) where id = sheet;
  perform public.mfa_attempt_right(p_user, 'recovery_code', p_cap);
  update public.web_account_sessions set expires_at = now() where session_id = p_session;
  return jsonb_build_object('left', (
    select count(*) from public.mfa_recovery_codes where set_id = sheet and used_at is null));
end $$;


revoke all on public.mfa_recovery_sets from public, anon, authenticated, service_role;
revoke all on public.mfa_recovery_codes from public, anon, authenticated, service_role;
revoke all on function public.recovery_salt(uuid) from public, anon, authenticated, service_role;
revoke all on function public.recovery_codes_make(uuid, uuid, uuid, text, jsonb, text, text[])
  from public, anon, authenticated, service_role;
revoke all on function public.recovery_code_verdict(uuid, text, integer)
  from public, anon, authenticated, service_role;
revoke all on function public.recovery_codes_confirm(uuid, text, integer) from public, anon, authenticated, service_role;
revoke all on function public.recovery_code_begin(uuid, integer, integer, integer)
  from public, anon, authenticated, service_role;
revoke all on function public.recovery_code_use(uuid, uuid, text, integer, integer, integer)
  from public, anon, authenticated, service_role;

grant execute on function public.recovery_salt(uuid) to service_role;
grant execute on function public.recovery_codes_make(uuid, uuid, uuid, text, jsonb, text, text[]) to service_role;
grant execute on function public.recovery_codes_confirm(uuid, text, integer) to service_role;
grant execute on function public.recovery_code_begin(uuid, integer, integer, integer) to service_role;
grant execute on function public.recovery_code_use(uuid, uuid, text, integer, integer, integer) to service_role;
