"""How often one address may ask: token buckets in memory, as Supabase Auth keeps them, and the mails of an hour."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from local_supabase.auth_api.errors import Refused
from local_supabase.platform import Config, RateLimits

BURST = 30
HOUR = 3600
FIVE_MINUTES = 300
SWEEP_SECONDS = 60


@dataclass(frozen=True)
class Limit:
    """One bucket per address; those of different limits are apart."""

    name: str
    per_second: Callable[[RateLimits], float]
    forgotten_after_seconds: int = HOUR


TOKEN = Limit("token", lambda limits: limits.token_refresh / FIVE_MINUTES)
VERIFY = Limit("verify", lambda limits: limits.token_verifications / FIVE_MINUTES)
SIGN_UP = Limit("signup", lambda limits: limits.sign_in_sign_ups / FIVE_MINUTES)
OTP = Limit("otp", lambda limits: limits.sign_in_sign_ups / FIVE_MINUTES)
MAGIC_LINK = Limit("magiclink", lambda limits: limits.sign_in_sign_ups / FIVE_MINUTES)
RECOVER = Limit("recover", lambda limits: limits.sign_in_sign_ups / FIVE_MINUTES)
RESEND = Limit("resend", lambda limits: limits.sign_in_sign_ups / FIVE_MINUTES)
USER = Limit("user", lambda limits: limits.sign_in_sign_ups / FIVE_MINUTES)
FACTOR_CHALLENGE = Limit("challenge", lambda limits: limits.mfa_per_minute / 60, forgotten_after_seconds=60)
FACTOR_VERIFY = Limit("factor verify", lambda limits: limits.mfa_per_minute / 60, forgotten_after_seconds=60)


@dataclass
class _Bucket:
    made_at: float
    filled_at: float
    tokens: float = BURST


@dataclass
class _Hour:
    began_at: float
    mails: int = 0


class Limiter:
    """The buckets of one server. `clock` gives seconds that only grow."""

    def __init__(self, config: Config, clock: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: dict[tuple[str, str], _Bucket] = {}
        self._swept_at = clock()
        self._hour = _Hour(clock())

    def check(self, limit: Limit, address: str) -> None:
        """Take one from the address's bucket.

        Raises:
            Refused: 429 over_request_rate_limit; without a Retry-After, as upstream.
        """
        if self._config.rate_limits is None:
            return
        per_second, now = limit.per_second(self._config.rate_limits), self._clock()
        with self._lock:
            bucket = self._bucket(limit, address, now)
            bucket.tokens = min(BURST, bucket.tokens + (now - bucket.filled_at) * per_second)
            bucket.filled_at = now
            if bucket.tokens < 1:
                raise Refused(429, "over_request_rate_limit", "Request rate limit reached")
            bucket.tokens -= 1

    def check_mail(self) -> None:
        """Count one mail of this hour; not where addresses need no confirmation, as upstream.

        Raises:
            Refused: 429 over_email_send_rate_limit.
        """
        limits, now = self._config.rate_limits, self._clock()
        if limits is None or (limits.emails_per_hour > 0 and not self._config.enable_confirmations):
            return
        with self._lock:
            if now - self._hour.began_at >= HOUR:
                self._hour = _Hour(now)
            if self._hour.mails >= limits.emails_per_hour:
                raise Refused(429, "over_email_send_rate_limit", "email rate limit exceeded")
            self._hour.mails += 1

    def _bucket(self, limit: Limit, address: str, now: float) -> _Bucket:
        """The address's bucket; a new, full one when it is as old as upstream forgets it, in use or not."""
        if now - self._swept_at >= SWEEP_SECONDS:
            self._buckets = {key: bucket for key, bucket in self._buckets.items() if now - bucket.made_at < HOUR}
            self._swept_at = now
        key = limit.name, address
        bucket = self._buckets.get(key)
        if bucket is None or now - bucket.made_at >= limit.forgotten_after_seconds:
            bucket = self._buckets[key] = _Bucket(made_at=now, filled_at=now)
        return bucket
