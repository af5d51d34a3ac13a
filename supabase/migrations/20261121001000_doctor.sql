-- Facts for `flask doctor`, which compares them with these migrations. Reads only, and changes nothing.

-- p_names are tables and functions of public; of anything else nothing is told. Returns
--   {"now": 1790000000.5, "address": "192.0.2.1" or null,            the address of p_session, as Supabase Auth saw it
--    "tables": {"notes": true, …},                                   whether row level security is on
--    "functions": [{"name", "definer", "search_path_empty", "body"}, …],           the body as MD5
--    "owners": {"notes": "postgres", …},
--    "policies": [["notes", "policy", is_restrictive], …],
--    "grants": [["notes", "authenticated", "insert", "body"], …],    the last is a column, or ""; of the API's roles
--    "triggers": {"guard_factors": "auth.mfa_factors", …},           those on Supabase Auth's tables that are enabled
--    "unendorsed": 0,                                                verified factors that do not count
--    "peppers": {"1": 12},                                           that sheets of recovery codes need, and how many
--    "leftovers": ["0a9b…", …]}                                      accounts of interrupted runs of doctor
create function public.doctor_facts(p_names text[], p_session uuid) returns jsonb
language sql stable security definer set search_path = '' as $$
  with relations as (
    select oid, relname as name, relkind as kind, relowner as owner, relacl as acl, relrowsecurity as secured
      from pg_class c
     where relnamespace = 'public'::regnamespace
       and (relkind in ('r', 'p') and relname = any(p_names)
            or relkind = 'S' and exists (  -- the sequences of their columns
              select from pg_depend d join pg_class t on t.oid = d.refobjid
               where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.refclassid = 'pg_class'::regclass
                 and t.relnamespace = c.relnamespace and t.relname = any(p_names)))
  ), functions as (
    select oid, proname as name, proowner as owner, proacl as acl, prosecdef as definer, md5(prosrc) as body,
           coalesce('search_path=""' = any(proconfig), false) as search_path_empty
      from pg_proc where pronamespace = 'public'::regnamespace and proname = any(p_names)
  ), grants as (
    select name, owner, '' as part,
           coalesce(acl, acldefault(case kind when 'S' then 's' else 'r' end::"char", owner)) as acl
      from relations
    union all
    select name, owner, attname, attacl from relations join pg_attribute on attrelid = oid where attacl is not null
    union all
    select name, owner, '', coalesce(acl, acldefault('f', owner)) from functions
  )
  select jsonb_build_object(
    'now', extract(epoch from clock_timestamp()),
    'address', (select host(ip) from auth.sessions where id = p_session),
    'tables', (select coalesce(jsonb_object_agg(name, secured), '{}') from relations where kind <> 'S'),
    'functions', (select coalesce(jsonb_agg(jsonb_build_object(
        'name', name, 'definer', definer, 'search_path_empty', search_path_empty, 'body', body)), '[]') from functions),
    'owners', (select coalesce(jsonb_object_agg(name, owner::regrole), '{}')
      from (select name, owner from relations union select name, owner from functions) owned),
    'policies', (select coalesce(jsonb_agg(jsonb_build_array(tablename, policyname, permissive = 'RESTRICTIVE')), '[]')
      from pg_policies where schemaname = 'public' and tablename = any(p_names)),
    'grants', (select coalesce(jsonb_agg(jsonb_build_array(name, role, lower(privilege_type), part)), '[]')
      from grants
      cross join aclexplode(acl)
      cross join lateral (select case grantee when 0 then 'public' else grantee::regrole::text end as role) named
     where grantee <> owner and role in ('public', 'anon', 'authenticated', 'service_role', 'supabase_auth_admin')),
    'triggers', (select coalesce(jsonb_object_agg(tgname, nspname || '.' || relname), '{}')
      from pg_trigger join pg_class c on c.oid = tgrelid join pg_namespace n on n.oid = relnamespace
     where nspname = 'auth' and not tgisinternal and tgenabled in ('O', 'A')),
    'unendorsed', (select count(*) from auth.mfa_factors f where status = 'verified'
      and not exists (select from public.mfa_endorsed_factors where factor_id = f.id)),
    'peppers', (select coalesce(jsonb_object_agg(pepper_id, sheets), '{}')
      from (select pepper_id, count(*) as sheets from public.mfa_recovery_sets where replaced_at is null
             group by pepper_id) needed),
    'leftovers', (select coalesce(jsonb_agg(id), '[]') from auth.users
      where raw_app_meta_data ->> 'made_by' = 'flask doctor' and created_at < now() - interval '10 minutes'))
$$;

revoke all on function public.doctor_facts(text[], uuid) from public, anon, authenticated, service_role;

grant execute on function public.doctor_facts(text[], uuid) to service_role;
