"""Passwords: how they are kept, compared and refused."""

import secrets
import time
from functools import cache

import bcrypt

from local_supabase.auth_api.errors import Refused, bad_request
from local_supabase.platform import Config

LONGEST_BYTES = 72  # bcrypt reads no further


def hashed(config: Config, password: str) -> str:
    """Return the bcrypt hash; `password` must not be longer than 72 bytes."""
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(config.password_cost)).decode()


def is_right(config: Config, password: str, stored: str | None) -> bool:
    """Tell whether `password` belongs to the stored hash, in the same time whatever the answer is.

    A password above 72 bytes is wrong, not an error; so is any against a missing or foreign hash.
    """
    given, (nobodys, _) = password.encode(), _nobodys(config.password_cost)
    if not stored or len(given) > LONGEST_BYTES:
        bcrypt.checkpw(given[:LONGEST_BYTES], nobodys)
        return False
    try:
        return bcrypt.checkpw(given, stored.encode())
    except ValueError:  # not bcrypt
        bcrypt.checkpw(given, nobodys)
        return False


def hash_seconds(config: Config) -> float:
    """Return what one hash costs this processor."""
    return _nobodys(config.password_cost)[1]


@cache
def _nobodys(cost: int) -> tuple[bytes, float]:
    """Return a hash, and the seconds it took.

    It is compared when there is no password to compare with, or the answer's delay tells who has an account.
    """
    began = time.thread_time()
    nobodys = bcrypt.hashpw(secrets.token_bytes(32).hex().encode(), bcrypt.gensalt(cost))
    return nobodys, time.thread_time() - began


def weaknesses(config: Config, password: str) -> list[str]:
    """Return the reasons why `password` is below policy; length counts bytes, as upstream."""
    return ["length"] if len(password.encode()) < config.minimum_password_length else []


def check_strength(config: Config, password: str) -> None:
    """Raise unless `password` may be set.

    Raises:
        Refused: 400 validation_failed above 72 bytes, 422 weak_password with its reasons.
    """
    check_length(password)
    reasons = weaknesses(config, password)
    if reasons:
        raise Refused(
            422,
            "weak_password",
            f"Password should be at least {config.minimum_password_length} characters.",
            weak_password=reasons,
        )


def check_length(password: str) -> None:
    """Raise 400 validation_failed if bcrypt would silently drop the end of `password`."""
    if len(password.encode()) > LONGEST_BYTES:
        raise bad_request(f"Password cannot be longer than {LONGEST_BYTES} bytes")
