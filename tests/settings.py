"""What the stacks and the apps that tests start are set to."""

from dataclasses import replace

from flask import Flask

from auth.recovery_codes import Parameters
from local_supabase import config

# Warning: both hashes below are at their weakest and guessed from in no time. They are for people who live as long as
# one test; at their real cost, hashing would take a third of the run. Tests of that cost ask for it.
SETTINGS = replace(
    config.read(),
    # Every test asks from 127.0.0.1: what Supabase Auth limits by address has tests of its own.
    rate_limits=None,
    password_cost=4,
)
CHEAP = Parameters(memory_kib=8, passes=1)


def with_cheap_codes(app: Flask) -> Flask:
    services = app.extensions["stepup"]
    app.extensions["stepup"] = replace(services, codes=replace(services.codes, parameters=CHEAP))
    return app
