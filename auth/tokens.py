"""Supabase's tokens as values, and the check that turns an access token into claims one may believe."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jwt

from auth.refusals import SignInRequired

ALGORITHMS = ["ES256", "RS256"]  # never HS256: whoever held that shared secret could sign tokens
CLOCK_SKEW_SECONDS = 30
JWKS_LIFETIME_SECONDS = 600  # Supabase's own cache header for its keys
JWKS_RETRY_SECONDS = 10  # between fetches for key ids we do not know, or strangers could make us fetch


@dataclass(frozen=True)
class Tokens:
    """A pair as Supabase Auth issues it. `expires_at` is Unix time, of the access token."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_at: float


@dataclass(frozen=True)
class Proof:
    """One entry of `amr`: how the person proved who they are, and when (Unix time)."""

    method: str
    at: int


@dataclass(frozen=True)
class Claims:
    """What a verified access token says. `stamped`: our access token hook was there when it was issued."""

    user_id: str
    session_id: str
    email: str
    aal: str
    amr: tuple[Proof, ...]
    stamped: bool
    roles: frozenset[str] = frozenset()  # of app_metadata, which only an administrator can write

    def proven_at(self, method: str) -> int:
        """When this was last proven; 0: never."""
        return max((proof.at for proof in self.amr if proof.method == method), default=0)


class KeySet:
    """The project's public signing keys, fetched when needed and kept for ten minutes."""

    def __init__(self, fetch: Callable[[], dict[str, Any]], clock: Callable[[], float]) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at = float("-inf")

    def key(self, kid: str) -> jwt.PyJWK | None:
        """Return the key with this id, or None. Raises Unavailable when the keys cannot be had."""
        with self._lock:
            age = self._clock() - self._fetched_at
            if age > JWKS_LIFETIME_SECONDS or (kid not in self._keys and age > JWKS_RETRY_SECONDS):
                published = jwt.PyJWKSet.from_dict(self._fetch())
                self._keys = {key.key_id: key for key in published.keys if key.key_id}
                self._fetched_at = self._clock()
            return self._keys.get(kid)


def verified(access_token: str, keys: KeySet, *, issuer: str, now: float) -> Claims:
    """Check signature, algorithm, issuer, audience, expiry and role, and return the claims.

    supabase-py's get_claims() checks neither issuer, audience nor role, and fetches the keys once per client.

    Raises:
        SignInRequired: the token is not one to be believed.
        Unavailable: the keys cannot be had, so nothing can be said about the token.
    """
    try:
        header = jwt.get_unverified_header(access_token)
        key = keys.key(str(header.get("kid"))) if header.get("alg") in ALGORITHMS else None
        if key is None:
            raise SignInRequired
        payload = jwt.decode(
            access_token,
            key,
            algorithms=ALGORITHMS,
            audience="authenticated",
            issuer=issuer,
            # The times are checked below, against the clock we were given.
            options={
                "require": ["exp", "iat", "sub"],
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
            },
        )
        if payload["exp"] <= now or payload["iat"] > now + CLOCK_SKEW_SECONDS or payload.get("nbf", 0) > now:
            raise SignInRequired
        if payload.get("role") != "authenticated":
            raise SignInRequired
        return Claims(
            user_id=payload["sub"],
            session_id=payload["session_id"],
            email=payload["email"],
            aal=payload["aal"],
            amr=tuple(Proof(entry["method"], int(entry["timestamp"])) for entry in payload["amr"]),
            stamped=payload.get("assurance") == "stamped",
            roles=frozenset(map(str, payload.get("app_metadata", {}).get("roles", []))),
        )
    except (jwt.PyJWTError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise SignInRequired from error


@dataclass(frozen=True)
class Issuer:
    """Supabase Auth of this project. Its tokens name `url` as where they come from."""

    url: str
    keys: KeySet

    def claims(self, tokens: Tokens, *, now: float) -> Claims:
        """Return what the access token says, or raise what verified() does."""
        return verified(tokens.access_token, self.keys, issuer=self.url, now=now)
