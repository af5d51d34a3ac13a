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


-- Begins one attempt: checks the lock, claims the code, counts the attempt as a failure until proven otherwise
-- (a caller that dies in between leaves it counted), and grants one challenge.
-- Returns {"grant": id}, or {"refused": "unknown" | "disabled" | "locked" | "spent", "retry_after": seconds}.
create function public.mfa_begin_attempt(
  p_user uuid, p_factor uuid, p_code_hash text, p_limit integer, p_window_seconds integer, p_cap integer
) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare
  attempt public.mfa_attempts;
  challenge_grant bigint;
begin
  if not exists (select from auth.mfa_factors
                  where id = p_factor and user_id = p_user and factor_type = 'totp') then
    return jsonb_build_object('refused', 'unknown');
  end if;

  insert into public.mfa_attempts (user_id, kind) values (p_user, 'totp') on conflict do nothing;
  select * into attempt from public.mfa_attempts where user_id = p_user and kind = 'totp' for update;
  if attempt.since_success >= p_cap then
    return jsonb_build_object('refused', 'disabled');
  end if;
  if attempt.locked_until > now() then
    return jsonb_build_object('refused', 'locked',
                              'retry_after', ceil(extract(epoch from attempt.locked_until - now())));
  end if;

  delete from public.mfa_spent_codes where factor_id = p_factor and spent_at < now() - interval '120 seconds';
  insert into public.mfa_spent_codes (factor_id, code_hash) values (p_factor, p_code_hash) on conflict do nothing;
  if not found then
    return jsonb_build_object('refused', 'spent');
  end if;

  if attempt.window_started < now() - make_interval(secs => p_window_seconds) then
    attempt.failures := 0;
    attempt.window_started := now();
  end if;
  update public.mfa_attempts
     set failures = attempt.failures + 1,
         window_started = attempt.window_started,
         since_success = since_success + 1,
         locked_until = case when attempt.failures + 1 >= p_limit
                             then now() + make_interval(secs => p_window_seconds) end
   where user_id = p_user and kind = 'totp';

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
-- Returns {"attempts_remaining": n, "retry_after": seconds or null, "stolen": boolean}.
create function public.mfa_end_attempt(
  p_user uuid, p_factor uuid, p_code_hash text, p_grant bigint, p_outcome text,
  p_limit integer, p_window_seconds integer, p_cap integer
) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare
  attempt public.mfa_attempts;
  grant_left boolean;
  stolen boolean;
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
    update public.mfa_attempts set failures = 0, since_success = 0, locked_until = null
     where user_id = p_user and kind = 'totp';
    -- Proof of one kind re-enables another that guessing has disabled. It lifts no lock: the guesser goes on.
    update public.mfa_attempts set since_success = 0
     where user_id = p_user and kind <> 'totp' and since_success >= p_cap;
  else
    update public.mfa_attempts
       set failures = greatest(failures + counted, 0),
           since_success = greatest(since_success + case when p_outcome = 'unknown' then 0 else counted end, 0),
           locked_until = case when failures + counted >= p_limit
                               then coalesce(locked_until, now() + make_interval(secs => p_window_seconds)) end
     where user_id = p_user and kind = 'totp';
  end if;

  select * into attempt from public.mfa_attempts where user_id = p_user and kind = 'totp';
  return jsonb_build_object(
    'attempts_remaining', greatest(p_limit - attempt.failures, 0),
    'retry_after', ceil(extract(epoch from attempt.locked_until - now())),
    'stolen', stolen);
end $$;


revoke all on public.mfa_challenge_grants from public, anon, authenticated, service_role;
revoke all on sequence public.mfa_challenge_grants_id_seq from public, anon, authenticated, service_role;
revoke all on public.mfa_attempts from public, anon, authenticated, service_role;
revoke all on public.mfa_spent_codes from public, anon, authenticated, service_role;
revoke all on function public.mfa_begin_attempt(uuid, uuid, text, integer, integer, integer)
  from public, anon, authenticated, service_role;
revoke all on function public.mfa_end_attempt(uuid, uuid, text, bigint, text, integer, integer, integer)
  from public, anon, authenticated, service_role;

grant execute on function public.mfa_begin_attempt(uuid, uuid, text, integer, integer, integer) to service_role;
grant execute on function public.mfa_end_attempt(uuid, uuid, text, bigint, text, integer, integer, integer) to service_role;
