"""Guessing is bounded and codes work once: an attempt is counted and granted before Supabase is asked."""

from dataclasses import dataclass
from typing import Any

from auth.gateway import Gateway
from auth.refusals import (
    CodeSpent,
    Disabled,
    Intercepted,
    Locked,
    Refused,
    TryAgain,
    UnknownFactor,
    WrongCode,
)

STEP_SECONDS = 30  # RFC 6238 section 4


@dataclass(frozen=True)
class Rules:
    """`limit` wrong codes in `window_seconds` lock a kind of factor as long again; `cap` without a success end it.

    60 wrong codes against 3 valid ones of a million are a chance of 0.018 %. NIST 800-63B-4 3.2.2 allows 100.
    """

    limit: int = 5
    window_seconds: int = 900
    cap: int = 60


@dataclass(frozen=True)
class Attempt:
    user_id: str
    factor_id: str
    code_hash: str
    grant: int


def begin(gateway: Gateway, rules: Rules, *, user_id: str, factor_id: str, code_hash: str, now: float) -> Attempt:
    """Count an attempt, claim its code and get the grant that one challenge needs.

    Raises:
        Locked, Disabled: too many wrong codes.
        CodeSpent: this code was tried within the last two minutes, and perhaps accepted.
        UnknownFactor: not an authenticator app of this person.
    """

    def granted(answer: Any) -> Attempt:
        match answer.get("refused"):
            case None:
                return Attempt(user_id, factor_id, code_hash, grant=answer["grant"])
            case "locked":
                raise Locked(retry_after=answer["retry_after"])
            case "disabled":
                raise Disabled
            case "spent":
                raise CodeSpent(wait_seconds=STEP_SECONDS - int(now) % STEP_SECONDS)
            case _:
                raise UnknownFactor

    return gateway.call(
        "mfa_begin_attempt",
        granted,
        p_user=user_id,
        p_factor=factor_id,
        p_code_hash=code_hash,
        p_limit=rules.limit,
        p_window_seconds=rules.window_seconds,
        p_cap=rules.cap,
    )


def end(gateway: Gateway, rules: Rules, attempt: Attempt, outcome: str) -> Refused:
    """Settle an attempt; `outcome` is one of those of public.mfa_end_attempt. Return what to tell the person."""

    def told(answer: Any) -> Refused:
        if answer["stolen"]:
            return Intercepted(tell=answer["tell"])
        if answer["retry_after"]:
            return Locked(retry_after=answer["retry_after"])
        if outcome == "wrong":
            return WrongCode(attempts_remaining=answer["attempts_remaining"])
        return TryAgain()

    return gateway.call(
        "mfa_end_attempt",
        told,
        p_user=attempt.user_id,
        p_factor=attempt.factor_id,
        p_code_hash=attempt.code_hash,
        p_grant=attempt.grant,
        p_outcome=outcome,
        p_limit=rules.limit,
        p_window_seconds=rules.window_seconds,
        p_cap=rules.cap,
    )
