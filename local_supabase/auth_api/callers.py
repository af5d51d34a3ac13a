"""Who may call: a signed-in person with a living session, or a token whose role is an admin's."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from psycopg.rows import DictRow

from local_supabase import api_keys
from local_supabase.auth_api import session_limits
from local_supabase.auth_api.call import NO_INSTANCE, Call, as_uuid
from local_supabase.auth_api.errors import Refused
from local_supabase.auth_api.rows import is_banned, user_by_id

ADMIN_ROLES = ("service_role", "supabase_admin")


@dataclass(frozen=True)
class SignedIn:
    """The rows a user's access token stands for, read now: a token outlives the session it was made for."""

    user: DictRow
    session: DictRow | None  # None: the token names no session
    claims: dict[str, Any]

    def needs_second_factor(self) -> bool:
        """Tell whether the *session row* is below aal2; the token's own `aal` may be older than the truth."""
        return self.session is None or self.session["aal"] not in ("aal2", "aal3")


def signed_in(call: Call, *, lock: bool = False) -> SignedIn:
    """Return the caller, in the check order of contract 1.3; `lock` holds the user's row until the end.

    Raises:
        Refused: 401 no_authorization; 403 bad_jwt, user_not_found, session_not_found, user_banned;
            400 bad_jwt for a subject that is not a UUID.
    """
    claims = _claims(call)
    if not claims.get("sub"):
        raise _bad_jwt("invalid claim: missing sub claim")
    user_id = as_uuid(claims["sub"])
    if user_id is None:
        raise Refused(400, "bad_jwt", "invalid claim: sub claim must be a UUID")
    user = user_by_id(call.connection, user_id, lock=lock)
    if user is None:
        raise Refused(403, "user_not_found", "User from sub claim in JWT does not exist")
    session = _session(call, user, claims.get("session_id"))
    if is_banned(user):
        raise Refused(403, "user_banned", "User is banned")
    return SignedIn(user, session, claims)


def require_admin(call: Call) -> Mapping[str, Any]:
    """Let only tokens of an admin role pass; the secret API key is one. Return who it is, for the audit log.

    Raises:
        Refused: 401 no_authorization, 403 bad_jwt, 403 not_admin, 403 session_not_found or session_expired
            for a person's admin token whose session is over.
    """
    claims = _claims(call)
    if claims.get("role") not in ADMIN_ROLES:
        raise Refused(403, "not_admin", "User not allowed")
    if claims.get("session_id"):
        caller = signed_in(call)
        if caller.session and session_limits.is_over(call, caller.session, now=caller.user["now"]):
            raise Refused(403, "session_expired", "Session has expired")
    role = claims["role"]
    return {"id": NO_INSTANCE, "email": role, "phone": "", "is_sso_user": False, "raw_user_meta_data": None}


def _claims(call: Call) -> dict[str, Any]:
    authorization = call.request.headers.get("Authorization")
    if authorization is not None:
        token = api_keys.bearer_token(authorization)
        if not token or " " in token:
            raise Refused(401, "no_authorization", "This endpoint requires a valid Bearer token")
    try:
        caller = api_keys.caller_of(call.platform, call.request, leeway_seconds=0)
    except api_keys.BadToken as error:
        raise _bad_jwt(f"invalid JWT: {error}") from error
    assert caller is not None  # a bearer token was seen above
    return caller.claims


def _session(call: Call, user: DictRow, session_id: Any) -> DictRow | None:
    if session_id in (None, ""):
        return None
    parsed = as_uuid(session_id)
    if parsed is None:
        raise _bad_jwt("invalid claim: session_id claim must be a UUID")
    # Upstream does not compare the owner; a session of somebody else is no session here (contract 10.2).
    session = call.connection.execute(
        "select * from auth.sessions where id = %s and user_id = %s", (parsed, user["id"])
    ).fetchone()
    if session is None:
        raise Refused(403, "session_not_found", "Session from session_id claim in JWT does not exist")
    return session


def _bad_jwt(message: str) -> Refused:
    return Refused(403, "bad_jwt", message)
