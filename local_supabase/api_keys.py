"""Who is calling: the gateway's rule for `apikey` and `Authorization`, and the check of an access token.

Hosted Supabase has a gateway in front of Auth and PostgREST that turns the opaque `sb_` keys into roles. The
rule is the one of the Supabase CLI's gateway: an `Authorization` that is not `Bearer sb_…` is passed on and
wins; otherwise the role comes from `apikey`.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, cast, get_args

import jwt
from flask import Request

from local_supabase.platform import Keys, Platform

ALGORITHM = "ES256"
LEGACY_ALGORITHM = "HS256"
LEGACY_ISSUED_AT = 1_700_000_000  # Unix seconds; fixed, so that the keys are the same at every start
LEGACY_LIFETIME_SECONDS = 20 * 365 * 24 * 3600

KeyRole = Literal["anon", "service_role"]


@dataclass(frozen=True)
class Caller:
    """A checked identity. `claims` always holds `role`; an API key has no other claim, so no `sub`.

    `role` comes out of a token this stack signed, but is not yet known to be a role one may become.
    """

    role: str
    claims: dict[str, Any]


class InvalidApiKey(Exception):
    """The gateway's own 401: `apikey` is missing or unknown. `body` is its JSON answer."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.body = {"message": message, "hint": hint}


class BadToken(Exception):
    """An access token that is not accepted. `str()` is PostgREST's message for it, fit for the answer."""


class UnreadableToken(BadToken):
    """Not a JWT, or not signed by this stack's key (PostgREST: PGRST301)."""


class RejectedClaims(BadToken):
    """A true signature over claims that do not hold now, such as a passed `exp` (PostgREST: PGRST303)."""


def caller_of(platform: Platform, request: Request, *, leeway_seconds: float) -> Caller | None:
    """Return who sent `request`; None if `Authorization` is there but carries no bearer token at all.

    `leeway_seconds` is how far the clocks may differ: PostgREST allows 30, Supabase Auth 0.

    Raises:
        InvalidApiKey: `apikey` is missing or unknown, whatever else was sent.
        BadToken: `Authorization` carries a token that is not accepted.
    """
    role = key_role(platform, request)
    authorization = request.headers.get("Authorization")
    if authorization is None or authorization.startswith("Bearer sb_"):
        return Caller(role, {"role": role})
    token = bearer_token(authorization)
    if token is None:
        return None
    claims = verify_access_token(platform, token, leeway_seconds=leeway_seconds)
    return Caller(claims["role"], claims)


def key_role(platform: Platform, request: Request) -> KeyRole:
    """Return the role `apikey` stands for, without a look at `Authorization` (public Auth endpoints).

    Raises:
        InvalidApiKey: the header is missing or unknown.
    """
    key = request.headers.get("apikey")
    if key is None:
        raise InvalidApiKey("No API key found in request", "No `apikey` request header was found.")
    # Compared in constant time, or the answer's delay gives the secret key away character by character.
    if has_secret_key(platform, request):
        return "service_role"
    if _same(key, platform.keys.publishable_key):
        return "anon"
    for role in get_args(KeyRole):
        if platform.keys.legacy_secret and _same(key, legacy_key(platform.keys.legacy_secret, role)):
            return cast(KeyRole, role)
    raise InvalidApiKey("Invalid API key", "Double check your Supabase publishable or secret API key.")


def has_secret_key(platform: Platform, request: Request) -> bool:
    """Tell whether `apikey` is the secret key itself; the legacy service_role key is not trusted as far."""
    return _same(request.headers.get("apikey", ""), platform.keys.secret_key)


@lru_cache(maxsize=8)
def legacy_key(secret: str, role: KeyRole) -> str:
    """Return the API key that older projects have for `role`: a JWT that lives for 20 years."""
    claims = {
        "iss": "supabase",
        "role": role,
        "iat": LEGACY_ISSUED_AT,
        "exp": LEGACY_ISSUED_AT + LEGACY_LIFETIME_SECONDS,
    }
    return jwt.encode(claims, secret, algorithm=LEGACY_ALGORITHM)


def bearer_token(authorization: str) -> str | None:
    """Return what follows the scheme `Bearer` (any case; may be empty), or None for another scheme."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def verify_access_token(platform: Platform, token: str, *, leeway_seconds: float) -> dict[str, Any]:
    """Return the claims of a token signed by this stack, `role` filled in (`anon` if absent).

    Checked: three parts, ES256 with our `kid` (or HS256 with the legacy secret, if there is one), signature,
    `exp` (required), `nbf`, `iat`. Not checked, as upstream: `aud`, `iss`, and whether the session still exists.

    Raises:
        UnreadableToken, RejectedClaims
    """
    claims = _signed_claims(platform.keys, token)
    _check_times(claims, now=platform.clock(), leeway_seconds=leeway_seconds)
    role = claims.setdefault("role", "anon")
    if not isinstance(role, str):
        raise RejectedClaims("The JWT 'role' claim must be a string")
    return claims


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())


def _signed_claims(keys: Keys, token: str) -> dict[str, Any]:
    if not token:
        raise UnreadableToken("Empty JWT is sent in Authorization header")
    parts = token.count(".") + 1
    if parts != 3:
        raise UnreadableToken(f"Expected 3 parts in JWT; got {parts}")
    try:
        header = jwt.get_unverified_header(token)
        algorithm, key = _key_for(keys, header)
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            # PyJWT would ask the machine's clock; _check_times asks the stack's.
            options={
                "verify_aud": False,
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
                "verify_sub": False,
                "verify_jti": False,
                "verify_iss": False,
            },
        )
    except (jwt.InvalidTokenError, RecursionError) as error:  # deep nesting overflows the JSON parser
        raise UnreadableToken("JWT cryptographic operation failed") from error
    return claims


def _key_for(keys: Keys, header: Mapping[str, Any]) -> tuple[str, jwt.PyJWK | str]:
    """Return algorithm and key as a pair, never one from here and one from the token.

    `none`, or HS256 keyed with our public key, would be a forgery.
    """
    if header.get("alg") == LEGACY_ALGORITHM and keys.legacy_secret:
        return LEGACY_ALGORITHM, keys.legacy_secret
    if header.get("alg") != ALGORITHM:
        raise UnreadableToken("Wrong or unsupported encoding algorithm")
    if header.get("kid") != keys.signing_key["kid"]:
        raise UnreadableToken("No suitable key or wrong key type")
    return ALGORITHM, _public_key(keys.signing_key["x"], keys.signing_key["y"])


@lru_cache(maxsize=8)
def _public_key(x: str, y: str) -> jwt.PyJWK:
    return jwt.PyJWK({"kty": "EC", "crv": "P-256", "x": x, "y": y}, algorithm=ALGORITHM)


def _check_times(claims: Mapping[str, Any], *, now: float, leeway_seconds: float) -> None:
    if "exp" not in claims:
        raise RejectedClaims("The JWT 'exp' claim is missing")
    for name in ("exp", "nbf", "iat"):
        value = claims.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise RejectedClaims(f"The JWT '{name}' claim must be a number")
    if now >= claims["exp"] + leeway_seconds:
        raise RejectedClaims("JWT expired")
    if now < claims.get("nbf", 0) - leeway_seconds:
        raise RejectedClaims("JWT not yet valid")
    if now < claims.get("iat", 0) - leeway_seconds:
        raise RejectedClaims("JWT issued at future")
