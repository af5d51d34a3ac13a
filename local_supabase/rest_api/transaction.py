"""One request, one transaction: as whom it runs and what its SQL can see of the request."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psycopg
from psycopg import Connection, RawCursor, sql
from psycopg.rows import DictRow
from psycopg_pool import PoolTimeout

from local_supabase.api_keys import Caller
from local_supabase.platform import Pool
from local_supabase.rest_api.asked import Asked
from local_supabase.rest_api.catalogue import Cursor, role_settings
from local_supabase.rest_api.errors import RestError, from_postgres, no_connection, pool_exhausted
from local_supabase.rest_api.statements import Statement

# Together less than the app's own timeout of 5 s, so that an outage is an answer and not a silence.
ACQUIRE_TIMEOUTS_SECONDS = (1.0, 2.0)
PROBE_TIMEOUT_SECONDS = 2


@contextmanager
def transaction(pool: Pool, *, role: str) -> Iterator[Cursor]:
    """Give a cursor in a transaction that commits at the end and is rolled back by any exception.

    `role` is whose errors they are: a missing right is 401 for `anon`, 403 for the others.

    Raises:
        RestError: whatever Postgres refuses, in PostgREST's words.
    """
    try:
        with ExitStack() as lent:
            yield RawCursor(_borrow(pool, lent))
    except psycopg.Error as error:
        raise from_postgres(error, role=role) from error


def impersonate(
    cursor: Cursor,
    caller: Caller,
    asked: Asked,
    *,
    read_only: bool,
    settings: tuple[tuple[str, str], ...] = (),
) -> None:
    """Become the caller for the rest of the transaction, in PostgREST's order (contract C4).

    `caller.role` must be known to be one of the three; `settings` are the called function's own.
    """
    local = [
        # Cannot be taken back by the request's own SQL: the transaction has read from the catalogue by now.
        *([("transaction_read_only", "on")] if read_only else []),
        ("search_path", '"public", "extensions"'),
        *role_settings(cursor, caller.role),
        ("role", caller.role),
        ("request.jwt.claims", json.dumps(caller.claims)),
        ("request.method", asked.method),
        ("request.path", asked.path),
        ("request.headers", json.dumps(asked.headers)),
        ("request.cookies", json.dumps(asked.cookies)),
        *settings,
    ]
    calls = ", ".join(f"set_config(${2 * i + 1}, ${2 * i + 2}, true)" for i in range(len(local)))
    cursor.execute(sql.SQL("select ") + sql.SQL(calls), [text for pair in local for text in pair])


def run(cursor: Cursor, statement: Statement) -> DictRow:
    """Execute a statement that gives one row."""
    row = cursor.execute(statement.text, statement.values).fetchone()
    assert row is not None  # every statement is an aggregate
    return row


def _borrow(pool: Pool, lent: ExitStack) -> Connection[DictRow]:
    for timeout in ACQUIRE_TIMEOUTS_SECONDS:
        try:
            return lent.enter_context(pool.connection(timeout=timeout))
        except PoolTimeout:
            # After a restart of Postgres the idle connections are dead, and the pool tries one after the other
            # with ever longer pauses. This throws them all away at once.
            pool.check()
    raise _why_no_connection(pool)


def _why_no_connection(pool: Pool) -> RestError:
    """All connections busy, or no Postgres: the pool says the same for both, so try the door."""
    conninfo = pool.conninfo if isinstance(pool.conninfo, str) else pool.conninfo()
    try:
        psycopg.connect(conninfo, connect_timeout=PROBE_TIMEOUT_SECONDS).close()
    except psycopg.Error as error:
        return no_connection(error)
    return pool_exhausted()
