"""Authenticator apps: set one up, answer with its code, remove it; and the QR code."""

import hashlib
import hmac
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import pyotp
import qrcode
from qrcode.image.svg import SvgPathImage

from auth import attempts
from auth.attempts import Attempt, Rules
from auth.gateway import Gateway, nothing
from auth.notices import Notices
from auth.refusals import (
    EnrolmentGone,
    Failed,
    Intercepted,
    Refused,
    TryAgain,
    Unavailable,
    UnknownFactor,
    WrongCode,
)
from auth.removal import was_last
from auth.tokens import Issuer, Tokens
from auth.vault import Account, Vault

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AuthenticatorApps:
    """The flows, and what they need to know and to reach."""

    gateway: Gateway
    vault: Vault
    issuer: Issuer
    rules: Rules
    notices: Notices
    code_key: bytes  # for the HMAC under which tried codes are remembered

    def begin_enrolment(self, account: Account, name: str) -> None:
        """Make a new factor, which this session alone can see and finish. Whatever else was unfinished is deleted.

        Raises:
            NameTaken, TooManyFactors
        """
        self.gateway.call("mfa_discard_enrolments", nothing, p_user=account.user_id)
        enrolled = self.gateway.enrol_totp(account.tokens, name)
        self.vault.begin_enrolment(account, factor_id=enrolled.factor_id, secret=enrolled.secret)

    def discard_enrolment(self, account: Account) -> None:
        self.gateway.call("mfa_discard_enrolments", nothing, p_user=account.user_id)

    def finish_enrolment(self, account: Account, *, factor_id: str, code: str, now: float) -> str:
        """Prove that the phone has the secret: the factor counts from here on. Return the new key of the vault.

        `account` must have the lease. Raises EnrolmentGone if another tab has begun anew, else as answer().
        """
        with self._owner_told(now), self.vault.lease_of(account):
            if account.enrolment is None or account.enrolment.factor_id != factor_id:
                raise EnrolmentGone
            return self._answer(account, factor_id, code, now)

    def answer(self, account: Account, *, factor_id: str, code: str, now: float) -> str:
        """Prove a code: the session becomes aal2, and the vault's key is replaced by the one returned.

        `account` must have the lease, because verifying rotates the tokens. `now` is Unix time.

        Raises:
            WrongCode, CodeSpent, Locked, Disabled, UnknownFactor, Intercepted, TryAgain
            Unavailable: an answer was lost and the truth could not be learned either.
        """
        with self._owner_told(now), self.vault.lease_of(account):
            return self._answer(account, factor_id, code, now)

    def remove(self, user_id: str, factor_id: str, *, even_last: bool) -> bool:
        """Remove an app for good. Every browser of the person gets tokens that say what is left, at its next request.

        Return whether no second factor is left. Raises UnknownFactor, FactorsChanged.
        """
        last = self.gateway.call(
            "mfa_remove_factor", was_last, p_user=user_id, p_factor=factor_id, p_even_last=even_last
        )
        if last is None:
            raise UnknownFactor
        return last

    @contextmanager
    def _owner_told(self, now: float) -> Iterator[None]:
        """Mail what only an attack explains. Around the lease: nobody else has to wait for a mail server."""
        try:
            yield
        except Intercepted as refusal:
            if refusal.tell:
                self.notices.intercepted(refusal.tell, now)
            raise

    def _answer(self, account: Account, factor_id: str, code: str, now: float) -> str:
        digest = hmac.digest(self.code_key, f"{factor_id}:{code}".encode(), hashlib.sha256).hex()
        attempt = attempts.begin(
            self.gateway, self.rules, user_id=account.user_id, factor_id=factor_id, code_hash=digest, now=now
        )
        challenge_id = self._challenge(account, attempt)
        tokens = self._verify(account, attempt, challenge_id, code, now)
        key = self.vault.elevate(account, tokens, self.issuer.claims(tokens, now=now))
        with suppress(Unavailable):  # the person is in; at worst one failure stays counted until the next success
            self._end(attempt, "right")
        return key

    def _challenge(self, account: Account, attempt: Attempt) -> str:
        try:
            return self.gateway.challenge_factor(account.tokens, attempt.factor_id)
        except Unavailable as error:
            # A 500 of Supabase's own is an answer: it is what the guard's refusal looks like from here.
            outcome = "unchallenged" if isinstance(error, Failed) else "unanswered"
            raise self._end(attempt, outcome) from error
        except Refused as error:
            raise self._end(attempt, "unchallenged") from error

    def _verify(self, account: Account, attempt: Attempt, challenge_id: str, code: str, now: float) -> Tokens:
        try:
            return self.gateway.verify_factor(
                account.tokens, factor_id=attempt.factor_id, challenge_id=challenge_id, code=code
            )
        except WrongCode as error:
            raise self._end(attempt, "wrong") from error
        except Unavailable:
            # The code may have been accepted and the answer lost. Refreshing at once tells: Supabase still takes
            # the refresh token of before.
            with suppress(Unavailable):
                self._end(attempt, "unknown")
            tokens = self.gateway.refresh(account.tokens.refresh_token)
            proven, before = self.issuer.claims(tokens, now=now), self.issuer.claims(account.tokens, now=now)
            if proven.proven_at("totp") > before.proven_at("totp"):
                return tokens
            self.vault.store(account, tokens)
            raise TryAgain from None
        except Refused as error:
            raise self._end(attempt, "refused") from error

    def _end(self, attempt: Attempt, outcome: str) -> Refused:
        refusal = attempts.end(self.gateway, self.rules, attempt, outcome)
        if outcome != "right":
            log.warning("totp attempt of user %s: %s (%s)", attempt.user_id, outcome, type(refusal).__name__)
        return refusal


def otpauth_uri(secret: str, *, email: str, issuer: str) -> str:
    """Return what a phone's camera or an otpauth link hands to the app; SHA-1, 6 digits, 30 s, as Supabase checks."""
    return pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name=issuer)


def qr_svg(uri: str) -> str:
    """Draw a URI as SVG markup without style attributes, so that a strict CSP lets it through."""
    image = qrcode.make(uri, image_factory=SvgPathImage, border=2)
    return image.to_string(encoding="unicode")


def grouped(secret: str) -> str:
    """`JBSWY3DP…` as `JBSW Y3DP …`, for those who type it."""
    return " ".join(secret[i : i + 4] for i in range(0, len(secret), 4))
