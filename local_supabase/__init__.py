"""The embedded Supabase: a real Postgres and the parts of Supabase Auth and PostgREST that supabase-py uses."""

from local_supabase.stack import Stack, start

__all__ = ["Stack", "start"]
