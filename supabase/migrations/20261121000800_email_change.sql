-- Takes back a change of address that was asked for and not confirmed by both mailboxes. Supabase Auth has no call
-- for it. email_change_sent_at stays: it is what keeps somebody from sending mail after mail to a stranger.
create function public.cancel_email_change(p_user uuid) returns void
language plpgsql security definer set search_path = '' as $$
begin
  update auth.users
     set email_change = '', email_change_token_new = '', email_change_token_current = '',
         email_change_confirm_status = 0
   where id = p_user;
  delete from auth.one_time_tokens
   where user_id = p_user and token_type in ('email_change_token_new', 'email_change_token_current');
end $$;

revoke all on function public.cancel_email_change(uuid) from public, anon, authenticated, service_role;

grant execute on function public.cancel_email_change(uuid) to service_role;
