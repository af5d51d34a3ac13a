"""The one decision: may this session do that, or what does it have to prove first? Pure.

Pages, htmx, JSON and templates all ask decide(), each about an Action of the table below.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from auth.tokens import Claims

FACTOR_METHODS = frozenset({"totp", "mfa/webauthn", "recovery_code"})  # as in public.factor_age_seconds()
WITHOUT_CODES = FACTOR_METHODS - {"recovery_code"}
SIGN_IN_METHODS = frozenset({"password", "otp"})  # Supabase says otp for everything that came by mail
FUTURE_SECONDS = 30  # an entry further ahead than clocks can differ does not count


@dataclass(frozen=True)
class Freshness:
    """How old the last proof may be, in seconds (None: any age), absolute and never renewed by use; and of what."""

    max_age: int | None
    methods: frozenset[str]


# A code from paper is enough to replace what was lost, and for nothing that cannot be undone (design D5).
SIGNED_IN = Freshness(None, FACTOR_METHODS | {"trusted_device"})
SENSITIVE = Freshness(300, FACTOR_METHODS)
IRREVERSIBLE = Freshness(60, WITHOUT_CODES)
ADMIN = Freshness(1800, WITHOUT_CODES)

Demand = Literal["never", "by policy", "always"]  # whether there has to be a second factor at all


@dataclass(frozen=True)
class Action:
    """Something a person may want to do. `what` completes "This is needed to …". `role`: who alone may do it."""

    name: str
    what: str
    freshness: Freshness
    factor: Demand = "by policy"
    role: str | None = None


NOTES = Action("notes", "read and write your notes", SIGNED_IN)
# Never a factor: these are the pages on which the first one is set up.
SECURITY = Action("security", "see and change how you sign in", SENSITIVE, "never")
ADD_FACTOR = Action("add-factor", "add a way to sign in", SENSITIVE, "never")
RECOVERY_CODES = Action("recovery-codes", "make and confirm recovery codes", SENSITIVE, "never")
FINISH_FACTOR = Action("finish-factor", "finish setting up an app", SIGNED_IN, "never")
REMOVE_FACTOR = Action("remove-factor", "remove a way to sign in", SENSITIVE)
REMOVE_LAST_FACTOR = Action("remove-last-factor", "remove your last second factor", IRREVERSIBLE, "never")
PASSWORD = Action("password", "change your password", SENSITIVE, "never")
ADDRESS = Action("address", "change your address", SENSITIVE)
BILLING = Action("billing", "see and change your billing details", SENSITIVE, "always")
EXPORT = Action("export", "download everything we keep about you", IRREVERSIBLE)
DELETE = Action("delete", "delete your account", IRREVERSIBLE, "never")
ADMINISTER = Action("admin", "look after other people's accounts", ADMIN, "always", role="admin")

ACTIONS = {
    action.name: action
    for action in (
        NOTES,
        SECURITY,
        ADD_FACTOR,
        FINISH_FACTOR,
        RECOVERY_CODES,
        REMOVE_FACTOR,
        REMOVE_LAST_FACTOR,
        PASSWORD,
        ADDRESS,
        BILLING,
        EXPORT,
        DELETE,
        ADMINISTER,
    )
}


@dataclass(frozen=True)
class Policy:
    """Who has to have a second factor. `enrolment`: whether one can be set up at the moment."""

    demand: Literal["optional", "encouraged", "required"] = "optional"
    roles: frozenset[str] = frozenset()  # whoever has one of these needs a factor, whatever the demand
    enrolment: bool = True

    def wants_factor(self, roles: Collection[str], action: Action) -> bool:
        if action.factor == "by policy":
            return self.demand == "required" or not self.roles.isdisjoint(roles)
        return action.factor == "always"


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
    """A second factor has to be proven, by one of `factors` or, with `by_code`, a recovery code."""

    factors: tuple[Factor, ...]
    by_code: bool


@dataclass(frozen=True)
class EnrolFirst:
    """This takes a second factor, and there is none yet."""


@dataclass(frozen=True)
class SignInAgain:
    """There is no second factor to ask for, so the first one has to be proven again."""


@dataclass(frozen=True)
class Deny:
    """No proof would help. Unstamped: our access token hook is missing. Closed: a factor is needed, and none can be
    set up at the moment. Last: a factor is needed, and this is the only one."""

    reason: Literal["unstamped", "role", "closed", "last"]


Decision = Allow | Challenge | EnrolFirst | SignInAgain | Deny


def decide(claims: Claims, factors: Sequence[Factor], action: Action, policy: Policy, *, now: float) -> Decision:
    """Decide whether a session with these claims, of a person with these factors, may do `action`.

    `now` is Unix time. Whatever is missing or unknown in the claims does not help: a token our hook has not stamped
    is denied, because without the hook a factor that a stranger enrolled would count (design D1, D2).
    """
    if not claims.stamped:
        return Deny("unstamped")
    if action.role and action.role not in claims.roles:
        return Deny("role")
    if action in (ADD_FACTOR, FINISH_FACTOR) and not policy.enrolment:
        return Deny("closed")
    if action == REMOVE_LAST_FACTOR and policy.wants_factor(claims.roles, NOTES):
        return Deny("last")
    methods, max_age = action.freshness.methods, action.freshness.max_age
    if factors:
        proven = _is_fresh(factor_age(claims, now=now, methods=methods), max_age)
        return Allow() if proven else Challenge(tuple(factors), by_code="recovery_code" in methods)
    if policy.wants_factor(claims.roles, action):
        return EnrolFirst() if policy.enrolment else Deny("closed")
    # Being signed in at all is a proof of the first factor, of any age.
    proven = max_age is None or _is_fresh(sign_in_age(claims, now=now), max_age)
    return Allow() if proven else SignInAgain()


ENCOURAGED_AGAIN_DAYS = 14


def is_encouraged(factors: Sequence[Factor], policy: Policy, dismissed_at: float | None, *, now: float) -> bool:
    """Whether to ask this person to set up a second factor; `dismissed_at` is when they last said not now."""
    if factors or policy.demand != "encouraged" or not policy.enrolment:
        return False
    return dismissed_at is None or now - dismissed_at >= ENCOURAGED_AGAIN_DAYS * 86400


def proven_by_code(claims: Claims) -> bool:
    """Whether the newest proof of this session is a recovery code."""
    last = max((proof.at for proof in claims.amr), default=0)
    return last > 0 and claims.proven_at("recovery_code") == last


def opened_by_the_last_code(claims: Claims, codes_left: int | None) -> bool:
    """Whether it was a recovery code that opened this session, and no other is left; None: there are no codes."""
    return codes_left == 0 and proven_by_code(claims)


def factor_age(claims: Claims, *, now: float, methods: frozenset[str] = FACTOR_METHODS) -> float | None:
    """Seconds since a second factor was last proven in this session, or None. As public.factor_age_seconds()."""
    if claims.aal != "aal2":
        return None
    return _age(claims, methods, now=now)


def sign_in_age(claims: Claims, *, now: float) -> float | None:
    """Seconds since the first factor was last proven in this session, or None."""
    return _age(claims, SIGN_IN_METHODS, now=now)


def _age(claims: Claims, methods: frozenset[str], *, now: float) -> float | None:
    times = [proof.at for proof in claims.amr if proof.method in methods and proof.at < now + FUTURE_SECONDS]
    return max(now - max(times), 0) if times else None


def _is_fresh(age: float | None, max_age: int | None) -> bool:
    return age is not None and (max_age is None or age < max_age)
