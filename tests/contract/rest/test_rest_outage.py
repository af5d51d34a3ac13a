"""What the data API answers while Postgres is away, and that it is well again afterwards."""

import secrets
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from local_supabase import database as local_database
from local_supabase import rest_api
from local_supabase.platform import Config, Keys, Platform
from tests.waiting import eventually

APIKEY = {"apikey": "sb_secret_s"}


@dataclass
class Line:
    """The way of one data API to its Postgres: a link to the socket, which can be cut."""

    link: Path
    socket: Path
    name: str
    database: psycopg.Connection

    def cut(self) -> None:
        self.link.unlink()
        self.hang_up()

    def mend(self) -> None:
        self.link.symlink_to(self.socket)

    def hang_up(self) -> None:
        """End the connections there are, as a restart of Postgres does."""
        self.database.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name = %s", [self.name]
        )


@pytest.fixture
def line(server, database) -> Iterator[Line]:
    where = conninfo_to_dict(server.database_url)
    if not str(where.get("host", "")).startswith("/"):
        # The line is cut by taking the socket's name away. Of a Postgres that DATABASE_URL names by host and port,
        # which may be somebody's, nothing can be taken away.
        pytest.skip("needs a Postgres on a unix socket")
    with tempfile.TemporaryDirectory(prefix="rest-") as folder:
        name = f".s.PGSQL.{where.get('port', 5432)}"
        line = Line(Path(folder, name), Path(str(where["host"]), name), f"rest-{secrets.token_hex(4)}", database)
        line.mend()
        yield line


@pytest.fixture
def api(server, line) -> Iterator[FlaskClient]:
    """A data API of its own, in this process, at the end of the line."""
    url = make_conninfo(server.database_url, host=str(line.link.parent), application_name=line.name)
    with local_database.pool("authenticator", url) as pool:
        pool.wait()  # a connection still being made would survive the cut
        keys = Keys("sb_publishable_p", "sb_secret_s", {})
        platform = Platform("http://127.0.0.1:1", Config("http://x"), keys, pool, pool, time.time)
        app = Flask(__name__)
        app.register_blueprint(rest_api.blueprint(platform), url_prefix="/rest/v1")
        yield app.test_client()


def test_no_postgres_is_503_and_the_next_request_after_it_is_back_is_answered(api, line, playground):
    path = f"/rest/v1/{playground.things}"
    assert api.get(path, headers=APIKEY).status_code == 200
    line.cut()
    answer = api.get(path, headers=APIKEY)
    assert (answer.status_code, answer.json["code"]) == (503, "PGRST000")
    assert set(answer.json) == {"code", "message", "details", "hint"}
    assert answer.headers["Proxy-Status"] == "PostgREST; error=PGRST000"
    line.mend()
    assert api.get(path, headers=APIKEY).status_code == 200


def test_a_restart_between_two_requests_is_not_noticed(api, line, playground):
    path = f"/rest/v1/{playground.things}"
    assert api.get(path, headers=APIKEY).status_code == 200
    line.hang_up()
    assert api.get(path, headers=APIKEY).status_code == 200


def test_a_request_under_way_is_503_when_its_connection_ends(api, line, playground):
    with ThreadPoolExecutor(1) as thread:
        sleeping = thread.submit(api.post, f"/rest/v1/rpc/{playground.long_sleep}", headers=APIKEY)
        wait_until_asleep(line, playground)
        line.hang_up()
        answer = sleeping.result()
    assert (answer.status_code, answer.json["code"]) == (503, "57P01")


def wait_until_asleep(line: Line, playground) -> None:
    query = "select 1 from pg_stat_activity where application_name = %s and query like %s and state = 'active'"
    asleep = [line.name, f"%{playground.long_sleep}%"]
    assert eventually(lambda: line.database.execute(query, asleep).fetchone(), within=5)
