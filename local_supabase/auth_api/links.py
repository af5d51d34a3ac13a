"""/verify: what happens when someone follows a mailed link or types its digits."""

from typing import Any
from urllib.parse import urlencode, urlsplit

from flask import Response
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from local_supabase.auth_api import emails, one_time_tokens, redirects, sessions
from local_supabase.auth_api.call import Call
from local_supabase.auth_api.errors import Refused, bad_request
from local_supabase.auth_api.one_time_tokens import CONFIRMATION, RECOVERY, Kind
from local_supabase.auth_api.rows import is_banned

# Where the token of a verification type is looked up. `recovery` and `magiclink` share one, as upstream.
_KINDS: dict[str, tuple[Kind, ...]] = {
    "signup": (CONFIRMATION,),
    "recovery": (RECOVERY,),
    "magiclink": (RECOVERY,),
    "email": (CONFIRMATION, RECOVERY),
}
# RFC 6749 names for the `error` of a redirect; 422 has none, as upstream.
_OAUTH_ERRORS = {400: "invalid_request", 401: "unauthorized_client", 403: "access_denied", 500: "server_error"}


def verify(call: Call) -> dict[str, Any]:
    """POST /verify: the token response of a new session, its proof `otp` whatever the type."""
    body = call.body(type=str, token=str, token_hash=str, email=str, phone=str, redirect_to=str)
    if not body["type"]:
        raise bad_request("Verify requires a verification type")
    if bool(body["token"]) == bool(body["token_hash"]):
        raise bad_request("Verify requires either a token or a token hash")
    if body["token_hash"]:
        if body["email"] or body["phone"] or body["redirect_to"]:
            raise bad_request("Only the token_hash and type should be provided")
        return _with_hash(call, body["type"], body["token_hash"])
    if bool(body["email"]) == bool(body["phone"]):
        raise bad_request("Only an email address or phone number should be provided on verify")
    return _with_digits(call, body["type"], body["email"], body["token"])


def follow(call: Call) -> Response:
    """GET /verify: 303 to the app, the tokens or the error in the fragment, which no server log sees."""
    query = call.request.args
    token, type_ = query.get("token"), query.get("type")
    if not token or not type_:
        raise bad_request("Verify requires a token and a verification type")
    try:
        with call.connection.transaction():  # a refusal is answered here, so it is undone here
            granted = _with_hash(call, type_, token)
    except Refused as refusal:
        fragment = {"error_code": refusal.code, "error_description": refusal.message, "sb": ""}
        if refusal.status in _OAUTH_ERRORS:
            fragment["error"] = _OAUTH_ERRORS[refusal.status]
    else:
        names = ("access_token", "expires_at", "expires_in", "refresh_token", "token_type")
        fragment = {name: granted[name] for name in names} | {"type": type_, "sb": ""}
    home = urlsplit(redirects.target(call.platform.config, call.request))
    return Response(
        status=303, headers={"Location": home._replace(fragment=urlencode(sorted(fragment.items()))).geturl()}
    )


def _with_hash(call: Call, type_: str, token_hash: str) -> dict[str, Any]:
    if type_ not in _KINDS:
        raise bad_request("Invalid email verification type")
    return _verified(call, *one_time_tokens.consume_hash(call, token_hash, _KINDS[type_]))


def _with_digits(call: Call, type_: str, email: str | None, digits: str) -> dict[str, Any]:
    if email is not None and not emails.is_valid(email):
        raise Refused(422, "validation_failed", emails.INVALID)
    # An address or a type there is no token for reads like a wrong token.
    return _verified(call, *one_time_tokens.consume_digits(call, email or "", digits, _KINDS.get(type_, ())))


def _verified(call: Call, user: DictRow, kind: Kind) -> dict[str, Any]:
    if is_banned(user):
        raise Refused(403, "user_banned", "User is banned")
    if kind is CONFIRMATION or user["email_confirmed_at"] is None:
        _confirm(call, user)
    return sessions.start(call, user["id"], method="otp")


def _confirm(call: Call, user: DictRow) -> None:
    verified = Jsonb({"email_verified": True})
    call.connection.execute(
        "update auth.users set email_confirmed_at = coalesce(email_confirmed_at, now()), updated_at = now(),"
        " raw_user_meta_data = coalesce(raw_user_meta_data, '{}') || %s where id = %s",
        (verified, user["id"]),
    )
    call.connection.execute(
        "update auth.identities set identity_data = identity_data || %s, updated_at = now()"
        " where user_id = %s and provider = 'email' and email = %s",
        (verified, user["id"], user["email"]),
    )
