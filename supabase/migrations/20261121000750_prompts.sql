-- MFA_POLICY=encouraged: who has said "not now" is left in peace for a while, on every device.

create table public.mfa_prompts (
  user_id uuid primary key references auth.users on delete cascade,
  not_now_at timestamptz not null
);
alter table public.mfa_prompts enable row level security;

create function public.mfa_not_now(p_user uuid) returns void
language sql security definer set search_path = '' as $$
  insert into public.mfa_prompts (user_id, not_now_at) values (p_user, now())
  on conflict (user_id) do update set not_now_at = excluded.not_now_at
$$;

revoke all on public.mfa_prompts from public, anon, authenticated, service_role;
revoke all on function public.mfa_not_now(uuid) from public, anon, authenticated, service_role;
grant execute on function public.mfa_not_now(uuid) to service_role;
