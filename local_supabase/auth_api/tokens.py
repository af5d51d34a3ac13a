"""Access tokens: their claims, computed from the session's rows at the moment of issue, and their signature."""

import json
from functools import lru_cache
from typing import Any
from uuid import UUID

import jwt
from flask import Response
from psycopg import Connection
from psycopg.rows import DictRow

from local_supabase.auth_api import hooks, session_limits, users_json
from local_supabase.auth_api.call import Call
from local_supabase.auth_api.rows import user_by_id
from local_supabase.platform import Platform

SECOND_FACTORS = ("totp", "mfa/phone", "mfa/webauthn")  # the methods that make aal2, and no others


def jwks(platform: Platform) -> Response:
    """GET /.well-known/jwks.json: the public half of the signing key, and never more."""
    key = platform.keys.signing_key
    public = {name: key[name] for name in ("kty", "crv", "kid", "x", "y")}
    public |= {"alg": "ES256", "use": "sig", "key_ops": ["verify"]}
    return Response(
        json.dumps({"keys": [public]}), mimetype="application/json", headers={"Cache-Control": "public, max-age=600"}
    )


def response(call: Call, *, user_id: UUID, session_id: UUID, refresh_token: str, method: str) -> dict[str, Any]:
    """Return the token response; `method` is how this token came about, as the hook is told.

    Raises:
        Refused: the hook did not agree (see hooks.customized).
    """
    user = user_by_id(call.connection, user_id)
    assert user is not None  # the session's foreign key
    issued_at = int(call.platform.clock())
    expires_at = issued_at + call.platform.config.jwt_expiry_seconds
    amr = _amr(call.connection, session_id)
    aal = "aal2" if any(entry["method"] in SECOND_FACTORS for entry in amr) else "aal1"
    if aal == "aal1":
        expires_at = session_limits.capped(call, user_id, session_id, expires_at=expires_at)
    claims = {
        "iss": call.platform.issuer,
        "sub": str(user_id),
        "aud": user["aud"],
        "exp": expires_at,
        "iat": issued_at,
        "email": user["email"] or "",
        "phone": user["phone"] or "",
        "app_metadata": user["raw_app_meta_data"] or {},
        "user_metadata": user["raw_user_meta_data"] or {},
        "role": user["role"],
        "aal": aal,
        "amr": amr,
        "session_id": str(session_id),
        "is_anonymous": user["is_anonymous"],
    }
    claims = hooks.customized(call, user_id=user_id, method=method, claims=claims)
    return {
        "access_token": _signed(call.platform, claims),
        "token_type": "bearer",
        "expires_in": expires_at - issued_at,
        "expires_at": expires_at,
        "refresh_token": refresh_token,
        "user": users_json.of(call.connection, user),
    }


def add_proof(connection: Connection[DictRow], session_id: UUID, method: str) -> None:
    """Write that `method` was just proven in this session; proving it again only moves its time."""
    connection.execute(
        "insert into auth.mfa_amr_claims (id, session_id, authentication_method, created_at, updated_at)"
        " values (gen_random_uuid(), %s, %s, now(), now())"
        " on conflict (session_id, authentication_method) do update set updated_at = excluded.updated_at",
        (session_id, method),
    )


def has_proof(connection: Connection[DictRow], session_id: UUID, methods: tuple[str, ...]) -> bool:
    """Tell whether one of `methods` was proven in this session."""
    return any(entry["method"] in methods for entry in _amr(connection, session_id))


def _amr(connection: Connection[DictRow], session_id: UUID) -> list[dict[str, Any]]:
    """The session's proofs, the most recent first."""
    return connection.execute(
        "select authentication_method as method, floor(extract(epoch from updated_at))::bigint as timestamp"
        " from auth.mfa_amr_claims where session_id = %s order by updated_at desc",
        (session_id,),
    ).fetchall()


def _signed(platform: Platform, claims: dict[str, Any]) -> str:
    key = _private_key(json.dumps(platform.keys.signing_key))
    return jwt.encode(claims, key, algorithm="ES256", headers={"kid": platform.keys.signing_key["kid"]})


@lru_cache(maxsize=8)
def _private_key(jwk: str) -> jwt.PyJWK:
    return jwt.PyJWK.from_json(jwk, algorithm="ES256")
