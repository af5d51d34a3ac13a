-- Guards on Supabase Auth's own tables: what the app promises about factors holds for everybody who talks to
-- Supabase Auth directly. A team with other MFA clients beside this app can leave this migration out.
-- A refused statement reaches that caller as 500 unexpected_failure.

-- An unendorsed factor cannot be activated, whoever knows the password. A verified and endorsed factor cannot be
-- deleted, whoever stole an aal2 token: only mfa_remove_factor does, which the app calls after fresh proof.
create function public.guard_factors() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  if tg_op = 'DELETE' then
    if old.status = 'verified'
       and exists (select from public.mfa_endorsed_factors where factor_id = old.id)
       and exists (select from auth.users where id = old.user_id) then  -- deleting the person must still cascade
      raise exception 'withdraw the endorsement of factor % first', old.id;
    end if;
    return old;
  end if;
  if new.status = 'verified'
     and not exists (select from public.mfa_endorsed_factors where factor_id = new.id) then
    raise exception 'factor % is not endorsed', new.id;
  end if;
  return new;
end $$;

create trigger guard_factors
  before insert or delete or update of status on auth.mfa_factors
  for each row execute function public.guard_factors();


-- Supabase Auth counts no wrong codes, and one challenge takes guesses for 300 s. So a challenge is made only
-- against a grant, which mfa_begin_attempt writes together with its count.
create function public.gate_challenges() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  -- One attempt, one grant, consumed by one statement: two tabs must not eat each other's.
  delete from public.mfa_challenge_grants where id = (
    select id from public.mfa_challenge_grants
     where factor_id = new.factor_id and expires_at > now()
     order by id limit 1 for update skip locked);
  if not found then
    raise exception 'no grant for a challenge of factor %', new.factor_id;
  end if;
  return new;
end $$;

create trigger gate_challenges
  before insert on auth.mfa_challenges
  for each row execute function public.gate_challenges();


-- Everybody may write their own user_metadata, at aal1 too, and it comes back in every token and every answer. A deep or
-- huge one would make them unreadable: whoever knows a password could shut the owner out for good.
create function public.guard_metadata() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  text_form text := new.raw_user_meta_data::text;
begin
  if length(text_form) > 8192 or length(text_form) - length(translate(text_form, '{[', '')) > 64 then
    raise exception 'user metadata is too large or too deep';
  end if;
  return new;
end $$;

create trigger guard_metadata
  before insert or update of raw_user_meta_data on auth.users
  for each row execute function public.guard_metadata();


revoke all on function public.guard_factors() from public, anon, authenticated, service_role;
revoke all on function public.gate_challenges() from public, anon, authenticated, service_role;
revoke all on function public.guard_metadata() from public, anon, authenticated, service_role;
