-- Notes: the data that the second factor protects.

create table public.notes (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null default auth.uid() references auth.users on delete cascade,
  body text not null check (length(btrim(body)) between 1 and 2000),
  created_at timestamptz not null default now()
);
create index notes_user on public.notes (user_id, created_at);
alter table public.notes enable row level security;

-- A restrictive policy alone shows nothing: it only narrows what a permissive one allows.
create policy "people have their own notes" on public.notes
  for all to authenticated
  using (user_id = (select auth.uid()))
  with check (user_id = (select auth.uid()));

-- Once somebody has a second factor, the password alone reads and writes nothing: not through this app and not
-- by talking to Supabase directly with the publishable key.
create policy "a second factor, once there is one" on public.notes as restrictive
  for all to authenticated
  using ((select public.aal2()) or not (select public.has_factor()))
  with check ((select public.aal2()) or not (select public.has_factor()));

revoke all on public.notes from public, anon, authenticated, service_role;
grant select, delete, insert (body) on public.notes to authenticated;
