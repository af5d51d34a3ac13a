"""The one decision: may this session do that, or what does it have to prove first? Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from auth.tokens import Claims

# How old the last proof may be, in seconds. None: being signed in is enough.
SIGNED_IN = None
SENSITIVE = 300

FACTOR_METHODS = frozenset({"totp", "mfa/webauthn", "recovery_code"})
SIGN_IN_METHODS = frozenset({"password", "otp"})  # Supabase says otp for everything that came by mail
FUTURE_SECONDS = 30  # an entry further ahead than clocks can differ does not count


@dataclass(frozen=True)
class Factor:
    """An endorsed, verified second factor. `created_at` is Unix time."""

    id: str
    type: str
    name: str
    created_at: float


@dataclass(frozen=True)
class Allow:
    pass


@dataclass(frozen=True)
class Challenge:
    """A second factor has to be proven, by one of `factors`."""

    factors: tuple[Factor, ...]


@dataclass(frozen=True)
class SignInAgain:
    """There is no second factor to ask for, so the first one has to be proven again."""


@dataclass(frozen=True)
class Deny:
    pass


Decision = Allow | Challenge | SignInAgain | Deny


def decide(claims: Claims, factors: Sequence[Factor], *, max_age: int | None, now: float) -> Decision:
    """Decide what a session with these claims, of a person with these factors, may do.

    `max_age` is in seconds, absolute and never renewed by use; `now` is Unix time. Whatever is missing or
    unknown in the claims does not help: a token our hook has not stamped is denied, because without the hook a
    factor that a stranger enrolled would count (design D1, D2).
    """
    if not claims.stamped:
        return Deny()
    if factors:
        proven = claims.aal == "aal2" and _is_fresh(factor_age(claims, now=now), max_age)
        return Allow() if proven else Challenge(tuple(factors))
    return Allow() if _is_fresh(_age(claims, SIGN_IN_METHODS, now=now), max_age) else SignInAgain()


def factor_age(claims: Claims, *, now: float) -> float | None:
    """Seconds since a second factor was last proven in this session, or None. As public.factor_age_seconds()."""
    if claims.aal != "aal2":
        return None
    return _age(claims, FACTOR_METHODS, now=now)


def _age(claims: Claims, methods: frozenset[str], *, now: float) -> float | None:
    times = [proof.at for proof in claims.amr if proof.method in methods and proof.at < now + FUTURE_SECONDS]
    return max(now - max(times), 0) if times else None


def _is_fresh(age: float | None, max_age: int | None) -> bool:
    if max_age is None:
        return True
    return age is not None and age < max_age
