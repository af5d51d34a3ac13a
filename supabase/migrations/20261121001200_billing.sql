-- Billing details: what only a second factor opens that was proven within five minutes, in a session that still is
-- what its token says. A pattern for whatever is worth more than notes.

-- Whether the session this token was issued for is there, and is aal2, now. A token goes on saying aal2 until it
-- expires, an hour at most: after a sign-out, and after the factor that proved it was removed as stolen.
-- Definer and without argument: it reads a table the caller may not read, and only about the caller. It looks up one
-- row by its key for each statement, which factor_age_seconds() does not (SECURITY.md has the price of both).
create function public.live_session() returns boolean
language sql stable security definer set search_path = '' as $$
  select exists (
    select from auth.sessions
     where id = nullif(auth.jwt() ->> 'session_id', '')::uuid and user_id = auth.uid() and aal = 'aal2')
$$;

create table public.billing (
  user_id uuid primary key default auth.uid() references auth.users on delete cascade,
  plan text not null check (plan in ('personal', 'team', 'company')),
  -- The invoice address.
  name text not null check (length(btrim(name)) between 1 and 100),
  street text not null check (length(btrim(street)) between 1 and 100),
  postal_code text not null check (length(btrim(postal_code)) between 1 and 20),
  city text not null check (length(btrim(city)) between 1 and 100),
  country text not null check (length(btrim(country)) between 2 and 60)
);
alter table public.billing enable row level security;

create policy "people have their own billing details" on public.billing
  for all to authenticated
  using (user_id = (select auth.uid()))
  with check (user_id = (select auth.uid()));

-- Below aal2 the age is null, and null denies.
create policy "a second factor within five minutes, in a live session" on public.billing as restrictive
  for all to authenticated
  using ((select public.factor_age_seconds()) < 300 and (select public.live_session()))
  with check ((select public.factor_age_seconds()) < 300 and (select public.live_session()));

-- The person's own details, or null: nothing saved yet. A policy refuses a read by showing no rows, and that would
-- look the same: the app would show an empty form, and the person would think that their details are lost. So this
-- says it aloud, as a refused write does. Not a definer: the policies decide what it sees.
create function public.billing_mine() returns jsonb
language plpgsql stable set search_path = '' as $$
begin
  if (public.factor_age_seconds() < 300 and public.live_session()) is not true then
    raise insufficient_privilege using message = 'a second factor has to be proven anew';
  end if;
  return (select to_jsonb(b) - 'user_id' from public.billing b);
end $$;


revoke all on public.billing from public, anon, authenticated, service_role;
revoke all on function public.live_session() from public, anon, authenticated, service_role;
revoke all on function public.billing_mine() from public, anon, authenticated, service_role;

grant select,
      insert (plan, name, street, postal_code, city, country),
      update (plan, name, street, postal_code, city, country) on public.billing to authenticated;
grant execute on function public.live_session() to authenticated;
grant execute on function public.billing_mine() to authenticated;
