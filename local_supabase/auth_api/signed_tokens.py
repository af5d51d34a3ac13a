"""Refresh tokens of the signed kind: nothing is stored but a counter and a key in the session's row."""

import base64
import binascii
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from uuid import UUID

from psycopg.rows import DictRow

from local_supabase.auth_api.call import Call
from local_supabase.auth_api.errors import Refused, bad_request
from local_supabase.auth_api.rows import lock_session

_VERSION = b"\0"
_ID_BYTES = 16
_SIGNATURE_BYTES = 16  # of HMAC-SHA256: 2^128 to guess
_CHECKSUM_BYTES = 4  # tells at once what was never a token
_MAX_COUNTER = 2**63 - 1


def first(call: Call, *, session_id: UUID) -> str:
    """Give the session its key, and return its first token."""
    key = secrets.token_bytes(32)
    call.connection.execute(
        "update auth.sessions set refresh_token_hmac_key = %s, refresh_token_counter = 0 where id = %s",
        (_base64(key), session_id),
    )
    return _encoded(session_id, 0, key)


def after_step_up(call: Call, *, session: DictRow) -> str:
    """Advance by two: the token from before the second factor is then no direct parent, and cannot be used."""
    return _advanced(call, session, by=2)


@dataclass(frozen=True)
class Sent:
    """A token that was sent, its session locked."""

    user_id: UUID
    session_id: UUID
    counter: int
    session: DictRow  # as read under the lock, plus `refreshed_seconds_ago`
    used_at = None  # its age is the session's

    def successor(self, call: Call, user: DictRow) -> str | None:
        """Return the token that answers this one's use, or None if it was used before and may not be again.

        A used one is answered with the session's current token: while it is one behind (the answer was lost on
        its way), or within the reuse interval after the last refresh (requests in parallel).

        Raises:
            Refused: 400 validation_failed for a counter this server has not come to yet.
        """
        behind = self.session["refresh_token_counter"] - self.counter
        if behind < 0:
            raise bad_request("Invalid Refresh Token: Not Issued By This Server")
        if behind == 0:
            return _advanced(call, self.session, by=1)
        interval = call.platform.config.refresh_token_reuse_interval_seconds
        if behind == 1 or self.session["refreshed_seconds_ago"] < interval:
            return _advanced(call, self.session, by=0)
        return None

    def revoke_family(self, call: Call) -> None:
        """End the session, and with it every access token of it."""
        call.connection.execute("delete from auth.sessions where id = %s", (self.session_id,))

    def destroy(self, call: Call) -> None:
        """Nothing is stored."""


def sent(call: Call, token: str) -> Sent:
    """Return what a token stands for, its session locked.

    Raises:
        Refused: 400 validation_failed for what is no token, 400 refresh_token_not_found for one of an unknown or
            keyless session or with a wrong signature, 409 conflict.
    """
    session_id, counter, signed, signature = _decoded(token)
    found = call.connection.execute("select user_id from auth.sessions where id = %s", (session_id,)).fetchone()
    if found is not None:
        lock_session(call, user_id=found["user_id"], session_id=session_id)
    session = call.connection.execute(
        "select *, extract(epoch from clock_timestamp() - coalesce(refreshed_at at time zone 'utc', created_at))::float"
        " as refreshed_seconds_ago from auth.sessions where id = %s",
        (session_id,),
    ).fetchone()
    if session is None or not session["refresh_token_hmac_key"] or session["refresh_token_counter"] is None:
        raise _not_found()
    if not hmac.compare_digest(_signature(_key(session), signed), signature):
        raise _not_found()
    return Sent(session["user_id"], session_id, counter, session)


def _advanced(call: Call, session: DictRow, *, by: int) -> str:
    counter = session["refresh_token_counter"] + by
    call.connection.execute(
        "update auth.sessions set refresh_token_counter = %s where id = %s", (counter, session["id"])
    )
    return _encoded(session["id"], counter, _key(session))


def _encoded(session_id: UUID, counter: int, key: bytes) -> str:
    signed = _VERSION + session_id.bytes + _varint(counter)
    text = signed + _signature(key, signed)
    return _base64(text + _checksum(text))


def _decoded(token: str) -> tuple[UUID, int, bytes, bytes]:
    """Return session id, counter, what is signed, and the signature."""
    try:
        content = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except (binascii.Error, ValueError) as error:
        raise _malformed() from error
    text, checksum = content[:-_CHECKSUM_BYTES], content[-_CHECKSUM_BYTES:]
    signed, signature = text[:-_SIGNATURE_BYTES], text[-_SIGNATURE_BYTES:]
    counter = _from_varint(signed[1 + _ID_BYTES :])
    # Strictly: another spelling of the same bytes is no token.
    if signed[:1] != _VERSION or counter is None or _checksum(text) != checksum or _base64(content) != token:
        raise _malformed()
    return UUID(bytes=signed[1 : 1 + _ID_BYTES]), counter, signed, signature


def _signature(key: bytes, signed: bytes) -> bytes:
    return hmac.digest(key, signed, hashlib.sha256)[:_SIGNATURE_BYTES]


def _checksum(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()[:_CHECKSUM_BYTES]


def _key(session: DictRow) -> bytes:
    text = session["refresh_token_hmac_key"]
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _varint(number: int) -> bytes:
    """Unsigned LEB128: seven bits to a byte, the lowest first, the high bit set on all but the last."""
    encoded = b""
    while number > 0x7F:
        encoded += bytes([number & 0x7F | 0x80])
        number >>= 7
    return encoded + bytes([number])


def _from_varint(encoded: bytes) -> int | None:
    """Return the number, or None if `encoded` is not exactly one that a counter can hold."""
    if not encoded or encoded[-1] > 0x7F or any(byte <= 0x7F for byte in encoded[:-1]):
        return None
    number = sum((byte & 0x7F) << 7 * place for place, byte in enumerate(encoded))
    return number if number <= _MAX_COUNTER else None


def _malformed() -> Refused:
    return bad_request("Refresh token is not valid")


def _not_found() -> Refused:
    return Refused(400, "refresh_token_not_found", "Invalid Refresh Token: Refresh Token Not Found")
