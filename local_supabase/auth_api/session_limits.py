"""How long a session may live. Checked when it is refreshed, and not on the way there, as upstream."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from psycopg.rows import DictRow

from local_supabase.auth_api.call import Call
from local_supabase.auth_api.rows import has_verified_factor


def is_over(call: Call, session: DictRow, *, now: datetime, used_at: datetime | None = None) -> bool:
    """Tell whether the session is past its end; `used_at` is when its refresh token was made or used."""
    config = call.platform.config
    ends = [
        session["not_after"],
        _after(session["created_at"], config.session_timebox_seconds),
        _after(_last_refreshed(session, used_at), config.session_inactivity_seconds),
        _low_aal_end(call, session) if session["aal"] not in ("aal2", "aal3") else None,
    ]
    return any(end is not None and now > end for end in ends)


def is_superseded(call: Call, session: DictRow, *, now: datetime, used_at: datetime | None) -> bool:
    """Tell whether another living session of the user was used later, where only one is wanted."""
    if not call.platform.config.single_session:
        return False
    others = call.connection.execute(
        "select * from auth.sessions where user_id = %s and id <> %s", (session["user_id"], session["id"])
    ).fetchall()
    mine = _last_refreshed(session, used_at)
    return any(_last_refreshed(other, None) > mine and not is_over(call, other, now=now) for other in others)


def capped(call: Call, user_id: UUID, session_id: UUID, *, expires_at: int) -> int:
    """Return when an aal1 token made now expires, in Unix seconds: not after its session's time at aal1."""
    if call.platform.config.session_low_aal_seconds is None:
        return expires_at
    session = call.connection.execute("select * from auth.sessions where id = %s", (session_id,)).fetchone()
    assert session is not None
    end = _low_aal_end(call, session)
    return expires_at if end is None else min(expires_at, int(end.timestamp()))


def _low_aal_end(call: Call, session: DictRow) -> datetime | None:
    seconds = call.platform.config.session_low_aal_seconds
    if seconds is None or not has_verified_factor(call.connection, session["user_id"]):
        return None
    return _after(session["created_at"], seconds)


def _last_refreshed(session: DictRow, used_at: datetime | None) -> datetime:
    if session["refreshed_at"] is not None:
        refreshed_at: datetime = session["refreshed_at"].replace(tzinfo=UTC)  # the column has no zone
        return refreshed_at
    created_at: datetime = session["created_at"]
    return max(created_at, used_at) if used_at else created_at


def _after(begin: datetime, seconds: int | None) -> datetime | None:
    return begin + timedelta(seconds=seconds) if seconds else None
