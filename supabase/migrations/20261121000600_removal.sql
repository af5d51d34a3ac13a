-- How factors go: always with everything that only they had proven, in one transaction.

-- After a factor has gone: takes from each session the proofs that no remaining factor supports, and aal2 from the
-- sessions left without any. Where it cannot be told which app a session had used, the person is asked again.
-- Tokens of before go on saying aal2 until they expire, so every browser of this person refreshes at once.
-- A recovery code stands for itself: what it has proven stays when an app goes, or nobody could replace a lost phone.
-- With the last factor the codes go too. Whoever had the account while a password was enough may have made them, and
-- they would open it again after the owner has set up a factor.
create function public.mfa_settle_sessions(p_user uuid) returns void
language plpgsql security definer set search_path = '' as $$
declare
  mirror uuid := public.passkey_mirror(p_user);
  s record;
begin
  if not public.has_factors(p_user) then
    update public.mfa_recovery_sets set replaced_at = now() where user_id = p_user and replaced_at is null;
    delete from auth.mfa_amr_claims
     where authentication_method = 'recovery_code'
       and session_id in (select id from auth.sessions where user_id = p_user);
  end if;
  for s in
    select id,
           exists (select from auth.mfa_factors f join public.mfa_endorsed_factors e on e.factor_id = f.id
                    where f.id = sessions.factor_id and f.factor_type = 'totp' and f.status = 'verified') as by_totp,
           mirror is not null
             and exists (select from public.mfa_passkey_sessions where session_id = sessions.id) as by_passkey
      from auth.sessions where user_id = p_user and aal = 'aal2'
  loop
    delete from auth.mfa_amr_claims
     where session_id = s.id
       and ((authentication_method = 'totp' and not s.by_totp)
            or (authentication_method = 'mfa/webauthn' and not s.by_passkey));
    update auth.sessions
       set factor_id = case when s.by_totp then factor_id when s.by_passkey then mirror end,
           aal = case when exists (
             select from auth.mfa_amr_claims
              where session_id = s.id
                and authentication_method in ('totp', 'mfa/webauthn', 'recovery_code', 'trusted_device'))
             then 'aal2'::auth.aal_level else 'aal1' end
     where id = s.id;
  end loop;
  perform public.vault_expire(p_user);
end $$;


-- Removes an authenticator app for good, in one transaction: the endorsement, the factor, and what only it had
-- proven. Returns 'removed', or 'last' if no second factor is left, or null if it is not theirs. Without p_even_last
-- the last one stays, and the answer is 'kept': that takes fresher proof, and of two removals at once each may have
-- thought that the other's factor remains.
-- Supabase Auth's own DELETE /factors leaves a stale totp entry in sessions that went on to another factor,
-- which would keep counting as fresh, and withdrawing the endorsement first would leave a gap for a crash.
create function public.mfa_remove_factor(p_user uuid, p_factor uuid, p_even_last boolean) returns text
language plpgsql security definer set search_path = '' as $$
begin
  perform from auth.users where id = p_user for update;
  if not exists (select from auth.mfa_factors where id = p_factor and user_id = p_user and factor_type = 'totp') then
    return null;
  end if;
  if not p_even_last and not public.has_factors(p_user, p_factor) then return 'kept'; end if;
  delete from public.mfa_endorsed_factors where factor_id = p_factor;
  delete from auth.mfa_factors where id = p_factor;
  perform public.mfa_settle_sessions(p_user);
  return case when public.has_factors(p_user) then 'removed' else 'last' end;
end $$;

-- Removes a passkey, with the last one the mirror, and lowers what only it had proven. Answers as mfa_remove_factor().
create function public.passkey_remove(p_user uuid, p_passkey uuid, p_even_last boolean) returns text
language plpgsql security definer set search_path = '' as $$
declare
  mirror uuid := public.passkey_mirror(p_user);
begin
  perform from auth.users where id = p_user for update;
  if not exists (select from public.mfa_passkeys where id = p_passkey and user_id = p_user) then return null; end if;
  if not exists (select from public.mfa_passkeys where id <> p_passkey and user_id = p_user) then
    if not p_even_last and not public.has_factors(p_user, mirror) then return 'kept'; end if;
    delete from public.mfa_endorsed_factors where factor_id = mirror;
    delete from auth.mfa_factors where id = mirror;
  end if;
  delete from public.mfa_passkeys where id = p_passkey;
  perform public.mfa_settle_sessions(p_user);
  return case when public.has_factors(p_user) then 'removed' else 'last' end;
end $$;


-- Signs out everywhere but in one session. The session row is Supabase's unit of revocation.
create function public.sessions_end_others(p_user uuid, p_session uuid) returns integer
language plpgsql security definer set search_path = '' as $$
declare
  ended integer;
begin
  delete from auth.sessions where user_id = p_user and id <> p_session;
  get diagnostics ended = row_count;
  return ended;
end $$;


revoke all on function public.mfa_settle_sessions(uuid) from public, anon, authenticated, service_role;
revoke all on function public.mfa_remove_factor(uuid, uuid, boolean) from public, anon, authenticated, service_role;
revoke all on function public.passkey_remove(uuid, uuid, boolean) from public, anon, authenticated, service_role;
revoke all on function public.sessions_end_others(uuid, uuid) from public, anon, authenticated, service_role;

grant execute on function public.mfa_remove_factor(uuid, uuid, boolean) to service_role;
grant execute on function public.passkey_remove(uuid, uuid, boolean) to service_role;
grant execute on function public.sessions_end_others(uuid, uuid) to service_role;
