"""Finding a person's row, and the few facts read straight from it.

The lock on a row of `users` comes before every other lock, so that a login, a logout and a second factor of one
person at the same time wait for each other instead of deadlocking over the sessions they delete.
"""

from uuid import UUID

from psycopg import Connection
from psycopg.rows import DictRow

from local_supabase.auth_api.call import NO_INSTANCE


def user_by_id(connection: Connection[DictRow], user_id: UUID, *, lock: bool = False) -> DictRow | None:
    """Return the row of `users` plus `now`, the database's clock; `lock` holds it until the transaction ends."""
    return connection.execute(
        "select *, clock_timestamp() as now from auth.users where id = %s and instance_id = %s"
        + (" for no key update" if lock else ""),
        (user_id, NO_INSTANCE),
    ).fetchone()


def user_by_email(connection: Connection[DictRow], email: str) -> DictRow | None:
    """Return the row of `users` with this address, in any case, plus `now`."""
    return connection.execute(
        "select *, clock_timestamp() as now from auth.users where email = %s and instance_id = %s and not is_sso_user",
        (email.lower(), NO_INSTANCE),
    ).fetchone()


def is_banned(user: DictRow) -> bool:
    return user["banned_until"] is not None and bool(user["banned_until"] > user["now"])


def has_verified_factor(connection: Connection[DictRow], user_id: UUID) -> bool:
    return (
        connection.execute(
            "select from auth.mfa_factors where user_id = %s and status = 'verified' limit 1", (user_id,)
        ).fetchone()
        is not None
    )
