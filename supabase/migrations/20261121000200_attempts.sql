-- Codes work once, and guessing is bounded: per person and kind of factor, before Supabase Auth is asked.

create table public.mfa_attempts (
  user_id uuid not null references auth.users on delete cascade,
  kind text not null check (kind in ('totp', 'recovery_code')),
  failures integer not null default 0,          -- in the current window
  window_started timestamptz not null default now(),
  locked_until timestamptz,
  since_success integer not null default 0,     -- ever, since the kind was last proven: NIST 800-63B-4 3.2.2
  primary key (user_id, kind)
);
alter table public.mfa_attempts enable row level security;

-- Codes that were tried, as HMAC(factor, code). Longer than the 90 s in which a code is valid, so that a code
-- read over a shoulder is worth nothing (RFC 6238 5.2); the code that set an app up is among them.
create table public.mfa_spent_codes (
  factor_id uuid not null references auth.mfa_factors on delete cascade,
  code_hash text not null,
  spent_at timestamptz not null default now(),
  primary key (factor_id, code_hash)
);
alter table public.mfa_spent_codes enable row level security;


-- Permission for one challenge. The guard in the next migration makes none without.
create table public.mfa_challenge_grants (
  id bigint generated always as identity primary key,
  factor_id uuid not null references auth.mfa_factors on delete cascade,
  expires_at timestamptz not null default now() + interval '30 seconds'
);
create index mfa_challenge_grants_factor on public.mfa_challenge_grants (factor_id);
alter table public.mfa_challenge_grants enable row level security;


-- Why no attempt at this kind of factor may begin now, or null. The row stays locked until the transaction ends, so that
-- of many attempts in one instant no more begin than are allowed. Nobody's attempts, of an unknown p_user, count nowhere.
create function public.mfa_attempt_refused(p_user uuid, p_kind text, p_cap integer) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare
  attempt public.mfa_attempts;
begin
  insert into public.mfa_attempts (user_id, kind) select id, p_kind from auth.users where id = p_user
  on conflict do nothing;
  select * into attempt from public.mfa_attempts where user_id = p_user and kind = p_kind for update;
  if attempt.since_success >= p_cap then
    -- Logged once: the window does not move any more, so that an entry of before it is of an earlier time.
    if not exists (select from public.security_events
                    where user_id = p_user and event = 'codes_off' and what ->> 'kind' = p_kind
                      and at >= attempt.window_started) then
      perform public.log_event(p_user, 'codes_off', jsonb_build_object('kind', p_kind));
    end if;
    return jsonb_build_object('refused', 'disabled');
  end if;
  if attempt.locked_until > now() then
    return jsonb_build_object('refused', 'locked',
                              'retry_after', ceil(extract(epoch from attempt.locked_until - now())));
  end if;
  return null;
end $$;

-- Counts an attempt as a failure until proven otherwise: a caller that dies in between leaves it counted.
create function public.mfa_count_attempt(p_user uuid, p_kind text, p_limit integer, p_window_seconds integer)
returns void
language sql security definer set search_path = '' as $$
  update public.mfa_attempts
     set failures = counted.failures,
         window_started = case when counted.failures = 1 then now() else window_started end,
         since_success = since_success + 1,
         locked_until = case when counted.failures >= p_limit
                             then now() + make_interval(secs => p_window_seconds) end
    from (select case when window_started < now() - make_interval(secs => p_window_seconds)
                      then 1 else failures + 1 end as failures
            from public.mfa_attempts where user_id = p_user and kind = p_kind) counted
   where user_id = p_user and kind = p_kind
$$;

-- The kind was proven: its counters start anew. It also re-enables another kind that guessing has disabled, but lifts
-- no lock: the guesser goes on.
create function public.mfa_attempt_right(p_user uuid, p_kind text, p_cap integer) returns void
language sql security definer set search_path = '' as $$
  update public.mfa_attempts set failures = 0, since_success = 0, locked_until = null
   where user_id = p_user and kind = p_kind;
  update public.mfa_attempts set since_success = 0
   where user_id = p_user and kind <> p_kind and since_success >= p_cap
$$;

-- What to tell somebody whose attempt was not right: {"attempts_remaining": n, "retry_after": seconds or null}.
create function public.mfa_attempts_left(p_user uuid, p_kind text, p_limit integer) returns jsonb
language sql stable security definer set search_path = '' as $$
  select jsonb_build_object(
    'attempts_remaining', greatest(p_limit - max(failures), 0),
    'retry_after', ceil(extract(epoch from max(locked_until) - now())))
    from public.mfa_attempts where user_id = p_user and kind = p_kind
$$;


-- Begins one attempt with an authenticator app: checks the lock, claims the code, counts the attempt, and grants one
-- challenge.
-- Returns {"grant": id}, or {"refused": "unknown" | "disabled" | "locked" | "spent", "retry_after": seconds}.
create function public.mfa_begin_attempt(
  p_user uuid, p_factor uuid, p_code_hash text, p_limit integer, p_window_seconds integer, p_cap integer
) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare
  refusal jsonb;
  challenge_grant bigint;
begin
  if not exists (select from auth.mfa_factors
                  where id = p_factor and user_id = p_user and factor_type = 'totp') then
    return jsonb_build_object('refused', 'unknown');
  end if;
  refusal := public.mfa_attempt_refused(p_user, 'totp', p_cap);
  if refusal is not null then return refusal; end if;

  delete from public.mfa_spent_codes where factor_id = p_factor and spent_at < now() - interval '120 seconds';
  insert into public.mfa_spent_codes (factor_id, code_hash) values (p_factor, p_code_hash) on conflict do nothing;
  if not found then
    return jsonb_build_object('refused', 'spent');
  end if;
  perform public.mfa_count_attempt(p_user, 'totp', p_limit, p_window_seconds);

  delete from public.mfa_challenge_grants
   where factor_id = p_factor and expires_at < now() - interval '1 hour';
  insert into public.mfa_challenge_grants (factor_id) values (p_factor) returning id into challenge_grant;
  return jsonb_build_object('grant', challenge_grant);
end $$;


-- Ends the attempt that got p_grant. p_outcome is what became of it:
--   right         verify accepted the code: the counters start anew
--   wrong         verify refused the code: the count stays, the claim is released
--   refused       verify refused for another reason: neither count nor claim stays
--   unknown       the answer to verify was lost: no failure, but the code may be spent, so the claim stays. It counts
--                 against the cap all the same, or somebody who can make verify slow would guess for nothing
--   unchallenged  the challenge was refused: the count stays. If the grant is gone all the same, a stranger with
--                 the password raced the app for it and holds a challenge that takes guesses: all challenges of
--                 the factor are deleted, and it counts as 20 failures
--   unanswered    the answer to the challenge was lost: the count stays, nothing is known about the grant
-- Returns {"attempts_remaining": n, "retry_after": seconds or null, "stolen": boolean, "tell": address of the owner,
-- if they are to be told that it was stolen, which is once an hour, or null}.
create function public.mfa_end_attempt(
  p_user uuid, p_factor uuid, p_code_hash text, p_grant bigint, p_outcome text,
  p_limit integer, p_window_seconds integer, p_cap integer
) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare
  grant_left boolean;
  stolen boolean;
  tell text;
  counted integer;  -- how this outcome changes the failures that mfa_begin_attempt has counted
begin
  -- After a challenge that was made, a grant that is left is another attempt's: it took ours, and we took its.
  if p_outcome in ('unchallenged', 'unanswered') then
    delete from public.mfa_challenge_grants where id = p_grant and factor_id = p_factor;
    grant_left := found;
  end if;
  stolen := p_outcome = 'unchallenged' and not grant_left
    and exists (select from auth.mfa_factors where id = p_factor);
  counted := case when stolen then 20 when p_outcome in ('refused', 'unknown') then -1 else 0 end;

  if stolen then
    delete from auth.mfa_challenges where factor_id = p_factor;
  end if;
  if p_outcome in ('wrong', 'refused', 'unchallenged', 'unanswered') then
    delete from public.mfa_spent_codes where factor_id = p_factor and code_hash = p_code_hash;
  end if;

  if p_outcome = 'right' then
    perform public.mfa_attempt_right(p_user, 'totp', p_cap);
  else
    update public.mfa_attempts
       set failures = greatest(failures + counted, 0),
           since_success = greatest(since_success + case when p_outcome = 'unknown' then 0 else counted end, 0),
           locked_until = case when failures + counted >= p_limit
                               then coalesce(locked_until, now() + make_interval(secs => p_window_seconds)) end
     where user_id = p_user and kind = 'totp';
  end if;

  -- After the update: of two at once, the second one waits there, and then sees that the first has told.
  if stolen then
    select email into tell from auth.users
     where id = p_user and not exists (
       select from public.security_events
        where user_id = p_user and event = 'intercepted' and at > now() - interval '1 hour');
    perform public.log_event(p_user, 'intercepted', jsonb_build_object('id', p_factor));
  end if;
  return public.mfa_attempts_left(p_user, 'totp', p_limit) || jsonb_build_object('stolen', stolen, 'tell', tell);
end $$;


revoke all on public.mfa_challenge_grants from public, anon, authenticated, service_role;
revoke all on sequence public.mfa_challenge_grants_id_seq from public, anon, authenticated, service_role;
revoke all on public.mfa_attempts from public, anon, authenticated, service_role;
revoke all on public.mfa_spent_codes from public, anon, authenticated, service_role;
revoke all on function public.mfa_attempt_refused(uuid, text, integer) from public, anon, authenticated, service_role;
revoke all on function public.mfa_count_attempt(uuid, text, integer, integer)
  from public, anon, authenticated, service_role;
revoke all on function public.mfa_attempt_right(uuid, text, integer) from public, anon, authenticated, service_role;
revoke all on function public.mfa_attempts_left(uuid, text, integer) from public, anon, authenticated, service_role;
revoke all on function public.mfa_begin_attempt(uuid, uuid, text, integer, integer, integer)
  from public, anon, authenticated, service_role;
revoke all on function public.mfa_end_attempt(uuid, uuid, text, bigint, text, integer, integer, integer)
  from public, anon, authenticated, service_role;

grant execute on function public.mfa_begin_attempt(uuid, uuid, text, integer, integer, integer) to service_role;
grant execute on function public.mfa_end_attempt(uuid, uuid, text, bigint, text, integer, integer, integer) to service_role;
