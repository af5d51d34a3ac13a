"""Recovery codes, as they are lived with: made, confirmed, used."""

import logging
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from auth import recovery_codes
from auth.attempts import Rules
from auth.gateway import Gateway
from auth.recovery_codes import SALT_BYTES, Parameters, RandomBytes, Recipe
from auth.refusals import (
    Busy,
    CodesChanged,
    ExpiredRecoveryCode,
    OldRecoveryCode,
    RecoveryCodesDisabled,
    RecoveryCodesLocked,
    Refused,
    SignInRequired,
    TryAgain,
    Unavailable,
    UsedRecoveryCode,
    WrongRecoveryCode,
)
from auth.tokens import Issuer
from auth.vault import Account, Vault

MOST_AT_ONCE = 4  # 19 MiB each
PATIENCE_SECONDS = 1  # a lease of the vault is held meanwhile

log = logging.getLogger(__name__)

Digest = Callable[[str, bytes, bytes, Parameters], str]


@dataclass(frozen=True)
class Sheet:
    """A new set, in the only moment in which its codes are known."""

    label: int
    codes: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True)
class RecoveryCodes:
    """The flows, and what they need to know and to reach. `peppers` are secrets by id, the first one is used."""

    gateway: Gateway
    vault: Vault
    issuer: Issuer
    rules: Rules
    peppers: Mapping[str, bytes] = field(repr=False)
    length: int
    ttl_days: int | None
    parameters: Parameters = Parameters()
    digest: Digest = recovery_codes.digest
    random_bytes: RandomBytes = secrets.token_bytes
    slots: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(MOST_AT_ONCE))

    def make(self, account: Account) -> Sheet:
        """Make a set, and end the one of before with all that its codes have opened in other sessions.

        Raises:
            CodesChanged: there is no second factor, or another tab was faster.
            Busy
        """
        before = self._recipe(account.user_id)
        recipe = self._recipe_of_today(before)
        codes = recovery_codes.draw_set(self.length, self.random_bytes)
        digests = []
        for code in codes:
            with self._slot():  # one by one, so that others get in between
                digests.append(self._digest(code, recipe))
        label = self.gateway.call(
            "recovery_codes_make",
            _label,
            p_user=account.user_id,
            p_session=account.session_id,
            p_replaces=before.set_id,
            p_salt=recipe.salt.hex(),
            p_parameters=recovery_codes.as_json(recipe.parameters),
            p_pepper_id=recipe.pepper_id,
            p_digests=digests,
        )
        if label is None:
            raise CodesChanged
        return Sheet(label, tuple(recovery_codes.shown(code) for code in codes))

    def confirm(self, account: Account, code: str) -> None:
        """Take a code of the set as a sign that it was kept. The code stays good.

        Raises WrongRecoveryCode, UsedRecoveryCode, OldRecoveryCode, ExpiredRecoveryCode, Busy.
        """

        def confirmed(verdict: Any) -> None:
            if "refused" in verdict:
                raise _refusal(verdict)

        with self._slot():
            digest = self._digest(code, self._recipe(account.user_id))
        self.gateway.call(
            "recovery_codes_confirm", confirmed, p_user=account.user_id, p_digest=digest, p_ttl_days=self.ttl_days
        )

    def use(self, account: Account, code: str, *, now: float) -> tuple[str, int | None]:
        """Prove a code, which is spent by it: the session becomes aal2.

        `account` must have the lease. Return the new key of the vault, and how many codes are left; None: the answer
        was lost, and all that is known is that it was accepted.

        One argon2 computation, whatever was typed and whoever asks: how long it takes tells nothing. An attempt that
        never arrived stays counted until the next success.

        Raises:
            WrongRecoveryCode, UsedRecoveryCode, OldRecoveryCode, ExpiredRecoveryCode,
            RecoveryCodesLocked, RecoveryCodesDisabled, TryAgain, Busy
            Unavailable: an answer was lost and the truth could not be learned either.
        """
        with self.vault.lease_of(account):
            with self._slot():  # first, so that having to wait costs no try
                digest = self._digest(code, self._begin(account.user_id))
            left = self._consume(account, digest)
            tokens = self.gateway.refresh(account.tokens.refresh_token)
            proven, before = self.issuer.claims(tokens, now=now), self.issuer.claims(account.tokens, now=now)
            if left is None and proven.proven_at("recovery_code") <= before.proven_at("recovery_code"):
                self.vault.store(account, tokens)
                raise TryAgain("That did not go through. Please try the same code again.")
            return self.vault.elevate(account, tokens, proven), left

    def _begin(self, user_id: str) -> Recipe:
        def granted(answer: Any) -> Recipe:
            match answer.get("refused"):
                case None:
                    return self._known(answer["known"])
                case "locked":
                    raise RecoveryCodesLocked(retry_after=answer["retry_after"])
                case _:
                    raise RecoveryCodesDisabled

        return self.gateway.call(
            "recovery_code_begin",
            granted,
            p_user=user_id,
            p_limit=self.rules.limit,
            p_window_seconds=self.rules.window_seconds,
            p_cap=self.rules.cap,
        )

    def _consume(self, account: Account, digest: str) -> int | None:
        def left(answer: Any) -> int:
            refused = answer.get("refused")
            if refused is None:
                return int(answer["left"])
            log.warning("recovery code of user %s: %s", account.user_id, refused)
            if refused == "over":
                raise SignInRequired
            if answer.get("retry_after"):
                raise RecoveryCodesLocked(retry_after=answer["retry_after"])
            raise _refusal(answer)

        try:
            return self.gateway.call(
                "recovery_code_use",
                left,
                p_user=account.user_id,
                p_session=account.session_id,
                p_digest=digest,
                p_ttl_days=self.ttl_days,
                p_limit=self.rules.limit,
                p_cap=self.rules.cap,
            )
        except Unavailable:
            return None  # the code may be spent and the session elevated: the next refresh tells

    def _recipe(self, user_id: str) -> Recipe:
        return self.gateway.call("recovery_salt", self._known, p_user=user_id)

    def _known(self, answer: Any) -> Recipe:
        """What a code of this person is hashed with. Without a set another salt: it must take as long."""
        if answer is None:
            return Recipe(None, self.random_bytes(SALT_BYTES), self.parameters, next(iter(self.peppers)))
        return Recipe(
            answer["set"], bytes.fromhex(answer["salt"]), Parameters(**answer["parameters"]), answer["pepper_id"]
        )

    def _recipe_of_today(self, before: Recipe) -> Recipe:
        """The same salt as before, or a new one if the settings have changed."""
        pepper_id = next(iter(self.peppers))
        if (before.parameters, before.pepper_id) == (self.parameters, pepper_id):
            return before
        return Recipe(before.set_id, self.random_bytes(SALT_BYTES), self.parameters, pepper_id)

    def _digest(self, code: str, recipe: Recipe) -> str:
        # A pepper that was taken out of the settings: nothing matches, and it takes as long as ever.
        pepper = self.peppers.get(recipe.pepper_id) or self.random_bytes(SALT_BYTES)
        return self.digest(code, pepper, recipe.salt, recipe.parameters)

    @contextmanager
    def _slot(self) -> Iterator[None]:
        """Compute, but not too many at once: each takes memory, and a flood of tries must not take all of it."""
        if not self.slots.acquire(timeout=PATIENCE_SECONDS):
            raise Busy
        try:
            yield
        finally:
            self.slots.release()


def _label(answer: Any) -> int | None:
    return None if answer is None else int(answer)


def _refusal(verdict: Any) -> Refused:
    match verdict["refused"]:
        case "used":
            return UsedRecoveryCode()
        case "old":
            return OldRecoveryCode(verdict["label"])
        case "expired":
            return ExpiredRecoveryCode()
        case _:
            return WrongRecoveryCode(attempts_remaining=verdict.get("attempts_remaining"))
