"""Hooks: functions in the database that Supabase Auth asks before it goes on."""

import re
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from local_supabase.auth_api.call import Call
from local_supabase.auth_api.errors import Refused, unexpected

TIMEOUT_MILLISECONDS = 2000

_URI = re.compile(r"pg-functions://[^/]*/([A-Za-z_][A-Za-z0-9_]{0,62})/([A-Za-z_][A-Za-z0-9_]{0,62})")
_REQUIRED: dict[str, tuple[type, ...]] = {
    "aud": (str, list),
    "exp": (int,),
    "iat": (int,),
    "sub": (str,),
    "email": (str,),
    "phone": (str,),
    "role": (str,),
    "aal": (str,),
    "session_id": (str,),
    "is_anonymous": (object,),
}
_OPTIONAL: dict[str, tuple[type, ...]] = {
    "jti": (str,),
    "iss": (str,),
    "client_id": (str,),
    "nbf": (int,),
    "app_metadata": (dict,),
    "user_metadata": (dict,),
    "amr": (list,),
}


@dataclass(frozen=True)
class Verdict:
    """What a hook says about an attempt."""

    is_reject: bool = False
    message: str = ""
    ends_sessions: bool = False


def customized(call: Call, *, user_id: UUID, method: str, claims: dict[str, Any]) -> dict[str, Any]:
    """Return the claims to sign: the hook's, which replace `claims` whole, or `claims` without a hook.

    Runs inside the caller's transaction, so a failure leaves neither token nor session. `method` is how this
    one token came about: password, otp, totp, token_refresh, ….

    Raises:
        Refused: 500 unexpected_failure if the function fails, takes 2 s, or answers with anything but a full
            claim set; the status the function asks for in its `error` object.
    """
    uri = call.platform.config.access_token_hook
    if uri is None:
        return claims
    answer = _answer(
        call,
        uri,
        "customize-access-token",
        {"user_id": str(user_id), "authentication_method": method, "claims": claims},
    )
    _raise_error_object(answer)
    replaced = answer.get("claims") if isinstance(answer, dict) else None
    if not isinstance(replaced, dict) or not _is_claim_set(replaced):
        raise _failed(uri)
    return replaced


def ask_password_attempt(call: Call, user_id: UUID, *, is_right: bool) -> Verdict:
    """Ask the hook about a password that was just compared.

    In a transaction of its own, so that it can count failures: what the caller has done so far is committed,
    and the locks it holds are released.

    Raises:
        Refused: as customized().
    """
    uri = call.platform.config.password_attempt_hook
    if uri is None:
        return Verdict()
    return _verdict(
        _answer_apart(call, uri, "password-verification", {"user_id": str(user_id), "valid": is_right}),
        default="Further password verification attempts will be rejected.",
    )


def ask_mfa_attempt(call: Call, user_id: UUID, factor_id: UUID, factor_type: str, *, is_right: bool) -> Verdict:
    """Ask the hook about a code that was just compared; in a transaction of its own, as for passwords."""
    uri = call.platform.config.mfa_attempt_hook
    if uri is None:
        return Verdict()
    event = {
        "user_id": str(user_id),
        "factor_id": str(factor_id),
        "factor_type": factor_type,
        "valid": is_right,
    }
    return _verdict(
        _answer_apart(call, uri, "mfa-verification", event),
        default="Further MFA verification attempts will be rejected.",
    )


def _verdict(answer: dict[str, Any] | None, *, default: str) -> Verdict:
    if answer is None or answer.get("decision") != "reject":  # null is no opinion
        return Verdict()
    message = answer.get("message")
    return Verdict(
        is_reject=True,
        message=message if isinstance(message, str) and message else default,
        ends_sessions=answer.get("should_logout_user") is True,
    )


def _answer_apart(call: Call, uri: str, name: str, event: dict[str, Any]) -> dict[str, Any] | None:
    call.connection.commit()
    answer = _answer(call, uri, name, event)
    call.connection.commit()
    if not isinstance(answer, dict | None):
        raise _failed(uri)
    _raise_error_object(answer)
    return answer


def _answer(call: Call, uri: str, name: str, event: dict[str, Any]) -> Any:
    function = _URI.fullmatch(uri)
    if function is None:
        raise _failed(uri)
    metadata = {
        "uuid": str(uuid.uuid4()),
        "time": datetime.now(UTC).isoformat(),
        "name": name,
        "ip_address": call.ip,
    }
    select = sql.SQL("select {}(%s::jsonb) as answer").format(sql.Identifier(*function.groups()))
    try:
        call.connection.execute(f"set local statement_timeout = {TIMEOUT_MILLISECONDS}")
        row = call.connection.execute(select, (Jsonb({"metadata": metadata, **event}),)).fetchone()
        call.connection.execute("set local statement_timeout to default")
    except psycopg.Error as error:
        if call.connection.closed:
            raise
        raise _failed(uri) from error
    return row["answer"] if row else None


def _raise_error_object(answer: Any) -> None:
    error = answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(error, dict) or not isinstance(error.get("message"), str) or not error["message"]:
        return
    status = error.get("http_code")
    if type(status) is not int or not 400 <= status <= 599:
        status = 500
    raise Refused(status, "unexpected_failure" if status == 500 else "unknown", error["message"])


def _is_claim_set(claims: dict[str, Any]) -> bool:
    return all(name in claims and _is_one_of(claims[name], types) for name, types in _REQUIRED.items()) and all(
        name not in claims or _is_one_of(claims[name], types) for name, types in _OPTIONAL.items()
    )


def _is_one_of(value: Any, types: tuple[type, ...]) -> bool:
    # JSON true is an int to Python and none to everybody else.
    return isinstance(value, types) and not (int in types and isinstance(value, bool))


def _failed(uri: str) -> Refused:
    return unexpected(f"Error running hook URI: {uri}")
