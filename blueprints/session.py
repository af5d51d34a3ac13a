"""Who is asking: the only reader and writer of the vault's cookie, and the gate in front of every page."""

import hashlib
from dataclasses import dataclass

import flask
from flask import Response, current_app, g, request

from auth import recovery_codes
from auth.assurance import (
    NOTES,
    RECOVERY_CODES,
    Action,
    Allow,
    Challenge,
    Decision,
    Deny,
    EnrolFirst,
    Factor,
    decide,
    factor_age,
    is_encouraged,
    opened_by_the_last_code,
    proven_by_code,
    sign_in_age,
)
from auth.refusals import (
    CodesUsedUp,
    Denied,
    EnrolmentClosed,
    FactorRequired,
    LastFactorNeeded,
    NotYours,
    SignInRequired,
    StepUpRequired,
)
from auth.tokens import Claims, Tokens
from auth.vault import Account, Answered
from blueprints.services import services


@dataclass(frozen=True)
class Session:
    """The person behind a request, with claims that were verified for it. `key` is the vault's."""

    key: str
    account: Account
    claims: Claims
    now: float

    @property
    def email(self) -> str:
        return self.claims.email

    @property
    def tokens(self) -> Tokens:
        return self.account.tokens

    @property
    def factors(self) -> tuple[Factor, ...]:
        return self.account.factors

    @property
    def apps(self) -> tuple[Factor, ...]:
        return tuple(factor for factor in self.factors if factor.type == "totp")

    @property
    def has_passkeys(self) -> bool:
        """Whether there is the one factor of Supabase's that stands for all passkeys."""
        return len(self.apps) < len(self.factors)

    def may(self, action: Action) -> bool:
        return isinstance(self.decision(action), Allow)

    def decision(self, action: Action) -> Decision:
        return decide(self.claims, self.factors, action, services().policy, now=self.now)

    @property
    def is_in(self) -> bool:
        """Whether nothing is missing to being signed in."""
        return self.may(NOTES)

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.account.user_id)

    @property
    def is_encouraged(self) -> bool:
        return is_encouraged(self.factors, services().policy, self.account.not_now_at, now=self.now)

    @property
    def codes_used_up(self) -> bool:
        """Whether it was the last recovery code that opened this. Not for longer than a new sheet can be made here."""
        left = self.account.codes.left if self.account.codes else None
        return opened_by_the_last_code(self.claims, left) and self.may(RECOVERY_CODES)

    @property
    def codes_good_until(self) -> float | None:
        return recovery_codes.good_until(self.account.codes, services().codes.ttl_days)

    @property
    def codes_left(self) -> int:
        """How many recovery codes this person could sign in with."""
        return recovery_codes.usable(self.account.codes, services().codes.ttl_days, now=self.now)

    @property
    def codes_need(self) -> recovery_codes.Need | None:
        ttl_days = services().codes.ttl_days
        return recovery_codes.needed(self.account.codes, ttl_days, has_factors=bool(self.factors), now=self.now)

    @property
    def by_code(self) -> bool:
        return proven_by_code(self.claims)

    @property
    def factor_age(self) -> float | None:
        return factor_age(self.claims, now=self.now)

    @property
    def sign_in_age(self) -> float | None:
        return sign_in_age(self.claims, now=self.now)


def current(*, lease: bool = False, answered: Answered | None = None) -> Session | None:
    """Return who is signed in, however weakly, or None. Pages that decide by it use require() instead.

    With `lease`, the right to rotate the tokens comes along, or None if the cookie has just been replaced. With
    `answered` too, what a passkey's response answers.
    """
    key = request.cookies.get(current_app.config["VAULT_COOKIE_NAME"])
    account = services().vault.read(key, lease=lease, answered=answered) if key else None
    if key is None or account is None or (lease and account.stale):
        return None
    now = services().clock()
    try:
        claims = claims_of(account.tokens)
    except SignInRequired:
        return None
    if claims.session_id != account.session_id or claims.user_id != account.user_id:
        return None  # a row was moved in the database
    g.who = Session(key, account, claims, now)
    return g.who


def signed_in(*, lease: bool = False, answered: Answered | None = None) -> Session:
    """As current(), and raise SignInRequired if it is nobody."""
    who = current(lease=lease, answered=answered)
    if who is None:
        raise SignInRequired
    return who


def require(action: Action) -> Session:
    """Return who is asking if they may do this, as decide() says.

    Raises:
        SignInRequired, StepUpRequired: they have to prove something first; app.py sends them there and back.
        FactorRequired: they have to set up a second factor first.
        CodesUsedUp: they need a new sheet first, or the next loss would lock them out.
        NotYours, EnrolmentClosed, LastFactorNeeded
        Denied: the site is not set up so that anybody could be let in.
    """
    who = current()
    if who is None:
        raise SignInRequired(action.name)
    permit(who, action)
    return who


def permit(who: Session, action: Action) -> None:
    """Raise what require() does, unless this person may do it."""
    match who.decision(action):
        case Allow():
            if who.codes_used_up and action != RECOVERY_CODES:
                raise CodesUsedUp
        case Challenge():
            raise StepUpRequired(action.name)
        case EnrolFirst():
            raise FactorRequired(action.name)
        case Deny("role"):
            raise NotYours
        case Deny("closed"):
            raise EnrolmentClosed
        case Deny("last"):
            raise LastFactorNeeded
        case Deny():
            raise Denied
        case _:
            raise SignInRequired(action.name)


def fingerprint(user_id: str) -> str:
    """A number that tells people apart in a browser, and says nothing else about them."""
    return hashlib.sha256(f"{user_id}{current_app.config['NAME']}".encode()).hexdigest()[:8]


def start(tokens: Tokens, *, signed_in_with: str) -> Claims:
    """Begin a session after any kind of sign-in. It is gated by require() like every other: see there.

    The vault's key and Flask's session are replaced: nothing from before survives, the CSRF token included, or
    whoever planted one in this browser beforehand would share the session.
    """
    claims = claims_of(tokens)
    before = request.cookies.get(current_app.config["VAULT_COOKIE_NAME"])
    renew(services().vault.open(tokens, claims, signed_in_with=signed_in_with, replaces=before), claims.user_id)
    return claims


def renew(key: str, user_id: str) -> None:
    """Go on under a new key, and with a new CSRF token: after every change of who, or how strongly."""
    _forget_flask_session()
    flask.session["person"] = fingerprint(user_id)  # whose forms are open in this browser
    flask.session["has_arrived"] = True  # base.html then speaks of recovery codes, whatever page it is
    g.vault_key = key


def end() -> None:
    """Sign out in this browser. The cookies go last: if Supabase is away, the person is still signed in and told so."""
    key = request.cookies.get(current_app.config["VAULT_COOKIE_NAME"])
    if key:
        services().vault.close(key)
    forget()


def forget() -> None:
    """Take the cookies back: what they opened has ended."""
    _forget_flask_session()
    g.vault_key = None


def end_others(who: Session) -> None:
    """Sign out everywhere but in this browser."""
    services().gateway.call("sessions_end_others", int, p_user=who.account.user_id, p_session=who.account.session_id)


def send_cookie(response: Response) -> Response:
    """Write the cookie if this request has changed it, once. An answer to a stale cookie never touches it."""
    if "vault_key" in g:
        response.set_cookie(
            current_app.config["VAULT_COOKIE_NAME"],
            g.vault_key or "",
            max_age=None if g.vault_key else 0,
            secure=current_app.config["SESSION_COOKIE_SECURE"],
            httponly=True,
            samesite="Lax",
        )
    return response


def claims_of(tokens: Tokens) -> Claims:
    """Raise SignInRequired, or return what the access token says."""
    return services().issuer.claims(tokens, now=services().clock())


def _forget_flask_session() -> None:
    flask.session.clear()
    g.pop("csrf_token", None)  # Flask-WTF keeps the one it has made for this request
    g.pop("who", None)
