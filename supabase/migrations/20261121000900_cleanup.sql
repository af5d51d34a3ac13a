-- Deletes what has outlived its purpose; docs/data.md says what that is, and `flask cleanup` calls it.
-- Returns how many rows of each table went, or had their address removed.
create function public.cleanup(p_session_days integer, p_log_days integer, p_address_days integer) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare
  counts jsonb := '{}';
  n bigint;
  ended bigint;
begin
  -- Sign-ins of long ago end, as if their person had signed out.
  with ended as (
    delete from public.web_account_sessions where created_at < now() - make_interval(days => p_session_days)
    returning session_id),
  gone as (delete from auth.sessions s using ended where s.id = ended.session_id returning s.id)
  select (select count(*) from ended), (select count(*) from gone) into ended, n;
  counts := counts || jsonb_build_object('auth.sessions', n);

  delete from public.web_account_sessions a
   where not exists (select from auth.sessions where id = a.session_id);
  get diagnostics n = row_count;
  counts := counts || jsonb_build_object('web_account_sessions', ended + n);

  delete from public.web_vaults v
   where not exists (select from public.web_account_sessions where vault_id = v.id);
  get diagnostics n = row_count;
  counts := counts || jsonb_build_object('web_vaults', n);

  update public.web_vaults set previous_key_hash = null, previous_until = null, previous_access_token = null
   where previous_until < now();

  delete from public.mfa_spent_codes where spent_at < now() - interval '120 seconds';
  get diagnostics n = row_count;
  counts := counts || jsonb_build_object('mfa_spent_codes', n);

  delete from public.mfa_challenge_grants where expires_at < now() - interval '1 hour';
  get diagnostics n = row_count;
  counts := counts || jsonb_build_object('mfa_challenge_grants', n);

  delete from public.webauthn_challenges where expires_at < now();
  get diagnostics n = row_count;
  counts := counts || jsonb_build_object('webauthn_challenges', n);

  delete from public.mfa_passkey_sessions p where not exists (select from auth.sessions where id = p.session_id);
  get diagnostics n = row_count;
  counts := counts || jsonb_build_object('mfa_passkey_sessions', n);

  -- A sheet that was replaced long ago is not recognised any more: its codes are simply wrong.
  delete from public.mfa_recovery_sets where replaced_at < now() - make_interval(days => p_log_days);
  get diagnostics n = row_count;
  counts := counts || jsonb_build_object('mfa_recovery_sets', n);

  delete from public.security_events where at < now() - make_interval(days => p_log_days);
  get diagnostics n = row_count;
  counts := counts || jsonb_build_object('security_events', n);

  -- A count that is not zero stays: it is what ends guessing for good.
  delete from public.mfa_attempts
   where failures = 0 and since_success = 0 and window_started < now() - interval '1 day';
  get diagnostics n = row_count;
  counts := counts || jsonb_build_object('mfa_attempts', n);

  delete from auth.mfa_factors where status = 'unverified' and created_at < now() - interval '1 day';
  get diagnostics n = row_count;
  counts := counts || jsonb_build_object('auth.mfa_factors', n);

  delete from auth.mfa_challenges where created_at < now() - interval '1 day';
  get diagnostics n = row_count;
  counts := counts || jsonb_build_object('auth.mfa_challenges', n);

  delete from auth.audit_log_entries where created_at < now() - make_interval(days => p_log_days);
  get diagnostics n = row_count;
  counts := counts || jsonb_build_object('auth.audit_log_entries', n);

  -- Where somebody was is kept for a shorter time than what they did.
  update auth.audit_log_entries set ip_address = ''
   where ip_address <> '' and created_at < now() - make_interval(days => p_address_days);
  get diagnostics n = row_count;
  counts := counts || jsonb_build_object('addresses in auth.audit_log_entries', n);

  update auth.sessions set ip = null
   where ip is not null
     and coalesce(refreshed_at at time zone 'utc', created_at) < now() - make_interval(days => p_address_days);
  get diagnostics n = row_count;
  return counts || jsonb_build_object('addresses in auth.sessions', n);
end $$;

revoke all on function public.cleanup(integer, integer, integer) from public, anon, authenticated, service_role;

grant execute on function public.cleanup(integer, integer, integer) to service_role;
