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
from local_supabase.auth_api.pkce import TOKEN_PREFIX
from local_supabase.auth_api.rows import user_by_id


@dataclass(frozen=True)
class Kind:
    """Which columns of `users` keep it; `sent_column` is what expiry and frequency are computed from."""

    token_type: str  # the enum one_time_token_type, and the column of the same name
    sent_column: str


CONFIRMATION = Kind("confirmation_token", "confirmation_sent_at")  # of a sign-up or an invitation
RECOVERY = Kind("recovery_token", "recovery_sent_at")  # magic links too
REAUTHENTICATION = Kind("reauthentication_token", "reauthentication_sent_at")
EMAIL_CHANGE_CURRENT = Kind("email_change_token_current", "email_change_sent_at")  # mailed to the old address
EMAIL_CHANGE_NEW = Kind("email_change_token_new", "email_change_sent_at")  # mailed to the new one


@dataclass(frozen=True)
class Made:
    digits: str
    token_hash: str


def check_interval(call: Call, user: DictRow, kind: Kind) -> None:
    """Raise unless the last mail of `kind` is old enough.

    Raises:
        Refused: 429 over_email_send_rate_limit.
    """
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


def make(call: Call, user: DictRow, kind: Kind, *, address: str | None = None, with_code: bool = False) -> Made:
    """Store a new token of `kind`, which takes the place of an earlier one.

    Its digits count for `address`, the user's own by default. `with_code` marks one whose link gives a PKCE code.
    """
    address = (address or user["email"]).lower()
    digits = "".join(secrets.choice("0123456789") for _ in range(call.platform.config.otp_length))
    made = Made(digits, (TOKEN_PREFIX if with_code else "") + _hash(address, digits))
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
        (uuid4(), user["id"], kind.token_type, made.token_hash, address),
    )
    return made


def find_by_hash(call: Call, token_hash: str, kinds: tuple[Kind, ...]) -> tuple[DictRow, Kind]:
    """Return the owner of the token behind a link, locked until the end, and its kind. The caller uses it up.

    Raises:
        Refused: 403 otp_expired for an unknown, used or expired one alike.
    """
    return _found(call, (token_hash,), kinds, address=None)


def find_by_digits(call: Call, email: str, digits: str, kinds: tuple[Kind, ...]) -> tuple[DictRow, Kind]:
    """Return the owner of the token whose digits were typed, locked until the end, and its kind.

    They count for the address they were mailed to alone, whoever else holds the same six.

    Raises:
        Refused: 403 otp_expired for an unknown address and a wrong, used or expired token alike.
    """
    token_hash = _hash(email, digits)
    return _found(call, (token_hash, TOKEN_PREFIX + token_hash), kinds, address=email.lower())


def matches(call: Call, user: DictRow, digits: str, kind: Kind) -> bool:
    """Tell whether `digits` are the outstanding ones of `kind`, mailed to the user's own address."""
    token_hash = _hash(user["email"], digits)
    return _matching(call, user, (token_hash,), (kind,)) is not None


def forget(connection: Connection[DictRow], user: DictRow) -> None:
    """Kill every outstanding link and digit of the user, of every kind."""
    connection.execute("delete from auth.one_time_tokens where user_id = %s", (user["id"],))
    connection.execute(
        "update auth.users set confirmation_token = '', recovery_token = '', email_change_token_new = '',"
        " email_change_token_current = '', phone_change_token = '', reauthentication_token = '' where id = %s",
        (user["id"],),
    )


def forget_one(connection: Connection[DictRow], user: DictRow, kind: Kind) -> None:
    """Use up the token of `kind` alone."""
    connection.execute(
        "delete from auth.one_time_tokens where user_id = %s and token_type::text = %s", (user["id"], kind.token_type)
    )
    connection.execute(
        sql.SQL("update auth.users set {token} = '' where id = %s").format(token=sql.Identifier(kind.token_type)),
        (user["id"],),
    )


def _found(
    call: Call, hashes: tuple[str, ...], kinds: tuple[Kind, ...], *, address: str | None
) -> tuple[DictRow, Kind]:
    row = call.connection.execute(
        "select user_id from auth.one_time_tokens where token_hash = any(%s) and token_type::text = any(%s)"
        " and relates_to = coalesce(%s, relates_to)",
        (list(hashes), [kind.token_type for kind in kinds], address),
    ).fetchone()
    user = user_by_id(call.connection, row["user_id"], lock=True) if row else None
    kind = _matching(call, user, hashes, kinds) if user else None
    if user is None or kind is None:
        raise Refused(403, "otp_expired", "Email link is invalid or has expired")
    return user, kind


def _matching(call: Call, user: DictRow, hashes: tuple[str, ...], kinds: tuple[Kind, ...]) -> Kind | None:
    """Read after the lock on the user's row: of many at once, the first uses the token up before the others look."""
    rows = call.connection.execute(
        "select token_type::text, token_hash from auth.one_time_tokens where user_id = %s", (user["id"],)
    ).fetchall()
    stored = {row["token_type"]: row["token_hash"] for row in rows}
    for kind in kinds:
        if _is_one_of(stored.get(kind.token_type, ""), hashes) and not _is_expired(call, user, kind):
            return kind
    return None


def _hash(email: str, digits: str) -> str:
    return hashlib.sha224((email.lower() + digits).encode()).hexdigest()


def _is_one_of(stored: str, hashes: tuple[str, ...]) -> bool:
    return any([hmac.compare_digest(stored.encode(), given.encode()) for given in hashes])


def _is_expired(call: Call, user: DictRow, kind: Kind) -> bool:
    sent_at = user[kind.sent_column]
    return sent_at is None or (user["now"] - sent_at).total_seconds() > call.platform.config.otp_expiry_seconds
