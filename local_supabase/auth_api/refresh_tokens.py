"""Refresh tokens of the classic kind: a row per token, each naming the one it replaced."""

import re
import secrets
from uuid import UUID

import psycopg
from psycopg import Connection
from psycopg.rows import DictRow

from local_supabase.auth_api.call import NO_INSTANCE
from local_supabase.auth_api.errors import Refused, bad_request
from local_supabase.platform import Config

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_LENGTH = 12
_FORM = re.compile(r"[a-z0-9]{12}")
_LOCK_TIMEOUT = "5s"


def new(connection: Connection[DictRow], *, user_id: UUID, session_id: UUID, parent: str | None = None) -> str:
    """Store and return a fresh token of the session."""
    token = "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
    # clock_timestamp(), because the newest token of a session is asked for, and now() stands still.
    connection.execute(
        "insert into auth.refresh_tokens"
        " (instance_id, token, user_id, session_id, parent, revoked, created_at, updated_at)"
        " values (%s, %s, %s, %s, %s, false, clock_timestamp(), clock_timestamp())",
        (NO_INSTANCE, token, str(user_id), session_id, parent),
    )
    return token


def swapped(connection: Connection[DictRow], *, user_id: UUID, session_id: UUID, token: str) -> str:
    """Revoke `token`, writing down when, and return its successor."""
    connection.execute(
        "update auth.refresh_tokens set revoked = true, updated_at = clock_timestamp() where token = %s", (token,)
    )
    return new(connection, user_id=user_id, session_id=session_id, parent=token)


def current(connection: Connection[DictRow], session_id: UUID) -> DictRow | None:
    """Return the session's newest token that is not revoked."""
    return connection.execute(
        "select * from auth.refresh_tokens where session_id = %s and not revoked order by id desc limit 1",
        (session_id,),
    ).fetchone()


def locked(connection: Connection[DictRow], token: str) -> DictRow:
    """Return the row of `token`, its session locked, so that of two requests with one token one rotates it.

    Raises:
        Refused: 400 validation_failed for what cannot be a token, 400 refresh_token_not_found,
            409 conflict if another request holds the session for 5 s.
    """
    if not _FORM.fullmatch(token):
        raise bad_request("Refresh token is not valid")
    row = _row(connection, token)
    if row is not None:
        try:
            connection.execute(f"set local lock_timeout = '{_LOCK_TIMEOUT}'")
            connection.execute("select from auth.sessions where id = %s for no key update", (row["session_id"],))
            connection.execute("set local lock_timeout to default")
        except psycopg.errors.LockNotAvailable as error:
            raise Refused(409, "conflict", "Too many concurrent token refresh requests on the same session") from error
        row = _row(connection, token)  # it may have been used, or its session ended, while this one waited
    if row is None:
        raise Refused(400, "refresh_token_not_found", "Invalid Refresh Token: Refresh Token Not Found")
    return row


def successor(connection: Connection[DictRow], config: Config, row: DictRow) -> str | None:
    """Return the token that answers the use of `row`, or None if it was used before and may not be again.

    A used token is still good while it is the direct parent of the session's current one, at any time (the
    answer was lost on its way), or within the reuse interval after its use (requests in parallel).
    """
    owner = {"user_id": UUID(row["user_id"]), "session_id": row["session_id"]}
    if not row["revoked"]:
        return swapped(connection, token=row["token"], **owner)
    live = current(connection, row["session_id"])
    # No live token: the family was revoked for reuse. Upstream lets its last member live on for the length of
    # the interval; that would let the thief who caused the revocation carry on, so not here (contract 10.2).
    if live is None:
        return None
    if live["parent"] == row["token"]:
        return str(live["token"])
    if row["age_seconds"] < config.refresh_token_reuse_interval_seconds:
        return new(connection, parent=row["token"], **owner)
    return None


def revoke_family(connection: Connection[DictRow], session_id: UUID) -> None:
    """End refreshing for the session; its row, and so its access tokens until they expire, stay."""
    connection.execute(
        "update auth.refresh_tokens set revoked = true, updated_at = clock_timestamp()"
        " where session_id = %s and not revoked",
        (session_id,),
    )


def _row(connection: Connection[DictRow], token: str) -> DictRow | None:
    return connection.execute(
        "select *, extract(epoch from clock_timestamp() - updated_at)::float as age_seconds"
        " from auth.refresh_tokens where token = %s",
        (token,),
    ).fetchone()
