"""Sessions: begun with a password, carried on with a refresh token, ended by a logout."""

from typing import Any
from uuid import UUID, uuid4

from flask import Response
from psycopg.rows import DictRow

from local_supabase.auth_api import (
    absent,
    audit,
    hooks,
    limits,
    passwords,
    pkce,
    refresh_tokens,
    session_limits,
    tokens,
)
from local_supabase.auth_api.call import Call
from local_supabase.auth_api.callers import signed_in
from local_supabase.auth_api.errors import Refused, bad_request
from local_supabase.auth_api.rows import is_banned, user_by_email, user_by_id


def grant(call: Call) -> dict[str, Any] | Refused:
    """POST /token: dispatched by the query's `grant_type`."""
    match call.request.args.get("grant_type"):
        case "password":
            call.limit(limits.TOKEN)
            return _with_password(call)
        case "refresh_token":
            call.limit(limits.TOKEN)
            return _with_refresh_token(call)
        case "pkce":
            call.limit(limits.TOKEN)
            return _with_code(call)
        case "id_token":
            call.limit(limits.TOKEN)
            return absent.id_token(call)
        case "web3":
            return absent.web3(call)
        case _:
            raise Refused(400, "invalid_credentials", "unsupported_grant_type")


def logout(call: Call) -> Response:
    """POST /logout?scope=global|local|others: 204. Deleting a session row ends it everywhere in Auth at once."""
    caller = signed_in(call, lock=True)
    scope = call.request.args.get("scope") or "global"
    if scope not in ("global", "local", "others"):
        raise bad_request(f"Unsupported logout scope {scope!r}")
    audit.write(call, caller.user, "logout")
    if caller.session is None or scope == "global":
        call.connection.execute("delete from auth.sessions where user_id = %s", (caller.user["id"],))
    elif scope == "local":
        call.connection.execute("delete from auth.sessions where id = %s", (caller.session["id"],))
    else:
        end_others(call, caller.user["id"], keep=caller.session["id"])
    return Response(status=204)


def start(call: Call, user_id: UUID, *, method: str) -> dict[str, Any]:
    """Begin a session at aal1, proven by `method`, and return the token response.

    Raises:
        Refused: the access token hook did not agree; nothing of the session remains.
    """
    session_id = uuid4()
    call.connection.execute(
        "insert into auth.sessions (id, user_id, created_at, updated_at, aal, user_agent, ip)"
        " values (%s, %s, now(), now(), 'aal1', %s, %s)",
        (session_id, user_id, call.user_agent, call.ip),
    )
    refresh_token = refresh_tokens.first(call, user_id=user_id, session_id=session_id)
    tokens.add_proof(call.connection, session_id, method)
    call.connection.execute(
        "update auth.users set last_sign_in_at = now(), updated_at = now() where id = %s", (user_id,)
    )
    return tokens.response(call, user_id=user_id, session_id=session_id, refresh_token=refresh_token, method=method)


def end_others(call: Call, user_id: UUID, *, keep: UUID | None) -> None:
    """Delete every session of the user except `keep`; all of them if it is None."""
    call.connection.execute("delete from auth.sessions where user_id = %s and id is distinct from %s", (user_id, keep))


def _with_password(call: Call) -> dict[str, Any] | Refused:
    body = call.body(email=str, phone=str, password=str)
    email, password = body["email"], body["password"] or ""
    if bool(email) == bool(body["phone"]):
        raise bad_request("Only an email address or phone number should be provided on login.")
    if not email:
        raise Refused(422, "phone_provider_disabled", "Phone logins are disabled")
    user = user_by_email(call.connection, email)
    if user is not None and user["encrypted_password"] and is_banned(user):
        raise Refused(400, "user_banned", "User is banned")
    is_right = passwords.is_right(call.platform.config, password, user["encrypted_password"] if user else None)
    if user is not None and user["encrypted_password"]:
        verdict = hooks.ask_password_attempt(call, user["id"], is_right=is_right)
        if verdict.is_reject:
            if verdict.ends_sessions:
                end_others(call, user["id"], keep=None)
            # Returned, not raised: the sessions stay ended.
            return Refused(400, "invalid_credentials", verdict.message)
    # Looked at again under the lock: a password changed during the comparison has just ended all sessions, and
    # the old one must not open another.
    if not is_right or user is None or not _still_has_password(call, user):
        raise Refused(400, "invalid_credentials", "Invalid login credentials")
    if user["email_confirmed_at"] is None:
        raise Refused(400, "email_not_confirmed", "Email not confirmed")
    audit.write(call, user, "login", provider="email")
    return start(call, user["id"], method="password") | {"weak_password": _weak_password(call, password)}


def _with_code(call: Call) -> dict[str, Any]:
    body = call.body(auth_code=str, code_verifier=str)
    if not body["auth_code"] or not body["code_verifier"]:
        raise bad_request("invalid request: both auth code and code verifier should be non-empty")
    flow = pkce.consume(call, body["auth_code"], body["code_verifier"])
    user = user_by_id(call.connection, flow["user_id"], lock=True)
    if user is None:  # deleted meanwhile: there is no foreign key
        raise Refused(404, "flow_state_not_found", "invalid flow state, no valid flow state found")
    audit.write(call, user, "login", provider_type=flow["provider_type"])
    return start(call, user["id"], method=flow["authentication_method"])


def _still_has_password(call: Call, user: DictRow) -> bool:
    now = user_by_id(call.connection, user["id"], lock=True)
    return now is not None and now["encrypted_password"] == user["encrypted_password"]


def _weak_password(call: Call, password: str) -> dict[str, Any] | None:
    reasons = passwords.weaknesses(call.platform.config, password)
    return {"message": "Password is weaker than the policy asks", "reasons": reasons} if reasons else None


def _with_refresh_token(call: Call) -> dict[str, Any] | Refused:
    connection, config = call.connection, call.platform.config
    given = refresh_tokens.sent(call, call.body(refresh_token=str)["refresh_token"] or "")
    user = user_by_id(connection, given.user_id)
    if user is None:
        raise Refused(400, "refresh_token_not_found", "Invalid Refresh Token: Refresh Token Not Found")
    if is_banned(user):
        raise Refused(400, "user_banned", "Invalid Refresh Token: User Banned")
    session = connection.execute("select * from auth.sessions where id = %s", (given.session_id,)).fetchone()
    if session is None:
        given.destroy(call)
        return Refused(400, "session_not_found", "Invalid Refresh Token: No Valid Session Found")
    if session_limits.is_over(call, session, now=user["now"], used_at=given.used_at):
        raise Refused(400, "session_expired", "Invalid Refresh Token: Session Expired")
    if session_limits.is_superseded(call, session, now=user["now"], used_at=given.used_at):
        raise Refused(400, "session_expired", "Invalid Refresh Token: Session Expired (Revoked by Newer Login)")
    refresh_token = given.successor(call, user)
    if refresh_token is None:
        if config.refresh_token_rotation:
            given.revoke_family(call)
        # Returned, not raised: the revocation must be kept.
        return Refused(400, "refresh_token_already_used", "Invalid Refresh Token: Already Used")
    audit.write(call, user, "token_refreshed")
    connection.execute(
        "update auth.sessions set refreshed_at = now() at time zone 'utc', updated_at = now(), user_agent = %s,"
        " ip = %s where id = %s",
        (call.user_agent, call.ip, session["id"]),
    )
    return tokens.response(
        call, user_id=user["id"], session_id=session["id"], refresh_token=refresh_token, method="token_refresh"
    )
