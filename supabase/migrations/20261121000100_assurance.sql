-- What counts as a second factor, and how a token comes to say aal2.
--
-- The publishable key is public, so whoever knows a password can talk to Supabase Auth directly and enrol a
-- factor of their own. Only a factor with a row in mfa_endorsed_factors counts, and only the app writes those.

create table public.mfa_endorsed_factors (
  -- The cascade matters: without it one abandoned enrolment would turn every later enrolment of anybody into
  -- an error, because Supabase Auth deletes everybody's stale factors at each enrolment.
  factor_id uuid primary key references auth.mfa_factors on delete cascade deferrable initially deferred,
  endorsed_at timestamptz not null default now()
);
alter table public.mfa_endorsed_factors enable row level security;

-- Factors that people verified before the app came keep counting.
insert into public.mfa_endorsed_factors (factor_id)
select id from auth.mfa_factors where status = 'verified';


-- The custom access token hook: the last word on aal and amr of every token Supabase Auth issues.
-- It takes away what an unendorsed factor proved, lifts the proofs that Supabase Auth does not count
-- (recovery_code, trusted_device), and adds the claim "assurance": "stamped" so that its absence is noticed.
-- One exception here would stop every sign-in: whatever is null, malformed or of another type is no proof.
-- Security definer, because under row level security supabase_auth_admin would see no endorsement at all.
create function public.stamp_assurance(event jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
declare
  uuid_form constant text := '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$';
  claims jsonb := case when jsonb_typeof(event -> 'claims') = 'object' then event -> 'claims' else '{}' end;
  entries jsonb := case when jsonb_typeof(claims -> 'amr') = 'array' then claims -> 'amr' else '[]' end;
  session uuid := case when claims ->> 'session_id' ~ uuid_form then (claims ->> 'session_id')::uuid end;
  owner uuid := case when event ->> 'user_id' ~ uuid_form then (event ->> 'user_id')::uuid end;
  endorsed boolean := exists (
    select from auth.sessions s
      join auth.mfa_factors f on f.id = s.factor_id and f.user_id = s.user_id and f.status = 'verified'
      join public.mfa_endorsed_factors e on e.factor_id = f.id
     where s.id = session and s.user_id = owner);
  proofs jsonb;
begin
  select coalesce(jsonb_agg(entry), '[]') into proofs
    from jsonb_array_elements(entries) entry
   where jsonb_typeof(entry -> 'method') = 'string'
     and jsonb_typeof(entry -> 'timestamp') = 'number'
     and (endorsed or entry ->> 'method' not in ('totp', 'mfa/phone', 'mfa/webauthn'));
  return jsonb_build_object('claims', claims || jsonb_build_object(
    'amr', proofs,
    'assurance', 'stamped',
    'aal', case when exists (
      select from jsonb_array_elements(proofs) entry
       where entry ->> 'method' in ('totp', 'mfa/phone', 'mfa/webauthn', 'recovery_code', 'trusted_device'))
      then 'aal2' else 'aal1' end));
end $$;


-- For policies. Call them as (select public.aal2()): once per statement instead of once per row.

-- True when the token says aal2 and the hook above has stamped it: with the hook switched off, nobody is aal2.
create function public.aal2() returns boolean
language sql stable set search_path = '' as $$
  select coalesce(auth.jwt() ->> 'aal' = 'aal2' and auth.jwt() ->> 'assurance' = 'stamped', false)
$$;

-- Seconds since the person last proved a second factor in this session, from the signed amr timestamps.
-- Null below aal2. A trusted device is no proof of presence; entries more than 30 s in the future do not count.
create function public.factor_age_seconds() returns integer
language sql stable set search_path = '' as $$
  select case when public.aal2() then (
    -- least() inside max(): greatest(…, 0) around it would turn "never" into "just now", as it ignores nulls.
    select extract(epoch from now())::int
           - max(least((entry ->> 'timestamp')::int, extract(epoch from now())::int))
      from jsonb_array_elements(auth.jwt() -> 'amr') entry
     where entry ->> 'method' in ('totp', 'mfa/webauthn', 'recovery_code')
       and (entry ->> 'timestamp')::int < extract(epoch from now())::int + 30) end
$$;

-- Whether somebody has a second factor that counts, other than p_except.
create function public.has_factors(p_user uuid, p_except uuid default null) returns boolean
language sql stable security definer set search_path = '' as $$
  select exists (
    select from auth.mfa_factors f
      join public.mfa_endorsed_factors e on e.factor_id = f.id
     where f.user_id = p_user and f.status = 'verified' and f.id is distinct from p_except)
$$;

-- Whether the caller has. Definer and without argument: it reads tables the caller may not read, and only about the
-- caller.
create function public.has_factor() returns boolean
language sql stable security definer set search_path = '' as $$
  select public.has_factors(auth.uid())
$$;


-- Supabase grants whatever is created in public to anon, authenticated and service_role. Taking it from
-- `public` alone does not undo that, so every object is revoked by name.
revoke all on public.mfa_endorsed_factors from public, anon, authenticated, service_role;
revoke all on function public.stamp_assurance(jsonb) from public, anon, authenticated, service_role;
revoke all on function public.aal2() from public, anon, authenticated, service_role;
revoke all on function public.factor_age_seconds() from public, anon, authenticated, service_role;
revoke all on function public.has_factors(uuid, uuid) from public, anon, authenticated, service_role;
revoke all on function public.has_factor() from public, anon, authenticated, service_role;

grant execute on function public.stamp_assurance(jsonb) to supabase_auth_admin;
grant execute on function public.aal2() to authenticated;
grant execute on function public.factor_age_seconds() to authenticated;
grant execute on function public.has_factor() to authenticated;
