-- Removes an authenticator app for good, in one transaction: the endorsement, the factor, the proofs that no
-- remaining app supports, and the aal2 of the sessions left without proof. Returns false if it is not theirs.
-- Tokens of before go on saying aal2 until they expire, so every browser of this person refreshes at once.
-- Supabase Auth's own DELETE /factors leaves a stale totp entry in sessions that went on to another factor,
-- which would keep counting as fresh, and withdrawing the endorsement first would leave a gap for a crash.
create function public.mfa_remove_factor(p_user uuid, p_factor uuid) returns boolean
language plpgsql security definer set search_path = '' as $$
begin
  -- Two removals at once must not each think that the other's factor remains.
  perform from auth.users where id = p_user for update;

  delete from public.mfa_endorsed_factors e
   using auth.mfa_factors f
   where e.factor_id = p_factor and f.id = p_factor and f.user_id = p_user and f.factor_type = 'totp';
  delete from auth.mfa_factors where id = p_factor and user_id = p_user and factor_type = 'totp';
  if not found then return false; end if;

  delete from auth.mfa_amr_claims claim
   using auth.sessions s
   where s.id = claim.session_id and s.user_id = p_user and claim.authentication_method = 'totp'
     and not exists (
       select from auth.mfa_factors f
         join public.mfa_endorsed_factors e on e.factor_id = f.id
        where f.id = s.factor_id and f.factor_type = 'totp' and f.status = 'verified');

  update auth.sessions s set aal = 'aal1', factor_id = null
   where s.user_id = p_user and s.aal = 'aal2'
     and not exists (
       select from auth.mfa_amr_claims claim
        where claim.session_id = s.id
          and claim.authentication_method in
              ('totp', 'mfa/phone', 'mfa/webauthn', 'recovery_code', 'trusted_device'));
  perform public.vault_expire(p_user);
  return true;
end $$;


revoke all on function public.mfa_remove_factor(uuid, uuid) from public, anon, authenticated, service_role;

grant execute on function public.mfa_remove_factor(uuid, uuid) to service_role;
