"""Customize access token: a function in the database that rewrites the claims of every token."""

import re
import uuid
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
    answer = _called(
        call,
        uri,
        {
            "metadata": {
                "uuid": str(uuid.uuid4()),
                "time": datetime.now(UTC).isoformat(),
                "name": "customize-access-token",
                "ip_address": call.ip,
            },
            "user_id": str(user_id),
            "authentication_method": method,
            "claims": claims,
        },
    )
    if not isinstance(answer, dict):
        raise _failed(uri)
    _raise_error_object(answer.get("error"))
    replaced = answer.get("claims")
    if not isinstance(replaced, dict) or not _is_claim_set(replaced):
        raise _failed(uri)
    return replaced


def _called(call: Call, uri: str, event: dict[str, Any]) -> Any:
    name = _URI.fullmatch(uri)
    if name is None:
        raise _failed(uri)
    select = sql.SQL("select {}(%s::jsonb) as answer").format(sql.Identifier(*name.groups()))
    try:
        call.connection.execute(f"set local statement_timeout = {TIMEOUT_MILLISECONDS}")
        row = call.connection.execute(select, (Jsonb(event),)).fetchone()
        call.connection.execute("set local statement_timeout to default")
    except psycopg.Error as error:
        if call.connection.closed:
            raise
        raise _failed(uri) from error
    return row["answer"] if row else None


def _raise_error_object(error: Any) -> None:
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
