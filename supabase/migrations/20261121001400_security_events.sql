-- The security log: what happened to whose account, and who did it. People read their own.
--
-- Triggers write most of it, in the transaction of what they tell about: whoever changes a factor, be it Supabase Auth
-- or a function of tomorrow, cannot forget the log, and what is rolled back has not happened.

create table public.security_events (
  id bigint generated always as identity primary key,
  user_id uuid not null references auth.users on delete cascade,
  at timestamptz not null default now(),
  event text not null,                               -- see SENTENCES in auth/security_log.py
  what jsonb not null default '{}',                  -- names and ids, never secrets: {"id": …, "name": "Phone"}
  session_id uuid,                                   -- auth.sessions.id, where it is known
  actor uuid                                         -- null: themselves. No foreign key: it outlives who did it
);
create index security_events_user on public.security_events (user_id, id);
alter table public.security_events enable row level security;


-- Who acts on somebody else's account, and why, is said by the functions that support uses, for their transaction:
-- set_config('stepup.actor', …, true). In any other, the settings are empty.
-- Of nobody, or of a person who is being deleted, nothing is kept.
create function public.log_event(p_user uuid, p_event text, p_what jsonb default '{}', p_session uuid default null)
returns void
language sql security definer set search_path = '' as $$
  insert into public.security_events (user_id, event, what, session_id, actor)
  select id, p_event,
         jsonb_strip_nulls(p_what || jsonb_build_object('reason', nullif(current_setting('stepup.reason', true), ''))),
         p_session,
         nullif(current_setting('stepup.actor', true), '')::uuid
    from auth.users where id = p_user
$$;


-- A page of somebody's log, newest first; p_before is the id of the last entry of the page before:
-- [{"id": 7, "at": 1790000000.5, "event": …, "what": {…}, "by_support": false, "actor": address}].
-- Who of support it was is for support alone: without p_for_support, "actor" is null.
create function public.log_of(
  p_user uuid, p_most integer, p_before bigint default null, p_for_support boolean default false
) returns jsonb
language sql stable security definer set search_path = '' as $$
  select coalesce(jsonb_agg(to_jsonb(entry) order by entry.id desc), '[]')
    from (
      select id, extract(epoch from at) as at, event, what, actor is not null as by_support,
             (select email from auth.users where id = e.actor and p_for_support) as actor
        from public.security_events e
       where user_id = p_user and (p_before is null or id < p_before)
       order by id desc limit p_most) entry
$$;


create function public.log_apps() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  if coalesce(new.factor_type, old.factor_type) <> 'totp' then return null; end if;  -- the mirror of passkeys
  if tg_op = 'DELETE' then
    if old.status = 'verified' then
      perform public.log_event(old.user_id, 'app_removed', jsonb_build_object('id', old.id, 'name', old.friendly_name));
    end if;
  elsif new.status = 'verified' and (tg_op = 'INSERT' or old.status <> 'verified') then
    perform public.log_event(new.user_id, 'app_added', jsonb_build_object('id', new.id, 'name', new.friendly_name));
  elsif new.status = 'verified' and new.friendly_name is distinct from old.friendly_name then
    perform public.log_event(new.user_id, 'app_renamed',
      jsonb_build_object('id', new.id, 'name', new.friendly_name, 'before', old.friendly_name));
  end if;
  return null;
end $$;

create trigger log_apps
  after insert or delete or update of status, friendly_name on auth.mfa_factors
  for each row execute function public.log_apps();


create function public.log_passkeys() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  if tg_op = 'DELETE' then
    perform public.log_event(old.user_id, 'passkey_removed', jsonb_build_object('id', old.id, 'name', old.name));
  elsif tg_op = 'INSERT' then
    perform public.log_event(new.user_id, 'passkey_added', jsonb_build_object('id', new.id, 'name', new.name));
  else
    if new.name <> old.name then
      perform public.log_event(new.user_id, 'passkey_renamed',
        jsonb_build_object('id', new.id, 'name', new.name, 'before', old.name));
    end if;
    if new.suspect and not old.suspect then
      perform public.log_event(new.user_id, 'passkey_suspect', jsonb_build_object('id', new.id, 'name', new.name));
    end if;
  end if;
  return null;
end $$;

create trigger log_passkeys
  after insert or delete or update of name, suspect on public.mfa_passkeys
  for each row execute function public.log_passkeys();


create function public.log_sheets() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  perform public.log_event(new.user_id, 'codes_made', jsonb_build_object('label', new.label));
  return null;
end $$;

create trigger log_sheets
  after insert on public.mfa_recovery_sets
  for each row execute function public.log_sheets();


create function public.log_codes() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  perform public.log_event(user_id, 'code_used', jsonb_build_object(
            'label', label,
            'left', (select count(*) from public.mfa_recovery_codes where set_id = new.set_id and used_at is null)))
     from public.mfa_recovery_sets where id = new.set_id;
  return null;
end $$;

create trigger log_codes
  after update of used_at on public.mfa_recovery_codes
  for each row when (old.used_at is null and new.used_at is not null)
  execute function public.log_codes();


create function public.log_account() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  if new.encrypted_password is distinct from old.encrypted_password then
    perform public.log_event(new.id, 'password_changed');
  end if;
  if new.email is distinct from old.email then
    perform public.log_event(new.id, 'address_changed', jsonb_build_object('before', old.email, 'name', new.email));
  end if;
  return null;
end $$;

create trigger log_account
  after update of encrypted_password, email on auth.users
  for each row execute function public.log_account();


create function public.log_sign_ins() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  perform public.log_event(new.user_id, 'signed_in', jsonb_build_object('with', new.signed_in_with), new.session_id);
  return null;
end $$;

create trigger log_sign_ins
  after insert on public.web_account_sessions
  for each row execute function public.log_sign_ins();


revoke all on public.security_events from public, anon, authenticated, service_role;
revoke all on sequence public.security_events_id_seq from public, anon, authenticated, service_role;
revoke all on function public.log_event(uuid, text, jsonb, uuid) from public, anon, authenticated, service_role;
revoke all on function public.log_of(uuid, integer, bigint, boolean) from public, anon, authenticated, service_role;
revoke all on function public.log_account() from public, anon, authenticated, service_role;
revoke all on function public.log_apps() from public, anon, authenticated, service_role;
revoke all on function public.log_passkeys() from public, anon, authenticated, service_role;
revoke all on function public.log_sheets() from public, anon, authenticated, service_role;
revoke all on function public.log_codes() from public, anon, authenticated, service_role;
revoke all on function public.log_sign_ins() from public, anon, authenticated, service_role;

grant execute on function public.log_of(uuid, integer, bigint, boolean) to service_role;
