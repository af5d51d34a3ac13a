"""Refresh tokens of the classic kind: a row per token, each naming the one it replaced."""

import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg import Connection
from psycopg.rows import DictRow

from local_supabase.auth_api import audit
from local_supabase.auth_api.call import NO_INSTANCE, Call
from local_supabase.auth_api.errors import Refused
from local_supabase.auth_api.rows import lock_session

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_LENGTH = 12
_FORM = re.compile(r"[a-z0-9]{12}")


def is_one(text: str) -> bool:
    return _FORM.fullmatch(text) is not None


def first(call: Call, *, user_id: UUID, session_id: UUID) -> str:
    """Return the first token of a session."""
    return _new(call, user_id=user_id, session_id=session_id, parent=None)


def after_step_up(call: Call, user: DictRow, *, session_id: UUID) -> str:
    """Replace the session's current token, the one from before the second factor.

    Raises:
        Refused: 400 refresh_token_already_used if the family was revoked: there is nothing to upgrade.
    """
    live = _current(call.connection, session_id)
    if live is None:
        raise Refused(400, "refresh_token_already_used", "Invalid Refresh Token: Already Used")
    return _swapped(call, user, session_id=session_id, token=live["token"])


@dataclass(frozen=True)
class Sent:
    """A token that was sent, its session locked."""

    user_id: UUID
    session_id: UUID
    used_at: datetime  # when it was made or, once replaced, used
    row: DictRow

    def successor(self, call: Call, user: DictRow) -> str | None:
        """Return the token that answers this one's use, or None if it was used before and may not be again.

        A used token is still good while it is the direct parent of the session's current one, at any time (the
        answer was lost on its way), or within the reuse interval after its use (requests in parallel).
        """
        if not self.row["revoked"]:
            return _swapped(call, user, session_id=self.session_id, token=self.row["token"])
        live = _current(call.connection, self.session_id)
        # No live token: the family was revoked for reuse. Upstream lets its last member live on for the length of
        # the interval; that would let the thief who caused the revocation carry on, so not here (contract 10.2).
        if live is None:
            return None
        if live["parent"] == self.row["token"]:
            return str(live["token"])
        if self.row["age_seconds"] < call.platform.config.refresh_token_reuse_interval_seconds:
            return _new(call, user_id=self.user_id, session_id=self.session_id, parent=self.row["token"])
        return None

    def revoke_family(self, call: Call) -> None:
        """End refreshing for the session; its row, and so its access tokens until they expire, stay."""
        call.connection.execute(
            "update auth.refresh_tokens set revoked = true, updated_at = clock_timestamp()"
            " where session_id = %s and not revoked",
            (self.session_id,),
        )

    def destroy(self, call: Call) -> None:
        call.connection.execute("delete from auth.refresh_tokens where id = %s", (self.row["id"],))


def sent(call: Call, token: str) -> Sent:
    """Return what a token stands for, its session locked, so that of two requests with one token one rotates it.

    Raises:
        Refused: 400 refresh_token_not_found, 409 conflict if another request holds the session for 5 s.
    """
    row = _row(call.connection, token)
    if row is not None:
        lock_session(call, user_id=UUID(row["user_id"]), session_id=row["session_id"])
        row = _row(call.connection, token)  # it may have been used, or its session ended, while this one waited
    if row is None:
        raise Refused(400, "refresh_token_not_found", "Invalid Refresh Token: Refresh Token Not Found")
    return Sent(UUID(row["user_id"]), row["session_id"], row["updated_at"], row)


def _new(call: Call, *, user_id: UUID, session_id: UUID, parent: str | None) -> str:
    token = "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
    # clock_timestamp(), because the newest token of a session is asked for, and now() stands still.
    call.connection.execute(
        "insert into auth.refresh_tokens"
        " (instance_id, token, user_id, session_id, parent, revoked, created_at, updated_at)"
        " values (%s, %s, %s, %s, %s, false, clock_timestamp(), clock_timestamp())",
        (NO_INSTANCE, token, str(user_id), session_id, parent),
    )
    return token


def _swapped(call: Call, user: DictRow, *, session_id: UUID, token: str) -> str:
    """Revoke `token`, writing down when, and return its successor."""
    audit.write(call, user, "token_revoked")
    call.connection.execute(
        "update auth.refresh_tokens set revoked = true, updated_at = clock_timestamp() where token = %s", (token,)
    )
    return _new(call, user_id=user["id"], session_id=session_id, parent=token)


def _current(connection: Connection[DictRow], session_id: UUID) -> DictRow | None:
    """Return the session's newest token that is not revoked."""
    return connection.execute(
        "select * from auth.refresh_tokens where session_id = %s and not revoked order by id desc limit 1",
        (session_id,),
    ).fetchone()


def _row(connection: Connection[DictRow], token: str) -> DictRow | None:
    return connection.execute(
        "select *, extract(epoch from clock_timestamp() - updated_at)::float as age_seconds"
        " from auth.refresh_tokens where token = %s",
        (token,),
    ).fetchone()
