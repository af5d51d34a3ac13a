"""Finding a person's row, and the few facts read straight from it.

The lock on a row of `users` comes before every other lock, so that a login, a logout and a second factor of one
person at the same time wait for each other instead of deadlocking over the sessions they delete.
"""

from uuid import UUID

import psycopg
from psycopg import Connection
from psycopg.rows import DictRow

from local_supabase.auth_api.call import NO_INSTANCE, Call
from local_supabase.auth_api.errors import Refused

_LOCK_TIMEOUT = "5s"


def user_by_id(connection: Connection[DictRow], user_id: UUID, *, lock: bool = False) -> DictRow | None:
    """Return the row of `users` plus `now`, the database's clock; `lock` holds it until the transaction ends."""
    return connection.execute(
        "select *, clock_timestamp() as now from auth.users where id = %s and instance_id = %s"
        + (" for no key update" if lock else ""),
        (user_id, NO_INSTANCE),
    ).fetchone()


def user_by_email(connection: Connection[DictRow], email: str, *, lock: bool = False) -> DictRow | None:
    """Return the row of `users` with this address, in any case, plus `now`; `lock` as above."""
    return connection.execute(
        "select *, clock_timestamp() as now from auth.users where email = %s and instance_id = %s and not is_sso_user"
        + (" for no key update" if lock else ""),
        (email.lower(), NO_INSTANCE),
    ).fetchone()


def existing_user(connection: Connection[DictRow], user_id: UUID) -> DictRow:
    """Return the row as this very transaction has written it."""
    user = user_by_id(connection, user_id)
    assert user is not None
    return user


def lock_session(call: Call, *, user_id: UUID, session_id: UUID) -> None:
    """Hold the session's row until the end, and where there may be only one session the user's before it.

    Raises:
        Refused: 409 conflict if another request holds it for 5 s.
    """
    try:
        call.connection.execute(f"set local lock_timeout = '{_LOCK_TIMEOUT}'")
        if call.platform.config.single_session:
            user_by_id(call.connection, user_id, lock=True)
        call.connection.execute("select from auth.sessions where id = %s for no key update", (session_id,))
        call.connection.execute("set local lock_timeout to default")
    except psycopg.errors.LockNotAvailable as error:
        raise Refused(409, "conflict", "Too many concurrent token refresh requests on the same session") from error


def is_banned(user: DictRow) -> bool:
    return user["banned_until"] is not None and bool(user["banned_until"] > user["now"])


def has_verified_factor(connection: Connection[DictRow], user_id: UUID) -> bool:
    return (
        connection.execute(
            "select from auth.mfa_factors where user_id = %s and status = 'verified' limit 1", (user_id,)
        ).fetchone()
        is not None
    )
