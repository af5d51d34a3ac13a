"""What Supabase Auth answers while its Postgres is away, and that it is well again afterwards (our own stack)."""

import secrets
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from local_supabase import auth_api
from local_supabase import database as local_database
from local_supabase.platform import Config, Keys, Platform

HEADERS = {"apikey": "sb_publishable_p", "X-Supabase-Api-Version": "2024-01-01"}
NAME = f"auth-{secrets.token_hex(4)}"


@pytest.fixture
def socket(our_server) -> Iterator[tuple[Path, Path]]:
    """A link to the server's socket, and the socket: without the link nobody gets through."""
    where = conninfo_to_dict(our_server.database_url)
    name = f".s.PGSQL.{where.get('port', 5432)}"
    with tempfile.TemporaryDirectory(prefix="auth-") as folder:
        link, target = Path(folder, name), Path(str(where["host"]), name)
        link.symlink_to(target)
        yield link, target


@pytest.fixture
def api(our_server, socket) -> Iterator[FlaskClient]:
    """An Auth API of its own, in this process, which reaches its Postgres through the link."""
    url = make_conninfo(our_server.database_url, host=str(socket[0].parent), application_name=NAME)
    with local_database.pool("supabase_auth_admin", url) as pool:
        pool.wait()  # a connection still being made would survive the cut
        keys = Keys("sb_publishable_p", "sb_secret_s", {})
        app = Flask(__name__)
        platform = Platform("http://127.0.0.1:1", Config("http://x"), keys, pool, pool, time.time)
        app.register_blueprint(auth_api.blueprint(platform), url_prefix="/auth/v1")
        yield app.test_client()


def _log_in(api):
    body = {"email": "nobody@example.com", "password": "wrong"}
    answer = api.post("/auth/v1/token?grant_type=password", json=body, headers=HEADERS)
    return answer.status_code, answer.json["code"], answer.text


def test_no_postgres_is_503_without_details_and_heals(api, socket, database):
    assert _log_in(api)[:2] == (400, "invalid_credentials")
    socket[0].unlink()
    _hang_up(database)
    status, code, text = _log_in(api)
    assert (status, code) == (503, "unknown")
    assert "PGSQL" not in text
    assert api.get("/auth/v1/health").status_code == 200
    socket[0].symlink_to(socket[1])
    begin = time.monotonic()
    assert _log_in(api)[:2] == (400, "invalid_credentials"), "the pool's own pauses must not outlast the outage"
    assert time.monotonic() - begin < 2


def test_a_restart_between_two_requests_is_not_noticed(api, database):
    assert _log_in(api)[0] == 400
    _hang_up(database)
    assert _log_in(api)[0] == 400


def _hang_up(database):
    database.execute("select pg_terminate_backend(pid) from pg_stat_activity where application_name = %s", [NAME])
