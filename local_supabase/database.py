"""Makes an empty Postgres a Supabase database (roles, schema auth, migrations) and opens the pools to it."""

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import DictRow, dict_row
from psycopg_pool import ConnectionPool

from local_supabase.platform import Pool
from local_supabase.postgres import CannotStart

HERE = Path(__file__).parent
MIGRATIONS = HERE.parent / "supabase" / "migrations"
LOGIN_ROLES = ("postgres", "authenticator", "supabase_auth_admin")
NEVER = 2**31  # executions until psycopg prepares a statement by itself
# DATABASE_URL may name a server that holds somebody's data: only one made for this purpose is touched.
NOT_OURS = (
    "The embedded Supabase needs a new Postgres server of its own with the superuser supabase_admin "
    "(initdb -U supabase_admin, or POSTGRES_USER=supabase_admin for the container image)."
)


def prepare(url: str, *, migrations: bool = True) -> None:
    """Bring the database at `url` (a superuser's) up to date. Each step happens wholly or not at all.

    Raises:
        CannotStart: the database was set up from other files than today's, or is not ours to set up, or not there.
    """
    with _connect(url) as connection:
        _lay_the_ground(connection, password=conninfo_to_dict(url).get("password"))
    if migrations:
        with _connect(_as("postgres", url)) as connection:
            _migrate(connection)


@contextlib.contextmanager
def pool(role: str, url: str) -> Iterator[Pool]:
    """Open a pool that logs in as `role`: dict rows, and each connection is checked before it is lent.

    The check is what lets the stack live on after Postgres was restarted under it.
    """

    def check(connection: psycopg.Connection[DictRow]) -> None:
        try:
            ConnectionPool.check_connection(connection)
        except psycopg.OperationalError:
            # After a restart all are dead: found one by one, each costs the caller a longer pause than the last.
            opened.drain()
            raise

    with ConnectionPool(
        _as(role, url),
        connection_class=psycopg.Connection[DictRow],
        # Plans are kept for `prepare=True` alone: other statements differ in text and in role, and tests change tables.
        kwargs={"row_factory": dict_row, "prepare_threshold": NEVER},
        min_size=2,
        max_size=20,
        check=check,
        # The pool doubles the pause between its attempts for so long; then the next request makes a fresh one.
        reconnect_timeout=1,
        name=role,
        open=True,
    ) as opened:
        yield opened


def _as(role: str, url: str) -> str:
    return make_conninfo(url, user=role)


def _connect(url: str) -> psycopg.Connection:
    try:
        return psycopg.connect(url)
    except psycopg.Error as error:
        raise CannotStart(f"The database of the embedded Supabase cannot be reached. {error}") from error


def _lay_the_ground(connection: psycopg.Connection, *, password: str | int | None) -> None:
    """Roles, schema auth and the mailbox, in one transaction, with a stamp of the files they came from."""
    files = [HERE / name for name in ("roles.sql", "schema.sql", "mailbox.sql")]
    stamp = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    if connection.info.user != "supabase_admin":
        raise CannotStart(NOT_OURS)
    found = connection.execute("select to_regclass('local_supabase.ground')").fetchone()
    if found and found[0]:
        made_from = connection.execute("select stamp from local_supabase.ground").fetchone()
        if made_from != (stamp,):
            raise CannotStart(
                "The embedded Supabase's own tables have changed since this database was made. "
                "`make reset` makes it anew (the local data are lost)."
            )
        return
    if connection.execute("select 1 from pg_roles where rolname = any(%s)", [list(LOGIN_ROLES)]).fetchone():
        raise CannotStart(NOT_OURS)
    for file in files:
        # schema auth and the mailbox belong to Supabase Auth's role, so that role makes them.
        owner = "supabase_admin" if file.name == "roles.sql" else "supabase_auth_admin"
        connection.execute(sql.SQL("set local session authorization {}").format(sql.Identifier(owner)))
        _run_file(connection, file)
    connection.execute("set local session authorization supabase_admin")
    connection.execute("create schema local_supabase")
    connection.execute("create table local_supabase.ground (stamp text)")
    connection.execute("insert into local_supabase.ground values (%s)", [stamp])
    for role in LOGIN_ROLES if password else ():
        # On a server that asks for passwords the roles share the superuser's, as self-hosted Supabase has it.
        change = sql.SQL("alter role {} password {}")
        connection.execute(change.format(sql.Identifier(role), sql.Literal(str(password))))


def _migrate(connection: psycopg.Connection) -> None:
    """Apply what is new in supabase/migrations, in the order of the names, one transaction each."""
    recorded = connection.execute("select version, statements[1] from supabase_migrations.schema_migrations")
    applied: dict[str, str] = dict(recorded.fetchall())
    connection.commit()
    for file in sorted(MIGRATIONS.glob("*.sql")):
        version, _, name = file.stem.partition("_")
        if version in applied:
            if applied[version] != file.read_text():
                raise CannotStart(
                    f"supabase/migrations/{file.name} has changed since it was applied here. "
                    "Add a new migration, or start afresh with `make reset` (the local data are lost)."
                )
            continue
        with connection.transaction():
            _run_file(connection, file)
            connection.execute(
                "insert into supabase_migrations.schema_migrations (version, name, statements) values (%s, %s, %s)",
                [version, name, [file.read_text()]],
            )


def _run_file(connection: psycopg.Connection, file: Path) -> None:
    try:
        connection.execute(file.read_text())
    except psycopg.Error as error:
        raise CannotStart(f"{file.name}: {error}") from error
