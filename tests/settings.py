"""What the stacks that tests start are set to."""

from dataclasses import replace

from local_supabase import config

SETTINGS = replace(
    config.read(),
    # Every test asks from 127.0.0.1: what Supabase Auth limits by address has tests of its own.
    rate_limits=None,
    # Warning: the lowest there is, 64 times faster to guess from. For people who live as long as one test; most of
    # them sign in, and at Supabase Auth's own cost the hashes took a third of the run. test_auth_steady.py keeps that.
    password_cost=4,
)
