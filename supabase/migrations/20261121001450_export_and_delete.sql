-- Leaving: everything that is kept about a person, to take along, and nothing that stays behind.

-- Everything that is kept about a person, for them to download. Without what would open something: password hash,
-- tokens, the secrets of apps, hashes of codes; and without ids, which only tie rows to each other.
-- What a new table keeps about people belongs here: tests/test_leaving.py asks about each.
create function public.export_account(p_user uuid) returns jsonb
language sql stable security definer set search_path = '' as $$
  select jsonb_build_object(
    'exported_at', now(),
    'account', jsonb_build_object(
      'id', u.id, 'email', u.email, 'new_email', nullif(u.email_change, ''), 'phone', u.phone,
      'has_password', coalesce(u.encrypted_password, '') <> '',
      'created_at', u.created_at, 'updated_at', u.updated_at, 'invited_at', u.invited_at,
      'confirmed_at', u.confirmed_at, 'email_confirmed_at', u.email_confirmed_at,
      'phone_confirmed_at', u.phone_confirmed_at, 'confirmation_sent_at', u.confirmation_sent_at,
      'recovery_sent_at', u.recovery_sent_at, 'email_change_sent_at', u.email_change_sent_at,
      'phone_change_sent_at', u.phone_change_sent_at, 'reauthentication_sent_at', u.reauthentication_sent_at,
      'last_sign_in_at', u.last_sign_in_at, 'banned_until', u.banned_until, 'deleted_at', u.deleted_at,
      'set_by_the_site', u.raw_app_meta_data, 'set_by_you', u.raw_user_meta_data,
      'known_to_passkeys_as', (select handle from public.webauthn_handles where user_id = u.id),
      'no_second_factor_for_now', (select not_now_at from public.mfa_prompts where user_id = u.id)),
    'identities', (
      select coalesce(jsonb_agg(jsonb_build_object(
               'provider', provider, 'data', identity_data, 'created_at', created_at, 'updated_at', updated_at,
               'last_sign_in_at', last_sign_in_at) order by created_at), '[]')
        from auth.identities where user_id = u.id),
    'sessions', (
      select coalesce(jsonb_agg(jsonb_build_object(
               'created_at', s.created_at, 'last_used_at', s.refreshed_at, 'ends_at', s.not_after, 'assurance', s.aal,
               'ip_address', s.ip, 'browser', s.user_agent, 'signed_in_with', a.signed_in_with,
               'proven_with_passkey', (
                 select p.name from public.mfa_passkey_sessions m join public.mfa_passkeys p on p.id = m.passkey_id
                  where m.session_id = s.id),
               'proofs', (
                 select coalesce(jsonb_agg(jsonb_build_object(
                          'method', authentication_method, 'at', updated_at) order by updated_at), '[]')
                   from auth.mfa_amr_claims where session_id = s.id)) order by s.created_at), '[]')
        from auth.sessions s left join public.web_account_sessions a on a.session_id = s.id
       where s.user_id = u.id),
    'links_sent_by_mail', (
      select coalesce(jsonb_agg(jsonb_build_object('kind', token_type, 'created_at', created_at)
               order by created_at), '[]')
        from auth.one_time_tokens where user_id = u.id),
    'second_factors', (
      select coalesce(jsonb_agg(jsonb_build_object(
               'kind', f.factor_type, 'name', f.friendly_name, 'status', f.status, 'phone', f.phone,
               'created_at', f.created_at, 'updated_at', f.updated_at, 'last_asked_for_at', f.last_challenged_at,
               'counts_since', e.endorsed_at,
               'challenges', (
                 select coalesce(jsonb_agg(jsonb_build_object(
                          'created_at', created_at, 'answered_at', verified_at, 'ip_address', ip_address)
                          order by created_at), '[]')
                   from auth.mfa_challenges where factor_id = f.id)) order by f.created_at), '[]')
        from auth.mfa_factors f left join public.mfa_endorsed_factors e on e.factor_id = f.id
       where f.user_id = u.id),
    'passkeys', (
      select coalesce(jsonb_agg(to_jsonb(p) - array['id', 'user_id'] order by p.created_at), '[]')
        from public.mfa_passkeys p where p.user_id = u.id),
    'sheets_of_recovery_codes', (
      select coalesce(jsonb_agg(jsonb_build_object(
               'label', s.label, 'made_at', s.made_at, 'confirmed_at', s.confirmed_at, 'replaced_at', s.replaced_at,
               'codes', (select count(*) from public.mfa_recovery_codes where set_id = s.id),
               'used_at', (
                 select coalesce(jsonb_agg(used_at order by used_at), '[]')
                   from public.mfa_recovery_codes where set_id = s.id and used_at is not null)) order by s.label), '[]')
        from public.mfa_recovery_sets s where s.user_id = u.id),
    'wrong_codes', (
      select coalesce(jsonb_agg(to_jsonb(a) - 'user_id' order by a.kind), '[]')
        from public.mfa_attempts a where a.user_id = u.id),
    'notes', (
      select coalesce(jsonb_agg(to_jsonb(n) - array['id', 'user_id'] order by n.created_at), '[]')
        from public.notes n where n.user_id = u.id),
    'billing', (select to_jsonb(b) - 'user_id' from public.billing b where b.user_id = u.id),
    'security_log', (
      select coalesce(jsonb_agg(jsonb_build_object(
               'what', event, 'about', what - 'id', 'at', at, 'by_support', actor is not null) order by id), '[]')
        from public.security_events where user_id = u.id),
    'done_as_support', (  -- to whom is not theirs to take along
      select coalesce(jsonb_agg(jsonb_build_object(
               'what', event, 'reason', what ->> 'reason', 'at', at) order by id), '[]')
        from public.security_events where actor = u.id),
    'log', (
      select coalesce(jsonb_agg(jsonb_build_object(
               'what', payload ->> 'action', 'at', created_at, 'ip_address', nullif(ip_address, ''))
               order by created_at), '[]')
        from auth.audit_log_entries
       where payload ->> 'actor_id' = u.id::text or payload -> 'traits' ->> 'user_id' = u.id::text))
    from auth.users u where u.id = p_user
$$;


-- A vault that nobody is signed in to any more goes at once, with the token it keeps for requests under way. When a
-- person is deleted, by this app or in the dashboard, that is every browser of theirs.
create function public.drop_empty_vault() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  delete from public.web_vaults
   where id = old.vault_id and not exists (select from public.web_account_sessions where vault_id = old.vault_id);
  return null;
end $$;

create trigger drop_empty_vault
  after delete on public.web_account_sessions
  for each row execute function public.drop_empty_vault();


revoke all on function public.export_account(uuid) from public, anon, authenticated, service_role;
revoke all on function public.drop_empty_vault() from public, anon, authenticated, service_role;

grant execute on function public.export_account(uuid) to service_role;
