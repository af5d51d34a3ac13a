-- What support may do with other people's accounts. Each function asks anew who is asking: a token says for up to an
-- hour that somebody is an administrator who was dismissed a minute ago.

create function public.is_admin(p_actor uuid) returns boolean
language sql stable security definer set search_path = '' as $$
  select exists (
    select from auth.users
     where id = p_actor and raw_app_meta_data @> '{"roles": ["admin"]}'
       and coalesce(banned_until < now(), true) and deleted_at is null)
$$;

-- Begins a deed of p_actor with the account of p_user: locks it, and tells the log who does it, and why. Returns null, or
-- why not: 'role', 'unknown', or 'self', as nobody may loosen their own account with what they prove by being signed in.
create function public.admin_begin(p_actor uuid, p_user uuid, p_reason text) returns text
language plpgsql security definer set search_path = '' as $$
begin
  if not public.is_admin(p_actor) then return 'role'; end if;
  if p_actor = p_user then return 'self'; end if;
  perform from auth.users where id = p_user for update;
  if not found then return 'unknown'; end if;
  perform set_config('stepup.actor', p_actor::text, true), set_config('stepup.reason', p_reason, true);
  return null;
end $$;


-- People whose address holds p_part, at most p_most of them; those whose address begins with it come first.
-- {"people": [{"id": …, "email": …}], "more": boolean}, or {"refused": "role"}
create function public.admin_find(p_actor uuid, p_part text, p_most integer) returns jsonb
language sql stable security definer set search_path = '' as $$
  select case when public.is_admin(p_actor) then jsonb_build_object(
    'people', coalesce(jsonb_agg(jsonb_build_object('id', id, 'email', email) order by place) filter (where place <= p_most), '[]'),
    'more', count(*) > p_most)
  else '{"refused": "role"}' end
    from (
      -- strpos and not like: there is nothing in an address that could be a wildcard.
      select id, email, row_number() over (order by strpos(email, lower(p_part)) > 1, email) as place
        from auth.users where strpos(email, lower(p_part)) > 0
       order by place limit p_most + 1) found
$$;


-- What support sees of somebody. Looking is an event of its own: an address is nobody's business without a reason. Of the
-- looks of one actor within an hour the first is kept, or reloading the page would push what they did out of sight.
--   {"id": …, "email": …, "created_at": …, "confirmed": true, "banned": false,
--    "apps": [{"id", "name", "created_at"}], "passkeys": [{"id", "name", "created_at", "last_used_at", "suspect"}],
--    "codes": {"label": 1, "made_at": …, "left": 9} or null,
--    "attempts": [{"kind", "locked_seconds", "disabled", "since_success"}],
--    "sessions": [{"signed_in_with": null past this app, "since": …, "aal": …}], "log": see log_of()},
-- or {"refused": "role" | "unknown"}. All times are Unix time.
create function public.admin_person(p_actor uuid, p_user uuid, p_cap integer, p_most integer) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare
  person auth.users;
begin
  if not public.is_admin(p_actor) then return '{"refused": "role"}'; end if;
  select * into person from auth.users where id = p_user;
  if person.id is null then return '{"refused": "unknown"}'; end if;
  if p_actor <> p_user and not exists (
       select from public.security_events
        where user_id = p_user and actor = p_actor and event = 'looked_at' and at > now() - interval '1 hour') then
    perform set_config('stepup.actor', p_actor::text, true);
    perform public.log_event(p_user, 'looked_at');
  end if;
  return jsonb_build_object(
    'id', person.id,
    'email', coalesce(person.email, ''),
    'created_at', extract(epoch from person.created_at),
    'confirmed', person.email_confirmed_at is not null,
    'banned', coalesce(person.banned_until > now(), false),
    'apps', (
      select coalesce(jsonb_agg(jsonb_build_object(
               'id', f.id, 'name', f.friendly_name, 'created_at', extract(epoch from f.created_at))
             order by f.created_at, f.id), '[]')
        from auth.mfa_factors f join public.mfa_endorsed_factors e on e.factor_id = f.id
       where f.user_id = p_user and f.status = 'verified' and f.factor_type = 'totp'),
    'passkeys', (
      select coalesce(jsonb_agg(jsonb_build_object(
               'id', id, 'name', name, 'created_at', extract(epoch from created_at),
               'last_used_at', extract(epoch from last_used_at), 'suspect', suspect) order by created_at, id), '[]')
        from public.mfa_passkeys where user_id = p_user),
    'codes', (
      select jsonb_build_object(
               'label', s.label, 'made_at', extract(epoch from s.made_at),
               'left', (select count(*) from public.mfa_recovery_codes where set_id = s.id and used_at is null))
        from public.mfa_recovery_sets s where s.user_id = p_user and s.replaced_at is null),
    'attempts', (
      select coalesce(jsonb_agg(jsonb_build_object(
               'kind', kind, 'since_success', since_success, 'disabled', since_success >= p_cap,
               'locked_seconds', ceil(greatest(extract(epoch from locked_until - now()), 0))) order by kind), '[]')
        from public.mfa_attempts where user_id = p_user and since_success > 0),
    'sessions', (
      select coalesce(jsonb_agg(jsonb_build_object(
               'signed_in_with', a.signed_in_with, 'since', extract(epoch from s.created_at), 'aal', s.aal)
             order by s.created_at desc), '[]')
        from auth.sessions s left join public.web_account_sessions a on a.session_id = s.id
       where s.user_id = p_user),
    'log', public.log_of(p_user, p_most, p_for_support => true));
end $$;


-- Signs somebody out everywhere, apps that talk to Supabase past this one included.
-- {"ended": sessions}, or {"refused": …} as all below
create function public.admin_end_sessions(p_actor uuid, p_user uuid, p_reason text) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare
  refused text := public.admin_begin(p_actor, p_user, p_reason);
  ended integer;
begin
  if refused is not null then return jsonb_build_object('refused', refused); end if;
  delete from public.web_account_sessions where user_id = p_user;
  delete from auth.sessions where user_id = p_user;
  get diagnostics ended = row_count;
  perform public.log_event(p_user, 'sessions_ended', jsonb_build_object('count', ended));
  return jsonb_build_object('ended', ended);
end $$;


-- Removes an app or a passkey that somebody has lost, with everything that only it had proven.
-- {"name": …, "email": of the owner, "last": whether no second factor is left}; refused can be 'gone', too
create function public.admin_withdraw(p_actor uuid, p_user uuid, p_factor uuid, p_reason text) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare
  refused text := public.admin_begin(p_actor, p_user, p_reason);
  removed text;
begin
  if refused is not null then return jsonb_build_object('refused', refused); end if;
  select name into removed from public.mfa_passkeys where id = p_factor and user_id = p_user;
  if not found then
    select friendly_name into removed from auth.mfa_factors where id = p_factor and user_id = p_user;
  end if;
  if coalesce(
    public.mfa_remove_factor(p_user, p_factor, true), public.passkey_remove(p_user, p_factor, true)) is null then
    return '{"refused": "gone"}';
  end if;
  return jsonb_build_object(
    'name', coalesce(removed, ''),
    'email', (select email from auth.users where id = p_user),
    'last', not public.has_factors(p_user));
end $$;


-- Lets codes be entered again that wrong ones have locked or switched off.
-- {"kinds": [which]}; refused can be 'gone', too
create function public.admin_lift(p_actor uuid, p_user uuid, p_cap integer, p_reason text) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare
  refused text := public.admin_begin(p_actor, p_user, p_reason);
  lifted text;
  kinds text[] := '{}';
begin
  if refused is not null then return jsonb_build_object('refused', refused); end if;
  for lifted in
    update public.mfa_attempts set failures = 0, since_success = 0, locked_until = null
     where user_id = p_user and (locked_until > now() or since_success >= p_cap) returning kind
  loop
    perform public.log_event(p_user, 'codes_on', jsonb_build_object('kind', lifted));
    kinds := kinds || lifted;
  end loop;
  if kinds = '{}' then return '{"refused": "gone"}'; end if;
  return jsonb_build_object('kinds', kinds);
end $$;


revoke all on function public.is_admin(uuid) from public, anon, authenticated, service_role;
revoke all on function public.admin_begin(uuid, uuid, text) from public, anon, authenticated, service_role;
revoke all on function public.admin_find(uuid, text, integer) from public, anon, authenticated, service_role;
revoke all on function public.admin_person(uuid, uuid, integer, integer) from public, anon, authenticated, service_role;
revoke all on function public.admin_end_sessions(uuid, uuid, text) from public, anon, authenticated, service_role;
revoke all on function public.admin_withdraw(uuid, uuid, uuid, text) from public, anon, authenticated, service_role;
revoke all on function public.admin_lift(uuid, uuid, integer, text) from public, anon, authenticated, service_role;

grant execute on function public.admin_find(uuid, text, integer) to service_role;
grant execute on function public.admin_person(uuid, uuid, integer, integer) to service_role;
grant execute on function public.admin_end_sessions(uuid, uuid, text) to service_role;
grant execute on function public.admin_withdraw(uuid, uuid, uuid, text) to service_role;
grant execute on function public.admin_lift(uuid, uuid, integer, text) to service_role;
