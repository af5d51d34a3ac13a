-- The mails that would have been sent. Run once, as supabase_auth_admin, after schema.sql.

create schema mailbox;

create table mailbox.mails (
  id         bigint generated always as identity primary key,
  "to"       text not null,
  subject    text not null,
  html       text not null,
  kind       text not null,  -- confirmation, recovery, …
  created_at timestamptz not null default now()
);
create index mails_to_id_idx on mailbox.mails ("to", id desc);
