"""One embedded Supabase for the whole run, shown to every test by environment variables; and who lives in it."""

import contextlib
import os
from pathlib import Path
from uuid import uuid4

import httpx
import psycopg
import pytest
from flask import Flask
from psycopg.rows import dict_row

import local_supabase
from app import create_app
from local_supabase.postgres import CannotStart
from tests.people import Browser, Person
from tests.settings import SETTINGS, with_cheap_codes

LOGS = "LOCAL_SUPABASE_LOGS"  # the folder of the run's stack; workers inherit it with the rest
log_sizes = pytest.StashKey[dict[Path, int]]()


def pytest_configure(config: pytest.Config) -> None:
    """Start the stack in the controller of pytest-xdist, or in the only process; workers inherit its settings.

    With SUPABASE_URL and the keys in the environment the tests talk to that Supabase instead.
    """
    if hasattr(config, "workerinput") or os.environ.get("SUPABASE_URL") or config.option.collectonly:
        return
    undo = contextlib.ExitStack()
    try:
        stack = undo.enter_context(
            local_supabase.start(
                demo=True,
                database_url=os.environ.get("DATABASE_URL"),
                settings=SETTINGS,
            )
        )
    except CannotStart as refusal:
        raise pytest.UsageError(str(refusal)) from None
    os.environ.update(stack.environment() | {LOGS: str(stack.state)})
    config.add_cleanup(undo.close)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    item.stash[log_sizes] = {log: log.stat().st_size for log in _logs()}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Show with a failure what the stack logged since the test began (other workers' lines may be among them)."""
    report = yield
    if report.failed:
        for log, size in item.stash.get(log_sizes, {}).items():
            report.sections.append((log.name, log.read_bytes()[size:].decode(errors="replace")))
    return report


def _logs() -> list[Path]:
    return sorted(Path(os.environ[LOGS]).glob("*.log")) if LOGS in os.environ else []


# People and the app


@pytest.fixture(scope="session")
def app():
    app = with_cheap_codes(create_app())
    yield app
    app.extensions["stepup"].gateway.close()


@pytest.fixture(scope="session")
def database():
    """The superuser's connection, to age rows with: tests travel in time by moving data, not clocks."""
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True, row_factory=dict_row) as connection:
        yield connection


@pytest.fixture(scope="session")
def new_person(app, database):
    """Make people with a confirmed address and no second factor; each test has its own."""
    admin = httpx.Client(headers={"apikey": os.environ["SUPABASE_SECRET_KEY"]})

    def make(name: str = "alice", app: Flask = app) -> Person:
        email, password = f"{name}-{uuid4().hex[:12]}@example.com", f"correct horse {uuid4().hex[:8]}"
        answer = admin.post(
            f"{os.environ['SUPABASE_URL']}/auth/v1/admin/users",
            json={"email": email, "password": password, "email_confirm": True},
        )
        return Person(answer.raise_for_status().json()["id"], email, password, app, database)

    with admin:
        yield make


@pytest.fixture
def alice(new_person) -> Person:
    return new_person()


@pytest.fixture
def alice_with_totp(alice) -> Person:
    """Alice has one authenticator app, set up in a browser she no longer has."""
    alice.set_up_app(alice.signs_in())
    return alice


@pytest.fixture
def alice_at_aal2(alice):
    """Alice's browser, signed in with password and code."""
    browser = alice.signs_in()
    alice.set_up_app(browser)
    return browser


@pytest.fixture
def new_admin(new_person):
    """Make people who look after others, each with a browser; and an app, which was just proven in it."""

    def make(*, factor: bool = True) -> tuple[Person, Browser]:
        admin = new_person("admin")
        admin.gets_roles("admin")
        browser = admin.signs_in()
        if factor:
            admin.set_up_app(browser)
        return admin, browser

    return make


@pytest.fixture
def round_trips(app):
    """The requests that the app makes to Supabase, as "METHOD path"; clear() it before what is to be counted."""
    keys = app.extensions["stepup"].issuer.keys
    keys._fetched_at = float("-inf")
    keys.key("")  # once in ten minutes they are fetched again; not within what is counted
    made: list[str] = []
    hooks = app.extensions["stepup"].gateway._http.event_hooks

    def record(request):
        made.append(f"{request.method} {request.url.path}")

    app.extensions["stepup"].gateway._http.event_hooks = {"request": [*hooks["request"], record]}
    yield made
    app.extensions["stepup"].gateway._http.event_hooks = hooks
