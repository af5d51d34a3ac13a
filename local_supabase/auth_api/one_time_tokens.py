"""One-time tokens: six digits and the hash that stands for them in links; one outstanding per person and kind."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from uuid import uuid4

from psycopg import Connection, sql
from psycopg.rows import DictRow

from local_supabase.auth_api.call import Call
from local_supabase.auth_api.errors import Refused
from local_supabase.auth_api.rows import user_by_id


@dataclass(frozen=True)
class Kind:
    """Which columns of `users` keep it; `sent_column` is what expiry and frequency are computed from."""

    token_type: str  # the enum one_time_token_type, and the column of the same name
    sent_column: str


CONFIRMATION = Kind("confirmation_token", "confirmation_sent_at")
RECOVERY = Kind("recovery_token", "recovery_sent_at")  # magic links too


@dataclass(frozen=True)
class Made:
    digits: str
    token_hash: str


def make(call: Call, user: DictRow, kind: Kind) -> Made:
    """Store a new token of `kind`, which takes the place of an earlier one.

    Raises:
        Refused: 429 over_email_send_rate_limit if the last one was sent too recently.
    """
    _check_frequency(call, user, kind)
    digits = "".join(secrets.choice("0123456789") for _ in range(call.platform.config.otp_length))
    made = Made(digits, _hash(user["email"], digits))
    columns = {"token": sql.Identifier(kind.token_type), "sent": sql.Identifier(kind.sent_column)}
    call.connection.execute(
        sql.SQL("update auth.users set {token} = %s, {sent} = now(), updated_at = now() where id = %s").format(
            **columns
        ),
        (made.token_hash, user["id"]),
    )
    call.connection.execute(
        "insert into auth.one_time_tokens (id, user_id, token_type, token_hash, relates_to)"
        " values (%s, %s, %s, %s, %s) on conflict (user_id, token_type) do update"
        " set token_hash = excluded.token_hash, relates_to = excluded.relates_to, updated_at = now()",
        (uuid4(), user["id"], kind.token_type, made.token_hash, user["email"].lower()),
    )
    return made


def consume_hash(call: Call, token_hash: str, kinds: tuple[Kind, ...]) -> tuple[DictRow, Kind]:
    """Use up the token behind a link and return its owner, locked, and its kind.

    Raises:
        Refused: 403 otp_expired for an unknown, used or expired one alike.
    """
    found = call.connection.execute(
        "select user_id from auth.one_time_tokens where token_hash = %s and token_type::text = any(%s)",
        (token_hash, [kind.token_type for kind in kinds]),
    ).fetchone()
    user = user_by_id(call.connection, found["user_id"], lock=True) if found else None
    return _consume(call, user, (token_hash,), kinds)


def consume_digits(call: Call, email: str, digits: str, kinds: tuple[Kind, ...]) -> tuple[DictRow, Kind]:
    """Use up the token whose digits were typed; they count for `email` alone, whoever else holds the same six.

    Raises:
        Refused: 403 otp_expired for an unknown address and a wrong, used or expired token alike.
    """
    token_hash = _hash(email, digits)
    found = call.connection.execute(
        "select id from auth.users where email = %s and not is_sso_user", (email.lower(),)
    ).fetchone()
    user = user_by_id(call.connection, found["id"], lock=True) if found else None
    return _consume(call, user, (token_hash, f"pkce_{token_hash}"), kinds)


def forget(connection: Connection[DictRow], user: DictRow) -> None:
    """Kill every outstanding link and digit of the user, of every kind."""
    connection.execute("delete from auth.one_time_tokens where user_id = %s", (user["id"],))
    connection.execute(
        "update auth.users set confirmation_token = '', recovery_token = '', email_change_token_new = '',"
        " email_change_token_current = '', phone_change_token = '', reauthentication_token = '' where id = %s",
        (user["id"],),
    )


def _consume(
    call: Call, user: DictRow | None, hashes: tuple[str, ...], kinds: tuple[Kind, ...]
) -> tuple[DictRow, Kind]:
    if user is None:
        raise _expired()
    # Read after the lock on the user's row: of many at once, the first finds the token and deletes it before
    # the others look.
    rows = call.connection.execute(
        "select token_type::text, token_hash from auth.one_time_tokens where user_id = %s", (user["id"],)
    ).fetchall()
    stored = {row["token_type"]: row["token_hash"] for row in rows}
    for kind in kinds:
        if _is_one_of(stored.get(kind.token_type, ""), hashes) and not _is_expired(call, user, kind):
            forget(call.connection, user)
            return user, kind
    raise _expired()


def _hash(email: str, digits: str) -> str:
    return hashlib.sha224((email.lower() + digits).encode()).hexdigest()


def _is_one_of(stored: str, hashes: tuple[str, ...]) -> bool:
    return any([hmac.compare_digest(stored.encode(), given.encode()) for given in hashes])


def _is_expired(call: Call, user: DictRow, kind: Kind) -> bool:
    sent_at = user[kind.sent_column]
    return sent_at is None or (user["now"] - sent_at).total_seconds() > call.platform.config.otp_expiry_seconds


def _expired() -> Refused:
    return Refused(403, "otp_expired", "Email link is invalid or has expired")


def _check_frequency(call: Call, user: DictRow, kind: Kind) -> None:
    sent_at = user[kind.sent_column]
    if sent_at is None:
        return
    wait = call.platform.config.mail_interval_seconds - (user["now"] - sent_at).total_seconds()
    if wait > 0:
        raise Refused(
            429,
            "over_email_send_rate_limit",
            f"For security purposes, you can only request this after {int(wait) + 1} seconds.",
        )
