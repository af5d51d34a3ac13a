"""/verify: what happens when someone follows a mailed link or types its digits."""

import secrets
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from flask import Response
from psycopg.rows import DictRow

from local_supabase.auth_api import (
    audit,
    email_change,
    emails,
    limits,
    one_time_tokens,
    passwords,
    pkce,
    redirects,
    sessions,
    users,
)
from local_supabase.auth_api.call import Call
from local_supabase.auth_api.errors import Refused, bad_request
from local_supabase.auth_api.one_time_tokens import CONFIRMATION, RECOVERY, Kind
from local_supabase.auth_api.rows import is_banned

# Where the token of a verification type is looked up. `recovery` and `magiclink` share one, as upstream.
_KINDS: dict[str, tuple[Kind, ...]] = {
    "signup": (CONFIRMATION,),
    "invite": (CONFIRMATION,),
    "recovery": (RECOVERY,),
    "magiclink": (RECOVERY,),
    "email": (CONFIRMATION, RECOVERY),
    "email_change": email_change.KINDS,
}
# What a PKCE flow calls the types of its links. Not `email` and not `invite`: those never are one.
_FLOWS = {
    "signup": "email/signup",
    "recovery": "recovery",
    "magiclink": "magiclink",
    "email_change": "email_change",
}
# RFC 6749 names for the `error` of a redirect; 422 has none, as upstream.
_OAUTH_ERRORS = {400: "invalid_request", 401: "unauthorized_client", 403: "access_denied", 500: "server_error"}
_HALF = "Confirmation link accepted. Please proceed to confirm link sent to the other email"


def verify(call: Call) -> dict[str, Any]:
    """POST /verify: the token response of a new session, its proof `otp` whatever the type.

    The first of the two confirmations of a new address is answered with `{"msg", "code": "200"}`.
    """
    call.limit(limits.VERIFY)
    body = call.body(type=str, token=str, token_hash=str, email=str, phone=str, redirect_to=str)
    if not body["type"]:
        raise bad_request("Verify requires a verification type")
    if bool(body["token"]) == bool(body["token_hash"]):
        raise bad_request("Verify requires either a token or a token hash")
    if body["token_hash"]:
        if body["email"] or body["phone"] or body["redirect_to"]:
            raise bad_request("Only the token_hash and type should be provided")
        user = _with_hash(call, body["type"], body["token_hash"])
    else:
        if bool(body["email"]) == bool(body["phone"]):
            raise bad_request("Only an email address or phone number should be provided on verify")
        user = _with_digits(call, body["type"], body["email"], body["token"])
    return sessions.start(call, user["id"], method="otp") if user else {"msg": _HALF, "code": "200"}


def follow(call: Call) -> Response:
    """GET /verify: 303 to the app, with tokens or an error in the fragment, which no server log sees.

    The link of a PKCE flow leads there with a `code` in the query instead, worthless without its verifier.
    """
    call.limit(limits.VERIFY)
    query = call.request.args
    token, type_ = query.get("token"), query.get("type")
    if not token or not type_:
        raise bad_request("Verify requires a token and a verification type")
    home = redirects.target(call.platform.config, call.request)
    is_pkce = token.startswith(pkce.TOKEN_PREFIX)
    try:
        with call.connection.transaction():  # a refusal is answered here, so it is undone here
            user = _with_hash(call, type_, token)
            if user is None:
                return _redirect(
                    home, fragment={"message": _HALF, "sb": ""}, query={"message": _HALF} if is_pkce else {}
                )
            if is_pkce:
                return _redirect(home, query={"code": pkce.issue_code(call, user, method=_FLOWS.get(type_, ""))})
            granted = sessions.start(call, user["id"], method="otp")
    except Refused as refusal:
        error = {"error_code": refusal.code, "error_description": refusal.message}
        if refusal.status in _OAUTH_ERRORS:
            error["error"] = _OAUTH_ERRORS[refusal.status]
        return _redirect(home, fragment={**error, "sb": ""}, query=error if is_pkce else {})
    names = ("access_token", "expires_at", "expires_in", "refresh_token", "token_type")
    return _redirect(home, fragment={name: granted[name] for name in names} | {"type": type_, "sb": ""})


def _redirect(home: str, *, fragment: dict[str, Any] | None = None, query: dict[str, str] | None = None) -> Response:
    url = urlsplit(home)
    if query:
        url = url._replace(query=urlencode(dict(parse_qsl(url.query, keep_blank_values=True)) | query))
    if fragment:
        url = url._replace(fragment=urlencode(sorted(fragment.items())))
    return Response(status=303, headers={"Location": url.geturl()})


def _with_hash(call: Call, type_: str, token_hash: str) -> DictRow | None:
    if type_ not in _KINDS:
        raise bad_request("Invalid email verification type")
    return _verified(call, *one_time_tokens.find_by_hash(call, token_hash, _KINDS[type_]))


def _with_digits(call: Call, type_: str, email: str | None, digits: str) -> DictRow | None:
    if email is not None and not emails.is_valid(email):
        raise Refused(422, "validation_failed", emails.INVALID)
    # An address or a type there is no token for reads like a wrong token.
    return _verified(call, *one_time_tokens.find_by_digits(call, email or "", digits, _KINDS.get(type_, ())))


def _verified(call: Call, user: DictRow, kind: Kind) -> DictRow | None:
    """Use the token up and do what it stands for; None if that was the first half of two."""
    if is_banned(user):
        raise Refused(403, "user_banned", "User is banned")
    if kind in email_change.KINDS:
        if email_change.is_half(call, user):
            email_change.confirm_half(call, user, kind)
            return None
        audit.write(call, user, "user_modified")
        email_change.finish(call, user)
        return user
    one_time_tokens.forget(call.connection, user)
    if kind is CONFIRMATION or user["email_confirmed_at"] is None:
        audit.write(call, user, "user_signedup", provider="email")
        users.confirm(call.connection, user)
        users.verify_identity(call.connection, user)
    else:
        audit.write(call, user, "login")
    if kind is CONFIRMATION and user["invited_at"] and not user["encrypted_password"]:
        # As upstream: the invited person has a password nobody knows until they set one.
        call.connection.execute(
            "update auth.users set encrypted_password = %s where id = %s",
            (passwords.hashed(call.platform.config, secrets.token_urlsafe(32)), user["id"]),
        )
    return user
